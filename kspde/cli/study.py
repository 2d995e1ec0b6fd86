"""Study files: a case and what varies in it, as TOML.

A study file has the sections of a case file (without [compare]) and

- ``title`` and ``about``;
- ``[sweep]``: keys of those sections with an array of values each, ``particles.n = [250, 1000]``; all combinations are
  computed. ``regularisation.eps = {c = 0.3, gamma = 0.019}`` is ε = c N^(−γ), with an array for ``gamma`` to vary it;
- ``[measure]``: what is measured at each point;
- ``[[fits]]``: rates, with what is promised of them;
- ``[small]``: the same keys again, which take the place of the others in the small setting.

In fits and tables a swept parameter is called by its last word: ``n``, ``eps``, ``cells``.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from kspde.cli.case import case_of, known_models, validated
from kspde.cli.file_errors import naming
from kspde.cli.forms import SYSTEM
from kspde.cli.models import BUILT_IN, KnownModels
from kspde.cli.schema import study_form
from kspde.cli.toml import merged, read_toml, with_changes
from kspde.errors import InputError, check_integer, check_number, shortened, shown
from kspde.papers.studies import MEASURES, Finding, Fit, Point, Precision, Study
from kspde.runtime.files import open_regular, shipped
from kspde.runtime.limits import MOST_POINTS, MOST_REPLICAS, check_steps, check_work

__all__ = ["read_study", "ready_studies"]


def ready_studies() -> dict[str, Path]:
    """Return the studies that come with kspde: name -> file."""
    return shipped("papers/studies/ready", ".toml")


def read_study(
    path: str | Path,
    *,
    small: bool = False,
    models: KnownModels = BUILT_IN,
    seed: int = 0,
    changes: Sequence[str] = (),
) -> Study:
    """Read a study file, or take one that comes with kspde, and check all of it.

    Args:
        path: a study file, or the name of a ready-made study.
        small: take the small setting.
        models: the models that it may name, beside those of installed packages.
        seed: an integer >= 0 that the seeds of all points depend on; those of shipped results have 0.
        changes: values in place of the file's, such as "model.chi=12", also of its small setting.

    Raises:
        InputError: anything that is not valid, in one line.
    """
    ready = ready_studies()
    name, file = str(path), Path(path)
    if not os.path.exists(path):  # pathlib's raises where the name is too long
        if name not in ready and file.suffix != ".toml":
            raise InputError(
                f"{shortened(name)} is neither a study file nor a ready-made study: these are {', '.join(ready)}"
            )
        file = ready.get(name, file)
    raw = read_toml(file, "a study file")
    smaller = raw.pop("small", None)
    if small:
        if not isinstance(smaller, Mapping):
            raise InputError(f"{file}: [small] is missing: give it, or leave out --small")
        raw = merged(raw, smaller)
    raw = with_changes(raw, changes)
    axes = _axes(file, raw)
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST_POINTS:
        raise InputError(f"{file}: [sweep] has {shown(count)} points: give fewer values, for at most {MOST_POINTS}")
    check_integer("seed", seed, at_least=0)
    options = (" --small" if small else "") + models.option + (f" --seed {seed}" if seed else "")
    options += "".join(f" --set {shlex.quote(change)}" for change in changes)
    series = {"seed": seed} if seed else {}
    points = tuple(
        replace(point, parameters={**point.parameters, **series}) for point in _points(file, raw, axes, models)
    )
    first = _put(raw, axes, next(_assignments(axes)))
    content = validated(file, first, study_form(known_models(file, first, models).kinds), "a study file")
    names = {axis.name: axis.values for axis in axes}
    return Study(
        name=file.stem,
        title=content.title,
        about=content.about,
        setting="small" if small else "full",
        measure=content.measure.kind,
        axes=names,
        points=points,
        fits=tuple(_fit(file, k, fit, content, names) for k, fit in enumerate(content.fits or [])),
        command=f"kspde study {name}{options} --out DIR",
        finding=_finding(file, content),
        precision=_precision(file, content, points),
    )


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A swept parameter: its place in the file, its short name, its values; a law's is γ, with its c."""

    place: tuple[str, ...]
    name: str
    values: tuple[Any, ...]
    factor: float | None = None


def _axes(file: Path, raw: Mapping[str, Any]) -> list[_Axis]:
    sweep = raw.get("sweep")
    if not isinstance(sweep, Mapping) or not sweep:
        raise InputError(f"{file}: [sweep] is missing: give parameters with their values, such as particles.n = [250]")
    axes = [_axis(file, place, value) for place, value in _leaves(sweep)]
    names = [axis.name for axis in axes]
    for axis in axes:
        if names.count(axis.name) > 1:
            raise InputError(f"{file}: sweep varies two parameters called {axis.name}: leave one of them out")
    return axes


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and not {"c", "gamma"} & set(value):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _axis(file: Path, place: tuple[str, ...], value: Any) -> _Axis:
    where = ".".join(("sweep", *place))
    if isinstance(value, Mapping):
        if set(value) != {"c", "gamma"} or place[-1] != "eps":
            raise InputError(f"{file}: {where} is not valid: a law is eps = {{c = ..., gamma = ...}}, for c N^-gamma")
        gammas = value["gamma"] if isinstance(value["gamma"], list) else [value["gamma"]]
        with naming(file, {}):
            factor = check_number(f"{where}.c", value["c"], above=0)
            numbers = tuple(check_number(f"{where}.gamma", gamma, at_least=0) for gamma in gammas)
        return _Axis(place=place, name="gamma", values=_distinct(file, where, numbers), factor=factor)
    if not isinstance(value, list):
        raise InputError(f"{file}: {where} = {shown(value)} is not valid: give an array of values")
    if any(not isinstance(entry, (int, float, str)) or isinstance(entry, bool) for entry in value):
        raise InputError(f"{file}: {where} is not valid: give an array of numbers or of names")
    return _Axis(place=place, name=place[-1], values=_distinct(file, where, value))


def _distinct(file: Path, where: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if not values or len(set(values)) < len(values):
        raise InputError(f"{file}: {where} = {shown(list(values))} is not valid: give different values, at least one")
    return tuple(values)


def _assignments(axes: Sequence[_Axis]) -> Iterator[dict[str, Any]]:
    """Return every combination: short name -> value."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


def _put(raw: Mapping[str, Any], axes: Sequence[_Axis], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's content with the values of one point in it."""
    out: dict[str, Any] = copy.deepcopy(dict(raw))
    for axis in axes:
        if axis.factor is None:
            _set(out, axis.place, values[axis.name])
    for axis in axes:
        if axis.factor is not None:
            _set(out, axis.place, axis.factor * _particles(out) ** -values[axis.name])
    return out


def _particles(content: Mapping[str, Any]) -> float:
    section = content.get("particles")
    n = section.get("n") if isinstance(section, Mapping) else None
    return float(n) if isinstance(n, int) and n > 0 else 1.0  # else the case refuses it in its own words


def _set(table: dict[str, Any], place: Sequence[str], value: Any) -> None:
    for key in place[:-1]:
        below = table.setdefault(key, {})
        if not isinstance(below, dict):
            return  # the schema refuses it in its own words
        table = below
    table[place[-1]] = value


def _points(file: Path, raw: Mapping[str, Any], axes: Sequence[_Axis], models: KnownModels) -> Iterator[Point]:
    for values in _assignments(axes):
        raw_point = _put(raw, axes, values)
        models = known_models(file, raw_point, models)
        content = validated(file, raw_point, study_form(models.kinds), "a study file")
        case = case_of(file, {key: value for key, value in raw_point.items() if key in SYSTEM}, models)
        _check_effects(file, content)
        with naming(file, {key: f"measure.{key}" for key in type(content.measure).model_fields}):
            replicas = content.measure.given().get("replicas", 1)
            check_integer("measure.replicas", replicas, at_least=1, at_most=MOST_REPLICAS)
            if simulated := case.experiment.simulate:
                steps = check_steps(case.experiment.problem.t_end, simulated["dt"])
                check_work(simulated["n"], steps=steps, replicas=replicas)
            measure = content.measure.build()
            measure.check(case.experiment)
        derived = {axis.place[-1]: reduce(getitem, axis.place, raw_point) for axis in axes if axis.factor is not None}
        decisive = {*SYSTEM, "measure"}
        yield Point(
            swept={**values, **derived},
            parameters={
                **content.model_dump(mode="json", exclude_unset=True, include=decisive),
                **_digests(file, content),
                **({"model_origin": {k: v for k, v in case.origin.items() if k != "file"}} if case.origin else {}),
            },
            experiment=case.experiment,
            measure=measure,
        )


def _check_effects(file: Path, content: Any) -> None:
    """Refuse keys of a case file that the study's measure does not read."""
    kind = content.measure.kind
    if content.density is not None and content.density.accuracy is not None:
        raise InputError(f"{file}: density.accuracy is for case files: a study's points need a [domain] in common")
    for name in ("times", "statistics") if content.density is not None else ():
        if name in content.density.given():
            raise InputError(f"{file}: density.{name} has no effect in a study: leave it out")
    for name in content.particles.given() if content.particles is not None else ():
        if not MEASURES[kind].takes(name):
            raise InputError(f'{file}: particles.{name} has no effect with measure "{kind}": leave it out')


def _digests(file: Path, content: Any) -> dict[str, str]:
    """Return hashes of the data files that the study names: a point depends on what is in them."""
    initial = content.initial.values() if isinstance(content.initial, Mapping) else (content.initial,)
    tables = (content.model, getattr(content.model, "v0", None), *initial, content.domain)
    names = [table.path for table in tables if getattr(table, "path", None) is not None]
    digests = {}
    for name in names:
        try:
            with open_regular(file.parent / name) as content_of_it:
                digests[name] = hashlib.file_digest(content_of_it, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{file}: {name} cannot be read ({error.strerror}): give the name of a file") from None
    return digests


def _fit(file: Path, index: int, section: Any, content: Any, axes: Mapping[str, tuple[Any, ...]]) -> Fit:
    where = f"fits[{index}]"
    _check_quantity(file, f"{where}.quantity", section.quantity, content)
    numeric = [name for name, values in axes.items() if not any(isinstance(v, str) for v in values)]
    if section.against not in numeric:
        raise InputError(
            f"{file}: {where}.against = {section.against!r} is not swept: give one of {', '.join(numeric) or 'none'}"
        )
    for name, value in section.where.items():
        if value not in axes.get(name, ()):
            raise InputError(
                f"{file}: {where}.where.{name} = {value!r} is not a value of the sweep: give one of its values"
            )
    promises = []
    for k, promise in enumerate(section.promises):
        with naming(file, {}, f"{where}.promises[{k}]"):
            promises.append(promise.build())
    fit: Fit = section.build(promises=tuple(promises))
    return fit


def _check_quantity(file: Path, key: str, name: str, content: Any) -> None:
    """Refuse the name of a quantity that the study's measure does not have."""
    kind = content.measure.kind
    if name not in (quantities := MEASURES[kind].quantities):
        raise InputError(f'{file}: {key} = {name!r} is not measured: "{kind}" has {", ".join(quantities)}')


def _finding(file: Path, content: Any) -> Finding | None:
    if content.finding is None:
        return None
    for name in content.finding.given().get("shown", ()):
        _check_quantity(file, "finding.shown", name, content)
    finding: Finding = content.finding.build()
    return finding


def _precision(file: Path, content: Any, points: Sequence[Point]) -> Precision | None:
    if content.precision is None:
        return None
    with naming(file, {}, "precision"):
        precision: Precision = content.precision.build()
    _check_quantity(file, "precision.quantity", precision.quantity, content)
    if "replicas" not in type(content.measure).model_fields:
        raise InputError(f'{file}: measure "{content.measure.kind}" has no replicas: leave [precision] out')
    with naming(file, {"pilot": "precision.pilot"}):
        check_integer("pilot", precision.pilot, at_least=max(point.measure.fewest for point in points))
    return precision
