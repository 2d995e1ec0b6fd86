r"""Measures of particles: the coupling, propagation of chaos, the law of large numbers, the error of the time step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from kspde.distances import compare
from kspde.distances.target import Target
from kspde.errors import InputError, check_choice, check_flag, check_integer, check_number, check_scheme_name
from kspde.evidence import coupled_distance, entropy_bound
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.tilted import FEWEST, check_tilted
from kspde.kernels.log_potential import SURFACE
from kspde.papers.experiment import Experiment
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.quantities import Meaning, Quantity, fraction, given, mean
from kspde.particles.schemes import SCHEMES
from kspde.radial import moment
from kspde.runtime.reductions import everyones
from kspde.typing import Array

__all__ = ["Chaos", "Coupling", "Distance", "Fluctuations", "WeakError", "ensemble_of", "particles_of"]

#: Keys of [particles] that measures set themselves, or that do not change what they measure.
_SET_HERE = ("seed", "replica", "times", "statistics")


@dataclass(frozen=True, kw_only=True)
class Coupling(Measure):
    r"""E S, P(S > cN^(−α)), N^(2α) E S² and more, for :math:`S = \max_i \sup_t |X_i - \bar X_i|`.

    X are Wang, Li and Huang's particles (1.3), X̄ their (1.8), with the same starting points and Brownian motions.
    Their Theorem 1 bounds :math:`P(\max_i |X_i - \bar X_i|(t) > N^{-\alpha})` at each t; S contains the supremum over
    t, here over the steps, which is a stronger statement. At c = 1 the probability is too small to be seen in most
    runs. Their proof has no scale: it bounds :math:`P(S > cN^{-\alpha})` at the same rate for every c > 0, with the
    constant :math:`C c^{-2}`; a ``level`` c near the distances that occur makes the probability one that can be
    measured. Markov's inequality :math:`P(S > N^{-\alpha}) \le N^{2\alpha} E S^2` bounds it too. Also measured are
    :math:`E \sup_t |X_i - \bar X_i|^2` of one particle, for which no logarithm of N is to be expected, and :math:`E
    \min_{i \ne j} |X_i - X_j|` at the end.

    The number of pairs of independent points closer than r is nearly Poisson, of mean :math:`\frac12 N(N-1) \omega_d
    r^d \int u^2` with the ball's volume :math:`\omega_d`. So :math:`E \min_{i \ne j} |X_i - X_j| \approx \Gamma(1 +
    1/d)\,\bigl(\tfrac12 N(N-1)\omega_d \int u^2\bigr)^{-1/d}`, in the plane :math:`1/(N\sqrt{2\int u^2})`:
    ``minimal_ratio`` is the measured mean over this one, of one species. A particle's distance from its mean-field
    particle is nearly Gaussian, so that S is expected to behave like :math:`\sqrt{\log N / N}`.

    Attributes:
        replicas: the number of independent systems, at least 2.
        alpha: the exponent α of the distance cN^-α, positive.
        level: the factor c of the distance cN^-α, positive.
        saves: the number of intervals between the snapshots that the mean field is interpolated from.
        mean_field: the density that moves X̄: that of the particles' own problem ("mollified"), or that without
            mollifier ("local"), as for Chen, Daus and Jüngel's limiting particles (5) and their Theorem 3.
        self_interaction: whether the term j = i is "in" the fields' sums, as printed in (1.3), or "out".
    """

    name: ClassVar = "coupling"
    several: ClassVar = True
    quantities: ClassVar = {
        "sup": Meaning(
            "E max_i sup_t |X_i − X̄_i|",
            "Largest distance of a particle from its mean-field particle, over all particles and times",
        ),
        "probability": Meaning(
            "P(max_i sup_t |X_i − X̄_i| > cN^{−α})",
            "Share of the systems in which a particle leaves its mean-field particle by more than cN^{−α}",
        ),
        "mean_square": Meaning(
            "E sup_t |X_i − X̄_i|^2",
            "Mean square of the largest distance in time of one particle from its mean-field particle",
        ),
        "minimal_distance": Meaning("E min_{i≠j} |X_i − X_j|", "Least distance between two particles at the end"),
        "scaled_sup": Meaning(
            "(N/log N)^{1/2} E max_i sup_t |X_i − X̄_i|",
            "Largest distance of a particle from its mean-field particle, over the rate of a maximum of Gaussians",
        ),
        "minimal_ratio": Meaning(
            "E min_{i≠j} |X_i − X_j| / E min, independent",
            "Least distance between two particles at the end, over that of independent points of the same density",
        ),
        "markov": Meaning(
            "N^{2α} E max_i sup_t |X_i − X̄_i|^2",
            "Markov's bound on the probability that a particle leaves its mean-field particle by more than N^{−α}",
        ),
    }

    replicas: int
    alpha: float
    level: float = 1.0
    saves: int = 25
    mean_field: Literal["mollified", "local"] = "mollified"
    self_interaction: Literal["in", "out"] = "in"

    def __post_init__(self) -> None:
        check_choice("mean_field", self.mean_field, ("mollified", "local"))
        check_choice("self_interaction", self.self_interaction, ("in", "out"))
        check_integer("replicas", self.replicas, at_least=2)
        check_number("alpha", self.alpha, above=0)
        check_number("level", self.level, above=0)
        check_integer("saves", self.saves, at_least=1)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        more: dict[str, Any] = {"include_self": self.self_interaction == "in"}
        if self.mean_field == "local":
            more["source"] = task.density(task.experiment.problem.local, saves=self.saves)
        ensemble = ensemble_of(task, self.replicas, self.saves, **more)
        n = check_integer("n", ensemble.n, at_least=2)
        largest: dict[str, Array] = {}
        nearest = np.full(len(ensemble.replica_of) // n, np.inf)
        last = len(ensemble.times) - 1

        def look(step: int, t: float) -> None:
            for name, x in ensemble.particles.positions.items():
                square = np.square(x - ensemble.systems["mean_field"].positions[name]).sum(axis=1)
                largest[name] = np.maximum(largest.get(name, 0.0), square.reshape(-1, n))
                if step == last:
                    nearest[:] = np.minimum(nearest, [_nearest(own) for own in x.reshape(-1, n, x.shape[1])])

        ensemble.run(look)
        nearest = everyones(nearest, ensemble.comm)
        squares = np.array([everyones(own, ensemble.comm) for own in largest.values()])
        sup = np.sqrt(squares.max(axis=2)).sum(axis=0)
        out = {
            "sup": mean(sup),
            "scaled_sup": mean(np.sqrt(n / np.log(n)) * sup),
            "mean_square": mean(squares.mean(axis=(0, 2))),
            "minimal_distance": mean(nearest),
            "probability": fraction(sup > self.level * n**-self.alpha),
            "markov": mean((n**self.alpha * sup) ** 2),
        }
        if len(largest) == 1:
            (species,) = largest
            out["minimal_ratio"] = mean(nearest / _minimal_distance(Target.of(ensemble.pde, species), n))
        return out


@dataclass(frozen=True, kw_only=True)
class Chaos(Measure):
    r"""The coupled L¹ distance and the entropy bound, at the final time.

    See :func:`kspde.evidence.coupled_distance` and :func:`kspde.evidence.entropy_bound`. The bound holds for the whole
    N-particle law; ``certified_l1`` is its bound for one particle, :math:`\sqrt{2 H}`. Both are certified up to the
    interval of the mean over replicas and the bias of the time step.

    Attributes:
        replicas: the number of independent systems, at least 4, with the tilted reference at least 32.
        saves: the number of intervals between the snapshots that the density is interpolated from.
        coupled: whether the coupled distance ``l1`` is estimated too, at the cost of a second run.
        reference: the entropy bound's reference, "product", or "tilted" for the bound of :mod:`kspde.evidence.tilted`,
            for one species with one field.
        self_interaction: whether the term j = i is "in" the fields' sums, as printed in (1.3), or "out".
    """

    name: ClassVar = "chaos"
    quantities: ClassVar = {
        "l1": Meaning("‖u_{N,1} − u^ε‖_{L^1}", "Distance of the one-particle law from the density, coupled estimate"),
        "entropy": Meaning("bound on H_N/N", "Bound on the relative entropy H_N of the N-particle law, per particle"),
        "total_entropy": Meaning("bound on H_N", "Bound on the relative entropy H_N of the N-particle law"),
        "certified_l1": Meaning(
            "bound on ‖u_{N,1} − u^ε‖_{L^1}",
            "Bound on the distance of the one-particle law from the density, from the bound on the entropy",
        ),
    }

    replicas: int
    saves: int = 25
    coupled: bool = True
    reference: Literal["product", "tilted"] = "product"
    self_interaction: Literal["in", "out"] = "in"

    def __post_init__(self) -> None:
        check_choice("reference", self.reference, ("product", "tilted"))
        check_choice("self_interaction", self.self_interaction, ("in", "out"))
        check_integer("replicas", self.replicas, at_least=self.fewest)
        check_integer("saves", self.saves, at_least=1)
        check_flag("coupled", self.coupled)

    @property
    def fewest(self) -> int:
        """The least number of replicas."""
        return FEWEST if self.reference == "tilted" else 4

    def check(self, experiment: Experiment) -> None:
        """Raise unless the measure is made for an experiment.

        Raises:
            InputError: also a model that the tilted reference is not for, or fields that relax without j = i.
        """
        super().check(experiment)
        model = experiment.problem.model
        if self.reference == "tilted":
            check_tilted(model)
        if self.self_interaction == "out" and any(f.tau > 0 for f in model.fields):
            raise InputError(
                'self_interaction = "out" has no meaning where a field has tau > 0, since particles meet what they '
                'left behind: use "in"'
            )

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        pde = task.density(saves=self.saves)
        options = particles_of(task) | {"include_self": self.self_interaction == "in"}
        bound = entropy_bound(pde, replicas=self.replicas, reference=self.reference, **options)
        certified = bound.l1(r=1)
        low, high = (float(end[-1]) for end in certified.interval)
        out = {
            "entropy": mean(bound.samples[:, -1]),
            "total_entropy": mean(options["n"] * bound.samples[:, -1]),
            "certified_l1": given(float(certified.value[-1]), (low, high)),
        }
        if self.coupled:
            distance = coupled_distance(pde, replicas=self.replicas, **options)
            out["l1"] = given(distance.l1.value, distance.l1.interval)
        return out


@dataclass(frozen=True, kw_only=True)
class Distance(Measure):
    """The L¹ and the energy distance of N particles from the density at the end, each beside its floor; L¹ if signed.

    The means over independent clouds of what ``kspde.compare`` returns for one, with the bandwidth of N draws. A floor
    is the same distance of N independent draws from the density, with the interval of one such cloud: the mean over
    clouds is to be compared with its value. Both fall with N; what is left of the difference is that of the laws.

    Attributes:
        replicas: the number of independent clouds, at least 2.
        against: the density: "own", with the particles' mollifier (1.9), or "local", without one (1.1).
    """

    name: ClassVar = "distance"
    quantities: ClassVar = {
        name + suffix: Meaning(symbol + mark, words + more)
        for name, symbol, words in (
            ("l1", "E ‖K_h * μ_N − u‖_{L^1}", "Distance in L^1 of the particles' density estimate from the density"),
            ("energy", "E D(μ_N, u)", "Energy distance of the particles from the density"),
        )
        for suffix, mark, more in (
            ("", "", ""),
            ("_floor", ", independent draws", ": its floor, as many independent draws"),
            ("_without_noise", ", without noise", ", without the particles' noise"),
        )
    }

    replicas: int
    against: Literal["own", "local"] = "own"

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=2)
        check_choice("against", self.against, ("own", "local"))

    @classmethod
    def takes(cls, key: str) -> bool:
        """Return whether the measure uses a key of [particles]: all but those that it sets itself."""
        return key not in _SET_HERE

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        own = task.experiment.problem
        pde = task.density(problem=own.local if self.against == "local" else own)
        clouds = (task.cloud(replica=r) for r in range(self.replicas))
        signed = any(density.signed for density in own.u0.values())
        names = ("l1",) if signed else ("l1", "energy")
        found = [compare(pde, cloud, distances=names, seed=task.seed) for cloud in clouds]
        out: dict[str, Quantity] = {}
        for name in names:
            floor = found[0].floor[name]  # the same for all without weights: it depends on the density and N alone
            out[name] = mean([each[name].value for each in found])
            out[f"{name}_floor"] = given(floor.value, floor.interval)
            out[f"{name}_without_noise"] = mean([each.debiased[name].value for each in found])
        return out


@dataclass(frozen=True, kw_only=True)
class Fluctuations(Measure):
    r"""The moments :math:`E|\frac1N \sum_j h_{ij}|^{2m}` for m = 1, 2, 3, of independent copies.

    Wang, Li and Huang's Lemma 2 with ψ = M Φ^ε, the kernel of the model's first field times the density's mass:
    :math:`h_{ij} = \psi(\bar X_i - \bar X_j) - \psi * u/M(\bar X_i)`, the term j = i included, and bounded by
    :math:`C(m) \|\psi\|_\infty^{2m} N^{-m}`. The copies are the starting points, drawn from u_0 exactly: no time step
    enters. Each replica gives the mean over its i.

    Attributes:
        replicas: the number of independent systems, at least 2.
    """

    name: ClassVar = "fluctuations"
    quantities: ClassVar = {
        f"moment_{m}": Meaning(
            f"E |N^{{−1}} Σ_j h_{{ij}}|^{2 * m}", f"Moment of order {2 * m} of the fluctuations of independent copies"
        )
        for m in (1, 2, 3)
    } | {
        f"constant_{m}": Meaning(
            f"E |N^{{−1}} Σ_j h_{{ij}}|^{2 * m} · {'N' if m == 1 else f'N^{m}'} / ‖ψ‖_∞^{2 * m}",
            f"The constant C({m}) that this moment needs",
        )
        for m in (1, 2, 3)
    }

    replicas: int

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=2)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the moments and the constants that they need."""
        ensemble = ensemble_of(task, self.replicas, 1)
        n, field = ensemble.n, ensemble.fields[0]
        # A positive definite function: its largest value is that at 0.
        problem = task.experiment.problem
        largest = abs(moment(field.kernel, problem.model.dimension)) * sum(problem.masses.values())
        if largest**6 == 0.0:  # the third moments are divided by it
            raise InputError(f"the model's field is {largest:g} at most: give a stronger one")
        moments = np.zeros((len(ensemble.replica_of) // n, 3))

        def look(step: int, t: float) -> None:
            if step:
                return
            own, known = (ensemble.systems[label] for label in ("particles", "mean_field"))
            for name, x in own.positions.items():
                square = np.square(own.at(name, x)[field.name] - known.at(name, x)[field.name])
                for m in range(3):
                    moments[:, m] = np.mean(square.reshape(-1, n) ** (m + 1), axis=1)

        ensemble.run(look)
        means = everyones(moments, ensemble.comm).T
        out = {f"moment_{m + 1}": mean(means[m]) for m in range(3)}
        scale = n / largest**2
        return out | {f"constant_{m + 1}": mean(means[m] * scale ** (m + 1)) for m in range(3)}


@dataclass(frozen=True, kw_only=True)
class WeakError(Measure):
    r"""The error of :math:`M E|X_T|^2`, relative to the density's second moment :math:`\int |x|^2 u`, of mass M.

    The density is that of the finite elements. Particles Y with χ = 0 and the same noise, whose fields vanish, serve as
    control variate: :math:`E|X_T|^2 \approx \overline{|X_T|^2 - |Y_T|^2} + E|Y_T|^2`, where the last term is the
    density's second moment for χ = 0 over M, has a fraction of the variance. For χ = 0 the coefficient is constant and
    both schemes are exact in law, whatever the step: ``free``, the error of :math:`\overline{|Y_T|^2}`, is scatter
    alone. The system of N particles itself has a bias of order 1/N, which is not an error of the step.

    Attributes:
        replicas: the number of independent systems, at least 2.
        scheme: the scheme: "euler-maruyama", promised weak order 1, or "weak-2", 2.
    """

    name: ClassVar = "weak-error"
    quantities: ClassVar = {
        "second_moment": Meaning(
            "relative error of E |X_T|^2",
            "Second moment of the particles over that of the density, minus 1, by the control variate χ = 0",
        ),
        "free": Meaning(
            "relative error of E |Y_T|^2",
            "The same for χ = 0 itself, where the law is known and the scheme exact: scatter alone",
        ),
    }

    replicas: int
    scheme: str = "euler-maruyama"

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=2)
        check_scheme_name(self.scheme, SCHEMES)

    @classmethod
    def takes(cls, key: str) -> bool:
        """Return whether the measure uses a key of [particles]: all but those that it sets itself."""
        return key not in (*_SET_HERE, "scheme")

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the errors."""
        problem = task.experiment.problem
        alone = problem.model.without_interaction()
        if alone is None:
            raise InputError(
                f'measure "weak-error" compares with independent particles: {problem.model} has no strength that can '
                "be 0; give its model a method without_interaction"
            )
        free = replace(problem, model=alone)
        exact, exact_free = (
            float(task.density(problem=each).diagnostics["second_moment"][-1]) for each in (problem, free)
        )
        errors, scatter = np.empty(self.replicas), np.empty(self.replicas)
        for r in range(self.replicas):
            x, y = (
                float(task.cloud(each, replica=r, scheme=self.scheme).diagnostics["second_moment"][-1])
                for each in (problem, free)
            )
            errors[r], scatter[r] = x - y - (exact - exact_free), y - exact_free
        return {"second_moment": mean(errors / exact), "free": mean(scatter / exact_free)}


def _nearest(x: Array) -> float:
    """Return the least distance between two of the points x, shape (n, d), n >= 2."""
    from scipy.spatial import cKDTree

    return float(cKDTree(x).query(x, k=2)[0][:, 1].min())


def _minimal_distance(u: Target, n: int) -> float:
    """Return the mean of the least distance between two of n independent points of a density."""
    grid, d = u.mass_grid(), u.d
    square = float(np.sum(np.square(u.on_grid(grid.axes) / u.mass)) * grid.cell_volume)
    pairs = 0.5 * n * (n - 1) * SURFACE[d] / d * square
    return float(math.gamma(1 + 1 / d) * pairs ** (-1 / d))


def particles_of(task: Task) -> dict[str, Any]:
    """Return the arguments of an ensemble of a task's particles."""
    simulated = task.experiment.simulate or {}
    return {name: simulated[name] for name in ("n", "dt", "field_tol") if name in simulated} | {"seed": task.seed}


def ensemble_of(task: Task, replicas: int, saves: int, **more: Any) -> Ensemble:
    """Return replicas of a task's particles, with mean-field particles beside them."""
    return Ensemble(pde=task.density(saves=saves), replicas=replicas, coupled=True, **particles_of(task), **more)
