r"""Transforms of a large box of two dimensions: by halves, and only with the modes that a function has.

**Halves.** A box is symmetric about 0, so its modes are even or odd: a matrix of an axis is applied by two blocks, to
the even and to the odd part of a function, in half the operations.

**Modes left out.** A function that the mesh resolves has most of its modes at round-off, and these are left out of the
products: those whose coefficients together have at most a share ``NEGLIGIBLE`` of its L² norm (where a gradient is
taken, of that of the gradient too). They need not be the highest ones: an element of degree p > 1 gives every smooth
function a few modes among its upper branches. So each direction has a set S of modes, with

.. math:: \sum_{(k,l) \notin S_x \times S_y} \hat u_{kl}^2
    \le \sum_{k \notin S_x} \sum_l \hat u_{kl}^2 + \sum_{l \notin S_y} \sum_k \hat u_{kl}^2
    \le \mathrm{NEGLIGIBLE}^2\, \lVert u\rVert^2 .

*Back* to nodal values S is read off the coefficients, and this bound is exact. *Forth* it is guessed from the last
function (wider on all sides and by a smaller share), and what it leaves out is measured: with g a vector of independent
standard normal numbers, :math:`E\,(\sum_{k \notin S} g_k \hat u_k)^2 = \sum_{k \notin S} \hat u_k^2`, and each such sum
is a product with one more vector. ``PROBES`` of them per parity and direction find less than a hundredth of this sum
with a probability below 2e-7, that of :math:`\chi^2_8 < .08`, for every function that was made without knowing g.
(Halko, Martinsson and Tropp, SIAM Rev. 53, 2011, section 4.3.) If they find more than the share allowed, the transform
is repeated with all modes: a rough function costs as much as with halves alone. (On 1e6 nodes, one thread, a step of
the adaptive schemes takes half the processor time that it takes with all modes, one of the positive scheme 70 %.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.fem.spaces.slabs import Slabs
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Indices

__all__ = ["NEGLIGIBLE", "ParityMatrix", "ParityTransforms"]

#: of double or of single precision
Real = npt.NDArray[Any]
#: Modes of the first and of the second direction; None stands for all.
Chosen = tuple[Indices | None, Indices | None]
_ALL: Chosen = (None, None)

#: The largest share of a function's L² norm that the modes left out may have.
NEGLIGIBLE = 1e-11
#: Modes are left out where there are so many per direction.
LEAVE_OUT_FROM = 400
#: Above this share of all modes, products with them all are as cheap.
_WORTH_IT = 0.75
#: A guess takes the modes of the last function by this part of the share allowed, and so many neighbours.
_CAREFUL, _NEIGHBOURS = 0.1, 4
#: Random sums of the modes left out, for each parity and direction.
PROBES = 8


class ParityTransforms:
    """Forward and backward transforms of nodal arrays in slabs.

    Args:
        slabs: how nodal arrays are split over ranks.
        mass: the diagonal of M_1 at this rank's rows.
        forth: the matrix to modes, of either direction.
        flux: that of functionals φ ↦ ∫ F ∂_a φ.
        back: that to nodal values.
        eigenvalues: of the modes of both directions, broadcastable to ``slabs.modal_shape``.
    """

    def __init__(
        self,
        slabs: Slabs,
        mass: Array,
        *,
        forth: ParityMatrix,
        flux: ParityMatrix,
        back: ParityMatrix,
        eigenvalues: Sequence[Array],
    ) -> None:
        self._slabs = slabs
        self._to = (forth, flux)
        self._back = back
        self._mass = mass
        self._eigenvalues = eigenvalues
        self._few = _FewModes(slabs, forth, mass, share=NEGLIGIBLE, tolerated=NEGLIGIBLE)

    def roughly(self) -> Callable[[Real, float], Real]:
        """Return (r, σ) ↦ (M + K/σ)⁻¹ r in single precision and with few modes, for a preconditioner.

        The next residual contains what it leaves out, up to a ten-thousandth of the norm, and its rounding.
        """
        back = self._back.single()
        few = _FewModes(self._slabs, back, 1.0 / self._mass, share=1e-4, tolerated=0.1)
        first, second = self._eigenvalues

        def solve(x: Real, shift: float) -> Real:
            modes, chosen = few(x.astype(np.float32, copy=False))
            if chosen[0] is None and chosen[1] is None:
                chosen = few.expected
                modes = modes[np.ix_(*_places(self._slabs, chosen))]
            rows, columns = _places(self._slabs, chosen)
            modes /= (1.0 + first[rows] / shift).astype(np.float32) + (second[columns] / shift).astype(np.float32)
            return _back(self._slabs, (back, back), modes, chosen)

        return solve

    def forwards(self, x: Array, axis: int | None = None) -> Array:
        """Return the modal coefficients of x, or of φ ↦ ∫ x ∂_axis φ. Collective."""
        if axis is not None:
            # A flux keeps all modes: the probes do not know what a derivative makes of those left out.
            matrices = [self._to[axis == a] for a in range(2)]
            return _forth(self._slabs, matrices, x, _ALL, self._mass)[0]
        modes, chosen = self._few(x)
        if chosen[0] is None and chosen[1] is None:
            return modes
        out = np.zeros(self._slabs.modal_shape)
        out[np.ix_(*_places(self._slabs, chosen))] = modes
        return out

    def backwards(self, modes: Array, *, derived: bool) -> Array:
        """Return the nodal values of the function with these modes; its gradient keeps its share too. Collective."""
        chosen = _ALL
        if _selects(self._slabs):
            _, *energies = _energies(self._slabs, modes, _ALL, 0.0)
            if derived:
                weighted = np.sqrt(np.add(*self._eigenvalues)) * modes
                _, *steep = _energies(self._slabs, weighted, _ALL, 0.0)
                sizes = [max(float(e[0].sum()), 1e-300) for e in (energies, steep)]
                energies = [0.5 * (a / sizes[0] + b / sizes[1]) for a, b in zip(energies, steep, strict=True)]
            chosen = _selected(energies, NEGLIGIBLE)
            if chosen[0] is not None or chosen[1] is not None:
                modes = modes[np.ix_(*_places(self._slabs, chosen))]
        return _back(self._slabs, (self._back, self._back), modes, chosen)


class _FewModes:
    """Transforms to the modes that functions have, guessed from the last function.

    Args:
        slabs: how nodal arrays are split over ranks.
        matrix: to modes, of either direction.
        weights: of this rank's rows in the norm after the transform of the second direction.
        share: of the norm that the modes left out may have, by what is known of the last function.
        tolerated: the share at which the transform is repeated with all modes.
    """

    def __init__(self, slabs: Slabs, matrix: ParityMatrix, weights: Array, *, share: float, tolerated: float) -> None:
        self._slabs = slabs
        self._matrices = (matrix, matrix)
        self._weights = weights
        self._share, self._tolerated = share, tolerated
        #: the modes that the next function is expected to have
        self.expected: Chosen = _ALL

    def __call__(self, x: Real) -> tuple[Real, Chosen]:
        """Return modal coefficients, and of which modes they are. Collective."""
        chosen = self.expected
        modes, missed = _forth(self._slabs, self._matrices, x, chosen, self._weights)
        if not _selects(self._slabs):
            return modes, chosen
        left_out, *energies = _energies(self._slabs, modes, chosen, missed)
        total = float(energies[0].sum())
        if not (chosen[0] is None and chosen[1] is None) and not left_out <= self._tolerated**2 * total:
            self.expected = _ALL
            return self(x)
        few = bool(left_out <= self._share**2 * total)
        rows, columns = _selected(energies, _CAREFUL * self._share)
        n, m = _sizes(self._slabs)
        self.expected = (_wider(rows, n, few), _wider(columns, m, few))
        return modes, chosen


def _forth(
    slabs: Slabs, matrices: Sequence[ParityMatrix], x: Real, chosen: Chosen, weights: Array
) -> tuple[Real, float]:
    """Return the chosen modal coefficients, and an estimate of this rank's sum of squares of the others. Collective."""
    first, second = matrices
    half, missed = second.forth(x, chosen[1], weights)
    modes, also = first.forth(_narrowed(slabs, chosen).transpose(half).T, chosen[0])
    return modes.T, missed + also


def _back(slabs: Slabs, matrices: Sequence[ParityMatrix], modes: Real, chosen: Chosen) -> Real:
    """Return nodal values from the chosen modal coefficients. Collective."""
    first, second = matrices
    return second.back(_narrowed(slabs, chosen).transpose_back(first.back(modes.T, chosen[0]).T), chosen[1])


def _narrowed(slabs: Slabs, chosen: Chosen) -> Slabs:
    """Return slabs with the chosen columns alone."""
    return slabs if chosen[1] is None else slabs.with_columns(np.searchsorted(chosen[1], slabs.columns))


def _places(slabs: Slabs, chosen: Chosen) -> tuple[Indices, Indices]:
    """Return the rows of the chosen modes, and this rank's columns among them, counted from its first."""
    rows, columns = (np.arange(n) if c is None else c for n, c in zip(_sizes(slabs), chosen, strict=True))
    a, b = np.searchsorted(columns, (slabs.modal.start, slabs.modal.stop))
    return rows, columns[a:b] - slabs.modal.start


def _energies(slabs: Slabs, modes: Real, chosen: Chosen, missed: float) -> list[Array]:
    """Return ``missed`` and the sums of squares of all rows and of all columns, over all ranks. Collective."""
    n, m = _sizes(slabs)
    rows, columns = _places(slabs, chosen)
    out = np.zeros(1 + n + m)
    out[0] = missed
    out[1 + rows] = np.einsum("ij,ij->i", modes, modes)
    out[1 + n + slabs.modal.start + columns] = np.einsum("ij,ij->j", modes, modes)
    return np.split(reduced(slabs.comm, out), [1, 1 + n])


def _selects(slabs: Slabs) -> bool:
    """Return whether there are so many modes that leaving some out pays."""
    return min(_sizes(slabs)) >= LEAVE_OUT_FROM


def _sizes(slabs: Slabs) -> tuple[int, int]:
    return slabs.modal_shape[0], int(slabs.columns[-1])


class ParityMatrix:
    """A matrix of one direction as two blocks, for even and odd functions.

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
        self._blocks: list[Real] = [
            np.ascontiguousarray(matrix[a:b, :k]) for (a, b), k in zip(self._modes, (self.middle, n // 2), strict=True)
        ]
        rng = np.random.default_rng(20)
        #: for each parity and mode of it, the random numbers of the probes
        self._normal: list[Real] = [rng.standard_normal((PROBES, b - a)) for a, b in self._modes]

    def single(self) -> ParityMatrix:
        """Return the same in single precision."""
        other = copy(self)
        other._blocks = [block.astype(np.float32) for block in self._blocks]
        other._normal = [normal.astype(np.float32) for normal in self._normal]
        return other

    def forth(self, x: Real, chosen: Indices | None, weights: Array | None = None) -> tuple[Real, float]:
        """Return the chosen modes of each row of x, and an estimate of the others' sum of squares.

        Here and in ``back`` the result lies in memory as the argument does: columns are transformed as rows of x.T.

        Args:
            x: shape (m, nodes).
            chosen: which modes; None for all.
            weights: of the rows, in the sum.
        """
        half = self.size // 2
        mirrored = x[:, : -half - 1 : -1]
        even = x[:, : self.middle].copy(order="K")
        even[:, :half] += mirrored
        parts = (even, x[:, :half] - mirrored)
        out = _like(x, self.size if chosen is None else len(chosen))
        for (where, block), part in zip(self._pieces(chosen), parts, strict=True):
            np.matmul(part, block.T, out=out[:, where])
        missed = 0.0
        for probe, part in zip(self._probes(chosen), parts, strict=False):
            squares = np.sum((part @ probe.T) ** 2, axis=1)
            missed += float(squares.sum() if weights is None else weights @ squares) / PROBES
        return out, missed

    def back(self, modes: Real, chosen: Indices | None) -> Real:
        """Return the nodal values of the chosen modes of each row: shape (m, nodes)."""
        symmetric, other = (
            np.matmul(modes[:, where], block, out=_like(modes, block.shape[1])) for where, block in self._pieces(chosen)
        )
        half = self.size // 2
        out = _like(modes, self.size)
        out[:, : self.middle] = symmetric
        out[:, :half] += other
        np.subtract(symmetric[:, :half], other, out=out[:, : self.size - half - 1 : -1])
        return out

    def _pieces(self, chosen: Indices | None) -> list[tuple[slice, Real]]:
        """Return the places of the chosen modes of even and of odd functions among all chosen ones, and their rows."""
        if chosen is None:
            return [(slice(a, b), block) for (a, b), block in zip(self._modes, self._blocks, strict=True)]
        pieces = []
        for (a, b), block in zip(self._modes, self._blocks, strict=True):
            where = slice(*np.searchsorted(chosen, (a, b)))
            pieces.append((where, block[chosen[where] - a]))
        return pieces

    def _probes(self, chosen: Indices | None) -> list[Real]:
        """Return random sums of the rows of all other modes, for even and for odd functions; none if all are chosen."""
        if chosen is None:
            return []
        probes = []
        for (a, b), block, normal in zip(self._modes, self._blocks, self._normal, strict=True):
            others = normal.copy()
            others[:, chosen[(chosen >= a) & (chosen < b)] - a] = 0.0
            probes.append(others @ block)
        return probes


def _like(x: Real, columns: int) -> Real:
    """Return an array of as many rows, in the memory order of x."""
    return np.empty_like(x, shape=(len(x), columns), subok=False)


def _selected(energies: Sequence[Array], share: float) -> Chosen:
    """Return the fewest modes of each direction such that the others have at most share²/2 of all the energy."""
    rows, columns = (_largest(e, share) for e in energies)
    return rows, columns


def _largest(energies: Array, share: float) -> Indices | None:
    total = energies.sum()
    if not np.isfinite(total):
        return None  # values that are not finite must not be left out
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
