"""The exact entropy of two and three particles beside both bounds as ε falls: writes results/entropy_of_two.md.

    python tests/benchmarks/entropy_of_two.py
    python tests/benchmarks/entropy_of_two.py three
    python tests/benchmarks/entropy_of_two.py particles

On the line, D = 1 + e^(−a), a = (1/N)ΣK^ε(x_i − x_j) without j = i, the kernel's symbol 3(1 + k²)^(−1/2): as singular
at the origin as the signal's in the plane. The law p of N particles is that of Liouville's equation in the particles'
mean, of which D is independent, and in their differences: Fourier modes in the first, Gauss-Lobatto elements that
shrink to ε in the others, in time exponentials of symmetric matrices for two particles, rational Krylov spaces for
three; this shares nothing with the package. Both bounds are quadratures of p: with ⟨v, w⟩ = Σ_i E[D_i v_i w_i],
g = ∇log(p/u ⊗ u) and r = g + c/(2D), the product's rate is ¼ΣE[c_i²/D_i], to which a tilt ψ adds
⟨r, ∇ψ⟩ + ¼⟨∇ψ, ∇ψ⟩, a quadratic function of the coefficients of ψ whose least value is taken. Five minutes on one core.
The second command writes the same of three particles to results/entropy_of_three.md (ten minutes), the third those
of `kspde.entropy_bound` and `kspde.liouville` to results/entropy_of_few.md (two minutes).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.polynomial import legendre
from scipy.integrate import simpson
from scipy.interpolate import make_interp_spline
from scipy.linalg import expm
from scipy.sparse import block_diag, csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import splu

import kspde
from kspde.kernels.base import Kernel

START = ((0.6, -0.8, 0.6), (0.4, 0.9, 0.5))
T_END, HALF, DIAGONAL = 0.5, 8.0, 11.3
EPS = (0.4, 0.2, 0.1, 0.05, 0.02, 0.01)
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


def elements(edges: np.ndarray, degree: int) -> tuple[np.ndarray, ...]:
    """Return nodes, weights and derivatives at all nodes of all elements, and the global number of each node."""
    nodes, weights, slopes = gauss_lobatto(degree)
    half = np.diff(edges) / 2
    number = np.arange(len(half))[:, None] * degree + np.arange(degree + 1)
    at = edges[:-1, None] + half[:, None] * (nodes + 1)
    return at, half[:, None] * weights, slopes / half[:, None, None], number


class Law:
    """The law of N particles, of which entropy and bounds are quadratures.

    Attributes:
        x: the positions of each, arrays of one shape, means in rows, differences in columns.
        weights: the weights of these points.
        mean_field: the density.
        signals, slopes: a_i and ∂_i a_i in columns, for each particle.
        diffusion: D_i.
    """

    x: list[np.ndarray]
    weights: np.ndarray

    def __init__(self, eps: float, differences: dict[tuple[int, int], np.ndarray]) -> None:
        """Take x_i − x_j >= 0 in columns, for all i < j."""
        self.eps, self.mean_field = eps, MeanField(eps)
        self.differences, self.n = differences, max(j for _, j in differences) + 1
        self.signals, self.slopes = self.sums(self.kernel(0.0), [1.0] * self.n)
        self.diffusion = [1 + np.exp(-a) for a in self.signals]

    def law(self, t: float) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return p and its derivatives in x_1, ..., x_N."""
        raise NotImplementedError

    def kernel(self, width: float) -> tuple:
        """Return K, wider by ``width``, and K', as splines in r >= 0."""
        wave = np.linspace(0, max(12 / self.eps, 60), 40_001)
        transform = symbol(wave, np.hypot(self.eps, width)) / np.pi
        r = 0.5 * self.eps * np.sinh(np.linspace(0, np.arcsinh(60 / self.eps), 1200))
        values = [simpson(transform * np.cos(wave * each), x=wave) for each in r]
        slopes = [-simpson(transform * wave * np.sin(wave * each), x=wave) for each in r]
        return make_interp_spline(r, values, k=7), make_interp_spline(r, slopes, k=7)

    def sums(self, kernel: tuple, factors: list) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return (1/N)Σ_j K(x_i − x_j) and (1/N)Σ_j ½(f_i + f_j)∂_i K(x_i − x_j) for each i."""
        values, slopes = [0.0] * self.n, [0.0] * self.n
        for (i, j), difference in self.differences.items():
            near, slope = (each(difference) / self.n for each in kernel)
            for one, other, sign in ((i, j, 0.5), (j, i, -0.5)):
                values[one] = values[one] + near
                slopes[one] = slopes[one] + sign * (factors[one] + factors[other]) * slope
        return values, slopes

    def tilts(self, width: float) -> list[np.ndarray]:
        """Return −½(Q(a_i)∂_i a_i + (1/N)Σ_j Q(a_j)∂_i K(x_i − x_j)), K wider by ``width``, for each particle i."""
        kernel = self.kernel(width)
        q = [-1 / (1 + np.exp(a)) for a in self.sums(kernel, [1.0] * self.n)[0]]
        return [-slope for slope in self.sums(kernel, q)[1]]

    def mean(self, f: np.ndarray) -> float:
        """Return ∫f."""
        return float(np.sum(f * self.weights))

    def entropy(self) -> float:
        """Return H per particle at T_END."""
        p, _ = self.law(T_END)
        u, _ = self.mean_field.density(TIMES)
        product = np.prod([u(x) for x in self.x], axis=0)
        seen = (p > 1e-10) & (product > 1e-10)
        p, product = np.where(seen, p, 1.0), np.where(seen, product, 1.0)
        return self.mean(p * np.log(p / product) - p + product) / len(self.x)

    def bounds(self, every: int = 1) -> tuple[float, float]:
        """Return both bounds per particle at T_END."""
        p, _ = self.law(0.0)
        widths = np.array(LEVELS) * np.sqrt(4 * T_END * self.mean(p * self.diffusion[0]))
        pairs = [self.tilts(width) for width in widths]
        count, times = len(LEVELS), range(0, TIMES + 1, every)
        product, linear, square = (np.zeros((*(count,) * rank, len(times))) for rank in range(3))
        for at, k in enumerate(times):
            p, gradient = self.law(T_END * (k / TIMES) ** 2)
            b, (_, score) = self.mean_field.signal(k), self.mean_field.density(k)
            lone, drift = [self.mean_field.tilt(k, width) for width in widths], b.derivative()
            for i, (x, diffusion) in enumerate(zip(self.x, self.diffusion, strict=True)):
                known, scored = np.exp(-b(x)), score(x)
                c = (diffusion - 1 - known) * scored + known * drift(x) - np.exp(-self.signals[i]) * self.slopes[i]
                product[at] += self.mean(p * c**2 / (4 * diffusion))
                tilts = [pair[i] + w(x) for pair, w in zip(pairs, lone, strict=True)]
                r = diffusion * (gradient[i] - p * scored) + 0.5 * c * p
                for m, tilt in enumerate(tilts):
                    linear[m, at] += self.mean(tilt * r)
                    for other in range(count):
                        square[m, other, at] += self.mean(p * diffusion * tilt * tilts[other])
        s = np.array(times) / TIMES
        powers = np.array([s ** (2 * power) for power in POWERS])
        measure = {"x": s, "axis": -1}
        dt = 2 * T_END * s
        one = simpson(np.einsum("mk,pk->mpk", linear, powers) * dt, **measure).ravel()
        two = simpson(np.einsum("mnk,pk,qk->mpnqk", square, powers, powers) * dt, **measure).reshape(len(one), -1)
        plain = float(simpson(product * dt, x=s))
        tilted = plain - float(one @ np.linalg.lstsq(two, one, rcond=1e-12)[0])
        return plain / len(self.x), tilted / len(self.x)


class TwoParticles(Law):
    """The law of two particles on s = (x_1 + x_2)/√2 in rows and z = (x_1 − x_2)/√2 >= 0 in columns."""

    def __init__(self, eps: float, degree: int = 8, modes: int = 160) -> None:
        at, weights, slopes, number = elements(np.r_[0, np.geomspace(max(0.7 * eps, 0.02), DIAGONAL, 26)], degree)
        size = number[-1, -1] + 1
        z, mass, stiffness, derivative = np.zeros(size), np.zeros(size), *np.zeros((2, size, size))
        for here, w, slope, part in zip(at, weights, slopes, number, strict=True):
            z[part] = here
            mass[part] += w
            stiffness[np.ix_(part, part)] += slope.T @ (w[:, None] * slope)
            derivative[np.ix_(part, part)] += w[:, None] * slope
        super().__init__(eps, {(0, 1): np.sqrt(2) * z})
        self.derivative, diffusion = derivative / mass[:, None], self.diffusion[0]
        h = 2 * DIAGONAL / modes
        s = -DIAGONAL + h * np.arange(modes)
        self.wave = 2 * np.pi * np.fft.rfftfreq(modes, h)
        self.x = [np.clip((s[:, None] + sign * z) / np.sqrt(2), -HALF, HALF) for sign in (1, -1)]
        self.weights = 2 * h * mass  # z < 0 has as much
        u = self.mean_field.density(0)[0]
        start = np.fft.rfft(u(self.x[0]) * u(self.x[1]), axis=0)
        self.scale = np.sqrt(mass * diffusion)  # ∂_t(scale p) = −(symmetric matrix)(scale p)
        interior = stiffness * np.sqrt(np.outer(diffusion / mass, diffusion / mass))
        self.lines = []
        for k, line in zip(self.wave, start, strict=True):
            decay, vectors = np.linalg.eigh(interior + k**2 * np.diag(diffusion))
            self.lines.append((decay, vectors, vectors.T @ (self.scale * line)))

    def law(self, t: float) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return p and its derivatives."""
        lines = np.array([v @ (np.exp(-decay * t) * c) / self.scale for decay, v, c in self.lines])
        p, along = (np.fft.irfft(f, len(self.x[0]), axis=0) for f in (lines, 1j * self.wave[:, None] * lines))
        across = p @ self.derivative.T
        return p, [(along + sign * across) / np.sqrt(2) for sign in (1, -1)]


class ThreeParticles(Law):
    """The law of x_1 >= x_2 >= x_3 on s, their mean, in rows, and a = x_1 − x_2, b = x_2 − x_3 in columns.

    Symmetric functions have no flux through a = 0 and b = 0, so that elements on the quadrant need no condition there.
    Modes in s do not meet: each has a rational Krylov space of its own, of the powers of (1 + γA)^(−1), in which the
    exponentials of A at all times are taken.
    """

    def __init__(
        self, eps: float, degree: int = 5, modes: int = 64, half: float = 5.0, gamma: float = 0.02, space: int = 32
    ) -> None:
        edges = [0.0, 0.7 * eps]
        while edges[-1] < 12.5:
            edges.append(edges[-1] + min(edges[-1], 1.0))
        at, weights, slopes, number = elements(np.array(edges), degree)
        size = number[-1, -1] + 1
        gather = csr_array((np.ones(number.size), (np.arange(number.size), number.ravel())))
        line = np.zeros(size)
        line[number] = at
        a, b = (each.ravel() for each in np.meshgrid(line, line, indexing="ij"))
        super().__init__(eps, {(0, 1): a, (1, 2): b, (0, 2): a + b})
        own, slope = gather.T @ weights.ravel(), csr_array(block_diag(list(slopes))) @ gather
        mass, root = np.kron(own, own), np.sqrt(np.kron(own, own))
        inverse, weight = diags_array(1 / root), diags_array(np.kron(weights.ravel(), weights.ravel()))
        here, by_a, by_b = (kron(*each).tocsr() for each in ((gather, gather), (slope, gather), (gather, slope)))
        project = diags_array(1 / mass) @ here.T @ weight
        self.across = [by_a, by_b - by_a, -by_b]  # ∂_i = ⅓∂_s + across_i
        parts: list = [0.0, 0.0, 0.0]
        for each, diffusion in zip(self.across, self.diffusion, strict=True):
            right = diags_array(diffusion) @ inverse
            mixed = here.T @ weight @ each
            parts[0] = parts[0] + inverse @ (each.T @ weight @ each) @ right
            parts[1] = parts[1] + inverse @ (mixed.T - mixed) @ right / 3
            parts[2] = parts[2] + diags_array(diffusion / 9)
        self.across = [project @ each for each in self.across]
        h = 2 * half / modes
        s = -half + h * np.arange(modes)
        self.wave = 2 * np.pi * np.fft.rfftfreq(modes, h)
        self.x = [np.clip(s[:, None] + at, -HALF, HALF) for at in ((2 * a + b) / 3, (b - a) / 3, -(a + 2 * b) / 3)]
        self.weights = 6 * h * mass  # of each order of the particles as much
        u = self.mean_field.density(0)[0]
        start = np.fft.rfft(u(self.x[0]) * u(self.x[1]) * u(self.x[2]), axis=0)
        self.root, self.spaces = root, []
        for k, first in zip(self.wave, start * root, strict=True):
            rate = parts[0] + 1j * k * parts[1] + k**2 * parts[2]
            solve = splu((eye_array(len(root)) + gamma * rate).tocsc()).solve
            basis, image = np.zeros((space + 1, len(root)), complex), np.zeros((space + 1, space), complex)
            basis[0] = first / np.linalg.norm(first)
            for m in range(space):
                new = solve(basis[m])
                for _ in range(2):
                    share = basis[: m + 1].conj() @ new
                    image[: m + 1, m] += share
                    new -= share @ basis[: m + 1]
                image[m + 1, m] = np.linalg.norm(new)
                basis[m + 1] = new / image[m + 1, m]
            rate = (np.linalg.inv(image[:space]) - np.eye(space)) / gamma
            self.spaces.append((np.linalg.norm(first), basis[:space], rate))

    def law(self, t: float) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return p and its derivatives."""
        lines = np.array([size * expm(-t * rate)[:, 0] @ basis for size, basis, rate in self.spaces]) / self.root
        p, along = (np.fft.irfft(f, len(self.x[0]), axis=0) for f in (lines, 1j * self.wave[:, None] * lines))
        return p, [along / 3 + (each @ p.T).T for each in self.across]


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


def by_quadratures(law: type[Law], eps: Iterable[float], every: int = 1) -> Iterator[list[str]]:
    """Return the rows of two or three particles."""
    for each in eps:
        found = law(each)
        exact, bounds = found.entropy(), found.bounds(every)
        yield [
            f"{found.n}",
            f"{each:g}",
            f"{exact:.5f}",
            *(c for b in bounds for c in (f"{b:.5f}", f"{b / exact:.2f}")),
        ]


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
    elif sys.argv[1:] == ["three"]:
        more = ", and both bounds, exact up to quadratures of the law of three particles"
        title = "Three particles on the line: the exact entropy and its bounds as ε falls"
        table("entropy_of_three", title, more, by_quadratures(ThreeParticles, EPS, every=4))
    else:
        more = ", and both bounds, exact up to quadratures of the law of two particles"
        title = "Two particles on the line: the exact entropy and its bounds as ε falls"
        table("entropy_of_two", title, more, by_quadratures(TwoParticles, EPS))
