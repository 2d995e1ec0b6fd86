"""The JSON schema of case and study files, and what of the Python arguments it has."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import kspde
from kspde.cli.case import read_case
from kspde.cli.schema import json_schema
from kspde.cli.sections import ELSEWHERE, NOT_IN_FILES, parameters
from kspde.cli.study import read_study, ready_studies
from kspde.fem.schemes import SCHEMES as DENSITY_SCHEMES
from kspde.fem.schemes import scheme_of
from kspde.particles.schemes import SCHEMES
from kspde.particles.schemes import scheme_of as particle_scheme_of

pytestmark = pytest.mark.one_rank

DEMOS = Path(kspde.__file__).parents[1] / "demos"
STATED = Path(__file__).parents[1] / "stated.toml"
SHIPPED = {
    "case": [*Path(kspde.__file__).parent.joinpath("cases").glob("*.toml"), DEMOS / "observed_cells.toml"],
    "study": [*ready_studies().values(), DEMOS / "studies.toml", DEMOS / "local_limit.toml"],
}


@cache
def validator(kind: str) -> Any:
    return jsonschema.Draft202012Validator(json_schema(kind))


def problems(kind: str, text: str) -> list[str]:
    return [error.message for error in validator(kind).iter_errors(tomllib.loads(text))]


def tables(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json_schema(kind)["$defs"]
    return found


@pytest.mark.parametrize("kind", SHIPPED)
def test_what_is_shipped_is_valid(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))
    for path in SHIPPED[kind]:
        assert problems(kind, path.read_text("utf-8")) == [], path
        (read_case if kind == "case" else read_study)(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("chi = 8.0", "ch = 8.0"),
        ("chi = 8.0", 'chi = "8"'),
        ("chi = 8.0", ""),
        ('kind = "box"', ""),
        ('kind = "box"', 'kind = "boks"'),
        ("cells = 32", "cells = 32.5"),
        ("n = 100_000", "n = true"),
        ("dt = 0.01", ""),
        ("eps = 0.3", ""),
        ('mollifier = "gaussian"', 'mollifier = "box"'),
        ("seed = 1", 'scheme = "implicit"'),
        ("replicas = 20", "replicaz = 20"),
        ("t_end = 0.5", "t_end = [0.5]"),
        ("t_end = 0.5", "sweep = 1\nt_end = 0.5"),
    ],
)
def test_a_bad_case_is_refused_by_the_schema_and_by_the_reader(tmp_path: Path, old: str, new: str) -> None:
    text = STATED.read_text("utf-8").replace(old, new, 1)
    assert problems("case", text)
    path = tmp_path / "case.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(kspde.InputError):
        read_case(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "coupling"', 'kind = "couplng"'),
        ("replicas = 64", 'replicas = "64"'),
        ("particles.n = [250,", "particles.n = [[250],"),
        ("{ c = 0.3, gamma", "{ c = -0.3, gamma"),
        ('quantity = "sup"', "quantity = 1"),
        ('kind = "theorem1", theta', 'kind = "theorem1", thetta'),
        ('of = "improved"', 'of = "hoped"'),
        ("[sweep]", "[compare]\nreplicas = 2\n[sweep]"),
    ],
)
def test_a_bad_study_is_refused_by_the_schema_and_by_the_reader(tmp_path: Path, old: str, new: str) -> None:
    text = ready_studies()["theorem1"].read_text("utf-8")
    assert old in text
    assert problems("study", text.replace(old, new, 1))
    path = tmp_path / "study.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(kspde.InputError):
        read_study(path)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (kspde.solve, ("density", "regularisation")),
        (kspde.simulate, ("particles", "regularisation")),
        (kspde.compare, ("compare",)),
        (kspde.SaveAt, ("density",)),
        (kspde.SaveAt, ("particles",)),
        (kspde.Regrid, ("density",)),
        (kspde.Box, ("box",)),
        (kspde.Disk, ("disk",)),
        (kspde.MeshFile, ("mesh",)),
        (kspde.GaussianMixture, ("gaussian-mixture",)),
        (kspde.GridDensity, ("grid",)),
        (kspde.observed_positions, ("positions",)),
        (kspde.SignalDependentKellerSegel, ("signal-dependent-keller-segel",)),
        (kspde.LocalSensing, ("local-sensing",)),
        (kspde.ExponentialMotility, ("local-sensing",)),
        (kspde.AlgebraicMotility, ("local-sensing",)),
        (kspde.GaussianMollifier, ("regularisation",)),
        (kspde.MaternMollifier, ("regularisation",)),
        *((scheme, ("particles",)) for scheme in SCHEMES.values()),
        *((scheme, ("density",)) for scheme in DENSITY_SCHEMES.values()),
    ],
)
def test_every_argument_is_a_key_or_has_a_reason_not_to_be(call: Callable[..., Any], names: tuple[str, ...]) -> None:
    """Same names and same defaults as in Python."""
    keys = {key: about for name in names for key, about in tables("case")[name]["properties"].items()}
    for name, parameter in parameters(call).items():
        if name in ("save", "regrid"):
            continue  # their own arguments are keys: SaveAt, Regrid
        reason = {**ELSEWHERE, **NOT_IN_FILES}
        if not reason.keys() & {name, f"{call.__name__}.{name}"} or name in keys:
            assert name in keys, name
            assert keys[name]["description"]
            if not parameter.required and parameter.default not in (None, ()) and "default" in keys[name]:
                assert keys[name]["default"] == json.loads(json.dumps(parameter.default)), name


def test_exceptions_are_arguments() -> None:
    """None of them has gone from Python."""
    calls = (
        kspde.solve, kspde.simulate, kspde.compare, kspde.SaveAt, kspde.Box, kspde.GridDensity,
        kspde.observed_positions,
    )  # fmt: skip
    known = {name for call in calls for name in parameters(call)}
    known |= {f"{call.__name__}.{name}" for call in calls for name in parameters(call)}
    assert known >= {*ELSEWHERE, *NOT_IN_FILES}


def words(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (node["description"],) if isinstance(node.get("description"), str) else ()
        for value in node.values():
            yield from words(value)


@pytest.mark.parametrize("kind", SHIPPED)
def test_every_key_is_described_in_words(kind: str) -> None:
    for name, table in tables(kind).items():
        for key, about in table.get("properties", {}).items():
            if name != "sweep":
                assert about.get("description", key) != key, (name, key)
    for text in words(json_schema(kind)):
        assert ":`" not in text
        assert "``" not in text


@pytest.mark.parametrize("kind", SHIPPED)
def test_the_command_prints_it(kspde_command: Callable[..., Any], kind: str) -> None:
    outcome = kspde_command("schema", kind)
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads(outcome.out) == json_schema(kind)
    assert kspde_command("schema", "result").status == 2


def test_an_argument_that_a_file_cannot_hold_is_refused_with_the_reason(
    case_file: Callable[..., Path], refused: Callable[..., str]
) -> None:
    path = case_file("seed = 1", "weights = [1.0]")
    assert refused("run", path, "--out", path.parent / "result") == (
        "case.toml: particles.weights is not a key of [particles]: a file cannot hold it: an array, or a function of "
        "the starting points"
    )


def test_options_reach_the_particles_and_the_comparison(case_file: Callable[..., Path]) -> None:
    particles = (
        'seed = 1\nscheme = "weak-2"\nmethod = "direct"\ninclude_self = false\nmemory_limit = 1e9\n'
        'on_blow_up = "stop"\ntimes = [0.01, 0.02]\nstatistics = ["moments"]'
    )
    compare = 'replicas = 2\nr = 2\nwasserstein = "exact"\nseed = 3\ndistances = ["energy"]\nneighbours = 5'
    case = read_case(case_file("seed = 1", particles, "replicas = 2", compare))
    assert case.experiment.simulate == {
        "n": 500, "dt": 0.01, "seed": 1, "scheme": "weak-2",
        "method": "direct", "include_self": False, "memory_limit": 1e9, "on_blow_up": "stop",
        "save": kspde.SaveAt(times=(0.01, 0.02), statistics=("moments",)),
    }  # fmt: skip
    assert case.compare == {
        "replicas": 2, "r": 2, "wasserstein": "exact", "seed": 3, "distances": ["energy"], "neighbours": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "seed = 1",
            "on_blow_up = 'explode'",
            'particles.on_blow_up = "explode" is not valid: give "',
        ),
        ("seed = 1", "statistics = ['x']", 'particles.statistics[0] = "x" is not valid: give "moments" or "minimal'),
        ("seed = 1", "times = [0.9]", "particles.times reach 0.9, after t_end = 0.05: give times in [0, t_end]"),
        ("seed = 1", "memory_limit = 0", "particles.memory_limit = 0.0 is not valid: give a finite number > 0"),
        ("seed = 1", "scheme = 'milstein'", 'particles.scheme = "milstein" is not valid: give "euler-maruyama", "w'),
        ("replicas = 2", "times = [0.9]", "compare.times = [0.9] are not valid: give increasing times in [0, 0.05]"),
        ("replicas = 2", "t = 0.01", "compare.t = 0.01 is not the time of the particles, 0.05: give times = [...]"),
        (
            "replicas = 2",
            "t = 0.01\ntimes = [0.01]",
            "compare.t and times are given: give one of them",
        ),
        (
            "replicas = 2",
            "against = 'nonlocal'",
            "compare.against = 'nonlocal' is neither \"local\" nor a file that can be read (No such file or directory)",
        ),
        (
            "eps = 0.3",
            "",
            "regularisation.eps is missing: give ε > 0 of the mollified system, in which every kernel K is replaced by "
            "K * j^ε, or leave [regularisation] out",
        ),
        ("replicas = 2", "r = 3", "compare.r = 3 is not valid: give an integer >= 1 and <= 2"),
        ("replicas = 2", "distances = ['l7']", 'compare.distances[0] = "l7" is not valid: give "l1", "l2", '),
        ("seed = 1", "eps = 0.3", "particles.eps is not a key of [particles]: it is one of [regularisation]"),
    ],
)
def test_bad_options_of_particles(
    case_file: Callable[..., Path], refused: Callable[..., str], old: str, new: str, line: str
) -> None:
    path = case_file(old, new)
    assert refused("run", path, "--out", path.parent / "result").startswith(f"case.toml: {line}")


def test_older_files_say_file_for_path(tmp_path: Path) -> None:
    text = (DEMOS / "observed_cells.toml").read_text("utf-8").replace('path = "data', f'file = "{DEMOS}/data')
    path = tmp_path / "case.toml"
    path.write_text(text, encoding="utf-8")
    assert read_case(path).experiment.problem.model.dimension == 2
    path.write_text(text.replace("observed_cells.csv", "none.csv"), encoding="utf-8")
    with pytest.raises(kspde.InputError, match=r"case\.toml: initial\.file: cannot read positions"):
        read_case(path)


def test_older_files_say_positive2_and_weak2(case_file: Callable[..., Path]) -> None:
    assert set(tables("case")["density"]["properties"]["scheme"]["enum"]) == set(DENSITY_SCHEMES)
    density, particles = 'scheme = "positive2"\ndt = 0.01', 'seed = 1\nscheme = "weak2"'
    case = read_case(case_file("tol = 1e-3", density, "seed = 1", particles, "degree = 4", "degree = 1"))
    assert scheme_of(case.experiment.solve["scheme"], dt=0.01) == kspde.Positive2(dt=0.01)
    assert particle_scheme_of((case.experiment.simulate or {})["scheme"], 0.01) == kspde.Weak2(dt=0.01)


@pytest.mark.parametrize("key", ["seed = 1", 'scheme = "weak-2"', "times = [0.1]"])
def test_what_a_study_does_not_read_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        ready_studies()["theorem1"].read_text("utf-8").replace("dt = 0.01", f"dt = 0.01\n{key}", 1), "utf-8"
    )
    with pytest.raises(kspde.InputError, match=r'particles\.\w+ has no effect with measure "coupling": leave it out'):
        read_study(path)


def test_the_schema_names_the_statistics() -> None:
    from kspde.cli.schema import json_schema
    from kspde.fem import diagnostics
    from kspde.particles import statistics

    for what in ("case", "study"):
        tables = json_schema(what)["$defs"]
        assert tables["density"]["properties"]["statistics"]["items"]["enum"] == list(diagnostics.STATISTICS)
        names, *objects = tables["particles"]["properties"]["statistics"]["items"]["oneOf"]
        assert names["enum"] == list(statistics.STATISTICS)
        assert {"$ref": "#/$defs/histogram"} in objects
        assert tables["histogram"]["properties"]["bins"]["default"] == 64


def test_a_schema_that_does_not_exist(refused: Callable[..., str]) -> None:
    line = refused("schema", "bogus")
    assert "'bogus' is not one of" in line
    assert "Value error" not in line
