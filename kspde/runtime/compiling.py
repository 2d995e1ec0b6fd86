"""What is said when code is compiled, once: it takes seconds, at the first run after an installation only."""

from __future__ import annotations

import logging
import sys
import threading

__all__ = ["LINE", "say_compiling"]

LINE = "kspde: compiling (first time only)"

_said = threading.Lock()


def say_compiling() -> None:
    """Say on standard error, on rank 0, that compilation has begun; once in a process.

    By Python's logger "kspde", as a warning: silenced by ``logging.getLogger("kspde").setLevel("ERROR")``.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if (mpi is None or mpi.COMM_WORLD.rank == 0) and _said.acquire(blocking=False):
        logging.getLogger("kspde").warning(LINE)
