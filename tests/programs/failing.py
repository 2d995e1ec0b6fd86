"""A program, not a test: one rank fails, in the way that the first argument names."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

import kspde
import kspde.parallel

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


class Fuse:
    """Raises on rank 1 when it has been called some times."""

    def __init__(self, error: BaseException) -> None:
        self.left = 3
        self.error = error

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


def density(what: str, where: str) -> None:
    """Solve, with something that fails."""
    domain, options = DOMAINS[where]
    motility: Any = kspde.ExponentialMotility()
    if what == "motility":
        motility = Motility(Fuse(ZeroDivisionError("in the motility")))
    elif what == "progress":
        options["progress"] = Fuse(MemoryError("in the progress"))
    elif what == "callback":
        fuse = Fuse(LookupError("in the callback"))
        fuse.left = 1

        def call(state: Any) -> None:
            fuse()
            state.evaluate([[0.0, 0.0]])

        options["save"] = kspde.SaveAt(times=[0.0, 0.1, 0.2], callback=call)
    elif what == "checkpoint":
        options["checkpoint"] = kspde.Checkpoint(sys.argv[3], every=0)
        full()
    pde = kspde.solve(kspde.LocalSensing(motility=motility, chi=4.0), U0, domain, t_end=0.5, **options)
    if what in ("vtx", "xdmf"):
        full()
        getattr(pde, f"write_{what}")(f"{sys.argv[3]}/density.{what}")
    elif what == "script":
        Fuse.__call__(fuse := Fuse(OSError("in the script")))
        fuse.left = 0
        fuse()
        pde.evaluate([[0.0, 0.0]])


def particles(what: str) -> None:
    """Simulate, with something that fails."""
    options: dict[str, Any] = {}
    motility: Any = kspde.ExponentialMotility()
    if what == "motility":
        motility = Motility(Fuse(ZeroDivisionError("in the motility")))
    elif what == "progress":
        options["progress"] = Fuse(MemoryError("in the progress"))
    elif what == "callback":
        fuse = Fuse(LookupError("in the callback"))
        fuse.left = 1

        def call(cloud: Any) -> None:
            fuse()
            cloud.gathered()

        options["save"] = kspde.SaveAt(times=[0.0, 0.1, 0.2], callback=call)
    elif what == "checkpoint":
        options["checkpoint"] = kspde.Checkpoint(sys.argv[3], every=0)
        full()
    model = kspde.LocalSensing(motility=motility, chi=4.0)
    cloud = kspde.simulate(model, U0, n=5000, t_end=0.5, dt=0.02, eps=0.3, **options)
    if what == "file":
        full()
        cloud.write(f"{sys.argv[3]}/particles.h5")


def full() -> None:
    """From now on no file of rank 0 grows beyond a kilobyte, as on a disk that is full."""
    if RANK == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


if __name__ == "__main__":
    if sys.argv[1] != "motility":  # nobody to wait for
        kspde.parallel._PATIENCE = 0.5
    if sys.argv[2] == "particles":
        particles(sys.argv[1])
    else:
        density(sys.argv[1], sys.argv[2])
