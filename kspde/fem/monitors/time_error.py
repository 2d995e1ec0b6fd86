r"""An estimate of the time error of runs with a fixed step.

**Of a step.** With :math:`\dot u = R(u)` the semi-discrete system, a step from u⁰ to u¹ of length h has missed

.. math::
    d = u^1 - u^0 - \tfrac h2 \big(R(u^0) + R(u^1)\big), \qquad
    d = u^1 - u^0 - \tfrac h6 \big(R(u^0) + 4 R(u^{1/2}) + R(u^1)\big),

to leading order, for schemes of order 1 and 2: the rules of the trapezium and of Simpson are one order better than the
step. For order 2, :math:`u^{1/2}` is the half step, extrapolated by the difference of the schemes' stages. Coefficients
are frozen in the step and not in R: what that costs is part of d.

**Of the run.** On a linear equation :math:`d_n = S d_{n-1}`, S the step, since d is a multiple of a derivative in time
of u, and derivatives solve the same equation. So all earlier d, carried on to :math:`t_n`, are equal to :math:`d_n`,
and with p the order

.. math:: u(t_n) - u_n \approx -\sum_{k \le n} \Big(\frac{h_k}{h_n}\Big)^{p+1} d_n .

Of others it is an estimate, and may vanish by chance as d changes: so it is not allowed to fall faster than
:math:`t^{-p}`, as the errors of a density that spreads do in the end. In L¹, as a share of the mass; at most 2, which
is the largest there is. Modes that decay within a step are overestimated, so that what oscillates is never missed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["TimeError"]

Array = npt.NDArray[np.float64]

#: An estimate is made every so many steps, at the first, and at saved times.
_EVERY = 8
#: It needs a step that is not much shorter than the others, or round-off would be multiplied.
_LEAST = 0.3


class TimeError:
    """What the local errors of a run's steps add up to.

    Args:
        order: of the scheme.
        dt: the fixed step; shorter ones occur where it does not divide the saved times.
        steps: the lengths of the steps taken so far.
        value: the estimate at their end, one number for each species.

    Attributes:
        value: the estimate at the last step, or at the last but a few.
    """

    def __init__(self, order: int, dt: float, steps: Array, value: Array) -> None:
        self.value = value
        self._power = order + 1
        self._dt = dt
        self._count = len(steps)
        self._t = float(np.sum(steps))
        self._sum = float(np.sum((steps / dt) ** self._power))

    def due(self, tau: float, *, saved: bool) -> bool:
        """Take note of a step of length tau, and return whether its local error is needed."""
        self._count += 1
        self.value = self.value * (self._t / (self._t + tau)) ** (self._power - 1)
        self._t += tau
        self._sum += (tau / self._dt) ** self._power
        return ((saved or self._count % _EVERY == 0) and tau > _LEAST * self._dt) or self._count == 1

    def update(self, local: Array, tau: float) -> None:
        """Take up the L¹ norm of the local error of a step that was due, as a share of the mass."""
        estimate = local * self._sum * (self._dt / tau) ** self._power
        self.value = np.minimum(np.maximum(estimate, self.value), 2.0)
