"""Models on the line, and their densities, for the tests of evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import kspde


@dataclass(frozen=True, kw_only=True)
class Line(kspde.SignalDependentKellerSegel):
    """The signal-dependent system in dimension 1."""

    dimension = 1


@dataclass(frozen=True, kw_only=True)
class Drifting(kspde.Model):
    """∂_t u = Δ(D u) − (χ ∇c u)', D = (1 + e^(−c))(1 + x²/50): drift, a D of fields and of position."""

    dimension = 1
    chi: float = 3.0

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True),)

    def diffusion(self, species, c):
        return (1.0 + np.exp(-c["c"])) * (1.0 + c.points[:, 0] ** 2 / 50.0)

    def drift(self, species, c):
        return self.chi * c.gradient("c")


MODELS = {"signal-dependent": Line(chi=8.0), "drift": Drifting()}
START = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-0.8,), (0.9,)), stds=(0.6, 0.5))
T_END = 0.25


@cache
def density(name: str, cells: int = 14, degree: int = 6, half_width: float = 8.0, saved: int = 11):
    """The mean-field density of a model on the line, saved often."""
    box = kspde.Box(half_width=half_width, cells=cells, degree=degree, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, T_END, saved))
    return kspde.solve(MODELS[name], START, box, t_end=T_END, tol=1e-7, eps=0.3, save=save)


@cache
def free():
    """The signal-dependent system without its signal (χ = 0), where particles are independent."""
    like = density("signal-dependent")
    save = kspde.SaveAt(times=(0.0, T_END / 2))
    return kspde.solve(replace(like.model, chi=0.0), START, like.domain, t_end=T_END, tol=1e-7, eps=0.3, save=save)


@cache
def plane(degree: int = 6):
    """The check numbers' problem, saved often."""
    u0 = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )
    return kspde.solve(
        kspde.SignalDependentKellerSegel(chi=8.0),
        u0,
        kspde.Box(half_width=14.0, cells=24, degree=degree),
        t_end=0.5,
        tol=1e-7,
        eps=0.3,
        save=kspde.SaveAt(times=np.linspace(0, 0.5, 11)),
    )
