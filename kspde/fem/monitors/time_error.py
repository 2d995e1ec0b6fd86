r"""An estimate of the time error of runs with a fixed step.

**Of a step.** With :math:`\dot u = R(u)` the semidiscretisation, a step from u⁰ to u¹ of length h has missed

.. math::
    d = u^1 - u^0 - \tfrac h2 \big(R(u^0) + R(u^1)\big), \qquad
    d = u^1 - u^0 - \tfrac h6 \big(R(u^0) + 4 R(u^{1/2}) + R(u^1)\big),

to leading order, for schemes of order 1 and 2: the rules of the trapezium and of Simpson are one order better than the
step. For order 2, :math:`u^{1/2}` is the half step, extrapolated by the difference of the schemes' stages. Coefficients
are frozen in the step and not in R: the resulting error is part of d.

**Of the run.** On a linear equation :math:`d_n = S d_{n-1}`, S the step, since d is a multiple of a derivative in time
of u, and derivatives solve the same equation. So all earlier d, propagated to :math:`t_n`, are equal to :math:`d_n`,
and with p the order

.. math:: u(t_n) - u_n \approx -\sum_{k \le n} \Big(\frac{h_k}{h_n}\Big)^{p+1} d_n .

For other equations it is an estimate, and may vanish by chance as d changes: so it is not allowed to fall faster than
:math:`t^{-p}`, as the errors of a spreading density eventually do. It is measured in L¹, as a share of the mass, and is
at most 2, the largest possible value. Modes that decay within a step are overestimated: oscillations are never missed.
"""

from __future__ import annotations

import numpy as np

from kspde.typing import Array

__all__ = ["TimeError"]

#: The error is estimated at the first step, at every eighth, and at saved times,
_EVERY = 8
#: but not at steps much shorter than the others, where round-off would be amplified.
_LEAST = 0.3


class TimeError:
    """The estimated sum of the local errors of a run's steps.

    Args:
        order: the order of the scheme.
        dt: the fixed step; shorter ones occur where it does not divide the saved times.
        steps: the lengths of the steps taken so far.
        value: the estimate at their end, one number per species.

    Attributes:
        value: the estimate at one of the last steps.
    """

    def __init__(self, order: int, dt: float, steps: Array, value: Array) -> None:
        self.value = value
        self._power = order + 1
        self._dt = dt
        self._count = len(steps)
        self._t = float(np.sum(steps))
        self._sum = float(np.sum((steps / dt) ** self._power))

    def due(self, tau: float, *, saved: bool) -> bool:
        """Record a step of length tau, and return whether its local error is needed."""
        self._count += 1
        self.value = self.value * (self._t / (self._t + tau)) ** (self._power - 1)
        self._t += tau
        self._sum += (tau / self._dt) ** self._power
        return ((saved or self._count % _EVERY == 0) and tau > _LEAST * self._dt) or self._count == 1

    def update(self, local: Array, tau: float) -> None:
        """Update the estimate with the L¹ norm of a step's local error, as a share of the mass."""
        estimate = local * self._sum * (self._dt / tau) ** self._power
        self.value = np.minimum(np.maximum(estimate, self.value), 2.0)
