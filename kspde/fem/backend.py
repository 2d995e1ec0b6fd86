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
from kspde.runtime.parallel import communicator

__all__ = ["PREFIX", "apply_options", "destroy_dropped", "keep_until_dropped", "require"]

#: The first release of DOLFINx that is supported.
_OLDEST = (0, 11)

#: Files that DOLFINx takes compiler options from when they lie in the current directory, beside a case file for one.
_FOREIGN = ("dolfinx_jit_options.json", "ffcx_options.json")

#: Prefix of the names of our solvers' options in PETSc's database
PREFIX = "kspde_"


def require() -> None:
    """Import DOLFINx and petsc4py.

    Raises:
        MissingBackendError: they are not installed, DOLFINx is too old, or PETSc has complex numbers.
        InputError: the current directory holds options for DOLFINx's compiler.
    """
    try:
        with suppress(ModuleNotFoundError):  # the wheel orders its libraries; other installations have no such module
            import dolfinx_solver  # noqa: F401
        import petsc4py

        if "petsc4py.PETSc" not in sys.modules:
            # Else PETSc would take options from .petscrc and petscrc in the current directory, beside a case file,
            # and install handlers of signals that end the process on the spot, whatever a program has for them.
            petsc4py.init(["kspde", "-skip_petscrc", "-no_signal_handler"])
        import dolfinx.fem.petsc
        import petsc4py.PETSc
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py finds no MPI library
        raise MissingBackendError(
            f'the finite-element backend needs DOLFINx with PETSc ({first_line(error)}): pip install "kspde[fem]", or '
            "install fenics-dolfinx with conda"
        ) from None
    communicator()  # once more: PETSc's end, which is collective, must come after a rank's last words
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


def apply_options(solver: Any, options: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
    """Hand PETSc options to a TS or KSP object that is otherwise complete, and set it up.

    Args:
        solver: the PETSc object.
        options: as ``kspde.fem.petsc_options`` lets them pass; those that are False are left out.
        defaults: options that hold unless ``options`` says otherwise.

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
        # PETSc puts the present name of an option that was renamed into the database too: it would stay for later runs.
        for name in {*settings, *database.getAll()}:
            database.delValue(name)


#: Spaces of meshes on several ranks: the communicator, the space, and a vector that keeps the mesh's own communicator.
_DROPPING: list[tuple[Any, weakref.ref[Any], Any]] = []


def keep_until_dropped(space: Any) -> None:
    """Have PETSc's objects on a space's mesh destroyed once the space is gone (``destroy_dropped``). Collective.

    Args:
        space: a space with a communicator ``comm`` and a DOLFINx ``mesh``, which has a communicator of its own.
    """
    from petsc4py import PETSc

    if space.comm.size > 1:
        anchor = PETSc.Vec().createMPI((0, 0), comm=space.mesh.comm)
        _DROPPING.append((space.comm, weakref.ref(space), anchor))


def destroy_dropped(comm: Any) -> None:
    """Destroy PETSc's objects that Python has dropped on all ranks. Collective.

    Ranks drop objects at different times, so petsc4py only marks those of several ranks, and destroys them in a
    collective call. Without one they stay, with their communicators, of which MPICH has 2 048.
    """
    from petsc4py import PETSc

    if comm.size == 1:
        return
    PETSc.garbage_cleanup(comm)
    ours = [entry for entry in _DROPPING if entry[0] == comm]
    still_used = np.array([space() is not None for _, space, _ in ours], dtype=np.int64)
    for entry, used in zip(ours, comm.allreduce(still_used), strict=True):
        if not used:
            _DROPPING.remove(entry)
            anchor = entry[2]
            PETSc.garbage_cleanup(anchor.comm)
            anchor.destroy()
