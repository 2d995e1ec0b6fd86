"""What solve refuses, and what it says; what PETSc is told; failures."""

from dataclasses import dataclass

import numpy as np
import pytest

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
BOX = kspde.Box(half_width=14.0, cells=10, degree=4)
COARSE = kspde.Box(half_width=14.0, cells=48, degree=1)


def solve(u0, domain=BOX, **options):
    return kspde.solve(MODEL, u0, domain, **{"t_end": 0.01, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"t_end": -1.0}, "t_end = -1"),
        ({"t_end": float("nan")}, "t_end = nan"),
        ({"tol": 0.0}, "tol = 0"),
        ({"tol": "small"}, "tol = 'small'"),
        ({"eps": -0.3}, "eps = -0.3"),
        ({"eps": 0.3, "mollifier": "hat"}, "mollifier = 'hat' .* gaussian, matern"),
        ({"scheme": "magic"}, "scheme = 'magic' .* adaptive, positive.*, rosenbrock"),
        ({"dt": 0.1}, "dt = 0.1 has no effect"),
        ({"scheme": "positive", "dt": 0.1}, "degree = 4"),
        ({"petsc_options": {"ts_foo": 1}}, "'ts_foo' is not an option"),
        ({"petsc_options": {"ts_rosw_type": "rodas3"}}, "rodas3.*ra34pw2"),
        ({"petsc_options": {"ts_type": "euler"}}, "euler.*rosw"),
        ({"domain": kspde.Box(half_width=2.0, cells=10)}, r"a share 0\.119 of the initial mass of u .*half_width"),
        ({"domain": kspde.Box(half_width=14.0, cells=4, degree=1)}, "too coarse there"),
        ({"domain": kspde.Box(half_width=14.0, cells=4, dimension=3)}, "dimension 3"),
        ({"domain": COARSE, "scheme": "positive"}, "dt is not given"),
        ({"domain": COARSE, "scheme": "positive", "dt": 0.1, "tol": 0.1}, "tol = 0.1 has no effect"),
        ({"domain": COARSE, "scheme": "positive", "dt": -0.1}, "dt = -0.1"),
        (
            {"domain": kspde.Box(half_width=14.0, cells=60, degree=1), "scheme": "positive", "dt": 0.1,
             "petsc_options": {"ksp_tpye": "gmres"}},
            "'ksp_tpye' is not an option",
        ),
    ],
)  # fmt: skip
def test_bad_input(mixture, options, words) -> None:
    with pytest.raises(kspde.InputError, match=words) as caught:
        solve(mixture, **options)
    assert "\n" not in str(caught.value)


def test_bad_densities() -> None:
    with pytest.raises(kspde.InputError, match=r"u0 is a function: .*CallableDensity"):
        solve(lambda x: np.exp(-np.sum(x**2, axis=1)))
    flat = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[1.0])
    with pytest.raises(kspde.InputError, match="dimension 1, the model 2"):
        solve(flat)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"half_width": 0.0, "cells": 4}, "half_width = 0"),
        ({"half_width": 1.0, "cells": 1}, "cells = 1"),
        ({"half_width": 1.0, "cells": 4.0}, "cells = 4.0 is not an integer"),
        ({"half_width": 1.0, "cells": 4, "degree": 0}, "degree = 0"),
        ({"half_width": 1.0, "cells": 4, "boundary": "open"}, "boundary = 'open' .* decay, neumann"),
        ({"half_width": 1.0, "cells": 4, "grading": -1.0}, "grading = -1"),
    ],
)
def test_bad_boxes(arguments, words) -> None:
    with pytest.raises(kspde.InputError, match=words):
        kspde.Box(**arguments)


def test_points_outside_are_named(mixture) -> None:
    pde = solve(mixture, tol=1e-3)
    with pytest.raises(kspde.InputError, match=r"1 of 2 points lie outside .* \(15\.0, 0\.0\)"):
        pde.evaluate([[0.0, 0.0], [15.0, 0.0]])
    with pytest.raises(kspde.InputError, match="axis 1 of the grid reaches -20"):
        pde.on_grid([[0.0], [-20.0]])
    with pytest.raises(kspde.InputError, match=r"points has shape \(2,\): give shape \(n, 2\)"):
        pde.evaluate([0.0, 0.0])
    with pytest.raises(kspde.InputError, match="nan"):
        pde.evaluate([[0.0, float("nan")]])
    with pytest.raises(kspde.InputError, match="species = 'w'"):
        pde.evaluate([[0.0, 0.0]], species="w")
    with pytest.raises(kspde.InputError, match=r"field = 'w' .* v"):
        pde.evaluate_signal([[0.0, 0.0]], field="w")


def test_options_reach_petsc(mixture) -> None:
    free = solve(mixture, tol=1e-4, t_end=0.1)
    tied = solve(mixture, tol=1e-4, t_end=0.1, petsc_options={"ts_adapt_dt_max": 0.004})
    assert tied.diagnostics["dt"].max() <= 0.004 * (1 + 1e-12) < free.diagnostics["dt"].max()
    other = solve(mixture, tol=1e-4, t_end=0.1, petsc_options={"ts_rosw_type": "ra3pw"})
    assert other.summary()["method"] == "rosw ra3pw"
    assert np.abs(other.evaluate([[0.0, 0.0]]) - free.evaluate([[0.0, 0.0]])).max() < 1e-4
    box = kspde.Box(half_width=14.0, cells=48, degree=1)
    cg = solve(mixture, box, scheme="positive", dt=0.01)
    lu = solve(mixture, box, scheme="positive", dt=0.01, petsc_options={"ksp_type": "preonly", "pc_type": "lu"})
    np.testing.assert_allclose(lu.evaluate([[0.0, 0.0]]), cg.evaluate([[0.0, 0.0]]), rtol=1e-10)
    assert lu.summary()["linear_iterations"] < cg.summary()["linear_iterations"]


@dataclass(frozen=True, kw_only=True)
class Broken(kspde.Model):
    """Its diffusion coefficient turns into NaN as soon as the density's peak has fallen."""

    @property
    def fields(self):
        return (kspde.Field(name="v", kernel=kspde.Yukawa()),)

    def diffusion(self, species, c):
        return np.where(c["v"].max(initial=0.0) < 0.045, np.nan, 1.0) * np.ones(len(c.points))


def test_a_failing_solve_says_where(mixture, comm) -> None:
    for options in (
        {"domain": BOX, "tol": 1e-3},
        {"domain": BOX, "tol": 1e-3, "scheme": "rosenbrock"},
        {"domain": COARSE, "scheme": "positive", "dt": 0.1},
    ):
        with pytest.raises(kspde.ConvergenceError, match=r"failed in step \d+ at t = .* with dt = .*: .*") as caught:
            kspde.solve(Broken(), mixture, options.pop("domain"), t_end=2.0, **options)
        assert "\n" not in str(caught.value)


def test_an_error_in_a_model_is_the_users_to_see(mixture) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Misspelt(kspde.Model):
        @property
        def fields(self):
            return (kspde.Field(name="v", kernel=kspde.Yukawa()),)

        def diffusion(self, species, c):
            return c["w"]

    with pytest.raises(KeyError, match="w"):
        kspde.solve(Misspelt(), mixture, BOX, t_end=0.1)


def test_progress_runs_to_one(mixture) -> None:
    seen: list[float] = []
    solve(mixture, tol=1e-3, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_a_constant_in_a_closed_box_is_a_grid_density() -> None:
    """As the docstring of solve says: it has the mass of the constant, and stays what it is."""
    half_width, mean = 3.0, 2.0
    edge = (-half_width, half_width)
    u0 = kspde.GridDensity(np.ones((2, 2)), (*edge, *edge), mass=mean * (2 * half_width) ** 2)
    box = kspde.Box(half_width=half_width, cells=8, boundary="neumann")
    pde = kspde.solve(MODEL, u0, box, t_end=0.1, tol=1e-4)
    np.testing.assert_allclose(pde.evaluate([(0, 0), (3, 3), (1, -3)]), mean, rtol=1e-12)
    assert abs(pde.initial_mass_error["u"]) < 1e-13
