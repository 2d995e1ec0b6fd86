"""The project's page on PyPI: the README, whose links to files of the repository are made absolute.

They lead to ``[project.urls] Repository`` of pyproject.toml. Without one they become plain words, and pictures go.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent


def page(readme: str, repository: str, version: str) -> str:
    """Return the README with links that hold anywhere."""

    def absolute(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        if not repository:
            return "" if picture else words
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/v{version}/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", absolute, readme)


if __name__ == "__main__":
    from setuptools import setup

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (version,) = re.findall('"(.+)"', (ROOT / "kspde" / "_version.py").read_text(encoding="utf-8").splitlines()[-1])
    setup(
        long_description=page(
            (ROOT / "README.md").read_text(encoding="utf-8"), project["urls"].get("Repository", ""), version
        ),
        long_description_content_type="text/markdown",
    )
