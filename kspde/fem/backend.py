"""DOLFINx and PETSc, imported in the order they need, with one clear error where they are missing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kspde.errors import InputError, MissingBackendError

__all__ = ["PREFIX", "apply_options", "require"]

#: Prefix of the names of our solvers' options in PETSc's database
PREFIX = "kspde_"


def require() -> None:
    """Import DOLFINx and petsc4py.

    Raises:
        MissingBackendError: they are not installed.
    """
    with suppress(ModuleNotFoundError):  # the wheel orders its libraries; conda's and the containers' DOLFINx has none
        import dolfinx_solver  # noqa: F401
    try:
        import dolfinx.fem.petsc  # noqa: F401
        import petsc4py.PETSc  # noqa: F401
    except ImportError as error:
        raise MissingBackendError(
            f'the finite-element backend needs DOLFINx with PETSc ({error}): pip install "kspde[fem]", or install '
            "fenics-dolfinx with conda"
        ) from None


def apply_options(solver: Any, options: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
    """Hand PETSc options to a TS or KSP object that is otherwise complete, and set it up.

    Args:
        solver: the PETSc object.
        options: names without a leading dash, such as ``{"ts_rosw_type": "ra3pw"}``; None for options without a value.
        defaults: options that hold unless ``options`` says otherwise.

    Raises:
        InputError: PETSc does not know an option here, or does not accept its value.
    """
    from petsc4py import PETSc

    database = PETSc.Options(PREFIX)
    solver.setOptionsPrefix(PREFIX)
    settings = {**(defaults or {}), **options}
    try:
        for name, value in settings.items():
            database[name] = value
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
