"""Values of other kinds, through every public constructor and both backends: one line that says what is valid."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=2.0)
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.3]], stds=[0.6])
BOX = kspde.Box(half_width=5.0, cells=8, degree=4, grading=0)
SYSTEM: dict[str, Any] = {"model": MODEL, "u0": U0, "eps": 0.3}


class Stubborn:
    """It has no truth, no size and no numbers."""

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("no array")


#: What is no number, text, list of numbers, function or object of kspde.
ODD: tuple[Any, ...] = (
    1j, b"x", "x" * 10**5, {"a": 1}, {1}, object(), Stubborn(), np.array("x"), np.array([object()]), [[1, 2], [3]],
    [None], ["a"], datetime.date(2026, 1, 1), range(0), iter([1]), np.ma.masked, 10**400, float("nan"), Ellipsis,
    np.array([[1.0, 2.0]]),
)  # fmt: skip


def solve(**changes: Any) -> Any:
    return kspde.solve(**{**SYSTEM, "domain": BOX, "t_end": 1e-3, "tol": 1e-2, **changes})


def simulate(**changes: Any) -> Any:
    return kspde.simulate(**{**SYSTEM, "n": 3, "t_end": 0.01, "dt": 0.01, "method": "direct", **changes})


#: entry -> the call, its arguments for which all of ODD but what is named are refused
ENTRIES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "solve": (
        solve,
        ("model", "u0", "domain", "t_end", "tol", "eps", "initial", "scheme", "dt", "petsc_options", "save",
         "checkpoint", "resume", "progress", "comm"),
    ),
    "simulate": (
        simulate,
        ("model", "u0", "n", "t_end", "dt", "eps", "initial", "scheme", "field_tol", "method", "memory_limit",
         "include_self", "save", "checkpoint", "resume", "progress", "comm"),
    ),
    "Checkpoint": (lambda **k: kspde.Checkpoint(**{"directory": "x", **k}), ("every",)),
    "SaveAt": (kspde.SaveAt, ("callback",)),
    "Box": (
        lambda **k: kspde.Box(**{"half_width": 5.0, "cells": 8, **k}),
        ("half_width", "cells", "degree", "dimension", "grading", "boundary"),
    ),
    "Disk": (
        lambda **k: kspde.Disk(**{"radius": 5.0, "size": 1.0, **k}),
        ("radius", "size", "rim_size", "refine", "cell", "degree", "boundary", "solver"),
    ),
    "MeshFile": (lambda **k: kspde.MeshFile(**{"path": "x", **k}), ("degree", "refine", "boundary", "solver")),
    "GaussianMixture": (
        lambda **k: kspde.GaussianMixture(**{"weights": [1.0], "means": [[0.0, 0.0]], "stds": [1.0], **k}),
        ("weights", "stds", "mass"),
    ),
    "GridDensity": (
        lambda **k: kspde.GridDensity(**{"values": np.ones((3, 3)), "extent": [0, 1, 0, 1], **k}),
        ("extent", "mass", "orientation", "bandwidth"),
    ),
    "CallableDensity": (
        lambda **k: kspde.CallableDensity(**{"function": U0, "half_width": 9.0, "resolution": 32, **k}),
        ("function", "half_width", "dimension", "mass", "resolution", "tail"),
    ),
    "observed_positions": (
        lambda **k: kspde.observed_positions(**{"positions": np.ones((3, 2)), "bandwidth": 1.0, **k}),
        ("bandwidth", "mass"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_of_another_kind_gets_one_line(entry: str) -> None:
    call, names = ENTRIES[entry]
    for name in names:
        for value in ODD:
            with pytest.raises(kspde.InputError) as caught:
                call(**{name: value})
            line = str(caught.value)
            assert "\n" not in line, (name, value)
            assert len(line) < 800, (name, value)


@pytest.mark.parametrize(
    ("call", "arguments", "line"),
    [
        (solve, {"save": [0.1]}, r"^save is a list: give kspde\.SaveAt\(times=\.\.\.\)"),
        (simulate, {"save": [0.1]}, r"^save is a list: give kspde\.SaveAt\(times=\.\.\.\)"),
        (solve, {"save": kspde.SaveAt(times=[1.0])}, r"^times reach 1, after t_end = 0\.001"),
        (solve, {"progress": True}, r"^progress = True is not a function: give one of one argument, t/t_end"),
        (simulate, {"progress": True}, r"^progress = True is not a function: give one of one argument, t/t_end"),
        (solve, {"petsc_options": True}, r"^petsc_options = True is not valid: give a dictionary"),
        (solve, {"resume": 1}, r"^resume = 1 is not valid: give True or False"),
        (solve, {"comm": 0}, r"^comm is a int: give a communicator of mpi4py"),
        (simulate, {"comm": MPI.COMM_NULL}, r"^comm is a Intracomm|^comm is a Comm"),
        (
            simulate,
            {"scheme": ["weak-2"]},
            r"^scheme = \['weak-2'\] is not valid: give one of euler-maruyama, .*weak-2",
        ),
        (kspde.SaveAt, {"times": ["a"]}, r"^times is not an array of numbers: give one of shape \(n,\)"),
        (kspde.SaveAt, {"times": 0.1}, r"^times has shape \(\): give shape \(n,\)"),
        (kspde.SaveAt, {"times": "0.1"}, r"^times is not an array of numbers"),
        (kspde.SaveAt, {"statistics": "moments"}, r"^statistics = 'moments' is not valid: give a tuple of names"),
        (kspde.SaveAt, {"statistics": 3}, r"^statistics = 3 is not valid: give a tuple of names"),
        (kspde.SaveAt, {"callback": "print"}, r"^callback = 'print' is not a function"),
        (kspde.Checkpoint, {"directory": 3}, r"^directory is a int: give a path"),
    ],
)
def test_what_the_line_says(call: Callable[..., Any], arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(kspde.InputError, match=line):
        call(**arguments)


def test_no_times_are_no_times() -> None:
    for none in ((), [], np.zeros(0)):
        assert kspde.SaveAt(times=none).times == ()


@pytest.mark.parametrize(
    ("call", "arguments", "line"),
    [
        (simulate, {"t_end": 1e20, "dt": 0.1}, r"^dt = 0\.1 makes 1e\+21 steps to t_end = 1e\+20: give a larger dt"),
        (simulate, {"t_end": 1.0, "dt": 1e-300}, r"^dt = 1e-300 makes 1e\+300 steps to t_end = 1: give a larger dt"),
        (simulate, {"n": 10**12, "t_end": 1.0, "dt": 1e-6}, r"would move particles 1\.0e\+18 times: give fewer"),
        (
            solve,
            {"domain": kspde.Box(half_width=5.0, cells=8, degree=1), "tol": None, "scheme": "positive", "dt": 1e-30},
            r"^dt = 1e-30 makes 1e\+27 steps to t_end = 0\.001: give a larger dt",
        ),
    ],
)
def test_runs_without_end_are_refused_with_their_number(
    call: Callable[..., Any], arguments: dict[str, Any], line: str
) -> None:
    with pytest.raises(kspde.InputError, match=line):
        call(**arguments)
