"""The parts of an ensemble that see one replica after the other: a model's moments, and fields at particles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from kspde.errors import ConvergenceError
from kspde.models import Field, FieldValues, Model
from kspde.models.coefficients import moment_integrand
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.accuracy import image_distance
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.direct import DirectSum
from kspde.runtime.parallel import alone, together
from kspde.typing import Array, Indices

__all__ = ["DirectByReplica", "ReplicaModel", "SideBySideByReplica", "Stacked", "StackedByReplica", "groups_of"]


@dataclass(frozen=True)
class _OfReplicas(FieldValues):
    """Fields at particles of several replicas, and the moments of each, shape (replicas, ...).

    Attributes:
        replica: the replica of each particle, in ascending order, as a row of the moments.
    """

    replica: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def part(self, rows: slice) -> FieldValues:
        """Return the fields at some of the particles; those of one replica have its moments."""
        part = replace(cast(_OfReplicas, super().part(rows)), replica=self.replica[rows])
        if not len(part.replica) or part.replica[0] != part.replica[-1]:
            return part
        moments = {name: value[part.replica[0]] for name, value in self.moments.items()}
        return FieldValues(part.points, part.values, part.gradients, part.t, moments)

    def groups(self) -> list[slice]:
        """Return the rows of each replica."""
        ends = [0, *(np.flatnonzero(np.diff(self.replica)) + 1), len(self.replica)]
        return [slice(int(first), int(last)) for first, last in pairwise(ends) if last > first]


class ReplicaModel(Model):
    """A model whose coefficients at particles of several replicas are those of each with its own moments."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.dimension, self.species = model.dimension, model.species

    @property
    def fields(self) -> tuple[Field, ...]:
        """The model's."""
        return self._model.fields

    @property
    def has_growth(self) -> bool:
        """As the model."""
        return self._model.has_growth

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return D of each replica."""
        return cast(Array, _by_replica(self._model.diffusion, species, c))

    def drift(self, species: str, c: FieldValues) -> Array | None:
        """Return the drift of each replica."""
        return _by_replica(self._model.drift, species, c)

    def growth(self, species: str, c: FieldValues) -> Array | None:
        """Return the growth rate of each replica."""
        return _by_replica(self._model.growth, species, c)


def groups_of(c: FieldValues) -> list[slice]:
    """Return the rows of ``c`` that share moments."""
    return c.groups() if isinstance(c, _OfReplicas) else [slice(None)]


def _by_replica(function: Callable[[str, FieldValues], Any], species: str, c: FieldValues) -> Array | None:
    parts = []
    for rows in groups_of(c):
        piece = c.part(rows)
        value = function(species, piece)
        if value is None:
            return None
        parts.append(np.broadcast_to(value, (len(piece.points), *np.shape(value)[1:])))
    return np.concatenate(parts)


class _SideBySide(FieldEvaluator):
    """Fields of all replicas at once, on a line on which they are too far apart to meet."""

    def __init__(self, fields: tuple[Field, ...], *, group: int, include_self: bool, **options: Any) -> None:
        super().__init__(fields, include_self=True, **options)
        how = FieldOptions(field_tol=self.tol, include_self=include_self)
        self._evaluator = how.evaluator(fields, dimension=1, weights=self.weights, comm=alone())
        self._n, self._width = group, 0.0
        self._apart = max((image_distance(f.kernel, 1, self.tol) for f in self.active), default=0.0)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Compute all fields. Rank-local."""
        if self._width < extent.size[0] + self._apart:
            self._width = 1.1 * extent.size[0] + self._apart
        self._evaluator.t = self.t
        shifted = {name: self._shifted(x) for name, x in positions.items()}
        replicas = max(len(x) for x in positions.values()) // self._n
        self._evaluator.update(shifted, Extent(extent.lower, extent.upper + self._width * max(replicas - 1, 0)))

    def at(self, species: str, x: Array) -> FieldValues:
        """Return the fields at the particles of a species. Rank-local."""
        return replace(self._evaluator.at(species, self._shifted(x)), points=x)

    def _shifted(self, x: Array) -> Array:
        return x + self._width * (np.arange(len(x)) // self._n)[:, None]

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        raise NotImplementedError("fields are evaluated of all replicas")


class Stacked(FieldEvaluator):
    """Fields of one replica after the other, on one mesh that covers them all; those that relax on one for each."""

    def __init__(
        self, fields: tuple[Field, ...], *, group: int, replicas: int, include_self: bool, **options: Any
    ) -> None:
        super().__init__(fields, include_self=True, **options)
        self._n = group
        self._own: dict[str, Any] = {name: w for name, w in self.weights.items() if isinstance(w, np.ndarray)}
        #: The weights of one replica.
        self._shares: dict[str, float | Array] = dict(self.weights)
        how = FieldOptions(field_tol=self.tol, include_self=include_self)

        def evaluator() -> FieldEvaluator:
            return how.evaluator(fields, dimension=self.dimension, weights=self._shares, comm=alone())

        relaxing = any(f.tau > 0 for f in fields)
        self._evaluators = [evaluator() for _ in range(replicas)] if relaxing else [evaluator()] * replicas

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Compute all fields at all particles, which move species by species. Rank-local."""
        self._found = {name: self._empty(name, x) for name, x in positions.items()}
        for replica, evaluator in enumerate(self._evaluators):
            part = slice(replica * self._n, (replica + 1) * self._n)
            self._shares |= {name: w[part] for name, w in self._own.items()}
            evaluator.t = self.t
            evaluator.update({name: x[part] for name, x in positions.items()}, extent)
            for name, x in positions.items():
                found = evaluator.at(name, x[part])
                for signal, out in self._found[name].values.items():
                    out[part] = found[signal]
                for signal, slope in self._found[name].gradients.items():
                    slope[part] = found.gradients[signal]

    def at(self, species: str, x: Array) -> FieldValues:
        """Return the fields at the particles of a species, those of ``update``. Rank-local."""
        return replace(self._found[species], points=x)

    def _empty(self, species: str, x: Array) -> FieldValues:
        values = {f.name: self._buffer(species, f.name, (len(x),)) for f in self.fields if f.name in self._valued}
        gradients = {f.name: self._buffer(species, f"∇{f.name}", x.shape) for f in self.fields if f.gradient}
        return FieldValues(x, values, gradients, self.t)

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        raise NotImplementedError("fields are evaluated replica by replica")


class _ByReplica(FieldEvaluator):
    """A mixin: moments of each replica, whose particles are as many as ``group``, one replica after the other."""

    def __init__(self, fields: tuple[Field, ...], *, group: int, **options: Any) -> None:
        super().__init__(fields, group=group, **options)  # type: ignore[call-arg]
        self._size = group

    def update_moments(self, positions: Mapping[str, Array]) -> None:
        """Compute the moments of each of this rank's replicas, shape (replicas, ...). Collective.

        Raises:
            ConvergenceError: one is not finite; on every rank.
        """
        with together(self.comm):
            for m in self.moments:
                values = moment_integrand(m, positions[m.source])
                weights = np.broadcast_to(self.weights[m.source], (len(values),))
                each = (weights.reshape(-1, *(1,) * (values.ndim - 1)) * values).reshape(
                    -1, self._size, *values.shape[1:]
                )
                self.moment_values[m.name] = each.sum(axis=1)
                if not np.all(np.isfinite(self.moment_values[m.name])):
                    raise ConvergenceError(f"moment {m.name!r} is not finite: check the model's moments")

    def at(self, species: str, x: Array) -> FieldValues:
        """Return the fields, with moments by replica where the model has moments. Rank-local."""
        c = super().at(species, x)
        if not self.moments:
            return c
        replica = np.repeat(np.arange(len(x) // self._size), self._size)
        return _OfReplicas(c.points, c.values, c.gradients, self.t, self.moment_values, replica)


class DirectByReplica(_ByReplica, DirectSum):
    """Sums over all pairs of each replica."""


class SideBySideByReplica(_ByReplica, _SideBySide):
    """Fields of all replicas on one line."""


class StackedByReplica(_ByReplica, Stacked):
    """Fields of each replica on a mesh."""
