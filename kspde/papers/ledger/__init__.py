"""The ledger: the quantitative claims of the sources, each with what is held against it and a verdict."""

from kspde.papers.ledger.checks import Check
from kspde.papers.ledger.claim import (
    Claim,
    Computed,
    MeasuredConstant,
    MeasuredRate,
    MeasuredRatio,
    NotTestable,
    Row,
    claims,
    rows_of,
)

__all__ = [
    "Check",
    "Claim",
    "Computed",
    "MeasuredConstant",
    "MeasuredRate",
    "MeasuredRatio",
    "NotTestable",
    "Row",
    "claims",
    "rows_of",
]
