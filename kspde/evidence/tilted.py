r"""A sharper bound on the relative entropy, from references that are tilted towards the particles' pair correlation.

The bound of :mod:`kspde.evidence.entropy` maximises over :math:`g_i = \nabla_i\log(u_N/\bar u)` as if each value were
possible. It completes a square and drops it: with :math:`\langle v, w\rangle = \sum_i E[v_i\cdot D_i w_i]`,

.. math:: \frac{d}{dt} N H = \frac14\sum_i E[c_i\cdot D_i^{-1}c_i] - \|r\|^2,
    \qquad r_i = g_i + \tfrac12 D_i^{-1} c_i.

**The part of r that can be measured.** Let ψ(t, x_1, ..., x_N) be any smooth function. Since :math:`J_i/u_N = \bar
J_i/\bar u - D_i g_i - c_i`, Liouville's equation gives :math:`\frac{d}{dt}E\psi = E[\partial_t\psi + \sum_i
\nabla_i\psi\cdot J_i/u_N]`, that is

.. math:: \langle r, \nabla\psi\rangle = -L_\psi - \tfrac12 \sum_i E[c_i\cdot\nabla_i\psi], \qquad
    L_\psi = \frac{d}{dt}E\psi - E\Big[\partial_t\psi + \sum_i \bar\jmath(x_i)\cdot\nabla_i\psi\Big],

with the density's velocity :math:`\bar\jmath = \bar b - \nabla\cdot\bar D - \bar D\nabla\log u`. No derivative of u_N
is left. So :math:`\|r\|^2 \ge 2\langle r, \frac12\nabla\psi\rangle - \|\frac12\nabla\psi\|^2` yields, for every ψ,

.. math::
    \frac{d}{dt} N H \le L_\psi + \frac14 \sum_i E\big[(c_i + D_i\nabla_i\psi)\cdot
    D_i^{-1}(c_i + D_i\nabla_i\psi)\big].

It is the first bound, with the reference :math:`\bar u\,e^\psi` in place of :math:`\bar u`: the entropy
:math:`\int u_N\log\frac{u_N}{\bar u e^\psi} = NH - E\psi` has the defect :math:`c + D\nabla\psi`, and its normalisation
drops out. For :math:`\nabla\psi = 2g + D^{-1}c` it is an equality. For :math:`\psi = \sum_m \alpha_m\psi_m` it is a
quadratic function of α, whose least value is Bessel's inequality for r; α = 0 is the first bound.

**The tilt.** The defect's singular part is :math:`L\,\nabla_i(a_i - \bar a)`, with L = ∂c_i/∂∇a = ∂D/∂a
− ∂b/∂∇a. Let :math:`Q(a) = \frac1d\operatorname{tr} D^{-1}L` and :math:`\Pi' = Q`: for
D = D(a) without a drift, Π = log D. With the field's kernel K_m = K^ε * G_σ, G a Gaussian of width σ_m, and its
fields :math:`a^m_i`, :math:`\bar a^m`,

.. math:: \psi_m = -\frac12\sum_i \Pi(a^m_i) + \sum_i W_m(t, x_i), \qquad
    W_m = \tfrac12\big[\Pi(\bar a^m) + K_m * (Q(\bar a^m)\,u)\big].

To leading order that is the modulated energy :math:`-\frac N2\iint Q(\bar a)K_m(x - y)\,d(\mu_N - u)^{\otimes 2}`: W
takes the mean-field part away, so that ψ is of order 1 in N. Its gradient is

.. math:: \nabla_i\psi_m = -\frac12\Big[Q(a^m_i)\nabla a^m_i + w\sum_j Q(a^m_j)\nabla K_m(x_i - x_j)\Big] +
    \nabla W_m(x_i).

The coefficients are :math:`\alpha_m(t) = \sum_p \alpha_{mp} (t/T)^p`, p = 0, ½, 1, and σ = 0 and
:math:`0.35\sqrt{4DT}`: pairs are in equilibrium at short distances at once, and at those that particles do not
diffuse in time T hardly at all.

**In ε the bound stays bounded.** At σ = 0, α = 1, a pair's singular terms are :math:`D_i[Q(a_i) - \frac12(Q(a_i) +
Q(a_j))]\,w\nabla K^\varepsilon(x_i - x_j)`. Both particles feel each other equally, so that :math:`a_i - a_j` is as
small as their distance, and the product is bounded where K is a logarithm: what made the first bound grow like
:math:`B\log(1/\varepsilon)` is gone, at every N. Also :math:`\bar\jmath(x_i) - \bar\jmath(x_j)` is of the size of the
distance, so that L_ψ has no more than logarithms of distances, which are integrable. For two particles on the line
the bound is 1.30 to 1.45 times the exact entropy from ε = .4 to .01, where the first one is 2.1 to 11 times as large;
for three 1.32 to 1.49 from ε = .4 to .01, where the first is 2.3 to 22 times as large
(tests/benchmarks/results/entropy_of_two.md, entropy_of_three.md). The study theorem2-eps has both bounds for 400
particles in the plane, down to ε = .001.

What is proved: for two particles with one field, without a drift, where D(a), D'(a) and 1/D(a) are bounded. There a_1
= a_2, so that the singular terms cancel exactly and leave :math:`D\nabla W - D'(\bar a)\nabla\bar a + (D - \bar D)
\nabla\log u`; ψ, ∂_t ψ and :math:`\sum\bar\jmath\cdot\nabla\psi` are bounded in terms of u and two derivatives of log
u, and so is NH(T), uniformly in ε. What is formal: for N > 2 the expectations of triples of particles over u_N are
taken to be as finite as those over :math:`\bar u`.

**What no tilt reaches.** The bound of ψ exceeds the exact rate by :math:`\|r - \frac12\nabla\psi\|^2`, and g is a
gradient. So for every v of compact support with :math:`\langle v, \nabla\psi\rangle = 0` for all ψ it exceeds it by

.. math:: \|r - \tfrac12\nabla\psi\|^2 \ge \frac{\langle r, v\rangle^2}{\|v\|^2}
    = \frac{1}{\|v\|^2}\Big(\frac12\sum_i E[c_i\cdot v_i]\Big)^2.

For N ≥ 2 vortices, where D = ν and L is antisymmetric, so that the tilts above are 0, let :math:`v_1 = -v_2 = \eta
K^\varepsilon(z)/u_N`, z = x_1 − x_2, with the velocity :math:`K^\varepsilon(z) \perp z` and a smooth η from 0 to 1,
of compact support, that depends on |z|, x_1 + x_2 and the other particles, and vanishes where one of these is close
to x_1 or x_2. All gradients are orthogonal to it, since :math:`\sum_i\nabla_i\cdot(u_N\nu v_i) =
2\nu\nabla_z\cdot(\eta K^\varepsilon) = 0`. On the support :math:`c_1 - c_2 = -2wK^\varepsilon(z) +
O(|z|\log(1/|z|))`, and :math:`\int\eta|K^\varepsilon|^2 = a\log(1/\varepsilon) + O(1)`, a = (1/2π)∫η at z = 0. With
u_N ≥ m on the support,

.. math:: \tfrac12\sum_i E[c_i\cdot v_i] = -wa\log\tfrac1\varepsilon + O(1), \qquad
    \|v\|^2 \le \tfrac{2\nu}m\big(a\log\tfrac1\varepsilon + O(1)\big), \qquad
    \|r - \tfrac12\nabla\psi\|^2 \ge \frac{m w^2 a}{2\nu}\log\tfrac1\varepsilon - C.

As K = ∇·V with a bounded V, Osada's estimates (J. Math. Kyoto Univ. 27, 1987) have such an m > 0 for all ε and all
times from t_0 > 0 on. So at every N every bound of this kind grows like log(1/ε) for vortices, whatever ψ.

**Estimate.** All is an expectation over the particles. Since L_ψ vanishes for particles of the law :math:`\bar u`, the
same is measured of the mean-field particles, which share noise and starting points, and subtracted. α minimises the
mean over one half of the replicas and the bound is that of the other half, and the other way round, so that α is
independent of what it is used for; the interval treats replicas as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kspde.errors import InputError
from kspde.evidence.defect import defect, inverse_form, transport
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.score import Score
from kspde.kernels import GaussianMollifier, Kernel
from kspde.matrices import as_matrices, mean_diffusion, product_of
from kspde.models import Field, FieldValues, Model
from kspde.particles.fields.base import Extent
from kspde.particles.fields.convolution import FastConvolution
from kspde.particles.fields.free_space import doubled, free_space_factor
from kspde.particles.sampled_field import SampledField
from kspde.runtime.reductions import reduced
from kspde.typing import Array, Mask

__all__ = ["FEWEST", "TiltedRates", "check_tilted"]

#: The least number of replicas: one half of them fits the coefficients that the other half is measured with.
FEWEST = 32

#: σ_m in units of √(4DT), and the powers of t/T in the coefficients. A level between, at .12, gains 1 %.
_LEVELS, _POWERS = (0.0, 0.35), (0.0, 0.5, 1.0)
#: Points of the table of Q; nodes across the particles of the grid of W.
_TABLE, _COARSE = 400, 64
#: The distance at which mollifiers end, as a share of the grid's diameter.
_SUPPORT = 0.5
#: The systems, in the order of the records.
_SYSTEMS = ("particles", "mean_field")


def check_tilted(model: Model) -> None:
    """Raise unless the tilt is made for a model.

    Raises:
        InputError: several species or fields, a field that relaxes, or moments.
    """
    if len(model.species) != 1 or len(model.fields) != 1 or model.fields[0].tau > 0 or model.moments:
        raise InputError(
            'reference = "tilted" is for one species with one field that does not relax, and no moments: use '
            'reference = "product"'
        )


class TiltedRates:
    """What the tilted bound needs of an ensemble whose particles and mean-field particles move together.

    Args:
        ensemble: the ensemble.

    Raises:
        InputError: several species or fields, a field that relaxes, or moments.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        model = ensemble.pde.model
        check_tilted(model)
        self.ensemble = ensemble
        (self._species,), (self._field,) = model.species, ensemble.fields
        self.scores = {self._species: Score(ensemble.pde, self._species)}
        self._known = ensemble.mean_field()
        self._tilts: _Tilts | None = None
        r, k, m = ensemble.replicas, len(ensemble.times), len(_LEVELS)
        #: By replica and step: ¼c·D⁻¹c, and its part from unresolved tails; ½c·∇ψ; ∇ψ·D∇ψ; by system ψ and
        #: ∂_t ψ + Σ j̄·∇ψ.
        self._records = {
            "production": np.zeros((2, r, k)),
            "cross": np.zeros((m, r, k)),
            "square": np.zeros((m, m, r, k)),
            "psi": np.zeros((2, m, r, k)),
            "change": np.zeros((2, m, r, k)),
        }

    def look(self, step: int, t: float) -> None:
        """Add what a step shows. Collective."""
        ensemble, name, records = self.ensemble, self._species, self._records
        x = {label: ensemble.systems[label].positions[name] for label in _SYSTEMS}
        one, other = (ensemble.systems[label].seen.extent for label in _SYSTEMS)
        extent = one.joined(other)
        score = self.scores[name]
        score.update(extent, t)
        self._known.t = t
        self._known.update({name: x["particles"]}, extent)
        known = {
            "particles": self._known.at(name, x["particles"]),
            "mean_field": ensemble.systems["mean_field"].at(name, x["mean_field"]),
        }
        own = ensemble.particles.at(name, x["particles"])
        at_particles, resolved = score.at(x["particles"])
        c, diffusion = defect(ensemble.pde.model, name, own, known["particles"], at_particles)
        if self._tilts is None:
            self._tilts = _Tilts(ensemble, self._field, self._mean(diffusion))
        self._tilts.update(x, extent, t)
        for s, label in enumerate(_SYSTEMS):
            psi, change, gradients = self._tilts.at(label, x[label])
            flow = transport(ensemble.pde.model, name, known[label], score.at(x[label])[0])
            for m, slope in enumerate(gradients):
                records["psi"][s, m, :, step] = self._sums(psi[m])
                records["change"][s, m, :, step] = self._sums(change[m] + np.sum(flow * slope, axis=1))
            if label == "particles":
                self._add_squares(step, c, diffusion, resolved, gradients)

    def _add_squares(self, step: int, c: Array, diffusion: Array, resolved: Mask, gradients: Array) -> None:
        records, found = self._records, 0.25 * inverse_form(c, diffusion)
        records["production"][0, :, step] = self._sums(found)
        records["production"][1, :, step] = self._sums(np.where(resolved, 0.0, found))
        for m, slope in enumerate(gradients):
            records["cross"][m, :, step] = self._sums(0.5 * np.sum(c * slope, axis=1))
            spread = product_of(diffusion, slope)
            for other in range(m + 1):
                square = self._sums(np.sum(spread * gradients[other], axis=1))
                records["square"][m, other, :, step] = records["square"][other, m, :, step] = square

    def _sums(self, values: Array) -> Array:
        return np.bincount(self.ensemble.replica_of, weights=values, minlength=self.ensemble.replicas)

    def _mean(self, diffusion: Array) -> float:
        """Return the mean of tr D/d over all particles. Collective."""
        each = mean_diffusion(diffusion)
        total, count = reduced(self.ensemble.comm, np.array([each.sum(), float(len(each))]))
        return float(total / count)

    def integrals(self) -> tuple[Array, Array]:
        """Return the bound over time, and what unresolved tails give at α = 0, each (replicas, times). Collective."""
        ensemble = self.ensemble
        for record in self._records.values():
            reduced(ensemble.comm, record)
        h, times = np.diff(ensemble.times), ensemble.times
        means = {name: 0.5 * h * (each[..., 1:] + each[..., :-1]) for name, each in self._records.items()}
        own, bar = np.diff(self._records["psi"], axis=-1) - means["change"]
        powers = np.array([(0.5 * (times[1:] + times[:-1]) / times[-1]) ** p for p in _POWERS])
        r, k = means["production"].shape[1:]
        count = len(_LEVELS) * len(_POWERS)
        linear = np.einsum("mrk,pk->mprk", own - bar + means["cross"], powers).reshape(count, r, k)
        square = np.einsum("mlrk,pk,qk->mplqrk", means["square"], powers, powers).reshape(count, count, r, k)
        bound, unresolved = means["production"]
        for half in (0, 1):
            fitted, used = (np.arange(r) % 2 == each for each in (half, 1 - half))
            slope = linear[:, fitted].sum(axis=2).mean(axis=1)
            alpha = -2.0 * np.linalg.lstsq(square[:, :, fitted].sum(axis=3).mean(axis=2), slope, rcond=1e-9)[0]
            bound[used] += np.einsum("m,mrk->rk", alpha, linear[:, used])
            bound[used] += 0.25 * np.einsum("m,l,mlrk->rk", alpha, alpha, square[:, :, used])
        start = np.zeros((r, 1))
        found = [np.hstack([start, np.cumsum(each, axis=1)]) / ensemble.n for each in (bound, unresolved)]
        return found[0], found[1]


class _Tilts:
    """ψ_m of the particles and of the mean-field particles of all replicas."""

    def __init__(self, ensemble: Ensemble, field: Field, diffusion: float) -> None:
        (self._species,) = ensemble.pde.model.species
        widths = np.array(_LEVELS) * np.sqrt(4.0 * diffusion * ensemble.pde.t_end)
        kernels = [field.kernel * GaussianMollifier(eps=s) if s else field.kernel for s in widths.tolist()]
        self._names = [str(m) for m in range(len(kernels))]
        self._weight = ensemble.weights[self._species]
        self._slope = _Slope(ensemble.pde.model, self._species, field.name)
        each = dict(zip(self._names, kernels, strict=True))
        self._mean_field = _MeanFieldPart(ensemble, self._species, each, self._slope)
        plain = tuple(Field(name=m, kernel=k, source=self._species, gradient=True) for m, k in each.items())
        # The sources of the sums with weights Q(a_j): the same particles under another name per level.
        weighted = tuple(Field(name=m, kernel=k, source=m, gradient=True) for m, k in each.items())
        rows = len(ensemble.replica_of)
        own = np.full(rows, self._weight)
        self._fields = {label: ensemble.evaluator(plain, {self._species: own}) for label in _SYSTEMS}
        self._weights = {label: {m: np.zeros(rows) for m in self._names} for label in _SYSTEMS}
        self._sums = {label: ensemble.evaluator(weighted, self._weights[label]) for label in _SYSTEMS}
        self._found: dict[str, FieldValues] = {}

    def update(self, x: dict[str, Array], extent: Extent, t: float) -> None:
        """Take positions of both systems. Collective."""
        self._extent = extent
        self._mean_field.update(extent, t)
        for label, points in x.items():
            self._fields[label].update({self._species: points}, extent)
            self._found[label] = self._fields[label].at(self._species, points)
        values = [v for found in self._found.values() for v in found.values.values()] + self._mean_field.values
        self._slope.tabulate(
            min(float(v.min(initial=0.0)) for v in values), max(float(v.max(initial=0.0)) for v in values)
        )
        self._mean_field.sample()

    def at(self, label: str, x: Array) -> tuple[Array, Array, Array]:
        """Return by level and particle its share of ψ, that of ∂_t ψ, and ∇ψ, at the positions of ``update``."""
        found, weights = self._found[label], self._weights[label]
        q = {m: self._slope.value(found[m]) for m in self._names}
        for m in self._names:
            weights[m][:] = self._weight * q[m]
        self._sums[label].update(dict.fromkeys(self._names, x), self._extent)
        sums = self._sums[label].at(self._names[0], x)
        psi, change = np.empty((2, len(q), len(x)))
        gradient = np.empty((len(q), *x.shape))
        for k, m in enumerate(self._names):
            value, slope, change[k] = self._mean_field.at(m, x)
            psi[k] = value - 0.5 * self._slope.primitive(found[m])
            gradient[k] = slope - 0.5 * (q[m][:, None] * found.gradients[m] + sums.gradients[m])
        return psi, change, gradient


class _Slope:
    """Q(a) = tr(D⁻¹ ∂c/∂∇a)/d, a function of the field alone, and its antiderivative Π, as splines."""

    def __init__(self, model: Model, species: str, field: str) -> None:
        self._model, self._species, self._field = model, species, field

    def tabulate(self, low: float, high: float) -> None:
        """Tabulate both between two values of the field.

        Raises:
            InputError: Q depends on the position.
        """
        from scipy.interpolate import make_interp_spline

        room = 0.01 * (high - low) + 1e-9
        at = np.linspace(low - room, high + room, _TABLE)
        q, elsewhere = (self._at(at, np.full((_TABLE, self._model.dimension), x)) for x in (0.0, 0.7))
        if not np.allclose(q, elsewhere, rtol=1e-6, atol=1e-9):
            raise InputError(
                'reference = "tilted" is for coefficients in which the gradient of the field has a factor that does '
                'not depend on the position: use reference = "product"'
            )
        self.value = make_interp_spline(at, q, k=5)
        self.primitive = self.value.antiderivative()

    def _at(self, values: Array, x: Array) -> Array:
        n, d = x.shape
        still, q = np.zeros((n, d)), np.zeros(n)
        for axis in range(d):
            moved = np.repeat(np.eye(d)[[axis]], n, axis=0)
            own, known = (FieldValues(x, {self._field: values}, {self._field: g}) for g in (moved, still))
            c, diffusion = defect(self._model, self._species, own, known, still)
            q += np.linalg.solve(as_matrices(diffusion, n, d), c[..., None])[:, axis, 0]
        return np.asarray(q / d)


class _MeanFieldPart:
    """W_m and its derivative in time, as splines on a grid around the particles."""

    def __init__(self, ensemble: Ensemble, species: str, kernels: Mapping[str, Kernel], slope: _Slope) -> None:
        self._pde, self._species, self._kernels, self._slope = ensemble.pde, species, kernels, slope
        self._grid = SampledField(ensemble.pde.model.dimension, coarse=_COARSE, most=0)
        self._beside = 0.5 * float(ensemble.times[1])

    def update(self, extent: Extent, t: float) -> None:
        """Convolve the density at a time, before and after it with the kernels. Collective."""
        if not self._grid.covers(extent):
            self._grid.resolve(extent, lambda: 0.0, 1.0)
            self._set_transforms()
        self._times = (t, max(t - self._beside, 0.0), min(t + self._beside, self._pde.t_end))
        self._u = [self._pde.on_grid(self._grid.axes, self._species, s, outside=0.0) for s in self._times]
        self._fields = [self._convolved(u, self._transforms) for u in self._u]

    @property
    def values(self) -> list[Array]:
        """The fields on the grid."""
        return [field for fields in self._fields for field in fields.values()]

    def sample(self) -> None:
        """Take W and its derivative. Collective."""
        for m, transform in self._transforms.items():
            now, before, after = (
                0.5 * (self._slope.primitive(b[m]) + self._convolved(self._slope.value(b[m]) * u, {m: transform})[m])
                for u, b in zip(self._u, self._fields, strict=True)
            )
            self._grid.interpolate(m, now)
            self._grid.interpolate(f"{m} in time", (after - before) / (self._times[2] - self._times[1]))

    def at(self, m: str, x: Array) -> tuple[Array, Array, Array]:
        """Return W_m, ∇W_m and ∂_t W_m at points."""
        value, gradient, change = np.empty(len(x)), np.empty(x.shape), np.empty(len(x))
        self._grid.at(m, x, value, gradient)
        self._grid.at(f"{m} in time", x, change)
        return value, gradient, change

    def _set_transforms(self) -> None:
        """Set the transforms of the kernels between points of the grid, without images."""
        corner, h = self._grid.shape, self._grid.spacing
        shape = doubled(corner)
        self._convolve = FastConvolution(shape, corner, shape[-1] // 2 + 1, threads=1)
        self._transforms = {
            m: free_space_factor(
                partial(kernel.truncated_symbol, dimension=len(corner)),
                _nodes,
                corner,
                spacing=h,
                support=_SUPPORT * h * math.hypot(*corner),
                threads=1,
            )
            for m, kernel in self._kernels.items()
        }

    def _convolved(self, f: Array, transforms: Mapping[str, Array]) -> dict[str, Array]:
        found = self._convolve(f, transforms)
        return {m: np.ascontiguousarray(each[..., : f.shape[-1]]) for m, each in found.items()}


def _nodes(phases: Sequence[Array], spacing: float) -> tuple[Array, Array]:
    """Return |k|² and the factor 1 of values at nodes."""
    lam = np.asarray(sum(np.square(each / spacing) for each in np.ix_(*phases)))
    return lam, np.ones(lam.shape)
