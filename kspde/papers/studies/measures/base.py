"""What a measure is: a small frozen object that measures quantities at one point of a study."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kspde.domains import box_of_particles
from kspde.errors import InputError
from kspde.fem.solution import Solution
from kspde.papers.experiment import Experiment
from kspde.papers.studies.quantities import Meaning, Quantity
from kspde.particles import Cloud
from kspde.problem import Problem
from kspde.runtime.saving import SaveAt
from kspde.typing import Comm

__all__ = ["Measure", "Task", "measured"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One point of a study as a measure sees it.

    Attributes:
        experiment: the problem, and how it is computed.
        seed: the seed of the random numbers.
        comm: the communicator of the ranks that compute the point together.
        spent: the seconds that each solution took, whatever the number of replicas.
    """

    experiment: Experiment
    seed: int
    comm: Comm
    spent: list[float] = field(default_factory=list)

    def density(self, problem: Problem | None = None, *, saves: int = 0, **changes: Any) -> Solution:
        """Return the solved density.

        Args:
            problem: another problem than the experiment's.
            saves: the number of intervals between snapshots, 0 for none but the last.
            **changes: keyword arguments of ``kspde.solve`` in place of the experiment's.
        """
        chosen = problem or self.experiment.problem
        if saves:
            changes["save"] = SaveAt(times=np.linspace(0.0, chosen.t_end, saves + 1))
        begin = time.perf_counter()
        found = self.experiment.density(**chosen.arguments, **changes, comm=self.comm)
        self.spent.append(time.perf_counter() - begin)
        return found

    def cloud(self, problem: Problem | None = None, **changes: Any) -> Cloud:
        """Return simulated particles, of another problem than the experiment's or with other arguments."""
        chosen = problem or self.experiment.problem
        return self.experiment.cloud(**chosen.arguments, seed=self.seed, **changes, comm=self.comm)


class Measure(ABC):
    """What is measured at a point. The fields of a measure are the keys of [measure] in a study file.

    It works on the ranks of ``task.comm``, and gives the same on each; points run side by side.

    Attributes:
        name: its name in :data:`kspde.papers.studies.MEASURES` and in study files.
        quantities: the meaning of each quantity, by name.
        particles: whether it simulates particles.
        mollified: whether it needs a mollifier where a field would have one.
        several: whether it takes models of several species.
    """

    name: ClassVar[str]
    quantities: ClassVar[Mapping[str, Meaning]]
    particles: ClassVar[bool] = True
    mollified: ClassVar[bool] = True
    several: ClassVar[bool] = False

    @classmethod
    def takes(cls, key: str) -> bool:
        """Return whether the measure uses a key of [particles]."""
        return key in ("n", "dt", "field_tol")

    @property
    def fewest(self) -> int:
        """The least number of replicas, of a measure that has replicas."""
        return 2

    @abstractmethod
    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities, by name."""

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: no mollifier, no particles, walls that they do not know, or several species.
        """
        problem, species = experiment.problem, experiment.problem.model.species
        if self.mollified and problem.mollifier is None and any(f.mollified for f in problem.fields):
            raise InputError(f'measure "{self.name}" needs a mollifier: give [regularisation] eps')
        if self.particles and experiment.simulate is None:
            raise InputError(f'measure "{self.name}" needs particles: give [particles] n and dt')
        if self.particles:
            box_of_particles(experiment.domain)
        if experiment.simulate is not None and not self.particles:
            raise InputError(f'[particles] has no effect with measure "{self.name}": leave it out')
        if len(species) > 1 and not self.several:
            raise InputError(f'measure "{self.name}" is for one species: the model has {len(species)}')


def measured(measure: Measure, task: Task) -> dict[str, Quantity]:
    """Return what a measure finds at a task.

    Raises:
        InputError: the experiment is not one that the measure is made for.
        ConvergenceError: a solve failed.
    """
    measure.check(task.experiment)
    return measure.at(task)
