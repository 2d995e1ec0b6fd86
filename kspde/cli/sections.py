"""Tables of case and study files, made from the signatures of the functions and classes that they are for.

Names, types and defaults of keys are those of the parameters, descriptions the first sentences of the docstring's
entries. So a new argument is a new key without a line here, unless its type has no counterpart in TOML. Types alone are
checked here; bounds are checked by the functions themselves.

An argument that is an object from a registry is written as its name there, and the object's own arguments beside it:
``mollifier = "matern"`` with ``order = 3``, ``motility = "exponential"`` with ``alpha = 2.0``.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache, partial, reduce
from operator import getitem, or_
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WrapValidator,
    create_model,
)

from kspde.errors import InputError, canonical_name

__all__ = [
    "ELSEWHERE",
    "NOT_IN_FILES",
    "OLDER",
    "ONE_OR_EACH",
    "Parameter",
    "Section",
    "array_of",
    "by_name",
    "key",
    "one_of",
    "parameters",
    "section",
    "sections_at",
    "tagged",
    "tags",
    "wanted",
]

#: Arguments that have a place of their own in a file.
ELSEWHERE = {
    "model": "[model]",
    "u0": "[initial]",
    "domain": "[domain]",
    "t_end": "t_end, at the top of the file",
    "eps": "[regularisation]",
    "mollifier": "[regularisation]",
    "initial": "[regularisation]",
    "dimension": "that of the model",
    "GridDensity.values": "read from the file that path names",
    "observed_positions.positions": "read from the file that path names",
    "compare.first": "the density of the case, or of compare.against",
    "compare.second": "the particles of the case; without [particles] its density",
}

#: Arguments that a file cannot hold, or has no use for, with the reason.
NOT_IN_FILES = {
    "callback": "a function; density.stop of a case names what ends a run early",
    "checkpoint": "the command writes checkpoints beside its results: --checkpoint-every",
    "comm": "the command runs on all ranks that mpirun starts",
    "progress": "a function; the command shows a progress bar",
    "resume": "--resume of the command",
    "simulate.domain": "[domain], where that is a closed or periodic box",
    "simulate.mean_field": 'a solved density; studies of kind "coupling" and "chaos" simulate mean-field particles',
    "simulate.mean_field_differs": "as mean_field",
    "simulate.weights": "an array, or a function of the starting points",
    "compare.domain": "of functions, which a file cannot hold",
    "compare.mass": "of positions without a model",
    "compare.snapshots": "the particles at compare.times, which the command keeps",
}

#: Older spellings of keys, which are read too.
OLDER = {"path": "file"}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An argument as a key of a file.

    Attributes:
        annotation: its type in Python.
        default: its default; ``inspect.Parameter.empty`` where it must be given.
        description: the first sentence that the docstring has about it.
    """

    annotation: Any
    default: Any
    description: str

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty


@cache
def parameters(call: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Return the arguments of a function or class by name."""
    found = inspect.signature(call).parameters
    made: dict[str, Any] = {}
    if is_dataclass(call):
        hints = get_type_hints(call)
        made = {f.name: f.default_factory() for f in fields(call) if f.default_factory is not MISSING}
    else:  # what is returned may have an annotation that only type checkers know
        function: Any = inspect.unwrap(vars(call)["__init__"] if isinstance(call, type) else call)
        own = SimpleNamespace(__annotations__={n: a for n, a in function.__annotations__.items() if n in found})
        hints = get_type_hints(own, vars(sys.modules[function.__module__]))
    about = _descriptions(call)
    return {
        name: Parameter(
            annotation=hints.get(name), default=made.get(name, p.default), description=about.get(name, name)
        )
        for name, p in found.items()
    }


def _descriptions(call: Any) -> dict[str, str]:
    """Return the first sentence about each argument in the docstrings of a function, or of a class and its bases."""
    out: dict[str, str] = {}
    for text in (
        [vars(each).get("__doc__") for each in reversed(call.__mro__)] if isinstance(call, type) else [call.__doc__]
    ):
        blocks = re.findall(
            r"^(?:Args|Attributes):\n((?:[ \t]+.*(?:\n|$)|\n)+)", inspect.cleandoc(text or ""), re.MULTILINE
        )
        for block in blocks:
            entries = re.findall(r"^(\w+):((?:.*\n?)(?:[ \t]+.*\n?|\n)*)", textwrap.dedent(block), re.MULTILINE)
            out |= {name: _sentence(words) for name, words in entries}
    return out


def _sentence(text: str) -> str:
    """Return the first sentence of a docstring as Markdown, without its full stop."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", " ".join(text.split()))
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    return re.split(r"\.(?:\s+(?=[A-Z\"(])|$)", text, maxsplit=1)[0]


class Section(BaseModel):
    """A table of a file: keys that are not declared are refused, and no value is converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: What the table's keys are arguments of.
    call: ClassVar[Callable[..., Any]]
    #: By argument: the registry that it is chosen from, or the class of an object whose arguments are keys.
    objects: ClassVar[Mapping[str, Mapping[str, Callable[..., Any]] | Callable[..., Any]]] = {}

    def given(self, *left_out: str) -> dict[str, Any]:
        """Return the keys that the file sets, without ``kind`` and those ``left_out``."""
        names = self.model_fields_set - {"kind", *left_out}
        return {name: getattr(self, name) for name in type(self).model_fields if name in names}

    def arguments(self, *left_out: str, beside: Path | None = None) -> dict[str, Any]:
        """Return the keyword arguments that the file gives, objects made of their names and parameters.

        Args:
            left_out: keys that are not arguments.
            beside: the directory that ``path`` is relative to, where that is an argument.

        Raises:
            InputError: a parameter is missing, out of range, or not one of the object chosen.
        """
        options = self.given(*left_out)
        for name, value in options.items():
            if isinstance(value, list):
                options[name] = [_object_of(one, f"{name}[{k}]") for k, one in enumerate(value)]
        if beside is not None and options.get("path") is not None:
            options["path"] = beside / options["path"]
        own = parameters(self.call)
        for name, source in self.objects.items():
            if isinstance(source, Mapping):
                self._choose(options, name, source, own)
            elif taken := {key: options.pop(key) for key in parameters(source) if key in options}:
                options[name] = source(**taken)
        return options

    def build(self, **more: Any) -> Any:
        """Return what the function or class makes of the table's keys and of further arguments."""
        return self.call(**self.arguments() | more)

    def _choose(
        self, options: dict[str, Any], name: str, registry: Mapping[str, Callable[..., Any]], own: Mapping[str, Any]
    ) -> None:
        """Put an object of a registry into the options, in place of its parameters."""
        others = {key for call in registry.values() for key in parameters(call)} - set(own)
        given = sorted(others & set(options))
        if getattr(self, name) is None:
            if given:
                key = given[0]
                raise InputError(f"{key} = {options[key]} has no effect without {name}: leave it out, or give {name}")
            return
        chosen = canonical_name(getattr(self, name), registry)
        known = parameters(registry[chosen])
        extra: dict[str, Any] = {}
        for key in given:
            if key not in known:
                raise InputError(f'{key} = {options[key]} has no effect with {name} = "{chosen}": leave it out')
            extra[key] = options.pop(key)
        for key, parameter in known.items():
            if parameter.required and key not in options and key not in extra:
                raise InputError(f"{key} is missing: give {wanted(type(self), key)}")
        if set(known) & set(own):  # the function puts them together with its own arguments, by name or from a partial
            if extra:
                options[name] = partial(registry[chosen], **extra)
        else:
            options[name] = registry[chosen](**extra)


def _object_of(one: Any, place: str) -> Any:
    """Return what an entry of an array stands for: of a table its object, or its kind where it has no other key."""
    if not isinstance(one, Section):
        return one
    try:
        return one.build() if one.model_fields_set > {"kind"} else cast(Any, one).kind
    except InputError as error:  # begins with the name of a key
        raise InputError(f"{place}.{error}") from None


def section(
    call: Callable[..., Any],
    *,
    kind: str | None = None,
    name: str | None = None,
    only: Collection[str] | None = None,
    types: Mapping[str, Any] | None = None,
    objects: Mapping[str, Any] | None = None,
    also: Mapping[str, tuple[Any, Any, str]] | None = None,
    every: bool = False,
) -> Any:
    """Return the table whose keys are the arguments of a function or class.

    Args:
        call: the function or class.
        kind: the table's ``kind``.
        name: the table's name where it has no ``kind``; that of the function unless given.
        only: the function's own arguments that are keys; unless given, all but those of ``ELSEWHERE`` and
            ``NOT_IN_FILES``.
        types: types of keys that do not follow from the annotation.
        objects: by argument, where the function has it, the registry that it is chosen from, or the class of an object
            whose arguments are keys.
        also: keys that are described here: type, default (... where there is none), description.
        every: whether arguments of the names in ``ELSEWHERE`` and ``NOT_IN_FILES`` are keys too.

    Raises:
        TypeError: an argument without a default has no type in TOML; one with a default is then left out.
    """
    also, own = also or {}, parameters(call)
    objects = {name: source for name, source in (objects or {}).items() if name in own}
    needed = _needed_by_all(objects)
    keys: dict[str, Any] = {}
    for argument, parameter in _with_those_of_objects(own, objects).items():
        excepted = not every and {argument, f"{call.__name__}.{argument}"} & {*ELSEWHERE, *NOT_IN_FILES}
        if argument in also or (excepted if only is None else argument in {*own} - {*only}):
            continue
        source, default = objects.get(argument), parameter.default
        if isinstance(source, Mapping):
            form = _name_in(source)
            default = next((n for n, each in source.items() if type(default) is each), default)
        else:
            form = (types or {}).get(argument) or _toml(parameter.annotation)
        if form is None and parameter.required:
            raise TypeError(
                f"{argument} of {call.__name__} has no type that TOML has: annotate it with float, int, str, bool or a "
                "sequence of them, or give it a default"
            )
        if form is None:
            continue
        if parameter.required or argument in needed:
            default = ... if argument in own else None
        keys[argument] = key(argument, form, default, parameter.description)
    keys |= {argument: key(argument, *entry) for argument, entry in also.items()}
    about = _sentence((call.__doc__ or "").partition("\n\n")[0]).removeprefix("Return ")
    about = about[:1].upper() + about[1:]
    if kind is not None:
        keys = {"kind": key("kind", one_of([kind]), ..., about), **keys}
    table: Any = create_model(kind or name or call.__name__, __base__=Section, __doc__=about, **keys)
    table.call, table.objects = staticmethod(call), objects
    return table


def _needed_by_all(objects: Mapping[str, Any]) -> set[str]:
    """Return the arguments that every object of some registry requires."""
    registries = [source for source in objects.values() if isinstance(source, Mapping)]
    required = [[{n for n, p in parameters(each).items() if p.required} for each in r.values()] for r in registries]
    return set().union(*(set.intersection(*each) for each in required))


def _with_those_of_objects(own: Mapping[str, Parameter], objects: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return a function's arguments, each object followed by its own arguments, or replaced by them."""
    out: dict[str, Parameter] = {}
    for name, parameter in own.items():
        source = objects.get(name, {})
        if not isinstance(source, Mapping):
            out |= parameters(source)
            continue
        out[name] = parameter
        for chosen, each in source.items():
            for n, p in parameters(each).items():
                if n not in {*own, *out}:
                    out[n] = replace(p, description=f'{p.description} (for `{name} = "{chosen}"`)')
    return out


def key(name: str, form: Any, default: Any, description: str) -> tuple[Any, Any]:
    """Return a key for pydantic's ``create_model``: its type, default (... where there is none) and description."""
    options: dict[str, Any] = {"description": description}
    if name in OLDER:
        options["validation_alias"] = AliasChoices(name, OLDER[name])
    return form, Field(**options) if default is ... else Field(default, **options)


def _toml(annotation: Any) -> Any:
    """Return the type of a key for an annotation, the first of a union that has one; None if there is none."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (bool, int, float, str) or origin is Literal:
        return annotation
    if annotation is Path:
        return str
    if origin in (Union, UnionType):
        forms = [form for form in map(_toml, inner) if form is not None]
        if forms and array_of(forms[0]) in forms:
            return _one_or_each(forms[0], array_of(forms[0]), lambda value: isinstance(value, (list, tuple)))
        return forms[0] if forms else None
    if origin in (list, tuple, Sequence, Collection):
        below = _toml(inner[0])
        return None if below is None else array_of(below)
    return dict[str, Any] if origin is Mapping else None


def one_of(names: Collection[str]) -> Any:
    """Return the type of a key that is one of some names."""
    return getitem(cast(Any, Literal), tuple(names))


def _name_in(registry: Mapping[str, Any]) -> Any:
    """Return the type of a key that names a class of a registry; an earlier name is accepted, and stays as it is."""

    def known(value: Any, check: Callable[[Any], Any]) -> Any:
        check(canonical_name(value, registry))
        return value

    return getitem(cast(Any, Annotated), (one_of(registry), WrapValidator(known), PlainSerializer(str)))


def array_of(form: Any) -> Any:
    """Return the type of an array of a type."""
    return getitem(cast(Any, list), form)


def tagged(*sections: Any) -> Any:
    """Return the type of a table that is one of several, by its ``kind``."""
    return getitem(cast(Any, Annotated), (reduce(or_, sections), Field(discriminator="kind")))


#: What pydantic's places of errors call one thing, and several.
ONE_OR_EACH = _ONE, _EACH = " one", " each"


def by_name(form: Any) -> Any:
    """Return the type of a table of a type, or of a table that has one of them for each name."""
    return _one_or_each(form, dict[str, form], _tables_by_name)


def _one_or_each(one: Any, each: Any, several: Callable[[Any], bool]) -> Any:
    """Return the type of one thing, or of several, as a function distinguishes them."""
    parts = (getitem(cast(Any, Annotated), (kind, Tag(tag))) for kind, tag in ((one, _ONE), (each, _EACH)))
    return getitem(
        cast(Any, Annotated),
        (reduce(or_, parts), Discriminator(lambda value: _EACH if several(value) else _ONE)),
    )


def _tables_by_name(value: Any) -> bool:
    return bool(isinstance(value, Mapping) and value and all(isinstance(x, (Mapping, Section)) for x in value.values()))


def wanted(table: type[Section], name: str) -> str:
    """Return what a key must be given, in plain words."""
    return (table.model_fields[name].description or name).replace("`", "")


def tags(section: type[Section]) -> tuple[str, ...]:
    """Return the kinds that a table stands for."""
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()


def sections_at(root: type[Section], keys: Sequence[int | str]) -> tuple[list[type[Section]], list[int | str]]:
    """Return what may stand at a place of a file, and the place without the tags that pydantic puts into it.

    Args:
        root: the whole file.
        keys: the place as pydantic names it: keys, indices of arrays, and the kind of a table behind its name.
    """
    here: list[type[Section]] = [root]
    place: list[int | str] = []
    before: int | str = ""
    for name in keys:
        above, before = before, name
        if name in ONE_OR_EACH:
            continue
        if above == _EACH:
            place.append(name)
            continue
        tagged_so = [table for table in here if name in tags(table)]
        if tagged_so:
            here = tagged_so
            continue
        place.append(name)
        if not isinstance(name, int):
            fields = [table.model_fields[name] for table in here if name in table.model_fields]
            here = [below for field in fields for below in _tables(field.annotation)]
    return here, place


def _tables(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in get_args(annotation) for found in _tables(part)]
