"""Thousands of steps need no more memory than hundreds: PETSc objects made in a loop would."""

import os
from pathlib import Path

import numpy as np
import pytest

import kspde

CAPPED = {"ts_adapt_dt_max": 1e-3}
CASES = {
    "positive": (kspde.Box(half_width=8.0, cells=24, degree=1), {"scheme": "positive", "dt": 1e-3}),
    "adaptive": (kspde.Box(half_width=8.0, cells=8, degree=3), {"tol": 1e-3, "petsc_options": CAPPED}),
    "disk": (kspde.Disk(radius=8.0, size=0.15, rim_size=1.5), {"tol": 1e-2, "petsc_options": CAPPED}),
}  # fmt: skip


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("case", CASES)
def test_two_thousand_steps_do_not_grow(case) -> None:
    domain, options = CASES[case]
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.7])
    seen: list[int] = []
    kspde.solve(
        kspde.SignalDependentKellerSegel(chi=4.0), u0, domain, t_end=2.0, eps=0.3, mollifier="matern",
        progress=lambda done: seen.append(resident()), **options,
    )  # fmt: skip
    assert len(seen) >= 2000
    growth = np.mean(seen[-100:]) - np.mean(seen[300:400])
    # What is kept on purpose is a row of diagnostics a step, a few hundred bytes; a leaked Vec would be ten times that.
    assert growth < 4e6, f"{growth / 1e6:.1f} MB"
