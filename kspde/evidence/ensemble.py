r"""Many independent copies of one N-particle system, advanced together: expectations are means over them.

Replica r holds the particles of ids rN, ..., rN + N − 1 of each species, so that all noise is independent and replica 0
is what ``simulate`` gives for the same seed. Each rank advances whole replicas, which share nothing but the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kspde.comparable import bounds_of
from kspde.domains import check_no_walls
from kspde.errors import ConvergenceError, InputError, check_integer, check_number
from kspde.evidence.replicas import DirectByReplica, ReplicaModel, SideBySideByReplica, Stacked, StackedByReplica
from kspde.models import Field
from kspde.particles.fields.accuracy import spacing
from kspde.particles.fields.base import FieldEvaluator
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.near_far import POINTS_PER_PARTICLE
from kspde.particles.fields.splitting import blur_of
from kspde.particles.mean_field import MeanFieldEvaluator
from kspde.particles.observation import Tallies
from kspde.particles.run import Observer, Progress, Run, schedule
from kspde.particles.schemes import EulerMaruyama
from kspde.particles.start import Seed
from kspde.particles.system import System
from kspde.particles.weights import ParticleWeights
from kspde.protocols import SolvedDensity
from kspde.radial import check_bounded, is_zero
from kspde.runtime.compiled import use_threads
from kspde.runtime.limits import MOST_REPLICAS
from kspde.runtime.parallel import limited_threads
from kspde.typing import Array, Ids

__all__ = ["Ensemble", "check_solution"]

#: Systems up to this size sum over all pairs, and larger ones with fewer pairs than so many times the points of a grid
#: for the whole domain: narrow mollifiers, for 500 particles and eps = .06 in 6 s instead of 38. On a line, with
#: kernels that end, replicas stand side by side, from so many particles on.
_DIRECT, _PAIRS_PER_POINT, _SIDE_BY_SIDE = 400, 4, 100


def check_solution(pde: Any, *, growth: bool = False, relaxing: bool = False, signed: bool = False) -> None:
    """Raise unless ``pde`` is a solution that is known at all times from 0 on.

    Raises:
        InputError: another kind of object, a domain with walls, fields that relax, growth or densities of both signs
            unless that is covered, or states that are not saved.
    """
    for name in ("model", "problem", "u0", "initial", "times", "on_grid", "signal_on_grid"):
        if not hasattr(pde, name):
            raise InputError(f"pde is a {type(pde).__name__} without {name}: give what kspde.solve returned")
    if getattr(pde, "domain", None) is not None:
        check_no_walls(pde.domain)
    if pde.model.has_growth and not growth:
        raise InputError(
            f"{pde.model} has growth, so that its particles have no probability law whose entropy this bounds: use a "
            "model without growth, or kspde.coupled_distance"
        )
    names = [f.name for f in pde.model.fields if f.tau > 0]
    if names and not relaxing:
        raise InputError(f"field {names[0]!r} has tau > 0, which is not covered here: use tau = 0")
    both = [name for name, u in pde.u0.items() if u.signed]
    if both and not signed:
        raise InputError(
            f"the density of {both[0]!r} has both signs, which is not covered here: give each sign a species of its "
            "own, such as two_signs=True"
        )
    if len(pde.times) < 2 or pde.times[0] > 0:
        raise InputError(
            f"pde is saved at t = {', '.join(f'{t:g}' for t in pde.times[:3])} only: it is needed from 0 to t_end, "
            f"give solve save=kspde.SaveAt(times=numpy.linspace(0, {pde.t_end:g}, 26))"
        )


def _end(fields: tuple[Field, ...], dimension: int) -> bool:
    """Return whether all fields are on a line, and their kernels decay faster than exponentially."""
    return dimension == 1 and all(f.tau == 0 and math.isinf(f.kernel.decay_rate) for f in fields)


class _Replicas(System):
    """A system whose fields may be asked for before a run needs them: they are computed once per step."""

    def observe(self, tallies: Tallies | None = None) -> tuple[str, int] | None:
        """Observe the particles. Collective."""
        self._prepared = False
        return super().observe(tallies)

    def prepare(self, t: float) -> None:
        """Compute the fields of the observed positions, unless that has been done. Collective."""
        if not self._prepared:
            super().prepare(t)
            self._prepared = True


class _Look(Observer):
    """Calls a function with step and time, where all fields are prepared."""

    name = "look"

    def __init__(self, call: Callable[[int, float], None]) -> None:
        super().__init__()
        self._call = call

    def __call__(self, run: Run) -> None:
        """Call it. Collective."""
        try:
            for system in run.systems.values():
                system.prepare(run.t)
            self._call(run.step, run.t)
        except ConvergenceError as error:
            raise ConvergenceError(f"step {run.step}, t = {run.t:.6g}: {error}") from None


@dataclass(kw_only=True)
class Ensemble:
    """R replicas of the system of N particles per species whose mean field is a given solution.

    Attributes:
        pde: the solution.
        n: N.
        dt: the largest step.
        replicas: R.
        seed: the seed of the random numbers.
        coupled: whether mean-field particles with the same starting points and noise move beside the particles.
        source: the density that moves these; the solution unless given.
        gradients: whether all fields come with their gradients.
        include_self: whether j = i is in the fields' sums.
        field_tol: the tolerance of the fields, as for ``simulate``.
        progress: a function called after every step with t/t_end.
        growth: whether the model may have growth.
        relaxing: whether it may have fields with tau > 0.
        signed: whether densities may have both signs: their particles have weights of the sign that they are drawn
            with.

    Raises:
        InputError: a value out of range, or a kernel that is singular at the origin.
    """

    pde: SolvedDensity
    n: int
    dt: float
    replicas: int
    seed: int
    coupled: bool = False
    source: SolvedDensity | None = None
    gradients: bool = False
    include_self: bool = True
    field_tol: float = 1e-6
    progress: Callable[[float], None] | None = None
    growth: bool = False
    relaxing: bool = False
    signed: bool = False

    def __post_init__(self) -> None:
        pde, n, count = self.pde, self.n, self.replicas
        check_solution(pde, growth=self.growth, relaxing=self.relaxing, signed=self.signed)
        check_integer("n", n, at_least=1)
        check_number("dt", self.dt, above=0)
        check_integer("replicas", count, at_least=2, at_most=MOST_REPLICAS)
        seed = Seed(self.seed)
        self.comm = comm = pde.comm
        self.times: Array = schedule(pde.t_end, self.dt, (pde.t_end,))
        use_threads(comm)
        species = pde.model.species
        first, last = (count * r // comm.size for r in (comm.rank, comm.rank + 1))
        #: the replica of each of this rank's particles of a species, shape (n_local,)
        self.replica_of = np.repeat(np.arange(first, last), n)
        ids: dict[str, Ids] = {
            name: np.arange((k * count + first) * n, (k * count + last) * n, dtype=np.uint64)
            for k, name in enumerate(species)
        }
        self.fields = tuple(replace(f, gradient=True) if self.gradients else f for f in pde.problem.fields)
        for f in self.fields:
            check_bounded(f.name, f.kernel, pde.model.dimension, gradient=f.gradient)
        self._options: dict[str, Any] = {
            "dimension": pde.model.dimension,
            "weights": {name: mass / n for name, mass in pde.problem.masses.items()},
            "tol": self.field_tol,
            "comm": comm,
            "moments": pde.model.moments,
        }
        own, weights = self._own(seed, ids)
        evaluators: dict[str, FieldEvaluator] = {"particles": own}
        if self.coupled:
            evaluators["mean_field"] = self.mean_field()
        start = seed.starting_points(pde.u0, ids, pde.problem.mollified_start, comm)
        self.systems = {
            label: _Replicas(
                model=ReplicaModel(pde.model) if pde.model.moments and label == "particles" else pde.model,
                evaluator=evaluator,
                positions={name: x.copy() for name, x in start.items()},
                ids=ids,
                counts=dict.fromkeys(species, n * count),
                noise=seed.noise,
                comm=comm,
                weights=weights.get(label),
            )
            for label, evaluator in evaluators.items()
        }

    def _own(self, seed: Seed, ids: Mapping[str, Ids]) -> tuple[FieldEvaluator, dict[str, ParticleWeights]]:
        """Return what sums the fields over the particles of each replica, and by label the weights that grow."""
        pde, n, shares = self.pde, self.n, self._options["weights"]
        make: Any = partial(StackedByReplica, replicas=len(self.replica_of) // n)
        if n >= _SIDE_BY_SIDE and _end(self.fields, pde.model.dimension):
            make = SideBySideByReplica
        elif self._direct and not any(f.tau > 0 for f in self.fields):
            make = DirectByReplica
        grown: dict[str, ParticleWeights] = {}
        marks = {name: seed.signed_weights(u, ids[name], n, self.comm) for name, u in pde.u0.items() if u.signed}
        weights = {**shares, **marks}
        if pde.model.has_growth:
            weights = {name: np.full(len(ids[name]), share) for name, share in shares.items()}
            each = ParticleWeights(masses=pde.problem.masses, each=weights, growing=True)
            grown = {"particles": each, "mean_field": each.copy()}
        options = {**self._options, "weights": weights}
        return make(self.fields, include_self=self.include_self, group=n, **options), grown

    @property
    def _direct(self) -> bool:
        """Whether sums over all pairs are faster than grids: there are few particles, or mollifiers are narrow."""
        d, fields = self.pde.model.dimension, [f for f in self.fields if not is_zero(f.kernel)]
        if self.n <= _DIRECT or any(math.isfinite(f.kernel.support) for f in fields):
            return self.n <= _DIRECT
        h = min((spacing(f.kernel, d, gradient=f.gradient, tol=self.field_tol) for f in fields), default=math.inf)
        points = float(np.prod(np.ptp(bounds_of(self.pde), axis=0) / h))
        if all(blur_of(f.kernel) for f in fields):
            points = min(points, POINTS_PER_PARTICLE[d] * self.n)
        return self.n**2 < _PAIRS_PER_POINT * points

    @property
    def weights(self) -> dict[str, float]:
        """The weight of a particle of each species, where there is no growth and a density has one sign."""
        found: dict[str, float] = self._options["weights"]
        return found

    def mean_field(self) -> FieldEvaluator:
        """Return what evaluates the fields of the solution, or of ``source``, at particles."""
        return MeanFieldEvaluator(self.fields, source=self.source or self.pde, **self._options)

    @property
    def particles(self) -> System:
        """The interacting particles of all replicas."""
        return self.systems["particles"]

    def evaluator(self, fields: tuple[Field, ...], weights: Mapping[str, Array]) -> FieldEvaluator:
        """Return what sums other fields over the particles of each replica, with weights that may be overwritten."""
        own = {"include_self": self.include_self, "group": self.n, **self._options, "weights": weights, "moments": ()}
        return (DirectSum if self._direct else partial(Stacked, replicas=len(self.replica_of) // self.n))(fields, **own)

    def run(self, look: Callable[[int, float], None] | None = None) -> None:
        """Advance to ``t_end``; ``look`` is called with step and time where all fields are prepared. Collective.

        Raises:
            InputError: fields that need too large a grid, or that are not known where the particles start.
            ConvergenceError: a coefficient or a position that is not finite.
        """
        observers: list[Observer] = [] if look is None else [_Look(look)]
        if self.progress is not None:
            observers.append(Progress(self.progress))
        run = Run(self.systems, scheme=EulerMaruyama(self.dt), times=self.times, observers=observers)
        with limited_threads(self.comm, useful=1):
            run.start()
            run.finish()
