"""Case files: what to compute, as TOML.

A case file is data: nothing in it is evaluated, and nothing is unpickled from the files it names. Every mistake is one
line that names the file, the dotted key, the value and what is valid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kspde.cli.file_errors import first_problem, naming
from kspde.cli.forms import case_form
from kspde.cli.models import BUILT_IN, KnownModels
from kspde.cli.sections import OLDER, Section, parameters, wanted
from kspde.cli.toml import read_toml, with_changes
from kspde.comparable import check_species
from kspde.distances.comparison import check_times, checked_options, chosen_distances
from kspde.domains import Domain
from kspde.errors import ON_BLOW_UP, InputError, check_choice, check_integer, shown
from kspde.fem.accuracy import check_accuracy, first_box
from kspde.fem.petsc_options import checked_options as checked_petsc_options
from kspde.fem.regrid import Regrid
from kspde.fem.schemes import scheme_of as density_scheme
from kspde.initial import CutDensity, InitialDensity, is_image, read_grid
from kspde.models import Model
from kspde.papers.experiment import Experiment
from kspde.particles.fields import FieldOptions
from kspde.particles.schemes import scheme_of as particle_scheme
from kspde.particles.start import Seed, given_positions
from kspde.particles.statistics import check_statistics
from kspde.problem import Problem
from kspde.runtime.limits import check_steps, check_work
from kspde.runtime.parallel import alone
from kspde.runtime.saving import SaveAt

__all__ = ["Case", "case_of", "known_models", "read_case", "validated"]


#: Arguments of ``compare`` that have a meaning for particles only.
_OF_PARTICLES = ("bandwidth", "neighbours", "r", "replicas", "resolution", "seed")

#: Tables whose keys any error of a run may be about.
_OF_ANY_RUN = ("model", "initial", "domain", "regularisation")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case file in which every value has been checked.

    Attributes:
        path: the file.
        content: its content, as :func:`kspde.cli.forms.case_form` describes it.
        experiment: the problem, the domain, and the arguments of ``kspde.solve`` and ``kspde.simulate``.
        compare: keyword arguments of ``kspde.compare`` beyond the two results.
        keys: by table, the dotted key of each argument as the file spells it.
        origin: where the model comes from, unless it is kspde's: see :class:`kspde.cli.models.KnownModels`.
        against: the case whose density the particles, or without [particles] the density, are compared with: this one
            without its mollifier, or another file's; None for this one's own.
    """

    path: Path
    content: Any
    experiment: Experiment
    compare: dict[str, Any]
    keys: Mapping[str, Mapping[str, str]]
    origin: Mapping[str, str]
    against: Case | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the file's content as a JSON-ready dict; reading it as a case file gives the same case."""
        out: dict[str, Any] = self.content.model_dump(mode="json", exclude_unset=True)
        return out

    def naming(self, section: str) -> AbstractContextManager[None]:
        """Return a context in which an InputError about a keyword argument names the key of this file.

        Args:
            section: where keywords that several tables have belong: "density", "particles" or "compare".
        """
        return _naming(self.path, self.keys, section)


def read_case(path: str | Path, models: KnownModels = BUILT_IN, changes: Sequence[str] = ()) -> Case:
    """Read a case file and check all of it, the data files that it names included.

    Args:
        path: the case file; paths in it are relative to its directory.
        models: the models that it may name, beside those of installed packages.
        changes: values in place of the file's: see :func:`with_changes`.

    Raises:
        InputError: anything that is not valid, in one line.
    """
    path = Path(path)
    case = case_of(path, with_changes(read_toml(path), changes), models)
    return replace(case, against=_against(case, models))


def case_of(path: Path, raw: Mapping[str, Any], models: KnownModels = BUILT_IN) -> Case:
    """Return the case that a file's content describes; see ``read_case``.

    Raises:
        InputError: anything that is not valid, in one line.
    """
    models = known_models(path, raw, models)
    content = validated(path, raw, case_form(models.kinds), "a case file")
    tables = {name: getattr(content, name) for name in raw}
    keys = {name: _spelt(name, each, raw[name]) for name, each in tables.items() if isinstance(each, Section)}

    def table(name: str, where: str = "") -> AbstractContextManager[None]:
        return _naming(path, keys, name, where or f"[{name}]")

    with table("model", keys["model"]["path"] if getattr(content.model, "path", None) else ""):
        model = _model(path, content.model)
    domain = _domain(path, content, keys, model.dimension)
    u0 = _initials(path, content.initial, keys, model, domain)
    with table("regularisation"):
        regularised = {} if content.regularisation is None else content.regularisation.arguments()
        problem = Problem.of(model, u0, t_end=content.t_end, **regularised)
    with table("density"):
        domain = domain or first_box(problem.u0, model.dimension, content.density.accuracy)
        density = _density(content.density, problem, domain)
    with table("particles"):
        particles = _particles(path, content.particles, problem)
    with table("compare"):
        comparison = _compare(content.compare, content.particles, problem)
    return Case(
        path=path,
        content=content,
        experiment=Experiment(problem=problem, domain=domain, solve=density, simulate=particles),
        compare=comparison,
        keys=keys,
        origin=models.origins.get(content.model.kind, {}),
    )


def known_models(path: Path, raw: Mapping[str, Any], models: KnownModels) -> KnownModels:
    """Return the models that a file may name, that of an installed package included if the file names it.

    Raises:
        InputError: there is no such model.
    """
    table = raw.get("model")
    with naming(path, {}):
        return models.with_kind(table.get("kind") if isinstance(table, Mapping) else None)


def validated(path: Path, raw: Mapping[str, Any], form: type[Section], what: str) -> Any:
    """Return the content of a file, its keys and types checked.

    Args:
        path: the file.
        raw: its content.
        form: what such a file may contain.
        what: the name of such files in messages.

    Raises:
        InputError: an unknown key, a missing one, or a value of another type.
    """
    try:
        return form.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, raw, root=form, what=what)}") from None


def _spelt(name: str, section: Section, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the dotted keys of a table's arguments, as the file spells them."""
    names = type(section).model_fields
    return {n: f"{name}.{OLDER[n] if OLDER.get(n) in table else n}" for n in names}


def _inside(table: str, section: Section) -> dict[str, str]:
    return {name: f"{table}.{name}" for name in type(section).model_fields}


def _naming(
    path: Path, keys: Mapping[str, Mapping[str, str]], section: str, otherwise: str = ""
) -> AbstractContextManager[None]:
    known = {"t_end": "t_end"}
    for name in (*_OF_ANY_RUN, section):
        known |= keys.get(name, {})
    return naming(path, known, otherwise)


def _model(path: Path, section: Any) -> Model:
    """Return the model, with tuples for arrays: it is frozen."""
    options = {name: _frozen(value) for name, value in section.arguments(beside=path.parent).items()}
    if "v0" in options:
        with naming(path, _inside("model.v0", section.v0), "[model.v0]"):
            options["v0"] = _initial(path, section.v0)
    try:
        model: Model = section.call(**options)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:  # a user's own check
        raise InputError(f"{type(error).__name__}: {error}") from None
    return model


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _initials(
    path: Path, given: Any, keys: Mapping[str, Mapping[str, str]], model: Model, domain: Domain | None
) -> InitialDensity | dict[str, InitialDensity]:
    """Return the initial density, or that of each species."""
    if isinstance(given, Section):
        with _naming(path, keys, "initial", keys["initial"].get("path", "[initial]")):
            densities = {"": _initial(path, given, domain)}
    else:
        densities = {}
        for species, section in given.items():
            with naming(path, _inside(f"initial.{species}", section), f"[initial.{species}]"):
                densities[species] = _initial(path, section, domain)
        if set(densities) != set(model.species):
            raise InputError(
                f"{path}: [initial] has tables {', '.join(densities)}: the species are {', '.join(model.species)}"
            )
    for species, u0 in densities.items():
        if u0.dimension != model.dimension:
            where = f"[initial.{species}]" if species else "[initial]"
            raise InputError(f"{path}: {where} is {u0.dimension}-dimensional: the model asks for {model.dimension}")
    if isinstance(given, Section):
        if len(model.species) > 1:
            tables = ", ".join(f"[initial.{name}]" for name in model.species)
            raise InputError(f"{path}: [initial] is one density: give one for each species, {tables}")
        return densities[""]
    return densities


def _initial(path: Path, section: Any, domain: Domain | None = None) -> InitialDensity:
    density: InitialDensity
    cut = getattr(section, "cut", None)
    if section.kind == "grid":
        given = section.arguments("path", "cut")
        reading = {name: given.pop(name) for name in parameters(read_grid) if name in given}
        values, extent = read_grid(path.parent / section.path, **reading)
        options: dict[str, Any] = {"orientation": "image"} if is_image(section.path) else {}
        options |= {"extent": None if "scale" in given else extent, **given}
        density = section.call(values, **options)
    elif section.kind == "positions":
        density = section.call(path.parent / section.path, **section.arguments("path", "cut"))
    else:
        density = section.call(**section.arguments("cut"))
    if cut is not None and domain is None:
        where = "on a field, which may be cut off anyway, or without [domain]"
        raise InputError(f'cut = "{cut}" has no effect {where}: leave it out')
    return density if cut is None or domain is None else CutDensity(density, domain, keep=cut)


def _domain(path: Path, content: Any, keys: Mapping[str, Mapping[str, str]], dimension: int) -> Domain | None:
    """Return the domain; None where a wanted accuracy chooses it."""
    section, density = content.domain, content.density
    accuracy = None if density is None else density.accuracy
    if section is None and accuracy is None:
        raise InputError(f"{path}: [domain] is missing: give {wanted(type(content), 'domain')}")
    if accuracy is not None:
        if section is not None:
            raise InputError(f"{path}: [domain] has no effect beside density.accuracy: leave one of them out")
        with _naming(path, keys, "density"):
            beside = {"tol", "dt", "stop", *parameters(Regrid)}
            check_accuracy(accuracy, density.scheme, {k: each for k, each in density.given().items() if k in beside})
        return None
    with _naming(path, keys, "domain", "[domain]"):
        more: dict[str, Any] = {"path": path.parent / section.path} if hasattr(section, "path") else {}
        if "dimension" in parameters(section.call):
            more["dimension"] = dimension
        domain: Domain = section.build(**more)
        return domain


def _density(section: Any, problem: Problem, domain: Domain) -> dict[str, Any]:
    """Return the arguments of ``solve``, checked by what it checks them by."""
    if section is None:
        return {}
    options: dict[str, Any] = section.arguments()
    if "stop" in options:
        options["callback"] = options.pop("stop")
    checked_petsc_options(section.petsc_options)
    SaveAt.checked(options.get("save")).until(problem.t_end)
    check_choice("on_blow_up", section.on_blow_up, ON_BLOW_UP)
    if section.accuracy is None:
        density_scheme(section.scheme, tol=section.tol, dt=section.dt).check(domain, problem.t_end)
    return options


def _particles(path: Path, section: Any, problem: Problem) -> dict[str, Any] | None:
    """Return the arguments of ``simulate``, checked by what it checks them by."""
    if section is None:
        return None
    options: dict[str, Any] = section.arguments()
    check_integer("n", section.n, at_least=1)
    seed = Seed(section.seed, section.replica)
    if section.positions is not None:
        options["positions"] = path.parent / section.positions
        counts = dict.fromkeys(problem.model.species, section.n)
        given_positions(options["positions"], counts, problem.model.dimension, seed)
    scheme = particle_scheme(section.scheme, section.dt)
    FieldOptions(**{each.name: getattr(section, each.name) for each in fields(FieldOptions)})
    check_choice("on_blow_up", section.on_blow_up, ON_BLOW_UP)
    SaveAt.checked(check_statistics(options.get("save"), problem.fields, mean_field=False)).until(problem.t_end)
    check_work(section.n, steps=check_steps(problem.t_end, scheme.dt))
    return options


def _compare(section: Any, particles: Any, problem: Problem) -> dict[str, Any]:
    """Return the arguments of ``compare``, checked by what it checks them by."""
    if section is None:
        return {}
    options: dict[str, Any] = section.arguments("against")
    kind, d = "particles", problem.model.dimension
    if particles is None and section.against is not None:
        kind = "densities"
        for name in _OF_PARTICLES:
            if name in options:
                raise InputError(f"{name} has no effect between two densities: leave it out, or give [particles]")
    given = {name: getattr(section, name) for name in (*_OF_PARTICLES, "wasserstein")}
    checked_options(kind, d, **given, comm=alone())
    check_times(section.t, section.times, problem.t_end)
    signed = problem.u0[check_species(problem.model, section.species)].signed
    chosen_distances(section.distances, kind, section.r * d, signed=signed)
    if particles is not None:
        if section.t not in (None, problem.t_end):
            raise InputError(
                f"t = {section.t:g} is not the time of the particles, {problem.t_end:g}: give times = [...]"
            )
        check_work(particles.n, replicas=section.replicas)
    return options


def _against(case: Case, models: KnownModels) -> Case | None:
    """Return the case of ``compare.against``."""
    given = None if case.content.compare is None else case.content.compare.against
    if given is None:
        return None
    if given == "local":
        if case.content.regularisation is None:
            raise InputError(
                f'{case.path}: compare.against = "local" has no effect: without [regularisation] the density is the '
                "local one; leave it out"
            )
        return replace(case, experiment=replace(case.experiment, problem=case.experiment.problem.local))
    path = case.path.parent / given
    try:
        content = read_toml(path)
    except InputError as error:
        if path.suffix == ".toml" or not isinstance(error.__context__, OSError):
            raise
        raise InputError(
            f'{case.path}: compare.against = {shown(given)} is neither "local" nor a file that can be read '
            f"({error.__context__.strerror}): give one of them"
        ) from None
    other = case_of(path, content, models)  # whatever that one is compared with
    here, there = (_compared(each.experiment.problem) for each in (case, other))
    for name, ours in here.items():
        theirs = there[name]
        if name == "mass" and case.compare.get("normalise"):
            continue
        if ours != theirs and not (isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=1e-9)):
            also = ", or give compare.normalise = true" if name == "mass" else ""
            raise InputError(
                f"{case.path}: compare.against = {given!r} has {name} = {theirs}, this case {ours}: give both the same"
                f"{also}"
            )
    return other


def _compared(problem: Problem) -> dict[str, Any]:
    """Return what two problems must share to be compared, by name."""
    return {
        "dimension": problem.model.dimension,
        "species": ", ".join(problem.model.species),
        "t_end": problem.t_end,
        "mass": sum(problem.masses.values()),
    }
