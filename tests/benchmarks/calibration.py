"""Do the intervals of ``kspde.compare`` cover what they say they cover, for independent draws from a known density?

Run: ``mpirun -n 2 python -m tests.benchmarks.calibration [--cases NAME ...] [--repetitions 400] [--out FILE]``; about
half an hour in all, or piece by piece, ``--seconds`` each: every repetition done is kept in ``--store``, and the next
call goes on from there. The Markdown table is written from what is in the store.

Two truths are known for draws from a density p:

- the *expectation* of the statistic D(K_h * μ_N, u) at this N and h, which ``distance.l1`` and its like have an
  interval for: here the mean over all repetitions;
- D(K_h * p, u), which ``distance.debiased`` estimates: here by quadrature of Gaussian mixtures, whose smoothing is
  exact (the energy distance: closed forms).

Draws may be pairs of position and weight: of random weights, of weights that make a wider law the right one
(importance), or of either sign, for a signed density or its L¹ distance per total variation.

The bandwidth is fixed within a case, at what ``compare`` chooses for it. Csiszár, Kullback and Pinsker's inequality is
asked of every pair of numbers reported (:func:`contradictions`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import kspde
from kspde.distances import Distance, compare

sys.path.insert(0, str(Path(__file__).parents[1] / "distances"))
from compare_standins import KnownCloud, KnownDensity, draws

LINE = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-1,), (1.5,)), stds=(0.6, 1))
PLANE = kspde.GaussianMixture(
    weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
)
OPPOSITE = kspde.SignedMixture(circulations=(1.0, -1.0), means=((-1,), (1.5,)), stds=(0.6, 1))
VORTICES = kspde.SignedMixture(
    circulations=(1.0, -1.0, 0.5), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
)
GRID = ("l1", "l2", "relative_entropy", "reverse_relative_entropy")
POINTS = ("wasserstein1", "wasserstein2", "energy", "relative_entropy_knn")


WEIGHTED = (*GRID, *POINTS[:3])


@dataclass(frozen=True, kw_only=True)
class Setting:
    """N draws, from u shifted in the first coordinate, compared with u; seeds follow the number of the repetition."""

    density: kspde.GaussianMixture | kspde.SignedMixture
    n: int
    weights: str = ""  # "random", "importance", "signed", or "both" signs whatever the place
    shift: float = 0.0
    r: int = 1
    clouds: int = 1
    first: int = 0  # repetition
    distances: tuple[str, ...] = GRID + POINTS
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def law(self) -> kspde.GaussianMixture | kspde.SignedMixture:
        u = self.density
        if isinstance(u, kspde.SignedMixture):
            means = u.means + self.shift * np.eye(u.dimension)[0]
            return kspde.SignedMixture(circulations=u.circulations, means=means, stds=u.stds)
        means = u.means + self.shift * np.eye(u.dimension)[0]
        return kspde.GaussianMixture(weights=u.weights, means=means, stds=u.stds)

    def compare(self, repetition: int, bandwidth: float | None) -> Distance:
        pde = KnownDensity(density=self.density, half_width=9, comm=MPI.COMM_SELF)
        law, k = self.law, self.clouds
        repetition += self.first
        clouds = [self._cloud(law, 1_000 * (k * repetition + i) + 7, pde) for i in range(k)]
        return compare(
            pde,
            clouds,
            r=self.r,
            distances=self.distances,
            seed=repetition,
            bandwidth=bandwidth,
            **dict(self.options),
        )

    def _cloud(self, law: Any, seed: int, pde: KnownDensity) -> KnownCloud:
        random, n, weights = np.random.default_rng(seed + 1), self.n, np.empty(0)
        if self.weights == "signed":
            sizes = np.abs(law.circulations)
            chosen = random.choice(len(sizes), size=n, p=sizes / sizes.sum())
            points = law.means[chosen] + law.stds[chosen, None] * random.standard_normal((n, law.dimension))
            weights = np.sign(law.circulations[chosen]) * sizes.sum() / n
        elif self.weights == "importance":
            wide = kspde.GaussianMixture(weights=law.weights, means=law.means, stds=1.3 * law.stds)
            points = draws(wide, n, seed)
            weights = law(points) / wide(points) / n
        else:
            points = draws(law, n, seed)
            if self.weights == "random":
                weights = random.lognormal(size=n)
                weights /= weights.sum()
            elif self.weights == "both":
                weights = np.where(np.arange(n) < 0.7 * n, 1.0, -1.0) * law.mass / (0.4 * n)
        if not self.weights:
            return KnownCloud(points, pde)
        return KnownCloud(points, pde, masses={"u": float(weights.sum())}, weights_of=lambda species: weights)


#: Repetitions between two looks at the clock.
_BATCH = 10

PAIRS = ("wasserstein1", "energy", "relative_entropy_knn")
EXACT: Mapping[str, Any] = {
    "distances": ("wasserstein1", "wasserstein2"),
    "options": (("wasserstein", "exact"),),
}
CASES: Mapping[str, Setting] = {
    "line, p = u": Setting(density=LINE, n=1000),
    "line, p near u": Setting(density=LINE, n=1000, shift=0.1),
    "line, p far from u": Setting(density=LINE, n=1000, shift=0.5),
    "line, N = 100": Setting(density=LINE, n=100),
    "line, 8 clouds": Setting(density=LINE, n=500, clouds=8, distances=(*GRID, *POINTS[:3])),
    "plane, p = u": Setting(density=PLANE, n=300),
    "plane, p near u": Setting(density=PLANE, n=300, shift=0.2),
    "plane, p far from u": Setting(density=PLANE, n=300, shift=0.6),
    "plane, exact transport, p = u": Setting(density=PLANE, n=60, **EXACT),
    "plane, exact transport, p near u": Setting(density=PLANE, n=60, shift=0.5, **EXACT),
    "line, random weights, p = u": Setting(density=LINE, n=1000, weights="random", distances=WEIGHTED),
    "line, importance, p = u": Setting(density=LINE, n=1000, weights="importance", distances=WEIGHTED),
    "plane, random weights, p = u": Setting(density=PLANE, n=600, weights="random", distances=WEIGHTED),
    "plane, importance, p near u": Setting(density=PLANE, n=300, weights="importance", shift=0.2, distances=WEIGHTED),
    "line, signed, p = u": Setting(density=OPPOSITE, n=1000, weights="signed", distances=("l1",)),
    "line, both signs in one place, p = u": Setting(density=LINE, n=1000, weights="both", distances=("l1",)),
    "plane, signed, p = u": Setting(density=VORTICES, n=500, weights="signed", distances=("l1",)),
    "plane, signed, p near u": Setting(density=VORTICES, n=500, shift=0.2, weights="signed", distances=("l1",)),
    "plane, both signs in one place, p = u": Setting(density=PLANE, n=500, weights="both", distances=("l1",)),
    "pairs on the line, p = u": Setting(density=LINE, n=600, r=2),
    "pairs on the line, p near u": Setting(density=LINE, n=600, r=2, shift=0.15),
    # The first 400 of these vary more than they should by chance: are others nearer to 95 %?
    "pairs on the line, p near u, others": Setting(density=LINE, n=600, r=2, shift=0.15, first=400, distances=GRID),
    "pairs in the plane, p = u": Setting(density=PLANE, n=300, r=2, distances=PAIRS),
    "pairs in the plane, p near u": Setting(density=PLANE, n=300, r=2, shift=0.25, distances=PAIRS),
}


def mixture_at(u: kspde.GaussianMixture | kspde.SignedMixture, axes: list[np.ndarray], h: float) -> np.ndarray:
    """Return K_h * u on a tensor grid."""
    if isinstance(u, kspde.SignedMixture):
        smooth: Any = kspde.SignedMixture(circulations=u.circulations, means=u.means, stds=np.hypot(u.stds, h))
    else:
        smooth = kspde.GaussianMixture(weights=u.weights, means=u.means, stds=np.hypot(u.stds, h))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return smooth(points.reshape(-1, len(axes))).reshape(points.shape[:-1])


def mean_distance(p: kspde.GaussianMixture, q: kspde.GaussianMixture, r: int) -> float:
    """Return E|X − Y| for independent X, Y of laws p^{⊗r}, q^{⊗r}."""
    # |z| = (1/(2√π)) ∫_0^∞ (1 − exp(−s z²)) s^{−3/2} ds; the mean of exp(−s|Z|²) factorises over the r parts.
    x = np.linspace(-40, 40, 4001)
    s = np.exp(x)
    pair = np.zeros_like(s)
    d = p.dimension
    for a, m, v in zip(p.weights, p.means, p.stds**2, strict=True):
        for b, m2, v2 in zip(q.weights, q.means, q.stds**2, strict=True):
            spread = 1 + 2 * s * (v + v2)
            pair += a * b * np.exp(-s * np.sum((m - m2) ** 2) / spread) * spread ** (-d / 2)
    return float(np.sum((1 - pair**r) / np.sqrt(s)) * (x[1] - x[0]) / (2 * np.sqrt(np.pi)))


def truths(setting: Setting, h: float | None) -> dict[str, float]:
    """Return D(K_h * p, u) by quadrature."""
    u, p, r = setting.density, setting.law, setting.r
    if isinstance(u, kspde.SignedMixture):
        axes = [np.linspace(-9, 9, 801)] * u.dimension
        values = mixture_at(u, axes, 0.0)
        return {"l1": float(np.abs(mixture_at(p, axes, h or 0.0) - values).sum() / np.abs(values).sum())}
    out = {"energy": 2 * mean_distance(p, u, r) - mean_distance(p, p, r) - mean_distance(u, u, r)}
    points = 3001 if u.dimension == 1 and r == 1 else 801
    axes = [np.linspace(-9, 9, points)] * u.dimension
    volume = (axes[0][1] - axes[0][0]) ** u.dimension
    v = mixture_at(u, axes, 0.0)
    if h is not None:
        k = mixture_at(p, axes, h)
        if r == 2:
            k, v, volume = np.multiply.outer(k, k), np.multiply.outer(v, v), volume**2
        out["l1"] = float(np.abs(k - v).sum() * volume)
        out["l2"] = float(np.sqrt(((k - v) ** 2).sum() * volume))
        out["relative_entropy"] = float(np.sum(k * np.log(k / v)) * volume)
        out["reverse_relative_entropy"] = float(np.sum(v * np.log(v / k)) * volume)
    return out


def contradictions(d: Distance) -> np.ndarray:
    """Return how many pairs of an L¹ distance and a relative entropy were reported, and how many have L¹ > √(2H).

    First of the same two densities: the values, the floors, what smoothing alone does, what is left without noise, and
    of each the lower end of L¹ with the upper end of H. Then the entropy from neighbours, which estimates with noise of
    its own: its upper end with the lower end of the L¹ distance without noise.
    """
    counts = np.zeros((2, 2), dtype=int)
    if "l1" not in d.by_name or GRID[2] not in d.by_name:
        return counts
    pairs = []
    for name in GRID[2:]:
        for table in (d, d.floor, d.debiased):
            pairs += [(table.l1.value, table[name].value), (table.l1.interval[0], table[name].interval[1])]
        pairs.append((d.smoothing["l1"], d.smoothing[name]))
    other = [(d.debiased.l1.interval[0], e.interval[1]) for name, e in d.by_name.items() if name == POINTS[3]]
    for i, each in enumerate((pairs, other)):
        counts[i] = len(each), sum(l1 > 0 and l1**2 > 2 * h * (1 + 1e-9) + 1e-12 for l1, h in each)
    return counts


def calibrate(setting: Setting, record: dict[str, Any], repetitions: int, until: float, comm: MPI.Comm) -> None:
    """Add repetitions to a case's record until there are enough, or until a time. Collective."""
    begin = time.perf_counter()
    if not record:
        record |= {
            "bandwidth": setting.compare(0, None).bandwidth,
            "seconds": 0.0,
            "pairs": [[0, 0], [0, 0]],
            "rows": [],
        }
    rows = record["rows"]
    while len(rows) < repetitions and comm.bcast(time.perf_counter() < until):
        first = len(rows)
        mine, pairs = [], np.zeros((2, 2), dtype=int)
        for repetition in range(first + comm.rank, min(first + _BATCH, repetitions), comm.size):
            d = setting.compare(repetition, record["bandwidth"])
            pairs += contradictions(d)
            mine.append(
                {
                    name: (e.value, *e.interval, *d.floor[name].interval, *_pair(d.debiased.by_name.get(name)))
                    for name, e in d.by_name.items()
                }
            )
        rows += [row for part in comm.allgather(mine) for row in part]
        record["pairs"] = (comm.allreduce(pairs) + record["pairs"]).tolist()
    record["seconds"] += time.perf_counter() - begin


def summary(setting: Setting, record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the rows of one case's table."""
    rows = record["rows"]
    exact = truths(setting, record["bandwidth"])
    table = {}
    for name in rows[0]:
        value, low, high, floor_low, floor_high, bare, bare_low, bare_high = np.array([row[name] for row in rows]).T
        mean = float(value.mean())
        entry = {
            "mean": mean,
            "deviation": float(value.std(ddof=1)),
            "width": float(np.mean(high - low)),
            "too high": float(np.mean(low > mean)),
            "too low": float(np.mean(high < mean)),
            "in floor": float(np.mean((floor_low <= value) & (value <= floor_high))),
        }
        if name in exact and np.all(np.isfinite(bare)):
            entry["exact"] = exact[name]
            entry["debiased"] = float(bare.mean())
            entry["covered exact"] = float(np.mean((bare_low <= exact[name]) & (exact[name] <= bare_high)))
        table[name] = entry
    return table


def together(case: str, store: Mapping[str, Any]) -> list[str]:
    """Return what a case that goes on from another's repetitions shows together with that."""
    setting = CASES[case]
    begun = next(name for name, other in CASES.items() if replace(setting, first=0, distances=other.distances) == other)
    if begun not in store:
        return []
    rows = [*store[begun]["rows"][: setting.first], *store[case]["rows"]]
    both = summary(setting, {**store[case], "rows": [{name: row[name] for name in setting.distances} for row in rows]})
    return [
        f"With the first {setting.first} of *{begun}*, {len(rows)} repetitions in all, covered and covered exact: "
        + "; ".join(
            f"{name} {1 - e['too high'] - e['too low']:.3f} and {e['covered exact']:.3f}" for name, e in both.items()
        )
        + f". The standard error of a share of .95 is {np.sqrt(0.95 * 0.05 / len(rows)):.3f}."
    ]


def _pair(estimate: Any) -> tuple[float, float, float]:
    return (np.nan, np.nan, np.nan) if estimate is None else (estimate.value, *estimate.interval)


def report(store: Mapping[str, Any]) -> str:
    """Return the Markdown table of the cases in the store."""
    pairs = np.sum([content["pairs"] for content in store.values()], axis=0)
    lines = [
        "# Calibration of the intervals",
        "",
        "Written by `python -m tests.benchmarks.calibration`. N independent draws from p are compared",
        "with u; 95 % intervals. *covered*: share of repetitions whose interval holds the statistic's expectation;",
        "*above, below*: share of those that lie above and below it;",
        "*in floor*: share of values inside their floor's interval (95 % is right where p = u);",
        "*exact*: D(K_h * p, u) by quadrature; *debiased*: the mean of its estimates; *covered exact*: share of",
        "intervals that hold it. The standard error of a share of .95 in 400 is .011.",
        "",
        f"Pairs of L1 and relative entropy reported: {pairs[0, 0]}, of which {pairs[0, 1]} contradict Csiszár,",
        f"Kullback and Pinsker. Of the entropy from neighbours, with noise of its own, {pairs[1, 1]} of {pairs[1, 0]}",
        "intervals lie below what the lower end of the L1 distance without noise implies.",
    ]
    for case in (name for name in CASES if name in store):
        content, setting = store[case], CASES[case]
        h = "" if content["bandwidth"] is None else f", h = {content['bandwidth']:.3g}"
        lines += [
            "",
            f"## {case}",
            "",
            f"N = {setting.n}{h}, shift {setting.shift:g}, "
            f"{len(content['rows'])} repetitions, {content['seconds']:.0f} s",
            "",
            "| distance | mean | its deviation | mean width | covered | above, below | in floor "
            "| exact | debiased | covered exact |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, e in summary(setting, content).items():
            bare = f"{e['exact']:.4g} | {e['debiased']:.4g} | {e['covered exact']:.3f}" if "exact" in e else " | | "
            covered = 1 - e["too high"] - e["too low"]
            lines.append(
                f"| {name} | {e['mean']:.4g} | {e['deviation']:.2g} | {e['width']:.2g} "
                f"| {covered:.3f} | {e['too high']:.3f}, {e['too low']:.3f} | {e['in floor']:.3f} | {bare} |"
            )
        if setting.first:
            lines += ["", *together(case, store)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after about so many")
    parser.add_argument("--store", type=Path, default=Path("calibration.json"), help="results of the cases so far")
    parser.add_argument("--out", type=Path, default=Path("calibration.md"), help="the table")
    arguments = parser.parse_args()
    comm = MPI.COMM_WORLD
    store = json.loads(arguments.store.read_text()) if arguments.store.exists() else {}
    until = time.perf_counter() + arguments.seconds
    for case in arguments.cases:
        calibrate(CASES[case], store.setdefault(case, {}), arguments.repetitions, until, comm)
        if comm.rank == 0:
            arguments.store.write_text(json.dumps(store))
            arguments.out.write_text(report({case: record for case, record in store.items() if record["rows"]}))
            print(case, len(store[case]["rows"]), flush=True)


if __name__ == "__main__":
    main()
