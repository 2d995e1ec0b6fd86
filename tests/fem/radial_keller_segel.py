"""The classical Keller-Segel system on the plane, radial: a solver in mass coordinates, for tests only.

With M(r, t) the mass in the disk of radius r and s = r², ∂_t u = Δu − ∇·(u∇c), −Δc = u becomes
M_t = 4 s M_ss + M M_s/π, and the density at the centre is M_s(0)/π. Second differences on a grid that is geometric
in s, and scipy's BDF.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.integrate import solve_ivp

import kspde

__all__ = ["KellerSegel", "drop", "peaks"]


@dataclass(frozen=True, kw_only=True)
class KellerSegel(kspde.Model):
    """∂_t u = Δu − ∇·(u∇c), −Δc + μ²c = u; μ = .01 takes a thousandth from the peaks of these drops."""

    dimension: int = 2
    mu: float = 0.01

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Yukawa(screening=self.mu), gradient=True),)

    def diffusion(self, species, c):
        return 1.0

    def drift(self, species, c):
        return c.gradient("c")


def drop(mass: float, *, std: float = 0.5, mean: tuple[float, ...] = (0.0, 0.0)) -> kspde.GaussianMixture:
    """Return a Gaussian of a mass."""
    return kspde.GaussianMixture(weights=[1.0], means=[list(mean)], stds=[std], mass=mass)


def peaks(mass: float, times: list[float], *, std: float = 0.5, points: int = 800) -> np.ndarray:
    """Return u(0, t) at some times before the blow-up, from ``drop(mass, std=std)``; its error is O(points^−2)."""
    s = np.expm1(np.linspace(0.0, np.log(4e7), points + 1))
    s *= 36.0 / s[-1]
    h = np.diff(s)

    def rate(t, m):
        slope = np.diff(m) / h
        out = np.zeros_like(m)
        second = 2.0 * np.diff(slope) / (h[1:] + h[:-1])
        first = (h[:-1] * slope[1:] + h[1:] * slope[:-1]) / (h[1:] + h[:-1])
        out[1:-1] = 4.0 * s[1:-1] * second + m[1:-1] * first / np.pi
        return out

    start = -mass * np.expm1(-s / (2.0 * std**2))
    near = scipy.sparse.diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(points + 1, points + 1))
    done = solve_ivp(
        rate, (0.0, times[-1]), start, method="BDF", t_eval=times, rtol=1e-8, atol=1e-10, jac_sparsity=near
    )
    return (done.y[1] - done.y[0]) / (h[0] * np.pi)
