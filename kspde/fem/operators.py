r"""The semi-discrete system of a model on a space: what every time-stepping scheme needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError
from kspde.fem.space import BoxSpace, decay_coefficient
from kspde.models import Field, FieldValues, Model

__all__ = ["SemiDiscrete"]

Array = npt.NDArray[np.float64]


class SemiDiscrete:
    r"""A model's density equations, discretised in space.

    With GLL nodes and quadrature, :math:`M\dot u = -K(D u) + \sum_a G_a (b_a u)`, where M is diagonal, :math:`K_{ij} =
    \int \nabla\varphi_i\cdot\nabla\varphi_j` and :math:`(G_a)_{ij} = \int \partial_a\varphi_i\,\varphi_j`; products are
    nodal. Both terms are orthogonal to constants, so mass is conserved exactly. The *state* of a scheme is the vector
    of modal coefficients :math:`y = Q^T M u` (see ``tensor``): its Euclidean norm is the L² norm of u.

    Args:
        model: the model.
        fields: its fields, regularised or not.
        space: the finite-element space.

    Attributes:
        bound: the largest diffusion coefficient of each species seen since ``reset_bound``, over all local nodes.
    """

    def __init__(self, model: Model, fields: tuple[Field, ...], space: BoxSpace) -> None:
        self.model = model
        self.fields = fields
        self.space = space
        self.laplacian = space.laplacian()
        self.shape = (len(model.species), *space.slabs.modal_shape)
        self.bound = np.zeros(len(model.species))
        self._robin: dict[str, float] = {}
        self._symbols: dict[str, Array] = {}
        for f in fields:
            robin = 0.0
            if space.box.boundary == "decay":
                robin = decay_coefficient(f.kernel.decay_rate, space.box.half_width, space.dimension)
            symbol = f.kernel.symbol(space.laplacian(robin).eigenvalues)
            if not np.all(np.isfinite(symbol)):
                raise InputError(f"the symbol of field {f.name!r} is not finite on the spectrum of the Laplacian")
            self._robin[f.name] = robin
            self._symbols[f.name] = symbol

    def state(self, densities: Array) -> Array:
        """Return the modal state of nodal densities, shape (species, ...). Collective."""
        return np.stack([self.laplacian.transform(u) for u in densities])

    def densities(self, state: Array) -> Array:
        """Return the nodal densities of a state. Collective."""
        return np.stack([self.laplacian.back(y) for y in state])

    def field_values(self, densities: Array, state: Array | None = None) -> FieldValues:
        """Return all fields, and the gradients the model uses, at the local nodes. Collective.

        Args:
            densities: nodal densities.
            state: their modal state where it is known; it saves a transform.
        """
        values: dict[str, Array] = {}
        gradients: dict[str, Array] = {}
        modes: dict[tuple[str, float], Array] = {}
        for f in self.fields:
            robin = self._robin[f.name]
            laplacian = self.space.laplacian(robin)
            species = self.model.species.index(f.source)
            key = (f.source, robin)
            if key not in modes:
                known = state is not None and robin == 0.0
                modes[key] = state[species] if known and state is not None else laplacian.transform(densities[species])
            c = self._symbols[f.name] * modes[key]
            values[f.name] = laplacian.back(c).ravel()
            if f.gradient:
                axes = range(self.space.dimension)
                gradients[f.name] = np.stack([laplacian.derivative(c, a).ravel() for a in axes], axis=1)
        return FieldValues(self.space.points, values, gradients)

    def coefficients(self, species: str, c: FieldValues) -> tuple[Array, Array | None]:
        """Return D, shape (n_local,), and b, shape (n_local, d) or None, of a species at the local nodes."""
        n = len(self.space.points)
        diffusion = np.broadcast_to(np.asarray(self.model.diffusion(species, c), dtype=np.float64), (n,))
        drift = self.model.drift(species, c)
        if drift is not None:
            drift = np.broadcast_to(np.asarray(drift, dtype=np.float64), (n, self.space.dimension))
        return diffusion, drift

    def rate(self, state: Array) -> Array:
        """Return dy/dt, shape as ``state``. Collective. Also raises ``bound`` where D exceeds it."""
        densities = self.densities(state)
        c = self.field_values(densities, state)
        out = np.empty_like(state)
        shape = self.space.slabs.shape
        for i, species in enumerate(self.model.species):
            diffusion, drift = self.coefficients(species, c)
            u = densities[i]
            out[i] = -self.laplacian.eigenvalues * self.laplacian.transform(diffusion.reshape(shape) * u)
            if diffusion.size:
                self.bound[i] = max(self.bound[i], float(np.max(diffusion)))
            if drift is not None:
                for axis in range(self.space.dimension):
                    out[i] += self.laplacian.divergence(drift[:, axis].reshape(shape) * u, axis)
        return out

    def reset_bound(self) -> Array:
        """Return the largest D of each species over all ranks since the last call, and forget it. Collective."""
        from mpi4py import MPI

        bound = np.empty_like(self.bound)
        self.space.comm.Allreduce(self.bound, bound, op=MPI.MAX)
        self.bound[:] = 0.0
        return bound


def initial_densities(space: BoxSpace, u0: Mapping[str, Any]) -> tuple[Array, dict[str, float]]:
    """Return the nodal values of initial densities, scaled so that their discrete mass is exact. Collective.

    Returns:
        The nodal values, shape (species, ...), and the relative error of each discrete mass before scaling.

    Raises:
        InputError: a density has mass outside the box, or the mesh does not resolve it.
    """
    from kspde.parallel import together

    half_width = space.box.half_width
    with together(space.comm):
        nodal = np.stack([u(space.points).reshape(space.slabs.shape) for u in u0.values()])
        for name, u in u0.items():
            outside = u.mass_outside(half_width)
            if outside > 1e-6:
                raise InputError(
                    f"a share {outside:.3g} of the initial mass of {name} lies outside [-{half_width:g}, "
                    f"{half_width:g}]^{space.dimension}: enlarge half_width until less than 1e-6 does"
                )
    masses = space.integral(*nodal)
    errors: dict[str, float] = {}
    for i, (name, u) in enumerate(u0.items()):
        errors[name] = float(masses[i] / u.mass - 1)
        if not abs(errors[name]) < 1e-2:
            raise InputError(
                f"the mesh gives the initial density of {name} mass {masses[i]:.6g} instead of {u.mass:g}: it is too "
                "coarse there, use more cells or a higher degree"
            )
        nodal[i] *= u.mass / masses[i]
    return nodal, errors
