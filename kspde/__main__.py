"""``python -m kspde``: the command."""

import sys

from kspde.cli import main

if __name__ == "__main__":
    sys.exit(main())
