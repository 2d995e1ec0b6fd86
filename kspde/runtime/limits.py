"""Runs that could not end, or would not fit into memory: refused, with the estimate, before anything is computed.

Steps: a step of either backend takes at least microseconds, and some ten nanoseconds per particle. The limits leave
room for months on a large machine.

Memory: what a run takes is estimated from counts of nodes or particles, with constants that were measured
(tests/benchmarks/memory.py). Without the refusal the system would end the process without a word, or swap.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

from kspde.errors import InputError, check_number, shown
from kspde.runtime.parallel import together
from kspde.typing import Comm

__all__ = ["MOST_POINTS", "MOST_REPLICAS", "MOST_STEPS", "available", "check_memory", "check_steps", "check_work"]

#: The most steps of a run, points of a study, and particles times steps times repetitions.
MOST_STEPS, MOST_POINTS, MOST_WORK = 10**8, 10**4, 10**16

#: The most repetitions of a run.
MOST_REPLICAS = 10**6

#: Gigabytes that kspde may take on a machine, where the user knows better than the system does.
VARIABLE = "KSPDE_MEMORY"


def check_steps(t_end: float, dt: float) -> float:
    """Return roughly the number of steps of length ``dt`` to ``t_end``.

    Raises:
        InputError: more than 1e8.
    """
    steps = t_end / dt
    if steps > MOST_STEPS:
        raise InputError(
            f"dt = {dt:g} makes {steps:.3g} steps to t_end = {t_end:g}: give a larger dt, for at most {MOST_STEPS:.0e} "
            "steps"
        )
    return max(1.0, steps)


def check_work(n: int, *, steps: float = 1.0, replicas: int = 1) -> None:
    """Raise if the product of particles, steps and repetitions is out of reach.

    Raises:
        InputError: more than 1e16 moves of particles.
    """
    work = float(n) * steps * replicas
    if work > MOST_WORK:
        factors = [f"n = {shown(n)}", *([f"{steps:.3g} steps"] if steps > 1 else [])]
        factors += [f"replicas = {shown(replicas)}"] if replicas > 1 else []
        raise InputError(
            f"{' with '.join(factors)} would move particles {work:.1e} times: give fewer, for at most {MOST_WORK:.0e}"
        )


def available() -> float | None:
    """Return the bytes that the ranks on this machine may still take together; None if the system does not say.

    This is the minimum of what Linux calls available and what the control groups (a container, a batch job) leave, or
    else the machine's memory. The environment variable ``KSPDE_MEMORY``, in GB, overrides both.

    Raises:
        InputError: that variable is not a number > 0.
    """
    if text := os.environ.get(VARIABLE):
        try:
            return 1e9 * check_number(VARIABLE, float(text), above=0)
        except ValueError:
            raise InputError(f"{VARIABLE} = {text[:40]!r} is not valid: give GB > 0, for example 16") from None
    found = [size for size in (_of_the_machine(), *_of_control_groups()) if size is not None]
    return min(found, default=None)


def check_memory(what: str, mine: float, comm: Comm, remedy: str) -> None:
    """Raise if a run would not fit into memory. Collective.

    Args:
        what: the subject of the message, such as "a mesh of 1e9 nodes".
        mine: the bytes that this rank will take in addition to what it has.
        comm: the communicator; ranks that share a machine share its memory.
        remedy: the remedy for the message.

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
    with suppress(OSError, ValueError, AttributeError):  # macOS: all that the machine has
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    return None


def _of_control_groups() -> list[float]:
    """Return the bytes left in this process's control group and in those above it, of both versions."""
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
    """Return a control group's limit minus its usage, apart from the file cache, which can be dropped."""
    with suppress(OSError, ValueError):
        most, used = (
            int((group / name).read_text(encoding="ascii")) for name in (limit, usage)
        )  # "max" is not a number
        with suppress(OSError, ValueError):
            for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
                if line.startswith(f"{cache} "):
                    used -= int(line.split()[1])
        return float(max(most - used, 0))
    return None
