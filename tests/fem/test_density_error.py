"""Estimates of a density's error beside the exact one, and the accuracy that they lead to, for the heat equation."""

import math
from dataclasses import replace

import numpy as np
import pytest

import kspde
from kspde.fem.error import sampled

CENTRE, STD, SIGMA, T = 0.4, 0.5, 0.3, 0.5


def heat(dimension=1, move=0.0):
    """The model, two Gaussians of total mass 1.7 off the origin, and the exact density at T."""
    weights, means, stds = (0.7, 0.3), np.outer((CENTRE, -0.5), np.ones(dimension)) + move, np.array([STD, 0.4])

    def exact(points):
        wide = kspde.GaussianMixture(weights=weights, means=means, stds=np.sqrt(stds**2 + 2 * SIGMA * T), mass=1.7)
        return wide(points)

    model = kspde.CrossDiffusion(a=[[0.0]], sigma=[SIGMA], dimension=dimension)
    return model, kspde.GaussianMixture(weights=weights, means=means, stds=stds, mass=1.7), exact


def true_errors(pde, exact):
    points, weights = sampled(pde.knots[-1].system.space, 4)
    error = np.abs(pde.evaluate(points) - exact(points))
    space = pde.knots[-1].system.space
    return float(space.total(np.array([error @ weights]))[0]), float(
        space.maximum(np.array([error.max(initial=0.0)]))[0]
    )


CASES = {
    "space": ("space", {"half_width": 6.0, "cells": 8, "degree": 8}, {"tol": 1e-9}),
    "cells": ("space", {"half_width": 6.0, "cells": 15, "degree": 4}, {"tol": 1e-9}),
    "edges": ("space", {"half_width": 6.0, "cells": 40, "degree": 1}, {"scheme": "positive-2", "dt": 0.025}),
    "time": ("time", {"half_width": 6.0, "cells": 150, "degree": 2}, {"scheme": "rosenbrock", "tol": 1e-3}),
    "step": ("time", {"half_width": 6.0, "cells": 400, "degree": 1}, {"scheme": "positive", "dt": 0.05}),
    "truncation": ("truncation", {"half_width": 3.0, "cells": 12, "degree": 6, "grading": 1.0}, {"tol": 1e-8}),
}


@pytest.mark.one_rank
@pytest.mark.parametrize("case", CASES)
def test_estimates_are_near_the_error(case, recwarn) -> None:
    largest, box, scheme = CASES[case]
    model, u0, exact = heat()
    pde = kspde.solve(model, u0, kspde.Box(dimension=1, **box), t_end=T, **scheme)
    for part, true in zip((pde.error.l1, pde.error.maximum), true_errors(pde, exact), strict=True):
        assert 0.7 <= part.total / true <= 5, (str(pde.error), true)
        assert getattr(part, largest) > 0.7 * part.total, str(pde.error)
    assert pde.summary()["estimated_error"]["l1"]["space"] == pde.error.l1.space


@pytest.mark.one_rank
def test_steps_that_other_tolerances_share_have_an_error_too() -> None:
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    u0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[1.2, 0.3], [-0.9, 0.6]], stds=[0.6, 0.5])
    box = kspde.Box(half_width=10.0, cells=14, degree=8)
    rough, same, fine = (kspde.solve(model, u0, box, t_end=0.5, eps=0.3, tol=tol) for tol in (3e-2, 3e-3, 1e-8))
    assert np.array_equal(rough.diagnostics["t"], same.diagnostics["t"])
    points, weights = sampled(rough.at().space)
    true = np.abs(rough.evaluate(points) - fine.evaluate(points))
    for part, error in ((rough.error.l1, true @ weights), (rough.error.maximum, true.max())):
        assert 0.5 < part.time / error < 10


@pytest.mark.one_rank
def test_a_distance_says_the_density_s_own_error() -> None:
    model, u0, exact = heat()
    box = kspde.Box(half_width=6.0, cells=60, degree=1, dimension=1)
    pde = kspde.solve(model, u0, box, t_end=T, scheme="positive", dt=0.05)
    whole = kspde.Box(half_width=9.0, cells=9, dimension=1)
    assert not kspde.compare(pde, exact, domain=whole).density_errors
    own = pde.error.l1.total / 1.7
    distance = kspde.compare(pde, exact, domain=whole)
    assert distance.density_errors["first density"].total == pytest.approx(own)
    assert distance.summary()["density_errors"]["first density"]["time"] == pytest.approx(pde.error.l1.time / 1.7)
    assert "error of the first density, L1" in str(distance)
    assert 0.3 * own <= distance.l1.value <= own  # to the exact density there is no other


@pytest.mark.one_rank
def test_an_accuracy_is_reached() -> None:
    model, u0, exact = heat(2)
    pde = kspde.solve(model, u0, t_end=T, accuracy=1e-4)
    assert pde.error.l1.total <= 1e-4 * 1.7
    l1, largest = true_errors(pde, exact)
    assert 1e-8 < l1 <= 1e-4 * 1.7
    assert largest <= 1e-4 * pde.diagnostics["maximum"][-1]


@pytest.mark.one_rank
def test_an_accuracy_follows_a_density_off_the_origin() -> None:
    """Chosen for a density that is moved is what is chosen for the density, moved; snapshots are of that run alone."""
    seen = []
    save = kspde.SaveAt(times=[0.1], callback=seen.append)
    here, there = (
        kspde.solve(*heat(move=move)[:2], t_end=T, accuracy=1e-3, save=save) for move in (0.0, 1024.0)
    )  # fmt: skip
    assert there.domain == replace(here.domain, centre=here.domain.middle[0] + 1024.0)
    assert there.scheme == here.scheme
    points = np.linspace(-2.0, 2.0, 9)[:, None]
    np.testing.assert_allclose(there.evaluate(points + 1024.0), here.evaluate(points), rtol=0, atol=1e-9)
    assert [one.t for one in seen] == [0.1, T, 0.1, T]
    assert all(one.space is pde.at().space for one, pde in zip(seen, (here, here, there, there), strict=True))


NARROW = {"weights": [0.01, 0.99], "means": [[3.0], [0.0]], "stds": np.array([0.01, 1.0]), "mass": 2.0}


@pytest.mark.one_rank
@pytest.mark.parametrize("t", [1e-5, 0.5])
def test_a_peak_between_the_points_of_a_mesh_is_seen(t) -> None:
    """At first it is most of the maximum, later a share of the mass that no diffusion takes away."""
    model, u0 = heat()[0], kspde.GaussianMixture(**NARROW)
    exact = kspde.GaussianMixture(**NARROW | {"stds": np.sqrt(NARROW["stds"] ** 2 + 2 * SIGMA * t)})
    x = np.concatenate([np.linspace(-5.0, 5.0, 1001), np.linspace(2.8, 3.2, 401)])[:, None]
    top = exact(x).max()
    box = kspde.Box(half_width=7.0, cells=12, degree=8, dimension=1)
    rough = kspde.solve(model, u0, box, t_end=t, tol=1e-5)
    assert rough.error.l1.space > 0.02
    assert rough.error.maximum.space > 0.7 * np.abs(rough.evaluate(x) - exact(x)).max()
    pde = kspde.solve(model, u0, t_end=t, accuracy=1e-3)
    assert np.abs(pde.evaluate(x) - exact(x)).max() <= 1e-3 * top


@pytest.mark.one_rank
def test_a_peak_of_either_sign_is_seen_by_one_of_its_probes() -> None:
    """Its share of the mass is far below the number of probes, and below the error that the mesh has elsewhere."""
    u0 = kspde.SignedMixture(circulations=[1.0, -2e-6], means=[[0.0], [1.03]], stds=[1.0, 1e-6])
    box = kspde.Box(half_width=6.0, cells=12, degree=8, dimension=1)
    pde = kspde.solve(heat()[0], u0, box, t_end=1e-14, tol=1e-4)
    assert pde.error.maximum.space == pytest.approx(2.0 / np.sqrt(2 * np.pi), rel=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "domain is not given"),
        ({"accuracy": 0.0}, "accuracy = 0"),
        ({"accuracy": 1e-3, "tol": 1e-5}, "tol = 1e-05 has no effect beside accuracy"),
        ({"accuracy": 1e-3, "scheme": "positive", "dt": 0.1}, "has no effect beside accuracy"),
        ({"accuracy": 1e-3, "callback": print}, "callback follows one run"),
        ({"accuracy": 1e-3, "domain": kspde.Box(half_width=5.0, cells=4, dimension=1)}, "domain = Box"),
    ],
)
def test_an_accuracy_stands_alone(given, message) -> None:
    model, u0, _ = heat()
    with pytest.raises(kspde.InputError, match=message):
        kspde.solve(model, u0, t_end=T, **given)


@pytest.mark.one_rank
@pytest.mark.parametrize(("dimension", "power", "accuracy"), [(1, 1.0, 1e-5), (2, 2.0, 1e-3), (2, 1.5, 1e-3)])
def test_tails_of_a_power_take_cells_that_grow_with_the_distance(dimension, power, accuracy) -> None:
    """A multivariate t distribution is a mean of Gaussians over their variances 1/(2G), and stays one."""
    model, u0 = heat(dimension)[0], kspde.AlgebraicDensity(power=power, dimension=dimension)
    pde = kspde.solve(model, u0, t_end=T, accuracy=accuracy)
    log_g = np.linspace(-40.0, 4.0, 801)
    shares = np.exp((power - dimension / 2) * log_g - np.exp(log_g) - math.lgamma(power - dimension / 2)) * 0.055

    def exact(points):
        variances = 0.5 * np.exp(-log_g) + 2 * SIGMA * T
        peaks = np.exp(-np.square(points).sum(axis=1)[:, None] / (2 * variances))
        return peaks @ (shares / (2 * np.pi * variances) ** (dimension / 2))

    l1, largest = true_errors(pde, exact)
    assert l1 <= accuracy
    assert largest <= accuracy * pde.diagnostics["maximum"][-1]
    assert pde.domain.nodes_per_direction < 500


@pytest.mark.one_rank
@pytest.mark.parametrize(("dimension", "power"), [(1, 0.6), (2, 1.001)])
def test_tails_that_no_mesh_of_a_box_resolves_are_refused(dimension, power) -> None:
    u0 = kspde.AlgebraicDensity(power=power, dimension=dimension)
    with pytest.raises(
        kspde.InputError, match=r"too heavy for an accuracy: half .* beyond .*CutDensity\(u0, domain\)$"
    ):
        kspde.solve(heat(dimension)[0], u0, t_end=T, accuracy=1e-2)


@pytest.mark.one_rank
def test_a_mass_that_no_mesh_changes_is_refused() -> None:
    """Twelve times as many cells would not bring the sum over the density's own grid nearer to its integral."""
    u0 = kspde.CallableDensity(
        lambda x: 1 / (1 + np.square(x[:, 0]) ** 2), half_width=100.0, resolution=256, mass=2.0, dimension=1
    )
    with pytest.raises(kspde.InputError, match=r"integrates to .* and its mass is 2: .* give a larger resolution"):
        kspde.solve(heat()[0], u0, t_end=T, accuracy=1e-3)


@pytest.mark.one_rank
def test_an_error_that_cannot_be_estimated_is_said() -> None:
    model, u0, _ = heat()
    box = kspde.Box(half_width=6.0, cells=60, degree=1, dimension=1)
    pde = kspde.solve(model, u0, box, t_end=0.01, scheme="positive", dt=0.01)
    assert np.isnan(pde.error.l1.total)
    assert "the density's error is not known" in str(pde.error)
    pde = kspde.solve(model, u0, box, t_end=0.01, petsc_options={"ts_adapt_type": "none"})
    assert "petsc_options decide" in pde.error.unknown
