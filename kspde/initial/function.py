"""Densities given by a function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.domains import Box, box_in_words
from kspde.errors import InputError, called, check_integer, check_number, check_scale
from kspde.initial.base import InitialDensity, over_cells, points_of
from kspde.runtime.messages import warn
from kspde.runtime.parallel import world
from kspde.runtime.values import fingerprint
from kspde.typing import Array, Ids, RandomNumbers

__all__ = ["CallableDensity", "checked_values"]


def checked_values(function: Callable[[Array], npt.ArrayLike], points: Array, *, signed: bool = False) -> Array:
    """Return f(x) at points of shape (n, d), f ≥ 0 unless it may be ``signed``.

    Raises:
        InputError: f returned a wrong shape, or a negative or non-finite value.
    """
    values = np.asarray(
        called("function", "f(x) of points (n, d) that returns (n,)", function, points), dtype=np.float64
    )
    if values.shape != (len(points),):
        raise InputError(f"function returned shape {values.shape} for {len(points)} points: return ({len(points)},)")
    bad = np.flatnonzero(~(np.isfinite(values) & (signed | (values >= 0))))
    if len(bad):
        valid = "finite values" if signed else "finite values >= 0"
        raise InputError(f"function is {values[bad[0]]:g} at {tuple(float(c) for c in points[bad[0]])}: give {valid}")
    return values


#: A density vanishes where it is below this share of its maximum.
_VANISHES = 1e-6
#: A share of the mass that is found to a few digits.
_LITTLE = 1e-3
#: Its integral may differ from 1 by this much before a user who gave no mass is told.
_SCALED = 0.01


class CallableDensity(InitialDensity):
    r"""A density given by a function, scaled to the given mass: :math:`u_0 = \text{mass}\, f / \int f`.

    The integral is a trapezoidal sum over [−R, R]^d, or a box that is given as a ``Box`` is, spectrally accurate for a
    smooth f that has decayed there. Points are drawn by rejection under a piecewise constant envelope, so their law is
    u_0 itself, not an interpolant.

    Args:
        function: f(x) ≥ 0 for x of shape (n, d), returning shape (n,). It must vanish (to double precision relative
            to its maximum, or exactly) outside [−R, R]^d, or is cut off there.
        half_width: the half-width R > 0, or one for each direction.
        dimension: the dimension d.
        mass: the total mass; None for 1, with a warning where the integral of f differs from 1 by more than 1 %.
        resolution: the number of cells per direction of the sum and of the envelope.
        tail: the largest value, in units of the maximum, that f may have on the edge of [−R, R]^d: above 1e-6 for
            densities that decay like a power of \|x\|, all of whose mass no box holds, and 1 for those of a closed or
            periodic box. They are cut off at the edge, and ``mass`` is what is left inside.
        centre: the centre of the box; the origin unless given.

    Attributes:
        lost: an estimate of the mass that is cut off, if f decays like a power from R/2 on; infinite if that power is
            not integrable; 0 where f is below 1e-6 of its maximum on the edge.

    Raises:
        InputError: f returns a wrong shape, negative or non-finite values, has no mass, or is not small on the boundary
            of [−R, R]^d.
    """

    def __init__(
        self,
        function: Callable[[Array], npt.ArrayLike],
        *,
        half_width: float | tuple[float, ...],
        dimension: int = 2,
        mass: float | None = None,
        resolution: int | None = None,
        tail: float = _VANISHES,
        centre: float | tuple[float, ...] | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"function is a {type(function).__name__}: give a callable f(x), x of shape (n, d)")
        self.dimension = check_integer("dimension", dimension, at_least=1, at_most=3)
        box = Box(half_width=half_width, centre=centre, dimension=dimension, cells=2)
        self.half_width, self._bounds = box.half_width, box.bounds
        self.mass = 1.0 if mass is None else check_scale("mass", mass)
        default = {1: 4096, 2: 512, 3: 96}[self.dimension]
        most = {1: 10**8, 2: 10**4, 3: 500}[self.dimension]
        self.resolution = n = check_integer(
            "resolution", default if resolution is None else resolution, at_least=8, at_most=most
        )
        self._function = function
        self._spacing = 2 * box.half_widths / n
        where = box_in_words(self._bounds)
        self._factor, self._cut = 1.0, False
        values = self(self._grid()).reshape((n + 1,) * dimension)
        peak = float(values.max())
        if peak <= 0:
            raise InputError(f"function has no mass in {where}: check half_width")
        if check_number("tail", tail, above=0) > 1:
            raise InputError(f"tail = {tail:g} is not valid: give at most 1, since it is in units of the maximum")
        edge = max(float(np.take(values, end, axis=a).max()) for a in range(dimension) for end in (0, -1))
        if edge > tail * peak:
            raise InputError(
                f"function is {edge:.3g} on the edge of {where}, its maximum is {peak:.3g}: give a half_width outside "
                f"which it vanishes, or tail = {min(1.01 * edge / peak, 1.0):.3g} to cut it off"
            )
        self._cut = edge > _VANISHES * peak
        integral = self._sum(values) * float(np.prod(self._spacing))
        self._factor = self.mass / integral
        if mass is None and abs(integral - 1.0) > _SCALED:
            warn(
                f"function integrates to {integral:.6g} and is scaled to mass 1: give mass = {integral:.6g} to keep "
                "its values, or mass = 1",
                world(),
            )
        self._digest = fingerprint(values)
        self.lost = self._beyond(values) if self._cut else 0.0
        # The envelope is the maximum over a cell's corners and their neighbours, with room for curvature in between.
        from scipy.ndimage import maximum_filter

        widened = maximum_filter(values, size=3, mode="nearest") * self._factor
        self._envelope = 1.25 * over_cells(np.maximum, widened) + 1e-12 * peak * self._factor

    def _grid(self) -> Array:
        """Return the points of the sum, shape (n, d)."""
        axes = np.linspace(self._bounds[0], self._bounds[1], self.resolution + 1, axis=1)
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)

    def _sum(self, values: Array) -> float:
        """Return the trapezoidal sum, in units of the spacing: ends count half, where they are not negligible."""
        for _ in range(self.dimension if self._cut else 0):
            values = np.asarray(np.trapezoid(values, axis=0))
        return float(values.sum())

    def _beyond(self, values: Array) -> float:
        """Return the mass outside the grid of f, of degree −p in the distance from its centre.

        It is 1/(p − d) times the integral over the surface of R, the distance of the side from the centre.
        """
        d, n = self.dimension, self.resolution

        def surface(k: int) -> float:
            inner = values[(slice(k, n + 1 - k),) * d] * (0.5 * n * self._factor * float(np.prod(self._spacing)))
            faces = [np.take(inner, end, axis=a) for a in range(d) for end in (0, -1)]
            for _ in range(d - 1):
                faces = [np.trapezoid(face, axis=0) for face in faces]
            return float(sum(faces))

        k = n // 4
        power = d - 1 + math.log(surface(k) / surface(0)) / -math.log(1 - 2 * k / n)
        return surface(0) / (power - d) if power > d else math.inf

    def __eq__(self, other: object) -> bool:
        """Return whether two densities have the same mass, and their functions the same values on the same grid."""
        return isinstance(other, CallableDensity) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("dimension", "_bounds", "mass", "_digest")
        )

    __hash__ = InitialDensity.__hash__

    def __repr__(self) -> str:
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return f"CallableDensity({name} on {box_in_words(self._bounds)}, mass={self.mass:g})"

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return u_0 at points of shape (n, d); raises as ``checked_values``."""
        x = points_of(x, self.dimension)
        values = checked_values(self._function, x) * self._factor
        if self._cut:
            room = 1e-12 * float(np.max(self.half_width))
            values[np.any((x < self._bounds[0] - room) | (x > self._bounds[1] + room), axis=1)] = 0.0
        return values

    def mass_beyond(self, bounds: Array) -> float:
        """Return the share of the mass outside the box: a little by a sum over the grid, more by Gauss's rule inside.

        The first has an error of the order of the grid's spacing; the second has as many points as the grid.
        """
        if np.all(bounds[0] <= self._bounds[0]) and np.all(bounds[1] >= self._bounds[1]):
            return 0.0
        grid = self._grid()
        outside = self(grid[np.any((grid < bounds[0]) | (grid > bounds[1]), axis=1)])
        share = float(outside.sum() * np.prod(self._spacing)) / self.mass
        low, high = np.maximum(bounds[0], self._bounds[0]), np.minimum(bounds[1], self._bounds[1])
        if share < _LITTLE or np.any(low >= high):
            return min(1.0, share)
        nodes, rule = np.polynomial.legendre.leggauss(min(self.resolution, 1024))
        half = 0.5 * (high - low)
        axes = [middle + h * nodes for middle, h in zip(0.5 * (low + high), half, strict=True)]
        values = self(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension))
        inside: Any = values.reshape((len(nodes),) * self.dimension)
        for _ in axes:
            inside = rule @ inside
        return float(np.clip(1.0 - inside * np.prod(half) / self.mass, 0.0, 1.0))

    def sample(self, random: RandomNumbers, ids: Ids) -> Array:
        """Draw by rejection under the envelope; the k-th attempt for a particle uses its random numbers of step k.

        Raises:
            InputError: f exceeds the envelope, so it varies too fast for ``resolution``.
        """
        cumulative = np.cumsum(self._envelope.ravel())
        out = np.empty((len(ids), self.dimension))
        waiting = np.arange(len(ids))
        step = 0
        while len(waiting):
            uniforms = random.uniforms(ids[waiting], step, 2 + self.dimension)
            chosen = np.searchsorted(cumulative, uniforms[:, 0] * cumulative[-1], side="right")
            chosen = np.minimum(chosen, len(cumulative) - 1)
            cell = np.stack(np.unravel_index(chosen, self._envelope.shape), axis=1)
            points = self._bounds[0] + (cell + uniforms[:, 2:]) * self._spacing
            ratio = self(points) / self._envelope.ravel()[chosen]
            if np.any(ratio > 1):
                worst = int(np.argmax(ratio))
                raise InputError(
                    f"function exceeds its tabulated envelope {ratio[worst]:.3g} times at "
                    f"{tuple(float(c) for c in points[worst])}: give a larger resolution than {self.resolution}"
                )
            accepted = uniforms[:, 1] < ratio
            out[waiting[accepted]] = points[accepted]
            waiting = waiting[~accepted]
            step += 1
        return out
