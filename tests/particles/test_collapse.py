"""Particles that collapse into a cluster as large as the mollifier are reported: when, where, limited by what."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import kspde


@dataclass(frozen=True, kw_only=True)
class KellerSegel(kspde.Model):
    """dX = ∇c dt + √2 dB, −Δc + μ²c = u."""

    @property
    def fields(self):
        return (kspde.Field(name="c", kernel=kspde.Yukawa(screening=0.3), gradient=True),)

    def diffusion(self, species, c):
        return 1.0

    def drift(self, species, c):
        return c.gradient("c")


def drop(mass: float, std: float = 0.5) -> kspde.GaussianMixture:
    return kspde.GaussianMixture(weights=[1.0], means=[[1.0, -0.5]], stds=[std], mass=mass)


def said(u0, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cloud = kspde.simulate(KellerSegel(), u0, **{"n": 500, "dt": 0.004, "seed": 3, "method": "direct"} | options)
    return cloud, [str(w.message) for w in caught if "have collapsed" in str(w.message)]


@pytest.mark.parametrize("dt", [0.004, 0.0005])
def test_a_collapse_is_reported(dt, comm) -> None:
    """Mass 16π, twice the critical one: the density blows up near t = .08."""
    cloud, lines = said(drop(16 * np.pi), t_end=0.16, eps=0.1, dt=dt)
    assert len(lines) == (comm.rank == 0)
    for line in lines:
        t = float(line.split(" at t = ")[1].split(":")[0])
        assert 0.05 < t < 0.16
        assert f"in step {round(t / dt)} at" in line
        place = np.array([float(x) for x in line.split(" of (")[1].split(")")[0].split(",")])
        assert np.abs(place - (1.0, -0.5)).max() < 0.3
        assert "so that the mollifier limits the cluster" in line
        assert (", and so does dt: a particle moves by" in line) == (dt == 0.004)
    assert np.all(np.isfinite(cloud.positions))
    if dt == 0.004:
        with pytest.raises(kspde.BlowUpError, match=r"the particles of u have collapsed in step \d+ at t = "):
            said(drop(16 * np.pi), t_end=0.16, eps=0.1, on_blow_up="stop")
        assert not said(drop(16 * np.pi), t_end=0.16, eps=0.1, on_blow_up="ignore")[1]


@pytest.mark.one_rank
@pytest.mark.parametrize(("mass", "std", "eps"), [(4 * np.pi, 0.5, 0.05), (16 * np.pi, 0.1, 0.1)])
def test_what_is_no_collapse_is_not(mass, std, eps) -> None:
    """Below the critical mass; and from data that are as small as ε."""
    assert not said(drop(mass, std), t_end=0.1, eps=eps)[1]


def test_no_other_action() -> None:
    with pytest.raises(kspde.InputError, match="on_blow_up = 'go' is not valid"):
        said(drop(1.0), t_end=0.1, eps=0.05, on_blow_up="go")


def without_mollifier(mass, n, t_end, **options):
    """Return the reports of the particles of −Δc = u."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"dt": 1e-3, "seed": 3, "method": "direct"} | options
        cloud = kspde.simulate(kspde.KellerSegel(chi=1.0), drop(mass), n=n, t_end=t_end, **options)
    assert np.all(np.isfinite(cloud.positions))
    return [str(w.message) for w in caught if "have collapsed" in str(w.message)]


def test_a_cluster_that_sticks_is_reported(comm) -> None:
    """Mass 16π: the density blows up at t = .081, of the particles one half sticks in a point."""
    lines = without_mollifier(16 * np.pi, 300, 0.16)
    assert len(lines) == (comm.rank == 0)
    for line in lines:
        assert 0.06 <= float(line.split(" at t = ")[1].split(":")[0]) <= 0.11
        place = np.array([float(x) for x in line.split(" around (")[1].split(")")[0].split(",")])
        assert np.abs(place - (1.0, -0.5)).max() < 0.2
    with pytest.raises(kspde.BlowUpError, match=r"have collapsed at t = 0\.\d+: about 5\d% of them stick together"):
        without_mollifier(16 * np.pi, 300, 0.16, on_blow_up="stop")


@pytest.mark.one_rank
@pytest.mark.parametrize(("mass", "n", "t_end"), [(4 * np.pi, 2, 0.5), (4 * np.pi, 200, 0.3), (8 * np.pi, 50, 0.5)])
def test_pairs_that_touch_and_part_are_not(mass, n, t_end) -> None:
    assert not without_mollifier(mass, n, t_end)


def reported(mass, n, t_end, diffusion=1.0, **options):
    """Return Σ|X − X̄|² at the start, the reported time (∞ for none), and the share that sticks."""
    starts: list[np.ndarray] = []
    save = kspde.SaveAt(times=[0.0, t_end], callback=lambda c: starts.append(c.positions.copy()))
    model = kspde.KellerSegel(chi=1.0, diffusion=diffusion)
    options = {"scheme": "weak-2", "method": "direct", "on_blow_up": "stop", "save": save} | options
    try:
        kspde.simulate(model, drop(mass), n=n, t_end=t_end, **options)
        line = " at t = inf: about 0% "
    except kspde.BlowUpError as error:
        line = str(error)
    t, share = (line.split(f" {word} ")[1].split(end)[0] for word, end in (("at t =", ":"), ("about", "%")))
    return np.sum((starts[0] - starts[0].mean(axis=0)) ** 2), float(t), float(share)


@pytest.mark.one_rank
@pytest.mark.parametrize("dt", [4e-3, 1e-3])
def test_a_pair_sticks_when_it_should(dt) -> None:
    """S = |r|²/2 ends at S(0)/(4DΓ), Γ of shape M/(8πD): almost without noise at 2πS(0)/M."""
    start, t, _ = reported(4 * np.pi, 2, 1.0, diffusion=1e-6, dt=dt)
    assert abs(t - 0.5 * start) < 2 * dt + 0.004 * t


@pytest.mark.one_rank
def test_only_clusters_that_stick_are_reported() -> None:
    """Of M = 10.9π pairs, of δ = .18, linger and part; with unequal weights the mass decides."""
    found = [reported(10.9 * np.pi, 3, 0.4, dt=5e-3, replica=replica)[2] for replica in range(4)]
    assert 100 in found
    assert set(found) <= {0, 100}
    w = 8.8 * np.pi * np.array([0.48, 0.48, 0.04])
    found = [reported(w.sum(), 3, 0.8, dt=1e-2, replica=replica, weights=w)[2] for replica in range(4)]
    assert 96 in found
    assert set(found) <= {0, 96, 100}


@pytest.mark.one_rank
def test_what_does_not_attract_makes_no_cluster() -> None:
    """A gas of two clusters that its trap presses together."""
    pair = kspde.GaussianMixture(weights=[0.5, 0.5], means=[[-0.3, 0.0], [0.3, 0.0]], stds=[0.05, 0.05])
    gas = kspde.LogGas(strength=0.01, noise=1e-4, confinement=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kspde.simulate(gas, pair, n=60, t_end=5.0, dt=0.1, method="direct", on_blow_up="stop")
