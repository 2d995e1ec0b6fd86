r"""The score ∇log u of a solved density at particles.

u is sampled on a uniform grid, and log u interpolated by splines of order 6, whose derivative is the score. A numerical
density carries no information where it is below its own noise, 100 times its most negative value: there the score is
that of a Gaussian fitted to the density just above, and :meth:`Score.at` says at which particles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.particles.fields.base import Extent
from kspde.particles.fields.splines import gather
from kspde.typing import Array

__all__ = ["Score"]

#: Nodes around the particles, so that the splines' conditions at the grid's edge have died out.
_MARGIN = 16
#: The fewest nodes across the particles, and the most on the whole grid.
_COARSE, _MOST = 64, 1_100_000
_SLACK = 0.1
#: u is clipped below at this share of its maximum and at this many times its most negative value.
_LEAST, _NOISE = 1e-11, 10.0
#: The splines are trusted where u is this many times the clip.
_ABOVE = 10.0
#: The Gaussian of the tail is fitted where u is up to this many times that.
_FIT = 300.0
#: The error allowed in log u, between the nodes.
_TOL = 1e-4


class Score:
    """∇log u at particles of one species.

    Args:
        pde: the solution.
        species: of which density.

    Attributes:
        error: the largest deviation of the splines from log u between the nodes, over all times.
    """

    def __init__(self, pde: Any, species: str) -> None:
        self._pde = pde
        self._species = species
        self._d = pde.model.dimension
        self._spacing = 0.0
        self.error = 0.0

    def update(self, extent: Extent, t: float) -> None:
        """Sample the density at time t on a grid that covers the extent. Collective."""
        if self._spacing == 0 or np.any(extent.lower < self._inner[0]) or np.any(extent.upper > self._inner[1]):
            self._build(extent, self._spacing or float((extent.upper - extent.lower).max()) / _COARSE or 1.0)
        error = self._sample(t)
        while error > _TOL and np.prod(2.0 * np.array(self._shape)) < _MOST:
            self._build(extent, 0.5 * self._spacing)
            error = self._sample(t)
        self.error = max(self.error, error)

    def at(self, x: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return the score at points (n, d), and where the density is resolved, (n,). Rank-local."""
        values, score = np.empty(len(x)), np.empty_like(x)
        gather(values, score, self._coefficients, x, self._lower, self._spacing)
        resolved = values > self._trusted
        beyond = ~resolved
        score[beyond] = x[beyond] @ self._tail[0] + self._tail[1]
        return score, resolved

    def _build(self, extent: Extent, spacing: float) -> None:
        slack = _SLACK * (extent.upper - extent.lower) + 2 * spacing
        self._inner = (extent.lower - slack, extent.upper + slack)
        self._spacing = spacing
        self._lower = self._inner[0] - _MARGIN * spacing
        self._shape = tuple(int(m) for m in np.ceil((self._inner[1] - self._inner[0]) / spacing) + 2 * _MARGIN + 1)

    def _sample(self, t: float) -> float:
        """Set the splines of log u; return their largest error half-way between nodes where u is resolved."""
        from scipy.ndimage import spline_filter

        axes = [low + self._spacing * np.arange(m) for low, m in zip(self._lower, self._shape, strict=True)]
        # Beyond the domain a node counts as unresolved.
        u = self._pde.on_grid(axes, self._species, t, outside=0.0)
        clip = max(_LEAST * float(u.max()), -_NOISE * float(u.min()))
        log_u = np.log(np.maximum(u, clip))
        self._trusted = float(np.log(_ABOVE * clip))
        self._coefficients = np.ascontiguousarray(spline_filter(log_u, order=5, mode="mirror"))
        self._tail = self._fit(axes, log_u)
        checks = [axis[_MARGIN:-_MARGIN:2] + 0.5 * self._spacing for axis in axes]
        exact = self._pde.on_grid(checks, self._species, t, outside=0.0).ravel()
        points = np.stack(np.meshgrid(*checks, indexing="ij"), axis=-1).reshape(-1, self._d)
        seen = exact > _ABOVE * clip
        found = np.empty(int(seen.sum()))
        gather(found, None, self._coefficients, points[seen], self._lower, self._spacing)
        # A deviation counts by the mass it concerns: the density itself is not accurate far out.
        weight = exact[seen] / exact.max()
        return float(np.max(weight * np.abs(found - np.log(exact[seen])), initial=0.0))

    def _fit(self, axes: list[Array], log_u: Array) -> tuple[Array, Array]:
        """Return A, (d, d), and b, (d,), of the Gaussian tail log u ≈ x·Ax/2 + b·x + c, fitted by least squares."""
        grid = np.meshgrid(*axes, indexing="ij")
        seen = (log_u > self._trusted) & (log_u < self._trusted + np.log(_FIT))
        x = [g[seen] for g in grid]
        pairs = [(i, j) for i in range(self._d) for j in range(i, self._d)]
        columns = [np.ones_like(log_u[seen]), *x, *(x[i] * x[j] for i, j in pairs)]
        found = np.linalg.lstsq(np.stack(columns, axis=1), log_u[seen], rcond=None)[0]
        matrix = np.zeros((self._d, self._d))
        for value, (i, j) in zip(found[1 + self._d :], pairs, strict=True):
            matrix[i, j] += value
            matrix[j, i] += value
        return matrix, found[1 : 1 + self._d]
