"""Schemes as objects: what they refuse, and that names with tol or dt beside them stand for the same ones."""

import numpy as np
import pytest

import kspde
from kspde.fem.schemes import SCHEMES, scheme_of

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
COARSE = kspde.Box(half_width=14.0, cells=24, degree=1)


@pytest.mark.parametrize(
    ("name", "control", "expected"),
    [
        ("adaptive", {}, kspde.Adaptive(1e-6)),
        ("adaptive", {"tol": 1e-3}, kspde.Adaptive(tol=1e-3)),
        ("rosenbrock", {"tol": 1e-3}, kspde.Rosenbrock(1e-3)),
        ("positive", {"dt": 1}, kspde.Positive(1.0)),
        ("positive-2", {"dt": 0.1}, kspde.Positive2(dt=0.1)),
        ("positive-2", {"tol": 0.1}, kspde.Positive2(tol=0.1)),
    ],
)
def test_names_stand_for_objects(name, control, expected) -> None:
    found = scheme_of(name, **control)
    assert found == expected
    assert found.name == name
    assert scheme_of(expected) is expected
    assert type(found) is SCHEMES[name]
    assert found.positive == name.startswith("positive")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: kspde.Adaptive(tol=0), "tol = 0 is not valid"),
        (lambda: kspde.Rosenbrock(tol="small"), "tol = 'small' is not a number"),
        (lambda: kspde.Positive(dt=-1), "dt = -1 is not valid"),
        (kspde.Positive2, "neither dt nor tol is given"),
        (lambda: kspde.Positive2(dt=1.0, tol=0.1), "has no effect beside"),
        (lambda: scheme_of(kspde.Positive(0.1), dt=0.2), r"dt = 0.2 has no effect beside scheme = Positive\(dt=0.1\)"),
        (lambda: scheme_of(kspde.Adaptive(), tol=1e-3), "tol = 0.001 has no effect beside scheme = Adaptive"),
        (lambda: scheme_of(kspde.Positive), r"scheme = Positive is a class: .* kspde\.Positive\(dt=\.\.\.\)"),
        (lambda: scheme_of(kspde.Adaptive), r"scheme = Adaptive is a class: .* kspde\.Adaptive\(tol=\.\.\.\)"),
        (
            lambda: scheme_of(kspde.Weak2(0.1)),
            r"scheme = Weak2\(dt=0.1\) is a scheme of kspde.simulate: give one of ad",
        ),
        (lambda: scheme_of("positive_2", dt=0.1), r"give one of adaptive, .* \(did you mean positive-2\?\)"),
        (kspde.Positive, "dt is not given: the positive scheme needs a step > 0"),
        (lambda: scheme_of("positive"), "dt is not given: the positive scheme needs a step > 0"),
        (lambda: scheme_of(None), "scheme = None is not valid"),
    ],
)
def test_what_is_refused(make, words) -> None:
    with pytest.raises(kspde.InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_earlier_spelling_is_the_same_name(mixture, shared_tmp_path) -> None:
    assert scheme_of("positive2", dt=0.1) == scheme_of("positive-2", dt=0.1) == kspde.Positive2(dt=0.1)
    options = {"t_end": 0.06, "eps": 0.3, "dt": 0.02, "checkpoint": kspde.Checkpoint(shared_tmp_path, every=0.0)}
    pde = kspde.solve(MODEL, mixture, COARSE, scheme="positive2", **options)
    again = kspde.solve(MODEL, mixture, COARSE, scheme="positive-2", resume=True, **options)
    assert again.diagnostics["maximum"][-1] == pytest.approx(pde.diagnostics["maximum"][-1], rel=1e-12)
    assert pde.summary()["scheme"] == "positive-2"


def test_a_scheme_shows_what_it_was_given() -> None:
    assert repr(kspde.Positive2(dt=0.1)) == "Positive2(dt=0.1)"
    assert repr(kspde.Positive2(tol=1e-3)) == "Positive2(tol=0.001)"


def test_an_object_and_its_name_solve_alike(mixture) -> None:
    options = {"t_end": 0.1, "eps": 0.3}
    by_name = kspde.solve(MODEL, mixture, COARSE, scheme="positive-2", dt=0.02, **options)
    pde = kspde.solve(MODEL, mixture, COARSE, scheme=kspde.Positive2(dt=0.02), **options)
    np.testing.assert_array_equal(pde.diagnostics["maximum"], by_name.diagnostics["maximum"])
    assert pde.summary()["scheme"] == "positive-2"
    assert (pde.scheme, pde.problem.t_end, pde.problem.eps) == (kspde.Positive2(dt=0.02), 0.1, 0.3)
    with pytest.raises(kspde.InputError, match="degree = 4 is not valid for the positive schemes"):
        kspde.solve(MODEL, mixture, kspde.Box(half_width=14.0, cells=10), scheme=kspde.Positive(0.1), **options)


def test_a_solution_shows_itself_in_a_few_lines(mixture) -> None:
    pde = kspde.solve(MODEL, mixture, COARSE, t_end=0.1, eps=0.3, scheme=kspde.Positive(0.02))
    lines = repr(pde).splitlines()
    assert len(lines) < 12
    for words in ("chi=8.0", "cells=24", "eps = 0.3", "Positive(dt=0.02), 5 steps", "mass 1, maximum 0."):
        assert words in repr(pde)
    assert "<td>Positive(dt=0.02), 5 steps</td>" in pde._repr_html_()
    pde = kspde.solve(MODEL, mixture, COARSE, t_end=0.1, eps=0.3, scheme=kspde.Positive(0.1))
    assert "Positive(dt=0.1), 1 step\n" in repr(pde)
