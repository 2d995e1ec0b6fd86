"""What the command spares itself of Python's search for cyclic garbage."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from kspde.runtime.garbage import no_search, no_search_at_exit

pytestmark = pytest.mark.one_rank


@pytest.mark.parametrize("on", [True, False])
def test_nothing_is_looked_for_in_a_block_and_among_what_it_made(on: bool) -> None:
    def made() -> tuple[bool, list[object]]:
        with no_search():
            return gc.isenabled(), [[]]

    def is_looked_at(thing: object) -> bool:
        return any(each is thing for each in gc.get_objects())

    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with no_search_at_exit():
            inside, thing = made()
            after, then = gc.isenabled(), is_looked_at(thing)
    finally:
        (gc.enable if before else gc.disable)()
    assert (inside, after) == (False, on)
    assert (then, is_looked_at(thing)) == (False, True)


def test_a_command_ends_without_a_last_search() -> None:
    program = """if True:
        import sys
        from kspde.cli import main

        class Last:
            def __del__(self):
                print("found", flush=True)

        circle = Last()
        circle.again = circle
        del circle
        if "command" in sys.argv:
            main(["--version"])
    """
    searched, left = (
        subprocess.run([sys.executable, "-c", program, *more], capture_output=True, text=True, check=True, timeout=60)
        for more in ((), ("command",))
    )
    assert "found" in searched.stdout
    assert left.stdout.startswith("kspde ")
    assert "found" not in left.stdout
