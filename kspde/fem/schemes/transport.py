r"""Mass transport along the edges of a graph with frozen coefficients, and its implicit Euler step.

With D and b given at the nodes, exponential fitting (Scharfetter and Gummel, IEEE Trans. Electron Devices 16, 1969) of
the flux :math:`-\nabla(D u) + b u` gives, for the edge from i to j of conductance k (``Graph``),

.. math::
    F_{ij} = k_{ij}\,(a_{ij} u_i - a_{ji} u_j), \qquad
    a_{ij} = \frac{q}{1 - e^{-q/D_i}} \ge 0, \qquad
    q = \tfrac12 (b_i + b_j)\cdot(x_j - x_i);

without drift a_ij = D_i and F is the stiffness matrix's flux of w = D u. As D_i → 0, whatever D_j, a_ij becomes the
upwind flux :math:`\max(q, 0)`: a D that vanishes somewhere does not stop the drift. (With one D̄ per edge and a factor
D_i/D̄, which is exact for the equilibria of a varying D, nothing would leave a node without diffusion.) Since
:math:`a_{ij} = D_i + q/2 + q^2/(12 D_i) + \dots`, the flux is consistent to second order. The step from u to u' with
Δt solves

.. math:: m_i u'_i + \Delta t \sum_j F_{ij}(u') = m_i u_i. \tag{1}

**u' ≥ 0 and Σ m u' = Σ m u for every Δt > 0, D ≥ 0, b and u ≥ 0.** No entry of the matrix off the diagonal, −Δt k a_ji,
is positive, and because F_ij = −F_ji its columns sum to m_i > 0. So it is strictly diagonally dominant by columns: an
M-matrix, whose inverse has no negative entry. Summing (1) over i leaves the masses. (Berman and Plemmons, Nonnegative
Matrices in the Mathematical Sciences, chapter 6.)

**Growth** at the rate r = r⁺ − r⁻, frozen too, is split by its sign (Patankar, Numerical Heat Transfer and Fluid Flow,
1980, section 7.2):

.. math:: (1 + \Delta t\,r_i^-)\,m_i u'_i + \Delta t \sum_j F_{ij}(u') = (1 + \Delta t\,r_i^+)\,m_i u_i. \tag{2}

The columns sum to :math:`(1 + \Delta t\,r_i^-) m_i > 0`: u' ≥ 0 as before, for every Δt and both signs of r. Summing
over i gives the balance Σ m (u' − u) = Δt Σ m (r⁺ u − r⁻ u') in place of the conservation of mass. That is not
stability for every Δt: :math:`(1 + \Delta t\,r^+)` approximates an exponential only for Δt r⁺ ≪ 1.

**Order 2 where drift dominates.** F spreads as a diffusion of up to |b|h/2 would: where the cell Péclet number
:math:`|q|/D` is large it is the upwind flux, of order 1. The scheme of order 2 adds to it

.. math::
    C_{ij} = \theta_{ij} \Big( k_{ij} \big( q\,\ell(u_i, u_j) + D_i u_i - D_j u_j \big) - F_{ij}(u) \Big), \qquad
    \ell(x, y) = \frac{x - y}{\log x - \log y}, \qquad \theta_{ij} = \frac{4 u_i u_j}{(u_i + u_j)^2}, \tag{3}

with which F + C is of order 2 for every Péclet number where log u is smooth: there θ = 1 − O(h²), and the logarithmic
mean ℓ is the arithmetic one to O(h²). It remains zero at equilibria of a constant D, for which log u_j − log u_i = q/D,
and C vanishes next to a node without mass. A step with C starts from u − Δt Σ_j C_ij(u)/m, limited: a
node gives no more than it has, so that u ≥ 0 and mass are kept for every Δt. With constant coefficients, and a and
β the symbols of the diffusion of F beyond D and of the drift, its factor is
:math:`(1 + \Delta t\,a)/(1 + \Delta t\,(a + \delta) + i \Delta t\,\beta)`, a, δ ≥ 0: of absolute value at most 1 for
every Δt. Overshoots where u is not smooth are not excluded.

**What an iterative solution preserves.** With the residual r the approximation is ũ = u' + δ, and from the same
two facts Σ m|δ| ≤ Σ|r| ≤ √n |r|₂; |r|₂ is at most ``RESIDUAL`` |M u|₂, on meshes too large for a factorisation 1e-10 |M
u|₂, or what round-off allows. The exact solution is not negative, so max(ũ, 0) is no farther from it than ũ. One sweep
of Jacobi's iteration follows,

.. math::
    u'_i = \Big(m_i u_i + \Delta t \sum_j k_{ij} a_{ji} \max(\tilde u_j, 0)\Big) \Big/
           \Big(m_i + \Delta t \sum_j k_{ij} a_{ij}\Big),

sums, products and quotients of numbers that are not negative: no result is below 0 in floating-point arithmetic
either. The sweep moves max(ũ, 0) by its residual over the diagonal, and needs no division by D. The mass is then wrong
by no more than Σ|r|; one factor 1 + O(Σ|r|/mass), refused above ``_LARGEST_CORRECTION``, restores it to the last bits,
with growth Σ (1 + Δt r⁻) m u'.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.errors import ConvergenceError
from kspde.fem.solvers.graph import Graph
from kspde.fem.solvers.krylov import CheckedSystem, PetscPreconditioner, PreconditionerOf
from kspde.fem.solvers.krylov_recycling import RecycledGuess
from kspde.fem.solvers.linear import RESIDUAL as MULTIGRID_RESIDUAL
from kspde.runtime.compiled import compiled_in_order
from kspde.typing import Array

__all__ = [
    "RESIDUAL",
    "Motion",
    "Transport",
    "fitted",
    "fitted_ends",
    "grown",
    "patankar",
    "refuse_unbalanced",
    "scaled",
]

Indices = npt.NDArray[np.int32]

#: Relative residual, in the unpreconditioned norm, to which the linear systems are solved where that is cheap.
RESIDUAL = 1e-13
#: Largest relative change of the mass by the residual of a linear system.
_LARGEST_CORRECTION = 1e-8


class Motion:
    """The fluxes of one species, its coefficients frozen.

    Args:
        graph: the graph.
        diffusion: D ≥ 0 at this rank's nodes, shape (owned,).
        drift: b there, shape (owned, d), or None.
        growth: r there, shape (owned,), or None.

    Attributes:
        leaving, arriving: k a_ij and k a_ji of each edge (i, j); None without drift.
        q: that of each edge; None without drift.
    """

    leaving: Array | None = None
    arriving: Array | None = None
    q: Array | None = None

    def __init__(self, graph: Graph, diffusion: Array, drift: Array | None, growth: Array | None = None) -> None:
        self.graph = graph
        self.diffusion = diffusion
        self.growth = growth
        if drift is None:
            return
        d = graph.ghosted(diffusion) + 0.0  # of -0.0 the quotient q/d would have the wrong sign
        i, j = graph.edges.tails, graph.edges.heads
        q = np.zeros(len(i))
        for axis in range(drift.shape[1]):
            b = graph.ghosted(drift[:, axis])
            q += (b[i] + b[j]) * graph.along(axis)
        q *= 0.5
        self._fit(q, d)

    @classmethod
    def along(cls, graph: Graph, diffusion: Array, q: Array | None, growth: Array | None = None) -> Motion:
        """Return the fluxes with a given q = b·(x_j − x_i) of each edge (i, j), or without drift. Collective."""
        motion = cls(graph, diffusion, None, growth)
        if q is not None:
            motion._fit(q, graph.ghosted(diffusion) + 0.0)
        return motion

    def _fit(self, q: Array, d: Array) -> None:
        edges = self.graph.edges
        self.q, self.leaving, self.arriving = q, np.empty_like(q), np.empty_like(q)
        _fit(edges.starts, edges.heads, edges.conductance, q, d, self.leaving, self.arriving)

    def outflow(self) -> Array:
        """Return Σ_j k_ij a_ij at this rank's nodes, the rate at which u_i leaves them; D Σ_j k_ij without drift."""
        graph = self.graph
        return graph.total * self.diffusion if self.leaving is None else graph.sums(self.leaving)

    def inflow(self, u: Array) -> Array:
        """Return Σ_j k_ij a_ji u_j at this rank's nodes, what arrives there per unit time. Collective."""
        graph, edges = self.graph, self.graph.edges
        if self.arriving is None:
            return graph.sums(edges.conductance * graph.ghosted(self.diffusion * u)[edges.heads])
        return graph.sums(self.arriving * graph.ghosted(u)[edges.heads])

    def flux(self, u: Array) -> Array:
        """Return F_ij of each edge: the mass that leaves i for j per unit time. Collective."""
        graph = self.graph
        if self.leaving is None or self.arriving is None:
            w, out = graph.ghosted(self.diffusion * u), np.empty(len(graph.edges.heads))
            _differences(graph.edges.starts, graph.edges.heads, graph.edges.conductance, w, out)
            return out
        u = graph.ghosted(u)
        return np.asarray(self.leaving * u[graph.edges.tails] - self.arriving * u[graph.edges.heads])

    def correction(self, u: Array) -> Array:
        """Return C_ij of (3) of each edge, antisymmetric to the last bit. Collective."""
        graph, q = self.graph, self.q
        assert q is not None
        edges, out = graph.edges, self.flux(u)
        u, d = graph.ghosted(u), graph.ghosted(self.diffusion) + 0.0  # of a constant, too, an array of its own
        _correct(edges.starts, edges.heads, edges.conductance, q, d, u, out)
        return out

    def peclet(self, u: Array) -> tuple[float, float]:
        """Return this rank's ∫ u |b| h and ∫ u D, h the width of a node's share of the mesh, and b that of the edges.

        |b|² is Σ_j k_ij q²/(2 m_i): it is |b|² where b is constant, as Σ_j k_ij (x_j − x_i)(x_j − x_i)ᵀ = 2 m_i I.
        """
        graph = self.graph
        held = graph.mass * u
        if self.q is None:
            return 0.0, float(held @ self.diffusion)
        speed = np.sqrt(graph.sums(graph.edges.conductance * self.q**2) / (2.0 * graph.mass))
        return float(held @ (speed * graph.mass ** (1.0 / graph.space.dimension))), float(held @ self.diffusion)

    def rate(self, u: Array, *, corrected: bool = False) -> Array:
        """Return M du/dt at this rank's nodes, with the correction or without it. Collective."""
        graph = self.graph
        grown = 0.0 if self.growth is None else graph.mass * self.growth * u
        if self.leaving is None:
            w = self.diffusion * u
            return np.asarray(grown - (graph.total * w + graph.stiffness.times(w, diagonal=False)))
        flux = self.flux(u)
        if corrected:
            flux += self.correction(u)
        return np.asarray(grown - graph.sums(flux))


@compiled_in_order
def _differences(starts: Indices, heads: Indices, k: Array, w: Array, out: Array) -> None:
    """Set k (w_i - w_j) for each edge (i, j): with numpy alone a step of order 2 on a box takes 10 % longer."""
    for i in range(starts.size - 1):
        for e in range(starts[i], starts[i + 1]):
            out[e] = k[e] * (w[i] - w[heads[e]])


@compiled_in_order
def _correct(starts: Indices, heads: Indices, k: Array, q: Array, d: Array, u: Array, flux: Array) -> None:
    """Replace F_ij of each edge (i, j) by C_ij of (3)."""
    for i in range(starts.size - 1):
        for e in range(starts[i], starts[i + 1]):
            j = heads[e]
            total, larger, smaller = u[i] + u[j], max(u[i], u[j]), min(u[i], u[j])
            if smaller <= 1e-150 * larger or larger < 1e-150:
                flux[e] = 0.0
                continue
            s = (larger - smaller) / total
            mean = 0.5 * total * (1.0 - s * s * (1 / 3 + s * s * (4 / 45 + s * s * (44 / 945))))
            if s > 0.02:
                mean = (larger - smaller) / math.log(larger / smaller)
            smooth = 4.0 * (u[i] / total) * (u[j] / total)
            flux[e] = smooth * (k[e] * (q[e] * mean + (d[i] * u[i] - d[j] * u[j])) - flux[e])


class Transport:
    """Implicit Euler steps of one species.

    Args:
        graph: the graph.
        drift: whether the species has a drift. If not, the system is symmetric, for w = D u.
        options: PETSc options of the Krylov solver.
        in_turn: whether each step starts where the last one ended: then initial guesses with drift extrapolate u.
    """

    def __init__(self, graph: Graph, drift: bool, options: dict[str, Any], *, in_turn: bool) -> None:
        self.graph = graph
        self._in_turn = in_turn
        space, stiffness = graph.space, graph.stiffness
        accuracy = RESIDUAL if stiffness.direct else MULTIGRID_RESIDUAL
        #: with drift: the rate of change of u in the last step, and in the one before it if that was as long
        self._rates: list[Array] = []
        self._dt = 0.0
        self._matrix: Any = None
        if drift:
            # Incomplete LU exists and works for every M-matrix, also where drift dominates.
            kinds = ["bjacobi", "lu"] if stiffness.direct else ["bjacobi"]
            preconditioners: list[PreconditionerOf] = [partial(PetscPreconditioner, kind=kind) for kind in kinds]
            self._matrix = graph.matrix(graph.total + graph.mass, -graph.edges.conductance)
            self._system = CheckedSystem(self._matrix, preconditioners, options, accuracy=accuracy, symmetric=False)
            return
        stiffness.shift(graph.mass)
        self._system = CheckedSystem(
            stiffness.matrix,
            space.preconditioners(stiffness),
            options,
            accuracy=accuracy,
            symmetric=True,
            operator=stiffness.operator,
            recycled=RecycledGuess(graph.owned, stiffness.total) if space.iterates else None,
        )

    @property
    def iterations(self) -> int:
        """All linear iterations so far."""
        return self._system.iterations

    def step(self, motion: Motion, u: Array, dt: float, mass: float) -> Array:
        """Return u' of (1) from u with the given mass, or of (2), both at this rank's nodes. Collective.

        Raises:
            ConvergenceError: no solver reached the residual.
        """
        graph = self.graph
        held, old = patankar(graph, motion.growth, u, dt)
        if motion.growth is not None:
            mass = float(graph.space.total(np.array([old.sum()]))[0])
        leaving = motion.outflow()
        if motion.arriving is None:
            w = np.maximum(self._w(old, motion.diffusion, dt, held), 0.0)
            arrived = -graph.stiffness.times(w, diagonal=False)
        else:
            diagonal = held + dt * leaving
            self._matrix.setValuesCSR(*graph.edges.csr, graph.entries(diagonal, -dt * motion.arriving))
            self._matrix.assemble()
            found = self._system.solve(old, self._guess(u, dt), diagonal, diagonal)
            arrived = motion.inflow(np.maximum(found, 0.0))
        new = scaled(graph, (old + dt * arrived) / (held + dt * leaving), mass, held)
        if self._matrix is not None:
            kept = self._rates[:1] if self._in_turn and dt == self._dt else []
            self._rates, self._dt = [(new - u) / dt, *kept], dt
        return new

    def _guess(self, u: Array, dt: float) -> Array:
        """Return u after dt, extrapolated with the last rate of change, and its change if that is known."""
        guess = u
        if self._rates:
            guess = u + dt * self._rates[0]
        if len(self._rates) == 2 and dt == self._dt:
            guess += dt * (self._rates[0] - self._rates[1])
        return np.maximum(guess, 0.0)

    def _w(self, old: Array, d: Array, dt: float, held: Array) -> Array:
        """Return the solution w = D u' of (M/(Δt D) + K) w = M u/Δt, or that of (2); it may have negative round-off."""
        graph = self.graph
        largest = float(graph.space.maximum(np.array([d.max(initial=0.0)]))[0])
        # Where D < 1e-100 sup D nothing moves in any number of steps; the quotient must not overflow.
        shift = held / (dt * np.maximum(d, max(1e-100 * largest, 1e-150)))
        graph.stiffness.shift(shift)
        return self._system.solve(old / dt, d * old / held, graph.total + shift, shift)

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        self._system.free()
        if self._matrix is not None:
            self._matrix.destroy()


def patankar(graph: Graph, growth: Array | None, u: Array, dt: float) -> tuple[Array, Array]:
    """Return (1 + Δt r⁻) m and (1 + Δt r⁺) m u of (2), m and m u without growth."""
    if growth is None:
        return graph.mass, graph.mass * u
    return graph.mass * (1.0 + dt * np.maximum(-growth, 0.0)), graph.mass * (1.0 + dt * np.maximum(growth, 0.0)) * u


def grown(graph: Graph, growth: Array, old: Array, new: Array, dt: float) -> Array:
    """Return Δt m (r⁺ u − r⁻ u'), what a step of (2) adds to the amount of each node."""
    return dt * graph.mass * (np.maximum(growth, 0.0) * old - np.maximum(-growth, 0.0) * new)


def scaled(graph: Graph, u: Array, mass: float, held: Array) -> Array:
    """Return u ≥ 0 times the factor that restores its mass Σ held u, which is close to 1. Collective.

    Raises:
        ConvergenceError: the factor is not close to 1.
    """
    if mass == 0.0:  # underflow: a density that has died out
        return np.zeros_like(u)
    factor = mass / float(graph.space.total(np.array([np.vdot(held, u)]))[0])
    if not abs(factor - 1.0) < _LARGEST_CORRECTION:
        raise _wrong_mass(factor)
    return u * factor


def refuse_unbalanced(found: float, balance: float, before: float) -> None:
    """Refuse a mass that is not what the balance of growth says, in units of the mass before the step.

    Raises:
        ConvergenceError: it differs.
    """
    if not abs(found - balance) <= _LARGEST_CORRECTION * max(before, found):
        raise _wrong_mass(balance / found)


def _wrong_mass(factor: float) -> ConvergenceError:
    return ConvergenceError(
        f"the mass is wrong by a factor {factor:.10g}, as rounding makes it where dt D exceeds 1e8 h^2, h the size of "
        "the smallest cells"
    )


@compiled_in_order
def _decay(q: float, d: float) -> tuple[float, float, float]:
    """Return p = q/d, cut at ±700, e^(−|p|), and e^(−|p|) − 1."""
    p = 0.0 if q == 0.0 else q / d
    if p > 700.0:
        p = 700.0
    if p < -700.0:
        p = -700.0
    if abs(p) > 1.0:
        e = math.exp(-abs(p))
        return p, e, e - 1.0
    less = math.expm1(-abs(p))
    return p, 1.0 + less, less


@compiled_in_order
def _fitted(q: float, d: float, p: float, e: float, less: float) -> tuple[float, float, float]:
    size = abs(p)
    if size < 1e-4:
        return d * (1.0 + 0.5 * p + p * p / 12.0), 0.5 + p / 6.0, 1.0 - p * p / 12.0
    value = -q / less if p > 0.0 else q * e / less
    if size < 1e-3:
        return value, 0.5 + p / 6.0, 1.0 - p * p / 12.0
    falling = (e * e - e + size * e) / (less * less)  # where q < 0; the two add up to 1
    return value, 1.0 - falling if p > 0.0 else falling, size * size * e / (less * less)


@compiled_in_order
def fitted(q: float, d: float) -> tuple[float, float, float]:
    """Return q/(1 − e^(−q/d)) for d ≥ 0, max(q, 0) where d = 0, and its derivatives in q and in d."""
    return _fitted(q, d, *_decay(q, d))


@compiled_in_order
def fitted_ends(q: float, tail: float, head: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return ``fitted`` of q and D at an edge's tail, and of −q and D at its head."""
    p, e, less = _decay(q, tail)
    here = _fitted(q, tail, p, e, less)
    if head == tail:  # exponentials are what takes time
        return here, _fitted(-q, head, -p, e, less)
    return here, fitted(-q, head)


@compiled_in_order
def _fit(starts: Indices, heads: Indices, k: Array, q: Array, d: Array, leaving: Array, arriving: Array) -> None:
    """Write k a_ij and k a_ji of each edge (i, j)."""
    for i in range(starts.size - 1):
        for e in range(starts[i], starts[i + 1]):
            tail, head = fitted_ends(q[e], d[i], d[heads[e]])
            leaving[e], arriving[e] = k[e] * tail[0], k[e] * head[0]
