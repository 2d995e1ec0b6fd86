"""The layers of the package, and what `import kspde` costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

import kspde
from kspde import models

pytestmark = pytest.mark.one_rank

PACKAGE = Path(kspde.__file__).parent

CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"

#: Rooms of one floor that may import from each other.
NEIGHBOURS = {("initial", "domains"), ("models", "kernels"), ("models", "initial")}
MODELS_MAY_IMPORT = {"errors", "initial", "kernels", "models", "typing"}
#: The one file of models that reads a user's file, for which it needs the room below.
MODELS_FROM_FILES = "models.tabulated"
#: Libraries that are slow to import.
HEAVY = {
    "basix",
    "dolfinx",
    "dolfinx_solver",
    "ffcx",
    "h5py",
    "matplotlib",
    "meshio",
    "mpi4py",
    "numba",
    "numpy",
    "petsc4py",
    "pydantic",
    "rich",
    "scipy",
    "typer",
    "ufl",
}


@cache
def floors() -> dict[str, int]:
    """Return the floor of each room by CONTRIBUTING's table: a room may import from the floors below, and itself."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rooms = {name: int(floor) for floor, names in rows for name in re.findall("`(.*?)`", names)}
    return {name.removesuffix(".py").rstrip("/").replace("/", "."): floor for name, floor in rooms.items()}


@cache
def modules() -> list[tuple[str, Path, ast.Module]]:
    """Return (module, file, syntax tree) for every module but kspde/__init__.py; modules without "kspde."."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            found.append((name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return found


@cache
def room_of(module: str) -> str:
    """Return the room that a module is in: the longest name of a room that begins its own."""
    names = [name for name in floors() if f"{module}.".startswith(f"{name}.")]
    assert names, f"kspde.{module} has no floor in CONTRIBUTING.md: give it one"
    return max(names, key=len)


@cache
def imported() -> dict[str, list[tuple[str, int]]]:
    """Return the modules of kspde that each module imports anywhere in it, inside functions too, with the line."""
    known = {name for name, _, _ in modules()}
    return {module: [*imports(tree, known)] for module, _, tree in modules()}


def imports(tree: ast.AST, known: Set[str]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            # The name itself may be a module: from kspde.cli import jobs.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("kspde.") in known else str(node.module) for name in whole]
        for name in names:
            if name == "kspde" or name.startswith("kspde."):
                yield name.removeprefix("kspde").removeprefix("."), node.lineno


def test_imports_point_down() -> None:
    wrong, side_by_side = [], set()
    for module, path, _ in modules():
        room = room_of(module)
        for name, line in imported()[module]:
            # kspde.solve and its like are found lazily: importing them from the package would go around the rule.
            other = room_of(name) if name else ""
            allowed = name and (floors()[other] < floors()[room] or other == room or (room, other) in NEIGHBOURS)
            if room == "models" and (module, other) != (MODELS_FROM_FILES, "runtime"):
                allowed = other in MODELS_MAY_IMPORT
            if not allowed:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports kspde.{name}")
            side_by_side |= {(room, other)} & NEIGHBOURS
    assert wrong == []
    assert side_by_side == NEIGHBOURS  # no exception is left from former days


def test_imports_inside_functions_wait_for_a_library() -> None:
    """They are of modules that load a slow library, at their own import, which the module around them does not."""
    early = {module: at_import(tree) for module, _, tree in modules()}
    beside = {module: {name for name, _ in imports(tree, early.keys())} for module, tree in early.items()}
    slow = HEAVY | {"concurrent", "multiprocessing"}

    @cache
    def loaded(module: str) -> set[str]:
        """Return the slow libraries that importing a module imports."""
        found, seen, waiting = set(), set(), [module]
        while waiting:
            name = waiting.pop()
            parts = name.split(".")
            for each in {".".join(parts[:k]) for k in range(1, len(parts) + 1)} & early.keys() - seen:
                seen.add(each)
                waiting += beside[each]
                found |= {name.split(".")[0] for name in libraries(early[each])} & slow
        return found

    wrong = []
    for module, path, tree in modules():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for name, line in {each for function in functions for each in imports(function, early.keys())}:
            if not loaded(name) - loaded(module):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports kspde.{name}")
    assert wrong == []


def at_import(tree: ast.Module) -> ast.Module:
    """Return the imports that run when a module is imported."""
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef):
            waiting += ast.iter_child_nodes(node)
    return ast.Module(found, [])


def libraries(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_no_circles() -> None:
    """No modules import each other, imports inside functions counted."""
    graph = {module: {name for name, _ in names} - {module} for module, names in imported().items()}
    assert [*circles(graph)] == []


def circles(graph: dict[str, set[str]]) -> Iterator[set[str]]:
    """Return the sets of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        wanted = [start]
        while wanted:
            new = graph.get(wanted.pop(), set()) - seen
            seen |= new
            wanted += new
        return seen

    reach = {module: reached(module) for module in graph}
    for module in graph:
        circle = {other for other in reach[module] if module in reach.get(other, set())}
        if len(circle) > 1 and module == min(circle):
            yield circle


def test_no_backend_names_a_model() -> None:
    concrete = {
        name
        for name in models.__all__
        if isinstance(getattr(models, name), type)
        and issubclass(getattr(models, name), models.Model)
        and name != "Model"
    }
    assert "SignalDependentKellerSegel" in concrete
    files = {path.stem for path in (PACKAGE / "models").glob("*.py")} - {"__init__", "base", "coefficients"}
    assert "local_sensing" in files
    wrong = []
    for part, path, tree in modules():
        if part.split(".")[0] not in ("fem", "particles", "distances", "evidence"):
            continue
        for node in ast.walk(tree):
            words = {
                getattr(node, attribute, None) for attribute in ("id", "attr", "name") if not isinstance(node, ast.arg)
            }
            if isinstance(node, ast.ImportFrom) and node.module:
                words |= set(node.module.split("."))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= {node.value}
            wrong += [f"{path.relative_to(PACKAGE)}:{node.lineno}" for w in words & (concrete | files)]
    assert wrong == []


def test_importing_kspde_or_the_command_loads_no_library() -> None:
    program = "import sys, kspde.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "kspde" in loaded
    assert loaded & HEAVY == set()


def test_importing_the_command_line_loads_no_backend() -> None:
    program = "import sys, kspde.cli.commands; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) & {"dolfinx", "numba", "scipy", "matplotlib", "pydantic", "mpi4py"} == set()


def test_a_case_file_waits_for_no_study_and_no_library_that_it_may_not_need() -> None:
    program = "import sys, kspde.cli.case, kspde.cli.case_run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "kspde.papers.experiment" in loaded
    late = {"dolfinx", "h5py", "matplotlib", "scipy.special", "kspde.evidence", "kspde.papers.ledger"}
    assert loaded & (late | {"kspde.papers.studies"}) == set()


def test_warnings_have_one_way_out() -> None:
    """Those given by ``warnings.warn`` itself are missing in results and in summary.json."""
    calls = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for part, path, tree in modules()
        if part != "runtime.messages"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    ]
    assert calls == [], "give kspde.runtime.messages.warn(line, comm)"
