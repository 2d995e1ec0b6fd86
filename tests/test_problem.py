"""One problem for both backends: checked once, compared by value, and described for files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.kernels import Kernel
from kspde.problem import Problem
from kspde.runtime.values import Difference, differences, fingerprint, in_words, values_of

MODEL = kspde.LocalSensing(chi=2.0, motility=kspde.ExponentialMotility(alpha=1.5))
U0 = {"weights": [0.4, 0.6], "means": [[0.0, 0.0], [1.0, 2.0]], "stds": [0.5, 0.7]}


@dataclass(frozen=True)
class Slow(kspde.LocalSensing):
    """Local sensing whose signal is never mollified."""

    @property
    def fields(self):
        return tuple(replace(field, mollified=False) for field in super().fields)


UNMOLLIFIED = Slow(chi=2.0, motility=MODEL.motility)


def problem(model=MODEL, u0=None, **changes):
    options = {"t_end": 1.0, "eps": 0.3} | changes
    return Problem.of(model, kspde.GaussianMixture(**U0) if u0 is None else u0, **options)


def test_a_mollifier_is_one_kernel():
    assert problem().mollifier == problem(mollifier=kspde.GaussianMollifier).mollifier
    assert problem(eps=None, mollifier=kspde.GaussianMollifier(eps=0.3)) == problem()
    third = problem(mollifier=partial(kspde.MaternMollifier, order=3))
    assert third.mollifier == kspde.MaternMollifier(eps=0.3, order=3)
    assert third.fields[0].kernel == MODEL.fields[0].kernel * third.mollifier
    assert problem(eps=None).mollifier is problem(eps=None).eps is None
    assert problem(eps=None).fields == MODEL.fields
    assert problem().mollified_start is None
    assert problem(UNMOLLIFIED, initial="mollified").mollified_start is not None
    assert problem(initial="mollified").mollified_start == kspde.GaussianMollifier(eps=0.3)
    for changes, line in (
        ({"eps": 0.2, "mollifier": kspde.GaussianMollifier(eps=0.3)}, "eps = 0.2 is not that of mollifier"),
        ({"eps": None, "mollifier": kspde.Yukawa()}, "has no eps: give eps, and a function of eps"),
        ({"eps": None, "mollifier": "bump"}, "mollifier = 'bump' has no effect without eps: give eps, or leave it out"),
        (
            {"model": UNMOLLIFIED},
            "eps = 0.3 has no effect: no field of Slow is mollified, and the density starts from u0",
        ),
        ({"eps": None, "initial": "mollified"}, 'initial = "mollified" needs a mollifier: give eps'),
        ({"initial": "u1"}, "initial = 'u1' is not valid: give one of mollified, u0"),
        ({"t_end": 0.0}, "t_end = 0.0 is not valid"),
        ({"model": 3}, "model is a int: give a kspde model"),
    ):
        with pytest.raises(kspde.InputError, match=line):
            problem(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"eps": 0.3 * (1 + 1e-14)}, []),
        ({"u0": kspde.GaussianMixture(**U0)}, []),
        ({"model": kspde.LocalSensing(chi=3.0, motility=MODEL.motility)}, [("chi", 2.0, 3.0)]),
        (
            {"model": kspde.LocalSensing(chi=2.0, motility=kspde.ExponentialMotility(alpha=1.0))},
            [("motility.alpha", 1.5, 1.0)],
        ),
        (
            {"model": kspde.SignalDependentKellerSegel(chi=2.0)},
            [("model", "LocalSensing", "SignalDependentKellerSegel")],
        ),
        ({"eps": None}, [("eps", 0.3, None)]),
        ({"eps": 0.4, "t_end": 2.0}, [("t_end", 1.0, 2.0), ("eps", 0.3, 0.4)]),
        (
            {"mollifier": "matern"},
            [("mollifier", kspde.GaussianMollifier(eps=0.3), kspde.MaternMollifier(eps=0.3))],
        ),
        ({"initial": "mollified"}, [("initial", "u0", "mollified")]),
    ],
)
def test_problems_are_compared_by_value(changes, expected):
    assert problem().differences(problem(**changes)) == expected
    assert problem().differences(problem(**changes), ignore=("model", "t_end", "eps", "mollifier", "initial")) == []


def doubly_mollified(eps, second):
    return kspde.GaussianMollifier(eps=eps) * kspde.GaussianMollifier(eps=second)


def test_a_difference_reads_well():
    other = kspde.GaussianMixture(**U0, mass=2.0)
    (difference,) = problem().differences(problem(u0=other))
    assert difference == Difference("u0", problem().u0["u"], other)
    assert str(Difference("eps", None, 0.3)) == "eps = none and 0.3"
    one, two = (partial(doubly_mollified, second=second) for second in (0.1, 0.2))
    found = problem(mollifier=one).differences(problem(mollifier=two))
    assert found == [Difference("mollifier.second.eps", 0.1, 0.2)]
    assert in_words(lambda: 0) == "function"


def test_mollifiers_of_one_eps_and_two_widths_differ():
    wide = problem(mollifier=lambda *, eps: kspde.GaussianMollifier(eps=2 * eps))
    eps = problem().eps
    assert wide.differences(problem()) == [Difference("mollifier.eps", 2 * eps, eps)]
    second, third = (partial(kspde.MaternMollifier, order=order) for order in (2, 3))
    (difference,) = problem().differences(problem(mollifier=third))
    assert str(difference) == f"mollifier = GaussianMollifier(eps={eps}) and MaternMollifier(eps={eps}, order=3)"
    assert problem(mollifier=second).differences(problem(mollifier=third)) == [Difference("mollifier.order", 2, 3)]
    assert problem(eps=0.7).differences(problem()) == [Difference("eps", 0.7, eps)]


def bump(width):
    return lambda x: np.exp(-(x**2).sum(axis=1) / width)


def callable_density(width=1.0, **options):
    return kspde.CallableDensity(bump(width), **{"half_width": 8.0, "resolution": 64} | options)


def dipped(node):
    """A bump that is lower at one node of the grid on which densities are integrated."""

    def values(x):
        there = np.abs(x - [16.0 / 64 * node, 0.0]).max(axis=1) < 1e-9
        return np.where(there, 0.5, 1.0) * bump(1.0)(x)

    return kspde.CallableDensity(values, half_width=8.0, resolution=64)


class Own(kspde.initial.InitialDensity):
    """A density of a user's, which does not keep its argument, and is not sampled."""

    mass, dimension = 1.0, 2

    def __init__(self, width: float) -> None:
        self.variance = width**2

    def __call__(self, x):
        return np.exp(-(x**2).sum(axis=1) / self.variance) / (np.pi * self.variance)

    def mass_outside(self, half_width):
        return 0.0

    def sample(self, random, ids):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("make", "others"),
    [
        (
            lambda: kspde.GaussianMixture(**U0),
            [
                kspde.GaussianMixture(**U0 | {"stds": [0.5, 0.7 + 1e-15]}),
                kspde.GaussianMixture(**U0 | {"weights": [0.6, 0.4]}),
            ],
        ),
        (
            lambda: kspde.GridDensity(np.arange(12.0).reshape(3, 4), (-1, 1, -1, 1)),
            [
                kspde.GridDensity(np.arange(12.0).reshape(3, 4), (-1, 1, -1, 2)),
                kspde.GridDensity(np.arange(12.0).reshape(3, 4), (4, 6, -1, 1)),
                kspde.GridDensity(np.arange(12.0).reshape(3, 4) + 1, (-1, 1, -1, 1)),
            ],
        ),
        (
            callable_density,
            [callable_density(2.0), callable_density(mass=2.0), callable_density(half_width=9.0)],
        ),
        (lambda: dipped(1), [dipped(-1), dipped(2)]),
        (lambda: Own(1.0), [Own(2.0)]),
    ],
)
def test_densities_are_equal_where_their_values_are(make, others):
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make().fingerprint() == make().fingerprint()
    for other in others:
        assert make() != other
        assert problem(u0=make()).describe() != problem(u0=other).describe()
    assert make() != "a density"


def test_kernels_of_ones_own_are_equal_where_their_symbols_are():
    class Bell(Kernel):
        def __init__(self, width):
            self.variance = width**2

        def symbol(self, lam):
            return np.exp(-self.variance * lam)

        decay_rate = smoothing = np.inf
        resolvents = ()

    assert Bell(1.0) == Bell(-1.0) != Bell(2.0)


def motility(v):
    return 1.0 + np.exp(-v)


def model_of(gamma):
    return kspde.LocalSensing(chi=2.0, motility=gamma)


def test_functions_are_described_by_their_code_and_the_numbers_around_them():
    def other(v):
        return 2.0 + np.exp(-v)

    other.__qualname__ = motility.__qualname__
    again = FunctionType(motility.__code__, {"np": np}, "motility")
    again.__qualname__, again.__module__ = motility.__qualname__, motility.__module__
    told = [problem(model_of(gamma)).describe() for gamma in (motility, other, again)]
    assert told[0]["model.motility"] == f"{__name__}.motility"  # and not its address
    assert told[0] == told[2] != told[1]
    assert problem(model_of(motility)).differences(problem(model_of(again))) == []
    (difference,) = problem(model_of(motility)).differences(problem(model_of(other)))
    assert difference.name == "motility.code"

    hyperbolic, exponential = (problem(model_of(gamma)) for gamma in (np.cosh, np.exp))
    assert hyperbolic.describe() != exponential.describe()
    assert [d.name for d in hyperbolic.differences(exponential)] == ["motility"]

    def scaled(rate):
        return lambda v: np.exp(-rate * v)

    assert problem(model_of(scaled(1.0))).describe() != problem(model_of(scaled(2.0))).describe()
    assert problem(model_of(scaled(1.0))).describe() == problem(model_of(scaled(1.0))).describe()


def test_the_code_of_a_users_model_counts():
    def made(rate):
        @dataclass(frozen=True)
        class Local(kspde.Model):
            @property
            def fields(self):
                return ()

            def diffusion(self, species, c):
                return 1.0 if rate else 2.0

        if not rate:
            Local.diffusion = lambda self, species, c: 3.0
        return Local()

    assert values_of("m", made(True)) == values_of("m", made(True)) != values_of("m", made(False))
    assert differences("m", made(True), made(True)) == []
    assert [d.name for d in differences("m", made(True), made(False))] == ["m.code"]


def test_what_describes_a_problem(monkeypatch):
    told = problem().describe(backend="fem", dt=0.5, domain=kspde.Box(half_width=8.0, cells=8))
    assert json.loads(json.dumps(told)) == told
    expected = {
        "kspde": kspde.__version__,
        "backend": "fem",
        "dt": 0.5,
        "domain": "Box",
        "domain.cells": 8,
        "model": "LocalSensing",
        "model.chi": 2,
        "model.motility.alpha": 1.5,
        "t_end": 1,
        "eps": 0.3,
        "mollifier": "GaussianMollifier",
        "initial": "u0",
        "u0.u": "GaussianMixture",
        "u0.u.weights": [0.4, 0.6],
        "u0.u.mass": 1,
        "regularised_fields[0].kernel.second.eps": 0.3,
    }
    assert told | expected == told
    assert problem(eps=None).describe()["eps"] is None
    assert told != problem().describe(backend="particles", dt=0.5, domain=kspde.Box(half_width=8.0, cells=8))
    for changes in (
        {"model": model_of(motility)},
        {"eps": 0.2},
        {"eps": None},
        {"t_end": 2.0},
        {"initial": "mollified"},
    ):
        assert problem(**changes).describe() != problem().describe()
    assert fingerprint(np.arange(3.0)) != fingerprint(np.arange(3.0) + 1e-15)
    monkeypatch.setattr("kspde.problem.__version__", "another")
    assert problem().describe(backend="fem")["kspde"] == "another"


def test_species_are_told_by_name():
    @dataclass(frozen=True)
    class Two(kspde.Model):
        species: tuple[str, ...] = ("a", "b")

        @property
        def fields(self):
            return (kspde.Field(name="v", kernel=kspde.Yukawa(), source="a"),)

        def diffusion(self, species, c):
            return 1.0

    one, other = kspde.GaussianMixture(**U0), kspde.GaussianMixture(**U0, mass=2.0)
    first = problem(Two(), {"a": one, "b": other})
    assert first.masses == {"a": 1.0, "b": 2.0}
    assert [d.name for d in first.differences(problem(Two(), {"a": other, "b": one}))] == ["u0.a", "u0.b"]
    assert first.describe() != problem(Two(), {"a": other, "b": one}).describe()


def test_a_density_that_fails_is_heard_of_and_one_without_values_is_not_asked() -> None:
    class Points(kspde.initial.InitialDensity):
        """A density for particles only."""

        mass, dimension, error = 1.0, 1, NotImplementedError

        def __call__(self, x: Any) -> Any:
            raise self.error

        def mass_outside(self, half_width: float) -> float:
            return 0.0

        def sample(self, random: Any, ids: Any) -> Any:
            return random.normals(ids, 0, 1)

    class Broken(Points):
        """A density with a mistake in it."""

        error = ZeroDivisionError

    assert Points().fingerprint() == Points().fingerprint()
    with pytest.raises(ZeroDivisionError):
        Broken().fingerprint()
