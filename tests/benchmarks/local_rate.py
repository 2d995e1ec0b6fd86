"""The law of one and two particles to the order 1/N: exact for N = 2, 3, and its limit. Writes results/local_rate.md.

    python tests/benchmarks/local_rate.py
    python tests/benchmarks/local_rate.py two

On the line, D = 1 + e^(−a), Yukawa's kernel with χ = 8, ε = .3, T = .25. The limit is the solution of the linearised
hierarchy: with u_{N,1} = u + f/N and u_{N,2} = u_{N,1} ⊗ u_{N,1} + g/N, to leading order,

    ∂_t f = ∂²[D f + D' {(sK(0) − b + K * f) u + ∫K(x − y) g(x, y) dy} + ½D'' u {K² * u − b² + ∫∫K(x − y) K(x − z) g}],
    ∂_t g = ∂_x²[D g + D' u(x) {(K(x − y) − b(x)) u(y) + ∫K(x − z) g(z, y) dz}] + the same with x and y exchanged,

b = K * u, D, D', D'' at b, s = 1 where j = i counts, else 0. By 96 Fourier modes, or 96², and Runge and Kutta's steps.
The laws of N = 2 and 3 are those of `kspde.liouville`. A minute. The second command writes
results/local_rate_of_two.md, the law of two of N particles from coupled ones. A minute.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import erfc

import kspde
from kspde.distances.statistics import Estimate, squared_norm
from kspde.evidence.coupled import signed_estimate
from kspde.evidence.ensemble import Ensemble

CHI, EPS, T_END, HALF, MODES = 8.0, 0.3, 0.25, 9.0, 96
#: Of the law of two: particles in all, the bandwidth of its estimate, blocks of replicas, and a grid.
PARTICLES, BANDWIDTH, BLOCKS, GRID = 400_000, 0.1, 64, np.linspace(-6, 6, 161)
START = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-0.8,), (0.9,)), stds=(0.6, 0.5))


def kernel(x: np.ndarray) -> np.ndarray:
    """Return Φ^ε on the line, (χ/2)e^(−|x|) convolved with a Gaussian."""
    up, down = ((EPS**2 + s * x) / (EPS * np.sqrt(2)) for s in (1, -1))
    return 0.25 * CHI * np.exp(EPS**2 / 2) * (np.exp(x) * erfc(up) + np.exp(-x) * erfc(down))


def limit(own: bool, steps: int = 400) -> dict[str, float]:
    """Return the limits of N‖u_{N,1} − u‖₁, N‖u_{N,2} − u²‖₁, N²H_1 and N²H_2; ``own``: whether j = i counts."""
    h = 2 * HALF / MODES
    x, k = -HALF + h * np.arange(MODES), 2 * np.pi * np.fft.fftfreq(MODES, h)
    near = kernel((x[:, None] - x[None, :] + HALF) % (2 * HALF) - HALF)
    square = near**2

    def second(f: np.ndarray) -> np.ndarray:
        """Return ∂² along the first axis."""
        return np.fft.ifft((-(k**2)).reshape(-1, *(1,) * (f.ndim - 1)) * np.fft.fft(f, axis=0), axis=0).real

    def rate(state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        u, f, g = state
        b = h * near @ u
        d, first = 1 + np.exp(-b), -np.exp(-b)
        mean = (kernel(np.zeros(1)) * own - b + h * near @ f) * u + h * np.sum(near * g, axis=1)
        spread = h * square @ u - b**2 + h * h * np.einsum("xy,yz,xz->x", near, g, near)
        half = second(d[:, None] * g + (first * u)[:, None] * ((near - b[:, None]) * u + h * near @ g))
        return second(d * u), second(d * f + first * mean - 0.5 * first * u * spread), half + half.T

    u = START(x[:, None])
    state: tuple[np.ndarray, ...] = (u, np.zeros(MODES), np.zeros((MODES, MODES)))
    dt = T_END / steps

    def moved(by: float, rates: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(y + by * r for y, r in zip(state, rates, strict=True))

    for _ in range(steps):
        one = rate(state)
        two = rate(moved(dt / 2, one))
        three = rate(moved(dt / 2, two))
        four = rate(moved(dt, three))
        state = tuple(
            y + dt / 6 * (a + 2 * b + 2 * c + d) for y, a, b, c, d in zip(state, one, two, three, four, strict=True)
        )
    u, f, g = state
    pair, product = np.outer(u, f) + np.outer(f, u) + g, np.outer(u, u)
    seen, both = u > 1e-9 * u.max(), product > 1e-9 * product.max()
    return {
        "l1": float(np.abs(f).sum() * h),
        "l1_of_two": float(np.abs(pair).sum() * h * h),
        "entropy": float(0.5 * np.sum(f[seen] ** 2 / u[seen]) * h),
        "entropy_of_two": float(0.5 * np.sum(pair[both] ** 2 / product[both]) * h * h),
    }


@dataclass(frozen=True, kw_only=True)
class Line(kspde.SignalDependentKellerSegel):
    """The signal-dependent system on the line."""

    dimension = 1


def solved(cells: int, degree: int):
    """Return the density."""
    box = kspde.Box(half_width=8.0, cells=cells, degree=degree, dimension=1)
    save = kspde.SaveAt(times=np.linspace(0, T_END, 11))
    return kspde.solve(Line(chi=CHI), START, box, t_end=T_END, tol=1e-7, eps=EPS, save=save)


def exact(n: int, own: bool) -> dict[str, float]:
    """Return the same of N particles."""
    law = kspde.liouville(solved(14, 6) if n == 2 else solved(9, 6), n=n, tol=1e-6, include_self=own)
    l1, entropy = n * law.marginal_l1[:2, -1], n**2 * law.marginal_entropy[:2, -1]
    return dict(zip(("l1", "l1_of_two", "entropy", "entropy_of_two"), [*l1, *entropy], strict=True))


def coupled(n: int, own: bool) -> dict[str, str]:
    """Return the first and the third from a million coupled particles, smoothed by K_h with h = .1."""
    found = kspde.coupled_distance(
        solved(14, 6), n=n, dt=0.0125, replicas=1_000_000 // n, seed=1, bandwidth=0.1, include_self=own
    )
    each = {"l1": (found.l1, n), "entropy": (found.entropy, n**2)}
    return {
        name: f"{factor * e.value:.4f} [{factor * e.interval[0]:.4f}, {factor * e.interval[1]:.4f}]"
        for name, (e, factor) in each.items()
    }


def coupled_pairs(n: int, own: bool) -> tuple[str, str]:
    """Return the second and the fourth from coupled particles, smoothed by K_h ⊗ K_h.

    The law of two is that of all ordered pairs of different particles of a replica; `kspde.evidence.coupled` says what
    is made of the differences.
    """
    pde, replicas, h = solved(14, 6), PARTICLES // n, GRID[1] - GRID[0]
    ensemble = Ensemble(pde=pde, n=n, dt=0.0125, replicas=replicas, seed=1, coupled=True, include_self=own)
    ensemble.run()

    def near(x: np.ndarray) -> np.ndarray:
        return np.exp(-((x - GRID) ** 2) / (2 * BANDWIDTH**2)) / np.sqrt(2 * np.pi * BANDWIDTH**2)

    laws = np.zeros((2, BLOCKS, len(GRID), len(GRID)))
    for k, label in enumerate(("particles", "mean_field")):
        x = ensemble.systems[label].positions["u"].reshape(replicas, n, 1)
        for block in range(BLOCKS):
            mine = x[replicas * block // BLOCKS : replicas * (block + 1) // BLOCKS]
            each = near(mine)
            sums, each = each.sum(axis=1), each.reshape(-1, len(GRID))
            laws[k, block] = (sums.T @ sums - each.T @ each) / (n * (n - 1) * len(mine))
    differences = (laws[0] - laws[1]).reshape(BLOCKS, -1)
    u = h * near(GRID[:, None]) @ pde.on_grid([GRID])
    product = np.outer(u, u).ravel()
    value, _, interval = signed_estimate(differences, h * h)
    seen = product > 1e-6 * product.max()
    entropy = squared_norm(differences[:, seen] * (np.sqrt(0.5 / product[seen]) * h))
    found = ((Estimate(value, interval), n), (entropy, n**2))
    l1, h_2 = (f"{c * e.value:.4f} [{c * e.interval[0]:.4f}, {c * e.interval[1]:.4f}]" for e, c in found)
    return l1, h_2


def of_two() -> None:
    """Measure the law of two particles, and write its table."""
    lines = [
        "# The law of two particles to the order 1/N, from coupled particles",
        "",
        f"As in local_rate.md, for {PARTICLES:,} particles in all and both laws smoothed by K_h ⊗ K_h, "
        f"h = {BANDWIDTH:g}; 95 % intervals.",
        "",
        "| | N | N‖u_{N,2} − u ⊗ u‖₁ | N²H_2 |",
        "| --- | --- | --- | --- |",
    ]
    for own in (True, False):
        for n in (10, 30, 100):
            lines.append(f"| {'j = i included' if own else 'j ≠ i'} | {n} | {' | '.join(coupled_pairs(n, own))} |")
            print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "local_rate_of_two.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    """Measure, and write the table."""
    names = ("l1", "l1_of_two", "entropy", "entropy_of_two")
    lines = [
        "# The law of one and of two particles to the order 1/N",
        "",
        f"On the line, χ = {CHI:g}, ε = {EPS:g}, T = {T_END:g}: exact for N = 2, 3 (Liouville's equation), 95 % "
        "intervals of coupled particles, and the limit (linearised hierarchy).",
        "",
        "| | N | N‖u_{N,1} − u‖₁ | N‖u_{N,2} − u ⊗ u‖₁ | N²H_1 | N²H_2 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for own in (True, False):
        for n in (2, 3, 10, 30, 100, 300, None):
            found = limit(own) if n is None else coupled(n, own) if n > 3 else exact(n, own)
            cells = [f"{v:.4f}" if isinstance(v, float) else v for v in (found.get(name, "") for name in names)]
            lines.append(f"| {'j = i included' if own else 'j ≠ i'} | {n or '→ ∞'} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "local_rate.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    of_two() if sys.argv[1:] == ["two"] else main()
