r"""Distances between two densities on a grid, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kspde.errors import KspdeError
from kspde.grids import Array

__all__ = ["ON_GRID", "SQUARED", "Estimate", "Reference", "check_pinsker", "prediction", "reach_of"]

#: What :meth:`Reference.distances` returns, in this order.
ON_GRID = ("l1", "l2", "relative_entropy", "reverse_relative_entropy")

#: The distances that grow like the square of a small difference.
SQUARED = ("relative_entropy", "reverse_relative_entropy", "energy")


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

    All integrals below are sums over the grid, of u and of an estimate k that are both normalised to 1 by that same
    sum; so Csiszár, Kullback and Pinsker's :math:`L^1(k, u)^2 \le 2 \min(H(k|u), H(u|k))` is a theorem about the
    numbers themselves. It is checked for each that is returned.

    A discrete u may be negative or lost in round-off where it is small, and k is 0 far from all particles. Both are
    raised to ``clip`` times the maximum of u before they are normalised; :meth:`clipped_mass` and
    :meth:`uncovered_mass` say how much of k and of u lies where that happened to the other.

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
        self._level = clip * float(self.density.max())
        self._log = np.log(self.density)

    def distances(self, estimate: Array) -> Array:
        r"""Return four distances of an estimate k of any scale, shape (4,), in the order of :data:`ON_GRID`.

        :math:`\int |k - u|`, :math:`(\int (k - u)^2)^{1/2}` (a length to the power −d/2), :math:`\int k \log(k/u)`,
        :math:`\int u \log(u/k)`; the entropies as sums of :math:`k \log(k/u) - k + u \ge 0`, which do not cancel.

        Raises:
            KspdeError: the numbers contradict Csiszár, Kullback and Pinsker's inequality.
        """
        k = self.normalised(estimate)
        gap = k - self.density
        ratio = np.log(k) - self._log
        l1 = float(np.abs(gap).sum()) * self._volume
        l2 = float(np.sqrt(np.vdot(gap, gap) * self._volume))
        total = float(gap.sum())  # round-off
        forward = max(0.0, (float(np.vdot(k, ratio)) - total) * self._volume)
        backward = max(0.0, (total - float(np.vdot(self.density, ratio))) * self._volume)
        check_pinsker(l1, forward, backward)
        return np.array([l1, l2, forward, backward])

    def normalised(self, estimate: Array) -> Array:
        """Return an estimate of mass 1, nowhere below the level (but for the last normalisation)."""
        # The transforms leave round-off of either sign where no particle is near.
        positive = np.maximum(estimate, 0.0)
        positive /= positive.sum() * self._volume
        np.maximum(positive, self._level, out=positive)
        positive /= positive.sum() * self._volume
        return positive

    def clipped_mass(self, estimate: Array) -> float:
        """Return the share of an estimate's mass that lies where u was clipped."""
        return float(self.normalised(estimate)[self._clipped].sum()) * self._volume

    def uncovered_mass(self, estimate: Array) -> float:
        """Return the share of u's mass that lies where an estimate was clipped."""
        bare = self.normalised(estimate) <= self._level * (1 + 1e-6)
        return float(self.density[bare].sum()) * self._volume


def check_pinsker(l1: float, forward: float, backward: float) -> None:
    """Check Csiszár, Kullback and Pinsker's inequality for an L¹ distance and both relative entropies.

    Raises:
        KspdeError: the numbers contradict it.
    """
    if not l1**2 <= 2 * min(forward, backward) * (1 + 1e-9) + 1e-13:
        raise KspdeError(
            f"L1 = {l1!r} and the relative entropies {forward!r}, {backward!r} contradict Csiszar, Kullback and "
            "Pinsker: please report this with the case"
        )


def reach_of(draws: float, clouds: int = 1) -> float:
    r"""Return the t quantile .975 for a standard deviation that R draws and, beyond one, C clouds estimate.

    The degrees of freedom are R − 1 for one cloud. For several the variance is that of the draws times the ratio of two
    others, and Satterthwaite's rule gives :math:`1/\nu = 2/(R - 1) + 1/(C - 1)`.
    """
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    freedom = draws - 1.0 if clouds == 1 else 1 / (2 / (draws - 1) + 1 / (clouds - 1))
    return float(stdtrit(freedom, 0.975))


def prediction(draws: Array, least: float = 0.0) -> Estimate:
    r"""Return the mean of R independent draws with the interval that holds one more with probability 95 %.

    The interval is :math:`\bar y \pm t_{R-1,\,.975}\, s \sqrt{1 + 1/R}`, cut at ``least`` below.
    """
    y = np.asarray(draws, dtype=np.float64)
    mean = float(y.mean())
    reach = reach_of(len(y)) * float(y.std(ddof=1) * np.sqrt(1 + 1 / len(y)))
    return Estimate(mean, (max(least, mean - reach), mean + reach))
