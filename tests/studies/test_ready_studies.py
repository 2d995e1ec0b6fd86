"""The studies that come with kspde: each computes what it says, on points cut down to seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from reduced_studies import reduced

import kspde
from kspde import theory
from kspde.cli.ledger import read_results
from kspde.cli.study import read_study, ready_studies
from kspde.papers.studies import MEASURES, Outcome, Study, rates_of
from kspde.papers.studies.measures import Task, measured
from kspde.papers.studies.outcome import verdict
from kspde.papers.studies.pictures import pictures_of_values
from kspde.papers.studies.power_law import fit_power_law
from kspde.papers.studies.study import GROWING
from kspde.radial import moment

Run = Callable[..., Outcome]


@pytest.mark.one_rank
@pytest.mark.parametrize("name", ready_studies())
@pytest.mark.parametrize("small", [True, False])
def test_all_are_valid(name: str, small: bool) -> None:
    study = read_study(name, small=small)
    assert len({point.key for point in study.points}) == len(study.points)
    assert len({point.seed for point in study.points}) == len(study.points)
    assert study.fits or (study.finding and study.finding.shown)
    assert all(fit.quantity in MEASURES[study.measure].quantities for fit in study.fits)


@pytest.mark.one_rank
def test_shipped_results_are_of_the_random_numbers_of_this_version() -> None:
    drawn = {point.seed for point in read_study("lemma2").points}
    assert drawn == {point["seed"] for point in read_results([])["lemma2"]["points"]}


def values(outcome: Outcome, name: str) -> list[Any]:
    return [record["quantities"][name] for record in outcome.records]


def initial_density(study: Study) -> Any:
    (density,) = study.points[0].experiment.problem.u0.values()
    return density


def test_theorem1_measures_the_coupling(carried_out: Run, comm: Any) -> None:
    study = reduced(
        "theorem1",
        lambda n, gamma, **_: n in (125, 500) and gamma == 0.019,
        options={"replicas": 4, "saves": 4},
        t_end=0.12,
        dt=0.03,
    )
    outcome = carried_out(study, ranks_per_point=comm.size)
    point, sup = study.points[0], values(outcome, "sup")
    # The first replica is what simulate gives with the same seed.
    save = kspde.SaveAt(times=np.linspace(0, 0.12, 5))
    pde = point.experiment.density(save=save, comm=MPI.COMM_SELF)
    cloud = point.experiment.cloud(mean_field=pde, comm=MPI.COMM_SELF, seed=point.seed)
    assert cloud.coupling is not None
    assert sup[0].samples[0] == pytest.approx(cloud.coupling.supremum, rel=1e-4)
    assert sup[1].value < 0.8 * sup[0].value
    for record, s in zip(outcome.records, sup, strict=True):
        level = record["swept"]["n"] ** 0.1
        assert record["quantities"]["markov"].value == pytest.approx(np.mean((level * np.array(s.samples)) ** 2))
        assert 0 < record["quantities"]["mean_square"].value < np.mean(np.array(s.samples) ** 2)
        assert record["quantities"]["probability"].value == np.mean(np.array(s.samples) * level > 0.025)
        assert record["swept"]["eps"] == pytest.approx(0.3 * record["swept"]["n"] ** -0.019)
    promised = {(p.order, p.status) for rate in outcome.rates for p in rate.promises if rate.fit.quantity == "markov"}
    assert promised == {(theory.theorem1(theta=0.3, alpha=0.1, m=4).eta_sup(0.019), "proved"), (0.4, "improved")}


def test_the_minimal_distance_is_that_of_independent_points(carried_out: Run) -> None:
    # For i.i.d. points the number of pairs closer than r is nearly Poisson of mean N² π r² ∫u²/2.
    study = reduced(
        "theorem1",
        lambda n, gamma, **_: n == 500 and gamma == 0.019,
        options={"replicas": 64, "saves": 1},
        t_end=1e-3,
        dt=1e-3,
    )
    found = values(carried_out(study), "minimal_distance")[0]
    u0 = initial_density(study)
    axis = np.linspace(-6, 6, 601)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    square = np.sum(u0(grid) ** 2) * (axis[1] - axis[0]) ** 2
    expected = 0.5 * np.sqrt(np.pi / (0.5 * 500**2 * np.pi * square))  # E of a Rayleigh variable
    assert abs(found.value - expected) < 4 * found.error


def test_the_constants_are_multiples_and_the_term_of_a_particle_itself_counts(carried_out: Run) -> None:
    study = reduced(
        "theorem1",
        lambda n, gamma, **_: n == 125 and gamma == 0.019,
        options={"replicas": 8, "saves": 2},
        t_end=0.06,
        dt=0.03,
    )
    (found,) = carried_out(study).records
    q = found["quantities"]
    assert q["scaled_sup"].value == pytest.approx(np.sqrt(125 / np.log(125)) * q["sup"].value)
    pde = study.points[0].experiment.density(comm=MPI.COMM_SELF)
    axes = [np.linspace(-8, 8, 321)] * 2
    square = np.sum(pde.on_grid(axes) ** 2) * 0.05**2
    expected = 125 * q["minimal_distance"].value * np.sqrt(2 * square)  # of N independent points in the plane
    assert q["minimal_ratio"].value == pytest.approx(expected * np.sqrt(124 / 125), rel=1e-4)
    point = study.points[0]
    task = Task(experiment=point.experiment, seed=point.seed, comm=MPI.COMM_SELF)
    without = measured(replace(point.measure, self_interaction="out"), task)
    assert without["mean_square"].value < 0.9 * q["mean_square"].value  # the same noise


def test_lemma2_measures_the_variance_that_a_quadrature_gives(carried_out: Run, comm: Any) -> None:
    study = reduced("lemma2", lambda n, **_: n == 100, options={"replicas": 400}, t_end=0.01)
    outcome = carried_out(study, ranks_per_point=comm.size)
    m, k = 512, 2 * np.pi * np.fft.fftfreq(512, 28 / 512)
    axis = -14 + 28 / m * np.arange(m)
    lam = k[:, None] ** 2 + k[None, :] ** 2
    symbol = 8 / (1 + lam) * np.exp(-0.045 * lam)
    u = initial_density(study)(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)).reshape(m, m)
    psi = np.fft.ifft2(symbol).real * (m / 28) ** 2  # centred at the first node
    mean = np.fft.ifft2(np.fft.fft2(u) * symbol).real
    second = np.fft.ifft2(np.fft.fft2(u) * np.fft.fft2(psi**2)).real * (28 / m) ** 2
    cell, n = (28 / m) ** 2, 100
    variance = np.sum(u * (second - mean**2)) * cell
    own = np.sum(u * (psi[0, 0] - mean) ** 2) * cell  # j = i
    found = values(outcome, "moment_1")[0]
    assert abs(found.value - ((n - 1) * variance + own) / n**2) < 4 * found.error
    assert found.error < 0.05 * found.value
    top = moment(kspde.Yukawa(strength=8.0) * kspde.GaussianMollifier(eps=0.3), 2)
    for power in (1, 2, 3):
        scaled = values(outcome, f"moment_{power}")[0].value * n**power / top ** (2 * power)
        assert values(outcome, f"constant_{power}")[0].value == pytest.approx(scaled)


def test_lemma2_is_fitted_with_the_next_power_of_1_over_n(carried_out: Run) -> None:
    study = reduced("lemma2", lambda n, **_: n in (50, 100, 200), options={"replicas": 200}, t_end=0.01)
    fitted = carried_out(study).rates[0]
    assert fitted.fit.quantity == "moment_1"
    assert fitted.law is not None
    assert fitted.law.correction is not None
    assert fitted.law.correction[1] == -1
    assert fitted.law.at(fitted.x) == pytest.approx([q.value for q in fitted.values], rel=1e-9)  # three points


def test_the_local_rate_measures_one_particle(carried_out: Run) -> None:
    options = {"replicas": 400, "saves": 2, "bandwidth": 0.4}
    (record,) = carried_out(reduced("local-rate", lambda n, **_: n == 25, options=options, t_end=0.1, dt=0.05)).records
    l1, entropy = record["quantities"]["l1"], record["quantities"]["entropy"]
    assert 0.02 < 25 * l1.value < 0.2
    assert l1.interval[0] ** 2 <= 2 * entropy.interval[1]  # Cauchy and Schwarz


def test_theorem2_measures_law_and_entropy(carried_out: Run) -> None:
    study = reduced("theorem2", lambda n, **_: n in (64, 128), options={"replicas": 8, "saves": 3}, t_end=0.06, dt=0.03)
    outcome = carried_out(study)
    for record in outcome.records:
        q, n = record["quantities"], record["swept"]["n"]
        assert q["total_entropy"].value == pytest.approx(n * q["entropy"].value)
        assert q["certified_l1"].value == pytest.approx(np.sqrt(2 * q["entropy"].value))
        assert q["l1"].interval[0] <= q["certified_l1"].interval[1]
    two = theory.theorem2(theta=0.4, alpha=0.1, m=7)
    orders = {(r.fit.quantity, p.status): p.order for r in outcome.rates for p in r.promises}
    assert orders["l1", "printed"] == pytest.approx(0.0025 * two.beta_sup(0.0025, 0.03)) == 0.02
    assert orders["l1", "proved"] == pytest.approx(0.01)
    assert orders["entropy", "proved"] == pytest.approx(0.02)


def test_the_product_bound_grows_as_eps_falls_and_the_tilted_one_does_not(
    carried_out: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    seen: list[Figure] = []

    def kept(eps: float, reference: str) -> bool:
        return eps == 0.001 or (eps == 0.1 and reference == "product")

    outcome = carried_out(reduced("theorem2-eps", kept, options={"saves": 4}, t_end=0.08))
    total = {tuple(r["swept"].values()): r["quantities"]["total_entropy"].value for r in outcome.records}
    assert set(outcome.records[0]["quantities"]) == {"entropy", "total_entropy", "certified_l1"}
    assert total[0.001, "product"] > 2 * total[0.1, "product"]
    assert total[0.001, "tilted"] < 0.5 * total[0.001, "product"]
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: seen.append(self))
    assert set(pictures_of_values(outcome.study, outcome.records)) == {"total_entropy-eps.png", "certified_l1-eps.png"}
    assert [figure.axes[0].get_xscale() for figure in seen] == ["log", "log"]


@pytest.mark.one_rank
def test_the_finding_on_the_tilted_bound_says_what_its_shipped_values_do() -> None:
    """What theorem2-eps's finding says of its shipped values: fits by numpy, beside B and the values themselves."""
    points = read_results([])["theorem2-eps"]["points"]
    said = str(read_study("theorem2-eps").finding)
    eps = np.array([0.3, 0.1, 0.03, 0.01, 0.003, 0.001])
    u, fits, late, l1 = -np.log(eps), {}, {}, {}
    for reference in ("product", "tilted"):
        found = {p["swept"]["eps"]: p["quantities"] for p in points if p["swept"]["reference"] == reference}
        total = [found[e]["total_entropy"] for e in eps]
        value, error = (np.array([q[name] for q in total]) for name in ("value", "error"))
        for name, x in (("line", -eps), ("log", u)):
            design = np.stack([np.ones(6), x], axis=1) / error[:, None]
            (a, b), (square,), *_ = np.linalg.lstsq(design, value / error, rcond=None)
            fits[reference, name] = (a, b, square)
        (slope, _), cov = np.polyfit(u[2:], value[2:], 1, w=1 / error[2:], cov="unscaled")
        reach = 1.979 * np.sqrt(cov[0, 0])  # 127 degrees of freedom
        late[reference] = np.round([slope, slope - reach, slope + reach], 4)
        l1[reference] = round(found[0.001]["certified_l1"]["interval"][1], 4)
        texts = [f"{v:.4f}"[1:] for v in value]
        assert all(text in said for text in (texts if reference == "tilted" else (texts[0], texts[-1])))
    assert np.round(fits["tilted", "line"], 4)[:2] == pytest.approx([0.0118, 0.0113])
    assert fits["tilted", "line"][2] == pytest.approx(0.9, abs=0.05)
    assert fits["tilted", "log"][2] == pytest.approx(19.7, abs=0.05)
    assert late["tilted"] == pytest.approx([-0.0001, -0.0005, 0.0004])
    assert late["product"] == pytest.approx([0.0179, 0.0172, 0.0185])
    assert l1 == {"product": 0.0243, "tilted": 0.0079}


def test_mollification_is_of_order_two(carried_out: Run) -> None:
    study = reduced(
        "mollification", lambda eps, mollifier: eps < 0.15 and mollifier == "gaussian", options={}, t_end=0.05
    )
    outcome = carried_out(study)
    for rate in outcome.rates:
        assert rate.order is not None
        assert rate.order[0] == pytest.approx(2.0, abs=0.05)
        assert [p.verdict for p in rate.promises] == ["supported"]
    # u^eps - u to first order in time: t Lap(((exp(-v))' (v^eps - v)) u), by a Fourier code.
    m = 512
    axis = -14 + 28 / m * np.arange(m)
    k = 2 * np.pi * np.fft.fftfreq(m, 28 / m)
    lam = k[:, None] ** 2 + k[None, :] ** 2
    u = initial_density(study)(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)).reshape(m, m)

    def signal(eps: float) -> Any:
        return np.fft.ifft2(np.fft.fft2(u) * 8 / (1 + lam) * np.exp(-(eps**2) * lam / 2)).real

    eps = outcome.records[-1]["swept"]["eps"]
    rate_of_change = np.fft.ifft2(-lam * np.fft.fft2((np.exp(-signal(eps)) - np.exp(-signal(0.0))) * u)).real
    size = 0.05 * np.abs(rate_of_change).sum() * (28 / m) ** 2
    assert 0.3 * size < values(outcome, "l1")[-1].value < size  # diffusion has smoothed it since


def test_convergence_is_measured_against_the_finer_solution_and_the_known_number(carried_out: Run) -> None:
    study = reduced(
        "pde-convergence",
        lambda cells, degree, tol: (cells, degree) in ((12, 2), (24, 2), (12, 4)) and tol == 1e-5,
        options={"reference_cells": 24, "reference_degree": 6, "reference_tol": 1e-7},
        t_end=0.5,
    )
    errors = {(r["swept"]["cells"], r["swept"]["degree"]): r["quantities"] for r in carried_out(study).records}
    assert errors[24, 2]["l1"].value < 0.25 * errors[12, 2]["l1"].value
    assert errors[12, 4]["l1"].value < 0.2 * errors[12, 2]["l1"].value
    assert errors[24, 2]["point"].value < 2e-4
    assert errors[12, 4]["point"].value < 2e-4
    assert 0 < errors[24, 2]["time"].value < 0.1 * errors[24, 2]["l1"].value


def test_time_step_errors_fall_and_the_free_system_has_none(carried_out: Run) -> None:
    study = reduced(
        "time-step",
        lambda dt, scheme: scheme == "euler-maruyama" and dt != 0.125,
        options={"replicas": 4},
        t_end=0.5,
        n=4000,
    )
    outcome = carried_out(study)
    errors = [abs(q.value) for q in values(outcome, "second_moment")]
    assert errors[0] > 2 * errors[1]
    assert errors[0] > 4 * values(outcome, "second_moment")[0].error
    for free in values(outcome, "free"):
        assert abs(free.value) < 5 * free.error


@pytest.mark.one_rank
def test_the_range_of_an_interaction_matters_to_order_two(carried_out: Run) -> None:
    study = reduced(
        "cross-diffusion-eta",
        lambda eps, mollifier: eps < 0.3 and mollifier == "compact-bump",
        options={"saves": 1},
        t_end=0.02,
    )
    outcome = carried_out(study)
    assert [rate.fit.quantity for rate in outcome.rates] == ["l2", "gradient"]
    for rate in outcome.rates:
        assert rate.order is not None
        assert rate.order[0] == pytest.approx(2.0, abs=0.05)
        assert [p.verdict for p in rate.promises] == ["supported", "supported"]
    experiment = study.points[0].experiment
    axes = [np.linspace(-4.0, 4.0, 161)] * 2
    square = 0.0
    local, mollified = (
        experiment.density(**problem.arguments, comm=MPI.COMM_SELF)
        for problem in (experiment.problem.local, experiment.problem)
    )
    for species in local.species:
        square += np.sum(np.square(mollified.on_grid(axes, species) - local.on_grid(axes, species))) * 0.05**2
    assert values(outcome, "l2")[0].value == pytest.approx(np.sqrt(square), rel=1e-4)  # it grows: the end is the worst


@pytest.mark.one_rank
def test_limiting_particles_are_those_that_the_local_density_moves(carried_out: Run) -> None:
    study = reduced(
        "cross-diffusion-particles",
        lambda n, eps: n == 1000 and eps == 1.25,
        options={"replicas": 2, "saves": 1},
        t_end=0.02,
        dt=0.02,
        n=50,
    )
    (found,) = values(carried_out(study), "sup")
    point = study.points[0]
    save = kspde.SaveAt(times=(0.0, 0.02))
    local = point.experiment.density(**point.experiment.problem.local.arguments, save=save, comm=MPI.COMM_SELF)
    cloud = point.experiment.cloud(
        n=100, method="direct", mean_field=local, mean_field_differs=("eps",), comm=MPI.COMM_SELF, seed=point.seed
    )
    assert cloud.coupling is not None
    assert np.mean(found.samples) == pytest.approx(cloud.coupling.distance.max(axis=0).sum(), rel=0.1)
    task = Task(experiment=point.experiment, seed=point.seed, comm=MPI.COMM_SELF)
    intermediate = measured(replace(point.measure, mean_field="mollified"), task)["sup"]
    assert found.value > 1.5 * intermediate.value  # the range is what separates them


@pytest.mark.one_rank
def test_fluctuations_have_mean_field_particles_as_control_variates(carried_out: Run) -> None:
    study = reduced("fluctuations", lambda n: n == 60, options={"replicas": 60, "saves": 4}, t_end=0.04)
    (record,) = carried_out(study).records
    found = record["quantities"]
    share = found["limit"].value - found["interaction_limit"].value
    assert found["variance"].value - found["interaction"].value == pytest.approx(share, rel=1e-12)
    assert abs(found["remainder"].value) < 4 * found["remainder"].error + 0.05 * found["limit"].value
    assert found["variance"].error < 0.2 * found["variance"].value * np.sqrt(2 / 60)  # that of plain runs


@pytest.mark.one_rank
def test_what_a_particles_own_term_adds_grows_like_the_square_of_a_logarithm() -> None:
    """What coupling-eps's finding says of its shipped values at γ = 1."""
    result = read_results([])["coupling-eps"]
    found = {
        (swept["n"], swept["self_interaction"]): point["quantities"]["mean_square"]
        for point in result["points"]
        if (swept := point["swept"])["gamma"] == 1.0
    }
    said = []
    for n in (250, 500, 1000):
        own, other = (found[n, name] for name in ("in", "out"))
        added, reach = own["value"] - other["value"], 1.96 * np.hypot(own["error"], other["error"])
        square = (8.0 / (2 * np.pi) * np.log(n / 0.3)) ** 2
        said.append([*(n**2 * np.array([added, added - reach, added + reach])), n**2 * added / square])
    expected = [[17.3, 15.9, 18.7, 0.24], [19.5, 17.4, 21.6, 0.22], [28.1, 24.3, 32.0, 0.26]]
    np.testing.assert_allclose(said, expected, rtol=0.02)


def test_the_next_power_explains_the_order_of_the_entropy_of_one_particle() -> None:
    """What local-rate's finding says of its shipped values: N²H₁ = A(1 + c/N), and the order of a power alone."""
    (result,) = (r for r in read_results([]).values() if r["study"] == "local-rate")
    n = np.array([float(point["swept"]["n"]) for point in result["points"]])
    h = [point["quantities"]["entropy"] for point in result["points"]]
    value, error = (n**2 * np.array([each[name] for each in h]) for name in ("value", "error"))
    design = np.stack([np.ones_like(n), 1 / n], axis=1) / error[:, None]
    (a, b), (misfit,), *_ = np.linalg.lstsq(design, value / error, rcond=None)
    spread = 1.96 * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    np.testing.assert_allclose(
        [a, spread[0], b / a, spread[1] / a, misfit], [0.0904, 0.0021, -1.93, 1.12, 5.04], rtol=0.02
    )
    alone, expected = (fit_power_law(n, y / n**2, error / n**2, scale="linear") for y in (value, a + b / n))
    assert alone is not None
    assert expected is not None
    assert -2 < alone.interval[0] < expected.slope < alone.interval[1]
    assert round(expected.slope, 3) == -1.97


@pytest.mark.one_rank
def test_what_the_linear_scale_would_change_is_what_the_page_says() -> None:
    """The fits through logarithms of the shipped results, on the linear scale."""
    count, changed = 0, []
    for name, result in read_results([]).items():
        scales = {(fit.quantity, fit.against): fit.scale for fit in read_study(name).fits if not fit.correction}
        for rate in rates_of(result):
            if rate.law is None or scales.get((rate.fit.quantity, rate.fit.against)) != "logarithmic":
                continue
            points = [p for p in result["points"] if rate.group.items() <= p["swept"].items()]
            found = [point["quantities"][rate.fit.quantity] for point in points]
            if not any(entry["error"] > 0 for entry in found):
                continue
            count += 1
            law = fit_power_law(
                [float(point["swept"][rate.fit.against]) for point in points],
                *([entry[key] for entry in found] for key in ("value", "error")),
                [float(entry["replicas"] or np.inf) for entry in found],
                scale="linear",
            )
            assert law is not None
            sign = -1 if rate.fit.against in GROWING else 1
            low, high = sorted(sign * end for end in law.interval)
            judged = [(promise.verdict, verdict((low, high), promise.order)) for promise in rate.promises]
            changed += [both for both in judged if both[0] != both[1]]
    assert (count, len(changed), set(changed)) == (167, 2, {("not resolved", "supported")})
    page = (Path(__file__).parents[2] / "book" / "findings.md").read_text(encoding="utf-8")
    assert f"the {count} rates with scatter for which no study asks for it would change two verdicts" in " ".join(
        page.split()
    )


def test_a_constant_grows_as_the_linear_theory_says(carried_out: Run) -> None:
    study = reduced("volatility-constants", lambda mean, **_: mean == 1.5, options={}, t_end=0.04)
    study = replace(study, points=study.points[-1:])  # two bumps at .9
    assert study.points[0].swept == {"mean": 1.5, "centre": 0.9}
    outcome = carried_out(study)
    (scaled,), (linear,) = values(outcome, "scaled"), values(outcome, "linear")
    z, w = np.polynomial.legendre.leggauss(60)
    w = w * np.exp(-1 / (1 - z**2))
    k = np.pi / 2 * np.arange(1, 100, 2)  # of the torus [−2, 2], ε = .2
    least = (np.cos(np.outer(0.2 * k, 0.9 + 0.1 * z)) @ w / w.sum()).min()
    assert linear.value == pytest.approx(-1 - 2 * 1.5 / 2.5 * least, abs=1e-6)
    assert scaled.value == pytest.approx(linear.value, abs=1e-4)
    assert set(pictures_of_values(study, outcome.records)) == {"scaled-mean.png"}


def test_the_largest_density_of_the_nonlocal_equation_is_measured(carried_out: Run) -> None:
    def kept(b: float, eps: float, **_: Any) -> bool:
        return b == 0.5 and eps == 0.1

    study = reduced("volatility-condition", kept, options={}, t_end=0.002)
    gaussian, bumps = values(carried_out(study), "supremum")
    assert gaussian.value == pytest.approx(1.0, abs=1e-12)  # as Lemma 4.2 says
    assert 1.0 <= bumps.value < 3.0
