"""Forms compiled by DOLFINx, with one line where that is not possible."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dolfinx import fem

from kspde.errors import MissingBackendError, first_line
from kspde.runtime.messages import say_compiling

__all__ = ["compiled"]

#: Seconds after which an uncompiled form is abandoned, and how often one is waited for, 10 s each time.
_ABANDONED, _TRIES = 30.0, 5
#: FFCx reports that it calls the C compiler at this level, which it sets itself, whatever that of the logger was.
_HEARD = {"verbosity": logging.INFO}


def compiled(form: Any) -> Any:
    """Return a UFL form compiled to C, from DOLFINx's cache if it was compiled before. Collective.

    Raises:
        MissingBackendError: no C compiler, no headers of Python, or a cache that cannot be written; on every rank.
    """
    try:
        with _announced():
            return _form(form)
    except Exception as error:  # cffi's, distutils' or the system's; a RuntimeError on several ranks
        raise MissingBackendError(
            f"DOLFINx cannot compile a form ({first_line(error)}): install a C compiler (gcc, or set CC) and Python's "
            "headers (python3-dev); compiled forms are kept in ~/.cache/fenics, or in $XDG_CACHE_HOME"
        ) from None


def _form(form: Any) -> Any:
    """Return the form; remains of a process that was killed while it compiled are moved out of the way. Collective.

    FFCx takes a C file without its result for another process's work, and would wait for it for ever.
    """
    for _ in range(_TRIES):
        try:
            return fem.form(form, form_compiler_options=_HEARD)
        except (TimeoutError, RuntimeError) as error:
            found = re.search(r"JIT compilation timed out.*remove (.*\.c)\) or increase", str(error))
            if found is None:
                raise
            with suppress(OSError):  # on several ranks the first one is enough
                path = Path(found.group(1))
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.replace(path.with_suffix(".c.abandoned"))
    return fem.form(form, form_compiler_options=_HEARD)


class _Announcement(logging.Handler):
    """Hears FFCx call the C compiler; FFCx is silent where it finds a form in its cache."""

    def emit(self, record: logging.LogRecord) -> None:
        if "JIT C compiler" in record.getMessage():
            say_compiling()


@contextmanager
def _announced() -> Iterator[None]:
    logger, handler = logging.getLogger("ffcx"), _Announcement()
    level, passed_on = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.propagate = logger.isEnabledFor(logging.INFO)  # otherwise nobody has asked for its messages
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passed_on
