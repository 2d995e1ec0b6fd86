r"""Transforms of a large box of two dimensions: by halves, and only with the modes that a function has.

**Halves.** A box is symmetric about 0, so its modes are even or odd: a matrix of an axis is applied by two blocks, to
the even and to the odd part of a function, in half the operations.

**Modes left out.** A function that the mesh resolves has most of its modes at round-off, and the others are left out of
the products: those whose coefficients together have at most a share ``NEGLIGIBLE`` of its L² norm (of its derivative's,
where that is asked for). They need not be the highest ones: an element of degree p > 1 gives every smooth function a
few modes among its upper branches. So each direction has a set S of modes, with

.. math:: \sum_{(k,l) \notin S_x \times S_y} \hat u_{kl}^2
    \le \sum_{k \notin S_x} \sum_l \hat u_{kl}^2 + \sum_{l \notin S_y} \sum_k \hat u_{kl}^2
    \le \mathrm{NEGLIGIBLE}^2\, \lVert u\rVert^2 .

*Back* to nodal values S is read off the coefficients, and this bound is exact. *Forth* it is guessed from the last
function (wider on all sides and by a smaller share), and what it leaves out is measured: with g a vector of independent
standard normal numbers, :math:`E\,(\sum_{k \notin S} g_k \hat u_k)^2 = \sum_{k \notin S} \hat u_k^2`, and each such sum
is a product with one more vector. ``PROBES`` of them a parity and direction find less than a hundredth of this sum with
a probability below 2e-7, that of :math:`\chi^2_8 < .08`, for every function that was made without knowing g. (Halko,
Martinsson and Tropp, SIAM Rev. 53, 2011, section 4.3.) If they find more than the share allowed, the transform is made
again with all modes: a rough function costs what it costs by halves alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kspde.fem.tensor import Slabs

__all__ = ["NEGLIGIBLE", "Direction", "Plane"]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Share of the L² norm of a function that the modes left out have at most.
NEGLIGIBLE = 1e-11
#: Modes are left out where there are so many a direction.
LEAVE_OUT_FROM = 400
#: Above this share of all modes, products with them all are as cheap.
_WORTH_IT = 0.75
#: A guess has the modes of the last function with this share of the share allowed, and so many neighbours.
_CAREFUL, _NEIGHBOURS = 0.1, 4
#: Random sums of the modes left out, for each parity and direction.
PROBES = 8


class Plane:
    """Forward and backward transforms of nodal arrays in slabs.

    Args:
        slabs: how nodal arrays are split over ranks.
        mass: the diagonal of M_1 at this rank's rows.
        forth: matrices to modes of both directions.
        flux: those of functionals φ ↦ ∫ F ∂_a φ.
        back: matrices to nodal values.
        slope: those of derivatives.
        eigenvalues: of the modes of both directions, broadcastable to ``slabs.modal_shape``.
    """

    def __init__(
        self,
        slabs: Slabs,
        mass: Array,
        *,
        forth: Sequence[Direction],
        flux: Sequence[Direction],
        back: Sequence[Direction],
        slope: Sequence[Direction],
        eigenvalues: Sequence[Array],
    ) -> None:
        self._slabs = slabs
        self._mass = mass
        #: share of a norm that is left out, and that a guess may leave out before all modes are transformed
        self._share = self._tolerated = NEGLIGIBLE
        self._to = (forth, flux)
        self._from = (back, slope)
        self._eigenvalues = eigenvalues
        self._selects = min(slabs.modal_shape[0], int(slabs.columns[-1])) >= LEAVE_OUT_FROM
        self._sizes = (slabs.modal_shape[0], int(slabs.columns[-1]))
        #: the modes that the next function is expected to have in each direction; None stands for all
        self._expected: tuple[Indices | None, Indices | None] = (None, None)

    def roughly(self) -> Plane:
        """Return the same transforms, with a ten-thousandth of the norms left out.

        A preconditioner need not do better: what it leaves out is in the next residual.
        """
        (forth, flux), (back, slope) = self._to, self._from
        other = Plane(
            self._slabs, self._mass, forth=forth, flux=flux, back=back, slope=slope, eigenvalues=self._eigenvalues
        )
        other._share, other._tolerated = 1e-4, 0.1
        return other

    def forwards(self, x: Array, axis: int | None = None) -> Array:
        """Return the modal coefficients of x, or of φ ↦ ∫ x ∂_axis φ. Collective."""
        # Of a flux all modes are kept: the probes do not know what a derivative makes of those left out.
        guess = self._selects and axis is None
        chosen = self._expected if guess else (None, None)
        slabs, some = self._slabs, chosen[0] is not None or chosen[1] is not None
        first, second = (self._to[axis == a][a] for a in range(2))
        half, missed = second.forth_last(x, chosen[1], self._mass)
        here, columns = self._local(chosen[1])
        modes, also = first.forth_first(slabs.with_columns(columns).transpose(half), chosen[0])
        if not guess:
            return modes
        energies = self._energies(modes, chosen[0], here, missed + also)
        sides = np.split(energies[1:], [self._sizes[0]])
        total = float(sides[0].sum())
        if some and not energies[0] <= self._tolerated**2 * total:
            self._expected = (None, None)
            return self.forwards(x)
        few = bool(energies[0] <= self._share**2 * total)
        rows, cols = (_wider(_chosen(e, _CAREFUL * self._share), len(e), few) for e in sides)
        self._expected = (rows, cols)
        if not some:
            return modes
        out = np.zeros(slabs.modal_shape)
        out[np.ix_(_all(chosen[0], self._sizes[0]), here)] = modes
        return out

    def backwards(self, modes: Array, axis: int | None = None) -> Array:
        """Return the nodal values of the function with these modes, or of its derivative. Collective."""
        slabs = self._slabs
        chosen: tuple[Indices | None, Indices | None] = (None, None)
        if self._selects:
            weighted = modes if axis is None else np.sqrt(self._eigenvalues[axis]) * modes
            energies = self._energies(weighted, None, np.arange(modes.shape[1]), 0.0)
            rows, cols = (_chosen(e, self._share) for e in np.split(energies[1:], [self._sizes[0]]))
            chosen = (rows, cols)
        here, columns = self._local(chosen[1])
        first, second = (self._from[axis == a][a] for a in range(2))
        if chosen[0] is not None or chosen[1] is not None:
            modes = modes[np.ix_(_all(chosen[0], self._sizes[0]), here)]
        half = first.back_first(modes, chosen[0])
        return second.back_last(slabs.with_columns(columns).transpose_back(half), chosen[1])

    def _local(self, chosen: Indices | None) -> tuple[Indices, Indices]:
        """Return this rank's columns among those chosen, counted from its first, and the cuts between ranks."""
        slabs = self._slabs
        if chosen is None:
            return np.arange(slabs.modal.stop - slabs.modal.start), slabs.columns
        cuts = np.searchsorted(chosen, slabs.columns)
        rank = slabs.comm.rank
        return chosen[cuts[rank] : cuts[rank + 1]] - slabs.modal.start, cuts

    def _energies(self, modes: Array, rows: Indices | None, here: Indices, missed: float) -> Array:
        """Return ``missed`` and the sums of squares of all rows and of all columns, over all ranks. Collective."""
        n, m = self._sizes
        out = np.zeros(1 + n + m)
        out[0] = missed
        out[1:][_all(rows, n)] = np.einsum("ij,ij->i", modes, modes)
        out[1 + n + self._slabs.modal.start + here] = np.einsum("ij,ij->j", modes, modes)
        if self._slabs.comm.size > 1:
            from mpi4py import MPI

            self._slabs.comm.Allreduce(MPI.IN_PLACE, out)
        return out


class Direction:
    """A matrix of one direction by its two blocks, for even and odd functions.

    Args:
        matrix: shape (modes, nodes), in either sense of the transform; even modes come first.
        derivative: whether even functions belong to odd modes, and odd ones to even modes.
    """

    def __init__(self, matrix: Array, *, derivative: bool) -> None:
        n = len(matrix)
        self.size = n
        self.middle = n - n // 2
        modes = ((0, self.middle), (self.middle, n))
        #: first and last mode of even functions, and of odd ones
        self._modes = modes[::-1] if derivative else modes
        self._blocks = [
            np.ascontiguousarray(matrix[a:b, :k]) for (a, b), k in zip(self._modes, (self.middle, n // 2), strict=True)
        ]
        rng = np.random.default_rng(20)
        #: for each parity and mode of it, the random numbers of the probes
        self._normal = [rng.standard_normal((PROBES, b - a)) for a, b in self._modes]

    def forth_first(self, x: Array, chosen: Indices | None) -> tuple[Array, float]:
        """Return the chosen modes of x along its first direction, and an estimate of the others' sum of squares."""
        n, half = len(x), len(x) // 2
        mirrored = x[: -half - 1 : -1]
        even = x[: self.middle].copy()
        even[:half] += mirrored
        parts = (even, x[:half] - mirrored)
        pieces, probes = self._pieces(chosen), self._probes(chosen)
        out = np.empty((n if chosen is None else len(chosen), x.shape[1]))
        for (where, block), part in zip(pieces, parts, strict=True):
            np.matmul(block, part, out=out[where])
        seen = (probe @ part for probe, part in zip(probes, parts, strict=False))
        return out, sum(float(np.vdot(s, s)) for s in seen) / PROBES

    def forth_last(self, x: Array, chosen: Indices | None, mass: Array) -> tuple[Array, float]:
        """Return the same along the second direction; the sum is weighted by ``mass`` of the rows."""
        n, half = x.shape[1], x.shape[1] // 2
        mirrored = x[:, : -half - 1 : -1]
        even = x[:, : self.middle].copy()
        even[:, :half] += mirrored
        parts = (even, x[:, :half] - mirrored)
        pieces, probes = self._pieces(chosen), self._probes(chosen)
        out = np.empty((len(x), n if chosen is None else len(chosen)))
        for (where, block), part in zip(pieces, parts, strict=True):
            out[:, where] = part @ block.T
        seen = (part @ probe.T for probe, part in zip(probes, parts, strict=False))
        return out, sum(float(mass @ np.einsum("ij,ij->i", s, s)) for s in seen) / PROBES

    def back_first(self, modes: Array, chosen: Indices | None) -> Array:
        """Return nodal values along the first direction of the chosen modes."""
        even, odd = self._pieces(chosen)
        symmetric, other = even[1].T @ modes[even[0]], odd[1].T @ modes[odd[0]]
        half = self.size // 2
        out = np.empty((self.size, modes.shape[1]))
        out[: self.middle] = symmetric
        out[:half] += other
        np.subtract(symmetric[:half], other, out=out[: self.size - half - 1 : -1])
        return out

    def back_last(self, modes: Array, chosen: Indices | None) -> Array:
        """Return the same along the second direction."""
        even, odd = self._pieces(chosen)
        symmetric, other = modes[:, even[0]] @ even[1], modes[:, odd[0]] @ odd[1]
        half = self.size // 2
        out = np.empty((len(modes), self.size))
        out[:, : self.middle] = symmetric
        out[:, :half] += other
        np.subtract(symmetric[:, :half], other, out=out[:, : self.size - half - 1 : -1])
        return out

    def _pieces(self, chosen: Indices | None) -> list[tuple[slice, Array]]:
        """Return where the chosen modes of even and of odd functions stand among them all, and their rows."""
        if chosen is None:
            return [(slice(a, b), block) for (a, b), block in zip(self._modes, self._blocks, strict=True)]
        pieces = []
        for (a, b), block in zip(self._modes, self._blocks, strict=True):
            where = slice(*np.searchsorted(chosen, (a, b)))
            pieces.append((where, block[chosen[where] - a]))
        return pieces

    def _probes(self, chosen: Indices | None) -> list[Array]:
        """Return random sums of the rows of all other modes, for even and for odd functions; none if all are chosen."""
        if chosen is None:
            return []
        probes = []
        for (a, b), block, normal in zip(self._modes, self._blocks, self._normal, strict=True):
            others = normal.copy()
            others[:, chosen[(chosen >= a) & (chosen < b)] - a] = 0.0
            probes.append(others @ block)
        return probes


def _chosen(energies: Array, share: float) -> Indices | None:
    """Return the fewest modes such that the others have at most share²/2 of all the energy; None for all modes."""
    total = energies.sum()
    if not np.isfinite(total):
        return None  # what is not a number must not be left out
    order = np.argsort(energies)
    left_out = int(np.searchsorted(np.cumsum(energies[order]), 0.5 * share**2 * total, side="right"))
    return _if_worth_it(np.sort(order[left_out:]), len(energies))


def _wider(chosen: Indices | None, n: int, few: bool) -> Indices | None:
    """Return these modes and their neighbours of the same parity, of n: a few, or about as many again."""
    if chosen is None:
        return None
    reach = _NEIGHBOURS if few else max(_NEIGHBOURS, len(chosen) // 3)
    middle = n - n // 2
    near = np.zeros(n, dtype=bool)
    for a, b in ((0, middle), (middle, n)):
        part = chosen[(chosen >= a) & (chosen < b)]
        for k in range(-reach, reach + 1):
            near[np.clip(part + k, a, b - 1)] = True
    return _if_worth_it(np.flatnonzero(near), n)


def _if_worth_it(chosen: Indices, n: int) -> Indices | None:
    return chosen if len(chosen) <= _WORTH_IT * n else None


def _all(chosen: Indices | None, n: int) -> Indices:
    return np.arange(n) if chosen is None else chosen
