r"""The distance between a density and particles: what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kspde.distances.grid import Array
from kspde.distances.over_time import OverTime
from kspde.distances.statistics import Estimate
from kspde.errors import InputError

__all__ = ["NAMES", "Distance", "Estimates", "Floor"]

#: How the distances are called in print.
NAMES = {
    "l1": "L1 distance",
    "l2": "L2 distance",
    "relative_entropy": "relative entropy",
    "reverse_relative_entropy": "reverse relative entropy",
    "wasserstein1": "Wasserstein-1",
    "wasserstein2": "Wasserstein-2",
    "energy": "energy distance",
    "relative_entropy_knn": "relative entropy (neighbours)",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Numbers by the name of a distance, each with its 95 % interval.

    Attributes:
        by_name: the estimates; the properties give them one by one.
    """

    by_name: Mapping[str, Estimate]

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of one distance.

        Raises:
            InputError: it was not measured.
        """
        if name not in self.by_name:
            raise InputError(f"{name} was not measured: give distances = (..., {name!r}) to compare")
        return self.by_name[name]

    @property
    def l1(self) -> Estimate:
        r""":math:`\int |k - u|`."""
        return self["l1"]

    @property
    def l2(self) -> Estimate:
        r""":math:`(\int (k - u)^2)^{1/2}`."""
        return self["l2"]

    @property
    def relative_entropy(self) -> Estimate:
        r""":math:`H(k|u) = \int k \log(k/u)`."""
        return self["relative_entropy"]

    @property
    def reverse_relative_entropy(self) -> Estimate:
        r""":math:`H(u|k) = \int u \log(u/k)`."""
        return self["reverse_relative_entropy"]

    @property
    def wasserstein1(self) -> Estimate:
        """W_1 of μ_N and u: itself in one dimension, or by optimal plans; sliced otherwise."""
        return self["wasserstein1"]

    @property
    def wasserstein2(self) -> Estimate:
        """W_2, likewise."""
        return self["wasserstein2"]

    @property
    def energy(self) -> Estimate:
        """The energy distance 2E|X − Y| − E|X − X'| − E|Y − Y'| of μ_N and u, a squared metric."""
        return self["energy"]

    @property
    def relative_entropy_knn(self) -> Estimate:
        """H(p|u) from nearest neighbours: a second opinion, with neither grid nor bandwidth; may be negative."""
        return self["relative_entropy_knn"]

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        return {name: estimate.summary() for name, estimate in self.by_name.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Floor(Estimates):
    """The distances that as many independent draws from the density itself have from it.

    Values are means over the replicas; an interval holds one more such cloud's with probability 95 %.

    Attributes:
        replicas: how many clouds were drawn.
    """

    replicas: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Distance(Estimates):
    r"""How far the particles are from the density u, both of mass 1.

    Three numbers answer three questions. A **value** is that of the statistic, D(k, u) with
    :math:`k = K_h * \mu_N` (or with μ_N itself where nothing is smoothed); its interval is for the statistic's
    expectation at this N and h. Its **floor** is the same for independent draws from u. The **debiased** value
    estimates D(K_h * p, u), p the particles' own law: what is left for N → ∞ at this h, of which ``smoothing`` is due
    to K_h.

    Attributes:
        floor: for independent draws from u: a distance inside the floor's interval is not resolved.
        debiased: the distances without the particles' noise; none for Wasserstein distances and nearest neighbours.
        smoothing: D(K_h * u, u) by name: what smoothing alone does to u.
        bandwidth: h; None where no density was estimated.
        clipped_mass: share of k where u was below ``clip_level`` times its maximum and raised to it.
        uncovered_mass: share of u where k was: there H(u|k) says what the level says.
        clip_level: that fraction.
        axes: coordinates of the common grid; empty where no density was estimated, as the next two.
        density_pde: u/mass on it.
        density_particles: k on it.
        species: the species compared.
        mass: its mass, which both densities are divided by.
        r: 1 for the density of one particle, 2 for that of a pair against u ⊗ u.
        n: N.
        clouds: how many clouds' mean was compared.
        wasserstein: how Wasserstein distances were computed: "line", "sliced" or "exact".
        neighbours: k of the nearest-neighbour estimate.
        eps: ε of both, or None.
        t_end: the time.
        seed: seed of the draws.
        comm: the communicator.
        over_time: the distances at several times, if they were asked for.
        warnings: what Python's ``warnings`` were given on the way, line by line.
    """

    floor: Floor
    debiased: Estimates
    smoothing: Mapping[str, float]
    bandwidth: float | None
    clipped_mass: float | None
    uncovered_mass: float | None
    clip_level: float
    axes: tuple[Array, ...]
    density_pde: Array
    density_particles: Array
    species: str
    mass: float
    r: int
    n: int
    clouds: int
    wasserstein: str
    neighbours: int
    eps: float | None
    t_end: float
    seed: int
    comm: Any
    over_time: OverTime | None = None
    warnings: tuple[str, ...] = ()

    @property
    def bandwidth_bias(self) -> float:
        r""":math:`\int |K_h * u - u|`, what smoothing alone does to u in L¹."""
        self["l1"]
        return self.smoothing["l1"]

    @property
    def above_floor(self) -> bool:
        """Whether the first distance (L¹ by default) exceeds its floor's interval."""
        return self.is_above_floor(next(iter(self.by_name)))

    def is_above_floor(self, name: str) -> bool:
        """Return whether a distance exceeds its floor's interval: independent draws do so once in forty times."""
        return self[name].value > self.floor[name].interval[1]

    def __str__(self) -> str:
        """Return the distances beside their floors, in a few lines."""
        lines = []
        for name, estimate in self.by_name.items():
            verdict = "above its floor" if self.is_above_floor(name) else "not above its floor"
            lines.append(f"{NAMES[name]:<28}{estimate}, floor {self.floor[name]}: {verdict}")
        if self.bandwidth is not None:
            moved = f"which alone moves the density by {self.bandwidth_bias:.4g} in L1"
            lines.append(f"{'bandwidth':<28}{self.bandwidth:.4g}, {moved}")
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Write a picture (PNG, or what the suffix says): both densities and their difference. Collective.

        Raises:
            InputError: no densities were estimated, or the file cannot be written.
        """
        from kspde.distances.pictures import plot_distance

        if self.bandwidth is None:
            raise InputError("no densities were estimated: give distances = ('l1', ...) to compare, with r d <= 3")
        plot_distance(self, path)

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        return {
            "species": self.species,
            "mass": self.mass,
            "r": self.r,
            "n": self.n,
            "clouds": self.clouds,
            "eps": self.eps,
            "t_end": self.t_end,
            **super().summary(),
            "floor": {**self.floor.summary(), "replicas": self.floor.replicas, "seed": self.seed},
            "debiased": self.debiased.summary(),
            "above_floor": {name: self.is_above_floor(name) for name in self.by_name},
            "smoothing": dict(self.smoothing),
            "bandwidth": self.bandwidth,
            "clipped_mass": self.clipped_mass,
            "uncovered_mass": self.uncovered_mass,
            "clip_level": self.clip_level,
            "wasserstein": self.wasserstein,
            "neighbours": self.neighbours,
            "grid": [len(axis) for axis in self.axes],
            "warnings": list(self.warnings),
            **({} if self.over_time is None else {"over_time": self.over_time.summary()}),
        }
