r"""Fields of the whole space on any mesh and for any kernel, by the Fourier modes of the charges at the nodes.

.. math:: c(x) = \frac1{P_1\cdots P_d}\sum_k \hat K_R(k) \Big(\sum_j m_j u_j e^{-ik\cdot x_j}\Big) e^{ik\cdot x},
    \qquad k_a \in \frac{2\pi}{P_a}\mathbb Z,

with the nodal weights m_j, and the transform of the kernel truncated at R, which no two nodes are apart (Vico,
Greengard and Ferrando, J. Comput. Phys. 323 (2016)). The period P leaves room for R, so that there are no images:
wherever the density is, nothing of what lies outside is left out. For elements of degree 3 or more on a box the waves'
integrals over the shape functions stand in place of the weights, whose quadrature has a larger error than interpolation
then. Multipoles about the mass converge only outside the smallest ball that holds it, where few nodes of a domain are,
and powers of −Δ as sums of Helmholtz solves need a far field each; the modes need neither.

The modes end where those of the field do: they are made more, by half at a time, until the outermost contribute
``NEGLIGIBLE`` to the gradient. On meshes of low degree, whose weights integrate short waves with an error, the shares
of the outermost modes fall no more from some number on, which is then the number taken: not before a third of what the
nodes resolve where the charge is, as a density has all long waves. A warning says so where they are above
``UNRESOLVED``.

The gradient of :math:`|x|^{-s}` is not integrable at 0 for s ≥ d − 1. That of the field of a smooth density exists all
the same, as a principal value, whose symbol is :math:`ik` times the kernel's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kspde.errors import MissingBackendError
from kspde.fem.spaces.base import Space
from kspde.fem.spaces.local import InstantOperator
from kspde.fem.spaces.tensor import Axis
from kspde.fem.spaces.whole_space import SHARP_FROM, one_sign
from kspde.kernels import Kernel
from kspde.runtime.compiled import apart
from kspde.runtime.messages import warn
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["FreeSpaceOperator", "NodalWaves", "TensorWaves", "Waves"]

#: What the outermost modes may contribute to ∇c, relative to the sum of all, and from where on that is said.
NEGLIGIBLE, UNRESOLVED = 1e-11, 1e-2
#: The modes that are the outermost.
_OUTER = 0.85
#: The first modes, as a share of what the nodes resolve where the charge is, and those from which on shares that do not
#: fall are errors.
_FIRST, _SURE = 0.25, 0.3
#: How many more are made; the most, for each node, and the most that are cheap.
_MORE, _MOST, _CHEAP = 1.5, 8.0, 256**2
#: What is left of a share that falls, from one number of modes to the next.
_FALLS = 0.7

Modes = npt.NDArray[np.complex128]


class Waves(ABC):
    """Sums of waves over nodes, and at nodes.

    Attributes:
        halved: whether the last direction has only its wavenumbers k ≥ 0; the others follow, as what is summed is real.
    """

    halved = False

    @abstractmethod
    def set_modes(self, wavenumbers: Sequence[Array]) -> None:
        """Set the wavenumbers of every direction, equidistant."""

    @abstractmethod
    def forward(self, nodal: Array) -> Modes:
        """Return the integrals of e^(−ik·x) u, this rank's nodes' share."""

    @abstractmethod
    def backward(self, modes: Modes, derivatives: bool) -> list[Array]:
        """Return the real part of Σ c_k e^(ik·x) at this rank's nodes, and that of its derivatives if wanted."""


class TensorWaves(Waves):
    """Waves at the nodes of a grid: one matrix product per direction.

    Args:
        axes: the directions.
        rows: this rank's nodes of the first.
    """

    halved = True

    def __init__(self, axes: Sequence[Axis], rows: slice) -> None:
        self._axes = axes
        self._rows = [rows, *[slice(None)] * (len(axes) - 1)]

    def set_modes(self, wavenumbers: Sequence[Array]) -> None:
        """Tabulate the waves."""
        self._k = [1j * k for k in wavenumbers]
        each = list(zip(self._axes, self._rows, self._k, strict=True))
        self._waves = [np.exp(np.multiply.outer(axis.nodes[rows], k)) for axis, rows, k in each]
        self._integrals = [_integrals(axis, -k)[rows] for axis, rows, k in each]

    def forward(self, nodal: Array) -> Modes:
        """Multiply by the matrices, the last direction first."""
        out: Any = nodal.reshape([len(waves) for waves in self._waves])
        for a in reversed(range(out.ndim)):
            out = np.moveaxis(np.tensordot(out, self._integrals[a], (a, 0)), -1, a)
        return np.ascontiguousarray(out)

    def backward(self, modes: Modes, derivatives: bool) -> list[Array]:
        """Multiply by the matrices, the last direction last: it has the value and its own derivative."""
        *first, last = self._waves
        before, out = len(first), []
        for a in range(-1, before if derivatives else 0):
            part = modes
            for b, waves in enumerate(first):
                part = np.moveaxis(np.tensordot(waves * self._k[b] if a == b else waves, part, (1, b)), 0, b)
            out.append(np.asarray(_real_product(part, last)))
            if a < 0 and derivatives:
                final = _real_product(part, last * self._k[-1])
        return [*out, final] if derivatives else out


def _integrals(axis: Axis, k: npt.NDArray[Any]) -> Modes:
    """Return the integrals of e^(kx) times shape functions, shape (nodes, modes); on low degrees by the mass matrix."""
    p = axis.degree
    if p < SHARP_FROM:
        return np.asarray(axis.mass[:, None] * np.exp(np.multiply.outer(axis.nodes, k)))
    points, weights = np.polynomial.legendre.leggauss(2 * p + 4)
    widths = np.diff(axis.vertices)
    x = axis.vertices[:-1, None] + 0.5 * widths[:, None] * (points + 1)
    first, shapes = axis.shape_functions(x.ravel())
    shapes = shapes.reshape(*x.shape, p + 1) * (0.5 * widths[:, None, None] * weights[:, None])
    parts = np.einsum("cqi,cqk->cik", shapes, np.exp(np.multiply.outer(x, k)), optimize=True)
    out = np.zeros((len(axis), len(k)), dtype=complex)
    for i in range(p + 1):  # the first nodes of cells differ
        out[first[:: x.shape[1]] + i] += parts[:, i]
    return out


def _real_product(a: Modes, waves: Modes) -> Array:
    """Return the real part of a product with waves, shape (nodes, modes)."""
    return np.asarray(a.real @ waves.real.T - a.imag @ waves.imag.T).ravel()


class NodalWaves(Waves):
    """Waves at any nodes, by the non-uniform fast Fourier transforms of the library finufft.

    They run in a thread of their own: finufft asks for aligned memory and frees it in every call, between which glibc
    (bug 14581) leaves holes that it does not fill again, 100 kB per step on a disk of 541 nodes; threads have heaps of
    their own, where nothing else is.

    Args:
        points: this rank's nodes.
        mass: their weights.
        threads: threads for transforms.
        fine: whether the elements deserve transforms to 1e-13; those to 1e-9 take half the time.

    Raises:
        MissingBackendError: finufft is not installed.
    """

    def __init__(self, points: Array, mass: Array, threads: int, *, fine: bool) -> None:
        try:
            import finufft
        except ImportError:
            raise MissingBackendError(
                "a potential that reaches beyond the mesh needs the library finufft, which is not installed: "
                'pip install "kspde[mesh]", or use a Box'
            ) from None
        self._plan, self._points, self._mass = finufft.Plan, points, mass
        accuracy = {"eps": 1e-13} if fine else {"eps": 1e-9, "upsampfac": 1.25}
        self._options: dict[str, Any] = {"nthreads": threads, **accuracy}

    def set_modes(self, wavenumbers: Sequence[Array]) -> None:
        """Plan the transforms."""
        d, shape = len(wavenumbers), tuple(len(k) for k in wavenumbers)
        self._k = np.meshgrid(*(1j * k for k in wavenumbers), indexing="ij", sparse=True)
        phases = [np.array(x * (k[1] - k[0])) for x, k in zip(self._points.T, wavenumbers, strict=True)]
        self._plans = [self._plan(t, shape, isign=s, **self._options) for t, s in ((1, -1), (2, 1))]
        for plan in self._plans:
            plan.setpts(*phases[:d])
        # finufft's calls keep what they are given until Python collects cycles: always the same arrays, then.
        self._modes, self._nodal = np.empty(shape, dtype=complex), np.empty(len(self._mass), dtype=complex)

    def forward(self, nodal: Array) -> Modes:
        """Transform."""
        self._nodal[:] = self._mass * nodal
        return np.array(apart(lambda: self._plans[0].execute(self._nodal, self._modes)))

    def backward(self, modes: Modes, derivatives: bool) -> list[Array]:
        """Transform: all are real, so that one transform gives two of them, the second as its imaginary part."""
        factors = [1.0, *(self._k if derivatives else [])]
        out = []
        for one, *other in (factors[i : i + 2] for i in range(0, len(factors), 2)):
            np.multiply(modes, one + 1j * other[0] if other else one, out=self._modes)
            values = apart(lambda: self._plans[1].execute(self._modes, self._nodal))
            out += [values.real.copy(), values.imag.copy()][: 1 + len(other)]
        return out


class Charges(NamedTuple):
    """What a density has of charge: the modes, and the sums of all and of absolute values."""

    modes: Modes
    total: float
    size: float


class FreeSpaceOperator(InstantOperator):
    """K * u on the whole space at the nodes of a mesh that holds u.

    Args:
        space: the space.
        waves: the waves at its nodes.
        kernel: K, which defines ``truncated_symbol``.
        name: the field's.

    Attributes:
        unresolved: the share of the outermost modes in the gradient of the last density.
    """

    def __init__(self, space: Space, waves: Waves, kernel: Kernel, name: str) -> None:
        super().__init__(space)
        self.key = ("free space", name)
        self._waves, self._kernel, self._name = waves, kernel, name
        sides = space.bounds[1] - space.bounds[0]
        reach = _reach(kernel)
        self._radius = float(np.linalg.norm(sides)) + reach
        self._periods = sides + self._radius + reach
        d = space.dimension
        nyquist = math.pi / (float(np.prod(sides)) / space.nodes) ** (1 / d)
        masses = np.concatenate(space.comm.allgather(space.mass))  # of all ranks: modes must not depend on their number
        fine = float(np.quantile(masses, 0.02)) ** (1 / d)
        most = (max(_MOST * space.nodes, _CHEAP) / float(np.prod(self._periods))) ** (1 / d) * math.pi
        self._highest = max(min(math.pi / fine, most), nyquist)
        self.unresolved, self._least, self._said, self._band = 0.0, 0.0, False, 0.0

    def _build(self, band: float) -> None:
        """Take all modes up to a wavenumber."""
        self._band = band
        counts = [max(4, math.ceil(band * p / (2 * math.pi))) for p in self._periods]
        last = len(counts) - 1
        k = [
            2 * math.pi / p * np.arange(0 if self._waves.halved and a == last else -m, m + 1)
            for a, (p, m) in enumerate(zip(self._periods, counts, strict=True))
        ]
        self._waves.set_modes(k)
        grid = np.meshgrid(*k, indexing="ij", sparse=True)
        lam = np.asarray(sum(g**2 for g in grid))
        symbol = self._kernel.truncated_symbol(lam.ravel(), self._radius, len(k)).reshape(lam.shape)
        self._factors = symbol / float(np.prod(self._periods))
        if self._waves.halved:
            self._factors[..., 1:] *= 2.0
        self._steepness = np.abs(self._factors) * np.sqrt(lam)
        self._outer = np.maximum.reduce(np.broadcast_arrays(*(np.abs(g) for g in grid))) > _OUTER * band

    def prepare(self, nodal: Array, state: Array | None) -> Charges:
        """Return the charges' modes, after more have been taken where they were too few. Collective."""
        space, sizes = self._space, np.abs(nodal)
        sums = [np.vdot(space.mass, nodal), np.vdot(space.mass, sizes), sizes.sum()]
        total, size, count = space.total(np.array(sums))
        resolved = math.pi * float(count / size) ** (1 / space.dimension) if size > 0 else self._highest
        if self._band == 0.0:
            self._build(min(_FIRST * resolved, self._highest))
        found, share = self._modes(nodal)
        while share > max(NEGLIGIBLE, 2 * self._least) and self._band < self._highest:
            before = self._band
            self._build(min(_MORE * before, self._highest))
            more, now = self._modes(nodal)
            if now > _FALLS * share and before > _SURE * resolved:
                self._least = share
                self._build(before)
                break
            found, share = more, now
        self.unresolved = share
        if share > UNRESOLVED and not self._said:
            self._said = True
            warn(
                f"the mesh does not resolve the source of {self._name}: the shortest waves that it holds are "
                f"{100 * share:.2g} % of its gradient; refine the mesh",
                self._space.comm,
            )
        return Charges(found, float(total), float(size))

    def _modes(self, nodal: Array) -> tuple[Modes, float]:
        """Return the modes of all ranks' nodes and the share of the outermost. Collective."""
        comm = self._space.comm
        modes = reduced(comm, self._waves.forward(nodal))
        steep = self._steepness * np.abs(modes)
        share = float(steep[self._outer].sum() / max(float(steep.sum()), 1e-300))
        return modes, comm.bcast(share) if comm.size > 1 else share

    def apply(self, prepared: Charges, gradient: bool) -> tuple[Array, Array | None]:
        """Multiply by the symbol and sum the waves at the nodes."""
        value, *slopes = self._waves.backward(self._factors * prepared.modes, gradient)
        value = one_sign(value, self._kernel, prepared.total, prepared.size, self._space.dimension)
        return value, np.stack(slopes, axis=1) if gradient else None

    def far_error(self, nodal: Array) -> float:
        """Return 0: nothing of what lies outside is left out, wherever the density is."""
        return 0.0


def _reach(kernel: Kernel) -> float:
    """Return the distance at which the mollifiers among a kernel's factors end."""
    out, lam = 0.0, np.geomspace(1e-12, 1e12, 2401)
    for part in kernel.factors[1:]:
        if math.isfinite(part.decay_rate):
            out += 35.0 / part.decay_rate
        elif part.oscillation > 0:
            out += part.oscillation
        else:  # like a Gaussian, whose symbol is e^(−1/2) at 1/σ²
            out += 8.5 / math.sqrt(float(lam[np.argmin(np.abs(part.symbol(lam) - math.exp(-0.5)))]))
    return out
