"""Where the command ``kspde`` begins: signals first, then all that takes time (``kspde.cli.command_line``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kspde.runtime.garbage import no_search, no_search_at_exit
from kspde.runtime.job import launched_rank
from kspde.runtime.signals import Stop
from kspde.runtime.streams import complain, guarded_streams

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: what follows ``kspde``; by default from ``sys.argv``.
    """
    stop = Stop()
    with no_search_at_exit(), guarded_streams(), stop.watching():
        try:
            with stop.kept_from_libraries(), no_search():  # numpy has threads
                from kspde.cli.command_line import run

            return run(arguments, stop)
        except BaseException:
            if stop.number is None:
                raise
            if launched_rank() == 0:
                complain("interrupted: nothing was written")
            return 128 + stop.number


if __name__ == "__main__":
    sys.exit(main())
