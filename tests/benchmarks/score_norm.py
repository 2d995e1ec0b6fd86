"""The score of an admissible density in W^{1,4}, on the whole plane: python tests/benchmarks/score_norm.py (a minute).

Wang, Li and Huang's (1.11) bounds ‖∇log u^ε(t)‖ in W^{1,q}, q > 2, uniformly in ε up to a time T*, for ∇log u₀ in
W^{1,q}. Here u₀ = (2/π)(1 + |x|²)^−3, χ = 8, q = 4, by a radial solver of its own: finite volumes on |x| < 400, whose
cells grow with |x|, no flux, implicit steps of which two sizes are extrapolated. u stays positive, and has its relative
accuracy in the tails. The mollifier is e^{ε²Δ/2}, a matrix exponential, the signal the inverse of 1 − Δ. Beside it are
the values over |x| < 20 of this solver and of the study score-norm, on a box of half-width 40.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.linalg import expm, solve_banded

ROOT = Path(__file__).resolve().parents[2]
CHI, POWER, Q, REACH, SCALE = 8.0, 3.0, 4.0, 400.0, 0.5
TIMES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0)
EPS = (0.3, 0.1, 0.03, 0.0)


def solved(eps: float, cells: int, steps: int) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Return the middles of the cells, and u at the times, with so many steps from each time to the next."""
    faces = SCALE * np.sinh(np.linspace(0.0, np.arcsinh(REACH / SCALE), cells + 1))
    middles = SCALE * np.sinh(np.arcsinh(REACH / SCALE) * (np.arange(cells) + 0.5) / cells)
    areas = np.pi * np.diff(faces**2)
    flow = 2 * np.pi * faces[1:-1] / np.diff(middles)
    above, below = np.append(0.0, flow / areas[:-1]), np.append(flow / areas[1:], 0.0)
    middle = -(np.append(above[1:], 0.0) + np.append(0.0, below[:-1]))
    laplacian = np.diag(middle) + np.diag(above[1:], 1) + np.diag(below[:-1], -1)
    signal = CHI * np.linalg.solve(np.eye(cells) - laplacian, expm(0.5 * eps**2 * laplacian))
    u = -np.diff((1 + faces**2) ** (1 - POWER)) / areas

    def implicit(h: float, diffusion: np.ndarray, u: np.ndarray) -> np.ndarray:
        bands = -h * np.stack([above, middle, below])
        bands[0] *= diffusion
        bands[1] = 1 + bands[1] * diffusion
        bands[2] *= diffusion
        return solve_banded((1, 1), bands, u)

    found = {0.0: u}
    for before, t in pairwise(TIMES):
        h = (t - before) / steps
        for _ in range(steps):
            diffusion = 1 + np.exp(-signal @ u)
            half = implicit(0.5 * h, diffusion, u)
            u = 2 * implicit(0.5 * h, 1 + np.exp(-signal @ half), half) - implicit(h, diffusion, u)
        found[t] = u
    return middles, found


def norms(r: np.ndarray, u: np.ndarray, radius: float = np.inf) -> np.ndarray:
    """Return ‖∇log u‖ and ‖D²log u‖ in L^4, the first in W^{1,4}, and sup|∇log u|; beyond the cells u is a power."""
    x, log = np.arcsinh(r / SCALE), np.log(u)
    spline = make_interp_spline(np.append(-x[9::-1], x), np.append(log[9::-1], log), k=5)
    top = min(radius, 0.5 * REACH)  # the outer half feels the boundary
    y = np.linspace(1e-5, np.arcsinh(top / SCALE), 20_001)
    s = SCALE * np.sinh(y)
    stretch = np.hypot(SCALE, s)
    first = spline(y, 1) / stretch
    second = spline(y, 2) / stretch**2 - spline(y, 1) * s / stretch**3
    gradient = np.trapezoid(2 * np.pi * s * np.abs(first) ** Q, s)
    hessian = np.trapezoid(2 * np.pi * s * (second**2 + (first / s) ** 2) ** (0.5 * Q), s)
    if top < radius:
        gradient += 2 * np.pi * (2 * POWER) ** Q * top ** (2 - Q) / (Q - 2)
        hessian += 2 * np.pi * (2 * POWER) ** Q * 2 ** (Q / 2) * top ** (2 - 2 * Q) / (2 * Q - 2)
    return np.array([gradient ** (1 / Q), hessian ** (1 / Q), (gradient + hessian) ** (1 / Q), np.abs(first).max()])


def main() -> None:
    path = ROOT / "kspde" / "papers" / "studies" / "results" / "score-norm.json"
    points = json.loads(path.read_text(encoding="utf-8"))["points"]
    shipped = {(p["swept"]["t_end"], p["swept"]["eps"]): p["quantities"]["score_norm"]["value"] for p in points}
    exact = (8 * np.pi * POWER**4 * 2 / 3) ** 0.25  # ∫(2k r/(1 + r²))⁴ = (2k)⁴ π/3
    lines = [
        "# The score of u₀ = (2/π)(1 + |x|²)^−3 in W^{1,4} over time",
        "",
        f"`python tests/benchmarks/score_norm.py`; χ = {CHI:g}. The whole plane by a radial solver of",
        "order 2, two sizes of cells and steps extrapolated; the error is what that changes. At t = 0 the first column",
        f"is (432π)^(1/4) = {exact:.5f} exactly.",
        "",
        "| ε | t | ‖∇log u‖₄ | ‖D²log u‖₄ | ‖∇log u‖ in W^{1,4} | error | sup | r < 20 | Box, r < 20 |",
        "|" + " --- |" * 9,
    ]
    for eps in EPS:
        (r, fine), (half, coarse) = solved(eps, 600, 200), solved(eps, 300, 100)
        for t, u in fine.items():
            found, disk = norms(r, u), norms(r, u, 20.0)
            change = (found - norms(half, coarse[t])) / 3
            found, disk = found + change, disk + (disk - norms(half, coarse[t], 20.0)) / 3
            box = shipped.get((t, eps))
            cells = [f"{eps:g}", f"{t:g}", *(f"{value:.4f}" for value in found[:3]), f"{abs(change[2]):.0e}"]
            cells += [f"{found[3]:.4f}", f"{disk[2]:.4f}", "" if box is None else f"{box:.4f}"]
            lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    (ROOT / "tests" / "benchmarks" / "results" / "score_norm.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
