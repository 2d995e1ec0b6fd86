"""What case files may contain: their tables, each kind made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from operator import getitem
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, create_model
from pydantic_core import PydanticKnownError

from kspde.cli.sections import Section, array_of, by_name, key, one_of, parameters, section, tagged
from kspde.distances import compare
from kspde.distances.registry import DISTANCES
from kspde.domains import DOMAINS
from kspde.fem.regrid import Regrid
from kspde.fem.schemes import SCHEMES as DENSITY_SCHEMES
from kspde.fem.solve import solve
from kspde.initial import DENSITIES, read_grid
from kspde.kernels import MOLLIFIERS
from kspde.models import MODELS, Model
from kspde.particles import simulate
from kspde.particles.fields import METHODS as FIELD_METHODS
from kspde.particles.resampling import RESAMPLINGS
from kspde.particles.schemes import SCHEMES as PARTICLE_SCHEMES
from kspde.particles.statistics import STATISTICS as PARTICLE_STATISTICS
from kspde.runtime.following import STOPS
from kspde.runtime.saving import SaveAt

__all__ = ["SYSTEM", "Keys", "case_form", "file_form", "model_table"]

#: Keys of a table: the type of each, its default (... where there is none), and its description.
type Keys = dict[str, tuple[Any, Any, str]]

_NUMBERS, _POINTS = list[float], list[list[float]]
_ARRAYS = {
    "weights": _NUMBERS, "circulations": _NUMBERS, "means": _POINTS, "stds": _NUMBERS, "columns": list[str | int]
}  # fmt: skip

#: What says how a file of values is read.
_READING: Keys = {
    name: (
        {"channel": one_of(("luminance", "red", "green", "blue")), "delimiter": str}.get(name, int),
        parameter.default,
        parameter.description,
    )
    for name, parameter in parameters(read_grid).items()
    if name != "path"
}

#: Keys of initial densities that are read from files.
_READ: dict[str, Keys] = {
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


def _density(**also: tuple[Any, Any, str]) -> tuple[Any, Any, str]:
    """Return the table of the density, with further keys."""
    objects = {"save": SaveAt, "regrid": Regrid, "scheme": DENSITY_SCHEMES}
    made = section(solve, name="density", types=_TIMES, objects=objects, also=also)
    return made, None, "how the density is solved: arguments of kspde.solve"


#: The keys that case files and study files have in common: a system, and how it is computed.
_SYSTEM: Keys = {
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


def _case_keys() -> Keys:
    """Return the keys of case files alone, and of those that hold more in them."""
    against = '"local" for the density without mollifier, or the name of another case file'
    return {
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
                also={"against": (str, None, against)},
            ),
            None,
            "how the distance is measured: arguments of kspde.compare",
        ),
    }


def case_form(models: Mapping[str, type[Model]] = MODELS) -> type[Section]:
    """Return what a case file may contain whose model is one of ``models``, by kind; errors as for ``file_form``."""
    return file_form("case file", _case_keys, tuple(models.items()))


@cache
def file_form(about: str, keys: Callable[[], Keys], models: tuple[tuple[str, type[Model]], ...]) -> type[Section]:
    """Return what a file may contain that states a system and how it is computed.

    Args:
        about: what the file is.
        keys: returns its further keys.
        models: the kinds and types of models that it may name.

    Raises:
        TypeError: a model has a parameter without a default that a file cannot state.
    """
    model = tagged(*(model_table(kind, each) for kind, each in models))
    all_keys = {"t_end": _SYSTEM["t_end"], "model": (model, ..., "the system of equations"), **_SYSTEM, **keys()}
    made: Any = {name: key(name, *entry) for name, entry in all_keys.items()}
    form: type[Section] = create_model(about, __base__=Section, __doc__=about, **made)
    return form


@cache
def model_table(kind: str, model: type[Model]) -> Any:
    """Return the table of a model.

    Raises:
        TypeError: it has a parameter without a default that a file cannot state.
    """
    return section(model, kind=kind, types={"v0": _INITIAL}, objects=model.registries, every=True)
