"""Case files: what to compute, as TOML.

A case file is data: nothing in it is evaluated, and nothing is unpickled from the files it names. Every mistake is one
line that names the file, the dotted key, the value and what is valid.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kspde.cli.file_errors import first_problem, naming
from kspde.cli.schema import CaseFile
from kspde.cli.sections import OLDER, Section, parameters
from kspde.domains import Domain
from kspde.errors import ON_BLOW_UP, InputError, check_choice, check_integer, check_number, shown
from kspde.fem.petsc_options import checked_options
from kspde.fem.schemes import scheme_of
from kspde.initial import InitialDensity, read_grid
from kspde.kernels import resolve_mollifier
from kspde.models import Model
from kspde.particles.statistics import check_statistics
from kspde.runtime.files import read_regular
from kspde.runtime.limits import MOST_REPLICAS, check_steps, check_work
from kspde.runtime.saving import SaveAt

__all__ = ["Case", "case_of", "read_case", "read_toml", "validated"]


#: Bytes of a case file, the levels of its tables and arrays, and the parts of a dotted key: tomllib's time grows with
#: their square.
_MOST, _LEVELS, _PARTS = 1 << 20, 12, 24

#: A key of more parts; where it begins in the middle of one, the search does not.
_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % _PARTS  # noqa: UP031
)


#: Arguments of ``compare`` that have a meaning for particles only.
_OF_PARTICLES = ("bandwidth", "neighbours", "r", "replicas", "resolution", "seed")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case file in which every value has been checked.

    Attributes:
        path: the file.
        content: its content, a :data:`kspde.cli.schema.CaseFile`.
        model: the system.
        u0: the initial density.
        domain: the truncated domain.
        solve_options: keyword arguments of ``kspde.solve`` beyond model, u0 and domain.
        simulate_options: keyword arguments of ``kspde.simulate`` beyond model and u0; None without [particles].
        compare_options: keyword arguments of ``kspde.compare`` beyond the two results.
        keys: by table, the dotted key of each argument as the file spells it.
        against: the case whose density the particles, or without [particles] the density, are compared with: this one
            without its mollifier, or another file's; None for this one's own.
    """

    path: Path
    content: Any
    model: Model
    u0: InitialDensity
    domain: Domain
    solve_options: dict[str, Any]
    simulate_options: dict[str, Any] | None
    compare_options: dict[str, Any]
    keys: Mapping[str, Mapping[str, str]]
    against: Case | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the file's content as a JSON-ready dict; reading it as a case file gives the same case."""
        out: dict[str, Any] = self.content.model_dump(mode="json", exclude_unset=True)
        return out

    def naming(self, section: str) -> Any:
        """Return a context in which an InputError about a keyword argument names the key of this file.

        Args:
            section: where keywords that several tables have belong: "density", "particles" or "compare".
        """
        tables = (self.keys.get(name, {}) for name in ("model", "initial", "domain", "regularisation", section))
        return naming(
            self.path, {"t_end": "t_end"} | {key: dotted for table in tables for key, dotted in table.items()}
        )


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
    content = validated(path, raw, CaseFile, "a case file")
    keys = {name: _spelt(name, getattr(content, name), raw[name]) for name in raw if isinstance(raw[name], Mapping)}

    def table(name: str) -> Any:
        where = f"[{name}]" if name != "initial" else keys[name].get("path", "[initial]")
        return naming(path, keys.get(name, {}), where)

    with naming(path, {}):
        t_end = check_number("t_end", content.t_end, above=0)
    with table("model"):
        model = content.model.build()
    with table("initial"):
        u0 = _initial(path, content.initial)
    if u0.dimension != model.dimension:
        raise InputError(f"{path}: [initial] is {u0.dimension}-dimensional: the model asks for {model.dimension}")
    with table("domain"):
        domain = _domain(path, content.domain, model.dimension)
    with table("regularisation"):
        regularised = _regularisation(content.regularisation)
    with table("density"):
        density = _density(content.density, t_end)
    with table("particles"):
        particles = _particles(content.particles, t_end)
    with table("compare"):
        comparison = _compare(content.compare, content.particles, t_end)
    return Case(
        path=path,
        content=content,
        model=model,
        u0=u0,
        domain=domain,
        solve_options={"t_end": content.t_end, **density, **regularised},
        simulate_options=None if particles is None else {"t_end": content.t_end, **particles, **regularised},
        compare_options=comparison,
        keys=keys,
    )


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


def read_toml(path: Path, what: str = "a case file") -> dict[str, Any]:
    """Return the content of a TOML file.

    Args:
        path: the file.
        what: the name of such files in messages.

    Raises:
        InputError: it cannot be read, or is not TOML.
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


def _spelt(name: str, section: Section, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the dotted keys of a table's arguments, as the file spells them."""
    names = type(section).model_fields
    return {n: f"{name}.{OLDER[n] if OLDER.get(n) in table else n}" for n in names}


def _initial(path: Path, section: Any) -> InitialDensity:
    density: InitialDensity
    if section.kind == "grid":
        values, extent = read_grid(path.parent / section.path)
        options = {"extent": extent, **section.arguments("path")}
        if options["extent"] is None:
            raise InputError("extent is missing: give [xmin, xmax, ymin, ymax], or an array extent in a .npz file")
        density = section.call(values, **options)
    elif section.kind == "positions":
        density = section.call(path.parent / section.path, **section.arguments("path"))
    else:
        density = section.build()
    return density


def _domain(path: Path, section: Any, dimension: int) -> Domain:
    more: dict[str, Any] = {"path": path.parent / section.path} if hasattr(section, "path") else {}
    if "dimension" in parameters(section.call):
        more["dimension"] = dimension
    domain: Domain = section.build(**more)
    return domain


def _regularisation(section: Any) -> dict[str, Any]:
    """Return the keyword arguments of both backends."""
    if section is None:
        return {}
    options: dict[str, Any] = section.arguments()
    resolve_mollifier(options["eps"], options.get("mollifier", section.mollifier))
    check_choice("initial", section.initial, ("u0", "mollified"))
    return options


def _density(section: Any, t_end: float) -> dict[str, Any]:
    if section is None:
        return {}
    options: dict[str, Any] = section.arguments()
    checked_options(section.petsc_options)
    if "save" in options:
        options["save"].until(t_end)
    check_choice("on_blow_up", section.on_blow_up, ON_BLOW_UP)
    scheme_of(section.scheme, tol=section.tol, dt=section.dt)
    if section.dt is not None:
        check_steps(t_end, section.dt)
    return options


def _particles(section: Any, t_end: float) -> dict[str, Any] | None:
    if section is None:
        return None
    options: dict[str, Any] = section.arguments()
    check_integer("n", section.n, at_least=1)
    check_number("dt", section.dt, above=0)
    check_integer("seed", section.seed, at_least=0)
    check_integer("replica", section.replica, at_least=0)
    check_number("field_tol", section.field_tol, above=0)
    check_number("memory_limit", section.memory_limit, above=0)
    check_choice("on_blow_up", section.on_blow_up, ON_BLOW_UP)
    if "save" in options:
        check_statistics(options["save"], (), mean_field=False)
        options["save"].until(t_end)
    check_work(section.n, steps=check_steps(t_end, section.dt))
    return options


def _compare(section: Any, particles: Any, t_end: float) -> dict[str, Any]:
    if section is None:
        return {}
    options: dict[str, Any] = section.arguments("against")
    if particles is None and section.against is not None:
        for name in _OF_PARTICLES:
            if name in options:
                raise InputError(f"{name} has no effect between two densities: leave it out, or give [particles]")
    if section.t is not None and section.times is not None:
        raise InputError("t and times are given: give one of them")
    if particles is not None and section.t not in (None, t_end):
        raise InputError(f"t = {section.t:g} is not the time of the particles, {t_end:g}: give times = [...]")
    if section.t is not None and check_number("t", section.t, at_least=0) > t_end:
        raise InputError(f"t = {section.t:g} is not valid: give a time in [0, {t_end:g}]")
    if section.times is not None:
        SaveAt(times=section.times).until(t_end)
    if section.bandwidth is not None:
        check_number("bandwidth", section.bandwidth, above=0)
    if section.resolution is not None:
        check_integer("resolution", section.resolution, at_least=16)
    check_integer("r", section.r, at_least=1, at_most=2)
    check_integer("neighbours", section.neighbours, at_least=1)
    check_integer("seed", section.seed, at_least=0)
    check_integer("replicas", section.replicas, at_least=2, at_most=MOST_REPLICAS)
    if particles is not None:
        check_work(particles.n, replicas=section.replicas)
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
    try:
        content = read_toml(path)
    except InputError as error:
        if path.suffix == ".toml" or not isinstance(error.__context__, OSError):
            raise
        raise InputError(
            f'{case.path}: compare.against = {shown(given)} is neither "local" nor a file that can be read '
            f"({error.__context__.strerror}): give one of them"
        ) from None
    other = case_of(path, content)  # whatever that one is compared with
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
