r"""The bandwidth of a kernel density estimate when the density it estimates is known."""

from __future__ import annotations

import numpy as np

from kspde.grids import Array, Grid

__all__ = ["IntegratedSquaredError"]


class IntegratedSquaredError:
    r"""The exact mean integrated squared error (MISE) of a kernel density estimate, as a function of the bandwidth.

    For N independent points of density u and the Gaussian K_h of standard deviation h,

    .. math::
        \mathbb E \int (K_h * \mu_N - u)^2 = \int (K_h * u - u)^2
            + \frac1N \Big[(4\pi h^2)^{-d/2} - \int (K_h * u)^2\Big],

    squared bias plus variance. Both integrals are sums over Fourier modes (Parseval).

    Args:
        grid: a grid that carries u's mass and resolves it.
        density: u at its points, normalised to 1 by the grid's sum.
        n: N.
    """

    def __init__(self, grid: Grid, density: Array, n: int) -> None:
        from scipy.fft import next_fast_len, rfftn

        self._n = n
        self._dimension = grid.dimension
        # Twice the grid: the bandwidths searched reach the size of u.
        padded = tuple(int(next_fast_len(2 * points, real=True)) for points in grid.shape)
        power = np.abs(rfftn(density, s=padded)) ** 2 * (grid.cell_volume / np.prod(padded))
        # A real transform stores one of each pair of conjugate modes.
        power[..., 1 : (padded[-1] + 1) // 2] *= 2
        lam = np.zeros(power.shape)
        for axis, (points, step) in enumerate(zip(padded, grid.spacing, strict=True)):
            last = axis == grid.dimension - 1
            k = 2 * np.pi * (np.fft.rfftfreq(points, step) if last else np.fft.fftfreq(points, step))
            lam += (k**2).reshape([-1 if a == axis else 1 for a in range(grid.dimension)])
        kept = power > 1e-17 * power.sum()
        self._power, self._lam = power[kept], lam[kept]
        variance = 0.0
        for axis, x in enumerate(grid.axes):
            marginal = density.sum(axis=tuple(a for a in range(grid.dimension) if a != axis))
            marginal = np.maximum(marginal, 0) / np.maximum(marginal, 0).sum()
            variance = max(variance, float(marginal @ (x - marginal @ x) ** 2))
        self._scale = float(np.sqrt(variance))

    def __call__(self, bandwidth: float) -> float:
        """Return the error at h > 0."""
        damping = np.exp(-0.5 * bandwidth**2 * self._lam)
        bias = float(self._power @ (1 - damping) ** 2)
        smooth = float(self._power @ damping**2)
        variance = (float(4 * np.pi * bandwidth**2) ** (-0.5 * self._dimension) - smooth) / self._n
        return float(bias + variance)

    def minimise(self) -> float:
        """Return the h that minimises the error.

        A scan over five decades below three standard deviations of u finds the global valley, a bounded scalar search
        in log h its bottom.
        """
        from scipy.optimize import minimize_scalar

        scan = np.log(self._scale) + np.linspace(np.log(3e-5), np.log(3.0), 60)
        best = int(np.argmin([self(float(np.exp(s))) for s in scan]))
        low, high = scan[max(best - 1, 0)], scan[min(best + 1, len(scan) - 1)]
        found = minimize_scalar(
            lambda s: self(float(np.exp(s))), bounds=(low, high), method="bounded", options={"xatol": 1e-8}
        )
        return float(np.exp(found.x))
