r"""Adaptive time stepping on a box: an integrating factor and Dormand and Prince's method of order 5(4).

In modal coordinates the semi-discrete system is :math:`\dot y = L y + N(y)` with the diagonal :math:`L = -\bar D
\Lambda`, :math:`\bar D = \sup D` (for fields that relax, their own linear part), and N the rest. The explicit method is
applied to :math:`z = e^{-tL} y` (Lawson, SIAM J. Numer. Anal. 4, 1967): with nodes c_i and stages Y_i,

.. math::
    Y_i = e^{c_i hL} y_n + h \sum_{j<i} a_{ij}\, e^{(c_i - c_j) hL} N(Y_j),

so that only decaying exponentials occur. N contains diffusion too, :math:`\Delta((D - \bar D) u)`, but each of its
modes is damped by its own factor: :math:`h\lambda e^{-c h\lambda}` is bounded for all steps. The difference to the
embedded method of order 4 (Dormand and Prince, J. Comput. Appl. Math. 6, 1980) estimates the local error; it stays
below ``tol`` times the norm of the initial density, in L², row by row. The constant mode of a density has L = N = 0, so
mass is exact.

``kspde.fem.schemes.adaptive`` says where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kspde.fem.observer import RunState
from kspde.fem.schemes.base import CONCENTRATES, follow_growth, row_tolerances
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.typing import Array

__all__ = ["ORDER", "ExponentialSteps", "Lawson"]

#: Order in dt of the estimate of the local error.
ORDER = 5

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

#: Factors below this are set to 0: denormal numbers slow matrix products down ten times.
_NEGLIGIBLE = 1e-40
#: inf D / sup D below which another method takes over.
_LEAST_RATIO = 0.1


class ExponentialSteps:
    """The steps of a run with a modal state, until D varies too much (``RunState.handed_over``).

    Args:
        system: the semidiscretisation.
        state: where the run stands; its norms and bounds are set.
        tol: the tolerance.
        t_end: the final time.

    Attributes:
        first: the length of the first step.
    """

    advice = CONCENTRATES

    def __init__(self, system: Semidiscretisation, state: RunState, tol: float, t_end: float) -> None:
        self._system = system
        self._tol = tol
        self._lawson = Lawson(system)
        self._y = system.state(state.unknowns)
        self._rate = system.rate(self._y, state.t)
        self._grown = None if state.growth is None else system.grown[-1]
        bounds, lowest = system.diffusion_range(state.unknowns, state.t)
        state.bounds = self._bounds = bounds if state.bounds is None else state.bounds
        state.handed_over = _uneven(self._bounds, lowest)
        state.norms = system.norms(self._y) if state.norms is None else state.norms
        self._allowed = row_tolerances(tol, state.norms)
        self.first = self._first(state.norms, t_end) if state.dt is None else state.dt
        self._new = self._y, self._rate

    def _first(self, norms: Array, t_end: float) -> float:
        """Return the step in which a tenth changes: of each unknown, and of what is not constant of it.

        A long step damps all that is not constant, its own estimate of the error included: a small disturbance that
        grows would vanish unseen.
        """
        varying = np.stack([a + b != 0.0 for a, b in self._system.linear_part(self._bounds)])
        sizes = np.concatenate([norms, self._system.norms(varying * self._y)])
        speeds = np.concatenate([self._system.norms(self._rate), self._system.norms(varying * self._rate)])
        moving = (speeds > 0) & (sizes > 0)
        return float(np.min(0.1 * sizes[moving] / speeds[moving], initial=t_end))

    def attempt(self, state: RunState, tau: float) -> float:
        """Compute a step; return its local error in units of what is allowed. Collective."""
        y, rate, error = self._lawson.step(self._y, self._rate, tau, self._bounds, state.t)
        self._new = y, rate
        if self._grown is not None:
            stages = [self._grown, *list(self._system.grown)[1 - len(_NODES) :]]
            self._growth = tau * np.dot(_MATRIX[-1], stages[:-1])
        return float(np.max(self._system.norms(error) / self._allowed))

    def reject(self) -> None:
        """Discard the step."""
        self._system.forget_diffusion()

    def accept(self, state: RunState, tau: float, *, saved: bool) -> None:
        """Put what the step has led to into ``state``. Collective.

        Raises:
            CoefficientError: D < 0, or a density without bounds.
        """
        self._y, self._rate = self._new
        if self._grown is not None:  # mass is the state's constant mode: the method's own sum over its stages
            state.growth, self._grown = state.growth + self._growth, self._system.grown[-1]
        state.unknowns = self._system.nodal(self._y)
        if state.growth is not None:
            norms = follow_growth(self._system, state, self._system.norms(self._y))
            self._allowed = row_tolerances(self._tol, norms)
        self._bounds, lowest = self._system.diffusion_range(state.unknowns, state.t)
        state.bounds, state.handed_over = self._bounds, _uneven(self._bounds, lowest)
        if state.handed_over:
            state.dt = None
        self._system.refuse_backward(state.unknowns, state.t, self._bounds, lowest, self._tol)


def _uneven(highest: Array, lowest: Array) -> bool:
    """Return whether the D of some species varies too much for Lawson's methods."""
    return bool(np.any(lowest < _LEAST_RATIO * highest))


class Lawson:
    """The method's steps, whose exponentials e^(c h L) are computed once per h and D̄.

    L is a sum over directions: each exponential is the product of one along the first and one along the others.

    Args:
        system: the semidiscretisation.
    """

    def __init__(self, system: Semidiscretisation) -> None:
        self._system = system
        self._key: tuple[float, ...] = ()
        #: L of each unknown, as two arrays to be added
        self._linear: list[tuple[Array, Array]] = []
        self._made: dict[float, list[tuple[Array, Array]]] = {}

    def step(self, y: Array, rate: Array, h: float, bounds: Array, t: float) -> tuple[Array, Array, Array]:
        """Return the state at t + h, its rate, and the estimate of the local error, from that at t. Collective."""
        self.prepare(h, bounds)
        rest = [self._rest(rate, y)]
        stage, slope = y, rate
        for i in range(1, len(_NODES)):
            terms = [(h * a, _NODES[i] - _NODES[j], rest[j]) for j, a in enumerate(_MATRIX[i]) if a]
            stage = self.sum([(1.0, _NODES[i], y), *terms])
            slope = self._system.rate(stage, t + _NODES[i] * h)
            rest.append(self._rest(slope, stage))
        error = [(h * e, 1.0 - c, r) for c, e, r in zip(_NODES, _DIFFERENCE, rest, strict=True) if e]
        return stage, slope, self.sum(error)

    def prepare(self, h: float, bounds: Array) -> None:
        """Set h and D̄."""
        key = (h, *bounds.tolist())
        if key != self._key:
            self._key, self._made = key, {}
            self._linear = self._system.linear_part(bounds)

    def exponentials(self, c: float) -> list[tuple[Array, Array]]:
        """Return e^(c h L) of each unknown, as two arrays to be multiplied."""
        c = round(c, 12)  # 4/5 and 1 − 1/5 are one
        if c not in self._made:
            self._made[c] = [(self._exp(c, a), self._exp(c, b)) for a, b in self._linear]
        return self._made[c]

    def sum(self, terms: Sequence[tuple[float, float, Array]]) -> Array:
        """Return Σ w e^(c h L) x over terms (w, c, x)."""
        out = np.zeros_like(terms[0][2])
        for weight, c, x in terms:
            if c == 0.0:
                out += weight * x
                continue
            for total, part, (first, others) in zip(out, x, self.exponentials(c), strict=True):
                part = part * others
                part *= weight * first
                total += part
        return out

    def _exp(self, c: float, x: Array) -> Array:
        made = np.exp((c * self._key[0]) * x)
        made[made < _NEGLIGIBLE] = 0.0
        return made

    def _rest(self, rate: Array, y: Array) -> Array:
        """Return N = rate − L y."""
        return np.asarray(rate - np.stack([(a + b) * x for (a, b), x in zip(self._linear, y, strict=True)]))
