"""Sphinx's configuration of the book. ``make book`` assembles the sources and builds it; warnings are errors."""

from __future__ import annotations

import re
from typing import Any

import kspde

project = "kspde"
author = copyright = "The kspde developers"
version = release = kspde.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["meshes", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"kspde {version}"
html_static_path = ["static"]
html_css_files = ["book.css"]
mathjax_path = "mathjax.js"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# The demos run while the book is built; what has not changed comes from the cache.
nb_execution_mode = "cache"
nb_execution_cache_path = "build/book/cache"
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_output_stderr = "remove"
nb_merge_streams = True

autodoc_typehints = "none"  # the docstrings say what is given and returned
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_rtype = False

# Where a docstring is not plain text to reStructuredText: inside literals, roles, and the block of a directive.
_KEPT = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`_?)")


def plain(line: str) -> str:
    """Return a line of text in which | * _ mean themselves: |x|², Φ * u, c_*."""
    parts = _KEPT.split(line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(\*|\||_(?!\w))", r"\\\1", parts[i])
    return "".join(parts)


def escape(lines: list[str]) -> list[str]:
    """Return a docstring's lines, with the text between its directives and literal blocks made plain."""
    out, block = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and (line.lstrip().startswith(".. ") or line.rstrip().endswith("::")):
            block = indent
            out.append(line)
        else:
            out.append(line if block is not None else plain(line))
    return out


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = escape(lines)


def setup(app: Any) -> None:
    """Have docstrings escaped before napoleon reads them."""
    app.connect("autodoc-process-docstring", _process, priority=100)
