"""DOLFINx and PETSc, imported in the order they need, with one clear error where they are missing."""

from __future__ import annotations

import re
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kspde.errors import InputError, MissingBackendError, first_line
from kspde.runtime.parallel import communicator, world
from kspde.runtime.signals import held_back
from kspde.typing import Comm

__all__ = ["PREFIX", "Petsc", "apply_options", "destroy_dropped", "keep_until_dropped", "require"]

#: An object of petsc4py, which has no types.
Petsc = Any

#: The first release of DOLFINx that is supported.
_OLDEST = (0, 11)

#: Files in the current directory, for example beside a case file, from which DOLFINx would take compiler options.
_FOREIGN = ("dolfinx_jit_options.json", "ffcx_options.json")

#: Prefix of the options of our solvers in PETSc's database.
PREFIX = "kspde_"


def require(*, mesh: bool = True) -> None:
    """Import Basix, and where there is to be a mesh, or a solver of PETSc, DOLFINx and petsc4py. Collective.

    On several ranks PETSc begins with the first density in any case: all of them must begin it together, and later only
    some may need it.

    Raises:
        MissingBackendError: they are not installed, DOLFINx is too old, or PETSc has complex numbers.
        InputError: the current directory holds options for DOLFINx's compiler.
    """
    # glibc maps large arrays anew each time, until one of up to 32 MB has been freed: from then on it keeps them. Two
    # thousand steps on a disk of 541 nodes take 9.4 s instead of 11.
    np.empty(31 << 20, dtype=np.uint8)
    mesh = mesh or world().size > 1
    try:
        with held_back():
            if not mesh:
                import basix  # noqa: F401

                return
            with suppress(ModuleNotFoundError):  # the wheel orders its libraries; others have no such module
                import dolfinx_solver  # noqa: F401
            import petsc4py

            if "petsc4py.PETSc" not in sys.modules:
                # Otherwise PETSc would take options from .petscrc and petscrc in the current directory, beside a case
                # file, and install signal handlers that end the process at once, whatever a program has installed.
                petsc4py.init(["kspde", "-skip_petscrc", "-no_signal_handler"])
            import dolfinx.fem.petsc
            import petsc4py.PETSc
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py finds no MPI library
        raise MissingBackendError(
            f'the finite-element backend needs DOLFINx with PETSc ({first_line(error)}): pip install "kspde[fem]", or '
            "install fenics-dolfinx with conda"
        ) from None
    communicator()  # again: PETSc's finalisation, which is collective, must come after a rank's last words
    _check_versions(str(dolfinx.__version__), petsc4py.PETSc.ScalarType)
    for name in _FOREIGN:
        if Path(name).exists():
            raise InputError(
                f"{name} in the current directory would set compiler options: move it to ~/.config, where DOLFINx and "
                "FFCx read yours, or work in another directory"
            )


def _check_versions(version: str, scalar: type) -> None:
    """Refuse a DOLFINx or PETSc that would fail later.

    Raises:
        MissingBackendError: DOLFINx is older than 0.11, or PETSc has complex numbers.
    """
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if release < _OLDEST:
        raise MissingBackendError(
            f"DOLFINx {version} is too old: kspde needs {_OLDEST[0]}.{_OLDEST[1]} or newer, for example "
            'pip install "kspde[fem]" in a new environment'
        )
    if np.issubdtype(scalar, np.complexfloating):
        raise MissingBackendError(
            "this PETSc has complex numbers: kspde needs one with real numbers, for example conda's "
            'fenics-dolfinx with "petsc=*=real*", or pip install "kspde[fem]" in a new environment'
        )


def apply_options(solver: Petsc, options: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
    """Pass PETSc options to a TS or KSP object that is otherwise complete, and set it up.

    Args:
        solver: the PETSc object.
        options: options as ``kspde.fem.petsc_options`` returns them; False leaves one out.
        defaults: options that hold unless ``options`` overrides them.

    Raises:
        InputError: PETSc does not know an option here, or does not accept its value.
    """
    from petsc4py import PETSc

    database = PETSc.Options(PREFIX)
    solver.setOptionsPrefix(PREFIX)
    options = {name: value for name, value in options.items() if value is not False}
    settings = {**(defaults or {}), **options}
    try:
        for name, value in settings.items():
            database[name] = None if value is True else value  # with a value, a monitor would look for a file
        try:
            solver.setFromOptions()
            solver.setUp()
        except PETSc.Error as error:
            reason = str(error).strip().splitlines()[-1].removeprefix("[0] ").replace(PREFIX, "")
            raise InputError(f"petsc_options = {options} are not valid: {reason}") from None
        for name in options:
            if not PETSc.Options().used(PREFIX + name):
                raise InputError(
                    f"petsc_options: {name!r} is not an option of this solver ({type(solver).__name__}, type "
                    f"{solver.getType()}): see the PETSc manual for those of this type"
                )
    finally:
        # PETSc also enters the present name of a renamed option, which would stay for later runs.
        for name in {*settings, *database.getAll()}:
            database.delValue(name)


#: Spaces of meshes on several ranks, each with vectors that keep its communicator and that of its mesh.
_DROPPING: list[tuple[weakref.ref[Any], list[Any]]] = []


def keep_until_dropped(space: Any) -> None:
    """Let ``destroy_dropped`` destroy the PETSc objects on the mesh of a space once the space is gone. Collective.

    Args:
        space: a space with a communicator ``comm`` and a DOLFINx ``mesh``, which has its own communicator.
    """
    from petsc4py import PETSc

    if space.comm.size > 1:
        anchors = [PETSc.Vec().createMPI((0, 0), comm=comm) for comm in (space.comm, space.mesh.comm)]
        _DROPPING.append((weakref.ref(space), anchors))


def destroy_dropped(comm: Comm) -> None:
    """Destroy the PETSc objects that Python has dropped on all ranks. Collective.

    Ranks drop objects at different times, so petsc4py only marks those shared by several ranks, and destroys them in a
    collective call. Without it they stay, with their communicators, of which MPICH has 2 048. Communicators of the same
    ranks in the same order serve each other: one may have been freed, or never be used again.
    """
    if comm.size == 1 or "petsc4py.PETSc" not in sys.modules:
        return
    from mpi4py import MPI
    from petsc4py import PETSc

    same = (MPI.IDENT, MPI.CONGRUENT)
    ours = [entry for entry in _DROPPING if MPI.Comm.Compare(entry[1][0].comm.tompi4py(), comm) in same]
    # A TS object that failed is gone only now, and with it the space that its functions hold.
    for one in (comm, *(anchor.comm for _, anchors in ours for anchor in anchors)):
        PETSc.garbage_cleanup(one)
    still_used = np.array([space() is not None for space, _ in ours], dtype=np.int64)
    for entry, used in zip(ours, comm.allreduce(still_used), strict=True):
        if not used:
            _DROPPING.remove(entry)
            for anchor in entry[1]:
                PETSc.garbage_cleanup(anchor.comm)
                anchor.destroy()
