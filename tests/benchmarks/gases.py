"""Second moments of log and Riesz gases against their exact laws, and the semicircle.

Run as ``python tests/benchmarks/gases.py``; it writes results/gases.md in a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kspde

N, T, REPLICAS = 100, 4.0, 8
SIGMA, KAPPA = 0.5, 1.0


def drift_error(model, dt, replica):
    """Return ((S(T) − S(0) − ∫(A − 2κS)dt)/T)/(2κ), which is a martingale's share: its mean is 0 but for the step.

    A is 2dσ and what pairs add: g(N − 1)/N, or s/N² Σ V.
    """
    d = model.dimension
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.7, -0.4, 0.2][:d]], stds=[0.9])
    pairs = []

    def look(cloud):
        x = cloud.positions
        r = np.linalg.norm(x[:, None] - x, axis=2)[~np.eye(N, dtype=bool)]
        pairs.append(model.s * model.strength * np.sum(r**-model.s) / N**2)

    times = np.linspace(0, T, 81)
    save = kspde.SaveAt(times=times, callback=look) if isinstance(model, kspde.RieszGas) else None
    cloud = kspde.simulate(model, u0, n=N, t_end=T, dt=dt, seed=9, replica=replica, method="direct", save=save)
    t, s = cloud.diagnostics["t"], cloud.diagnostics["second_moment"]
    gain = np.trapezoid(pairs, times) if pairs else model.strength * (N - 1) / N * T
    return (s[-1] - s[0] - gain - 2 * d * SIGMA * T + 2 * KAPPA * np.trapezoid(s, t)) / (2 * KAPPA * T)


def rows():
    """Yield the lines of the first table."""
    for kind, d, g, s in (
        ("log", 1, 1.0, 0), ("log", 1, -0.5, 0), ("log", 2, 1.0, 0), ("log", 2, -0.8, 0), ("log", 3, 1.0, 0),
        ("riesz", 1, 1.0, 0.5), ("riesz", 2, 1.0, 0.5), ("riesz", 3, 1.0, 1.0),
    ):  # fmt: skip
        options = {"strength": g, "noise": SIGMA, "confinement": KAPPA, "dimension": d}
        model = kspde.LogGas(**options) if kind == "log" else kspde.RieszGas(s=s, **options)
        free = kspde.LogGas(**{**options, "strength": 0.0})
        found = []
        for dt in (0.02, 0.01):
            off = np.array([drift_error(model, dt, r) - drift_error(free, dt, r) for r in range(REPLICAS)])
            found.append(f"{off.mean():8.4f} ± {off.std(ddof=1) / REPLICAS**0.5:.4f}")
        limit = f"{(g * (N - 1) / N + 2 * d * SIGMA) / (2 * KAPPA):.4f}" if kind == "log" else "  –   "
        yield f"   {kind:5s}  {d}  {g:+.1f}  {s or '–':>4}  {limit}  " + "  ".join(found)


def from_semicircle(x, radius):
    """Return the L¹ Wasserstein and the Kolmogorov distance of points from the semicircle law."""
    angle = np.linspace(0, np.pi, 20_001)
    law = (angle - 0.5 * np.sin(2 * angle)) / np.pi
    x, n = np.sort(x), len(x)
    quantiles = -radius * np.cos(np.interp((np.arange(n) + 0.5) / n, law, angle))
    at = np.interp(np.arccos(np.clip(-x / radius, -1, 1)), angle, law)
    steps = np.arange(n + 1) / n
    return np.abs(x - quantiles).mean(), max(np.abs(at - steps[1:]).max(), np.abs(at - steps[:-1]).max())


def main():
    """Write the tables."""
    lines = [
        f"1. Stationary mean |X|² of N = {N} particles, σ = {SIGMA}, κ = {KAPPA}: its exact value, and the error of",
        f"   {REPLICAS} runs up to T = {T:g} (mean ± standard error), by Itô's formula over a run, minus that of",
        "   particles without interaction and with the same noise (Euler-Maruyama).",
        "   gas    d  g     s     exact   dt = .02           .01",
        *rows(),
        "",
        "2. Dyson's gas, g = κ = 1, at t = 5, beside the semicircle: Wasserstein and Kolmogorov distances.",
    ]
    for n, sigma in ((25, 0.2), (50, 0.05), (100, 0.0125), (200, 0.003)):
        model = kspde.LogGas(strength=1.0, noise=sigma, dimension=1)
        u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.5]], stds=[0.6])
        cloud = kspde.simulate(model, u0, n=n, t_end=5.0, dt=0.25 / n, seed=3)
        far = from_semicircle(cloud.positions[:, 0], 2**0.5)
        lines.append(f"   N = {n:3d}, σ = {sigma:g}: {far[0]:.4f}, {far[1]:.4f}")
    text = "\n".join(["Log and Riesz gases without a mollifier.", "", *lines, ""])
    (Path(__file__).parent / "results" / "gases.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
