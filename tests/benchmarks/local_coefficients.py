"""What implicit steps with local coefficients achieve: writes results/local_coefficients.md.

Run: ``python -m tests.benchmarks.local_coefficients [--out FILE]``; four minutes. Barenblatt's solution from t = 1 to
8 by controlled steps; 300 random systems and steps, as in tests/fem/test_implicit_steps.py (σ from 1e-3 to 1, Δt from
1e-4 to 1e4, parabolic and not), 270 on a line and 30 on a square or a disk; and the time of a step on 192². The strong
case is that of ``tests.benchmarks.cross_diffusion``.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from mpi4py import MPI

import kspde
from kspde.errors import KspdeError
from kspde.fem.schemes.extrapolation import PositiveSteps
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.spaces import build_space

sys.path.insert(0, str(Path(__file__).parents[1] / "fem"))
from local_fields import Barenblatt
from test_implicit_steps import START, STRONG, Cross, Porous, box


def barenblatt(cells: int) -> str:
    """Return a line: controlled steps, error in L¹, smallest value."""
    domain = kspde.Box(dimension=1, half_width=5.0, cells=cells, degree=1, grading=0.0)
    pde = kspde.solve(Porous(), Barenblatt(1.0), domain, t_end=7.0, scheme="positive-2", tol=1e-4)
    x = np.linspace(-5.0, 5.0, 1025)
    error = np.trapezoid(np.abs(pde.evaluate(x[:, None]) - Barenblatt(8.0)(x[:, None])), x)
    return f"| {cells} | {pde.summary()['steps']} | {error:.1e} | {pde.diagnostics['minimum'].min():.0e} |"


def random_step(rng: np.random.Generator, k: int) -> tuple[bool, bool, bool]:
    """Return whether a step ended in one line, needed substeps, and kept u ≥ 0 and the masses."""
    wide = k % 10 == 9
    n, kind = int(rng.integers(1, 4)), k % 4
    g = rng.normal(size=(n, n))
    a = (g @ g.T, g @ g.T + 4 * (np.triu(g, 1) - np.triu(g, 1).T), 3 * np.abs(g), np.abs(g))[kind]
    model = Cross(
        a=tuple(map(tuple, a)), sigma=tuple(10 ** rng.uniform(-3, 0, n)), skt=kind == 3, dimension=2 if wide else 1
    )
    cells = int(rng.integers(12, 30) if wide else rng.integers(30, 130))
    if wide and k % 20 == 19:
        domain = kspde.Disk(radius=3.0, size=6.0 / cells, degree=1)
    else:
        domain = kspde.Box(dimension=model.dimension, half_width=3.0, cells=cells, degree=1, grading=0.0)
    space = build_space(domain, model.dimension, MPI.COMM_SELF)
    x = space.points[:, : model.dimension]
    widths, centres = rng.uniform(0.1, 0.6, (n, 1)), rng.uniform(-1.5, 1.5, (n, model.dimension))
    distances = np.linalg.norm(x - centres[:, None], axis=2)
    u = rng.uniform(0.3, 2.0, (n, 1)) * np.exp(-((distances / widths) ** 2) / 2)
    u = u.reshape(n, *space.mass.shape)
    with PositiveSteps(Semidiscretisation(model, model.fields, space), {}, 1 + k // 4 % 2) as stepper:
        stepper.begin(u)
        try:
            new, _ = stepper.step(u, 10 ** rng.uniform(-4, 4))
        except KspdeError as error:
            print(k, error, flush=True)
            return True, False, True
        divided = stepper.local["divided_steps"] > 0
    right = np.abs(space.integral(*new) / space.integral(*u) - 1).max() < 1e-11
    return False, divided, bool(new.min() >= 0 and right)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "local_coefficients.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore", kspde.KspdeWarning)
    lines = ["# Local coefficients", "", "| cells | steps | error in L¹ | minimum |", "| --- | --- | --- | --- |"]
    for cells in (256, 512, 1024):
        lines.append(barenblatt(cells))
        print(lines[-1], flush=True)
    rng = np.random.default_rng(1)
    found = np.array([random_step(rng, k) for k in range(given.cases)])
    lines += [
        "",
        f"{given.cases} random steps: {found[:, 0].sum()} ended in one line, {found[:, 1].sum()} needed substeps, "
        f"{np.sum(~found[:, 2])} with a negative value or a wrong mass.",
        "",
        "| 192², strong case | seconds per step |",
        "| --- | --- |",
    ]
    print(lines[-4], flush=True)
    for scheme, dt in (("positive", 0.0025), ("positive-2", 0.005)):
        begin = time.perf_counter()
        pde = kspde.solve(STRONG, START, box(192), t_end=4 * dt, scheme=scheme, dt=dt)
        lines.append(f"| {scheme} | {(time.perf_counter() - begin) / pde.summary()['steps']:.2f} |")
        print(lines[-1], flush=True)
    given.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
