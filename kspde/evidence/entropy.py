r"""A computable bound on the relative entropy of the law of the whole N-particle system.

**Setting.** The law u_N of the particles :math:`dX_i = \beta_i\,dt + \sqrt{2 D_i}\,dB_i`, of one or several species,
with matrices :math:`D_i = D(x_i, a(x_i), m)`, drifts :math:`\beta_i = b(x_i, a(x_i), \nabla a(x_i), m)`, fields
:math:`a(x_i) = \sum_j w K^\varepsilon(x_i - x_j)` and moments :math:`m = \sum_j w \varphi(x_j)` of the empirical
measures, solves Liouville's equation (Wang, Li and Huang's (3.1) for their model)

.. math:: \partial_t u_N = \sum_i \nabla_i\nabla_i : (D_i u_N) - \nabla_i\cdot(\beta_i u_N).

The product :math:`\bar u = \bigotimes_i u^\varepsilon(x_i)`, each factor the density of particle i's species, solves
the same equation with :math:`\bar D_i, \bar\beta_i` at the fields :math:`\bar a = K^\varepsilon * u^\varepsilon` and
the moments :math:`\bar m = \int\varphi u^\varepsilon` of the densities (their (3.2)). Let :math:`g_i = \nabla_i
\log(u_N/\bar u)` and :math:`H = \frac1N \int u_N \log(u_N/\bar u)`, their (3.4), N the number of all particles.

**Identity.** Write both equations as :math:`\partial_t u_N = -\sum_i \nabla_i\cdot J_i` with :math:`J_i =
-\nabla_i\cdot(D_i u_N) + \beta_i u_N`, :math:`(\nabla\cdot D)_a = \sum_b \partial_b D_{ab}`. As in their (3.7), an
integration by parts in :math:`\frac{d}{dt} N H = \int \partial_t u_N \log\frac{u_N}{\bar u} - \frac{u_N}{\bar
u}\partial_t\bar u` and :math:`\nabla_i(u_N/\bar u) = (u_N/\bar u)\,g_i` give :math:`\frac{d}{dt} N H = \sum_i \int
u_N\,g_i \cdot (J_i/u_N - \bar J_i/\bar u)`, and since :math:`J_i/u_N = -\nabla_i\cdot D_i - D_i \nabla_i\log u_N +
\beta_i`,

.. math::
    \frac{dH}{dt} = \frac1N \sum_i E\big[-g_i\cdot D_i g_i - c_i \cdot g_i\big], \qquad
    c_i = \nabla_i\cdot(D_i - \bar D_i) + (D_i - \bar D_i) \nabla\log u^\varepsilon(x_i) - (\beta_i - \bar\beta_i).

The expectation is over the particle system; :math:`\nabla_i\cdot D_i` is the total derivative in x_i alone, with the
other particles at rest. Through the fields it is :math:`\nabla a`: the term j = i of a adds the constant :math:`w
K^\varepsilon(0)` and nothing to :math:`\nabla a`, since :math:`\nabla K^\varepsilon(0) = 0`, so that the identity holds
with and without self-interaction, each with its own a. Through the moments of particle i's own species it is
:math:`w\,\partial_m D_i \nabla\varphi(x_i)`, of order 1/N, and part of c_i; :math:`\bar m` does not depend on x_i.
For :math:`D = 1 + e^{-v}`, :math:`\beta = 0`, :math:`-c_i = e^{-a}(\nabla a - \nabla\bar a) - (e^{-a} -
e^{-\bar a})(\nabla\log u^\varepsilon - \nabla\bar a)`: the sum of the integrands of their (3.12) and (3.13).

**Bound.** For every vector g, :math:`-g\cdot D g - c\cdot g \le \frac14 c\cdot D^{-1} c`, hence

.. math:: H(t) \le H(0) + \int_0^t \frac1N \sum_i E\Big[\frac14 c_i\cdot D_i^{-1} c_i\Big]\,ds,

with no unknown constant, and H(0) = 0 where the particles start independently from the density's own initial value.

**Fields that relax.** With τ > 0 the field a at time t depends on the particles' paths, and Liouville's equation has
the drift :math:`E[\beta_i | X(t)]`. If D does not depend on a, c_i is affine in the drift, so that the identity holds
with :math:`E[c_i | X(t)]`; and as :math:`c \mapsto c\cdot D^{-1} c` is convex, Jensen's inequality leaves the bound
as it stands, with c_i of the path. If D depends on a, :math:`\nabla_i\cdot E[D_i | X(t)]` is not an expectation of
what a simulation knows: refused. So is growth: weighted particles have no probability law whose entropy this is.

**Circulations.** Let particles have marks :math:`\Gamma_i`, :math:`|\Gamma_i| \le C`, that do not change, (Γ_i, X_i(0))
independent with one law :math:`f_0(d\gamma, x)`, and :math:`a(x_i) = \frac1N\sum_j\Gamma_j K^\varepsilon(x_i - x_j)`,
as for vortices of either sign. The mean field is :math:`\bar a = K^\varepsilon * \omega`, :math:`\omega =
\int\gamma f(d\gamma, x)`, and f solves the equation of one particle for each γ: so does ω, which is all that enters it.
Conditioned on all marks, Liouville's equation and that of the product :math:`\bar f = \bigotimes_i f(\gamma_i, x_i)`
are those above; the marks have the same law under both, and the identity holds for the entropy :math:`H = \frac1N
\int f_N\log(f_N/\bar f)` of all (Γ_i, X_i), with ∇log f(γ_i, x_i) in c_i. Where D depends on no field that is the
plain :math:`c_i = -(\beta_i - \bar\beta_i)`, and the bound needs ω alone. This is what is done for a density ω of both
signs, whose particles have :math:`\Gamma_i = \pm\|\omega_0\|` (:class:`~kspde.SignedMixture`). As :math:`\|f_{N,r} -
f^{\otimes r}\|_1 \le \sqrt{2rH}`, the mean :math:`\int\gamma f_{N,1}(d\gamma, x)` differs from ω by at most
:math:`C\sqrt{2H}` in L¹.

**Marginals.** For an exchangeable law against a product of equal factors the entropy :math:`H_r` of r particles has
:math:`H_r/r` non-decreasing in r (Han's inequality, for relative entropies: average the chain rule over the particles
that are left out, and drop conditions). So :math:`H_r \le \frac rN H_N = r\,H` for every r ≤ N, with equality for
independent particles of another law, and by Csiszár, Kullback and Pinsker

.. math:: \|u_{N,r} - u^{\varepsilon\otimes r}\|_{L^1} \le \sqrt{2 H_r} \le \sqrt{2 r H}.

(Their (3.5) and (3.27) print :math:`2 H_r` without the root, and :math:`H_r \le 2rH`.) With several species, n of each,
H is per particle of all species, only particles of one species are exchangeable, and the species' own entropies add up
to no more than the whole: :math:`H_r \le r\,k\,H` for k species.

**In N and in ε.** At a fixed ε the bound on N·H is of order 1 in N. In ε it is not flat: as ε → 0 it grows like
:math:`B\log(1/\varepsilon)`, see :mod:`kspde.evidence.log_law`. The bound of :mod:`kspde.evidence.tilted` does not.

**What is certified, and up to what.** Two things stand between the number and the mathematical bound. First, the
expectation is a mean over independent replicas: the upper end of its 95 % interval exceeds it with probability 97.5 %
(Student's t over the replicas), and that is the number to quote as a bound. Second, time is discrete: the
Euler-Maruyama particles have a weak error of order dt, and the trapezoidal sum one of order dt²;
``time_error=True`` estimates both from a second run with steps of 2 dt. The errors of the solved density are not
estimated; refining it shows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from kspde.distances.statistics import Estimate, reach_of_mean
from kspde.errors import InputError, check_choice, check_integer, counted
from kspde.evidence.defect import STEP, cumulative, production
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.replicas import groups_of
from kspde.evidence.result import Result
from kspde.evidence.score import Score
from kspde.evidence.tilted import FEWEST, TiltedRates
from kspde.models import FieldValues, Model
from kspde.models.coefficients import diffusion_of
from kspde.particles.fields.base import Extent
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import collective, together
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Mask

__all__ = ["BoundOverTime", "EntropyBound", "entropy_bound"]


@dataclass(frozen=True, kw_only=True, repr=False)
class BoundOverTime(Result):
    """A bound over time with the 95 % interval of its estimate.

    Attributes:
        times: the times, shape (times,).
        value: the bound, shape (times,).
        interval: the lower and upper ends, each of shape (times,).
    """

    times: Array
    value: Array
    interval: tuple[Array, Array]

    @property
    def at_end(self) -> Estimate:
        """The bound at the last time."""
        return Estimate(float(self.value[-1]), (float(self.interval[0][-1]), float(self.interval[1][-1])))

    def _lines(self) -> dict[str, str]:
        return {"Bound": f"{self.at_end} at t = {self.times[-1]:g}"}


@dataclass(frozen=True, kw_only=True, repr=False)
class EntropyBound(BoundOverTime):
    """The bound on H(t), the relative entropy of the N-particle law per particle.

    Attributes:
        times: the times of the steps, shape (times,).
        value: the bound, the mean over the replicas, shape (times,).
        interval: the 95 % interval, by Student's t over the replicas. Its upper end is an upper confidence bound at
            97.5 %.
        samples: the integral of each replica, shape (replicas, times).
        counts: the number of particles by species.
        unresolved: the share of the bound at t_end that comes from particles where the solved density is below its own
            noise, so that the score is extrapolated.
        score_error: the largest interpolation error of log u at particles, weighted by u over its maximum.
        time_bias: the amount by which the finite step makes the bound at t_end too large, to leading order in dt, with
            its 95 % interval; None unless it was asked for.
    """

    samples: Array
    counts: dict[str, int]
    unresolved: float
    score_error: float
    time_bias: Estimate | None = None

    def l1(self, r: int = 1, species: str | None = None) -> BoundOverTime:
        r"""Return the bound √(2rH) on the L¹ distance of the law of r particles of a species from u^{⊗r}, over time.

        By Han's inequality :math:`H_r \le r H` (r k H with k species) and Csiszár, Kullback and Pinsker's. It is
        certified to the same extent as the bound on H: up to the sample mean's interval, whose upper end is the one to
        quote, and the bias of the time step.

        Args:
            r: the number of particles.
            species: the species, where there are several.

        Raises:
            InputError: r exceeds the number of particles, or an unknown species.
        """
        if species is None and len(self.counts) > 1:
            raise InputError(f"species is not given: give one of {', '.join(self.counts)}")
        name = check_choice("species", next(iter(self.counts)) if species is None else species, self.counts)
        n = self.counts[name]
        check_integer("r", r, at_least=1, at_most=n)
        factor = 2 * r * self._total / n
        value, low, high = (np.sqrt(factor * h) for h in (self.value, *self.interval))
        return BoundOverTime(times=self.times, value=value, interval=(low, high))

    @property
    def _total(self) -> int:
        return sum(self.counts.values())

    def summary(self) -> dict[str, Any]:
        """Return what holds at t_end, ready for JSON."""
        end, total = self.at_end, self._total
        return {
            "n": self.counts,
            "replicas": len(self.samples),
            "t_end": float(self.times[-1]),
            "entropy_per_particle": end.summary(),
            "entropy": Estimate(total * end.value, (total * end.interval[0], total * end.interval[1])).summary(),
            "unresolved": self.unresolved,
            "score_error": self.score_error,
            "time_bias": None if self.time_bias is None else self.time_bias.summary(),
        }

    def _lines(self) -> dict[str, str]:
        counts = ", ".join(f"{n:,} {name}" for name, n in self.counts.items())
        lines = {
            "Entropy bound": f"{counts}, {counted(len(self.samples), 'replica')}, t = {self.times[-1]:g}",
            "relative entropy per particle": f"at most {self.at_end}",
            "share from unresolved tails": f"{self.unresolved:.2g}",
        }
        return lines | ({} if self.time_bias is None else {"bias of the time step": f"{self.time_bias}"})


@collective(own=("progress",))
def entropy_bound(
    pde: SolvedDensity,
    *,
    n: int,
    dt: float,
    replicas: int = 8,
    seed: int = 0,
    include_self: bool = True,
    field_tol: float = 1e-6,
    time_error: bool = False,
    reference: Literal["product", "tilted"] = "product",
    progress: Callable[[float], None] | None = None,
) -> EntropyBound:
    r"""Return the bound on the relative entropy of the N-particle law to the product of the density, over time.

    :math:`H(t) \le \int_0^t \frac1N \sum_i E[\frac14 c_i\cdot D_i^{-1} c_i]\,ds`: the module derives it. Collective.

    Args:
        pde: the result of ``solve``, saved from t = 0 to ``t_end``. The particles start from its initial density.
        n: the number N of particles of each species.
        dt: the time step > 0.
        replicas: the number of independent systems, at least 2.
        seed: an integer >= 0.
        include_self: whether j = i is in the fields' sums, as printed in (1.3).
        field_tol: the error allowed in the particles' fields, as for ``simulate``.
        time_error: whether to run once more with steps of 2 dt, at half the cost, for ``time_bias``: an error
            :math:`C\,dt` makes the difference of both runs :math:`C\,dt` too. Each replica starts at the same points.
        reference: "product", or "tilted" for the sharper bound of :mod:`kspde.evidence.tilted`, which does not grow as
            ε → 0, for one species with one field; it takes several times as long, and at least 32 replicas.
        progress: a function called on every rank after every step with t/``t_end``.

    Raises:
        InputError: a value out of range, states that are not saved, kernels without a bounded gradient (give ``eps``),
            a model that the reference is not for, growth, a D that depends on gradients of fields (its bound would need
            their second derivatives), on a field with tau > 0, or on any field where a density has both signs, or a D
            that is not positive definite.
        ConvergenceError: a coefficient or a position that is not finite.
    """
    tilted = check_choice("reference", reference, ("product", "tilted")) == "tilted"
    check_integer("replicas", replicas, at_least=FEWEST if tilted else 2)

    def rates_of(step: float, progress: Callable[[float], None] | None) -> _Rates | TiltedRates:
        ensemble = Ensemble(
            pde=pde,
            n=n,
            dt=step,
            replicas=replicas,
            seed=seed,
            coupled=tilted,
            gradients=True,
            relaxing=True,
            signed=not tilted,
            include_self=include_self,
            field_tol=field_tol,
            progress=progress,
        )
        rates = TiltedRates(ensemble) if tilted else _Rates(ensemble)
        ensemble.run(rates.look)
        return rates

    rates = rates_of(dt, progress)
    times = rates.ensemble.times
    samples, unresolved = rates.integrals()
    bias = None
    if time_error:
        coarse, _ = rates_of(2.0 * pde.t_end / (len(times) - 1), None).integrals()
        bias = Estimate.of_mean(coarse[:, -1] - samples[:, -1])
    value, reach = samples.mean(axis=0), reach_of_mean(samples)
    end = float(value[-1])
    return EntropyBound(
        times=times,
        value=value,
        interval=(np.maximum(value - reach, 0.0), value + reach),
        samples=samples,
        counts=dict.fromkeys(pde.model.species, n),
        unresolved=float(unresolved[:, -1].mean()) / end if end > 0 else 0.0,
        score_error=max(score.error for score in rates.scores.values()),
        time_bias=bias,
    )


class _Rates:
    """The rates of an ensemble's bound by replica: of all particles, and of those in unresolved tails."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self._known = ensemble.mean_field()
        self.scores = {
            name: _NoScore() if u.signed else Score(ensemble.pde, name) for name, u in ensemble.pde.u0.items()
        }
        self._rates = np.zeros((2, ensemble.replicas, len(ensemble.times)))

    def look(self, step: int, t: float) -> None:
        """Add the rates at a step. Collective."""
        ensemble, system = self.ensemble, self.ensemble.particles
        self._known.t = t
        self._known.update(system.positions, system.seen.extent)
        self._known.update_moments(system.positions)
        for score in self.scores.values():
            score.update(system.seen.extent, t)
        with together(ensemble.comm):
            for name, x in system.positions.items():
                score_at, resolved = self.scores[name].at(x)
                own, known = system.at(name, x), self._known.at(name, x)
                if ensemble.pde.u0[name].signed:
                    _check_independent_of_fields(ensemble.pde.model, name, own, known)
                _check_independent_of_relaxing(ensemble.pde.model, name, known)
                found = np.empty(len(x))
                for rows in groups_of(own):
                    found[rows] = production(
                        ensemble.pde.model,
                        name,
                        own.part(rows),
                        known.part(rows),
                        score_at[rows],
                        ensemble.weights[name],
                    )
                for row, part in zip(self._rates, (found, np.where(resolved, 0.0, found)), strict=True):
                    row[:, step] += np.bincount(ensemble.replica_of, weights=part, minlength=ensemble.replicas)

    def integrals(self) -> tuple[Array, Array]:
        """Return the integrals of both over time, per particle, each of shape (replicas, times). Collective."""
        total = self.ensemble.n * len(self.scores)
        every, unresolved = cumulative(reduced(self.ensemble.comm, self._rates) / total, self.ensemble.times)
        return every, unresolved


class _NoScore:
    """In place of the score of a density of both signs, whose particles have one for each sign: it is not needed."""

    error = 0.0

    def update(self, extent: Extent, t: float) -> None:
        """Do nothing."""

    def at(self, x: Array) -> tuple[Array, Mask]:
        """Return 0 for all particles."""
        return np.zeros_like(x), np.ones(len(x), dtype=bool)


def _check_independent_of_fields(model: Model, species: str, own: FieldValues, known: FieldValues) -> None:
    """Raise if D differs in the fields of the particles and of the density.

    Raises:
        InputError: it does.
    """
    if not np.array_equal(diffusion_of(model, species, own), diffusion_of(model, species, known)):
        raise InputError(
            f"the diffusion coefficient of species {species!r} depends on fields, and its density has both signs: the "
            "entropy bound needs a score for each; give each sign a species of its own"
        )


def _check_independent_of_relaxing(model: Model, species: str, c: FieldValues) -> None:
    """Raise if D changes with a field that relaxes.

    Raises:
        InputError: it does.
    """
    for name in (f.name for f in model.fields if f.tau > 0):
        values, gradients = (
            {other: one + STEP * (1.0 + np.abs(one)) if other == name else one for other, one in held.items()}
            for held in (c.values, c.gradients)
        )
        moved = replace(c, values=values, gradients=gradients)
        if not np.array_equal(diffusion_of(model, species, c), diffusion_of(model, species, moved)):
            raise InputError(
                f"the diffusion coefficient of species {species!r} depends on field {name!r}, which has tau > 0: it "
                "depends on the particles' past, which the entropy bound does not cover; use tau = 0"
            )
