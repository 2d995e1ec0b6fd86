"""The PETSc options that may be given to ``solve`` and in case files. All others are refused by name.

PETSc has options that run Python (``pc_type=python``), open files (``ksp_view=ascii:name``, ``options_file``,
``..._load``) or change what a scheme promises (``ts_adapt_always_accept``). A case file is data, so what may reach
PETSc is a list:

- types: ``ts_type`` (rosw), ``ts_rosw_type`` (the W-methods of ``kspde.fem.schemes.rosenbrock``), ``ts_adapt_type``,
  ``snes_type`` (ksponly), ``ksp_type``, ``pc_type``, ``pc_factor_mat_solver_type``, ``sub_pc_type``, ``ksp_norm_type``,
  ``ksp_pc_side``, ``mg_levels_ksp_type``, ``mg_levels_pc_type``;
- tolerances, lengths of steps and factors: ``ksp_rtol``, ``ksp_divtol``, ``ts_time_step`` (its old name is ``ts_dt``),
  ``ts_adapt_dt_min``, ``ts_adapt_dt_max``, ``ts_adapt_safety``, ``ts_adapt_reject_safety``, ``pc_gamg_threshold``;
- limits and counts: ``ts_max_steps``, ``ts_max_reject``, ``ksp_max_it``, ``ksp_min_it``, ``ksp_gmres_restart``,
  ``pc_factor_levels``, ``pc_gamg_agg_nsmooths``, ``pc_gamg_coarse_eq_limit``, ``mg_levels_ksp_max_it``;
- monitors, which write to the terminal and are true or false: ``ts_monitor``, ``ts_adapt_monitor``, ``ksp_monitor``,
  ``ksp_monitor_true_residual``, ``ksp_converged_reason``.

Names are exactly these, without a leading dash. A type is one of a finite set, any other value a number, true or false:
no other text reaches PETSc. Which of them a run uses depends on its scheme and domain; an option without effect is
refused there (``kspde.fem.backend.apply_options``). The tolerance of a step is ``tol``, not one of PETSc's.

The files that PETSc looks for when it starts (``.petscrc`` and ``petscrc`` in the current directory, ``~/.petscrc``)
are not read, unless a script has imported ``petsc4py.PETSc`` before. The variable ``PETSC_OPTIONS`` is read: it belongs
to whoever starts the program.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kspde.errors import InputError, check_choice, check_integer, check_number, shown

__all__ = ["OPTIONS", "W_METHODS", "checked_options"]

#: PETSc's Rosenbrock methods that keep their order with an inexact matrix and are stable with ours.
W_METHODS = ("ra34pw2", "ra3pw", "r34prw", "2p", "2m")

_KRYLOV = ("bcgs", "cg", "cr", "fcg", "fgmres", "gcr", "gmres", "lgmres", "minres", "preonly", "richardson")
_PRECONDITIONERS = (
    "asm", "bjacobi", "cholesky", "eisenstat", "gamg", "icc", "ilu", "jacobi", "lu", "none", "pbjacobi", "sor",
)  # fmt: skip

_Check = Callable[[str, Any], Any]


def _type(*choices: str) -> _Check:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise InputError(f"{name} = {shown(value)} is not valid: give one of {', '.join(choices)}")
        return check_choice(name, value, choices)

    return check


def _number(**bounds: float) -> _Check:
    return lambda name, value: check_number(name, value, **bounds)


def _count(at_least: int) -> _Check:
    return partial(check_integer, at_least=at_least, at_most=2**31 - 1)  # PETSc's integers have 32 bits


def _flag(name: str, value: Any) -> bool:
    """Return whether a monitor is on; None stands for an option given without a value."""
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name} = {shown(value)} is not valid: give true or false, it writes to the terminal")
    return value is not False


#: By name: what a value may be.
OPTIONS: dict[str, _Check] = {
    "ts_type": _type("rosw"),
    "ts_rosw_type": _type(*W_METHODS),
    "ts_adapt_type": _type("basic", "dsp", "none"),
    "snes_type": _type("ksponly"),
    "ksp_type": _type(*_KRYLOV),
    "pc_type": _type(*_PRECONDITIONERS),
    "pc_factor_mat_solver_type": _type("mumps", "petsc", "superlu", "superlu_dist"),
    "sub_pc_type": _type("icc", "ilu", "jacobi", "lu", "sor"),
    "ksp_norm_type": _type("natural", "preconditioned", "unpreconditioned"),
    "ksp_pc_side": _type("left", "right", "symmetric"),
    "mg_levels_ksp_type": _type("chebyshev", "richardson"),
    "mg_levels_pc_type": _type("jacobi", "sor"),
    # ts_dt is the old name of ts_time_step
    **dict.fromkeys(("ts_time_step", "ts_dt", "ts_adapt_dt_min", "ts_adapt_dt_max"), _number(above=0)),
    **dict.fromkeys(("ts_adapt_safety", "ts_adapt_reject_safety", "ksp_rtol"), _number(above=0, below=1)),
    "ksp_divtol": _number(above=1),
    "pc_gamg_threshold": _number(at_least=-1, below=1),
    **dict.fromkeys(
        (
            "ts_max_steps",
            "ksp_max_it",
            "ksp_gmres_restart",
            "pc_gamg_coarse_eq_limit",
            "mg_levels_ksp_max_it",
        ),
        _count(1),
    ),
    **dict.fromkeys(("ts_max_reject", "ksp_min_it", "pc_factor_levels", "pc_gamg_agg_nsmooths"), _count(0)),
    **dict.fromkeys(
        ("ts_monitor", "ts_adapt_monitor", "ksp_monitor", "ksp_monitor_true_residual", "ksp_converged_reason"), _flag
    ),
}


def checked_options(options: Any) -> dict[str, str | int | float | bool]:
    """Return options that may be passed to PETSc, their values checked.

    Args:
        options: what the user gave: a mapping from names to values, or None.

    Raises:
        InputError: not a mapping, a name that is not in the list, or a value that is not valid for it.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InputError(
            f"petsc_options = {shown(options)} is not valid: give a dictionary of names and values, such as "
            '{"ts_max_steps": 1000}'
        )
    out: dict[str, str | int | float | bool] = {}
    for given, value in options.items():
        if type(given) is not str or given not in OPTIONS:
            close = difflib.get_close_matches(str(given)[:100], OPTIONS, n=1, cutoff=0.8)
            remedy = f"did you mean {close[0]}?" if close else f"it may be one of {', '.join(OPTIONS)}"
            raise InputError(f"petsc_options: {shown(given)} is not an option that is passed to PETSc: {remedy}")
        out[given] = OPTIONS[given](f"petsc_options: {given}", value)
    return out
