"""What a step sends and what a rank holds, on 2, 4 and 8 ranks beside formulas, and what these predict for more.

Run: ``python tests/benchmarks/size.py [--keep FILE] [--latency 2e-6] [--bandwidth 1e10]``, which writes
results/size.md; ten minutes, and a C compiler is needed. With ``--keep`` measurements are kept in a file of JSON lines,
and only those are made that it lacks, ``--only`` so many.

Calls of MPI are counted by a library that is loaded before it (mpi_counts.c): those of kspde, PETSc and DOLFINx alike.
Counts and bytes are those of an ordinary step, the mean of ranks. Eight ranks on two cores say nothing of time: seconds
are processor time on one rank.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve()
RESULT = HERE.parent / "results" / "size.md"
BIN = Path(sys.executable).parent

#: The degree of polynomials of the far field of a box, plus 1 (``kspde.fem.spaces.whole_space.DEGREE``); of elements.
FAR, DEGREE = {2: 64, 3: 41}, 4
#: Colours of a V-cycle; numbers that a reduction of the observer of collapse has; solutions that are recycled.
COLOURS, COLLAPSE, RECYCLED = 4, 130, 8
#: The spacing of a grid for particles in units of eps, at the usual tolerance and a Gaussian mollifier in the plane.
PER_EPS = 0.34

#: Runs whose calls are counted: what stays the same, and the case by the number of ranks.
COUNTED: list[tuple[str, Callable[[int], dict[str, Any]]]] = [
    ("per rank", lambda p: {"kind": "plane", "cells": [12 * p, 24]}),
    ("in all", lambda p: {"kind": "plane", "cells": [64, 64]}),
    ("in all", lambda p: {"kind": "plane", "cells": [100, 100]}),
    ("per rank", lambda p: {"kind": "space", "cells": [2 * p, 6, 6]}),
    ("in all", lambda p: {"kind": "space", "cells": [6, 6, 6]}),
    ("per rank", lambda p: {"kind": "mesh", "size": 0.3 / math.sqrt(p), "refine": 2}),
    ("in all", lambda p: {"kind": "mesh", "size": 0.15, "refine": 3}),
    ("in all", lambda p: {"kind": "waves", "size": 0.15, "refine": 3}),
    ("per rank", lambda p: {"kind": "particles", "n": 20_000 * p}),
    ("in all", lambda p: {"kind": "particles", "n": 40_000}),
    ("per rank", lambda p: {"kind": "near", "n": 5_000 * p}),
    ("in all", lambda p: {"kind": "near", "n": 20_000}),
]
#: Runs whose memory is measured.
HELD: list[dict[str, Any]] = [
    {"kind": "plane", "cells": [110, 110]},
    {"kind": "space", "cells": [11, 11, 11]},
    {"kind": "mesh", "size": 0.08, "refine": 3},
    {"kind": "particles", "n": 1_000_000},
    {"kind": "near", "n": 100_000},
]
TITLES = {
    "plane": "box in the plane, (1.1)",
    "space": "box in space, Keller–Segel",
    "mesh": "disk, multigrid, closed",
    "waves": "disk, multigrid, whole plane",
    "particles": "particles, grid, eps = 0.3",
    "near": "particles, near and far, eps = 0.01",
}


class Entry(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_char * 24), ("bytes", ctypes.c_longlong), ("count", ctypes.c_longlong))


def counts() -> dict[str, list[int]]:
    """Return how many calls of each kind this rank has made, and the bytes that it gave."""
    library, n, out = ctypes.CDLL(None), ctypes.c_int(), {}
    library.mpi_counts.restype = ctypes.POINTER(Entry)
    entries = library.mpi_counts(ctypes.byref(n))
    for entry in entries[: n.value]:
        total = out.setdefault(entry.kind.decode(), [0, 0])
        total[0] += entry.count
        total[1] += entry.count * entry.bytes
    return out


def resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def run(case: dict[str, Any], progress: Callable[[float], None] | None = None, *, few: bool = False) -> Any:
    """Run a case."""
    import kspde

    class InSpace(kspde.KellerSegel):
        dimension = 3

    kind = case["kind"]
    d = 3 if kind == "space" else 2
    model = InSpace(chi=5.0, mu=1.0) if d == 3 else kspde.SignalDependentKellerSegel(chi=5.0)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0] * d], stds=[1.0])
    if "n" in case:
        eps = 0.3 if kind == "particles" else 0.01
        return kspde.simulate(model, u0, n=case["n"], eps=eps, t_end=0.04, dt=0.01, progress=progress)
    if "cells" in case:
        box = kspde.Box(half_width=8.0, cells=tuple(case["cells"]), degree=DEGREE, dimension=d)
        ends = {"t_end": 0.01, "tol": 1e-4} if few else {"t_end": 0.3, "tol": 1e-6 if d == 2 else 1e-5}
        return kspde.solve(model, u0, box, progress=progress, **ends)
    sizes = {"size": case["size"], "refine": case["refine"]}
    boundary = "neumann" if kind == "mesh" else "decay"
    disk = kspde.Disk(radius=8.0, boundary=boundary, solver="multigrid", **sizes)
    dt = {"t_end": 0.02 if few else 0.12, "dt": 0.01}
    return kspde.solve(model, u0, disk, scheme="positive", progress=progress, **dt)


def followed(case: dict[str, Any], comm: Any) -> dict[str, Any]:
    """Run a case; return its size, and for ordinary steps the calls of MPI, the mean of ranks, and what was done."""
    from kspde.fem import semidiscretisation
    from kspde.fem.solvers.nested import cycle
    from kspde.fem.spaces import free_space
    from kspde.particles.fields import near_far, particle_mesh

    done = {"rates": 0, "iterations": 0, "grid": 0, "waves": 0}
    hierarchies: list[Any] = []

    def counted(owner: Any, name: str, key: str) -> None:
        plain = getattr(owner, name)

        def wrapped(*args: Any, **named: Any) -> Any:
            done[key] += 1
            return plain(*args, **named)

        setattr(owner, name, wrapped)

    counted(semidiscretisation.Semidiscretisation, "rate", "rates")
    counted(cycle.Cycle, "apply", "iterations")
    made = cycle.NestedMeshes.__init__

    def kept(self: Any, *args: Any) -> None:
        made(self, *args)
        hierarchies.append(self)

    cycle.NestedMeshes.__init__ = kept
    forward = free_space.NodalWaves.forward

    def seen_forward(self: Any, nodal: Any) -> Any:
        modes = forward(self, nodal)
        done["waves"] = modes.size
        return modes

    free_space.NodalWaves.forward = seen_forward
    for module in (near_far, particle_mesh):
        deposit = module.deposit

        def seen_deposit(grids: Any, *args: Any, plain: Any = deposit) -> Any:
            if args[4] is not None:
                done["grid"] = grids[0].size
            return plain(grids, *args)

        module.deposit = seen_deposit
    seen: list[tuple[dict[str, list[int]], dict[str, int]]] = []
    result = run(case, lambda _: seen.append((counts(), dict(done))))
    # Neither the first steps, which build things, nor the last; those of implicit schemes that recycle all they may.
    first = RECYCLED + 1 if "size" in case else 1
    steps = []
    for (before, did), (after, does) in list(pairwise(seen))[first:-1]:
        here = {
            kind: [a - b for a, b in zip(now, before.get(kind, (0, 0)), strict=True)] for kind, now in after.items()
        }
        everyone = comm.allgather(here)
        kinds = {kind for each in everyone for kind in each if each[kind][0]}
        mean = {
            kind: [sum(each.get(kind, [0, 0])[i] for each in everyone) / comm.size for i in (0, 1)] for kind in kinds
        }
        steps.append(
            {"calls": mean, **{key: does[key] - (did[key] if key in ("rates", "iterations") else 0) for key in does}}
        )
    facts: dict[str, Any] = {"nodes": result.summary().get("nodes"), "steps": steps}
    if hierarchies:
        facts["levels"] = [reached(level, comm) for level in hierarchies[0].levels]
    return facts


def reached(level: Any, comm: Any) -> dict[str, Any]:
    """Return a mesh's nodes, and for each exchange of values at ghosts the messages and values of all ranks."""
    import numpy as np

    ghosts = level.ghosts
    colours = np.full(ghosts.count, -1)
    for colour, part in enumerate(level.parts):
        if comm.size > 1:
            leaves = part._forest.getGraph()[1]
            colours[leaves] = colour
    owners = ghosts._owners[:, 0] if comm.size > 1 else np.zeros(0)

    def sums(some: Any) -> list[int]:
        return [int(x) for x in comm.allreduce(np.array([len(np.unique(owners[some])), int(some.sum())]))]

    parts = [sums(colours == c) for c in range(COLOURS)]
    return {"nodes": int(comm.allreduce(level.nodes)), "all": sums(colours >= -1), "colours": parts}


def child(case: dict[str, Any]) -> None:
    """Measure a case on the ranks of this process; print it on rank 0."""
    from kspde.fem import backend

    backend.require()
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    warnings.simplefilter("ignore")
    if not case.pop("held", False):
        out = followed(case, comm)
    else:
        small = {**case, **({"n": 2000} if "n" in case else {"size": 0.5} if "size" in case else {})}
        if "cells" in case:
            small["cells"] = [6 for _ in case["cells"]]
        run(small, few=True)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        comm.Barrier()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", "ascii")
        ticks: list[float] = []
        result = run(case, lambda _: ticks.append(time.process_time()), few=True)
        peaks = comm.gather(resident("VmHWM") - before)
        out = {"nodes": result.summary().get("nodes"), "peaks": peaks, "grid": result.summary().get("modes")}
        out["seconds"] = statistics.median(b - a for a, b in pairwise(ticks)) if len(ticks) > 1 else math.nan
    if comm.rank == 0:
        sys.stdout.write("RESULT " + json.dumps(out) + "\n")


def measured(case: dict[str, Any], ranks: int, library: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE), "--case", json.dumps(case)]
    if ranks > 1:
        command = [str(BIN / "mpirun"), "-n", str(ranks), "-genv", "LD_PRELOAD", str(library), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": "" if ranks > 1 else str(library)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{case} on {ranks} ranks:\n{done.stderr[-3000:]}")
    return dict(json.loads(lines[0][7:]))


#: Calls by kind: how many, and the bytes that a rank gives.
Calls = dict[str, tuple[float, float]]


def of_box(d: int, n: float, rows: tuple[int, ...], p: int, rates: int, *, drift: bool) -> Calls:
    """Return a step of the exponential integrator on a box: a rate of change is transformed once and again.

    There and back are the state, the field without its gradient, and diffusion; the first direction of a gradient, and
    of its divergence, needs rows of nodes whole, and so does each other direction of the divergence.
    """
    transposes = rates * (3 + (2 + d if drift else 0)) + 1
    far = 8 * (2 * d * FAR[d] ** (d - 1) + 3)
    small = 4 * rates + 4, rates * (24 + 8 + 8 + far) + 8 + 16 + 16 + 40
    if d == 2 and min(rows) >= 400:  # modes that are left out are chosen by their energies
        chosen = 3 * rates + 1
        small = small[0] + chosen, small[1] + chosen * 8 * (1 + sum(rows))
    return {"alltoall": (transposes, transposes * 8 * n / p * (1 - 1 / p)), "allreduce": small}


def of_mesh(levels: list[dict[str, Any]], p: int, iterations: int, *, waves: int) -> Calls:
    """Return a step of the positive scheme: a system for w by conjugate gradients, and one for the signal, or waves."""
    *fine, last = levels
    cycle, halves = [p * (p - 1), 8 * last["nodes"] * (p - 1)], [0, 0]  # the coarsest mesh's values go to all
    for level in fine:  # both ways, colour by colour, and once more on the way up
        for messages, values in [*level["colours"] * 2, level["all"]]:
            cycle = [cycle[0] + messages, cycle[1] + 4 * values]
    for level in levels[1:]:  # down, and at every step for the diagonal
        cycle = [cycle[0] + level["all"][0], cycle[1] + 4 * level["all"][1]]
        halves = [halves[0] + level["all"][0], halves[1] + 8 * level["all"][1]]
    cycle = [cycle[0] + last["all"][0], cycle[1] + 4 * last["all"][1]]
    products = iterations + (4 if waves else 5)
    sent = [
        (iterations * c + products * each * one + h) / p
        for c, each, one, h in zip(cycle, levels[0]["all"], (1, 8), halves, strict=True)
    ]
    recycled = 8 * RECYCLED * (RECYCLED + 1)
    if not waves:
        small = 4 * iterations + 22, 28 * iterations + 232 + 2 * recycled
        return {"message": (sent[0], sent[1]), "allreduce": small}
    small = 4 * iterations + 19, 28 * iterations + 224 + recycled + 16 * waves
    return {"message": (sent[0], sent[1]), "allreduce": small, "bcast": (2, 29)}


def of_particles(n: float, grid: float, p: int, *, near: bool) -> Calls:
    """Return a step of Euler's scheme: a grid is summed over all ranks; near and far parts gather the particles."""
    out: Calls = {"allreduce": (6 + near, 8 * grid + 8 * COLLAPSE + 24 + 32 + 40 + 8 * (1 + near))}
    if near:
        out["allgather"] = 2, 8 + 16 * n / p
    return out


def formula(case: dict[str, Any], found: dict[str, Any], step: dict[str, Any], p: int) -> Calls:
    kind = case["kind"]
    if "cells" in case:
        rows = tuple(DEGREE * c + 1 for c in case["cells"])
        return of_box(len(rows), found["nodes"], rows, p, step["rates"], drift=kind == "space")
    if "size" in case:
        return of_mesh(found["levels"], p, step["iterations"], waves=step["waves"] if kind == "waves" else 0)
    return of_particles(case["n"], step["grid"], p, near=kind == "near")


def amount(x: float) -> str:
    """Return bytes in words."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x:.0f} B"


def counted_rows(measurements: dict[tuple[str, int], dict[str, Any]]) -> tuple[list[str], bool]:
    """Return the table of calls, and whether all of them are what the formulas say."""
    lines = [
        "| run | the same | ranks | size | calls | bytes that a rank gives | by the formulas | |",
        "|" + " --- |" * 8,
    ]
    well = True
    done: set[tuple[str, int]] = set()
    for same, case_of in COUNTED:
        for p in (2, 4, 8):
            case = case_of(p)
            if (json.dumps(case), p) in done:
                continue
            done.add((json.dumps(case), p))
            found = measurements[json.dumps(case), p]
            step = found["steps"][-1]
            expected = formula(case, found, step, p)
            size = f"{case['n']:,} particles" if "n" in case else f"{found['nodes']:,} nodes"
            fewer = "cells" in case and len(case["cells"]) == 2 and min(case["cells"]) >= 100
            kinds = sorted(expected.keys() | step["calls"].keys())
            each = [(kind, *step["calls"].get(kind, (0, 0)), *expected.get(kind, (0, 0))) for kind in kinds]
            exact = all(abs(calls - n) < 1e-6 and abs(sent - most) <= 0.03 * most for _, calls, sent, n, most in each)
            bound = fewer and all(n <= calls <= 1.1 * n and sent <= 1.1 * most for _, calls, sent, n, most in each)
            well &= exact or bound
            verdict = "the same" if exact else "within them: modes are left out" if bound else "NOT the same"
            columns = [
                ", ".join(f"{calls:g} {kind}" for kind, calls, *_ in each),
                ", ".join(amount(sent) for _, _, sent, *_ in each),
                ", ".join(f"{n:g}: {amount(most)}" for *_, n, most in each),
            ]
            lines.append(f"| {TITLES[case['kind']]} | {same} | {p} | {size} | {' | '.join(columns)} | {verdict} |")
    return lines, well


def held_rows(measurements: dict[tuple[str, int], dict[str, Any]]) -> tuple[list[str], dict[str, Any], bool]:
    """Return the table of memory; by kind what does not shrink, and what is shared, by the runs on 1 and 2 ranks."""
    lines = ["| run | size | 1 rank | 2 | 4 | 8 | on every rank | shared | predicted for 4 | for 8 | rank 0 of 8 |"]
    lines += ["|" + " --- |" * 11]
    fits: dict[str, Any] = {}
    well = True
    for held in HELD:
        case = {**held, "held": True}
        found = {p: measurements[json.dumps(case), p] for p in (1, 2, 4, 8)}
        peaks = {p: statistics.median(each["peaks"][min(p - 1, 1) :]) for p, each in found.items()}
        every = max(0.0, 2 * peaks[2] - peaks[1])
        shared = peaks[1] - every
        guess = {p: every + shared / p for p in (4, 8)}
        well &= all(abs(guess[p] - peaks[p]) < 0.35 * peaks[p] for p in guess)
        n = held.get("n") or found[1]["nodes"]
        one = found[8]["peaks"][0]
        fits[held["kind"]] = {"n": n, "every": every, "shared": shared, "first": one - peaks[8], **found[1]}
        size = f"{n:,} particles" if "n" in held else f"{n:,} nodes"
        columns = [*peaks.values(), every, shared, guess[4], guess[8], one]
        lines.append(f"| {TITLES[held['kind']]} | {size} | " + " | ".join(map(amount, columns)) + " |")
    return lines, fits, well


def seconds_of(calls: Calls, p: int, latency: float, bandwidth: float) -> float:
    """Return the time of calls: latencies of trees, of as many messages as an exchange of all has, and bytes."""
    depth, total = math.ceil(math.log2(p)), 0.0
    for kind, (count, sent) in calls.items():
        latencies = {"allreduce": 2 * depth, "allgather": depth, "bcast": depth, "alltoall": p - 1}.get(kind, 1)
        moved = {"allreduce": 2 * sent, "allgather": (p - 1) * sent}.get(kind, sent)
        total += count * latencies * latency + moved / bandwidth
    return total


def speed() -> tuple[float, float]:
    """Return this processor's operations a second in a product of matrices, and seconds of an eigenproblem over n^3."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((1000, 1000))
    begin = time.process_time()
    for _ in range(5):
        a @ a
    product = (time.process_time() - begin) / 5
    begin = time.process_time()
    np.linalg.eigh(a + a.T)
    return 2e9 / product, (time.process_time() - begin) / 1e9


def bytes_of_modes() -> float:
    """Return the peak of what making the modes of a box in the plane takes, over the square of a direction's nodes."""
    import numpy as np

    from kspde.fem.spaces.slabs import Slabs
    from kspde.fem.spaces.tensor import Axis, TensorLaplacian

    def made(cells: int) -> int:
        axis = Axis(np.linspace(-8.0, 8.0, cells + 1), DEGREE)
        n = len(axis)
        one_of_many = SimpleNamespace(size=n, rank=n // 2)
        TensorLaplacian([axis, axis], Slabs(one_of_many, (n, n), range(n + 1)))
        return n

    made(80)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    n = made(500)
    return (resident("VmHWM") - before) / n**2


def mesh_of(found: dict[str, Any], nodes: float, p: int) -> list[dict[str, Any]]:
    """Return the levels of a mesh refined from a few thousand nodes: 6 neighbours a rank, values as on 8 ranks."""
    finest = found["levels"][0]
    per_side = finest["all"][1] / 8 / math.sqrt(finest["nodes"] / 8)
    shares = [values / finest["all"][1] for _, values in finest["colours"]]
    levels = []
    while True:
        beside = p * per_side * math.sqrt(nodes / p)
        colours = [[6 * p, share * beside] for share in shares]
        levels.append({"nodes": nodes, "all": [6 * p, beside], "colours": colours})
        if nodes < 4000:
            return levels
        nodes /= 4


def predictions(measurements: dict[Any, Any], fits: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Return the tables of what 1e9 nodes and 1e10 particles take."""
    from kspde.fem import backend

    backend.require()
    from petsc4py import PETSc

    from kspde.particles.fields.convolution import FastConvolution

    modes = bytes_of_modes()
    p, flops, eigen = options.ranks, *speed()
    mesh = next(m for (case, ranks), m in measurements.items() if ranks == 8 and '"mesh", "size": 0.15' in case)
    disk = next(m for (case, ranks), m in measurements.items() if ranks == 8 and '"waves"' in case)
    cloud = next(m for (case, ranks), m in measurements.items() if ranks == 8 and '"particles", "n": 40000' in case)
    side = math.sqrt(cloud["steps"][-1]["grid"]) * PER_EPS * 0.3
    rows: list[list[str]] = []

    def add(what: str, each: float, first: float, calls: Calls, work: float, verdict: str) -> None:
        sent = sum(b for _, b in calls.values())
        words = ", ".join(f"{count:.0f} {kind}" for kind, (count, _) in calls.items())
        wait = seconds_of(calls, p, options.latency, options.bandwidth)
        rows.append([what, amount(each), amount(first), words, amount(sent), f"{wait:.2g} s", f"{work:.2g} s", verdict])

    def fitting(needed: float) -> str:
        return "fits" if needed <= options.memory else "does not fit"

    for kind, d, n1, drift in (("space", 3, 1001, True), ("plane", 2, 31625, False)):
        n, fit = float(n1) ** d, fits[kind]
        transforms = 6 * (3 + (d if drift else 0)) + 1
        before = fit["n"] ** (1 / d) * transforms * d * (2 if d == 3 else 1) / flops
        plain = max(0.0, fit["seconds"] / fit["n"] - before)
        dense = transforms * d * n1 * (2 if d == 3 else 1) / flops
        # Matrices of a direction grow like its nodes squared; what else is on every rank, mostly tables of the far
        # field, at most like its nodes.
        held, square = fit["n"] ** (1 / d), 12 if d == 2 else 24
        tables = max(0.0, fit["every"] - square * held**2) * n1 / held
        each = fit["shared"] / fit["n"] * n / p + tables + square * n1**2
        work = n / p * (plain + dense)
        verdict = f"{fitting(each)}; set-up {eigen * n1**3 * (0.25 if d == 2 else 1):.2g} s"
        if d == 2:
            verdict += f" and {amount(modes * n1**2)} on every rank, for modes"
        calls = of_box(d, n, (n1,) * d, p, 6, drift=drift)
        add(f"{TITLES[kind]}, {n1} nodes in each direction", each, each, calls, work, verdict)
    fit, n = fits["mesh"], 1e9
    each, first = fit["shared"] / fit["n"] * n / p, fit["first"] / fit["n"] * n
    iterations = mesh["steps"][-1]["iterations"]
    calls = of_mesh(mesh_of(mesh, n, p), p, iterations, waves=0)
    verdict = "fits" if first <= options.first else f"rank 0 makes the mesh, and would need {amount(first)}"
    add(f"{TITLES['mesh']}, 1e9 nodes", each, each + first, calls, fit["seconds"] / fit["n"] * n / p, verdict)
    share = disk["steps"][-1]["waves"] / disk["nodes"]
    waves = 16 * share * n
    add(
        f"{TITLES['waves']}, 1e9 nodes, if modes grow like nodes",
        each + 4 * waves,
        each + 4 * waves + first,
        of_mesh(mesh_of(mesh, n, p), p, disk["steps"][-1]["iterations"], waves=int(share * n)),
        math.nan,
        f"does not fit: every rank holds all modes of the field, {share:.2g} for each node",
    )
    fit = fits["particles"]
    for eps in (0.1, 0.01):
        m = math.ceil(side / (PER_EPS * eps))
        grid = FastConvolution.bytes_needed((2 * m, 2 * m), (m, m), 1, m + 1) + 8.0 * m * m
        each = fit["shared"] / fit["n"] * 1e10 / p + grid
        transforms = 5e-8 * 4 * m * m
        work = fit["seconds"] / fit["n"] * 1e10 / p + transforms
        what = f"particles, eps = {eps}, a cloud {side:.0f} wide, grid of {m} x {m}, 1e10 particles"
        add(what, each, each, of_particles(1e10, m * m, p, near=False), work, fitting(each))
    fit = fits["near"]
    each = fit["every"] / fit["n"] * 1e10
    calls = of_particles(1e10, 16 * 1e10, p, near=True)
    add("particles, near and far, 1e10 particles", each, each, calls, math.nan, "does not fit: every rank holds all")
    head = ["run", "memory of a rank", "of rank 0", "calls a step", "bytes given by a rank", "waiting", "work", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row).replace("nan s", "–") + " |" for row in rows]
    per = {kind: fits[kind]["every"] / fits[kind]["n"] for kind in fits}
    most = [
        f"- a box in space: {'int32' if PETSc.IntType().itemsize == 4 else 'int64'} numbers of nodes, below 2^31 = "
        f"{2**31:.3g}; ranks share rows of nodes, so there may be as many as nodes in a direction",
        f"- a box in the plane: {(options.memory / modes) ** 0.5:,.0f} nodes in each direction, "
        f"{options.memory / modes:.2g} in all, as every rank makes all modes of a direction",
        f"- a disk or a mesh from a file: {options.first / (fits['mesh']['first'] / fits['mesh']['n']):.2g} nodes, "
        f"with {amount(options.first)} for rank 0, which makes and refines it alone "
        f"({fits['mesh']['first'] / fits['mesh']['n']:.0f} B a node)",
        f"- no mollifier, or one too narrow for a grid: {options.memory / per['near']:.2g} particles, "
        f"as every rank holds all of them ({per['near']:.0f} B a particle, its share of the grid included)",
        f"- a file of 1e10 particles in the plane, or a checkpoint: {amount(1.6e11)} through rank 0, "
        f"{1.6e11 / options.disk:.0f} s at {amount(options.disk)} a second; of 1e9 nodes {amount(8e9)}, "
        f"{8e9 / options.disk:.0f} s",
    ]
    about = (
        f"Latency {options.latency * 1e6:g} µs, {amount(options.bandwidth)} a second, {options.ranks} ranks, "
        f"{amount(options.memory)} for each; work by this processor's {flops / 1e9:.2g} GFlop/s in products of "
        f"matrices and the time per node or particle that one rank took above. A reduction waits for 2 log2 P "
        f"messages, a gathering for log2 P, an exchange of all with all for P − 1; waiting and work do not overlap. "
        f"The mesh's steps take {iterations} iterations."
    )
    return [about, "", *lines, "", "What fits today, with the same memory:", "", *most]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description="what a step sends and what a rank holds")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", type=int, default=10**6, help="make so many measurements, then stop")
    parser.add_argument("--latency", type=float, default=2e-6, help="seconds")
    parser.add_argument("--bandwidth", type=float, default=1e10, help="bytes a second")
    parser.add_argument("--disk", type=float, default=1e9, help="bytes a second into a file")
    parser.add_argument("--ranks", type=int, default=1000)
    parser.add_argument("--memory", type=float, default=4e9, help="bytes for each rank")
    parser.add_argument(
        "--first", type=float, default=256e9, help="bytes for rank 0, where it has a machine for itself"
    )
    options = parser.parse_args()
    measurements: dict[tuple[str, int], dict[str, Any]] = {}
    if options.keep is not None and options.keep.exists():
        for line in options.keep.read_text("utf-8").splitlines():
            case, ranks, found = json.loads(line)
            measurements[case, ranks] = found
    wanted = [(json.dumps(case_of(p)), p) for _, case_of in COUNTED for p in (2, 4, 8)]
    wanted += [(json.dumps({**case, "held": True}), p) for case in HELD for p in (1, 2, 4, 8)]
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "mpi_counts.so"
        source = str(HERE.with_name("mpi_counts.c"))
        subprocess.run([str(BIN / "mpicc"), "-O1", "-shared", "-fPIC", "-o", str(library), source], check=True)
        for case, ranks in wanted:
            if (case, ranks) in measurements:
                continue
            if options.only == 0:
                return
            options.only -= 1
            measurements[case, ranks] = found = measured(json.loads(case), ranks, library)
            print(ranks, case, flush=True)
            if options.keep is not None:
                with options.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([case, ranks, found]) + "\n")
    calls, exact = counted_rows(measurements)
    memory, fits, near = held_rows(measurements)
    lines = [
        "# Size: what a step sends, what a rank holds, and what that predicts",
        "",
        f"Written by tests/benchmarks/size.py. {'All calls and bytes' if exact else 'NOT all calls and bytes'} are "
        f"what the formulas say; memory on 4 and 8 ranks is {'within' if near else 'NOT within'} 35 % of what 1 and 2 "
        "ranks predict.",
        "",
        "## Calls a step",
        "",
        "An exchange of all with all counts once, and what a rank gives to the others; a message to a neighbour is one "
        "call; of a reduction the bytes are those of its operand.",
        "",
        *calls,
        "",
        "## Memory of a rank",
        "",
        "Growth of the resident set of a middle rank, libraries left out, three steps. What is on every rank, and what "
        "all ranks share, follow from 1 and 2 ranks. The last column is rank 0, which makes meshes.",
        "",
        *memory,
        "",
        "## 1e9 nodes and 1e10 particles",
        "",
        *predictions(measurements, fits, options),
    ]
    RESULT.write_text("\n".join(lines) + "\n", "utf-8")
    if not exact:
        raise SystemExit("some calls are not what the formulas say")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        child(json.loads(sys.argv[2]))
    else:
        main()
