r"""Two densities: their distances by quadrature.

L¹, L² and the relative entropies are integrals by Gauss-Legendre rules between the vertices of both meshes, where they
are boxes, so that the rules see smooth functions; on other domains over equal intervals. Wasserstein distances and the
energy distance are those of the projections onto lines (:mod:`kspde.distances.sliced`): on the line W_p themselves,

.. math:: W_1 = \int |F_a - F_b|, \qquad W_2^2 = \int_0^1 |Q_a - Q_b|^2,

in more dimensions the sliced ones. Each number is computed twice, by a rule and by one half as fine; their difference
is its error. A discrete density is trusted down to :data:`kspde.distances.target.CLIP` of its maximum. In H(p|q) = ∫ p
log(p/q) a p below that counts as 0, and a q as that level; the change of the entropies when the level is ten times as
high is part of their error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from kspde.distances.bandwidth import check_mass
from kspde.distances.measured import Estimates, Measured
from kspde.distances.quadrature import converged, over_box
from kspde.distances.registry import DensityPair, Formula, OnGrid, OnLines, those
from kspde.distances.sliced import Lines
from kspde.distances.statistics import Estimate
from kspde.distances.target import Target
from kspde.grids import Grid
from kspde.typing import Array

__all__ = ["density_distances", "edges_of", "shown_grid"]

#: A density that is 0 where the other has more than this share of its mass makes the entropy infinite.
_SINGULAR = 1e-8

#: Points per direction of the grid for lines and pictures, by dimension: one more than a multiple of 2.
_SHOWN = {1: 8193, 2: 513, 3: 129}

#: Quantile levels.
_LEVELS = 131_072


def density_distances(first: Target, second: Target, formulas: Sequence[Formula]) -> Measured:
    """Return the distances of two densities, each scaled to mass 1, the first taken as the reference. Collective.

    Raises:
        InputError: a density without mass, or whose mass the rule does not find.
    """
    both = first, second
    bulk = [target.mass_grid() for target in both]
    found = _by_quadrature(both, edges_of(both, bulk), those(OnGrid, formulas))
    grid = shown_grid(first.d, bulk)
    values = [np.maximum(target.on_grid(grid.axes), 0.0) for target in both]
    for target, each in zip(both, values, strict=True):
        check_mass(float(each.sum()) * grid.cell_volume, target.mass, grid)
    a, b = (each / (each.sum() * grid.cell_volume) for each in values)
    found = found.joined(Estimates(by_name=_on_lines(grid, a, b, those(OnLines, formulas))))
    return replace(found, axes=grid.axes, density_pde=a, density_particles=b, clip_level=max(first.clip, second.clip))


def shown_grid(d: int, bulk: Sequence[Grid]) -> Grid:
    """Return the grid for lines and pictures, over the mass of both."""
    lower: Array = np.stack([g.lower for g in bulk]).min(axis=0)
    upper: Array = np.stack([g.upper for g in bulk]).max(axis=0)
    margin = 0.3 * (upper - lower)  # tails, for W_2
    return Grid.covering(lower - margin, upper + margin, [_SHOWN[d]] * d)


def edges_of(both: Sequence[Target], bulk: Sequence[Grid]) -> tuple[Array, ...]:
    """Return the edges over the boxes of both where edges are known, and where the mass is otherwise."""
    boxes = []
    for target, grid in zip(both, bulk, strict=True):
        margin = 0.5 * (grid.upper - grid.lower)
        ends = np.stack([grid.lower - margin, grid.upper + margin])
        boxes.append(target.box if target.edges else np.clip(ends, *target.domain))
    box = np.stack([np.min(boxes, axis=0)[0], np.max(boxes, axis=0)[1]])
    return over_box(box, *(target.edges for target in both))


def _by_quadrature(both: tuple[Target, Target], edges: tuple[Array, ...], formulas: Sequence[OnGrid]) -> Measured:
    """Return distances by quadrature rules, with the masses where one density is below its level. Collective."""
    uncertain = (0.0, 0.0)

    def measured(nodes: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
        """Return the distances, and again with the densities trusted down to ten times their levels only."""
        nonlocal uncertain
        weight = reduce(np.multiply.outer, weights)
        raw = [target.on_grid(nodes) for target in both]
        a, b = (values / float(np.vdot(weight, values)) for values in raw)
        levels = [target.clip * float(u.max()) for target, u in zip(both, (a, b), strict=True)]
        covered = (np.where(a > levels[0], 0.0, b), np.where(b > levels[1], 0.0, a))
        uncertain = (float(np.vdot(weight, covered[0])), float(np.vdot(weight, covered[1])))
        plain = DensityPair(b, a, weight)

        def distance(formula: OnGrid, factor: float) -> float:
            if not formula.logarithmic:
                return formula.between(plain)
            p, q = (b, factor * levels[1]), (a, factor * levels[0])
            pair = _trusted(*q, *p, weight) if formula.reverse else _trusted(*p, *q, weight)
            return np.inf if pair is None else formula.between(pair)

        return np.array([distance(formula, factor) for factor in (1.0, 10.0) for formula in formulas])

    count, by_name = len(formulas), {}
    if formulas:
        value, error = converged(edges, measured)
        with np.errstate(invalid="ignore"):
            moved = np.abs(value[count:] - value[:count])
        error = error[:count] + np.where(np.isfinite(moved), moved, 0.0)
        by_name = {formula.name: _within(v, e) for formula, v, e in zip(formulas, value[:count], error, strict=True)}
    return Measured(by_name=by_name, clipped_mass=uncertain[0], uncovered_mass=uncertain[1])


def _trusted(p: Array, p_level: float, q: Array, q_level: float, weight: Array) -> DensityPair | None:
    """Return two densities for logarithms: below its level p counts as 0, at a negligible cost, and q as its level.

    None where q vanishes and p does not, so that no finite value is right.
    """
    if float(np.vdot(weight, np.where(q == 0, p, 0.0))) > _SINGULAR:
        return None
    p, q = np.where(p > p_level, p, 0.0), np.maximum(q, q_level)
    p, q = (u / float(np.vdot(weight, u)) for u in (p, q))
    return DensityPair(p, q, weight)


def _on_lines(grid: Grid, first: Array, second: Array, formulas: Sequence[OnLines]) -> dict[str, Estimate]:
    """Return the distances of projections by name, from this grid and from every other of its points."""
    if not formulas:
        return {}
    every_other = tuple(slice(None, None, 2) for _ in grid.axes)
    coarse = Grid(axes=tuple(axis[::2] for axis in grid.axes))
    reach = 0.5 * float(np.linalg.norm(grid.upper - grid.lower))
    out = []
    for at, part, levels in ((grid, ..., _LEVELS), (coarse, every_other, _LEVELS // 2)):
        volume = at.cell_volume
        a, b = (Lines(at, u[part] / (u[part].sum() * volume), 1, reach) for u in (first, second))
        out.append(a.distances_to(b, levels, formulas))
    return {formula.name: _within(v, e) for formula, v, e in zip(formulas, out[0], abs(out[0] - out[1]), strict=True)}


def _within(value: float, error: float) -> Estimate:
    return Estimate(float(value), (max(0.0, float(value - error)), float(value + error)))
