"""With a fixed step a run estimates its time error, and says where that is large."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from local_fields import Barenblatt, Crossing, Porous
from radial_keller_segel import KellerSegel, drop, peaks

import kspde

AXIS = np.linspace(-4.0, 4.0, 161)
TIMES = (0.1, 0.5)


@dataclass(frozen=True, kw_only=True)
class Blown(kspde.Model):
    """∂_t u = DΔu − b·∇u."""

    diffusivity: float = 1.0
    wind: tuple[float, ...] | None = None
    dimension: int = 2

    @property
    def fields(self):
        return ()

    def diffusion(self, species, c):
        return self.diffusivity

    def drift(self, species, c):
        return None if self.wind is None else np.broadcast_to(self.wind, c.points.shape)


THREE = kspde.GaussianMixture(
    weights=[0.5, 0.3, 0.2], means=[[-1.2, 0.3], [1.3, -0.2], [0.2, 1.5]], stds=[0.6, 0.5, 0.7]
)
BOX = kspde.Box(half_width=8.0, cells=48, degree=1)
CASES = {
    "heat": (Blown(), drop(2.0, mean=(0.3, 0.1)), BOX),
    "three Gaussians": (kspde.SignalDependentKellerSegel(chi=8.0), THREE, BOX),
    "triangles": (kspde.SignalDependentKellerSegel(chi=8.0), THREE, kspde.Disk(radius=8.0, size=0.3, rim_size=1.0)),
    "drift": (Blown(wind=(1.0, 0.5)), drop(1.0), BOX),
    "near the critical mass": (KellerSegel(mu=0.1), drop(7.5 * np.pi), BOX),
}


def warned(text: str, comm, *args, **options):
    """Solve, and check that a warning holds the text, or, where it is empty, that none speaks of the time error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pde = kspde.solve(*args, **options)
    lines = [str(w.message) for w in caught if "the time error of" in str(w.message)]
    assert len(lines) == (comm.rank == 0 and bool(text))
    assert all(text in line for line in lines), lines
    return pde


@pytest.mark.one_rank
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scheme", ["positive", "positive-2"])
def test_the_estimate_is_the_error(case, scheme) -> None:
    model, u0, domain = CASES[case]
    save = kspde.SaveAt(times=TIMES[:1])
    exact = _exact(case)
    pde = kspde.solve(model, u0, domain, t_end=TIMES[1], scheme=scheme, dt=0.05, save=save)
    for t, values in zip(TIMES, exact, strict=True):
        error = np.abs(pde.on_grid([AXIS, AXIS], t=t) - values).sum() * (AXIS[1] - AXIS[0]) ** 2 / u0.mass
        row = int(np.argmin(np.abs(pde.diagnostics["t"] - t)))
        assert 0.7 * error < pde.diagnostics["time_error"][row] < 2.5 * error
    assert pde.diagnostics["time_error"][0] == 0.0
    assert pde.summary()["time_error"] == pde.diagnostics["time_error"][-1]


def _exact(case: str, made={}) -> list[np.ndarray]:  # noqa: B006
    """Return the same semi-discrete solution by far smaller steps, which are made once."""
    if case not in made:
        model, u0, domain = CASES[case]
        save = kspde.SaveAt(times=TIMES[:1])
        pde = kspde.solve(model, u0, domain, t_end=TIMES[1], scheme="positive-2", dt=0.005, save=save)
        made[case] = [pde.on_grid([AXIS, AXIS], t=t) for t in TIMES]
    return made[case]


def test_a_concentration_with_steps_too_long_is_reported(comm) -> None:
    """The classical Keller-Segel system of mass 16π: the maximum at t = .06 is 359.8, three steps give 106."""
    box = kspde.Box(half_width=4.0, cells=64, degree=1)
    u0, right = drop(16 * np.pi), peaks(16 * np.pi, [0.06])[0]
    run = {"t_end": 0.06, "scheme": "positive"}
    pde = warned("of u at t = 0.06 is about 3", comm, KellerSegel(mu=0.1), u0, box, dt=0.02, **run)
    assert pde.diagnostics["maximum"][-1] < 0.35 * right
    pde = warned("", comm, KellerSegel(mu=0.1), u0, box, dt=0.001, **run)
    assert pde.diagnostics["maximum"][-1] > 0.6 * right


TWO = {"a": drop(1.0, mean=(-0.4, 0.0)), "b": drop(1.5, mean=(0.5, 0.2))}
#: right maxima .306 and .359; with many cells, or with long steps, they grow to several times that
UNSTABLE = {"positive": (160, 0.01, (0.6625, 2.129)), "positive-2": (96, 0.02, (0.634, 1.179))}


@pytest.mark.one_rank
@pytest.mark.parametrize("scheme", UNSTABLE)
def test_explicit_cross_diffusion_that_is_unstable_is_reported(scheme, comm) -> None:
    cells, dt, wrong = UNSTABLE[scheme]
    box = kspde.Box(half_width=6.0, cells=cells, degree=1, grading=1.5)
    run = {"t_end": 0.2, "scheme": scheme}
    text = "is 100% or more of its mass, in L1: dt"
    pde = warned(text, comm, Crossing(), TWO, box, dt=dt, on_blow_up="ignore", **run)
    np.testing.assert_allclose(pde.diagnostics["maximum"][-1], wrong, rtol=0.02)
    if scheme == "positive":
        with pytest.raises(kspde.BlowUpError, match="the step is too long, with a time error near 100% of the mass"):
            kspde.solve(Crossing(), TWO, box, dt=dt, **run)
    else:
        pde = warned("", comm, Crossing(), TWO, box, dt=0.005, **run)
        np.testing.assert_allclose(pde.diagnostics["maximum"][-1], (0.306, 0.359), rtol=0.01)
        right = {"a": (0.25177, 0.27800, 0.07972), "b": (0.28865, 0.09928, 0.35869)}
        for species, values in right.items():
            found = pde.evaluate([[0.0, 0.0], [-0.8, 0.3], [0.7, 0.2]], species)
            np.testing.assert_allclose(found, values, rtol=0.02)
        assert np.all(np.diff(pde.diagnostics["entropy"].sum(axis=1)) < 0)


@pytest.mark.one_rank
@pytest.mark.parametrize(("scheme", "cells", "dt"), [("positive", 1024, 0.2), ("positive-2", 256, 0.1)])
def test_explicit_degenerate_diffusion_that_is_unstable_is_reported(scheme, cells, dt, comm) -> None:
    """∂_t u = ½∂_xx(u²) from t = 1 to t = 8: the maximum is .22714."""

    def box(cells: int) -> kspde.Box:
        return kspde.Box(half_width=5.0, cells=cells, degree=1, dimension=1, grading=0.0)

    run = {"t_end": 7.0, "scheme": scheme}
    pde = warned("100% or more", comm, Porous(), Barenblatt(), box(cells), dt=dt, on_blow_up="ignore", **run)
    assert pde.diagnostics["maximum"][-1] > 0.6
    with pytest.raises(kspde.BlowUpError, match="the step is too long"):
        kspde.solve(Porous(), Barenblatt(), box(cells), dt=dt, **run)
    pde = warned("", comm, Porous(), Barenblatt(), box(128), dt=0.02, **run)
    x = np.linspace(-4.0, 4.0, 81)[:, None]
    np.testing.assert_allclose(pde.evaluate(x), Barenblatt(8.0)(x), atol=3e-3, rtol=0)  # at the front
    np.testing.assert_allclose(pde.diagnostics["maximum"][-1], 0.22714, atol=1e-4, rtol=0)


@pytest.mark.one_rank
@pytest.mark.parametrize("options", [{}, {"scheme": "rosenbrock"}, {"scheme": "positive", "dt": 0.01}])
def test_round_off_below_zero_in_a_field_is_none(options) -> None:
    """K * u through modes is −1e-15 where u = 0; √c would be NaN there, and D = c negative."""

    @dataclass(frozen=True, kw_only=True)
    class Rooted(Porous):
        def diffusion(self, species, c):
            return 0.5 * np.sqrt(c["c"]) if options.get("dt") else 0.1 + 0.5 * np.maximum(c["c"], 0.0)

    box = kspde.Box(half_width=5.0, cells=64, degree=1, dimension=1, grading=0.0)
    pde = kspde.solve(Rooted(), Barenblatt(), box, t_end=0.05, **options)
    assert np.all(np.isfinite(pde.diagnostics["maximum"]))
    assert pde.diagnostics["t"][-1] == 0.05


#: 1 − max u/its exact value at the end, by cells.
LOST = {"positive": {48: 0.456, 96: 0.294}, "positive-2": {48: 0.0349, 96: 0.0025}}


@pytest.mark.parametrize("scheme", LOST)
@pytest.mark.parametrize("cells", [48, pytest.param(96, marks=pytest.mark.one_rank)])
def test_upwind_fluxes_are_reported(cells, scheme, comm) -> None:
    """A Gaussian in a wind: positive spreads it, positive-2 is of order 2; both warn."""
    u0 = drop(1.0, std=0.4, mean=(-1.0, -0.5))
    model, box = Blown(diffusivity=2e-3, wind=(1.0, 0.5)), kspde.Box(half_width=4.0, cells=cells, degree=1, grading=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pde = kspde.solve(model, u0, box, t_end=1.0, scheme=scheme, dt=1.92 / cells)
    peclet = np.hypot(1.0, 0.5) * (8.0 / cells) / 2e-3
    lines = [str(w.message) for w in caught if "Péclet" in str(w.message)]
    assert len(lines) == (comm.rank == 0)
    assert all(f"|b| h/D of u is {peclet:.2g} where its mass is" in line and "of order 1" in line for line in lines)
    assert all(("of order 2 in space only where u is smooth" in line) == (scheme == "positive-2") for line in lines)
    np.testing.assert_allclose(pde.summary()["cell_peclet"], peclet, rtol=1e-2)
    peak = 1.0 / (2.0 * np.pi * (0.16 + 2 * 2e-3))
    np.testing.assert_allclose(1.0 - pde.diagnostics["maximum"][-1] / peak, LOST[scheme][cells], atol=0.005)
    assert pde.diagnostics["minimum"].min() >= 0.0
    np.testing.assert_allclose(pde.diagnostics["mass"], 1.0, rtol=1e-13)


@pytest.mark.one_rank
@pytest.mark.parametrize("diffusivity", [2e-3, 0.0])
def test_order_in_space_where_drift_dominates(diffusivity, comm) -> None:
    """Positive-2, dt ∝ h, on a line: cells from four to nine in a standard deviation, Péclet numbers from 16 to ∞."""
    errors = []
    x = np.linspace(-1.5, 1.5, 31)
    spread = 0.16 + 2 * diffusivity
    exact = np.exp(-(x**2) / (2 * spread)) / np.sqrt(2 * np.pi * spread)
    for cells in (96, 192, 384):
        box = kspde.Box(dimension=1, half_width=4.0, cells=cells, degree=1, grading=0.0)
        model, u0 = Blown(diffusivity=diffusivity, wind=(1.0,), dimension=1), drop(1.0, std=0.4, mean=(-1.0,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kspde.KspdeWarning)
            pde = kspde.solve(model, u0, box, t_end=1.0, scheme="positive-2", dt=1.92 / cells)
        assert pde.diagnostics["minimum"].min() >= 0.0
        errors.append(np.abs(pde.evaluate(x[:, None]) - exact).max())
    assert errors[0] > 3.5 * errors[1] > 3.5**2 * errors[2]
    assert errors[2] < 2e-3


@dataclass(frozen=True, kw_only=True)
class Filling(kspde.Model):
    """∂_t u = DΔu − χ∇·((1 − u)u∇c): the drift vanishes where u is 1."""

    dimension: int = 1

    @property
    def fields(self):
        wide = kspde.Field(name="c", kernel=kspde.Yukawa(), gradient=True)
        return (kspde.Field(name="own", kernel=kspde.Identity()), wide)

    def diffusion(self, species, c):
        return 0.1

    def drift(self, species, c):
        return 40.0 * np.maximum(1.0 - c["own"], 0.0)[:, None] * c.gradient("c")


@pytest.mark.one_rank
def test_drift_that_has_vanished_is_reported() -> None:
    """The largest Péclet number of the run counts, not that of its end, where u is 1 or 0 and b vanishes."""
    box = kspde.Box(dimension=1, half_width=8.0, cells=96, degree=1, grading=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pde = kspde.solve(Filling(), drop(2.0, std=1.0, mean=(0.3,)), box, t_end=1.0, scheme="positive", dt=0.02)
    assert any("the cell Péclet number" in str(w.message) for w in caught)
    assert pde.summary()["cell_peclet"] > 4.0
    assert pde.diagnostics["maximum"][-1] > 1.2  # what the warning is about: u ≤ 1 is not enforced


def test_negative_values_do_not_recommend_them(comm) -> None:
    model, box = Blown(diffusivity=2e-3, wind=(1.0, 0.5)), kspde.Box(half_width=4.0, cells=12, degree=2, grading=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kspde.solve(model, drop(1.0, std=0.4, mean=(-1.0, -0.5)), box, t_end=0.5, tol=1e-4)
    lines = [str(w.message) for w in caught if "does not resolve the density" in str(w.message)]
    assert len(lines) == (comm.rank == 0)
    for line in lines:
        assert "use a finer one. (The positive schemes keep u >= 0 on this one, but at its cell Péclet number " in line
        assert "or scheme=" not in line
