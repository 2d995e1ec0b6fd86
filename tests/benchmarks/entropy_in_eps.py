"""How the entropy bound grows as ε falls, beside the factor that the density gives: writes results/entropy_in_eps.md.

    python tests/benchmarks/entropy_in_eps.py

χ = 8, T = 0.5, three Gaussians, N = 400 and 200 replicas, the same starting points and noise for every ε, so that the
differences are sharper than the values. Half an hour on one core. The study theorem2-eps has smaller ε, and the tilted
bound.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

import kspde
from kspde.distances.statistics import reach_of
from kspde.evidence import entropy_bound_slope

EPS, N, REPLICAS, DT = (0.3, 0.1, 0.03, 0.01), 400, 200, 0.02


def solved(eps: float | None):
    """Return the density, saved more often at the start, where it changes fastest."""
    u0 = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )
    return kspde.solve(
        kspde.SignalDependentKellerSegel(chi=8.0),
        u0,
        kspde.Box(half_width=14.0, cells=24, degree=6),
        t_end=0.5,
        tol=1e-7,
        eps=eps,
        save=kspde.SaveAt(times=0.5 * np.linspace(0, 1, 17) ** 1.5),
    )


def interval(samples: np.ndarray) -> str:
    """Return a mean with its 95 % interval."""
    mean, half = samples.mean(), reach_of(len(samples)) * samples.std(ddof=1) / np.sqrt(len(samples))
    return f"{mean:.4f} [{mean - half:.4f}, {mean + half:.4f}]"


def main() -> None:
    """Measure, and write the table."""
    limit = entropy_bound_slope(solved(None))[-1]
    totals: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for eps in EPS:
        pde = solved(eps)
        for own, found in totals.items():
            bound = kspde.entropy_bound(pde, n=N, dt=DT, replicas=REPLICAS, seed=1, include_self=own)
            found.append(N * bound.samples[:, -1])
    lines = [
        "# The entropy bound in ε",
        "",
        f"χ = 8, T = 0.5, N = {N}, {REPLICAS} replicas, Δt = {DT}; 95 % intervals, those of "
        "the slopes from differences replica by replica.",
        "The factor B of log(1/ε) that `kspde.evidence.entropy_bound_slope` computes from the density of (1.1): "
        f"**{limit:.4f}**.",
        "It is approached without the term j = i; with it, as printed in (1.3), (1/N) log²(1/ε) is not small at this "
        "N.",
        "",
        "| ε | N·H(T) ≤, j = i included | slope from the ε above | N·H(T) ≤, j ≠ i | slope from the ε above |",
        "| --- | --- | --- | --- | --- |",
        f"| {EPS[0]:g} | {interval(totals[True][0])} | | {interval(totals[False][0])} | |",
    ]
    for k, (before, eps) in enumerate(pairwise(EPS)):
        cells = [f"{eps:g}"]
        for found in totals.values():
            cells += [interval(found[k + 1]), interval((found[k + 1] - found[k]) / np.log(before / eps))]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "results" / "entropy_in_eps.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
