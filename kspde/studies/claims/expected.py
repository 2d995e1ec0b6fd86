"""Rates that are expected of the limits and of the methods, and a claim of the review."""

from __future__ import annotations

from functools import partial

from kspde.studies.claims.keller_segel import GAMMA_1, GAMMA_2
from kspde.studies.ledger import Claim, NotTestable, Rated

__all__ = ["claims"]

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
            promised="E min_{i≠j} |X_i − X_j| ~ N^−1 for smooth densities in the plane (expected)",
            evidence=Rated(
                study="theorem1", quantity="minimal_distance", against="n", order=1.0, group={"gamma": GAMMA_1}
            ),
        ),
        _claim(
            number="entropy bound",
            promised="H of the whole law is bounded uniformly in N: order 1 per particle (expected)",
            evidence=Rated(study="theorem2", quantity="entropy", against="n", order=1.0, group={"gamma": GAMMA_2}),
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
