"""Fields of the whole plane on a box: their errors, and their cost beside fields with one decay condition.

Run: ``OMP_NUM_THREADS=1 python tests/benchmarks/whole_space.py [--out FILE]``; two minutes. Writes a Markdown table.

Gaussians of std .7 in the box of half-width 14 with 32 equal cells of degree 8; errors of c (its constant included) and
of ∇c at all nodes, relative to their maxima. Times are processor times of one evaluation of c and ∇c of a Gaussian that
moves by about its standard deviation from turn to turn, all fields in each turn. A ratio is the median of quotients of
two times in the same turn, with the least and largest such median of five repeats. "State" is where the modes of u are
known, as in the adaptive schemes.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
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

STD, HALF_WIDTH, TURNS, REPEATS = 0.7, 14.0, 24, 5


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
    """Return rows of times in ms, and of ratios."""
    lines = [
        "| nodes | cells, degree | decay condition | field | whole plane | ratio | whole plane, state | ratio |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for cells, degree in ((32, 8), (64, 4), (127, 8), (255, 4)):
        box = kspde.Box(half_width=HALF_WIDTH, cells=cells, degree=degree)
        space = BoxSpace(replace(box, grading=0.0) if cells == 32 else box, MPI.COMM_SELF)
        robin = float(decay_coefficient(0.1, space.radius, 2))
        kernels = {
            "log": kspde.LogPotential(),
            **{f"Yukawa, μ = {m:g}": kspde.Yukawa(screening=m) for m in (0.1, 1e-3)},
        }
        one = SymbolOperator(space.laplacian(robin), kspde.Yukawa(screening=0.1), robin, "c")
        operators = [one, *(space.field_operator(kernel, "c") for kernel in kernels.values())]
        times = np.empty((REPEATS, TURNS, 2, len(operators)))
        for repeat, turn in np.ndindex(REPEATS, TURNS):
            angle = 2 * np.pi * (turn / TURNS + repeat / (REPEATS * TURNS))
            u, _, _ = gaussian(space, (3 * np.cos(angle), 2 * np.sin(angle)))
            for known, state in enumerate((None, space.state(u))):
                for i, operator in enumerate(operators):
                    start = time.process_time()
                    operator.apply(operator.prepare(u, state), True)
                    times[repeat, turn, known, i] = 1e3 * (time.process_time() - start)
        usual, quotients = np.median(times, axis=(0, 1)), times / times[..., :1]
        medians, of_repeats = np.median(quotients, axis=(0, 1)), np.median(quotients, axis=1)
        for i, name in enumerate(kernels, start=1):
            ends = zip(of_repeats[..., i].min(axis=0), of_repeats[..., i].max(axis=0), strict=True)
            cases = [
                f"{usual[k, i]:.1f} | {medians[k, i]:.2f} ({least:.2f} to {most:.2f})"
                for k, (least, most) in enumerate(ends)
            ]
            lines.append(
                f"| {space.shape[0]}² | {cells}, {degree} | {usual[0, 0]:.1f} | {name} | {' | '.join(cases)} |"
            )
    return lines


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "whole_space.md")
    text = "\n".join(
        [
            "# Fields of the whole plane on a box",
            "",
            *errors(),
            "",
            "Times in ms; the ratios with those of five repeats.",
            "",
            *costs(),
            "",
        ]
    )
    sys.stdout.write(text)
    parser.parse_args().out.write_text(text)


if __name__ == "__main__":
    main()
