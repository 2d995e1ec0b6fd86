r"""Integrals of densities over a box, by Gauss-Legendre rules between the coordinates where they are not smooth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kspde.typing import Array

__all__ = ["converged", "over_box", "uniform_edges"]

# By dimension: intervals per direction where no edges are known, and points per direction at most.
_INTERVALS = {1: 128, 2: 32, 3: 10}
_MOST = {1: 65_536, 2: 1_600, 3: 176}

#: Gauss points of an interval, at least and before it is halved.
_POINTS = (2, 6)

#: Refinement ends where two rules in succession agree to this.
_TOLERANCE = 1e-4


def uniform_edges(box: Array) -> tuple[Array, ...]:
    """Return the ends of equal intervals over a box of shape (2, d)."""
    d = box.shape[1]
    return tuple(np.linspace(a, b, _INTERVALS[d] + 1) for a, b in box.T)


def over_box(box: Array, *edges: Sequence[Array]) -> tuple[Array, ...]:
    """Return, per direction, all edges inside a box of shape (2, d), with its ends, ascending.

    Equal intervals replace edges that are too many for two rules.
    """
    d = box.shape[1]
    uniform = uniform_edges(box)
    out = []
    for axis, (a, b) in enumerate(box.T):
        every = np.concatenate([[a, b], *(each[axis] for each in edges if each)])
        every = np.unique(every[(every >= a) & (every <= b)])
        kept = np.concatenate([[True], np.diff(every) > 1e-9 * (b - a)])
        every = every[kept]
        every[-1] = b
        if len(every) < 4:
            every = uniform[axis]
        if 2 * _POINTS[0] * len(every) > _MOST[d]:
            every = np.linspace(a, b, _MOST[d] // (2 * _POINTS[1]))
        out.append(every)
    return tuple(out)


def converged(
    edges: Sequence[Array], measure: Callable[[tuple[Array, ...], tuple[Array, ...]], Array]
) -> tuple[Array, Array]:
    """Return integrals by rules that are refined until two in succession agree, or the points are as many as allowed.

    The second array holds the differences from those of the rule with half as many points per direction, which are
    larger than the errors where the rules converge.

    Args:
        edges: the ends of the intervals in each direction.
        measure: a function of the nodes and the weights in each direction. Infinite numbers remain infinite.
    """
    most = _MOST[len(edges)]
    longest = max(len(axis) - 1 for axis in edges)
    points = int(np.clip(most // (2 * longest), *_POINTS))
    parts = 1
    coarse = measure(*_rule(edges, points, parts))
    while True:
        parts *= 2
        fine = measure(*_rule(edges, points, parts))
        with np.errstate(invalid="ignore"):
            error = np.where(np.isfinite(fine), np.abs(fine - coarse), 0.0)
        small = error <= _TOLERANCE * np.abs(np.where(np.isfinite(fine), fine, 1.0)) + 1e-15
        if small.all() or 2 * parts * points * longest > most:
            return fine, error
        coarse = fine


def _rule(edges: Sequence[Array], points: int, parts: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return nodes and weights of each direction, each interval cut into equal parts."""
    s, w = np.polynomial.legendre.leggauss(points)
    nodes, weights = [], []
    for axis in edges:
        cuts = axis[:-1, None] + np.diff(axis)[:, None] * (np.arange(parts) / parts)
        half = 0.5 * np.repeat(np.diff(axis) / parts, parts)
        nodes.append((cuts.ravel()[:, None] + half[:, None] * (1 + s)).ravel())
        weights.append((half[:, None] * w).ravel())
    return tuple(nodes), tuple(weights)
