"""N·Var of linear statistics by the adjoint equation, beside particles with mean-field particles as control variates.

Run as ``python tests/benchmarks/fluctuations.py``; it writes results/fluctuations.md in five minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import kspde
from kspde.evidence.ensemble import Ensemble

N, RUNS = 120, 2400
MEANS = {1: [[-0.8], [0.9]], 2: [[-0.8, 0.3], [0.9, 0.4]]}
STATISTICS = {
    1: {
        "cos(6πx/18)": lambda x: np.cos(6 * np.pi * x[:, 0] / 18),
        "e^(−x²/2)": lambda x: np.exp(-(x[:, 0] ** 2) / 2),
        "x²e^(−x²/18)": lambda x: x[:, 0] ** 2 * np.exp(-(x[:, 0] ** 2) / 18),
    },
    2: {
        "cos(x + y/2)": lambda x: np.cos(x[:, 0] + 0.5 * x[:, 1]),
        "e^(−|x − a|²)": lambda x: np.exp(-((x[:, 0] - 0.9) ** 2) - (x[:, 1] - 0.4) ** 2),
        "|x|²e^(−|x|²/18)": lambda x: np.sum(x * x, axis=1) * np.exp(-np.sum(x * x, axis=1) / 18),
    },
}


@dataclass(frozen=True, kw_only=True)
class OnALine(kspde.SignalDependentKellerSegel):
    """(1.1) in one dimension."""

    dimension: int = 1


#: By name: the model, the mass, T, the step and ε.
SYSTEMS = {
    "(1.1) on a line, χ = 8": (OnALine(chi=8.0), 1.0, 0.25, 0.005, 0.3),
    "(1.1) in the plane, χ = 20": (kspde.SignalDependentKellerSegel(chi=20.0), 1.0, 0.5, 0.01, 0.3),
    "Keller-Segel, χ = 6": (kspde.KellerSegel(chi=6.0), 1.0, 0.5, 0.01, 0.3),
    "vortices, ν = .1, mass 6": (kspde.ViscousVortices(viscosity=0.1), 6.0, 0.5, 0.01, 0.3),
    "log gas, g = 1.5, σ = .3": (kspde.LogGas(strength=1.5, noise=0.3), 1.0, 0.5, 0.01, 0.3),
}


def measured(pde, phis, dt):
    """Return N Var X and N(Var X − Var X̄) of every statistic with their standard errors, shape (2, 2, statistics)."""
    ensemble = Ensemble(pde=pde, n=N, dt=dt, replicas=RUNS, seed=0, coupled=True)
    ensemble.run()
    own, others = (
        np.stack([pde.masses["u"] * phi(system.positions["u"]).reshape(RUNS, N).mean(axis=1) for phi in phis])
        for system in (ensemble.systems["particles"], ensemble.systems["mean_field"])
    )
    squares = [N * RUNS / (RUNS - 1) * (x - x.mean(axis=1, keepdims=True)) ** 2 for x in (own, others)]
    samples = np.stack([squares[0], squares[0] - squares[1]])
    return np.stack([samples.mean(axis=2), samples.std(axis=2, ddof=1) / np.sqrt(RUNS)], axis=1)


def lines():
    for name, (model, mass, t_end, dt, eps) in SYSTEMS.items():
        d = model.dimension
        u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=MEANS[d], stds=[0.6, 0.5], mass=mass)
        size = {1: {"half_width": 9.0, "cells": 36, "degree": 8}, 2: {"half_width": 11.0, "cells": 22, "degree": 6}}
        save = kspde.SaveAt(times=np.linspace(0, t_end, 33))
        pde = kspde.solve(model, u0, kspde.Box(dimension=d, **size[d]), t_end=t_end, eps=eps, tol=1e-7, save=save)
        phis = STATISTICS[d]
        (own, own_error), (added, error) = measured(pde, phis.values(), dt)
        yield f"{name}, T = {t_end}, ε = {eps}, N = {N}, {RUNS} runs, steps of {dt}"
        for k, (word, phi) in enumerate(phis.items()):
            found = kspde.fluctuations(pde, phi)
            yield (
                f"   {word:17s} {found.variance:9.5f}   {own[k]:9.5f} ± {own_error[k]:.5f}    "
                f"{found.interaction:9.5f} ± {found.error:.0e}   {added[k]:9.5f} ± {error[k]:.5f}   "
                f"{(added[k] - found.interaction) / error[k]:5.1f}"
            )


HEAD = """N·Var X of linear statistics, and N(Var X − Var X̄) with mean-field particles of the same start and noise as
control variates: by the adjoint equation (kspde.fluctuations, ± its own estimate of its error), and of particles
(± standard error). The last column is the difference in standard errors. Terms of order 1/N are left, for (1.1)
those of a particle's own share in its field: without it (include_self=False) they are a fifth, of the other sign.
                       N·Var X   particles             N(Var X − Var X̄)      particles            off by
"""

if __name__ == "__main__":
    out = Path(__file__).parent / "results" / "fluctuations.md"
    text = HEAD
    for line in lines():
        print(line, flush=True)
        text += line + "\n"
    out.write_text(text, encoding="utf-8")
