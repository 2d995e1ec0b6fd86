"""Where particles start: from u_0, or from u_0 * j^ε."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

import kspde
from kspde.kernels import Kernel
from kspde.runtime.random import Philox

IDS = np.arange(200_000, dtype=np.uint64)
MODEL = kspde.SignalDependentKellerSegel(chi=4.0)


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_matern_draws_have_the_mollifiers_symbol(order, dimension):
    # The symbol is the characteristic function: E cos(k·x) = (1 + ε²|k|²/(2m))^(−m).
    kernel = kspde.MaternMollifier(eps=0.7, order=order)
    x = kernel.draw(Philox(1, 2), IDS, dimension)
    assert x.shape == (len(IDS), dimension)
    for k in (0.5, 1.5, 4.0):
        direction = np.ones(dimension) / np.sqrt(dimension)
        found = np.cos(k * (x @ direction)).mean()
        assert found == pytest.approx(kernel.symbol(np.array(k**2)), abs=4.5 / np.sqrt(len(IDS)))
    np.testing.assert_allclose(x.var(axis=0), 0.49, rtol=0.03)


def test_gaussian_draws_and_those_of_a_convolution():
    gaussian = kspde.GaussianMollifier(eps=0.3)
    x = gaussian.draw(Philox(1, 2), IDS, 2)
    assert stats.kstest(x[:, 1], stats.norm(0, 0.3).cdf).pvalue > 1e-4
    both = (gaussian * kspde.GaussianMollifier(eps=0.4)).draw(Philox(1, 2), IDS, 2)
    assert stats.kstest(both[:, 0], stats.norm(0, 0.5).cdf).pvalue > 1e-4


@pytest.mark.parametrize("mollifier", ["gaussian", "matern"])
def test_mollified_starts_have_the_law_and_keep_zeta(mixture, mollifier, comm):
    n, eps = 20_000, 0.8
    options = {"n": n, "t_end": 1e-12, "dt": 1.0, "eps": eps, "seed": 3, "mollifier": mollifier, "field_tol": 1e-3}
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    cloud = kspde.simulate(model, mixture, initial="mollified", **options)
    plain = kspde.simulate(model, mixture, initial="u0", **options)
    x, zeta = comm.bcast(cloud.gathered()), comm.bcast(plain.gathered())
    np.testing.assert_allclose(zeta, mixture.sample(Philox(3, 0), np.arange(n, dtype=np.uint64)), atol=1e-4)
    shift = x - zeta
    np.testing.assert_allclose(shift.var(axis=0), eps**2, rtol=6 * np.sqrt(5 / n))
    assert np.abs(np.corrcoef(shift.T, zeta.T)[:2, 2:]).max() < 4.5 / np.sqrt(n)
    assert cloud.summary()["initial"] == "mollified"
    if mollifier == "gaussian":
        stds = np.sqrt(mixture.stds**2 + eps**2)
        cdf = sum(
            w * stats.norm(m, s).cdf(x[:, 0])
            for w, m, s in zip(mixture.weights, mixture.means[:, 0], stds, strict=True)
        )
        assert stats.kstest(cdf, "uniform").pvalue > 1e-4


def test_mean_field_particles_start_where_the_particles_do(mixture):
    model = kspde.SignalDependentKellerSegel(chi=0.0)

    class Known:
        t_end = 1.0

        def signal_on_grid(self, axes, field=None, t=None):
            raise AssertionError("χ = 0: nobody asks")

    known = Known()
    known.model = model
    cloud = kspde.simulate(model, mixture, n=50, t_end=0.1, dt=0.1, eps=0.5, initial="mollified", mean_field=known)
    assert cloud.coupling.supremum == 0


class Strange(Kernel):
    """A mollifier nobody knows how to draw from."""

    def __init__(self, eps):
        self.eps = eps

    def symbol(self, lam):
        return np.exp(-self.eps * lam**2)

    decay_rate = 1.0
    smoothing = 9.0
    resolvents = ()

    def __repr__(self):
        return "Strange"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": "u1"}, "initial = 'u1' is not valid: give one of mollified, u0"),
        ({"initial": "mollified", "eps": None}, 'initial = "mollified" needs a mollifier: give eps'),
        (
            {"initial": "mollified", "mollifier": Strange},
            "initial = .mollified. needs a mollifier that can be drawn from, such as .*, not Strange",
        ),
    ],
)
def test_bad_input(mixture, options, message):
    good = {"n": 10, "t_end": 0.1, "dt": 0.1, "eps": 0.5}
    with pytest.raises(kspde.InputError, match=message):
        kspde.simulate(kspde.SignalDependentKellerSegel(chi=8.0), mixture, **{**good, **options})


def test_a_callable_mollifier_is_drawn_from(mixture):
    cloud = kspde.simulate(
        kspde.SignalDependentKellerSegel(chi=0.0),
        mixture,
        n=10,
        t_end=1e-12,
        dt=1.0,
        eps=0.5,
        initial="mollified",
        mollifier=partial(kspde.MaternMollifier, order=3),
    )
    ids = cloud.ids
    expected = mixture.sample(Philox(0, 0), ids) + kspde.MaternMollifier(eps=0.5, order=3).draw(Philox(0, 2), ids, 2)
    np.testing.assert_allclose(cloud.positions, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [None, ".npy", ".csv", ".h5", "cloud"])
def test_given_positions_are_where_particles_start(suffix, mixture, shared_tmp_path, comm) -> None:
    x = np.random.default_rng(1).normal(size=(13, 2))
    options = {"n": 13, "t_end": 0.2, "dt": 0.1, "eps": 0.3, "seed": 3}
    seen: list[Any] = []
    save = kspde.SaveAt(times=[0.0], callback=lambda cloud: seen.append(cloud.gathered()))
    cloud = kspde.simulate(MODEL, mixture, positions=x, save=save, **options)
    if comm.rank == 0:
        np.testing.assert_array_equal(seen[0], x)
    given: Any = x if suffix is None else shared_tmp_path / f"cells{suffix}"
    if comm.rank == 0 and suffix == ".npy":
        np.save(given, x)
    if comm.rank == 0 and suffix == ".csv":
        given.write_text("x,y\n" + "\n".join(f"{a!r},{b!r}" for a, b in x.tolist()), encoding="utf-8")
    comm.Barrier()
    if suffix in (".h5", "cloud"):
        own = {**options, "t_end": 1e-300, "dt": 1e-300}
        start = kspde.simulate(MODEL, mixture, positions=x, **{**own, "seed": 4})
        start.write(shared_tmp_path / "cells.h5")
        given = start if suffix == "cloud" else given
    np.testing.assert_array_equal(kspde.simulate(MODEL, mixture, positions=given, **options).positions, cloud.positions)
    assert cloud.summary()["start"] == "given positions"
    if suffix in (".h5", "cloud"):  # X_t + W_t with the noise that has led to X_t would be no Brownian motion
        with pytest.raises(kspde.InputError, match="run with the same seed = 4, whose noise would move"):
            kspde.simulate(MODEL, mixture, positions=given, **{**own, "seed": 4})
        kspde.simulate(MODEL, mixture, positions=given, **{**own, "seed": 4, "replica": 1})


def test_given_positions_of_two_species(mixture) -> None:
    model = kspde.CrossDiffusion(a=((1.0, 0.5), (0.5, 1.0)), sigma=(1.0, 1.0))
    x = dict(zip(model.species, np.random.default_rng(1).normal(size=(2, 7, 2)), strict=True))
    start = dict.fromkeys(model.species, mixture)
    cloud = kspde.simulate(model, start, n=7, positions=x, t_end=1e-300, dt=1e-300, eps=0.3)
    for name in model.species:
        np.testing.assert_array_equal(cloud.comm.bcast(cloud.gathered(name)), x[name])


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (np.zeros((4, 2)), "n = 5, and positions has 4 particles"),
        (np.zeros((5, 3)), r"positions has shape \(5, 3\)"),
        (np.full((5, 2), np.nan), "positions has nan"),
        ("none.csv", "cannot read positions from none.csv"),
        ("none.h5", "cannot read positions from none.h5"),
        ({"v": np.zeros((5, 2))}, "positions has species v: give u"),
        (np.full((5, 2), 9.0), r"positions has \(9, 9\), outside the box"),
    ],
)
def test_given_positions_that_are_not_valid(positions, words, mixture) -> None:
    box = kspde.Box(half_width=8.0, cells=4, boundary="neumann")
    with pytest.raises(kspde.InputError, match=words):
        kspde.simulate(MODEL, mixture, n=5, positions=positions, t_end=0.1, dt=0.1, eps=0.3, domain=box)
