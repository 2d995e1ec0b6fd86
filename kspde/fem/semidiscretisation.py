"""The semidiscretisation of a model on a space: what every time-stepping scheme needs of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from kspde.domains import box_in_words
from kspde.errors import InputError, place_of
from kspde.fem.coefficients import CoefficientError, checked, checked_growth
from kspde.fem.effective_diffusion import EffectiveDiffusion, effective_diffusion, refuse_backward
from kspde.fem.spaces.base import FieldOperator, Space
from kspde.fem.spaces.local import LocalOperator
from kspde.initial import InitialDensity
from kspde.kernels import Kernel
from kspde.matrices import eigenvalue_ends
from kspde.models import Field, FieldValues, Model, Moment
from kspde.models.coefficients import coefficients, growth_of, moment_integrand
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["Semidiscretisation"]

#: Rounding of a field, in units of its largest value.
_ROUNDING = 1e-13
#: Share of the largest effective diffusion below 0 that the differences of its derivatives may leave.
_BACKWARD = 1e-5


class Semidiscretisation:
    r"""A model's equations, discretised in space.

    With nodes as quadrature points, :math:`M\dot u = -K(D u) + \sum_a G_a (b_a u)`, where M is diagonal, :math:`K_{ij}
    = \int \nabla\varphi_i\cdot\nabla\varphi_j` and :math:`(G_a)_{ij} = \int \partial_a\varphi_i\,\varphi_j`; products
    are nodal. Both terms are orthogonal to constants, so mass is conserved exactly; growth adds :math:`M (r u)`, and
    nothing else changes the mass. Fields that relax (``Field.tau`` > 0) are unknowns beside the densities: *unknowns*
    are nodal values of shape (species + relaxing fields, ...).

    Args:
        model: the model.
        fields: its fields, regularised or not.
        space: the finite-element space.

    Attributes:
        grown: ∫ r u of each species at the last rates, where the model has growth.

    Raises:
        InputError: a kernel cannot be applied on this space.
    """

    def __init__(self, model: Model, fields: tuple[Field, ...], space: Space) -> None:
        self.model = model
        self.fields = fields
        self.space = space
        # sup D and sup (−D) of each species over the local nodes since the last ``diffusion_range``
        self._extremes = np.empty((2, len(model.species)))
        self.forget_diffusion()
        self.grown: deque[Array] = deque(maxlen=8)
        #: fields that are multiples of the density at the same place
        self.local = tuple(f for f in fields if f.kernel.local)
        self._operators: dict[str, FieldOperator] = {
            f.name: LocalOperator(space, f.kernel)
            if f in self.local
            else space.field_operator(f.kernel, f.name, relaxes=f.tau > 0, given=f.start is not None)
            for f in fields
        }
        #: relaxing fields, in the order of their rows among the unknowns
        self.relaxing = tuple(f for f in fields if f.tau > 0)
        self._moments = {m.name: (self._source(m), _moment_weights(space, m)) for m in model.moments}

    def start(self, densities: Array) -> Array:
        """Return the unknowns at t = 0 for initial densities: relaxing fields start as they say, or from K * u_0.

        Collective.
        """
        rows = [*densities]
        for f in self.relaxing:
            if f.start is not None:
                rows.append(_initial_field(self.space, f.name, f.start))
                continue
            operator = self._operators[f.name]
            prepared = operator.prepare(densities[self._source(f)], None)
            rows.append(operator.apply(prepared, False)[0].reshape(self.space.mass.shape))
        return np.stack(rows)

    def state(self, unknowns: Array) -> Array:
        """Return the state of nodal unknowns. Collective."""
        n = len(self.model.species)
        rows = [self.space.state(u) for u in unknowns[:n]]
        rows += [self._operators[f.name].state(c) for f, c in zip(self.relaxing, unknowns[n:], strict=True)]
        return np.stack(rows)

    def nodal(self, state: Array) -> Array:
        """Return the nodal unknowns of a state. Collective."""
        n = len(self.model.species)
        rows = [self.space.nodal(y) for y in state[:n]]
        rows += [self._operators[f.name].nodal(c) for f, c in zip(self.relaxing, state[n:], strict=True)]
        return np.stack(rows)

    def moments(self, unknowns: Array) -> dict[str, Array]:
        """Return the model's moments, ∫φu by the mass matrix's quadrature, for nodal unknowns. Collective."""
        parts = {name: np.tensordot(unknowns[i].ravel(), w, 1) for name, (i, w) in self._moments.items()}
        if not parts:
            return {}
        sums = self.space.total(np.concatenate([np.ravel(part) for part in parts.values()]))
        ends = np.cumsum([part.size for part in parts.values()])[:-1]
        split = zip(parts.items(), np.split(sums, ends), strict=True)
        return {name: numbers.reshape(part.shape) for (name, part), numbers in split}

    def field_values(self, unknowns: Array, t: float, state: Array | None = None) -> FieldValues:
        """Return all fields, the gradients the model uses, and the moments, at the local nodes. Collective.

        Args:
            unknowns: nodal unknowns.
            t: the time.
            state: their state where it is known; it may save a transform.
        """
        values: dict[str, Array] = {}
        gradients: dict[str, Array] = {}
        prepared: dict[Hashable, Any] = {}
        for f in self.fields:
            operator = self._operators[f.name]
            if f in self.relaxing:
                nodal = unknowns[self._row(f)]
                values[f.name] = nodal.ravel()
                gradient = operator.gradient(nodal) if f.gradient else None
            else:
                source, key = self._source(f), (f.source, operator.key)
                if key not in prepared:
                    prepared[key] = operator.prepare(unknowns[source], None if state is None else state[source])
                values[f.name], gradient = operator.apply(prepared[key], f.gradient)
            if gradient is not None:
                gradients[f.name] = gradient
        _clear_rounding(values, self.space)
        return FieldValues(self.space.points, values, gradients, t, self.moments(unknowns))

    def far_error(self, f: Field, unknowns: Array) -> float | None:
        """Return what the operator of a field says of its ``far_error``; None for one that relaxes. Collective."""
        return None if f in self.relaxing else self._operators[f.name].far_error(unknowns[self._source(f)])

    def coefficients(self, species: str, c: FieldValues) -> tuple[Array, Array | None]:
        """Return D, shape (n_local,), (n_local, d) or (n_local, d, d), and b, (n_local, d) or None, at the local nodes.

        Collective: what the model raises on one rank is raised on all.
        """
        n = len(self.space.points)
        with together(self.space.comm):
            diffusion, drift = coefficients(self.model, species, c)
        return diffusion if diffusion.ndim > 1 else np.broadcast_to(diffusion, (n,)), drift

    def growth(self, species: str, c: FieldValues) -> Array | None:
        """Return r of a species at the local nodes, shape (n_local,), or None without growth. Collective likewise."""
        if not self.model.has_growth:
            return None
        with together(self.space.comm):
            return growth_of(self.model, species, c)

    def refuse_at_start(self, unknowns: Array) -> None:
        """Refuse coefficients without meaning in the initial fields. Collective.

        Raises:
            InputError: names the species, the value and the place, on every rank.
        """
        try:
            self._check(unknowns, 0.0)
        except CoefficientError as error:
            raise InputError(f"{error} (t = 0)") from None

    def refuse_backward(self, unknowns: Array, t: float, highest: Array, lowest: Array, tol: float) -> None:
        """Refuse unknowns at which D is negative. Collective.

        Args:
            unknowns: the unknowns after an accepted step.
            t: the time then.
            highest: sup D of each species over the step's stages, which may overshoot its result.
            lowest: inf D likewise.
            tol: the tolerance of the step, to which the density's own D is known at best.

        Raises:
            CoefficientError: names the species, the value and the place, on every rank.
        """
        share = min(10.0 * tol, 1e-5)
        if np.any(lowest < -share * highest):
            self._check(unknowns, t, share=share)

    def _check(self, unknowns: Array, t: float, **allowed: float) -> None:
        c = self.field_values(unknowns, t)
        for species in self.model.species:
            diffusion, drift = self.coefficients(species, c)
            checked(self.space, species, diffusion, drift, **allowed)
            if self.model.has_growth:
                checked_growth(self.space, species, self.growth(species, c))
        if self.local:
            self.refuse_not_parabolic(self.effective_diffusion(unknowns, t))

    def effective_diffusion(self, unknowns: Array, t: float) -> EffectiveDiffusion:
        """Return the eigenvalues of the effective diffusion matrix at time t. Collective."""
        n = len(self.model.species)
        c = self.field_values(unknowns, t)
        return effective_diffusion(self.space, self.model, self.local, c, unknowns[:n].reshape(n, -1))

    def refuse_not_parabolic(self, found: EffectiveDiffusion) -> None:
        """Refuse a backward heat equation. Collective.

        Raises:
            CoefficientError: names the eigenvalue and the place, on every rank.
        """
        refuse_backward(self.space, len(self.model.species) > 1, found, _BACKWARD)

    def rate(self, state: Array, t: float) -> Array:
        """Return M dy/dt at time t as a dual vector, shape as ``state``, and record D for ``diffusion_range``.

        Collective.
        """
        unknowns = self.nodal(state)
        c = self.field_values(unknowns, t, state)
        out = np.empty_like(state)
        growing: dict[int, Array] = {}
        for i, species in enumerate(self.model.species):
            diffusion, drift = self.coefficients(species, c)
            u = unknowns[i].ravel()
            out[i] = self.space.diffusion(diffusion * u.reshape(-1, *(1,) * (diffusion.ndim - 1)))
            if drift is not None:
                out[i] += self.space.divergence(drift * u[:, None])
            growth = self.growth(species, c)
            if growth is not None:
                growing[i] = (growth * u).reshape(self.space.mass.shape)
                out[i] += self.space.weights * self.space.state(growing[i])
            lowest, highest = eigenvalue_ends(diffusion)
            for row, values in zip(self._extremes, (highest, -lowest), strict=True):
                row[i] = max(row[i], float(np.max(values, initial=-np.inf)))
        if self.model.has_growth:
            nothing = np.zeros(self.space.mass.shape)
            grown = (growing.get(i, nothing) for i in range(len(self.model.species)))
            self.grown.append(self.space.integral(*grown))
        for f in self.relaxing:
            operator = self._operators[f.name]
            prepared = operator.prepare(unknowns[self._source(f)], state[self._source(f)])
            out[self._row(f)] = operator.relaxation(prepared, state[self._row(f)]) / f.tau
        return out

    @property
    def has_spectrum(self) -> bool:
        """Whether −Δ is diagonal in the coordinates of states: ``linear_part`` needs it."""
        return self.space.has_spectrum

    def linear_part(self, bounds: Array) -> list[tuple[Array, Array]]:
        """Return the diagonal of the linear part −D̄Λ in modal states, for each unknown two arrays to be added.

        Args:
            bounds: D̄ of each species.
        """
        factors = [(self.space.spectrum(), bound) for bound in bounds]
        factors += [(self._operators[f.name].spectrum(), 1.0 / f.tau) for f in self.relaxing]
        return [(-c * first, -c * others) for (first, others), c in factors]

    def solver(self, options: dict[str, Any]) -> Callable[[float, Array, Array, Array], Array]:
        """Return a solver (shift, D̄, r, sizes) ↦ y of the systems of the W-method, row by row of the unknowns.

        The sizes are those of the densities that y is added to. Relaxing fields need more digits: their rates are
        differences of fields.

        Args:
            options: PETSc options of the linear solver.
        """
        solve = self.space.shifted_solver(options)

        def apply(shift: float, bounds: Array, rhs: Array, sizes: Array) -> Array:
            densities = zip(bounds, rhs[: len(bounds)], sizes, strict=True)
            rows = [solve(shift, float(bound), r, float(size)) for bound, r, size in densities]
            for f in self.relaxing:
                rows.append(self._operators[f.name].relaxation_solve(shift, f.tau, rhs[self._row(f)]))
            return np.stack(rows)

        return apply

    def relax(self, unknowns: Array, dt: float) -> None:
        """Advance the relaxing fields by a step of the implicit Euler scheme, in place. Collective."""
        for f in self.relaxing:
            operator = self._operators[f.name]
            prepared = operator.prepare(unknowns[self._source(f)], None)
            old = operator.state(unknowns[self._row(f)])
            change = operator.relaxation_solve(1.0 / dt, f.tau, operator.relaxation(prepared, old) / f.tau)
            unknowns[self._row(f)] = operator.nodal(old + change)

    def norms(self, state: Array) -> Array:
        """Return the L² norm of each row of a state. Collective."""
        return np.sqrt(self.space.total(np.sum(self.space.weights * state**2, axis=tuple(range(1, state.ndim)))))

    def sizes(self, state: Array) -> Array:
        """Return the Euclidean norm of M u of each density of a state. Collective."""
        functionals = self.space.weights * state[: len(self.model.species)]
        return np.sqrt(self.space.total(np.sum(functionals**2, axis=tuple(range(1, state.ndim)))))

    def diffusion_range(self, unknowns: Array, t: float) -> tuple[Array, Array]:
        """Return sup D and inf D of each species in all rates since the last call, and forget them. Collective.

        Of matrices they are eigenvalues. Where coefficients depend on local densities, the effective diffusion at these
        unknowns is included.

        Raises:
            CoefficientError: the equation is a backward heat equation there.
        """
        extremes = self.space.maximum(self._extremes.copy())
        self.forget_diffusion()
        highest, lowest = extremes[0], -extremes[1]
        if self.local:
            found = self.effective_diffusion(unknowns, t)
            self.refuse_not_parabolic(found)
            highest = np.maximum(highest, found.bounds)
            lowest = np.minimum(lowest, max(found.lowest, 0.0))
        return highest, lowest

    def forget_diffusion(self) -> None:
        """Discard the D of a rejected step: its stages may lie anywhere."""
        self._extremes[:] = [[0.0], [-np.inf]]

    def _source(self, f: Field | Moment) -> int:
        return self.model.species.index(f.source)

    def _row(self, f: Field) -> int:
        return len(self.model.species) + self.relaxing.index(f)


def _moment_weights(space: Space, moment: Moment) -> Array:
    """Return φ times the mass matrix's weights at the local nodes, shape (n, ...). Collective.

    Raises:
        InputError: values that are not finite, or of a wrong shape; on every rank.
    """
    with together(space.comm):
        values = moment_integrand(moment, space.points)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            place = place_of(space.points[bad[0, 0]])
            raise InputError(
                f"the function of moment {moment.name!r} is {values[tuple(bad[0])]:g} at {place}: give a function "
                "that is finite on the domain"
            )
    return np.asarray((space.mass.ravel() * values.T).T)


def _clear_rounding(values: dict[str, Array], space: Space) -> None:
    """Set negative values within the rounding of a field's transforms to 0. Collective.

    Where u and K are not negative, K * u is not: coefficients such as √c or c itself would be NaN, or negative.
    """
    if not values:
        return
    sizes = space.maximum(np.array([max(c.max(initial=0.0), -c.min(initial=0.0)) for c in values.values()]))
    for (name, c), size in zip(values.items(), sizes, strict=True):
        rounded = (c < 0.0) & (c >= -_ROUNDING * size)
        if np.any(rounded):
            values[name] = np.where(rounded, 0.0, c)


def initial_densities(
    space: Space, u0: Mapping[str, InitialDensity], most: float = 1e-6, off: float = 2e-2
) -> tuple[Array, dict[str, float]]:
    """Return the nodal values of initial densities, scaled so that their discrete mass is exact. Collective.

    Args:
        space: the space.
        u0: the densities.
        most: the share of a mass that may lie outside the domain.
        off: the relative error of a discrete mass above which the mesh is too coarse.

    Returns:
        The nodal values, shape (species, ...), and the relative error of each discrete mass before scaling.

    Raises:
        InputError: a density has mass outside the box, or the mesh does not resolve it.
    """
    bounds = space.domain.bounds
    if bounds is None:  # only the mesh knows its shape: see ``warn_of_outside``
        bounds = np.outer((-space.radius, space.radius), np.ones(space.dimension))
    with together(space.comm):
        nodal = np.stack([u.at_nodes(space.points).reshape(space.mass.shape) for u in u0.values()])
        for name, u in u0.items():
            outside = u.mass_beyond(bounds)
            if outside > most:
                raise InputError(
                    f"a share {outside:.3g} of the initial mass of {name} lies outside {box_in_words(bounds)}: enlarge "
                    f"{space.domain.width} until less than {most:g} does"
                )
    masses, sizes = space.integral(*nodal), space.integral(*np.abs(nodal))
    for name, mass, u in zip(u0, masses, u0.values(), strict=True):
        if u.by_mesh and not mass > 0:
            raise InputError(f"the initial density of {name} has no mass on the mesh: give a domain that holds it")
    errors: dict[str, float] = {}
    for i, (name, u) in enumerate(u0.items()):
        errors[name] = float((masses[i] - u.mass) / sizes[i] if u.signed else masses[i] / u.mass - 1)
        if u.by_mesh:
            errors[name] = 0.0
        elif not abs(errors[name]) < off:
            raise InputError(
                f"the mesh gives the initial density of {name} mass {masses[i]:.6g} instead of {u.mass:g}: it is too "
                "coarse there, or does not cover it; use more cells, a higher degree or a larger domain"
            )
        if not u.signed:  # whose mass may be 0
            nodal[i] *= u.mass / masses[i]
    return nodal, errors


def _initial_field(space: Space, name: str, start: InitialDensity) -> Array:
    """Return the nodal values of an initial field, which are not scaled; errors as those of a density. Collective.

    Nothing is kept of a field that starts in the domain: it may be cut off at the boundary.
    """
    label = f"field {name}"
    nodal, errors = initial_densities(space, {label: start}, most=1e-3)
    return np.asarray(nodal[0] * (1.0 + errors[label]))


def mollified(space: Space, nodal: Array, kernel: Kernel) -> Array:
    """Return u * j^ε for nodal densities u, shape (species, ...), with the same masses. Collective."""
    operator = space.field_operator(kernel, "j")
    smooth = np.stack([operator.apply(operator.prepare(u, None), False)[0].reshape(u.shape) for u in nodal])
    # u * j^ε ≥ 0: negative values are round-off of the transforms, or the elements' overshoot.
    smooth = np.maximum(smooth, 0.0)
    # On a box with the decay condition a little would leave through the boundary.
    factors = space.integral(*nodal) / space.integral(*smooth)
    return np.asarray(smooth * factors.reshape(-1, *(1,) * (smooth.ndim - 1)))
