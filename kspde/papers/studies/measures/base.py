"""What a measure is: a small frozen object that measures quantities at one point of a study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kspde.domains import Domain, check_no_walls
from kspde.errors import InputError
from kspde.fem.solve import solve
from kspde.initial import InitialDensity
from kspde.models import Model
from kspde.papers.studies.quantities import Meaning, Quantity
from kspde.runtime.saving import SaveAt

__all__ = ["Measure", "Setup", "Task", "measured"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A system, and how it is computed.

    Attributes:
        model: the model.
        u0: the initial density.
        domain: the truncated domain.
        solve: the other keyword arguments of ``kspde.solve``, ``t_end`` among them.
        simulate: the keyword arguments of ``kspde.simulate``; empty where there are no particles.
    """

    model: Model
    u0: InitialDensity
    domain: Domain
    solve: Mapping[str, Any]
    simulate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One point of a study as a measure sees it.

    Attributes:
        setup: the system.
        seed: the seed of the random numbers.
        comm: a communicator of one process.
    """

    setup: Setup
    seed: int
    comm: Any

    def density(self, *, saves: int = 0, **changes: Any) -> Any:
        """Return the solved density.

        Args:
            saves: the number of intervals between saved states, 0 for none but the last state.
            **changes: keyword arguments of ``kspde.solve`` in place of the setup's, and ``model`` and ``domain``.
        """
        options = {**self.setup.solve, **changes}
        model, domain = options.pop("model", self.setup.model), options.pop("domain", self.setup.domain)
        if saves:
            options["save"] = SaveAt(times=np.linspace(0.0, options["t_end"], saves + 1))
        return solve(model, self.setup.u0, domain, comm=self.comm, **options)


class Measure(ABC):
    """What is measured at a point. The fields of a measure are the keys of [measure] in a study file.

    It works on one process, with the communicator ``task.comm`` of that process alone; points run side by side.

    Attributes:
        name: its name in :data:`kspde.papers.studies.MEASURES` and in study files.
        quantities: the meaning of each quantity, by name.
        particles: whether it simulates particles.
        mollified: whether it needs a mollifier.
    """

    name: ClassVar[str]
    quantities: ClassVar[Mapping[str, Meaning]]
    particles: ClassVar[bool] = True
    mollified: ClassVar[bool] = True

    @classmethod
    def takes(cls, key: str) -> bool:
        """Return whether the measure uses a key of [particles]."""
        return key in ("n", "dt", "field_tol")

    @abstractmethod
    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities, by name."""

    def check(self, setup: Setup) -> None:
        """Raise unless the measure is made for a setup.

        Raises:
            InputError: no mollifier, no particles, particles in a domain with walls, or several species.
        """
        if self.mollified and setup.solve.get("eps") is None:
            raise InputError(f'measure "{self.name}" needs a mollifier: give [regularisation] eps')
        if self.particles and not setup.simulate:
            raise InputError(f'measure "{self.name}" needs particles: give [particles] n and dt')
        if self.particles:
            check_no_walls(setup.domain)
        if setup.simulate and not self.particles:
            raise InputError(f'[particles] has no effect with measure "{self.name}": leave it out')
        if len(setup.model.species) > 1:
            raise InputError(f'measure "{self.name}" is for one species: the model has {len(setup.model.species)}')


def measured(measure: Measure, task: Task) -> dict[str, Quantity]:
    """Return what a measure finds at a task.

    Raises:
        InputError: the setup is not one that the measure is made for.
        ConvergenceError: a solve failed.
    """
    measure.check(task.setup)
    return measure.at(task)
