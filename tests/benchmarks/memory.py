"""Estimates of memory beside measured peaks: ``python tests/benchmarks/memory.py`` writes results/memory.md.

Each row is a program of its own. It runs a small case first, so that libraries are loaded and loops compiled, and then
the case: the peak is the growth of its resident set (VmHWM less VmRSS before, Linux), summed over the ranks.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
RESULT = HERE.parent / "results" / "memory.md"

#: What runs: a domain and its options, or particles; and how many ranks.
CASES: list[tuple[dict[str, Any], int]] = [
    ({"domain": "Box", "scheme": "adaptive", "degree": 4, "cells": 25}, 1),
    ({"domain": "Box", "scheme": "adaptive", "degree": 4, "cells": 80}, 1),
    ({"domain": "Box", "scheme": "adaptive", "degree": 4, "cells": 250}, 1),
    ({"domain": "Box", "scheme": "adaptive", "degree": 4, "cells": 100}, 2),
    ({"domain": "Box", "scheme": "adaptive", "degree": 1, "cells": 500}, 1),
    ({"domain": "Box", "scheme": "rosenbrock", "degree": 4, "cells": 250}, 1),
    ({"domain": "Box", "scheme": "positive", "degree": 1, "cells": 1000}, 1),
    ({"domain": "Box", "scheme": "positive-2", "degree": 1, "cells": 320}, 1),
    ({"domain": "Box", "scheme": "positive-2", "degree": 1, "cells": 400}, 2),
    ({"domain": "Disk", "scheme": "adaptive", "size": 0.1, "refine": 2}, 1),
    ({"domain": "Disk", "scheme": "adaptive", "size": 0.05, "refine": 3}, 1),
    ({"domain": "Disk", "scheme": "rosenbrock", "size": 0.05, "refine": 3}, 1),
    ({"domain": "Disk", "scheme": "positive-2", "size": 0.05, "refine": 3}, 1),
    ({"domain": "Disk", "scheme": "positive-2", "size": 0.05, "refine": 3}, 2),
    ({"domain": "Disk", "scheme": "positive-2", "size": 0.05, "refine": 3, "solver": "direct"}, 1),
    ({"domain": "Disk", "scheme": "positive-2", "size": 0.02, "refine": 4}, 1),
    ({"domain": "Disk", "scheme": "adaptive", "size": 0.3, "cell": "quadrilateral", "degree": 4}, 1),
    ({"n": 100_000}, 1),
    ({"n": 1_000_000}, 1),
    ({"n": 1_000_000}, 2),
    ({"n": 10_000_000}, 1),
    ({"n": 1_000_000, "eps": 0.02}, 1),
    ({"n": 1_000_000, "eps": 0.02}, 2),
    ({"n": 1_000_000, "scheme": "weak-2"}, 1),
    ({"n": 1_000_000, "method": "finufft"}, 1),
]


def resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def run(case: dict[str, Any], comm: Any, *, small: bool) -> float:
    """Run a case and return the estimate."""
    import kspde
    from kspde.fem.memory import bytes_of_run
    from kspde.fem.schemes import SCHEMES
    from kspde.particles.fields import particle_mesh as mesh
    from kspde.particles.schemes import SCHEMES as PARTICLE_SCHEMES
    from kspde.particles.start import bytes_of_particles

    model = kspde.SignalDependentKellerSegel(chi=5.0)
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    case = dict(case)
    if "n" in case:
        n = 1000 if small else case.pop("n")
        case.pop("n", None)
        options = {"eps": 0.3, "scheme": "euler-maruyama", "method": "mesh", **case}
        grids: list[float] = [0.0]
        mesh.check_memory = lambda what, mine, comm, remedy: grids.append(mine)  # what a grid is taken to need
        kspde.simulate(model, u0, n=n, t_end=0.02, dt=0.01, **options)
        scheme = PARTICLE_SCHEMES[options["scheme"]]
        return max(grids) * comm.size + bytes_of_particles(n, 2, scheme, options["method"], mean_field=False)
    name, scheme = case.pop("domain"), case.pop("scheme")
    if small:
        case |= {"cells": 64 // case["degree"]} if name == "Box" else {"size": 0.5, "refine": 0}
    domain = kspde.Box(half_width=8.0, **case) if name == "Box" else kspde.Disk(radius=8.0, **case)
    kind = SCHEMES[scheme]
    chosen = kind.of(None, 1e-3) if kind.positive else kind.of(1e-2, None)
    pde = kspde.solve(model, u0, domain, t_end=3e-3, scheme=chosen)
    return bytes_of_run(domain, 2, pde.summary()["nodes"], chosen, parts=2, saved=1, ranks=comm.size)


def child(case: dict[str, Any]) -> None:
    """Measure one case, on however many ranks."""
    import ctypes

    from kspde.fem import backend

    backend.require()
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    warnings.simplefilter("ignore")
    run(case, comm, small=True)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    estimate = run(case, comm, small=False)
    peak = comm.reduce(resident("VmHWM") - before)
    if comm.rank == 0:
        print(json.dumps([estimate, peak]))


def main() -> None:
    """Measure all cases and write the table."""
    lines = [
        "# Memory: estimates and measured peaks",
        "",
        "Written by tests/benchmarks/memory.py. Growth of the resident set, all ranks together, in MB.",
        "",
        "| case | ranks | estimate | peak | estimate / peak |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case, ranks in CASES:
        command = [sys.executable, str(HERE), json.dumps(case)]
        if ranks > 1:
            command = [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        estimate, peak = json.loads(done.stdout.splitlines()[-1])
        words = ", ".join(f"{name} = {value}" for name, value in case.items())
        lines.append(f"| {words} | {ranks} | {estimate / 1e6:.1f} | {peak / 1e6:.1f} | {estimate / peak:.2f} |")
        print(lines[-1], flush=True)
        RESULT.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(json.loads(sys.argv[1]))
    else:
        main()
