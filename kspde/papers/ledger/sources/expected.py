"""Rates that are expected of the limits and of the methods, and a claim of the review."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kspde.distances.statistics import reach_of
from kspde.papers.ledger.claim import Across, Check, Claim, NotTestable, Rated
from kspde.papers.ledger.sources.keller_segel import GAMMA_1
from kspde.papers.studies.outcome import TOLERANCE

__all__ = ["LOG_SLOPE", "claims"]

#: B of :mod:`kspde.evidence.log_law` for the problem of the ready-made studies: χ = 8, T = .5, three Gaussians.
LOG_SLOPE = 0.0182

_claim = partial(Claim, source="kspde")


def claims() -> tuple[Claim, ...]:
    """Return what no source claims, or only the review does: rates that are expected, and known ones of the methods."""
    taylor = "‖u^ε − u‖₁ ~ ε² for a symmetric mollifier and smooth u (expected; no source here proves a rate)"
    return (
        _claim(
            number="(1.9) against (1.1)",
            promised=taylor,
            evidence=Rated(
                study="mollification", quantity="l1", against="eps", order=2.0, group={"mollifier": "gaussian"}
            ),
        ),
        _claim(
            source="Review of Wang, Li, Huang",
            number="stopping times",
            promised="they control the minimal distance between particles",
            evidence=NotTestable(reason="a statement about a proof; the minimal distance itself is the next row"),
            erratum="Theorem 1's stopping time bounds |X_i − X̄_i|, not the distance between particles. No minimal "
            "distance is needed, since Φ^ε is bounded.",
        ),
        _claim(
            number="minimal distance",
            promised="E min_{i≠j} |X_i − X_j| ~ N^−1 for smooth densities in the plane: N E min → 1/√(2∫u²) (expected)",
            evidence=Rated(
                study="theorem1", quantity="minimal_distance", against="n", order=1.0, group={"gamma": GAMMA_1}
            ),
        ),
        _claim(
            number="entropy bound, ε → 0",
            promised="the bound on N H is flat in N at a fixed ε only: it is A + B log(1/ε), "
            f"B = ∫dt ∫ χ²u²e^{{−2v}}/(8π(1 + e^{{−v}})) dx = {LOG_SLOPE:g}",
            evidence=Across(study="theorem2", check=_log_slope, group={}),
            erratum="B is computed by kspde.evidence.entropy_bound_slope, which derives it. It belongs to the bound "
            "and not to the entropy. Judged is whether the bound grows no faster than by B.",
        ),
        *(
            _claim(
                number=f"elements of degree {degree}",
                promised=f"L¹ error ~ h^{degree + 1} (expected)",
                evidence=Rated(
                    study="pde-convergence",
                    quantity="l1",
                    against="cells",
                    order=degree + 1.0,
                    group={"degree": degree},
                ),
            )
            for degree in (2, 4)
        ),
        _claim(
            number="time step control",
            promised="W-method of order 3, its estimate, of order 2, below tol: L¹ error ~ tol (expected)",
            evidence=Rated(study="pde-convergence", quantity="time", against="tol", order=1.0, group={"degree": 4}),
        ),
        *(
            _claim(
                number=f"scheme {scheme}",
                promised=f"weak order {order:g}",
                evidence=Rated(
                    study="time-step",
                    quantity="second_moment",
                    against="dt",
                    order=order,
                    group={"scheme": scheme},
                ),
            )
            for scheme, order in (("euler-maruyama", 1.0), ("weak-2", 2.0))
        ),
    )


def _log_slope(points: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Check:
    """Return the slope of the bound on N H in log(1/ε) over 1.05 B, by weighted least squares.

    The 5 % are those that promised rates have, since no range is asymptotic.
    """
    u = np.array([-math.log(swept["eps"]) for _, swept in points])
    sizes = [swept["n"] for _, swept in points]
    found = [quantities["total_entropy"] for quantities, _ in points]
    y, s = (np.array([q[name] for q in found]) for name in ("value", "error"))
    w = s**-2.0
    centred = u - (w @ u) / w.sum()
    slope, error = float((w * centred) @ y / (w @ centred**2)), float((w @ centred**2) ** -0.5)
    reach = reach_of(min(q["replicas"] for q in found)) * error
    low, high, most = slope - reach, slope + reach, (1.0 + TOLERANCE) * LOG_SLOPE
    return Check(
        value=f"slope {slope:.4f} [{low:.4f}, {high:.4f}] in log(1/ε) for ε = {math.exp(-u.max()):.3f} to "
        f"{math.exp(-u.min()):.3f}, N = {min(sizes):,} to {max(sizes):,}",
        ratio=slope / most,
        interval=(low / most, high / most),
    )
