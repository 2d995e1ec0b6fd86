"""What may reach PETSc: each option of the list has an effect, nothing else passes, nothing is read or written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde.fem.petsc_options import OPTIONS, checked_options

MODEL = kspde.SignalDependentKellerSegel(chi=2.0)
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.3]], stds=[0.6])
BOX = kspde.Box(half_width=5.0, cells=8, degree=4, grading=0)
DISK = kspde.Disk(radius=5.0, size=0.5)
PLAIN = kspde.Box(half_width=5.0, cells=16, degree=1, grading=0)

ADAPTIVE: dict[str, Any] = {"domain": BOX, "tol": 1e-2}
MESH: dict[str, Any] = {"domain": DISK, "tol": 1e-2}
POSITIVE: dict[str, Any] = {"domain": PLAIN, "scheme": "positive", "dt": 0.01}

#: Options, and a run that has a use for them.
RUNS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        ADAPTIVE,
        {
            "ts_type": "rosw",
            "ts_rosw_type": "ra3pw",
            "ts_adapt_type": "basic",
            "snes_type": "ksponly",
            "ts_time_step": 1e-3,
            "ts_adapt_dt_min": 1e-9,
            "ts_adapt_dt_max": 5e-3,
            "ts_adapt_safety": 0.8,
            "ts_adapt_reject_safety": 0.4,
            "ts_max_steps": 500,
            "ts_max_reject": 20,
            "ts_adapt_monitor": False,
            "ts_monitor": False,
        },
    ),
    (ADAPTIVE, {"ts_dt": 1e-3, "ts_adapt_type": "dsp"}),
    (ADAPTIVE, {"ts_adapt_type": "none", "ts_dt": 2e-3}),
    *((ADAPTIVE, {"ts_rosw_type": name}) for name in ("ra34pw2", "r34prw", "2p", "2m")),
    (
        POSITIVE,
        {
            "ksp_type": "gmres",
            "ksp_gmres_restart": 20,
            "ksp_rtol": 1e-8,
            "ksp_divtol": 1e6,
            "ksp_max_it": 300,
            "ksp_min_it": 1,
            "ksp_norm_type": "unpreconditioned",
            "ksp_pc_side": "right",
            "pc_type": "bjacobi",
            "sub_pc_type": "ilu",
        },
    ),
    (
        MESH,
        {
            "ksp_type": "cg",
            "pc_type": "gamg",
            "pc_gamg_threshold": 0.01,
            "pc_gamg_agg_nsmooths": 1,
            "pc_gamg_coarse_eq_limit": 40,
            "mg_levels_ksp_type": "chebyshev",
            "mg_levels_pc_type": "jacobi",
            "mg_levels_ksp_max_it": 2,
        },
    ),
    (MESH, {"ksp_type": "preonly", "pc_type": "lu", "pc_factor_mat_solver_type": "mumps"}),
]
#: Krylov methods and preconditioners that need no company.
KRYLOV = ("bcgs", "cg", "cr", "fcg", "fgmres", "gcr", "gmres", "lgmres", "minres")
PRECONDITIONERS = ("asm", "eisenstat", "jacobi", "none", "pbjacobi", "sor")


def solve(options: dict[str, Any], petsc_options: Any) -> kspde.fem.solution.Solution:
    return kspde.solve(MODEL, U0, t_end=0.02, eps=0.3, petsc_options=petsc_options, **options)


@pytest.mark.parametrize("index", range(len(RUNS)))
def test_options_reach_petsc(index: int) -> None:
    run, options = RUNS[index]
    plain, changed = solve(run, None), solve(run, options)
    points = np.array([[0.0, 0.0], [1.0, -0.5]])
    np.testing.assert_allclose(changed.evaluate(points), plain.evaluate(points), rtol=2e-2)


@pytest.mark.one_rank
@pytest.mark.parametrize("name", [*KRYLOV, *PRECONDITIONERS, "richardson", "icc", "cholesky"])
def test_types_reach_petsc(name: str) -> None:
    kind = "ksp_type" if name in KRYLOV or name == "richardson" else "pc_type"
    options = {kind: name}
    if name == "richardson":
        options |= {"pc_type": "gamg"}
    if name in ("icc", "cholesky"):
        options |= {"pc_factor_levels": 1} if name == "icc" else {"pc_factor_mat_solver_type": "petsc"}
    points = np.array([[0.0, 0.0], [1.0, -0.5]])
    exact = solve(POSITIVE, None).evaluate(points)
    np.testing.assert_allclose(solve(POSITIVE, options).evaluate(points), exact, rtol=1e-8)


def test_every_option_of_the_list_is_tried() -> None:
    used = {name for _, options in RUNS for name in options}
    monitors = {"ts_monitor", "ts_adapt_monitor", "ksp_monitor", "ksp_monitor_true_residual", "ksp_converged_reason"}
    assert used | monitors | {"pc_factor_levels"} == set(OPTIONS)


def test_monitors_write_to_the_terminal_alone(
    capfd: pytest.CaptureFixture[str], shared_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comm: Any
) -> None:
    monkeypatch.chdir(shared_tmp_path)
    for run, names, words in (
        (ADAPTIVE, ("ts_monitor", "ts_adapt_monitor"), ("TS dt", "accepted")),
        (
            POSITIVE,
            ("ksp_monitor", "ksp_monitor_true_residual", "ksp_converged_reason"),
            ("KSP Residual norm", "true resid norm", "converged due to"),
        ),
    ):
        capfd.readouterr()
        solve(run, dict.fromkeys(names, True))
        said = comm.bcast(capfd.readouterr().out)
        for word in words:
            assert word in said
        solve(run, dict.fromkeys(names, False))
        assert "norm" not in capfd.readouterr().out
    comm.Barrier()
    assert os.listdir(shared_tmp_path) == []


VIEWERS = (
    "ksp_view", "ts_view", "pc_view", "ts_view_solution", "ksp_view_mat", "ksp_view_rhs", "ksp_view_pmat",
    "ksp_view_solution", "ksp_view_final_residual", "ts_monitor_solution", "ts_monitor_solution_vtk", "log_view",
    "ts_monitor_draw_solution", "ts_view_pre", "viewer_binary_filename", "info", "log_trace", "memory_view", "mat_view",
)  # fmt: skip
CODE = (
    "pc_python_type", "ksp_python_type", "snes_python_type", "ts_python_type", "mat_python_type", "pc_shell_type",
    "ts_adapt_always_accept", "on_error_attach_debugger", "start_in_debugger", "debugger_program", "mat_type",
    "vec_type", "ts_adapt_history_load", "options_file", "options_file_yaml", "options_string_yaml", "prefix_push",
    "prefix_pop", "options_left", "options_monitor", "load", "ksp_load", "mat_load", "viewer_load", "dll_prepend",
    "dll_append", "saws_options", "kspde_ksp_type", "sub_ksp_type", "mg_coarse_pc_type", "inner_pc_type", "fp_trap",
    "ts_atol", "ts_rtol", "ts_max_time", "ksp_atol", "", " ", "help", "version", "malloc_dump", "error_output_stdout",
)  # fmt: skip
SPELLINGS = (
    "-ksp_type", "--ksp_type", " ksp_type", "ksp_type ", "KSP_TYPE", "Ksp_Type", "ksp_typ", "ksp_type\n",
    "ksp_type\x00", "ksp_type -pc_type python", "ksp_type\t", "kſp_type", "ksp_tуpe", "ksp\u200b_type", "ｋsp_type",
    "ksp_type=python", "x -options_file", "ksp_type:python",
)  # fmt: skip
VALUES: tuple[tuple[str, Any], ...] = (
    ("ksp_type", "python"), ("pc_type", "python"), ("pc_type", "shell"), ("pc_type", "mat"), ("pc_type", "hypre"),
    ("ksp_type", "PYTHON"), ("ksp_type", "cg "), ("ksp_type", "cg\n-pc_type python"),
    ("ksp_type", "cg -pc_type python"),
    ("ksp_type", "-options_file x"), ("ksp_type", ""), ("ksp_type", None), ("ksp_type", True), ("ksp_type", 1),
    ("ksp_type", ["cg"]), ("ts_type", "python"), ("ts_type", "euler"), ("ts_rosw_type", "rodas3"),
    ("snes_type", "python"), ("snes_type", "newtonls"), ("sub_pc_type", "python"), ("mg_levels_pc_type", "python"),
    ("mg_levels_ksp_type", "python"), ("ts_adapt_type", "history"), ("ksp_norm_type", "none"),
    ("pc_factor_mat_solver_type", "/tmp/evil.so"), ("ts_monitor", "ascii:/some/file"), ("ts_monitor", ":file"),
    ("ts_monitor", "true"), ("ts_monitor", ""), ("ts_monitor", 1), ("ksp_monitor", "binary:x"),
    ("ksp_converged_reason", "::failed"), ("ksp_max_it", "100"), ("ksp_max_it", -1), ("ksp_max_it", 0),
    ("ksp_max_it", 1.5), ("ksp_max_it", 2**31), ("ksp_max_it", 10**5000), ("ksp_max_it", True), ("ksp_rtol", 0.0),
    ("ksp_rtol", -1e-3), ("ksp_rtol", float("nan")), ("ksp_rtol", float("inf")), ("ksp_rtol", "1e-3"),
    ("ksp_rtol", "1e-3 -ksp_view :x"), ("ksp_rtol", True), ("ksp_rtol", {}), ("ts_dt", 0), ("ts_dt", "0.1"),
    ("ts_max_steps", "9" * 10**6), ("ts_max_steps", 0),
)  # fmt: skip


def refusal(options: Any) -> str:
    """Return the one line that refuses options."""
    with pytest.raises(kspde.InputError, match=r"^petsc_options") as caught:
        checked_options(options)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1500
    return line


def test_other_names_are_refused() -> None:
    for name in (*VIEWERS, *CODE, *SPELLINGS, "k" * 10**6):
        for value in (None, "ascii:/some/file", "cg"):
            line = refusal({name: value})
            assert "is not an option that is passed to PETSc: " in line
            assert "did you mean" in line or all(known in line for known in OPTIONS)


def test_other_values_are_refused() -> None:
    for name, value in VALUES:
        line = refusal({name: value})
        assert line.startswith(f"petsc_options: {name} = ")
        assert ": give " in line


def test_what_is_no_mapping_of_names_is_refused() -> None:
    for given in (True, 1, "ksp_type=python", ["ksp_type"], (("ksp_type", "cg"),), {1: 2}, {None: 1}, object()):
        refusal(given)


def test_names_that_pretend_to_be_others_are_refused() -> None:
    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    assert "is not an option" in refusal({Name("pc_python_type"): "cg"})


@pytest.mark.parametrize("run", [ADAPTIVE, MESH, POSITIVE], ids=["box", "disk", "positive"])
def test_no_code_runs_and_no_file_is_written(
    run: dict[str, Any], shared_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_tmp_path)
    evil = "import pathlib\npathlib.Path('canary').touch()\nclass Evil:\n    pass\n"
    (shared_tmp_path / "evil.py").write_text(evil, encoding="utf-8")
    for options in (
        {"pc_type": "python", "pc_python_type": "evil.py:Evil"},
        {"pc_python_type": "evil.py:Evil"},
        {"ksp_type": "python"},
        {"ts_monitor": "ascii:canary"},
        {"ksp_view": "ascii:canary"},
        {"options_file": "evil.py"},
    ):
        with pytest.raises(kspde.InputError, match=r"^petsc_options"):
            solve(run, options)
    assert os.listdir(shared_tmp_path) == ["evil.py"]


@pytest.mark.one_rank
def test_files_in_the_current_directory_give_petsc_no_options(tmp_path: Path) -> None:
    for name in (".petscrc", "petscrc"):
        (tmp_path / name).write_text(f"-log_view :{tmp_path}/canary\n-kspde_ts_max_steps 1\n", encoding="utf-8")
    script = (
        "from kspde.fem import backend; backend.require(); from petsc4py import PETSc; print(PETSc.Options().getAll())"
    )
    path = os.pathsep.join([str(Path(kspde.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "skip_petscrc" in done.stdout
    assert not any(name in done.stdout for name in ("log_view", "kspde_ts_max_steps", "canary"))
    assert sorted(os.listdir(tmp_path)) == [".petscrc", "petscrc"]
