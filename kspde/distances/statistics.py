r"""Distances between two densities on a grid, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kspde.distances.grid import Array

__all__ = ["Estimate", "Reference", "jackknife", "prediction"]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval.

    Attributes:
        value: the number.
        interval: (lower, upper).
    """

    value: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        """Return ``value [lower, upper]`` to the digits the interval supports."""
        low, high = self.interval
        width = high - low
        if not np.isfinite(width) or width <= 0:
            return f"{self.value:.4g} [{low:.4g}, {high:.4g}]"
        digits = max(0, 1 - int(np.floor(np.log10(width))))
        return f"{self.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    def summary(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        return {"value": self.value, "interval": list(self.interval)}


class Reference:
    r"""The density u that estimates are measured against, on a grid.

    Both integrals below are sums over the grid, of u and of an estimate k that are both normalised to 1 by that same
    sum; so Csiszár-Kullback-Pinsker, :math:`L^1(k, u)^2 \le 2 H(k|u)`, holds for the numbers themselves.

    A discrete u may be negative or lost in round-off where it is small. It is clipped from below at ``clip`` times its
    maximum; :meth:`clipped_mass` says how much of an estimate lies where that happened.

    Args:
        density: u at the grid points, any scale.
        cell_volume: weight of a point in the sum.
        clip: the level, relative to the maximum of u.
    """

    def __init__(self, density: Array, cell_volume: float, clip: float) -> None:
        level = clip * float(density.max())
        self._clipped = density < level
        self._volume = cell_volume
        clipped = np.maximum(density, level)
        self.density: Array = clipped / (clipped.sum() * cell_volume)
        self._log = np.log(self.density)

    def distances(self, estimate: Array) -> tuple[float, float]:
        r"""Return :math:`\int |k - u|` and :math:`\int k \log(k/u)` for an estimate k of any scale."""
        k = self._normalised(estimate)
        l1 = float(np.abs(k - self.density).sum()) * self._volume
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = k * (np.log(k) - self._log)
        terms[k <= 0] = 0.0
        return l1, max(0.0, float(terms.sum()) * self._volume)

    def clipped_mass(self, estimate: Array) -> float:
        """Return the share of an estimate's mass that lies where u was clipped."""
        return float(self._normalised(estimate)[self._clipped].sum()) * self._volume

    def _normalised(self, estimate: Array) -> Array:
        # The transforms leave round-off of either sign where no particle is near.
        positive = np.maximum(estimate, 0.0)
        normalised: Array = positive / (positive.sum() * self._volume)
        return normalised


def jackknife(value: float, left_out: Array, sizes: Sequence[int]) -> Estimate:
    r"""Return a statistic of n particles with the 95 % interval of its expectation, by the delete-a-group jackknife.

    With :math:`\theta` the statistic of all, :math:`\theta_{-g}` that without group g of size :math:`m_g`,
    :math:`h_g = n/m_g`, pseudo-values :math:`\tilde\theta_g = h_g \theta - (h_g - 1) \theta_{-g}` and their combination
    :math:`\theta_J = G\theta - \sum_g (1 - m_g/n)\,\theta_{-g}`, the squared standard error is

    .. math:: s^2 = \frac1G \sum_g \frac{(\tilde\theta_g - \theta_J)^2}{h_g - 1}

    (Busing, Meijer & van der Leeden, Statistics and Computing 9, 1999; for equal groups
    :math:`\frac{G-1}{G} \sum_g (\theta_{-g} - \bar\theta)^2`), and the interval is
    :math:`\theta \pm t_{G-1,\,.975}\, s`, cut at 0 below since both distances are non-negative.

    By Efron and Stein's inequality :math:`s^2` is on average no smaller than the variance it stands for, up to the
    difference between n and n − m particles: the interval is conservative. It takes the particles as independent.

    Args:
        value: θ.
        left_out: θ_{−g}, shape (G,), G ≥ 2.
        sizes: m_g ≥ 1, shape (G,).
    """
    from scipy.stats import t

    count = len(left_out)
    without, m = np.asarray(left_out, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    h = m.sum() / m
    pseudo = h * value - (h - 1) * without
    centre = count * value - float((1 - 1 / h) @ without)
    error = float(np.sqrt(np.mean((pseudo - centre) ** 2 / (h - 1))))
    reach = float(t.ppf(0.975, count - 1)) * error
    return Estimate(value, (max(0.0, value - reach), value + reach))


def prediction(draws: Array) -> Estimate:
    r"""Return the mean of R independent draws with the interval that holds one more with probability 95 %.

    The interval is :math:`\bar y \pm t_{R-1,\,.975}\, s \sqrt{1 + 1/R}`, cut at 0 below.
    """
    from scipy.stats import t

    y = np.asarray(draws, dtype=np.float64)
    mean = float(y.mean())
    reach = float(t.ppf(0.975, len(y) - 1) * y.std(ddof=1) * np.sqrt(1 + 1 / len(y)))
    return Estimate(mean, (max(0.0, mean - reach), mean + reach))
