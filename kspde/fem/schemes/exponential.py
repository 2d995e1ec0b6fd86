r"""Adaptive time stepping on a box: an integrating factor and Dormand and Prince's method of order 5(4).

In modal coordinates the semi-discrete system is :math:`\dot y = L y + N(y)` with the diagonal :math:`L = -\bar D
\Lambda`, :math:`\bar D = \sup D` (for fields that relax, their own linear part), and N the rest. The explicit method is
applied to :math:`z = e^{-tL} y` (Lawson, SIAM J. Numer. Anal. 4, 1967): with nodes c_i and stages Y_i,

.. math::
    Y_i = e^{c_i hL} y_n + h \sum_{j<i} a_{ij}\, e^{(c_i - c_j) hL} N(Y_j),

so that only decaying exponentials occur. N contains diffusion too, :math:`\Delta((D - \bar D) u)`, but each of its
modes is damped by its own factor: :math:`h\lambda e^{-c h\lambda}` is bounded for all steps. The difference to the
embedded method of order 4 (Dormand and Prince, J. Comput. Appl. Math. 6, 1980) estimates the local error; it stays
below ``tol`` times the L² norm of the initial data, in L², row by row. The constant mode of a density has L = N = 0, so
mass is exact.

``kspde.fem.schemes.adaptive`` says where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import ConvergenceError
from kspde.fem.coefficients import CoefficientError
from kspde.fem.schemes.step_control import StepFloor
from kspde.fem.observer import Observer
from kspde.fem.resume import Position, Restart
from kspde.fem.semidiscretisation import SemiDiscrete, row_tolerances

__all__ = ["solve_exponential"]

Array = npt.NDArray[np.float64]

_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_MATRIX: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
#: weights of order 5 minus those of order 4
_DIFFERENCE = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
#: A factor below this is zero: numbers too small for full precision slow matrix products down ten times.
_NEGLIGIBLE = 1e-40
#: Modes that are worked on at a time, so that what is added up for them stays in the cache.
_BATCH = 2**15
#: inf D / sup D below which another method takes over
_LEAST_RATIO = 0.1


def solve_exponential(
    system: SemiDiscrete,
    start: Position,
    *,
    t_end: float,
    tol: float,
    observer: Observer,
    restart: Restart,
    started: Callable[[], None],
) -> tuple[Position, dict[str, Any]]:
    """Integrate from ``start`` to ``t_end``, or until D varies too much; arguments are those of ``solve_rosenbrock``.

    Returns:
        Where the run stands, and a summary. Before ``t_end`` the position is marked as handed over.

    Raises:
        ConvergenceError: the step control gave up.
    """
    y = system.state(start.unknowns)
    rate = system.rate(y)
    bounds, lowest = system.diffusion_range()
    if start.bounds is not None:
        bounds = start.bounds
    norms = system.norms(y) if start.norms is None else start.norms
    speeds = system.norms(rate)
    allowed = row_tolerances(tol, norms)
    moving = speeds > 0
    h = float(np.min(0.1 * norms[moving] / speeds[moving], initial=t_end)) if start.dt is None else start.dt
    position = replace(start, norms=norms, bounds=bounds, handed_over=_uneven(bounds, lowest))
    rejected = 0
    started()
    if not start.step and not position.handed_over:
        observer(0.0, start.unknowns)
    factors = _Factors(system)
    floor = StepFloor(t_end)
    while position.t < t_end and not position.handed_over:
        due = observer.next_time - position.t
        # Two equal steps rather than a full one and a sliver; the natural length is kept for later.
        tau = due if h >= due * (1 - 1e-12) else 0.5 * due if h > 0.5 * due else h
        new, new_rate, error = _step(system, factors, y, rate, tau, bounds)
        ratio = float(np.max(system.norms(error) / allowed))
        # NaN, from coefficients that are not finite or a step far too long, is a rejection too.
        change = _SHRINK if not np.isfinite(ratio) else _SAFETY * max(ratio, 1e-12) ** -0.2
        change = min(_GROW, max(_SHRINK, change))
        if not ratio <= 1.0:
            rejected += 1
            system.forget_diffusion()
            h = tau * min(change, 0.9)
            if floor.rejected(h):
                raise _failed(position, h, "the error stays above tol for every step")
            continue
        # A step that was cut short says little about the next one.
        h = max(h, tau * change) if tau < h else tau * change
        y, rate = new, new_rate
        bounds, lowest = system.diffusion_range()
        position.bounds, position.handed_over = bounds, _uneven(bounds, lowest)
        position.t = observer.next_time if tau == due else position.t + tau
        position.step += 1
        position.dt = None if position.handed_over else h
        position.unknowns = system.nodal(y)
        try:
            system.refuse_backward(position.unknowns, bounds, lowest, tol)
        except CoefficientError as error:
            raise error.at(position.step + 1, position.t, h) from None
        observer(position.t, position.unknowns)
        restart.look(position)
        if words := floor.accepted(h, position.t):
            raise _failed(position, h, words)
    return position, {
        "method": "Lawson, Dormand-Prince 5(4)",
        "tol": tol,
        "steps": position.step,
        "rejected_steps": rejected,
    }


def _failed(position: Position, dt: float, reason: str) -> ConvergenceError:
    return ConvergenceError(
        f"the solve failed in step {position.step + 1} at t = {position.t:.6g} with dt = {dt:.3g}: {reason}. The "
        "density may concentrate, or the coefficients are not finite: try a finer mesh, a larger eps, or "
        'scheme="positive"'
    )


def _uneven(highest: Array, lowest: Array) -> bool:
    """Return whether the D of some species varies too much for Lawson's methods."""
    return bool(np.any(lowest < _LEAST_RATIO * highest))


class _Factors:
    """The exponentials e^(c h L) of a step, made once for each h and D̄.

    L is a sum over directions: each exponential is the product of one along the first and one along the others.
    """

    def __init__(self, system: SemiDiscrete) -> None:
        self._system = system
        self._key: tuple[float, ...] = ()
        #: L of each unknown, as two arrays to be added
        self.linear: list[tuple[Array, Array]] = []
        self._made: dict[float, list[tuple[Array, Array]]] = {}

    def prepare(self, h: float, bounds: Array) -> None:
        key = (h, *bounds.tolist())
        if key != self._key:
            self._key, self._made = key, {}
            self.linear = self._system.linear_part(bounds)

    def __call__(self, c: float) -> list[tuple[Array, Array]]:
        c = round(c, 12)  # 4/5 and 1 − 1/5 are one
        if c not in self._made:
            self._made[c] = [(self._exp(c, a), self._exp(c, b)) for a, b in self.linear]
        return self._made[c]

    def _exp(self, c: float, x: Array) -> Array:
        made = np.exp((c * self._key[0]) * x)
        made[made < _NEGLIGIBLE] = 0.0
        return made


def _step(
    system: SemiDiscrete, factors: _Factors, y: Array, rate: Array, h: float, bounds: Array
) -> tuple[Array, Array, Array]:
    """Return the new state, its rate, and the estimate of the local error."""
    factors.prepare(h, bounds)
    rest = [_rest(factors, rate, y)]
    stage, slope = y, rate
    for i in range(1, len(_NODES)):
        terms = [(h * a, _NODES[i] - _NODES[j], rest[j]) for j, a in enumerate(_MATRIX[i]) if a]
        stage = _sum(factors, [(1.0, _NODES[i], y), *terms])
        slope = system.rate(stage)
        rest.append(_rest(factors, slope, stage))
    error = _sum(factors, [(h * e, 1.0 - c, r) for c, e, r in zip(_NODES, _DIFFERENCE, rest, strict=True) if e])
    return stage, slope, error


def _rest(factors: _Factors, rate: Array, y: Array) -> Array:
    """Return N = rate − L y."""
    out = np.empty_like(y)
    for k, rows in _batches(y):
        a, b = factors.linear[k]
        np.multiply(a[rows] + b, y[k, rows], out=out[k, rows])
        np.subtract(rate[k, rows], out[k, rows], out=out[k, rows])
    return out


def _sum(factors: _Factors, terms: Sequence[tuple[float, float, Array]]) -> Array:
    """Return Σ w e^(c h L) x over terms (w, c, x)."""
    out = np.empty_like(terms[0][2])
    for k, rows in _batches(out):
        total = out[k, rows]
        total[:] = 0.0
        for weight, c, x in terms:
            if c:
                first, others = factors(c)[k]
                part = x[k, rows] * others
                part *= weight * first[rows]
            else:
                part = weight * x[k, rows]
            total += part
    return out


def _batches(x: Array) -> Iterator[tuple[int, slice]]:
    """Yield each unknown with rows of its modes, a batch at a time."""
    unknowns, n = x.shape[:2]
    length = max(1, _BATCH * unknowns * n // max(1, x.size))
    for k in range(unknowns):
        for start in range(0, n, length):
            yield k, slice(start, start + length)
