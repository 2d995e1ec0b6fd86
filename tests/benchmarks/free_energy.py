"""The modulated free energy of a log gas without a mollifier, between its two curves, and the bound on H_N.

Run as ``python tests/benchmarks/free_energy.py N REPLICAS``; it prints a table in a minute for 100 and 256.
results/free_energy.md holds what it printed.
"""

from __future__ import annotations

import sys

import numpy as np

import kspde

U0 = kspde.GaussianMixture(weights=[0.6, 0.4], means=[[0.8, 0.4], [-0.6, 0.2]], stds=[0.6, 0.5])
BOX = kspde.Box(half_width=8.0, cells=16, degree=6)


def main() -> None:
    """Print N times each curve at t = 0, .02, .1, .5, with the standard error at the end."""
    n, replicas = int(sys.argv[1]), int(sys.argv[2])
    save = kspde.SaveAt(times=np.linspace(0, 0.5, 26))
    for g in (1.0, -1.0):
        pde = kspde.solve(kspde.LogGas(strength=g, noise=0.5), U0, BOX, t_end=0.5, tol=1e-6, save=save)
        found = kspde.modulated_free_energy(pde, n=n, dt=0.02, replicas=replicas, seed=1)
        for name in found.samples:
            curve = getattr(found, name)
            values = "  ".join(f"{n * curve.value[k]:7.4f}" for k in (0, 1, 5, 25))
            error = n * (curve.interval[1][-1] - curve.interval[0][-1]) / 4
            print(f"{g:+4.0f}  {n:4d}  {name:8s}  {values} ± {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
