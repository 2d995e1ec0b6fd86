"""What the first run of the demo compiles: ``python tests/benchmarks/compilation.py [TREE]`` writes a table.

The demo of another source tree (a clone of an earlier commit) and of this one run by turns on one rank, each with an
empty cache; numba's events say how long it compiles, in the processor's time of the whole process. Two minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
TURNS = 3
#: Compilations within others are part of theirs.
DEMO = """
import sys, time
from numba.core import event

class Compiling(event.Listener):
    depth, seconds, count = 0, 0.0, 0

    def on_start(self, event):
        if self.depth == 0:
            self.start = time.process_time()
        self.depth += 1
        self.count += 1

    def on_end(self, event):
        self.depth -= 1
        if self.depth == 0:
            self.seconds += time.process_time() - self.start

compiling = Compiling()
event.register("numba:compile", compiling)
sys.argv = ["kspde", "demo", "--quiet", "--force", "--out", "demo"]
from kspde.cli import main
assert main() == 0
print(compiling.seconds, compiling.count, time.process_time())
"""


def compiled(tree: Path) -> list[float]:
    """Return how long a tree's demo compiles, how many functions, and how long it takes in all."""
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
        out = subprocess.run(
            [sys.executable, "-c", DEMO], check=True, cwd=cache, env=env, capture_output=True, text=True
        )
    return [float(x) for x in out.stdout.split()[-3:]]


def main() -> None:
    trees = [Path(tree).resolve() for tree in (*sys.argv[1:2], HERE.parents[2])]
    runs = [[compiled(tree) for tree in trees] for _ in range(TURNS)]
    names = [*("before" for _ in trees[1:]), "now"]
    head = [f"{name}: {what}" for name in names for what in ("compiling (s)", "functions", "in all (s)")]
    rows = [
        "| " + " | ".join(f"{x:.0f}" if k == 1 else f"{x:.2f}" for run in turn for k, x in enumerate(run)) + " |"
        for turn in runs
    ]
    text = (
        f"# What the first demo compiles\n\nWritten by tests/benchmarks/compilation.py: {TURNS} turns, processor "
        f"time, one thread, an empty cache each. Beside it ran {os.getloadavg()[0]:.0f} processes for {os.cpu_count()} "
        "cores on average.\n\n"
        f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n" + "\n".join(rows) + "\n"
    )
    (HERE.parent / "results" / "compilation.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
