"""Where the adaptive schemes find a density below 0 they say so, and name the schemes that do not."""

import re
import warnings

import numpy as np
import pytest

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
NARROW = kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.0]], stds=[0.3])


@pytest.mark.parametrize("scheme", ["adaptive", "rosenbrock"])
def test_values_far_below_zero_are_reported(comm, scheme) -> None:
    """A peak on cells five times as wide as its standard deviation: polynomials of degree 4 undershoot beside it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coarse = kspde.Box(half_width=9.0, cells=12, degree=4)
        pde = kspde.solve(MODEL, NARROW, coarse, t_end=0.02, tol=1e-7, scheme=scheme)
    worst = pde.summary()["negative"]
    lowest, highest, t = (pde.diagnostics[name] for name in ("minimum", "maximum", "t"))
    k = int(np.argmin(lowest / highest))
    assert lowest[k] < -10 * 1e-7 * highest[k]
    assert worst == {"species": "u", "value": lowest[k], "maximum": highest[k], "t": t[k], "tol": 1e-7}
    words = [str(w.message) for w in caught if "below -10 tol" in str(w.message)]
    assert len(words) == (comm.rank == 0)
    for word in words:
        assert f"u = {lowest[k]:.3g} at t = {t[k]:g}" in word
        assert 'use a finer one, or scheme="positive-2" with degree=1' in word


def test_a_resolved_density_is_not(mixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pde = kspde.solve(MODEL, mixture, kspde.Box(half_width=14.0, cells=20, degree=6), t_end=0.1, tol=1e-4)
    assert pde.summary()["negative"] is None
    assert pde.diagnostics["minimum"].min() < 0  # by less than the tolerance


def test_what_fluxes_add_to_the_second_moment_is_reported() -> None:
    """d/dt ∫|x|²u = 4M(1 − M/8π) is 0 for a singular kernel and M = 8π: on coarse triangles it is .07 · 4M."""
    mass = 8 * np.pi
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[1.5, -1.0]], stds=[0.7], mass=mass)
    disk = kspde.Disk(radius=8.0, size=0.6)
    pde = kspde.solve(kspde.KellerSegel(chi=1.0), u0, disk, t_end=0.02, scheme="positive-2", dt=0.005)
    second = pde.diagnostics["second_moment"]
    found = [re.search(r"spread u by (.*) % too much, by the second moment", line) for line in pde.warnings]
    (percent,) = (float(words.group(1)) for words in found if words)
    assert percent == pytest.approx(100 * (second[-1] - second[0]) / 0.02 / (4 * mass), rel=0.05)
