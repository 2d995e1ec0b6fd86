"""A volatility that depends on the density: its drivers, and Qi's (4), (7) and (9)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde import DensityDependentVolatility, LinearDriver, PowerDriver, theory
from kspde.models.drivers import volatility_of

X = np.linspace(-1.0, 1.0, 401)
DENSITY = np.concatenate([[0.0, 1e-300, 1e-30, 1e-12], np.abs(np.sin(7 * X[4:])) ** 3 * 50])
START = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[-1.0], [0.8]], stds=[0.5, 0.4], mass=1.7)


def cubic(t: float, x: Any, nu: Any) -> Any:
    """A driver without a closed inverse, at a time and a place."""
    return (1 + t + 0.3 * np.sin(x)) * nu + 0.5 * nu**3 - 1.2


@pytest.mark.one_rank
@pytest.mark.parametrize("driver", [LinearDriver(a=2.5, b=0.3), *(PowerDriver(power=p) for p in (0.5, 1.0, 2.0, 3.0))])
def test_bracketing_finds_what_is_known_in_closed_form(driver: Any) -> None:
    def unknown(t: float, x: Any, nu: Any) -> Any:
        return driver(t, x, nu)

    exact = volatility_of(driver, 0.0, X, DENSITY)
    found = volatility_of(unknown, 0.0, X, DENSITY)
    np.testing.assert_allclose(found, exact, rtol=1e-14, atol=1e-22 * exact.max())


@pytest.mark.one_rank
def test_the_equation_is_solved_at_each_time_and_place() -> None:
    for scale in (1.0, 1e-8, 1e8):
        nu = volatility_of(lambda t, x, v, scale=scale: scale * cubic(t, x, v), 0.7, X, scale * DENSITY)
        np.testing.assert_allclose(cubic(0.7, X, nu), DENSITY, rtol=1e-14, atol=1e-15)
    assert np.isnan(volatility_of(cubic, 0.0, X[:2], np.array([np.nan, 1.0]))).tolist() == [True, False]
    # What elements leave below 0 counts as 0 where h(t, x, 0) = 0, and as itself where it has a volatility.
    assert volatility_of(PowerDriver(power=2.0), 0.0, X[:1], np.array([-1e-9])) == 0.0
    assert volatility_of(LinearDriver(a=1.0, b=2.0), 0.0, X[:1], np.array([-1e-3])) == pytest.approx(1.999)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (lambda t, x, nu: nu**2 - nu, r"does not increase with nu at \(t, x\) = \(0.5, -0.995\): it is "),
        (lambda t, x, nu: 1 - nu, r"does not increase with nu at \(t, x\) = \(0.5, -1\): it is 1 at nu = 0 and 0.9"),
        (lambda t, x, nu: -nu, r"does not increase with nu at .*: it is -1 at nu = 1 and -2 at nu = 2; give an incr"),
        (lambda t, x, nu: nu + 1e-3, r"density 0 at \(t, x\) = \(0.5, -1\) is below h\(t, x, 0\) = 0.001"),
        (lambda t, x, nu: np.tanh(nu), r"stays below the density [0-9.]+ at \(t, x\) = \(0.5, -[0-9.]+\), up to nu"),
        (lambda t, x, nu: nu / (nu - 1), r"the driver is inf at \(t, x\) = \(0.5, -0.995\), nu = 1: return finite"),
        (lambda t, x, nu: 1.0, r"returned float64 of shape \(\) for nu of shape \(401,\): return real numbers"),
        (lambda t, x, nu: 1j * nu, r"returned complex128 of shape \(401,\)"),
        (LinearDriver(a=1.0, b=2.0), r"density -3 at \(t, x\) = \(0.5, -0.5\) is below h\(t, x, 0\) = -2"),
    ],
)
def test_what_is_no_driver_is_refused_with_the_point(driver: Any, words: str) -> None:
    density = np.where(X == -0.5, -3.0, DENSITY) if isinstance(driver, LinearDriver) else DENSITY
    with np.errstate(divide="ignore"), pytest.raises(kspde.InputError, match=words):
        volatility_of(driver, 0.5, X, density)


@pytest.mark.one_rank
def test_a_driver_that_decreases_below_the_volatility_is_refused() -> None:
    with pytest.raises(kspde.InputError, match=r"it is 0.38[0-9]* at nu = 0.75 and -0.075 at nu = 1.5; give an incr"):
        volatility_of(lambda t, x, nu: nu**3 - 3 * nu**2 + 2.2 * nu, 0.0, X, np.full_like(X, 2.0))


def test_parameters_and_starts_are_refused(comm: Any) -> None:
    for make, words in (
        (lambda: LinearDriver(a=0.0, b=1.0), "a = 0.0 is not valid: give a finite number > 0"),
        (lambda: LinearDriver(a=1.0, b=0.0), "b = 0.0 is not valid"),
        (lambda: PowerDriver(power=-1.0), "power = -1.0 is not valid"),
        (lambda: DensityDependentVolatility(driver=2.0), "driver is a float: give a function of t, x and nu"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            make()
    model = DensityDependentVolatility(driver=lambda t, x, nu: nu - 0.1 * (x < 3.0) + 0.1)
    box = kspde.Box(dimension=1, half_width=6.0, cells=8)
    with pytest.raises(kspde.InputError, match=r"at \(t, x\) = \(0, \d[0-9.]*\) is below h\(t, x, 0\) = 0.1"):
        kspde.solve(model, START, box, t_end=0.1, tol=1e-3, comm=comm)
    plane = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    with pytest.raises(kspde.InputError, match="u0 has dimension 2, the model 1"):
        kspde.solve(model, plane, box, t_end=0.1, tol=1e-3, comm=comm)


def fourier(t_end: float, eps: float, modes: int = 128, length: float = 18.0) -> tuple[Any, Any]:
    """Return an axis and the density of (9) with ``cubic`` and a Gaussian; ε = 0 is (7). Newton's method for ν."""
    x = length * (np.arange(modes) / modes - 0.5)
    k = 2 * np.pi * np.fft.rfftfreq(modes, length / modes)
    symbol = np.exp(-0.5 * (eps * k) ** 2)

    def rate(t: float, u: Any) -> Any:
        density, nu = np.fft.irfft(symbol * np.fft.rfft(u), modes), np.ones(modes)
        for _ in range(7):
            nu -= (cubic(t, x, nu) - density) / (1 + t + 0.3 * np.sin(x) + 1.5 * nu**2)
        return np.fft.irfft(-0.5 * k**2 * np.fft.rfft(nu**2 * u), modes)

    u, steps = START(x[:, None]), 700
    h = t_end / steps
    for t in h * np.arange(steps):
        a = rate(t, u)
        b = rate(t + h / 2, u + h / 2 * a)
        c = rate(t + h / 2, u + h / 2 * b)
        u = u + h / 6 * (a + 2 * b + 2 * c + rate(t + h, u + h * c))
    return x[1:, None], u[1:]


@pytest.mark.parametrize("eps", [pytest.param(0.0, marks=pytest.mark.one_rank), 0.3])
def test_densities_solve_the_equations(comm: Any, eps: float) -> None:
    x, exact = fourier(0.3, eps)
    model = DensityDependentVolatility(driver=cubic)
    for domain, options, error in (
        ({"cells": 24, "degree": 8}, {"tol": 1e-6}, 2e-6),
        ({"cells": 24, "degree": 8}, {"scheme": "rosenbrock", "tol": 1e-5}, 2e-5),
        ({"cells": 300, "degree": 1}, {"scheme": "positive-2", "dt": 0.03}, 7e-4),
    ):
        box = kspde.Box(dimension=1, half_width=9.0, grading=1.0, **domain)
        pde = kspde.solve(model, START, box, t_end=0.3, eps=eps or None, comm=comm, **options)
        assert np.abs(pde.evaluate(x) - exact).max() < error
        assert pde.diagnostics["mass"][-1] == pytest.approx(1.7, rel=1e-12)


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("options", "l1"), [({"scheme": "positive", "dt": 0.02}, 2e-3), ({"scheme": "adaptive", "tol": 1e-4}, 6e-4)]
)
def test_the_degenerate_equation_by_other_schemes(options: dict[str, Any], l1: float) -> None:
    """Barenblatt's solution from t = 1; demos/12 has positive-2."""
    top = (3 / (4 * np.sqrt(6))) ** (2 / 3)

    def exact(x: Any, t: float) -> Any:
        return t ** (-1 / 3) * np.maximum(top - x[:, 0] ** 2 / (6 * t ** (2 / 3)), 0.0)

    start = kspde.CallableDensity(lambda x: exact(x, 1.0), half_width=2.0, dimension=1)
    box = kspde.Box(dimension=1, half_width=3.0, cells=256, degree=1, grading=0.0)
    with pytest.warns(kspde.KspdeWarning, match=r"h = nu\^2 vanishes at nu = 0: outside the hypotheses of Qi's"):
        pde = kspde.solve(DensityDependentVolatility(driver=PowerDriver(power=2.0)), start, box, t_end=1.0, **options)
    x = np.linspace(-3.0, 3.0, 513)[:, None]
    assert np.abs(pde.evaluate(x) - exact(x, 2.0)).sum() * 6 / 512 < l1
    # ∫x²u = (C^(5/2) 6^(3/2) · 4/15) t^(2/3)
    assert pde.diagnostics["second_moment"][-1] == pytest.approx(0.545136 * 2 ** (2 / 3), rel=2e-3)


@pytest.mark.one_rank
def test_what_the_mollifier_changes_is_of_order_two() -> None:
    model = DensityDependentVolatility(driver=LinearDriver(a=1.5, b=1.5))
    box, x = kspde.Box(dimension=1, half_width=9.0, cells=32, degree=8), np.linspace(-4.0, 4.0, 401)[:, None]
    local, *others = (
        kspde.solve(model, START, box, t_end=0.2, tol=1e-8, eps=eps).evaluate(x) for eps in (None, 0.1, 0.05)
    )
    errors = [np.abs(u - local).sum() for u in others]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.05)


@pytest.mark.one_rank
def test_particles_follow_the_density_and_their_mean_field() -> None:
    model, save = DensityDependentVolatility(driver=cubic), kspde.SaveAt(times=np.linspace(0.0, 0.3, 7))
    box = kspde.Box(dimension=1, half_width=9.0, cells=24, degree=6)
    pde = kspde.solve(model, START, box, t_end=0.3, tol=1e-5, eps=0.3, save=save)
    sup = []
    for n in (500, 8000):
        cloud = kspde.simulate(model, START, n=n, t_end=0.3, dt=0.02, eps=0.3, seed=2, mean_field=pde)
        assert cloud.coupling is not None
        sup.append(cloud.coupling.supremum)
    assert sup[1] < 0.5 * sup[0] < 0.05
    distance = kspde.compare(pde, cloud, replicas=3)
    assert not distance.above_floor
    squares = cloud.positions[:, 0] ** 2
    expected = pde.diagnostics["second_moment"][-1] / 1.7
    assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(len(squares))


@pytest.mark.one_rank
def test_the_exact_law_of_two_particles_knows_the_time() -> None:
    """A volatility 1 + t that hardly depends on the density: the particles stay independent."""
    model = DensityDependentVolatility(driver=lambda t, x, nu: (nu - 1 - t) * 1e6)
    start = kspde.GaussianMixture(weights=[1.0], means=[[0.3]], stds=[0.7])
    box, save = kspde.Box(dimension=1, half_width=6.0, cells=8, degree=5, grading=1.0), kspde.SaveAt(times=(0.0, 0.2))
    pde = kspde.solve(model, start, box, t_end=0.2, tol=1e-5, eps=0.5, save=save)
    law = kspde.liouville(pde, n=2, tol=1e-4)
    assert np.all(np.abs(law.entropy) < 1e-9)
    assert np.all(law.marginal_l1 < 1e-4)


@pytest.mark.one_rank
def test_a_small_disturbance_is_not_damped_unseen() -> None:
    """A long first step of the exponential integrator made every disturbance vanish, with an estimate of 0."""

    values = 1.2 * (1 + 1e-3 * np.cos(np.pi * (np.linspace(-1.0, 1.0, 4001) + 1)))
    start = kspde.GridDensity(values, (-1.0, 1.0), mass=2.4)
    box = kspde.Box(dimension=1, half_width=1.0, cells=8, degree=6, grading=0.0, boundary="neumann")
    driver, bumps = theory.LinearDriver(a=1.0, b=1.0), kspde.TwoBumps(eps=3.48384 / np.pi)
    pde = kspde.solve(DensityDependentVolatility(driver=driver), start, box, t_end=1.0, tol=1e-6, mollifier=bumps)
    rate = float(driver.growth_rate(1.2, np.pi, -0.990419))
    assert pde.evaluate([[-1.0]])[0] - 1.2 == pytest.approx(1.2e-3 * np.exp(rate), rel=0.02)


@pytest.mark.one_rank
def test_hypotheses_are_qis() -> None:
    def words(driver: Any, u0: Any = None) -> list[str]:
        return [h.word for h in theory.hypotheses(DensityDependentVolatility(driver=driver), u0=u0)]

    highest = float(START(np.linspace(-3.0, 3.0, 60_001)[:, None]).max())
    for factor, expected in ((1.99, ["violated", "violated"]), (2.01, ["holds", "violated"]), (2.74, ["holds"] * 2)):
        assert words(LinearDriver(a=1.0, b=factor * highest), START) == ["holds", *expected, "holds"]
    assert words(LinearDriver(a=1.0, b=1.0)) == ["holds"]
    assert words(PowerDriver(power=2.0)) == ["violated"]
    assert words(cubic, START) == ["open"]


@pytest.mark.one_rank
def test_the_case_that_ships(write_changed: Callable[..., Path]) -> None:
    from kspde.cli.case import read_case
    from kspde.cli.theory import promise_lines

    text = (Path(__file__).parents[2] / "kspde" / "cases" / "density-dependent-volatility.toml").read_text("utf-8")
    case = read_case(write_changed("line.toml", text))
    assert case.experiment.problem.model == DensityDependentVolatility(driver=LinearDriver(a=1.5, b=1.5))
    assert case.experiment.domain.dimension == 1
    lines = list(promise_lines(case))
    assert sum("holds" in line for line in lines[:12]) == 4
    assert any(" ".join(line.split()) == "this case, min K̂ = 0 never never" for line in lines)
    power = read_case(write_changed("power.toml", text, 'driver = "linear"\na = 1.5\nb = 1.5', 'driver = "power"'))
    assert power.experiment.problem.model == DensityDependentVolatility(driver=PowerDriver())
    for old, new, words in (
        ("b = 1.5\n", "", "b is missing"),
        ('driver = "linear"', 'driver = "power"', r"model\.[ab] = 1.5 has no effect with driver"),
        ("b = 1.5\n", "b = -1.0\n", "model.b = -1.0 is not valid"),
    ):
        with pytest.raises(kspde.InputError, match=words):
            read_case(write_changed("wrong.toml", text, old, new))


@pytest.mark.one_rank
def test_a_driver_that_decreases_between_powers_of_two_is_refused() -> None:
    x = np.linspace(-1.0, 1.0, 40)
    with pytest.raises(kspde.InputError, match=r"the driver does not increase with nu at \(t, x\) = \(0, -1\)"):
        volatility_of(lambda t, x, nu: 0.1 * np.sin(3 * nu) + 0.2 * nu - 0.1, 0.0, x, np.geomspace(1e-12, 0.8, 40))
