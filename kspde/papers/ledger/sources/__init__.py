"""The quantitative claims of the sources, what is held against each, and the errata: a module a source."""

from __future__ import annotations

from kspde.papers.ledger.claim import Claim
from kspde.papers.ledger.sources import cross_diffusion, expected, keller_segel, singular_kernels, volatility

__all__ = ["claims"]


def claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the sources."""
    return tuple(
        claim
        for source in (keller_segel, cross_diffusion, volatility, singular_kernels, expected)
        for claim in source.claims()
    )
