r"""The modulated free energy along a run: between two curves, both measured, for singular kernels too.

**Setting.** One species, a drift :math:`b = -\lambda\nabla c + \text{(a function of t and x)}` with one field
:math:`c = V * u`, noise :math:`\sqrt{2\sigma}\,dB`, mass m. With :math:`g = \lambda m V` and the law
:math:`\bar u = u/m` the particles are :math:`dX_i = (f(X_i) - \frac1N\sum_{j\ne i}\nabla g(X_i - X_j))dt +
\sqrt{2\sigma}\,dB_i`, and the density obeys

.. math::
    \partial_t\bar u = \nabla\cdot(\bar u v), \qquad v = \sigma\nabla\log\bar u - f + \nabla g * \bar u.

H is the relative entropy of the particles' law to :math:`\bar u^{\otimes N}`, per particle, :math:`F_N` the energy
:math:`\iint_{x\ne y} g(x-y)(d\mu_N - d\bar u)^{\otimes 2}` (:mod:`kspde.evidence.modulated`, whose V is g/(λm)), and
:math:`\mathcal E = H + \frac1{2\sigma}EF_N` the modulated free energy.

**Identity.** With :math:`g_i = \nabla_i\log(u_N/\bar u^{\otimes N})` and :math:`w_i = \frac1N\sum_{j\ne i}
\nabla g(X_i - X_j) - \nabla g*\bar u(X_i) = \frac N2\nabla_iF_N`, :mod:`kspde.evidence.entropy` derives
:math:`\dot H = -\frac1N\sum_i E[\sigma|g_i|^2 + w_i\cdot g_i]`. Along the law's flux, :math:`\dot X_i = -(w_i +
\sigma g_i) - v(X_i)`, the other part changes as :math:`\frac{d}{dt}EF_N = -\frac2N\sum_iE[w_i\cdot(w_i + \sigma g_i +
v(X_i))] + E\partial_tF_N`, and :math:`g*\partial_t\bar u = \int\nabla g(\cdot-y)\cdot v(y)\bar u(y)\,dy`. The sum is

.. math::
    \frac{d\mathcal E}{dt} = -\frac1{\sigma N}\sum_iE|\sigma g_i + w_i|^2
    - \frac1{2\sigma}E\iint_{x\ne y}\nabla g(x-y)\cdot(v(x) - v(y))\,(d\mu_N - d\bar u)^{\otimes 2},

the identity of Bresch, Jabin and Wang (C. R. Math. 357, 2019; Duke Math. J. 172, 2023), who bound its last term by
:math:`\mathcal E` and 1/N. Here it is measured instead. For a logarithm and a Lipschitz continuous v the integrand is
bounded: nothing has to be mollified, unlike for :func:`kspde.entropy_bound`, which is infinite in the plane then.

**What is measured.** The last term is :math:`-\frac1\sigma E\big[\frac1N\sum_iw_i\cdot v(X_i) +
\frac1N\sum_i\partial_t(g*\bar u)(X_i) - \int\bar u\,\partial_t(g*\bar u)\big]`; let R be its integral over time. Then,
with :math:`H(0) = 0` and :math:`EF_N(0) = -\frac1N\iint g\,\bar u\bar u`,

.. math::
    \frac1{2\sigma}EF_N(t) \le \mathcal E(t) \le \frac1{2\sigma}EF_N(0) + R(t), \qquad
    H(t) \le \frac1{2\sigma}E[F_N(0) - F_N(t)] + R(t).

The gap between both curves is H plus what the first term dissipates. All are means over independent replicas, with
Student's intervals; :math:`F_N(0)`, whose mean is known, is a control variate with the coefficient of least squares. As
for the entropy bound the bias of the time step remains, and the error of the trapezoidal rule
over the saved times. The boundary terms of the integrations by parts at colliding pairs are dropped, as for the entropy
solutions of the theorems: for attraction that asks for a law that the flux leaves integrable (in the plane
:math:`|g| < 4\sigma`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kspde.distances.statistics import reach_of
from kspde.errors import InputError, check_integer, counted
from kspde.evidence.defect import cumulative
from kspde.evidence.ensemble import check_solution
from kspde.evidence.entropy import BoundOverTime
from kspde.evidence.modulated import PairPotential
from kspde.evidence.result import Result
from kspde.evidence.score import Score
from kspde.models import Field, FieldValues, Model
from kspde.models.coefficients import diffusion_of, drift_of
from kspde.particles import simulate
from kspde.particles.fields.base import Extent
from kspde.particles.observation import observe
from kspde.particles.sampled_field import SampledField
from kspde.runtime.limits import MOST_REPLICAS
from kspde.runtime.parallel import collective, together
from kspde.runtime.reductions import reduced
from kspde.runtime.saving import SaveAt
from kspde.typing import Array

if TYPE_CHECKING:
    from kspde.fem.solution import Solution
    from kspde.particles.cloud import Cloud

__all__ = ["ModulatedFreeEnergy", "modulated_free_energy"]

#: The fewest nodes of the fields' grid across the particles, and the most in all.
_COARSE, _MOST = 32, 2_100_000


@dataclass(frozen=True, kw_only=True, repr=False)
class ModulatedFreeEnergy(Result):
    """The modulated free energy per particle between two curves, and the bound on the entropy that follows.

    Attributes:
        times: the saved times of the density, shape (times,).
        n: N.
        energy: E F_N/(2σ), which the modulated free energy exceeds by H ≥ 0, with its interval.
        bound: the bound on the modulated free energy, with its interval.
        entropy: the bound on the relative entropy H per particle, with its interval.
        samples: the replicas' values of "energy", "bound" and "entropy", each of shape (replicas, times), before the
            control variate.
    """

    times: Array
    n: int
    energy: BoundOverTime
    bound: BoundOverTime
    entropy: BoundOverTime
    samples: dict[str, Array]

    def summary(self) -> dict[str, Any]:
        """Return what holds at the end, ready for JSON."""
        ends = {name: getattr(self, name).at_end.summary() for name in self.samples}
        return {"n": self.n, "replicas": len(self.samples["energy"]), "t_end": float(self.times[-1]), **ends}

    def _lines(self) -> dict[str, str]:
        replicas = counted(len(self.samples["energy"]), "replica")
        return {
            "Modulated free energy": f"N = {self.n:,}, {replicas}, t = {self.times[-1]:g}",
            "at least (its energy)": f"{self.energy.at_end}",
            "at most": f"{self.bound.at_end}",
            "relative entropy per particle": f"at most {self.entropy.at_end}",
        }


@collective(own=("progress",))
def modulated_free_energy(
    pde: Solution,
    *,
    n: int,
    dt: float,
    replicas: int = 16,
    seed: int = 0,
    scheme: Literal["euler-maruyama", "weak-2"] = "euler-maruyama",
    field_tol: float = 1e-6,
    progress: Callable[[float], None] | None = None,
) -> ModulatedFreeEnergy:
    """Return the two curves between which the modulated free energy of N particles lies, over time. Collective.

    :mod:`kspde.evidence.free_energy` derives them. The particles start from the density's initial value.

    Args:
        pde: what ``solve`` returned, saved from t = 0 on, often enough for a trapezoidal sum.
        n: the number N of particles, at least 2.
        dt: the time step > 0.
        replicas: the number of independent systems, at least 4.
        seed: an integer >= 0.
        scheme: the scheme of the particles.
        field_tol: the error allowed in the fields, as for ``simulate``.
        progress: a function called on every rank after every replica with the share that is done.

    Raises:
        InputError: a model whose drift is not −λ∇c plus a function of t and x, with one field and a constant
            diffusion coefficient; a kernel that is not square integrable at 0; or states that are not saved.
    """
    check_solution(pde)
    check_integer("n", n, at_least=2)
    check_integer("replicas", replicas, at_least=4, at_most=MOST_REPLICAS)
    rates = _Rates(pde, n, replicas, field_tol)
    for replica in range(replicas):
        simulate(
            **pde.problem.arguments,
            n=n,
            dt=dt,
            scheme=scheme,
            seed=seed,
            replica=replica,
            field_tol=field_tol,
            on_blow_up="ignore",  # few particles are often close to one another
            save=SaveAt(times=pde.times, callback=partial(rates.look, replica)),
            comm=pde.comm,
        )
        if progress is not None:
            progress((replica + 1) / replicas)
    integrals = cumulative(rates.rate, pde.times)
    start = -rates.scale * rates.own[0] / n
    samples = {
        "energy": rates.energy,
        "bound": start + integrals,
        "entropy": start + integrals - rates.energy,
    }
    control = rates.energy[:, 0] - start
    curves = {name: _over_time(pde.times, values, control) for name, values in samples.items()}
    return ModulatedFreeEnergy(times=pde.times, n=n, samples=samples, **curves)


def _over_time(times: Array, samples: Array, control: Array) -> BoundOverTime:
    """Return the means over the replicas with their intervals; ``control`` has the mean 0."""
    count, centred = len(samples), control - control.mean()
    slope = centred @ samples / (centred @ centred)
    left = samples - np.multiply.outer(control, slope)
    value = left.mean(axis=0)
    reach = reach_of(count - 1) * np.sqrt(np.square(left - value).sum(axis=0) / (count - 2) / count)
    return BoundOverTime(times=times, value=value, interval=(value - reach, value + reach))


class _Rates:
    """λm F_N/(2σ) and the rate of R, by replica and saved time.

    In the fields of weights m/N, m F_N is the mean of Σ_{j≠i} w_j V(X_i − X_j) − 2c(X_i), plus ∫cu/m.
    """

    def __init__(self, pde: Solution, n: int, replicas: int, tol: float) -> None:
        self._pde, self._tol = pde, tol
        model = pde.model
        (self._species, *others), fields = model.species, pde.problem.fields
        if others or len(fields) != 1 or model.moments or pde.u0[self._species].signed:
            raise InputError(
                f"{model} has {len(model.species)} species, {len(fields)} fields, {len(model.moments)} moments: the "
                "modulated free energy is that of one positive density in the potential of one field"
            )
        self._field: Field = replace(fields[0], gradient=True, value=True)
        if not self._field.kernel.smoothing > 0.5 * model.dimension:
            raise InputError(
                f"the kernel of field {self._field.name!r} is not square integrable at 0, so that its energy has no "
                "variance, and its mean no interval: give eps"
            )
        self._mass = pde.masses[self._species]
        factor, self.noise = _gradient_flow(model, self._species, self._field.name)
        self.scale = 0.5 * factor / self.noise
        self.energy, self.rate = np.zeros((2, replicas, len(pde.times)))
        self._fields = [_Fields(pde, self._field.name, t, tol) for t in pde.times.tolist()]
        self._scores = [Score(pde, self._species) for _ in pde.times]
        self._pairs = PairPotential(self._field, tol, gradient=True)

        def own(t: float) -> float:
            return pde.at(t).interaction(self._field.name) / self._mass

        self.own = [own(t) for t in pde.times.tolist()]
        self._own_change = [_slope(own, pde.times, t) for t in pde.times.tolist()]

    def look(self, replica: int, cloud: Cloud) -> None:
        """Add what holds at a cloud's time. Collective."""
        k = int(np.argmin(np.abs(self._pde.times - cloud.t_end)))
        t, name = float(self._pde.times[k]), self._species
        x, weights = cloud.of(name), cloud.weights_of(name)
        extent = observe({name: x}, {name: cloud.ids_of(name)}, cloud.counts, cloud.comm).extent
        self._fields[k].update(extent)
        self._scores[k].update(extent, t)
        known, change = self._fields[k].at(x)
        felt, slopes = self._pairs.at(x, weights, cloud)
        with together(cloud.comm):
            v = self.noise * self._scores[k].at(x)[0] - _drift(self._pde.model, name, known)
            w = slopes - known.gradient(self._field.name)
            sums = np.array([np.sum(w * v) + change.sum(), np.sum(felt - 2 * known[self._field.name])])
        moved, energy = reduced(cloud.comm, sums) / cloud.counts[name]
        self.rate[replica, k] = 2 * self.scale * (0.5 * self._own_change[k] - moved)
        self.energy[replica, k] = self.scale * (energy + self.own[k])


class _Fields:
    """The density's field and its rate of change at a saved time, by splines on a grid that covers the particles."""

    def __init__(self, pde: Solution, field: str, t: float, tol: float) -> None:
        self._pde, self._field, self._t, self._tol = pde, field, t, tol
        self._grid = SampledField(pde.model.dimension, coarse=_COARSE, most=_MOST)

    def update(self, extent: Extent) -> None:
        """Cover the extent. Collective."""
        if not self._grid.covers(extent):
            self._grid.resolve(extent, self._sample, self._tol)

    def at(self, x: Array) -> tuple[FieldValues, Array]:
        """Return the field with its gradient, and its rate of change, at points (n, d). Rank-local."""
        (value, change), slope = np.empty((2, len(x))), np.empty_like(x)
        self._grid.at("c", x, value, slope)
        self._grid.at("change", x, change)
        return FieldValues(x, {self._field: value}, {self._field: slope}, self._t), change

    def _sample(self) -> float:
        """Interpolate both; return the error of the field between nodes, over its range."""

        def values(t: float, axes: list[Array]) -> Array:
            return np.asarray(self._pde.signal_on_grid(axes, self._field, t))

        axes, (checks, points) = self._grid.axes, self._grid.midpoints(48)
        field = values(self._t, axes)
        self._grid.interpolate("c", field)
        self._grid.interpolate("change", _slope(partial(values, axes=axes), self._pde.times, self._t))
        found = np.empty(len(points))
        self._grid.at("c", points, found)
        return float(np.abs(found - values(self._t, checks).ravel()).max() / (np.ptp(field) or 1.0))


def _slope(values: Callable[[float], Any], times: Array, t: float) -> Any:
    """Return the derivative at a saved time, from four values in a twentieth of an interval beside it."""
    k = int(np.argmin(np.abs(times - t)))
    h = 0.05 * (times[k + 1] - t if k + 1 < len(times) else times[k - 1] - t)
    c = [values(float(t + share * h)) for share in (0.0, 1 / 3, 2 / 3, 1.0)]
    return (-5.5 * c[0] + 9 * c[1] - 4.5 * c[2] + c[3]) / h


def _gradient_flow(model: Model, species: str, field: str) -> tuple[float, float]:
    """Return λ and σ, from the coefficients at made-up values.

    Raises:
        InputError: the drift is not −λ∇c plus a function of t and x, or D is not a positive constant.
    """
    d, random = model.dimension, np.random.default_rng(0)
    points, slopes, value = random.normal(size=(9, d)), random.normal(size=(9, d)), random.normal(size=9)
    here = FieldValues(points, {field: value}, {field: slopes})
    drift, sigma = _drift(model, species, here), diffusion_of(model, species, here)
    moved = [replace(here, values={field: value + 1.0}, gradients={field: slopes + axis}) for axis in np.eye(d)]
    matrix: Array = np.stack([_drift(model, species, c) - drift for c in moved], axis=1)
    factor = -float(matrix[0, 0, 0])
    flow = np.allclose(matrix, -factor * np.eye(d), rtol=0, atol=1e-9 * max(1.0, abs(factor)))
    if not flow or factor == 0 or sigma.ndim > 1 or np.ptp(sigma) > 0 or not sigma[0] > 0:
        raise InputError(
            f"{model} is not a gradient flow with noise: the modulated free energy needs a drift −λ∇c, λ ≠ 0, plus a "
            "function of t and x, and a diffusion coefficient that is one number > 0"
        )
    return factor, float(sigma[0])


def _drift(model: Model, species: str, c: FieldValues) -> Array:
    drift = drift_of(model, species, c)
    return np.zeros_like(c.points) if drift is None else drift
