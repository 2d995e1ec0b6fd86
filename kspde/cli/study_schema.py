"""What a study file may contain beside a system: a sweep, a measure, fits with promises, a small setting."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kspde.cli.schema import Section, SystemFile

__all__ = ["FitSection", "StudyFile"]


class CouplingSection(Section):
    """[measure]: the distance between particles and their mean-field twins."""

    kind: Literal["coupling"]
    replicas: int = Field(description="independent systems at each point")
    alpha: float = Field(description="the exponent α of the distance cN^-α")
    level: float | None = Field(default=None, description="c of the distance cN^-α, 1 unless given")
    saves: int | None = Field(default=None, description="intervals between saved states of the density")


class ChaosSection(Section):
    """[measure]: the coupled L¹ distance and the entropy bound."""

    kind: Literal["chaos"]
    replicas: int = Field(description="independent systems at each point")
    saves: int | None = Field(default=None, description="intervals between saved states of the density")


class FluctuationsSection(Section):
    """[measure]: the law of large numbers for i.i.d. copies."""

    kind: Literal["fluctuations"]
    replicas: int = Field(description="independent systems at each point")


class DistanceSection(Section):
    """[measure]: the distance between particles and the density, beside its floor."""

    kind: Literal["distance"]
    replicas: int = Field(description="independent clouds at each point")
    against: Literal["own", "local"] | None = Field(default=None, description='"own" (1.9) or "local" (1.1) density')


class MollificationSection(Section):
    """[measure]: the density of the mollified equation against that of the local one."""

    kind: Literal["mollification"]


class ConvergenceSection(Section):
    """[measure]: the density against a finer solution."""

    kind: Literal["convergence"]
    reference_cells: int = Field(description="cells of the finer solution")
    reference_degree: int = Field(description="the degree of the finer solution")
    reference_tol: float = Field(description="the tolerance of the finer solution")
    reference_point: list[float] | None = Field(default=None, description="a point where the density is known")
    reference_value: float | None = Field(default=None, description="the density there at t_end")


class WeakErrorSection(Section):
    """[measure]: the error of the particles' time step."""

    kind: Literal["weak-error"]
    replicas: int = Field(description="independent systems at each point")
    scheme: str | None = Field(default=None, description='"euler-maruyama" or "weak-2"')


class OrderSection(Section):
    """A promised order, as a number."""

    kind: Literal["order"]
    value: float = Field(description="the order")
    source: str = Field(description="where it is stated")
    status: Literal["proved", "expected"] = Field(description='"proved" or "expected"')


class DegreeSection(Section):
    """The degree of the elements plus one."""

    kind: Literal["degree-plus-one"]


class FirstTheoremSection(Section):
    """Wang, Li and Huang's Theorem 1."""

    kind: Literal["theorem1"]
    theta: float = Field(description="θ")
    alpha: float = Field(description="α")
    m: int = Field(description="m")
    of: Literal["printed", "improved"] | None = Field(
        default=None, description='"printed", or "improved": what the paper\'s own estimates give'
    )


class SecondTheoremSection(Section):
    """Wang, Li and Huang's Theorem 2."""

    kind: Literal["theorem2"]
    theta: float = Field(description="θ")
    alpha: float = Field(description="α")
    m: int = Field(description="m")
    eta: float = Field(description="η")
    of: Literal["entropy", "l1", "l1-printed"] = Field(description='"entropy", "l1" or "l1-printed"')


class FitSection(Section):
    """[[fits]]: a rate to fit."""

    quantity: str = Field(description="the name of a quantity that is measured")
    against: str = Field(description="the name of a swept parameter")
    where: dict[str, Any] | None = Field(default=None, description="values of other swept parameters")
    promises: (
        list[
            Annotated[
                OrderSection | DegreeSection | FirstTheoremSection | SecondTheoremSection, Field(discriminator="kind")
            ]
        ]
        | None
    ) = Field(default=None, description="what is promised of the rate")
    correction: bool | None = Field(default=None, description="whether the next power of an expansion is fitted too")


class StudyFile(SystemFile):
    """A study file as a whole, with the values of one point put in and without its small setting."""

    title: str = Field(description="a line")
    about: str = Field(description="some sentences")
    measure: Annotated[
        CouplingSection
        | ChaosSection
        | FluctuationsSection
        | DistanceSection
        | MollificationSection
        | ConvergenceSection
        | WeakErrorSection,
        Field(discriminator="kind"),
    ] = Field(description="what is measured at each point")
    sweep: dict[str, Any] = Field(description="the parameters that vary, each with its values")
    fits: list[FitSection] | None = Field(default=None, description="the rates to fit")
