r"""A scheme of weak order 2 for interacting particles, with three field evaluations a step however many particles.

All N particles together solve one Itô equation whose noises, one a particle and coordinate, are multiplied by
:math:`s_i = \sqrt{2 D_i(X)}`. Each :math:`s_i` depends, through the fields, on every particle, so that the noise does
not commute: with :math:`L^p = s_p \partial_p` along the noise p = (j, a) of a particle's coordinate,
:math:`L^p \sigma^q \ne L^q \sigma^p`, since the first moves particle i and the second particle j. The iterated
integrals :math:`I_{pq} = \int W^p dW^q` then enter the expansion of a step one by one, not only as
:math:`I_{pq} + I_{qp}`, and a scheme that uses increments alone has weak order 1.

Weak order 2 asks only for random numbers with moments of the :math:`I_{pq}` (Kloeden and Platen, Numerical Solution of
Stochastic Differential Equations, 1992, section 14.2, (2.7), after Talay): :math:`\hat I_{pq} = \tfrac12 (\Delta W_p
\Delta W_q + V_{pq})` with :math:`V_{pp} = -h` and V antisymmetric, of variance :math:`h^2` off the diagonal. They draw
the :math:`V_{pq}` independent, one a pair, at a cost of :math:`O(N^2)`; less is enough, see below. Here, with
independent standard normals u, w and :math:`z = (u + w)/\sqrt2`,

.. math:: \Delta W = \sqrt h\, z, \qquad V_{pq} = \frac{h}{\sqrt2} (w_p u_q - u_p w_q) \quad (p \ne q)

are uncorrelated, :math:`E V_{pq} V_{rs} = h^2 (\delta_{pr}\delta_{qs} - \delta_{ps}\delta_{qr})`,
:math:`E V_{pq} \Delta W_r \Delta W_s = 0`, and odd moments vanish. V has rank 2: the sums over p are derivatives of the
coefficients along two displacements of all particles at once. With the two stages

.. math:: H^u = X + \tfrac h2 b + \sqrt{h/2}\, s u, \qquad H^w = X + \tfrac h2 b + \sqrt{h/2}\, s w

at time t + h/2, every particle i steps by

.. math::
    X_i' = X_i + \tfrac h2 (b_i^u + b_i^w)
    + \tfrac{\sqrt h}2 \big[(w - u)_i s_i + (z - w)_i s_i^u + (z + u)_i s_i^w\big]
    - \tfrac h2 s_i \nabla_{x_i} s_i^u,

coefficients with an index taken at that stage. The last term is the Itô correction: by Gaussian integration by parts it
cancels the mean of the bracket exactly. The gradient with respect to the particle's own position is a central
difference in the stage's fields, over 10⁻³ of the displacement; what that leaves out is a fraction of 10⁻⁷ of a
first-order error. It is a derivative of :math:`s_i(X)`, so that the particle's own share in a field moves along: a
field's value is the same with and without that, as :math:`\nabla K(0) = 0`, but of a field's gradient the own share
:math:`w_i \nabla^2 K(0)` times the displacement is taken away (where K has second derivatives at 0). A field with τ > 0
is an unknown without noise: its value at both stages is its own after h/2 with the source of the beginning of the step
(:mod:`kspde.particles.fields.relaxing`).

*Why that is enough.* Let A, B, C, D be the parts of :math:`X' - X` of orders :math:`h^{1/2}, h, h^{3/2}, h^2`. The
local error is of order 3 (Kloeden and Platen, theorem 14.5.2) if the expectations of products of up to five of them
agree with those of the exact step up to :math:`h^{5/2}`. With (u, w) → (−u, −w), A and C change their sign and B and D
do not, so that half-integer powers vanish. There remain :math:`E B = h b`; :math:`E AA` and :math:`E AAAA`, those of
:math:`\Delta W`; :math:`E AAB` and :math:`E BB`, that is
:math:`E \Delta W_r \Delta W_s \hat I_{pq} = \tfrac12 h^2 (\delta_{rp}\delta_{sq} + \delta_{rq}\delta_{sp})` and
:math:`E \hat I_{pq} \hat I_{rs} = \tfrac12 h^2 \delta_{pr}\delta_{qs}`, which the moments of V give; and, with the
generator :math:`L^0`,

.. math::
    E D_q = \tfrac12 h^2 L^0 b_q, \qquad
    E \Delta W_p C_q = \tfrac12 h^2 (L^p b_q + \delta_{pq} L^0 s_q).

In these the drift's part is that of the midpoint rule, as u + w = √2 z and :math:`E u_p u_q = E w_p w_q = \delta_{pq}`;
the bracket and the correction have no mean at all; and in :math:`E \Delta W_p C_q` the bracket's second derivatives
give :math:`\tfrac14 h^2 (\delta_{pq} \sum_r s_r^2 \partial_r^2 s_q + s_p s_q \partial_p \partial_q s_q)`, of which the
correction takes the last term away. Higher moments of V, which are not those of independent numbers, enter from
:math:`h^3` on.

Strong order ½, as Euler and Maruyama's scheme: V is no Lévy area. Where the noise commutes it is 1.
"""

from __future__ import annotations

import numpy as np

from kspde.models.base import Array
from kspde.models.coefficients import coefficients
from kspde.particles.schemes.euler import bad_diffusion
from kspde.particles.system import System
from kspde.runtime.compiled import compiled_parallel, prange
from kspde.runtime.parallel import together

__all__ = ["weak_second_step"]

#: Of √(h/2) s: the displacement of the central difference.
_SHARE = 1e-3
_NO_DRIFT: Array = np.zeros((0, 0))


def weak_second_step(system: System, step: int, t: float, dt: float) -> None:
    """Advance all particles, whose fields are prepared at t, to t + dt. Collective.

    Raises:
        InputError: the model returned a diffusion or drift of a wrong shape or type.
        ConvergenceError: a diffusion coefficient that is negative or not finite, or a stage that left the numbers.
    """
    amplitude: dict[str, Array] = {}
    normals: dict[str, Array] = {}
    stages: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    move: dict[str, Array] = {}
    with together(system.comm):
        for name, x in system.positions.items():
            s, b = _amplitude_and_drift(system, name, x)
            amplitude[name], normals[name] = s, system.noise.normals(system.ids[name], step, 2 * x.shape[1])
            for stage in stages:
                stage[name] = np.empty_like(x)
            move[name] = np.empty_like(x)
            _begin(stages[0][name], stages[1][name], move[name], x, s, b, normals[name], dt)
    for which, stage in enumerate(stages):
        system.prepare_stage(stage, t + 0.5 * dt)
        with together(system.comm):
            for name, h in stage.items():
                s, b = _amplitude_and_drift(system, name, h)
                _add_stage(move[name], s, b, normals[name], which, dt)
                if which == 0:
                    _add_correction(system, name, h, amplitude[name], move[name], dt)
    for name, x in system.positions.items():
        x += move[name]


def _amplitude_and_drift(
    system: System, species: str, x: Array, axis: int = 0, moved: float | Array = 0.0
) -> tuple[Array, Array]:
    """Return s = √(2D), shape (n,) or (1,), and b, shape (n, d) or (0, 0) for none, in the prepared fields.

    Where the particles have moved along an axis since their fields were prepared, what is theirs in them moves too.
    """
    c = system.at(species, x)
    for name, slope in system.evaluator.own_slopes.get(species, {}).items():
        c.gradients[name][:, axis] -= slope * moved
    diffusion, drift = coefficients(system.model, species, c)
    bad = np.flatnonzero(~((diffusion >= 0) & (diffusion < np.inf)))
    if len(bad) and len(x):
        raise bad_diffusion(species, float(diffusion[bad[0]]), int(system.ids[species][bad[0]]))
    return np.sqrt(2.0 * diffusion), _NO_DRIFT if drift is None else drift


def _add_correction(system: System, species: str, h: Array, s: Array, move: Array, dt: float) -> None:
    """Add −(h/2) s ∇s at the stage, by differences in the stage's fields."""
    share = _SHARE * np.sqrt(0.5 * dt)
    shifted = h.copy()
    for axis in range(h.shape[1]):
        difference: Array | float = 0.0
        for sign in (1.0, -1.0):
            shifted[:, axis] = h[:, axis] + sign * share * s
            value, _ = _amplitude_and_drift(system, species, shifted, axis, sign * share * s)
            if len(value) == 1 and len(h) > 1:
                return  # a number: the same everywhere
            difference = difference + sign * value
        shifted[:, axis] = h[:, axis]
        move[:, axis] -= np.sqrt(0.5 * dt) / (2 * _SHARE) * difference


@compiled_parallel
def _begin(first: Array, second: Array, move: Array, x: Array, s: Array, b: Array, normals: Array, dt: float) -> None:
    """Write the two stages, and what the fields at the start contribute to the step."""
    n, d = x.shape
    root, half = np.sqrt(0.5 * dt), 0.5 * np.sqrt(dt)
    varies, drifts = len(s) == n, b.shape == x.shape
    for i in prange(n):
        amplitude = s[i] if varies else s[0]
        for axis in range(d):
            u, w = normals[i, axis], normals[i, d + axis]
            middle = x[i, axis] + (0.5 * dt * b[i, axis] if drifts else 0.0)
            first[i, axis] = middle + root * amplitude * u
            second[i, axis] = middle + root * amplitude * w
            move[i, axis] = half * amplitude * (w - u)


@compiled_parallel
def _add_stage(move: Array, s: Array, b: Array, normals: Array, which: int, dt: float) -> None:
    """Add what the fields at a stage contribute."""
    n, d = move.shape
    half = 0.5 * np.sqrt(dt)
    varies, drifts = len(s) == n, b.shape == move.shape
    for i in prange(n):
        amplitude = s[i] if varies else s[0]
        for axis in range(d):
            u, w = normals[i, axis], normals[i, d + axis]
            z = np.sqrt(0.5) * (u + w)
            move[i, axis] += half * amplitude * (z - w if which == 0 else z + u)
            if drifts:
                move[i, axis] += 0.5 * dt * b[i, axis]
