"""The distance between interacting particles and the mean-field particles that share their noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kspde.errors import check_number, counted
from kspde.particles.run import Observer, Run
from kspde.runtime.messages import warn
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["Coupling", "CouplingRecorder"]


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """The distance between the interacting particles X and the mean-field particles X̄ with the same noise.

    Attributes:
        t: the times, shape (times,).
        distance: max_i |X_i − X̄_i| over the particles of a species, shape (times, species).
        n: number of particles by species.
        field_error: by field, or moment, the measured error of what moves X̄, in space and time together, relative to
            the field's supremum, or a moment's ∫|φ|u; above 1e-2 it is warned of. With the error of the solved density
            itself it bounds what separates X̄ from the exact mean-field particles.
    """

    t: Array
    distance: Array
    n: Mapping[str, int]
    field_error: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Coupling(max |X - X̄| = {self.supremum:.4g} over {counted(len(self.t), 'time')} up to t = {self.t[-1]:g})"
        )

    @property
    def supremum(self) -> float:
        """max_i sup_t |X_i − X̄_i| over all species and all steps."""
        return float(self.distance.max())

    def stopping_time(self, alpha: float) -> float:
        """Return τ_α, the first t with max_i |X_i − X̄_i| ≥ N^(−α) for some species; ``inf`` where there is none.

        Raises:
            InputError: alpha ≤ 0.
        """
        check_number("alpha", alpha, above=0)
        levels = np.array([float(n) ** -alpha for n in self.n.values()])
        late = np.flatnonzero(np.any(self.distance >= levels, axis=1))
        return float(self.t[late[0]]) if len(late) else math.inf


#: The errors of fields and moments that are warned of.
_LARGE = 1e-2


class CouplingRecorder(Observer):
    """Records the distance after every step."""

    name = "coupling"

    def __init__(self, species: tuple[str, ...], steps: int) -> None:
        super().__init__(distance=np.full((steps + 1, len(species)), np.nan))
        self._species = species

    def __call__(self, run: Run) -> None:
        """Record the distance. Collective."""
        particles, mean_field = run.systems["particles"], run.systems["mean_field"]
        row = np.zeros(len(self._species))
        for i, name in enumerate(self._species):
            x = particles.positions[name]
            if len(x):
                y = mean_field.positions[name]
                apart = x - y if particles.region is None else particles.region.difference(x, y)
                row[i] = math.sqrt(float(np.square(apart).sum(axis=1).max()))
        self.recorded["distance"][run.step] = reduced(particles.comm, row, "MAX")

    def coupling(self, run: Run) -> Coupling:
        """Return the coupling until now."""
        rows, mean_field = slice(0, run.step + 1), run.systems["mean_field"]
        errors = mean_field.evaluator.summary()
        total = {name: errors["error"].get(name, 0.0) + e for name, e in errors["time_error"].items()}
        large = {name: e for name, e in total.items() if e > _LARGE}
        if large:
            named = ", ".join(f"{name} by {e:.2g} of its size" for name, e in large.items())
            warn(
                f"the mean field is off between its saved times, by up to: {named} (coupling.field_error); save "
                "more times when it is solved, with save=",
                run.particles.comm,
            )
        distance = self.recorded["distance"][rows]
        return Coupling(t=run.times[rows], distance=distance, n=dict(mean_field.counts), field_error=total)
