"""What the measures of particles make of given paths, against sums written out here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from scipy.spatial.distance import pdist

import kspde
from kspde.errors import InputError
from kspde.evidence.ensemble import Ensemble
from kspde.papers import experiment
from kspde.papers.studies.measures import MEASURES, Task, measured, ranges
from kspde.papers.studies.measures import particles as particle_measures
from kspde.problem import Problem

REPLICAS, N, ALPHA = 3, 4, 0.1


class Paths:
    """An ensemble whose particles move as they are told: farthest from their twins half-way."""

    n, pde, comm = N, None, MPI.COMM_SELF
    replica_of = np.repeat(np.arange(REPLICAS), N)
    times = np.array([0.0, 0.1, 0.2])

    def __init__(self) -> None:
        random = np.random.default_rng(6)
        self.twins = random.normal(size=(3, REPLICAS * N, 2))
        apart = random.normal(size=(REPLICAS * N, 2)) * np.array([[0.0], [0.6], [0.25]])[:, None]
        self.paths = self.twins + apart
        self.systems = {label: SimpleNamespace(positions={}) for label in ("particles", "mean_field")}
        self.particles = self.systems["particles"]

    def run(self, look: Any) -> None:
        for step, t in enumerate(self.times):
            self.systems["particles"].positions = {"u": self.paths[step]}
            self.systems["mean_field"].positions = {"u": self.twins[step]}
            look(step, float(t))


def test_the_coupling_is_the_supremum_over_time_and_particles(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths()
    monkeypatch.setattr(particle_measures, "ensemble_of", lambda *_, **__: paths)
    monkeypatch.setattr(particle_measures, "Target", SimpleNamespace(of=lambda pde, species: None))
    monkeypatch.setattr(particle_measures, "_minimal_distance", lambda target, n: 2.0)
    task: Any = None
    found = particle_measures.Coupling(replicas=REPLICAS, alpha=ALPHA).at(task)
    distance = np.linalg.norm(paths.paths - paths.twins, axis=2).reshape(3, REPLICAS, N)
    assert np.all(distance[1] > distance[2])
    sup = distance.max(axis=(0, 2))
    level = N**-ALPHA
    assert sup.min() < level < sup.max()
    assert found["sup"].samples == pytest.approx(sup)
    assert found["mean_square"].samples == pytest.approx((distance**2).max(axis=0).mean(axis=1))
    assert found["probability"].value == pytest.approx(np.mean(sup > level))
    assert found["markov"].value == pytest.approx(np.mean(sup**2) / level**2)
    assert found["markov"].value >= found["probability"].value
    ends = paths.paths[-1].reshape(REPLICAS, N, 2)
    assert found["minimal_distance"].samples == pytest.approx([pdist(x).min() for x in ends])
    assert found["minimal_ratio"].value == pytest.approx(found["minimal_distance"].value / 2)


def test_the_weak_error_is_against_the_density_with_the_free_particles_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second moments 3 and 2 of the densities; particles miss them by .3 and .1, and by noise that both share."""
    noise, calls = (0.05, -0.02, 0.04), []

    def simulate(*, model: Any, **options: Any) -> Any:
        calls.append(options)
        shift = (3.3 if model.chi else 2.1) + noise[options["replica"]]
        return SimpleNamespace(diagnostics={"second_moment": np.array([9.0, shift])})

    def solve(*, model: Any, **options: Any) -> Any:
        return SimpleNamespace(diagnostics={"second_moment": np.array([9.0, 3.0 if model.chi else 2.0])})

    monkeypatch.setattr(experiment, "simulate", simulate)
    monkeypatch.setattr(experiment, "solve", solve)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    stated = experiment.Experiment(
        problem=Problem.of(kspde.SignalDependentKellerSegel(chi=8.0), u0, t_end=1.0),
        domain=kspde.Box(half_width=9.0, cells=8),
        solve={},
        simulate={"n": 5, "dt": 0.1},
    )
    task = Task(experiment=stated, seed=7, comm=None)
    found = particle_measures.WeakError(replicas=3, scheme="weak-2").at(task)
    assert found["second_moment"].samples == pytest.approx([0.2 / 3] * 3)  # what both share is gone
    assert found["free"].samples == pytest.approx([(0.1 + z) / 2 for z in noise])
    assert [(c["scheme"], c["seed"], c["n"], c["dt"]) for c in calls] == [("weak-2", 7, 5, 0.1)] * 6
    assert [c["replica"] for c in calls] == [0, 0, 1, 1, 2, 2]


def test_the_best_range_is_where_the_mean_is_least_and_noise_in_common_cancels() -> None:
    x = 1.26 ** np.arange(-4, 5)
    curve = 0.2 * x**4 + 0.8 / x  # least at 1, with the value 1
    random = np.random.default_rng(2)
    shared = random.lognormal(0, 0.5, (40, 1)) * curve
    best, least = ranges.minimiser(x, shared, seed=1)
    assert best.value == pytest.approx(1.0, abs=0.01)
    assert least.value == pytest.approx(shared.mean() / curve.mean(), rel=0.01)
    assert best.interval[1] - best.interval[0] < 0.01
    values = [ranges.minimiser(x, curve * random.lognormal(0, 0.1, (40, 9)), seed=1)[0] for _ in range(60)]
    covered = np.mean([v.interval[0] < best.value < v.interval[1] for v in values])
    assert covered > 0.85
    assert np.std([v.value for v in values]) == pytest.approx(np.mean([v.error for v in values]), rel=0.4)
    with pytest.raises(InputError, match="give wider ones"):
        ranges.minimiser(x, shared[:, ::-1] / x**4, seed=1)


def test_the_errors_of_moderate_interaction_are_those_of_sums_over_all_pairs() -> None:
    """On the line: V^η * μ_N by its closed form, and trapezoidal sums of its distances from the local density."""
    model = kspde.CrossDiffusion(a=((0.6, 0.3), (0.2, 0.5)), sigma=(0.3, 0.4), dimension=1)
    u0 = {
        name: kspde.GaussianMixture(weights=[1.0], means=[[m]], stds=[0.5], mass=mass)
        for name, m, mass in (("u1", -0.4, 1.0), ("u2", 0.5, 1.5))
    }
    box = kspde.Box(half_width=6.0, cells=16, degree=8, dimension=1)
    options: Any = {"t_end": 0.02, "tol": 1e-5, "save": kspde.SaveAt(times=(0.0, 0.02)), "comm": MPI.COMM_SELF}
    local = kspde.solve(model, u0, box, **options)
    pde = kspde.solve(model, u0, box, eps=0.7, mollifier="compact-bump", **options)
    ensemble = Ensemble(pde=pde, source=local, coupled=True, n=100, dt=0.02, replicas=2, seed=3)
    start = {label: {k: x.copy() for k, x in s.positions.items()} for label, s in ensemble.systems.items()}
    found = ranges._errors(ensemble, local, 0.7)
    ends = {label: {k: x.reshape(2, 100) for k, x in s.positions.items()} for label, s in ensemble.systems.items()}
    bump, axis = kspde.CompactBump(eps=0.7), np.linspace(-6.0, 6.0, 4001)
    apart = [np.abs(ends["particles"][k] - ends["mean_field"][k]) for k in u0]
    assert found["path"] == pytest.approx(sum(np.mean(x**2, axis=1) for x in apart))
    assert found["largest"] == pytest.approx(sum(x.max(axis=1) for x in apart))
    # One step: X − X̂ is dt times the difference of the drifts at the common start, which is exact here.
    first = start["particles"]["u1"].ravel()[:100]
    drift = np.zeros(100)
    for a, k, mass in ((0.6, "u1", 1.0), (0.3, "u2", 1.5)):
        z = first[:, None] - start["particles"][k].ravel()[:100]
        slope = np.mean(bump.slope(np.abs(z), 1) * np.sign(z), axis=1) * mass
        own = u0[k](first[:, None]) * (u0[k].means[0, 0] - first) / 0.25
        drift -= a * (slope - own)
    assert apart[0][0] == pytest.approx(0.02 * np.abs(drift), abs=2e-5)
    density = np.zeros(2)
    gradients = {}
    for k, mass in (("u1", 1.0), ("u2", 1.5)):
        z = axis - ends["particles"][k][:, :, None]
        difference = mass * bump.profile(np.abs(z), 1).mean(axis=1) - local.on_grid([axis], k)
        density += np.trapezoid(difference**2, axis, axis=1)
        gradients[k] = np.gradient(difference, axis, axis=1)
    assert found["density"] == pytest.approx(density, rel=0.01)
    square = np.zeros(2)
    for (b, c), k in zip(model.a, u0, strict=True):
        u = local.on_grid([axis], k)
        square += np.trapezoid((b * gradients["u1"] + c * gradients["u2"]) ** 2 * u, axis, axis=1) / u0[k].mass
    assert found["drift"] == pytest.approx(square, rel=0.01)


U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.2]], stds=[0.7])
RELAXING = kspde.LocalSensing(motility=lambda v: np.exp(-v), chi=8.0, tau=1.0)


def few(model: Any = None, u0: Any = U0) -> experiment.Experiment:
    return experiment.Experiment(
        problem=Problem.of(
            model or kspde.SignalDependentKellerSegel(chi=8.0),
            u0,
            t_end=0.2,
            eps=0.3 if model is None or model.fields else None,
        ),
        domain=kspde.Box(half_width=9.0, cells=12, degree=4),
        solve={"tol": 1e-5},
        simulate={"n": 8, "dt": 0.1},
    )


@pytest.mark.parametrize("reference", ["product", "tilted"])
def test_the_entropy_is_bounded_with_the_reference_and_the_sums_that_are_asked_for(reference: Any) -> None:
    stated, asked = few(), Task(experiment=few(), seed=3, comm=MPI.COMM_SELF)
    pde = stated.density(save=kspde.SaveAt(times=(0.0, 0.1, 0.2)), comm=MPI.COMM_SELF)
    for own in ("in", "out"):
        measure = MEASURES["chaos"](replicas=32, saves=2, coupled=False, reference=reference, self_interaction=own)
        found = measured(measure, asked)
        bound = kspde.entropy_bound(
            pde, n=8, dt=0.1, replicas=32, seed=3, reference=reference, include_self=own == "in"
        )
        assert set(found) == {"entropy", "total_entropy", "certified_l1"}
        assert found["entropy"].samples == pytest.approx(bound.samples[:, -1])
        assert found["total_entropy"].value == pytest.approx(8 * bound.value[-1])
        assert found["certified_l1"].value == pytest.approx(bound.l1().value[-1])


@pytest.mark.one_rank
def test_the_coupled_distance_is_that_of_the_same_particles() -> None:
    asked = Task(experiment=few(), seed=3, comm=MPI.COMM_SELF)
    found = measured(MEASURES["chaos"](replicas=4, saves=2, self_interaction="out"), asked)
    pde = few().density(save=kspde.SaveAt(times=(0.0, 0.1, 0.2)), comm=MPI.COMM_SELF)
    distance = kspde.coupled_distance(pde, n=8, dt=0.1, replicas=4, seed=3, include_self=False)
    assert found["l1"].value == pytest.approx(distance.l1.value)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("options", "model", "words"),
    [
        ({"replicas": 8}, None, r"^replicas = 8 is not valid: give an integer >= 32"),
        ({"reference": "tilt"}, None, r"^reference = 'tilt' is not valid: give one of product, tilted"),
        ({"self_interaction": "no"}, None, r"^self_interaction = 'no' is not valid: give one of in, out"),
        ({}, kspde.LandauMaxwell(), "is for one species with one field that does not relax, and no moments: use"),
        ({}, RELAXING, "with one field that does not relax"),
        (
            {"reference": "product", "self_interaction": "out"},
            RELAXING,
            r"^self_interaction = .out. has no meaning where a field has tau > 0.*use .in.",
        ),
    ],
)
def test_what_the_tilted_reference_is_not_for_is_refused_before_anything_is_solved(
    options: dict[str, Any], model: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "solve", None)
    with pytest.raises(InputError, match=words):
        measured(
            MEASURES["chaos"](**({"replicas": 32, "reference": "tilted"} | options)),
            Task(experiment=few(model), seed=1, comm=MPI.COMM_SELF),
        )
