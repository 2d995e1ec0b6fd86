"""Densities that blow up: the run ends where only the mesh limits the peak, and says so; what it has computed is kept.

The classical Keller-Segel system of mass 16π, twice the critical one, from a Gaussian of standard deviation .5. The
radial solution's maximum is 115.3 at t = .04 and 359.8 at t = .06.
"""

import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from radial_keller_segel import KellerSegel, drop, peaks

import kspde
from kspde.fem.schemes.step_control import StepFloor

HEAVY = 16 * np.pi
OFF = (0.7, -0.4)


def box(cells: int, degree: int = 1, **options) -> kspde.Box:
    return kspde.Box(**{"half_width": 4.0, "cells": cells, "degree": degree} | options)


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """Peaks at t = .02, .04, .06, extrapolated from two grids."""
    coarse, fine = (peaks(HEAVY, [0.02, 0.04, 0.06], points=n) for n in (400, 800))
    return fine + (fine - coarse) / 3


@pytest.mark.one_rank
def test_before_it_the_peaks_are_those_of_the_radial_solution(reference) -> None:
    np.testing.assert_allclose(reference[-1], 359.8, atol=0.1, rtol=0)
    save = kspde.SaveAt(times=(0.02, 0.04))
    pde = kspde.solve(KellerSegel(), drop(HEAVY), box(16, 6), t_end=0.06, tol=1e-6, save=save)
    found = [float(pde.evaluate([[0.0, 0.0]], t=t)[0]) for t in (0.02, 0.04, 0.06)]
    np.testing.assert_allclose(found, reference, rtol=2e-3)


CASES = {
    "positive, 32 cells": (box(32), (0.0, 0.0), {"scheme": "positive", "dt": 0.002}),
    "positive, 64 cells": (box(64), (0.0, 0.0), {"scheme": "positive", "dt": 0.002}),
    "positive, 128 cells": (box(128), (0.0, 0.0), {"scheme": "positive", "dt": 0.002}),
    "positive, no node at the peak": (box(33), (0.0, 0.0), {"scheme": "positive", "dt": 0.002}),
    "positive-2": (box(64), OFF, {"scheme": "positive-2", "dt": 0.002}),
    "positive-2 with tol": (box(32), OFF, {"scheme": "positive-2", "tol": 1e-2}),
    "adaptive": (box(48), OFF, {"tol": 1e-4}),
    "adaptive, degree 4": (box(12, 4), OFF, {"tol": 1e-4}),
    "rosenbrock": (box(32), OFF, {"scheme": "rosenbrock", "tol": 1e-4}),
    "positive, triangles": (kspde.Disk(radius=4.0, size=0.12, rim_size=0.6), OFF, {"scheme": "positive", "dt": 0.002}),
    "adaptive, triangles": (kspde.Disk(radius=4.0, size=0.12, rim_size=0.6), OFF, {"tol": 1e-4}),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if "triangles" in case else pytest.mark.one_rank) for case in CASES]
)
def test_a_peak_that_the_mesh_limits_ends_the_run(case, comm) -> None:
    domain, mean, options = CASES[case]
    with pytest.raises(kspde.BlowUpError, match=r"is limited by the mesh in step \d+ at t = 0\.0[6-9]") as caught:
        kspde.solve(KellerSegel(mu=0.1), drop(HEAVY, mean=mean), domain, t_end=0.12, **options)
    error = caught.value
    seen, pde = error.diagnostics, error.solution
    peak, t = seen["maximum"][-1], seen["t"][-1]
    assert f"the peak of u, {peak:.6g} at (" in str(error)
    assert f"in step {len(seen['t']) - 1} at t = {t:.6g}: it has grown from {seen['maximum'].min():.6g}" in str(error)
    where = np.array([float(x) for x in str(error).split(" at (")[1].split(")")[0].split(",")])
    assert np.abs(where - mean).max() < 0.2
    assert pde.t_end == t
    np.testing.assert_allclose(pde.evaluate([where]), peak, rtol=1e-4)
    assert pde.summary()["failed"] == str(error)
    assert pde.summary()["steps"] == len(seen["t"]) - 1
    assert type(pickle.loads(pickle.dumps(error))) is kspde.BlowUpError


@pytest.mark.parametrize(
    ("dimension", "mass", "cells", "std"),
    [(1, 200.0, 64, 0.5), pytest.param(3, 200.0, 20, 0.8, marks=pytest.mark.one_rank)],
)
def test_on_a_line_and_in_space(dimension, mass, cells, std) -> None:
    u0 = drop(mass, std=std, mean=(0.3,) + (0.0,) * (dimension - 1))
    domain = box(cells, dimension=dimension, half_width=5.0, grading=1.5)
    with pytest.raises(kspde.BlowUpError, match="is limited by the mesh"):
        kspde.solve(KellerSegel(dimension=dimension), u0, domain, t_end=0.2, scheme="positive", dt=0.004)


@pytest.mark.one_rank
@pytest.mark.parametrize("options", [{"scheme": "positive-2", "dt": 0.05}, {"scheme": "positive", "dt": 0.05}, {}])
def test_below_the_critical_mass_nothing_is_reported(options) -> None:
    domain = box(40 if options else 12, 1 if options else 4, half_width=6.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pde = kspde.solve(KellerSegel(), drop(7.5 * np.pi), domain, t_end=1.0, **options)
    assert not [w for w in caught if "limited by the mesh" in str(w.message)]
    assert pde.diagnostics["maximum"][-1] > 1.05 * pde.diagnostics["maximum"][0]  # it does concentrate


def test_a_run_may_go_on(comm) -> None:
    run = {"t_end": 0.1, "scheme": "positive", "dt": 0.002}
    for action, reports in (("warn", 1), ("ignore", 0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pde = kspde.solve(KellerSegel(), drop(HEAVY), box(32), on_blow_up=action, **run)
        assert pde.diagnostics["t"][-1] == 0.1
        assert len([w for w in caught if "limited by the mesh" in str(w.message)]) == reports * (comm.rank == 0)
    with pytest.raises(kspde.InputError, match="on_blow_up = 'go' is not valid: give one of ignore, stop, warn"):
        kspde.solve(KellerSegel(), drop(HEAVY), box(32), on_blow_up="go", **run)


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", ["adaptive", "rosenbrock"])
def test_steps_do_not_become_ever_shorter(scheme) -> None:
    """Degree 4 has no largest peak: without a monitor the step control follows its blow-up."""
    with pytest.raises(
        kspde.ConvergenceError, match=r"failed in step \d+ at t = 0\.0(799|8).* steps (were shorter|have fallen below)"
    ) as error:
        kspde.solve(
            KellerSegel(),
            drop(HEAVY),
            box(6, 4, half_width=3.4),
            t_end=0.12,
            tol=1e-2,
            scheme=scheme,
            on_blow_up="ignore",
        )
    steps = error.value.diagnostics["dt"][1:]
    assert len(steps) < 3000
    assert np.all(steps > 1e-12 * 0.12)


def test_the_floor_of_steps() -> None:
    floor = StepFloor(10.0)
    assert floor.rejected(0.9e-11)
    assert not floor.rejected(1.1e-11)
    assert "below 1e-12 t_end" in floor.accepted(0.9e-11, 1e-3)
    assert floor.accepted(1e-13, 10.0) == ""  # the run is over
    assert not any(floor.accepted(0.9e-7, 1.0) for _ in range(498))
    assert floor.accepted(1.1e-7, 1.0) == ""
    assert not any(floor.accepted(0.9e-7, 1.0) for _ in range(499))
    assert "the last 500 steps were shorter than 1e-08 t_end" in floor.accepted(0.9e-7, 1.0)


@dataclass(frozen=True, kw_only=True)
class Broken(kspde.Model):
    """Its diffusion coefficient turns into NaN as soon as the density's peak has fallen."""

    @property
    def fields(self):
        return (kspde.Field(name="v", kernel=kspde.Yukawa()),)

    def diffusion(self, species, c):
        return np.where(c["v"].max(initial=0.0) < 0.06, np.nan, 1.0) * np.ones(len(c.points))


FAILURES = {
    "exponential": (Broken(), box(8, 4, half_width=8.0), {"tol": 1e-3}),
    "rosenbrock": (Broken(), box(8, 4, half_width=8.0), {"tol": 1e-3, "scheme": "rosenbrock"}),
    "positive": (Broken(), box(32, half_width=8.0), {"scheme": "positive", "dt": 0.05}),
    "linear solver": (
        kspde.SignalDependentKellerSegel(chi=8.0),
        box(32, half_width=8.0),
        {"scheme": "positive", "dt": 0.05, "petsc_options": {"ksp_max_it": 1, "pc_type": "jacobi"}},
    ),
}


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.parametrize("times", [pytest.param((), marks=pytest.mark.one_rank), (0.1,)])
def test_every_failure_keeps_what_there_was(case, times) -> None:
    model, domain, options = FAILURES[case]
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.2]], stds=[0.8])
    with pytest.raises(kspde.ConvergenceError, match=r"failed in step \d+ at t = ") as caught:
        kspde.solve(model, u0, domain, t_end=5.0, save=kspde.SaveAt(times=times), **options)
    error = caught.value
    assert not isinstance(error, kspde.BlowUpError)
    t = error.diagnostics["t"][-1]
    assert f"at t = {t:.6g}" in str(error)
    assert error.solution.t_end == t == error.solution.times[-1]
    grid = np.linspace(-3.0, 3.0, 13)
    highest = error.solution.on_grid([grid, grid]).max()
    np.testing.assert_allclose(highest, error.diagnostics["maximum"][-1], rtol=0.1)
    if case == "linear solver":
        assert t == 0.0
        np.testing.assert_allclose(highest, u0(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)).max(), rtol=0.05)


def test_a_layer_at_the_wall_of_a_linear_equation_is_no_blow_up(comm) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Blown(kspde.Model):
        dimension: int = 1

        @property
        def fields(self):
            return ()

        def diffusion(self, species, c):
            return 0.01

        def drift(self, species, c):
            return np.full(c.points.shape, 50.0)

    with (
        pytest.warns(UserWarning, match=r"at \(6\), is limited by the mesh")
        if comm.rank == 0
        else warnings.catch_warnings()
    ):
        pde = kspde.solve(
            Blown(), drop(1.0, mean=(0.0,)), box(40, dimension=1, half_width=6.0), t_end=1.0, scheme="positive", dt=0.25
        )
    assert pde.diagnostics["t"][-1] == 1.0


@pytest.mark.one_rank
def test_rosenbrocks_first_step_is_a_hundredth_of_the_time_scale() -> None:
    """‖u‖/‖Δu‖ = s²/√2 for a Gaussian of standard deviation s in the plane."""

    @dataclass(frozen=True, kw_only=True)
    class Heat(kspde.Model):
        @property
        def fields(self):
            return ()

        def diffusion(self, species, c):
            return 1.0

    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.2, -0.1]], stds=[0.7])
    pde = kspde.solve(Heat(), u0, box(14, 6, half_width=6.0), t_end=0.1, tol=1e-6, scheme="rosenbrock")
    np.testing.assert_allclose(pde.diagnostics["dt"][1], 0.01 * 0.7**2 / np.sqrt(2), rtol=1e-3)
