"""Gradients of the logarithmic potential of N particles without a mollifier: near and far parts beside other libraries.

    python -m tests.benchmarks.singular [--fmm2d /path/to/python]    # 5 minutes
    python -m tests.benchmarks.singular --powers                     # 5 minutes: Riesz potentials and logarithms

With --least N the rows from N particles on are added to the table. fmm2dpy needs Python 3.11 and numpy < 2: it runs in
an environment of its own, whose interpreter is given, on the same particles. Errors are the largest of some particles'
(1000, or 100 of a million) against a sum over all pairs, relative to the largest gradient at the particles. Times are
the least of some evaluations, of all kernels of a Gaussian cloud in turns: on the clock, and of the processor per
thread, which does not count what other programs take; "ratio" is the latter over that of the logarithm, "load"
the processes that wanted a processor in the minute before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import kspde
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import Extent
from kspde.runtime.compiled import use_threads
from kspde.runtime.parallel import world
from tests.benchmarks.particles import Load, machine

#: The screenings μ of Yukawa potentials.
_SCREENINGS = (1e-3, 0.01, 0.1, 1.0, 10.0, 30.0, 100.0)
#: Dimensions and powers s, 0 for the logarithm.
_POWERS = ((1, (0.0, 0.1, 0.5, 0.9)), (2, (0.1, 1.0, 1.9)), (3, (0.0, 0.1, 1.5, 2.9)))
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
    kernels: list[tuple[kspde.Kernel, float]], x: np.ndarray, *, threads: int
) -> list[tuple[float, float, np.ndarray]]:
    """Return clock, processor time per thread and gradients for some kernels and tolerances, evaluated in turns."""
    evaluators: list[Any] = []
    for kernel, tol in kernels:
        fields = (kspde.Field(name="c", kernel=kernel, gradient=True, value=False),)
        options = FieldOptions(field_tol=tol)
        evaluators.append(options.evaluator(fields, dimension=x.shape[1], weights={"u": 1 / len(x)}, comm=world()))
    extent, times = Extent(x.min(axis=0), x.max(axis=0)), np.full((len(kernels), 2), np.inf)
    gradients = [np.empty(0)] * len(kernels)
    for _ in range(6 if len(x) > 300_000 else 11 if len(x) > 30_000 else 100):
        for k, evaluator in enumerate(evaluators):
            begin, processor = time.perf_counter(), time.process_time()
            evaluator.update({"u": x}, extent)
            gradients[k] = evaluator.at("u", x).gradient("c")
            took = time.perf_counter() - begin, (time.process_time() - processor) / threads
            times[k] = np.minimum(times[k], took)
    return [(*map(float, times[k]), gradients[k]) for k in range(len(kernels))]


def before(least: float, output: Path) -> list[str]:
    """Return the lines of the table that rows are added to."""
    return output.read_text().splitlines() if least > 0 and output.exists() else []


def command() -> str:
    """Return what was typed, without paths."""
    return " ".join(["python -m tests.benchmarks.singular", *(w.rpartition("/")[2] for w in sys.argv[1:])])


def powers(least: float, most: float, output: Path) -> None:
    """Write the table of Riesz potentials and logarithms of Gaussian clouds."""
    lines, load, threads = [*before(least, output), *machine(), command()], Load(), use_threads(world())
    lines.append(f"{'N':>8} {'d':>2} {'kernel':<10} {'clock s':>8} {'processor s':>11} {'error':>8}   field_tol = 1e-6")
    for n, (d, all_s) in product((10**4, 10**5, 10**6), _POWERS):
        if least <= n <= most:
            x = np.random.default_rng(1).normal(size=(n, d))
            some = np.random.default_rng(0).choice(n, 200, replace=False)
            for s in all_s:
                kernel = (kspde.Riesz(s=s) if s else kspde.Logarithm()).in_dimension(d)
                ((clock, used, gradient),) = near_far([(kernel, 1e-6)], x, threads=threads)
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
    parser.add_argument("--least", type=float, default=0.0, help="least number of particles: rows are added")
    parser.add_argument("--mu", type=float, nargs="*", default=_SCREENINGS, help="screenings of Yukawa potentials")
    parser.add_argument("--even", action="store_true", help="Gaussian clouds alone")
    parser.add_argument("--most", type=float, default=1e6, help="largest number of particles")
    parser.add_argument("--output", type=Path, default=Path("tests/benchmarks/results/singular.md"))
    arguments = parser.parse_args()
    if arguments.powers:
        powers(arguments.least, arguments.most, arguments.output.with_name("riesz.md"))
        return
    threads = use_threads(world())
    lines = [*before(arguments.least, arguments.output), *machine(), command()]
    head = f"{'N':>8} {'cloud':<30} {'kernel':<14} {'clock s':>8} {'processor s':>11} {'error':>8}"
    lines.append(head + f" {'load':>5} {'ratio':>6}   field_tol = 1e-6")
    load = Load()

    def row(kind: str, took: tuple[float, float, np.ndarray], right: np.ndarray, base: float = 0.0) -> None:
        clock, used, gradient = took
        error = np.linalg.norm(gradient[some] - right, axis=1).max() / np.linalg.norm(gradient, axis=1).max()
        ratio = f"{os.getloadavg()[0]:>5.1f} " + (f"{used / base:>6.2f}" if base else "")
        lines.append(f"{n:>8} {name:<30} {kind:<14} {clock:>8.4f} {used:>11.4f} {error:>8.1e} {ratio}".rstrip())
        print(lines[-1], flush=True)
        arguments.output.write_text("\n".join(lines) + "\n")

    for n in (10**4, 10**5, 10**6):
        if not arguments.least <= n <= arguments.most:
            continue
        for name, x in list(clouds(n).items())[: 1 if arguments.even else None]:
            some = np.random.default_rng(0).choice(n, 1000 if n < 10**6 else 100, replace=False)
            right = exact(x, some, 0.0) / (2 * np.pi)
            log = kspde.LogPotential()
            if name == "Gaussian":
                screened = {mu: kspde.Yukawa(screening=mu) for mu in arguments.mu}
                base, fine, *others = near_far(
                    [(log, 1e-6), (log, 1e-7), *((kernel, 1e-6) for kernel in screened.values())], x, threads=threads
                )
                row("log", base, right)
                row("log, 1e-7", fine, right, base[1])
                for (mu, kernel), took in zip(screened.items(), others, strict=True):
                    row(f"Yukawa({mu:g})", took, of_yukawa(kernel, x, some), base[1])
            else:
                row("log", *near_far([(log, 1e-6)], x, threads=threads), right)
            if arguments.fmm2d and (name == "Gaussian" or (name == "half in a core of .01" and n < 10**6)):
                with tempfile.TemporaryDirectory() as folder:
                    np.save(f"{folder}/x.npy", x)
                    for eps in ("1e-2", "1e-3", "1e-4", "1e-6")[0 if n < 10**6 else 2 :]:
                        call = [arguments.fmm2d, "-c", _FMM, f"{folder}/x.npy", eps, f"{folder}/g.npy"]
                        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()[-2:]
                        row(
                            f"fmm2d {eps}",
                            (float(said[0]), float(said[1]) / threads, np.load(f"{folder}/g.npy")),
                            right,
                        )
    lines.append(f"first calls, which compile and transform the kernel, are not counted; {load.words()}")
    arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
