"""Runs that are stopped, killed or cut off, and go on as if nothing had happened, on any number of ranks."""

import warnings

import numpy as np
import pytest
from mpi4py import MPI

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
PARABOLIC = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=3.0, tau=1.0)
BOX = kspde.Box(half_width=14.0, cells=10, degree=4)
POINTS = [(0.0, 0.0), (1.0, 0.5), (3.0, 3.0)]
CASES = {
    "adaptive": (MODEL, BOX, {"tol": 1e-5}),
    "parabolic": (PARABOLIC, BOX, {"tol": 1e-7}),
    "rosenbrock": (MODEL, BOX, {"tol": 1e-5, "scheme": "rosenbrock"}),
    "positive": (MODEL, kspde.Box(half_width=14.0, cells=40, degree=1), {"scheme": "positive", "dt": 0.02}),
    "disk": (MODEL, kspde.Disk(radius=14.0, size=0.1, rim_size=1.5), {"tol": 1e-4}),
    # First guesses come from solutions that a resumed run does not have.
    "multigrid": (
        MODEL,
        kspde.Disk(radius=14.0, size=0.1, rim_size=1.5, solver="multigrid"),
        {"scheme": "positive", "dt": 0.02},
    ),
}


class PowerCutError(Exception):
    """Raised in the middle of a run."""


def cut_after(fraction: float):
    def progress(done: float) -> None:
        if done > fraction:
            raise PowerCutError

    return progress


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_run_ends_where_the_undisturbed_one_does(mixture, shared_tmp_path, comm, case) -> None:
    model, domain, options = CASES[case]
    options = {"t_end": 0.3, "eps": 0.3, "save": kspde.SaveAt(times=[0.0, 0.1, 0.2]), **options}
    undisturbed = kspde.solve(model, mixture, domain, **options)
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", every=0)
    for fraction in (0.2, 0.5, 0.7):
        with pytest.raises(PowerCutError):
            kspde.solve(
                model, mixture, domain, checkpoint=checkpoint, resume=True, progress=cut_after(fraction), **options
            )
        comm.Barrier()
    assert len(list((shared_tmp_path / "run").glob("checkpoint-*.h5"))) == 2
    # On the same ranks, then, from the same files, on one rank alone.
    for ranks in (comm, MPI.COMM_SELF):
        seen: list[float] = []
        if ranks is comm or comm.rank == 0:
            resumed = kspde.solve(
                model, mixture, domain, checkpoint=checkpoint, resume=True, comm=ranks, progress=seen.append, **options
            )
            assert seen[0] > 0.6  # it did go on, it did not begin anew
            if ranks is comm:
                expected = [undisturbed.evaluate(POINTS, t=t) for t in (0.1, 0.15, 0.3)]
            for t, values in zip((0.1, 0.15, 0.3), expected, strict=True):
                np.testing.assert_allclose(resumed.evaluate(POINTS, t=t), values, rtol=0, atol=1e-10)
            for name, values in undisturbed.diagnostics.items():
                # The time error is a small difference of rates, in which more of the solvers' residuals shows.
                rtol = 1e-6 if name == "time_error" else 1e-9
                np.testing.assert_allclose(resumed.diagnostics[name], values, rtol=rtol, atol=1e-11, err_msg=name)
        comm.Barrier()


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", ["positive", "positive-2"])
def test_a_run_with_local_coefficients_resumes_to_round_off(shared_tmp_path, comm, scheme) -> None:
    """Newton's method starts from the density itself, so that a checkpoint holds all that counts."""
    model = kspde.CrossDiffusion(a=[[0.5, 0.2], [0.1, 0.4]], sigma=[0.2, 0.3], dimension=1)
    u0 = {
        name: kspde.GaussianMixture(weights=[1.0], means=[[x]], stds=[0.7], mass=mass)
        for name, x, mass in zip(model.species, (-0.4, 0.6), (1.0, 2.0), strict=True)
    }
    box = kspde.Box(half_width=7.0, cells=48, degree=1, dimension=1)
    options = {"t_end": 0.3, "scheme": scheme, "dt": 0.03}
    undisturbed = kspde.solve(model, u0, box, **options)
    checkpoint = kspde.Checkpoint(shared_tmp_path / "run", every=0)
    with pytest.raises(PowerCutError):
        kspde.solve(model, u0, box, checkpoint=checkpoint, progress=cut_after(0.5), **options)
    comm.Barrier()
    seen: list[float] = []
    resumed = kspde.solve(model, u0, box, checkpoint=checkpoint, resume=True, progress=seen.append, **options)
    assert seen[0] > 0.5
    x = np.linspace(-6.0, 6.0, 50)[:, None]
    for name in model.species:
        expected = undisturbed.evaluate(x, species=name)
        np.testing.assert_allclose(resumed.evaluate(x, species=name), expected, rtol=0, atol=1e-14)


def test_damaged_and_foreign_checkpoints(mixture, shared_tmp_path, comm) -> None:
    directory = shared_tmp_path / "run"
    checkpoint = kspde.Checkpoint(directory, every=0)
    options = {"t_end": 0.3, "tol": 1e-4}
    with pytest.raises(PowerCutError):
        kspde.solve(MODEL, mixture, BOX, checkpoint=checkpoint, progress=cut_after(0.6), **options)
    comm.Barrier()
    older, newest = sorted(directory.glob("checkpoint-*.h5"))
    if comm.rank == 0:
        with newest.open("r+b") as file:
            file.seek(4000)
            file.write(b"damage")
    comm.Barrier()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed = kspde.solve(MODEL, mixture, BOX, checkpoint=checkpoint, resume=True, **options)
    if comm.rank == 0:
        assert any(newest.name in str(w.message) and "damaged" in str(w.message) for w in caught)
    undisturbed = kspde.solve(MODEL, mixture, BOX, **options)
    np.testing.assert_allclose(resumed.evaluate(POINTS), undisturbed.evaluate(POINTS), rtol=0, atol=1e-10)
    other = kspde.SignalDependentKellerSegel(chi=7.0)
    with pytest.raises(kspde.InputError, match=r"checkpoint .* is of another problem \(model\.chi = 8 there, 7 here"):
        kspde.solve(other, mixture, BOX, checkpoint=checkpoint, resume=True, **options)
    with pytest.raises(kspde.InputError, match="resume = True has nothing to resume from"):
        kspde.solve(MODEL, mixture, BOX, resume=True, **options)
    assert older.parent == directory
