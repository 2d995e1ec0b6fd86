"""Print the lowest versions that pyproject.toml allows, one requirement a line: what ``make lowest`` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("fem", "mesh", "transport", "finufft", "test")


def lowest(pyproject: Path) -> list[str]:
    """Return ``name==version`` for each direct requirement with a lowest version."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *(r for e in EXTRAS for r in project["optional-dependencies"][e])]
    found = (re.match(r"([\w.-]+)>=([\d.]+)", requirement) for requirement in requirements)
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parents[1] / "pyproject.toml")))
