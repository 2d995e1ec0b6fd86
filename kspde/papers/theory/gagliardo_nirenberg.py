r"""The Gagliardo-Nirenberg constant c_* and the ground state Q it comes from.

.. math:: \|\omega\|_{L^4(\mathbb R^2)}^4 \le c_* \|\omega\|_{L^2}^2 \|\nabla\omega\|_{L^2}^2

is sharp, with equality at the ground state: the positive radial solution of :math:`\Delta Q - Q + Q^3 = 0` (M.
Weinstein, *Nonlinear Schrödinger equations and sharp interpolation estimates*, 1983). Testing that equation with Q and
with :math:`x\cdot\nabla Q` gives the two Pohozaev identities

.. math:: \|\nabla Q\|_2^2 = \|Q\|_2^2, \qquad \|Q\|_4^4 = 2\|Q\|_2^2, \qquad\text{so}\quad c_* = 2/\|Q\|_2^2.

Wang, Li and Huang's Lemma 1 asks for :math:`\chi < 4/c_* = 2\|Q\|_2^2`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from kspde.errors import ConvergenceError, InputError, check_number
from kspde.typing import Array

__all__ = [
    "GroundState",
    "critical_strength",
    "gagliardo_nirenberg_constant",
    "gagliardo_nirenberg_quotient",
    "ground_state",
]

#: Radius at which Q (e^-20 of its maximum there) is set to zero, and the degree in r². Both leave errors of 1e-13.
_RADIUS, _DEGREE = 20.0, 300

#: The mass of the ground state, which every run compares χ with.
_MASS = 11.700896524559


@dataclass(frozen=True, kw_only=True)
class GroundState:
    """The ground state Q and its norms.

    Attributes:
        r: radii, ascending from 0, shape (n,).
        q: Q there, shape (n,).
        mass: ‖Q‖₂².
        dirichlet: ‖∇Q‖₂².
        quartic: ‖Q‖₄⁴.
    """

    r: Array
    q: Array
    mass: float
    dirichlet: float
    quartic: float

    @property
    def pohozaev_residuals(self) -> tuple[float, float]:
        """‖∇Q‖₂²/‖Q‖₂² − 1 and ‖Q‖₄⁴/(2‖Q‖₂²) − 1: both vanish for the exact ground state."""
        return self.dirichlet / self.mass - 1.0, self.quartic / (2.0 * self.mass) - 1.0


@cache
def ground_state() -> GroundState:
    """Solve ΔQ − Q + Q³ = 0 for the positive radial Q in the plane, to about 1e-12.

    A smooth radial function is smooth in y = r²/R², in which Δ = (4/R²)(y ∂_y² + ∂_y) needs no condition at the
    origin. Chebyshev collocation on [0, 1] is used; Petviashvili's iteration finds Q from any positive start, and
    Newton's method polishes it.

    Raises:
        ConvergenceError: the iteration did not settle (it does).
    """
    n = _DEGREE
    angles = np.pi * np.arange(n + 1) / n
    y = 0.5 * (1.0 - np.cos(angles))
    first = _differentiation(y)
    laplacian = (4.0 / _RADIUS**2) * (y[:, None] * (first @ first) + first)
    operator = (np.eye(n + 1) - laplacian)[:-1, :-1]
    weights = np.pi * _RADIUS**2 * _clenshaw_curtis(angles)
    inverse = np.linalg.inv(operator)
    q = 2.2 / np.cosh(_RADIUS * np.sqrt(y[:-1]))
    for _ in range(200):
        cubed = q**3
        scale = (weights[:-1] * q) @ (operator @ q) / ((weights[:-1] * q) @ cubed)
        change = scale**1.5 * (inverse @ cubed) - q
        q = q + change
        if np.abs(change).max() < 1e-12:
            break
    else:
        raise ConvergenceError("the ground state was not found: Petviashvili's iteration did not settle in 200 steps")
    for _ in range(2):
        q = q - np.linalg.solve(operator - np.diag(3.0 * q**2), operator @ q - q**3)
    values = np.append(q, 0.0)
    slope_squared = (4.0 * y / _RADIUS**2) * (first @ values) ** 2
    return GroundState(
        r=_RADIUS * np.sqrt(y),
        q=values,
        mass=float(weights @ values**2),
        dirichlet=float(weights @ slope_squared),
        quartic=float(weights @ values**4),
    )


def gagliardo_nirenberg_constant() -> float:
    """Return c_* = 2/‖Q‖₂² = 0.170927, the best constant of ‖ω‖₄⁴ ≤ c_* ‖ω‖₂² ‖∇ω‖₂² in the plane."""
    return 2.0 / _MASS


def critical_strength() -> float:
    """Return 4/c_* = 2‖Q‖₂² = 23.4018, the bound on χ·(mass) in Wang, Li and Huang's Lemma 1."""
    return 4.0 / gagliardo_nirenberg_constant()


def gagliardo_nirenberg_quotient(
    profile: Callable[[Array], Array], slope: Callable[[Array], Array], *, reach: float
) -> float:
    """Return ‖ω‖₄⁴ / (‖ω‖₂² ‖∇ω‖₂²) of a radial function of the plane; it is at most c_*.

    Args:
        profile: ω(r) at radii of shape (n,).
        slope: ω'(r).
        reach: the radius beyond which ω is negligible.

    Raises:
        InputError: reach ≤ 0, or a function that vanishes everywhere or is not finite.
    """
    check_number("reach", reach, above=0)
    nodes, node_weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(0.0, reach, 201)
    half = 0.5 * np.diff(edges)[:, None]
    r = (edges[:-1, None] + half * (1.0 + nodes)).ravel()
    w = (half * node_weights).ravel() * 2.0 * np.pi * r
    values, slopes = profile(r), slope(r)
    below = float((w @ values**2) * (w @ slopes**2))
    if not (np.isfinite(below) and below > 0):
        raise InputError(f"‖ω‖² ‖∇ω‖² = {below} is not valid: give a function that is finite and does not vanish")
    return float(w @ values**4) / below


def _differentiation(x: Array) -> Array:
    """Return the differentiation matrix of the interpolant at Chebyshev extrema x."""
    n = len(x) - 1
    c = np.ones(n + 1)
    c[[0, -1]] = 2.0
    c *= (-1.0) ** np.arange(n + 1)
    matrix: Array = np.outer(c, 1.0 / c) / (np.subtract.outer(x, x) + np.eye(n + 1))
    return matrix - np.diag(matrix.sum(axis=1))


def _clenshaw_curtis(angles: Array) -> Array:
    """Return the weights of the interpolatory quadrature on [0, 1] at (1 − cos angle)/2."""
    n = len(angles) - 1
    moments = np.zeros(n + 1)
    moments[::2] = 1.0 / (1.0 - np.arange(0.0, n + 1, 2) ** 2)
    weights: Array = np.linalg.solve(np.cos(np.outer(np.arange(n + 1), angles)), moments)
    return weights
