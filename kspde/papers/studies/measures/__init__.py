r"""What can be measured at a point of a study. A measure is a function of a task that returns quantities by name.

Each measure works on one process, with the communicator ``task.comm`` of that process alone; points run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kspde.domains import check_no_walls
from kspde.errors import InputError
from kspde.papers.studies.measures.base import Task
from kspde.papers.studies.measures.densities import convergence, mollification
from kspde.papers.studies.measures.particles import chaos, coupling, distance, fluctuations, weak_error
from kspde.papers.studies.quantities import Meaning, Quantity
from kspde.papers.studies.study import Problem

__all__ = ["MEASURES", "Measure", "check_problem", "measured"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure and what it returns.

    Attributes:
        function: task, then its options as keywords -> quantities by name.
        quantities: by name what each is.
        particles: whether it simulates particles.
        mollified: whether it needs a mollifier.
    """

    function: Callable[..., dict[str, Quantity]]
    quantities: Mapping[str, Meaning]
    particles: bool
    mollified: bool


MEASURES: dict[str, Measure] = {
    "coupling": Measure(
        function=coupling,
        quantities={
            "sup": Meaning(
                symbol="E max_i sup_t |X_i − X̄_i|",
                words="Largest distance of a particle from its mean-field twin, over all particles and times",
            ),
            "probability": Meaning(
                symbol="P(max_i sup_t |X_i − X̄_i| > cN^{−α})",
                words="Share of the systems in which a particle leaves its mean-field twin by more than cN^{−α}",
            ),
            "mean_square": Meaning(
                symbol="E sup_t |X_i − X̄_i|^2",
                words="Mean square of the largest distance in time of one particle from its mean-field twin",
            ),
            "minimal_distance": Meaning(
                symbol="E min_{i≠j} |X_i − X_j|",
                words="Least distance between two particles at the end",
            ),
            "markov": Meaning(
                symbol="N^{2α} E max_i sup_t |X_i − X̄_i|^2",
                words="Markov's bound on the probability that a particle leaves its twin by more than N^{−α}",
            ),
        },
        particles=True,
        mollified=True,
    ),
    "chaos": Measure(
        function=chaos,
        quantities={
            "l1": Meaning(
                symbol="‖u_{N,1} − u^ε‖_{L^1}",
                words="Distance of the one-particle law from the density, coupled estimate",
            ),
            "entropy": Meaning(
                symbol="bound on H_N/N",
                words="Bound on the relative entropy H_N of the N-particle law, per particle",
            ),
            "total_entropy": Meaning(
                symbol="bound on H_N", words="Bound on the relative entropy H_N of the N-particle law"
            ),
            "certified_l1": Meaning(
                symbol="bound on ‖u_{N,1} − u^ε‖_{L^1}",
                words="Bound on the distance of the one-particle law from the density, from the bound on the entropy",
            ),
        },
        particles=True,
        mollified=True,
    ),
    "fluctuations": Measure(
        function=fluctuations,
        quantities={
            **{
                f"moment_{m}": Meaning(
                    symbol=f"E |N^{{−1}} Σ_j h_{{ij}}|^{2 * m}",
                    words=f"Moment of order {2 * m} of the fluctuations of independent copies",
                )
                for m in (1, 2, 3)
            },
            **{
                f"constant_{m}": Meaning(
                    symbol=f"E |N^{{−1}} Σ_j h_{{ij}}|^{2 * m} · {'N' if m == 1 else f'N^{m}'} / ‖ψ‖_∞^{2 * m}",
                    words=f"The constant C({m}) that this moment needs",
                )
                for m in (1, 2, 3)
            },
        },
        particles=True,
        mollified=True,
    ),
    "distance": Measure(
        function=distance,
        quantities={
            name + suffix: Meaning(symbol=symbol + mark, words=words + more)
            for name, symbol, words in (
                (
                    "l1",
                    "E ‖K_h * μ_N − u‖_{L^1}",
                    "Distance in L^1 of the particles' density estimate from the density",
                ),
                ("energy", "E D(μ_N, u)", "Energy distance of the particles from the density"),
            )
            for suffix, mark, more in (
                ("", "", ""),
                ("_floor", ", independent draws", ": its floor, as many independent draws"),
                ("_without_noise", ", without noise", ", without the particles' noise"),
            )
        },
        particles=True,
        mollified=True,
    ),
    "mollification": Measure(
        function=mollification,
        quantities={
            f"l{p}": Meaning(
                symbol=f"‖u^ε − u‖_{{L^{p}}}", words=f"What the mollifier changes of the density at the end, in L^{p}"
            )
            for p in (1, 2)
        },
        particles=False,
        mollified=True,
    ),
    "convergence": Measure(
        function=convergence,
        quantities={
            "l1": Meaning(symbol="‖u_h − u‖_{L^1}", words="Distance from a finer solution at the end"),
            "time": Meaning(
                symbol="‖u_{h,tol} − u_h‖_{L^1}",
                words="Distance from the solution on the same mesh with the reference's tolerance",
            ),
            "point": Meaning(
                symbol="|u_h(x_0) − u(x_0)|", words="Error at a point, against a number known from elsewhere"
            ),
        },
        particles=False,
        mollified=False,
    ),
    "weak-error": Measure(
        function=weak_error,
        quantities={
            "second_moment": Meaning(
                symbol="relative error of E |X_T|^2",
                words="Second moment of the particles over that of the density, minus 1, by the control variate χ = 0",
            ),
            "free": Meaning(
                symbol="relative error of E |Y_T|^2",
                words="The same for χ = 0 itself, where the law is known and the scheme exact: scatter alone",
            ),
        },
        particles=True,
        mollified=True,
    ),
}


def check_problem(name: str, problem: Problem) -> None:
    """Refuse a problem that a measure is not for.

    Raises:
        InputError: no mollifier, no particles, particles in a domain with walls, several species.
    """
    measure = MEASURES[name]
    if measure.mollified and problem.solve.get("eps") is None:
        raise InputError(f'measure "{name}" needs a mollifier: give [regularisation] eps')
    if measure.particles and not problem.simulate:
        raise InputError(f'measure "{name}" needs particles: give [particles] n and dt')
    if measure.particles:
        check_no_walls(problem.domain)
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
