"""Time steps of Landau's particles, with independent noises and in rotating pairs.

    python -m tests.benchmarks.landau [--n 1e6] [--output landau.md]

Half a minute. Best of five runs of ten steps, in turns, on all cores of the process. Beside the time on the clock
stands the processor time of all threads over their number: on a shared machine both are bounds of the time on a quiet
one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import kspde
from kspde.runtime.compiled import use_threads
from kspde.runtime.parallel import world

STEPS, DT = 10, 0.05
SCHEMES = ("euler-maruyama", "pair-rotation")


def step(dimension: int, scheme: str, n: int) -> tuple[float, float]:
    """Return seconds and processor seconds of all threads per step."""
    model = kspde.LandauMaxwell(dimension=dimension, rate=1 / 16)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3] * dimension], stds=[1.0])
    marks: list[tuple[float, float]] = []
    kspde.simulate(
        model,
        u0,
        n=n,
        t_end=STEPS * DT,
        dt=DT,
        scheme=scheme,
        progress=lambda share: marks.append((time.perf_counter(), time.process_time())),
    )
    (t0, p0), (t1, p1) = marks[0], marks[-1]
    return (t1 - t0) / (STEPS - 1), (p1 - p0) / (STEPS - 1)


def main() -> None:
    """Time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=float, default=1e6)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "landau.md")
    options = parser.parse_args()
    threads, cases = use_threads(world()), [(d, scheme) for d in (2, 3) for scheme in SCHEMES]
    found: dict[tuple[int, str], list[tuple[float, float]]] = {case: [] for case in cases}
    for case in cases:
        step(*case, 1000)
    for _ in range(5):
        for case in cases:
            found[case].append(step(*case, int(options.n)))
    lines = [
        f"N = {int(options.n):,}, {threads} threads; milliseconds per step, best of five",
        "",
        "| d | scheme | on the clock | processor time / threads |",
        "| --- | --- | --- | --- |",
    ]
    for (d, scheme), times in found.items():
        wall, work = (1e3 * min(column) for column in zip(*times, strict=True))
        lines.append(f"| {d} | {scheme} | {wall:.0f} | {work / threads:.0f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
