r"""The adjoint of a linearised density equation, backward in time from a statistic.

With all fields c = K * u of the density u, small changes v of it obey

.. math:: \partial_t v = \Delta(Dv) - \nabla\cdot(bv) + \Delta(u\,\delta D) - \nabla\cdot(u\,\delta b), \qquad
    \delta D = \sum_f \Big(\partial_{c_f}D\,K_f * v + \partial_{\nabla c_f}D\cdot\nabla K_f * v\Big),

δb likewise, so that :math:`\int\psi v` is constant if, the kernels being even,

.. math:: -\partial_t\psi = D\Delta\psi + b\cdot\nabla\psi + \mathcal K\psi, \qquad
    \mathcal K\psi = \sum_f K_f * \big(g_f - \nabla\cdot F_f\big), \qquad
    g_f = u\,\big(\partial_{c_f}D\,\Delta\psi + \partial_{c_f}b\cdot\nabla\psi\big),

F_f the same with the derivatives in ∇c_f. A moment m = ∫φu adds φ ∫u(∂_m D Δψ + ∂_m b·∇ψ), and a matrix D has D : ∇²ψ
in place of DΔψ. With several species ψ_i belongs to species i; 𝒦 of species j sums the fields whose source it is, over
the coefficients of all species. A field that relaxes, τ∂_t c = −H(c − K * u) with H = −Δ + ρ², has an adjoint signal
p(T) = 0 with :math:`-\tau\partial_t p = -Hp + \tau(g - \nabla\cdot F)`, and 𝒦 then has (1/τ) H K * p.

Everything is the transposed form of what the semidiscretisation has: Δψ and ∇ψ are those of its matrices. Derivatives
of coefficients are central differences with increments of 1e-5 of a field's size, so that their relative errors are of
the order of 1e-10. The integrals over time of

.. math:: \int 2u\,\nabla\psi\cdot D\nabla\psi, \qquad \int 2u\,\psi\,\mathcal K\psi

are advanced with ψ, by the same scheme. Since :math:`\frac{d}{dt}\int u\psi^2` is their difference, the first follows
from the second and the ends too. So it is taken: without interaction the variance is then that of φ under u(T) to the
last digit. What the sum of nodal gradients gives in its place differs by the ``defect``, an error of the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from kspde.fem.effective_diffusion import with_field
from kspde.fem.observer import Observer, RunState
from kspde.fem.resume import CheckpointWriter
from kspde.fem.schemes import Adaptive
from kspde.fem.schemes.base import Run
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.snapshot import Knot, interpolated
from kspde.matrices import eigenvalue_ends, product_of
from kspde.models import FieldValues
from kspde.models.coefficients import coefficients, moment_integrand
from kspde.runtime.parallel import together
from kspde.runtime.saving import SaveAt
from kspde.typing import Array

__all__ = ["Backward", "integrate_backward"]

#: The increment of central differences relative to a value, and the share of the largest that is added to it.
_INCREMENT, _SMALL = 1e-5, 1e-2

#: The component of a gradient, or of a moment; None for the value of a field.
type Index = tuple[int, ...] | None


class Backward(NamedTuple):
    """What the adjoint equation finds for each species, integrals that are not yet multiplied by masses.

    Attributes:
        first: ∫uφ and ∫uφ² at the end, shape (2, species).
        start: ∫uψ and ∫uψ² at t = 0, with what ψ has from initial fields that the particles make, shape (2, species).
        noise: ∫∫2u ∇ψ·D∇ψ, by the identity.
        defect: the amount by which it exceeds the sum over nodal gradients.
        steps: the number of time steps.
    """

    first: Array
    start: Array
    noise: Array
    defect: Array
    steps: int


class _Move(NamedTuple):
    """A number that a field or a moment has at a node, and the fields with its increment added and subtracted."""

    name: str
    place: Index
    increment: Array
    moved: list[FieldValues]


class _Derivative(NamedTuple):
    """Derivatives of D and b of a species in such a number, at this rank's nodes."""

    name: str
    place: Index
    diffusion: Array
    drift: Array | None


@dataclass(frozen=True)
class _Linearised:
    """Densities at one time, with the coefficients of each species and their derivatives."""

    t: float
    densities: Array
    diffusion: list[Array]
    drift: list[Array | None]
    derivatives: list[list[_Derivative]]


class _Adjoint(Semidiscretisation):
    """The equation of ψ, and of p for relaxing fields, as a semidiscretisation in the time s = T − t."""

    def __init__(self, knots: Sequence[Knot]) -> None:
        self._density = knots[0].system
        super().__init__(self._density.model, self._density.fields, self._density.space)
        self._knots, self._end = knots, knots[-1].t
        self._last: _Linearised | None = None
        with together(self.space.comm):
            self._shapes = {m.name: moment_integrand(m, self.space.points) for m in self.model.moments}

    def rate(self, state: Array, t: float) -> Array:
        """Return M dψ/ds at the time s = ``t``, and put the integrals over space into ``grown``. Collective."""
        at = self._linearised(max(self._end - t, 0.0))
        unknowns, space = self.nodal(state), self.space
        out, integrals = np.empty_like(state), []
        own: list[Array] = []
        sources = {f.name: np.zeros((len(space.points), 1 + space.dimension)) for f in self.fields}
        numbers = {m.name: np.zeros(self._shapes[m.name].shape[1:]) for m in self.model.moments}
        for i, u in enumerate(at.densities):
            second, slope = self._second(unknowns[i], at.diffusion[i].ndim), space.gradient(unknowns[i])
            own.append(_generator(at.diffusion[i], at.drift[i], second, slope))
            integrals.append(2.0 * u * _dot(slope, product_of(at.diffusion[i], slope)))
            for name, place, diffusion, drift in at.derivatives[i]:
                response = u * _generator(diffusion, drift, second, slope)
                if name in sources:
                    sources[name][:, 0 if place is None else 1 + place[0]] += response
                elif place is not None:
                    numbers[name][place] += np.vdot(space.mass.ravel(), response)
            lowest, highest = eigenvalue_ends(at.diffusion[i])
            for row, values in zip(self._extremes, (highest, -lowest), strict=True):
                row[i] = max(row[i], float(np.max(values, initial=-np.inf)))
        coupled = self._coupled(unknowns, state, sources, numbers, out)
        for i, u in enumerate(at.densities):
            integrals.append(2.0 * u * unknowns[i].ravel() * coupled[i])
            out[i] = space.weights * space.state((own[i] + coupled[i]).reshape(space.mass.shape))
        self.grown.append(space.integral(*(x.reshape(space.mass.shape) for x in integrals)))
        return out

    def _coupled(
        self, unknowns: Array, state: Array, sources: dict[str, Array], numbers: dict[str, Array], out: Array
    ) -> Array:
        """Return 𝒦ψ of all species, (species, n), and write the rates of relaxing rows. Collective."""
        space = self.space
        coupled = np.zeros((len(self.model.species), len(space.points)))
        for f in self.fields:
            source = sources[f.name][:, 0].reshape(space.mass.shape)
            if f.gradient:
                source = source + self._nodal(space.divergence(sources[f.name][:, 1:]))
            operator, to = self._operators[f.name], coupled[self._source(f)]
            if f not in self.relaxing:
                to += operator.apply(operator.prepare(source, None), False)[0]
                continue
            row, nothing = self._row(f), np.zeros_like(unknowns[0])
            out[row] = operator.relaxation(operator.prepare(nothing, None), state[row]) / f.tau
            out[row] += space.weights * operator.state(source)
            felt = operator.felt(unknowns[row])
            to += operator.nodal(felt / space.weights).ravel() / f.tau
        for m in self.model.moments:
            total = space.total(np.atleast_1d(numbers[m.name])).reshape(numbers[m.name].shape)
            values = self._shapes[m.name]
            coupled[self._source(m)] += values.reshape(len(values), -1) @ total.ravel()
        return coupled

    def at_start(self, unknowns: Array) -> Array:
        """Return ψ at t = 0 with p's share where the initial field is that of the particles. Collective."""
        psi = unknowns[: len(self.model.species)].copy()
        for f in self.relaxing:
            if f.start is None:
                operator = self._operators[f.name]
                made = operator.apply(operator.prepare(unknowns[self._row(f)], None), False)[0]
                psi[self._source(f)] += made.reshape(psi.shape[1:])
        return psi

    def refuse_backward(self, unknowns: Array, t: float, highest: Array, lowest: Array, tol: float) -> None:
        """Do nothing: D is that of a density that has been solved."""

    def _linearised(self, t: float) -> _Linearised:
        """Return the coefficients at a time and their derivatives; the last are kept. Collective."""
        if self._last is None or self._last.t != t:
            unknowns = interpolated(self._knots, t).unknowns
            c = self._density.field_values(unknowns, t)
            moves = list(self._moves(c))
            n = len(self.model.species)
            with together(self.space.comm):
                now = [self._pointwise(species, c) for species in self.model.species]
                derivatives = [[self._derivative(species, *move) for move in moves] for species in self.model.species]
            self._last = _Linearised(
                t=t,
                densities=unknowns[:n].reshape(n, -1),
                diffusion=[diffusion for diffusion, _ in now],
                drift=[drift for _, drift in now],
                derivatives=derivatives,
            )
        return self._last

    def _moves(self, c: FieldValues) -> Iterator[_Move]:
        """Yield what D and b are differentiated in. Collective: the largest values are those of all ranks."""
        for f in self.fields:
            if f.value:
                h = self._increment(c[f.name])
                yield _Move(f.name, None, h, [with_field(c, f, c[f.name] + sign * h) for sign in (1, -1)])
            if f.gradient:
                slope = c.gradient(f.name)
                h = self._increment(np.linalg.norm(slope, axis=1))
                for axis, unit in enumerate(np.eye(slope.shape[1])):
                    step = h[:, None] * unit
                    moved = [with_field(c, f, gradient=slope + sign * step) for sign in (1, -1)]
                    yield _Move(f.name, (axis,), h, moved)
        for name, now in c.moments.items():
            h = self._increment(np.abs(np.atleast_1d(now)).max(keepdims=True).ravel()[:1])
            for index in np.ndindex(np.shape(now)):
                step = np.zeros(np.shape(now))
                step[index] = h[0]
                moved = [replace(c, moments={**c.moments, name: now + sign * step}) for sign in (1, -1)]
                yield _Move(name, index, h, moved)

    def _increment(self, values: Array) -> Array:
        """Return the increments of central differences, (n,). Collective."""
        largest = float(self.space.maximum(np.array([np.max(np.abs(values), initial=0.0)]))[0])
        return np.asarray(_INCREMENT * (np.abs(values) + _SMALL * largest + (largest == 0.0)))

    def _derivative(self, species: str, name: str, place: Index, h: Array, moved: list[FieldValues]) -> _Derivative:
        """Return the central differences of D and b. Rank-local."""
        (high, fast), (low, slow) = (self._pointwise(species, there) for there in moved)
        drift = None if fast is None or slow is None else (fast - slow) / (2.0 * h[:, None])
        return _Derivative(name, place, (high - low) / (2.0 * h.reshape(-1, *(1,) * (high.ndim - 1))), drift)

    def _pointwise(self, species: str, c: FieldValues) -> tuple[Array, Array | None]:
        """Return D and b at this rank's nodes. Rank-local."""
        diffusion, drift = coefficients(self.model, species, c)
        n = len(c.points)
        return diffusion if diffusion.ndim > 1 else np.broadcast_to(diffusion, (n,)), drift

    def _second(self, psi: Array, form: int) -> Array:
        """Return Δψ, (n,), all ∂_a²ψ, (n, d), or all ∂_a∂_bψ, (n, d, d), at the nodes: of D's own form. Collective."""
        n, d = self.space.points.shape
        if form == 1:
            return self._nodal(self.space.diffusion(psi.ravel())).ravel()
        out = np.zeros((n, d) if form == 2 else (n, d, d))
        pairs = [(a,) for a in range(d)] if form == 2 else list(combinations_with_replacement(range(d), 2))
        for pair in pairs:
            w = np.zeros_like(out)
            for place in (pair, pair[::-1]):
                w[:, *place] += 0.5 * psi.ravel()
            values = self._nodal(self.space.diffusion(w)).ravel()
            for place in (pair, pair[::-1]):
                out[:, *place] = values
        return out

    def _nodal(self, dual: Array) -> Array:
        """Return the nodal values that a dual vector stands for. Collective."""
        return self.space.nodal(dual / self.space.weights)


def integrate_backward(
    knots: Sequence[Knot], statistics: Array, tol: float, progress: Callable[[float], None] | None = None
) -> Backward:
    """Integrate the adjoint equation from the last knot's time to t = 0. Collective.

    Args:
        knots: the density's snapshots, from t = 0, on one grid.
        statistics: φ of each species at this rank's nodes, (species, n).
        tol: the tolerance of a step, relative to the norm of φ in L².
        progress: called with the share of the time that has passed.

    Raises:
        InputError: coefficients that cannot be evaluated.
        ConvergenceError: a step failed.
    """
    system, end, space = _Adjoint(knots), knots[-1].t, knots[0].system.space
    n = len(system.model.species)
    start = np.zeros_like(knots[0].unknowns)
    start[:n] = statistics.reshape(start[:n].shape)
    observer = Observer(system, end, SaveAt(), progress, "ignore")
    state = RunState(unknowns=start, growth=np.zeros(2 * n))
    run = Run(system, state, observer, CheckpointWriter(None, system, observer), {}, lambda: None)
    details = Adaptive(tol=tol).integrate(run)
    assert state.growth is not None

    def sums(u: Array, psi: Array) -> Array:
        return space.integral(*(u * psi), *(u * psi * psi)).reshape(2, n)

    first, last = sums(knots[-1].unknowns[:n], start[:n]), sums(knots[0].unknowns[:n], state.unknowns[:n])
    summed, coupled = state.growth.reshape(2, n)
    noise = first[1] - last[1] + coupled
    return Backward(
        first=first,
        start=sums(knots[0].unknowns[:n], system.at_start(state.unknowns)),
        noise=noise,
        defect=noise - summed,
        steps=int(details["steps"]),
    )


def _generator(diffusion: Array, drift: Array | None, second: Array, slope: Array) -> Array:
    """Return D : ∇²ψ + b·∇ψ, (n,)."""
    out = (diffusion * second).reshape(len(second), -1).sum(axis=1)
    return np.asarray(out if drift is None else out + _dot(drift, slope))


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("na,na->n", a, b))
