"""A program, not a test: one rank fails, in the way that the first argument names.

``failing.py WHAT WHERE``: what fails, in a density on a domain, in "particles", or in a program that does nothing else.
``failing.py full DIR``: no file in the directory grows, as on a disk that is full.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

import kspde
import kspde.runtime.job
import kspde.runtime.parallel

RANK = MPI.COMM_WORLD.rank
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.6])
BOX = kspde.Box(half_width=8.0, cells=8, degree=4)
DOMAINS: dict[str, tuple[Any, dict[str, Any]]] = {
    "box": (BOX, {"tol": 1e-5}),
    "rosenbrock": (BOX, {"tol": 1e-4, "scheme": "rosenbrock"}),
    "box-positive": (kspde.Box(half_width=8.0, cells=24, degree=1), {"scheme": "positive", "dt": 0.01}),
    "disk": (kspde.Disk(radius=8.0, size=0.35, rim_size=1.5), {"tol": 1e-3}),
    "disk-positive": (kspde.Disk(radius=8.0, size=0.35, rim_size=1.5), {"scheme": "positive", "dt": 0.01}),
}


@dataclass
class Fuse:
    """Raises on rank 1 when it has been called some times."""

    error: BaseException
    left: int = 3

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0 and RANK == 1:
            raise self.error


@dataclass(frozen=True)
class Motility:
    """1 + exp(-v), until the fuse blows."""

    fuse: Fuse

    def __call__(self, v: Any) -> Any:
        self.fuse()
        return 1.0 + np.exp(-v)

    def __repr__(self) -> str:
        return "Motility"


def failing(what: str, collective: Callable[[Any], Any]) -> tuple[kspde.LocalSensing, dict[str, Any]]:
    """Return a model, and options of either backend, of which one fails.

    Args:
        what: fails.
        collective: to be called with the state at each saved time.
    """
    motility: Any = kspde.ExponentialMotility()
    options: dict[str, Any] = {}
    if what == "motility":
        motility = Motility(Fuse(ZeroDivisionError("in the motility")))
    elif what == "progress":
        options["progress"] = Fuse(MemoryError("in the progress"))
    elif what in ("callback", "refused"):
        kind = LookupError if what == "callback" else kspde.InputError
        fuse = Fuse(kind(f"in the {what}"), left=1)

        def call(state: Any) -> None:
            fuse()
            collective(state)

        options["save"] = kspde.SaveAt(times=[0.0, 0.1, 0.2], callback=call)
    return kspde.LocalSensing(motility=motility, chi=4.0), options


def density(what: str, where: str, **more: Any) -> Any:
    """Solve, with something that fails."""
    domain, own = DOMAINS[where]
    model, options = failing(what, lambda state: state.evaluate([[0.0, 0.0]]))
    return kspde.solve(model, U0, domain, t_end=0.3, **own, **options, **more)


def particles(what: str, **more: Any) -> Any:
    """Simulate, with something that fails."""
    model, options = failing(what, lambda cloud: cloud.gathered())
    return kspde.simulate(model, U0, n=2000, t_end=0.3, dt=0.02, eps=0.3, **options, **more)


def full(directory: str) -> None:
    """Write all kinds of files where no file of rank 0 grows beyond a kilobyte: each is refused on all ranks."""
    pde, cloud = density("nothing", "box"), particles("nothing")
    checkpoint = kspde.Checkpoint(directory, every=0)
    if RANK == 0:
        sys.dont_write_bytecode = True  # Python would cut the bytecode of what is imported from here on
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    tries: dict[str, Callable[[], Any]] = {
        "checkpoint of the density": lambda: density("nothing", "box-positive", checkpoint=checkpoint),
        "checkpoint of the particles": lambda: particles("nothing", checkpoint=checkpoint),
        "vtkhdf": lambda: pde.write_vtkhdf(f"{directory}/density.vtkhdf"),
        "states": lambda: cloud.write(f"{directory}/particles.h5"),
    }
    for name, attempt in tries.items():
        try:
            attempt()
        except kspde.InputError as error:
            for line in MPI.COMM_WORLD.gather(str(error)) or []:
                print(f"{name}: {line}", flush=True)
    cloud.write(f"{directory}/particles.h5")


def leave(how: str, which: str) -> None:
    """Leave the program on rank 1 or on all, while the others wait for it, or have come to their end."""
    comm = kspde.runtime.parallel.communicator()
    with suppress(SystemExit):  # one that is caught is none
        sys.exit(7)
    if RANK == 1 or which == "all":
        if how == "error":
            raise OSError("in the script")
        if how == "exit":
            sys.exit(3)
        elif how == "words":
            raise SystemExit("no data")
        elif how == "at once":
            os._exit(3)
        elif how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    if which != "free":
        comm.Barrier()


if __name__ == "__main__":
    what, where = sys.argv[1:]
    if what in ("progress", "callback", "refused") or where == "alone":  # nobody to wait for
        kspde.runtime.job.PATIENCE = 0.5
    if what == "full":
        full(where)
    elif where in ("alone", "all", "free"):
        leave(what, where)
    elif where == "particles":
        particles(what)
    else:
        density(what, where)
