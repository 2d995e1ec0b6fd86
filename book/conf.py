"""Sphinx's configuration of the book. ``make book`` assembles the sources and builds it; warnings are errors."""

from __future__ import annotations

import os
import re
from pathlib import Path
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

toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings say what is given and returned
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_rtype = False

# Where a docstring is not plain text to reStructuredText: inside literals, roles, *emphasis*, and directives' blocks.
_KEPT = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`_?|(?<![\w*])\*[A-Za-z][\w -]*[A-Za-z]\*(?![\w*]))")

#: A sentence of one letter or number, which would begin a list: "kernel: K."
_LIST = re.compile(r"^(\s*\w[\w, ]*: )(?=\w\.(\s|$))")


def plain(line: str) -> str:
    """Return a line of text in which | * _ mean themselves: |x|², Φ * u, c_*."""
    parts = _KEPT.split(_LIST.sub(r"\1\\", line))
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
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(": ", "\u2236 ")  # napoleon takes what stands before a colon for a type


def setup(app: Any) -> None:
    """Have docstrings escaped before napoleon reads them, and keep the notebooks' kernels quiet."""
    profile = Path(app.outdir).parent / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n', encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(profile.parent)
    app.connect("autodoc-process-docstring", _process, priority=100)
