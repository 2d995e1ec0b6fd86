r"""How well a mean field is known between the times at which its density was saved.

A solution interpolates its density between saved times by cubic polynomials from values and rates (Hermite), and its
fields, linear functions of the density, likewise. On an interval of length h that leaves an error of
:math:`\tfrac{1}{384} h^4 \sup|\partial_t^4 c|`. It is measured without knowing more of the solution than the fields:
the polynomial of two neighbouring intervals together, from the values and rates at their outer ends, is compared with
the value that is saved between them. There the error is :math:`\tfrac1{24}(m-a)^2(b-m)^2 |\partial_t^4 c|`, for equal
intervals 16 times that within one of them. It is an estimate: of a density that changes fastest at its start it may be
low by a factor of 2 or 3. Where only one interval is saved, the polynomials of degree 2 stand against that of degree 3,
:math:`\tfrac1{48} h^3 |\partial_t^3 c|`: an error of order 3 in place of 4, an overestimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kspde.models import Field
from kspde.models.base import Array

__all__ = ["SavedTimes"]

#: Points per direction at which fields are compared.
_POINTS = 24


class SavedTimes:
    """The error of a mean field's fields between its saved times.

    Args:
        source: the mean field; one without ``times`` is taken to be known at all times.
        fields: those it is asked for.

    Attributes:
        error: by field the largest error so far, relative to the supremum of the field over the particles' extent; 0
            while it was asked for at saved times only.
        interval: the last interval looked at, −1 before the first.
    """

    def __init__(self, source: Any, fields: Sequence[Field]) -> None:
        self._source = source
        self._fields = tuple(fields)
        self._times = np.asarray(getattr(source, "times", ()), dtype=np.float64)
        self.error = {f.name: 0.0 for f in self._fields}
        self.interval = -1

    def look(self, t: float, lower: Array, upper: Array) -> None:
        """Estimate the error of the interval that t lies in, on a box; once an interval. Collective.

        Raises:
            InputError: the box leaves the domain where the fields are known.
        """
        times = self._times
        if len(times) < 2 or not times[0] < t < times[-1] or np.abs(times - t).min() <= 1e-12 * times[-1]:
            return
        k = int(np.searchsorted(times, t)) - 1
        if k == self.interval:
            return
        self.interval = k
        axes = [np.linspace(low, high, _POINTS) for low, high in zip(lower, upper, strict=True)]
        for f in self._fields:
            self.error[f.name] = max(self.error[f.name], self._estimate(k, axes, f.name))

    def _estimate(self, k: int, axes: Sequence[Array], field: str) -> float:
        times = self._times
        first = k - 1 if k > 0 else 0
        before = self._cubic(first, axes, field)
        if len(times) == 2:
            # Degree 2 through both values and one rate or the other: their distance from degree 3, in the middle.
            (c0, slope0), (c1, slope1) = before
            h = times[1] - times[0]
            difference = 0.25 * (c0 - c1) + 0.125 * h * (slope0 + slope1)
            return _relative(difference, c0)
        after = self._cubic(first + 1, axes, field)
        (c0, slope0), (middle, _), (c1, slope1) = before[0], before[1], after[1]
        a, m, b = times[first : first + 3]
        s, h = (m - a) / (b - a), b - a
        cubic = (1 + 2 * s) * (1 - s) ** 2 * c0 + s**2 * (3 - 2 * s) * c1
        cubic += h * s * (1 - s) * ((1 - s) * slope0 - s * slope1)
        share = (0.5 * (times[k + 1] - times[k])) ** 4 / ((m - a) * (b - m)) ** 2
        return float(share) * _relative(cubic - middle, middle)

    def _cubic(self, k: int, axes: Sequence[Array], field: str) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return value and rate at the two ends of an interval, from four values of the cubic polynomial there."""
        start, end = self._times[k], self._times[k + 1]
        c = [
            np.asarray(self._source.signal_on_grid(axes, field=field, t=float(start + share * (end - start))))
            for share in (0.0, 1 / 3, 2 / 3, 1.0)
        ]
        h = end - start
        first = (-5.5 * c[0] + 9 * c[1] - 4.5 * c[2] + c[3]) / h
        last = (5.5 * c[3] - 9 * c[2] + 4.5 * c[1] - c[0]) / h
        return (c[0], first), (c[3], last)


def _relative(difference: Array, values: Array) -> float:
    return float(np.abs(difference).max() / (np.abs(values).max() or 1.0))
