"""Measures of the logarithm of a density: what the proofs ask of its derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kspde.domains import Box
from kspde.errors import InputError, check_integer, check_number
from kspde.fem.solution import Solution
from kspde.papers.experiment import Experiment
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.quantities import Meaning, Quantity, exactly
from kspde.typing import Array

__all__ = ["Logarithms", "ScoreNorm"]

#: The directions of an integral over a disk.
_ANGLES = 64
#: The orders in x and y of all first and second derivatives.
_DERIVATIVES = ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))


@dataclass(frozen=True, kw_only=True)
class Logarithms(Measure):
    r"""The constants that estimates of ∇log ρ, ∇²log ρ and of the tails of ρ need at the end, ρ of mass 1 in the plane.

    Those of Feng's Proposition 1 on vortices, which let them decay in time, and of his Proposition 3 on Landau's
    equation, which lets them grow. Suprema are over the points where ρ exceeds a share of its maximum: farther out a
    computed density has no logarithm.

    Attributes:
        share: that share.
        points: the number of points per direction of the grid, whose splines of order 6 are differentiated.
    """

    name: ClassVar = "logarithms"
    particles: ClassVar = False
    mollified: ClassVar = False
    quantities: ClassVar = {
        "gradient_1": Meaning(
            "sup |∇log ρ|^2 / w_1",
            "Largest |∇log ρ|^2 over w_1 = (1 + log(1 + t))/(1 + t) + |x|^2/(1 + t)^2, of Proposition 1",
        ),
        "hessian_1": Meaning(
            "sup |∇^2 log ρ| / w_1",
            "Largest |∇^2 log ρ| over w_1 = (1 + log(1 + t))/(1 + t) + |x|^2/(1 + t)^2, of Proposition 1",
        ),
        "tails_1": Meaning(
            "constant of the tails", "Least C for which ρ is at most C/(1 + t) exp(−|x|^2/(8t + C)), of Proposition 1"
        ),
        "gradient_3": Meaning("sup |∇log ρ| / w_3", "Largest |∇log ρ| over w_3 = 1 + t^{1/2} + |x|, of Proposition 3"),
        "hessian_3": Meaning("sup |∇^2 log ρ| / w_4", "Largest |∇^2 log ρ| over w_4 = 1 + t + |x|^2, of Proposition 3"),
    }

    share: float = 1e-5
    points: int = 401

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0, below=1)
        check_integer("points", self.points, at_least=16)

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: also another dimension than 2.
        """
        super().check(experiment)
        if experiment.problem.model.dimension != 2:
            raise InputError('measure "logarithms" is for the plane: the model has another dimension')

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the constants."""
        from scipy.interpolate import RectBivariateSpline
        from scipy.optimize import brentq

        pde, t = task.density(), task.experiment.problem.t_end
        axes, rho = self._resolved(pde)
        seen = rho > self.share * rho.max()
        square = np.add.outer(axes[0] ** 2, axes[1] ** 2)[seen]
        log = RectBivariateSpline(*axes, np.log(np.maximum(rho, 1e-3 * self.share * rho.max())), kx=5, ky=5, s=0)
        dx, dy, dxx, dxy, dyy = (log(*axes, dx=i, dy=j)[seen] for i, j in _DERIVATIVES)
        gradient, hessian = dx**2 + dy**2, np.sqrt(dxx**2 + 2 * dxy**2 + dyy**2)
        decaying = (1 + np.log1p(t)) / (1 + t) + square / (1 + t) ** 2

        def excess(log_c: float) -> float:
            c = np.exp(log_c)
            return float(np.max(np.log(rho[seen] * (1 + t)) - log_c + square / (8 * t + c)))

        return {
            "gradient_1": exactly(np.max(gradient / decaying)),
            "hessian_1": exactly(np.max(hessian / decaying)),
            "tails_1": exactly(np.exp(brentq(excess, -20.0, 20.0))),
            "gradient_3": exactly(np.max(np.sqrt(gradient) / (1 + np.sqrt(t) + np.sqrt(square)))),
            "hessian_3": exactly(np.max(hessian / (1 + t + square))),
        }

    def _resolved(self, pde: Solution) -> tuple[list[Array], Array]:
        """Return a grid that holds all points where the density exceeds the share of its maximum, and ρ on it."""
        coarse = [np.linspace(low, high, 201) for low, high in pde.bounds.T]
        seen = pde.on_grid(coarse, outside=0.0)
        axes = []
        for axis, x in enumerate(coarse):
            most = seen.max(axis=1 - axis)
            inside = np.flatnonzero(most > 0.1 * self.share * most.max())
            axes.append(np.linspace(x[max(inside[0] - 1, 0)], x[min(inside[-1] + 1, len(x) - 1)], self.points))
        return axes, pde.on_grid(axes, outside=0.0) / sum(pde.masses.values())


@dataclass(frozen=True, kw_only=True)
class ScoreNorm(Measure):
    r"""The norms of the score :math:`\nabla\log u^\varepsilon(t)`, t = t_end, over a disk about the origin.

    Wang, Li and Huang's (1.11) bounds it in :math:`W^{1,q}`, q > 2, for t < T*, uniformly in ε. Measured are the norms
    in :math:`L^q` of :math:`\nabla\log u` and of :math:`D^2\log u`, the norm in :math:`W^{1,q}`, whose q-th power is
    the sum of their q-th powers, and the supremum of :math:`|\nabla\log u|`, of splines of order 6 through log u. The
    disk stands for the plane as far as the norms' integrals have converged: beyond R a density with tails of the power
    p adds :math:`2\pi p^q R^{2-q}/(q - 2)` to the q-th power of the first.

    Attributes:
        q: the q, more than 2.
        radius: the radius R of the disk, which the domain, a ``Box``, must hold.
    """

    name: ClassVar = "score-norm"
    particles: ClassVar = False
    mollified: ClassVar = False
    quantities: ClassVar = {
        "score_norm": Meaning("‖∇log u^ε‖_{W^{1,q}}", "Norm of the score with its derivatives, at the end"),
        "ratio": Meaning("‖∇log u^ε(t)‖_{W^{1,q}} / ‖∇log u_0‖_{W^{1,q}}", "The same over its value at the start"),
        "gradient": Meaning("‖∇log u^ε‖_{L^q}", "Norm of the score at the end"),
        "hessian": Meaning("‖D^2 log u^ε‖_{L^q}", "Norm of the score's derivatives at the end"),
        "sup": Meaning("sup |∇log u^ε|", "Largest score at the end"),
    }

    q: float = 4.0
    radius: float = 20.0

    def __post_init__(self) -> None:
        check_number("q", self.q, above=2)
        check_number("radius", self.radius, above=0)

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: also another domain than a box of the plane that holds the disk.
        """
        super().check(experiment)
        box = experiment.domain
        if not isinstance(box, Box) or box.dimension != 2 or box.cube() <= self.radius:
            raise InputError(f'measure "score-norm" needs a box of the plane with half_width > {self.radius:g}')

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the norms.

        Raises:
            InputError: a density that is not positive in the disk.
        """
        box: Any = task.experiment.domain
        cells = np.arange(box.cells + 1)
        axis = np.interp(np.linspace(0, box.cells, 3 * box.cells * box.degree + 1), cells, box.vertices)
        axis = axis[np.searchsorted(axis, -self.radius) - 1 : np.searchsorted(axis, self.radius) + 1]
        pde = task.density(saves=1)
        first, _, _ = self._norms(axis, pde.on_grid([axis, axis], t=0.0))
        norm, parts, sup = self._norms(axis, pde.on_grid([axis, axis]))
        return {
            "score_norm": exactly(norm),
            "ratio": exactly(norm / first),
            "gradient": exactly(parts[0]),
            "hessian": exactly(parts[1]),
            "sup": exactly(sup),
        }

    def _norms(self, axis: Array, u: Array) -> tuple[float, tuple[float, float], float]:
        """Return the norm in W^{1,q}, those of both derivatives in L^q, and the supremum of the first."""
        from scipy.interpolate import RectBivariateSpline

        if u.min() <= 0:
            raise InputError(f"the density is {u.min():.3g} in the disk, and has no logarithm: give a smaller tol")
        log = RectBivariateSpline(axis, axis, np.log(u), kx=5, ky=5, s=0)
        phi = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
        r = np.append(axis[(axis >= 0) & (axis < self.radius)], self.radius)[:, None]
        x, y = r * np.cos(phi), r * np.sin(phi)
        dx, dy, dxx, dxy, dyy = (log.ev(x, y, dx=i, dy=j) for i, j in _DERIVATIVES)
        slope, hessian = np.hypot(dx, dy), np.sqrt(dxx**2 + 2 * dxy**2 + dyy**2)
        first, second = (
            float(np.trapezoid(2 * np.pi * r[:, 0] * np.mean(f**self.q, axis=1), r[:, 0])) for f in (slope, hessian)
        )
        power = 1 / self.q
        return (first + second) ** power, (first**power, second**power), float(slope.max())
