r"""Random pairs of particles rotate about their centre: momentum and energy are conserved to round-off.

**The motion.** It is for models in which particles of weight w act on each other through :math:`a(z) =
\Lambda(|z|^2 I - z \otimes z)` and :math:`b = \nabla\cdot a = -(d-1)\Lambda z`, so that the limit is

.. math:: \partial_t f = \nabla\cdot[(a * f)\nabla f - (b * f) f],

Landau's equation for Maxwell molecules. Let every pair, :math:`z = v_i - v_j`, move by the generator
:math:`w\,[a(z) : (\nabla_i - \nabla_j)^2 + 2b(z)\cdot(\nabla_i - \nabla_j)]`. A function of :math:`v_i` then sees
:math:`\sum_j w\,[a(v_i - v_j) : \nabla^2 + 2 b(v_i - v_j)\cdot\nabla]`, as with independent noises of covariance
:math:`2\,a * \mu` and the drift :math:`2\,b * \mu`: the limit is the same. Where the centre :math:`(v_i + v_j)/2` is
fixed, :math:`\nabla_i - \nabla_j = 2\nabla_z`; and :math:`a : \nabla^2 + b\cdot\nabla = \Lambda\Delta_S`, with the
Laplacian of the unit sphere. So the pair's generator is :math:`4\Lambda w\,\Delta_S`: centre and :math:`|z|` stay, and
with them momentum and energy, while z/|z| is a Brownian motion on the sphere (a walk as in Kac's model).

**A step.** Of the N(N−1)/2 pairs a step of length h moves ⌊N/2⌋, a random matching, that much further: by

.. math:: e^{s\Delta_S}, \qquad s = 4\Lambda w\,h\,\frac{N(N-1)/2}{\lfloor N/2\rfloor},

so that the mean over matchings has the generator of all pairs. In d = 2 the angle is normal with variance 2s, exactly.
In d = 3 the new direction has the law of von Mises and Fisher about the old one, of density :math:`\propto e^{\kappa
\cos\theta}` with :math:`E\cos\theta = \coth\kappa - 1/\kappa = e^{-2s}`, which is exact; the other harmonics are
:math:`E P_\ell = e^{-\ell(\ell+1)s} + O(s^3)`, as :math:`\frac1\kappa = 2s - 2s^2 + O(s^3)` and :math:`E P_\ell =
1 - \frac{L}{2\kappa} + \frac{L(L-2)}{8\kappa^2} + \dots` with L = ℓ(ℓ+1).

**Order.** :math:`E e^{sL} = 1 + hL_N + O(h^2)` over the matchings, not :math:`e^{hL_N}`: weak order 1, whatever N. A
step multiplies the mean deviation of :math:`\sum_i v_i \otimes v_i` from its isotropic part by :math:`1 -
\frac{\lfloor N/2\rfloor}{N-1}(1 - e^{-2ds})`, where all pairs give :math:`e^{-4d\Lambda Nwh}`. Every step is stable.

**Cost.** O(N/R) on R ranks. The matching comes from a Feistel permutation of the particles whose random functions
depend on (seed, step): each rank computes the partners of its own particles, and receives d + 1 numbers for each of
them. Both ranks of a pair compute the same rotation, from the random numbers of the lower id, so that the result is the
same on any number of ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kspde.errors import InputError
from kspde.models import Model
from kspde.particles.schemes.base import Scheme
from kspde.particles.system import System
from kspde.runtime.compiled import compiled_parallel, inlined_only, prange
from kspde.runtime.random import CHUNK, fill_normal_pairs
from kspde.typing import Array, Comm, Ids, Indices

__all__ = ["PairRotation", "concentration", "partners"]

#: Rounds of a permutation, and the least number of values of half an index: few would make some pairs more likely.
_ROUNDS, _LEAST = 4, 64
_MIX0, _MIX1, _S32, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(32), np.uint64(1)


@dataclass(frozen=True)
class PairRotation(Scheme):
    """Random pairs that rotate about their centre: momentum and energy to round-off, weak order 1, any step stable.

    For models that state a rate of it (``Model.pair_rotation``), such as ``kspde.LandauMaxwell``.

    Attributes:
        dt: the largest time step > 0.
    """

    name = "pair-rotation"
    weak_order = 1.0
    strong_order = 0.0  # there is no Brownian motion of a particle
    field_evaluations = 1
    vectors = 6.0
    source = (
        "Kac, Foundations of kinetic theory (1956); Carrapatoso, Kinet. Relat. Models 9 (2016); on steps, Kloeden and "
        "Platen, Numerical Solution of Stochastic Differential Equations (1992), chapter 14; "
        "kspde.particles.schemes.pair_rotation"
    )

    def check(self, model: Model, *, weighted: bool, mean_field: bool) -> None:
        """Refuse models without a rate, weights that differ, and mean-field particles, which have no pairs."""
        if any(model.pair_rotation(name) is None for name in model.species):
            raise InputError(
                f'scheme = "{self.name}" needs a model whose pairs of particles rotate, such as kspde.LandauMaxwell: '
                f'{type(model).__name__} states no pair_rotation; use scheme = "euler-maruyama"'
            )
        if weighted or mean_field:
            given = "weights" if weighted else "mean_field"
            raise InputError(
                f'{given} cannot be used with scheme = "{self.name}", whose particles move in pairs of equal weights: '
                f'leave {given} out, or use scheme = "euler-maruyama"'
            )
        super().check(model, weighted=weighted, mean_field=mean_field)

    def advance(self, system: System, step: int, t: float, h: float) -> None:
        """Move the particles from t to t + h; see :meth:`Scheme.advance`. Collective."""
        for name, x in system.positions.items():
            n, d = system.counts[name], x.shape[1]
            weight = 1.0 / n if system.weights is None else float(system.weights.each[name])
            if n < 2:
                continue
            s = 2.0 * (system.model.pair_rotation(name) or 0.0) * weight * h * n * (n - 1) / (n // 2)
            spread = math.sqrt(2.0 * s) if d == 2 else concentration(s)
            first, offset = system.first_row(name), system.first_id(name)
            keys = system.noise.uniforms(np.array([offset], dtype=np.uint64), step, _ROUNDS)[0].view(np.uint64)
            own = np.arange(first, first + len(x))
            other = partners(own, n, keys)
            y = _positions_of(other, x, first, n, system.comm)
            _rotate(x, y, own, other, offset, np.uint64(step), system.noise.key, spread)


def concentration(s: float) -> float:
    """Return κ of von Mises and Fisher's law on the sphere with E cos θ = coth κ − 1/κ = e^(−2s)."""
    mean = math.exp(-2.0 * s)
    if mean < 1e-3:
        return max(3.0 * mean, 1e-8)  # coth κ − 1/κ = κ/3 + O(κ³)
    kappa = 1.0 / -math.expm1(-2.0 * s)  # right where coth κ = 1
    while abs(step := (1.0 / math.tanh(kappa) - 1.0 / kappa - mean) * kappa**2) > 1e-14 * kappa:
        kappa -= step
    return kappa


def partners(rows: Indices, n: int, keys: Ids) -> Indices:
    """Return the partners of some of the rows 0, …, n − 1 in a random matching; of odd n one row has itself."""
    out = np.empty_like(rows)
    half = max(_LEAST, math.isqrt(n - 1) + 1)
    _match(out, rows, np.uint64(n), np.uint64(half), keys)
    return out


@compiled_parallel
def _match(out: Indices, rows: Indices, n: np.uint64, half: np.uint64, keys: Ids) -> None:
    """Write the partners: rows whose places in a permutation of 0, …, n − 1 are 2k and 2k + 1."""
    for i in prange(len(rows)):
        place = _permuted(np.uint64(rows[i]), n, half, keys) ^ _ONE
        out[i] = rows[i] if place >= n else np.int64(_restored(place, n, half, keys))


@inlined_only
def _random(x: np.uint64, key: np.uint64, half: np.uint64) -> np.uint64:
    """Return a random function of x, with values below ``half``."""
    x = (x ^ key) * _MIX0
    x = (x ^ (x >> _S32)) * _MIX1
    return ((x >> _S32) * half) >> _S32


@inlined_only
def _permuted(i: np.uint64, n: np.uint64, half: np.uint64, keys: Ids) -> np.uint64:
    """Return the place of i: Feistel's permutation of half² numbers, repeated until it is below n."""
    while True:
        left, right = i // half, i % half
        for k in range(_ROUNDS):
            total = left + _random(right, keys[k], half)
            left, right = right, total - half if total >= half else total
        i = left * half + right
        if i < n:
            return i


@inlined_only
def _restored(i: np.uint64, n: np.uint64, half: np.uint64, keys: Ids) -> np.uint64:
    """Return what ``_permuted`` takes to i."""
    while True:
        left, right = i // half, i % half
        for k in range(_ROUNDS - 1, -1, -1):
            total = right + half - _random(left, keys[k], half)
            left, right = total - half if total >= half else total, left
        i = left * half + right
        if i < n:
            return i


def _positions_of(rows: Indices, x: Array, first: int, n: int, comm: Comm) -> Array:
    """Return the positions of other rows, one for each of this rank's, which ask for this rank's. Collective."""
    if comm.size == 1:
        return _taken(x, rows)
    starts = np.array([n * r // comm.size for r in range(1, comm.size)])  # as kspde.particles.start.local_ids
    rank_of = np.searchsorted(starts, rows, side="right")
    sent = np.column_stack([rows, x])[np.argsort(rank_of, kind="stable")]
    sizes = np.bincount(rank_of, minlength=comm.size) * sent.shape[1]
    received = np.empty_like(sent)
    comm.Alltoallv([sent, sizes], [received, sizes])  # a matching: as many for a rank as from it
    out = np.empty_like(x)
    out[received[:, 0].astype(np.int64) - first] = received[:, 1:]
    return out


@compiled_parallel
def _taken(x: Array, rows: Indices) -> Array:
    """Return x[rows], by all threads."""
    out = np.empty_like(x)
    for i in prange(len(rows)):
        for axis in range(x.shape[1]):
            out[i, axis] = x[rows[i], axis]
    return out


@compiled_parallel
def _rotate(
    x: Array, y: Array, own: Indices, other: Indices, offset: int, step: np.uint64, key: Ids, spread: float
) -> None:
    """Rotate x about the centres of x and y; ``spread`` is the deviation of the angle, or κ in three dimensions."""
    n, d = x.shape
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        size = min(CHUNK, n - start)
        first, second, pairs = np.empty(size), np.empty(size), np.empty(size, np.uint64)
        for k in range(size):
            pairs[k] = np.uint64(offset + min(own[start + k], other[start + k]))
        fill_normal_pairs(first, second, pairs, 0, step, np.uint64(0), key[0], key[1])
        for k in range(size):
            i = start + k
            if own[i] == other[i]:
                continue
            side = 1.0 if own[i] < other[i] else -1.0  # both rotate the half that points to the lower row
            if d == 2:
                p, q = 0.5 * side * (x[i, 0] - y[i, 0]), 0.5 * side * (x[i, 1] - y[i, 1])
                cos, sin = np.cos(spread * first[k]), np.sin(spread * first[k])
                x[i, 0] = 0.5 * (x[i, 0] + y[i, 0]) + side * (cos * p - sin * q)
                x[i, 1] = 0.5 * (x[i, 1] + y[i, 1]) + side * (sin * p + cos * q)
            else:
                p, q, r = (
                    0.5 * side * (x[i, 0] - y[i, 0]),
                    0.5 * side * (x[i, 1] - y[i, 1]),
                    0.5 * side * (x[i, 2] - y[i, 2]),
                )
                p, q, r = _turned(p, q, r, first[k], second[k], spread)
                x[i, 0] = 0.5 * (x[i, 0] + y[i, 0]) + side * p
                x[i, 1] = 0.5 * (x[i, 1] + y[i, 1]) + side * q
                x[i, 2] = 0.5 * (x[i, 2] + y[i, 2]) + side * r


@inlined_only
def _turned(p: float, q: float, r: float, first: float, second: float, kappa: float) -> tuple[float, float, float]:
    """Return (p, q, r) in a direction with von Mises and Fisher's law about its own, made of two standard normals."""
    square = first * first + second * second
    length = np.sqrt(p * p + q * q + r * r)
    if square == 0.0 or length == 0.0:
        return p, q, r
    u = np.exp(-0.5 * square)  # uniform, and independent of (first, second)/√square, which is the azimuth
    lost = -np.log(u + (1.0 - u) * np.exp(-2.0 * kappa)) / kappa  # 1 − cos θ
    cos, sin = 1.0 - lost, np.sqrt(lost * (2.0 - lost) / square)
    first, second = sin * first, sin * second
    # A frame without a case where it degenerates: Duff et al., J. Comput. Graph. Tech. 6 (2017).
    side = np.copysign(1.0, r)
    a = -1.0 / (side * length + r)
    b = a * p * q
    return (
        cos * p + first * (length + side * a * p * p) + second * b,
        cos * q + first * side * b + second * (side * length + a * q * q),
        cos * r - first * side * p - second * q,
    )
