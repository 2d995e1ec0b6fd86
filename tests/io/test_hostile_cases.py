"""Case and study files made to do harm: each gets one line, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path

import hostile
import pytest

import kspde
from kspde.cli.case import read_case
from kspde.cli.study import read_study

pytestmark = pytest.mark.one_rank  # reading a file is a matter of one rank

DEMO = (Path(__file__).parents[1] / "stated.toml").read_text("utf-8")
STUDY = (Path(kspde.__file__).parent / "papers" / "studies" / "ready" / "time-step.toml").read_text(encoding="utf-8")

#: PETSc's options that open files, load libraries, run code, or change what a scheme promises.
OPTIONS = (
    'pc_type = "python"', 'pc_type = "shell"', 'pc_type = "mat"', 'pc_type = "composite"', 'ksp_type = "python"',
    'pc_python_type = "evil.py:Evil"', 'ksp_python_type = "evil.py:Evil"', 'ts_python_type = "evil.Evil"',
    'snes_python_type = "evil.Evil"', 'mat_python_type = "evil.Evil"', 'snes_type = "python"', 'ts_type = "python"',
    'ts_monitor = "ascii:canary"', 'ts_monitor = ":canary"', 'ksp_monitor = "ascii:canary"', 'ts_monitor = "canary"',
    'ksp_view = "ascii:canary"', 'ksp_view_mat = "binary:canary"', 'ksp_view_rhs = ":canary"', 'pc_view = ":canary"',
    'ts_view_solution = "binary:canary"', 'ts_monitor_solution = "vtk:canary-%03d.vtu"', 'log_view = ":canary"',
    'log_trace = "canary"', 'info = "canary"', 'options_file = "evil.rc"', 'options_file_yaml = "evil.yaml"',
    'options_string_yaml = "ksp_view: :canary"', 'prefix_push = "ksp_"', 'prefix_pop = ""', 'ts_adapt_history = "x"',
    'dll_prepend = "evil.so"', 'dll_append = "evil.so"', 'mat_load = "evil"', 'ksp_load = "evil"', 'load = "evil"',
    'ts_trajectory_type = "basic"', 'ts_save_trajectory = ""', 'ts_trajectory_dirname = "canary"', 'tmp = "/"',
    'on_error_attach_debugger = "sh -c touch"', 'start_in_debugger = "noxterm"', 'error_output_none = ""',
    'viewer_binary_filename = "canary"', 'viewer_hdf5_filename = "canary"', 'malloc_dump = ":canary"',
    'kspde_pc_type = "lu"', '"-pc_type" = "lu"', '"--pc_type" = "lu"', '" pc_type" = "lu"', '"pc_type " = "lu"',
    '"PC_TYPE" = "lu"', '"pc_type\\n" = "lu"', '"pc_type\\u0000" = "lu"', '"pc_typ\\u0435" = "lu"', 'pc_typ = "lu"',
    '"pc_type -pc_python_type" = "evil.py:Evil"', '"" = "lu"', '"\\u202Epyt_cp" = "lu"', 'sub_pc_type = "python"',
    'pc_type = "lu -options_file evil.rc"', 'pc_type = "lu\\n-ksp_view :canary"', 'pc_type = "PYTHON"',
    'pc_type = "\\u0000"', 'pc_type = ["python"]', 'pc_type = { type = "python" }', 'pc_type = true',
    'pc_factor_mat_solver_type = "/tmp/evil.so"', 'mg_levels_pc_type = "python"', 'mg_coarse_pc_type = "python"',
    'ksp_rtol = "1e-3 -ksp_view :canary"', 'ksp_max_it = "5"', 'ksp_max_it = 99999999999', 'ksp_max_it = -1',
    'ts_dt = 0', 'ts_dt = nan', 'ksp_rtol = inf', 'ts_adapt_always_accept = true', 'ts_max_steps = 1e3',
)  # fmt: skip

#: Values that ask for what never ends, or that cannot be: (text of the demo, what takes its place, word of the line).
NUMBERS = (
    ("t_end = 0.5", "t_end = 1e20", "makes 1e+22 steps"),
    ("t_end = 0.5", "t_end = 1e300", "t_end = 1e+300"),
    ("t_end = 0.5", f"t_end = {'9' * 400}", "t_end"),
    ("t_end = 0.5", f"t_end = {'9' * 5000}", "TOML"),
    ("t_end = 0.5", f"t_end = 0x{'f' * 100_000}", "t_end"),
    ("dt = 0.01", "dt = 1e-30", "makes 5e+29 steps"),
    ("dt = 0.01", "dt = 5e-324", "steps to t_end"),
    ("dt = 0.01", "dt = -0.0", "particles.dt"),
    ("n = 100_000", "n = 9_000_000_000_000_000_000", "would move particles"),
    ("n = 100_000", f"n = 0x{'f' * 100_000}", "particles.n"),
    ("n = 100_000", f"n = {'9' * 400}", "particles.n"),
    ("n = 100_000", "n = 1_000_000_000_000_000", "would move particles"),
    ("seed = 1", f"seed = -0b{'1' * 0}1", "TOML"),
    ("seed = 1", f"seed = 0o{'7' * 50_000}", "particles.seed"),
    ("replicas = 20", "replicas = 1_000_000_000", "compare.replicas"),
    ("replicas = 20", f"replicas = {'9' * 400}", "compare.replicas"),
    ("cells = 32", "cells = 1_000_000_000", "domain.cells"),
    ("cells = 32", f"cells = {'9' * 400}", "domain.cells"),
    ("cells = 32", f"cells = 0x{'f' * 100_000}", "domain.cells"),
    ("degree = 4", "degree = 1_000_000", "domain.degree"),
    ("half_width = 14.0", "half_width = 1e308", "domain.half_width"),
    ("half_width = 14.0", f"half_width = 0x{'f' * 100_000}", "domain.half_width"),
    ("half_width = 14.0", "half_width = inf", "domain.half_width"),
    ("half_width = 14.0", "half_width = 1e-200", "domain.half_width"),
    ("eps = 0.3", "eps = 1e-160", "regularisation.eps"),
    ("chi = 8.0", f"chi = {'8' * 400}", "model.chi"),
    ("eps = 0.3", f"eps = 0x{'f' * 100_000}", "regularisation.eps"),
    ("tol = 1e-6", 'scheme = "positive"\ndt = 1e-40', "makes 5e+39 steps"),
    ("tol = 1e-6", f"times = [{'0.1, ' * 100_000}]", "density.times"),
    ("tol = 1e-6", f"statistics = [{'1, ' * 100_000}]", "density.statistics"),
    ('"gaussian"', '"matern"\norder = 99999999999999999999', "regularisation.order"),
    ("weights = [0.5,", f"weights = [{'0x' + 'f' * 10_000},", "initial.weights"),
    ("weights = [0.5,", f"weights = [{'[' * 11}{']' * 11},", "nested"),
)

_DOTS = ".".join("a" * 50_000)

#: Whole files, or lines put before the demo's.
TEXTS: dict[str, str | bytes] = {
    "50 000 parts": f"{_DOTS} = 1\n{DEMO}",
    "50 000 parts with blanks": f"{' . '.join('a' * 50_000)} = 1\n{DEMO}",
    "50 000 quoted parts": ".".join(['"a"'] * 50_000) + f" = 1\n{DEMO}",
    "50 000 parts in single quotes": ".".join(["'a'"] * 50_000) + f" = 1\n{DEMO}",
    "50 000 parts in a header": f"{DEMO}\n[{_DOTS}]\n",
    "50 000 parts in an array's header": f"{DEMO}\n[[{_DOTS}]]\n",
    "50 000 parts in a table": f"x = {{ {_DOTS} = 1 }}\n{DEMO}",
    "a megabyte's key": f"{'k' * 300_000} = 1\n{DEMO}",
    "a megabyte's quoted key": f'"{"k" * 300_000}" = 1\n{DEMO}',
    "a key of lines": f'"{chr(92)}n{chr(92)}r{chr(92)}u001b[31m" = 1\n{DEMO}',
    "a megabyte's table": f"[{'t' * 300_000}]\n{DEMO}",
    "a megabyte's kind": DEMO.replace('"gaussian-mixture"', f'"{"g" * 300_000}"'),
    "a megabyte's value": DEMO.replace("chi = 8.0", f'chi = "{"8" * 300_000}"'),
    "a megabyte's name": DEMO.replace('mollifier = "gaussian"', f'mollifier = "{"g" * 300_000}"'),
    "a megabyte's choice": DEMO.replace("degree = 4", f'boundary = "{"g" * 300_000}"'),
    "a megabyte's option": DEMO.replace("tol = 1e-6", f'petsc_options = {{ "{"g" * 300_000}" = 1 }}'),
    "a megabyte's type": DEMO.replace("tol = 1e-6", f'petsc_options = {{ ksp_type = "{"g" * 300_000}" }}'),
    "many unknown keys": "".join(f"k{k} = 1\n" for k in range(20_000)) + DEMO,
    "many tables": DEMO + "[[density]]\n" * 1_000,
    "20 000 tables": "t_end = 1\n" + "[[initial]]\n" * 20_000,
    "deep arrays": f"x = {'[' * 200_000}{']' * 200_000}\n",
    "less deep arrays": f"x = {'[' * 300}{']' * 300}\n{DEMO}",
    "deep tables": f"x = {'{a=' * 100_000}1{'}' * 100_000}\n",
    "less deep tables": f"x = {'{a=' * 150}1{'}' * 150}\n{DEMO}",
    "two megabytes": DEMO + "#" * (1 << 21),
    "no end of a string": 'a = "' + "x" * 300_000,
    "no end of a text": "a = '''" + "'" * 2 + "x" * 300_000,
    "no end of a table": "[" * 300_000,
    "quotes": "'\"" * 400_000,
    "backslashes": 'a = "' + "\\" * 400_001 + '"',
    "escapes": 'a = "' + "\\u0041" * 100_000 + '"\n' + DEMO,
    "bad escapes": 'a = "\\ud800"',
    "equals": "=" * 500_000,
    "dots": "." * 500_000,
    "words": "a" * 300_000,
    "digits": "a = " + "1" * 300_000,
    "a date": DEMO.replace("t_end = 0.5", "t_end = 0001-01-01T00:00:00+23:59"),
    "a year of nines": DEMO.replace("t_end = 0.5", "t_end = 9999-99-99"),
    "nothing": "",
    "a null": "\x00",
    "nulls": b"\x00" * 500_000,
    "control characters": DEMO.replace("chi = 8.0", "chi = 8.0 # \x1b[2J"),
    "another encoding": DEMO.encode("utf-16"),
    "half a letter": DEMO.encode() + b"\xe2\x82",
    "a program": b"\x7fELF" + bytes(range(256)) * 1000,
    "a pickle": b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "python": "__import__('os').system('touch canary')\n",
    "yaml": "!!python/object/apply:os.system ['touch canary']\n",
    "a template": DEMO.replace("chi = 8.0", 'chi = "{0.__class__}"'),
    "a shell's variable": DEMO.replace("chi = 8.0", 'chi = "$(touch canary)"'),
    "a tag": DEMO.replace("chi = 8.0", "chi = !!int 8"),
    "a class": f"__class__ = 1\n{DEMO}",
    "a class of a section": DEMO.replace("chi = 8.0", "chi = 8.0\n__class__ = 1\nmodel_config = 2"),
    "a field of pydantic": DEMO.replace("chi = 8.0", "chi = 8.0\nmodel_fields_set = []"),
    "sections as values": DEMO.replace("[compare]", "compare = 1\n[x]"),
    "a section that is an array": DEMO.replace("[domain]", "[[domain]]"),
    "keys twice": DEMO + "\n[model]\nchi = 1\n",
}

#: Names of data files, put where a file of the initial density or of the mesh belongs; see ``hostile.traps``.
SECTIONS = {
    "grid": ("initial", 'kind = "grid"\npath = {}\nextent = [-1, 1, -1, 1]\n'),
    "positions": ("initial", 'kind = "positions"\npath = {}\nbandwidth = 0.3\n'),
}


def case(directory: Path, content: str | bytes) -> Path:
    path = directory / "case.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def with_section(name: str, body: str) -> str:
    start = DEMO.index(f"[{name}]")
    return (
        f"{DEMO[:start]}[{name}]\n{body}{DEMO[DEMO.index('[', start + 1) :]}"
        if name != "initial"
        else (f"{DEMO[:start]}[initial]\n{body}{DEMO[DEMO.index('[domain]') :]}")
    )


@pytest.mark.parametrize("kind", ["case", "study"])
def test_options_of_petsc(tmp_path: Path, kind: str) -> None:
    for option in OPTIONS:
        if kind == "case":
            path = case(tmp_path, DEMO.replace("tol = 1e-6", f"petsc_options = {{ {option} }}"))
            line = hostile.refusal(lambda path=path: read_case(path), tmp_path)
        else:
            path = case(tmp_path, STUDY.replace("tol = 1e-7", f"petsc_options = {{ {option} }}", 1))
            line = hostile.refusal(lambda path=path: read_study(path), tmp_path)
        assert "petsc_options" in line or "TOML" in line, option


def test_numbers(tmp_path: Path) -> None:
    for old, new, word in NUMBERS:
        assert old in DEMO
        path = case(tmp_path, DEMO.replace(old, new, 1))
        assert word in hostile.refusal(lambda path=path: read_case(path), tmp_path), new[:60]


@pytest.mark.parametrize("kind", TEXTS)
def test_texts(tmp_path: Path, kind: str) -> None:
    path = case(tmp_path, TEXTS[kind])
    line = hostile.refusal(lambda: read_case(path), tmp_path)
    assert line.startswith(f"{path}: ")
    assert len(line) < len(str(path)) + 800
    hostile.refusal(lambda: read_study(path), tmp_path)


@pytest.mark.parametrize("section", SECTIONS)
def test_names_of_data_files(tmp_path: Path, section: str) -> None:
    name, body = SECTIONS[section]
    for kind, trap in hostile.traps(tmp_path).items():
        path = case(tmp_path, with_section(name, body.format(json.dumps(trap))))
        line = hostile.refusal(lambda path=path: read_case(path), tmp_path)
        assert line.startswith(f"{path}: initial.path: "), kind


@pytest.mark.parametrize("reader", [read_case, read_study])
def test_names_of_the_file_itself(tmp_path: Path, reader: object) -> None:
    for kind, trap in hostile.traps(tmp_path).items():
        path = tmp_path / trap
        line = hostile.refusal(lambda path=path: reader(path), tmp_path)  # type: ignore[operator]
        assert "cannot be read (" in line or "is neither a study file nor" in line or "not a TOML" in line, kind


SWEEPS: dict[str, tuple[str, str]] = {
    "10^9 points": (
        "".join(
            f"{key} = [{', '.join(str(k + 1) for k in range(1000))}]\n" for key in ("model.chi", "model.mu", "t_end")
        ),
        "has 1000000000 points",
    ),
    "10^40 points": (
        "".join(f"density.petsc_options.k{j} = [{', '.join(map(str, range(10)))}]\n" for j in range(40)),
        "points",
    ),
    "python": ('density.petsc_options.pc_type = ["lu", "python"]\n', "petsc_options"),
    "a viewer": ('density.petsc_options.ksp_view = [":canary"]\n', "petsc_options"),
    "tiny steps": ("particles.dt = [1e-30, 1e-2]\n", "steps to t_end"),
    "all particles": ("particles.n = [1_000_000_000_000_000_000]\n", "would move particles"),
    "a huge number": (f"particles.n = [0x{'f' * 100_000}]\n", "particles.n"),
    "no values": ("particles.n = []\n", "sweep.particles.n"),
    "many values twice": (f"particles.n = [{'1, ' * 50_000}]\n", "sweep.particles.n"),
    "a text": (f'particles.n = "{"9" * 500_000}"\n', "sweep.particles.n"),
    "a class": ("__class__.x = [1]\n", "__class__"),
    "below a value": ("t_end.x = [1]\n", "fits"),
    "a law of nothing": ("regularisation.eps = { c = 1e308, gamma = -1e308 }\n", "sweep.regularisation.eps"),
    "a name": ('name = ["../../../escape"]\n', "name"),
    "nested": (f"x = {'{a=' * 20}[1]{'}' * 20}\n", "nested"),
}


@pytest.mark.parametrize("kind", SWEEPS)
def test_sweeps(tmp_path: Path, kind: str) -> None:
    sweep, word = SWEEPS[kind]
    start = STUDY.index("[sweep]")
    text = f"{STUDY[:start]}[sweep]\n{sweep}{STUDY[STUDY.index('[measure]') :]}"
    path = case(tmp_path, text)
    line = hostile.refusal(lambda: read_study(path), tmp_path)
    assert word in line
    assert len(line) < len(str(path)) + 900


def test_replicas_of_a_study(tmp_path: Path) -> None:
    line = next(line for line in STUDY.splitlines() if line.startswith("replicas"))
    for number in ("1_000_000_000", "9" * 400):
        path = case(tmp_path, STUDY.replace(line, f"replicas = {number}", 1))
        assert "replicas" in hostile.refusal(lambda path=path: read_study(path), tmp_path)


def test_how_many_there_are() -> None:
    assert 2 * len(OPTIONS) + len(NUMBERS) + 2 * len(TEXTS) + 4 * 14 + len(SWEEPS) + 2 > 350
