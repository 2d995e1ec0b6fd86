"""Memory: what a machine has left, and runs that are refused before they take more.

What a run takes is estimated from counts of nodes or particles, with constants that were measured
(tests/benchmarks/memory.py). Without the refusal the system would end the process, without a word, or grind.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from kspde.errors import InputError, check_number
from kspde.runtime.parallel import together

__all__ = ["available", "check_memory"]

#: Gigabytes that kspde may take on a machine, where the user knows better than the system.
VARIABLE = "KSPDE_MEMORY"


def available() -> float | None:
    """Return the bytes that this process and its like may still take on this machine; None where nothing says so.

    The least of what Linux calls available and what a control group (a container, a batch job) leaves; the machine's
    memory where there is no more to know. The environment variable ``KSPDE_MEMORY``, in GB, overrules them.

    Raises:
        InputError: that variable is no number > 0.
    """
    if text := os.environ.get(VARIABLE):
        try:
            return 1e9 * check_number(VARIABLE, float(text), above=0)
        except ValueError:
            raise InputError(f"{VARIABLE} = {text[:40]!r} is not valid: give GB > 0, for example 16") from None
    found = [size for size in (_of_the_machine(), *_of_control_groups()) if size is not None]
    return min(found, default=None)


def check_memory(what: str, mine: float, comm: Any, remedy: str) -> None:
    """Refuse what would not fit into a machine's memory. Collective.

    Args:
        what: what it is for.
        mine: bytes that this rank will take, beside what it has.
        comm: the communicator; ranks that share a machine share its memory.
        remedy: what to give instead.

    Raises:
        InputError: it does not fit on some machine; on every rank.
    """
    room: float | None = None
    with together(comm):
        room = available()
    machines: dict[str, tuple[float, list[float], int]] = {}
    for host, need, left in comm.allgather((platform.node(), float(mine), room)):
        total, lefts, ranks = machines.get(host, (0.0, [], 0))
        machines[host] = (total + need, lefts + ([] if left is None else [left]), ranks + 1)
    for host, (total, lefts, ranks) in sorted(machines.items()):
        if lefts and total > min(lefts):
            sharing = f" ({ranks} ranks)" if ranks > 1 else ""
            raise InputError(
                f"{what} would take about {_gigabytes(total)} of memory on {host}{sharing}, where "
                f"{_gigabytes(min(lefts))} are available: {remedy}, take a larger machine, or set {VARIABLE} to the GB "
                "that may be taken"
            )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _of_the_machine() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    with suppress(OSError, ValueError, AttributeError):  # macOS: all there is
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    return None


def _of_control_groups() -> list[float]:
    """Return what is left in this process's control group and those above it, of both versions."""
    found: list[float] = []
    lines: list[str] = []
    with suppress(OSError, ValueError):
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds == "":
            root, files = Path("/sys/fs/cgroup"), ("memory.max", "memory.current", "inactive_file")
        elif kinds == "memory":
            root = Path("/sys/fs/cgroup/memory")
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        place = root / path.lstrip("/")
        for group in (place, *place.parents):
            if group.is_relative_to(root) and (left := _left_in(group, *files)) is not None:
                found.append(left)
    return found


def _left_in(group: Path, limit: str, usage: str, cache: str) -> float | None:
    """Return a control group's limit less what is in use; its cache of files can be dropped."""
    with suppress(OSError, ValueError):
        most, used = (int((group / name).read_text(encoding="ascii")) for name in (limit, usage))  # "max" is none
        with suppress(OSError, ValueError):
            for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
                if line.startswith(f"{cache} "):
                    used -= int(line.split()[1])
        return float(max(most - used, 0))
    return None
