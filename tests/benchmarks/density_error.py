"""Is ``Solution.error`` near the density's error?

Run: ``python -m tests.benchmarks.density_error [--cases 72] [--first 0] [--out FILE] [--errors TABLE]``; some 30
minutes on one core. With the table of an earlier run its errors are taken, to two digits: some 3 minutes.

Case k is drawn at random, from seed k: the model, its parameters, one to three Gaussians, d = 1, 2, 3, the domain (also
too small for the density, and too coarse), the degree, the grading, the scheme with its tolerance or step, ε or none.
The error is the difference from a solution by a finer method: on a box twice as wide with elements of degree 8, by the
adaptive scheme with tolerance 1e-9, whatever the mesh and the scheme were; in a closed or periodic box, on that box.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import kspde
from kspde.errors import KspdeError
from kspde.fem.error import sampled


def drawn(k: int) -> tuple[str, dict[str, Any], Any, dict[str, Any]]:
    """Return the name, the problem, the domain and the scheme of case k."""
    rng = np.random.default_rng(k)
    uniform, choice = rng.uniform, rng.choice
    d = int(choice([1, 2, 3], p=[0.4, 0.54, 0.06]))

    def mixture() -> kspde.GaussianMixture:
        n = int(rng.integers(1, 4))
        return kspde.GaussianMixture(
            weights=rng.dirichlet(np.full(n, 2.0)), means=uniform(-1.2, 1.2, (n, d)), stds=uniform(0.4, 0.9, n)
        )

    models: dict[str, Any] = {
        "cross-diffusion": lambda: kspde.CrossDiffusion(a=[[uniform(0, 0.5)]], sigma=[uniform(0.2, 0.8)], dimension=d),
        "log gas": lambda: kspde.LogGas(strength=uniform(0.2, 1.0), dimension=d),
        "SKT": lambda: kspde.ShigesadaKawasakiTeramoto(
            a=uniform(0, 0.4, (2, 2)).tolist(), sigma=uniform(0.2, 0.6, 2).tolist(), dimension=d
        ),
        "Riesz gas": lambda: kspde.RieszGas(strength=uniform(0.2, 1.0), dimension=3, s=1.0),
        "volatility": lambda: kspde.DensityDependentVolatility(
            driver=kspde.LinearDriver(a=uniform(1, 4), b=uniform(1, 4))
        ),
        "signal-dependent": lambda: kspde.SignalDependentKellerSegel(chi=uniform(1, 20)),
        "local sensing": lambda: kspde.LocalSensing(chi=uniform(1, 8), motility=kspde.AlgebraicMotility(k=2.0)),
        "Keller-Segel": lambda: kspde.KellerSegel(chi=uniform(0.5, 4), mu=1.0),
        "Keller-Segel, mu = 0": lambda: kspde.KellerSegel(chi=uniform(0.5, 4)),
        "Keller-Segel, tau = 1": lambda: kspde.KellerSegel(chi=uniform(0.5, 4), mu=1.0, tau=1.0),
        "Landau": lambda: kspde.LandauMaxwell(rate=uniform(0.2, 1.0)),
        "vortices": lambda: kspde.ViscousVortices(viscosity=uniform(0.05, 0.5)),
    }
    names = {
        1: ("cross-diffusion", "log gas", "SKT", "volatility"),
        2: (*(name for name in models if name not in ("Riesz gas", "volatility")),),
        3: ("cross-diffusion", "Riesz gas"),
    }
    name = str(choice(names[d]))
    model = models[name]()
    u0 = mixture() if len(model.species) == 1 else {one: mixture() for one in model.species}
    problem: dict[str, Any] = {"model": model, "u0": u0, "t_end": float(choice([0.1, 0.3, 1.0]))}
    if d < 3 and name not in ("Landau", "volatility") and rng.random() < 0.4:
        problem["eps"] = uniform(0.2, 0.6)
    kind, half = str(choice(["adaptive", "adaptive", "rosenbrock", "positive-2", "positive"])), uniform(4.0, 8.0)
    scheme: dict[str, Any] = {"scheme": kind}
    if kind in ("positive-2", "positive"):
        degree, scheme["dt"] = 1, float(choice([0.02, 0.01, 0.005]))
    else:
        degree, scheme["tol"] = int(choice([1, 2, 3, 4, 5, 6, 8])), 10 ** uniform(-7, -3)
    cells = max(4, int(uniform(0.5, 1.0) * {1: 200, 2: 90, 3: 36}[d]) // degree)
    shape = str(choice(["decay", "decay", "decay", "neumann", "periodic", "disk"]))
    walls = name not in ("Keller-Segel, mu = 0", "log gas", "vortices", "Riesz gas", "Landau")
    if shape == "disk" and d == 2 and name != "Landau":
        sizes = (uniform(0.2, 0.35), uniform(0.4, 0.8)) if degree == 1 else (0.3 * degree, 0.35 * degree)
        cell: Any = "triangle" if degree == 1 else "quadrilateral"
        return (
            name,
            problem,
            kspde.Disk(radius=half, size=sizes[0], rim_size=sizes[1], cell=cell, degree=degree),
            scheme,
        )
    boundary: Any = shape if walls and shape != "disk" else "decay"
    box = kspde.Box(
        half_width=half, cells=cells, degree=degree, dimension=d, grading=uniform(0, 2.5), boundary=boundary
    )
    return name, problem, box, scheme


def reference(problem: dict[str, Any], domain: Any) -> Any:
    """Solve by the finer method."""
    d = problem["model"].dimension
    mesh: dict[str, Any] = {"cells": {1: 40, 2: 16, 3: 6}[d], "degree": {1: 8, 2: 8, 3: 6}[d], "dimension": d}
    if domain.boundary == "decay":
        box = kspde.Box(half_width=1.5 * float(np.max(domain.bounds)), grading=2.0, **mesh)
    else:
        box = kspde.Box(half_width=domain.half_width, grading=domain.grading, boundary=domain.boundary, **mesh)
    return kspde.solve(domain=box, tol=1e-8, **problem)


def row(k: int, known: dict[int, tuple[float, float]]) -> list[Any]:
    """Return a case's line: what it is, and estimates and errors relative to the mass and the maximum.

    Args:
        k: the case.
        known: by case, its errors where they are known.
    """
    name, problem, domain, scheme = drawn(k)
    start = time.process_time()
    pde = kspde.solve(domain=domain, on_blow_up="ignore", **problem, **scheme)
    middle = time.process_time()
    estimate = pde.error
    seconds = middle - start, time.process_time() - middle
    units = sum(abs(m) for m in pde.masses.values()), float(np.max(pde.diagnostics["maximum"][-1]))
    if k in known:
        errors = known[k][0] * units[0], known[k][1] * units[1]
    else:
        exact = reference(problem, domain)
        points, weights = sampled(pde.knots[-1].system.space, 4)
        difference = np.array([pde.evaluate(points, one) - exact.evaluate(points, one) for one in pde.species])
        errors = float((np.abs(difference) @ weights).sum()), float(np.abs(difference).max())
    place = f"Disk {domain.cell}" if isinstance(domain, kspde.Disk) else f"Box, {domain.boundary}"
    control = f"dt = {scheme['dt']:g}" if "dt" in scheme else f"tol = {scheme['tol']:.0e}"
    line: list[Any] = [k, name, domain.dimension, place, domain.degree, f"{scheme['scheme']}, {control}"]
    for part, error, unit in zip((estimate.l1, estimate.maximum), errors, units, strict=True):
        parts = " + ".join(f"{value / unit:.1e}" for value in (part.space, part.time, part.truncation))
        line += [f"{error / unit:.1e}", parts, f"{part.total / error:.2f}" if error else "-"]
    return [*line, f"{seconds[0]:.2f}", f"{seconds[1]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=72)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "density_error.md")
    parser.add_argument("--errors", type=Path)
    arguments = parser.parse_args()
    known: dict[int, tuple[float, float]] = {}
    for line in [] if arguments.errors is None else arguments.errors.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 10 and cells[1].isdigit():
            known[int(cells[1])] = float(cells[7]), float(cells[10])
    warnings.simplefilter("ignore")
    rows, refused = [], 0
    k = arguments.first
    while len(rows) < arguments.cases:
        try:
            rows.append(row(k, known))
            print(*rows[-1], sep=" | ", flush=True)
            arguments.out.write_text(table(rows, refused, len(known)))
        except KspdeError as error:
            refused += 1
            print(k, "is refused:", str(error)[:150], flush=True)
        k += 1


def table(rows: list[list[Any]], refused: int, known: int) -> str:
    """Return the page."""
    heads = (
        "case",
        "model",
        "d",
        "domain",
        "degree",
        "scheme",
        "L1 error",
        "space + time + truncation",
        "estimate/error",
    )
    heads += ("maximum error", "space + time + truncation", "estimate/error", "solve, s", "estimate, s")
    ratios = np.array([[float(one[i]) for i in (8, 11)] for one in rows])
    finite = np.isfinite(ratios).all(axis=1)
    inside = ((ratios >= 0.5) & (ratios <= 10)).all(axis=1)
    solves, estimates = np.array([[float(seconds) for seconds in one[-2:]] for one in rows]).sum(axis=0)
    lines = [
        "# Estimates of the density's error",
        "",
        (__doc__ or "").strip(),
        "",
        f"Of {len(rows)} cases ({refused} more were refused: too much mass outside, or too coarse), "
        f"{int(finite.sum())} have an estimate; in {int(inside.sum())} both ratios lie in [.5, 10]. Their medians are "
        f"{np.median(ratios[finite, 0]):.2f} and {np.median(ratios[finite, 1]):.2f}, the least "
        f"{ratios[finite].min():.2f}, the largest {ratios[finite].max():.1f}. In all, solves took {solves:.0f} s and "
        f"estimates {estimates:.0f} s of processor time, {estimates / solves:.2f} times as long.",
        *(["", "Errors are those of an earlier run (``--errors``)."] if known else []),
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
        *("| " + " | ".join(map(str, one)) + " |" for one in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
