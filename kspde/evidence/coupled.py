r"""The distance of the particles' one-particle law from the density, from particles coupled to their mean field.

The interacting particles X_i (Wang, Li and Huang's (1.3)) and the mean-field particles :math:`\bar X_i` (their (1.8))
share starting points and Brownian motions, and :math:`\bar X_i` has the law :math:`u^\varepsilon`. So for each replica
r of the whole system

.. math:: \hat\delta_r(x) = \frac1N \sum_i K_h(x - X_i) - K_h(x - \bar X_i), \qquad
    E\,\hat\delta_r = K_h * \delta, \quad \delta = u_{N,1} - u^\varepsilon,

and the replicas are independent. What the two kernel density estimates share cancels: the variance falls with
:math:`|X - \bar X|^2`, not with 1/N alone. The Euler-Maruyama error of both systems cancels to leading order too.

**From δ̂ to an L¹ distance.** The norm of a noisy mean is too large, :math:`E\|\frac1R\sum_r\hat\delta_r\|_1 \ge
\|K_h * \delta\|_1` (Jensen). Signs taken from all other replicas make it too small: with :math:`\hat\delta_{-r}` their
mean,

.. math:: V = \frac1R \sum_r \int \hat\delta_r \operatorname{sign}\hat\delta_{-r}, \qquad
    E\,V = \int (K_h * \delta)\, E \operatorname{sign}\hat\delta_{-r} \le \|K_h * \delta\|_1,

since both factors are independent. Where the noise is small the two agree. The value is V (zero if negative), which is
never too large on average. The 95 % interval reaches from a lower limit for E V to an upper one for the expected norm
of the mean, each at 97.5 %, and so contains :math:`\|K_h * \delta\|_1` with probability at least 95 %. ``floor`` is the
norm of the mean for equal laws: X and X̄ are swapped at random, replica by replica. Integrals are sums over a grid with
four points per bandwidth in the plane: one twice as fine changes V by less than a tenth of its standard error, which is
up to 7 % where V is 1.5 of them, as in the study theorem2 at N = 250.

**Entropy.** To leading order the relative entropy of one particle's law is :math:`H_1 \simeq \frac12\int\delta^2/u`,
and that of the smoothed laws, which is no larger, :math:`\frac12\int(K_h * \delta)^2/(K_h * u)`. Products of different
replicas estimate the latter without bias, :math:`\frac1{R(R-1)}\sum_{r \ne s}\frac12\int\hat\delta_r\hat\delta_s /
(K_h * u)`; the interval is that of :func:`kspde.distances.statistics.squared_norm`.

Smoothing by K_h can only lower the norm, :math:`\|K_h * \delta\|_1 \le \|\delta\|_1`; ``smoothing`` is the amount by
which a second smoothing lowers the value.

Where the model has growth, particles count with their weights: δ̂_r and δ are differences of :math:`\mu^N` and u, per
unit of the mass of u at that time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kspde.comparable import check_species, mass_of
from kspde.distances.bandwidth import common_grid
from kspde.distances.statistics import Estimate, reach_of, squared_norm
from kspde.distances.target import Target
from kspde.errors import check_integer, check_number, counted
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.result import Result
from kspde.grids import GaussianSmoother, Grid, deposit
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import collective
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["CoupledDistance", "coupled_distance", "floor_of", "signed_estimate"]

#: Replicas are pooled to at most this many blocks, and to fewer where the blocks' grids would have more points.
_BLOCKS, _MOST_POINTS = 64, 1 << 26
#: The share of u's maximum down to which the entropy is taken.
_LEAST = 1e-6
#: Random swaps for the floor.
_SWAPS = 400


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CoupledDistance(Result):
    r"""The distance of the one-particle law from the density at the final time, both smoothed by K_h.

    Attributes:
        l1: :math:`\|K_h * (u_{N,1} - u)\|_1`, per unit of mass.
        entropy: :math:`\frac12\int(K_h * (u_{N,1} - u))^2/(K_h * u)`, the entropy H_1 of one particle to leading order.
        norm_of_mean: the norm of the mean difference itself, which noise makes larger.
        floor: the norm of the mean if the two laws were equal, by random swaps: its mean, and the interval of one draw.
        plain: :math:`\|K_h * \mu - u\|_1` of all interacting particles of all replicas together.
        plain_floor: the same norm of the mean-field particles, whose law is u.
        smoothing: the amount by which smoothing once more lowers the value.
        bandwidth: h.
        mean_distance: the root mean square of :math:`|X_i - \bar X_i|`.
        axes: the coordinates of the grid.
        difference: the mean of the replicas' differences on the grid.
        species: the species.
        n: N.
        replicas: R.
    """

    l1: Estimate
    entropy: Estimate
    norm_of_mean: float
    floor: Estimate
    plain: float
    plain_floor: float
    smoothing: float
    bandwidth: float
    mean_distance: float
    axes: tuple[Array, ...]
    difference: Array
    species: str
    n: int
    replicas: int

    @property
    def resolved(self) -> bool:
        """Whether the norm of the mean exceeds the floor's interval: equal laws do so once in forty times."""
        return self.norm_of_mean > self.floor.interval[1]

    def summary(self) -> dict[str, Any]:
        """Return the numbers that characterise the result, ready for JSON."""
        names = ("n", "replicas", "species", "norm_of_mean", "plain", "plain_floor", "smoothing", "bandwidth")
        return {
            **{name: getattr(self, name) for name in (*names, "mean_distance", "resolved")},
            "l1": self.l1.summary(),
            "entropy": self.entropy.summary(),
            "floor": self.floor.summary(),
        }

    def _lines(self) -> dict[str, str]:
        seen = "above its floor" if self.resolved else "not distinguishable from its floor"
        return {
            "Coupled distance": f"one of {self.n:,} particles of {self.species}, {counted(self.replicas, 'replica')}",
            "L1": f"{self.l1} ({seen})",
            "norm of the mean, its floor": f"{self.norm_of_mean:.4g}, {self.floor}",
            "bandwidth": f"{self.bandwidth:.4g}",
            "root mean square distance of the coupled particles": f"{self.mean_distance:.4g}",
        }


@collective(own=("progress",))
def coupled_distance(
    pde: SolvedDensity,
    *,
    n: int,
    dt: float,
    replicas: int = 32,
    seed: int = 0,
    species: str | None = None,
    bandwidth: float | None = None,
    include_self: bool = True,
    field_tol: float = 1e-6,
    progress: Callable[[float], None] | None = None,
) -> CoupledDistance:
    r"""Return the coupled estimate of :math:`\|u_{N,1} - u\|_1` at the solution's final time. Collective.

    Args:
        pde: the result of ``solve``, saved from t = 0 to ``t_end``.
        n: the number N of particles of each species.
        dt: the time step > 0.
        replicas: the number of independent systems, at least 4.
        seed: an integer >= 0.
        species: the species, where there are several.
        bandwidth: h > 0; None takes the one that minimises the mean integrated squared error of a plain kernel density
            estimate from the particles of all replicas, so that both estimates are seen at the same h.
        include_self: whether j = i is in the fields' sums.
        field_tol: the error allowed in the fields, as for ``simulate``. It bounds what can be resolved.
        progress: a function called on every rank after every step with t/``t_end``.

    Raises:
        InputError: a value out of range, states that are not saved, or a bandwidth that no grid resolves.
        ConvergenceError: a coefficient or a position that is not finite.
    """
    check_integer("replicas", replicas, at_least=4)
    if bandwidth is not None:
        check_number("bandwidth", bandwidth, above=0)
    ensemble = Ensemble(
        pde=pde,
        n=n,
        dt=dt,
        replicas=replicas,
        seed=seed,
        coupled=True,
        include_self=include_self,
        field_tol=field_tol,
        progress=progress,
        growth=True,
    )
    name = check_species(pde.model, species)
    target = Target.of(pde, name)
    grid, h = common_grid(target, None, n * replicas, bandwidth)
    ensemble.run()
    deposits, sizes, square = _deposited(ensemble, name, grid)
    smoother, u = GaussianSmoother(grid, h), target.on_grid(grid.axes)
    differences, twice, plain = _smoothed(deposits, sizes, smoother, u)
    value, norm, interval = signed_estimate(differences, grid.cell_volume)
    return CoupledDistance(
        l1=Estimate(max(value, 0.0), interval),
        entropy=_entropy(differences, smoother.smooth(u).ravel() / mass_of(pde, name), grid.cell_volume),
        norm_of_mean=norm,
        floor=floor_of(differences, grid.cell_volume, seed),
        plain=plain[0],
        plain_floor=plain[1],
        smoothing=value - signed_estimate(twice, grid.cell_volume)[0],
        bandwidth=h,
        mean_distance=float(np.sqrt(square / sizes.sum())),
        axes=grid.axes,
        difference=differences.mean(axis=0).reshape(grid.shape),
        species=name,
        n=n,
        replicas=replicas,
    )


def _deposited(ensemble: Ensemble, species: str, grid: Grid) -> tuple[Array, Array, float]:
    """Return X and X̄ on the grid by blocks of replicas, (blocks, 2, ...), the blocks' sizes, Σ|X − X̄|². Collective."""
    replicas = ensemble.replicas
    x, y = (ensemble.systems[label].positions[species] for label in ("particles", "mean_field"))
    blocks = min(_BLOCKS, replicas, max(4, _MOST_POINTS // int(np.prod(grid.shape))))
    ends = np.searchsorted(ensemble.replica_of * blocks // replicas, np.arange(blocks + 1))
    deposits = np.zeros((blocks, 2, *grid.shape))
    weights = [_shares(ensemble, label, species) for label in ("particles", "mean_field")]
    for block, (first, last) in enumerate(pairwise(ends.tolist())):
        if last > first:
            for k, (points, w) in enumerate(zip((x, y), weights, strict=True)):
                deposits[block, k] = deposit(grid, points[first:last], None if w is None else w[first:last])
    sizes = np.bincount(np.arange(replicas) * blocks // replicas, minlength=blocks) * np.float64(ensemble.n)
    square = reduced(ensemble.comm, np.array([np.square(x - y).sum()]))
    return reduced(ensemble.comm, deposits), sizes, float(square[0])


def _shares(ensemble: Ensemble, label: str, species: str) -> Array | None:
    """Return weights in units of an N-th of the density's mass, or None where all are 1."""
    own = ensemble.systems[label].own_weights(species)
    return None if own is None else own * (ensemble.n / mass_of(ensemble.pde, species))


def _smoothed(
    deposits: Array, sizes: Array, smoother: GaussianSmoother, u: Array
) -> tuple[Array, Array, tuple[float, float]]:
    """Return the differences smoothed once and twice, both of shape (blocks, points), and the plain distances."""
    grid, blocks = smoother.grid, len(sizes)
    u = u / (u.sum() * grid.cell_volume)
    differences = np.stack([smoother.density(x - y) / size for (x, y), size in zip(deposits, sizes, strict=True)])
    twice = np.stack([smoother.smooth(difference) for difference in differences])
    own, known = (
        float(np.abs(smoother.density(part) / sizes.sum() - u).sum()) * grid.cell_volume
        for part in deposits.sum(axis=0)
    )
    return differences.reshape(blocks, -1), twice.reshape(blocks, -1), (own, known)


def signed_estimate(differences: Array, volume: float) -> tuple[float, float, tuple[float, float]]:
    r"""Return V, the norm of the mean, and the 95 % interval of the norm of the expected difference.

    The rows of ``differences`` are independent estimates δ̂_r of one function on a grid, whose points have one weight.
    """
    count = len(differences)
    total = differences.sum(axis=0)
    held_out, left_out = np.empty(count), np.empty(count)
    for r, own in enumerate(differences):
        others = total - own
        held_out[r] = float(own @ np.sign(others)) * volume
        left_out[r] = float(np.abs(others).sum()) * volume / (count - 1)
    value = float(held_out.mean())
    norm = float(np.abs(total).sum()) * volume / count
    reach = reach_of(count)
    below = reach * float(held_out.std(ddof=1)) / np.sqrt(count)
    above = reach * float(np.sqrt((count - 1) * left_out.var()))  # the delete-one jackknife
    return value, norm, (max(0.0, value - below), float(norm + above))


def _entropy(differences: Array, u: Array, volume: float) -> Estimate:
    """Return the mean of ½∫δ_r δ_s/u over r ≠ s with its interval; where u is 1e-6 of its maximum or more."""
    seen = u > _LEAST * u.max()
    return squared_norm(differences[:, seen] * np.sqrt(0.5 * volume / u[seen]))


def floor_of(differences: Array, volume: float, seed: int) -> Estimate:
    """Return the norm of the mean under random swaps of X and X̄: mean, and the interval of one draw."""
    count = len(differences)
    signs = np.random.default_rng([seed, count]).integers(0, 2, (_SWAPS, count)) * 2.0 - 1.0
    norms = np.concatenate([np.abs(part @ differences).sum(axis=1) for part in np.array_split(signs, 20)])
    norms *= volume / count
    low, high = np.quantile(norms, (0.025, 0.975))
    return Estimate(float(norms.mean()), (float(low), float(high)))
