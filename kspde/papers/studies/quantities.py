"""What a measure returns: numbers with their replicas or their intervals, and what they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.distances.statistics import reach_of

__all__ = ["Meaning", "Quantity", "exactly", "fraction", "from_record", "given", "mean"]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        interval: the 95 % interval; (value, value) for a deterministic number.
        error: the standard error, 0 for a deterministic number.
        samples: the independent values whose mean it is; empty where it is not a mean.
    """

    value: float
    interval: tuple[float, float]
    error: float = 0.0
    samples: tuple[float, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "value": self.value,
            "interval": list(self.interval),
            "error": self.error,
            "samples": list(self.samples),
        }


@dataclass(frozen=True)
class Meaning:
    """What a quantity is, for readers of pictures and reports.

    Attributes:
        symbol: the formula, as :mod:`kspde.papers.studies.formulas` reads it: the label of an axis.
        words: the same in words, in one line: the title of a picture.
        beside: the quantity that is drawn as a line beside its values, what a theory says of it; "" if none.
    """

    symbol: str
    words: str
    beside: str = ""


def from_record(record: dict[str, Any]) -> Quantity:
    """Return the quantity that ``Quantity.record`` described.

    Raises:
        KeyError, TypeError, ValueError: the record is not one of ``Quantity.record``.
    """
    low, high = record["interval"]
    numbers = [record["value"], low, high, record["error"], *record["samples"]]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise TypeError(f"a number is a {type(number).__name__}")
    value, low, high, error, *samples = numbers
    return Quantity(value=value, interval=(low, high), error=error, samples=tuple(samples))


def exactly(value: float) -> Quantity:
    """Return a deterministic number."""
    return Quantity(value=float(value), interval=(float(value), float(value)))


def mean(samples: npt.ArrayLike) -> Quantity:
    """Return the mean of at least two independent samples with Student's interval."""
    x = np.asarray(samples, dtype=np.float64)
    error = float(x.std(ddof=1)) / math.sqrt(len(x))
    reach = reach_of(len(x)) * error
    value = float(x.mean())
    return Quantity(value=value, interval=(value - reach, value + reach), error=error, samples=tuple(x.tolist()))


def fraction(happened: npt.ArrayLike) -> Quantity:
    """Return the share of independent trials in which something happened, with Clopper and Pearson's interval."""
    from scipy.special import betaincinv

    x = np.asarray(happened, dtype=np.float64)
    n, k = len(x), int(x.sum())
    low = float(betaincinv(k, n - k + 1, 0.025)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    # The binomial variance vanishes where no event was seen, so the error is that of the interval.
    return Quantity(value=k / n, interval=(low, high), error=given(k / n, (low, high)).error, samples=tuple(x.tolist()))


def given(value: float, interval: tuple[float, float]) -> Quantity:
    """Return a number whose 95 % interval is known; its error is the interval's width over 2 · 1.96."""
    low, high = float(interval[0]), float(interval[1])
    return Quantity(value=float(value), interval=(low, high), error=(high - low) / (2 * 1.959964))
