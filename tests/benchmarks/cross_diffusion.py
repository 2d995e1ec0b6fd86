"""Cross-diffusion with strong interactions, by every scheme on 48 to 384 cells, against a Fourier solution.

Run: ``python -m tests.benchmarks.cross_diffusion [--cells 48 96 192] [--out FILE]``; five minutes for 48 to 192 cells,
half an hour more for 384. a = ((2, 1), (1, 3)), σ = (.1, .1), from Gaussians of masses 1 and 1.5 to t = .2, on elements
of degree 1; dt ∝ h. The values are those of Fourier solutions of 64² and 128² modes at four points.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import kspde

MODEL = kspde.CrossDiffusion(a=((2, 1), (1, 3)), sigma=(0.1, 0.1))
START = {
    "u1": kspde.GaussianMixture(weights=[1.0], means=[[-0.4, 0.0]], stds=[0.5]),
    "u2": kspde.GaussianMixture(weights=[1.0], means=[[0.5, 0.2]], stds=[0.5], mass=1.5),
}
POINTS = ((0.0, 0.0), (-0.8, 0.3), (0.7, 0.2), (1.5, -1.0))
VALUES = np.array([(0.25177, 0.27800, 0.07972, 0.00033), (0.28865, 0.09928, 0.35869, 0.04510)])


def row(cells: int, scheme: str) -> str:
    """Return a line of the table."""
    step = {"positive": {"dt": 0.48 / cells}, "positive-2": {"dt": 0.96 / cells}}.get(scheme, {"tol": 1e-6})
    box = kspde.Box(half_width=6.0, cells=cells, degree=1, grading=1.5)
    save = kspde.SaveAt(statistics=("free_energy",))
    begin = time.perf_counter()
    pde = kspde.solve(MODEL, START, box, t_end=0.2, scheme=scheme, save=save, **step)
    seconds = time.perf_counter() - begin
    table = pde.diagnostics
    error = np.abs([pde.evaluate(POINTS, name) for name in MODEL.species] - VALUES).max()
    rise = np.diff(table["free_energy"][:, 0]).max()
    mass = np.abs(table["mass"][-1] / [1.0, 1.5] - 1).max()
    first, second = table["maximum"][-1]
    columns = (
        f"{cells}²", scheme, len(table["t"]) - 1, f"{error:.1e}", f"{first:.4f}, {second:.4f}",
        f"{table['minimum'].min():.0e}", "falls" if rise < 0 else f"+{rise:.1e}", f"{mass:.0e}", f"{seconds:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, columns)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[48, 96, 192])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cross_diffusion.md")
    given = parser.parse_args()
    lines = [
        "# Cross-diffusion with strong interactions",
        "",
        "| cells | scheme | steps | error at four points | maxima (.306, .359) | minimum | entropy | mass | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cells in given.cells:
        for scheme in ("positive", "positive-2", "adaptive", "rosenbrock"):
            lines.append(row(cells, scheme))
            print(lines[-1], flush=True)
    given.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
