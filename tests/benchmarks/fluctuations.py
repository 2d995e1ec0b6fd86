"""N·Var of linear statistics by the adjoint equation, beside particles with mean-field particles as control variates.

Run as ``python tests/benchmarks/fluctuations.py``; it writes results/fluctuations.md in five minutes. With the argument
``remainder`` it writes results/fluctuations_in_n.md in three: the terms of order 1/N of (1.1) in the plane, that of
j = i among them, and those of order Δt.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import quad

import kspde
from kspde.evidence.ensemble import Ensemble

N, RUNS = 120, 2400
#: Of the second table: the numbers of particles with their steps and whether j = i counts, the runs, and their seed.
BLOCKS = (
    *((n, dt, False) for n, dt in ((15, 0.1), (15, 0.05), (15, 0.02), (30, 0.02), (30, 0.01), (60, 0.02))),
    (30, 0.02, True),
)
MORE_RUNS, SEED = 16_000, 2
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


@dataclass(frozen=True, kw_only=True)
class WithOwnShare(kspde.SignalDependentKellerSegel):
    """(1.1) with a constant added to the signal in D."""

    share: float

    def diffusion(self, species, c):
        return 1 + np.exp(-(c["v"] + self.share))


#: By name: the model, the mass, T, the step and ε.
SYSTEMS = {
    "(1.1) on a line, χ = 8": (OnALine(chi=8.0), 1.0, 0.25, 0.005, 0.3),
    "(1.1) in the plane, χ = 20": (kspde.SignalDependentKellerSegel(chi=20.0), 1.0, 0.5, 0.01, 0.3),
    "Keller-Segel, χ = 6": (kspde.KellerSegel(chi=6.0), 1.0, 0.5, 0.01, 0.3),
    "vortices, ν = .1, mass 6": (kspde.ViscousVortices(viscosity=0.1), 6.0, 0.5, 0.01, 0.3),
    "log gas, g = 1.5, σ = .3": (kspde.LogGas(strength=1.5, noise=0.3), 1.0, 0.5, 0.01, 0.3),
}


def measured(pde, phis, dt, n=N, own_share=True, runs=RUNS, seed=0):
    """Return N Var X, N(Var X − Var X̄) and Var φ(X_1) − Var φ(X̄_1) with standard errors, shape (3, 2, statistics)."""
    ensemble = Ensemble(pde=pde, n=n, dt=dt, replicas=runs, seed=seed, coupled=True, include_self=own_share)
    ensemble.run()
    squares, spreads = [], []
    for system in (ensemble.systems["particles"], ensemble.systems["mean_field"]):
        values = np.stack([pde.masses["u"] * phi(system.positions["u"]).reshape(runs, n) for phi in phis])
        centred = values - values.mean(axis=(1, 2), keepdims=True)
        squares.append(n * centred.mean(axis=2) ** 2)
        spreads.append(np.square(centred).mean(axis=2))
    samples = np.stack([squares[0], squares[0] - squares[1], spreads[0] - spreads[1]]) * runs / (runs - 1)
    return np.stack([samples.mean(axis=2), samples.std(axis=2, ddof=1) / np.sqrt(runs)], axis=1)


def solved(model, mass, t_end, eps):
    d = model.dimension
    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=MEANS[d], stds=[0.6, 0.5], mass=mass)
    size = {1: {"half_width": 9.0, "cells": 36, "degree": 8}, 2: {"half_width": 11.0, "cells": 22, "degree": 6}}
    save = kspde.SaveAt(times=np.linspace(0, t_end, 33))
    return kspde.solve(model, u0, kspde.Box(dimension=d, **size[d]), t_end=t_end, eps=eps, tol=1e-7, save=save)


def lines():
    for name, (model, mass, t_end, dt, eps) in SYSTEMS.items():
        pde, phis = solved(model, mass, t_end, eps), STATISTICS[model.dimension]
        (own, own_error), (added, error), _ = measured(pde, phis.values(), dt)
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
those of a particle's own share in its field, which fluctuations_in_n.md computes.
                       N·Var X   particles             N(Var X − Var X̄)      particles            off by
"""


def remainder():
    """Set N(Var X − Var X̄) of several N beside the limit, and the limit with the own share of a particle."""
    model, mass, t_end, _, eps = SYSTEMS["(1.1) in the plane, χ = 20"]
    own_field = quad(lambda k: k * model.chi / (1 + k * k) * np.exp(-((eps * k) ** 2) / 2), 0, 60)[0] / (2 * np.pi)
    pde, phis = solved(model, mass, t_end, eps), STATISTICS[2]
    limits = [kspde.fluctuations(pde, phi) for phi in phis.values()]
    about = f"{MORE_RUNS} runs of seed {SEED}"
    yield f"(1.1) in the plane, χ = 20, T = {t_end}, ε = {eps}, Φ^ε(0) = {own_field:.4f}, {about}"
    powers, relative, errors = [], [], []
    for n, dt, own_share in BLOCKS:
        shifted = solved(WithOwnShare(chi=model.chi, share=own_field / n), mass, t_end, eps) if own_share else pde
        _, (added, error), (one, _) = measured(pde, phis.values(), dt, n, own_share, MORE_RUNS, SEED)
        if not own_share:
            powers.append((1 / n, dt / t_end))
            relative.append([a / each.interaction - 1 for a, each in zip(added, limits, strict=True)])
            errors.append([e / each.interaction for e, each in zip(error, limits, strict=True)])
        yield f"N = {n}, steps of {dt}, {'j = i included' if own_share else 'j ≠ i'}"
        for k, (word, phi) in enumerate(phis.items()):
            limit = limits[k].interaction
            finite = kspde.fluctuations(shifted, phi).variance - limits[k].mean_field_share if own_share else limit
            yield (
                f"   {word:17s} {limit:9.5f}   {finite:9.5f}   {added[k]:9.5f} ± {error[k]:.5f}   "
                f"{(added[k] - limit) / error[k]:5.1f}   {(added[k] - finite) / error[k]:5.1f}   "
                f"{n * (added[k] / limit - 1):6.2f} ± {n * error[k] / limit:.2f}   {n * one[k] / limit:6.2f}"
            )
    yield "All rows of j ≠ i: (a/N + b Δt/T) times the limit, by weighted least squares"
    for word, y, error in zip(phis, np.transpose(relative), np.transpose(errors), strict=True):
        scaled = np.array(powers) / error[:, None]
        found, (left,), *_ = np.linalg.lstsq(scaled, y / error)
        (a, b), (da, db) = found, np.sqrt(np.diag(np.linalg.inv(scaled.T @ scaled)))
        yield f"   {word:17s} a = {a:.2f} ± {da:.2f}, b = {b:.2f} ± {db:.2f}, χ² = {left:.1f} for {len(y) - 2} degrees"


REMAINDER = """N(Var X − Var X̄) of particles of (1.1) by Euler's steps beside its limit (kspde.fluctuations), and
beside the limit with the term of order 1/N that j = i has: D(v + Φ^ε(0)/N) in place of D(v) for X, while X̄ is as
before. Then the differences from the particles (± standard error), in standard errors; the relative difference from the
limit, times N; and what one particle has of it, Var φ(X_1) − Var φ(X̄_1): the rest is covariance.
                         limit   with j = i    particles              off by, with j = i   N × rel. diff.  one particle
"""

if __name__ == "__main__":
    if sys.argv[1:] == ["remainder"]:
        name, text, made = "fluctuations_in_n", REMAINDER, remainder()
    else:
        name, text, made = "fluctuations", HEAD, lines()
    for line in made:
        print(line, flush=True)
        text += line + "\n"
    (Path(__file__).parent / "results" / f"{name}.md").write_text(text, encoding="utf-8")
