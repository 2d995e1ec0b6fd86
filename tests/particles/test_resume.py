"""Runs that are stopped and go on: in this process, with other ranks, by a signal."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from mpi4py import MPI

import kspde
from kspde.particles import SnapshotFiles

KELLER_SEGEL = kspde.SignalDependentKellerSegel(chi=8.0)


class Known:
    """A mean field that moves."""

    model = KELLER_SEGEL
    t_end = 2.0

    def signal_on_grid(self, axes, field=None, t=None):
        x, y = np.meshgrid(*axes, indexing="ij")
        return 1.5 + np.sin(0.4 * x + t) * np.cos(0.3 * y)


class StopError(Exception):
    """What ends a run in the middle."""


def stop_after(steps):
    def progress(fraction):
        progress.count += 1
        if progress.count == steps:
            raise StopError

    progress.count = 0
    return progress


def options(**changes):
    base = {
        "n": 203,
        "t_end": 0.8,
        "dt": 0.1,
        "eps": 0.3,
        "seed": 4,
        "mean_field": Known(),
        "save": kspde.SaveAt(times=(0.0, 0.25, 0.6), statistics=("moments", "minimal_distance", "field_fluctuations")),
    }
    return {**base, **changes}


def same(one, other, *, exact=True):
    def compare(a, b):
        if exact:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)

    compare(one.comm.bcast(one.gathered()), other.comm.bcast(other.gathered()))
    compare(one.comm.bcast(one.mean_field.gathered()), other.comm.bcast(other.mean_field.gathered()))
    for a, b in (
        (one.diagnostics, other.diagnostics),
        (one.mean_field.diagnostics, other.mean_field.diagnostics),
        (one.statistics, other.statistics),
    ):
        assert set(a) == set(b)
        for name in a:
            compare(a[name], b[name])
    compare(one.coupling.distance, other.coupling.distance)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scheme": "weak-2", "initial": "mollified"},
        {"method": "direct", "include_self": False, "weights": np.linspace(0.0, 2.0, 203) / 203},
    ],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_been(mixture, shared_tmp_path, changes):
    whole = kspde.simulate(KELLER_SEGEL, mixture, **options(**changes))
    checkpoint = kspde.Checkpoint(shared_tmp_path, every=0)
    for steps in (4, 2):
        with pytest.raises(StopError):
            kspde.simulate(
                KELLER_SEGEL,
                mixture,
                checkpoint=checkpoint,
                resume=steps == 2,
                progress=stop_after(steps),
                **options(**changes),
            )
    again = kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, resume=True, **options(**changes))
    same(whole, again)


def test_checkpoints_alone_change_nothing(mixture, shared_tmp_path):
    whole = kspde.simulate(KELLER_SEGEL, mixture, **options())
    checkpoint = kspde.Checkpoint(shared_tmp_path, every=0)
    same(whole, kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, **options()))
    # ... nor does one that is never due, or a directory without any.
    other = kspde.Checkpoint(shared_tmp_path / "other", every=1000.0)
    same(whole, kspde.simulate(KELLER_SEGEL, mixture, checkpoint=other, resume=True, **options()))
    whole.comm.barrier()
    assert len(os.listdir(shared_tmp_path)) == 3
    assert os.listdir(shared_tmp_path / "other") == []


def test_another_number_of_ranks_goes_on_to_round_off(mixture, shared_tmp_path, comm):
    checkpoint = kspde.Checkpoint(shared_tmp_path, every=0)
    if comm.rank == 0:
        with pytest.raises(StopError):
            kspde.simulate(
                KELLER_SEGEL, mixture, checkpoint=checkpoint, progress=stop_after(5), comm=MPI.COMM_SELF, **options()
            )
    comm.barrier()
    whole = kspde.simulate(KELLER_SEGEL, mixture, **options())
    again = kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, resume=True, **options())
    same(whole, again, exact=comm.size == 1)


def test_a_run_of_another_problem_is_refused(mixture, shared_tmp_path):
    checkpoint = kspde.Checkpoint(shared_tmp_path, every=0)
    kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, **options())
    other = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[1.0])
    for u0, changes, message in (
        (mixture, {"seed": 5}, r"seed = 4 there, 5 here"),
        (mixture, {"n": 204}, "counts.u = 203 there, 204 here"),
        (mixture, {"dt": 0.05}, "dt_given = 0.1 there, 0.05 here"),
        (mixture, {"scheme": "weak-2"}, "scheme = "),
        (mixture, {"eps": 0.4}, r"eps = 0.3 there, 0.4 here"),
        (mixture, {"mean_field": None, "save": None}, "mean_field = "),
        (mixture, {"weights": np.linspace(0.0, 2.0, 203) / 203}, 'weights.u = null there, "an array of shape '),
        (other, {}, "u0.u.fingerprint = "),
    ):
        with pytest.raises(kspde.InputError, match=rf"checkpoint-\d+\.h5 is of another problem \({message}"):
            kspde.simulate(KELLER_SEGEL, u0, checkpoint=checkpoint, resume=True, **options(**changes))


def test_sigterm_writes_a_checkpoint_and_stops(mixture, shared_tmp_path, comm):
    whole = kspde.simulate(KELLER_SEGEL, mixture, **options())
    checkpoint = kspde.Checkpoint(shared_tmp_path, every=1000.0)

    def terminate(fraction):
        if abs(fraction - 0.3125) < 1e-9 and comm.rank == comm.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(
        kspde.StoppedError,
        match=r"stopped by SIGTERM after step 3, t = 0\.25: .*checkpoint-0000000003\.h5 holds the state",
    ):
        kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, progress=terminate, **options())
    again = kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, resume=True, **options())
    same(whole, again)


def test_states_after_the_checkpoint_are_replaced(mixture, shared_tmp_path, comm):
    checkpoint = kspde.Checkpoint(shared_tmp_path / "checkpoints", every=0)
    save = kspde.SaveAt(times=(0.2, 0.4), callback=SnapshotFiles(shared_tmp_path / "states"))
    with pytest.raises(StopError):
        kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, progress=stop_after(3), **options(save=save))
    kspde.simulate(KELLER_SEGEL, mixture, checkpoint=checkpoint, resume=True, **options(save=save))
    comm.barrier()
    assert sorted(os.listdir(shared_tmp_path / "states")) == [f"snapshot-000000000{k}.h5" for k in (2, 4, 8)]


def test_bad_input(mixture):
    with pytest.raises(kspde.InputError, match=r"checkpoint is a str: give kspde.Checkpoint\(directory"):
        kspde.simulate(KELLER_SEGEL, mixture, checkpoint="here", **options())
    with pytest.raises(kspde.InputError, match="resume = True has nothing to resume from: give checkpoint"):
        kspde.simulate(KELLER_SEGEL, mixture, resume=True, **options())
