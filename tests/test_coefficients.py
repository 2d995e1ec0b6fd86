"""Coefficients, fields and kernels that make no sense: one line, in both backends and all schemes, on all ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.kernels import check_symbol, resolve_mollifier
from kspde.models.coefficients import growth_of, moment_integrand
from kspde.models.drivers import volatility_of

#: Off the origin, of mass 3.
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.3]], stds=[0.8], mass=3.0)
FINE, COARSE = kspde.Box(half_width=9.0, cells=12, degree=4), kspde.Box(half_width=9.0, cells=60, degree=1)
DENSITY: dict[str, dict[str, Any]] = {
    "adaptive": {"domain": FINE},
    "rosenbrock": {"domain": FINE},
    "positive": {"domain": COARSE, "dt": 0.05},
    "positive-2": {"domain": COARSE, "dt": 0.05},
}
#: On two ranks one scheme of each kind.
SCHEMES = ["adaptive", "positive", *(pytest.param(s, marks=pytest.mark.one_rank) for s in ("rosenbrock", "positive-2"))]
ONES = np.ones(3)
YUKAWA = kspde.Yukawa()
PARTICLES = ("euler-maruyama", "weak-2")


@dataclass(frozen=True, kw_only=True)
class Given(kspde.Model):
    """A model with the coefficients it is given, functions of the points and of v."""

    d: Callable[[Any, Any], Any] = lambda x, v: 1.0
    b: Callable[[Any, Any], Any] = lambda x, v: None
    kernel: kspde.Kernel = YUKAWA

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return (kspde.Field(name="v", kernel=self.kernel),)

    def diffusion(self, species: str, c: kspde.FieldValues) -> Any:
        return self.d(c.points, c["v"])

    def drift(self, species: str, c: kspde.FieldValues) -> Any:
        return self.b(c.points, c["v"])


def solve(model: kspde.Model, scheme: str, t_end: float = 0.3, **options: Any) -> Any:
    chosen = {**DENSITY[scheme], **options}
    return kspde.solve(model, U0, chosen.pop("domain"), t_end=t_end, eps=0.3, scheme=scheme, **chosen)


def simulate(model: kspde.Model, scheme: str) -> Any:
    return kspde.simulate(model, U0, n=60, t_end=0.2, dt=0.1, eps=0.3, scheme=scheme)


def spot(x: Any) -> Any:
    return np.exp(-np.sum((x - [1.05, 0.6]) ** 2, axis=1) / 0.2)


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    # What is wrong, what a density's run says, and what one of particles says.
    "negative": (
        {"d": lambda x, v: 1.0 - 1.3 * spot(x)},
        r"coefficient of species 'u' is -0\.[12]\d* at \((0\.[89]|1\.[012])\d*, 0\.[4-7]\d*\): it must be ",
        r"the diffusion coefficient of species 'u' is -0\.\d+ at particle \d+",
    ),
    "a little negative": (
        {"d": lambda x, v: 1.0 - (1.0 + 1e-9) * (x[:, 0] > 0)},
        r"the diffusion coefficient of species 'u' is -1e-09 at ",
        r"the diffusion coefficient of species 'u' is -1e-09 at particle",
    ),
    "NaN": (
        {"d": lambda x, v: np.where(x[:, 0] > 0.2, np.nan, 1.0)},
        r"the diffusion coefficient of species 'u' is nan at \(0\.[23456]\d*, -9\)",
        r"the diffusion coefficient of species 'u' is nan at particle \d+",
    ),
    "infinite": (
        {"d": lambda x, v: np.inf},
        r"the diffusion coefficient of species 'u' is inf at \(-?\d",
        r"is inf at particle \d+",
    ),
    "huge": (
        {"d": lambda x, v: 1e308},
        r"is 1e\+308 at .*: it must be >= 0, finite and at most 1e\+100",
        "check for particles far away|is not finite",
    ),
    "complex": (
        {"d": lambda x, v: 1.0 + 1e-3j * x[:, 0]},
        r"diffusion\('u', c\) returned values of type complex128: return real numbers",
        r"diffusion\('u', c\) returned values of type complex128: return real numbers",
    ),
    "of another shape": (
        {"d": lambda x, v: np.ones((len(x), 3))},
        r"diffusion\('u', c\) returned shape \(\d+, 3\): return a number",
        r"diffusion\('u', c\) returned shape \(\d+, 3\): return a number",
    ),
    "no number": (
        {"d": lambda x, v: None},
        r"diffusion\('u', c\) returned values of type object",
        r"diffusion\('u', c\) returned values of type object",
    ),
    "a ragged list": (
        {"d": lambda x, v: [[1.0], [2.0, 3.0]]},
        r"diffusion\('u', c\) did not return an array",
        r"diffusion\('u', c\) did not return an array",
    ),
    "NaN in the drift": (
        {"b": lambda x, v: np.where(x > 0.2, np.nan, 1.0)},
        r"the drift of species 'u' is nan at \(.*\): it must be finite",
        "moved to a position that is not finite: check the model's drift",
    ),
    "a drift of another shape": (
        {"b": lambda x, v: np.ones(2)},
        r"drift\('u', c\) returned shape \(2,\): return \(\d+, 2\) or None",
        r"drift\('u', c\) returned shape \(2,\): return \(\d+, 2\) or None",
    ),
    "a complex drift": (
        {"b": lambda x, v: 1j * x},
        r"drift\('u', c\) returned values of type complex128",
        r"drift\('u', c\) returned values of type complex128",
    ),
}


def one_line_everywhere(comm: Any, error: Exception) -> None:
    """Assert that every rank says the same: a rank that raises another's line has it word by word."""
    text = str(error)
    assert "\n" not in text
    assert len(set(comm.allgather("particle" in text or text))) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_density_with_senseless_coefficients_is_refused_before_the_first_step(fault, scheme, comm) -> None:
    given, words, _ = FAULTS[fault]
    with pytest.raises(kspde.InputError, match=words) as caught:
        solve(Given(**given), scheme)
    if "shape" not in str(caught.value):  # that has the number of the rank's nodes in it
        one_line_everywhere(comm, caught.value)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of D = 1e308
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scheme", PARTICLES)
def test_particles_with_senseless_coefficients_end_in_one_line(fault, scheme) -> None:
    given, _, words = FAULTS[fault]
    with pytest.raises((kspde.InputError, kspde.ConvergenceError), match=words) as caught:
        simulate(Given(**given), scheme)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_diffusion_coefficient_that_becomes_negative_ends_the_run(scheme, comm) -> None:
    """With species, value, place, step and t, and with what was computed until then."""
    first: list[Any] = []

    def d(x: Any, v: Any) -> Any:
        first.append(v.copy())
        fallen = np.maximum(0.0, 1.0 - v / first[0])
        return 1.0 - 20.0 * fallen * (np.sum((x - [0.4, -0.3]) ** 2, axis=1) < 0.5)

    words = r"^the solve failed in step (\d+) at t = (\S+) with dt = \S+: the diffusion coefficient of species 'u' is "
    with pytest.raises(kspde.ConvergenceError, match=words + r"-\S+ at \(\S+, \S+\): it must be") as caught:
        solve(Given(d=d), scheme, t_end=2.0)
    one_line_everywhere(comm, caught.value)
    assert caught.value.diagnostics is not None
    assert len(caught.value.diagnostics["t"]) >= 2
    np.testing.assert_allclose(caught.value.diagnostics["mass"], 3.0, rtol=1e-9)


@pytest.mark.one_rank
def test_round_off_below_zero_is_no_negative_coefficient() -> None:
    """Of D ≥ 0 computed from a field of size 1, −1e-16 may be left; the result is that of 0."""
    reference = solve(Given(d=lambda x, v: 1.0 * (x[:, 0] < 2.0)), "positive", t_end=0.1)
    for scheme in DENSITY:
        found = solve(Given(d=lambda x, v: np.where(x[:, 0] < 2.0, 1.0, -1e-15)), scheme, t_end=0.1)
        if scheme == "positive":
            points = [[0.4, -0.3], [1.9, 0.0], [2.5, 0.0]]
            np.testing.assert_allclose(found.evaluate(points), reference.evaluate(points), rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tau": float("nan")}, "tau of field 'c' = nan is not valid: give a finite number >= 0"),
        ({"tau": -1.0}, "tau of field 'c' = -1.0 is not valid"),
        ({"tau": 1j}, "tau of field 'c' = 1j is not a number"),
        ({"name": ""}, "name = '' of a field is not valid"),
        ({"name": "a\nb"}, r"name = 'a\\nb' of a field is not valid"),
        ({"name": 3}, "name = 3 of a field is not valid"),
        ({"source": None}, "source = None of a field is not valid"),
        ({"kernel": "yukawa"}, "the kernel of field 'c' is a str: give one such as kspde.Yukawa"),
        ({"gradient": "yes"}, "gradient of field 'c' = 'yes' is not valid: give True or False"),
        ({"mollified": 2}, "mollified of field 'c' = 2 is not valid"),
    ],
)
def test_senseless_fields_are_refused_when_made(options, words) -> None:
    with pytest.raises(kspde.InputError, match=words):
        kspde.Field(**{"name": "c", "kernel": kspde.Yukawa(), **options})


@pytest.mark.one_rank
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: volatility_of(lambda x, nu: nu, 0.0, ONES, ONES),
            r"the driver raised TypeError \(.* 2 positional .*\): ",
        ),
        (
            lambda: volatility_of(lambda t, x, nu: math.sinh(nu), 0.0, ONES, ONES),
            r"the driver raised TypeError \(.*, test_coefficients.py, line \d+\): give h\(t, x, nu\) of a number t",
        ),
        (
            lambda: solve(kspde.LocalSensing(motility=math.cosh, chi=1.0), "adaptive"),
            "motility raised TypeError .*give a f",
        ),
        (
            lambda: solve(Given(d=lambda x, v: 1.0 if v > 0 else 2.0), "adaptive"),
            r"^diffusion\('u', c\) raised ValueError",
        ),
        (
            lambda: simulate(Given(b=lambda x, v: math.sin(x)), PARTICLES[0]),
            r"^drift\('u', c\) raised TypeError \(.*arrays",
        ),
        (lambda: growth_of(Growing(), "u", kspde.FieldValues(ONES, {})), r"^growth\('u', c\) raised TypeError"),
        (
            lambda: moment_integrand(kspde.Moment(name="m", function=math.exp), ONES),
            "the function of moment 'm' raised TypeError",
        ),
        (lambda: check_symbol("field 'v'", Odd(math.exp)), "^field 'v': its kernel's symbol raised TypeError"),
        (lambda: kspde.CallableDensity(math.exp, half_width=1.0), "^function raised TypeError .* give f"),
    ],
)
def test_functions_that_are_not_written_for_arrays_are_named_in_one_line(call, words) -> None:
    with pytest.raises(kspde.InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


class Growing(Given):
    """A model whose growth lacks an argument."""

    def growth(self, c: kspde.FieldValues) -> Any:  # type: ignore[override]
        return 1.0


class Odd(kspde.Yukawa):
    """A Yukawa potential whose symbol is spoilt."""

    def __init__(self, spoil: Callable[[Any], Any]) -> None:
        super().__init__()
        object.__setattr__(self, "spoil", spoil)

    def symbol(self, lam: Any) -> Any:
        return self.spoil(lam)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        (lambda lam: np.where(lam > 50.0, np.nan, 1.0 / (1.0 + lam)), r"symbol is nan at \|k\|\^2 = "),
        (lambda lam: 1j / (1.0 + lam), "symbol returned values of type complex128: return real numbers"),
        (lambda lam: 1.0, r"symbol returned shape \(\) for \d+ values"),
        (lambda lam: np.ones((len(lam), 2)), r"symbol returned shape \(\d+, 2\)"),
    ],
)
def test_symbols_are_finite_real_numbers(symbol, words) -> None:
    for run in (lambda m: solve(m, "adaptive"), lambda m: simulate(m, "euler-maruyama")):
        with pytest.raises(kspde.InputError, match=f"^field 'v': its kernel's {words}"):
            run(Given(kernel=Odd(symbol)))


@pytest.mark.parametrize(
    ("mollifier", "words"),
    [
        (3, "mollifier = 3 is not valid: give one of bump, compact-bump, gaussian, matern, two-bumps"),
        (["gaussian"], r"mollifier = \['gaussian'\] is not valid"),
        (lambda: 1, "does not take the keyword eps alone"),
        (lambda width: kspde.GaussianMollifier(eps=width), "does not take the keyword eps alone"),
        (lambda eps: eps, "mollifier returned float: it must return a kspde kernel"),
        (lambda eps: kspde.Yukawa(strength=2.0, screening=1 / eps), r"mollifier has the integral 0\.5"),
        (lambda eps: Odd(lambda lam: lam * np.nan), "mollifier: its kernel's symbol is nan"),
    ],
)
def test_mollifiers_are_kernels_of_integral_one(mollifier, words) -> None:
    with pytest.raises(kspde.InputError, match=words):
        resolve_mollifier(0.5, mollifier)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"species": ("a", "a")}, r"species = \('a', 'a'\) of Changed has a name twice"),
        ({"species": "u"}, "species = 'u' of Changed is not valid: give a tuple of names"),
        ({"species": ()}, r"species = \(\) of Changed is not valid"),
        ({"dimension": 2.0}, "dimension of Changed = 2.0 is not an integer"),
        ({"fields": ("v",)}, "fields of Changed hold a str: give kspde.Field objects"),
    ],
)
def test_models_that_are_none(changes, words) -> None:
    changed = type("Changed", (Given,), changes)
    with pytest.raises(kspde.InputError, match=words):
        changed().regularised_fields()
