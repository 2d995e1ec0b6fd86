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
    """A number.

    Attributes:
        value: the number.
        interval: its 95 % interval; (value, value) for a deterministic one.
        error: its standard error, 0 for a deterministic one.
        samples: independent values whose mean it is; empty where it is no mean.
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


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a quantity is, for readers of pictures and reports.

    Attributes:
        symbol: its formula, as :mod:`kspde.papers.studies.formulas` reads it: the label of an axis.
        words: the same in a line: the title of a picture.
    """

    symbol: str
    words: str


def from_record(record: dict[str, Any]) -> Quantity:
    """Return what ``Quantity.record`` wrote.

    Raises:
        KeyError, TypeError, ValueError: somebody else wrote it.
    """
    low, high = record["interval"]
    value, low, high, error, *samples = _numbers([record["value"], low, high, record["error"], *record["samples"]])
    return Quantity(value=value, interval=(low, high), error=error, samples=tuple(samples))


def _numbers(values: list[Any]) -> list[float]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"a number is a {type(value).__name__}")
    return values


def exactly(value: float) -> Quantity:
    """Return a deterministic number."""
    return Quantity(value=float(value), interval=(float(value), float(value)))


def mean(samples: npt.ArrayLike) -> Quantity:
    """Return the mean of independent samples with Student's interval; at least two."""
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
    # The binomial variance vanishes with no event seen; the interval knows better.
    return Quantity(value=k / n, interval=(low, high), error=given(k / n, (low, high)).error, samples=tuple(x.tolist()))


def given(value: float, interval: tuple[float, float]) -> Quantity:
    """Return a number whose 95 % interval is known; its error is a quarter of the interval's width, nearly."""
    low, high = float(interval[0]), float(interval[1])
    return Quantity(value=float(value), interval=(low, high), error=(high - low) / (2 * 1.959964))
