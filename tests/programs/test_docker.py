"""The image's parts that need no Docker engine: the entry point, and the pinned packages."""

import os
import re
import stat
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ((), "kspde --help"),
        (("--version",), "kspde --version"),
        (("demo", "--out", "/out"), "kspde demo --out /out"),
        (("kspde", "theory"), "kspde theory"),
        (("mpirun", "-n", "2", "kspde", "demo"), "mpirun -n 2 kspde demo"),
        (("test", "tests/fem"), "python -m pytest -p no:cacheprovider tests/fem"),
    ],
)
def test_entry_point(tmp_path: Path, arguments: tuple[str, ...], called: str) -> None:
    for name in ("kspde", "mpirun", "jupyter", "python"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        [DOCKER / "entrypoint", *arguments],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == called + "\n"


def test_entry_point_serves_the_demos(tmp_path: Path) -> None:
    program = tmp_path / "jupyter"
    program.write_text('#!/bin/sh\necho "$*"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [DOCKER / "entrypoint", "jupyter"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.startswith("lab --ip=0.0.0.0 --port=8888")
    assert f"root_dir={ROOT}/demos" in done.stdout


def test_pins_meet_the_requirements() -> None:
    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    inside = [name for name in extras if name not in ("book", "test", "pyvista")]
    wanted = [*project["project"]["dependencies"], *(r for name in inside for r in extras[name])]
    for line in [*wanted, *project["build-system"]["requires"], "pytest>=8.3", "hypothesis>=6"]:
        requirement = Requirement(line)
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"docker/constraints.txt lacks {requirement.name}"
        assert pin in requirement.specifier, f"docker/constraints.txt pins {requirement.name}=={pin}, not {line}"


def test_pins_are_a_closed_set() -> None:
    """What an installed package of the list needs is on the list too: pip would choose a version of its own."""
    text = (DOCKER / "constraints.txt").read_text()
    names = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    for name in ("matplotlib", "pydantic", "numba", "typer", "meshio"):
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in names


def test_what_the_dockerfile_copies_is_there() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert text.count("\nFROM debian:trixie-slim\n") == 1
    for source in re.findall(r"^COPY (?:--\S+ )?(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    assert re.search(r"^USER kspde$", text, re.MULTILINE)
