"""Gradients of the logarithmic potential of N particles without a mollifier: near and far parts beside other libraries.

    python -m tests.benchmarks.singular [--fmm2d /path/to/python]    # 2 minutes
    python -m tests.benchmarks.singular --powers                     # 3 minutes: Riesz potentials and logarithms

fmm2dpy needs Python 3.11 and numpy < 2: it runs in an environment of its own, whose interpreter is given, on the same
particles, in turns. Errors are the largest of 1000 particles' against a sum over all pairs, relative to the largest
gradient at the particles. Times are the least of some evaluations: on the clock, and of the processor per thread, which
does not count what other programs take.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import kspde
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import Extent
from kspde.runtime.compiled import use_threads
from kspde.runtime.parallel import world
from tests.benchmarks.particles import Load, machine

_FMM = """
import sys, time, numpy as np, fmm2dpy
x = np.load(sys.argv[1]).T.copy()
w = np.full(x.shape[1], 1.0 / x.shape[1]) + 0j
best = used = 1e9
for _ in range(3):
    begin, processor = time.perf_counter(), time.process_time()
    out = fmm2dpy.lfmm2d(eps=float(sys.argv[2]), sources=x, charges=w, pg=2)
    best = min(best, time.perf_counter() - begin); used = min(used, time.process_time() - processor)
np.save(sys.argv[3], np.real(out.grad).T / (-2 * np.pi))
print(best, used)
"""


def clouds(n: int) -> dict[str, np.ndarray]:
    """Return an even cloud and four uneven ones."""
    x = np.random.default_rng(1).normal(size=(n, 2))
    two, core, wide, line = x.copy(), x.copy(), x.copy(), x.copy()
    two[::2] *= 1e-3
    two[::2, 0] += 1e3
    core[: n // 2] *= 1e-6
    wide[: n // 2] *= 0.01
    line[:, 0] *= 1e3
    return {
        "Gaussian": x,
        "half in a core of .01": wide,
        "half in a core of 1e-6": core,
        "two far clusters, one of 1e-3": two,
        "1 : 1000": line,
    }


def exact(x: np.ndarray, some: np.ndarray, s: float) -> np.ndarray:
    """Return gradients at some particles of |x|^(−s), or for s = 0 of −log|x|."""
    out = np.empty((len(some), x.shape[1]))
    for k, i in enumerate(some):
        z = x[i] - x
        r2 = (z**2).sum(axis=1)
        r2[r2 == 0.0] = np.inf
        out[k] = -(s or 1.0) / len(x) * (z * r2[:, None] ** (-0.5 * s - 1)).sum(axis=0)
    return out


def of_yukawa(kernel: kspde.Yukawa, x: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return gradients at some particles in the plane of a Yukawa potential."""
    out = np.empty((len(some), 2))
    for k, i in enumerate(some):
        z = x[i] - np.delete(x, i, axis=0)
        r = np.linalg.norm(z, axis=1)
        out[k] = (kernel.slope(r, 2) / r) @ z / len(x)
    return out


def near_far(
    kernel: kspde.Kernel, x: np.ndarray, *, threads: int, tol: float = 1e-6
) -> tuple[float, float, np.ndarray]:
    fields = (kspde.Field(name="c", kernel=kernel, gradient=True, value=False),)
    evaluator: Any = FieldOptions(field_tol=tol).evaluator(
        fields, dimension=x.shape[1], weights={"u": 1 / len(x)}, comm=world()
    )
    extent, best, used = Extent(x.min(axis=0), x.max(axis=0)), np.inf, np.inf
    for _ in range(4):
        begin, processor = time.perf_counter(), time.process_time()
        evaluator.update({"u": x}, extent)
        gradient = evaluator.at("u", x).gradient("c")
        best = min(best, time.perf_counter() - begin)
        used = min(used, (time.process_time() - processor) / threads)
    return best, used, gradient


def powers(most: float, output: Path) -> None:
    """Write the table of Riesz potentials and logarithms of Gaussian clouds."""
    lines, load, threads = [*machine()], Load(), use_threads(world())
    lines.append(f"{'N':>8} {'d':>2} {'kernel':<10} {'clock s':>8} {'processor s':>11} {'error':>8}   field_tol = 1e-6")
    for n in (10**4, 10**5, 10**6):
        for d, all_s in ((1, (0.0, 0.1, 0.5, 0.9)), (2, (0.1, 1.0, 1.9)), (3, (0.0, 0.1, 1.5, 2.9))):
            if n > most:
                continue
            x = np.random.default_rng(1).normal(size=(n, d))
            some = np.random.default_rng(0).choice(n, 200, replace=False)
            for s in all_s:
                kernel = (kspde.Riesz(s=s) if s else kspde.Logarithm()).in_dimension(d)
                clock, used, gradient = near_far(kernel, x, threads=threads)
                error = np.linalg.norm(gradient[some] - exact(x, some, s), axis=1).max()
                error /= np.linalg.norm(gradient, axis=1).max()
                name = f"Riesz({s:g})" if s else "log"
                lines.append(f"{n:>8} {d:>2} {name:<10} {clock:>8.4f} {used:>11.4f} {error:>8.1e}")
                print(lines[-1], flush=True)
                output.write_text("\n".join(lines) + "\n")
    lines.append(f"first calls, which compile and transform the kernel, are not counted; {load.words()}")
    output.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fmm2d", type=Path, help="interpreter with fmm2dpy")
    parser.add_argument("--powers", action="store_true", help="Riesz potentials and logarithms")
    parser.add_argument("--most", type=float, default=1e6, help="largest number of particles")
    parser.add_argument("--output", type=Path, default=Path("tests/benchmarks/results/singular.md"))
    arguments = parser.parse_args()
    if arguments.powers:
        powers(arguments.most, arguments.output.with_name("riesz.md"))
        return
    threads = use_threads(world())
    lines = [*machine(), f"{'N':>8} {'cloud':<30} {'kernel':<14} {'clock s':>8} {'processor s':>11} {'error':>8}"]
    load = Load()
    for n in (10**4, 10**5, 10**6):
        if n > arguments.most:
            continue
        for name, x in clouds(n).items():
            some = np.random.default_rng(0).choice(n, 1000, replace=False)
            right = exact(x, some, 0.0) / (2 * np.pi)

            def row(kind: str, clock: float, used: float, gradient: np.ndarray, right: np.ndarray = right) -> None:
                error = np.linalg.norm(gradient[some] - right, axis=1).max()  # noqa: B023
                error = f"{error / np.linalg.norm(gradient, axis=1).max():.1e}"
                lines.append(f"{n:>8} {name:<30} {kind:<14} {clock:>8.4f} {used:>11.4f} {error:>8}")  # noqa: B023
                print(lines[-1], flush=True)

            row("log", *near_far(kspde.LogPotential(), x, threads=threads))
            if name == "Gaussian":
                row("log, 1e-7", *near_far(kspde.LogPotential(), x, threads=threads, tol=1e-7))
                for mu in (1e-3, 0.01, 0.1, 1.0, 10.0):
                    kernel = kspde.Yukawa(screening=mu)
                    row(f"Yukawa({mu:g})", *near_far(kernel, x, threads=threads), of_yukawa(kernel, x, some))
            if arguments.fmm2d and name in ("Gaussian", "half in a core of .01"):
                with tempfile.TemporaryDirectory() as folder:
                    np.save(f"{folder}/x.npy", x)
                    for eps in ("1e-2", "1e-3", "1e-4", "1e-6"):
                        command = [arguments.fmm2d, "-c", _FMM, f"{folder}/x.npy", eps, f"{folder}/g.npy"]
                        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
                        row(f"fmm2d {eps}", float(said[0]), float(said[1]) / threads, np.load(f"{folder}/g.npy"))
    lines.append(f"first calls, which compile and transform the kernel, are not counted; {load.words()}")
    arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
