r"""Fields by spread, multiply, gather on a uniform periodic grid.

Particles are deposited with B-splines of order 6, the grid is transformed, multiplied by :math:`g(|k|^2)` over the
splines' own transforms, transformed back, and gathered with the same splines; their derivative gives the gradient. The
box follows the cloud, with room for it to move and padding that keeps the periodic images apart; spacing and padding
follow from the kernel and the tolerance (:mod:`kspde.particles.accuracy`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.compiled import use_threads
from kspde.errors import InputError
from kspde.models import Field
from kspde.models.base import Array
from kspde.particles.accuracy import alias_sum, image_distance, spacing, spline_transform
from kspde.particles.fields import Extent, FieldEvaluator
from kspde.particles.splines import DEPOSIT, GATHER, GATHER_GRADIENT, REACH, reduce_grids
from kspde.particles.transform import CornerConvolution

__all__ = ["MEMORY_LIMIT", "MeshFields"]

#: Bytes that the grids of one rank may take.
MEMORY_LIMIT = 4e9
#: Room for the cloud to move before the box is rebuilt, on each side, as a share of its extent plus the padding.
_SLACK = 0.1


class MeshFields(FieldEvaluator):
    """Fields on a grid; see :class:`~kspde.particles.fields.FieldEvaluator` for the arguments.

    Attributes:
        spacing: h, the same in each direction.
        padding: the least distance between the cloud and its periodic images.
        shape: grid points per direction, after the first update.
        memory_limit: bytes the grids of one rank may take.
    """

    def __init__(self, fields: tuple[Field, ...], *, memory_limit: float = MEMORY_LIMIT, **options: Any) -> None:
        super().__init__(fields, **options)
        self.memory_limit = memory_limit
        self.shape: tuple[int, ...] = ()
        self._threads = use_threads(self.comm)
        self._sources = tuple(dict.fromkeys(field.source for field in self.active))
        if self.active:
            d = self.dimension
            self.spacing = min(spacing(f.kernel, d, gradient=f.gradient, tol=self.tol) for f in self.active)
            self.padding = max(image_distance(f.kernel, d, self.tol) for f in self.active)
            # Six nodes of a spline on either side.
            self.padding = max(self.padding, 12 * self.spacing)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Deposit all particles and compute the spline coefficients of every field. Collective.

        Raises:
            InputError: the grid would take more than ``memory_limit``; on every rank.
        """
        if not self.active:
            return
        if not self.shape or np.any(extent.lower < self._inner[0]) or np.any(extent.upper > self._inner[1]):
            self._build(extent)
        for source in self._sources:
            DEPOSIT[self.dimension](
                self._grids, positions[source], self._lower, 1.0 / self.spacing, self.weights[source]
            )
            reduce_grids(self._grids.reshape(len(self._grids), -1))
            if self.comm.size > 1:
                from mpi4py import MPI

                self.comm.Allreduce(MPI.IN_PLACE, self._grids[0], op=MPI.SUM)
            factors = {f.name: self._factors[f.name] for f in self.active if f.source == source}
            self._coefficients.update(self._convolve(self._grids[0], factors))

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        c = self._coefficients[field.name]
        if gradient is None:
            GATHER[self.dimension](values, c, x, self._lower, 1.0 / self.spacing)
        else:
            GATHER_GRADIENT[self.dimension](values, gradient, c, x, self._lower, 1.0 / self.spacing)

    def summary(self) -> dict[str, Any]:
        """Return the grid's data."""
        if not self.shape:
            return {}
        return {"modes": list(self.shape), "spacing": self.spacing, "padding": self.padding, "threads": self._threads}

    def state(self) -> dict[str, Array]:
        """Return the extent that the box was built for."""
        return {"lower": self._built.lower, "upper": self._built.upper} if self.shape else {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Build the box for that extent."""
        if state:
            self._build(Extent(state["lower"], state["upper"]))

    def _build(self, extent: Extent) -> None:
        from scipy import fft

        self._built = extent
        size = extent.upper - extent.lower
        slack = _SLACK * (size + self.padding)
        inner = size + 2 * slack
        # The nodes that splines of particles in the inner box touch, and one against rounding.
        corner = tuple(math.ceil(m) + sum(REACH) + 1 for m in np.minimum(inner / self.spacing, 1e15))
        wanted = (inner + self.padding) / self.spacing
        self._check_memory(size, wanted, corner)
        self.shape = tuple(int(fft.next_fast_len(math.ceil(m), real=True)) for m in wanted)
        self._inner = (extent.lower - slack, extent.upper + slack)
        self._lower = self._inner[0] - REACH[0] * self.spacing
        self._convolve = CornerConvolution(self.shape, corner, threads=self._threads)
        self._grids = np.empty((self._threads, *corner))
        self._coefficients: dict[str, Array] = {}
        self._factors = {f.name: self._factor(f) for f in self.active}

    def _check_memory(self, size: Array, wanted: Array, corner: tuple[int, ...]) -> None:
        shape = tuple(math.ceil(m) for m in np.minimum(wanted, 1e15))
        needed = 8.0 * self._threads * math.prod(corner)
        needed += CornerConvolution.bytes_needed(shape, corner, len(self.active))
        if needed > self.memory_limit:
            cloud = " × ".join(f"{s:.4g}" for s in size)
            modes = " × ".join(f"{m:.0f}" for m in wanted)
            raise InputError(
                f"the fields of a cloud of size {cloud} to relative accuracy {self.tol:g} need {modes} modes (spacing "
                f"{self.spacing:.3g}, padding {self.padding:.3g}) and {needed / 1e9:.3g} GB a rank, but the limit is "
                f"{self.memory_limit / 1e9:.3g} GB: give a larger eps or field_tol, or check for particles far away"
            )

    def _factor(self, field: Field) -> Array:
        """Return g/h^d times B̂²/S², S the sum over aliases, on the half-complex grid; 1/B̂² where those are small."""
        squared: Array | float = 0.0
        correction: Array | float = 1.0 / self.spacing**self.dimension
        for axis, m in enumerate(self.shape):
            count = m // 2 + 1 if axis == self.dimension - 1 else m
            index: npt.NDArray[np.int64] = np.arange(count)
            phase = 2 * np.pi * np.where(index <= m // 2, index, index - m) / m
            one = 1.0 / (spline_transform(phase) * (1.0 + alias_sum(phase))) ** 2
            shape = [1] * self.dimension
            shape[axis] = count
            squared = squared + ((phase / self.spacing) ** 2).reshape(shape)
            correction = correction * one.reshape(shape)
        out: Array = field.kernel.symbol(np.asarray(squared)) * correction
        return out
