r"""What can be measured at a point of a study. A measure is a function of a task that returns quantities by name.

Each measure works on one process, with the communicator ``task.comm`` of that process alone; points run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kspde.errors import InputError
from kspde.studies.particle_measures import chaos, coupling, fluctuations, weak_error
from kspde.studies.pde_measures import convergence, mollification
from kspde.studies.quantities import Quantity
from kspde.studies.study import Problem
from kspde.studies.task import Task

__all__ = ["MEASURES", "Measure", "check_problem", "measured"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure and what it returns.

    Attributes:
        function: task, then its options as keywords -> quantities by name.
        quantities: by name what each is, in a line.
        particles: whether it simulates particles.
        mollified: whether it needs a mollifier.
    """

    function: Callable[..., dict[str, Quantity]]
    quantities: Mapping[str, str]
    particles: bool
    mollified: bool


MEASURES: dict[str, Measure] = {
    "coupling": Measure(
        function=coupling,
        quantities={
            "sup": "E maxᵢ supₜ |Xᵢ − X̄ᵢ|",
            "probability": "P(maxᵢ supₜ |Xᵢ − X̄ᵢ| > N⁻ᵅ)",
            "mean_square": "E supₜ |Xᵢ − X̄ᵢ|² of one particle",
            "minimal_distance": "E min over i ≠ j of |Xᵢ − Xⱼ| at the end",
            "markov": "N²ᵅ E (maxᵢ supₜ |Xᵢ − X̄ᵢ|)², which bounds that probability (Markov)",
        },
        particles=True,
        mollified=True,
    ),
    "chaos": Measure(
        function=chaos,
        quantities={
            "l1": "L¹ distance of the one-particle law from the density, coupled estimate",
            "entropy": "bound on the relative entropy per particle of the N-particle law",
            "total_entropy": "the same of all N particles",
            "certified_l1": "√(2H₁): certified bound on the L¹ distance, from the entropy bound",
        },
        particles=True,
        mollified=True,
    ),
    "fluctuations": Measure(
        function=fluctuations,
        quantities={
            "moment_1": "E |(1/N) Σⱼ hᵢⱼ|², i.i.d. copies",
            "moment_2": "E |(1/N) Σⱼ hᵢⱼ|⁴, i.i.d. copies",
            "moment_3": "E |(1/N) Σⱼ hᵢⱼ|⁶, i.i.d. copies",
            "constant_1": "moment_1 N / sup|ψ|², the C(1) it needs",
            "constant_2": "moment_2 N² / sup|ψ|⁴, the C(2) it needs",
            "constant_3": "moment_3 N³ / sup|ψ|⁶, the C(3) it needs",
        },
        particles=True,
        mollified=True,
    ),
    "mollification": Measure(
        function=mollification,
        quantities={"l1": "L¹ norm of uᵋ − u at the end", "l2": "L² norm of uᵋ − u at the end"},
        particles=False,
        mollified=True,
    ),
    "convergence": Measure(
        function=convergence,
        quantities={
            "l1": "L¹ distance from a finer solution at the end",
            "time": "L¹ distance from the solution on the same mesh with the reference's tolerance",
            "point": "error at a point, against a number known from elsewhere",
        },
        particles=False,
        mollified=False,
    ),
    "weak-error": Measure(
        function=weak_error,
        quantities={
            "second_moment": "E |X(T)|² over the density's second moment, minus 1; χ = 0 is the control variate",
            "free": "the same for χ = 0 itself, where the law is known and the scheme exact",
        },
        particles=True,
        mollified=True,
    ),
}


def check_problem(name: str, problem: Problem) -> None:
    """Refuse a problem that a measure is not for.

    Raises:
        InputError: no mollifier, no particles, several species.
    """
    measure = MEASURES[name]
    if measure.mollified and problem.solve.get("eps") is None:
        raise InputError(f'measure "{name}" needs a mollifier: give [regularisation] eps')
    if measure.particles and not problem.simulate:
        raise InputError(f'measure "{name}" needs particles: give [particles] n and dt')
    if problem.simulate and not measure.particles:
        raise InputError(f'[particles] has no effect with measure "{name}": leave it out')
    if len(problem.model.species) > 1:
        raise InputError(f'measure "{name}" is for one species: the model has {len(problem.model.species)}')


def measured(name: str, task: Task, options: Mapping[str, Any]) -> dict[str, Quantity]:
    """Return what a measure finds at a task.

    Raises:
        InputError: the problem is not one that the measure is for.
        ConvergenceError: a solve failed.
    """
    check_problem(name, task.problem)
    return MEASURES[name].function(task, **options)
