r"""The effective diffusion matrix of a system whose coefficients depend on the local densities.

To leading order in space :math:`\partial_t u_i = \sum_j \nabla\cdot(A_{ij}\nabla u_j)`, and in a direction ξ

.. math:: A_{ij}(\xi) = \xi\cdot D_i\xi\,\delta_{ij}
    + u_i\,\Big(\xi\cdot\frac{\partial D_i}{\partial u_j}\xi - \xi\cdot\frac{\partial b_i}{\partial\nabla u_j}\xi\Big):

σ_i δ_ij + a_ij u_i for b_i = −Σ_j a_ij ∇u_j, and ∂(D_i u_i)/∂u_j without drift. It is not normal. Where an eigenvalue
has a negative real part, the system is a backward heat equation. The derivatives are differences, pointwise.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kspde.errors import place_of
from kspde.fem.coefficients import CoefficientError
from kspde.fem.spaces.base import Space
from kspde.models import Field, FieldValues, Model
from kspde.models.coefficients import coefficients, diffusion_of, drift_of
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["EffectiveDiffusion", "effective_diffusion", "increment", "refuse_backward", "strength_of", "with_field"]

#: Relative increment of finite differences, which begins at this share of the largest value.
_INCREMENT, _SMALL = 1e-7, 1e-3


class EffectiveDiffusion(NamedTuple):
    """Eigenvalues of the matrix on all ranks.

    Attributes:
        bounds: D̄ of each species for the W-methods: that of the whole matrix if it is coupled to others.
        lowest: the smallest real part.
        largest: the largest size.
        worst: on this rank, the eigenvalue with that real part, and its node.
    """

    bounds: Array
    lowest: float
    largest: float
    worst: tuple[complex, int]


def effective_diffusion(
    space: Space, model: Model, local: tuple[Field, ...], c: FieldValues, u: Array
) -> EffectiveDiffusion:
    """Return the eigenvalues of the effective diffusion matrix. Collective.

    Args:
        space: the space.
        model: the model.
        local: its local fields.
        c: its fields at this rank's nodes.
        u: its densities there, (species, nodes).
    """
    n, u = len(u), np.maximum(u, 0.0)
    ends = [np.max(np.abs(c[f.name]), initial=0.0) for f in local]
    ends += [np.max(np.abs(c.gradients.get(f.name, 0.0)), initial=0.0) for f in local]
    largest = space.maximum(np.array(ends)).reshape(2, -1).T
    #: own diffusion, whether coupled to others, the bound, the largest size, and minus the lowest real part
    sizes = np.array([0.0] * (2 * n + 2) + [-np.inf])
    worst = (complex(np.inf), 0)
    with together(space.comm), np.errstate(all="ignore"):
        rows = [_derivatives(model, species, local, c, largest) for species in model.species]
        for direction in _directions(space.dimension) if u.size else ():
            a = np.zeros((u.shape[1], n, n))
            for i, (own, slopes) in enumerate(rows):
                a[:, i, i] = _along(own, direction)
                for j, slope in slopes:
                    a[:, i, j] += u[i] * _along(slope, direction)
            found = _eigenvalues(a)
            node, which = np.unravel_index(int(np.argmin(found.real)), found.shape)
            if found[node, which].real < worst[0].real:
                worst = complex(found[node, which]), int(node)
            across = np.abs(a).max(axis=0)
            diagonal = np.diag(across).copy()
            np.fill_diagonal(across, 0.0)
            coupled = np.maximum(across.max(axis=0), across.max(axis=1))
            here = [_w_bound(found), np.abs(found).max(), -worst[0].real]
            sizes = np.fmax(sizes, [*diagonal, *coupled, *here])
    *parts, bound, most, least = space.maximum(sizes).tolist()
    bounds = [bound if coupled else own for own, coupled in zip(parts[:n], parts[n:], strict=True)]
    return EffectiveDiffusion(np.array(bounds), -least, most, worst)


def refuse_backward(space: Space, several: bool, found: EffectiveDiffusion, share: float) -> None:
    """Refuse an eigenvalue whose real part is below minus this share of the largest size. Collective.

    Raises:
        CoefficientError: names the eigenvalue and its place, on every rank.
    """
    if not found.lowest < -share * found.largest:
        return
    value, node = found.worst
    mine = (-value.real, value, space.points[node].tolist()) if np.isfinite(value) else (-np.inf, value, [])
    _, value, point = max(space.comm.allgather(mine), key=lambda each: each[0])
    number = f"{value.real:.4g}" + (f" ± {abs(value.imag):.4g}i" if value.imag else "")
    place = place_of(point)
    what = f"matrix has the eigenvalue {number}" if several else f"coefficient is {number}"
    raise CoefficientError(
        f"the effective diffusion {what} at {place}, with the derivatives of D u and b u in the local density: it "
        f"must be {'of real part ' if several else ''}>= 0, for the equation is a backward heat equation there; check "
        "the model's parameters, or give eps, which mollifies the local density"
    )


def _derivatives(
    model: Model, species: str, local: tuple[Field, ...], c: FieldValues, largest: Array
) -> tuple[Array, list[tuple[int, Array]]]:
    """Return D of a species, and the derivatives of D, or of −b in the gradient, in densities j. Rank-local."""
    diffusion, drift = coefficients(model, species, c)
    slopes: list[tuple[int, Array]] = []
    for f, (size, steepest) in zip(local, largest, strict=True):
        j, strength = model.species.index(f.source), strength_of(f)
        h = increment(c[f.name], size, strength)
        moved = diffusion_of(model, species, with_field(c, f, c[f.name] + h)) - diffusion
        if np.any(moved):
            slopes.append((j, strength * moved / h.reshape(-1, *(1,) * (moved.ndim - 1))))
        if drift is None or not f.gradient:
            continue
        gradient = c.gradient(f.name)
        h = increment(np.linalg.norm(gradient, axis=1), steepest, 1.0)
        columns = []
        for axis in np.eye(gradient.shape[1]):
            there = drift_of(model, species, with_field(c, f, gradient=gradient + h[:, None] * axis))
            columns.append(np.zeros_like(drift) if there is None else (there - drift) / h[:, None])
        if np.any(columns):
            slopes.append((j, -strength * np.stack(columns, axis=2)))
    return diffusion, slopes


def strength_of(f: Field) -> float:
    """Return s of a local field s u."""
    return float(f.kernel.symbol(np.zeros(1))[0])


def increment(values: Array, largest: Array | float, sign: float) -> Array:
    """Return the increments of finite differences of these values, with a sign."""
    return np.copysign(_INCREMENT * (np.abs(values) + _SMALL * largest + 1e-200), sign)


def with_field(c: FieldValues, f: Field, values: Array | None = None, gradient: Array | None = None) -> FieldValues:
    """Return the fields with the values or the gradient of one changed."""
    if values is not None:
        c = replace(c, values={**c.values, f.name: values})
    return c if gradient is None else replace(c, gradients={**c.gradients, f.name: gradient})


def _directions(d: int) -> list[Array]:
    """Return the axes and the diagonals between them."""
    diagonals = [np.array([1.0, *signs]) / np.sqrt(d) for signs in product((1.0, -1.0), repeat=d - 1)]
    return [*np.eye(d), *(diagonals if d > 1 else [])]


def _along(values: Array, direction: Array) -> Array:
    """Return ξ·Dξ of numbers, diagonals or matrices."""
    if values.ndim == 1:
        return values
    return values @ direction**2 if values.ndim == 2 else np.einsum("a,nab,b->n", direction, values, direction)


def _w_bound(values: npt.NDArray[Any]) -> float:
    """Return the D̄ at which ``ra34pw2`` damps the modes of all these eigenvalues λ at every step.

    It does where |λ| ≤ D̄ and |Im λ| ≤ Re λ/4, or |λ|² ≤ .4 D̄ Re λ (computed for angles up to 84°).
    """
    size = np.abs(values)
    turned = np.abs(values.imag) > 0.25 * values.real
    return float(np.max(np.where(turned, size / np.maximum(0.4 * values.real / np.maximum(size, 1e-300), 0.04), size)))


def _eigenvalues(a: Array) -> npt.NDArray[Any]:
    """Return the eigenvalues of matrices, (nodes, n, n): (nodes, n)."""
    if a.shape[1] == 1:
        return a[:, :, 0]
    if a.shape[1] == 2:
        mean, half = 0.5 * (a[:, 0, 0] + a[:, 1, 1]), 0.5 * (a[:, 0, 0] - a[:, 1, 1])
        root = np.sqrt(half * half + a[:, 0, 1] * a[:, 1, 0] + 0j)
        return np.stack([mean - root, mean + root], axis=1)
    if np.all(np.isfinite(a)):
        return np.linalg.eigvals(a)
    return np.full(a.shape[:2], np.nan)
