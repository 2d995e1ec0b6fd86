r"""The bandwidth of a kernel density estimate, and the grid that a density and particles are compared on."""

from __future__ import annotations

from functools import reduce

import numpy as np

from kspde.distances.target import Target
from kspde.errors import InputError
from kspde.grids import SURVEY, Ends, Grid, find_mass, mass_box
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Comm

__all__ = ["MOST", "IntegratedSquaredError", "bounding_box", "check_mass", "common_grid", "grid_for"]

# By dimension: points per direction of the grid to compare on, at least and at most; points per bandwidth. The sums
# change in the third digit between a spacing of half a bandwidth (the most allowed) and these.
_LEAST = {1: 1024, 2: 160, 3: 48}
MOST = {1: 65536, 2: 1536, 3: 192}
#: The widest bandwidth in a closed or periodic box, as a share of its width.
_WIDEST = 0.125
_PER_BANDWIDTH = {1: 8.0, 2: 4.0, 3: 2.2}
#: The degree of a polynomial that is the error in a valley to round-off.
_DEGREE = 12


def common_grid(
    target: Target, particles: Array | None, n: float, bandwidth: float | None = None, resolution: int | None = None
) -> tuple[Grid, float]:
    """Return the grid to compare a density and N particles on, and the bandwidth. Collective.

    The grid covers the mass of the density and the particles, with six bandwidths around them, inside the domain.

    Args:
        target: the density.
        particles: the particles' bounding box, shape (2, d); None covers the density's mass alone.
        n: N, effective where particles have weights.
        bandwidth: h, or None for the one that minimises the mean integrated squared error.
        resolution: points in the longest direction, or None.

    Raises:
        InputError: the grid asked for, or the largest allowed, cannot resolve the bandwidth, or it exceeds the domain.
    """
    d, domain = target.dimension, target.domain
    width = float((domain[1] - domain[0]).max())
    if bandwidth is not None and bandwidth > width:
        raise InputError(f"bandwidth = {bandwidth!r} is not valid: give one of at most {width:g}, the domain's width")
    bulk, margin = find_mass(target.modulus.on_grid, target.box)
    cloud = bulk if particles is None else np.clip(particles, domain[0], domain[1])
    lower, upper = np.minimum(bulk[0], cloud[0]) - margin, np.maximum(bulk[1], cloud[1]) + margin
    if target.ends == "periodic":
        lower, upper = domain
    survey = Grid.covering(np.maximum(lower, domain[0]), np.minimum(upper, domain[1]), [SURVEY[d]] * d, target.ends)
    values = target.on_grid(survey.axes)
    bulk = domain if target.ends == "periodic" else mass_box(survey, np.abs(values) if target.signed else values)
    if target.ends == "even":  # points stand for their cells
        bulk = bulk + np.outer((-0.5, 0.5), survey.spacing)
    cloud = bulk if particles is None else cloud
    h = bandwidth
    if h is None:
        total = (np.abs(values) if target.signed else values).sum()
        h = IntegratedSquaredError(survey, values / (total * survey.cell_volume), n).minimise()
        h = float(target.comm.bcast(h))
        if target.ends != "open":  # the best bandwidth for a uniform density is infinite, and shows nothing
            h = min(h, _WIDEST * width)
    lower = np.maximum(np.minimum(bulk[0], cloud[0]) - 6 * h, domain[0])
    upper = np.minimum(np.maximum(bulk[1], cloud[1]) + 6 * h, domain[1])
    return grid_for(lower, upper, h, resolution, target.ends), h


def grid_for(lower: Array, upper: Array, h: float, resolution: int | None, ends: Ends = "open") -> Grid:
    """Return a grid between two points that resolves a bandwidth.

    Raises:
        InputError: none of the size asked for, or allowed, does.
    """
    d = len(lower)
    lengths = upper - lower
    if resolution is not None:
        spacing = float(lengths.max()) / (resolution - 1)
        if spacing > 0.5 * h:
            raise InputError(
                f"resolution = {resolution} gives a spacing of {spacing:.3g}, more than half the bandwidth {h:.3g}: "
                f"give resolution >= {int(np.ceil(2 * lengths.max() / h)) + 1}"
            )
        shape = [max(16, int(np.ceil(share * (resolution - 1))) + 1) for share in lengths / lengths.max()]
    else:
        wanted = np.ceil(lengths * _PER_BANDWIDTH[d] / h) + 1
        shape = [int(np.clip(points, _LEAST[d], MOST[d])) for points in wanted]
        if np.any(lengths / (np.array(shape) - 1) > 0.5 * h):
            least = 2 * float(lengths.max()) / (MOST[d] - 1)
            raise InputError(
                f"bandwidth = {h:.3g} needs more than {MOST[d]} grid points across {lengths.max():.3g}: "
                f"give bandwidth >= {least:.3g}, or resolution"
            )
    return Grid.covering(lower, upper, shape, ends)


def check_mass(found: float, mass: float, grid: Grid, variation: float | None = None) -> None:
    """Refuse a grid on which the density does not have its mass.

    Raises:
        InputError: the sum over the grid is off by more than a hundredth, of a signed density of its total variation.
    """
    if abs(found - mass) > 0.01 * (mass if variation is None else variation):
        raise InputError(
            f"the density has mass {found:.6g} on the {' x '.join(map(str, grid.shape))} grid and {mass:.6g} in all: "
            f"give a resolution above {max(grid.shape)}, or a domain on whose boundary the density is small"
        )


def bounding_box(points: Array, comm: Comm, dimension: int) -> Array:
    """Return the first and last coordinates of all ranks' points, shape (2, d). Collective."""
    lower = points.min(axis=0) if len(points) else np.full(dimension, np.inf)
    upper = points.max(axis=0) if len(points) else np.full(dimension, -np.inf)
    return np.stack([reduced(comm, lower, "MIN"), reduced(comm, upper, "MAX")])


class IntegratedSquaredError:
    r"""The exact mean integrated squared error (MISE) of a kernel density estimate, as a function of the bandwidth.

    For N independent points of density u and the Gaussian K_h of standard deviation h,

    .. math::
        \mathbb E \int (K_h * \mu_N - u)^2 = \int (K_h * u - u)^2
            + \frac1N \Big[(4\pi h^2)^{-d/2} - \int (K_h * u)^2\Big],

    squared bias plus variance. Both integrals are sums over Fourier modes (Parseval).

    Args:
        grid: a grid that carries u's mass and resolves it.
        density: u at its points, normalised to 1 by the grid's sum, of \|u\| where u is signed.
        n: N, effective where points have weights: the variance is then that of equal weights.
    """

    def __init__(self, grid: Grid, density: Array, n: float) -> None:
        from scipy.fft import next_fast_len, rfftn

        self._n = n
        self._dimension = grid.dimension
        # Twice the grid: the bandwidths searched reach the size of u.
        padded, images = tuple(int(next_fast_len(2 * points, real=True)) for points in grid.shape), 1
        whole = density
        if grid.ends == "even":
            whole = np.pad(density, [(0, points) for points in grid.shape], mode="symmetric")
            images = 2**grid.dimension
        if grid.ends != "open":
            padded = whole.shape
        power = np.abs(rfftn(whole, s=padded)) ** 2 * (grid.cell_volume / np.prod(padded) / images)
        # A real transform stores one of each pair of conjugate modes.
        power[..., 1 : (padded[-1] + 1) // 2] *= 2
        *full, half = zip(padded, grid.spacing, strict=True)
        frequencies = [*(np.fft.fftfreq(*each) for each in full), np.fft.rfftfreq(*half)]
        lam = reduce(np.add.outer, [(2 * np.pi * f) ** 2 for f in frequencies])
        kept = power > 1e-17 * power.sum()
        self._power, self._lam = power[kept], lam[kept]
        variances = []
        for axis, x in enumerate(grid.axes):
            marginal = np.abs(density).sum(axis=tuple(a for a in range(grid.dimension) if a != axis))
            marginal /= marginal.sum()
            variances.append(float(marginal @ (x - marginal @ x) ** 2))
        self._scale = float(np.sqrt(max(variances)))

    def __call__(self, bandwidth: float) -> float:
        """Return the error at h > 0."""
        damping = np.exp(-0.5 * bandwidth**2 * self._lam)
        bias = float(self._power @ (1 - damping) ** 2)
        smooth = float(self._power @ damping**2)
        variance = (float(4 * np.pi * bandwidth**2) ** (-0.5 * self._dimension) - smooth) / self._n
        return float(bias + variance)

    def minimise(self) -> float:
        """Return the h that minimises the error.

        A scan over five decades below three standard deviations of u finds the global valley; there a polynomial in
        log h that interpolates the error has its minimum.
        """

        def error(s: Array) -> Array:
            return np.array([self(float(h)) for h in np.exp(s)])

        scan = np.log(self._scale) + np.linspace(np.log(3e-5), np.log(3.0), 60)
        best = int(np.argmin(error(scan)))
        valley = scan[max(best - 1, 0)], scan[min(best + 1, len(scan) - 1)]
        interpolated = np.polynomial.Chebyshev.interpolate(error, _DEGREE, domain=valley)
        level = interpolated.deriv().roots()
        places = np.array([*valley, *level[level.imag == 0].real.clip(*valley)])
        return float(np.exp(places[np.argmin(interpolated(places))]))
