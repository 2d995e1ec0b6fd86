"""Whatever the particles are: few, coincident, far away, in any order, lost."""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import kspde
from kspde.initial import InitialDensity
from kspde.models.base import Field, FieldValues, Model
from kspde.particles.observation import tally
from kspde.runtime.compiled import in_blocks, in_shares, on_threads


@dataclass(frozen=True, kw_only=True)
class Attraction(Model):
    """dX = ∇c dt + √(2 D (1 + e^(−c))) dB."""

    dimension: int = 2
    noise: float = 0.0

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field(name="c", kernel=kspde.Yukawa(strength=4.0), gradient=True),)

    def diffusion(self, species, c: FieldValues):
        return self.noise * (1 + np.exp(-c["c"]))

    def drift(self, species, c: FieldValues):
        return c.gradient("c")


class Points(InitialDensity):
    """Starts particle i in the i-th of given points."""

    mass = 1.0

    def __init__(self, points):
        self.points = np.asarray(points, dtype=float)
        self.dimension = self.points.shape[1]

    def __call__(self, x):
        raise NotImplementedError

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        return self.points[ids.astype(int) % len(self.points)]


def everywhere(cloud):
    return cloud.comm.bcast(cloud.gathered())


@pytest.mark.parametrize("method", ["mesh", "direct"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_another_order_of_the_particles_is_the_same_system(dimension, method):
    random = np.random.default_rng(dimension)
    points, order = random.normal(size=(30, dimension)), random.permutation(30)
    options = {"n": 30, "t_end": 0.3, "dt": 0.1, "eps": 0.6, "method": method, "field_tol": 1e-4}
    model = Attraction(dimension=dimension)
    one = everywhere(kspde.simulate(model, Points(points), **options))
    other = everywhere(kspde.simulate(model, Points(points[order]), **options))
    np.testing.assert_allclose(other, one[order], rtol=0, atol=1e-9)
    assert np.abs(one - points).max() > 5e-3


def test_a_signal_with_memory_does_not_know_the_order_either():
    @dataclass(frozen=True, kw_only=True)
    class Slow(Attraction):
        @property
        def fields(self):
            return (Field(name="c", kernel=kspde.Yukawa(strength=4.0), gradient=True, tau=1.0),)

    random = np.random.default_rng(9)
    points, order = random.normal(size=(30, 2)), random.permutation(30)
    options = {"n": 30, "t_end": 0.3, "dt": 0.1, "eps": 0.6}
    one = everywhere(kspde.simulate(Slow(), Points(points), **options))
    np.testing.assert_allclose(
        everywhere(kspde.simulate(Slow(), Points(points[order]), **options)), one[order], atol=1e-9
    )


def coordinates(dimension):
    near = st.floats(-2, 2, allow_nan=False)
    rare = st.sampled_from([0.0, 1.0, 1e-300, 1e6, -1e6, 1e150, 1.7e308, np.inf, -np.inf, np.nan])
    return st.lists(st.one_of(near, near, near, rare), min_size=dimension, max_size=dimension)


@st.composite
def clouds(draw):
    dimension = draw(st.integers(1, 3))
    points = draw(st.lists(coordinates(dimension), min_size=1, max_size=4))
    return np.array([points[draw(st.integers(0, len(points) - 1))] for _ in range(draw(st.integers(1, 7)))])


@settings(max_examples=25)
@given(points=clouds(), noise=st.sampled_from([0.0, 0.5]), scheme=st.sampled_from(["euler-maruyama", "weak-2"]))
def test_every_cloud_is_simulated_or_refused_in_one_line(points, noise, scheme):
    # Few points, often the same, some far away or no numbers: the direct sum's result, or an error that says why.
    n, dimension = points.shape
    model = Attraction(dimension=dimension, noise=noise)
    options = {"n": n, "t_end": 0.2, "dt": 0.1, "eps": 0.8, "scheme": scheme, "field_tol": 1e-3}
    limited = {"memory_limit": 2e7, **options}
    if not np.isfinite(points).all():
        lost = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        with pytest.raises(kspde.InputError, match=f"gave particle {lost} a position that is not finite"):
            kspde.simulate(model, Points(points), **limited)
        return
    if np.abs(points).max() > 1e9:
        with pytest.raises(kspde.InputError, match=r"^[^\n]*check for particles far away$"):
            kspde.simulate(model, Points(points), **limited)
        return
    x = everywhere(kspde.simulate(model, Points(points), **limited))
    assert np.isfinite(x).all()
    exact = everywhere(kspde.simulate(model, Points(points), method="direct", **options))
    np.testing.assert_allclose(x, exact, rtol=1e-6, atol=5e-3)
    assert len(set(map(tuple, points))) > 1 or noise > 0 or np.allclose(x, points, atol=5e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_work_on_threads_comes_back_in_order_and_the_lowest_error_is_raised(threads, monkeypatch):
    monkeypatch.setattr("numba.get_num_threads", lambda: threads)
    for n in (0, 1, 2_048, 5_000, 100_000):
        blocks = in_blocks(lambda rows: (rows.start, rows.stop), n)
        assert [stop for _, stop in blocks[:-1]] == [start for start, _ in blocks[1:]]
        assert (blocks[0][0], blocks[-1][1]) == (0, n) if n else blocks == []

    for n, pairs in ((0, 9.0), (1, 1e9), (7, 1e9), (1000, 10.0), (1000, 1e4)):
        shares: list[tuple[int, int]] = []
        in_shares(lambda i, j, shares=shares: shares.append((i, j)), n, pairs)
        assert [k for i, j in sorted(shares) for k in range(i, j)] == list(range(n))
        assert len(shares) == (1 if threads == 1 or n * pairs < 5e4 else min(n, 8)) * (n > 0)

    def fail(task):
        if task in (3, 5, 8):
            raise ValueError(f"task {task}")
        return task

    with pytest.raises(ValueError, match="task 3"):
        on_threads(fail, 12)
    assert on_threads(fail, 3) == [0, 1, 2]


def test_work_does_not_wait_for_threads_that_sleep(monkeypatch):
    """Nor is any of it done twice, or after its end, when they wake up."""
    monkeypatch.setattr("numba.get_num_threads", lambda: 3)
    inbox: SimpleQueue = SimpleQueue()
    monkeypatch.setattr("kspde.runtime.compiled._inbox", lambda thread, process: inbox)
    done = []
    on_threads(done.append, 5)
    for _ in range(2):
        inbox.get_nowait()()
    assert done == [0, 1, 2, 3, 4]

    def fail(task):
        done.append(task)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        on_threads(fail, 5)
    inbox.get_nowait()()
    assert done == [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 7, 5_000])
def test_a_tally_is_extent_and_moments(dimension, n, own):
    random = np.random.default_rng(n)
    x, w = random.normal(size=(n, dimension)) + 0.3, random.normal(size=n) if own else np.ones(n)
    sums = [*(w @ x), w @ np.square(x).sum(axis=1)]
    expected = np.concatenate([x.min(axis=0), -x.max(axis=0), sums])
    np.testing.assert_allclose(tally(x, w if own else None), expected, rtol=0, atol=1e-12 * n)
    x[n // 2, -1] = np.nan
    assert not np.isfinite(tally(x, w if own else None)).all()


@pytest.mark.parametrize("mu", [1e-6, 1e-12])
def test_a_decay_length_far_beyond_the_cloud_needs_no_images(mu: float) -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[3.0, 2.0]], stds=[1.0])
    model = kspde.SignalDependentKellerSegel(chi=1.0, mu=mu)
    cloud = kspde.simulate(model, u0, n=50, t_end=0.1, dt=0.1, eps=0.05)
    assert np.isfinite(cloud.positions).all()
    r = np.array([0.5, 4.0])
    found = cloud.problem.fields[0].kernel.profile(r, 2)
    np.testing.assert_allclose(found, scipy.special.k0(mu * r) / (2 * np.pi), rtol=0, atol=1e-9)


def test_a_symbol_too_narrow_for_its_tables_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kspde.radial._MOST_VALUES", 40_000_000)  # a hundredth: tables are refined until then
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[3.0, 2.0]], stds=[1.0])
    model = kspde.SignalDependentKellerSegel(chi=1.0, mu=1e-12)
    with pytest.raises(kspde.InputError, match="give a larger field_tol or eps"):
        kspde.simulate(model, u0, n=50, t_end=0.1, dt=0.1, eps=0.05, mollifier="matern")
