r"""The Gaussian limit of the particles' fluctuations: the variance of a linear statistic, without a simulation.

For N particles of weight m/N each, :math:`\sqrt N(\mu_N - u)` tends to a Gaussian process, the solution η of the
linearised equation with noise,

.. math::
    \partial_t\eta = \Delta(D\eta) - \nabla\cdot(b\eta) + \Delta(u\,D'[\eta]) - \nabla\cdot(u\,b'[\eta])
    + \nabla\cdot(\sqrt{2 m D u}\,\dot W),

D'[η] and b'[η] the derivatives of D and b by the density in the direction η: through fields c = K * u, gradients ∇c,
and moments. (Itô; Tanaka, 1982; Fernandez and Méléard, Stoch. Proc. Appl. 71, 1997; for vortices, Wang, Zhao and Zhu,
Arch. Rational Mech. Anal. 247, 2023. These theorems have their hypotheses; here the limit is computed.)

**The variance.** Let ψ solve the adjoint equation backward from ψ(T) = φ (:mod:`kspde.fem.adjoint` states and derives
it, with all terms). Then :math:`d\int\psi\,d\mu_N` has no drift to leading order. What is left is the noise
:math:`\frac mN\sum_i\nabla\psi\cdot\sqrt{2D}\,dB_i` and the independent starting points:

.. math::
    N\,\mathrm{Var}\int\varphi\,d\mu_N(T) \;\to\; \underbrace{m\int u_0\psi(0)^2 -
    \Big(\int u_0\psi(0)\Big)^2}_{\text{initial}} + \underbrace{m\int_0^T\!\!\int 2u\,\nabla\psi\cdot D\nabla\psi
    \,dx\,dt}_{\text{noise}}.

For ψ of the equation *without* the terms with K̃ the same sum is the variance of φ under u(T): that of as many
independent mean-field particles, N Var X̄, the *mean-field share*. What interaction adds is the difference, of either
sign. Species have their own N_i: Var → Σ_i V_i/N_i. A field with τ > 0 that starts from :math:`K * \mu_N` adds K * p(0)
to ψ(0), p the adjoint signal.

**What it leaves out**: terms of order 1/N in N Var, the bias of order 1/N in the mean, j = i in a field's sum (of the
same order), and the time step. Weights are equal; pairs that rotate together (``PairRotation``) have another noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.errors import InputError, called, check_integer, check_number, place_of
from kspde.evidence.result import Result
from kspde.fem.adjoint import Backward, integrate_backward
from kspde.runtime.messages import warn
from kspde.runtime.parallel import collective, together
from kspde.typing import Array

if TYPE_CHECKING:
    from kspde.fem.solution import Solution

__all__ = ["STATISTICS", "Fluctuations", "Phi", "fluctuations"]

#: φ, at points (n, d): numbers (n,).
Phi = Callable[[Array], Array]

#: The fewest saved times, the factor of the tolerance where every second one is used, and the error that is warned of.
_FEWEST, _COARSER, _LARGE = 5, 30.0, 0.02

#: Statistics by name; the first has it among a run's diagnostics too.
STATISTICS: dict[str, Phi] = {
    "second_moment": lambda x: np.asarray(np.sum(x * x, axis=1)),
    "gaussian": lambda x: np.exp(-0.5 * np.sum(x * x, axis=1)),
    "cosine": lambda x: np.cos(x[:, 0]),
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Fluctuations(Result):
    """The limit of N times the variance of ∫φ dμ_N, and its parts, which are sums over the species.

    Attributes:
        t: the time T.
        mean: ∫φu at T, the limit of the statistic itself.
        variance: N Var, with N particles of each species: ``initial`` + ``noise``.
        initial: the part that comes from the starting points.
        noise: the part that comes from the Brownian motions.
        mean_field_share: N Var of as many independent mean-field particles: the variance of φ under u(T).
        error: the estimated numerical error of ``variance``: the change when every second saved time is left out and
            the tolerance is 30 times as large, plus how far the noise is from the sum of nodal gradients. That of u in
            space is not known here: compare with a finer mesh.
        by_species: the variance V_i of each species.
        shares: the mean-field share of each.
    """

    t: float
    mean: float
    variance: float
    initial: float
    noise: float
    mean_field_share: float
    error: float
    by_species: Mapping[str, float]
    shares: Mapping[str, float]

    @property
    def interaction(self) -> float:
        """N(Var X − Var X̄): what interaction adds to the variance, of either sign."""
        return self.variance - self.mean_field_share

    def std(self, n: int | Mapping[str, int]) -> float:
        """Return the standard deviation of ∫φ dμ_N in one run of N particles: of each species, or by species.

        Raises:
            InputError: not positive integers, or other species.
        """
        counts = n if isinstance(n, Mapping) else dict.fromkeys(self.by_species, n)
        if set(counts) != set(self.by_species):
            raise InputError(f"n has species {', '.join(map(str, counts))}: give {', '.join(self.by_species)}")
        parts = [v / check_integer("n", counts[name], at_least=1) for name, v in self.by_species.items()]
        return math.sqrt(max(sum(parts), 0.0))

    def replicas(self, n: int | Mapping[str, int], precision: float) -> int:
        """Return how many runs have a mean of the statistic with this relative standard error, at least 1.

        Args:
            n: the number of particles, as for ``std``.
            precision: the standard error relative to ``mean``, > 0.

        Raises:
            InputError: a value out of range, or a mean of 0, to which nothing is relative.
        """
        check_number("precision", precision, above=0)
        if self.mean == 0.0:
            raise InputError("the statistic's mean is 0: no error is relative to it; use std(n)")
        return max(1, math.ceil((self.std(n) / (precision * self.mean)) ** 2))

    def summary(self) -> dict[str, Any]:
        """Return what it holds, ready for JSON."""
        return dict(vars(self)) | {"interaction": self.interaction}

    def _lines(self) -> dict[str, str]:
        return {
            "Fluctuations": f"N·Var = {self.variance:.6g} ± {self.error:.1g} at t = {self.t:g}",
            "from start, from noise": f"{self.initial:.6g}, {self.noise:.6g}",
            "mean-field share": f"{self.mean_field_share:.6g}",
            "mean of the statistic": f"{self.mean:.6g}",
        }


@collective(own=("progress",))
def fluctuations(
    pde: Solution,
    statistic: Phi | Mapping[str, Phi] | str,
    *,
    tol: float = 1e-6,
    progress: Callable[[float], None] | None = None,
) -> Fluctuations:
    r"""Return the limit of :math:`N\,\mathrm{Var}\int\varphi\,d\mu_N` at ``t_end`` as N → ∞. Collective.

    :mod:`kspde.evidence.gaussian_limit` derives it. It costs about two solves of the density. ::

        save = kspde.SaveAt(times=np.linspace(0.0, 0.5, 33))
        pde = kspde.solve(model, u0, kspde.Box(half_width=8.0, cells=24), t_end=0.5, eps=0.3, save=save)
        found = kspde.fluctuations(pde, lambda x: np.exp(-np.sum(x**2, axis=1)))
        found.std(1000)  # the standard deviation of the mean of φ over 1000 particles, without a run

    Args:
        pde: what ``solve`` returned, on one grid and saved from t = 0 on, often enough to be interpolated in time:
            ``save=kspde.SaveAt(times=numpy.linspace(0, t_end, 33))``.
        statistic: φ, a function of points (n, d) that returns (n,), smooth on the scale of the mesh; with several
            species a mapping with the function of each, where one that is left out counts 0; or a name, for all:
            "second_moment", |x|², as in the diagnostics of a run, "gaussian", e^(−|x|²/2), or "cosine", cos x₁. The
            statistic is ∫φ dμ_N, with the mass of the species.
        tol: the tolerance of a time step of ψ, relative to the norm of φ in L².
        progress: called on every rank with the share of the work that is done.

    Raises:
        InputError: states that are not saved, a grid that has changed, growth, densities of both signs, fields that are
            the density at the same place, which no particles feel (give ``eps``), or a φ that is not a finite function.
        ConvergenceError: a step failed.
    """
    with together(pde.comm):
        check_number("tol", tol, above=0, below=1)
        _check(pde)
        values = _values(pde, statistic)
    knots = pde.knots
    found = integrate_backward(knots, values, tol, None if progress is None else lambda s: progress(0.6 * s))
    coarse_knots = [*knots[:-1:2], knots[-1]]
    coarse_tol = min(_COARSER * tol, 0.1)
    later = None if progress is None else lambda s: progress(0.6 + 0.4 * s)
    coarse = integrate_backward(coarse_knots, values, coarse_tol, later)
    masses = np.array([pde.problem.masses[name] for name in pde.species])
    initial, noise, shares = _variances(found, masses)
    total = initial + noise
    error = abs(float(np.sum(total - sum(_variances(coarse, masses)[:2])))) + float(masses @ np.abs(found.defect))
    if error > _LARGE * abs(total.sum()):
        warn(
            f"the variance {total.sum():.4g} of the statistic is known up to {error:.2g} only: save more times, refine "
            "the mesh, or give a smoother statistic",
            pde.comm,
        )
    return Fluctuations(
        t=pde.t_end,
        mean=float(found.first[0].sum()),
        variance=float(total.sum()),
        initial=float(initial.sum()),
        noise=float(noise.sum()),
        mean_field_share=float(shares.sum()),
        error=error,
        by_species=dict(zip(pde.species, total.tolist(), strict=True)),
        shares=dict(zip(pde.species, shares.tolist(), strict=True)),
    )


def _variances(found: Backward, masses: Array) -> tuple[Array, Array, Array]:
    """Return the initial parts, the noise's, and the mean-field shares of all species."""
    shares, initial = (masses * square - mean**2 for mean, square in (found.first, found.start))
    return initial, masses * found.noise, shares


def _check(pde: Solution) -> None:
    """Raise unless the particles of a solution have the limit, and its states are known from 0 on."""
    if not hasattr(pde, "knots"):
        raise InputError(f"pde is a {type(pde).__name__}: give what kspde.solve returned")
    knots, model = pde.knots, pde.model
    if model.has_growth:
        raise InputError(f"{model} has growth: fluctuations of particles whose weights change are not offered")
    signed = [name for name, u in pde.u0.items() if u.signed]
    if signed:
        raise InputError(
            f"the density of {signed[0]} has both signs: give each sign its own species, such as two_signs=True"
        )
    local = [f.name for f in pde.problem.fields if f.kernel.local]
    if local:
        raise InputError(
            f"field {local[0]!r} is the density at the same place, which no particles feel: solve with eps, which "
            "mollifies it"
        )
    if len(knots) < _FEWEST or knots[0].t > 0:
        raise InputError(
            f"pde is saved at t = {', '.join(f'{knot.t:g}' for knot in knots[:3])} only: fluctuations need it from 0 "
            f"to t_end, give solve save=kspde.SaveAt(times=numpy.linspace(0, {pde.t_end:g}, 33))"
        )
    if any(knot.system is not knots[0].system for knot in knots):
        raise InputError("the grid of pde has changed between its saved times: solve without regrid")


def _values(pde: Solution, statistic: Any) -> Array:
    """Return φ of each species at this rank's nodes, (species, n). Rank-local."""
    points, names = pde.knots[0].system.space.points, pde.species
    if isinstance(statistic, str):
        if statistic not in STATISTICS:
            raise InputError(
                f"statistic = {statistic!r} is not one that is linear in the particles' measure: give "
                f"{', '.join(STATISTICS)}, or a function of points (n, d)"
            )
        statistic = dict.fromkeys(names, STATISTICS[statistic])
    if not isinstance(statistic, Mapping):
        if len(names) > 1:
            raise InputError(f"statistic is one function for {len(names)} species: give a mapping from {names}")
        statistic = {names[0]: statistic}
    unknown = [name for name in statistic if name not in names]
    if unknown or not statistic:
        raise InputError(f"statistic has species {', '.join(map(str, statistic)) or 'none'}: give {', '.join(names)}")
    out = np.zeros((len(names), len(points)))
    for name, phi in statistic.items():
        if not callable(phi):
            raise InputError(f"statistic is a {type(phi).__name__}: give a function of points (n, d)")
        values = np.asarray(called("statistic", "a function of points (n, d) that returns (n,)", phi, points))
        if values.shape != (len(points),) or not np.can_cast(values.dtype, np.float64, casting="same_kind"):
            raise InputError(
                f"statistic returned {values.dtype} numbers of shape {values.shape} for {len(points)} points: return "
                f"real ones of shape ({len(points)},)"
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InputError(f"statistic is {values[bad[0]]:g} at {place_of(points[bad[0]])}: give a finite function")
        out[names.index(name)] = values
    return out
