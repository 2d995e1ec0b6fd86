r"""The law of two or three particles on the line, from Liouville's equation itself.

Wang, Li and Huang's (3.1), for any model of one species in dimension 1: the density u_N of N particles on R^N solves

.. math::
    \partial_t u_N = \sum_{i=1}^N \partial_i\partial_i(D_i u_N) - \partial_i(\beta_i u_N),
    \qquad u_N(0) = u_0^{\otimes N},

with D and the drift at the fields :math:`a(x_i) = \frac1N \sum_j K^\varepsilon(x_i - x_j)` of the particles. It is a
linear equation with one diffusion coefficient a direction, which the finite-element backend solves on [−L, L]^N. The
nodes of that box are the N-fold product of those of the one-dimensional solution u, so that all integrals, the relative
entropy :math:`H = \frac1N \int u_N \log(u_N/u^{\otimes N})` (their (3.4)) among them, are sums over nodes by the mass
matrix's own Gauss-Lobatto quadrature. Nothing is sampled: this is what the bound of
:mod:`kspde.evidence.entropy` and the estimates from particles must agree with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kspde.domains import Box
from kspde.errors import InputError, check_integer
from kspde.evidence.ensemble import check_solution
from kspde.evidence.entropy import defect
from kspde.initial import InitialDensity
from kspde.models import FieldValues, Model
from kspde.models.base import Array
from kspde.models.coefficients import coefficients
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import alone, collective
from kspde.runtime.saving import SaveAt

__all__ = ["NParticleLaw", "liouville"]

#: Densities below this share of their maximum, or ten times their most negative value, are round-off.
_LEAST, _NOISE = 1e-14, 10.0
#: Tolerance of the interaction's tables, and points of the splines that differentiate the mean field.
_FIELD_TOL, _POINTS = 1e-8, 8001


@dataclass(frozen=True, kw_only=True, eq=False)
class NParticleLaw:
    r"""The law of N particles on the line beside the product of their mean-field density.

    Attributes:
        times: shape (times,).
        n: N.
        entropy: H(t) per particle, exact up to the discretisation, shape (times,).
        bound: the bound on it, :math:`\int_0^t E[\frac1N\sum_i |c_i|^2/(4 D_i)]`, integrated over u_N itself.
        production: its integrand.
        rate: the derivative of H by the identity that the bound rests on, :math:`E[\frac1N\sum_i -D_i|g_i|^2 - c_i\cdot
            g_i]`.
        marginal_entropy: H_r of the marginals of r = 1, ..., N particles, shape (N, times).
        marginal_l1: their L¹ distances from :math:`u^{\otimes r}`, shape (N, times).
        nodes: the nodes of each direction, shape (nodes,).
        weights: their weights.
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
    solution: Any


@collective()
def liouville(pde: SolvedDensity, *, n: int = 2, tol: float = 1e-7, include_self: bool = True) -> NParticleLaw:
    """Solve Liouville's equation for N particles on the line, and measure its distance from the product. Collective.

    Args:
        pde: what ``solve`` returned for a model of dimension 1 on a ``Box``, saved from t = 0 to ``t_end``. Its nodes
            are those of each direction: (nodes)^N unknowns.
        n: N, 2 or 3.
        tol: tolerance of the time steps.
        include_self: whether a particle feels itself, as printed in (1.3).

    Raises:
        InputError: another dimension, several species, another domain, a mollified start, or states that are not
            saved.
        ConvergenceError: a step failed.
    """
    check_solution(pde)
    check_integer("n", n, at_least=2, at_most=3)
    model: Model = pde.model
    box = getattr(pde, "domain", None)
    if model.dimension != 1 or len(model.species) != 1:
        raise InputError(
            f"the model has dimension {model.dimension} and {len(model.species)} species: Liouville's equation is "
            "solved for one species on the line (dimension = 1)"
        )
    if not isinstance(box, Box):
        raise InputError(f"the domain is a {type(box).__name__}: give the solution on a kspde.Box")
    if pde.initial != "u0":
        raise InputError(f"initial = {pde.initial!r} is not supported here: give solve initial='u0'")
    from kspde.fem import solve
    from kspde.fem.spaces.tensor import Axis

    species = model.species[0]
    system = _ParticleSystem(pde, n, include_self)
    start = _Product(pde.u0[species], n)
    cube = Box(
        half_width=box.half_width,
        cells=box.cells,
        degree=box.degree,
        dimension=n,
        grading=box.grading,
        boundary="neumann",
    )
    times = np.asarray(pde.times)
    solution = solve(system, start, cube, t_end=pde.t_end, tol=tol, save=SaveAt(times=times), comm=pde.comm)
    axis = Axis(box.vertices, box.degree)
    grid = np.stack(np.meshgrid(*[axis.nodes] * n, indexing="ij"), axis=-1).reshape(-1, n)
    own = system.fields_at(grid)
    weights = axis.mass
    rows: dict[str, list[Any]] = {
        name: [] for name in ("production", "rate", "entropies", "l1", "marginals", "density")
    }
    for t in times.tolist():
        law = solution.on_grid([axis.nodes] * n, t=t)
        law = law / _integral(law, weights)
        u = pde.on_grid([axis.nodes], t=t)
        u = u / _integral(u, weights)
        known, score = _mean_field(pde, axis.nodes, t)
        pick = np.searchsorted(axis.nodes, grid.ravel())
        there = FieldValues(
            own.points,
            {name: values[pick] for name, values in known.values.items()},
            {name: slope[pick] for name, slope in known.gradients.items()},
        )
        c, diffusion = defect(model, species, own, there, score[pick])
        c, diffusion = c.reshape(-1, n), diffusion.reshape(-1, n)
        rows["production"].append(_integral(law * np.mean(c**2 / (4 * diffusion), axis=1).reshape(law.shape), weights))
        rows["rate"].append(_rate(law, u, c, diffusion, axis, weights))
        pairs = [_distances(_marginal(law, r, weights), _power(u, r), weights) for r in range(1, n + 1)]
        rows["entropies"].append([h for h, _ in pairs])
        rows["l1"].append([distance for _, distance in pairs])
        rows["marginals"].append(_marginal(law, 1, weights))
        rows["density"].append(u)
    found = {name: np.array(values) for name, values in rows.items()}
    from scipy.interpolate import make_interp_spline

    degree = min(3, len(times) - 1)
    integral = make_interp_spline(times, found["production"], k=degree).antiderivative()
    return NParticleLaw(
        times=times,
        n=n,
        entropy=found["entropies"][:, -1] / n,
        bound=integral(times) - integral(times[0]),
        production=found["production"],
        rate=found["rate"],
        marginal_entropy=found["entropies"].T,
        marginal_l1=found["l1"].T,
        nodes=axis.nodes,
        weights=weights,
        marginals=found["marginals"],
        density=found["density"],
        solution=solution,
    )


class _ParticleSystem(Model):
    """The system of N particles on the line, as a model of one density on R^N without fields."""

    species = ("u_N",)

    def __init__(self, pde: SolvedDensity, n: int, include_self: bool) -> None:
        self.dimension = n
        self._model = pde.model
        self._name = pde.model.species[0]
        fields = pde.model.regularised_fields(pde.eps, pde.mollifier)
        # Each point of R^N is a small system of N particles.
        self._sums = DirectSum(
            tuple(replace(f, gradient=True) for f in fields),
            group=n,
            dimension=1,
            weights={self._name: pde.masses[self._name] / n},
            tol=_FIELD_TOL,
            include_self=include_self,
            comm=alone(),
        )
        self._points: Array | None = None
        self._coefficients: tuple[Array, Array | None] = (np.zeros(0), None)

    @property
    def fields(self) -> tuple[Any, ...]:
        """None: the interaction is a function of the position in R^N."""
        return ()

    def fields_at(self, points: Array) -> FieldValues:
        """Return all fields with their gradients at all coordinates of points (m, N): arrays of length m N."""
        x = np.ascontiguousarray(points.reshape(-1, 1))
        reach = float(np.abs(x).max(initial=1.0))
        self._sums.update({self._name: x}, Extent(np.array([-reach]), np.array([reach])))
        found = self._sums.at(self._name, x)
        return FieldValues(
            x,
            {name: values.copy() for name, values in found.values.items()},
            {name: slope.copy() for name, slope in found.gradients.items()},
        )

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return D_i, shape (m, N): one coefficient a direction."""
        return self._at(c.points)[0]

    def drift(self, species: str, c: FieldValues) -> Array | None:
        """Return the drifts of all particles, shape (m, N)."""
        return self._at(c.points)[1]

    def _at(self, points: Array) -> tuple[Array, Array | None]:
        if points is not self._points:  # the solver asks for the same nodes all the time
            fields = self.fields_at(points)
            diffusion, drift = coefficients(self._model, self._name, fields)
            self._coefficients = (
                np.broadcast_to(diffusion, (points.size,)).reshape(points.shape),
                None if drift is None else drift.reshape(points.shape),
            )
            self._points = points
        return self._coefficients


class _Product(InitialDensity):
    """The N-fold tensor power of a density on the line, of mass 1."""

    def __init__(self, factor: InitialDensity, n: int) -> None:
        self._factor = factor
        self.mass = 1.0
        self.dimension = n

    def __call__(self, x: Any) -> Array:
        """Return the product at points (m, N)."""
        columns = [self._factor(column[:, None]) / self._factor.mass for column in np.asarray(x).T]
        return np.asarray(np.prod(columns, axis=0))

    def mass_outside(self, half_width: float) -> float:
        """Return the share outside the cube."""
        return float(-np.expm1(self.dimension * np.log1p(-self._factor.mass_outside(half_width))))

    def sample(self, random: Any, ids: Any) -> Array:
        """Draw the coordinates independently."""
        n = np.uint64(self.dimension)
        return np.concatenate([self._factor.sample(random, ids * n + np.uint64(i)) for i in range(int(n))], axis=1)


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
    out = u
    for _ in range(r - 1):
        out = np.multiply.outer(out, u)
    return out


def _marginal(law: Array, r: int, weights: Array) -> Array:
    while law.ndim > r:
        law = law @ weights
    return law


def _integral(f: Array, weights: Array) -> float:
    return float(_marginal(f, 1, weights) @ weights)


def _seen(p: Array) -> Any:
    return p > max(_LEAST * float(p.max()), -_NOISE * float(p.min()))


def _distances(p: Array, q: Array, weights: Array) -> tuple[float, float]:
    """Return ∫ p log(p/q) and ∫|p − q| of two densities of mass 1 at tensor nodes.

    The entropy's integrand is p log(p/q) − p + q ≥ 0, which does not cancel.
    """
    seen = _seen(p) & _seen(q)
    integrand = np.zeros_like(p)
    integrand[seen] = p[seen] * np.log(p[seen] / q[seen]) - p[seen] + q[seen]
    return _integral(integrand, weights), _integral(np.abs(p - q), weights)


def _rate(law: Array, u: Array, c: Array, diffusion: Array, axis: Any, weights: Array) -> float:
    """Return E[(1/N) Σ −D|g|² − c·g], g by the elements' own derivative of log(u_N/u^⊗N)."""
    n = law.ndim
    q = _power(u, n)
    seen = _seen(law) & _seen(q)
    ratio = np.zeros_like(law)
    ratio[seen] = np.log(law[seen] / q[seen])
    total = np.zeros_like(law)
    derivative = axis.advection.T / weights[:, None]
    for i in range(n):
        g = np.moveaxis(np.tensordot(derivative, ratio, axes=(1, i)), 0, i)
        total += -diffusion[:, i].reshape(law.shape) * g**2 - c[:, i].reshape(law.shape) * g
    return _integral(np.where(seen, law * total, 0.0), weights) / n
