"""The fields of a model: which of them a mollifier reaches, and which make no sense."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import kspde


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
