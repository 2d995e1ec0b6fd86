r"""Power laws with the 95 % interval of their exponent: least squares in log-log, with the scatter of replicas.

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
Student's t with K − 2 degrees of freedom. It measures only how well a power law describes these values: no finite
range is asymptotic. The slopes between neighbours are returned too.

**Values near zero.** A value within four standard errors of zero has no logarithm worth fitting, and leaving it out
would make what is left too shallow. Where there are such values, all are fitted as they are, by weighted least
squares :math:`\min_{C,q} \sum_k (y_k - C x_k^q)^2/s_k^2`. The 95 % interval of q is where the least sum over C exceeds
its minimum by at most the square of Student's quantile (for the fewest replicas of a value); where the values lie on no
power law (p < 1 %), the sum is first divided by its minimum over K − 2. An end may be infinite. There is no rate where
C = 0 fits as well. Only exact zeros, with no error, are left out, and counted. ``scale="linear"`` asks for this fit
whatever the values.

**The constant at a known order** (:func:`fit_constant`): C of :math:`y = C x^q` at a given q, by the same weighted
least squares of all values.

**A known next term.** A quantity that is :math:`C x^q(1 + b x^{\pm 1} + \dots)`, such as a moment of a sum of N terms,
which is a polynomial in 1/N, has no straight line in log-log. With ``correction`` ±1 the regression has
:math:`\beta x^{\pm1}` as a third term: the slope is then that of the leading power. Errors and intervals are as above,
with K − 3 degrees of freedom; values near zero are fitted without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kspde.distances.statistics import reach_of
from kspde.typing import Array

__all__ = ["Constant", "PowerLaw", "fit_constant", "fit_power_law"]

#: Values below this many standard errors are near zero: there the logarithm is biased, more so if selected by value.
_RESOLVED = 4.0
#: The largest |slope| considered, times the range of log x: beyond it two neighbouring values differ by e^60.
_STEEPEST = 60.0
#: The level of the test for a line.
_LEVEL = 0.01


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted power law y ≈ constant · x^slope.

    Attributes:
        slope: the exponent.
        interval: the 95 % interval of the exponent; infinite where the values do not determine one.
        constant: the factor.
        used: the number of values that were fitted.
        left_out: the number of values left out, which are exact zeros.
        misfit: the probability of a larger deviation from a line by scatter alone; None where there is no scatter to
            compare with.
        local: the slopes between neighbouring values; NaN where one is zero or of the other sign.
        correction: β and the exponent of the next term, the factor exp(β x^±1); None where it was not fitted.
    """

    slope: float
    interval: tuple[float, float]
    constant: float
    used: int
    left_out: int
    misfit: float | None
    local: tuple[float, ...]
    correction: tuple[float, int] | None = None

    def at(self, x: npt.ArrayLike) -> Array:
        """Return the fitted values at x."""
        where = np.asarray(x, dtype=np.float64)
        beta, power = self.correction or (0.0, 1)
        return np.asarray(self.constant * where**self.slope * np.exp(beta * where**power))

    @classmethod
    def from_summary(cls, entry: Mapping[str, Any]) -> PowerLaw:
        """Return the law that ``summary`` described, where null stands for what is not finite."""
        low, high = entry["interval"]
        interval = (float("-inf") if low is None else low, float("inf") if high is None else high)
        local = tuple(float("nan") if slope is None else slope for slope in entry["local"])
        correction = entry.get("correction")
        if correction is not None:
            correction = float(correction[0]), int(correction[1])
        return cls(**{**entry, "interval": interval, "local": local, "correction": correction})

    def summary(self) -> dict[str, Any]:
        """Return the law ready for JSON."""
        return asdict(self)


def fit_power_law(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    errors: Sequence[float] | Array | None = None,
    replicas: Sequence[float] | Array | None = None,
    *,
    correction: int | None = None,
    scale: Literal["logarithmic", "linear"] = "logarithmic",
) -> PowerLaw | None:
    """Return the power law of y in x; None where there are too few values, or together they may all be zero.

    Args:
        x: positive abscissae, shape (K,), at least two different ones.
        y: the values; the logarithms of their absolute values are fitted where none is near zero.
        errors: the standard errors; None or zeros for deterministic values.
        replicas: the number of replicas of each mean; None for errors that are known.
        correction: the power of x in the next term, +1 or −1; None for a power alone.
        scale: "linear" to fit the values themselves although none is near zero; they need errors.
    """
    given, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    s = np.zeros(len(given)) if errors is None else np.asarray(errors, dtype=np.float64)
    freedom = np.full(len(given), np.inf) if replicas is None else np.asarray(replicas, dtype=np.float64) - 1.0
    keep = ((values != 0) | (s > 0)) & np.isfinite(values) & np.isfinite(s)
    left_out = int(np.sum(~keep))
    order = np.argsort(given[keep], kind="stable")
    given, values, s, freedom = (a[keep][order] for a in (given, values, s, freedom))
    noisy = bool(np.any(s > 0))
    least = (2 if noisy else 3) + (0 if correction is None else 1)
    if len(given) < least or len(np.unique(given)) < least - (0 if noisy else 1):
        return None
    if np.any(np.abs(values) < _RESOLVED * s) or (scale == "linear" and noisy):
        return _as_they_are(given, values, s, freedom, left_out)
    return _in_logarithms(given, np.abs(values), s, freedom, left_out, correction)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The constant C of a power law y ≈ C x^slope whose slope is known.

    Attributes:
        slope: the exponent, which is given.
        value: C.
        interval: the 95 % interval of C.
        misfit: the probability of a larger deviation from such a law by scatter alone; None for fewer than two values.
    """

    slope: float
    value: float
    interval: tuple[float, float]
    misfit: float | None


def fit_constant(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    errors: Sequence[float] | Array,
    replicas: Sequence[float] | Array,
    slope: float,
) -> Constant | None:
    """Return C of y = C x^slope by weighted least squares of all values; None where they have no errors.

    Where the values lie on no such law (p < 1 %), the interval is that of their residuals, if that is the wider one.

    Args:
        x: positive abscissae, shape (K,).
        y: the values.
        errors: their standard errors.
        replicas: the number of replicas of each mean, infinite for errors that are known.
        slope: the exponent.
    """
    from scipy.special import chdtrc

    given, values, s = (np.asarray(a, dtype=np.float64) for a in (x, y, errors))
    if not np.all(s > 0):
        return None
    scaled, s = values / given**slope, s / given**slope
    shares = s**-2.0 / np.sum(s**-2.0)
    value, parts = float(shares @ scaled), np.square(shares * s)
    error, freedom = float(parts.sum()) ** 0.5, np.asarray(replicas, dtype=np.float64) - 1.0
    left, total = len(values) - 1, float(np.sum(np.square((scaled - value) / s)))
    misfit = float(chdtrc(left, total)) if left > 0 else None
    lost = float(np.sum(parts**2 / freedom))
    reach = reach_of(1.0 + (error**4 / lost if lost > 0 else np.inf)) * error
    if misfit is not None and misfit < _LEVEL:
        reach = max(reach, reach_of(left + 1) * error * (total / left) ** 0.5)
    return Constant(slope=slope, value=value, interval=(value - reach, value + reach), misfit=misfit)


def _in_logarithms(x: Array, y: Array, s: Array, freedom: Array, left_out: int, correction: int | None) -> PowerLaw:
    """Return the line through the logarithms, or the line and the next term."""
    from scipy.special import chdtrc

    u, v, e = np.log(x), np.log(y), s / y
    columns = [np.ones_like(u), u] + ([] if correction is None else [x**correction / np.max(x**correction)])
    design = np.stack(columns, axis=1)
    inverse = np.linalg.pinv(design)
    found, c = inverse @ v, inverse[1]
    left = len(x) - len(columns)
    classical, misfit = np.inf, None
    if left > 0:
        spread = np.sqrt(np.sum((v - design @ found) ** 2) / left * np.sum(c**2))
        classical = float(reach_of(left + 1) * spread)
    reach = classical
    if np.any(s > 0):
        parts = np.square(c * e)
        total = float(parts.sum())
        welch = total**2 / float(np.sum(parts**2 / freedom)) if np.any(np.isfinite(freedom)) else np.inf
        reach = float(reach_of(max(welch, 1.0) + 1) * np.sqrt(total))
        if left > 0 and np.all(e > 0):
            misfit = float(chdtrc(left, _weighted_residual(design, v, e)))
        if misfit is not None and misfit < _LEVEL:
            reach = max(reach, classical)
    slope = float(found[1])
    return PowerLaw(
        slope=slope,
        interval=(slope - reach, slope + reach),
        constant=float(np.exp(found[0])),
        used=len(x),
        left_out=left_out,
        misfit=misfit,
        local=_local(x, y),
        correction=None if correction is None else (float(found[2] / np.max(x**correction)), correction),
    )


def _weighted_residual(design: Array, v: Array, e: Array) -> float:
    weighted = design / e[:, None]
    found = np.linalg.lstsq(weighted, v / e, rcond=None)[0]
    return float(np.sum((v / e - weighted @ found) ** 2))


def _as_they_are(x: Array, y: Array, s: Array, freedom: Array, left_out: int) -> PowerLaw | None:
    """Return the power law through values with errors, some of which are near zero."""
    from scipy.optimize import brentq, minimize_scalar
    from scipy.special import chdtrc

    scale = float(np.exp(np.mean(np.log(x))))
    u = np.log(x / scale)
    w = 1.0 / np.maximum(s, 1e-9 * np.abs(y).max()) ** 2
    steepest = _STEEPEST / float(np.ptp(u))

    def sums_at(q: Array) -> Array:
        f = np.exp(np.multiply.outer(q, u) - np.abs(q)[:, None] * np.abs(u).max())
        return np.asarray(w @ y**2 - (f @ (w * y)) ** 2 / (f**2 @ w))

    def profile(q: float) -> float:
        return float(sums_at(np.array([q]))[0])

    grid = np.linspace(-steepest, steepest, 2001)
    sums = sums_at(grid)
    k = int(np.argmin(sums))
    ends = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    q = float(minimize_scalar(profile, bounds=ends, method="bounded", options={"xatol": 1e-10}).x)
    least, left = profile(q), len(x) - 2
    misfit = float(chdtrc(left, least)) if left > 0 else None
    allowed = float(reach_of(float(freedom.min()) + 1)) ** 2
    if misfit is not None and misfit < _LEVEL:
        allowed *= least / left
    if float(w @ y**2) - least <= allowed:
        return None

    def end(side: int) -> float:
        """Return where the profile leaves what is allowed, on one side of q."""
        beyond = grid[(sums > least + allowed) & (side * (grid - q) > 0)]
        if not len(beyond):
            return side * np.inf
        out = float(beyond[np.argmin(np.abs(beyond - q))])
        return float(brentq(lambda p: profile(p) - least - allowed, *sorted((q, out)), xtol=1e-10))

    f = np.exp(q * u)
    constant = float((w @ (f * y)) / (w @ f**2))
    return PowerLaw(
        slope=q,
        interval=(end(-1), end(1)),
        constant=abs(constant) * scale**-q,
        used=len(x),
        left_out=left_out,
        misfit=misfit,
        local=_local(x, y),
    )


def _local(x: Array, y: Array) -> tuple[float, ...]:
    """Return the slopes between neighbours."""
    ratio = np.divide(y[1:], y[:-1], where=y[:-1] != 0, out=np.zeros(len(y) - 1))
    rise = np.log(ratio, where=ratio > 0, out=np.full(len(ratio), np.nan))
    run = np.diff(np.log(x))
    return tuple((rise / np.where(run == 0, np.nan, run)).tolist())
