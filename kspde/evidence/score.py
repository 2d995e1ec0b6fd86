r"""The score ∇log u of a solved density at particles.

u is sampled on a uniform grid, and log u is interpolated by splines of order 6, whose derivative is the score. A
numerical density carries no information where it is below its own noise, 100 times its most negative value: there the
score is that of a Gaussian fitted to the density just above, and :meth:`Score.at` marks those particles.
"""

from __future__ import annotations

import math

import numpy as np

from kspde.particles.fields.base import Extent
from kspde.particles.sampled_field import SampledField
from kspde.protocols import SolvedDensity
from kspde.typing import Array, Mask

__all__ = ["Score"]

#: The fewest nodes across the particles, and the most on the whole grid.
_COARSE, _MOST = 64, 1_100_000
#: u is clipped below at this share of its maximum and at this many times its most negative value.
_LEAST, _NOISE = 1e-11, 10.0
#: The splines are trusted where u is this many times the clip.
_ABOVE = 10.0
#: The Gaussian of the tail is fitted where u is up to this many times the trusted level.
_FIT = 300.0
#: The error allowed in log u, between the nodes.
_TOL = 1e-4


class Score:
    """∇log u at particles of one species.

    Args:
        pde: the solution.
        species: the species.

    Attributes:
        error: the largest deviation of the splines from log u between the nodes, over all times.
    """

    def __init__(self, pde: SolvedDensity, species: str) -> None:
        self._pde, self._species = pde, species
        self._sampled_at = math.nan
        self._grid = SampledField(pde.model.dimension, coarse=_COARSE, most=_MOST)
        self.error = 0.0

    def update(self, extent: Extent, t: float) -> None:
        """Sample the density at time t on a grid that covers the extent. Collective."""
        if self._sampled_at == t and self._grid.covers(extent):
            return
        self._sampled_at = t
        self.error = max(self.error, self._grid.resolve(extent, lambda: self._sample(t), _TOL))

    def at(self, x: Array) -> tuple[Array, Mask]:
        """Return the score at points (n, d), and where the density is resolved, (n,). Rank-local."""
        values, score = np.empty(len(x)), np.empty_like(x)
        self._grid.at("log u", x, values, score)
        resolved = values > self._trusted
        matrix, slope = self._tail
        score[~resolved] = x[~resolved] @ matrix + slope
        return score, resolved

    def _sample(self, t: float) -> float:
        """Set the splines of log u; return their largest error half-way between nodes where u is resolved."""
        # Beyond the domain a node counts as unresolved.
        u = self._pde.on_grid(self._grid.axes, self._species, t, outside=0.0)
        clip = max(_LEAST * float(u.max()), -_NOISE * float(u.min()))
        log_u = np.log(np.maximum(u, clip))
        self._trusted = float(np.log(_ABOVE * clip))
        self._grid.interpolate("log u", log_u)
        self._tail = self._fitted(log_u)
        axes, points = self._grid.midpoints()
        exact = self._pde.on_grid(axes, self._species, t, outside=0.0).ravel()
        resolved = exact > _ABOVE * clip
        found = np.empty(int(resolved.sum()))
        self._grid.at("log u", points[resolved], found)
        # A deviation counts by the mass it concerns: the density itself is not accurate far out.
        weight = exact[resolved] / exact.max()
        return float(np.max(weight * np.abs(found - np.log(exact[resolved])), initial=0.0))

    def _fitted(self, log_u: Array) -> tuple[Array, Array]:
        """Return A, (d, d), and b, (d,), of the Gaussian tail log u ≈ x·Ax/2 + b·x + c, fitted by least squares."""
        d = self._grid.dimension
        grid = np.meshgrid(*self._grid.axes, indexing="ij")
        seen = (log_u > self._trusted) & (log_u < self._trusted + np.log(_FIT))
        x = [g[seen] for g in grid]
        pairs = [(i, j) for i in range(d) for j in range(i, d)]
        columns = [np.ones_like(log_u[seen]), *x, *(x[i] * x[j] for i, j in pairs)]
        found = np.linalg.lstsq(np.stack(columns, axis=1), log_u[seen], rcond=None)[0]
        matrix = np.zeros((d, d))
        for value, (i, j) in zip(found[1 + d :], pairs, strict=True):
            matrix[i, j] += value
            matrix[j, i] += value
        return matrix, found[1 : 1 + d]
