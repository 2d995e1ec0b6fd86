r"""The relative entropy by nearest neighbours: a second opinion, without kernel or grid for the particles.

With :math:`\rho_i` the distance from :math:`x_i` to its k-th nearest neighbour among the others, Kozachenko and
Leonenko's estimate of the entropy (Probl. Inf. Transm. 23, 1987; with k neighbours Goria, Leonenko, Mergel & Novi
Inverardi, J. Nonparametr. Stat. 17, 2005) and the mean of log u give

.. math::
    \hat H(p|u) = -\hat h(p) - \frac1n \sum_i \log u(x_i), \qquad
    \hat h(p) = \psi(n) - \psi(k) + \log V_D + \frac Dn \sum_i \log \rho_i,

:math:`V_D` the volume of the unit ball: Wang, Kulkarni and Verdú's estimate (IEEE Trans. Inf. Theory 55, 2009) with one
of the two densities known. It may be negative. Its bias, of order :math:`(k/n)^{2/D}` for smooth densities, is in the
floor as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kspde.distances.resampling import Replicas
from kspde.distances.statistics import Estimate, prediction, reach_of
from kspde.grids import Grid
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["LogDensity", "entropy_terms", "relative_entropy_of"]


class LogDensity:
    r"""The logarithm of :math:`u^{\otimes r}`, by a cubic spline of log u, clipped at 1e-10 of the maximum of u."""

    def __init__(self, grid: Grid, density: Array, r: int) -> None:
        from scipy.ndimage import spline_filter

        self._grid, self._r = grid, r
        log = np.log(np.maximum(density, 1e-10 * density.max()))
        self._spline = spline_filter(log, order=3, mode="nearest")

    def __call__(self, points: Array) -> Array:
        """Return the values at points of shape (n, r d); outside the grid those of its nearest point."""
        from scipy.ndimage import map_coordinates

        d = self._grid.dimension
        out = np.zeros(len(points))
        for i in range(self._r):
            at = (points[:, i * d : (i + 1) * d] - self._grid.lower) / self._grid.spacing
            out += map_coordinates(self._spline, at.T, order=3, mode="nearest", prefilter=False)
        return out


def entropy_terms(points: Array, k: int) -> Array:
    r"""Return :math:`\psi(n) - \psi(k) + \log V_D + D \log \rho_i`, shape (n,): their mean estimates the entropy.

    There are more than k points, shape (n, D). Those that coincide count as 1e-300 apart.
    """
    from scipy.spatial import cKDTree
    from scipy.special import digamma, gammaln

    n, dimension = points.shape
    distance = cKDTree(points).query(points, k=[k + 1])[0][:, 0]
    volume = 0.5 * dimension * np.log(np.pi) - gammaln(0.5 * dimension + 1)
    terms: Array = digamma(n) - digamma(k) + volume + dimension * np.log(np.maximum(distance, 1e-300))
    return terms


def relative_entropy_of(
    points: Array,
    log_density: Callable[[Array], Array],
    draw: Callable[[int, np.random.Generator], Array],
    *,
    k: int,
    replicas: Replicas,
) -> tuple[Estimate, Estimate]:
    r"""Return the estimate with the 95 % interval of its expectation, and the floor. Collective.

    The variance of the mean is that of draws from the density itself, which includes the dependence of terms through
    their neighbours, plus the excess of the variance of the particles' terms over that of such draws, divided by n:
    with p the particles' density the terms are :math:`\log(p/u)` plus a noise whose law is the same for all smooth
    densities.

    ``points`` are all of them, the same on every rank; ``draw`` returns n independent draws from u.
    """
    n = len(points)

    def measured(x: Array) -> Array:
        terms = -entropy_terms(x, k) - log_density(x)
        return np.array([terms.mean(), terms.var(ddof=1) / n])

    with together(replicas.comm):
        here = measured(points)
    draws = replicas.each(lambda replica: measured(draw(n, replicas.random(6, replica))))
    more = max(0.0, float(here[1] - draws[:, 1].mean()))
    reach = reach_of(replicas.count) * float(np.sqrt(draws[:, 0].var(ddof=1) + more))
    value = float(here[0])
    return Estimate(value, (value - reach, value + reach)), prediction(draws[:, 0], least=-np.inf)
