r"""The norms of a mollified kernel against the powers of ε that the proofs give them.

Wang, Li and Huang bound :math:`\Phi^\varepsilon = \Phi * j^\varepsilon` on the plane by Young's inequality:

.. math::
    \|\Phi^\varepsilon\|_{W^{1,1}} \le C, \qquad
    \|\Phi^\varepsilon\|_{W^{1,\infty}} \le C\varepsilon^{-2}, \qquad
    \|D^2\Phi^\varepsilon\|_{L^\infty} \le C\varepsilon^{-3}. \tag{1.5-1.7}

The bounds hold and the last two are not sharp. Near the origin Φ is (χ/2π) log(1/|x|) up to a bounded function, and
|∇Φ| is χ/(2π|x|), so

.. math::
    \|\Phi^\varepsilon\|_\infty \sim \tfrac{\chi}{2\pi}\log\tfrac1\varepsilon, \qquad
    \|\nabla\Phi^\varepsilon\|_\infty \sim C\varepsilon^{-1}, \qquad
    \|D^2\Phi^\varepsilon\|_\infty \sim C\varepsilon^{-2}:

one power of 1/ε less in each. The left sides are computed here from the kernel's symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kspde.errors import InputError, check_finite
from kspde.kernels import Kernel, Mollifier, ResolventPolynomial, resolve_mollifier
from kspde.radial import WAVENUMBERS, profile, radial_weights
from kspde.typing import Array

__all__ = ["CLAIMED_EXPONENTS", "KernelNorms", "LaplacianPower", "NormTable", "kernel_norms", "mollified_norms"]

#: Powers of ε in (1.5), (1.6) and (1.7).
CLAIMED_EXPONENTS = {"w11": 0.0, "w1inf": -2.0, "hessian_sup": -3.0}

_TOL = 1e-10


@dataclass(frozen=True, kw_only=True)
class KernelNorms:
    """Norms of a radial kernel K of the plane.

    Attributes:
        l1: ∫|K|.
        gradient_l1: ∫|∇K|.
        sup: sup|K|.
        gradient_sup: sup|∇K|.
        hessian_sup: sup of the spectral norm of D²K.
    """

    l1: float
    gradient_l1: float
    sup: float
    gradient_sup: float
    hessian_sup: float

    @property
    def w11(self) -> float:
        """‖K‖ in W^{1,1}: ∫|K| + ∫|∇K|."""
        return self.l1 + self.gradient_l1

    @property
    def w1inf(self) -> float:
        """‖K‖ in W^{1,∞}: sup|K| + sup|∇K|."""
        return self.sup + self.gradient_sup


@dataclass(frozen=True, kw_only=True)
class LaplacianPower(Kernel):
    """The operator (a − Δ)^p as a kernel: symbol (a + λ)^p. It makes sense when convolved with a smooth enough kernel.

    Attributes:
        power: p.
        shift: a ≥ 0.
    """

    power: float
    shift: float = 0.0

    def symbol(self, lam: Array) -> Array:
        """Return (a + λ)^p."""
        return np.asarray((self.shift + lam) ** self.power)

    @property
    def decay_rate(self) -> float:
        """Infinite: the operator is local, or nearly so."""
        return math.inf

    @property
    def smoothing(self) -> float:
        """−2p: the operator takes derivatives."""
        return -2.0 * self.power

    @property
    def resolvents(self) -> tuple[ResolventPolynomial, ...]:
        """There are none.

        Raises:
            InputError: always; a differential operator is not a polynomial in resolvents.
        """
        raise InputError(f"(a - Laplacian)^{self.power:g} has no resolvents: convolve with smoother kernels instead")


@dataclass(frozen=True, kw_only=True)
class NormTable:
    """Norms of K * j^ε for several ε.

    Attributes:
        eps: the values of ε, descending, shape (n,).
        norms: the norms, one entry per ε.
    """

    eps: Array
    norms: tuple[KernelNorms, ...]

    def column(self, name: str) -> Array:
        """Return one norm at every ε, shape (n,)."""
        return np.array([getattr(row, name) for row in self.norms])

    def exponents(self, name: str) -> Array:
        """Return the measured exponents of ε between neighbouring values, Δlog‖·‖/Δlog ε, shape (n − 1,)."""
        return np.diff(np.log(self.column(name))) / np.diff(np.log(self.eps))


def mollified_norms(kernel: Kernel, eps: Sequence[float], *, mollifier: Mollifier = "gaussian") -> NormTable:
    """Return the norms of K * j^ε on the plane for several ε.

    Args:
        kernel: K, such as ``Yukawa(strength=chi)``.
        eps: values of ε, descending, at least two.
        mollifier: as for the backends.

    Raises:
        InputError: values of ε that are not positive and descending, or a mollified kernel without bounded second
            derivatives.
    """
    values = check_finite("eps", eps, (None,))
    if len(values) < 2 or np.any(values <= 0) or np.any(np.diff(values) >= 0):
        raise InputError(f"eps = {values.tolist()} is not valid: give at least two positive numbers, descending")
    mollified = ((kernel * resolve_mollifier(float(e), mollifier)).in_dimension(2) for e in values)
    return NormTable(eps=values, norms=tuple(kernel_norms(each) for each in mollified))


def kernel_norms(kernel: Kernel) -> KernelNorms:
    """Return the norms of a radial kernel of the plane, by Hankel transforms of its symbol, to about 1e-6.

    Integrals are over Gauss points of panels that grow with r; a supremum is refined around its largest value there.
    For a symbol of one sign, such as that of a Yukawa potential with any mollifier here, |K| and |D²K| are largest at
    the origin, where D²K = ½ ΔK I; for others second derivatives are K'' = ΔK − K'/r and K'/r.

    Raises:
        InputError: a kernel that vanishes, does not decay exponentially, or has unbounded second derivatives.
    """
    if kernel.smoothing <= 4.0:
        raise InputError(
            f"the symbol decays as |k|^-{kernel.smoothing:g}: second derivatives in the plane are bounded when it "
            "decays faster than |k|^-4: mollify the kernel, or take a smoother mollifier"
        )
    inner, outer = _scales(kernel)
    octaves = math.ceil(math.log2(outer / (0.05 * inner)))
    edges = np.concatenate(([0.0], np.geomspace(0.05 * inner, outer, 1 + 8 * octaves // 5)))
    nodes, node_weights = np.polynomial.legendre.leggauss(8)
    half = 0.5 * np.diff(edges)[:, None]
    r = (edges[:-1, None] + half * (1.0 + nodes)).ravel()
    area = (half * node_weights).ravel() * 2.0 * np.pi * r
    values, slopes = np.abs(_value(kernel, r)), np.abs(_slope(kernel, r))
    weights = radial_weights(kernel, 2)
    if np.all(weights >= 0) or np.all(weights <= 0):
        sup, hessian_sup = abs(float(weights.sum())), 0.5 * abs(float(weights @ WAVENUMBERS**2))
    else:
        sup, hessian_sup = _refined(_value, kernel, r, values), _refined(_hessian, kernel, r, _hessian(kernel, r))
    return KernelNorms(
        l1=float(area @ values),
        gradient_l1=float(area @ slopes),
        sup=sup,
        gradient_sup=_refined(_slope, kernel, r, slopes),
        hessian_sup=hessian_sup,
    )


def _scales(kernel: Kernel) -> tuple[float, float]:
    """Return the length on which the kernel varies at the origin, and one beyond which it is negligible."""
    k = np.geomspace(1e-12, 1e12, 4801)
    weights = np.abs(kernel.symbol(k**2)) * k**4
    if not weights.any():
        raise InputError("the kernel vanishes: give one that does not (a strength other than 0)")
    share = np.cumsum(weights) / weights.sum()
    inner = 1.0 / float(k[np.searchsorted(share, 0.5)])
    rate = kernel.decay_rate
    if not rate > 0:
        raise InputError(f"the kernel decays at the rate {rate:g}: give one that decays exponentially (a screening)")
    return inner, max(30.0 / rate, 40.0 * inner)


def _value(kernel: Kernel, r: Array) -> Array:
    return profile(kernel, 2, r, tol=_TOL)


def _slope(kernel: Kernel, r: Array) -> Array:
    return profile(kernel, 2, r, tol=_TOL, slope=True)


def _hessian(kernel: Kernel, r: Array) -> Array:
    """Return the spectral norm of D²K at radii r ≥ 0: its eigenvalues are K'' and K'/r, equal at the origin."""
    laplacian = -profile(kernel * LaplacianPower(power=1.0), 2, r, tol=_TOL)
    across = np.divide(_slope(kernel, r), r, where=r > 0, out=0.5 * laplacian)
    return np.maximum(np.abs(laplacian - across), np.abs(across))


def _refined(function: Callable[[Kernel, Array], Array], kernel: Kernel, r: Array, values: Array) -> float:
    """Return the supremum of |function| from its values on a grid that shows where it lies."""
    r = np.concatenate(([0.0], r))
    values = np.concatenate((np.abs(function(kernel, r[:1])), values))
    for _ in range(3):
        top = int(np.argmax(values))
        r = np.linspace(r[max(top - 1, 0)], r[min(top + 1, len(r) - 1)], 17)
        values = np.abs(function(kernel, r))
    return float(values.max())
