r"""The computations that claims are held against: those that need no study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from kspde.initial import GaussianMixture
from kspde.kernels import TwoBumps, Yukawa
from kspde.models import MeanAttraction
from kspde.papers import theory
from kspde.papers.ledger.point_checks import Check
from kspde.typing import Array

__all__ = ["Check"]

_EPS = (0.32, 0.16, 0.08, 0.04, 0.02)
_CHI = 8.0


def _exact(value: str, ratio: float) -> Check:
    return Check(value=value, ratio=ratio, interval=(ratio, ratio))


def w11_bound() -> Check:
    r"""Return ‖Φ^ε‖ in W^{1,1} over ‖Φ‖ ‖j‖, (1.5): ∫Φ = χ, ∫|∇Φ| = χ∫_0^∞ r K_1(r) dr = χπ/2."""
    norms = _norms().column("w11")
    bound = _CHI * (1.0 + 0.5 * math.pi)
    ratio = float(norms.max()) / bound
    return _exact(f"at most {norms.max():.3f} = {ratio:.3f} of the bound {bound:.3f}, χ = 8, ε = .32 to .02", ratio)


def lipschitz_bound() -> Check:
    r"""Return ‖Φ^ε‖ in W^{1,∞} over ‖Φ‖_{W^{1,1}} ‖j^ε‖_∞, (1.6), with ‖j^ε‖_∞ = 1/(2πε²) of the Gaussian."""
    return _powers("w1inf", _CHI * (1.0 + 0.5 * math.pi) / (2.0 * math.pi * np.square(_EPS)))


def hessian_bound() -> Check:
    r"""Return ‖D²Φ^ε‖_∞ over ‖∇Φ‖_{L¹} ‖∇j^ε‖_∞, (1.7), with ‖∇j^ε‖_∞ = e^(−1/2)/(2πε³) of the Gaussian."""
    return _powers("hessian_sup", _CHI * 0.5 * math.pi * math.exp(-0.5) / (2.0 * math.pi * np.power(_EPS, 3)))


def _powers(name: str, bounds: Array) -> Check:
    table = _norms()
    shares = table.column(name) / bounds
    power = f"{table.exponents(name)[-1]:.2f}".replace("-", "−")
    return _exact(
        f"grows like ε^{power}; {shares[0]:.3f} to {shares[-1]:.4f} of the bound, ε = .32 to .02", float(shares.max())
    )


@cache
def _norms() -> theory.NormTable:
    return theory.mollified_norms(Yukawa(strength=_CHI), _EPS)


def first_remark() -> Check:
    """Return Remark 1's numbers against the printed ones."""
    one = theory.theorem1(theta=0.3, alpha=0.1, m=4)
    computed = (*one.gamma_terms, *one.eta_terms(0.019))
    return _printed(computed, ("0.033", "0.02", "0.1", "0.02"))


def maximum_of_martingales() -> Check:
    r"""Return E max_i |B_i(1)|² of N planar Brownian motions over its value 2 at N = 1: (2.6) has a constant here.

    |B_i(1)|²/2 are independent exponential variables, whose maximum has the mean :math:`\sum_{k \le N} 1/k`.
    """
    sizes = (1, 100, 10_000)
    means = [2.0 * float(np.sum(1.0 / np.arange(1, n + 1))) for n in sizes]
    found = ", ".join(f"{mean:.4g}" for mean in means)
    return _exact(f"σ = 1, t = 1: E max_i |B_i|² = {found} for N = 1, 100, 10,000, like 2 log N", means[-1] / means[0])


def second_remark() -> Check:
    """Return Remark 2's numbers against the printed ones."""
    two = theory.theorem2(theta=0.4, alpha=0.1, m=7)
    computed = (*two.gamma_terms, *two.eta_terms(0.0025), *two.beta_terms(0.0025, 0.03))
    return _printed(computed, ("0.029", "0.006", "0.2", "0.12", "74", "8"))


def _printed(computed: Sequence[float], printed: Sequence[str]) -> Check:
    def unit(text: str) -> float:
        return 10.0 ** -len(text.partition(".")[2])

    ratio = max(abs(c - float(p)) / (0.5 * unit(p)) for c, p in zip(computed, printed, strict=True))
    return _exact(f"{', '.join(f'{c:.5g}' for c in computed)} (printed {', '.join(printed)})", ratio)


def second_remark_range() -> Check:
    """Return the printed upper end of γ over the one below which some η satisfies Theorem 2's own conditions."""
    two = theory.theorem2(theta=0.4, alpha=0.1, m=7)
    ratio = two.gamma_sup / two.gamma_nonempty
    return _exact(f"an η exists for γ < {two.gamma_nonempty:.5f} only (printed {two.gamma_sup:.5f})", ratio)


def pinsker() -> Check:
    r"""Return the largest ‖p − q‖₁/√(2H) of two unit Gaussians δ apart: 2 erf(δ/√8)/δ."""
    return _gaussians(lambda h: math.sqrt(2.0 * h), "√(2H)")


def printed_pinsker() -> Check:
    r"""Return the largest ‖p − q‖₁/(2H) of the same Gaussians: the inequality that (3.5) and (3.27) use."""
    return _gaussians(lambda h: 2.0 * h, "2H")


def _gaussians(bound: Callable[[float], float], name: str) -> Check:
    apart = (0.1, 0.5, 1.0, 2.0)
    ratios = [2.0 * math.erf(d / math.sqrt(8.0)) / bound(0.5 * d * d) for d in apart]
    worst = int(np.argmax(ratios))
    return _exact(
        f"‖p − q‖₁ = {ratios[worst]:.3f} · {name} for two unit Gaussians {apart[worst]:g} apart", ratios[worst]
    )


def subadditivity() -> Check:
    r"""Return the largest H_r/((r/N) H_N) of exchangeable Gaussian laws against products of standard Gaussians.

    N unit Gaussians of mean m and pairwise correlation ρ have
    :math:`H_r = \tfrac12(r m^2 - (r-1)\log(1-\rho) - \log(1 + (r-1)\rho))`. For any exchangeable law and any product of
    equal factors H_r/r does not decrease with r (Han's inequality): the ratio is at most 1, and 1 where ρ = 0.
    """

    def entropy(r: int, rho: float, mean: float) -> float:
        return 0.5 * (r * mean**2 - (r - 1) * math.log(1.0 - rho) - math.log(1.0 + (r - 1) * rho))

    ratios = [
        entropy(r, rho, mean) / (r / n * entropy(n, rho, mean))
        for n in (2, 5, 50, 500)
        for r in range(2, n)
        for rho, mean in ((0.3, 0.1), (0.01, 0.1), (0.3, 0.0))
    ]
    independent = entropy(3, 0.0, 0.2) / (3 / 500 * entropy(500, 0.0, 0.2))
    worst = max(*ratios, independent)
    return _exact(
        f"H_r = {min(ratios):.2g} to {max(ratios):.3f} of (r/N) H_N for correlated Gaussians, N = 2 to 500, and "
        f"{independent:.3f} for independent ones",
        float(round(worst, 12)),  # equality is exact, its computation is not
    )


def tails_of_a_vortex() -> Check:
    r"""Return the growth from t = 0 to 100 of the constant that the printed bound on the tails needs at σ = 3.

    The vortex of Lamb and Oseen is :math:`e^{-|x|^2/(2+4\sigma t)}` up to its factor, so that
    :math:`\rho \le \frac C{1+t}e^{-|x|^2/(8t+C)}` for all x needs :math:`C \ge 2 + 4(\sigma - 2)t`; with 8σt in place
    of 8t, C ≥ 2 is enough.
    """
    sigma, t = 3.0, 100.0
    needed = 2.0 + 4.0 * (sigma - 2.0) * t
    return _exact(f"the vortex of Lamb and Oseen needs C ≥ {needed:g} at t = {t:g}, σ = {sigma:g} (2 at 0)", needed / 2)


def linear_marginals() -> Check:
    """Return the largest H_k over (d r²/4)k²/N² of the linear model, k ≤ N ≤ 1000."""
    model, t, std = MeanAttraction(attraction=1.5, noise=0.5, confinement=0.5), 0.5, 0.8
    far = 10**9
    leading = model.marginal_entropy(1, n=far, t=t, std=std) * far**2
    ratios = [
        model.marginal_entropy(k, n=n, t=t, std=std) * (n / k) ** 2 / leading
        for n in (10, 100, 1000)
        for k in (1, 2, 8, n)
    ]
    return _exact(
        f"{min(ratios):.3f} to {max(ratios):.4f} of (d r²/4) k²/N² = {leading:.4g} k²/N², N = 10 to 1000, k = 1 to N",
        float(round(max(ratios), 6)),
    )


def initial_entropy() -> Check:
    """Return H(u_0 | u_0 * j^ε) of three Gaussians at ε = .3 over round-off: (3.26) takes it for zero."""
    weights, means, stds = (0.5, 0.3, 0.2), ((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), np.array([0.6, 0.5, 0.7])
    axis = np.linspace(-7.0, 7.0, 701)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    u, smooth = (GaussianMixture(weights=weights, means=means, stds=sigma)(x) for sigma in (stds, np.hypot(stds, 0.3)))
    entropy = float(np.sum(u * np.log(u / smooth)) * (axis[1] - axis[0]) ** 2)
    return _exact(f"H(0) = {entropy:.4f} per particle at ε = .3, three Gaussians", entropy / 1e-12)


def entropy_condition() -> Check:
    """Return whether 4 a_11 a_22 > (a_12 + a_21)² makes the entropy decay: a = −1 satisfies it, yet entropy grows."""
    a = np.array([[-1.0, 0.0], [0.0, -1.0]])
    holds = 4 * a[0, 0] * a[1, 1] > (a[0, 1] + a[1, 0]) ** 2
    decays = theory.entropy_decays(a)
    least = f"{np.linalg.eigvalsh(a + a.T).min():g}".replace("-", "−")
    return _exact(
        f"a = −1 satisfies it, and a + aᵀ has the eigenvalue {least}: positive definite is what is needed",
        2.0 if holds and not decays else 0.5,
    )


def stability() -> Check:
    """Return the largest density that the printed stability condition admits over the one that its proof allows."""
    driver = theory.LinearDriver(a=1.0, b=1.0)
    ratio = driver.max_density_printed / driver.max_density
    return _exact(f"M_∞ < {driver.max_density:.4f} b is needed (printed {driver.max_density_printed:g} b)", ratio)


def critical_mass() -> Check:
    """Return the printed critical mass over the right one, for −Δφ = 2πu."""
    right = theory.critical_mass(diffusion=1.0, chi=1.0, source=2.0 * math.pi)
    printed = 8.0 * math.pi
    return _exact(f"{right:g}D/χ for c_d = 2π (printed 8πD/χ = {printed:.4f} D/χ)", printed / right)


def cubic_inequality() -> Check:
    """Return the time at which y' = 1 + y³, y(0) = 0, blows up: 2π/(3√3); the claim would have it infinite."""
    time = 2.0 * math.pi / (3.0 * math.sqrt(3.0))
    return _exact(f"y' = 1 + y³ from y(0) = 0 blows up at t = {time:.4f}", math.inf)


@cache
def maximum_principle() -> Check:
    r"""Return sup u/M of Qi's (9) with a kernel of two bumps, b = 4M: Lemma 4.2 bounds it by 1.

    :math:`\partial_t u = \tfrac12\partial_{xx}(\nu^2 u)`, ν = (K_ε * u + 4)/4, ε = .5, periodic on [−4, 4], by 512
    Fourier modes and the classical Runge-Kutta method; :mod:`kspde.papers.theory.volatility` says what happens.
    """
    n, dt = 512, 4e-5
    x = -4.0 + 8.0 / n * np.arange(n)
    k = 2.0 * np.pi * np.fft.rfftfreq(n, 8.0 / n)
    symbol = TwoBumps(eps=0.5).in_dimension(1).symbol(k**2)

    def rate(u: Array) -> Array:
        volatility = 0.25 * (np.fft.irfft(symbol * np.fft.rfft(u), n) + 4.0)
        return np.asarray(np.fft.irfft(-0.5 * k**2 * np.fft.rfft(volatility**2 * u), n))

    u = 1.0 - 0.9 * (np.exp(-(((x - 0.45) / 0.15) ** 4)) + np.exp(-(((x + 0.45) / 0.15) ** 4)))
    highest, when = 1.0, 0.0
    for step in range(1, 301):
        u = _runge_kutta(rate, u, dt)
        if u.max() > highest:
            highest, when = float(u.max()), step * dt
    return _exact(f"sup u = {highest:.5f} M at t = {when:.4f}, b = 4M, K_ε two bumps, ε = .5", highest)


@cache
def time_of_stability() -> Check:
    r"""Return the time from which the linear driver's condition holds over t_* with the least C_A, from a peak of 2b.

    :math:`\partial_t u = \tfrac12\partial_{xx}(\nu^2 u)`, ν = u + 1, from a Gaussian of deviation .2 and mass 1, by 256
    Fourier modes on [−8, 8]. The condition is b > (1 + √3) sup u; it holds from then on, since sup u does not grow.
    """
    driver, n, dt = theory.LinearDriver(a=1.0, b=1.0), 256, 5e-5
    x = -8.0 + 16.0 / n * np.arange(n)
    k = 2.0 * np.pi * np.fft.rfftfreq(n, 16.0 / n)

    def rate(u: Array) -> Array:
        return np.asarray(np.fft.irfft(-0.5 * k**2 * np.fft.rfft((u + 1.0) ** 2 * u), n))

    u, steps = np.exp(-12.5 * x**2) / math.sqrt(0.08 * math.pi), 0
    while u.max() >= driver.max_density:
        u, steps = _runge_kutta(rate, u, dt), steps + 1
    time, promised = steps * dt, driver.t_star()
    return _exact(
        f"the local equation's sup u falls below b/(1 + √3) at t = {time:.3f}, t_* = {promised:.3f} with the least C_A "
        "(a = b = 1, u₀ Gaussian, sup u₀ = 2b)",
        time / promised,
    )


@cache
def range_order() -> Check:
    r"""Return 1 over the order in η of ‖u_η − u‖ for one species on the line and a symmetric V; (10) promises order 1.

    :math:`\partial_t u = .2\,\partial_{xx}u + \partial_x(u\,\partial_x V^\eta * u)` against V^η → δ, from a Gaussian of
    variance .25 to t = .1, V ∝ (1 − x²)^4, by 128 Fourier modes on [−4, 4].
    """
    n, dt, steps = 128, 1e-3, 100
    x = -4.0 + 8.0 / n * np.arange(n)
    k = 2.0 * np.pi * np.fft.rfftfreq(n, 8.0 / n)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    weights = weights * (1.0 - nodes**2) ** 4
    start = np.exp(-2.0 * x**2) / math.sqrt(0.5 * math.pi)

    def solved(symbol: Array) -> tuple[Array, Array]:
        def rate(u: Array) -> Array:
            hat = np.fft.rfft(u)
            flux = 0.2 * np.fft.irfft(1j * k * hat, n) + u * np.fft.irfft(1j * k * symbol * hat, n)
            return np.asarray(np.fft.irfft(1j * k * np.fft.rfft(flux), n))

        path = [start]
        for _ in range(steps):
            path.append(_runge_kutta(rate, path[-1], dt))
        u = np.array(path)
        return u, np.fft.irfft(1j * k * np.fft.rfft(u, axis=1), n, axis=1)

    u, slope = solved(np.ones_like(k))
    errors = []
    for eta in (0.4, 0.2, 0.1):
        v, its_slope = solved(np.cos(np.multiply.outer(eta * k, nodes)) @ weights / weights.sum())
        largest = math.sqrt(float(np.square(v - u).sum(axis=1).max()) * 8.0 / n)
        gradients = math.sqrt(float(np.square(its_slope - slope).sum()) * 8.0 / n * dt)
        errors.append((largest, gradients))
    orders = np.diff(np.log(errors), axis=0)[-1] / math.log(0.5)
    return _exact(
        f"order {orders[0]:.2f} in L^∞L², {orders[1]:.2f} of the gradients in L²L², between η = .2 and .1 (one "
        "species, d = 1, V ∝ (1 − x²)⁴)",
        1.0 / float(orders.min()),
    )


def small_data() -> Check:
    r"""Return sup ‖u(t)‖/‖u⁰‖ in H² on the line for data at the bound of (6) with C* = 1, and attraction, a = −σ."""
    late, _, _ = _sobolev_norms(((-1.0,),), (1.0,), gamma=0.0, eta=0.0)
    return _exact(
        f"‖u(t)‖ ≤ {late:.3f} ‖u⁰‖ in H², t from .05 to 1, where ‖u⁰‖ is the bound with C* = 1 (one species, d = 1, "
        "a = −σ)",
        late,
    )


def a_priori_printed() -> Check:
    """Return the left side of (8) as printed, but with ∇u in H^s, over its right side."""
    _, _, printed = _two_species()
    return _exact(f"{printed:.3f} of the right side in H² up to t = 1, {_TWO_SPECIES}", printed)


def a_priori_estimate() -> Check:
    """Return the largest ‖u(t)‖² + γ∫_0^t‖∇u‖² over ‖u⁰‖² for t from .05 on: what the proof of (8) bounds by 1."""
    _, until, _ = _two_species()
    return _exact(f"at most {until:.3f} of the right side in H², t from .05 to 1, {_TWO_SPECIES}", until)


_TWO_SPECIES = "γ = σ/2, where ‖u⁰‖ is the bound of (7) with C* = 1 (two species, d = 1, a₁₂ < 0, a Gaussian V, η = .3)"


def _two_species() -> tuple[float, float, float]:
    return _sobolev_norms(((1.0, -0.5), (0.8, 0.7)), (1.0, 1.0), gamma=0.5, eta=0.3)


@cache
def _sobolev_norms(
    a: tuple[tuple[float, ...], ...], sigma: tuple[float, ...], *, gamma: float, eta: float
) -> tuple[float, float, float]:
    """Return what (8) is about, in H² on the line for data at the bound of (7) with C* = 1, up to t = 1.

    These are, for t from .05 on, the largest ‖u(t)‖/‖u⁰‖ and the largest (‖u(t)‖² + γ∫_0^t‖∂_x u‖²)/‖u⁰‖²; and
    (sup_{t > 0} ‖u‖² + γ∫_0^1‖∂_x u‖²)/‖u⁰‖². By 128 Fourier modes on [−8, 8], from Gaussians of standard deviation .5.
    """
    n, dt, steps = 128, 2e-3, 500
    x = -8.0 + 16.0 / n * np.arange(n)
    k = 2.0 * np.pi * np.fft.rfftfreq(n, 16.0 / n)
    symbol = np.exp(-0.5 * (eta * k) ** 2)
    weights = (1.0 + k**2) ** 2 * np.where(k > 0, 2.0, 1.0) * 16.0 / n**2  # k and −k
    matrix, diffusion = np.array(a), np.array(sigma)[:, None]

    def norm(u: Array, factor: Array | float = 1.0) -> float:
        return float(np.sum(factor * weights * np.abs(np.fft.rfft(u)) ** 2))

    def rate(u: Array) -> Array:
        hat = np.fft.rfft(u)
        slope, pushed = np.fft.irfft(1j * k * hat, n), np.fft.irfft(1j * k * symbol * (matrix @ hat), n)
        return np.asarray(np.fft.irfft(1j * k * np.fft.rfft(diffusion * slope + u * pushed), n))

    u = np.exp(-2.0 * (x - 0.7 * np.arange(len(sigma))[:, None]) ** 2)
    u *= (min(sigma) - gamma) / (float(np.abs(matrix).sum()) * math.sqrt(norm(u)))
    first, integral, late, until = norm(u), 0.0, 0.0, 0.0
    for step in range(1, steps + 1):
        before = norm(u, k**2)
        u = _runge_kutta(rate, u, dt)
        integral += 0.5 * dt * (before + norm(u, k**2))
        if step * dt >= 0.05:
            late, until = max(late, norm(u)), max(until, norm(u) + gamma * integral)
    return math.sqrt(late / first), until / first, 1.0 + gamma * integral / first


def _runge_kutta(rate: Callable[[Array], Array], u: Array, dt: float) -> Array:
    one = rate(u)
    two = rate(u + 0.5 * dt * one)
    three = rate(u + 0.5 * dt * two)
    return np.asarray(u + dt / 6.0 * (one + 2.0 * two + 2.0 * three + rate(u + dt * three)))
