"""What a user waits for: ``python tests/benchmarks/start_up.py [TREE]`` writes results/start_up.md.

The package is imported, and the demo run on one rank, by turns from another source tree (a clone of an earlier commit)
and from this one, with compiled loops in an empty cache at first; each tree has its own demo, so one case is compared
in both. The least wall time and processor's time of each are written; it takes three minutes on a quiet machine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
TURNS = 3


def spent(tree: Path, cache: str, *arguments: str, ok: bool = True) -> tuple[float, float]:
    """Return the wall time and the processor's time of Python with some arguments."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=ok,
        stderr=None if ok else subprocess.DEVNULL,
        cwd=cache,
        env=env | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": cache},
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    trees = [Path(tree).resolve() for tree in (*sys.argv[1:2], HERE.parents[2])]
    caches = [tempfile.mkdtemp() for _ in trees]
    demo = ("-m", "kspde", "demo", "--quiet", "--force", "--out", "demo")
    case = ("-m", "kspde", "compare", str(HERE.parents[1] / "stated.toml"), *demo[3:])
    turns = range(TURNS)
    runs = {
        "the first demo, with loops to compile": [[spent(*each, *demo)] for each in zip(trees, caches, strict=True)],
        "a further demo": [[] for _ in trees],
        "the same problem on a mesh that is stated, in both": [[] for _ in trees],
        "a directory that exists is refused": [[] for _ in trees],
        "import kspde": [[] for _ in trees],
    }
    for _ in turns:
        for k, (tree, cache) in enumerate(zip(trees, caches, strict=True)):
            runs["a further demo"][k].append(spent(tree, cache, *demo))
            runs["the same problem on a mesh that is stated, in both"][k].append(spent(tree, cache, *case))
            runs["a directory that exists is refused"][k].append(
                spent(tree, cache, *demo[:3], "--out", "demo", ok=False)
            )
            runs["import kspde"][k].append(spent(tree, cache, "-c", "import kspde"))
    rows = []
    for name, columns in runs.items():
        cells = [f"{min(x[i] for x in column):.2f}" for column in columns for i in (0, 1)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    head = [f"{which}: {what} (s)" for which in ("before", "now")[-len(trees) :] for what in ("wall", "processor")]
    text = (
        f"# Start-up, and the demo\n\nWritten by tests/benchmarks/start_up.py on one rank, the least of {TURNS} turns "
        f"(of one where loops are compiled), Python's own start included. Beside it ran {os.getloadavg()[0]:.0f} "
        f"processes for {os.cpu_count()} cores on average.\n\n| | {' | '.join(head)} |\n"
        f"|{' --- |' * (1 + len(head))}\n" + "\n".join(rows) + "\n"
    )
    if len(trees) > 1:
        before = subprocess.run(
            ["git", "-C", trees[0], "log", "-1", "--format=%h of %as"], capture_output=True, text=True
        )
        text += f"\nBefore: {before.stdout.strip() or trees[0]}.\n"
    (HERE.parent / "results" / "start_up.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
