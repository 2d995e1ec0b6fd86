"""The best range η of N moderately interacting particles on a line, as theory has it, beside the study.

    kspde study cross-diffusion-range --out DIR
    python tests/benchmarks/optimal_range.py DIR/summary.json

Without kspde: Fourier solutions of Chen, Daus and Jüngel's (1) and (4), for the ready study cross-diffusion-range, give
the biases. The noise is the formal one of kspde/papers/studies/measures/ranges.py: modes of the two densities frozen at
each point, with their covariance C from MC + CM' = 2 diag(σum)/N. A path is that of X̂ with the difference of the
drifts and white noise, whose rate at time t is 2∫V̂² a·(1 − e^(−(M + σ)k²t))(M + σ)⁻¹Ca dk/2π, from common Brownian
motions: its memory is finite, and t may not exceed it by much. Beside it the ranges that the study's particles have.
Writes results/optimal_range.md. Half a minute.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.special import jv

A, SIGMA, MASS, T_END = np.array([[0.6, 0.3], [0.2, 0.5]]), np.array([0.3, 0.4]), np.array([1.0, 1.5]), 0.2
MODES, HALF, STEPS, PATHS, EVERY, PARTS = 512, 8.0, 64, 2000, 8, 4
NAMES = ("path", "density", "drift")
H = 2 * HALF / MODES
X, K = -HALF + H * np.arange(MODES), 2 * np.pi * np.fft.rfftfreq(MODES, H)
COARSE = X[::EVERY]
START = np.array([m * np.exp(-((X - x) ** 2) / (2 * s * s)) / (s * np.sqrt(2 * np.pi))
                  for m, x, s in ((1.0, -0.4, 0.5), (1.5, 0.5, 0.6))])  # fmt: skip


def bump(z: np.ndarray) -> np.ndarray:
    """Return the transform of (1 − x²)⁴, of integral 1."""
    z = np.maximum(np.abs(z), 1e-6)
    return 52.34277778455352 * (2 / z) ** 4.5 * jv(4.5, z)  # Γ(5.5)


def filtered(symbol: np.ndarray, f: np.ndarray) -> np.ndarray:
    return np.fft.irfft(symbol * np.fft.rfft(f, axis=-1), MODES, axis=-1)


def solved(v: np.ndarray) -> np.ndarray:
    """Return u at STEPS + 1 times for V of a transform, by exact heat and Runge and Kutta's method for the rest."""
    dt = T_END / STEPS
    half = np.exp(-0.5 * dt * np.outer(SIGMA, K**2))

    def rate(hat: np.ndarray) -> np.ndarray:
        u, slope = (np.fft.irfft(s * hat, MODES, axis=1) for s in (np.ones_like(K), 1j * K * v))
        return 1j * K * np.fft.rfft(u * (A @ slope), axis=1)

    hat, path = np.fft.rfft(START, axis=1), [START]
    for _ in range(STEPS):
        k1 = rate(hat)
        k2 = rate(half * (hat + 0.5 * dt * k1))
        k3 = rate(half * hat + 0.5 * dt * k2)
        k4 = rate(half * half * hat + dt * half * k3)
        hat = half * half * hat + dt / 6 * (half * half * k1 + 2 * half * (k2 + k3) + k4)
        path.append(np.fft.irfft(hat, MODES, axis=1))
    return np.array(path)


def noise(u: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return N η times the path's rates (species, x), N η times ∫C, and N η³ times that of the drift (species, x).

    ``time`` is t/η²; x are the points of ``COARSE``.
    """
    kappa = np.linspace(0.0, 30.0, 201)[1:]
    v, one, u = bump(kappa), np.eye(2), np.maximum(u[:, ::EVERY], 0.0)
    m = np.diag(SIGMA) + (u.T[:, None, :, None] * A) * v[:, None, None]  # (x, κ, 2, 2)
    equation = np.einsum("xkil,mj->xkimlj", m, one) + np.einsum("il,xkmj->xkimlj", one, m)
    right = np.einsum("ij,ix->xij", one, 2 * (SIGMA * MASS)[:, None] * u).reshape(-1, 1, 4, 1)
    c = np.linalg.solve(equation.reshape(*m.shape[:2], 4, 4), right + np.zeros((1, len(kappa), 1, 1)))
    c = c.reshape(m.shape)
    weight = v**2 * (kappa[1] - kappa[0]) / np.pi
    values, vectors = np.linalg.eig(m)
    paths = []
    for a, s in zip(A, SIGMA, strict=True):
        rate = values.real + s
        past = -np.expm1(-rate * kappa[:, None] ** 2 * time) / rate
        turned = np.einsum("xkij,xkj,xkjl->xkil", vectors.real, past, np.linalg.inv(vectors.real))
        paths.append(np.einsum("k,i,xkij,xkjl,l->x", 2 * weight, a, turned, c, a, optimize=True))
    drifts = np.einsum("k,il,xklm,im->ix", weight * kappa**2, A, c, A, optimize=True)
    return np.array(paths), H * EVERY * np.einsum("k,xkii->", weight, c), drifts


def main() -> None:
    study = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    etas = np.geomspace(0.25, 2.0, 13)
    local, drift = solved(np.ones_like(K)), -1j * K
    # by range: the rates in the middle of each of PARTS intervals
    middles = (np.arange(PARTS) + 0.5) / PARTS
    rates = [[noise(local[int(p * STEPS)], p * T_END / eta**2)[0] for p in middles] for eta in etas]
    end = noise(local[-1], 0.0)
    nonlocal_ = [solved(bump(eta * K)) for eta in etas]
    share = local[-1] / MASS[:, None] * H
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    numbers = [point["swept"]["n"] for point in study["points"]]
    for n in numbers:
        errors: dict[str, list[float]] = {name: [] for name in NAMES}
        for eta, u, rate in zip(etas, nonlocal_, rates, strict=True):
            v = bump(eta * K)
            bias = filtered(v, u[-1]) - local[-1]
            errors["density"].append(H * np.sum(bias**2) + end[1] / (n * eta))
            slope = A @ filtered(drift, bias)
            errors["drift"].append(np.sum(share * slope**2) + EVERY * np.sum(share[:, ::EVERY] * end[2]) / (n * eta**3))
            total = 0.0
            for i in range(2):
                random, dt = np.random.default_rng(i), T_END / STEPS
                x = np.interp(random.random(PATHS), np.cumsum(START[i]) * H / MASS[i], X)
                y, most = x.copy(), np.zeros(PATHS)
                for s in range(STEPS):
                    common, own = np.sqrt(dt) * random.standard_normal((2, PATHS))
                    white = np.interp(x, COARSE, rate[s * PARTS // STEPS][i]) / (n * eta)
                    b = [A[i] @ filtered(drift * w, f) for w, f in ((np.ones_like(K), local[s]), (v, u[s]))]
                    x, y = (
                        x + dt * np.interp(x, X, b[0]) + np.sqrt(2 * SIGMA[i]) * common,
                        y + dt * np.interp(y, X, b[1]) + np.sqrt(2 * SIGMA[i]) * common + np.sqrt(white) * own,
                    )
                    most = np.maximum(most, (x - y) ** 2)
                total += float(np.mean(most))
            errors["path"].append(total)
        for name in NAMES:
            fine = np.geomspace(etas[0], etas[-1], 4001)
            curve = np.polyval(np.polyfit(np.log(etas), np.log(errors[name]), 7), np.log(fine))
            found[name].append(float(fine[curve.argmin()]))
    lines = [
        "# The best range of N particles on a line",
        "",
        "| N | " + " | ".join(f"{name}: formal | particles" for name in NAMES) + " |",
        "| --- " * 7 + "|",
    ]
    for k, point in enumerate(study["points"]):
        cells = []
        for name in NAMES:
            q = point["quantities"][name]
            cells += [f"{found[name][k]:.3f}", "{:.3f} [{:.3f}, {:.3f}]".format(q["value"], *q["interval"])]
        lines.append(f"| {numbers[k]} | {' | '.join(cells)} |")
    orders = [-np.polyfit(np.log(numbers), np.log(found[name]), 1)[0] for name in NAMES]
    measured = {rate["quantity"]: rate for rate in study["rates"]}
    cells = []
    for name, order in zip(NAMES, orders, strict=True):
        fitted = measured[name]
        cells += [f"{order:.3f}", "{:.3f} [{:.3f}, {:.3f}]".format(fitted["order"], *fitted["interval"])]
    theorem = measured["theorem_path"]
    low, high = theorem["interval"]
    lines += [
        f"| order | {' | '.join(cells)} |",
        "",
        "Theorem 3's least range at δ = 1, (log N)^(−1/6), over the best range of the paths has the order "
        f"{theorem['order']:.3f} [{low:.3f}, {high:.3f}]: it would be 0 if both fell alike.",
        "",
        f"The {study['setting']} setting of the study. Made by `{study['command']}` and then "
        "`python tests/benchmarks/optimal_range.py DIR/summary.json`.",
        "",
    ]
    out = Path(__file__).parent / "results" / "optimal_range.md"
    out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
