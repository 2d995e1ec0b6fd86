"""Fields of the whole plane on a box: their errors, and their cost beside fields with one decay condition.

Run: ``python tests/benchmarks/whole_space.py [--out FILE]``; a minute, on one thread. Writes a Markdown table.

Gaussians of std .7 in the box of half-width 14 with 32 equal cells of degree 8; errors of c (its constant included) and
of ∇c at all nodes, relative to their maxima. Times are processor times of one evaluation of c and ∇c, the least of
sixty in turns; "state" is where the modes of u are known, as in the adaptive schemes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI
from scipy.special import exp1

import kspde
from kspde.fem.backend import require

require()

from kspde.fem.spaces.base import decay_coefficient  # noqa: E402
from kspde.fem.spaces.box import BoxSpace  # noqa: E402
from kspde.fem.spaces.spectral import SymbolOperator  # noqa: E402

STD, HALF_WIDTH, REPEAT = 0.7, 14.0, 60


def gaussian(space: BoxSpace, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodal values of mass 1, and the distances and directions from the centre."""
    x = space.points - np.array(centre)
    r = np.maximum(np.linalg.norm(x, axis=1), 1e-9)
    u = np.exp(-0.5 * (r / STD) ** 2) / (2 * np.pi * STD**2)
    return u.reshape(space.mass.shape), r, x / r[:, None]


def errors() -> list[str]:
    """Return rows of errors of the logarithmic potential."""
    space = BoxSpace(kspde.Box(half_width=HALF_WIDTH, cells=32, degree=8, grading=0.0), MPI.COMM_SELF)
    operator = space.field_operator(kspde.LogPotential(), "c")
    lines = ["| centre | error of c | error of ∇c |", "| --- | ---: | ---: |"]
    for centre in ((0.0, 0.0), (3.0, 2.0), (6.0, -5.0)):
        u, r, away = gaussian(space, centre)
        c, slope = operator.apply(operator.prepare(u, None), True)
        assert slope is not None
        z = 0.5 * (r / STD) ** 2
        exact = -(2 * np.log(r) + exp1(z)) / (4 * np.pi)
        gradient = (np.expm1(-z) / (2 * np.pi * r))[:, None] * away
        found = [np.abs(a - b).max() / np.abs(b).max() for a, b in ((c, exact), (slope, gradient))]
        lines.append(f"| {centre} | {found[0]:.1e} | {found[1]:.1e} |")
    return lines


def costs() -> list[str]:
    """Return rows of times in ms."""
    lines = [
        "| nodes | decay condition | whole plane | ratio | whole plane, state | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cells in (64, 255):
        space = BoxSpace(kspde.Box(half_width=HALF_WIDTH, cells=cells, degree=4), MPI.COMM_SELF)
        kernel = kspde.Yukawa(screening=0.1)
        robin = float(decay_coefficient(0.1, space.radius, 2))
        one = SymbolOperator(space.laplacian(robin), kernel, robin, "c")
        whole = space.field_operator(kernel, "c")
        u, _, _ = gaussian(space, (3.0, 2.0))
        runs = [(one, None), (whole, None), (one, space.state(u)), (whole, space.state(u))]
        least = [np.inf] * len(runs)
        for _ in range(REPEAT):
            for i, (operator, state) in enumerate(runs):
                start = time.process_time()
                operator.apply(operator.prepare(u, state), True)
                least[i] = min(least[i], 1e3 * (time.process_time() - start))
        a, b, c, d = least
        n = space.shape[0]
        lines.append(f"| {n}² | {a:.1f} | {b:.1f} | {b / a:.2f} | {d:.1f} | {d / c:.2f} |")
    return lines


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "whole_space.md")
    text = "\n".join(["# Fields of the whole plane on a box", "", *errors(), "", "Times in ms.", "", *costs(), ""])
    sys.stdout.write(text)
    parser.parse_args().out.write_text(text)


if __name__ == "__main__":
    main()
