"""What study files may contain, and the JSON schema of case files and study files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kspde.cli.forms import Keys, case_form, file_form
from kspde.cli.sections import Section, array_of, section, tagged
from kspde.fem.diagnostics import STATISTICS as DENSITY_STATISTICS
from kspde.models import MODELS, Model
from kspde.papers.studies import MEASURES, PROMISES, Finding, Fit, Precision
from kspde.particles.statistics import STATISTICS as PARTICLE_STATISTICS

__all__ = ["json_schema", "study_form"]

#: Tables of a study that the sweep does not reach.
_NEVER_SWEPT = {"fit", "finding", "precision", *PROMISES}


def _study_keys() -> Keys:
    """Return the keys of a study file, which has the values of one point put in, and no small setting."""
    promise = tagged(*(section(each, kind=kind) for kind, each in PROMISES.items()))
    return {
        "title": (str, ..., "a line"),
        "about": (str, ..., "some sentences"),
        "sweep": (dict[str, Any], ..., "the parameters that vary, each with its values"),
        "measure": (
            tagged(*(section(measure, kind=kind) for kind, measure in MEASURES.items())),
            ...,
            "what is measured at each point",
        ),
        "fits": (array_of(section(Fit, name="fit", types={"promises": array_of(promise)})), None, "the rates to fit"),
        "precision": (
            section(Precision, name="precision"),
            None,
            "the relative standard error that a pilot run chooses the replicas for, in place of measure.replicas",
        ),
        "finding": (section(Finding, name="finding", types={"shown": list[str]}), None, "the question that it answers"),
    }


def study_form(models: Mapping[str, type[Model]] = MODELS) -> type[Section]:
    """Return what a study file may contain whose model is one of ``models``, by kind; errors as for ``file_form``."""
    return file_form("study file", _study_keys, tuple(models.items()))


#: A swept parameter: an array of values, or a law ε = c N^(−γ); tables may be nested.
_SWEEP = {
    "anyOf": [
        {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1, "uniqueItems": True},
        {
            "type": "object",
            "properties": {
                "c": {"type": "number", "exclusiveMinimum": 0},
                "gamma": {"type": ["number", "array"], "items": {"type": "number"}},
            },
            "required": ["c", "gamma"],
            "additionalProperties": False,
        },
        {"type": "object", "not": {"required": ["c"]}, "additionalProperties": {"$ref": "#/$defs/sweep"}},
    ]
}


def json_schema(what: str, models: Mapping[str, type[Model]] = MODELS) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of case files ("case") or study files ("study").

    In a study any key of the system and of the measure may come from the sweep: only ``kind`` is required there.
    """
    form = study_form(models) if what == "study" else case_form(models)
    schema: dict[str, Any] = _plain(form.model_json_schema())
    density, particles = (schema["$defs"][name]["properties"]["statistics"] for name in ("density", "particles"))
    density["items"]["enum"] = list(DENSITY_STATISTICS)
    names = {"type": "string", "enum": list(PARTICLE_STATISTICS)}
    particles["items"] = {"oneOf": [names, *particles["items"]["oneOf"]]}
    one, each = schema["properties"]["initial"].pop("oneOf")
    schema["properties"]["initial"]["oneOf"] = [*one["oneOf"], each]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{what} file of kspde"}
    if what == "study":
        for name, table in schema["$defs"].items():
            if name not in _NEVER_SWEPT:
                needed = [key for key in table.get("required", ()) if key != "kind"]
                table["required"] = ["kind"] if "kind" in table["properties"] else []
                table["$comment"] = f"here or in the sweep: {', '.join(needed)}"
        schema["required"].remove("t_end")
        schema["$defs"]["sweep"] = _SWEEP
        schema["properties"]["sweep"] |= {"additionalProperties": {"$ref": "#/$defs/sweep"}}
        schema["properties"]["small"] = {
            "description": "the same keys again, which replace the others with --small",
            "type": "object",
        }
    return head | schema


def _plain(node: Any) -> Any:
    """Return a schema without titles that repeat names, defaults that a file cannot state, and OpenAPI's additions."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _plain(value)
        for name, value in node.items()
        if not (name == "title" and isinstance(value, str))
        and name != "discriminator"
        and (name, value) != ("default", None)
    }
