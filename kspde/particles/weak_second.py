r"""A scheme of weak order 2 for interacting particles, with three field evaluations a step however many particles.

All N particles together solve one Itô equation whose noises, one a particle and coordinate, are multiplied by
:math:`s_i = \sqrt{2 D_i(X)}`. Each :math:`s_i` depends, through the fields, on every particle, so that the noise does
not commute: with :math:`L^p = s_p \partial_p` along the noise p = (j, a) of a particle's coordinate,
:math:`L^p \sigma^q \ne L^q \sigma^p`, since the first moves particle i and the second particle j. The iterated
integrals :math:`I_{pq} = \int W^p dW^q` then enter the expansion of a step one by one, not only as
:math:`I_{pq} + I_{qp}`, and a scheme that uses increments alone has weak order 1.

Weak order 2 asks only for random numbers with the moments of the :math:`I_{pq}` (Kloeden and Platen, Numerical
Solution of Stochastic Differential Equations, 1992, section 14.2, (2.7), after Talay): :math:`\hat I_{pq} =
\tfrac12 (\Delta W_p \Delta W_q + V_{pq})` with :math:`V_{pp} = -h` and V antisymmetric, uncorrelated, of variance
:math:`h^2` off the diagonal. Drawn one a pair they would cost :math:`O(N^2)`. Here, with independent standard normals
u, w and :math:`z = (u + w)/\sqrt2`,

.. math:: \Delta W = \sqrt h\, z, \qquad V_{pq} = \frac{h}{\sqrt2} (w_p u_q - u_p w_q) \quad (p \ne q)

have these moments, and V has rank 2: the sums over p are derivatives of the coefficients along two displacements of all
particles at once. With the two stages

.. math:: H^u = X + \tfrac h2 b + \sqrt{h/2}\, s u, \qquad H^w = X + \tfrac h2 b + \sqrt{h/2}\, s w

at time t + h/2, every particle i steps by

.. math::
    X_i' = X_i + \tfrac h2 (b_i^u + b_i^w)
    + \tfrac{\sqrt h}2 \big[(w - u)_i s_i + (z - w)_i s_i^u + (z + u)_i s_i^w\big]
    - \tfrac h2 s_i \nabla_{x_i} s_i^u,

coefficients with an index taken at that stage. The last term is the Itô correction: by Gaussian integration by parts it
cancels the mean of the bracket exactly. The gradient with respect to the particle's own position is a central
difference in the stage's fields, over 10⁻³ of the displacement; what that leaves out is a fraction of 10⁻⁷ of a
first-order error.
Strong order ½: V is no Lévy area.
"""

from __future__ import annotations

import numpy as np

from kspde.models.base import Array
from kspde.parallel import together
from kspde.particles.euler import bad_diffusion, coefficients
from kspde.particles.system import System

__all__ = ["weak_second_step"]

#: Of √(h/2) s: the displacement of the central difference.
_SHARE = 1e-3


def weak_second_step(system: System, step: int, t: float, dt: float) -> None:
    """Advance all particles, whose fields are prepared at t, to t + dt. Collective.

    Raises:
        InputError: the model returned a diffusion or drift of a wrong shape.
        ConvergenceError: a diffusion coefficient that is negative or not finite, or a stage that left the numbers.
    """
    amplitude: dict[str, Array] = {}
    normals: dict[str, tuple[Array, Array]] = {}
    stages: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    move: dict[str, Array] = {}
    with together(system.comm):
        for name, x in system.positions.items():
            s, b = _amplitude_and_drift(system, name, x)
            u, w = np.hsplit(system.noise.normals(system.ids[name], step, 2 * x.shape[1]), 2)
            amplitude[name], normals[name] = s, (u, w)
            for stage, xi in zip(stages, (u, w), strict=True):
                stage[name] = x + 0.5 * dt * b + np.sqrt(0.5 * dt) * s * xi
            move[name] = 0.5 * np.sqrt(dt) * s * (w - u)
    for which, stage in enumerate(stages):
        system.prepare_stage(stage, t + 0.5 * dt)
        with together(system.comm):
            for name, h in stage.items():
                u, w = normals[name]
                z = np.sqrt(0.5) * (u + w)
                s, b = _amplitude_and_drift(system, name, h)
                move[name] += 0.5 * np.sqrt(dt) * s * (z - w if which == 0 else z + u) + 0.5 * dt * b
                if which == 0:
                    _add_correction(system, name, h, amplitude[name], move[name], dt)
    for name, x in system.positions.items():
        x += move[name]


def _amplitude_and_drift(system: System, species: str, x: Array) -> tuple[Array, Array | float]:
    """Return s = √(2D), shape (n, 1) or (1, 1), and b, shape (n, d) or 0, in the prepared fields."""
    diffusion, drift = coefficients(system.model, species, system.at(species, x))
    bad = np.flatnonzero(~((diffusion >= 0) & (diffusion < np.inf)))
    if len(bad) and len(x):
        raise bad_diffusion(species, float(diffusion[bad[0]]), int(system.ids[species][bad[0]]))
    return np.sqrt(2.0 * diffusion)[:, None], 0.0 if drift is None else drift


def _add_correction(system: System, species: str, h: Array, s: Array, move: Array, dt: float) -> None:
    """Add −(h/2) s ∇s at the stage, by differences in the stage's fields."""
    share = _SHARE * np.sqrt(0.5 * dt)
    for axis in range(h.shape[1]):
        difference: Array | float = 0.0
        for sign in (1.0, -1.0):
            shifted = h.copy()
            shifted[:, axis] += sign * share * s[:, 0]
            value, _ = _amplitude_and_drift(system, species, shifted)
            if len(value) == 1 and len(h) > 1:
                return  # a number: the same everywhere
            difference = difference + sign * value[:, 0]
        move[:, axis] -= np.sqrt(0.5 * dt) / (2 * _SHARE) * difference
