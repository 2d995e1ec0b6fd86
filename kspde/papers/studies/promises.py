r"""What is promised of a rate, with its source: computed by :mod:`kspde.papers.theory` where a theorem gives it.

The fields of a promise are its keys in a study file. Adding one takes its class and one line in ``PROMISES``.

Orders are stated as decay: of order p in N means :math:`\le C N^{-p}`, of order p in ε, dt or h :math:`\le C
\varepsilon^p`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from kspde.errors import InputError, check_choice
from kspde.papers import theory

__all__ = ["PROMISES", "DegreePromise", "OrderPromise", "Promise", "ProofPromise", "Theorem1Promise", "Theorem2Promise"]


class Promise(Protocol):
    """What is promised of the rate at a group of points.

    Attributes:
        name: its name in ``PROMISES`` and in study files.
    """

    name: ClassVar[str]

    @property
    def source(self) -> str:
        """Where the promise is stated."""

    @property
    def status(self) -> str:
        """One of "proved", "improved", "printed" and "expected" (the source says by whom or by what)."""

    def order(self, group: Mapping[str, Any]) -> float | None:
        """Return the order at values of the swept parameters; None where they leave what is promised."""


@dataclass(frozen=True, kw_only=True)
class OrderPromise:
    """A number.

    Attributes:
        value: the order.
        source: where it is stated.
        status: "proved" or "expected".
    """

    name: ClassVar = "order"

    value: float
    source: str
    status: Literal["proved", "expected"]

    def order(self, group: Mapping[str, Any]) -> float | None:
        """Return the number."""
        return self.value


@dataclass(frozen=True, kw_only=True)
class DegreePromise:
    """Elements of degree p approximate smooth functions to order p + 1 in L¹ and L².

    It is expected: the sources of this package do not analyse finite elements.
    """

    name: ClassVar = "degree-plus-one"
    source: ClassVar = "approximation by elements of degree p"
    status: ClassVar = "expected"

    def order(self, group: Mapping[str, Any]) -> float | None:
        """Return p + 1 at the group's degree."""
        degree = group.get("degree")
        return None if degree is None else float(degree) + 1.0


@dataclass(frozen=True, kw_only=True)
class Theorem1Promise:
    """Wang, Li and Huang's Theorem 1: the probability is at most C N^(−η), with the largest η of (1.13).

    Attributes:
        theta: the θ of the theorem.
        alpha: the α of the theorem.
        m: the m of the theorem.
        of: "printed", or "improved": what the paper's own estimates give (:mod:`kspde.papers.theory.improved`).
    """

    name: ClassVar = "theorem1"

    theta: float
    alpha: float
    m: int
    of: Literal["printed", "improved"] = "printed"

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("printed", "improved"))
        self._exponents()

    @property
    def status(self) -> str:
        """What the paper states is "proved", what its estimates give "improved"."""
        return "proved" if self.of == "printed" else "improved"

    @property
    def source(self) -> str:
        """The theorem at its parameters."""
        which = "Theorem 1" if self.of == "printed" else "Theorem 1 with (2.12) kept in (2.26),"
        return f"Wang, Li, Huang, {which} at θ = {self.theta:g}, α = {self.alpha:g}, m = {self.m}"

    def order(self, group: Mapping[str, Any]) -> float | None:
        """Return η; None where the theorem does not admit the group's γ."""
        try:
            return self._exponents().eta_sup(_gamma(group))
        except InputError:
            return None

    def _exponents(self) -> theory.Theorem1 | theory.ImprovedExponents:
        exponents = theory.theorem1 if self.of == "printed" else theory.improved_exponents
        return exponents(theta=self.theta, alpha=self.alpha, m=self.m)


@dataclass(frozen=True, kw_only=True)
class Theorem2Promise:
    """Wang, Li and Huang's Theorem 2 with ε = c N^(−γ): entropy ≤ C N^(−γβ), L¹ distance ≤ C N^(−γβ/2).

    Attributes:
        theta: the θ of the theorem.
        alpha: the α of the theorem.
        m: the m of the theorem.
        eta: the η of the theorem.
        of: "entropy", "l1" (with the square root of Csiszár, Kullback and Pinsker), or "l1-printed" (without it).
    """

    name: ClassVar = "theorem2"

    theta: float
    alpha: float
    m: int
    eta: float
    of: Literal["entropy", "l1", "l1-printed"]

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("entropy", "l1", "l1-printed"))
        theory.theorem2(theta=self.theta, alpha=self.alpha, m=self.m)

    @property
    def status(self) -> str:
        """The printed L¹ rate is "printed", since the proof does not give it; the others are "proved"."""
        return "printed" if self.of == "l1-printed" else "proved"

    @property
    def source(self) -> str:
        """The theorem at its parameters."""
        which = {"entropy": "(3.30)", "l1": "(3.30) with the square root", "l1-printed": "(1.15) as printed"}[self.of]
        return (
            f"Wang, Li, Huang, Theorem 2, {which}, at θ = {self.theta:g}, α = {self.alpha:g}, m = {self.m}, "
            f"η = {self.eta:g}"
        )

    def order(self, group: Mapping[str, Any]) -> float | None:
        """Return γβ or γβ/2; None where the theorem does not admit the group's γ with this η."""
        try:
            gamma = _gamma(group)
            beta = theory.theorem2(theta=self.theta, alpha=self.alpha, m=self.m).beta_sup(gamma, self.eta)
        except InputError:
            return None
        return gamma * beta * (0.5 if self.of == "l1" else 1.0)


@dataclass(frozen=True, kw_only=True)
class ProofPromise:
    """What Wang, Li and Huang's proofs have for one of their terms (:mod:`kspde.papers.theory.proof`).

    In N with ε = c N^(−γ), γ = 0 for a fixed ε, or in ε at a fixed N, where only S ≤ 1 is known of the distance.

    Attributes:
        theta: the θ of the theorem.
        alpha: the α of the theorem.
        m: the m of the theorem.
        of: the term.
    """

    name: ClassVar = "proof"
    status: ClassVar = "proved"

    theta: float
    alpha: float
    m: int
    of: str

    def __post_init__(self) -> None:
        check_choice("of", self.of, theory.PROOF_TERMS)
        self._bounds()

    @property
    def source(self) -> str:
        """The proof at its parameters."""
        return f"Wang, Li, Huang's proof at θ = {self.theta:g}, α = {self.alpha:g}, m = {self.m}"

    def order(self, group: Mapping[str, Any]) -> float | None:
        """Return the order; None where the theorem does not admit the group's γ, or has no power of ε."""
        if "n" in group:
            return self._bounds().order_in_eps(self.of)
        try:
            return self._bounds().order(self.of, float(group.get("gamma", 0.0)))
        except InputError:
            return None

    def _bounds(self) -> theory.ProofBounds:
        return theory.proof_bounds(theta=self.theta, alpha=self.alpha, m=self.m)


def _gamma(group: Mapping[str, Any]) -> float:
    if "gamma" not in group:
        raise InputError("gamma is not given: sweep eps = {c = ..., gamma = ...}")
    return float(group["gamma"])


#: By name.
PROMISES: dict[str, type[Any]] = {
    promise.name: promise for promise in (OrderPromise, DegreePromise, Theorem1Promise, Theorem2Promise, ProofPromise)
}
