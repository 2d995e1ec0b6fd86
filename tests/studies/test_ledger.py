"""The ledger: its rule, its errata, and that its numbers are those of results and theory."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kspde
from kspde import theory
from kspde.cli import ledger
from kspde.cli.ledger import ledger_text, read_results
from kspde.cli.study import read_study, ready_studies
from kspde.papers.ledger import (
    Check,
    Claim,
    Computed,
    MeasuredConstant,
    MeasuredRate,
    MeasuredRatio,
    NotTestable,
    Row,
    checks,
    claims,
    rows_of,
)
from kspde.papers.studies.outcome import by_chance
from kspde.papers.studies.study import NOISE_OF

pytestmark = pytest.mark.one_rank


def row(results: dict[str, Any], source: str, number: str, promised: str = "") -> Row:
    found = [r for r in rows_of(claims(), results) if r.source == source and r.number == number]
    (one,) = [r for r in found if r.promised.startswith(promised)]
    return one


def summary(order: float | None, interval: list[float] | None) -> dict[str, Any]:
    rate = {"quantity": "q", "against": "n", "group": {"g": 1}, "x": [10.0, 100.0], "values": [0.0, 0.0]}
    return {"s": {"command": "run it", "rates": [rate | {"order": order, "interval": interval}], "points": []}}


@pytest.mark.parametrize(
    ("order", "interval", "verdict"),
    [
        (0.6, [0.5, 0.7], "supported"),
        (0.6, [0.3, 0.7], "not resolved"),
        (0.2, [0.1, 0.3], "contradicted"),
        (0.2, [None, None], "not resolved"),
        (None, None, "not resolved"),
    ],
)
def test_rates_are_judged_by_their_interval(order: float | None, interval: list[float] | None, verdict: str) -> None:
    claim = Claim(
        source="a",
        number="b",
        promised="c",
        evidence=MeasuredRate(study="s", quantity="q", against="n", order=0.5, at={"g": 1}),
    )
    (found,) = rows_of([claim], summary(order, interval))
    assert (found.verdict, found.command) == (verdict, "run it")
    assert ("order 0." in found.measured) == (order is not None)
    (missing,) = rows_of([claim], {})
    assert (missing.verdict, missing.measured) == ("not testable", "no results of the study s are at hand")
    other = copy.deepcopy(summary(order, interval))
    other["s"]["rates"][0]["group"] = {"g": 2}
    assert rows_of([claim], other)[0].verdict == "not testable"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.5, 1.0), "supported"), ((0.5, 1.5), "not resolved"), ((1.1, 1.5), "contradicted")],
)
def test_ratios_are_judged_by_their_interval(interval: tuple[float, float], verdict: str) -> None:
    def check() -> Check:
        return Check(value="v", ratio=1.0, interval=interval)

    claim = Claim(source="a", number="b", promised="c", evidence=Computed(check=check))
    assert rows_of([claim], {})[0].verdict == verdict


def test_no_measurement_is_counted_as_two_rows() -> None:
    seen = set()
    for claim in claims():
        evidence = claim.evidence
        if isinstance(evidence, NotTestable):
            continue
        if isinstance(evidence, (MeasuredConstant, MeasuredRate)):
            key: Any = (evidence.study, evidence.quantity, evidence.against, tuple(sorted(evidence.at.items())))
        elif isinstance(evidence, MeasuredRatio):
            key = (evidence.study, evidence.check, tuple(sorted(evidence.at.items())))
        else:
            key = evidence.check
        assert key not in seen, claim.number
        seen.add(key)
    # What follows from another quantity by a formula has no row of its own: √(2H), N H per N.
    assert not {("theorem2", name) for name in ("certified_l1", "total_entropy")} & {
        key[:2] for key in seen if isinstance(key, tuple)
    }


def test_other_promises_of_a_measurement_stand_in_its_row() -> None:
    claim = Claim(
        source="a",
        number="b",
        promised="c",
        evidence=MeasuredRate(
            study="s", quantity="q", against="n", order=0.5, at={"g": 1}, also=(("theirs", 0.7), ("ours", 2.0))
        ),
    )
    (found,) = rows_of([claim], summary(0.7, [0.6, 0.9]))
    assert found.verdict == "supported"
    assert found.measured.endswith("; theirs, order 0.7: not resolved; ours, order 2: contradicted")


def test_what_chance_alone_does_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    results = read_results([])
    rows = rows_of(claims(), results)
    monkeypatch.setattr(ledger, "rows_of", lambda *_: rows)
    count = sum(bool(r.interval) for r in rows)
    assert count > 10
    sentence = f"{count} measured numbers are judged by a 95 % interval"
    for path in (None, Path("x.html"), Path("x.md"), Path("x.json")):
        text = " ".join(ledger_text(results, path).split())
        assert sentence in text
        assert f"at most {0.025 * count:.2g} of them are expected to be contradicted by chance" in text
    assert by_chance(0) == "Nothing is judged by an interval."
    assert by_chance(1).startswith("1 measured number is judged by a 95 % interval.")
    assert "at most 3 % " not in by_chance(40)
    assert "at most 100 %." in by_chance(40)


def test_the_growth_of_the_entropy_bound_in_eps() -> None:
    """The slope by numpy's weighted fit, and B by the function that derives it (tests/evidence/test_log_law.py)."""
    results: dict[str, Any] = copy.deepcopy(read_results([]))
    found = row(results, "kspde", "entropy bound, ε → 0")
    points = results["theorem2"]["points"]
    x = [-math.log(p["swept"]["eps"]) for p in points]
    values = [p["quantities"]["total_entropy"] for p in points]
    slope = np.polyfit(x, [q["value"] for q in values], 1, w=[1 / q["error"] for q in values])[0]
    assert f"slope {slope:.4f} " in found.measured
    assert found.verdict == "supported"
    assert "= 0.0182" in found.promised
    for p in points:
        p["quantities"]["total_entropy"]["value"] -= 0.02 * math.log(p["swept"]["eps"])
    assert row(results, "kspde", "entropy bound, ε → 0").verdict == "contradicted"


def test_the_tilted_bound_does_not_grow_in_eps_and_the_other_one_does() -> None:
    """The slopes by numpy's weighted fits, and the verdicts where values grow as they should not."""
    results: dict[str, Any] = copy.deepcopy(read_results([]))
    points = {(p["swept"]["reference"], p["swept"]["eps"]): p for p in results["theorem2-eps"]["points"]}
    for reference, ends, more in (("product", (0.001, 0.3), ""), ("tilted", (0.001, 0.03), ", tilted reference")):
        number = f"entropy bound, ε → 0 at N = 400{more}"
        eps = sorted(e for name, e in points if name == reference and ends[0] <= e <= ends[1])
        found = [points[reference, e]["quantities"]["total_entropy"] for e in eps]
        slope, _ = np.polyfit(-np.log(eps), [q["value"] for q in found], 1, w=[1 / q["error"] for q in found])
        stated = row(results, "kspde", number)
        assert f"slope {slope:.4f} ".replace("-", "−") in stated.measured
        assert f"for ε = {ends[0]:.3f} to {ends[1]:.3f}" in stated.measured
        assert stated.verdict == "supported"
        for e, q in zip(eps, found, strict=True):
            q["value"] -= 0.003 * math.log(e)  # a sixth of B
        assert row(results, "kspde", number).verdict == "contradicted"


def test_every_claim_points_at_a_fit_that_a_study_makes_in_both_settings() -> None:
    read = cache(read_study)
    for claim in claims():
        if not isinstance(claim.evidence, MeasuredRate):
            continue
        for small in (True, False):
            study = read(claim.evidence.study, small=small)
            fits = {(fit.quantity, fit.against) for fit in study.fits}
            assert (claim.evidence.quantity, claim.evidence.against) in fits, claim.number
            for name, value in claim.evidence.at.items():
                assert value in study.axes[name], claim.number


def test_the_shipped_results_are_those_of_the_ready_studies() -> None:
    results = read_results([])
    assert set(results) == set(ready_studies())
    for name, found in results.items():
        assert found["kspde"] in {NOISE_OF, kspde.__version__}
        study = read_study(name, small=found["setting"] == "small")
        assert found["axes"] == {axis: list(values) for axis, values in study.axes.items()}
        assert len(found["points"]) == len(study.points)
        for point, swept in zip(found["points"], study.points, strict=True):
            assert point["swept"] == pytest.approx(dict(swept.swept))
            measure = swept.parameters["measure"]
            if study.precision is not None:
                measure = {**measure, "replicas": point["quantities"][study.precision.quantity]["replicas"]}
            assert point["seed"] == replace(swept, parameters={**swept.parameters, "measure": measure}).seed
        fixed, stated = found["fixed"], dict(study.points[0].parameters)
        if study.precision is not None:  # replicas are those of the pilot run
            fixed, stated = ({**each, "measure": {**each["measure"], "replicas": 0}} for each in (fixed, stated))
        assert fixed == stated
        assert found["provenance"]["date"]
    for claim, r in zip(claims(), rows_of(claims(), results), strict=True):
        if isinstance(claim.evidence, (MeasuredConstant, MeasuredRate, MeasuredRatio)):
            assert r.verdict != "not testable", claim
            assert r.command.startswith("kspde study ")
        assert (r.verdict == "not testable") == isinstance(claim.evidence, NotTestable)


def test_the_constant_of_landaus_pairs_is_that_of_the_model() -> None:
    (claim,) = [claim for claim in claims() if claim.number == "Landau, pairs at equilibrium"]
    point = read_study("landau-marginals").points[0].experiment.problem
    model, n = point.model, 10**5
    assert isinstance(model, kspde.LandauMaxwell)
    pairs = model.marginal_entropy(2, n=n, t=point.t_end) * n**2 / 2
    assert claim.evidence.expected == pytest.approx(pairs, rel=1e-3)  # type: ignore[attr-defined]


def test_measured_values_come_from_the_results() -> None:
    results: dict[str, Any] = copy.deepcopy(read_results([]))
    before = row(results, "Wang, Li, Huang", "Lemma 2, (2.2), m = 1")
    (rate,) = [r for r in results["lemma2"]["rates"] if r["quantity"] == "moment_1"]
    assert f"{rate['order']:.3f}" in before.measured
    rate.update(order=0.5, interval=[0.4, 0.6])
    after = row(results, "Wang, Li, Huang", "Lemma 2, (2.2), m = 1")
    assert (after.verdict, after.interval) == ("contradicted", "[0.400, 0.600]")
    assert "order 0.500" in after.measured


def test_the_ratio_of_the_distance_and_its_certified_bound() -> None:
    results: dict[str, Any] = copy.deepcopy(read_results([]))
    number = "(3.5) with the root"
    assert row(results, "Wang, Li, Huang", number).verdict in ("supported", "not resolved")
    quantities = results["theorem2"]["points"][0]["quantities"]
    quantities["l1"] = {"value": 5.0, "interval": [4.0, 6.0]}
    found = row(results, "Wang, Li, Huang", number)
    assert found.verdict == "contradicted"
    assert "‖u_{N,1} − u^ε‖₁ = 5" in found.measured


def test_the_growth_in_time_and_the_largest_distance_are_those_of_the_points() -> None:
    results: dict[str, Any] = copy.deepcopy(read_results([]))
    points = {p["swept"]["t_end"]: p["quantities"] for p in results["long-time-dispersing-entropy"]["points"]}
    ends = [points[t]["total_entropy"]["value"] for t in (10.0, 50.0)]
    a = 0.09  # ‖∇Φ^ε‖² = χ²/(4π) ∫ s/(1 + s)² e^(−ε²s) ds
    s = np.geomspace(1e-9, 1e3, 20001)
    norm = 64 / (4 * math.pi) * np.trapezoid(s**2 / (1 + s) ** 2 * np.exp(-a * s), np.log(s))
    found = row(results, "Wang, Li, Huang", "(3.13), growth in T")
    assert f"{ends[1] - ends[0]:.4f} [" in found.measured
    assert f"expected {math.log(5) * norm / (128 * math.pi):.4f}" in found.measured
    number = "Theorem 1, growth in T without j = i"
    before = row(results, "Wang, Li, Huang", number)
    (last,) = [
        p["quantities"]["mean_square"]
        for p in results["long-time-dispersing-coupling"]["points"]
        if p["swept"] == {"t_end": 50.0, "self_interaction": "out"}
    ]
    assert f"{last['value']:.3g} at t = 2, 10, 50" in before.measured
    assert before.verdict == "supported"
    last["value"] *= 10.0
    last["error"] *= 10.0
    assert row(results, "Wang, Li, Huang", number).verdict == "contradicted"

    named = "largest distance, "
    assert row(results, "kspde", named + "vortices").verdict == "contradicted"
    (rate,) = [r for r in results["vortices-particles"]["rates"] if r["quantity"] == "sup"]  # fitted as N^−1/2
    c = rate["constant"]
    stated = "N^{{1/2}} E S = {:.3f} [{:.3f}, {:.3f}]".format(c["value"], *c["interval"])
    assert stated in row(results, "kspde", named + "vortices").measured
    (rate,) = [
        r for r in results["theorem1"]["rates"] if r["quantity"] == "scaled_sup" and r["group"] == {"gamma": 0.019}
    ]
    c = rate["constant"]
    found = row(results, "kspde", named + "signal-dependent system")
    assert "(N/log N)^{{1/2}} E S = {:.3f} [{:.3f}, {:.3f}]".format(c["value"], *c["interval"]) in found.measured
    assert found.verdict == "supported"
    for p in results["theorem1"]["points"]:
        p["quantities"]["sup"]["value"] *= p["swept"]["n"] ** 0.1
    assert row(results, "kspde", named + "signal-dependent system").verdict == "contradicted"


def test_all_errata_are_stated() -> None:
    text = " ".join(r.erratum for r in rows_of(claims(), read_results([])))
    for phrase in (
        "‖p − q‖₁ ≤ √(2H)",
        "C ε^{β/2}",
        "(1.8) and (3.2) start from u₀, (1.9) from u₀ * j^ε",
        "Han's inequality gives H_r ≤ (r/N) H_N",
        "With c_d = 2π it is 4D/χ",
        "∫dz/(1 + z³) converges",
        "False for the nonlocal (9) with a general mollifier",
        "an artefact for K̂ ≥ 0",
        "takes Aronson's estimate, which is for divergence form",
        "(1 + |x|²)^{−k}, k > 2, satisfies it",
        "γ < 1/10, η < 0.6 at θ = .3",
        "with moments of order 2p η = 2p(θ − α)",
        "with the kernel's own norms γ < α/2",
        "(8) has ∇u_η in L²H^s",
        "Order 2 is what a symmetric V gives",
        "H_N/N + E F_N/(2σ); the slide has 1/σ",
        "up to the interval of its mean and the bias of its time step",
        "C₀ is defined at density zero",
        "bounds |X_i − X̄_i|, not the distance between particles",
        "no η exists",
        "m = 7 is (1+θ)/(1−2θ) itself",
        "fails for every Gaussian",
        "a₁₁ > 0 is needed too",
        "exchanges expectation and supremum",
        "The maximum cannot be taken inside",
        "one power of 1/ε too large",
    ):
        assert phrase in text, phrase
    assert all(r.promised and r.measured and r.verdict for r in rows_of(claims(), read_results([])))


def test_promised_orders_are_those_of_the_theory() -> None:
    rated = {c.number: c.evidence for c in claims() if isinstance(c.evidence, MeasuredRate)}
    for number in ("Theorem 1, (1.14)", "Theorem 1, proof, (2.26)"):
        assert rated[number].order == theory.theorem1(theta=0.3, alpha=0.1, m=4).eta_sup(0.019)
        assert [order for _, order in rated[number].also] == pytest.approx([0.4])
    beta = theory.theorem2(theta=0.4, alpha=0.1, m=7).beta_sup(0.0025, 0.03)
    assert rated["Theorem 2, (3.30) and (1.15) corrected"].order == 0.0025 * beta == 0.02
    assert [order for _, order in rated["Theorem 2, (3.30) and (1.15) corrected"].also] == pytest.approx([0.185, 1.0])


def test_computed_values() -> None:
    # Two unit Gaussians 0.1 apart, by quadrature.
    x = np.linspace(-9, 9, 40001)
    p, q = (np.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (0.0, 0.1))
    l1, entropy = np.sum(np.abs(p - q)) * (x[1] - x[0]), np.sum(p * np.log(p / q)) * (x[1] - x[0])
    assert checks.printed_pinsker().ratio == pytest.approx(l1 / (2 * entropy), rel=1e-6)
    assert checks.pinsker().ratio == pytest.approx(l1 / math.sqrt(2 * entropy), rel=1e-6)
    assert checks.subadditivity().ratio == 1  # independent particles of another law
    assert checks.first_remark().ratio < 1
    assert checks.second_remark().ratio <= 1
    assert checks.maximum_principle().ratio == pytest.approx(1.06638, abs=5e-6)
    assert "t = 0.0084" in checks.maximum_principle().value
    assert checks.range_order().ratio == pytest.approx(0.5, abs=1e-3)
    assert checks.small_data().ratio < 1
    assert checks.a_priori_estimate().ratio < 1 < checks.a_priori_printed().ratio  # (8) as it must be, as printed
    assert checks.critical_mass().ratio == pytest.approx(2 * math.pi)
    assert checks.stability().ratio == pytest.approx((1 + math.sqrt(3)) / 2)
    assert checks.second_remark_range().ratio == pytest.approx(0.00625 * 37 / 0.2, rel=1e-3)
    # The entropy of u_0 to u_0 * j^ε, by draws.
    u0 = kspde.GaussianMixture(
        weights=[0.5, 0.3, 0.2], means=[[-1.2, 0.3], [1.3, -0.2], [0.2, 1.5]], stds=[0.6, 0.5, 0.7]
    )
    smooth = kspde.GaussianMixture(
        weights=[0.5, 0.3, 0.2], means=u0.means, stds=[math.hypot(s, 0.3) for s in (0.6, 0.5, 0.7)]
    )
    rng = np.random.default_rng(3)
    kind = rng.choice(3, 400_000, p=[0.5, 0.3, 0.2])
    draws = u0.means[kind] + rng.standard_normal((400_000, 2)) * u0.stds[kind, None]
    logs = np.log(u0(draws) / smooth(draws))
    reach = 5 * logs.std() / math.sqrt(len(logs))
    assert abs(checks.initial_entropy().ratio * 1e-12 - logs.mean()) < reach


def test_norms_stay_below_the_bounds_of_the_paper() -> None:
    for check in (checks.w11_bound, checks.lipschitz_bound, checks.hessian_bound):
        assert 0.01 < check().ratio < 1
    assert "ε^−1" in checks.hessian_bound().value or "ε^−2" in checks.hessian_bound().value


def test_the_page_among_the_demos_is_what_the_command_writes() -> None:
    page = Path(__file__).parents[2] / "demos" / "ledger.md"
    assert page.read_text(encoding="utf-8") == ledger_text(read_results([]), page)


@pytest.mark.parametrize(
    ("interval", "judged"),
    [
        ((0.97, 1.04), "supported"),
        ((0.9, 1.04), "not resolved"),
        ((0.8, 0.9), "contradicted"),
        ((1.06, 1.2), "contradicted"),
    ],
)
def test_a_constant_is_judged_by_whether_its_interval_lies_near_the_expected_one(
    interval: tuple[float, float], judged: str
) -> None:
    results = summary(1.0, [0.9, 1.1])
    results["s"]["rates"][0]["constant"] = {"value": sum(interval) / 2, "interval": list(interval)}
    evidence = MeasuredConstant(study="s", quantity="q", against="n", expected=1.0)
    assert evidence.found(results).verdict == judged
    del results["s"]["rates"][0]["constant"]
    assert evidence.found(results).verdict == "not testable"
