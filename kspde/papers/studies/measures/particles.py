r"""Measures of particles: the coupling, propagation of chaos, the law of large numbers, the error of the time step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kspde.distances import compare
from kspde.errors import InputError, check_choice, check_integer, check_number
from kspde.evidence import coupled_distance, entropy_bound
from kspde.evidence.ensemble import Ensemble
from kspde.models.base import Array
from kspde.papers.studies.measures.base import Task
from kspde.papers.studies.quantities import Quantity, fraction, given, mean
from kspde.particles import simulate
from kspde.radial import moment

__all__ = ["chaos", "coupling", "distance", "fluctuations", "weak_error"]


def coupling(task: Task, *, replicas: int, alpha: float, level: float = 1.0, saves: int = 25) -> dict[str, Quantity]:
    r"""Return E S, P(S > cN^(−α)), N^(2α) E S² and more, for :math:`S = \max_i \sup_t |X_i - \bar X_i|`.

    X are Wang, Li and Huang's particles (1.3), X̄ their (1.8), with the same starting points and Brownian motions. Their
    Theorem 1 bounds :math:`P(\max_i |X_i - \bar X_i|(t) > N^{-\alpha})` at each t; the supremum over t, here over the
    steps, is inside S, so that more is asked. At c = 1 the probability is too small to be seen in most runs. Their
    proof knows no scale: it bounds :math:`P(S > cN^{-\alpha})` at the same rate for every c > 0, with the constant
    :math:`C c^{-2}`; a ``level`` c near the distances that occur makes the probability one that can be measured.
    Markov's inequality :math:`P(S > N^{-\alpha}) \le N^{2\alpha} E S^2` bounds it too.
    Beside them, :math:`E \sup_t |X_i - \bar X_i|^2` of one particle, for which no logarithm of N is to be expected, and
    :math:`E \min_{i \ne j} |X_i - X_j|` at the end.

    Args:
        task: the point.
        replicas: independent systems, at least 2.
        alpha: α > 0.
        level: c > 0.
        saves: intervals between the saved states that the mean field is interpolated from.
    """
    check_number("alpha", alpha, above=0)
    check_number("level", level, above=0)
    ensemble = _ensemble(task, replicas, saves)
    n = check_integer("n", ensemble.n, at_least=2)
    largest = np.zeros((replicas, n))
    last = len(ensemble.times) - 1
    nearest = np.full(replicas, np.inf)

    def look(step: int, t: float) -> None:
        for name, x in ensemble.particles.positions.items():
            square = np.square(x - ensemble.systems["mean_field"].positions[name]).sum(axis=1)
            np.maximum(largest, square.reshape(replicas, n), out=largest)
            if step == last:
                nearest[:] = [_nearest(own) for own in x.reshape(replicas, n, -1)]

    ensemble.run(look)
    sup = np.sqrt(largest.max(axis=1))
    return {
        "sup": mean(sup),
        "mean_square": mean(largest.mean(axis=1)),
        "minimal_distance": mean(nearest),
        "probability": fraction(sup > level * n**-alpha),
        "markov": mean((n**alpha * sup) ** 2),
    }


def chaos(task: Task, *, replicas: int, saves: int = 25) -> dict[str, Quantity]:
    r"""Return the coupled L¹ distance and the entropy bound, at the final time.

    See :func:`kspde.evidence.coupled_distance` and :func:`kspde.evidence.entropy_bound`. The bound holds for the whole
    N-particle law; ``certified_l1`` is its bound for one particle, :math:`\sqrt{2 H}`. Both are certified up to the
    interval of the mean over replicas and the bias of the time step.
    """
    pde = task.density(saves=saves)
    options = _particles(task)
    bound = entropy_bound(pde, replicas=replicas, **options)
    distance = coupled_distance(pde, replicas=replicas, **options)
    certified = bound.l1(r=1)
    low, high = (float(end[-1]) for end in certified.interval)
    return {
        "l1": given(distance.l1.value, distance.l1.interval),
        "entropy": mean(bound.samples[:, -1]),
        "total_entropy": mean(options["n"] * bound.samples[:, -1]),
        "certified_l1": given(float(certified.value[-1]), (low, high)),
    }


def distance(task: Task, *, replicas: int, against: str = "own") -> dict[str, Quantity]:
    """Return the L¹ and the energy distance of N particles from the density at the end, each beside its floor.

    The means over independent clouds of what ``kspde.compare`` returns for one, the bandwidth that of N draws. A floor
    is the same distance of N independent draws from the density, with the interval of one such cloud: the clouds' mean
    is to be set beside its value. Both fall with N; what is left of the difference is that of the laws.

    Args:
        task: the point.
        replicas: independent clouds, at least 2.
        against: "own", the density with the particles' mollifier (1.9), or "local", that without (1.1).
    """
    check_integer("replicas", replicas, at_least=2)
    check_choice("against", against, ("own", "local"))
    changes: dict[str, Any] = {"eps": None, "initial": "u0"} if against == "local" else {}
    pde = task.density(**changes)
    options = {**task.problem.simulate, "seed": task.seed, "comm": task.comm}
    found = [
        compare(
            pde,
            simulate(task.problem.model, task.problem.u0, **(options | {"replica": r})),
            distances=("l1", "energy"),
            seed=task.seed,
        )
        for r in range(replicas)
    ]
    out: dict[str, Quantity] = {}
    for name in ("l1", "energy"):
        floor = found[0].floor[name]  # the same for all: it depends on the density and N alone
        out[name] = mean([each[name].value for each in found])
        out[f"{name}_floor"] = given(floor.value, floor.interval)
        out[f"{name}_without_noise"] = mean([each.debiased[name].value for each in found])
    return out


def fluctuations(task: Task, *, replicas: int) -> dict[str, Quantity]:
    r"""Return :math:`E|\frac1N \sum_j h_{ij}|^{2m}` for m = 1, 2, 3, from i.i.d. copies.

    Wang, Li and Huang's Lemma 2 with ψ = M Φ^ε, the kernel of the model's first field times the density's mass:
    :math:`h_{ij} = \psi(\bar X_i - \bar X_j) - \psi * u/M(\bar X_i)`, the term j = i included, and bounded by
    :math:`C(m) \|\psi\|_\infty^{2m} N^{-m}`. The copies are the starting points, drawn from u_0 exactly: no time step
    enters. Each replica gives the mean over its i.
    """
    ensemble = _ensemble(task, replicas, 1)
    n = ensemble.n
    field = ensemble.fields[0]
    # A positive definite function: its largest value is that at 0.
    largest = abs(moment(field.kernel, task.problem.model.dimension)) * task.problem.u0.mass
    if largest**6 == 0.0:  # the third moments are divided by it
        raise InputError(f"the model's field is {largest:g} at most: give a larger chi")
    means = np.zeros((3, replicas))

    def look(step: int, t: float) -> None:
        if step:
            return
        own, known = (ensemble.systems[label] for label in ("particles", "mean_field"))
        for name, x in own.positions.items():
            square = np.square(own.at(name, x)[field.name] - known.at(name, x)[field.name]).reshape(replicas, n)
            for m in range(3):
                means[m] = np.mean(square ** (m + 1), axis=1)

    ensemble.run(look)
    out = {f"moment_{m + 1}": mean(means[m]) for m in range(3)}
    scale = n / largest**2
    return out | {f"constant_{m + 1}": mean(means[m] * scale ** (m + 1)) for m in range(3)}


def weak_error(task: Task, *, replicas: int, scheme: str = "euler-maruyama") -> dict[str, Quantity]:
    r"""Return the error of :math:`M E|X_T|^2`, relative to the density's second moment :math:`\int |x|^2 u`, of mass M.

    The density is that of the finite elements. With χ = 0 particles Y of the same noise, whose fields vanish, go
    beside: :math:`E|X_T|^2 \approx \overline{|X_T|^2 - |Y_T|^2} + E|Y_T|^2`, where the last is the density's second
    moment for χ = 0 over M, has a fraction of the variance. For χ = 0 the coefficient is constant and both schemes are
    exact in law, whatever the step: ``free``, the error of :math:`\overline{|Y_T|^2}`, is scatter alone. The system of
    N particles has itself a bias of order 1/N, which is no error of the step.

    Args:
        task: the point.
        replicas: independent systems, at least 2.
        scheme: "euler-maruyama", promised weak order 1, or "weak-2", 2.
    """
    check_integer("replicas", replicas, at_least=2)
    model = task.problem.model
    if not hasattr(model, "chi"):
        raise InputError(f'measure "weak-error" needs a model with a strength chi: {model} has none')
    free: Any = replace(model, chi=0.0)  # type: ignore[type-var]
    exact = float(task.density().diagnostics["second_moment"][-1])
    exact_free = float(task.density(model=free).diagnostics["second_moment"][-1])
    rows = np.empty((2, replicas))
    options = {**task.problem.simulate, "seed": task.seed, "scheme": scheme, "comm": task.comm}
    for r in range(replicas):
        x, y = (
            float(simulate(each, task.problem.u0, **(options | {"replica": r})).diagnostics["second_moment"][-1])
            for each in (model, free)
        )
        rows[:, r] = x - y - (exact - exact_free), y - exact_free
    return {"second_moment": mean(rows[0] / exact), "free": mean(rows[1] / exact_free)}


def _nearest(x: Array) -> float:
    """Return the least distance between two of the points x, shape (n, d), n >= 2."""
    from scipy.spatial import cKDTree

    return float(cKDTree(x).query(x, k=2)[0][:, 1].min())


def _particles(task: Task) -> dict[str, Any]:
    given_options = task.problem.simulate
    chosen = {name: given_options[name] for name in ("n", "dt", "field_tol") if name in given_options}
    return {**chosen, "seed": task.seed}


def _ensemble(task: Task, replicas: int, saves: int) -> Ensemble:
    pde = task.density(saves=saves)
    check_integer("replicas", replicas, at_least=2)
    return Ensemble(pde=pde, replicas=replicas, twins=True, **_particles(task))
