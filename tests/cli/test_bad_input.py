"""Bad input: one line on standard error, exit status 2, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.papers import experiment


def too_late(*_: Any, **__: Any) -> None:
    pytest.fail("computed before it was refused")


@pytest.mark.parametrize("command", ["run", "compare"])
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("chi = 8.0", "ch = 8.0", "case.toml: model.ch is not a key of [model]: did you mean chi? (1 more to correct)"),
        ("chi = 8.0", 'chi = "8"', 'case.toml: model.chi = "8" is not valid: give a number'),
        ("chi = 8.0", "chi = -8.0", "case.toml: model.chi = -8.0 is not valid: give a finite number >= 0"),
        ("chi = 8.0", "chi = nan", "case.toml: model.chi = nan is not valid: give a finite number >= 0"),
        ("eps = 0.3", "eps = -0.3", "case.toml: regularisation.eps = -0.3 is not valid: give a finite number > 0"),
        ("dt = 0.01", "dt = -0.01", "case.toml: particles.dt = -0.01 is not valid: give a finite number > 0"),
        ("n = 500", "n = 0", "case.toml: particles.n = 0 is not valid: give an integer >= 1"),
        ("[0.5, 0.3, 0.2]", "[0.5, 0.3]", "case.toml: initial.means has shape (3, 2): give shape (2, n), n >= 1"),
        (
            "weights = [0.5,",
            "weights = [0.6,",
            "case.toml: initial.weights sum to 1.1: give positive numbers that sum to 1",
        ),
        ("tol = 1e-3", "tol = -1", "case.toml: density.tol = -1.0 is not valid: give a finite number > 0 and < 1"),
        (
            "tol = 1e-3",
            'scheme = "implicit"',
            'case.toml: density.scheme = "implicit" is not valid: give "adapti',
        ),
        ("tol = 1e-3", "dt = 0.1", "case.toml: density.dt = 0.1 has no effect on the adaptive scheme"),
        (
            "tol = 1e-3",
            'scheme = "positive"\ndt = -0.1',
            "case.toml: density.dt = -0.1 is not valid: give a finite",
        ),
        ("tol = 1e-3", 'scheme = "positive"\ndt = 0.1', "case.toml: domain.degree = 4 is not valid for the positive"),
        ("tol = 1e-3", "petsc_options = { ts_max_step = 3 }", "case.toml: density.petsc_options: 'ts_max_step' is not"),
        (
            "tol = 1e-3",
            'petsc_options = { pc_type = "python", pc_python_type = "evil.py:Evil" }',
            "case.toml: density.petsc_options: pc_type = 'python' is not valid: give one of asm, bjacobi, cholesky",
        ),
        (
            "tol = 1e-3",
            'petsc_options = { ts_monitor = "ascii:canary" }',
            "case.toml: density.petsc_options: ts_monitor = 'ascii:canary' is not valid: give true or false",
        ),
        (
            "tol = 1e-3",
            'stop = [{ kind = "event", what = "t", value = 1 }, { kind = "steady-state", tol = 0 }]',
            "case.toml: density.stop[1].tol = 0.0 is not valid: give a finite number > 0",
        ),
        (
            "tol = 1e-3",
            'stop = [{ kind = "event", what = "t", value = nan }]',
            "case.toml: density.stop[0].value = nan is not valid: give a finite number",
        ),
        ("t_end = 0.05", "t_end = 1e20", "case.toml: particles.dt = 0.01 makes 1e+22 steps to t_end = 1e+20: give a"),
        ("replicas = 2", "replicas = 1_000_000_000", "case.toml: compare.replicas = 1000000000 is not valid: give an"),
    ],
)
def test_a_bad_value(
    case_file: Callable[..., Path], refused: Callable[..., str], command: str, old: str, new: str, line: str
) -> None:
    path = case_file(old, new)
    assert refused(command, path, "--out", path.parent / "result").startswith(line)


def test_a_box_too_small_for_the_initial_data(case_file: Callable[..., Path], refused: Callable[..., str]) -> None:
    path = case_file("half_width = 9.0", "half_width = 2.0")
    line = refused("run", path, "--out", path.parent / "result")
    outside = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    ).mass_outside(2.0)
    assert "half_width" in line
    assert f"{outside:.3g}" in line


@pytest.mark.parametrize("arguments", [["run"], ["compare"]])
def test_a_missing_case_file(shared_tmp_path: Path, refused: Callable[..., str], arguments: list[str]) -> None:
    line = refused(*arguments, shared_tmp_path / "none.toml", "--out", shared_tmp_path / "result")
    assert line == "none.toml: cannot be read (No such file or directory): give the path of a case file"


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (
            'kind = "positions"\npath = "none.csv"\nbandwidth = 0.1',
            "case.toml: initial.path: cannot read positions from none.csv: No such file or directory",
        ),
        (
            'kind = "grid"\npath = "line.npy"\nextent = [0, 1]',
            "case.toml: [initial] is 1-dimensional: the model asks for 2",
        ),
        (
            'kind = "grid"\npath = "line.npy"\nextent = [0, 1, 0, 1]',
            "case.toml: initial.extent has shape (4,): give shape (2,)",
        ),
    ],
)
def test_a_data_file_that_is_missing_or_has_the_wrong_shape(
    case_file: Callable[..., Path], refused: Callable[..., str], small_case: str, comm: Any, section: str, line: str
) -> None:
    mixture = small_case[small_case.index('kind = "gaussian-mixture"') : small_case.index("[domain]")]
    path = case_file(mixture, section + "\n")
    if comm.rank == 0:
        np.save(path.parent / "line.npy", np.ones(7))
    comm.Barrier()
    assert refused("run", path, "--out", path.parent / "result") == line


def test_particles_are_needed_to_compare(
    case_file: Callable[..., Path], refused: Callable[..., str], small_case: str
) -> None:
    path = case_file(small_case[small_case.index("[particles]") :], "")
    line = refused("compare", path, "--out", path.parent / "result")
    assert line == (
        "case.toml: [particles] is missing: a comparison needs particles.n and particles.dt, or compare.against with "
        "another density"
    )


def test_particles_that_feel_themselves_need_a_mollifier(
    case_file: Callable[..., Path], refused: Callable[..., str], small_case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "solve", too_late)
    section = small_case[small_case.index("[regularisation]") : small_case.index("[density]")]
    path = case_file(section, "", "[particles]\n", "[particles]\ninclude_self = true\n")
    line = refused("compare", path, "--out", path.parent / "result")
    assert line.startswith("case.toml: particles.include_self = True, but the kernel of field 'v' is singular")


@pytest.mark.parametrize("command", ["run", "compare"])
def test_an_existing_directory(
    case_file: Callable[..., Path],
    refused: Callable[..., str],
    comm: Any,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = case_file()
    if comm.rank == 0:
        (path.parent / "result").mkdir()
    comm.Barrier()
    monkeypatch.setattr(experiment, "solve", too_late)
    line = refused(command, path, "--out", path.parent / "result")
    assert line == "result exists: give another --out, or --force to replace it"


def test_a_directory_that_cannot_be_written(case_file: Callable[..., Path], refused: Callable[..., str]) -> None:
    path = case_file()
    assert refused("run", path, "--out", "/proc/result").startswith("/proc/result cannot be written (")
    line = refused("run", path, "--out", path.parent / "none" / "result")
    assert line.startswith("none/result cannot be written, there is no directory none")
    assert refused("run", path, "--out", path).startswith("case.toml is a file: give --out the name of a new directory")
    log = "/proc/none/run.log"
    assert refused("run", case_file(), "--out", "result", "--log", log).startswith(f"the log file {log} cannot be")


def test_a_log_that_is_the_case_or_a_pipe(
    case_file: Callable[..., Path], refused: Callable[..., str], comm: Any
) -> None:
    path = case_file()
    before = path.read_text()
    line = refused("run", path, "--out", path.parent / "result", "--log", path.parent / "." / path.name)
    assert line == "--log case.toml is the file that is read: give another one"
    assert path.read_text() == before
    pipe = path.parent / "pipe"
    comm.barrier()  # ranks have looked at what is there
    if comm.rank == 0:
        os.mkfifo(pipe)
    comm.barrier()
    line = refused("run", path, "--out", path.parent / "result", "--log", pipe)
    assert line.startswith("the log file pipe cannot be written (")


def test_force_does_not_replace_what_is_no_result(
    case_file: Callable[..., Path], refused: Callable[..., str], comm: Any
) -> None:
    path = case_file()
    if comm.rank == 0:
        (path.parent / "thesis").mkdir()
        (path.parent / "thesis" / "chapter1.tex").touch()
    comm.Barrier()
    line = refused("run", path, "--out", path.parent / "thesis", "--force")
    assert line == "thesis is not a result of kspde (no summary.json of ours): --force spares it, give another --out"
    assert (path.parent / "thesis" / "chapter1.tex").exists()


@pytest.mark.parametrize(
    ("place", "out", "options", "line"),
    [
        (
            ".result.checkpoints/density/checkpoint-0000000003.h5",
            "result",
            ["--resume"],
            "case.toml: checkpoint .result.checkpoints/density/checkpoint-0000000003.h5 is damaged (it does not begin "
            "like one): there is no good one before it, remove it to start from the beginning",
        ),
        (
            ".result.checkpoints/density/checkpoint-0000000003.h5",
            "result",
            [],
            "an earlier run has left checkpoints in .result.checkpoints: --resume continues from them, --force",
        ),
        (
            ".thesis.checkpoints/density/checkpoint-0000000003.h5",
            "thesis",
            ["--force"],
            "thesis is not a result of kspde",
        ),
        (
            ".result.checkpoints/density",
            "result",
            [],
            ".result.checkpoints/density is in the place of the checkpoints' directory: move it away first",
        ),
        (
            ".result.checkpoints",
            "result",
            ["--resume"],
            ".result.checkpoints is in the place of the checkpoints' directory: move it away first",
        ),
    ],
)
def test_what_an_earlier_run_left_is_not_lost(
    case_file: Callable[..., Path],
    refused: Callable[..., str],
    comm: Any,
    place: str,
    out: str,
    options: list[str],
    line: str,
) -> None:
    path = case_file()
    left = path.parent / place
    if comm.rank == 0:
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text("left", encoding="utf-8")
        if out == "thesis":
            (path.parent / out).mkdir()
            (path.parent / out / "chapter1.tex").touch()
    comm.Barrier()
    assert refused("run", path, "--out", path.parent / out, *options).startswith(line)
    assert left.read_text(encoding="utf-8") == "left"


def test_a_link_that_leads_to_itself(case_file: Callable[..., Path], refused: Callable[..., str], comm: Any) -> None:
    path = case_file()
    circle = path.parent / "circle"
    if comm.rank == 0:
        circle.symlink_to(circle)
    comm.Barrier()
    assert refused("run", path, "--out", circle) == "circle is a link that leads to itself: give another --out"


def test_more_memory_than_there_is(
    case_file: Callable[..., Path], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def solve(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 74.5 GiB")

    monkeypatch.setattr(experiment, "solve", solve)
    path = case_file()
    assert refused("run", path, "--out", path.parent / "result") == (
        "out of memory (Unable to allocate 74.5 GiB): give fewer cells or particles, or a larger machine"
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["run"], "CASE.toml"),
        (["rnu", "case.toml"], "Did you mean 'run'?"),
        (["run", "case.toml"], "--out"),
        (["run", "case.toml", "--uot", "x"], "--uot"),
        (["run", "case.toml", "more", "--out", "x"], "(more)"),
        (["run", "case.toml", "--out"], "--out"),
        (["run", "case.toml", "--out", "x", "--checkpoint-every", "1 h"], "'1 h' is not a number: give seconds >= 0"),
        (["study", "lemma2", "--out", "x", "--workers", "0"], "--workers"),
        (["--quite"], "--quite"),
    ],
)
def test_a_wrong_command(refused: Callable[..., str], arguments: list[str], word: str) -> None:
    line = refused(*arguments)
    assert word in line
    assert line.endswith("(kspde --help explains)")


@pytest.mark.parametrize("given", [{}, {"COMP_WORDS": "kspde ru", "COMP_CWORD": "x"}])
def test_a_completion_that_no_shell_asks_for(refused: Callable[..., str], monkeypatch, given: dict[str, str]) -> None:
    for name in ("COMP_WORDS", "COMP_CWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"_KSPDE_COMPLETE": "complete_bash", **given}.items():
        monkeypatch.setenv(name, value)
    assert refused().endswith("_KSPDE_COMPLETE is set without the words that a shell's completion gives: unset it")


def test_a_closed_mesh_and_particles(
    case_file: Callable[..., Path], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Particles know the walls of a Box alone: refused before anything is computed; the density alone is not."""
    monkeypatch.setattr(experiment, "solve", too_late)
    monkeypatch.setattr(experiment, "simulate", too_late)
    dish = 'kind = "mesh"\npath = "dish.msh"\nboundary = "neumann"'
    path = case_file('kind = "box"', dish, "half_width = 9.0\n", "", "cells = 12\n", "", "degree = 4\n", "")
    line = refused("compare", path, "--out", path.parent / "result")
    assert line.startswith('case.toml: the domain, a MeshFile with boundary = "neumann", has walls that particles')


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "²/3", "1/3/4", f"1/{10**30}"])
def test_a_shard_that_is_none(refused: Callable[..., str], shared_tmp_path: Path, shard: str) -> None:
    line = refused("study", "mollification", "--out", shared_tmp_path / "result", "--shard", shard)
    assert line == f"--shard {shard} is not valid: give i/n with 1 <= i <= n, such as 1/4"
