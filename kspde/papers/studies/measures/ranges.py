r"""A measure of moderate interaction: the range η at which N particles are closest to the local system.

Particles that interact through V^η (Chen, Daus and Jüngel's (2), N of each species) miss the local system, (1) and (5),
by a bias that falls with η and by noise that grows.

**The bias is of order η², which is proved.** V is symmetric, so that :math:`\|V^\eta * w - aw\|_2 \le
\tfrac12\eta^2\|V\|_1\|D^2w\|_2`. With w = ∇u_η in place of the first order in their (18), the proof of (10) gives
:math:`\|u_\eta - u\| \le C\eta^2` in both norms: it needs D³u_η in L²L², which (8) has for s ≥ 2 (always, if d ≥ 2).
Then :math:`E\sup_t|\bar X - \hat X|^2 \le C\eta^4` for one particle, since :math:`\int|f|^2u \le
\|u\|_\infty\|f\|_2^2` for the difference f of the drifts, and D²u_η is bounded for their s > d/2 + 2.

**The noise** is that of :math:`V^\eta * (\mu_N - u)`. Its powers are proved for independent particles, whose second
moments are integrals of the heat kernel. For interacting ones they are formal. Mean squares, with one species, a = 1:

- the *density* in L²: :math:`\|V\|_2^2/(N\eta^d)`, as for kernel density estimates, and the same power in L¹ where ∫√u
  is finite. Against a bias :math:`b\eta^4` the best range is of order :math:`N^{-1/(d+4)}`;
- the *drift* at a point: :math:`\|\nabla V\|_2^2 u/(N\eta^{d+2})`; the best range is of order :math:`N^{-1/(d+6)}`;
- the *paths*: the noise of the drift is forgotten after a time :math:`\eta^2/\sigma`, since the mode k of
  :math:`\mu_N - u` decays at the rate :math:`\sigma|k|^2` and the particle leaves it at the same rate. So

  .. math::
      E\Big|\int_0^t \nabla V^\eta * (\mu_N - u)(\hat X, s)\,ds\Big|^2 \approx
      \frac2N\int_0^t\!\!\int u^2\,dx\,ds\,\frac1{(2\pi)^d}\!\int\frac{|k|^2\hat V(\eta k)^2}{2\sigma|k|^2}\,dk
      = \frac{\|V\|_2^2}{\sigma N\eta^d}\int_0^t\!\!\int u^2\,dx\,ds,

  and the best range is of order :math:`N^{-1/(d+4)}`, not :math:`N^{-1/(d+6)}`. The largest of N particles, as in
  Theorem 3, is that of N nearly Gaussian numbers: :math:`\log N/N` in place of 1/N.

With interaction, the modes of all species have the matrix :math:`M(x, k) = \operatorname{diag}\sigma +
\operatorname{diag}(u)A\hat V(\eta k)` in place of σ, and, frozen at x, the covariance C with :math:`MC + CM^T =
2\operatorname{diag}(\sigma_i u_i m_i)/N`, m_i the masses; species i sees :math:`2\int_0^t(2\pi)^{-d}\!\int\hat V^2\,
a_i\cdot(M + \sigma_i)^{-1}C a_i\,dk\,ds`. The powers stay; ``tests/benchmarks/optimal_range.py`` has the constants.
Correlations of order :math:`1/(N\eta^d)` also shift the law of one particle by that much, so that its
distance from u, :math:`\eta^2 + 1/(N\eta^d)`, is least at :math:`N^{-1/(d+2)}`: formal, and not measured here.

Theorem 3 proves the order 1 in η where :math:`\eta \ge (\delta\log N)^{-1/(2d+4)}`, and says nothing of smaller η.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from kspde.distances.statistics import reach_of
from kspde.errors import InputError, check_finite, check_integer
from kspde.evidence.ensemble import Ensemble
from kspde.fem.solution import Solution
from kspde.grids import Grid, deposit
from kspde.models import FieldValues
from kspde.papers.experiment import Experiment
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.measures.particles import particles_of
from kspde.papers.studies.quantities import Meaning, Quantity, given
from kspde.papers.theory import interaction_range
from kspde.runtime.reductions import everyones
from kspde.typing import Array

__all__ = ["OptimalRange", "minimiser"]

#: Replicas at least; draws of the bootstrap; points of the grid per range η.
_REPLICAS, _DRAWS, _PER_RANGE = 8, 400, 12

_ERRORS = {
    "path": ("E Σ_i sup_t |X − X̂|^2", "the mean square distance of particles from the local density's"),
    "largest": ("E Σ_i sup_t max_k |X − X̂|", "the largest distance of a particle from the local density's"),
    "density": ("E ‖V^η * μ_N − u‖_2^2", "the mean square error of the density V^η * μ_N in L^2"),
    "drift": ("E ∫ |∇V^η * μ_N − ∇u|^2 u", "the mean square error of the drift at a particle"),
}


@dataclass(frozen=True, kw_only=True)
class OptimalRange(Measure):
    r"""The range η that minimises an error of N particles against the *local* system, and the error there.

    The errors, all species together, are those of the paths, :math:`E\sup_t|X - \hat X|^2` of one particle ("path")
    and Theorem 3's :math:`E\sup_t\max_k|X - \hat X|` ("largest"), of the density in L² at the end, and of the drift at
    the end, in L²(u/m). The same starting points and noise serve all η, so that errors are compared in pairs. The
    minimiser is that of the cubic polynomial in log η through the logarithms of the least error and of two neighbours
    on either side; its interval is Student's, with the standard error of a bootstrap over replicas.

    Attributes:
        ranges: the η to compare, ascending, as multiples of the problem's eps, five or more.
        particles_in_all: the number of particles of a species in all replicas, of which there are at least 8.
        saves: the number of intervals between the snapshots that the local density is interpolated from.
    """

    name: ClassVar = "optimal-range"
    several: ClassVar = True
    quantities: ClassVar = (
        {
            name: Meaning(f"argmin_η {error}", f"Range that minimises {words}")
            for name, (error, words) in _ERRORS.items()
        }
        | {f"least_{name}": Meaning(f"min_η {error}", f"Least of {words}") for name, (error, words) in _ERRORS.items()}
        | {
            f"theorem_{name}": Meaning(
                f"η_δ / argmin_η {_ERRORS[name][0]}",
                f"Least range η_δ that Theorem 3 admits at δ = 1, over the one that minimises {_ERRORS[name][1]}",
            )
            for name in ("path", "largest")
        }
    )

    ranges: Sequence[float]
    particles_in_all: int
    saves: int = 20

    def __post_init__(self) -> None:
        ranges = check_finite("ranges", self.ranges, (None,))
        if len(ranges) < 5 or ranges[0] <= 0 or np.any(np.diff(ranges) <= 0):
            raise InputError(f"ranges = {ranges.tolist()} is not valid: give five or more positive ascending numbers")
        check_integer("particles_in_all", self.particles_in_all, at_least=1)
        check_integer("saves", self.saves, at_least=1)

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: also a field that is not the density with its gradient.
        """
        super().check(experiment)
        for f in experiment.problem.model.fields:
            if not (f.kernel.local and f.gradient):
                raise InputError(f'measure "{self.name}" is for gradients of densities: field {f.name!r} is another')

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the minimisers, and the errors there."""
        problem = task.experiment.problem
        local = task.density(problem.local, saves=self.saves)
        n = check_integer("n", particles_of(task)["n"], at_least=2)
        replicas = max(_REPLICAS, self.particles_in_all // n)
        mollifier: Any = problem.mollifier
        etas = mollifier.eps * np.asarray(self.ranges, dtype=np.float64)
        options = {"coupled": True, "replicas": replicas, **particles_of(task)}
        errors: dict[str, list[Array]] = {name: [] for name in _ERRORS}
        for eta in etas.tolist():
            mollified = replace(problem, eps=eta, mollifier=replace(mollifier, eps=eta))
            ensemble = Ensemble(pde=task.density(mollified, saves=1), source=local, **options)
            for name, each in _errors(ensemble, local, eta).items():
                errors[name].append(each)
        out = {}
        least_allowed = interaction_range(n, dimension=problem.model.dimension)
        for name, columns in errors.items():
            best, least = minimiser(etas, np.array(columns).T, seed=task.seed)
            out[name], out[f"least_{name}"] = best, least
            if f"theorem_{name}" in self.quantities:
                low, high = best.interval
                ends = (least_allowed / high, least_allowed / low if low > 0 else np.inf)
                out[f"theorem_{name}"] = given(least_allowed / best.value, ends)
        return out


def minimiser(x: Array, samples: Array, *, seed: int) -> tuple[Quantity, Quantity]:
    """Return where the mean of samples, as a function of x, is least, and the least value.

    Args:
        x: ascending positive abscissae, shape (K,), five or more.
        samples: positive values of R replicas, paired over x, shape (R, K).
        seed: the seed of the bootstrap.

    Raises:
        InputError: the least mean is not between the second x and the last but one.
    """
    count, k = len(samples), int(np.argmin(samples.mean(axis=0)))
    if not 0 < k < len(x) - 1:
        raise InputError(
            f"the least of the means is at the end of the ranges, at {x[k]:g} of {x[0]:g} … {x[-1]:g}: give wider ones"
        )
    window = slice(min(max(k - 2, 0), len(x) - 5), min(max(k - 2, 0), len(x) - 5) + 5)
    u = np.log(x[window]) - np.log(x[k])
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), _DRAWS) / count
    means = np.vstack([np.full(count, 1.0 / count), draws]) @ samples[:, window]
    inverse = np.linalg.pinv(np.vander(u, 4))
    fine = np.linspace(u[0], u[-1], 2001)
    curves = np.log(means) @ inverse.T @ np.vander(fine, 4).T
    at, values = x[k] * np.exp(fine[curves.argmin(axis=1)]), np.exp(curves.min(axis=1))
    reach = reach_of(count) * np.sqrt(count / (count - 1))
    first, second = (
        given(float(v[0]), (float(v[0] - reach * v[1:].std()), float(v[0] + reach * v[1:].std()))) for v in (at, values)
    )
    return first, second


def _errors(ensemble: Ensemble, local: Solution, eta: float) -> dict[str, Array]:
    """Return the errors of each replica, shape (replicas,), after running the ensemble. Collective."""
    own, hat = (ensemble.systems[label].positions for label in ("particles", "mean_field"))
    shape = (len(ensemble.replica_of) // ensemble.n, ensemble.n)  # those of this rank
    squares = {name: np.zeros(shape) for name in own}

    def look(step: int, t: float) -> None:
        for name, x in own.items():
            square = np.square(x - hat[name]).sum(axis=1).reshape(shape)
            np.maximum(squares[name], square, out=squares[name])

    ensemble.run(look)
    fields = _Fields(ensemble, local, eta)
    replicas = [
        fields.errors({name: x.reshape(*shape, x.shape[1])[r] for name, x in own.items()}) for r in range(shape[0])
    ]
    density, drift = np.array(replicas).reshape(-1, 2).T
    errors = {
        "path": sum(each.mean(axis=1) for each in squares.values()),
        "largest": sum(np.sqrt(each.max(axis=1)) for each in squares.values()),
        "density": density,
        "drift": drift,
    }
    return {name: everyones(np.asarray(each), ensemble.comm) for name, each in errors.items()}


class _Fields:
    """The mollified empirical densities and the local ones, on a periodic grid over the domain."""

    def __init__(self, ensemble: Ensemble, local: Solution, eta: float) -> None:
        from scipy.fft import next_fast_len, rfftn

        self._model, self._weights, self._t = local.model, ensemble.weights, local.t_end
        lower, upper = np.asarray(local.bounds)
        points = [int(next_fast_len(int(np.ceil(_PER_RANGE * side / eta)), real=True)) for side in upper - lower]
        self._grid = Grid.covering(lower, upper, points, "periodic")
        steps = self._grid.spacing
        k = [2 * np.pi * np.fft.fftfreq(m, h) for m, h in zip(points[:-1], steps[:-1], strict=True)]
        k.append(2 * np.pi * np.fft.rfftfreq(points[-1], steps[-1]))
        self._k = np.meshgrid(*k, indexing="ij", sparse=True)
        binned = np.ones(1)
        for wave, h in zip(self._k, steps, strict=True):
            binned = binned * np.sinc(wave * h / (2 * np.pi)) ** 2
        self._factors = {
            f.source: f.kernel.symbol(np.asarray(sum(wave**2 for wave in self._k))) / (binned * self._grid.cell_volume)
            for f in ensemble.fields
        }
        self._names = {f.source: f.name for f in ensemble.fields}
        axes = self._grid.axes
        self._local = {s: local.on_grid(axes, s, outside=0.0) for s in local.species}
        self._points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        self._local_hats = {s: rfftn(u) for s, u in self._local.items()}

    def errors(self, positions: dict[str, Array]) -> tuple[float, float]:
        """Return the squares of the errors of density and drift, of one replica."""
        from scipy.fft import irfftn, rfftn

        shape, volume = self._grid.shape, self._grid.cell_volume
        square, values, gradients = 0.0, {}, {}
        for source, factor in self._factors.items():
            hat = rfftn(deposit(self._grid, positions[source])) * factor * self._weights[source]
            hat -= self._local_hats[source]
            difference = irfftn(hat, s=shape)
            square += float(np.sum(np.square(difference))) * volume
            name = self._names[source]
            values[name] = difference.ravel()
            slopes = [irfftn(1j * wave * hat, s=shape).ravel() for wave in self._k]
            gradients[name] = np.stack(slopes, axis=-1)
        c = FieldValues(self._points, values, gradients, self._t)
        drift = 0.0
        for species, u in self._local.items():
            b = self._model.drift(species, c)  # linear in the gradients
            if b is not None:
                drift += float(np.sum(np.square(b).sum(axis=1) * u.ravel()) / u.sum())
        return square, drift
