"""Particles of all species, the fields that move them, and their noise: what a scheme advances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from kspde.errors import ConvergenceError, InputError, place_of
from kspde.models import FieldValues, Model
from kspde.models.coefficients import diffusion_of, drift_of, growth_of
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.close_pairs import ClosePairs
from kspde.particles.observation import Observation, Tallies, observe
from kspde.particles.region import Region
from kspde.particles.weights import ParticleWeights
from kspde.runtime.compiled import in_blocks
from kspde.runtime.parallel import together
from kspde.runtime.random import Philox
from kspde.runtime.reductions import everyones, reduced
from kspde.typing import Array, Comm, Ids

__all__ = ["System"]

#: Particles at which a drift's derivative is measured.
_SAMPLE = 16


@dataclass(kw_only=True)
class System:
    """Particles at one time.

    Attributes:
        model: the model.
        evaluator: evaluator of the fields at the particles.
        positions: this rank's positions by species, shape (n_local, d); schemes overwrite them.
        ids: this rank's ids by species, shape (n_local,): contiguous, those of one species after those of another.
        counts: number of particles by species, over all ranks.
        noise: random numbers that move the particles.
        comm: the communicator.
        weights: weights of the particles; without them each species has mass 1.
        region: the closed or periodic box that they live in; None for the whole space.
        seen: result of the last ``observe``.
    """

    model: Model
    evaluator: FieldEvaluator
    positions: dict[str, Array]
    ids: Mapping[str, Ids]
    counts: Mapping[str, int]
    noise: Philox
    comm: Comm
    weights: ParticleWeights | None = None
    region: Region | None = None
    seen: Observation = field(init=False)

    def observe(self, tallies: Tallies | None = None) -> tuple[str, int] | None:
        """Observe the particles; return (species, id) of one whose position is not finite, or None. Collective.

        Args:
            tallies: tallies that the scheme which moved the particles returned.

        Raises:
            ConvergenceError: a species has died out, or its mass is not finite; on every rank.
        """
        self.seen = observe(self.positions, self.ids, self.counts, self.comm, self.weights, tallies)
        for name, size in self.seen.variations.items():
            if not 0.0 < size < math.inf:
                raise ConvergenceError(
                    f"the weights of species {name!r} have the absolute sum {size:g}: its growth has left the range of "
                    "floating-point numbers; end earlier, or check the model's growth"
                )
        return self.seen.not_finite

    def fold(self) -> bool:
        """Bring the particles into their region; return whether they have one."""
        if self.region is None:
            return False
        for x in self.positions.values():
            in_blocks(lambda rows, x=x: self.region.fold(x[rows]), len(x))  # type: ignore[misc]
        return True

    def sort(self) -> bool:
        """Put particles that keep their order on a line into it, by their ids; return whether they do. Collective."""
        if not (self.model.ordered and self.model.dimension == 1 and len(self.positions) == 1):
            return False
        if not self.evaluator.singular:  # with a mollifier they do pass one another
            return False
        if self.weights is not None and (self.weights.growing or self.weights.variations):
            return False
        for name, x in self.positions.items():
            first = self.first_row(name)
            x[:] = np.sort(everyones(x, self.comm), axis=0)[first : first + len(x)]
        return True

    def turned(self, stage: Array) -> Array | None:
        """Bring stages into the region; return by coordinate −1 where walls reverse directions, None without walls."""
        if self.region is None:
            return None
        signs = self.region.turned(stage)
        return None if self.region.periodic else signs

    def refuse_oblique(self, species: str, diffusion: Array) -> None:
        """Refuse a diffusion matrix between walls that is not diagonal: its particles are reflected along D n.

        Raises:
            InputError: such a matrix.
        """
        walls = self.region is not None and not self.region.periodic
        if walls and diffusion.ndim == 3 and np.any(diffusion * (1.0 - np.eye(diffusion.shape[-1]))):
            raise InputError(
                f"the diffusion matrix of species {species!r} is not diagonal: walls reflect particles along D n then, "
                "which is not offered; give a diagonal one, or a periodic Box"
            )

    def own_weights(self, species: str) -> Array | None:
        """Return the weights of this rank's particles of a species, or None where all are equal."""
        return None if self.weights is None else self.weights.own(species)

    @property
    def changing_weights(self) -> dict[str, Array]:
        """The weights of this rank's particles by species, where they change in time: schemes overwrite them."""
        return {} if self.weights is None or not self.weights.growing else dict(self.weights.each)  # type: ignore[arg-type]

    def growth(self, species: str, c: FieldValues, ids: Ids) -> Array | None:
        """Return the growth rate r of particles of a species, shape (n,), or None where weights do not change.

        Rank-local.

        Raises:
            InputError: the model returned a wrong shape or type.
            ConvergenceError: r is not finite.
        """
        if not self.model.has_growth:
            return None
        growth = growth_of(self.model, species, c)
        if growth is not None:
            bad = np.flatnonzero(~np.isfinite(growth))
            if len(bad):
                raise ConvergenceError(
                    f"the growth of species {species!r} is {growth[bad[0]]:g} at particle {ids[bad[0]]}, at "
                    f"{place_of(c.points[bad[0]])}: it must be finite; check the model's parameters"
                )
        return growth

    def first_id(self, species: str) -> int:
        """Return the id of the first particle of a species, on all ranks."""
        names = list(self.counts)
        return sum(self.counts[name] for name in names[: names.index(species)])

    def first_row(self, species: str) -> int:
        """Return the number of particles of a species on lower ranks."""
        ids = self.ids[species]
        return int(ids[0]) - self.first_id(species) if len(ids) else 0

    def prepare(self, t: float) -> None:
        """Compute the fields and moments of the observed positions at time t. Collective.

        Raises:
            ConvergenceError: the fields need a grid beyond the memory limit, or a moment is not finite; on every rank.
        """
        self.evaluator.close = None
        self._update(self.evaluator.update, self.positions, self.seen.extent, t)

    def tame(self, h: float) -> None:
        """Bound what close pairs with a singular kernel do to one another in the step of length h. Collective."""
        if not self.evaluator.singular:
            return
        with together(self.comm):
            found = [self.sensitivity(name)[0] for name in self.positions]
        strength = float(reduced(self.comm, np.array([max(found)]), "MAX")[0])
        if 0.0 < strength < math.inf:
            self._close.begin(h * strength, self.positions, self.evaluator.weights, self.evaluator.sorted_cells())
            self.evaluator.close = self._close

    @cached_property
    def _close(self) -> ClosePairs:
        return ClosePairs(self.evaluator.singular, self.model.dimension, self.comm)

    def largest_diffusion(self, species: str) -> float:
        """Return the largest diffusion coefficient at some particles. Rank-local."""
        c = self._some(species)
        return float(np.max(np.abs(diffusion_of(self.model, species, c)), initial=0.0)) if len(c.points) else 0.0

    def _some(self, species: str) -> FieldValues:
        """Return the prepared fields at some 16 particles of all ranks. Rank-local."""
        stride = max(1, self.counts[species] // _SAMPLE)
        rows = slice(-self.first_row(species) % stride, None, stride)
        return self.evaluator.part(species, self.positions[species], rows)

    def sensitivity(self, species: str) -> tuple[float, list[float]]:
        """Return the largest derivative of the drift by a singular gradient, at some particles. Rank-local.

        And by singular field the largest of a direction by the gradient's same direction, with the sign of attraction.
        """
        c = self._some(species)
        drift = drift_of(self.model, species, c) if len(c.points) else None
        largest, towards = 0.0, [0.0 for _ in self.evaluator.singular]
        for k, f in enumerate(self.evaluator.singular if drift is not None else ()):
            slope = c.gradients[f.name]
            step = 1e-3 * float(np.median(np.abs(slope))) or 1.0
            falls = -float(np.sign(f.kernel.slope(np.ones(1), self.model.dimension)[0]))
            for axis in range(slope.shape[1]):
                moved = slope.copy()
                moved[:, axis] += step
                other = drift_of(self.model, species, replace(c, gradients={**c.gradients, f.name: moved}))
                if other is not None and drift is not None:
                    change = (other - drift) / step
                    largest = max(largest, float(np.linalg.norm(change, axis=1).max()))
                    towards[k] = max(towards[k], falls * float(np.median(change[:, axis])))
        return largest, towards

    def prepare_stage(self, positions: Mapping[str, Array], t: float) -> None:
        """Compute the fields and moments of other positions of the same particles at time t. Collective.

        Raises:
            ConvergenceError: a position that is not finite, or a cloud beyond what a grid can hold; on every rank.
        """
        stage = observe(positions, self.ids, self.counts, self.comm)
        self.refuse_lost(stage.not_finite)
        self._update(self.evaluator.update_stage, positions, stage.extent, t)

    def _update(self, update: Callable[..., None], positions: Mapping[str, Array], extent: Extent, t: float) -> None:
        self.evaluator.t = t
        try:
            update(positions, extent)
            self.evaluator.update_moments(positions)
            if self.evaluator.close is not None:
                self.evaluator.close.update(positions, self.evaluator.weights, self.evaluator.sorted_cells())
        except InputError as error:
            raise ConvergenceError(str(error)) from None

    def at(self, species: str, x: Array) -> FieldValues:
        """Return the prepared fields at positions x of particles of a species. Rank-local."""
        return self.evaluator.at(species, x)

    def refuse_lost(self, lost: tuple[str, int] | None) -> None:
        """Raise a ConvergenceError for a particle (species, id) whose position is not finite; None raises nothing."""
        if lost is not None:
            close = "; where particles fall onto one another, or start so, give eps" if self.evaluator.singular else ""
            raise ConvergenceError(
                f"particle {lost[1]} of species {lost[0]!r} moved to a position that is not finite: check the model's "
                f"drift, or give a smaller dt{close}"
            )
