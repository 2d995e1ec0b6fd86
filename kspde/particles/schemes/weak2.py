r"""A scheme of weak order 2 for interacting particles, with three field evaluations per step for any N.

All N particles together solve one Itô equation whose noises, one per particle and coordinate, are multiplied by
:math:`s_i = \sqrt{2 D_i(X)}`. Each :math:`s_i` depends, through the fields, on every particle, so that the noise does
not commute: with :math:`L^p = s_p \partial_p` along the noise p = (j, a) of a particle's coordinate,
:math:`L^p \sigma^q \ne L^q \sigma^p`, since the first moves particle i and the second particle j. The iterated
integrals :math:`I_{pq} = \int W^p dW^q` then enter the expansion of a step one by one, not only as
:math:`I_{pq} + I_{qp}`, and a scheme that uses increments alone has weak order 1.

Weak order 2 asks only for random numbers with moments of the :math:`I_{pq}` (Kloeden and Platen, Numerical Solution of
Stochastic Differential Equations, 1992, section 14.2, (2.7), after Talay): :math:`\hat I_{pq} = \tfrac12 (\Delta W_p
\Delta W_q + V_{pq})` with :math:`V_{pp} = -h` and V antisymmetric, of variance :math:`h^2` off the diagonal. They draw
the :math:`V_{pq}` independently, one per pair, at a cost of :math:`O(N^2)`; fewer suffice, as shown below. Here, with
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
difference in the stage's fields, over 10⁻³ of the displacement; its error is a fraction of 10⁻⁷ of a first-order error.
It is a derivative of :math:`s_i(X)`, so the particle's own share in a field moves along: a field's value is not
affected by that, as :math:`\nabla K(0) = 0`, but from a field's gradient the particle's own share
:math:`w_i \nabla^2 K(0)` times the displacement is subtracted (where K has second derivatives at 0). In a moment M its
share is :math:`w_i \varphi(x_i)`: s_i changes by differences of that times :math:`\partial_M s_i`. Time, and a field
with τ > 0, are unknowns without noise: t at both stages is that after h/2, and so is the field, with the source at the
beginning of the step (:mod:`kspde.particles.fields.relaxing`).

*Matrices.* If D is a matrix, :math:`s_i = \sqrt{2 D_i}` is its symmetric root, which multiplies vectors u_i, and the
correction is :math:`-\tfrac h2 \sum_a (s_i e_a \cdot \nabla_{x_i}) s_i^u e_a`, along the columns of s_i at the
beginning of the step.

Where the model has growth, :math:`\log w_i` is an unknown without noise, :math:`d\log w_i = r_i\,dt`, to which the
same applies: weights are :math:`e^{h r_i/2} w_i` at both stages, :math:`e^{h (r_i^u + r_i^w)/2} w_i` after the step.

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
give :math:`\tfrac14 h^2 (\delta_{pq} \sum_r s_r^2 \partial_r^2 s_q + s_p s_q \partial_p \partial_q s_q)`, whose last
term the correction removes. (Where noise p moves X along a vector :math:`\sigma^p(X)`, as a column of a matrix, they
give :math:`\tfrac14 h^2 \sum_r (\partial^2 \sigma^p[\sigma^r, \sigma^r] + \partial^2 \sigma^r[\sigma^p, \sigma^r])`,
whose last term it removes too.) Higher moments of V, which are not those of independent numbers, enter from
:math:`h^3` on.

*Walls.* A stage outside of a closed box is reflected, and so are its drift and its derivatives: those of the even
extension of the box (:mod:`kspde.particles.region`). The weak order is 2 where D and b depend on the position through
fields alone (but for a particle's own mirror images, an error of O(h/N) there), and 1 where a given drift, or the
normal slope of a given D, does not vanish on a wall.

The strong order is ½, as for the Euler-Maruyama scheme, because V is not a Lévy area; where the noise commutes it is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kspde.matrices import as_matrices, product_of
from kspde.models import FieldValues, Moment
from kspde.models.coefficients import coefficients, diffusion_of, moment_integrand
from kspde.particles.schemes.base import Scheme, bad_diffusion, matrix_roots
from kspde.particles.system import System
from kspde.runtime.compiled import compiled_parallel, prange
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["Weak2"]

#: Displacement of the central difference, as a share of √(h/2) s.
_SHARE = 1e-3
#: That of a moment, as a share of the largest of its numbers.
_MOMENT_STEP = 1e-5
_NO_DRIFT: Array = np.zeros((0, 0))

#: Of a number of a moment, ∂s in that number, and w_i φ as a function of positions.
_Share = tuple[Array, Callable[[Array], Array]]


@dataclass(frozen=True)
class Weak2(Scheme):
    """A scheme of weak order 2 for interacting particles: strong order 1/2, three field evaluations per step.

    Attributes:
        dt: the largest time step > 0.
    """

    name = "weak-2"
    earlier = ("weak2",)
    weak_order = 2.0
    strong_order = 0.5
    field_evaluations = 3
    vectors = 13.0
    grows = True
    confined = True
    source = (
        "Kloeden and Platen, Numerical Solution of Stochastic Differential Equations (1992), section 14.2 "
        "(after Talay), with iterated integrals of rank 2: kspde.particles.schemes.weak2"
    )

    def advance(self, system: System, step: int, t: float, h: float) -> None:
        """Move the particles from t to t + h; see :meth:`Scheme.advance`. Collective."""
        amplitude: dict[str, Array] = {}
        normals: dict[str, Array] = {}
        move: dict[str, Array] = {}
        stages: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        weights = system.changing_weights
        before = {name: w.copy() for name, w in weights.items()}
        growth = {name: np.zeros_like(w) for name, w in weights.items()}
        system.tame(h)
        with together(system.comm):
            for name, x in system.positions.items():
                c = system.at(name, x)
                s, b = _amplitude_and_drift(system, name, c)
                _add_growth(growth, system, name, c)
                amplitude[name], normals[name] = s, system.noise.normals(system.ids[name], step, 2 * x.shape[1])
                first, second, move[name] = (np.empty_like(x) for _ in range(3))
                stages[0][name], stages[1][name] = first, second
                begin = _begin_by_matrices if s.ndim == 3 else _begin
                begin(first, second, move[name], x, s, b, normals[name], h)
        _grow(weights, before, growth, 0.5 * h)
        growth = {name: np.zeros_like(w) for name, w in weights.items()}
        for which, stage in enumerate(stages):
            turned = {name: system.turned(y) for name, y in stage.items()}
            system.prepare_stage(stage, t + 0.5 * h)
            with together(system.comm):
                for name, y in stage.items():
                    c = system.at(name, y)
                    s, b = _amplitude_and_drift(system, name, c)
                    _add_growth(growth, system, name, c)
                    signs = turned[name]
                    if signs is not None and b.shape == y.shape:
                        b = signs * b
                    (_add_stage_by_matrices if s.ndim == 3 else _add_stage)(move[name], s, b, normals[name], which, h)
                    varies = len(s) > 1 or len(y) == 1 or system.evaluator.summed
                    if which == 0 and varies:  # not a number, the same everywhere
                        own = _own_moment_slopes(system, name, c, s)
                        _add_correction(system, name, y, amplitude[name], own, move[name], h, signs)
        _grow(weights, before, growth, 0.5 * h)
        for name, x in system.positions.items():
            x += move[name]


def _add_growth(growth: dict[str, Array], system: System, species: str, c: FieldValues) -> None:
    """Add r in these fields, where weights change."""
    if species in growth:
        found = system.growth(species, c, system.ids[species])
        if found is not None:
            growth[species] += found


def _grow(weights: dict[str, Array], before: dict[str, Array], growth: dict[str, Array], h: float) -> None:
    """Overwrite the weights by those before the step times e^(h r)."""
    with np.errstate(over="ignore"):  # refused by ``System.observe``
        for name, w in weights.items():
            w[:] = before[name] * np.exp(h * growth[name])


def _amplitude_and_drift(system: System, species: str, c: FieldValues) -> tuple[Array, Array]:
    """Return s = √(2D), shape (n,), (1,) or (n, d, d), and b, shape (n, d) or (0, 0) for none, in these fields."""
    diffusion, drift = coefficients(system.model, species, c)
    return _root(system, species, diffusion), _NO_DRIFT if drift is None else drift


def _root(system: System, species: str, diffusion: Array) -> Array:
    """Return √(2D).

    Raises:
        ConvergenceError: names a particle whose D is not valid.
    """
    ids = system.ids[species]
    if diffusion.ndim > 1:
        system.refuse_oblique(species, diffusion)
        return matrix_roots(species, diffusion, 2.0, ids, system.model.dimension)
    wrong = np.flatnonzero(~((diffusion >= 0) & (diffusion < np.inf)))
    if len(wrong) and len(ids):
        raise bad_diffusion(species, float(diffusion[wrong[0]]), int(ids[wrong[0]]))
    return np.sqrt(2.0 * diffusion)


def _add_correction(
    system: System,
    species: str,
    y: Array,
    s: Array,
    own: list[_Share],
    move: Array,
    h: float,
    signs: Array | None,
) -> None:
    """Add −(h/2) Σ_a (s e_a·∇) s e_a at the stage y, by differences in the stage's fields and moments.

    A particle's own shares in them move with it; ``own`` are those in moments. ``signs`` are those of directions that
    walls have reversed.
    """
    share, factor = _SHARE * np.sqrt(0.5 * h), np.sqrt(0.5 * h) / (2 * _SHARE)
    slopes = system.evaluator.own_slopes.get(species, {})
    shifted = y.copy()
    for axis in range(y.shape[1]):
        # A number moves one coordinate, and a matrix all of them.
        part, column = (np.s_[:, axis], np.s_[:]) if s.ndim == 1 else (np.s_[:, :], np.s_[:, :, axis])
        rows = (-1,) if s.ndim == 1 else (-1, 1)
        ends, shares = [], []
        for moved in (share * s[column], -share * s[column]):
            shifted[part] = y[part] + moved
            c = system.at(species, shifted)
            for name, slope in slopes.items():
                c.gradients[name][part] -= np.reshape(slope, rows) * moved
            ends.append(_amplitude_and_drift(system, species, c)[0][column])
            shares.append([weighted(shifted) for _, weighted in own])
        shifted[part] = y[part]
        change = ends[0] - ends[1]
        for (slope, _), ahead, behind in zip(own, *shares, strict=True):
            change = change + slope[column] * np.reshape(ahead - behind, rows)
        move[part] -= factor * (change if signs is None else np.reshape(signs[:, axis], rows) * change)


def _own_moment_slopes(system: System, species: str, c: FieldValues, s: Array) -> list[_Share]:
    """Return the shares of particles in the moments of their species, in the stage's fields c with s = √(2D)."""
    found: list[_Share] = []
    n, d = c.points.shape
    for m in (m for m in system.evaluator.summed if m.source == species):
        value, weights = c.moment(m.name), system.evaluator.weights[species]
        step, size = _MOMENT_STEP * (float(np.max(np.abs(value), initial=0.0)) or 1.0), value.size
        for k in range(size):
            ends = []
            for sign in (1.0, -1.0):
                moved = value.copy()
                moved.flat[k] += sign * step
                changed = replace(c, moments={**c.moments, m.name: moved})
                diffusion = diffusion_of(system.model, species, changed)
                ends.append(diffusion if s.ndim == 1 else as_matrices(diffusion, n, d))

            def weighted(
                x: Array, moment: Moment = m, size: int = size, k: int = k, weights: float | Array = weights
            ) -> Array:
                return np.asarray(weights * moment_integrand(moment, x).reshape(len(x), size)[:, k])

            found.append((_slope_of_root(s, (ends[0] - ends[1]) / (2 * step)), weighted))
    return found


def _slope_of_root(s: Array, slope: Array) -> Array:
    """Return ∂s of s² = 2D for a given ∂D, which solves s ∂s + ∂s s = 2 ∂D; 0 along directions without noise.

    One number of a symmetric moment may move alone: what is not symmetric in ∂D cancels in the sum.
    """
    if s.ndim == 1:
        return np.divide(slope, s, out=np.zeros(np.broadcast_shapes(s.shape, slope.shape)), where=s > 0)
    values, vectors = np.linalg.eigh(s)
    turned = vectors.swapaxes(1, 2) @ (slope + slope.swapaxes(1, 2)) @ vectors
    sums = values[:, :, None] + values[:, None, :]
    turned = np.divide(turned, sums, out=np.zeros_like(turned), where=sums > 0)
    return np.asarray(vectors @ turned @ vectors.swapaxes(1, 2))


def _begin_by_matrices(
    first: Array, second: Array, move: Array, x: Array, s: Array, b: Array, normals: Array, h: float
) -> None:
    """Write what ``_begin`` does, for matrices s."""
    u, w = np.split(normals, 2, axis=1)
    middle = x + 0.5 * h * b if b.shape == x.shape else x
    first[:] = middle + np.sqrt(0.5 * h) * product_of(s, u)
    second[:] = middle + np.sqrt(0.5 * h) * product_of(s, w)
    move[:] = 0.5 * np.sqrt(h) * product_of(s, w - u)


def _add_stage_by_matrices(move: Array, s: Array, b: Array, normals: Array, which: int, h: float) -> None:
    """Add what ``_add_stage`` does, for matrices s."""
    u, w = np.split(normals, 2, axis=1)
    z = np.sqrt(0.5) * (u + w)
    move += 0.5 * np.sqrt(h) * product_of(s, z - w if which == 0 else z + u)
    if b.shape == move.shape:
        move += 0.5 * h * b


@compiled_parallel
def _begin(first: Array, second: Array, move: Array, x: Array, s: Array, b: Array, normals: Array, h: float) -> None:
    """Write the two stages, and what the fields at the start contribute to the step."""
    n, d = x.shape
    root, half = np.sqrt(0.5 * h), 0.5 * np.sqrt(h)
    varies, drifts = len(s) == n, b.shape == x.shape
    for i in prange(n):
        amplitude = s[i] if varies else s[0]
        for axis in range(d):
            u, w = normals[i, axis], normals[i, d + axis]
            middle = x[i, axis] + (0.5 * h * b[i, axis] if drifts else 0.0)
            first[i, axis] = middle + root * amplitude * u
            second[i, axis] = middle + root * amplitude * w
            move[i, axis] = half * amplitude * (w - u)


@compiled_parallel
def _add_stage(move: Array, s: Array, b: Array, normals: Array, which: int, h: float) -> None:
    """Add what the fields at a stage contribute."""
    n, d = move.shape
    half = 0.5 * np.sqrt(h)
    varies, drifts = len(s) == n, b.shape == move.shape
    for i in prange(n):
        amplitude = s[i] if varies else s[0]
        for axis in range(d):
            u, w = normals[i, axis], normals[i, d + axis]
            z = np.sqrt(0.5) * (u + w)
            move[i, axis] += half * amplitude * (z - w if which == 0 else z + u)
            if drifts:
                move[i, axis] += 0.5 * h * b[i, axis]
