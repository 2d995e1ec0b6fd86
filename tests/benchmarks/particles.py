"""Time the particle backend against a bare finufft pair, the direct sum, and itself on two ranks.

    python -m tests.benchmarks.particles [--most 1e7] [--output particles.txt]
    python -m tests.benchmarks.particles --space [--output particles.txt]    # adds the table in space: 2 minutes

The table goes to the terminal and to a file. The model is the README's: χ = 8, ε = 0.3, field_tol = 1e-6, three
Gaussians. Every figure is the best of several, taken in turns so that a busy machine slows all alike. For the ranks
this script starts itself under ``mpirun`` on 1 and on 2 of them, one thread each.

Whether the time per particle depends on N is measured by bursts of 10⁷ particles' steps, one of the largest N, a
hundred of the smallest, in turns: each is as likely to be disturbed. Beside the time on the clock stands the processor
time of all threads over their number. The clock also counts what the host gives to others, and processor time does not
count a thread's waiting for another: on a machine of one's own the former is what matters, on a shared one both are
bounds of that.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kspde
from kspde.particles.fields.accuracy import band, image_distance
from kspde.particles.fields.base import Extent
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.schemes import EulerMaruyama
from kspde.particles.system import System
from kspde.runtime.compiled import use_threads
from kspde.runtime.parallel import limited_threads, world
from kspde.runtime.random import Philox

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
U0 = kspde.GaussianMixture(weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7))
EPS, TOL, DT = 0.3, 1e-6, 0.01
FORCES = kspde.KellerSegel(chi=8.0, mu=1.0)
IN_SPACE = kspde.GaussianMixture(
    weights=U0.weights, means=((-1.2, 0.3, 0.0), (1.3, -0.2, 0.4), (0.2, 1.5, -0.5)), stds=U0.stds
)


class Steps:
    """One step after the other of n particles, and the parts of a step."""

    def __init__(
        self, n: int, evaluator: type = ParticleMesh, *, model: kspde.models.Model = MODEL, u0: Any = U0
    ) -> None:
        self.comm = world()
        use_threads(self.comm)
        first, last = (n * r // self.comm.size for r in (self.comm.rank, self.comm.rank + 1))
        ids = np.arange(first, last, dtype=np.uint64)
        self.evaluator = evaluator(
            model.regularised_fields(kspde.GaussianMollifier(eps=EPS)),
            dimension=u0.dimension,
            weights={"u": 1 / n},
            tol=TOL,
            include_self=True,
            comm=self.comm,
        )
        self.system = System(
            model=model,
            evaluator=self.evaluator,
            positions={"u": u0.sample(Philox(0, 0), ids)},
            ids={"u": ids},
            counts={"u": n},
            noise=Philox(0, 1),
            comm=self.comm,
        )
        self.x = self.system.positions["u"]
        self.count = 0
        self.tallies: Any = None
        self.system.observe()

    def fields(self) -> None:
        """Deposit and transform."""
        self.system.prepare(0.0)

    def transform(self) -> None:
        """A part of it."""
        self.evaluator._convolve(self.evaluator._grids[0], self.evaluator._factors)

    def evaluate(self) -> None:
        self.c = self.system.at("u", self.x)

    def move(self) -> None:
        """Gather, draw the noise, and advance."""
        # A thousandth of the step: the cloud, and so the work, stays the same however often this runs.
        self.tallies = EulerMaruyama(DT).advance(self.system, self.count, 0.0, 1e-6 * DT)
        self.count += 1

    def observe(self) -> None:
        self.system.observe(self.tallies)

    def step(self) -> None:
        self.fields()
        self.move()
        self.observe()


class Load:
    """What the processors did for others since the object was made."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> np.ndarray:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle, stolen = numbers[3] + numbers[4], numbers[7]
        own = os.times()
        busy = (sum(numbers) - idle - stolen) / os.sysconf("SC_CLK_TCK")
        return np.array([busy - own.user - own.system, stolen / os.sysconf("SC_CLK_TCK"), time.perf_counter()])

    def _shares(self) -> tuple[float, float]:
        """Return the shares of all processors' time that other processes, and other machines on this one, had."""
        others, stolen, seconds = self._now() - self._start
        total = seconds * (os.cpu_count() or 1)
        return max(0.0, others / total), stolen / total

    def columns(self) -> str:
        """Return them as columns of a table."""
        others, stolen = self._shares()
        return f"{others:>7.0%} {stolen:>7.0%}"

    def words(self) -> str:
        """Return them in words."""
        others, stolen = self._shares()
        return f"others {others:.0%}, stolen {stolen:.0%}"


def best(calls: dict[str, Callable[[], None]], *, seconds: float) -> dict[str, float]:
    """Call all in turns for about ``seconds`` (three times at least); return the least time of each."""
    least = dict.fromkeys(calls, np.inf)
    start, rounds = time.perf_counter(), 0
    while rounds < 3 or (time.perf_counter() - start < seconds and rounds < 200):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            least[name] = min(least[name], time.perf_counter() - begin)
        rounds += 1
    return least


def finufft_pair(x: np.ndarray, threads: int) -> Callable[[], None]:
    import finufft

    half = 1.01 * np.abs(x).max() + 8.0
    a, b = (np.ascontiguousarray(x[:, axis] * (np.pi / half)) for axis in range(2))
    strengths = np.ones(len(x), dtype=complex)

    def pair() -> None:
        modes = finufft.nufft2d1(a, b, strengths, (192, 192), eps=1e-6, nthreads=threads)
        finufft.nufft2d2(a, b, modes, eps=1e-6, nthreads=threads)

    return pair


class Transforms:
    """One type 1 and a type 2 for the field in space, or for each component of its gradient, by finufft's plans."""

    def __init__(self, x: np.ndarray, field: kspde.models.Field, tol: float, threads: int) -> None:
        import finufft

        self.scale = 1.01 * float(np.ptp(x, axis=0).max()) + image_distance(field.kernel, 3, tol)
        k_max = band(field.kernel, 3, gradient=field.gradient, share=tol)
        self.modes = 2 * math.ceil(k_max * self.scale / (2 * np.pi)) + 1
        self.phases = [np.ascontiguousarray(x[:, a] * (2 * np.pi / self.scale)) for a in range(3)]
        self.strengths = np.full(len(x), 1 / len(x), dtype=complex)
        shape, count = (self.modes,) * 3, 3 if field.gradient else 1
        k = 2 * np.pi / self.scale * np.arange(-(self.modes // 2), self.modes // 2 + 1)
        each = np.meshgrid(k, k, k, indexing="ij", sparse=True)
        factor = field.kernel.symbol(sum(one**2 for one in each)) / self.scale**3
        self.factors = np.stack([1j * one * factor for one in each] if field.gradient else [factor])
        self.there = finufft.Plan(1, shape, isign=-1, eps=tol, nthreads=threads)
        self.back = finufft.Plan(2, shape, n_trans=count, isign=1, eps=tol, nthreads=threads)

    def __call__(self, some: np.ndarray | slice = slice(None)) -> np.ndarray:
        self.there.setpts(*self.phases)
        modes = self.there.execute(self.strengths)
        self.back.setpts(*(phase[some] for phase in self.phases))
        return np.asarray(self.back.execute(np.squeeze(self.factors * modes))).real


def finufft_pair_in_space(x: np.ndarray, threads: int) -> Callable[[], None]:
    import finufft

    half = 1.01 * np.abs(x).max() + 8.0
    phases = [np.ascontiguousarray(x[:, axis] * (np.pi / half)) for axis in range(3)]
    strengths = np.ones(len(x), dtype=complex)

    def pair() -> None:
        modes = finufft.nufft3d1(*phases, strengths, (96, 96, 96), eps=1e-6, nthreads=threads)
        finufft.nufft3d2(*phases, modes, eps=1e-6, nthreads=threads)

    return pair


def space(n_some: int = 300) -> list[str]:
    """Time steps in space, by values of the field and by its gradient, in turns with finufft at no larger an error."""
    threads, load = use_threads(world()), Load()
    lines = [f"in space, {threads} threads: the model above in three dimensions, and {FORCES}"]
    calls: dict[str, Callable[[], Any]] = {}
    for kind, model in (("values", MODEL), ("forces", FORCES)):
        for n in (10**5, 10**6):
            steps = Steps(n, model=model, u0=IN_SPACE)
            steps.step()
            calls[f"{kind}, step of {n:.0e}"] = steps.step
        mesh, x = steps.evaluator, steps.x
        steps.fields()
        (field,) = mesh.active
        own = steps.system.at("u", x)
        found = own.gradient(field.name) if field.gradient else own[field.name][:, None]
        some = np.random.default_rng(0).choice(n, n_some, replace=False)
        direct = DirectSum((field,), dimension=3, weights={"u": 1 / n}, tol=1e-10, include_self=True, comm=steps.comm)
        direct.update({"u": x}, Extent(x.min(axis=0), x.max(axis=0)))
        values, slopes = np.empty(n_some), np.empty((n_some, 3)) if field.gradient else None
        direct._evaluate(field, x[some], values, slopes)
        right = values[:, None] if slopes is None else slopes

        def error(got: np.ndarray) -> float:
            largest = np.linalg.norm(right, axis=1).max()  # noqa: B023
            return float(np.linalg.norm(got - right, axis=1).max() / largest)  # noqa: B023

        ours = error(found[some])
        lines.append(f"{kind}: error {ours:.1e} (field_tol = {TOL:g}), grid {mesh.summary()['modes']}")
        for tol in 10.0 ** -np.arange(5.0, 9.25, 0.25):
            other = Transforms(x, field, float(tol), threads)
            theirs = error(np.atleast_2d(other(some)).T)
            if theirs <= ours:
                break
        name = f"{kind}, finufft 1 + {len(other.factors)}, {other.modes}³ modes, {tol:.1e}"
        lines.append(f"{name}: error {theirs:.1e}")
        calls[name] = other
    calls["finufft 1 + 1, 96³ modes, 1e-6"] = finufft_pair_in_space(x, threads)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    with limited_threads(world(), useful=1):  # as in a simulation
        for _ in range(3):
            for name, call in calls.items():
                begin, used = time.perf_counter(), time.process_time()
                call()
                seconds = time.perf_counter() - begin
                times[name].append((seconds, (time.process_time() - used) / threads))
    lines.append(f"{'least of 3 in turns':<50} {'clock s':>9} {'processor s / threads':>22}")
    for name, each in times.items():
        clock, used = np.min(each, axis=0)
        lines.append(f"{name:<50} {clock:>9.4f} {used:>22.4f}")
    return [*lines, load.words()]


def table(most: float) -> list[str]:
    threads = use_threads(world())
    parts = ("fields", "transform", "move", "observe")
    lines = [
        f"{'N':>10} {'step s':>9} "
        + " ".join(f"{name:>9}" for name in parts)
        + f" {'GB':>6} {'others':>7} {'stolen':>7}"
    ]
    sizes = [n for n in (10**5, 10**6, 10**7) if n <= most]
    all_steps = {}
    for n in sizes:
        all_steps[n] = steps = Steps(n)
        calls = {name: getattr(steps, name) for name in ("step", *parts)}
        pair = n == 10**6
        if pair:
            calls["finufft"] = finufft_pair(steps.x, threads)
        steps.step()
        load = Load()
        least = best(calls, seconds=5.0)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        each = " ".join(f"{least[name]:>9.4f}" for name in parts)
        lines.append(f"{n:>10} {least['step']:>9.4f} {each} {memory:>6.2f} {load.columns()}")
        if pair:
            against = f"finufft type 1 + type 2, 192² modes, 1e-6, {threads} threads: {least['finufft']:.4f} s"
            against += f"; a step takes {least['step'] / least['finufft']:.2f} of it"
    lines.append(
        "transform: a part of fields; GB: with the smaller N's; others, stolen: shares of the cores' time that"
    )
    lines.append("other processes had, and that the host machine gave to other virtual ones, meanwhile")
    lines += bursts(all_steps, threads, seconds=30.0)
    lines += [against] if most >= 1e6 else []
    n = 20_000
    mesh, direct = Steps(n), Steps(n, DirectSum)
    for each in (mesh, direct):
        each.fields()
        each.evaluate()
    error = np.abs(mesh.c["v"] - direct.c["v"]).max() / direct.c["v"].max()
    least = best({"mesh": lambda: (mesh.fields(), mesh.evaluate()), "direct": lambda: direct.evaluate()}, seconds=3.0)
    lines.append(
        f"direct sum, N = {n}: {least['direct']:.3f} s, mesh {least['mesh']:.4f} s, largest difference {error:.1e} of "
        f"the field"
    )
    return lines


def bursts(all_steps: dict[int, Steps], threads: int, *, seconds: float) -> list[str]:
    """Take bursts of steps of each N in turns for about ``seconds``; say what a particle took, and how N matters."""
    work = max(all_steps)
    clock: dict[int, list[float]] = {n: [] for n in all_steps}
    processor: dict[int, list[float]] = {n: [] for n in all_steps}
    load, start = Load(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        for n, steps in all_steps.items():
            begin, used = time.perf_counter(), time.process_time()
            for _ in range(work // n):
                steps.step()
            clock[n].append(1e9 * (time.perf_counter() - begin) / work)
            processor[n].append(1e9 * (time.process_time() - used) / work / threads)
    rounds = len(clock[work])
    lines = [f"bursts of {work:.0e} particles' steps, {rounds} of each N in turns; ns/particle; {load.words()}"]
    lines.append(f"{'':>30} " + " ".join(f"{n:>9}" for n in all_steps) + "   largest over least")
    for name, times in (("clock", clock), ("processor time / threads", processor)):
        for kind, of in (("least", np.min), ("median", np.median)):
            values = [float(of(times[n])) for n in all_steps]
            each = " ".join(f"{value:>9.1f}" for value in values)
            lines.append(f"{f'{name}, {kind}':>30} {each}   {max(values) / min(values):.2f}")
    return lines


def scaling(n: int) -> list[str]:
    """Run the steps on 1 and on 2 ranks, and two half as large by themselves at the same time; one thread each.

    The last is what the machine leaves of two cores when nothing is shared but its memory.
    """
    alone = [sys.executable, "-m", "tests.benchmarks.particles", "--rank-of"]
    kinds = {
        "one": [["mpirun", "-n", "1", *alone, str(n)]],
        "two": [["mpirun", "-n", "2", *alone, str(n)]],
        "apart": [[*alone, str(n // 2)]] * 2,
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(3):
        for kind, commands in kinds.items():
            running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True, env=environment) for c in commands]
            said = [each.communicate()[0] for each in running]
            times[kind].append(max(float(text.split()[-1]) for text in said))
    one, two, apart = (float(np.median(times[kind])) for kind in kinds)
    each = ", ".join(f"{a / b / 2:.0%}" for a, b in zip(times["one"], times["two"], strict=True))
    return [
        f"N = {n}, one thread a rank, medians of 3 runs: 1 rank {one:.4f} s, 2 ranks {two:.4f} s, efficiency "
        f"{one / two / 2:.0%} ({each})",
        f"two runs of {n // 2} particles by themselves at the same time: {apart:.4f} s, so that the machine allows "
        f"{one / apart / 2:.0%}",
    ]


def machine() -> list[str]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("kspde", "numpy", "numba", "scipy", "finufft")
    )
    load = os.getloadavg()[0]  # of others: then chrt --fifo 1 helps the table, not mpirun
    return [
        f"{time.strftime('%Y-%m-%d %H:%M')}, {model}, {len(os.sched_getaffinity(0))} cores, load before {load:.1f}"
        + (", at real-time priority" if os.sched_getscheduler(0) == os.SCHED_FIFO else ""),
        f"Python {platform.python_version()}, {versions}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=float, default=1e7, help="largest number of particles")
    parser.add_argument("--output", type=Path, default=Path("particles.txt"), help="file for the table")
    parser.add_argument("--space", action="store_true", help="add the table in three dimensions")
    parser.add_argument("--rank-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of:
        steps = Steps(arguments.rank_of)
        steps.step()
        least = np.inf
        for _ in range(20):
            steps.comm.barrier()
            begin = time.perf_counter()
            steps.step()
            steps.comm.barrier()
            least = min(least, time.perf_counter() - begin)
        if steps.comm.rank == 0:
            print(least)
        return
    lines: list[str] = []
    parts: list[Callable[[], list[str]]] = [
        machine,
        lambda: table(arguments.most),
        lambda: scaling(min(10**6, int(arguments.most))),
    ]
    if arguments.space:
        lines, parts = arguments.output.read_text().splitlines() if arguments.output.exists() else [], [machine, space]
    for part in parts:
        new = part()
        print("\n".join(new), flush=True)
        lines += new
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
