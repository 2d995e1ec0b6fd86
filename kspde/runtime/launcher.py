"""What the environment of a process says of the ranks that were launched, before any of them begins with MPI."""

from __future__ import annotations

import os

__all__ = ["launched", "launched_rank"]

#: What launchers call the number of ranks: MPICH, Open MPI, MVAPICH; SLURM's own, where it starts ranks by PMIx.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def launched() -> bool:
    """Return whether this process is one of several ranks, or was started by one."""
    names = (*_SIZES, "SLURM_NTASKS") if "PMIX_RANK" in os.environ else _SIZES
    values = [os.environ.get(name, "") for name in names]
    return any(value.isdigit() and int(value) > 1 for value in values)


def launched_rank() -> int:
    """Return this process's rank as the launcher tells it: help and usage errors need no MPI."""
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0
