"""Two threads compute what one does: the rest of the suite gives each of its processes one."""

import numba
import numpy as np
import pytest

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)

#: Deposits in blocks and transforms of a large grid; direct sums; sums over near pairs beside a coarse grid.
CASES = {
    "mesh": {"n": 20_000, "eps": 0.1, "method": "mesh"},
    "direct": {"n": 2_000, "eps": 0.3, "method": "direct"},
    "near": {"n": 2_000, "eps": 0.05, "memory_limit": 8e6, "field_tol": 1e-4},
    "weak-2": {"n": 20_000, "eps": 0.3, "scheme": "weak-2"},
}


@pytest.mark.one_rank
@pytest.mark.parametrize("case", CASES)
def test_particles_do_not_depend_on_the_number_of_threads(case, mixture, monkeypatch) -> None:
    ends = []
    for threads in (1, 2):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        cloud = kspde.simulate(
            MODEL, mixture, t_end=0.02, dt=0.01, seed=3, save=kspde.SaveAt(statistics=("moments",)), **CASES[case]
        )
        assert numba.get_num_threads() == min(threads, numba.config.NUMBA_NUM_THREADS)
        ends.append((cloud.gathered(), cloud.diagnostics["second_moment"]))
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-11)
        assert np.ptp(one) > 0
