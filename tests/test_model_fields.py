"""The fields of a model: which of them a mollifier reaches, and which make no sense."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import kspde
from kspde.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Sensing(kspde.Model):
    """A model with the fields it is given."""

    given: tuple[kspde.Field, ...]
    species: tuple[str, ...] = ("a", "b")

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return self.given

    def diffusion(self, species: str, c: kspde.FieldValues) -> float:
        return 1.0


SMOOTH = kspde.Field(name="c", kernel=kspde.Yukawa(strength=3.0), source="a")
SHARP = kspde.Field(name="d", kernel=kspde.Yukawa(screening=2.0), source="b", mollified=False, gradient=True, tau=0.5)


def test_a_mollifier_reaches_the_fields_that_want_it() -> None:
    model = Sensing(given=(SMOOTH, SHARP))
    assert model.regularised_fields() == (SMOOTH, SHARP)
    first, second = model.regularised_fields(kspde.GaussianMollifier(eps=0.3))
    assert second == SHARP
    lam = np.array([0.0, 1.0, 40.0])
    assert first.kernel.symbol(lam) == pytest.approx(3.0 / (1.0 + lam) * np.exp(-0.045 * lam))
    assert (first.name, first.source, first.gradient, first.tau) == ("c", "a", False, 0.0)
    assert model.signal == "c"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((SMOOTH, SMOOTH), "two fields are called 'c': give each its own name"),
        ((kspde.Field(name="c", kernel=kspde.Yukawa(), source="u"),), "field 'c' has source 'u': give one of the"),
    ],
)
def test_fields_that_make_no_sense(fields: tuple[kspde.Field, ...], words: str) -> None:
    with pytest.raises(kspde.InputError, match=words):
        Sensing(given=fields).regularised_fields()


@dataclass(frozen=True, kw_only=True)
class Summing(kspde.Model):
    """A model with the moments it is given."""

    given: tuple[kspde.Moment, ...]

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return ()

    @property
    def moments(self) -> tuple[kspde.Moment, ...]:
        return self.given

    def diffusion(self, species: str, c: kspde.FieldValues) -> float:
        return 1.0


def squares(x):
    return np.sum(x**2, axis=1)


SQUARES = kspde.Moment(name="m2", function=squares)


@pytest.mark.parametrize(
    ("moments", "words"),
    [
        ((SQUARES, SQUARES), "two moments are called 'm2': give each its own name"),
        (
            (kspde.Moment(name="m", function=squares, source="v"),),
            "moment 'm' has source 'v': give one of the species u",
        ),
        (("m2",), "moments of Summing hold a str: give kspde.Moment objects"),
    ],
)
def test_moments_that_make_no_sense(moments: tuple[kspde.Moment, ...], words: str) -> None:
    with pytest.raises(kspde.InputError, match=words):
        Summing(given=moments).regularised_fields()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": 3}, "name = 3 of a moment is not valid: give a string such as 'm2'"),
        ({"source": ""}, "source = '' of a moment is not valid"),
        ({"function": 2.0}, "the function of moment 'm2' is a float: give one that maps points"),
    ],
)
def test_moments_of_the_wrong_kind(given: dict[str, object], words: str) -> None:
    with pytest.raises(kspde.InputError, match=words):
        kspde.Moment(**({"name": "m2", "function": squares} | given))


def test_moments_are_part_of_a_problem() -> None:
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])

    def problem(power: int) -> Problem:
        moment = kspde.Moment(name="m", function=lambda x: np.sum(x**power, axis=1))
        return Problem.of(Summing(given=(moment,)), u0, t_end=1.0)

    assert not problem(2).differences(problem(2))
    assert [d.name for d in problem(2).differences(problem(3))] == ["given[0].function.power"]
    assert problem(2).describe() == problem(2).describe() != problem(3).describe()
    assert problem(3).describe()["moments[0].function.power"] == 3


def test_perp_turns_counter_clockwise_around_a_maximum() -> None:
    x = np.random.default_rng(0).normal(size=(9, 2)) + np.array([0.7, -0.3])
    c = kspde.FieldValues(x, {"psi": np.exp(-0.5 * np.sum(x**2, axis=1))})
    c = replace(c, gradients={"psi": -x * c["psi"][:, None]})
    velocity = c.perp("psi")
    np.testing.assert_allclose(velocity, c["psi"][:, None] * np.stack([-x[:, 1], x[:, 0]], axis=1), rtol=1e-14)
    np.testing.assert_array_equal(c.part(slice(2, 5)).perp("psi"), velocity[2:5])
    with pytest.raises(kspde.InputError, match="the gradient of field 'phi' is not computed"):
        c.perp("phi")
    with pytest.raises(kspde.InputError, match=r"perp\('psi'\) is defined in dimension 2, not 3: use gradient"):
        kspde.FieldValues(np.zeros((1, 3)), {}).perp("psi")


def test_moments_and_time_stay_with_a_part() -> None:
    c = kspde.FieldValues(np.zeros((3, 1)), {}, t=0.5, moments={"m2": np.array(1.5)})
    part = c.part(slice(1))
    assert (part.t, part.moment("m2"), len(part.points)) == (0.5, 1.5, 1)
    with pytest.raises(kspde.InputError, match=r"moment 'm3' is not computed \(m2 is\): declare it in the model's"):
        c.moment("m3")
