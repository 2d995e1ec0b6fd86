"""Norms of mollified kernels against closed forms."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.special import erfc, exp1, kv

from kspde import GaussianMollifier, InputError, MaternMollifier, Yukawa, theory
from kspde.papers.theory.norms import LaplacianPower

pytestmark = pytest.mark.one_rank


@pytest.mark.parametrize(("chi", "mu", "eps"), [(8.0, 1.0, 0.3), (-3.0, 2.0, 0.02)])
def test_gaussian_mollifier_against_closed_forms(chi: float, mu: float, eps: float) -> None:
    """Φ^ε has one sign and is monotone, so ∫|Φ^ε| = ĝ(0) and ∫|∇Φ^ε| = ∫ g dk; Φ^ε(0) is an exponential integral."""
    norms = theory.kernel_norms(Yukawa(strength=chi, screening=mu) * GaussianMollifier(eps=eps))
    chi, a = abs(chi), 0.5 * (mu * eps) ** 2
    assert norms.l1 == pytest.approx(chi / mu**2, rel=1e-7)
    assert norms.gradient_l1 == pytest.approx(chi * np.pi / (2 * mu) * np.exp(a) * erfc(np.sqrt(a)), rel=1e-7)
    at_origin = chi / (4 * np.pi) * np.exp(a) * exp1(a)
    assert norms.sup == pytest.approx(at_origin, rel=1e-8)
    # −ΔΦ^ε + μ²Φ^ε = χ j^ε, and D²Φ^ε(0) = ½ ΔΦ^ε(0) I.
    assert norms.hessian_sup == pytest.approx(0.5 * (chi / (2 * np.pi * eps**2) - mu**2 * at_origin), rel=1e-7)
    assert norms.w11 == norms.l1 + norms.gradient_l1
    assert norms.w1inf == norms.sup + norms.gradient_sup


def test_slope_close_to_the_origin() -> None:
    """As ε → 0 the slope is that of the logarithm, (1 − exp(−r²/(2ε²)))/(2πr), whose maximum is 0.45126/(2πε)."""
    norms = theory.kernel_norms(Yukawa(strength=1.0) * GaussianMollifier(eps=0.003))
    r = np.linspace(1.0, 2.5, 100_001)
    assert norms.gradient_sup * 2 * np.pi * 0.003 == pytest.approx(((1 - np.exp(-(r**2) / 2)) / r).max(), rel=2e-4)


def test_matern_mollifier_against_bessel_functions() -> None:
    """With ε = 2/b and order 2 the symbol is 1/((λ + μ²)(1 + λ/b²)²): a sum of Bessel functions."""
    mu, eps = 1.0, 0.5
    b = 2.0 / eps
    share = b**2 / (b**2 - mu**2)

    def value(r: np.ndarray) -> np.ndarray:
        yukawas = share**2 * (kv(0, mu * r) - kv(0, b * r))
        return (yukawas - share * b * r * kv(1, b * r) / 2) / (2 * np.pi)

    r = np.geomspace(1e-6, 40.0, 400_001)
    exact = value(r)
    slope = np.gradient(exact, r, edge_order=2)
    norms = theory.kernel_norms(Yukawa(strength=1.0, screening=mu) * MaternMollifier(eps=eps, order=2))
    assert norms.l1 == pytest.approx(1.0, rel=1e-7)
    assert norms.sup == pytest.approx(exact[0], rel=1e-5)
    assert norms.gradient_sup == pytest.approx(np.abs(slope).max(), rel=1e-5)
    assert norms.gradient_l1 == pytest.approx(2 * np.pi * np.trapezoid(exact, r), rel=1e-5)


def test_a_symbol_that_decays_slowly_on_a_short_scale() -> None:
    """The same kernel at ε = .005: Φ(0) is its sum at the origin, and ½ΔΦ(0) = ½(μ²Φ(0) − j(0)), j(0) = b²/(4π)."""
    b = 2.0 / 0.005
    share = b**2 / (b**2 - 1)
    at_origin = (share**2 * np.log(b) - share / 2) / (2 * np.pi)
    norms = theory.kernel_norms(Yukawa(strength=1.0) * MaternMollifier(eps=0.005, order=2))
    assert norms.sup == pytest.approx(at_origin, rel=1e-9)
    assert norms.hessian_sup == pytest.approx(0.5 * (b**2 / (4 * np.pi) - at_origin), rel=1e-9)


def test_measured_exponents() -> None:
    """The powers of (1.5)-(1.7) hold; the last two are larger by one than what the norms do."""
    table = theory.mollified_norms(Yukawa(strength=8.0), [0.04, 0.02, 0.01])
    measured = {name: table.exponents(name) for name in theory.CLAIMED_EXPONENTS}
    for name, claimed in theory.CLAIMED_EXPONENTS.items():
        assert np.all(measured[name] > claimed - 0.03)
    assert measured["w11"] == pytest.approx(0.0, abs=0.03)
    assert table.exponents("gradient_sup") == pytest.approx(-1.0, abs=0.01)
    assert np.all((measured["w1inf"] > -1.0) & (measured["w1inf"] < -0.85))  # the logarithm of the supremum beside it
    assert measured["hessian_sup"] == pytest.approx(-2.0, abs=0.02)
    # The supremum itself grows like (χ/2π) log(1/ε): equal steps.
    assert np.diff(table.column("sup")) == pytest.approx(8 / (2 * np.pi) * np.log(2), rel=5e-3)


@pytest.mark.parametrize("eps", [[0.1], [0.1, 0.2], [0.1, 0.0], [0.1, float("nan")]])
def test_bad_eps(eps: list[float]) -> None:
    with pytest.raises(InputError, match="eps"):
        theory.mollified_norms(Yukawa(), eps)


def test_kernels_without_such_norms() -> None:
    with pytest.raises(InputError, match=r"decays as \|k\|\^-2"):
        theory.kernel_norms(Yukawa())
    with pytest.raises(InputError, match="vanishes"):
        theory.mollified_norms(Yukawa(strength=0.0), [0.2, 0.1])
    with pytest.raises(InputError, match="has no resolvents"):
        _ = LaplacianPower(power=1.0).resolvents
    assert theory.mollified_norms(Yukawa(), [0.2, 0.1], mollifier=partial(MaternMollifier, order=4)).norms[0].l1 == (
        pytest.approx(1.0, rel=1e-7)
    )
