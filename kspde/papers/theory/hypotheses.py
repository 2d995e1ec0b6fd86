"""Which theorem's hypotheses a model, its parameters and its initial density satisfy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from kspde.initial import AlgebraicDensity, GaussianMixture, GridDensity, InitialDensity
from kspde.models import (
    CrossDiffusion,
    DensityDependentVolatility,
    LinearDriver,
    LogGas,
    Model,
    PowerDriver,
    RieszGas,
    SignalDependentKellerSegel,
    ViscousVortices,
)
from kspde.papers.theory.cross_diffusion import entropy_decays, interaction_range, small_data_constant, sobolev_norm
from kspde.papers.theory.gagliardo_nirenberg import critical_strength
from kspde.papers.theory.rates import Theorem1Limits, Theorem2Limits
from kspde.runtime.messages import warn
from kspde.typing import Comm

__all__ = ["Hypothesis", "hypotheses", "warn_outside_hypotheses"]

_LEMMA = "Wang, Li and Huang's Lemma 1"


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis of a theorem, and whether it is met.

    Attributes:
        source: the authors and the number.
        statement: the condition.
        verdict: True, False, or None where it cannot be decided.
        because: the values that decide, or the reason that none do.
        parameter: whether it restricts the model's parameters (a run warns when it is violated) or the initial density.
    """

    source: str
    statement: str
    verdict: bool | None
    because: str
    parameter: bool = False

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return {True: "holds", False: "violated", None: "open"}[self.verdict]

    @property
    def warning(self) -> str:
        """The line of a run's warning."""
        return f"{self.because}: outside the hypotheses of {self.source}, which asks for {self.statement}"


def one_or_all(densities: Mapping[str, InitialDensity]) -> InitialDensity | Mapping[str, InitialDensity]:
    """Return the initial density of the only species, or those of all."""
    return next(iter(densities.values())) if len(densities) == 1 else densities


@singledispatch
def hypotheses(
    model: Model,
    *,
    u0: InitialDensity | Mapping[str, InitialDensity] | None = None,
    eps: float | None = None,
    n: int | None = None,
) -> tuple[Hypothesis, ...]:
    """Return the hypotheses of the theorem that covers a model, with verdicts; none for a model no theorem covers.

    Args:
        model: the system.
        u0: the initial density, of several species by name; without one only the parameters are examined, for mass 1.
        eps: ε of the mollifier, where the system is regularised.
        n: the number N of particles, where there are any.
    """
    return ()


def warn_outside_hypotheses(
    model: Model, densities: Mapping[str, InitialDensity], eps: float | None, comm: Comm
) -> None:
    """Warn of parameters outside the hypotheses of the theorem that covers a run's model. Not collective."""
    if comm.rank == 0:
        for found in hypotheses(model, u0=one_or_all(densities), eps=eps):
            if found.parameter and found.verdict is False:
                warn(found.warning, comm)


@hypotheses.register
def _signal_dependent(
    model: SignalDependentKellerSegel,
    *,
    u0: InitialDensity | None = None,
    eps: float | None = None,
    n: int | None = None,
) -> tuple[Hypothesis, ...]:
    """Wang, Li and Huang's Lemma 1 and Theorems 1 and 2.

    The paper has μ = 1 and mass 1. Measuring lengths in units of 1/μ and the density in units of its mass reduces the
    general system to that case, with χ times the mass in place of χ and με in place of ε.
    """
    mass = 1.0 if u0 is None else u0.mass
    asked, stated = "chi", f"chi = {model.chi:g}"
    if mass != 1.0:
        asked, stated = "chi * mass", f"chi * mass = {model.chi * mass:g}"
    bound = critical_strength()
    met = model.chi * mass < bound
    out = [Hypothesis(_LEMMA, f"{asked} < 4/c_* = {bound:.4f}", met, stated, parameter=True)]
    if eps is not None:
        scaled = "eps" if model.mu == 1.0 else "eps * mu"
        size = eps * model.mu
        source = "Wang, Li and Huang's (1.3)"
        out.append(Hypothesis(source, f"0 < {scaled} < 1", size < 1.0, f"{scaled} = {size:g}", parameter=True))
    if u0 is not None:
        out += _initial(u0)
    if eps is not None and n is not None and n > 1:
        first, second = Theorem1Limits().gamma, Theorem2Limits().gamma
        exponent = f"{-math.log(eps * model.mu) / math.log(n):.3g}"
        out.append(
            Hypothesis(
                "Wang, Li and Huang's Theorems 1 and 2",
                f"eps ~ N^-gamma with gamma < {first:g} and {second:.4g} at most",
                None,
                f"one N fixes no exponent (with eps = N^-gamma it would be gamma = {exponent})",
            )
        )
    statement = "t < T*, up to which (1.11) bounds grad log u^eps"
    out.append(Hypothesis("Wang, Li and Huang's Theorem 2", statement, None, "no value of T* is known"))
    return tuple(out)


@hypotheses.register
def _cross_diffusion(
    model: CrossDiffusion,
    *,
    u0: InitialDensity | Mapping[str, InitialDensity] | None = None,
    eps: float | None = None,
    n: int | None = None,
) -> tuple[Hypothesis, ...]:
    """Chen, Daus and Jüngel's (6), their entropy condition as it must be, and Theorem 3."""
    source, d = "Chen, Daus and Jüngel's", model.dimension
    least = float(np.linalg.eigvalsh(np.add(model.a, np.transpose(model.a))).min())
    because = f"its least eigenvalue is {least:.4g}"
    out = [Hypothesis(f"{source} entropy", "a + a^T positive definite", entropy_decays(model.a), because)]
    given = list(u0.values()) if isinstance(u0, Mapping) else [] if u0 is None else [u0]
    s = d // 2 + 2  # the least integer above d/2 + 1
    asked = f"norm of u0 in H^{s} <= min sigma/(C* sum |a_ij|), C* >= 1"
    mixtures = [u for u in given if isinstance(u, GaussianMixture)]
    if given and np.any(model.a):
        verdict, why = None, "not a sum of Gaussians, not examined"
        if len(mixtures) == len(given):
            norm = math.sqrt(sum(sobolev_norm(u, s) ** 2 for u in mixtures))
            most = small_data_constant(norm, sigma=model.sigma, potential_l1=np.abs(model.a))
            why = f"it holds if C* <= {most:.4g}" + (", and C* is not given" if most >= 1 else "")
            verdict = None if most >= 1 else False
        out.append(Hypothesis(f"{source} (6)", asked, verdict, why))
    if eps is not None and n is not None and n > 1:
        allowed = interaction_range(n, dimension=d)
        out.append(
            Hypothesis(
                f"{source} Theorem 3",
                f"eps^-{2 * d + 4} <= delta log N, delta small",
                None if eps >= allowed else False,
                f"eps = {eps:g}, at least {allowed:.4g} for delta = 1",
            )
        )
    return tuple(out)


def _initial(u0: InitialDensity) -> list[Hypothesis]:
    kind = why = "a function, not examined"
    if isinstance(u0, GaussianMixture):
        kind = "a sum of Gaussians"
        why = (
            "a sum of Gaussians: grad log u0 grows like |x|, where (1 + |x|^2)^-k, k > 2, would do (only Theorem 2 "
            "uses this)"
        )
    elif isinstance(u0, GridDensity):
        kind = "bounded, with bounded support"
        why = "log u0 is not finite where u0 vanishes (only Theorem 2 uses this)"
    known = isinstance(u0, (GaussianMixture, GridDensity))
    integrable, smooth = (True, False) if known else (None, None)
    if isinstance(u0, AlgebraicDensity):
        kind = why = f"(1 + |x|^2/s^2)^-{u0.power:g}"
        integrable, smooth = u0.power > 2, True
    return [
        Hypothesis(_LEMMA, "u0 log u0 and |x|^2 u0 integrable, u0 in every L^p", integrable, kind),
        Hypothesis(_LEMMA, "grad log u0 in W^{1,q}, q > 2", smooth, why),
    ]


@hypotheses.register
def _density_dependent(
    model: DensityDependentVolatility,
    *,
    u0: InitialDensity | None = None,
    eps: float | None = None,
    n: int | None = None,
) -> tuple[Hypothesis, ...]:
    """Qi's Assumption 2.4, and the condition that its proof needs (``kspde.papers.theory.volatility``)."""
    driver, least = model.driver, "a volatility of at least c_0 > 0 without density"
    source = "Qi's Assumption 2.4"
    if isinstance(driver, PowerDriver):
        why = f"h = nu^{driver.power:g} vanishes at nu = 0"
        return (Hypothesis(f"{source}(iv)", least, False, why, parameter=True),)
    if not isinstance(driver, LinearDriver):
        statement = f"a driver with bounded derivatives and h' >= c_h > 0, {least}, c_0^2 > 2 C_0 max u0/c_h"
        return (Hypothesis(source, statement, None, "a function, not examined"),)
    out = [Hypothesis(f"{source}(iv)", least, True, f"c_0 = b/a = {driver.b / driver.a:g}")]
    if u0 is not None:
        highest = _largest(u0)
        why = f"b = {driver.b:g}, max u0 = {highest:.4g}"
        printed, needed = driver.b > 2.0 * highest, driver.b > (1.0 + math.sqrt(3.0)) * highest
        out += [
            Hypothesis(f"{source}(v)", "b > 2 max u0", printed, why, parameter=True),
            Hypothesis(
                f"{source}(v) as its proof needs it", "b > (1 + sqrt(3)) max u0", needed, why, parameter=printed
            ),
            Hypothesis(
                "Qi's Theorem 3.1",
                "u0 in H^1",
                True if isinstance(u0, GaussianMixture) else None,
                "a sum of Gaussians" if isinstance(u0, GaussianMixture) else "not examined",
            ),
        ]
    return tuple(out)


def _largest(u0: InitialDensity) -> float:
    """Return the largest of ten thousand values of a density on the line."""
    reach = u0.reach(1e-6)
    return float(u0(np.linspace(-reach, reach, 10_001)[:, None]).max())


@hypotheses.register
def _log_gas(
    model: LogGas, *, u0: InitialDensity | None = None, eps: float | None = None, n: int | None = None
) -> tuple[Hypothesis, ...]:
    """The bound below of the free energy."""
    mass, least = 1.0 if u0 is None else u0.mass, -2.0 * model.dimension * model.noise
    because = f"strength * mass = {model.strength * mass:g}"
    asked = f"strength * mass > -2 d noise = {least:g}"
    met = model.strength * mass > least
    return (Hypothesis("the logarithmic Hardy-Littlewood-Sobolev inequality", asked, met, because, parameter=True),)


@hypotheses.register
def _viscous_vortices(
    model: ViscousVortices, *, u0: Any = None, eps: float | None = None, n: int | None = None
) -> tuple[Hypothesis, ...]:
    """Viscosity, without which the equation is another one."""
    because = f"viscosity = {model.viscosity:g}"
    if model.viscosity == 0:
        because += ", so that Euler's equation is solved, without diffusion or noise"
    source = "Fournier, Hauray and Mischler's mean-field limit (2014)"
    return (Hypothesis(source, "viscosity > 0", model.viscosity > 0, because, parameter=True),)


@hypotheses.register
def _riesz_gas(
    model: RieszGas, *, u0: InitialDensity | None = None, eps: float | None = None, n: int | None = None
) -> tuple[Hypothesis, ...]:
    """Repulsion, without which particles stick together where they meet."""
    because = f"strength = {model.strength:g}" + ("" if eps is None else f", eps = {eps:g}")
    met = model.strength >= 0 or eps is not None
    return (Hypothesis("Serfaty's mean-field limit (2020)", "strength >= 0, or eps", met, because, parameter=True),)
