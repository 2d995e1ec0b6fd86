r"""The distance between two densities, or particles, or one of each: what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kspde.comparable import in_words
from kspde.distances.over_time import OverTime
from kspde.distances.statistics import Estimate
from kspde.distances.target import CLIP
from kspde.errors import InputError
from kspde.grids import Array

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
    """The distances that particles have whose law is the density itself, or which have one law in common.

    Of a density and particles: those of as many independent draws from the density. Of two sets of particles: those
    after all particles were dealt out to the two anew, at random. Of two densities there is none. Values are means over
    the replicas; an interval holds one more such distance with probability 95 %.

    Attributes:
        replicas: how many clouds were drawn.
    """

    replicas: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Distance(Estimates):
    r"""How far two things are apart that are densities or particles, both of mass 1.

    Of a density u and particles, three numbers answer three questions. A **value** is that of the statistic, D(k, u)
    with :math:`k = K_h * \mu_N` (or with μ_N itself where nothing is smoothed); its interval is for the statistic's
    expectation at this N and h. Its **floor** is the same for independent draws from u. The **debiased** value
    estimates D(K_h * p, u), p the particles' own law: what is left for N → ∞ at this h, of which ``smoothing`` is due
    to K_h. Of two sets of particles likewise, with a density estimate in the place of u.

    Of two densities a value is an integral, and its interval the error of the quadrature.

    Attributes:
        kind: "particles" (a density and particles), "densities" or "clouds".
        differs: by name in what the two are known to differ, beside their densities, with both values.
        floor: for particles of one law: a distance inside the floor's interval is not resolved.
        debiased: the distances without the particles' noise; none for Wasserstein distances and nearest neighbours.
        smoothing: D(K_h * u, u) by name: what smoothing alone does to u.
        bandwidth: h; None where no density was estimated.
        clipped_mass: share of k where u was below ``clip_level`` times its maximum and raised to it.
        uncovered_mass: share of u where k was: there H(u|k) says what the level says.
        clip_level: that fraction.
        axes: coordinates of the common grid; empty where no density was estimated, as the next two.
        density_pde: u/mass on it, the first of two densities, or the estimate of the first of two clouds.
        density_particles: k on it, or the second.
        species: the species compared.
        mass: its mass, which both densities are divided by.
        r: 1 for the density of one particle, 2 for that of a pair against u ⊗ u.
        n: N, of the second of two clouds; 0 of densities.
        clouds: how many clouds' mean was compared.
        first_n: N of the first of two clouds, else 0.
        first_clouds: how many clouds the first of two is the mean of.
        wasserstein: how Wasserstein distances were computed: "line", "sliced" or "exact".
        neighbours: k of the nearest-neighbour estimate.
        eps: ε of both, or None.
        t_end: the time, None where none is known.
        seed: seed of the draws.
        comm: the communicator.
        over_time: the distances at several times, if they were asked for.
        warnings: what Python's ``warnings`` were given on the way, line by line.
    """

    kind: str
    differs: Mapping[str, tuple[Any, Any]]
    floor: Floor = field(default_factory=lambda: Floor(by_name={}))
    debiased: Estimates = field(default_factory=lambda: Estimates(by_name={}))
    smoothing: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    clipped_mass: float | None = None
    uncovered_mass: float | None = None
    clip_level: float = CLIP
    axes: tuple[Array, ...]
    density_pde: Array
    density_particles: Array
    species: str
    mass: float
    r: int = 1
    n: int = 0
    clouds: int = 0
    first_n: int = 0
    first_clouds: int = 0
    wasserstein: str
    neighbours: int = 0
    eps: float | None
    t_end: float | None
    seed: int = 0
    comm: Any
    over_time: OverTime | None = None
    warnings: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[str, str]:
        """What the two sides are called."""
        return {
            "particles": ("density", "particles"),
            "densities": ("first density", "second density"),
            "clouds": ("first particles", "second particles"),
        }[self.kind]

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
        """Return whether a distance exceeds its floor's interval: particles of one law do so once in forty times.

        Raises:
            InputError: it was not measured, or is one of two densities, which have no floor.
        """
        if self.kind == "densities":
            raise InputError("two densities have no floor, theirs is a distance up to the error of its quadrature")
        return self[name].value > self.floor[name].interval[1]

    @property
    def differences(self) -> str:
        """In what the two differ, in words; empty where nothing is known to."""
        first, second = self.sides
        parts = []
        for name, values in self.differs.items():
            one, other = (in_words(value) for value in values)
            both = f" ({one} for the {first}, {other} for the {second})" if one != other else ""
            parts.append(name + both)
        return ", ".join(parts)

    def in_words(self, name: str) -> str:
        """Return a distance with its interval, or the error of its quadrature."""
        if self.kind != "densities":
            return str(self[name])
        value, error = self[name].value, self[name].interval[1] - self[name].value
        return f"{value:.6g}" + (f" (quadrature error {max(error, 1e-15):.1g})" if np.isfinite(value) else "")

    def __str__(self) -> str:
        """Return the distances beside their floors, in a few lines."""
        lines = []
        for name in self.by_name:
            text = f"{NAMES[name]:<30}{self.in_words(name)}"
            if self.kind != "densities":
                above = "above its floor" if self.is_above_floor(name) else "not distinguishable from its floor"
                text += f", floor {self.floor[name]}: {above}"
            lines.append(text)
        if self.bandwidth is not None:
            moved = ""
            if "l1" in self.smoothing:
                moved = f", which alone moves the density by {self.bandwidth_bias:.4g} in L1"
            lines.append(f"{'bandwidth':<30}{self.bandwidth:.4g}{moved}")
        for name, of, where in (
            ("relative_entropy", "second", "first"),
            ("reverse_relative_entropy", "first", "second"),
        ):
            if name in self.by_name and not np.isfinite(self[name].value):
                lines.append(f"the {NAMES[name]} is infinite: the {where} vanishes where the {of} has mass")
        if self.differs:
            lines.append(f"{'differ in':<30}{self.differences}")
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Write a picture (PNG, or what the suffix says): both densities and their difference. Collective.

        Raises:
            InputError: no densities were estimated, or the file cannot be written.
        """
        from kspde.plots.densities import plot_distance

        if not self.axes:
            raise InputError("no densities were estimated: give distances = ('l1', ...) to compare, with r d <= 3")
        plot_distance(self, path)

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        out: dict[str, object] = {
            "kind": self.kind,
            "differs": {name: [_ready(value) for value in values] for name, values in self.differs.items()},
            "species": self.species,
            "mass": self.mass,
            "eps": self.eps,
            "t_end": self.t_end,
            **super().summary(),
            "wasserstein": self.wasserstein,
            "grid": [len(axis) for axis in self.axes],
            "warnings": list(self.warnings),
        }
        if self.clipped_mass is not None:
            out |= {"clipped_mass": self.clipped_mass, "uncovered_mass": self.uncovered_mass}
            out["clip_level"] = self.clip_level
        if self.kind != "densities":
            out |= {
                "r": self.r,
                "n": self.n,
                "clouds": self.clouds,
                "floor": {**self.floor.summary(), "replicas": self.floor.replicas, "seed": self.seed},
                "debiased": self.debiased.summary(),
                "above_floor": {name: self.is_above_floor(name) for name in self.by_name},
                "smoothing": dict(self.smoothing),
                "bandwidth": self.bandwidth,
                "neighbours": self.neighbours,
            }
        if self.kind == "clouds":
            out |= {"first_n": self.first_n, "first_clouds": self.first_clouds}
        if self.over_time is not None:
            out["over_time"] = self.over_time.summary()
        return out


def _ready(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else in_words(value)
