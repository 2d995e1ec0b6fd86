r"""Drivers h(t, x, ν): increasing functions of the volatility ν, which the density ρ fixes by h(t, x, ν) = ρ.

A driver is any function of a time t, points x, shape (n,), and volatilities ν, shape (n,), that uses numpy only, and is
defined, continuous and increasing for ν ≥ 0. A driver whose ν is known in closed form has a method
``volatility(density)`` beside; for all others the equation is solved by bracketing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from kspde.errors import InputError, called, check_number
from kspde.models.tabulated import Table, check_increasing, read_table
from kspde.typing import Array

__all__ = ["DRIVERS", "Driver", "LinearDriver", "PowerDriver", "TabulatedDriver", "volatility_of"]

#: The largest ν; how far below the largest ν its brackets are sought; rounding; the most iterations.
_LARGEST, _RANGE, _ROUNDING, _ITERATIONS = 1e60, 1e-12, 2.0**-52, 200
#: Where below the brackets a driver is tried, each a share of the one before.
_SHARES = (0.75, 0.5, 0.5, 0.5)
#: Values of ν up to the largest that it is tried at besides, at a few of the points.
_TRIED, _FEW = 32, 8


class Driver(Protocol):
    """A function (t, x, ν) ↦ h(t, x, ν), applied to arrays."""

    def __call__(self, t: float, x: Array, nu: Array, /) -> Array:
        """Return h(t, x, ν), in the shape of ν."""
        ...


@dataclass(frozen=True, kw_only=True)
class LinearDriver:
    """h = aν − b: ν = (ρ + b)/a, at least b/a.

    Attributes:
        a: the slope a > 0.
        b: the density b > 0 that doubles the volatility.

    Raises:
        InputError: a value out of range.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        check_number("a", self.a, above=0)
        check_number("b", self.b, above=0)

    def __call__(self, t: float, x: Array, nu: Array) -> Array:
        """Return aν − b."""
        return self.a * nu - self.b

    @overload
    def volatility(self, density: float) -> float: ...
    @overload
    def volatility(self, density: Array) -> Array: ...
    def volatility(self, density: float | Array) -> float | Array:
        """Return ν = (ρ + b)/a."""
        return (density + self.b) / self.a


@dataclass(frozen=True, kw_only=True)
class PowerDriver:
    """h = ν^power: ν = ρ^(1/power), which vanishes where there is no density.

    The equation then degenerates: densities of bounded support keep one. Qi's Assumption 2.4 excludes that, since it
    asks for a least volatility c_0 > 0.

    Attributes:
        power: the exponent > 0; 2 gives the porous medium equation ∂_t u = ½∂_xx(u²).

    Raises:
        InputError: a value out of range.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        check_number("power", self.power, above=0)

    def __call__(self, t: float, x: Array, nu: Array) -> Array:
        """Return ν^power."""
        return nu**self.power

    def volatility(self, density: Array) -> Array:
        """Return ν = ρ^(1/power)."""
        return np.asarray(density ** (1.0 / self.power))


@dataclass(frozen=True, repr=False)
class TabulatedDriver:
    """h(ν) by monotone cubic interpolation of a table, such as a fitted one: see :class:`kspde.models.tabulated.Table`.

    A density beyond the table ends a run.

    Attributes:
        nu: the volatilities, increasing, from 0 on.
        h: the driver there, increasing.

    Raises:
        InputError: the table does not begin at 0, or a column does not increase.
    """

    nu: Sequence[float]
    h: Sequence[float]

    def __post_init__(self) -> None:
        table = self._table
        object.__setattr__(self, "nu", table.points)
        object.__setattr__(self, "h", table.values)
        check_increasing("h", np.asarray(self.h))
        if self.nu[0] != 0:
            raise InputError(f"nu = {self.nu[0]:g} in row 1 is not valid: give h from nu = 0 on")

    @classmethod
    def from_csv(cls, path: str | Path) -> TabulatedDriver:
        """Return h(ν) by monotone cubic interpolation of a .csv file.

        Args:
            path: a .csv file with two columns, nu and h, with or without their names in the first row.

        Raises:
            InputError: it cannot be read, or holds something else.
        """
        return cls(*read_table(path, ("nu", "h")))

    def __repr__(self) -> str:
        return f"TabulatedDriver({len(self.nu)} rows, nu from 0 to {self.nu[-1]:g})"

    def __call__(self, t: float, x: Array, nu: Array) -> Array:
        """Return h(ν)."""
        return self._table(nu)

    def volatility(self, density: Array) -> Array:
        """Return ν with h(ν) = ρ, to rounding, where ρ is within the table.

        Raises:
            InputError: a density beyond the table.
        """
        nu, h = np.asarray(self.nu), np.asarray(self.h)
        given = np.atleast_1d(np.asarray(density, dtype=np.float64))
        rho = np.where(np.isfinite(given), given, h[0])
        if np.any(rho > h[-1]):
            raise InputError(
                f"the density {rho.max():.6g} is beyond the table of the driver, which reaches h = {h[-1]:g}: give it "
                "more rows"
            )
        cell = np.clip(np.searchsorted(h, rho, side="right") - 1, 0, len(h) - 2)
        out = _between(lambda v: self._table(v) - rho, nu[cell], nu[cell + 1], h[cell] - rho, h[cell + 1] - rho)
        return np.where(np.isfinite(given), out, given).reshape(np.shape(density))

    @cached_property
    def _table(self) -> Table:
        return Table(self.nu, self.h, ("nu", "h"))


#: Drivers by name.
DRIVERS: dict[str, Callable[..., Driver]] = {
    "linear": LinearDriver,
    "power": PowerDriver,
    "table": TabulatedDriver.from_csv,
}


def volatility_of(driver: Driver, t: float, x: Array, density: Array) -> Array:
    """Return the volatility ν ≥ 0 with h(t, x, ν) = ρ, shape (n,). Rank-local.

    Where h(t, x, 0) = 0, densities below 0, which elements and transforms leave, count as 0. Values that are not finite
    stay so.

    Args:
        driver: the driver h.
        t: the time.
        x: the points, shape (n,).
        density: the density ρ there, shape (n,).

    Raises:
        InputError: a driver that does not increase with ν, is not finite or does not reach ρ, or a ρ below h(t, x, 0):
            names the point.
    """
    least = _values(driver, t, x, np.zeros_like(density))
    low = np.flatnonzero(np.isfinite(density) & (density < least) & ((density >= 0) | (least != 0)))
    if len(low):
        i = low[0]
        _check_between(driver, t, x[low], 1.0)
        raise InputError(
            f"the density {density[i]:.6g} at (t, x) = ({t:.6g}, {x[i]:.6g}) is below h(t, x, 0) = {least[i]:.6g}, so "
            "no volatility belongs to it: give a driver with h(t, x, 0) <= 0, and densities >= 0"
        )
    density = np.maximum(density, least)
    known = getattr(driver, "volatility", None)
    if known is not None:
        return np.asarray(called("the driver's volatility", "a function of an array of densities", known, density))
    out = np.where(np.isfinite(density), 0.0, np.nan)
    rows = np.flatnonzero((density > least) & np.isfinite(density))
    out[rows] = _root(driver, t, x[rows], density[rows], least[rows])
    return out


def _root(driver: Driver, t: float, x: Array, density: Array, least: Array) -> Array:
    """Return the volatility at points where the density is above h(t, x, 0) = ``least``.

    Brackets are found among the powers of 2. Chandrupatla's method follows, as in ``scipy.optimize.elementwise``, which
    takes ten times as long for some hundred points.
    """

    def at(nu: float) -> Array:
        return _values(driver, t, x, np.full_like(density, nu))

    top, values = 1.0, at(1.0)
    while (short := np.flatnonzero(values < density)).size:
        if top > _LARGEST:
            i = short[0]
            raise InputError(
                f"the driver stays below the density {density[i]:.6g} at (t, x) = ({t:.6g}, {x[i]:.6g}), up to nu = "
                f"{top:.1g}: give one that grows without bound in nu"
            )
        larger = at(2.0 * top)
        _check_increase(t, x, (top, values), (2.0 * top, larger))
        top, values = 2.0 * top, larger
    largest = top
    high, above = np.full_like(density, top), values - density
    low, below = np.zeros_like(density), least - density
    open_, smallest = np.ones(len(density), dtype=bool), 0.0
    while np.any(open_) and top > smallest:
        lower = at(0.5 * top)
        _check_increase(t, x, (0.5 * top, lower), (top, values))
        top, values = 0.5 * top, lower
        smaller = values >= density
        if smallest == 0.0 and not np.all(smaller):
            smallest = _RANGE * top
        high[smaller], above[smaller] = top, (values - density)[smaller]
        closed = open_ & ~smaller
        low[closed], below[closed] = top, (values - density)[closed]
        open_ &= smaller
    for nu, lower in ((share * top, at(share * top)) for share in _SHARES):
        _check_increase(t, x, (nu, lower), (top, values))
        top, values = nu, lower
    _check_increase(t, x, (0.0, least), (top, values))
    _check_between(driver, t, x, largest)
    return _between(lambda nu: _values(driver, t, x, nu) - density, low, high, below, above)


def _check_between(driver: Driver, t: float, x: Array, top: float) -> None:
    """Raise where a driver decreases between values of ν up to ``top``, at some of the points."""
    few = x[:: max(1, len(x) // _FEW)]
    levels = top * np.arange(_TRIED + 1) / _TRIED
    rows = [_values(driver, t, few, np.full_like(few, nu)) for nu in levels]
    for k in range(_TRIED):
        _check_increase(t, few, (float(levels[k]), rows[k]), (float(levels[k + 1]), rows[k + 1]))


def _check_increase(t: float, x: Array, lower: tuple[float, Array], upper: tuple[float, Array]) -> None:
    """Raise where the driver is larger at the lower of two ν than at the upper, by more than rounding."""
    (nu, values), (next_nu, next_values) = lower, upper
    bad = np.flatnonzero(values - next_values > _ROUNDING * (np.abs(values) + np.abs(next_values)))
    if bad.size:
        i = bad[0]
        raise InputError(
            f"the driver does not increase with nu at (t, x) = ({t:.6g}, {x[i]:.6g}): it is {values[i]:.6g} at nu = "
            f"{nu:.6g} and {next_values[i]:.6g} at nu = {next_nu:.6g}; give an increasing one"
        )


def _between(function: Callable[[Array], Array], a: Array, b: Array, f_a: Array, f_b: Array) -> Array:
    """Return the zeros of a function between a and b, where its values f_a and f_b have different signs.

    Chandrupatla, Advances in Engineering Software 28 (1997): inverse quadratic interpolation where it is safe, else
    bisection.
    """
    c, f_c = a, f_a
    share, negligible = np.full_like(a, 0.5), _RANGE**2 * float(np.max(b))
    for _ in range(_ITERATIONS):
        x = a + share * (b - a)
        f = function(x)
        same = np.sign(f) == np.sign(f_a)
        c, f_c, b, f_b = np.where(same, a, b), np.where(same, f_a, f_b), np.where(same, b, a), np.where(same, f_b, f_a)
        a, f_a = x, f
        with np.errstate(all="ignore"):
            least = (2.0 * _ROUNDING * np.abs(np.where(np.abs(f_a) < np.abs(f_b), a, b)) + negligible) / np.abs(b - a)
            if np.all((least > 0.5) | (f_a == 0.0)):
                break
            xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
            quadratic = f_a / (f_b - f_a) * f_c / (f_b - f_c) + (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (
                f_c - f_b
            )
            safe = (phi**2 < xi) & ((1.0 - phi) ** 2 < 1.0 - xi) & np.isfinite(quadratic)
            share = np.clip(np.where(safe, quadratic, 0.5), least, 1.0 - least)
    return np.where(np.abs(f_a) < np.abs(f_b), a, b)


def _values(driver: Driver, t: float, x: Array, nu: Array) -> Array:
    """Return h(t, x, ν), checked."""
    values = np.asarray(called("the driver", "h(t, x, nu) of a number t and arrays x and nu", driver, t, x, nu))
    if values.shape != nu.shape or not np.can_cast(values.dtype, np.float64, casting="same_kind"):
        raise InputError(
            f"the driver returned {values.dtype} of shape {values.shape} for nu of shape {nu.shape}: return real "
            "numbers in that shape"
        )
    bad = np.flatnonzero(~np.isfinite(values) & np.isfinite(nu))
    if len(bad):
        i = bad[0]
        raise InputError(
            f"the driver is {values[i]:g} at (t, x) = ({t:.6g}, {x[i]:.6g}), nu = {nu[i]:.6g}: return finite numbers"
        )
    return values
