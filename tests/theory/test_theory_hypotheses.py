"""Which hypotheses a model leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kspde
from kspde import AlgebraicDensity, CallableDensity, GaussianMixture, GridDensity, SignalDependentKellerSegel, theory


def violated(*arguments: object, **keywords: object) -> list[str]:
    return [h.statement for h in theory.hypotheses(*arguments, **keywords) if h.verdict is False and h.parameter]


def test_the_strength_of_the_signal() -> None:
    assert violated(SignalDependentKellerSegel(chi=23.4)) == []
    (only,) = [h for h in theory.hypotheses(SignalDependentKellerSegel(chi=23.41)) if h.verdict is False]
    assert only.warning == "chi = 23.41: outside the hypotheses of Wang, Li and Huang's Lemma 1, which asks for " + (
        "chi < 4/c_* = 23.4018"
    )


def test_mass_and_screening() -> None:
    heavy = GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0], mass=3.0)
    assert violated(SignalDependentKellerSegel(chi=8.0)) == []
    assert violated(SignalDependentKellerSegel(chi=8.0), u0=heavy) == ["chi * mass < 4/c_* = 23.4018"]
    assert violated(SignalDependentKellerSegel(chi=8.0), eps=0.9) == []
    assert violated(SignalDependentKellerSegel(chi=8.0), eps=1.0) == ["0 < eps < 1"]
    assert violated(SignalDependentKellerSegel(chi=8.0, mu=2.0), eps=0.5) == ["0 < eps * mu < 1"]


@pytest.mark.parametrize(
    ("u0", "words"),
    [
        (GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0]), ["holds", "violated"]),
        (GridDensity(np.ones((3, 3)), (-1, 1, -1, 1)), ["holds", "violated"]),
        (AlgebraicDensity(power=3.0), ["holds", "holds"]),
        (AlgebraicDensity(power=2.0), ["violated", "holds"]),
        (CallableDensity(lambda x: np.exp(-(x**2).sum(axis=1)), half_width=6.0, dimension=2), ["open", "open"]),
    ],
)
def test_initial_densities(u0: kspde.initial.InitialDensity, words: list[str]) -> None:
    found = [h for h in theory.hypotheses(SignalDependentKellerSegel(chi=8.0), u0=u0) if "u0" in h.statement]
    assert [h.word for h in found] == words
    assert not any(h.parameter for h in found)


def test_what_one_run_cannot_tell() -> None:
    found = theory.hypotheses(SignalDependentKellerSegel(chi=8.0), eps=0.3, n=100_000)
    scaling = next(h for h in found if "N^-gamma" in h.statement)
    assert scaling.word == "open"
    assert "gamma = 0.105" in scaling.because
    # With a screening μ the length that counts is με: log(1/.3)/log(1e5) = .1046.
    found = theory.hypotheses(SignalDependentKellerSegel(chi=8.0, mu=2.0), eps=0.15, n=100_000)
    assert "gamma = 0.105" in next(h for h in found if "N^-gamma" in h.statement).because


def test_vortices_without_viscosity() -> None:
    assert violated(kspde.ViscousVortices(viscosity=1e-3)) == []
    (found,) = theory.hypotheses(kspde.ViscousVortices(viscosity=0.0))
    assert found.warning.startswith("viscosity = 0, so that Euler's equation is solved, without diffusion or noise: ")


def test_a_model_no_theorem_covers() -> None:
    class Diffusion(kspde.Model):
        fields = ()

        def diffusion(self, species: str, c: kspde.FieldValues) -> float:
            return 1.0

    assert theory.hypotheses(Diffusion()) == ()


def test_theory_is_an_attribute_of_the_package() -> None:
    assert kspde.papers.theory is theory


def test_chen_daus_and_juengel() -> None:
    def verdicts(a: float, mass: float, **more: Any) -> list[bool | None]:
        model = kspde.CrossDiffusion(a=((1.0, a), (a, 1.0)), sigma=(0.5, 0.5))
        places = {"u1": 0.0, "u2": 1.0}
        u0 = {
            name: GaussianMixture(weights=[1.0], means=[[0.0, m]], stds=[1.0], mass=mass) for name, m in places.items()
        }
        return [h.verdict for h in theory.hypotheses(model, u0=u0, **more)]

    assert verdicts(0.9, 1e-3) == [True, None]  # small, but C* is not known
    assert verdicts(1.0, 1.0) == [False, False]
    assert verdicts(0.0, 1.0, eps=0.76, n=16000) == [True, False, None]
    assert verdicts(0.0, 1.0, eps=0.74, n=16000) == [True, False, False]
    assert [h.verdict for h in theory.hypotheses(kspde.CrossDiffusion(a=((1.0,),), sigma=(1.0,)))] == [True]
