"""The entropy bound: against the exact law of two particles, the formula written out, and what must vanish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from particle_systems import START, T_END, density, free, plane

import kspde
from kspde.evidence import ensemble
from kspde.evidence.defect import cumulative, production
from kspde.evidence.ensemble import Ensemble
from kspde.evidence.entropy import EntropyBound


@dataclass(frozen=True, kw_only=True)
class Sensing(kspde.Model):
    """A diffusion coefficient that depends on a gradient."""

    dimension = 1

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True),)

    def diffusion(self, species, c):
        return 1.0 + c.gradient("c")[:, 0] ** 2


@pytest.mark.one_rank
def test_two_particles_against_their_exact_law() -> None:
    pde = density("signal-dependent")
    exact = kspde.liouville(pde, n=2)
    found = kspde.entropy_bound(pde, n=2, dt=0.01, replicas=6000, seed=3)
    assert found.times[-1] == T_END
    low, high = found.interval
    half = 0.5 * (high[-1] - low[-1])
    assert half < 0.15 * exact.bound[-1]
    assert abs(found.value[-1] - exact.bound[-1]) < 1.5 * half  # 95 % is one half; three standard errors are 1.5
    assert found.value[-1] > exact.entropy[-1]
    assert found.l1(2).value[-1] > exact.marginal_l1[1, -1]
    assert found.unresolved < 1e-2


@pytest.mark.one_rank
def test_drift_and_position_against_the_exact_law() -> None:
    pde = density("drift")
    exact = kspde.liouville(pde, n=2)
    found = kspde.entropy_bound(pde, n=2, dt=0.01, replicas=4000, seed=4)
    half = 0.5 * (found.interval[1][-1] - found.interval[0][-1])
    assert abs(found.value[-1] - exact.bound[-1]) < 1.5 * half + 0.01 * exact.bound[-1]


def test_the_formula_of_the_signal_dependent_system() -> None:
    # c = e^(−a)(∇a − ∇b) − (e^(−a) − e^(−b))(∇log u − ∇b), D = 1 + e^(−a), written out.
    rng = np.random.default_rng(5)
    x, a, b = rng.normal(size=(7, 2)), rng.uniform(0, 2, 7), rng.uniform(0, 2, 7)
    da, db, score = rng.normal(size=(3, 7, 2))
    c = np.exp(-a)[:, None] * (da - db) - (np.exp(-a) - np.exp(-b))[:, None] * (score - db)
    own, known = (kspde.FieldValues(x, {"v": v}, {"v": dv}) for v, dv in ((a, da), (b, db)))
    found = production(kspde.SignalDependentKellerSegel(chi=8.0), "u", own, known, score)
    assert found == pytest.approx((c**2).sum(axis=1) / (4 * (1 + np.exp(-a))), rel=1e-7)


def test_integrals_over_uneven_steps_are_trapezoidal() -> None:
    from scipy.integrate import cumulative_trapezoid

    rng = np.random.default_rng(6)
    times, rates = np.cumsum(rng.uniform(0.1, 1.0, 9)), rng.normal(size=(2, 3, 9))
    assert cumulative(rates, times) == pytest.approx(cumulative_trapezoid(rates, times, initial=0), abs=1e-14)


@pytest.mark.one_rank
def test_the_check_numbers_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = kspde.entropy_bound(plane(), n=250, dt=0.05, replicas=8, seed=0)
    assert 0.008 < 250 * bound.value[-1] < 0.025
    assert bound.interval[0][-1] < bound.value[-1] < bound.interval[1][-1]
    assert bound.samples.shape == (8, 11)
    assert np.all(np.diff(bound.value) > 0)
    assert bound.score_error < 1e-4
    assert bound.unresolved < 1e-3
    assert bound.l1(1).value == pytest.approx(np.sqrt(2 * bound.value))
    assert bound.l1(2).value == pytest.approx(np.sqrt(2 * 2 * bound.value))
    assert bound.l1(3).interval[1] == pytest.approx(np.sqrt(2 * 3 * bound.interval[1]))
    # The fields of one replica after the other on a mesh, instead of sums over pairs.
    monkeypatch.setattr(ensemble, "_DIRECT", 1)
    meshed = kspde.entropy_bound(plane(), n=250, dt=0.05, replicas=8, seed=0)
    assert meshed.samples == pytest.approx(bound.samples, rel=1e-3, abs=1e-9)


@pytest.mark.one_rank
def test_without_self_interaction_another_law_is_measured() -> None:
    pde = density("signal-dependent")
    printed, exact = (kspde.liouville(pde, n=2, include_self=choice).bound[-1] for choice in (True, False))
    found = kspde.entropy_bound(pde, n=2, dt=0.01, replicas=4000, seed=3, include_self=False)
    half = 0.5 * (found.interval[1][-1] - found.interval[0][-1])
    assert abs(found.value[-1] - exact) < 1.5 * half
    assert abs(printed - exact) > 5 * half


def test_replica_0_is_a_simulation() -> None:
    pde = plane()
    many = Ensemble(pde=pde, n=40, dt=0.05, replicas=3, seed=7, coupled=True)
    many.run()
    cloud = kspde.simulate(pde.model, pde.u0, n=40, t_end=0.5, dt=0.05, eps=0.3, seed=7, mean_field=pde)
    ours = cloud.comm.allgather(many.particles.positions["u"][many.replica_of == 0])
    twins = cloud.comm.allgather(many.systems["mean_field"].positions["u"][many.replica_of == 0])
    theirs, other = cloud.comm.bcast(cloud.gathered()), cloud.comm.bcast(cloud.mean_field.gathered())
    assert np.concatenate(ours) == pytest.approx(theirs, abs=1e-5)
    assert np.concatenate(twins) == pytest.approx(other, abs=1e-5)


def test_no_interaction_no_entropy() -> None:
    bound = kspde.entropy_bound(free(), n=10, dt=0.05, replicas=3)
    assert np.abs(bound.value).max() < 1e-15


def test_several_species_share_the_entropy() -> None:
    times = np.linspace(0, 1, 3)
    bound = EntropyBound(
        times=times,
        value=0.01 * times,
        interval=(0.005 * times, 0.02 * times),
        samples=np.zeros((2, 3)),
        counts={"a": 30, "b": 10},
        unresolved=0.0,
        score_error=0.0,
    )
    # 40 H bounds the entropy of the 30 of species a, of which three have a tenth at most.
    assert bound.l1(3, "a").value[-1] == pytest.approx(np.sqrt(2 * 40 * 0.01 / 10))
    assert bound.l1(4, "a").value[-1] == pytest.approx(np.sqrt(2 * 40 * 0.01 * 4 / 30))
    with pytest.raises(kspde.InputError, match="species is not given: give one of a, b"):
        bound.l1(1)
    with pytest.raises(kspde.InputError, match="r = 11 is not valid"):
        bound.l1(11, "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replicas": 1}, "replicas = 1 is not valid"),
        ({"n": 0}, "n = 0 is not valid"),
        ({"dt": -0.1}, "dt = -0.1 is not valid"),
        ({"pde": "saved"}, "pde is a str without model: give what kspde.solve returned"),
    ],
)
def test_bad_input(change, words: str) -> None:
    arguments = {"pde": density("signal-dependent"), "n": 4, "dt": 0.1} | change
    with pytest.raises(kspde.InputError, match=words):
        kspde.entropy_bound(arguments.pop("pde"), **arguments)


def test_what_the_bound_cannot_take() -> None:
    box = kspde.Box(half_width=8.0, cells=12, degree=4, dimension=1)
    unsaved = kspde.solve(density("signal-dependent").model, START, box, t_end=0.1, tol=1e-4, eps=0.3)
    with pytest.raises(kspde.InputError, match=r"saved at t = 0.1 only.*save=kspde.SaveAt"):
        kspde.entropy_bound(unsaved, n=4, dt=0.1)
    start = kspde.SaveAt(times=(0.0,))
    sharp = kspde.solve(density("signal-dependent").model, START, box, t_end=0.1, tol=1e-4, save=start)
    with pytest.raises(kspde.InputError, match="give eps"):
        kspde.entropy_bound(sharp, n=4, dt=0.1)
    sensing = kspde.solve(Sensing(), START, box, t_end=0.1, tol=1e-4, eps=0.3, save=start)
    with pytest.raises(kspde.InputError, match=r"cannot be differentiated.*not of their gradients"):
        kspde.entropy_bound(sensing, n=4, dt=0.1)


@pytest.mark.one_rank
def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    kspde.entropy_bound(density("drift"), n=3, dt=T_END / 4, replicas=2, progress=seen.append)
    np.testing.assert_allclose(seen, [0.25, 0.5, 0.75, 1.0], rtol=1e-12)


def gaussian_entropy(r: int, rho: float, shift: float) -> float:
    """H_r of r unit Gaussians of mean ``shift`` and pairwise correlation ρ against independent standard ones."""
    return 0.5 * (r * shift**2 - (r - 1) * np.log(1 - rho) - np.log(1 + (r - 1) * rho))


@pytest.mark.one_rank
@pytest.mark.parametrize("n", [2, 5, 10, 1001])
@pytest.mark.parametrize(("rho", "shift"), [(0.3, 0.0), (0.02, 0.1), (-0.0009, 0.0), (0.0, 0.2)])
def test_marginals_of_an_exchangeable_gaussian_law(n: int, rho: float, shift: float) -> None:
    """H_r ≤ r H with H per particle, whatever r divides; attained by independent particles of another law."""
    total = gaussian_entropy(n, rho, shift)
    bound = EntropyBound(
        times=np.array([0.0, 1.0]),
        value=np.array([0.0, total / n]),
        interval=(np.array([0.0, total / n]), np.array([0.0, total / n])),
        samples=np.zeros((2, 2)),
        counts={"u": n},
        unresolved=0.0,
        score_error=0.0,
    )
    rng = np.random.default_rng(1)
    for r in sorted({1, 2, 3, 4, 7, n // 2, n - 1, n}):
        if not 1 <= r <= n:
            continue
        exact, found = gaussian_entropy(r, rho, shift), bound.l1(r).value[-1]
        assert exact <= r * total / n * (1 + 1e-9) + 1e-12
        assert found == pytest.approx(np.sqrt(2 * r * total / n), rel=1e-12)
        if rho == 0.0:
            assert exact == pytest.approx(r * total / n, rel=1e-9)
        if r <= 3 and rho >= 0:  # the distance itself, E_q|p/q − 1|, by draws from q
            z = rng.standard_normal((200_000, r))
            centred = z - shift
            square = (centred**2).sum(axis=1)
            inverse = (square - rho * centred.sum(axis=1) ** 2 / (1 + (r - 1) * rho)) / (1 - rho)
            determinant = (1 - rho) ** (r - 1) * (1 + (r - 1) * rho)
            ratio = np.exp(0.5 * (z**2).sum(axis=1) - 0.5 * inverse) / np.sqrt(determinant)
            assert np.abs(ratio - 1).mean() < found + 0.01


@pytest.mark.one_rank
def test_the_bias_of_the_time_step() -> None:
    """A run with 2 dt beside: its difference, replica by replica, and what it costs nothing not to ask for."""
    pde = density("signal-dependent")
    fine = kspde.entropy_bound(pde, n=5, dt=0.025, replicas=50, seed=2, time_error=True)
    coarse = kspde.entropy_bound(pde, n=5, dt=0.05, replicas=50, seed=2)
    assert coarse.time_bias is None
    assert fine.time_bias is not None
    difference = coarse.samples[:, -1] - fine.samples[:, -1]
    assert fine.time_bias.value == pytest.approx(difference.mean(), rel=1e-9)
    half = 2.00957524 * difference.std(ddof=1) / np.sqrt(50)  # Student's t of 49 degrees of freedom
    assert fine.time_bias.interval == pytest.approx((difference.mean() - half, difference.mean() + half), rel=1e-6)
    assert fine.summary()["time_bias"]["value"] == fine.time_bias.value
    assert coarse.summary()["time_bias"] is None
