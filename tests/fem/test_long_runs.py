"""Long runs, and many: PETSc objects made in a loop would take memory, and communicators, of which there are few."""

import ctypes
import gc
import warnings

import numpy as np
import pytest
from mpi4py import MPI

import kspde

CAPPED = {"ts_adapt_dt_max": 1e-3}
LOW = kspde.Box(half_width=6.0, cells=24, degree=1)
HIGH = kspde.Box(half_width=6.0, cells=6, degree=3)
DISK = kspde.Disk(radius=6.0, size=0.45, rim_size=1.5)
MULTIGRID = {"ksp_type": "cg", "pc_type": "gamg"}
CASES = {
    "positive": (LOW, {"scheme": "positive", "dt": 1e-3}),
    "positive-2": (LOW, {"scheme": "positive-2", "dt": 1e-3}),
    "adaptive": (HIGH, {"tol": 1e-2, "save": kspde.SaveAt(times=np.linspace(0.0, 0.21, 211))}),
    "rosenbrock": (HIGH, {"scheme": "rosenbrock", "tol": 1e-2, "petsc_options": CAPPED}),
    "disk, multigrid": (DISK, {"tol": 1e-2, "petsc_options": {**CAPPED, **MULTIGRID}}),
    "disk, positive": (DISK, {"scheme": "positive", "dt": 1e-3}),
}


class Heap(ctypes.Structure):
    """What glibc says of its heap (mallinfo(3))."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    )  # fmt: skip


MALLINFO = getattr(ctypes.CDLL(None), "mallinfo2", None)
if MALLINFO is not None:
    MALLINFO.restype = Heap
counted = pytest.mark.skipif(MALLINFO is None, reason="it takes glibc 2.33 to say what is allocated")


def allocated() -> int:
    """Bytes that C and C++ have allocated: what resides in memory hides a leak for as long as earlier holes last."""
    heap = MALLINFO()
    return int(heap.uordblks + heap.hblkhd)


# Ranks that share cores wait for each other in every step: one case has to do, with PETSc's objects in each step.
@counted
@pytest.mark.parametrize("case", CASES if MPI.COMM_WORLD.size == 1 else ("disk, positive",))
def test_two_hundred_steps_do_not_grow(case) -> None:
    domain, options = CASES[case]
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.9])
    seen: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pde = kspde.solve(
            kspde.SignalDependentKellerSegel(chi=4.0), u0, domain, t_end=0.22, eps=0.5, mollifier="matern",
            progress=lambda done: seen.append(allocated()), **options,
        )  # fmt: skip
    assert len(seen) >= 210
    # A leak grows all the time, lists and caches now and then: the median of five stretches of 30 steps.
    marks = [np.mean(seen[k - 20 : k]) for k in range(60, 211, 30)]
    growth = float(np.median(np.diff(marks)))
    # What is kept on purpose is a row of diagnostics a step, a few hundred bytes, and the saved states with their
    # slopes. A leaked PETSc vector of one number costs 69 kB in 30 steps.
    kept = 30 / len(seen) * (len(pde.times) - 1) * 2 * 8 * pde.summary()["nodes"] / pde.comm.size
    assert growth - kept < 3e4, f"{(growth - kept) / 1e3:.0f} kB in 30 steps"


@counted
@pytest.mark.one_rank
def test_newtons_method_leaves_no_objects() -> None:
    """Hundreds of linear systems: a leaked PETSc vector of one number for each step costs 69 kB in 30 steps."""
    model = kspde.CrossDiffusion(a=[[0.5]], sigma=[0.4], dimension=1)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0]], stds=[0.9])
    line = kspde.Box(half_width=6.0, cells=16, degree=1, dimension=1)
    seen: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pde = kspde.solve(
            model, u0, line, t_end=0.4, scheme="positive", dt=2e-3, progress=lambda done: seen.append(allocated())
        )
    assert pde.summary()["newton_iterations"] > 350
    marks = [np.mean(seen[k - 20 : k]) for k in range(60, 201, 30)]
    assert np.median(np.diff(marks)) < 3e4, marks


def communicators_left(comm: MPI.Comm) -> int:
    """The least number of communicators that a rank of this MPI library can still make, 3000 at most."""
    handler = MPI.COMM_SELF.Get_errhandler()
    MPI.COMM_SELF.Set_errhandler(MPI.ERRORS_RETURN)
    made: list[MPI.Comm] = []
    try:
        while len(made) < 3000:
            made.append(MPI.COMM_SELF.Dup())
    except MPI.Exception:
        pass
    finally:
        for one in made:
            one.Free()
        MPI.COMM_SELF.Set_errhandler(handler)
    return comm.allreduce(len(made), op=MPI.MIN)


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        pytest.param({"size": 0.6}, {"tol": 1e-2}, marks=pytest.mark.one_rank),
        ({"size": 0.6, "refine": 1, "solver": "multigrid"}, {"scheme": "positive", "dt": 0.05}),
        ({"size": 0.6}, {"scheme": "positive", "dt": 0.05, "model": kspde.CrossDiffusion(a=[[1.0]], sigma=[0.4])}),
    ],
    ids=["adaptive", "multigrid", "local"],
)
def test_solutions_that_are_dropped_leave_no_communicators(options, scheme, comm) -> None:
    """Of objects that several ranks share Python's collector only takes note: kspde.fem.backend destroys them."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.6])
    scheme = {"model": kspde.SignalDependentKellerSegel(chi=1.0), **scheme}
    left = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(5):
            kspde.solve(u0=u0, domain=kspde.Disk(radius=5.0, **options), t_end=0.1, **scheme)
            gc.collect()
            left.append(communicators_left(comm))
    assert left[1] - left[-1] <= 3, left


def test_solves_that_fail_leave_no_communicators_even_where_their_own_is_freed(comm) -> None:
    """A callback raises inside PETSc's time stepper, whose frames hold the stepper; each solve has its communicator."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.6])
    model = kspde.SignalDependentKellerSegel(chi=1.0)

    def failing(fraction: float) -> None:
        raise ValueError("the user's")

    left = []
    for _ in range(5):
        own = comm.Dup()
        with pytest.raises(ValueError, match="the user's"):
            kspde.solve(model, u0, kspde.Disk(radius=5.0, size=0.6), t_end=0.1, tol=1e-2, comm=own, progress=failing)
        own.Free()
        gc.collect()
        left.append(communicators_left(comm))
    assert left[1] - left[-1] <= 3, left
