"""What a result depends on besides its parameters."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from kspde._version import __version__
from kspde.runtime.parallel import threads_per_rank
from kspde.typing import Comm

__all__ = ["provenance"]


def provenance(comm: Comm) -> dict[str, object]:
    """Return what a result depends on besides its parameters: versions, machine, ranks, threads, date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ranks": comm.size,
        "threads_per_rank": threads_per_rank(comm),
        "versions": _versions(),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
    }


def _versions() -> dict[str, str]:
    versions = {"kspde": __version__, "python": platform.python_version()}
    # The modules that ran are asked: distributions have different names in the wheel, in conda and in containers.
    for name in ("basix", "dolfinx", "h5py", "mpi4py", "numba", "numpy", "scipy"):
        if sys.modules.get(name):
            versions[name] = str(sys.modules[name].__version__)
    if sys.modules.get("petsc4py.PETSc"):
        versions["petsc"] = ".".join(str(n) for n in sys.modules["petsc4py.PETSc"].Sys.getVersion())
    if sys.modules.get("mpi4py.MPI"):  # not where one process runs without an MPI library
        versions["mpi"] = " ".join(sys.modules["mpi4py.MPI"].Get_library_version().split("\n")[0].strip("\0").split())
    return versions


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
