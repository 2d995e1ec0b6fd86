"""Measures of densities: what the mollifier changes, and how fast the finite elements converge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from kspde.distances.target import Target
from kspde.domains import Box, Domain
from kspde.errors import InputError, check_integer, check_number
from kspde.fem.solution import Solution
from kspde.models import LinearDriver
from kspde.papers import theory
from kspde.papers.experiment import Experiment
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.quantities import Meaning, Quantity, exactly
from kspde.runtime.saving import SaveAt
from kspde.typing import Array

__all__ = [
    "ConstantDensity",
    "Convergence",
    "InteractionRange",
    "Mollification",
    "Overshoot",
]

#: Points per direction of the grid that distances are summed on, over the part of the domain that holds the mass.
_POINTS = {1: 4001, 2: 401, 3: 97}


@dataclass(frozen=True, kw_only=True)
class Mollification(Measure):
    r"""The L¹ and L² norms of :math:`u^\varepsilon - u` at t_end, per unit of mass: (1.9) against (1.1), on one mesh.

    For a symmetric mollifier :math:`j^\varepsilon * u = u + \tfrac{\sigma^2\varepsilon^2}{2}\Delta u +
    O(\varepsilon^4)`, so order 2 is expected where u is smooth.
    """

    name: ClassVar = "mollification"
    particles: ClassVar = False
    quantities: ClassVar = {
        f"l{p}": Meaning(f"‖u^ε − u‖_{{L^{p}}}", f"What the mollifier changes of the density at the end, in L^{p}")
        for p in (1, 2)
    }

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the norms."""
        l1, l2 = _distances(task.density(), task.density(problem=task.experiment.problem.local))
        return {"l1": exactly(l1), "l2": exactly(l2)}


@dataclass(frozen=True, kw_only=True)
class Overshoot(Mollification):
    """As "mollification", and sup u^ε over all times and places, in units of the largest initial density.

    Qi's Lemma 4.2 bounds ``supremum`` by 1 for every kernel and ε.
    """

    name: ClassVar = "overshoot"
    quantities: ClassVar = {
        **Mollification.quantities,
        "supremum": Meaning("sup_{t,x} u^ε / max u_0", "Largest density until the end over the largest at the start"),
    }

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the norms and the supremum."""
        local, pde = task.density(problem=task.experiment.problem.local), task.density()
        l1, l2 = _distances(pde, local)
        highest = pde.diagnostics["maximum"]
        return {"l1": exactly(l1), "l2": exactly(l2), "supremum": exactly(highest.max() / highest[0].max())}


@dataclass(frozen=True, kw_only=True)
class ConstantDensity(Measure):
    r"""What becomes of a small disturbance of a constant density ū, beside the linear theory, for a linear driver.

    On a closed or periodic box from a ``tent``, whose waves :math:`k = j\pi/L`, j odd, are all excited; the wave that
    is followed is the one at which :math:`\hat K(\varepsilon k)` is least, and so the first to become unstable
    (:mod:`kspde.papers.theory.volatility`); shorter ones then grow faster. Its rate σ is that between the times τ and
    2τ, where the solution ends: by the linear theory no wave grows, nor this one decays, by more than e until τ, at
    most t_end/2.
    """

    name: ClassVar = "constant-density"
    particles: ClassVar = False
    quantities: ClassVar = {
        "growth": Meaning("σ", "Rate at which the critical wave on the constant density grows"),
        "scaled": Meaning(
            "2σ/(ν^2 k^2)", "Rate of the critical wave over that at which diffusion alone damps it", beside="linear"
        ),
        "linear": Meaning("2σ_{lin}/(ν^2 k^2)", "The same rate by the linear theory"),
    }

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: also another driver, or a domain other than a closed or periodic box.
        """
        super().check(experiment)
        self._driver(experiment)
        self._box(experiment)

    def _driver(self, experiment: Experiment) -> LinearDriver:
        driver = getattr(experiment.problem.model, "driver", None)
        if not isinstance(driver, LinearDriver):
            raise InputError('measure "constant-density" is for density-dependent-volatility with a linear driver')
        return driver

    def _box(self, experiment: Experiment) -> Box:
        box = experiment.domain
        if not isinstance(box, Box) or box.boundary == "decay":
            raise InputError('measure "constant-density" is for a constant: give a closed or periodic box')
        return box

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the rates."""
        experiment = task.experiment
        problem, box = experiment.problem, self._box(experiment)
        driver, (u0,), length = self._driver(experiment), problem.u0.values(), box.cube()
        mean = u0.mass / (2 * length)
        k: Array = np.pi / length * np.arange(1, box.nodes_per_direction // 4, 2, dtype=np.float64)
        hat = np.ones_like(k) if problem.mollifier is None else problem.mollifier.symbol(k**2)
        critical = int(np.argmin(hat))
        wave = float(k[critical])
        rates = theory.LinearDriver(a=driver.a, b=driver.b).growth_rate(mean, k, hat)
        rate, damping = float(rates[critical]), 0.5 * (wave * driver.volatility(mean)) ** 2
        tau = min(0.5 * problem.t_end, 1.0 / abs(rate), 1.0 / max(float(rates.max()), 1e-300))
        pde = task.density(replace(problem, t_end=2 * tau), save=SaveAt(times=(tau, 2 * tau)))
        x = np.linspace(-length, length, 1 + 16 * box.nodes_per_direction)
        first, last = (abs(float(np.trapezoid(np.cos(wave * x) * pde.on_grid((x,), t=t)))) for t in (tau, 2 * tau))
        growth = math.log(last / first) / tau
        return {
            "growth": exactly(growth),
            "scaled": exactly(growth / damping),
            "linear": exactly(rate / damping),
        }


@dataclass(frozen=True, kw_only=True)
class InteractionRange(Measure):
    r"""Distances over time of :math:`u_\eta` from the local u, in the norms of Chen, Daus and Jüngel's (10).

    These are :math:`\sup_t\|u_\eta - u\|_{L^2}` over the snapshots and :math:`\|\nabla(u_\eta - u)\|_{L^2L^2}`, squares
    summed over all species, both from values on one grid over the mass at the end. (10) promises order 1 of the
    sum of both; a symmetric V, as theirs are, gives 2.

    Attributes:
        saves: the number of intervals between snapshots.
    """

    name: ClassVar = "interaction-range"
    particles: ClassVar = False
    several: ClassVar = True
    quantities: ClassVar = {
        "l2": Meaning("‖u_η − u‖_{L^∞ L^2}", "What the range of the interaction changes of the densities"),
        "gradient": Meaning("‖∇(u_η − u)‖_{L^2 L^2}", "What the range of the interaction changes of their gradients"),
    }

    saves: int = 10

    def __post_init__(self) -> None:
        check_integer("saves", self.saves, at_least=1)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the norms."""
        local = task.density(problem=task.experiment.problem.local, saves=self.saves)
        mollified = task.density(saves=self.saves)
        axes = _axes(local)
        spacing = [float(axis[1] - axis[0]) for axis in axes]
        squares = np.zeros((2, self.saves + 1))
        for k, t in enumerate(local.times):
            for species in local.species:
                values = [pde.on_grid(axes, species, t, outside=0.0) for pde in (mollified, local)]
                difference = values[0] - values[1]
                slopes = np.atleast_2d(np.array(np.gradient(difference, *spacing)))
                squares[:, k] += np.square(difference).sum(), np.square(slopes).sum()
        squares *= np.prod(spacing)
        return {
            "l2": exactly(float(np.sqrt(squares[0].max()))),
            "gradient": exactly(float(np.sqrt(np.trapezoid(squares[1], local.times)))),
        }


@dataclass(frozen=True, kw_only=True)
class Convergence(Measure):
    """L¹ distances at t_end from finer solutions on a ``Box``, per unit of mass, and the error where a value is known.

    ``l1`` is the distance from a solution finer in space and time, ``time`` that from one on the same mesh with the
    tight tolerance: the error of the time steps alone.

    Attributes:
        reference_cells: the cells per direction of the finer solution.
        reference_degree: the degree of the finer solution.
        reference_tol: the tolerance of the finer solution.
        reference_point: a point where the density is known.
        reference_value: the density there at t_end.
    """

    name: ClassVar = "convergence"
    particles: ClassVar = False
    mollified: ClassVar = False
    quantities: ClassVar = {
        "l1": Meaning("‖u_h − u‖_{L^1}", "Distance from a finer solution at the end"),
        "time": Meaning(
            "‖u_{h,tol} − u_h‖_{L^1}", "Distance from the solution on the same mesh with the reference's tolerance"
        ),
        "point": Meaning("|u_h(x_0) − u(x_0)|", "Error at a point, against a number known from elsewhere"),
    }

    reference_cells: int
    reference_degree: int
    reference_tol: float
    reference_point: Sequence[float] | None = None
    reference_value: float | None = None

    def __post_init__(self) -> None:
        check_integer("reference_cells", self.reference_cells, at_least=1)
        check_integer("reference_degree", self.reference_degree, at_least=1)
        check_number("reference_tol", self.reference_tol, above=0)
        if (self.reference_point is None) != (self.reference_value is None):
            raise InputError("reference_point and reference_value belong together: give both or neither")

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: also a domain without a number of cells.
        """
        super().check(experiment)
        experiment.domain.with_cells(self.reference_cells, self.reference_degree)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the distances."""
        domain = task.experiment.domain
        coarse = task.density()
        finer = domain.with_cells(self.reference_cells, self.reference_degree)
        axes, fine = _reference(task, finer, self.reference_tol)
        _, exact_in_time = _reference(task, domain, self.reference_tol, axes)
        values, mass = coarse.on_grid(axes, outside=0.0), _mass(coarse)
        out = {
            "l1": exactly(_norms(values, fine, axes, mass)[0]),
            "time": exactly(_norms(values, exact_in_time, axes, mass)[0]),
        }
        if self.reference_point is not None and self.reference_value is not None:
            out["point"] = exactly(abs(float(coarse.evaluate([list(self.reference_point)])[0]) - self.reference_value))
        return out


#: Reference solutions of this process on their grids, which the points of a study share: what they solve, and values.
_KEPT: list[tuple[Any, tuple[list[Array], Array]]] = []
_MOST_KEPT = 64


def _reference(task: Task, domain: Domain, tol: float, axes: list[Array] | None = None) -> tuple[list[Array], Array]:
    """Return axes and the density on them, solved on a domain with a tolerance, or kept from an earlier point."""
    options = {name: value for name, value in task.experiment.solve.items() if name not in ("tol", "scheme", "dt")}
    key = (task.experiment.problem, domain, options, tol, axes is None, task.comm)
    for other, kept in _KEPT:
        if other == key:
            return kept
    solution = task.density(domain=domain, tol=tol, scheme="adaptive", dt=None)
    grid = _axes(solution) if axes is None else axes
    if len(_KEPT) >= _MOST_KEPT:
        _KEPT.clear()
    _KEPT.append((key, (grid, solution.on_grid(grid, outside=0.0))))
    return _KEPT[-1][1]


def _axes(pde: Solution) -> list[Array]:
    """Return axes over what holds the mass: eight standard deviations about its mean, as far as the domain reaches."""
    lower, upper = np.full((2, pde.model.dimension), [[np.inf], [-np.inf]])
    second, mass = (np.atleast_1d(pde.diagnostics[name][-1]) for name in ("second_moment", "mass"))
    for species, second_moment in zip(pde.species, second / mass, strict=True):
        target = Target.of(pde, species)
        (least, most), grid = target.box, target.mass_grid()
        u = target.on_grid(grid.axes)
        mean = np.array([float((u * x).sum() / u.sum()) for x in np.meshgrid(*grid.axes, indexing="ij", sparse=True)])
        reach = 8.0 * np.sqrt(second_moment - mean @ mean)
        lower = np.minimum(lower, np.maximum(mean - reach, least))
        upper = np.maximum(upper, np.minimum(mean + reach, most))
    return [np.linspace(a, b, _POINTS[pde.model.dimension]) for a, b in zip(lower, upper, strict=True)]


def _mass(pde: Solution) -> float:
    return sum(pde.masses.values())


def _distances(pde: Solution, local: Solution) -> tuple[float, float]:
    """Return the L¹ and L² norms of the difference at the end per unit of mass."""
    axes = _axes(local)
    return _norms(pde.on_grid(axes, outside=0.0), local.on_grid(axes, outside=0.0), axes, _mass(local))


def _norms(a: Array, b: Array, axes: list[Array], mass: float) -> tuple[float, float]:
    """Return the L¹ and L² norms of a − b per unit of mass."""
    volume = float(np.prod([axis[1] - axis[0] for axis in axes]))
    difference = np.abs(a - b) / mass
    return float(difference.sum()) * volume, float(np.sqrt(np.square(difference).sum() * volume))
