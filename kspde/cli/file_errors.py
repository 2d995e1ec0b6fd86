"""One line for whatever is wrong with a case file: file, dotted key, value, what is valid."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kspde.cli.sections import NOT_IN_FILES, ONE_OR_EACH, Section, sections_at, tags, wanted
from kspde.errors import InputError, shown

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["first_problem", "naming", "nearest"]

#: Characters of a key or a value in a message.
_LONGEST = 60

#: What each of pydantic's type errors asks for.
_TYPES = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "an array",
    "model_attributes_type": "a table",
    "model_type": "a table",
    "string_type": "a string in quotes",
}


@contextmanager
def naming(file: Path, keys: Mapping[str, str], otherwise: str = "") -> Iterator[None]:
    """Say in an InputError which key of which file is meant.

    The constructors name their own arguments: "chi = -1 is not valid: ...". Where the first word of a message is one of
    ``keys``, its dotted key in the file takes its place; the message follows ``otherwise`` elsewhere.

    Raises:
        InputError: the same, with the file and the dotted key in front.
    """
    try:
        yield
    except InputError as error:
        if hasattr(error, "named"):  # by a block inside this one
            raise
        text = str(error)
        word = re.match(r"\w+(?=[\s:[])", text)
        if word and word[0] in keys:
            text = keys[word[0]] + text[word.end() :]
        elif otherwise:
            text = f"{otherwise}: {text}"
        named = InputError(f"{file}: {text}")
        vars(named)["named"] = True
        raise named from None


def nearest(word: str, valid: Collection[str]) -> str:
    """Return the remedy for a word that is not in ``valid``: the word it resembles, or all of them."""
    close = difflib.get_close_matches(word[:_LONGEST], sorted(valid), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"the keys are {', '.join(sorted(valid))}"


def first_problem(error: ValidationError, raw: Mapping[str, Any], *, root: type[Section], what: str) -> str:
    """Put into words the first thing that pydantic refused in a file's content, and how many more there are.

    Args:
        error: what pydantic raised.
        raw: the content.
        root: what the file may contain.
        what: what such a file is called.
    """
    # A misspelt key is both unknown and missing: the unknown one has the better remedy.
    problems = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    more = len(problems) - 1
    return _words(problems[0], raw, root, what) + (f" ({more} more to correct)" if more else "")


def _words(problem: ErrorDetails, raw: Mapping[str, Any], root: type[Section], what: str) -> str:
    kind = problem["type"]
    if kind.startswith("union_tag"):
        sections, place = sections_at(root, problem["loc"])
        tag = _at(raw, place).get("kind")
        choices = " or ".join(f'"{k}"' for k in dict.fromkeys(k for section in sections for k in tags(section)))
        stated = f"= {_shown(tag)} is not valid" if tag is not None else "is missing"
        return f"{_dotted([*place, 'kind'])} {stated}: give {choices}"
    loc = problem["loc"][:-1] if problem["loc"][-1] in ONE_OR_EACH else problem["loc"]
    around, above = sections_at(root, loc[:-1])
    key = loc[-1]
    place = [*above, key]
    name = _dotted(place)
    if kind == "extra_forbidden":
        table = f"[{_dotted(above)}]" if above else what
        valid = {field for schema in around for field in schema.model_fields}
        return f"{name} is not a key of {table}: {_elsewhere(str(key), above, raw, root) or nearest(str(key), valid)}"
    if kind == "missing":
        shown = f"[{name}]" if len(place) == 1 and sections_at(root, place)[0] else name
        of = next(each for each in around if key in each.model_fields)
        remedy, none, _ = wanted(of, str(key)).partition("; None ")  # TOML has no None
        return f"{shown} is missing: give {remedy}" + (f", or leave [{_dotted(above)}] out" if none and above else "")
    form = _TYPES.get(kind) or problem.get("ctx", {}).get("expected", problem["msg"])
    return f"{name} = {_shown(problem['input'])} is not valid: give {form.replace(chr(39), chr(34))}"


def _elsewhere(key: str, above: Sequence[int | str], raw: Mapping[str, Any], root: type[Section]) -> str:
    """Return the remedy for a key that another section has, or this one with another ``kind``; "" for others."""
    if not above and key == "sweep":
        return "a file with [sweep] is a study, for kspde study"
    for table in sections_at(root, above)[0]:
        reason = NOT_IN_FILES.get(key) or NOT_IN_FILES.get(f"{getattr(table, 'call', root).__name__}.{key}")
        if reason:
            return f"a file cannot hold it: {reason}"
    for section in root.model_fields:
        holders = [schema for schema in sections_at(root, [section])[0] if key in schema.model_fields]
        if not holders:
            continue
        chosen = None if [section] == list(above[:1]) else _at(raw, [section]).get("kind")
        named = [schema for schema in sections_at(root, [section])[0] if chosen in tags(schema)]
        if named and not any(schema in holders for schema in named):
            return f'leave it out; [{section}] with kind = "{chosen}" has none either'
        kinds = "".join(f' with kind = "{kind}"' for kind in ([chosen] if named else tags(holders[0])[:1]))
        return f"it is one of [{section}]{kinds}"
    return ""


def _at(raw: Any, place: Sequence[int | str]) -> Mapping[str, Any]:
    """Return the table at a place of a file's content, empty where there is none."""
    for key in place:
        if isinstance(raw, list) and isinstance(key, int):
            raw = raw[key]
        else:
            raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, Mapping) else {}


def _dotted(keys: Sequence[int | str]) -> str:
    return "".join(f"[{k}]" if isinstance(k, int) else f".{_key(k)}" for k in keys).removeprefix(".")


def _key(key: str) -> str:
    return _cut(key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False))


def _shown(value: Any) -> str:
    """Return a value as the file might have it, cut short."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, float):  # JSON spells nan and inf in its own way
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):  # a date or a time; an integer of thousands of digits
        text = shown(value)
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
