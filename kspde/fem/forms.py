"""Forms compiled by DOLFINx, with one line where that is not possible."""

from __future__ import annotations

from typing import Any

from dolfinx import fem

from kspde.errors import MissingBackendError, first_line

__all__ = ["compiled"]


def compiled(form: Any) -> Any:
    """Return a UFL form compiled to C, from DOLFINx's cache if it was compiled before. Collective.

    Raises:
        MissingBackendError: no C compiler, no headers of Python, or a cache that cannot be written; on every rank.
    """
    try:
        return fem.form(form)
    except Exception as error:  # cffi's, distutils' or the system's; a RuntimeError on several ranks
        raise MissingBackendError(
            f"DOLFINx cannot compile a form ({first_line(error)}): install a C compiler (gcc, or set CC) and Python's "
            "headers (python3-dev); compiled forms are kept in ~/.cache/fenics, or in $XDG_CACHE_HOME"
        ) from None
