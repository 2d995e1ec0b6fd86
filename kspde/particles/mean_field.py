r"""The mean-field particles of Wang, Li and Huang's (1.8), which move in the fields of a solved density.

.. math:: d\bar X_i = b\,dt + \sqrt{2 D}\,dB_i, \qquad c(\bar X_i) = (K^\varepsilon * u^\varepsilon)(\bar X_i, t),

with the same starting points and the same Brownian motions B_i as the interacting particles X_i. The density, called
the mean field, is read through a small protocol (:class:`kspde.protocols.SolvedDensity`): its fields are sampled on a
uniform grid once for every time, and interpolated by splines of order 6. The grid is refined until the splines
reproduce the fields between the grid points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from kspde.domains import Domain, check_same_space
from kspde.errors import InputError, check_choice
from kspde.kernels import resolve_mollifier
from kspde.models import Field, Moment
from kspde.particles.fields.base import Extent, FieldEvaluator, weighted_sum
from kspde.particles.region import Region
from kspde.particles.sampled_field import SampledField
from kspde.problem import Problem
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import together
from kspde.runtime.reductions import reduced
from kspde.runtime.values import in_words
from kspde.typing import Array

__all__ = ["MeanFieldEvaluator", "check_mean_field"]

#: The fewest nodes across the particles, and the most on the whole grid.
_COARSE, _MOST = 32, 2_100_000
#: Points per direction at which the splines are checked every time, and at which times are compared.
_CHECKS, _POINTS = 48, 24


def check_mean_field(mean_field: Any, problem: Problem, differs: Any, domain: Domain | None = None) -> None:
    """Raise unless ``mean_field`` solves the particles' problem up to their final time, except for what may differ.

    A mean field that is the user's own object is checked as far as it has the attributes.

    Args:
        mean_field: the mean field, or None.
        problem: the particles' problem.
        differs: names of what may differ: "eps" (the mollifier too), "initial" (u0 too).
        domain: the domain that the particles were given.

    Raises:
        InputError: another kind of object, another problem, a solution in another domain, or one that ends earlier.
    """
    if mean_field is None:
        if differs:
            raise InputError("mean_field_differs is given without mean_field: give mean_field too, or leave it out")
        return
    for name in ("signal_on_grid", "model", "t_end"):
        if not hasattr(mean_field, name):
            raise InputError(
                f"mean_field is a {type(mean_field).__name__} without {name}: give what kspde.solve returned"
            )
    if problem.model.moments and not hasattr(mean_field, "moment"):
        raise InputError(
            f"mean_field is a {type(mean_field).__name__} without moment(name, t), which the model's moments need: "
            "give what kspde.solve returned"
        )
    if isinstance(differs, str) or not isinstance(differs, Collection):
        raise InputError(f"mean_field_differs = {differs!r} is not valid: give a tuple of names")
    for name in differs:
        check_choice("mean_field_differs", name, ("eps", "initial"))
    if getattr(mean_field, "domain", None) is not None:
        check_same_space(mean_field.domain, domain)
    solved = _problem_of(mean_field, problem)
    if solved.t_end < problem.t_end * (1 - 1e-12):
        raise InputError(f"mean_field ends at t = {solved.t_end:g}: t_end = {problem.t_end:g} needs a longer solution")
    if solved.model != problem.model:
        raise InputError(f"mean_field solves {solved.model}: the particles' model is {problem.model}; solve that one")
    same_kernels = solved.fields == problem.fields and solved.mollified_start == problem.mollified_start
    ignored = {"t_end", "model"}
    ignored |= {"eps", "mollifier"} if "eps" in differs or same_kernels else set()
    ignored |= {"initial", "u0"} if "initial" in differs else set()
    for name, ours, theirs in problem.differences(solved, ignored):
        option = "eps" if name.startswith(("eps", "mollifier")) else "initial"
        values = f"{name} = {in_words(theirs)}, the particles {in_words(ours)}"
        if name.startswith("u0"):
            values = f"another {name} than the particles"
        raise InputError(
            f'mean_field has {values}: give both the same, or mean_field_differs = ("{option}",) if that is meant'
        )
    if not same_kernels and not differs:
        raise InputError("mean_field has other kernels than the particles: solve with the same eps and mollifier")


def _problem_of(mean_field: Any, problem: Problem) -> Problem:
    """Return the problem that a mean field solves; what it does not say of itself is taken from the particles'."""
    found = getattr(mean_field, "problem", None)
    if isinstance(found, Problem):
        return found
    eps = getattr(mean_field, "eps", problem.eps)
    mollifier = getattr(mean_field, "mollifier", "gaussian") if hasattr(mean_field, "eps") else None
    dimension = problem.model.dimension
    return replace(
        problem,
        model=mean_field.model,
        t_end=mean_field.t_end,
        u0=getattr(mean_field, "u0", problem.u0),
        initial=getattr(mean_field, "initial", problem.initial),
        eps=eps,
        mollifier=problem.mollifier if mollifier is None else resolve_mollifier(eps, mollifier, dimension),
    )


class MeanFieldEvaluator(FieldEvaluator):
    """Fields of a solved density at the particles.

    Args:
        fields: the regularised fields.
        source: the mean field.
        region: the closed or periodic box, beyond which the fields are even, or periodic.
        **options: as for :class:`~kspde.particles.fields.base.FieldEvaluator`.

    Attributes:
        error: by field, the largest deviation of the splines from the density's own field between the nodes, over all
            times, relative to the supremum of the field over the grid.
        time_error: error of the fields between the times at which the density was saved.
        moment_error: error of the moments there.
        grid: grid on which the fields are sampled.
    """

    def __init__(
        self, fields: tuple[Field, ...], *, source: SolvedDensity, region: Region | None = None, **options: Any
    ) -> None:
        super().__init__(fields, include_self=True, **options)
        self._region = region
        self._curvatures = {}  # the fields are not made by the particles
        self._source = source
        self.error = {field.name: 0.0 for field in self.active}
        self.time_error = TimeError(source, (f.name for f in self.active))
        self.moment_error = TimeError(source, (m.name for m in self.moments))
        self.grid = SampledField(self.dimension, coarse=_COARSE, most=_MOST)
        self._sampled_at = math.nan

    def update(self, positions: Mapping[str, Array], extent: Extent) -> None:
        """Sample the fields at time ``t`` on a grid that covers the extent. Collective.

        Raises:
            InputError: the grid leaves the domain where the density is known; on every rank.
        """
        if not self.active or (self._sampled_at == self.t and self.grid.covers(extent)):
            return
        self._sampled_at = self.t
        errors: dict[str, float] = {}
        self.grid.resolve(extent, lambda: self._sample(errors), self.tol)
        self.error = {name: max(self.error[name], e) for name, e in errors.items()}
        inner = self.grid.inner
        if self._region is not None:
            lower, upper = self._region.bounds
            inner = Extent(np.maximum(inner.lower, lower), np.minimum(inner.upper, upper))
        axes = [np.linspace(low, high, _POINTS) for low, high in zip(inner.lower, inner.upper, strict=True)]
        self.time_error.look(
            self.t, lambda name, t: np.asarray(self._source.signal_on_grid(axes, field=name, t=t)), dict
        )

    def update_moments(self, positions: Mapping[str, Array]) -> None:
        """Take the density's moments at time ``t``. Collective."""
        self.moment_values = {m.name: np.asarray(self._source.moment(m.name, self.t)) for m in self.moments}
        self.moment_error.look(
            self.t, lambda name, t: np.asarray(self._source.moment(name, t)), lambda: self._moment_scales(positions)
        )

    def _moment_scales(self, positions: Mapping[str, Array]) -> dict[str, float]:
        """Return ∫|φ|u of the moments, from the particles: a moment itself may vanish. Collective."""
        with together(self.comm):
            own = {
                m.name: weighted_sum(_absolute(m), positions[m.source], np.abs(self.weights[m.source]))
                for m in self.moments
            }
        return {name: float(reduced(self.comm, sums).max()) for name, sums in own.items()}

    @property
    def summed(self) -> tuple[Moment, ...]:
        """None: the moments are the density's."""
        return ()

    @property
    def in_parts(self) -> bool:
        """Always."""
        return True

    def _evaluate(self, field: Field, x: Array, values: Array, gradient: Array | None) -> None:
        self.grid.part_at(field.name, x, values, gradient)

    def summary(self) -> dict[str, Any]:
        """Return the grid's data and the measured errors."""
        return {
            "nodes": list(self.grid.shape),
            "spacing": self.grid.spacing,
            "error": dict(self.error),
            "time_error": dict(self.time_error.error) | dict(self.moment_error.error),
        }

    def state(self) -> dict[str, Array]:
        """Return what the next update depends on besides the positions."""
        moments = {"moments": self.moment_error.state()} if self.moments else {}
        if not self.grid.shape:
            return moments
        return {
            **self.grid.state(),
            **moments,
            "error": np.array(list(self.error.values())),
            "time_error": self.time_error.state(),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Continue from what ``state`` returned."""
        if "moments" in state:
            self.moment_error.restore(state["moments"])
        if "shape" in state:
            self.grid.restore(state)
            self.error.update(zip(self.error, state["error"].tolist(), strict=True))
            self.time_error.restore(state["time_error"])

    def _inside(self, axes: Sequence[Array]) -> list[Array]:
        """Return the coordinates where the fields at these are found."""
        inside = [axis.copy() for axis in axes]
        for a, axis in enumerate(inside if self._region is not None else ()):
            self._region.fold_axis(axis, a)  # type: ignore[union-attr]
        return inside

    def _sample(self, errors: dict[str, float]) -> float:
        """Interpolate the fields at time t; write the splines' errors between the nodes, and return the largest."""
        axes, (checks, points) = self.grid.axes, self.grid.midpoints(_CHECKS)
        axes, checks = self._inside(axes), self._inside(checks)
        for f in self.active:
            try:
                values = self._source.signal_on_grid(axes, field=f.name, t=self.t)
                exact = self._source.signal_on_grid(checks, field=f.name, t=self.t)
            except InputError as error:
                box = " × ".join(f"[{axis[0]:.4g}, {axis[-1]:.4g}]" for axis in axes)
                times = getattr(self._source, "times", (self.t,))
                where = f"on {box}: solve on a domain that contains it"
                if not times[0] <= self.t <= times[-1]:
                    where = "too: save the density from 0 on, with save=kspde.SaveAt(times=...)"
                raise InputError(
                    f"{error} (the mean-field particles need the field at t = {self.t:.6g} {where})"
                ) from None
            self.grid.interpolate(f.name, values)
            found = np.empty(len(points))
            self._evaluate(f, points, found, np.empty_like(points) if f.gradient else None)
            errors[f.name] = _relative(found - exact.ravel(), values)
        return max(errors.values())


def _absolute(moment: Moment) -> Moment:
    """Return the moment with |φ|."""
    return replace(moment, function=lambda x: np.abs(moment.function(x)))


class TimeError:
    r"""The error of a mean field's fields, or moments, between the times at which its density was saved.

    A solution interpolates its density between saved times by cubic polynomials from values and rates (Hermite), and
    its fields and moments, linear functions of the density, likewise. On an interval of length h that leaves an error
    of :math:`\tfrac{1}{384} h^4 \sup|\partial_t^4 c|`. It is measured from them alone: the polynomial over two
    neighbouring intervals together, from the values and rates at their outer ends, is compared with the value that is
    saved between them. There the error is :math:`\tfrac1{24}(m-a)^2(b-m)^2 |\partial_t^4 c|`, for equal intervals 16
    times that within one of them. This is an estimate: for a density that changes fastest at its start it may be low
    by a factor of 2 or 3. Where only one interval is saved, the polynomials of degree 2 are compared with that of
    degree 3, :math:`\tfrac1{48} h^3 |\partial_t^3 c|`: an error of order 3 in place of 4, an overestimate.

    Args:
        source: the mean field; one without ``times`` is taken to be known at all times.
        names: names of the fields, or of the moments.

    Attributes:
        error: by name the largest error so far: of a field relative to its supremum over the particles' extent, of a
            moment relative to ∫|φ|u; 0 while they were needed at saved times only.
        interval: index of the last interval looked at, −1 before the first.
    """

    def __init__(self, source: SolvedDensity, names: Iterable[str]) -> None:
        self._times = np.asarray(getattr(source, "times", ()), dtype=np.float64)
        self.error = dict.fromkeys(names, 0.0)
        self.interval = -1

    def look(self, t: float, values: Callable[[str, float], Array], scales: Callable[[], Mapping[str, float]]) -> None:
        """Estimate the errors in the interval around t, once per interval. Collective.

        Args:
            t: the time.
            values: maps a name and a time to values.
            scales: returns by name what an error is relative to; the largest value where there is none.

        Raises:
            InputError: ``values`` does.
        """
        times = self._times
        if not self.error or len(times) < 2 or not times[0] < t < times[-1]:
            return
        k = int(np.searchsorted(times, t)) - 1
        if k == self.interval or np.abs(times - t).min() <= 1e-12 * times[-1]:
            return
        self.interval = k
        known = scales()
        for name, error in self.error.items():
            difference, value = self._estimate(k, partial(values, name))
            found = np.abs(difference).max() / (known.get(name) or np.abs(value).max() or 1.0)
            self.error[name] = max(error, float(found))

    def _estimate(self, k: int, values: Callable[[float], Array]) -> tuple[Array, Array]:
        """Return the error in interval k, and values near it."""
        times = self._times
        first = k - 1 if k > 0 else 0
        before = self._cubic(first, values)
        if len(times) == 2:
            # Degree 2 through both values and one rate or the other: their distance from degree 3, in the middle.
            (c0, slope0), (c1, slope1) = before
            return 0.25 * (c0 - c1) + 0.125 * (times[1] - times[0]) * (slope0 + slope1), c0
        after = self._cubic(first + 1, values)
        (c0, slope0), (middle, _), (c1, slope1) = before[0], before[1], after[1]
        a, m, b = times[first : first + 3]
        s, h = (m - a) / (b - a), b - a
        cubic = (1 + 2 * s) * (1 - s) ** 2 * c0 + s**2 * (3 - 2 * s) * c1
        cubic += h * s * (1 - s) * ((1 - s) * slope0 - s * slope1)
        share = (0.5 * (times[k + 1] - times[k])) ** 4 / ((m - a) * (b - m)) ** 2
        return share * (cubic - middle), middle

    def _cubic(self, k: int, values: Callable[[float], Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return value and rate at both ends of an interval, from four values of the cubic polynomial there."""
        start, end = self._times[k], self._times[k + 1]
        c = [values(float(start + share * (end - start))) for share in (0.0, 1 / 3, 2 / 3, 1.0)]
        h = end - start
        first = (-5.5 * c[0] + 9 * c[1] - 4.5 * c[2] + c[3]) / h
        last = (5.5 * c[3] - 9 * c[2] + 4.5 * c[1] - c[0]) / h
        return (c[0], first), (c[3], last)

    def state(self) -> Array:
        """Return the interval and the errors, in one array."""
        return np.array([self.interval, *self.error.values()])

    def restore(self, state: Array) -> None:
        """Continue from what ``state`` returned."""
        self.interval = int(state[0])
        self.error.update(zip(self.error, state[1:].tolist(), strict=True))


def _relative(difference: Array, values: Array) -> float:
    return float(np.abs(difference).max() / (np.abs(values).max() or 1.0))
