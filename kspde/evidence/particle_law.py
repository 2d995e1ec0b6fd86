r"""The law of two or three particles on the line, from Liouville's equation itself.

Wang, Li and Huang's (3.1), for any model of one species in dimension 1: the density u_N of N particles on R^N solves

.. math::
    \partial_t u_N = \sum_{i=1}^N \partial_i\partial_i(D_i u_N) - \partial_i(\beta_i u_N),
    \qquad u_N(0) = u_0^{\otimes N},

with D and the drift at the fields :math:`a(x_i) = \frac1N \sum_j K^\varepsilon(x_i - x_j)` of the particles. It is a
linear equation with one diffusion coefficient per direction, which the finite-element backend solves on [−L, L]^N. The
nodes of that box are the N-fold product of those of the one-dimensional solution u, so that all integrals, the relative
entropy :math:`H = \frac1N \int u_N \log(u_N/u^{\otimes N})` (their (3.4)) among them, are sums over nodes by the mass
matrix's own Gauss-Lobatto quadrature. Nothing is sampled: this is what the bound of
:mod:`kspde.evidence.entropy` and the estimates from particles must agree with.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_integer
from kspde.evidence.defect import defect
from kspde.evidence.ensemble import check_solution
from kspde.evidence.result import Result
from kspde.fem.solution import Solution
from kspde.fem.solve import solve
from kspde.initial import InitialDensity
from kspde.models import Field, FieldValues, Model
from kspde.models.coefficients import coefficients
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.protocols import SolvedDensity
from kspde.radial import check_bounded
from kspde.runtime.parallel import alone, collective
from kspde.runtime.saving import SaveAt
from kspde.typing import Array, Ids, Mask, RandomNumbers

__all__ = ["NParticleLaw", "liouville"]

#: Densities below this share of their maximum, or ten times their most negative value, are round-off.
_LEAST, _NOISE = 1e-14, 10.0
#: The tolerance of the interaction's tables, and the points of the splines that differentiate the mean field.
_FIELD_TOL, _POINTS = 1e-8, 8001


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NParticleLaw(Result):
    r"""The law of N particles on the line, compared with the product of their mean-field density.

    Attributes:
        times: the times, shape (times,).
        n: N.
        entropy: H(t) per particle, exact up to the discretisation, shape (times,).
        bound: the bound on it, :math:`\int_0^t E[\frac1N\sum_i |c_i|^2/(4 D_i)]`, integrated over u_N itself.
        production: the integrand of the bound.
        rate: the derivative of H by the identity that the bound rests on, :math:`E[\frac1N\sum_i -D_i|g_i|^2 - c_i\cdot
            g_i]`.
        marginal_entropy: H_r of the marginals of r = 1, ..., N particles, shape (N, times).
        marginal_l1: the L¹ distances of the marginals from :math:`u^{\otimes r}`, shape (N, times).
        nodes: the nodes of each direction, shape (nodes,).
        weights: the weights of the nodes.
        marginals: the density of one particle at the nodes, shape (times, nodes).
        density: u at the nodes, of mass 1, shape (times, nodes).
        solution: the solution on R^N.
    """

    times: Array
    n: int
    entropy: Array
    bound: Array
    production: Array
    rate: Array
    marginal_entropy: Array
    marginal_l1: Array
    nodes: Array
    weights: Array
    marginals: Array
    density: Array
    solution: Solution

    def _lines(self) -> dict[str, str]:
        l1 = ", ".join(f"{value:.4g}" for value in self.marginal_l1[:, -1])
        return {
            f"Law of {self.n} particles on the line": f"at t = {self.times[-1]:g}, {len(self.nodes)}^{self.n} nodes",
            "entropy per particle": f"{self.entropy[-1]:.4g}",
            "bound on it": f"{self.bound[-1]:.4g}",
            f"L1 distances of the laws of 1 to {self.n} particles": l1,
        }


@collective()
def liouville(pde: SolvedDensity, *, n: int = 2, tol: float = 1e-7, include_self: bool = True) -> NParticleLaw:
    """Solve Liouville's equation for N particles on the line, and measure its distance from the product. Collective.

    Args:
        pde: the result of ``solve`` for a model of dimension 1 on a ``Box``, saved from t = 0 to ``t_end``. Its nodes
            are those of each direction: (nodes)^N unknowns.
        n: the number N of particles, 2 or 3.
        tol: the tolerance of the time steps.
        include_self: whether a particle feels itself, as printed in (1.3).

    Raises:
        InputError: another dimension, several species, moments, another domain, a mollified start, or states that are
            not saved.
        ConvergenceError: a step failed.
    """
    check_solution(pde)
    check_integer("n", n, at_least=2, at_most=3)
    model = pde.model
    box: Any = getattr(pde, "domain", None)
    if model.dimension != 1 or len(model.species) != 1:
        raise InputError(
            f"the model has dimension {model.dimension} and {len(model.species)} species: Liouville's equation is "
            "solved for one species on the line (dimension = 1)"
        )
    if model.moments:
        raise InputError(
            f"the model has moments ({model.moments[0].name}), which are not covered here: use entropy_bound"
        )
    if not getattr(box, "structured", False):
        raise InputError(f"the domain is a {type(box).__name__}: give the solution on a kspde.Box")
    if pde.initial != "u0":
        raise InputError(f"initial = {pde.initial!r} is not supported here: give solve initial='u0'")
    times = np.asarray(pde.times)
    system = _ParticleSystem(pde, n, include_self)
    box.cube()
    cube = replace(box, dimension=n, boundary="neumann")
    start = _Product(pde.u0[pde.model.species[0]], n)
    solution = solve(system, start, cube, t_end=pde.t_end, tol=tol, save=SaveAt(times=times), comm=pde.comm)
    product = _AgainstProduct(pde, system, solution, box.vertices, box.degree)
    found = [product.at(t) for t in times.tolist()]
    rows = {name: np.array([each[name] for each in found]) for name in found[0]}
    rows |= {name: rows[name].T for name in ("marginal_entropy", "marginal_l1")}
    return NParticleLaw(
        times=times,
        n=n,
        entropy=rows["marginal_entropy"][-1] / n,
        bound=_integrals(rows["production"], times),
        nodes=product.nodes,
        weights=product.weights,
        solution=solution,
        **rows,
    )


class _AgainstProduct:
    """The law on R^N against the product of the density, by the Gauss-Lobatto rule of the box's nodes."""

    def __init__(
        self, pde: SolvedDensity, system: _ParticleSystem, law: Solution, vertices: Array, degree: int
    ) -> None:
        from kspde.fem.spaces.tensor import Axis  # needs basix

        axis = Axis(vertices, degree)
        self.nodes: Array = axis.nodes
        self.weights: Array = axis.mass
        self._derivative = axis.slope.matrix.toarray()
        self._pde, self._law, self._n = pde, law, system.dimension
        grid = np.stack(np.meshgrid(*[axis.nodes] * self._n, indexing="ij"), axis=-1).reshape(-1, self._n)
        self._own = system.fields_at(grid)
        self._node_of = np.searchsorted(axis.nodes, grid.ravel())

    def at(self, t: float) -> dict[str, npt.ArrayLike]:
        """Return by name what :class:`NParticleLaw` has of a time."""
        n, nodes = self._n, self.nodes
        law, u = self._law.on_grid([nodes] * n, t=t), self._pde.on_grid([nodes], t=t)
        law, u = law / self._integral(law), u / self._integral(u)
        c, diffusion = self._defect(t)
        shape = (*law.shape, n)
        production = np.mean(c**2 / (4 * diffusion), axis=1).reshape(law.shape)
        pairs = [self._distances(self._marginal(law, r), _power(u, r)) for r in range(1, n + 1)]
        return {
            "production": self._integral(law * production),
            "rate": self._rate(law, u, c.reshape(shape), diffusion.reshape(shape)),
            "marginal_entropy": [h for h, _ in pairs],
            "marginal_l1": [distance for _, distance in pairs],
            "marginals": self._marginal(law, 1),
            "density": u,
        }

    def _defect(self, t: float) -> tuple[Array, Array]:
        """Return c_i and D_i at the nodes of R^N, shape (nodes^N, N)."""
        model = self._pde.model
        known, score = _mean_field(self._pde, self.nodes, t)
        at_grid = FieldValues(
            self._own.points,
            {name: values[self._node_of] for name, values in known.values.items()},
            {name: slope[self._node_of] for name, slope in known.gradients.items()},
            t,
        )
        c, diffusion = defect(model, model.species[0], replace(self._own, t=t), at_grid, score[self._node_of])
        return c.reshape(-1, self._n), diffusion.reshape(-1, self._n)

    def _rate(self, law: Array, u: Array, c: Array, diffusion: Array) -> float:
        """Return E[(1/N) Σ −D|g|² − c·g], g by the elements' own derivative of log(u_N/u^⊗N)."""
        resolved, ratio = _log_ratio(law, _power(u, self._n))
        total = np.zeros_like(law)
        for i in range(self._n):
            g = np.moveaxis(np.tensordot(self._derivative, ratio, axes=(1, i)), 0, i)
            total += -diffusion[..., i] * g**2 - c[..., i] * g
        return self._integral(np.where(resolved, law * total, 0.0)) / self._n

    def _distances(self, p: Array, q: Array) -> tuple[float, float]:
        """Return ∫ p log(p/q) and ∫|p − q| of two densities of mass 1.

        The entropy's integrand is p log(p/q) − p + q ≥ 0, which does not cancel.
        """
        resolved, ratio = _log_ratio(p, q)
        return self._integral(np.where(resolved, p * ratio - p + q, 0.0)), self._integral(np.abs(p - q))

    def _marginal(self, law: Array, r: int) -> Array:
        return reduce(np.matmul, [self.weights] * (law.ndim - r), law)

    def _integral(self, f: Array) -> float:
        return float(self._marginal(f, 0))


def _integrals(rates: Array, times: Array) -> Array:
    """Return the integrals of a spline through the rates, from the first time to each."""
    from scipy.interpolate import make_interp_spline

    integral = make_interp_spline(times, rates, k=min(3, len(times) - 1)).antiderivative()
    return np.asarray(integral(times) - integral(times[0]))


class _ParticleSystem(Model):
    """The system of N particles on the line, as a model of one density on R^N without fields."""

    species = ("u_N",)

    def __init__(self, pde: SolvedDensity, n: int, include_self: bool) -> None:
        self.dimension = n
        self._model = pde.model
        for f in pde.problem.fields:
            check_bounded(f.name, f.kernel, 1, gradient=True)
        self._name = pde.model.species[0]
        # Each point of R^N is a small system of N particles.
        self._sums = DirectSum(
            tuple(replace(f, gradient=True) for f in pde.problem.fields),
            group=n,
            dimension=1,
            weights={self._name: pde.masses[self._name] / n},
            tol=_FIELD_TOL,
            include_self=include_self,
            comm=alone(),
        )
        self._points: Array | None = None
        self._fields: FieldValues
        self._coefficients: tuple[Array, Array | None]

    @property
    def fields(self) -> tuple[Field, ...]:
        """None: the interaction is a function of the position in R^N."""
        return ()

    def fields_at(self, points: Array) -> FieldValues:
        """Return all fields with their gradients at all coordinates of points (m, N): arrays of length m N."""
        x = np.ascontiguousarray(points.reshape(-1, 1))
        reach = float(np.abs(x).max(initial=1.0))
        self._sums.update({self._name: x}, Extent(np.array([-reach]), np.array([reach])))
        found = self._sums.at(self._name, x)
        return FieldValues(x, deepcopy(found.values), deepcopy(found.gradients))

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return D_i, shape (m, N): one coefficient per direction."""
        return self._at(c)[0]

    def drift(self, species: str, c: FieldValues) -> Array | None:
        """Return the drifts of all particles, shape (m, N)."""
        return self._at(c)[1]

    def _at(self, c: FieldValues) -> tuple[Array, Array | None]:
        points, known = c.points, c.points is self._points  # the solver asks for the same nodes at every step
        if not known:
            self._points, self._fields = points, self.fields_at(points)
        if not known or c.t != self._fields.t:
            self._fields = replace(self._fields, t=c.t)
            diffusion, drift = coefficients(self._model, self._name, self._fields)
            self._coefficients = (
                np.broadcast_to(diffusion.ravel(), (points.size,)).reshape(points.shape),
                None if drift is None else drift.reshape(points.shape),
            )
        return self._coefficients


class _Product(InitialDensity):
    """The N-fold tensor power of a density on the line, of mass 1."""

    def __init__(self, factor: InitialDensity, n: int) -> None:
        self._factor = factor
        self.mass = 1.0
        self.dimension = n

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the product at points (m, N)."""
        columns = [self._factor(column[:, None]) / self._factor.mass for column in np.asarray(x).T]
        return np.asarray(np.prod(columns, axis=0))

    def mass_outside(self, half_width: float) -> float:
        """Return the share outside the cube."""
        return float(-np.expm1(self.dimension * np.log1p(-self._factor.mass_outside(half_width))))

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw the coordinates independently."""
        n = self.dimension
        return np.concatenate(
            [self._factor.sample(random, ids * np.uint64(n) + np.uint64(i)) for i in range(n)], axis=1
        )


def _mean_field(pde: SolvedDensity, nodes: Array, t: float) -> tuple[FieldValues, Array]:
    """Return the density's fields with their gradients at nodes of the line, and its score, (nodes, 1)."""
    from scipy.interpolate import make_interp_spline

    x = np.linspace(nodes[0], nodes[-1], _POINTS)
    values, gradients = {}, {}
    for field in pde.model.fields:
        spline = make_interp_spline(x, pde.signal_on_grid([x], field=field.name, t=t), k=5)
        values[field.name] = spline(nodes)
        gradients[field.name] = spline.derivative()(nodes)[:, None]
    u = pde.on_grid([x], t=t)
    floor = max(_LEAST * float(u.max()), -_NOISE * float(u.min()))
    score = make_interp_spline(x, np.log(np.maximum(u, floor)), k=5).derivative()(nodes)
    return FieldValues(nodes[:, None], values, gradients), score[:, None]


def _power(u: Array, r: int) -> Array:
    return reduce(np.multiply.outer, [u] * r)


def _log_ratio(p: Array, q: Array) -> tuple[Mask, Array]:
    """Return where both densities are resolved, and log(p/q) there, 0 elsewhere."""
    resolved = np.logical_and(*(u > max(_LEAST * float(u.max()), -_NOISE * float(u.min())) for u in (p, q)))
    return resolved, np.log(np.divide(p, q, out=np.ones_like(p), where=resolved))
