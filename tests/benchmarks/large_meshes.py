"""Time and memory of the density solver on large meshes: multigrid on disks and files, fast diagonalisation on a box.

Run, on a quiet machine: ``python tests/benchmarks/large_meshes.py [--out FILE] [--nodes 1e5 3e5 1e6 1e7]``. It starts
``mpirun`` for each case, on 1 and on 2 ranks, and writes a Markdown table. Up to 1e6 nodes it takes some ten minutes;
1e7 nodes need 13 GB and seven minutes more. With ``--keep FILE`` the measurements are kept in a file of JSON lines,
and only those are made that it lacks, ``--only`` so many: cases can be measured one at a time.

The problem: Wang, Li and Huang's (1.1), χ = 8, three Gaussians, degree 1; on a disk of radius 14 meshed with triangles
four times as large at the rim as at the centre, or on ``meshes/ellipse.msh``, refined. Every step ends with the usual
diagnostics, as in any run. Memory is the largest resident set of all ranks together, from the start to the end of the
run, mesh and set-up included, less that after a very small run, which has loaded all libraries.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

STEPS = 12
DT = 0.01
ELLIPSE = Path(__file__).parents[2] / "meshes" / "ellipse.msh"


def resident() -> tuple[int, int]:
    """Return the resident set of this process now, and its largest so far, in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def measure(case: dict[str, str | int | float]) -> None:
    """Run one case on the ranks of this process; print what was measured on rank 0."""
    from mpi4py import MPI

    import kspde
    from kspde.cli.results import provenance
    from kspde.fem.backend import require

    require()
    from kspde.fem.solvers.linear import SparseSystem

    comm = MPI.COMM_WORLD
    counts: list[int] = []
    plain = SparseSystem.solve

    def counted(self, rhs, *arguments, **named):
        out = plain(self, rhs, *arguments, **named)
        counts.append(self.iterations)
        return out

    SparseSystem.solve = counted
    model = kspde.SignalDependentKellerSegel(chi=8.0)
    u0 = kspde.GaussianMixture(
        weights=(0.5, 0.3, 0.2), means=((-1.2, 0.3), (1.3, -0.2), (0.2, 1.5)), stds=(0.6, 0.5, 0.7)
    )
    nodes = float(case["nodes"])
    if case["domain"] == "box":
        degree = 1 if case["scheme"] == "positive" else 4
        domain = kspde.Box(half_width=14.0, cells=round((math.sqrt(nodes) - 1) / degree), degree=degree)
    elif case["domain"] == "file":
        u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.3])
        domain = kspde.MeshFile(path=ELLIPSE, refine=int(case["refine"]), solver="multigrid")
    else:
        refine = max(0, math.ceil(math.log(nodes / 4e3, 4)))
        size = math.sqrt(107 / nodes)
        domain = kspde.Disk(radius=14.0, size=size, rim_size=4 * size, refine=refine, solver="multigrid")
    options = {"scheme": case["scheme"]}
    if str(case["scheme"]).startswith("positive"):
        options |= {"dt": DT, "t_end": STEPS * DT}
    else:
        options |= {"tol": 1e-4, "t_end": 0.1}
    small = kspde.Disk(radius=14.0, size=0.08, rim_size=2.0, refine=1, solver="multigrid")
    general = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.5])
    kspde.solve(model, general, small, t_end=DT, scheme="positive", dt=DT)
    counts.clear()
    before = comm.allreduce(resident()[0])
    ticks: list[float] = []
    start: list[int] = []

    def progress(fraction: float) -> None:
        ticks.append(time.perf_counter())
        start.append(len(counts))

    run = kspde.solve(model, u0, domain, progress=progress, **options)
    after, peak = (comm.allreduce(value) for value in resident())
    if comm.rank:
        return
    summary = run.summary()
    n, steps = summary["nodes"], len(run.diagnostics["t"]) - 1
    gaps = sorted(b - a for a, b in pairwise(ticks))
    result = {
        "n": n,
        "ranks": comm.size,
        "steps": steps,
        "solver": summary["linear_solver"],
        "mesh": run.timings["mesh"],
        "setup": run.timings["setup"],
        "step": run.timings["loop"] / steps,
        "middle": gaps[len(gaps) // 2],
        "signal": (counts[-1:] and sum(counts[start[0] :]) / steps) or 0.0,
        "w": summary.get("linear_iterations", 0) / steps,
        "memory": (peak - before) / n,
        "after": (after - before) / n,
        "peak": peak / 1e9,
        "mass": float(abs(run.diagnostics["mass"] - 1).max()),
        "about": provenance(comm),
    }
    sys.stdout.write("RESULT " + json.dumps(result) + "\n")


def cases(sizes: list[float]) -> list[dict[str, str | int | float]]:
    """Return all cases."""
    out: list[dict[str, str | int | float]] = []
    for nodes in sizes:
        for ranks in (1, 2) if nodes <= 1e6 else (2,):
            out.append({"domain": "disk", "scheme": "positive", "nodes": nodes, "ranks": ranks})
    for scheme in ("positive-2", "adaptive"):
        out.append({"domain": "disk", "scheme": scheme, "nodes": 1e5, "ranks": 2})
        out.append({"domain": "disk", "scheme": scheme, "nodes": 1e6, "ranks": 2})
    if max(sizes) > 1e6:
        out.append({"domain": "disk", "scheme": "adaptive", "nodes": max(sizes), "ranks": 2})
    out.append({"domain": "file", "scheme": "positive", "nodes": 1e6, "refine": 5, "ranks": 2})
    for scheme in ("adaptive", "rosenbrock", "positive"):
        out += [{"domain": "box", "scheme": scheme, "nodes": 1e6, "ranks": ranks} for ranks in (1, 2)]
    return out


def table(results: list[tuple[dict, dict]]) -> str:
    """Return the Markdown page."""
    about = results[-1][1]["about"]
    lines = [
        "# Large meshes: time and memory a step",
        "",
        f"{about['date']}, {about['machine']['processor']}, {about['machine']['cores']} cores; "
        + ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
        "",
        f"A step of the positive scheme is one signal and one system for w (dt = {DT:g}, mean of {STEPS} steps, "
        "diagnostics included), of the second-order one three of each, of the Rosenbrock-W method (the adaptive scheme "
        "off the box) four of each, tol = 1e-4. On a box the adaptive scheme is the exponential integrator, six "
        "evaluations a step; the positive scheme has degree 1 there, the others degree 4. Iterations are those of "
        "conjugate gradients a step, for the signal and for w; those of the W-method are together. Memory is that of "
        "all ranks less that of Python and its libraries, at the peak "
        "and after the run; the peak's total is with everything.",
        "",
        "| domain | scheme | solver | nodes | ranks | mesh, s | set-up, s | step, s | µs a node and step "
        "| iterations a step | kB a node, peak | after | total, GB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, r in results:
        counts = f"{r['signal']:.1f} + {r['w']:.1f}" if r["w"] else f"{r['signal']:.0f}" if r["signal"] else "–"
        lines.append(
            f"| {case['domain']} | {case['scheme']} | {r['solver']} | {r['n']} | {r['ranks']} | {r['mesh']:.1f} | "
            f"{r['setup']:.1f} | {r['step']:.3f} | {r['step'] / r['n'] * 1e6:.2f} | {counts} | "
            f"{r['memory'] / 1e3:.2f} | {r['after'] / 1e3:.2f} | {r['peak']:.2f} |"
        )
    steps = {(c["domain"], c["scheme"], c["nodes"], c["ranks"]): r["step"] for c, r in results}
    lines += ["", "| domain | scheme | nodes | parallel efficiency on 2 ranks |", "| --- | --- | --- | --- |"]
    for (domain, scheme, nodes, ranks), two in steps.items():
        one = steps.get((domain, scheme, nodes, 1))
        if ranks == 2 and one is not None:
            lines.append(f"| {domain} | {scheme} | {nodes:.0e} | {one / two / 2:.0%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--nodes", type=float, nargs="*", default=[1e5, 3e5, 1e6], help="sizes of the disk's meshes")
    parser.add_argument("--domains", nargs="*", default=["disk", "file", "box"], help="the domains to measure on")
    parser.add_argument("--keep", type=Path, help="a file of measurements to add to")
    parser.add_argument("--only", type=int, help="the number of cases to measure at most")
    parser.add_argument("--case", help="(used by the program itself)")
    arguments = parser.parse_args()
    if arguments.case:
        measure(json.loads(arguments.case))
        return
    known: dict[str, dict] = {}
    if arguments.keep and arguments.keep.exists():
        known = dict(json.loads(line) for line in arguments.keep.read_text(encoding="utf-8").splitlines())
    results = []
    left = len(known) + arguments.only if arguments.only is not None else math.inf
    for case in cases(arguments.nodes):
        key = json.dumps(case)
        if key not in known and len(known) < left and case["domain"] in arguments.domains:
            command = ["mpirun", "-n", str(case["ranks"]), sys.executable, __file__, "--case", key]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
            known[key] = json.loads(line.removeprefix("RESULT "))
            if arguments.keep:
                with arguments.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, known[key]]) + "\n")
        if key in known:
            results.append((case, known[key]))
    text = table(results)
    sys.stdout.write(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
