r"""The distance between two densities, or particles, or one of each: what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.distances.measured import Estimates, Floor, Measured
from kspde.distances.over_time import OverTime
from kspde.distances.registry import DISTANCES
from kspde.errors import InputError, shortened
from kspde.fem.error import ErrorParts
from kspde.plots.densities import plot_distance
from kspde.runtime.notebook import html_table
from kspde.runtime.values import in_words
from kspde.tables import distance_table
from kspde.typing import Comm

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["TIME_STEP", "Distance", "Estimates", "Floor"]

#: What a distance above its floor may be due to, besides the particles' law.
TIME_STEP = "If it falls with half the dt, the time step's bias is part of it."

#: What the two sides are called, by the kind of comparison.
_SIDES = {
    "particles": ("density", "particles"),
    "densities": ("first density", "second density"),
    "clouds": ("first particles", "second particles"),
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Distance(Measured):
    r"""The distance between two sides, densities or particles, both scaled to mass 1, or signed ones in one unit.

    Of a density u and particles, three numbers answer three questions. A **value** is that of the statistic, D(k, u)
    with :math:`k = K_h * \mu_N` (or with μ_N itself where nothing is smoothed); its interval is for the statistic's
    expectation at this N and h. Its **floor** is the same for independent draws from u. The **debiased** value
    estimates D(K_h * p, u), p the particles' own law: the limit N → ∞ at this h, of which ``smoothing`` is due
    to K_h. The same holds for two sets of particles, with a density estimate in the place of u.

    Of two densities a value is an integral, and its interval the error of the quadrature.

    Attributes:
        kind: "particles" (a density and particles), "densities" or "clouds".
        differs: by name what is known to differ between the two beside their densities, with both values.
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
        mass: its mass, which both densities are divided by unless they are signed.
        variation: of signed densities, the total variation ∫|u|, or Σ|w|, of the first, which both are divided by.
        r: 1 for the density of one particle, 2 for that of a pair against u ⊗ u.
        n: N, of the second of two clouds; 0 of densities.
        effective_n: (Σ|w|)²/Σw² of its weights, N where all are equal: as many equal ones have as much noise.
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
        density_errors: by side the estimated L¹ error of its density, in the unit of the distances, or why there is
            none; of several species together. Empty where it was not estimated, or not for this time.
        warnings: the warnings given on the way, line by line.
    """

    kind: str
    differs: Mapping[str, tuple[Any, Any]]
    species: str
    mass: float
    variation: float | None = None
    r: int = 1
    n: int = 0
    effective_n: float = 0.0
    clouds: int = 0
    first_n: int = 0
    first_clouds: int = 0
    wasserstein: str
    neighbours: int = 0
    eps: float | None
    t_end: float | None
    seed: int = 0
    comm: Comm
    over_time: OverTime | None = None
    density_errors: Mapping[str, ErrorParts | str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[str, str]:
        """What the two sides are called."""
        return _SIDES[self.kind]

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of particles of the two sides; 0 for densities."""
        return self.first_n, self.n

    @property
    def bandwidth_bias(self) -> float:
        r""":math:`\int |K_h * u - u|`, what smoothing alone does to u in L¹."""
        if "l1" not in self.smoothing:
            raise InputError("nothing was smoothed, or not on a grid: give distances = (..., 'l1') to compare")
        return self.smoothing["l1"]

    @property
    def above_floor(self) -> bool:
        """Whether the first distance, L¹ unless others were asked for, exceeds its floor's interval."""
        return self.is_above_floor(next(iter(self.by_name)))

    def is_above_floor(self, name: str) -> bool:
        """Return whether a distance exceeds its floor's interval: particles of one law do so once in forty times.

        Raises:
            InputError: it was not measured, or is one of two densities, which have no floor.
        """
        if not self.floor.by_name:
            raise InputError("two densities have no floor, theirs is a distance up to the error of its quadrature")
        return self[name].value > self.floor[name].interval[1]

    @property
    def why_above(self) -> str:
        """What a distance above its floor may be due to, besides the particles' law, in a sentence or two."""
        own = self.density_errors.get("density")
        if "l1" not in self.by_name or not isinstance(own, ErrorParts):
            return TIME_STEP
        if self["l1"].value - own.total > self.floor["l1"].interval[1]:
            return TIME_STEP
        return f"{TIME_STEP} The density's own error is large enough to explain it: solve with more accuracy."

    @property
    def differences(self) -> str:
        """What differs between the two, in words; empty where nothing is known to."""
        first, second = self.sides
        parts = []
        for name, values in self.differs.items():
            one, other = (_shown(value) for value in values)
            both = f" ({one} for the {first}, {other} for the {second})" if one != other else ""
            parts.append(name + both)
        return ", ".join(parts)

    def in_words(self, name: str) -> str:
        """Return a distance with its interval, or the error of its quadrature."""
        if self.floor.by_name:
            return str(self[name])
        value, error = self[name].value, self[name].interval[1] - self[name].value
        return f"{value:.6g}" + (f" (quadrature error {max(error, 1e-15):.1g})" if np.isfinite(value) else "")

    def caption(self, between: str = ", ") -> str:
        """Return the two leading distances with their floors, in two lines of mathematical type."""
        names = [name for name in ("l1", "relative_entropy", "energy") if name in self.by_name] or self.by_name
        floors = {name: f"{between}floor {estimate}" for name, estimate in self.floor.by_name.items()}
        lines = [f"{DISTANCES[name].label} {self.in_words(name)}{floors.get(name, '')}" for name in names]
        return "\n".join(lines[:2])

    def __str__(self) -> str:
        """Return the distances beside their floors, in a few lines."""
        lines = [
            f"{title:<30}{value}" + (f", floor {floor[0]}: {floor[1]}" if floor else "")
            for title, value, *floor in self._rows()
        ]
        if self.variation is not None:
            lines.append(f"{'in units of':<30}{self.variation:.6g}, the total variation of the {self.sides[0]}")
        if self.effective_n < 0.999 * self.n:
            lines.append(f"{'effective number of particles':<30}{self.effective_n:.0f} of {self.n}, by their weights")
        if self.bandwidth is not None:
            moved = ""
            if "l1" in self.smoothing:
                moved = f", which alone moves the density by {self.bandwidth_bias:.4g} in L1"
            lines.append(f"{'bandwidth':<30}{self.bandwidth:.4g}{moved}")
        for name in (name for name, estimate in self.by_name.items() if not np.isfinite(estimate.value)):
            where, of = ("second", "first") if getattr(DISTANCES[name], "reverse", False) else ("first", "second")
            lines.append(f"the {DISTANCES[name].title} is infinite: the {where} vanishes where the {of} has mass")
        lines += [f"{title:<30}{value}" for title, value in self.own_errors()]
        if self.differs:
            lines.append(f"{'differ in':<30}{self.differences}")
        if self.kind == "particles" and self.above_floor:
            lines.append(f"{'above its floor':<30}{self.why_above[0].lower()}{self.why_above[1:]}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return what was compared, and the distances, in a few lines."""
        return f"{self._heading}\n{self}"

    def _repr_html_(self) -> str:
        """Return the same as a table."""
        rows = self._rows()
        rows += [(title, value, *[""] * (len(rows[0]) - 2)) for title, value in self.own_errors()]
        return html_table(self._heading, ("", "distance", "floor", "")[: len(rows[0])], rows)

    def _rows(self) -> list[tuple[str, ...]]:
        """Return the title and the value of each distance, with its floor and the verdict where it has one."""
        verdicts = {
            name: "above" if self.is_above_floor(name) else "not distinguishable from" for name in self.floor.by_name
        }
        floors = {name: (str(self.floor[name]), f"{verdict} its floor") for name, verdict in verdicts.items()}
        return [(DISTANCES[name].title, self.in_words(name), *floors.get(name, ())) for name in self.by_name]

    def own_errors(self) -> list[tuple[str, str]]:
        """Return what is known of the densities' own errors at ``t_end``: the title and the value of each."""
        return [
            (f"error of the {side}, L1", str(error) if isinstance(error, ErrorParts) else f"not known: {error}")
            for side, error in self.density_errors.items()
        ]

    @property
    def _heading(self) -> str:
        sides = [f"{side} (N = {n:,})" if n else side for side, n in zip(self.sides, self.sizes, strict=True)]
        time = "" if self.t_end is None else f" at t = {self.t_end:g}"
        return f"Distance of {self.species} between {' and '.join(sides)}{time}"

    def plot(self, path: str | Path | None = None) -> Figure | None:
        """Draw both densities and their difference. Collective.

        Args:
            path: the file (PNG, or what the suffix says); without one the figure is returned on rank 0.

        Raises:
            InputError: no densities were estimated, or the file cannot be written.
        """
        if not self.axes:
            raise InputError("no densities were estimated: give distances = ('l1', ...) to compare, with r d <= 3")
        return plot_distance(self, path)

    def to_pandas(self) -> DataFrame:
        """Return a table of pandas, a row per distance: value, low, high, and the same of floor and debiased value.

        Raises:
            MissingBackendError: pandas is not installed.
        """
        return distance_table(self)

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        out: dict[str, object] = {
            "kind": self.kind,
            "differs": {
                name: [
                    value if isinstance(value, (bool, int, float)) or value is None else _shown(value)
                    for value in values
                ]
                for name, values in self.differs.items()
            },
            "species": self.species,
            "mass": self.mass,
            **({} if self.variation is None else {"variation": self.variation}),
            "eps": self.eps,
            "t_end": self.t_end,
            **super().summary(),
            "wasserstein": self.wasserstein,
            "grid": [len(axis) for axis in self.axes],
            "warnings": list(self.warnings),
        }
        if self.density_errors:
            out["density_errors"] = {
                side: asdict(error) if isinstance(error, ErrorParts) else {"unknown": error}
                for side, error in self.density_errors.items()
            }
        if self.clipped_mass is not None:
            out |= {"clipped_mass": self.clipped_mass, "uncovered_mass": self.uncovered_mass}
            out["clip_level"] = self.clip_level
        if self.kind != "densities":
            out |= {
                "r": self.r,
                "n": self.n,
                "effective_n": self.effective_n,
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


def _shown(value: Any) -> str:
    return shortened(" ".join(in_words(value).split()))
