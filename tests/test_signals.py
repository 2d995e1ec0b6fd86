"""Signals of a command, in the test's own process; tests/programs sends them to whole programs."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kspde.runtime.checkpoint import Checkpoint, CheckpointStore
from kspde.runtime.signals import Stop, held_back

pytestmark = pytest.mark.one_rank


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_and_raised(number: int) -> None:
    stop, before = Stop(), signal.getsignal(number)
    with stop.watching(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert stop.number == number
    assert signal.getsignal(number) is before


def test_one_that_is_ignored_stays_so(comm: Any, tmp_path: Path) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.watching():
            signal.raise_signal(signal.SIGHUP)
            with CheckpointStore(Checkpoint(tmp_path), {}, comm) as store:
                signal.raise_signal(signal.SIGHUP)
                assert not store.due()
        assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_is_put_off_while_results_are_written(comm: Any) -> None:
    stop = Stop()
    with stop.watching():
        stop.hold()
        assert stop.asked(comm) is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked(comm) == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.number == signal.SIGTERM


def test_one_is_put_off_while_libraries_begin() -> None:
    stop, ended = Stop(), []

    def begin(number: int) -> None:
        with held_back():
            signal.raise_signal(number)
            ended.append(number)

    with stop.watching():
        with pytest.raises(KeyboardInterrupt):
            begin(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with held_back():
            pass  # it does not come again
    with pytest.raises(KeyboardInterrupt):
        begin(signal.SIGINT)  # as in a script
    assert ended == [signal.SIGTERM, signal.SIGINT]


def test_an_interrupt_in_a_destructor_comes_again() -> None:
    class Fragile:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        thing = Fragile()
        del thing
        time.sleep(30.0)  # until it comes again

    stop = Stop()
    with stop.watching(), pytest.raises(KeyboardInterrupt):
        work()
    assert stop.number == signal.SIGINT


def test_one_that_comes_too_late_for_a_checkpoint_is_not_lost(comm: Any, tmp_path: Path) -> None:
    def run() -> None:
        with CheckpointStore(Checkpoint(tmp_path), {}, comm):
            signal.raise_signal(signal.SIGHUP)  # after the last step

    stop = Stop()
    with stop.watching(), pytest.raises(KeyboardInterrupt):
        run()
    assert stop.number == signal.SIGHUP
