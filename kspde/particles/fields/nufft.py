r"""Fields by the non-uniform fast Fourier transforms of the library finufft.

.. math:: c(x) = \frac1{P_1 \cdots P_d} \sum_k g(|k|^2) \Big(\sum_j w_j e^{-ik\cdot X_j}\Big) e^{ik\cdot x},
    \qquad k_a \in \frac{2\pi}{P_a}\mathbb Z,\quad |k_a| \le k_c,

on a periodic box of sides P that holds the cloud and the padding of :mod:`kspde.particles.fields.accuracy`. The sum
over particles is a transform of type 1, and the sum over modes one of type 2 (Barnett, Magland, af Klinteberg: A
parallel nonuniform fast Fourier transform library based on an "exponential of semicircle" kernel, SIAM J. Sci. Comput.
41 (2019)). The modes end where the kernel's do, at k_c. A mesh whose splines keep the same tolerance has more points
than there are modes, and the more so the smaller the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import MissingBackendError
from kspde.models import Field
from kspde.particles.fields.accuracy import band, image_distance
from kspde.particles.fields.base import Extent, FieldEvaluator, too_large
from kspde.runtime.compiled import use_threads
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["NonuniformFFT"]

Modes = npt.NDArray[np.complex128]

#: The cloud's room to move before the box is rebuilt, on each side, as a share of its extent plus the padding.
_SLACK = 0.1
#: finufft's tolerance as a share of the fields': its errors are relative to sums over all modes.
_SHARE = 0.05


class NonuniformFFT(FieldEvaluator):
    """Fields by finufft; see :class:`~kspde.particles.fields.base.FieldEvaluator` for the arguments.

    Attributes:
        band: the largest wavenumber k_c.
        padding: the least distance between the cloud and its periodic images.
        shape: the odd number of modes per direction, after the first update.

    Raises:
        MissingBackendError: finufft is not installed.
    """

    bytes_per_particle = 62.0  # measured: tests/benchmarks/memory.py

    def __init__(self, fields: tuple[Field, ...], **options: Any) -> None:
        try:
            import finufft
        except ImportError:
            raise MissingBackendError(
                'method = "finufft" needs the library finufft, which is not installed: pip install "kspde[finufft]"'
            ) from None
        super().__init__(fields, **options)
        self._plan = finufft.Plan
        self.shape: tuple[int, ...] = ()
        self._threads = use_threads(self.comm)
        self._sources = tuple(dict.fromkeys(field.source for field in self.active))
        d, tol = self.dimension, self.tol
        if self.active:
            self.band = max(band(f.kernel, d, gradient=f.gradient, share=0.25 * tol) for f in self.active)
            self.padding = max(image_distance(f.kernel, d, tol) for f in self.active)

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Compute the modes of the empirical measures. Collective.

        Raises:
            InputError: the modes would take more than ``memory_limit``; on every rank.
        """
        if not self.active:
            return
        if not self.shape or not extent.within(self._inner):
            self._build(extent)
        for source in self._sources:
            x = positions[source]
            modes = self._modes[source]
            modes[:] = 0.0
            if len(x):
                self._forward.setpts(*self._phases(x))
                self._forward.execute(np.full(len(x), self.weights[source], dtype=complex), out=modes)
            reduced(self.comm, modes)

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        if not len(x):
            return
        self._backward.setpts(*self._phases(x))
        modes = self._modes[field.source] * self._factors[field.name]
        if gradient is None:
            values[:] = self._backward.execute(modes).real
            return
        # All are real: one complex transform gives two of them, the second as its imaginary part.
        parts: list[tuple[Array, Any]] = [(values, None), *((gradient[:, a], a) for a in range(self.dimension))]
        for (real, axis), imaginary in zip(parts[::2], [*parts[1::2], None], strict=False):
            factor = 1.0 if axis is None else 1j * self._wavenumbers[axis]
            if imaginary is None:
                real[:] = self._backward.execute(modes * factor).real
            else:
                out = self._backward.execute(modes * (factor - self._wavenumbers[imaginary[1]]))
                real[:], imaginary[0][:] = out.real, out.imag

    def summary(self) -> dict[str, Any]:
        """Return the data of the modes."""
        if not self.shape:
            return {}
        return {"modes": list(self.shape), "band": self.band, "padding": self.padding, "threads": self._threads}

    def state(self) -> dict[str, Array]:
        """Return the extent for which the box was built."""
        return {"lower": self._built.lower, "upper": self._built.upper} if self.shape else {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Build the box for that extent."""
        if state:
            self._build(Extent(state["lower"], state["upper"]))

    def _phases(self, x: Array) -> list[Array]:
        return [np.multiply(x[:, a] - self._centre[a], 2 * np.pi / self._sides[a]) for a in range(self.dimension)]

    def _build(self, extent: Extent) -> None:
        inner = extent.widened(_SLACK * (extent.size + self.padding))
        sides = inner.size + self.padding
        most = np.minimum(self.band * sides / (2 * np.pi), 1e15)
        shape = tuple(2 * math.ceil(m) + 1 for m in most)
        # Modes per source, factors per field, one or two of their products; two grids of finufft, twice as fine.
        count = 16.0 * len(self._sources) + 8.0 * len(self.active) + 32.0 + 2 * 16.0 * 2.2**self.dimension
        needed = count * math.prod(shape)
        if needed > self.memory_limit:
            raise too_large(
                f"the fields of a cloud of size {{}} to relative accuracy {self.tol:g}",
                extent.size,
                2 * most,
                f"up to {self.band:.3g}, padding {self.padding:.3g}",
                needed=needed,
                limit=self.memory_limit,
                advice='use method = "mesh", which splits narrow kernels, give a larger eps or field_tol',
            )
        self._built, self._inner = extent, inner
        self._sides, self._centre = sides, 0.5 * (extent.lower + extent.upper)
        self.shape = shape
        self._wavenumbers = []
        squared: Array = np.zeros((1,) * self.dimension)
        for axis, m in enumerate(shape):
            k = 2 * np.pi / sides[axis] * np.arange(-(m // 2), m // 2 + 1)
            self._wavenumbers.append(k.reshape([-1 if a == axis else 1 for a in range(self.dimension)]))
            squared = squared + self._wavenumbers[axis] ** 2
        self._factors = {f.name: f.kernel.symbol(squared) / sides.prod() for f in self.active}
        self._modes: dict[str, Modes] = {source: np.zeros(shape, dtype=complex) for source in self._sources}
        options = {"eps": max(_SHARE * self.tol, 1e-14), "nthreads": self._threads}
        self._forward = self._plan(1, shape, isign=-1, **options)
        self._backward = self._plan(2, shape, isign=1, **options)
