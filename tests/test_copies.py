"""Copies of a process, which carry out tasks beside it, and pictures that they draw."""

from __future__ import annotations

import os
import signal
import time
import warnings
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest

from kspde.plots import style
from kspde.plots.over_time import plot_over_time
from kspde.runtime.copies import Copies

pytestmark = [pytest.mark.one_rank, pytest.mark.skipif(not hasattr(os, "fork"), reason="no copies of processes here")]

HERE = os.getpid()


def note(path: Path, *, refused: bool = False, warned: bool = False) -> None:
    """Write the number of the process; a copy may fail, or warn, before."""
    if os.getpid() != HERE:
        if refused:
            raise ValueError("not here")
        if warned:
            warnings.warn("not here", UserWarning, stacklevel=1)
    path.write_text(f"{os.getpid()} {os.getppid()}")


def carried_out(copies: Copies, folder: Path, **options: bool) -> list[int]:
    """Return by which processes three tasks were carried out, the second one with options."""
    paths = [folder / f"{k}" for k in range(3)]
    for k, path in enumerate(paths):
        copies.begin(partial(note, path, **options if k == 1 else {}))
    copies.wait()
    return [int(path.read_text().split()[0]) for path in paths]


def test_what_a_copy_does_not_do_well_is_done_here(tmp_path: Path) -> None:
    copies = Copies(partial(note, tmp_path / "prepared"))
    assert len({HERE, *carried_out(copies, tmp_path)}) == 4
    first = int((tmp_path / "prepared").read_text().split()[0])
    assert {path.read_text().split()[1] for path in tmp_path.glob("[012]")} == {str(first)}
    for options in ({"refused": True}, {"warned": True}):
        by = carried_out(copies, tmp_path, **options)
        assert [process == HERE for process in by] == [False, True, False]
    os.kill(first, signal.SIGKILL)
    assert carried_out(copies, tmp_path) == [HERE] * 3
    copies.end()


def test_without_preparation_all_is_done_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copies = Copies(partial(note, tmp_path / "prepared", refused=True))
    assert carried_out(copies, tmp_path) == [HERE] * 3
    copies.end()
    assert capfd.readouterr() == ("", "")


def test_copies_end_whatever_they_are_doing(tmp_path: Path) -> None:
    copies = Copies(partial(note, tmp_path / "prepared"))
    copies.begin(partial(time.sleep, 60.0))
    copies.begin(partial(note, tmp_path / "begun"))
    while not (tmp_path / "begun").exists() or not (tmp_path / "begun").read_text():
        time.sleep(0.01)
    group = os.getpgid(int((tmp_path / "prepared").read_text().split()[0]))
    assert group != os.getpgid(HERE)
    copies.end()
    deadline = time.monotonic() + 20
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(group)


def alive(group: int) -> bool:
    """Return whether a group of processes has one."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Table:
    """Distances over time."""

    columns: ClassVar = {
        name: np.array(values)
        for name, values in {"t": (0, 1), "l1": (0.1, 0.2), "l1_low": (0.1, 0.1), "l1_high": (0.3, 0.2)}.items()
    }
    names, n, eps, differs = ("l1",), 0, None, MappingProxyType({})

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def title(self, name: str) -> str:
        return name


def test_pictures_beside_a_block_are_the_same(tmp_path: Path, comm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "threads_per_rank", lambda _: 2)
    plot_over_time(Table(comm), tmp_path / "alone.png")
    with style.side_by_side(comm):
        monkeypatch.setattr(style, "styled", None)  # nothing can be drawn here
        plot_over_time(Table(comm), tmp_path / "beside.png")
        style.wait_for_pictures()
        assert (tmp_path / "beside.png").read_bytes() == (tmp_path / "alone.png").read_bytes()
