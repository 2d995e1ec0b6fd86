"""Case files: what to compute, as TOML.

A case file is data: nothing in it is evaluated, and nothing is unpickled from the files it names. Every mistake is one
line that names the file, the dotted key, the value and what is valid.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kspde.cli.file_errors import first_problem, naming
from kspde.cli.sections import (
    BoxSection,
    CaseFile,
    DiskSection,
    GaussianMixtureSection,
    LocalSensingSection,
    MeshSection,
    PositionsSection,
    RegularisationSection,
    Section,
)
from kspde.domains import Box, Disk, Domain, MeshFile
from kspde.errors import ON_BLOW_UP, InputError, check_choice, check_integer, check_number, shown
from kspde.fem.petsc_options import checked_options
from kspde.initial import GaussianMixture, GridDensity, InitialDensity, observed_positions, read_grid
from kspde.kernels import MaternMollifier, mollifier_kernel
from kspde.models import (
    AlgebraicMotility,
    ExponentialMotility,
    LocalSensing,
    Model,
    OnePlusExponentialMotility,
    SignalDependentKellerSegel,
)
from kspde.models.motility import Motility
from kspde.runtime.files import read_regular
from kspde.runtime.limits import MOST_REPLICAS, check_steps, check_work
from kspde.runtime.saving import SaveAt

__all__ = ["Case", "case_of", "read_case", "read_toml"]


#: Bytes of a case file, the levels of its tables and arrays, and the parts of a dotted key: tomllib's time grows with
#: their square.
_MOST, _LEVELS, _PARTS = 1 << 20, 12, 24

#: A key of more parts; where it begins in the middle of one, the search does not.
_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % _PARTS  # noqa: UP031
)

#: name in the file -> family, its parameters
_MOTILITIES: dict[str, tuple[Callable[..., Motility], tuple[str, ...]]] = {
    "one-plus-exponential": (OnePlusExponentialMotility, ()),
    "exponential": (ExponentialMotility, ("alpha",)),
    "algebraic": (AlgebraicMotility, ("k",)),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case file whose every value has been checked.

    Attributes:
        path: the file.
        content: its content, typed.
        model: the system.
        u0: the initial density.
        domain: the truncated plane.
        solve_options: keyword arguments of ``kspde.solve`` beyond model, u0 and domain.
        simulate_options: keyword arguments of ``kspde.simulate`` beyond model and u0; None without [particles].
        compare_options: keyword arguments of ``kspde.compare`` beyond the two results.
        against: the case whose density the particles, or without [particles] the density, are compared with: this one
            without its mollifier, or another file's; None for this one's own.
    """

    path: Path
    content: CaseFile
    model: Model
    u0: InitialDensity
    domain: Domain
    solve_options: dict[str, Any]
    simulate_options: dict[str, Any] | None
    compare_options: dict[str, Any]
    against: Case | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the file's content as a JSON-ready dict; reading it as a case file gives the same case."""
        return self.content.model_dump(mode="json", exclude_unset=True)

    def naming(self, section: str) -> Any:
        """Return a context in which an InputError about a keyword argument names the key of this file.

        Args:
            section: where keywords that several sections know belong: "density", "particles" or "compare".
        """
        keys = {"t_end": "t_end"}
        for name in ("model", "initial", "domain", "regularisation", section):
            part = getattr(self.content, name)
            keys |= {key: f"{name}.{key}" for key in (type(part).model_fields if part is not None else ())}
        keys["path"] = "domain.file"  # of the mesh
        return naming(self.path, keys)


def read_case(path: str | Path) -> Case:
    """Read a case file and check all of it, the data files that it names included.

    Args:
        path: the case file; paths in it are relative to its directory.

    Raises:
        InputError: anything that is not valid, in one line.
    """
    path = Path(path)
    case = case_of(path, read_toml(path))
    return replace(case, against=_against(case))


def case_of(path: Path, raw: Mapping[str, Any]) -> Case:
    """Return the case that a file's content describes; see ``read_case``.

    Raises:
        InputError: anything that is not valid, in one line.
    """
    try:
        content = CaseFile.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, raw)}") from None
    with naming(path, {}):
        check_number("t_end", content.t_end, above=0)
    model = _model(path, content)
    u0 = _initial(path, content)
    if u0.dimension != model.dimension:
        raise InputError(f"{path}: [initial] is {u0.dimension}-dimensional: the model asks for {model.dimension}")
    domain = _domain(path, content.domain, model.dimension)
    regularised = _regularisation(path, content.regularisation)
    return Case(
        path=path,
        content=content,
        model=model,
        u0=u0,
        domain=domain,
        solve_options={"t_end": content.t_end} | _density(path, content) | regularised,
        simulate_options=_particles(path, content, regularised),
        compare_options=_compare(path, content),
    )


def read_toml(path: Path, what: str = "a case file") -> dict[str, Any]:
    """Return the content of a TOML file.

    Args:
        path: the file.
        what: what such a file is called.

    Raises:
        InputError: it cannot be read, or is no TOML.
    """
    try:
        text = read_regular(path, _MOST).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8: {what} is a TOML text, save it in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give the path of {what}") from None
    long = _LONG_KEY.search(text)
    if long:
        raise InputError(f"{path}: not {what}: a key of more than {_PARTS} parts, {shown(long[0])}")
    try:
        content = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path}: not a TOML file: nested too deeply") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise InputError(f"{path}: not a TOML file: {error}") from None
    if _deeper(content, _LEVELS):
        raise InputError(f"{path}: not {what}: nested more than {_LEVELS} levels deep")
    return content


def _deeper(content: Any, levels: int) -> bool:
    """Return whether tables and arrays are nested more than so many levels deep."""
    below: list[Any] = [content]
    for _ in range(levels + 1):
        below = [
            inner
            for outer in below
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(below)


def _section(path: Path, name: str, section: Section, otherwise: str = "") -> Any:
    return naming(path, {key: f"{name}.{key}" for key in type(section).model_fields}, otherwise or f"[{name}]")


def _model(path: Path, content: CaseFile) -> Model:
    section = content.model
    with _section(path, "model", section):
        if not isinstance(section, LocalSensingSection):
            return SignalDependentKellerSegel(**section.given())
        shape = {name: getattr(section, name) for name in section.given() if name in ("alpha", "k")}
        family, own = _MOTILITIES[section.motility]
        for name, value in shape.items():
            if name not in own:
                raise InputError(f'{name} = {value} has no effect with motility = "{section.motility}": leave it out')
        return LocalSensing(motility=family(**shape), **section.given("motility", "alpha", "k"))


def _domain(path: Path, section: BoxSection | DiskSection | MeshSection, dimension: int) -> Domain:
    with _section(path, "domain", section):
        if isinstance(section, MeshSection):
            return MeshFile(path=path.parent / section.file, **section.given("file"))
        if isinstance(section, DiskSection):
            return Disk(**section.given())
        return Box(dimension=dimension, **section.given())


def _density(path: Path, content: CaseFile) -> dict[str, Any]:
    if content.density is None:
        return {}
    options = content.density.given("times", "statistics")
    with _section(path, "density", content.density):
        checked_options(content.density.petsc_options)
        times, statistics = content.density.times, content.density.statistics
        if times is not None or statistics is not None:
            options["save"] = SaveAt(times=times or (), statistics=tuple(statistics or ()))
            options["save"].until(content.t_end)
        check_choice("on_blow_up", options.get("on_blow_up", "stop"), ON_BLOW_UP)
        if "dt" in options:
            check_steps(content.t_end, check_number("dt", options["dt"], above=0))
    return options


def _initial(path: Path, content: CaseFile) -> InitialDensity:
    section = content.initial
    if isinstance(section, GaussianMixtureSection):
        with _section(path, "initial", section):
            return GaussianMixture(**section.given())
    with _section(path, "initial", section, otherwise="initial.file"):
        file = path.parent / section.file
        options = section.given("file")
        if isinstance(section, PositionsSection):
            return observed_positions(file, **options)
        values, extent = read_grid(file)
        options.setdefault("extent", extent)
        if options["extent"] is None:
            raise InputError("extent is missing: give [xmin, xmax, ymin, ymax], or an array extent in a .npz file")
        return GridDensity(values, **options)


def _regularisation(path: Path, section: RegularisationSection | None) -> dict[str, Any]:
    """Return the keyword arguments ``eps`` and ``mollifier`` of both backends."""
    if section is None:
        return {}
    with _section(path, "regularisation", section):
        options = section.given("order", "initial")
        if section.order is not None:
            if section.mollifier != "matern":
                raise InputError(f'order = {section.order} has no effect here: it needs mollifier = "matern"')
            options["mollifier"] = partial(MaternMollifier, order=section.order)
        mollifier_kernel(**options)
        if section.initial is not None:
            options["initial"] = check_choice("initial", section.initial, ("u0", "mollified"))
        return options


def _particles(path: Path, content: CaseFile, regularised: dict[str, Any]) -> dict[str, Any] | None:
    if content.particles is None:
        return None
    options = content.particles.given()
    with _section(path, "particles", content.particles):
        check_integer("n", options["n"], at_least=1)
        check_number("dt", options["dt"], above=0)
        check_integer("seed", options.get("seed", 0), at_least=0)
        check_integer("replica", options.get("replica", 0), at_least=0)
        check_number("field_tol", options.get("field_tol", 1e-6), above=0)
        check_work(options["n"], steps=check_steps(content.t_end, options["dt"]))
    return {"t_end": content.t_end} | options | regularised


def _compare(path: Path, content: CaseFile) -> dict[str, Any]:
    if content.compare is None:
        return {}
    options = content.compare.given("against")
    with _section(path, "compare", content.compare):
        if content.particles is None and content.compare.against is not None:
            for name in ("bandwidth", "replicas"):
                if name in options:
                    raise InputError(f"{name} has no effect between two densities: leave it out, or give [particles]")
        if "bandwidth" in options:
            check_number("bandwidth", options["bandwidth"], above=0)
        if "replicas" in options:
            check_integer("replicas", options["replicas"], at_least=2, at_most=MOST_REPLICAS)
            if content.particles is not None:
                check_work(content.particles.n, replicas=options["replicas"])
    return options


def _against(case: Case) -> Case | None:
    """Return the case of ``compare.against``.

    Raises:
        InputError: it cannot be read, or has no distance from this case.
    """
    given = None if case.content.compare is None else case.content.compare.against
    if given is None:
        return None
    if given == "local":
        if case.content.regularisation is None:
            raise InputError(
                f'{case.path}: compare.against = "local" has no effect: without [regularisation] the density is the '
                "local one; leave it out"
            )
        options = {k: v for k, v in case.solve_options.items() if k not in ("eps", "mollifier", "initial")}
        return replace(case, solve_options=options)
    path = case.path.parent / given
    other = case_of(path, read_toml(path))  # whatever that one is compared with
    parts: list[tuple[str, Any, Any]] = [
        ("dimension", case.model.dimension, other.model.dimension),
        ("species", ", ".join(case.model.species), ", ".join(other.model.species)),
        ("t_end", case.content.t_end, other.content.t_end),
    ]
    if not case.compare_options.get("normalise"):
        parts.append(("mass", case.u0.mass, other.u0.mass))
    for name, ours, theirs in parts:
        if ours != theirs and not (isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=1e-9)):
            also = ", or give compare.normalise = true" if name == "mass" else ""
            raise InputError(
                f"{case.path}: compare.against = {given!r} has {name} = {theirs}, this case {ours}: give both the same"
                f"{also}"
            )
    return other
