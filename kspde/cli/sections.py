"""What a case file may contain: its sections, keys and types.

Only types are declared here. Bounds are checked where the values are used, by the constructors of models, densities and
domains, so that they are stated once. A key left out of the file takes the default of the function it is meant for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "BoxSection",
    "CaseFile",
    "CompareSection",
    "DensitySection",
    "DiskSection",
    "FitSection",
    "GaussianMixtureSection",
    "GridSection",
    "LocalSensingSection",
    "MeshSection",
    "ParticlesSection",
    "PositionsSection",
    "RegularisationSection",
    "Section",
    "SignalDependentSection",
    "StudyFile",
    "SystemFile",
    "schemas_at",
    "tags",
]


class Section(BaseModel):
    """A table of the file: keys that are not declared are refused, and a value is never converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def given(self, *left_out: str) -> dict[str, Any]:
        """Return the keys that the file sets, as keyword arguments, without ``kind`` and those ``left_out``."""
        return {
            k: getattr(self, k) for k in type(self).model_fields if k in self.model_fields_set - {"kind", *left_out}
        }


class SignalDependentSection(Section):
    """[model]: the signal-dependent Keller-Segel system."""

    kind: Literal["signal-dependent-keller-segel"]
    chi: float = Field(description="the strength χ of the signal")
    mu: float | None = Field(default=None, description="the screening μ, an inverse length")


class LocalSensingSection(Section):
    """[model]: local sensing with one of the motilities of the literature."""

    kind: Literal["local-sensing"]
    motility: Literal["one-plus-exponential", "exponential", "algebraic"] = Field(description="the family of γ")
    alpha: float | None = Field(default=None, description="α of the exponential motility")
    k: float | None = Field(default=None, description="k of the algebraic motility")
    chi: float = Field(description="the strength χ of the signal")
    mu: float | None = Field(default=None, description="the screening μ, an inverse length")
    tau: float | None = Field(default=None, description="τ of the signal's own dynamics; 0 for none")


class GaussianMixtureSection(Section):
    """[initial] as a sum of isotropic Gaussians."""

    kind: Literal["gaussian-mixture"]
    weights: list[float] = Field(description="the share of each Gaussian")
    means: list[list[float]] = Field(description="the centres, [[x, y], ...]")
    stds: list[float] = Field(description="the standard deviation of each Gaussian")
    mass: float | None = Field(default=None, description="the total mass")


class GridSection(Section):
    """[initial] as values on a grid: a .npy or .npz file."""

    kind: Literal["grid"]
    file: str = Field(description="a .npy or .npz file, relative to the case file")
    extent: list[float] | None = Field(default=None, description="[xmin, xmax, ymin, ymax]")
    orientation: str | None = Field(default=None, description='"xy" or "image"')
    bandwidth: float | None = Field(default=None, description="a length to smooth with")
    mass: float | None = Field(default=None, description="the total mass")


class PositionsSection(Section):
    """[initial] as observed positions: a .csv file."""

    kind: Literal["positions"]
    file: str = Field(description="a .csv file, relative to the case file")
    bandwidth: float = Field(description="the standard deviation of the Gaussian around each position")
    columns: list[str] | None = Field(default=None, description="the names of the coordinate columns")
    mass: float | None = Field(default=None, description="the total mass")


class BoxSection(Section):
    """[domain]: the truncated plane."""

    kind: Literal["box"]
    half_width: float = Field(description="the box is [-half_width, half_width]²")
    cells: int = Field(description="cells per direction")
    degree: int | None = Field(default=None, description="the degree of the elements")
    grading: float | None = Field(default=None, description="0 for equal cells")
    boundary: str | None = Field(default=None, description='"decay" or "neumann"')


class DiskSection(Section):
    """[domain]: a disk, meshed by gmsh."""

    kind: Literal["disk"]
    radius: float = Field(description="the radius")
    size: float = Field(description="the size of the cells at the centre")
    rim_size: float | None = Field(default=None, description="the size of the cells at the rim")
    refine: int | None = Field(default=None, description="how often the cells are split")
    cell: str | None = Field(default=None, description='"triangle" or "quadrilateral"')
    degree: int | None = Field(default=None, description="the degree of the elements")
    boundary: str | None = Field(default=None, description='"decay" or "neumann"')
    solver: str | None = Field(default=None, description='"auto", "direct" or "multigrid"')


class MeshSection(Section):
    """[domain]: a mesh file."""

    kind: Literal["mesh"]
    file: str = Field(description="a mesh file, relative to the case file")
    merge: bool | None = Field(default=None, description="true: nodes that coincide become one")
    triangles: bool | None = Field(default=None, description="true: quadrilaterals are split in triangles")
    degree: int | None = Field(default=None, description="the degree of the elements")
    refine: int | None = Field(default=None, description="how often the cells are split")
    boundary: str | None = Field(default=None, description='"decay" or "neumann"')
    centre: list[float] | None = Field(default=None, description="where the decay condition is centred, [x, y]")
    solver: str | None = Field(default=None, description='"auto", "direct" or "multigrid"')


class RegularisationSection(Section):
    """[regularisation]: the mollifier j^ε. Without this section the density solves the unregularised equation."""

    eps: float = Field(description="the standard deviation ε of the mollifier, a length")
    mollifier: Literal["gaussian", "matern"] = Field(default="gaussian", description="which mollifier")
    order: int | None = Field(default=None, description="the order of the Matérn mollifier")
    initial: str | None = Field(default=None, description='"u0" or "mollified": what both backends start from')


class DensitySection(Section):
    """[density]: how the density equation is solved."""

    tol: float | None = Field(default=None, description="the tolerance of the time step control")
    times: list[float] | None = Field(default=None, description="times at which the density is saved beside t_end")
    statistics: list[str] | None = Field(default=None, description="statistics recorded beside the usual ones")
    scheme: str | None = Field(default=None, description='"adaptive", "rosenbrock", "positive" or "positive2"')
    dt: float | None = Field(default=None, description="the time step, for schemes with a fixed one")
    on_blow_up: str | None = Field(default=None, description='"stop", "warn" or "ignore": where only the mesh limits u')
    petsc_options: dict[str, Any] | None = Field(
        default=None, description="PETSc options without the leading dash, of the list in kspde.fem.petsc_options"
    )


class ParticlesSection(Section):
    """[particles]: how the N-particle system is simulated."""

    n: int = Field(description="the number N of particles")
    dt: float = Field(description="the time step")
    seed: int | None = Field(default=None, description="the seed of the random numbers")
    replica: int | None = Field(default=None, description="which of the independent runs with that seed")
    field_tol: float | None = Field(default=None, description="the relative accuracy of the fields")


class CompareSection(Section):
    """[compare]: how the distance is measured."""

    bandwidth: float | None = Field(default=None, description="the bandwidth of the density estimate")
    replicas: int | None = Field(default=None, description="independent draws that give the statistical floor")
    against: str | None = Field(default=None, description='"local" (no mollifier), or another case file')
    normalise: bool | None = Field(default=None, description="whether densities of different masses are compared")


class SystemFile(Section):
    """What case files and study files have in common: a system and how it is computed."""

    t_end: float = Field(description="the final time of density and particles")
    model: Annotated[SignalDependentSection | LocalSensingSection, Field(discriminator="kind")] = Field(
        description="which system"
    )
    initial: Annotated[GaussianMixtureSection | GridSection | PositionsSection, Field(discriminator="kind")] = Field(
        description="the initial density"
    )
    domain: Annotated[BoxSection | DiskSection | MeshSection, Field(discriminator="kind")] = Field(
        description="the truncated plane"
    )
    regularisation: RegularisationSection | None = Field(default=None, description="the mollifier")
    density: DensitySection | None = Field(default=None, description="how the density is solved")
    particles: ParticlesSection | None = Field(default=None, description="how the particles are simulated")


class CaseFile(SystemFile):
    """A case file as a whole."""

    compare: CompareSection | None = Field(default=None, description="how the distance is measured")


def schemas_at(root: type[Section], keys: Sequence[int | str]) -> tuple[list[type[Section]], list[int | str]]:
    """Return what may stand at a place of a file, and the place without the tags that pydantic puts into it.

    Args:
        root: what the whole file may contain.
        keys: the place as pydantic names it: keys, indices of arrays, and the kind of a section behind its name.
    """
    here: list[type[Section]] = [root]
    place: list[int | str] = []
    for key in keys:
        if isinstance(key, int):
            place.append(key)
            continue
        tagged = [schema for schema in here if key in tags(schema)]
        if tagged:
            here = tagged
            continue
        place.append(key)
        fields = [schema.model_fields[key] for schema in here if key in schema.model_fields]
        here = [candidate for field in fields for candidate in _sections(field.annotation)]
    return here, place


def tags(section: type[Section]) -> tuple[str, ...]:
    """Return the kinds that a section stands for."""
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections(part)]


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
