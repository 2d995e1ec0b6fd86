"""The layers of the package, and what `import kspde` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kspde
from kspde import models

PACKAGE = Path(kspde.__file__).parent

#: What each part may import beside itself.
FOUNDATION = {
    "errors",
    "warned",
    "signals",
    "provenance",
    "streams",
    "checkpoint",
    "parallel",
    "described",
    "last_words",
    "launcher",
    "one_rank",
    "kernels",
    "initial",
    "domains",
    "random",
    "compiled",
    "compiling",
    "memory",
    "counts",
    "files",
    "hdf5",
    "output",
    "radial",
    "models",
}
MAY_IMPORT = {
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "theory": FOUNDATION,
    "fem": FOUNDATION | {"theory"},
    "particles": FOUNDATION | {"theory"},
    "distances": FOUNDATION | {"fem", "particles"},
    "evidence": FOUNDATION | {"fem", "particles", "distances"},
    "studies": FOUNDATION | {"fem", "particles", "distances", "theory", "evidence"},
    "io": FOUNDATION | {"fem", "particles", "distances", "theory", "evidence", "studies"},
    "commands": FOUNDATION | {"fem", "particles", "distances", "theory", "evidence", "studies", "io"},
    "cli": {"launcher", "signals", "streams", "commands"},
}
MODELS_MAY_IMPORT = {"errors", "kernels", "models"}


@cache
def modules() -> list[tuple[str, Path, ast.Module]]:
    """Return (part of the package, file, syntax tree) for every module but kspde/__init__.py."""
    parts = ((path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in sorted(PACKAGE.rglob("*.py")))
    return [(part, path, ast.parse(path.read_text(encoding="utf-8"))) for part, path in parts if part != "__init__"]


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Return the parts of kspde that a module imports anywhere in it, inside functions too, with the line."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            # The name itself may be a module: from kspde import compare.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "kspde" and len(parts) > 1:
                yield parts[1], node.lineno


def test_imports_point_one_way() -> None:
    wrong = []
    for part, path, tree in modules():
        assert part in MAY_IMPORT, f"kspde/{part} has no place in the layers above: give it one"
        allowed = MAY_IMPORT[part] | {part}
        if part == "models":
            allowed = MODELS_MAY_IMPORT
        for name, line in imported(tree):
            if name in MAY_IMPORT and name not in allowed:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports kspde.{name}")
    assert wrong == []


def test_backends_import_nothing_from_the_top_of_the_package() -> None:
    # kspde.solve and its like are found lazily: importing them by way of the package would go around the rule.
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name} from kspde"
        for part, path, tree in modules()
        if part not in ("io", "commands")
        for name, line in imported(tree)
        if name not in MAY_IMPORT and name != "__version__"
    ]
    assert wrong == []


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
        if part not in ("fem", "particles", "distances", "evidence"):
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
    heavy = {
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
    program = "import sys, kspde.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "kspde" in loaded
    assert loaded & heavy == set()


def test_importing_the_command_line_loads_no_backend() -> None:
    program = "import sys, kspde.cli.commands; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) & {"dolfinx", "numba", "scipy", "matplotlib", "pydantic", "mpi4py"} == set()


def test_warnings_have_one_way_out() -> None:
    """Those given by ``warnings.warn`` itself are missing in results and in summary.json."""
    calls = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for part, path, tree in modules()
        if part != "warned"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    ]
    assert calls == [], "give kspde.runtime.warned.warn(line, comm)"
