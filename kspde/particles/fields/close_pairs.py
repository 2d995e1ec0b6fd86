r"""Bounded displacements of pairs whose kernel is singular.

In a step of length h the particles i and j, at a distance r, move relative to one another by about q r, with

.. math:: q = h\,A\,(|w_i| + |w_j|)\,|K'(r)|/r

and A the largest derivative of a drift with respect to the field's gradient, measured at some particles. Where q
exceeds κ = 1/3, no step of any order resolves their motion, and an explicit one throws them apart: with K' ~ 1/r in the
plane, one step by it has :math:`E|b|^2 = \infty`. There K' is replaced by :math:`K' \varphi(q)/q`,

.. math:: \varphi(q) = q\,\big(1 - (1 - \kappa/q)^3\big) < 3\kappa = 1 \quad (q > \kappa), \qquad \varphi(q) = q \quad
    (q \le \kappa),

so that a pair moves by less than its distance (but for 1e-12 of its untamed displacement, the error of the tables: a
pair so close that this exceeds the reach has a gradient that is not a number, which ends the run), and by
:math:`O(\sqrt h)` where K is a logarithm: q = κδ²/r², with :math:`\delta^2 = h A (|w_i| + |w_j|)\,s/(2\pi\kappa)` for
−ΔK = s, and in the plane :math:`K' \varphi(q)/q` is the kernel mollified by the density 3(1 − r²/δ²)²/(πδ²) of that
radius. The replacement is the same for i and j: where the drift is the same multiple of the gradient for both, Σ w X is
conserved. Farther pairs are untouched, to the bit.

*Bias.* Separated particles keep the order of the scheme: ``weak-2`` has order 2 for vortices, measured 2.00 without
noise. With noise, which brings pairs together, the order of d/dt Σ Γ|X|² is 2.0 ± .1 and 1.8 ± .2 for successive
halvings from dt = 1/4 at ν = 5e-4, 1.8 ± .2 and 1.7 ± .2 at .002, and about 1 at .01 (N = 30, t = 1).
Where particles meet, the taming takes some of the pull: with :math:`|r|^2` like a squared Bessel
process of dimension δ, pairs are closer than O(√h) with a probability of order :math:`h^{\delta/2}`, and that is the
order of the bias of :math:`E|X|^2` per pair, δ = 2 − χM/(2πDN) for the Keller-Segel particles. Measured for d/dt E|X|²
per particle at χ = D = 1, dt = .0025, Euler-Maruyama and weak-2 (``tests/benchmarks/close_pairs.py``): N = 2, M = 4π (δ
= 1): .029 and .015 of 3, orders .55 and .63; N = 10, M = 4π: .013 and .002 of 2.2, orders .75 and .97; N = 1000, M =
8π: .027 ± .002, order .96, and .0004 ± .0002: there the first is the bias of Euler's scheme, :math:`h E|b|^2`, with a
factor log(1/h) in the plane. Clusters with δ near 0, of which a run warns (:mod:`kspde.particles.collapse`), have no
limit as dt → 0.

``Cloud.summary()["left_out"]`` is the share of :math:`\sum w_iw_jr|K'(r)|` that the taming takes over a run, of pairs
among some 64 particles. Times :math:`\frac{\chi M}{2\pi}(1 - \frac1N)` it estimates the bias of weak-2 above: .018,
.025 and .0017 for N = 2, M = 4π; N = 10, M = 8π and 4π, where .015, .028 and .002 are measured.

*Cost.* All pairs within reach are visited, so that the time is quadratic in the number of particles of a core that is
smaller. There the tamed gradient is also the small difference of two sums, of which one has an error of field_tol times
the largest of the untamed gradients.

*On a line* particles that repel like 1/r, :math:`-g/N \log|x|` with N > g/σ, meet and part again in the same order. A
step takes some of them past one another, which as a set is the same: they exchange their places where the model says
that they are ``ordered``. The bias is of order √h here (:math:`\delta = 1 + g/(N\sigma)`): at dt = .005, g = σ = 1, N =
100 it is below 3e-4 (Euler-Maruyama) and −.0025 (weak-2) of d/dt E|X|² = 2.99.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.models import Field
from kspde.particles.fields.cells import Cells, order_by
from kspde.particles.fields.pairs import OctaveTables, by_octave, octave_tables
from kspde.particles.weights import in_loops, own_and_factor, weight_at
from kspde.runtime.compiled import compiled, in_shares, inlined_only
from kspde.runtime.reductions import everyones, reduced
from kspde.typing import Array, Comm, Indices

__all__ = ["KAPPA", "ClosePairs", "distance", "order_of_bias"]

#: κ: pairs that would move by a larger share of their distance per step are tamed.
KAPPA = 1.0 / 3.0
#: What the sources within reach of a particle are counted as, when threads share them.
_AROUND = 20
#: 1 over the relative error of a field's tables: what is left of a closer pair's pull is larger than the reach.
_LOST = 1e12
#: Pairs in the same cell, per particle, above which cells are made smaller.
_CROWDED = 4
#: Positions whose spread is that of the cloud.
_SAMPLE = 10_000


class ClosePairs:
    """The pairs of particles that are too close for a time step.

    Args:
        fields: the fields with singular gradients.
        dimension: d.
        comm: the communicator.
    """

    def __init__(self, fields: tuple[Field, ...], dimension: int, comm: Comm) -> None:
        self._fields = {f.name: f for f in fields}
        self._dimension = dimension
        self._comm = comm
        self._tables: dict[str, tuple[int, OctaveTables]] = {}
        self._reaches: dict[tuple[str, int], float] = {}
        self._scale = 0.0

    def begin(
        self,
        scale: float,
        positions: Mapping[str, Array],
        weights: Mapping[str, float | Array],
        cells: Mapping[str, Cells] = MappingProxyType({}),
    ) -> None:
        """Take hA of a step, the positions of all species, each (n_local, d), and their weights. Collective.

        ``cells`` are the particles of all ranks at these positions, as an evaluator that sorts them has them.
        """
        self._scale = scale
        largest = max(float(np.max(np.abs(w), initial=0.0)) for w in weights.values())
        self._heaviest = float(reduced(self._comm, np.array([largest]), "MAX")[0])
        self.update(positions, weights, cells)

    def update(
        self, positions: Mapping[str, Array], weights: Mapping[str, float | Array], cells: Mapping[str, Cells]
    ) -> None:
        """Take other positions within the step. Collective.

        Raises:
            InputError: positions so far from the origin that pairs within reach are rounded away; on every rank.
        """
        self._weights = dict(weights)
        self._sources: dict[str, tuple[Any, ...]] = {}
        for f in self._fields.values():
            reach = self._reach(f)
            if reach > 0:
                near = cells.get(f.source)
                x = everyones(positions[f.source], self._comm) if near is None else near.x
                _check_resolved(x, reach)
                own, factor = own_and_factor(weights[f.source], self._comm)
                rows, starts, side, per_width = _cells(x, reach)
                order = rows if near is None else near.order[rows]
                ordered = in_loops(factor if own is None else own[order])
                self._sources[f.name] = np.take(x, rows, axis=0), order, ordered, starts, side, per_width, reach

    def add(self, field: str, species: str, x: Array, gradient: Array) -> None:
        """Turn the gradient of a field at particles of a species into the tamed one. Rank-local."""
        if field in self._sources:
            sources, order, weights, starts, side, per_width, reach = self._sources[field]
            visits = order if len(order) == len(x) else np.arange(len(x))  # neighbours one after the other
            _, (_, slopes, least) = self._tables[field]
            own = in_loops(self._weights[species])
            others = starts, side, per_width, reach, slopes, least, self._scale, (0,) * self._dimension
            in_shares(lambda i, j: _add(gradient, visits[i:j], x, own, sources, weights, *others), len(x), _AROUND)

    def _reach(self, f: Field) -> float:
        """Return a distance beyond which no pair is tamed, and tabulate the kernel up to it."""
        share = 2.0 * self._scale * self._heaviest
        if not 0.0 < share < math.inf:
            return 0.0
        power = math.ceil(2.0 * math.log2(share))  # few different reaches, all a little too large
        if (f.name, power) not in self._reaches:
            self._reaches[f.name, power] = distance(f, self._dimension, 2.0 ** (0.5 * power) / KAPPA)
        reach = self._reaches[f.name, power]
        octave = math.ceil(math.log2(reach)) if reach > 0 else 0
        if reach > 0 and self._tables.get(f.name, (None,))[0] != octave:
            profile, slope = (partial(each, dimension=self._dimension) for each in (f.kernel.profile, f.kernel.slope))
            self._tables[f.name] = octave, octave_tables(profile, slope, 2.0**octave)
        return reach


def order_of_bias(f: Field, dimension: int) -> float | None:
    """Return the order in h of what the taming takes of the pairs' energy, where that is less than 1/2; None elsewhere.

    With K' ~ r^(−s−1) pairs are tamed within h^(1/(s+2)), which hold a share h^((d−s)/(s+2)) of an energy ∫ r^(−s): the
    gradient is not integrable where that is the least. A logarithm's r K' is constant, so that only pairs are lost.
    """
    pull = np.abs(f.kernel.slope(np.array([1e-9, 1e-6]), dimension)) * [1e-9, 1e-6]
    left = f.kernel.smoothing
    return left / (dimension - left + 2) if left <= 1 and pull[0] > 1.01 * pull[1] else None


def distance(f: Field, dimension: int, share: float) -> float:
    """Return the r at which share |K'(r)|/r = 1, which falls with r; 0 if it is below 2^-150."""
    low, high = -150.0, 150.0
    for _ in range(45):
        middle = 0.5 * (low + high)
        r = 2.0**middle
        far = share * abs(float(f.kernel.slope(np.array([r]), dimension)[0])) <= r
        low, high = (low, middle) if far else (middle, high)
    return 2.0**high if low > -150.0 else 0.0


def _check_resolved(x: Array, reach: float) -> None:
    """Raise unless positions, those of all ranks, are rounded by less than a distance, so that cells hold it."""
    farthest = float(max(x.max(initial=0.0), -x.min(initial=0.0)))
    if np.finfo(np.float64).eps * farthest > reach:
        raise InputError(
            f"particles lie up to {farthest:.3g} from the origin, where positions are rounded by more than the "
            f"distance {reach:.3g} of pairs too close for a time step: move the origin, or check for particles far away"
        )


def _cells(x: Array, reach: float) -> tuple[Indices, Indices, int, float]:
    """Return the order of positions by cell, the first place of each cell, the cells per direction, and 1/width.

    Cells are at least as wide as the reach. There are about as many as positions, those of a torus that space is wound
    on: as wide as most of the cloud, or less if it is crowded somewhere.
    """
    n, d = x.shape
    side = max(3, math.ceil(n ** (1 / d)))
    width = max(reach, 3.0 * float(np.std(x[:: 1 + n // _SAMPLE], axis=0).max()) / side)
    while True:
        order, starts, crowd = _order(x, 1.0 / width, side)
        if crowd <= _CROWDED * n or width <= reach:
            return order, starts, side, 1.0 / width
        width = max(reach, 0.5 * width)


@inlined_only
def _cell(x: float, per_width: float, side: int) -> int:
    f = np.floor(x * per_width)
    return min(int(f - side * np.floor(f / side)), side - 1)


@inlined_only
def _reached(x: float, reach: float, per_width: float) -> Any:
    """Return the first of the cells, on the line before it is wound, within reach, and the one after the last."""
    return int(np.floor((x - reach) * per_width)), int(np.floor((x + reach) * per_width)) + 1


@compiled
def _order(x: Array, per_width: float, side: int) -> Any:
    """Return the order of positions by cell, the first place of each, and the sum of the squares of their numbers."""
    n, d = x.shape
    cell = np.empty(n, dtype=np.int64)
    starts = np.zeros(side**d + 1, dtype=np.int64)
    for i in range(n):
        at = 0
        for a in range(d):
            at = at * side + _cell(x[i, a], per_width, side)
        cell[i] = at
        starts[at + 1] += 1
    crowd = 0.0
    for count in starts:
        crowd += float(count) ** 2
    return order_by(cell, starts), starts, crowd


@compiled
def _add(
    gradient: Array,
    visits: Indices,
    x: Array,
    own: Array,
    sources: Array,
    weights: Array,
    starts: Indices,
    side: int,
    per_width: float,
    reach: float,
    slopes: Array,
    least: float,
    scale: float,
    directions: tuple[int, ...],
) -> None:
    """Subtract (1 − κ/q)³ w_j K'(r)/r (x_i − X_j) over the sources X_j with q > κ from the gradient at x_i."""
    d, reach2 = len(directions), reach**2
    for i in visits:
        a0, e0 = _reached(x[i, 0], reach, per_width)
        a1, e1 = _reached(x[i, 1], reach, per_width) if d > 1 else (0, 1)
        a2, e2 = _reached(x[i, 2], reach, per_width) if d > 2 else (0, 1)
        g0, g1, g2 = 0.0, 0.0, 0.0
        for b0 in range(a0, e0):
            for b1 in range(a1, e1):
                for b2 in range(a2, e2):
                    cell = b0 % side
                    if d > 1:
                        cell = cell * side + b1 % side
                    if d > 2:
                        cell = cell * side + b2 % side
                    for j in range(starts[cell], starts[cell + 1]):
                        z0 = x[i, 0] - sources[j, 0]
                        z1 = x[i, 1] - sources[j, 1] if d > 1 else 0.0
                        z2 = x[i, 2] - sources[j, 2] if d > 2 else 0.0
                        r2 = z0 * z0 + z1 * z1 + z2 * z2
                        if 0.0 < r2 < reach2:
                            weight = weight_at(weights, j)
                            slope = by_octave(slopes, least, r2)
                            q = scale * (abs(weight_at(own, i)) + abs(weight)) * abs(slope)
                            if r2 < least or q * q * r2 > _LOST**2 * reach2:
                                g0 = np.nan
                            elif q > KAPPA:
                                slope *= weight * (1.0 - KAPPA / q) ** 3
                                g0 += slope * z0
                                g1 += slope * z1
                                g2 += slope * z2
        if g0 == 0.0 and g1 == 0.0 and g2 == 0.0:
            continue
        gradient[i, 0] -= g0
        if d > 1:
            gradient[i, 1] -= g1
        if d > 2:
            gradient[i, 2] -= g2
