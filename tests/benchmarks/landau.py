"""Time steps of Landau's particles, with independent noises and in rotating pairs; the entropy of pairs, exactly.

    python -m tests.benchmarks.landau [--n 1e6] [--output landau.md]
    python -m tests.benchmarks.landau --pairs

The second command writes results/landau_pairs.md in a few seconds: what a pair of N particles adds to H_k at
equilibrium, as the study landau-marginals measures it, for each N and step. Given the positions, those after a step of
Euler's are independent Gaussians whose covariances are quadratic in the positions, so that the seven invariant
polynomials of degree 4 of N velocities in the plane go over into combinations of themselves. The matrix is found from
their exact values after a step from random positions, by least squares whose residual is round-off, and gives them at
T from those of independent Gaussians.

The first takes half a minute: best of five runs of ten steps, in turns, on all cores of the process. Beside the time on
the clock stands the processor time of all threads over their number: on a shared machine both are bounds of the time on
a quiet one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import kspde
from kspde.cli.ledger import read_results
from kspde.runtime.compiled import use_threads
from kspde.runtime.parallel import world

STEPS, DT = 10, 0.05
SCHEMES = ("euler-maruyama", "pair-rotation")


def step(dimension: int, scheme: str, n: int) -> tuple[float, float]:
    """Return seconds and processor seconds of all threads per step."""
    model = kspde.LandauMaxwell(dimension=dimension, rate=1 / 16)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3] * dimension], stds=[1.0])
    marks: list[tuple[float, float]] = []
    kspde.simulate(
        model,
        u0,
        n=n,
        t_end=STEPS * DT,
        dt=DT,
        scheme=scheme,
        progress=lambda share: marks.append((time.perf_counter(), time.process_time())),
    )
    (t0, p0), (t1, p1) = marks[0], marks[-1]
    return (t1 - t0) / (STEPS - 1), (p1 - p0) / (STEPS - 1)


def invariants(m: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the expectations of the invariants of degree 4, and 2, of independent velocities of the laws N(m_i, c_i).

    With s = Σv_i: Σ|v_i|⁴, Σ|v_i|² v_i·s, (Σ|v_i|²)², Σ_ij (v_i·v_j)², Σ|v_i|² |s|², Σ(v_i·s)², |s|⁴; Σ|v_i|², |s|².
    """

    def fourth(m: np.ndarray, c: np.ndarray) -> np.ndarray:
        square, trace = np.sum(m * m, axis=-1), np.trace(c, axis1=-2, axis2=-1)
        cross = np.einsum("...a,...ab,...b", m, c, m) + 0.5 * np.trace(c @ c, axis1=-2, axis2=-1)
        return (square + trace) ** 2 + 4 * cross

    whole, spread = m.sum(axis=0), c.sum(axis=0)
    second = m[:, :, None] * m[:, None, :] + c
    size = np.trace(second, axis1=1, axis2=2)
    third = size[:, None] * m + 2 * np.einsum("iab,ib->ia", c, m)
    rest = whole - m
    others = rest[:, :, None] * rest[:, None, :] + spread - c
    quartic, met = fourth(m, c), np.sum(third * rest, axis=1)
    each = [
        np.sum(quartic),
        np.sum(met + quartic),
        size.sum() ** 2 + np.sum(quartic - size**2),
        np.sum(second.sum(axis=0) ** 2) + np.sum(quartic - np.sum(second**2, axis=(1, 2))),
        np.sum(size * np.trace(others, axis1=1, axis2=2) + 2 * met + quartic),
        np.sum(np.sum(second * others, axis=(1, 2)) + 2 * met + quartic),
        fourth(whole, spread),
    ]
    return np.array(each), np.array([size.sum(), whole @ whole + np.trace(spread)])


def pair(n: int, *, rate: float, dt: float, t_end: float) -> float:
    """Return N²/4 Σ b_jl², b the covariances of the polynomials of degree 1 and 2 of two velocities at T."""
    random, still = np.random.default_rng(0), np.zeros((n, 2, 2))
    before, after = [], []
    for _ in range(30):
        v = random.standard_normal((n, 2)) * random.uniform(0.5, 2, (n, 2)) + 2 * random.standard_normal(2)
        z = v - v.mean(axis=0)
        a = np.sum(z * z, axis=1)[:, None, None] * np.eye(2) - z[:, :, None] * z[:, None, :]
        a += np.sum(z * z) / n * np.eye(2) - z.T @ z / n
        before.append(invariants(v, still))
        after.append(invariants(v - 2 * rate * dt * z, 2 * dt * rate * a))
    means = invariants(np.zeros((n, 2)), still + np.eye(2))
    ends = []
    for degree, mean in enumerate(means):
        one, other = (np.array([found[degree] for found in each]) for each in (before, after))
        scale = np.abs(one).mean(axis=0)
        step = np.linalg.lstsq(one / scale, other / scale, rcond=None)[0]
        assert np.abs(one / scale @ step - other / scale).max() < 1e-9
        ends.append(mean / scale @ np.linalg.matrix_power(step, round(t_end / dt)) * scale)
    (quartic, _, sizes, products, *_), (size, whole) = ends
    alone = 2.0  # E|X̄|² of a mean-field particle, which Euler's step heats
    for _ in range(round(t_end / dt)):
        alone = (1 - 2 * rate * dt) ** 2 * alone + 2 * dt * rate * (alone + 2)
    pairs = n * (n - 1)
    momentum = (whole - size) / pairs / 2
    energy = ((sizes - quartic) / pairs - 4 * size / n + 4) / 4 - ((alone - 2) / 2) ** 2
    stress = (products - 0.5 * sizes - 0.5 * quartic) / pairs / 4
    return n**2 / 4 * float(2 * momentum**2 + energy**2 + 2 * stress**2)


def pairs() -> None:
    """Write the table of pairs."""
    found = read_results([])["landau-marginals"]
    stated, t_end = found["fixed"], found["fixed"]["t_end"]
    rate, dt = stated["model"]["rate"], stated["particles"]["dt"]
    model = kspde.LandauMaxwell(rate=rate)
    limit = model.marginal_entropy(2, n=10**6, t=t_end) * 10**12 / 2
    lines = [
        "# What a pair of Landau's particles adds to H_k at equilibrium, times N²",
        "",
        f"d = 2, Λ = {rate:g}, T = {t_end:g}, polynomials of degree 2. As N → ∞ and Δt → 0: {limit:.4f}"
        f" (kspde.LandauMaxwell.marginal_entropy). Measured: the study landau-marginals, steps of {dt:g}.",
        "",
        f"| N | exact, steps of {dt / 10:g} | exact, steps of {dt:g} | measured ± standard error | off by |",
        "| --- | --- | --- | --- | --- |",
    ]
    offs = []
    for point in found["points"]:
        n, seen = point["swept"]["n"], point["quantities"]["h_pairs"]
        fine, exact = (pair(n, rate=rate, dt=step, t_end=t_end) for step in (dt / 10, dt))
        value, error = (n**2 * seen[key] for key in ("value", "error"))
        offs.append((value - exact) / error)
        lines.append(f"| {n} | {fine:.4f} | {exact:.4f} | {value:.4f} ± {error:.4f} | {offs[-1]:.1f} |")
    lines += ["", f"Σ of the squares of the last column: {np.sum(np.square(offs)):.1f} for {len(offs)} numbers."]
    text = "\n".join(lines) + "\n"
    print(text)
    (Path(__file__).parent / "results" / "landau_pairs.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=float, default=1e6)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "landau.md")
    parser.add_argument("--pairs", action="store_true")
    options = parser.parse_args()
    if options.pairs:
        pairs()
        return
    threads, cases = use_threads(world()), [(d, scheme) for d in (2, 3) for scheme in SCHEMES]
    found: dict[tuple[int, str], list[tuple[float, float]]] = {case: [] for case in cases}
    for case in cases:
        step(*case, 1000)
    for _ in range(5):
        for case in cases:
            found[case].append(step(*case, int(options.n)))
    lines = [
        f"N = {int(options.n):,}, {threads} threads; milliseconds per step, best of five",
        "",
        "| d | scheme | on the clock | processor time / threads |",
        "| --- | --- | --- | --- |",
    ]
    for (d, scheme), times in found.items():
        wall, work = (1e3 * min(column) for column in zip(*times, strict=True))
        lines.append(f"| {d} | {scheme} | {wall:.0f} | {work / threads:.0f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
