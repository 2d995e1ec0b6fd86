"""The tables of case files and study files, and their JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from operator import getitem
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, create_model
from pydantic_core import PydanticKnownError

from kspde.cli.sections import Section, array_of, by_name, key, one_of, parameters, section, tagged
from kspde.distances import compare
from kspde.distances.registry import DISTANCES
from kspde.domains import DOMAINS
from kspde.fem.diagnostics import STATISTICS as DENSITY_STATISTICS
from kspde.fem.regrid import Regrid
from kspde.fem.schemes import SCHEMES as DENSITY_SCHEMES
from kspde.fem.solve import solve
from kspde.initial import DENSITIES, read_grid
from kspde.kernels import MOLLIFIERS
from kspde.models import MODELS, Model
from kspde.papers.studies import MEASURES, PROMISES, Finding, Fit, Precision
from kspde.particles import simulate
from kspde.particles.fields import METHODS as FIELD_METHODS
from kspde.particles.resampling import RESAMPLINGS
from kspde.particles.schemes import SCHEMES as PARTICLE_SCHEMES
from kspde.particles.statistics import STATISTICS as PARTICLE_STATISTICS
from kspde.runtime.following import STOPS
from kspde.runtime.saving import SaveAt

__all__ = ["SYSTEM", "Forms", "forms", "json_schema", "model_table"]

_NUMBERS, _POINTS = list[float], list[list[float]]
_ARRAYS = {
    "weights": _NUMBERS, "circulations": _NUMBERS, "means": _POINTS, "stds": _NUMBERS, "columns": list[str | int]
}  # fmt: skip

#: What says how a file of values is read.
_READING: dict[str, tuple[Any, Any, str]] = {
    name: (
        {"channel": one_of(("luminance", "red", "green", "blue")), "delimiter": str}.get(name, int),
        parameter.default,
        parameter.description,
    )
    for name, parameter in parameters(read_grid).items()
    if name != "path"
}

#: Keys of initial densities that are read from files.
_READ: dict[str, dict[str, tuple[Any, Any, str]]] = {
    "grid": {
        "path": (
            str,
            ...,
            "a file of values, relative to the case file: .npy, .npz, a PNG or TIFF image, or a table .csv",
        ),
        "extent": (
            _NUMBERS,
            None,
            "(xmin, xmax, ymin, ymax), unless scale is given or a .npz file has an array extent",
        ),
        "orientation": (
            one_of(("xy", "image")),
            None,
            '"image": rows from the top, y upwards, and columns along x, the default for images; "xy": rows along x',
        ),
        **_READING,
    },
    "positions": {"path": (str, ..., "a .csv file of the positions, relative to the case file")},
}

#: A key of all initial densities.
_CUT = {
    "cut": (
        one_of(("mass", "values")),
        None,
        "what is kept of a density that is cut off at the edge of the domain, a box or a disk: its mass, to which what "
        "is inside is scaled up, or its values; without it mass outside is refused",
    )
}

_INITIAL = tagged(
    *(section(each, kind=kind, types=_ARRAYS, also=_READ.get(kind, {}) | _CUT) for kind, each in DENSITIES.items())
)
_DOMAIN = tagged(*(section(each, kind=kind) for kind, each in DOMAINS.items()))
#: Tables of a study that the sweep does not reach.
_NEVER_SWEPT = {"fit", "finding", "precision", *PROMISES}
_TIMES = {"times": _NUMBERS}


def _as_table(value: Any) -> Any:
    """Return a statistic that is named as a table."""
    if not isinstance(value, str):
        return value
    if value not in PARTICLE_STATISTICS:
        raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, PARTICLE_STATISTICS))})
    return {"kind": value}


#: A statistic of particles is named, or a table where it has arguments: { kind = "histogram", bins = 32 }.
_STATISTIC: Any = tagged(*(section(each, kind=kind) for kind, each in PARTICLE_STATISTICS.items()))
_STATISTICS = {"statistics": array_of(getitem(cast(Any, Annotated), (_STATISTIC, BeforeValidator(_as_table))))}


def _file(about: str, /, **keys: tuple[Any, Any, str]) -> Any:
    made: Any = {name: key(name, *entry) for name, entry in keys.items()}
    return create_model(about, __base__=Section, __doc__=about, **made)


def _density(**also: tuple[Any, Any, str]) -> tuple[Any, Any, str]:
    """Return the table of the density, with further keys."""
    objects = {"save": SaveAt, "regrid": Regrid, "scheme": DENSITY_SCHEMES}
    made = section(solve, name="density", types=_TIMES, objects=objects, also=also)
    return made, None, "how the density is solved: arguments of kspde.solve"


#: The keys that case files and study files have in common: a system, and how it is computed.
_SYSTEM: dict[str, tuple[Any, Any, str]] = {
    "t_end": (float, ..., "the final time of density and particles"),
    "initial": (by_name(_INITIAL), ..., "the initial density; with several species a table for each, by its name"),
    "domain": (_DOMAIN, None, "the truncated domain, unless `density.accuracy` chooses one"),
    "regularisation": (
        section(
            solve,
            name="regularisation",
            only=("eps", "mollifier", "initial"),
            objects={"mollifier": MOLLIFIERS},
        ),
        None,
        "the mollifier j^ε; without this table the density solves the equation that is not regularised",
    ),
    "density": _density(),
    "particles": (
        section(
            simulate,
            name="particles",
            types=_TIMES | _STATISTICS | {"method": one_of(FIELD_METHODS), "positions": str},
            objects={"save": SaveAt, "scheme": PARTICLE_SCHEMES, "resampling": RESAMPLINGS},
        ),
        None,
        "how the particles are simulated: arguments of kspde.simulate",
    ),
}

#: The names of these keys, and the model.
SYSTEM = ("model", *_SYSTEM)

_CASE: dict[str, tuple[Any, Any, str]] = {
    "density": _density(
        stop=(
            array_of(tagged(*(section(each, kind=kind) for kind, each in STOPS.items()))),
            None,
            "what ends `kspde run` before t_end, the first that comes",
        )
    ),
    "compare": (
        section(
            compare,
            types={"distances": array_of(one_of([*DISTANCES, "w1", "w2"]))},
            also={
                "against": (str, None, '"local" for the density without mollifier, or the name of another case file')
            },
        ),
        None,
        "how the distance is measured: arguments of kspde.compare",
    ),
}


def _study_keys() -> dict[str, tuple[Any, Any, str]]:
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


@dataclass(frozen=True)
class Forms:
    """What files may contain, each kind made when it is first asked for.

    Attributes:
        models: the models by kind.
    """

    models: tuple[tuple[str, type[Model]], ...]

    @cached_property
    def case(self) -> type[Section]:
        """A case file."""
        made: type[Section] = _file("case file", **{**self._system, **_CASE})
        return made

    @cached_property
    def study(self) -> type[Section]:
        """A study file."""
        made: type[Section] = _file("study file", **self._system, **_study_keys())
        return made

    @cached_property
    def _system(self) -> dict[str, tuple[Any, Any, str]]:
        model = tagged(*(model_table(kind, each) for kind, each in self.models))
        return {"t_end": _SYSTEM["t_end"], "model": (model, ..., "the system of equations"), **_SYSTEM}


def forms(models: Mapping[str, type[Model]] = MODELS) -> Forms:
    """Return what files may contain whose model is one of ``models``, by kind.

    The kinds raise TypeError where a model has a parameter without a default that a file cannot state.
    """
    return _forms(tuple(models.items()))


@cache
def model_table(kind: str, model: type[Model]) -> Any:
    """Return the table of a model.

    Raises:
        TypeError: it has a parameter without a default that a file cannot state.
    """
    return section(model, kind=kind, types={"v0": _INITIAL}, objects=model.registries, every=True)


_forms = cache(Forms)


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
    schema: dict[str, Any] = _plain(getattr(forms(models), what).model_json_schema())
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
