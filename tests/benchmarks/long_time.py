"""The exact entropy of two particles up to T = 50, beside its bound, dispersing and in a trap: writes two tables.

    python tests/benchmarks/long_time.py
    python tests/benchmarks/long_time.py confined

(1.1) in the plane with χ = 8, ε = .3, j ≠ i, from one Gaussian: D = 1 + e^(−a), a = ½Φ^ε(x_1 − x_2). The law p of two
particles depends on the lengths of s = (x_1 + x_2)/√2 and z = (x_1 − x_2)/√2 alone, and ∂_t p = (Δ_s + Δ_z)(D(z) p):
Hankel's transform in s, Gauss-Lobatto elements in ½|z|², exponentials of symmetric matrices in time. The density is
radial: the same elements, backward differences in time. With g = ∇log(p/u ⊗ u) the bound's rate is ¼Σ E|c_i|²/D. For
large times pD becomes harmonic, p ≃ (1 + Φ^ε/4) u ⊗ u, and H_2 ≃ ∫(Φ^ε)² ∫u²/32, which falls like 1/T, where the bound
grows like log T. This shares nothing with the package; it writes results/long_time.md. A minute.

The second command writes results/long_time_confined.md: two particles of the log gas of long-time-confined-entropy, on
the line, by `kspde.liouville`, and in equilibrium by Gibbs's law p(x, y) ∝ exp(−(x² + y² + V^ε(x − y))/(2σ)) against
u ∝ exp(−(½x² + V^ε * u)/σ), V^ε = −g log|·| mollified, which shares nothing with the package. Half a minute.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.polynomial import legendre
from scipy.integrate import solve_ivp
from scipy.interpolate import make_interp_spline
from scipy.special import j0, j1

CHI, EPS, WIDTH, FAR, DEGREE = 8.0, 0.3, 0.7, 110.0, 9
TIMES = (0.5, 2.0, 10.0, 50.0)
#: The times of the bound's rate, denser at the start; angles; nodes in |s|, up to so many standard deviations.
RATES, ANGLES, ROWS, REACH = 50.0 * np.linspace(0, 1, 81) ** 4, 32, 56, 7.0


def panels(edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of Gauss's rule on each interval."""
    x, w = legendre.leggauss(count)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()


WAVE, STEP = panels(np.r_[0, np.geomspace(0.02, 30, 19)], 10)
#: Φ^ε is the integral over k of these times J_0(k r).
SYMBOL = CHI / (1 + WAVE**2) * np.exp(-((EPS * WAVE) ** 2) / 2) * WAVE * STEP / (2 * np.pi)


class Radial:
    """Functions of q = r²/2 in elements: Δ = ∂_q(2q ∂_q), r dr = dq."""

    def __init__(self) -> None:
        edges = np.r_[0, np.geomspace(0.1, FAR**2 / 2, 25)]
        last = np.eye(DEGREE + 1)[DEGREE]
        x = np.sort(np.r_[-1, np.real(legendre.legroots(legendre.legder(last))), 1])
        values = legendre.legval(x, last)
        weights = 2 / (DEGREE * (DEGREE + 1) * values**2)
        slopes = values[:, None] / values / (np.subtract.outer(x, x) + np.eye(DEGREE + 1)) * (1 - np.eye(DEGREE + 1))
        slopes[0, 0], slopes[-1, -1] = -DEGREE * (DEGREE + 1) / 4, DEGREE * (DEGREE + 1) / 4
        size = (len(edges) - 1) * DEGREE + 1
        self.q, self.mass, self.stiffness = np.zeros(size), np.zeros(size), np.zeros((size, size))
        self.slope = np.zeros((size, size))
        fine, dr = panels(np.linspace(0, FAR, 401), 10)
        at, here = np.zeros((len(fine), size)), fine**2 / 2
        for e, (low, high) in enumerate(pairwise(edges)):
            part, half = slice(e * DEGREE, (e + 1) * DEGREE + 1), (high - low) / 2
            self.q[part] = low + half * (x + 1)
            self.mass[part] += half * weights
            self.stiffness[part, part] += slopes.T @ ((2 * self.q[part] * weights)[:, None] * slopes) / half
            self.slope[part, part] += weights[:, None] * slopes
            inside = (here >= low) & (here < high)
            local = (here[inside] - low) / half - 1
            basis = np.linalg.solve(legendre.legvander(x, DEGREE).T, legendre.legvander(local, DEGREE).T).T
            at[inside, part] = basis
        self.slope /= self.mass[:, None]
        self.r = np.sqrt(2 * self.q)
        self.transform = 2 * np.pi * (j0(np.outer(WAVE, fine)) * fine * dr) @ at

    def signal(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Φ^ε * u and its radial derivative at the nodes."""
        kr, line = np.outer(self.r, WAVE), SYMBOL * (self.transform @ u)
        return j0(kr) @ line, -j1(kr) @ (WAVE * line)


class Two:
    """The law of two particles, their density, the entropy and the rate of its bound."""

    def __init__(self) -> None:
        self.line = line = Radial()
        start = np.exp(-line.q / WIDTH**2) / (2 * np.pi * WIDTH**2)
        back = j0(np.outer(line.r, WAVE)) * SYMBOL @ line.transform

        def rate(_: float, u: np.ndarray) -> np.ndarray:
            return -line.stiffness @ ((1 + np.exp(-back @ u)) * u) / line.mass

        times = np.union1d(RATES, TIMES)
        found = solve_ivp(rate, (0, TIMES[-1]), start, "BDF", times, rtol=1e-8, atol=1e-12)
        self.densities = dict(zip(times.tolist(), found.y.T, strict=True))
        kr = np.sqrt(2) * np.outer(line.r, WAVE)
        self.near, self.gradient = 0.5 * j0(kr) @ SYMBOL, -0.5 * j1(kr) @ (WAVE * SYMBOL)  # a, and along x_1 − x_2
        self.diffusion = 1 + np.exp(-self.near)
        self.scale = np.sqrt(line.mass * self.diffusion)
        ratio = np.sqrt(self.diffusion / line.mass)
        interior = line.stiffness * np.outer(ratio, ratio)
        self.modes = []
        for k in WAVE[WAVE * WIDTH < 8.5]:
            decay, vectors = np.linalg.eigh(interior + k**2 * np.diag(self.diffusion))
            self.modes.append((decay, vectors, vectors.T @ (self.scale * start * np.exp(-((k * WIDTH) ** 2) / 2))))

    def at(self, t: float) -> tuple[float, float, float]:
        """Return H_2, the rate of its bound, and the mass of p."""
        line, count = self.line, len(self.modes)
        lines = np.array([v @ (np.exp(-decay * t) * c) / self.scale for decay, v, c in self.modes])
        s, ds = panels(REACH * np.sqrt(WIDTH**2 + 4 * t) * np.linspace(0, 1, 5), ROWS // 4)
        p = (j0(np.outer(s, WAVE[:count])) * WAVE[:count] * STEP[:count] / (2 * np.pi)) @ lines
        theta = np.pi * (np.arange(ANGLES) + 0.5) / ANGLES
        weights = ((2 * np.pi * s * ds)[:, None] * 2 * np.pi * line.mass)[..., None] / ANGLES
        u = self.densities[t]
        b, db = line.signal(u)
        seen = u > 1e-13 * u.max()  # beyond, the density is round-off
        log_u, signal, slope = (
            make_interp_spline(line.r[where], f[where], k=5)
            for f, where in ((np.log(np.maximum(u, 1e-300)), seen), (b, b > -1), (db, b > -1))
        )
        score, end = log_u.derivative(), line.r[seen][-1]
        across, product, rate = line.r[:, None], 0.0, 0.0
        for sign in (1, -1):  # s along the first axis, z at the angle θ; x = (s ± z)/√2
            x = [(s[:, None, None] + sign * across * np.cos(theta)) / np.sqrt(2)]
            x.append(np.broadcast_to(sign * across * np.sin(theta) / np.sqrt(2), x[0].shape))
            r = np.clip(np.hypot(*x), 1e-9, end)
            product = product + log_u(r)
            diffusion, near, gradient = (f[:, None] for f in (self.diffusion, self.near, self.gradient))
            radial = (diffusion - 1 - np.exp(-signal(r))) * score(r) + np.exp(-signal(r)) * slope(r)
            own = sign * np.exp(-near) * gradient
            c = [radial * at / r - own * part for at, part in zip(x, (np.cos(theta), np.sin(theta)), strict=True)]
            rate = rate + (c[0] ** 2 + c[1] ** 2) / (4 * diffusion)
        p, uu = p[..., None], np.exp(product)
        good = (p > 1e-12 * p.max()) & (uu > 1e-12 * uu.max())
        entropy = np.where(good, p * np.log(np.where(good, p, 1.0) / np.where(good, uu, 1.0)) - p + uu, 0.0)
        return float(np.sum(entropy * weights)), float(np.sum(p * rate * weights)), float(np.sum(p * weights)) * ANGLES


def main() -> None:
    """Measure, and write the table."""
    two = Two()
    rates = np.array([two.at(t)[1] for t in RATES.tolist()])
    measure = np.linspace(0, 1, len(RATES))
    bound = make_interp_spline(measure, rates * 4 * 50.0 * measure**3, k=5).antiderivative()
    square = float(np.sum(SYMBOL**2 * (2 * np.pi) / (WAVE * STEP)))  # ∫(Φ^ε)²
    lines = [
        "# Two dispersing particles of the plane: the exact entropy and its bound",
        "",
        f"(1.1), χ = {CHI:g}, ε = {EPS:g}, N = 2, j ≠ i, from a Gaussian of standard deviation {WIDTH:g}. H_2 of both.",
        "",
        "| T | exact H_2 | ∫(Φ^ε)² ∫u² / 32 | bound on H_2 | bound / H_2 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for t in TIMES:
        entropy, _, mass = two.at(t)
        u = two.densities[t]
        late = square * float(2 * np.pi * np.sum(two.line.mass * u**2)) / 32
        above = float(bound((t / 50.0) ** 0.25))
        lines.append(f"| {t:g} | {entropy:.6f} | {late:.6f} | {above:.5f} | {above / entropy:.1f} |")
        print(lines[-1], f"mass {mass:.9f}, {2 * np.pi * float(two.line.mass @ u):.9f}", flush=True)
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "results" / "long_time.md").write_text(text, encoding="utf-8")


#: The log gas in a trap: g, σ, ε, and the grid of Gibbs's law.
GAS, NOISE, SMOOTH, GRID = 1.0, 0.5, 0.3, np.linspace(-6.0, 6.0, 601)


def in_equilibrium() -> float:
    """Return H_2 of Gibbs's law of two particles of the gas against the density in equilibrium."""
    h = GRID[1] - GRID[0]
    node, weight = panels(np.linspace(-9, 9, 7), 20)
    gauss = weight * np.exp(-(node**2) / 2) / np.sqrt(2 * np.pi)
    at = h * np.arange(-len(GRID) + 1, len(GRID))
    # E log|x + εZ| = E[Z F(x + εZ)]/ε with the primitive F(x) = x log|x| − x, which has no singularity.
    fine = np.linspace(-14.0, 14.0, 28001)
    primitive = np.where(fine == 0, 0.0, fine * np.log(np.abs(fine) + (fine == 0)) - fine)
    smooth = make_interp_spline(fine, primitive, k=3)
    potential = -GAS * np.array([np.sum(gauss * node * smooth(x + SMOOTH * node)) for x in at]) / SMOOTH
    u = np.exp(-(GRID**2))
    for _ in range(400):
        u /= u.sum() * h
        new = np.exp(-(GRID**2 / 2 + np.convolve(potential, u, "valid") * h) / NOISE)
        u = 0.7 * u + 0.3 * new / (new.sum() * h)
    pair = potential[len(GRID) - 1 + np.subtract.outer(np.arange(len(GRID)), np.arange(len(GRID)))]
    p = np.exp(-(np.add.outer(GRID**2, GRID**2) + pair) / (2 * NOISE))
    p /= p.sum() * h**2
    return float(np.sum(p * np.log(p / np.outer(u, u))) * h**2)


def confined() -> None:
    """Measure two particles in a trap, and write the table."""
    import kspde

    times = np.union1d((1.0, 3.0, 10.0, 25.0, 50.0), 50.0 * np.linspace(0, 1, 41) ** 3)
    start = kspde.GaussianMixture(weights=(0.6, 0.4), means=((0.8,), (-0.6,)), stds=(0.6, 0.5))
    box = kspde.Box(half_width=5.5, cells=9, degree=6, dimension=1)
    gas = kspde.LogGas(strength=GAS, noise=NOISE, dimension=1)
    pde = kspde.solve(gas, start, box, t_end=50.0, tol=1e-6, eps=SMOOTH, save=kspde.SaveAt(times=times))
    law = kspde.liouville(pde, n=2, tol=1e-5, include_self=False)
    lines = [
        "# Two particles of a log gas in a trap, on the line: the exact entropy and its bound",
        "",
        f"g = {GAS:g}, σ = {NOISE:g}, κ = 1, ε = {SMOOTH:g}, N = 2, j ≠ i, from two Gaussians. H_2 of both. In "
        f"equilibrium, by Gibbs's law: {in_equilibrium():.6f}.",
        "",
        "| T | exact H_2 | bound on H_2 | bound / H_2 |",
        "| --- | --- | --- | --- |",
    ]
    for t in (1.0, 3.0, 10.0, 25.0, 50.0):
        k = int(np.argmin(np.abs(law.times - t)))
        exact, bound = 2 * law.entropy[k], 2 * law.bound[k]
        lines.append(f"| {t:g} | {exact:.6f} | {bound:.4f} | {bound / exact:.1f} |")
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "results" / "long_time_confined.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    confined() if sys.argv[1:] == ["confined"] else main()
