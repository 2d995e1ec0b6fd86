"""Models of a user's own in case files: --models FILE, and the entry points of installed packages."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.cli.case import read_case
from kspde.cli.models import models_of_file

CASES = Path(kspde.__file__).parents[1] / "demos" / "cases"
SHIPPED = (CASES / "my_models.py").read_text(encoding="utf-8")
CASE = (CASES / "my_models.toml").read_text(encoding="utf-8").replace("t_end = 0.5", "t_end = 0.02")

#: A model in the fewest lines.
LEAST = """from dataclasses import dataclass
import kspde
@dataclass(frozen=True)
class Heat(kspde.Model):
    fields = ()
    def diffusion(self, species, c):
        return 1.0
"""


@pytest.fixture
def files(write_changed: Callable[..., Path]) -> Callable[..., tuple[Path, Path]]:
    """Return a function that writes a case and a file of models, the shipped ones unless given."""

    def write(models: str = SHIPPED, case: str = CASE) -> tuple[Path, Path]:
        return write_changed("case.toml", case), write_changed("mine.py", models)

    return write


def test_the_shipped_model_moves_its_centre_of_mass_as_it_must() -> None:
    """∫xu/M − x_0 = e^(−κt)(∫xu_0/M − x_0): repulsion moves no centre of mass."""
    experiment = read_case(CASES / "my_models.toml", models_of_file(CASES / "my_models.py")).experiment
    pde = experiment.density()
    axis = np.linspace(-5.9, 5.9, 237)
    u = pde.on_grid([axis, axis], outside=0.0)
    found = np.array([(u * axis[:, None]).sum(), (u * axis).sum()]) / u.sum()
    np.testing.assert_allclose(found, np.array([0.5, 0.0]) + np.exp(-0.5) * np.array([-1.0, 0.3]), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("without_pictures")
def test_a_comparison_records_the_file_and_resume_asks_for_it(
    files: Callable[..., tuple[Path, Path]],
    kspde_command: Callable[..., Any],
    refused: Callable[..., str],
    write_changed: Callable[..., Path],
) -> None:
    case, models = files()
    out = case.parent / "result"
    small = (
        CASE.replace("n = 20_000", "n = 200")
        .replace("replicas = 8", "replicas = 2")
        .replace("degree = 4", "degree = 3")
    )
    write_changed("case.toml", small)
    outcome = kspde_command("compare", case, "--models", models, "--out", out)
    assert (outcome.status, outcome.err) == (0, "")
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    digest = hashlib.sha256(models.read_bytes()).hexdigest()
    assert summary["model_origin"] == {"file": str(models.resolve()), "sha256": digest}
    assert summary["parameters"]["model"]["centre"] == [0.5, 0.0]
    line = refused("compare", case, "--out", case.parent / "other", "--resume")
    assert line.startswith('case.toml: model.kind = "trapped-repulsion" is not valid: give "signal-dependent-keller-s')
    assert line.endswith(", or the file of your own models: --models my_models.py")


def test_a_checkpoint_is_of_the_file_that_made_it(files: Callable[..., tuple[Path, Path]]) -> None:
    """Also where what has changed is not in the class."""
    case, models = files()
    first = read_case(case, models_of_file(models)).experiment.problem.describe()
    assert read_case(case, models_of_file(models)).experiment.problem.describe() == first
    _, models = files(SHIPPED + "\nHELPER = 1\n")
    second = read_case(case, models_of_file(models)).experiment.problem.describe()
    assert {name for name in second if first[name] != second[name]} == {"model.code"}


def test_an_initial_signal_is_a_table_of_the_model(write_changed: Callable[..., Path]) -> None:
    v0 = 'v0 = { kind = "gaussian-mixture", weights = [1], means = [[0, 0]], stds = [1], mass = 2 }'
    model = f'[model]\nkind = "local-sensing"\nmotility = "exponential"\nchi = 2.0\ntau = 1.0\n{v0}\n\n'
    old = CASE[CASE.index("[model]") : CASE.index("[initial]")]
    read: Any = read_case(write_changed("case.toml", CASE, old, model)).experiment.problem.model
    assert read.v0 == kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0], mass=2.0)
    path = write_changed("case.toml", CASE, old, model.replace("mass = 2", "mass = -2"))
    with pytest.raises(
        kspde.InputError, match=r"case\.toml: model\.v0\.mass = -2\.0 is not valid: give a finite number"
    ):
        read_case(path)


def test_theory_schema_and_study_know_them(
    files: Callable[..., tuple[Path, Path]], kspde_command: Callable[..., Any], write_changed: Callable[..., Path]
) -> None:
    case, models = files()
    outcome = kspde_command("theory", case, "--models", models)
    assert outcome.status == 0
    assert "TrappedRepulsion" in outcome.out or outcome.out == ""
    outcome = kspde_command("schema", "--models", models)
    assert outcome.status == 0
    if outcome.out:
        keys = json.loads(outcome.out)["$defs"]["trapped-repulsion"]["properties"]
        assert keys["centre"]["description"] == "the centre x_0 of the trap"
        assert keys["kappa"] == {"description": "the rate κ ≥ 0 of the trap", "type": "number", "default": 1.0}
    text = CASE[: CASE.index("[particles]")]
    study = write_changed(
        "study.toml",
        f'title = "Repulsion"\nabout = "The error."\n{text}[sweep]\nmodel.a = [1.0, 2.0]\n'
        '[measure]\nkind = "mollification"\n',
    )
    out = case.parent / "study"
    outcome = kspde_command("study", study, "--models", models, "--out", out)
    assert (outcome.status, outcome.err) == (0, "")
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert summary["command"] == f"kspde study {study} --models {models} --out DIR"
    assert summary["fixed"]["model_origin"] == {"sha256": hashlib.sha256(models.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import nonsense", ", line 1: ModuleNotFoundError: No module named 'nonsense'"),
        ("\nx = (", ", line 2: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)", ", line 2: SystemExit: 3"),
        ("def f():\n    return 1 / 0\n\nf()", ", line 2: ZeroDivisionError: division by zero"),
        ("x = 1", " defines no model: give it a frozen dataclass that derives from kspde.Model"),
        ("from kspde import LocalSensing", " defines no model: give it"),
        (
            LEAST.replace("@dataclass(frozen=True)", ""),
            ": Heat is not a frozen dataclass: put @dataclass(frozen=True, ",
        ),
        (LEAST.replace("(frozen=True)", ""), ": Heat is not a frozen dataclass: put @dataclass(frozen=True, "),
        (LEAST + '    kind = "local-sensing"', ': kind = "local-sensing" of Heat is a model of kspde: give it another'),
        (
            LEAST + '    kind: str = "x"',
            ": kind is a parameter of Heat: make it a class variable, kind: ClassVar = ...",
        ),
        (LEAST + "    kind = 1", ': kind = 1 of Heat is not valid: give a class variable, kind: ClassVar = "heat"'),
        (
            LEAST + "    x: object",
            ": Heat cannot be a table of a case file: x of Heat has no type that TOML has: annotat",
        ),
        (LEAST + '    x: "Nothing"', ": Heat cannot be a table of a case file: name 'Nothing' is not defined"),
        (
            LEAST + '    kind = "a"\n' + LEAST.replace("Heat", "Cold") + '    kind = "a"\n',
            ': Heat and Cold have the kind "a": give each its own',
        ),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_line(
    files: Callable[..., tuple[Path, Path]], refused: Callable[..., str], text: str, line: str
) -> None:
    case, models = files(text)
    assert refused("theory", case, "--models", models).startswith(f"--models mine.py{line}")


def test_what_a_users_model_refuses_is_a_line(
    files: Callable[..., tuple[Path, Path]], refused: Callable[..., str], comm: Any
) -> None:
    check = '\n    def __post_init__(self):\n        if self.a > 1:\n            raise ValueError("a is too large")\n'
    case, models = files(SHIPPED + check)
    assert refused("run", case, "--models", models, "--out", case.parent / "out") == (
        "case.toml: [model]: ValueError: a is too large"
    )
    comm.Barrier()
    models.unlink(missing_ok=True)
    comm.Barrier()
    assert refused("run", case, "--models", models, "--out", case.parent / "out") == (
        "--models mine.py cannot be read (No such file or directory): give a Python file with your models"
    )


def test_a_file_may_import_what_lies_beside_it(
    files: Callable[..., tuple[Path, Path]], write_changed: Callable[..., Path]
) -> None:
    write_changed("beside_mine.py", "RATE = 3.0\n")
    _, models = files("import beside_mine\n" + LEAST, CASE.replace("trapped-repulsion", "Heat"))
    before = list(sys.path)
    assert models_of_file(models).kinds["Heat"].__name__ == "Heat"
    assert sys.path == before


@pytest.fixture
def installed(write_changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, comm: Any) -> Callable[[str], None]:
    """Return a function that installs a package with one line of the entry point group ``kspde.models``."""

    def install(line: str) -> None:
        module = write_changed("fake_models.py", SHIPPED)
        about = module.parent / "fake_models-1.2.dist-info"
        if comm.rank == 0:
            about.mkdir()
            (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-models\nVersion: 1.2\n", "utf-8")
            (about / "entry_points.txt").write_text(f"[kspde.models]\n{line}\n", "utf-8")
        comm.Barrier()
        monkeypatch.syspath_prepend(module.parent)
        monkeypatch.delitem(sys.modules, "fake_models", raising=False)

    return install


def test_an_installed_package_is_asked_only_for_a_kind_that_is_not_built_in(
    installed: Callable[[str], None], files: Callable[..., tuple[Path, Path]], kspde_command: Callable[..., Any]
) -> None:
    installed("trapped-repulsion = fake_models:TrappedRepulsion")
    case, _ = files()
    assert kspde_command("theory", CASES.parent / "observed_cells.toml").status == 0
    assert "fake_models" not in sys.modules
    read = read_case(case)
    assert "fake_models" in sys.modules
    assert type(read.experiment.problem.model).__name__ == "TrappedRepulsion"
    assert read.origin == {"package": "fake-models", "version": "1.2"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trapped-repulsion = fake_models:CASE", "AttributeError: module 'fake_models' has no attribute 'CASE'"),
        ("trapped-repulsion = fake_models:kspde", "is fake_models:kspde, a module: give a class that derives from"),
    ],
)
def test_a_package_that_cannot_be_used_gets_one_line(
    installed: Callable[[str], None],
    files: Callable[..., tuple[Path, Path]],
    refused: Callable[..., str],
    line: str,
    words: str,
) -> None:
    installed(line)
    case, _ = files()
    assert (
        refused("theory", case)
        .replace(": Attr", " Attr")
        .startswith(f"case.toml: model.kind = 'trapped-repulsion' of fake-models 1.2 {words}")
    )
