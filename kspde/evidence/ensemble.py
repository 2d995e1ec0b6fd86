r"""Many independent copies of one N-particle system, advanced together: what expectations are measured with.

Replica r holds the particles of ids rN, ..., rN + N − 1 of each species, so that all noise is independent and replica 0
is what ``simulate`` gives for the same seed. Each rank advances whole replicas: they share nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kspde.domains import check_no_walls
from kspde.errors import ConvergenceError, InputError, check_integer, check_number
from kspde.models import Field, FieldValues
from kspde.particles.fields.base import Extent, FieldEvaluator
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.mean_field import MeanFieldEvaluator
from kspde.particles.run import schedule
from kspde.particles.schemes import EulerMaruyama
from kspde.particles.start import Seed
from kspde.particles.system import System
from kspde.protocols import SolvedDensity
from kspde.runtime.compiled import use_threads
from kspde.runtime.limits import MOST_REPLICAS
from kspde.runtime.parallel import alone, limited_threads
from kspde.runtime.random import Ids
from kspde.typing import Array

__all__ = ["Ensemble", "check_solution"]

#: Systems up to this size sum over all pairs.
_DIRECT = 400


def check_solution(pde: Any) -> None:
    """Refuse what is no solution that is known at all times from 0 on.

    Raises:
        InputError: another kind of object, a domain with walls, fields that relax, or states that are not saved.
    """
    for name in ("model", "u0", "initial", "times", "on_grid", "signal_on_grid"):
        if not hasattr(pde, name):
            raise InputError(f"pde is a {type(pde).__name__} without {name}: give what kspde.solve returned")
    if getattr(pde, "domain", None) is not None:
        check_no_walls(pde.domain)
    relaxing = [f.name for f in pde.model.fields if f.tau > 0]
    if relaxing:
        raise InputError(f"field {relaxing[0]!r} has tau > 0, which is not covered here: use tau = 0")
    if len(pde.times) < 2 or pde.times[0] > 0:
        raise InputError(
            f"pde is saved at t = {', '.join(f'{t:g}' for t in pde.times[:3])} only: it is needed from 0 to t_end, "
            f"give solve save=kspde.SaveAt(times=numpy.linspace(0, {pde.t_end:g}, 26))"
        )


class _Stacked(FieldEvaluator):
    """Fields of one replica after the other, on one mesh that covers them all."""

    def __init__(self, fields: tuple[Field, ...], *, n: int, include_self: bool, **options: Any) -> None:
        super().__init__(fields, include_self=True, **options)
        self._n = n
        self._mesh = ParticleMesh(fields, include_self=include_self, **(options | {"comm": alone()}))

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Take the positions. Rank-local."""
        self._positions, self._extent = positions, extent

    def at(self, species: str, x: Array) -> FieldValues:
        """Return the fields at the particles of a species, those of ``update``. Rank-local."""
        values = {f.name: self._buffer(species, f.name, (len(x),)) for f in self.fields}
        gradients = {f.name: self._buffer(species, f"∇{f.name}", x.shape) for f in self.fields if f.gradient}
        for first in range(0, len(x), self._n):
            part = slice(first, first + self._n)
            self._mesh.update({name: y[part] for name, y in self._positions.items()}, self._extent)
            found = self._mesh.at(species, x[part])
            for name, out in values.items():
                out[part] = found[name]
            for name, slope in gradients.items():
                slope[part] = found.gradients[name]
        return FieldValues(x, values, gradients)

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        """Write a field of the replica that was evaluated last."""
        self._mesh._evaluate(field, x, values, gradient)


@dataclass(kw_only=True)
class Ensemble:
    """R replicas of the system of N particles a species whose mean field is a given solution.

    Attributes:
        pde: the solution.
        n: N.
        dt: the largest step.
        replicas: R.
        seed: of the random numbers.
        twins: whether the mean-field particles go beside, with the same starting points and noise.
        gradients: whether all fields come with their gradients.
        include_self: whether j = i is in the fields' sums.
        field_tol: of the fields, as for ``simulate``.
        progress: called after every step with t/t_end.

    Raises:
        InputError: a value out of range, or a kernel that is singular at the origin.
    """

    pde: SolvedDensity
    n: int
    dt: float
    replicas: int
    seed: int
    twins: bool = False
    gradients: bool = False
    include_self: bool = True
    field_tol: float = 1e-6
    progress: Callable[[float], None] | None = None

    def __post_init__(self) -> None:
        pde = self.pde
        check_solution(pde)
        check_integer("n", self.n, at_least=1)
        check_number("dt", self.dt, above=0)
        check_integer("replicas", self.replicas, at_least=2, at_most=MOST_REPLICAS)
        seed = Seed(self.seed)
        self.comm = comm = pde.comm
        model = pde.model
        self.times: Array = schedule(pde.t_end, self.dt, (pde.t_end,))
        use_threads(comm)
        n, count = self.n, self.replicas
        first, last = (count * r // comm.size for r in (comm.rank, comm.rank + 1))
        #: the replica of each of this rank's particles of a species, shape (n_local,)
        self.replica_of = np.repeat(np.arange(first, last), n)
        ids: dict[str, Ids] = {
            name: np.arange((k * count + first) * n, (k * count + last) * n, dtype=np.uint64)
            for k, name in enumerate(model.species)
        }
        fields = pde.problem.fields
        self.fields = tuple(replace(f, gradient=True) for f in fields) if self.gradients else fields
        self.options: dict[str, Any] = {
            "dimension": model.dimension,
            "weights": {name: pde.masses[name] / n for name in model.species},
            "tol": self.field_tol,
            "comm": comm,
        }
        own: FieldEvaluator
        if n <= _DIRECT:
            own = DirectSum(self.fields, group=n, include_self=self.include_self, **self.options)
        else:
            own = _Stacked(self.fields, n=n, include_self=self.include_self, **self.options)
        evaluators: dict[str, FieldEvaluator] = {"particles": own}
        if self.twins:
            evaluators["mean_field"] = self.known_fields(self.fields)
        zeta = seed.starting_points(pde.u0, ids, pde.problem.mollified_start, comm)
        self.systems = {
            label: System(
                model=model,
                evaluator=evaluator,
                positions={name: x.copy() for name, x in zeta.items()},
                ids=ids,
                counts=dict.fromkeys(model.species, n * count),
                noise=seed.noise,
                comm=comm,
            )
            for label, evaluator in evaluators.items()
        }

    @property
    def particles(self) -> System:
        """The interacting particles of all replicas."""
        return self.systems["particles"]

    def known_fields(self, fields: tuple[Field, ...]) -> MeanFieldEvaluator:
        """Return what evaluates the solution's fields at particles."""
        return MeanFieldEvaluator(fields, source=self.pde, **self.options)

    def run(self, look: Callable[[int, float], None] | None = None) -> None:
        """Advance to ``t_end``; ``look`` is called with step and time where all fields are prepared. Collective.

        Raises:
            InputError: fields that need too large a grid, or that are not known where the particles start.
            ConvergenceError: a coefficient or a position that is not finite.
        """
        scheme = EulerMaruyama(self.dt)
        last = len(self.times) - 1
        with limited_threads(self.comm, useful=1):
            for step, t in enumerate(self.times.tolist()):
                try:
                    for system in self.systems.values():
                        system.refuse_lost(system.observe())
                        if look is not None or step < last:
                            system.prepare(t)
                    if look is not None:
                        look(step, t)
                    if step < last:
                        for system in self.systems.values():
                            scheme.advance(system, step, t, float(self.times[step + 1]) - t)
                except ConvergenceError as error:
                    raise ConvergenceError(f"step {step}, t = {t:.6g}, dt = {self.dt:.6g}: {error}") from None
                if self.progress is not None and step:
                    self.progress(t / float(self.times[-1]))

    def sums(self, rows: Array) -> Array:
        """Return the sum over all ranks of an array of every replica, to which each adds its own. Collective."""
        if self.comm.size > 1:
            from mpi4py import MPI

            self.comm.Allreduce(MPI.IN_PLACE, rows, op=MPI.SUM)
        return rows
