"""That loops are compiled is said, once; tests/programs hears of forms."""

import logging
from threading import Lock

import numba
import pytest

import kspde.runtime.compiled
from kspde.runtime import messages

assert kspde.runtime.compiled  # which listens


@pytest.mark.one_rank
def test_loops_of_ours_are_announced_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(messages, "_said", Lock())
    caplog.set_level(logging.WARNING, logger="kspde")

    def successor(x: float) -> float:
        return x + 1

    theirs, ours = numba.njit(successor), numba.njit(successor)
    assert theirs(1) == 2
    assert caplog.messages == []
    successor.__module__ = "kspde.loops"
    assert (ours(1), ours(1.5), ours(2.5)) == (2, 2.5, 3.5)
    assert caplog.messages == [messages.COMPILING]
