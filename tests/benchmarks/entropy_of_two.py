"""The exact entropy of two particles beside both bounds as ε falls: writes results/entropy_of_two.md.

    python tests/benchmarks/entropy_of_two.py
    python tests/benchmarks/entropy_of_two.py particles

On the line, D = 1 + e^(−a), a = (1/N)ΣK^ε(x_i − x_j) without j = i, the kernel's symbol 3(1 + k²)^(−1/2): as singular
at the origin as the signal's in the plane. The law p of two particles is that of Liouville's equation in the
coordinates (x_1 ± x_2)/√2, in which D depends on the second alone: Fourier modes in the first, Gauss-Lobatto elements
that shrink to ε in the second, exponentials of symmetric matrices in time; this shares nothing with the package. Both
bounds are quadratures of p: with ⟨v, w⟩ = Σ_i E[D_i v_i w_i], g = ∇log(p/u ⊗ u) and r = g + c/(2D), the product's rate
is ¼ΣE[c_i²/D_i], to which a tilt ψ adds ⟨r, ∇ψ⟩ + ¼⟨∇ψ, ∇ψ⟩, a quadratic function of the coefficients of ψ whose least
value is taken. Beside them are those of `kspde.entropy_bound`, from particles; and three particles, whose exact entropy
is that of `kspde.liouville`. Five minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.polynomial import legendre
from scipy.integrate import simpson
from scipy.interpolate import make_interp_spline

import kspde
from kspde.kernels.base import Kernel

START = ((0.6, -0.8, 0.6), (0.4, 0.9, 0.5))
T_END, HALF, DIAGONAL = 0.5, 8.0, 11.3
#: The times T(k/n)²; those of Runge and Kutta's steps are T k/n².
TIMES = 40
#: The tilts' widths in units of √(4DT), and the powers of t/T in their coefficients, as in `kspde.evidence.tilted`.
LEVELS, POWERS = (0.0, 0.35), (0.0, 0.5, 1.0)


def symbol(k: np.ndarray, eps: float) -> np.ndarray:
    """Return the transform of K^ε."""
    return 3 / np.sqrt(1 + k**2) * np.exp(-(eps**2) * k**2 / 2)


def gauss_lobatto(p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nodes, the weights and the derivatives of the shape functions."""
    last = np.eye(p + 1)[p]
    x = np.sort(np.r_[-1, np.real(legendre.legroots(legendre.legder(last))), 1])
    values = legendre.legval(x, last)
    slopes = values[:, None] / values / (np.subtract.outer(x, x) + np.eye(p + 1)) * (1 - np.eye(p + 1))
    slopes[0, 0], slopes[p, p] = -p * (p + 1) / 4, p * (p + 1) / 4
    return x, 2 / (p * (p + 1) * values**2), slopes


class MeanField:
    """The density at T(k/n)², by 256 Fourier modes and Runge and Kutta's steps, and functions of it at points."""

    def __init__(self, eps: float) -> None:
        n, steps = 256, TIMES**2
        self.eps, h, dt = eps, 2 * HALF / n, T_END / steps
        x, self.k = -HALF + h * np.arange(n), 2 * np.pi * np.fft.fftfreq(n, h)
        self.x = np.r_[x, HALF]
        u = sum(w * np.exp(-((x - m) ** 2) / (2 * s**2)) / np.sqrt(2 * np.pi * s**2) for w, m, s in START)
        self.u = [u]
        for step in range(1, steps + 1):
            one = self._rate(u)
            two = self._rate(u + dt / 2 * one)
            three = self._rate(u + dt / 2 * two)
            u = u + dt / 6 * (one + 2 * two + 2 * three + self._rate(u + dt * three))
            if step == len(self.u) ** 2:
                self.u.append(u)

    def _applied(self, factor: np.ndarray, u: np.ndarray) -> np.ndarray:
        return np.fft.ifft(factor * np.fft.fft(u)).real

    def _rate(self, u: np.ndarray) -> np.ndarray:
        return self._applied(-(self.k**2), (1 + np.exp(-self._applied(symbol(self.k, self.eps), u))) * u)

    def _spline(self, f: np.ndarray):
        return make_interp_spline(self.x, np.r_[f, f[0]], k=7)

    def density(self, k: int):
        """Return u and (log u)' at the k-th time, as functions."""
        return self._spline(self.u[k]), self._spline(np.log(np.maximum(self.u[k], 1e-30))).derivative()

    def signal(self, k: int):
        """Return K^ε * u as a function that has a derivative."""
        return self._spline(self._applied(symbol(self.k, self.eps), self.u[k]))

    def tilt(self, k: int, width: float):
        """Return the derivative of W = ½[log D(b) + K * (Q(b)u)], b = K * u, K wider by ``width``; Q = D'/D."""
        wider = symbol(self.k, np.hypot(self.eps, width))
        b = self._applied(wider, self.u[k])
        q = -np.exp(-b) / (1 + np.exp(-b))
        return self._spline(0.5 * (np.log1p(np.exp(-b)) + self._applied(wider, q * self.u[k]))).derivative()


class TwoParticles:
    """The law of two particles on s = (x_1 + x_2)/√2 in rows and z = (x_1 − x_2)/√2 >= 0 in columns."""

    def __init__(self, eps: float, degree: int = 8, modes: int = 160) -> None:
        edges = np.r_[0, np.geomspace(max(0.7 * eps, 0.02), DIAGONAL, 26)]
        nodes, weights, slopes = gauss_lobatto(degree)
        size = (len(edges) - 1) * degree + 1
        self.z, mass, stiffness, derivative = np.zeros(size), np.zeros(size), *np.zeros((2, size, size))
        for e, (low, high) in enumerate(pairwise(edges)):
            part, jacobian = slice(e * degree, (e + 1) * degree + 1), (high - low) / 2
            self.z[part] = low + jacobian * (nodes + 1)
            mass[part] += jacobian * weights
            stiffness[part, part] += slopes.T @ (weights[:, None] * slopes) / jacobian
            derivative[part, part] += weights[:, None] * slopes
        self.derivative = derivative / mass[:, None]
        self.eps, self.mean_field = eps, MeanField(eps)
        near, self.slope = self.kernel(0.0)
        self.signal = 0.5 * near
        self.diffusion = 1 + np.exp(-self.signal)
        self.h = 2 * DIAGONAL / modes
        s = -DIAGONAL + self.h * np.arange(modes)
        self.wave = 2 * np.pi * np.fft.rfftfreq(modes, self.h)
        self.x = [np.clip((s[:, None] + sign * self.z) / np.sqrt(2), -HALF, HALF) for sign in (1, -1)]
        self.weights = 2 * self.h * mass  # z < 0 has as much
        u = self.mean_field.density(0)[0]
        start = np.fft.rfft(u(self.x[0]) * u(self.x[1]), axis=0)
        self.scale = np.sqrt(mass * self.diffusion)  # ∂_t(scale p) = −(symmetric matrix)(scale p)
        interior = stiffness * np.sqrt(np.outer(self.diffusion / mass, self.diffusion / mass))
        self.lines = []
        for k, line in zip(self.wave, start, strict=True):
            decay, vectors = np.linalg.eigh(interior + k**2 * np.diag(self.diffusion))
            self.lines.append((decay, vectors, vectors.T @ (self.scale * line)))

    def kernel(self, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernel, wider by ``width``, and its derivative at x_1 − x_2 = √2 z."""
        wave = np.linspace(0, max(12 / self.eps, 60), 40_001)
        values = symbol(wave, np.hypot(self.eps, width)) / np.pi
        waves = [wave * r for r in np.sqrt(2) * self.z]
        even = [simpson(values * np.cos(each), x=wave) for each in waves]
        return np.array(even), np.array([-simpson(values * wave * np.sin(each), x=wave) for each in waves])

    def mean(self, f: np.ndarray) -> float:
        """Return ∫f."""
        return float(np.sum(f * self.weights))

    def law(self, t: float) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return p and its derivatives in x_1 and x_2."""
        lines = np.array([v @ (np.exp(-decay * t) * c) / self.scale for decay, v, c in self.lines])
        p, along = (np.fft.irfft(f, len(self.x[0]), axis=0) for f in (lines, 1j * self.wave[:, None] * lines))
        across = p @ self.derivative.T
        return p, [(along + sign * across) / np.sqrt(2) for sign in (1, -1)]

    def entropy(self) -> float:
        """Return H per particle at T_END."""
        p, _ = self.law(T_END)
        u, _ = self.mean_field.density(TIMES)
        product = u(self.x[0]) * u(self.x[1])
        seen = (p > 1e-10) & (product > 1e-10)
        p, product = np.where(seen, p, 1.0), np.where(seen, product, 1.0)
        return 0.5 * self.mean(p * np.log(p / product) - p + product)

    def bounds(self) -> tuple[float, float]:
        """Return both bounds per particle at T_END."""
        p, _ = self.law(0.0)
        widths = np.array(LEVELS) * np.sqrt(4 * T_END * self.mean(p * self.diffusion))
        pair = []
        for width in widths:
            near, slope = self.kernel(width)
            pair.append(0.5 * np.exp(-0.5 * near) / (1 + np.exp(-0.5 * near)) * slope)  # −½Q K'
        count = len(LEVELS)
        product, linear, square = np.zeros(TIMES + 1), np.zeros((count, TIMES + 1)), np.zeros((count, count, TIMES + 1))
        for k in range(TIMES + 1):
            p, slopes = self.law(T_END * (k / TIMES) ** 2)
            b, (_, score) = self.mean_field.signal(k), self.mean_field.density(k)
            lone = [self.mean_field.tilt(k, width) for width in widths]
            for x, sign, slope in zip(self.x, (1, -1), slopes, strict=True):
                known = np.exp(-b(x))
                c = (self.diffusion - 1 - known) * score(x) + known * b.derivative()(x)
                c -= np.exp(-self.signal) * 0.5 * sign * self.slope
                product[k] += self.mean(p * c**2 / (4 * self.diffusion))
                tilts = [sign * each + w(x) for each, w in zip(pair, lone, strict=True)]
                r = self.diffusion * (slope - p * score(x)) + 0.5 * c * p
                for m, tilt in enumerate(tilts):
                    linear[m, k] += self.mean(tilt * r)
                    for other in range(count):
                        square[m, other, k] += self.mean(p * self.diffusion * tilt * tilts[other])
        s = np.linspace(0, 1, TIMES + 1)
        powers = np.array([s ** (2 * power) for power in POWERS])
        measure = {"x": s, "axis": -1}
        dt = 2 * T_END * s
        one = simpson(np.einsum("mk,pk->mpk", linear, powers) * dt, **measure).ravel()
        two = simpson(np.einsum("mnk,pk,qk->mpnqk", square, powers, powers) * dt, **measure).reshape(len(one), -1)
        plain = float(simpson(product * dt, x=s))
        return 0.5 * plain, 0.5 * (plain - float(one @ np.linalg.lstsq(two, one, rcond=1e-12)[0]))


@dataclass(frozen=True, kw_only=True)
class Logarithmic(Kernel):
    """The kernel, for the package."""

    smoothing = 1.0
    decay_rate = 1.0

    def symbol(self, lam: np.ndarray) -> np.ndarray:
        """Return 3(1 + λ)^(−1/2)."""
        return 3 / np.sqrt(1 + lam)

    def truncated_symbol(self, lam: np.ndarray, radius: float, dimension: int) -> np.ndarray:
        """Return the symbol: e^(−radius) is round-off."""
        return self.symbol(lam)


@dataclass(frozen=True, kw_only=True)
class OnTheLine(kspde.SignalDependentKellerSegel):
    """The model, for the package."""

    dimension = 1

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        """The signal."""
        return (kspde.Field(name="v", kernel=Logarithmic()),)


def solved(eps: float, cells: int, degree: int):
    """Return the density, by the package."""
    start = kspde.GaussianMixture(
        weights=tuple(w for w, _, _ in START), means=tuple((m,) for _, m, _ in START), stds=tuple(s for *_, s in START)
    )
    box = kspde.Box(half_width=HALF, cells=cells, degree=degree, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, T_END, 21))
    return kspde.solve(OnTheLine(chi=1.0), start, box, t_end=T_END, tol=1e-7, eps=eps, save=save)


def bounds(pde, n: int) -> list[kspde.evidence.EntropyBound]:
    """Return the bound of each reference."""
    options = {"n": n, "dt": 0.01, "replicas": 30_000 // n, "seed": 1, "include_self": False}
    return [kspde.entropy_bound(pde, reference=name, **options) for name in ("product", "tilted")]


def table(name: str, title: str, about: str, rows: Iterable[list[str]]) -> None:
    """Write a table, and print its rows as they come."""
    lines = [f"# {title}", "", f"Kernel of symbol 3(1 + k²)^(−1/2), j ≠ i, T = {T_END:g}. H per particle{about}.", ""]
    lines.append("| N | ε | exact H | bound, product | bound / H | bound, tilted | bound / H |")
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for cells in rows:
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "results" / f"{name}.md").write_text(text, encoding="utf-8")


def by_quadratures() -> Iterator[list[str]]:
    """Return the rows of two particles."""
    for eps in (0.4, 0.2, 0.1, 0.05, 0.02, 0.01):
        law = TwoParticles(eps)
        exact = law.entropy()
        yield ["2", f"{eps:g}", f"{exact:.5f}", *(c for b in law.bounds() for c in (f"{b:.5f}", f"{b / exact:.2f}"))]


def by_particles() -> Iterator[list[str]]:
    """Return the rows of two and three particles."""
    for n, eps in ((2, 0.4), (2, 0.2), (3, 0.4)):
        if n == 2:
            exact = TwoParticles(eps).entropy()
        else:
            exact = float(kspde.liouville(solved(eps, 9, 6), n=n, tol=1e-6, include_self=False).entropy[-1])
        cells = [f"{n}", f"{eps:g}", f"{exact:.5f}"]
        for bound in bounds(solved(eps, 20, 8), n):
            low, high = bound.at_end.interval
            cells += [f"{bound.at_end.value:.5f} [{low:.5f}, {high:.5f}]", f"{bound.at_end.value / exact:.2f}"]
        yield cells


if __name__ == "__main__":
    if sys.argv[1:] == ["particles"]:
        more = "; both bounds from 30 000 particles in all, Δt = .01, with 95 % intervals"
        table("entropy_of_few", "Two and three particles: the exact entropy and its bounds", more, by_particles())
    else:
        more = ", and both bounds, exact up to quadratures of the law of two particles"
        table(
            "entropy_of_two",
            "Two particles on the line: the exact entropy and its bounds as ε falls",
            more,
            by_quadratures(),
        )
