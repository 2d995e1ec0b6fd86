"""A constant density with noise."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np

from kspde.domains import Box
from kspde.errors import InputError, check_choice, check_integer, check_number, place_of
from kspde.initial.function import CallableDensity
from kspde.runtime.random import Philox
from kspde.typing import Array

__all__ = ["nearly_constant"]

#: The most modes, which are summed at every point.
_MOST = 200_000
#: The largest number of a mode in a direction.
_HIGHEST = 1 << 20
#: Products of points and modes of a direction, or of all but the first, that are held at once.
_AT_ONCE = 1 << 23
#: Points of a grid across the shortest wave.
_ACROSS = 10
#: The stream of a seed: those of runs are small numbers.
_STREAM = 0x6E6F6973


def nearly_constant(
    *,
    mean: float,
    amplitude: float,
    shortest: float,
    half_width: float | tuple[float, ...],
    centre: float | tuple[float, ...] | None = None,
    seed: int = 0,
    boundary: Literal["neumann", "periodic"] = "neumann",
    dimension: int = 2,
) -> CallableDensity:
    r"""Return a constant density on a box with noise of a flat spectrum down to a shortest wave length.

    .. math:: u_0 = \bar u \Bigl(1 + \delta \sum_k g_k \varphi_k \Big/ \bigl(\textstyle\sum_k g_k^2\bigr)^{1/2}\Bigr),
        \qquad 0 < |\kappa_k| \le 2\pi/\ell,

    :math:`\varphi_k` the products of cosines of a closed box, of wave numbers :math:`\kappa = \pi k_a/2L_a` from its
    lower corner, or of the cosines and sines of a torus, :math:`\kappa = \pi k_a/L_a`, each of mean square 1;
    :math:`g_k` are independent standard normal numbers, a function of seed and k alone. So u_0 is the same function on
    every mesh and number of ranks, a shorter ℓ adds modes, and over the box the mean is ū, the standard deviation δū.

    On a disk or a mesh give a box about it, larger than it by a tenth, and cut the density off (``CutDensity``, or
    ``cut`` in a case file).

    Args:
        mean: ū > 0.
        amplitude: δ ≥ 0, so small that u_0 ≥ 0.
        shortest: ℓ > 0.
        half_width: L of the box, or one for each direction.
        centre: its centre; the origin unless given.
        seed: the seed.
        boundary: "neumann" for the modes of a closed box, "periodic" for those of a torus.
        dimension: the dimension d.

    Raises:
        InputError: a value out of range, no mode or too many, a density with values below 0.
    """
    check_number("mean", mean, above=0)
    check_number("amplitude", amplitude, at_least=0)
    check_number("shortest", shortest, above=0)
    check_integer("seed", seed, at_least=0)
    periodic = check_choice("boundary", boundary, ("neumann", "periodic")) == "periodic"
    box = Box(half_width=half_width, centre=centre, dimension=dimension, cells=2)
    sides = 2 * box.half_widths
    longest = 2 * math.pi / shortest
    counts = [1 + math.floor(longest * side / math.pi * (1 + 1e-12)) for side in sides]
    if math.prod(counts) > _MOST or max(counts) > _HIGHEST:
        raise InputError(f"shortest = {shortest:g} makes {math.prod(counts):.1e} modes: give one for at most {_MOST}")
    squares = np.zeros(1)
    for side, n in zip(sides, counts, strict=True):
        k = np.arange(n)
        waves = 2 * np.pi / side * ((k + 1) // 2) if periodic else np.pi / side * k
        squares = np.add.outer(squares, waves**2)
    squares = squares[0]
    kept = (squares > 0) & (squares <= (longest * (1 + 1e-12)) ** 2)
    if not kept.any():
        raise InputError(f"shortest = {shortest:g} is longer than all waves of the box: give a shorter one")
    ids = sum(index.astype(np.uint64) << np.uint64(20 * a) for a, index in enumerate(np.indices(squares.shape)))
    g = np.zeros(squares.shape)
    g[kept] = Philox(seed, _STREAM).normals(np.asarray(ids)[kept], 0, 1)[:, 0]
    values = partial(_values, box.bounds, periodic, mean, mean * amplitude * g / np.linalg.norm(g))
    finest = math.ceil(_ACROSS * float(sides.max()) / shortest)
    return CallableDensity(
        values, half_width=half_width, centre=centre, dimension=dimension, tail=1, mass=mean * float(np.prod(sides)),
        resolution=max({1: 1024, 2: 128, 3: 32}[dimension], finest),
    )  # fmt: skip


def _values(bounds: Array, periodic: bool, mean: float, modes: Array, x: Array) -> Array:
    """Return ū + Σ a φ at points of shape (n, d)."""
    out = np.empty(len(x))
    step = max(1, _AT_ONCE // max(len(modes), modes[0].size))
    for start in range(0, len(x), step):
        s = (x[start : start + step] - bounds[0]) / (bounds[1] - bounds[0])
        first, *others = (_basis(column, n, periodic) for column, n in zip(s.T, modes.shape, strict=True))
        part = first @ modes.reshape(len(modes), -1)
        for basis in others:
            part = np.einsum("nk,nkr->nr", basis, part.reshape(len(s), basis.shape[1], -1))
        out[start : start + step] = mean + part[:, 0]
    low = int(np.argmin(out)) if len(out) else 0
    if len(out) and out[low] < 0:
        raise InputError(f"amplitude makes the density {out[low]:.3g} at {place_of(x[low])}: give a smaller one")
    return out


def _basis(s: Array, n: int, periodic: bool) -> Array:
    """Return 1 and n − 1 waves of mean square 1 at places s of [0, 1], shape (len(s), n)."""
    k = np.arange(n)
    if not periodic:
        out = math.sqrt(2.0) * np.cos(np.pi * np.outer(s, k))
    else:
        out = math.sqrt(2.0) * np.cos(2 * np.pi * np.outer(s, (k + 1) // 2) - 0.5 * np.pi * (k % 2 == 0))
    out[:, 0] = 1.0
    return np.asarray(out)
