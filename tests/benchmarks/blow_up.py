"""Classical Keller-Segel densities followed to blow-up by grids that are graded towards the peak.

    python -m tests.benchmarks.blow_up [--output blow_up.md]

Ten minutes on a quiet machine. A signal that relaxes, χ = D = μ = τ = 1, in the closed square [−½, ½]², from u₀ =
1000 e^(−100 r²) and v₀ = 500 e^(−50 r²), a mass of 10π; and the whole plane without screening, χ = D = 1, μ = τ = 0,
from a Gaussian of mass 16π and standard deviation ½, whose second moment would vanish at t = .125. Each run ends at a
maximum; λ = √(8/max u) is the scale of the stationary profile 8λ²/(λ² + r²)² of mass 8π with this maximum.

Last, that profile itself with λ = 1, cut off at the sides of a box, up to t = 1. On a disk it would stand still, since
what is missing is radial there, and the field inside does not feel it. So what changes is the effect of what is
missing, a 240th of 8π, through the box's corners, and the errors of mesh and time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import kspde
from kspde.initial import InitialDensity

PLACE = [[0.0, 0.0]]


def gaussian(factor: float, rate: float) -> kspde.GaussianMixture:
    """Return factor·e^(−rate r²)."""
    return kspde.GaussianMixture(weights=[1.0], means=PLACE, stds=[(2 * rate) ** -0.5], mass=factor * np.pi / rate)


def parabolic(**options: Any) -> kspde.Solution:
    """Solve with a signal that relaxes, in the closed square."""
    model = kspde.KellerSegel(chi=1.0, mu=1.0, tau=1.0, v0=gaussian(500.0, 50.0))
    box = kspde.Box(half_width=0.5, cells=12, degree=8, boundary="neumann")
    save = kspde.SaveAt(times=[1e-5, 2e-5, 4e-5])
    return kspde.solve(model, gaussian(1000.0, 100.0), box, t_end=1.0, save=save, **options)


def plane(**options: Any) -> kspde.Solution:
    """Solve on the whole plane."""
    box = kspde.Box(half_width=6.0, cells=16, degree=8)
    save = kspde.SaveAt(times=[0.02, 0.04, 0.06])
    return kspde.solve(kspde.KellerSegel(chi=1.0), gaussian(32.0, 2.0), box, t_end=1.0, save=save, **options)


def mass_within(pde: kspde.Solution, radius: float) -> float:
    """Return the mass in the disk about the peak, by quadrature in polar coordinates."""
    r, w = np.polynomial.legendre.leggauss(80)
    r, w = 0.5 * radius * (r + 1), 0.5 * radius * w
    angles = 2 * np.pi * np.arange(32) / 32
    points = np.stack([np.outer(r, np.cos(angles)).ravel(), np.outer(r, np.sin(angles)).ravel()], axis=1)
    return float(2 * np.pi * (w * r) @ pde.evaluate(points).reshape(80, 32).mean(axis=1))


class Profile(InitialDensity):
    """8/(1 + r²)² in [−14, 14]², with its mass there."""

    dimension = 2

    def __init__(self) -> None:
        x, w = np.polynomial.legendre.leggauss(400)
        x, w = 14 * np.sinh(6 * x) / np.sinh(6), w * 84 * np.cosh(6 * x) / np.sinh(6)
        self.mass = float(w @ self(np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)).reshape(400, 400) @ w)

    def __call__(self, x: Any) -> Any:
        return 8 / (1 + np.sum(np.square(x), axis=1)) ** 2

    def mass_outside(self, half_width: float) -> float:
        return 0.0

    def sample(self, random: Any, ids: Any) -> Any:
        raise NotImplementedError


def stationary() -> str:
    """Return a line on the change of the stationary profile."""
    box = kspde.Box(half_width=14.0, cells=20, degree=8)
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), Profile(), box, t_end=1.0, tol=1e-8)
    axis = 14 * np.sinh(np.linspace(-4, 4, 401)) / np.sinh(4)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    change = np.abs(pde.evaluate(points) - Profile()(points)).max() / 8
    return f"stationary profile in a box of half-width 14: max|u − u₀| = {change:.1e} max u₀ at t = 1"


def row(name: str, pde: kspde.Solution, seconds: float) -> str:
    """Return a row of the table."""
    summary, table = pde.summary(), pde.diagnostics
    found, last = summary["blow_up"], table["maximum"][-1]
    within = mass_within(pde, 10 * np.sqrt(8 / last)) / (8 * np.pi)
    drift = np.abs(table["mass"] / table["mass"][0] - 1).max()
    left = [found["interval"][0] - found["t"], found["interval"][1] - found["t"]]
    error = "" if found["error"] is None else f"{found['error']:.1e}"
    return (
        f"| {name} | {last:.4g} | {error} | {found['t']:.7g} | {found['time']:.6g} "
        f"[{found['interval'][0]:.6g}, {found['interval'][1]:.6g}] | {last * left[0]:.3g} to {last * left[1]:.3g} "
        f"| {within:.4f} | {summary['nodes']:,} | {len(summary['regrids'])} | {len(table['t']) - 1} | {drift:.0e} "
        f"| {seconds:.0f} |"
    )


def main() -> None:
    """Solve, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "blow_up.md")
    output = parser.parse_args().output
    lines = [
        "adaptive, tol = 1e-6, 10 nodes across the peak at least; T is the time of blow-up with its interval, seconds "
        "are of the processor, and the error is that of the maximum, from a coarser run",
        "",
        "| case | max u | error | t | T | max u · (T − t) | mass within 10λ / 8π | nodes | grids | steps | mass drift "
        "| seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    values = []
    for name, solve, peaks in (("closed square", parabolic, (1e4, 1e6, 1e8)), ("plane", plane, (1e4, 1e6))):
        for peak in peaks:
            start = time.process_time()
            pde = solve(tol=1e-6, regrid=kspde.Regrid(peak=peak))
            lines.append(row(name, pde, time.process_time() - start))
            print(lines[-1], flush=True)
        saved = ", ".join(f"{pde.at(t).density().max():.6g} at t = {t:g}" for t in pde.times[:-1])
        values.append(f"{name}: max u = {saved}")
    values.append(stationary())
    output.write_text("\n\n".join(["\n".join(lines), *values]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
