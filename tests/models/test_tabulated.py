"""Motilities and drivers given by a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.cli.case import read_case
from kspde.cli.study import read_study
from kspde.models.drivers import volatility_of

pytestmark = pytest.mark.one_rank

V = np.linspace(0, 6, 25)


def test_a_motility_is_interpolated_and_never_increases() -> None:
    at = np.linspace(0.02, 5.98, 400)
    errors = []
    for n in (25, 49):
        v = np.linspace(0, 6, n)
        motility = kspde.TabulatedMotility(v.tolist(), (1 + np.exp(-v)).tolist())
        np.testing.assert_allclose(motility(v), 1 + np.exp(-v), rtol=0, atol=1e-15)
        assert np.all(np.diff(motility(at)) < 0)
        errors.append(np.abs(motility(at) - 1 - np.exp(-at)).max())
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] > 4
    steps = kspde.TabulatedMotility([0.0, 1.0, 2.0, 3.0], [2.0, 2.0, 1.0, 1.0])(np.linspace(0, 3, 301))
    assert steps.min() == 1.0  # a cubic spline would overshoot
    assert steps.max() == 2.0


def test_a_table_says_what_it_does_not_know() -> None:
    motility = kspde.TabulatedMotility(V.tolist(), np.exp(-V).tolist())
    assert motility(np.array([-1e-6, 6.0 + 1e-6])) == pytest.approx([1.0, np.exp(-6.0)], abs=0)
    assert np.isnan(motility(np.array([np.nan])))[0]
    with pytest.raises(
        kspde.InputError, match=r"^v = 6\.1 is outside the table of gamma, which reaches from 0 to 6: g"
    ):
        motility(np.array([1.0, 6.1]))
    with pytest.warns(kspde.KspdeWarning, match=r"gamma increases from 1 to 1\.5 between v = 1 and 2: the theory"):
        kspde.TabulatedMotility([0.0, 1.0, 2.0], [2.0, 1.0, 1.5])
    assert repr(motility) == "TabulatedMotility(25 rows, v from 0 to 6)"
    assert motility == kspde.TabulatedMotility(tuple(V), np.exp(-V).tolist())


@pytest.mark.parametrize(
    ("v", "gamma", "line"),
    [
        ([0, 1, 1], [3, 2, 1], "v = 1 in row 3 follows 1: give increasing numbers, each once"),
        ([0, 1, 2], [3, 2, 0], "gamma = 0 in row 3 is not valid: give motilities > 0"),
        ([0, 1, 2], [3, 2], "v has 3 numbers and gamma 2: give as many, at least 2"),
        ([0], [3], "v has 1 numbers and gamma 1: give as many, at least 2"),
        ([0, 1], [3, np.nan], "gamma "),
    ],
)
def test_a_bad_table(v: list[float], gamma: list[float], line: str) -> None:
    with pytest.raises(kspde.InputError) as caught:
        kspde.TabulatedMotility(v, gamma)
    assert str(caught.value).startswith(line)


def test_a_driver_is_inverted_to_rounding() -> None:
    """That of a table of ν² is close to the power driver, and h(ν(ρ)) = ρ."""
    nu = np.linspace(0, 2, 41)
    driver = kspde.TabulatedDriver(nu.tolist(), (nu**2).tolist())
    rho = np.concatenate([[0.0, -1e-9, 1e-12], np.linspace(0.01, 4.0, 200)])
    found = volatility_of(driver, 0.0, np.zeros_like(rho), rho)
    np.testing.assert_allclose(driver(0.0, rho, found), np.maximum(rho, 0), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(found[3:], np.sqrt(rho[3:]), rtol=0, atol=1e-3)
    assert np.isnan(driver.volatility(np.array([np.nan, 1.0]))).tolist() == [True, False]
    with pytest.raises(kspde.InputError, match=r"the density 4\.1 is beyond the table of the driver, which reaches h"):
        volatility_of(driver, 0.0, np.zeros(1), np.array([4.1]))
    with pytest.raises(kspde.InputError, match=r"nu = 1 in row 1 is not valid: give h from nu = 0 on"):
        kspde.TabulatedDriver([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(kspde.InputError, match=r"h = 1 in row 2 follows 1"):
        kspde.TabulatedDriver([0.0, 2.0], [1.0, 1.0])


@pytest.mark.parametrize(
    "text",
    [
        "0,3\n1,2\n2.5,1\n",
        "v,gamma\n0,3\n1,2\n2.5,1",
        "\ufeff# measured\ngamma, v\n3, 0\n\n2, 1\n1, 2.5\n",
    ],
)
def test_files_of_two_columns(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gamma.csv"
    path.write_text(text, "utf-8")
    assert kspde.TabulatedMotility.from_csv(path) == kspde.TabulatedMotility([0, 1, 2.5], [3, 2, 1])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("v;gamma\n0;3", " has columns 'v;gamma': it must have v and gamma"),
        ("v,mobility\n0,3", " has columns 'v, mobility': it must have v and gamma"),
        ("0,3\n1,x", ", data row 2 is '1,x': give two numbers, v and gamma, separated by a comma"),
        ("0,3\n1,2,5", ", data row 2 is '1,2,5': give two numbers"),
        ("\x00,3\n1,2", ", data row 1 is "),
    ],
)
def test_bad_files(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "gamma.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(kspde.InputError) as caught:
        kspde.TabulatedMotility.from_csv(path)
    assert str(caught.value).startswith(f"{path}{line}")


CASE = (Path(__file__).parents[1] / "stated.toml").read_text("utf-8")
LOCAL = ('kind = "signal-dependent-keller-segel"', 'kind = "local-sensing"\nmotility = "table"\nfile = "t/gamma.csv"')


def test_case_files_name_tables(tmp_path: Path, write_changed: Callable[..., Path]) -> None:
    path = write_changed("case.toml", CASE, *LOCAL)
    (path.parent / "t").mkdir()
    with pytest.raises(kspde.InputError, match=r"case\.toml: model\.file: cannot read .*t/gamma\.csv: No such file or"):
        read_case(path)
    table = path.parent / "t" / "gamma.csv"
    table.write_text("0,2\n1,1\n", "utf-8")
    model: Any = read_case(path).experiment.problem.model
    assert model.motility == kspde.TabulatedMotility([0, 1], [2, 1])
    missing = write_changed("other.toml", CASE, LOCAL[0], 'kind = "local-sensing"\nmotility = "table"')
    with pytest.raises(kspde.InputError, match=r"model.*path is missing: give a \.csv file with two columns, v and g"):
        read_case(missing)
    study = write_changed(
        "study.toml",
        'title = "x"\nabout = "y"\n' + CASE[: CASE.index("[particles]")] + "[sweep]\nmodel.chi = [1.0, 2.0]\n"
        '[measure]\nkind = "mollification"\n',
        *LOCAL,
    )
    keys = [point.key for point in read_study(study).points]
    table.write_text("0,2\n1,0.5\n", "utf-8")
    assert keys != [point.key for point in read_study(study).points]


def test_a_driver_of_a_case_may_be_a_table(write_changed: Callable[..., Path]) -> None:
    text = CASE.replace("means = [[-1.2, 0.3], [1.3, -0.2], [0.2, 1.5]]", "means = [[-1.0], [0.0], [1.0]]")
    old = text[text.index('kind = "signal') : text.index("[initial]")]
    path = write_changed(
        "case.toml", text, old, 'kind = "density-dependent-volatility"\ndriver = "table"\npath = "h.csv"\n'
    )
    (path.parent / "h.csv").write_text("nu,h\n0,-1\n1,0\n3,2\n", "utf-8")
    model: Any = read_case(path).experiment.problem.model
    assert model.driver == kspde.TabulatedDriver([0, 1, 3], [-1, 0, 2])
    np.testing.assert_allclose(model.driver.volatility(np.array([0.0, 1.0])), [1.0, 2.0], rtol=1e-14)
