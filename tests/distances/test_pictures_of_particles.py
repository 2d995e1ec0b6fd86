"""Particles over the density, and animations: what is drawn, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_standins import KnownCloud, KnownDensity, draws, gaussian

import kspde
from kspde.plots.particles import animate, plot_cloud


def test_the_first_particles_are_shown(shared_tmp_path: Path, comm: Any) -> None:
    pde = KnownDensity(density=gaussian(0.6, dimension=2), half_width=14)
    points = draws(pde.density, 500, 1)
    cloud = KnownCloud(points, pde)
    plot_cloud(cloud, shared_tmp_path / "particles.png", pde=pde, most=100)
    figure = plot_cloud(cloud, pde=pde, most=100)
    if comm.rank == 0:
        (dots,) = [shown for shown in figure.axes[0].collections if len(shown.get_offsets()) > 1]
        np.testing.assert_array_equal(dots.get_offsets(), points[:100])
        assert "$100$ of $500$ particles" in figure.axes[0].get_title()
        assert (shared_tmp_path / "particles.png").stat().st_size > 10_000
    with pytest.raises(kspde.InputError, match="most = 0"):
        plot_cloud(cloud, shared_tmp_path / "no.png", pde=pde, most=0)


@pytest.mark.one_rank
def test_animations(shared_tmp_path: Path, comm: Any, mixture: Any) -> None:
    model = kspde.SignalDependentKellerSegel(chi=0.0)
    snapshots, times = kspde.Snapshots(), [0.0, 0.1, 0.2]
    box = kspde.Box(half_width=10.0, cells=16, degree=4)
    pde = kspde.solve(model, mixture, box, t_end=0.2, tol=1e-3, eps=0.3, save=kspde.SaveAt(times=times))
    kspde.simulate(
        model, mixture, n=200, t_end=0.2, dt=0.1, eps=0.3, save=kspde.SaveAt(times=times, callback=snapshots)
    )
    for name in ("run.webp", "run.gif"):
        animate(pde, shared_tmp_path / name, snapshots=snapshots, most=50, seconds=0.2)
        comm.Barrier()
        if comm.rank == 0:
            from PIL import Image

            with Image.open(shared_tmp_path / name) as animation:
                assert animation.n_frames == 3
                frames = []
                for k in range(3):
                    animation.seek(k)
                    frames.append(np.asarray(animation.convert("RGB"), dtype=float))
                assert animation.info["duration"] == 200
            # Colours mean the same in all frames: the peak is brightest at first. The axes do not move.
            height, width, _ = frames[0].shape
            inner = np.s_[height // 8 : height * 5 // 8, width // 4 : width * 3 // 4]
            red = [np.percentile(frame[inner][..., 0] - frame[inner][..., 2], 99.5) for frame in frames]
            assert red[0] > red[2]
            assert np.abs(frames[0] - frames[2])[:, : width // 10].mean() < 1
    with pytest.raises(kspde.InputError, match=r"suffix = .*avi"):
        animate(pde, "run.avi", snapshots=snapshots)
    with pytest.raises(kspde.InputError, match="snapshots has fewer than two times"):
        animate(pde, "run.webp", snapshots=snapshots.clouds[:1])
    with pytest.raises(kspde.InputError, match="cannot write"):
        animate(pde, shared_tmp_path / "none" / "run.webp", snapshots=snapshots)
