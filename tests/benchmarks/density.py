"""Cost of the density solver on the check problem, beside a bare FFT code in the same run.

Run: ``python tests/benchmarks/density.py [--out FILE]``; on a quiet machine, a minute. Writes a Markdown table.

The check problem: Wang, Li and Huang's (1.1), χ = 8, T = 0.5, the README's three Gaussians, box [−14, 14]². Errors are
in L¹ against a run on a much finer mesh, whose values agree with a 256² Fourier solution to 1e-9. Times are the best of
several, in seconds, of the time loop.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import scipy.fft
from mpi4py import MPI

import kspde
from kspde.cli.results import provenance

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
U0 = kspde.GaussianMixture(weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7))
T_END = 0.5
AXIS = np.linspace(-10, 10, 201)
ADAPTIVE = [(8, 7, 1e-3), (12, 6, 1e-4), (12, 8, 1e-4), (12, 8, 1e-6), (20, 8, 1e-8)]
ROSENBROCK = [
    (8, 7, 1e-4),
    (8, 7, 1e-5),
    (12, 6, 1e-5),
    (12, 8, 1e-3),
    (12, 8, 1e-4),
    (12, 8, 1e-5),
    (12, 8, 1e-6),
    (12, 8, 1e-7),
]
REPEAT = 5


def l1(values: np.ndarray, exact: np.ndarray) -> float:
    """Return the L¹ distance of grid values."""
    return float(np.abs(values - exact).sum() * (AXIS[1] - AXIS[0]) ** 2)


def fourier(modes: int, steps: int, length: float = 28.0) -> tuple[float, np.ndarray]:
    """Solve with a bare Fourier code, RK4 with an integrating factor for γ̄Δ; return loop seconds and values on AXIS."""
    x = (np.arange(modes) - modes // 2) * length / modes
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    k = 2 * np.pi * np.fft.fftfreq(modes, length / modes)
    half = k[: modes // 2 + 1].copy()
    half[-1] = abs(half[-1])
    k2 = k[:, None] ** 2 + half**2
    u = scipy.fft.rfft2(U0(grid.reshape(-1, 2)).reshape(modes, modes))
    dt, signal = T_END / steps, 8.0 / (1 + k2)
    e = np.exp(-2.0 * k2 * dt / 2)

    def slope(y: np.ndarray) -> np.ndarray:
        v = scipy.fft.irfft2(signal * y, s=(modes, modes))
        return -k2 * scipy.fft.rfft2(np.expm1(-v) * scipy.fft.irfft2(y, s=(modes, modes)))

    start = time.perf_counter()
    for _ in range(steps):
        a = slope(u)
        b = slope(e * (u + dt / 2 * a))
        c = slope(e * u + dt / 2 * b)
        d = slope(e**2 * u + dt * e * c)
        u = e**2 * u + dt / 6 * (e**2 * a + 2 * e * (b + c) + d)
    seconds = time.perf_counter() - start
    full = np.fft.fft2(scipy.fft.irfft2(u, s=(modes, modes)))
    phase = np.exp(1j * np.multiply.outer(AXIS - x[0], k)) / modes
    return seconds, (phase @ full @ phase.T).real


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    out = parser.parse_args().out
    fine = kspde.Box(half_width=14.0, cells=20, degree=10)
    exact = kspde.solve(MODEL, U0, fine, t_end=T_END, tol=2e-8).on_grid([AXIS, AXIS])
    rows = []
    schemes = [("rosenbrock", *case) for case in ROSENBROCK] + [("adaptive", *case) for case in ADAPTIVE]
    for scheme, cells, degree, tol in schemes:
        box = kspde.Box(half_width=14.0, cells=cells, degree=degree)
        runs = [kspde.solve(MODEL, U0, box, t_end=T_END, tol=tol, scheme=scheme) for _ in range(REPEAT)]
        best = min(run.timings["loop"] for run in runs)
        error = l1(runs[0].on_grid([AXIS, AXIS]), exact)
        steps = len(runs[0].diagnostics["t"]) - 1
        rows.append(
            (
                f"kspde, {scheme}",
                f"{cells} cells, degree {degree}, tol {tol:g}",
                runs[0].summary()["nodes"],
                steps,
                best,
                error,
            )
        )
    for modes, steps in ((64, 12), (72, 25), (96, 50), (96, 100)):
        runs_f = [fourier(modes, steps) for _ in range(REPEAT)]
        best = min(seconds for seconds, _ in runs_f)
        rows.append(("bare FFT", f"{modes}² modes, RK4", modes**2, steps, best, l1(runs_f[0][1], exact)))
    about = provenance(MPI.COMM_WORLD)
    lines = [
        "# The density's time loop on the check problem",
        "",
        f"{about['date']}, {about['machine']['processor']}, {about['machine']['cores']} cores, "
        f"{about['ranks']} rank(s); " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
        "",
        "| code | parameters | unknowns | steps | loop, s | L1 error |",
        "| --- | --- | --- | --- | --- | --- |",
        *(f"| {c} | {p} | {n} | {s} | {t:.4f} | {e:.1e} |" for c, p, n, s, t, e in rows),
    ]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
