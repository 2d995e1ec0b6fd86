r"""Where the particles start: drawn from :math:`u_0`, or from :math:`u_0 * j^\varepsilon`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.initial import InitialDensity, RandomNumbers
from kspde.kernels import Convolution, GaussianMollifier, Kernel, MaternMollifier
from kspde.models.base import Array
from kspde.runtime.parallel import together
from kspde.runtime.random import Ids, Philox

__all__ = ["NOISE", "draw_from", "starting_points", "stream"]

#: Streams of a seed: ζ_i, what moves the particles, and what mollifies ζ_i.
_ZETA, NOISE, _SHIFT = 0, 1, 2


def stream(kind: int, replica: int) -> tuple[int, ...]:
    """Return the stream of a replica: (kind,) for the first, replica 0, and (kind, r) for the others."""
    return (kind, replica) if replica else (kind,)


def starting_points(
    densities: Mapping[str, InitialDensity],
    ids: Mapping[str, Ids],
    *,
    seed: int,
    mollifier: Kernel | None,
    comm: Any,
    replica: int = 0,
) -> dict[str, Array]:
    """Return by species this rank's starting points ζ_i, shape (n_local, d), plus a draw from the mollifier if given.

    The ζ_i are the same either way. Collective.

    Raises:
        InputError: the density cannot be drawn from, or the mollifier; on every rank.
    """
    zeta, shift = Philox(seed, stream(_ZETA, replica)), Philox(seed, stream(_SHIFT, replica))
    positions: dict[str, Array] = {}
    with together(comm):
        for name, density in densities.items():
            x = np.ascontiguousarray(density.sample(zeta, ids[name]), dtype=np.float64)
            positions[name] = x if mollifier is None else x + draw_from(mollifier, shift, ids[name], density.dimension)
    return positions


def draw_from(kernel: Kernel, random: RandomNumbers, ids: Ids, dimension: int, *, step: int = 0) -> Array:
    r"""Return a draw a particle from a mollifier, shape (n, d); ``step`` keys the random numbers.

    The Matérn density of order m is a mixture of Gaussians whose variance :math:`(\varepsilon^2/m)\,\Gamma` has a Gamma
    distribution of shape m: :math:`E e^{-\lambda\varepsilon^2\Gamma/(2m)} = (1 + \varepsilon^2\lambda/(2m))^{-m}`. A
    convolution's draw is the sum of two.

    Raises:
        InputError: any other kernel.
    """
    if isinstance(kernel, GaussianMollifier):
        return kernel.eps * random.normals(ids, step, dimension)
    if isinstance(kernel, MaternMollifier):
        gamma = -np.log(random.uniforms(ids, step, kernel.order)).sum(axis=1)
        radius: Array = kernel.eps * np.sqrt(gamma / kernel.order)
        return radius[:, None] * random.normals(ids, step, dimension)
    if isinstance(kernel, Convolution):
        first = draw_from(kernel.first, random, ids, dimension, step=2 * step + 1)
        return first + draw_from(kernel.second, random, ids, dimension, step=2 * step + 2)
    raise InputError(
        f'initial = "mollified" draws from Gaussian and Matérn mollifiers, not from {kernel}: give initial = "u0"'
    )
