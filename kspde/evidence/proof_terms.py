r"""The terms of Wang, Li and Huang's two proofs, measured one by one: where the proofs lose the rate.

For (1.3) and (1.8) with the same starting points and noise let :math:`\delta_i = X_i - \bar X_i`, :math:`a_i = \frac1N
\sum_j \Phi^\varepsilon(X_i - X_j)`, :math:`\bar a_i` the same of X̄, and :math:`b = \Phi^\varepsilon *
u^\varepsilon`.

**Theorem 1.** With :math:`S(t) = N^{2\alpha}\max_i|\delta_i|^2`, stopped at the time τ at which it reaches 1, the proof
bounds, without the constants C in front of them, and each integral up to :math:`t \wedge \tau`,

.. math::
    I_1 &= N^{2\alpha}E\int\max_i|a_i - \bar a_i|^2, \qquad
    I_2 = N^{2\alpha}E\int\max_i|\bar a_i - b(\bar X_i)|^2 = I_{21} + I_{22}, \tag{2.6-2.9} \\
    I_{11} &= N^{2\alpha}E\int\max_i\Big|\tfrac1N\sum_j\nabla\Phi^\varepsilon(\bar X_i - \bar X_j)\cdot(\delta_i -
    \delta_j)\Big|^2, \qquad
    I_{12} = \|D^2\Phi^\varepsilon\|_\infty^2\,N^{2\alpha}E\int\max_i\tfrac1N\sum_j|\delta_i - \delta_j|^4,
    \tag{2.13} \\
    P_1, P_2 &: \text{ those of } I_{11} \text{ with } \delta_i \text{ and with } \delta_j \text{ alone}, \tag{2.15} \\
    P_{11} &= E\int S\max_i|\nabla\bar a_i - \nabla b(\bar X_i)|^2, \qquad
    P_{12} = E\int S\max_i|\nabla b(\bar X_i)|^2, \tag{2.16} \\
    P_{21} &= E\int S\max_i\big(\tfrac1N\sum_j|\nabla\Phi^\varepsilon|(\bar X_i - \bar X_j) -
    (|\nabla\Phi^\varepsilon| * u^\varepsilon)(\bar X_i)\big)^2, \qquad
    P_{22} = E\int S\max_i(|\nabla\Phi^\varepsilon| * u^\varepsilon)(\bar X_i)^2. \tag{2.21}

:math:`I_{21}` and :math:`I_{22}` are :math:`I_2` where all :math:`|\bar a_i - b(\bar X_i)| \le N^{-\theta}`, and where
not. (:math:`\nabla\bar a_i` has the sum over j inside; j = i adds nothing to it.)

**Theorem 2.** With :math:`g_i = \nabla_i\log(u_N/u^{\otimes N})` the entropy per particle has :math:`H' = -E\frac1N
\sum_i(1 + e^{-a_i})|g_i|^2 + J_1 + J_2`, where

.. math::
    J_k = -E\frac1N\sum_i F_{k,i}\cdot g_i, \qquad
    F_{1,i} = e^{-a_i}\big(\nabla b(X_i) - \nabla a_i\big), \qquad
    F_{2,i} = \big(e^{-a_i} - e^{-b(X_i)}\big)\big(\nabla\log u^\varepsilon - \nabla b\big)(X_i). \tag{3.12, 3.13}

An integration by parts removes the unknown law: :math:`J_k = E\frac1N\sum_i[\nabla_i\cdot F_{k,i} + F_{k,i}\cdot
\nabla\log u^\varepsilon(X_i)]`, and for independent particles of the density, whose g is 0, this vanishes: the X̄ are
control variates of mean 0. The noise left is that of :math:`\Delta a_i`, of the size of :math:`(\delta/\varepsilon)
(\varepsilon N)^{-1}`: it hides :math:`J_k` where ε is small. After Young's inequality the proof bounds

.. math::
    G = E\tfrac1N\sum_i|\nabla b(X_i) - \nabla a_i|^2 \le 3(J_{11} + J_{12} + J_{13}), \qquad
    J_{11} = E\tfrac1N\sum_i|\nabla b(X_i) - \nabla b(\bar X_i)|^2, \tag{3.15} \\
    J_{12} = E\tfrac1N\sum_i|\nabla b(\bar X_i) - \nabla\bar a_i|^2, \qquad
    J_{13} = E\tfrac1N\sum_i|\nabla\bar a_i - \nabla a_i|^2 = J_{13}^1 + J_{13}^2,

the last parts where :math:`\max_i|\delta_i| \le N^{-\alpha}`, and where not. For :math:`J_2` (3.23) has G once more,
where :math:`V = E\frac1N\sum_i|b(X_i) - a_i|^2` would do: :math:`|e^{-a} - e^{-b}| \le |a - b|`. Also measured is
:math:`Y = E\frac1N\sum_i|F_{1,i} + F_{2,i}|^2/(4(1 + e^{-a_i}))`, what Young's inequality with its best constant makes
of both. Terms of this part are integrals over (0, t).

**What the proof has for them**, powers of N and ε: :func:`kspde.theory.proof_bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from kspde.comparable import bounds_of
from kspde.distances.statistics import Estimate
from kspde.errors import InputError, check_number, counted
from kspde.evidence.defect import cumulative
from kspde.evidence.ensemble import Ensemble, check_solution
from kspde.evidence.result import Result
from kspde.evidence.score import Score
from kspde.grids import find_mass
from kspde.kernels import Kernel
from kspde.kernels.log_potential import SURFACE
from kspde.models import FieldValues
from kspde.models.coefficients import diffusion_of, drift_of
from kspde.papers.theory.norms import LaplacianPower
from kspde.particles.fields.base import Extent
from kspde.particles.fields.pairs import pair_tables, sum_all, sum_slopes
from kspde.particles.sampled_field import SampledField
from kspde.protocols import SolvedDensity
from kspde.radial import WAVENUMBERS, profile, radial_weights, spherical_wave
from kspde.runtime.parallel import collective
from kspde.runtime.reductions import reduced
from kspde.typing import Array

__all__ = ["FIRST", "SECOND", "ProofTerms", "proof_terms"]

#: The terms of the proof of Theorem 1 beside S, in the order of the paper, and of Theorem 2.
FIRST = ("i1", "i2", "i21", "i22", "i11", "i12", "p1", "p2", "p11", "p12", "p21", "p22")
SECOND = ("j1", "j2", "young", "gradients", "values", "j11", "j12", "j13", "j13_near", "j13_far")
#: A field and its gradient at particles.
Fields = tuple[Array, Array]
#: Step of the differences that take second derivatives of log u and of b.
_STEP = 1e-3
#: The nodes across the particles of the grid of |∇K| * u, and how far beyond them it reaches, in decay lengths.
_NODES, _REACH = 96, 25.0


@dataclass(frozen=True, kw_only=True, repr=False)
class ProofTerms(Result):
    """The terms over time, by replica.

    Attributes:
        times: the times of the steps, shape (times,).
        n: N.
        samples: by name S at each time ("s"), and the integrals of the other terms up to it, each of shape (replicas,
            times).
    """

    times: Array
    n: int
    samples: dict[str, Array]

    def at_end(self, name: str) -> Estimate:
        """Return a term at the last time, with its 95 % interval.

        Raises:
            InputError: no such term.
        """
        if name not in self.samples:
            raise InputError(f"name = {name!r} is not a term: give one of {', '.join(self.samples)}")
        return Estimate.of_mean(self.samples[name][:, -1])

    def _lines(self) -> dict[str, str]:
        about = f"{self.n:,} particles, {counted(len(self.samples['s']), 'replica')}, t = {self.times[-1]:g}"
        return {"Terms of the proofs": about} | {name: str(self.at_end(name)) for name in self.samples}


@collective(own=("progress",))
def proof_terms(
    pde: SolvedDensity,
    *,
    n: int,
    dt: float,
    replicas: int = 8,
    alpha: float = 0.1,
    theta: float = 0.3,
    seed: int = 0,
    include_self: bool = True,
    field_tol: float = 1e-6,
    progress: Callable[[float], None] | None = None,
) -> ProofTerms:
    """Return the terms of the proofs of Theorems 1 and 2. Collective.

    :mod:`kspde.evidence.proof_terms` defines them. Sums are over all pairs: O(N²) per step and replica.

    Args:
        pde: the result of ``solve`` for the signal-dependent system, with ``eps``, saved from t = 0 to ``t_end``.
        n: the number N of particles.
        dt: the time step > 0.
        replicas: the number of independent systems, at least 2.
        alpha: the α of the theorems, 0 < α < 1/2.
        theta: the θ of the theorems, 0 < θ < 1/2.
        seed: an integer >= 0.
        include_self: whether j = i is in the sums, as printed in (1.3).
        field_tol: the error allowed in the particles' fields, as for ``simulate``.
        progress: a function called on every rank after every step with t/``t_end``.

    Raises:
        InputError: a value out of range, another model or mass, or states that are not saved.
        ConvergenceError: a position that is not finite.
    """
    check_number("alpha", alpha, above=0, below=0.5)
    check_number("theta", theta, above=0, below=0.5)
    check_solution(pde)
    _check_theirs(pde)
    ensemble = Ensemble(
        pde=pde,
        n=n,
        dt=dt,
        replicas=replicas,
        seed=seed,
        coupled=True,
        gradients=True,
        include_self=include_self,
        field_tol=field_tol,
        progress=progress,
    )
    terms = Terms(ensemble, alpha, theta)
    ensemble.run(terms.look)
    return ProofTerms(times=ensemble.times, n=n, samples=terms.samples())


def _check_theirs(pde: SolvedDensity) -> None:
    """Raise unless a solution is one of (1.9): D = 1 + e^(−v) of one field, no drift, mass 1.

    Raises:
        InputError: it is not.
    """
    model, v = pde.model, np.array([-1.0, 0.0, 0.5, 3.0])
    mass = sum(pde.problem.masses.values())
    theirs = len(model.species) == len(model.fields) == 1 and not model.moments and mass == 1
    if theirs:
        (species,), (name,) = model.species, (f.name for f in model.fields)
        x = np.linspace(-1.0, 1.0, len(v) * model.dimension).reshape(len(v), -1)
        c = FieldValues(x, {name: v}, {name: x})
        theirs = drift_of(model, species, c) is None and np.allclose(diffusion_of(model, species, c), 1 + np.exp(-v))
    if not theirs:
        raise InputError(
            f"pde solves {model} with mass {mass:g}: the terms are those of the "
            "signal-dependent system (1.1), D = 1 + exp(-v), with mass 1"
        )


class Terms:
    """The terms of an ensemble of coupled particles, all fields with gradients, step by step."""

    def __init__(self, ensemble: Ensemble, alpha: float, theta: float) -> None:
        self._ensemble, n = ensemble, ensemble.n
        self._near, self._usual = n**-alpha, n**-theta
        (field,), (self._species,) = ensemble.fields, ensemble.pde.model.species
        self._name, kernel, d = field.name, field.kernel, ensemble.pde.model.dimension
        weights = radial_weights(kernel, d)
        # A positive definite kernel: second derivatives are largest at the origin, where they are ΔK/d times I.
        self._hessian = abs(float(weights @ WAVENUMBERS**2)) / d
        self._self_term = 0.0 if ensemble.include_self else float(weights.sum()) / n
        self._known, self._score = ensemble.mean_field(), Score(ensemble.pde, self._species)
        self._sums = _PairSums(kernel, d, n, ensemble.field_tol)
        self._slopes = _MeanSlope(ensemble.pde, kernel)
        shape = (len(ensemble.replica_of) // n, len(ensemble.times))
        self._rates = {name: np.zeros(shape) for name in ("s", *FIRST, *SECOND)}
        self._going = np.ones(shape[0], dtype=bool)

    def look(self, step: int, t: float) -> None:
        """Add what a step shows. Collective."""
        systems = self._ensemble.systems
        own, bar = systems["particles"], systems["mean_field"]
        x, y = own.positions[self._species], bar.positions[self._species]
        extent = own.seen.extent.joined(bar.seen.extent)
        self._score.update(extent, t)
        self._known.t = t
        self._known.update({self._species: x}, extent)
        self._slopes.update(extent, t)
        self._sums.tabulate(float(np.linalg.norm(extent.size)))
        found = own.at(self._species, x)
        a = found[self._name].copy(), found.gradients[self._name].copy()
        bars = self._sums.at(y, x - y)
        bars.field[0][:] -= self._self_term
        at_x, at_y = self._mean_field(x), self._mean_field(y)
        self._first(step, x - y, a, bars, at_y, self._slopes.at(y))
        j, young = self._entropy(x, a, self._sums.laplacian(x), at_x)
        control, _ = self._entropy(y, bars.field, bars.laplacian, at_y)
        self._second(step, x - y, (a, bars.field, at_x, at_y))
        for name, values in (("j1", j[0] - control[0]), ("j2", j[1] - control[1]), ("young", young)):
            self._rates[name][:, step] = self._mean(values)

    def _mean_field(self, x: Array) -> tuple[Array, Array]:
        """Return b and ∇b at points."""
        found = self._known.at(self._species, x)
        return found[self._name].copy(), found.gradients[self._name].copy()

    def _first(self, step: int, delta: Array, a: Fields, bars: _Sums, mean: Fields, size: Array) -> None:
        """Add the terms of the proof of Theorem 1."""
        (bar_a, bar_grad), (b, grad_b) = bars.field, mean
        scale = self._near**-2
        apart = self._greatest(_square(delta))
        self._going &= apart < self._near**2
        s = np.where(self._going, scale * apart, 1.0)
        along = np.sum(bar_grad * delta, axis=1)
        i2 = self._greatest(np.square(bar_a - b))
        usual = i2 <= self._usual**2
        rates = {
            "i1": scale * self._greatest(np.square(a[0] - bar_a)),
            "i2": scale * i2,
            "i21": scale * np.where(usual, i2, 0.0),
            "i22": scale * np.where(usual, 0.0, i2),
            "i11": scale * self._greatest(np.square(along - bars.towards)),
            "i12": self._hessian**2 * scale * self._greatest(_fourth_moments(delta, self._ensemble.n)),
            "p1": scale * self._greatest(np.square(along)),
            "p2": scale * self._greatest(np.square(bars.towards)),
            "p11": s * self._greatest(_square(bar_grad - grad_b)),
            "p12": s * self._greatest(_square(grad_b)),
            "p21": s * self._greatest(np.square(bars.slopes - size)),
            "p22": s * self._greatest(np.square(size)),
        }
        self._rates["s"][:, step] = s
        for name, rate in rates.items():
            self._rates[name][:, step] = np.where(self._going, rate, 0.0)

    def _second(self, step: int, delta: Array, fields: tuple[Fields, Fields, Fields, Fields]) -> None:
        """Add what bounds the terms of the proof of Theorem 2."""
        (a, grad_a), (_, bar_grad), (b, grad_b), (_, bar_grad_b) = fields
        near = self._greatest(_square(delta)) <= self._near**2
        j13 = self._mean(_square(bar_grad - grad_a))
        rates = {
            "gradients": self._mean(_square(grad_b - grad_a)),
            "values": self._mean(np.square(b - a)),
            "j11": self._mean(_square(grad_b - bar_grad_b)),
            "j12": self._mean(_square(bar_grad_b - bar_grad)),
            "j13": j13,
            "j13_near": np.where(near, j13, 0.0),
            "j13_far": np.where(near, 0.0, j13),
        }
        for name, rate in rates.items():
            self._rates[name][:, step] = rate

    def _entropy(self, x: Array, own: Fields, laplacian_a: Array, mean: Fields) -> tuple[tuple[Array, Array], Array]:
        """Return ∇·F_k + F_k·∇log u of each particle, k = 1, 2, and |F_1 + F_2|²/(4(1 + e^−a)), at points."""
        (a, grad_a), (b, grad_b) = own, mean
        score = self._score.at(x)[0]
        laplacian_b, laplacian_log = np.zeros(len(x)), np.zeros(len(x))
        for axis, move in enumerate(_STEP * np.eye(x.shape[1])):
            ends = [(self._mean_field(x + sign * move)[1], self._score.at(x + sign * move)[0]) for sign in (1, -1)]
            slopes = [(high - low)[:, axis] / (2 * _STEP) for high, low in zip(*ends, strict=True)]
            laplacian_b += slopes[0]
            laplacian_log += slopes[1]
        e_a, e_b = np.exp(-a), np.exp(-b)
        off, rest = grad_b - grad_a, score - grad_b
        first, second = e_a[:, None] * off, (e_a - e_b)[:, None] * rest
        div_first = e_a * (laplacian_b - laplacian_a - np.sum(grad_a * off, axis=1))
        div_second = np.sum((e_b[:, None] * grad_b - e_a[:, None] * grad_a) * rest, axis=1)
        div_second += (e_a - e_b) * (laplacian_log - laplacian_b)
        j = div_first + np.sum(first * score, axis=1), div_second + np.sum(second * score, axis=1)
        return j, _square(first + second) / (4 * (1 + e_a))

    def _greatest(self, values: Array) -> Array:
        return np.asarray(values.reshape(-1, self._ensemble.n).max(axis=1))

    def _mean(self, values: Array) -> Array:
        return np.asarray(values.reshape(-1, self._ensemble.n).mean(axis=1))

    def samples(self) -> dict[str, Array]:
        """Return S at each time and the integrals of the other terms, of all replicas. Collective."""
        ensemble = self._ensemble
        rows = np.unique(ensemble.replica_of)
        out = {}
        for name, rates in self._rates.items():
            every = np.zeros((ensemble.replicas, len(ensemble.times)))
            every[rows] = rates
            reduced(ensemble.comm, every)
            out[name] = every if name == "s" else cumulative(every, ensemble.times)
        return out


class _PairSums:
    """Sums over all pairs of each replica, with the weight 1/N, at the particles themselves, j = i included."""

    def __init__(self, kernel: Kernel, dimension: int, n: int, tol: float) -> None:
        self._kernel, self._d, self._n, self._tol = kernel, dimension, n, 0.01 * tol
        self._reach = 0.0

    def tabulate(self, reach: float) -> None:
        """Tabulate K, K' and −ΔK up to a distance."""
        if reach > self._reach:
            self._reach = 1.3 * reach
            self._tables = pair_tables(self._kernel, self._d, self._reach, tol=self._tol, gradient=True)
            minus = self._kernel * LaplacianPower(power=1.0)
            self._laplacian = pair_tables(minus, self._d, self._reach, tol=self._tol, gradient=False)[:2]
            self._at_zero = float(radial_weights(minus, self._d).sum())

    def at(self, x: Array, delta: Array) -> _Sums:
        """Return the sums at x, those of ∇K·δ_j with the vectors δ, (m, d)."""
        out = np.empty((len(x), 4 + self._d))
        sum_slopes(out, x, delta, self._n, *self._tables, *self._laplacian)
        out /= self._n
        field, slopes, towards, minus = out.T[:4]
        return _Sums((field, out[:, 4:]), slopes, towards, self._at_zero / self._n - minus)

    def laplacian(self, x: Array) -> Array:
        """Return the sums of ΔK over j ≠ i."""
        minus = np.empty(len(x))
        sum_all(minus, None, x, x, self._n, *self._laplacian, *self._laplacian, None, 1 / self._n)
        return self._at_zero / self._n - minus


class _Sums(NamedTuple):
    """Sums over j: of K and ∇K, of |∇K|, of ∇K·δ_j, and of ΔK over j ≠ i."""

    field: Fields
    slopes: Array
    towards: Array
    laplacian: Array


class _MeanSlope:
    """|∇K| * u as a spline on a grid around the particles, K decreasing in the distance."""

    def __init__(self, pde: SolvedDensity, kernel: Kernel) -> None:
        self._pde, self._kernel, self._d = pde, kernel, pde.model.dimension
        self._grid = SampledField(self._d, coarse=_NODES, most=0)
        ends = [find_mass(partial(self._density, t=t), bounds_of(pde))[0] for t in (0.0, pde.t_end)]
        self._mass = Extent(np.minimum(ends[0][0], ends[1][0]), np.maximum(ends[0][1], ends[1][1]))

    def _density(self, axes: Sequence[Array], t: float) -> Array:
        return self._pde.on_grid(axes, self._pde.model.species[0], t, outside=0.0)

    def update(self, extent: Extent, t: float) -> None:
        """Convolve the density at a time. Collective."""
        from scipy import fft

        extent = extent.joined(self._mass)
        if not self._grid.covers(extent):
            self._grid.resolve(extent, lambda: 0.0, 1.0)
            beyond = _REACH / self._kernel.decay_rate
            h = self._grid.spacing
            self._shape = [fft.next_fast_len(m + int(beyond / h), real=True) for m in self._grid.shape]
            axes = [2 * np.pi * np.abs(np.fft.fftfreq(m, h)) for m in self._shape]
            axes[-1] = axes[-1][: self._shape[-1] // 2 + 1]
            k = np.sqrt(sum(np.square(each) for each in np.ix_(*axes)))
            self._symbol = _slope_symbol(self._kernel, self._d, k)
        u = self._density(self._grid.axes, t)
        modes = fft.rfftn(u, self._shape) * self._symbol
        whole = fft.irfftn(modes, self._shape)
        self._grid.interpolate("slope", np.ascontiguousarray(whole[tuple(map(slice, u.shape))]))

    def at(self, x: Array) -> Array:
        """Return |∇K| * u at points, (m,)."""
        values = np.empty(len(x))
        self._grid.at("slope", x, values)
        return values


def _slope_symbol(kernel: Kernel, d: int, k: Array) -> Array:
    """Return the transform of −K' at wavenumbers k, by Gauss points on panels that grow with r."""
    from scipy.interpolate import make_interp_spline

    reach, top = _REACH / kernel.decay_rate, float(k.max())
    nodes, weights = np.polynomial.legendre.leggauss(12)
    graded = reach * 1.5 ** np.arange(-40.0, 1.0)
    widest = 6.0 / top
    graded = graded[np.append(True, np.diff(graded) <= widest)]
    uniform = np.linspace(graded[-1], reach, 2 + int((reach - graded[-1]) / widest))[1:]
    edges = np.concatenate(([0.0], graded, uniform))
    half = 0.5 * np.diff(edges)[:, None]
    r = (edges[:-1, None] + half * (nodes + 1)).ravel()
    w = (half * weights).ravel() * SURFACE[d] * r ** (d - 1) * -profile(kernel, d, r, tol=1e-9, slope=True)
    known = np.linspace(0.0, top, 16 + int(8 * top / min(1.0, kernel.decay_rate)))
    values = np.concatenate([spherical_wave(d, np.multiply.outer(part, r)) @ w for part in np.array_split(known, 64)])
    return np.asarray(make_interp_spline(known, values, k=5)(k))


def _square(vectors: Array) -> Array:
    return np.asarray(np.sum(vectors * vectors, axis=1))


def _fourth_moments(delta: Array, n: int) -> Array:
    """Return (1/N) Σ_j |δ_i − δ_j|⁴ of the particles of each replica, by the moments of δ."""
    each = delta.reshape(-1, n, delta.shape[1])
    z = each - each.mean(axis=1, keepdims=True)
    square = np.sum(z * z, axis=2)
    spread, cubic = square.mean(axis=1, keepdims=True), (square[..., None] * z).mean(axis=1)
    matrix = np.einsum("rja,rjb->rab", z, z) / n
    # |z_i − z_j|⁴ = (|z_i|² + |z_j|² − 2 z_i·z_j)², and Σ_j z_j = 0.
    out = square**2 + (square**2).mean(axis=1, keepdims=True) + 2 * square * spread
    out += 4 * np.einsum("ria,rab,rib->ri", z, matrix, z) - 4 * np.einsum("ria,ra->ri", z, cubic)
    return np.asarray(out.ravel())
