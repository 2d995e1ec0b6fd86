r"""Distances between two densities, by quadrature.

L¹, L² and the relative entropies are integrals by Gauss-Legendre rules between the vertices of both meshes, where they
are boxes, so that the rules see smooth functions; on other domains over equal intervals. Wasserstein distances and the
energy distance are those of the projections onto lines (:mod:`kspde.distances.sliced`): on the line W_p themselves,

.. math:: W_1 = \int |F_a - F_b|, \qquad W_2^2 = \int_0^1 |Q_a - Q_b|^2,

in more dimensions the sliced ones. Each number is computed twice, with a rule and with one half as fine; how much they
differ is its error. A discrete density is trusted down to :data:`kspde.distances.target.CLIP` of its maximum. In
H(p|q) = ∫ p log(p/q) a p below that counts as 0, and a q as that level; what the entropies change by when the level is
ten times as high is part of their error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from kspde.distances.quadrature import converged, over_box
from kspde.distances.region import check_mass, mass_grid
from kspde.distances.sliced import ON_LINES, Lines
from kspde.distances.statistics import ON_GRID, Estimate, check_pinsker
from kspde.distances.target import View
from kspde.grids import Array, Grid

__all__ = ["BETWEEN_DENSITIES", "Integrated", "density_distances"]

#: What is measured here.
BETWEEN_DENSITIES = (*ON_GRID, *ON_LINES)

#: A density that is 0 where the other has more than this share of its mass makes the entropy infinite.
_SINGULAR = 1e-8

#: Points a direction of the grid for lines and pictures, by dimension: one more than a multiple of 2.
_SHOWN = {1: 8193, 2: 513, 3: 129}

#: Quantile levels.
_LEVELS = 131_072


@dataclass(frozen=True, kw_only=True, eq=False)
class Integrated:
    """Distances between densities; :class:`kspde.distances.result.Distance` describes the attributes."""

    measured: Mapping[str, Estimate]
    axes: tuple[Array, ...]
    first: Array
    second: Array
    clipped_mass: float
    uncovered_mass: float


def density_distances(first: View, second: View, names: Collection[str]) -> Integrated:
    """Return the distances of two densities, each scaled to mass 1, the first taken as the reference. Collective.

    Raises:
        InputError: a density without mass, or whose mass the rule does not find.
    """
    bulk = [mass_grid(view) for view in (first, second)]
    lower: Array = np.stack([g.lower for g in bulk]).min(axis=0)
    upper: Array = np.stack([g.upper for g in bulk]).max(axis=0)
    measured = {}
    whole = _Pair(first, second, _whole(first, second, bulk))
    if set(names) & set(ON_GRID):
        measured = whole.distances()
    margin = 0.3 * (upper - lower)  # tails, for W_2
    grid = Grid.covering(lower - margin, upper + margin, [_SHOWN[first.d]] * first.d)
    values = [np.maximum(view.on_grid(grid.axes), 0.0) for view in (first, second)]
    for view, each in zip((first, second), values, strict=True):
        check_mass(float(each.sum()) * grid.cell_volume, view.mass, grid)
    values = [each / (each.sum() * grid.cell_volume) for each in values]
    on_lines = [name for name in ON_LINES if name in names]
    if on_lines:
        found = dict(zip(ON_LINES, _on_lines(grid, *values), strict=True))
        measured |= {name: found[name] for name in on_lines}
    return Integrated(
        measured=measured,
        axes=grid.axes,
        first=values[0],
        second=values[1],
        clipped_mass=whole.clipped_mass,
        uncovered_mass=whole.uncovered_mass,
    )


def _whole(first: View, second: View, bulk: Collection[Grid]) -> tuple[Array, ...]:
    """Return the edges over all of both domains, or where the mass is if they have none."""
    boxes = []
    for view, grid in zip((first, second), bulk, strict=True):
        if view.box is not None:
            boxes.append(view.box)
        elif view.edges:
            boxes.append(np.outer((-1.0, 1.0), np.full(view.d, view.half_width)))
        else:
            margin = 0.5 * (grid.upper - grid.lower)
            ends = np.stack([grid.lower - margin, grid.upper + margin])
            boxes.append(np.clip(ends, -view.half_width, view.half_width))
    box = np.stack([np.min(boxes, axis=0)[0], np.max(boxes, axis=0)[1]])
    return over_box(box, first.edges, second.edges)


class _Pair:
    """Two densities on the nodes of quadrature rules."""

    def __init__(self, first: View, second: View, edges: tuple[Array, ...]) -> None:
        self._views = first, second
        self._edges = edges
        self.clipped_mass = self.uncovered_mass = 0.0

    def distances(self) -> dict[str, Estimate]:
        """Return L¹, L² and both relative entropies. Collective."""
        found = converged(self._edges, self._measured)
        value, error = found.value[:4].copy(), found.error[:4].copy()
        with np.errstate(invalid="ignore"):
            moved = np.abs(found.value[4:] - value[2:])
        error[2:] += np.where(np.isfinite(moved), moved, 0.0)
        return {
            name: Estimate(float(v), (max(0.0, float(v - e)), float(v + e)))
            for name, v, e in zip(ON_GRID, value, error, strict=True)
        }

    def _measured(self, nodes: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
        weight = weights[0]
        for each in weights[1:]:
            weight = np.multiply.outer(weight, each)
        raw = [view.on_grid(nodes) for view in self._views]
        a, b = (values / float(np.vdot(weight, values)) for values in raw)
        l1 = float(np.vdot(weight, np.abs(b - a)))
        l2 = float(np.sqrt(np.vdot(weight, np.square(b - a))))
        entropies = [self._entropies(a, b, weight, factor) for factor in (1.0, 10.0)]
        return np.array([l1, l2, *entropies[0], *entropies[1]])

    def _entropies(self, a: Array, b: Array, weight: Array, factor: float) -> tuple[float, float]:
        """Return H(b|a) and H(a|b), with the densities trusted down to a multiple of their levels."""
        levels = [factor * view.clip * float(u.max()) for view, u in zip(self._views, (a, b), strict=True)]
        if factor == 1.0:
            self.clipped_mass = float(np.vdot(weight, np.where(a > levels[0], 0.0, b)))
            self.uncovered_mass = float(np.vdot(weight, np.where(b > levels[1], 0.0, a)))
        return _entropy(b, levels[1], a, levels[0], weight), _entropy(a, levels[0], b, levels[1], weight)


def _entropy(p: Array, p_level: float, q: Array, q_level: float, weight: Array) -> float:
    r"""Return H(p|q) as the integral of :math:`p \log(p/q) - p + q`, which does not cancel.

    Below its level p counts as 0, which costs next to nothing, and q as its level.
    """
    # Nothing finite is right where one vanishes altogether and the other does not.
    if float(np.vdot(weight, np.where(q == 0, p, 0.0))) > _SINGULAR:
        return float(np.inf)
    p, q = np.where(p > p_level, p, 0.0), np.maximum(q, q_level)
    p, q = (u / float(np.vdot(weight, u)) for u in (p, q))
    terms = q - p
    here = p > 0
    terms[here] += p[here] * np.log(p[here] / q[here])
    entropy = max(0.0, float(np.vdot(weight, terms)))
    check_pinsker(float(np.vdot(weight, np.abs(p - q))), entropy, np.inf)
    return entropy


def _on_lines(grid: Grid, first: Array, second: Array) -> list[Estimate]:
    """Return the distances in the order of :data:`ON_LINES`."""
    every_other = tuple(slice(None, None, 2) for _ in grid.axes)
    coarse = Grid(axes=tuple(axis[::2] for axis in grid.axes))
    reach = 0.5 * float(np.linalg.norm(grid.upper - grid.lower))
    out = []
    for at, part, levels in ((grid, ..., _LEVELS), (coarse, every_other, _LEVELS // 2)):
        volume = at.cell_volume
        a, b = (Lines(at, u[part] / (u[part].sum() * volume), 1, reach) for u in (first, second))
        out.append(a.distances_to(b, levels))
    return [
        Estimate(float(v), (max(0.0, float(v - e)), float(v + e)))
        for v, e in zip(out[0], abs(out[0] - out[1]), strict=True)
    ]
