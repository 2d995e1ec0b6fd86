r"""Rates with 95 % intervals: least squares in log-log, with the scatter of replicas.

**Point estimate.** The slope of the least-squares line through :math:`(\log x_k, \log|y_k|)`, not weighted: a fixed
linear combination :math:`\sum_k c_k \log|y_k|`, :math:`c_k = (\log x_k - \overline{\log x})/S_{xx}`, so that the errors
of the weights need not be known.

**Interval, where the values carry errors** s_k (the standard error of a mean over R_k independent replicas, or that of
a given interval): :math:`\operatorname{Var} = \sum_k c_k^2 (s_k/y_k)^2`, the delta method for the logarithm, with the
quantile of Student's t at Welch and Satterthwaite's degrees of freedom. Before that the values are asked whether they
lie on a line at all: :math:`\sum_k r_k^2/(s_k/y_k)^2` of the weighted line is compared with χ² of K − 2 degrees of
freedom. Where they do not (p < 1 %), scatter is not what limits the rate, and the residuals' interval is taken if it is
the wider one.

**Interval, where they carry none** (deterministic values): the classical one from the residuals, K ≥ 3 points and
Student's t with K − 2 degrees of freedom. It measures how well a power law describes these values, and no more: no
finite range is asymptotic. The slopes between neighbours are returned beside it.

Values that are not told from zero (|y_k| < 2 s_k, or y_k = 0) have no logarithm worth fitting: they are left out, and
counted. Leaving out small values makes the slope of what is left too shallow, so that it errs against a promised decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.distances.statistics import reach_of

__all__ = ["Rate", "fit_rate"]

Array = npt.NDArray[np.float64]

#: Values below this many standard errors are not told from zero.
_RESOLVED = 2.0
#: The level of the test for a line.
_LEVEL = 0.01


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A fitted power law y ≈ constant · x^slope.

    Attributes:
        slope: the exponent.
        interval: its 95 % interval; infinite where the values do not determine one.
        constant: the factor.
        used: how many values were fitted.
        left_out: how many were not told from zero.
        misfit: the probability of a larger deviation from a line by scatter alone; None where there is no scatter to
            compare with.
        local: slopes between neighbouring values.
    """

    slope: float
    interval: tuple[float, float]
    constant: float
    used: int
    left_out: int
    misfit: float | None
    local: tuple[float, ...]

    def summary(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "slope": self.slope,
            "interval": list(self.interval),
            "constant": self.constant,
            "used": self.used,
            "left_out": self.left_out,
            "misfit": self.misfit,
            "local": list(self.local),
        }


def fit_rate(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    errors: Sequence[float] | Array | None = None,
    replicas: Sequence[float] | Array | None = None,
) -> Rate | None:
    """Return the rate of y in x; None where fewer than two values (three without errors) are told from zero.

    Args:
        x: positive abscissae, shape (K,), at least two different.
        y: values; their absolute values are fitted.
        errors: standard errors; None or zeros for deterministic values.
        replicas: how many replicas each mean is over; None for errors that are known.
    """
    from scipy.special import chdtrc

    x, y = np.asarray(x, dtype=np.float64), np.abs(np.asarray(y, dtype=np.float64))
    s = np.zeros(len(x)) if errors is None else np.asarray(errors, dtype=np.float64)
    freedom = np.full(len(x), np.inf) if replicas is None else np.asarray(replicas, dtype=np.float64) - 1.0
    keep = (y > 0) & (y >= _RESOLVED * s) & np.isfinite(y) & np.isfinite(s)
    left_out = int(np.sum(~keep))
    order = np.argsort(x[keep], kind="stable")
    x, y, s, freedom = (a[keep][order] for a in (x, y, s, freedom))
    noisy = bool(np.any(s > 0))
    count = len(x)
    if count < (2 if noisy else 3) or len(np.unique(x)) < 2:
        return None
    u, v, e = np.log(x), np.log(y), s / y
    c = (u - u.mean()) / np.sum(np.square(u - u.mean()))
    slope = float(c @ v)
    intercept = float(v.mean() - slope * u.mean())
    residuals = v - intercept - slope * u
    classical, misfit = np.inf, None
    if count > 2:
        spread = np.sqrt(np.sum(residuals**2) / (count - 2) * np.sum(c**2))
        classical = float(reach_of(count - 1) * spread)
    if noisy:
        parts = np.square(c * e)
        total = float(parts.sum())
        welch = total**2 / float(np.sum(parts**2 / freedom)) if np.any(np.isfinite(freedom)) else np.inf
        reach = float(reach_of(max(welch, 1.0) + 1) * np.sqrt(total))
        if count > 2 and np.all(e > 0):
            misfit = float(chdtrc(count - 2, _weighted_residual(u, v, e)))
        if misfit is not None and misfit < _LEVEL:
            reach = max(reach, classical)
    else:
        reach = classical
    local = np.diff(v) / np.where(np.diff(u) == 0, np.nan, np.diff(u))
    return Rate(
        slope=slope,
        interval=(slope - reach, slope + reach),
        constant=float(np.exp(intercept)),
        used=count,
        left_out=left_out,
        misfit=misfit,
        local=tuple(local.tolist()),
    )


def _weighted_residual(u: Array, v: Array, e: Array) -> float:
    w = e**-2.0
    mean_u, mean_v = (w @ u) / w.sum(), (w @ v) / w.sum()
    slope = (w @ ((u - mean_u) * (v - mean_v))) / (w @ np.square(u - mean_u))
    return float(w @ np.square(v - mean_v - slope * (u - mean_u)))
