"""Results as tables of pandas and as grids of xarray, which are optional (``pip install "kspde[data]"``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kspde.comparable import bounds_of
from kspde.errors import InputError, MissingBackendError, check_finite, check_integer, check_number, shown
from kspde.grids import Grid, coordinate_names, mass_grid
from kspde.problem import SCALING, Problem
from kspde.protocols import SolvedDensity
from kspde.runtime.parallel import collective
from kspde.typing import Array

if TYPE_CHECKING:
    from pandas import DataFrame
    from xarray import Dataset

__all__ = ["diagnostics_table", "distance_table", "grid_dataset", "table_of"]

#: Points per direction of a grid, by dimension.
_POINTS = {1: 513, 2: 129, 3: 49}

#: The most points of a grid.
_MOST = 10**8

#: Stands for what is outside the domain until it is NaN.
_OUTSIDE = -1e99

_EQUATION = "d_t u = Laplace(D u) - div(b u) + r u, with the model's D, b and growth r, if it has any, at the fields"


def table_of(columns: Mapping[str, Any] | Iterable[Mapping[str, Any]], index: str | None = None) -> DataFrame:
    """Return a table from its columns, or from its rows.

    Args:
        columns: arrays by name, or a mapping per row.
        index: the column that becomes the index.

    Raises:
        MissingBackendError: pandas is not installed.
    """
    frame = _library("pandas", "to_pandas").DataFrame(columns if isinstance(columns, Mapping) else list(columns))
    return frame if index is None else frame.set_index(index)


def diagnostics_table(diagnostics: Mapping[str, Array], problem: Problem) -> DataFrame:
    """Return diagnostics, a row per step; with several species columns are named ``mass[u]``, vectors ``mean_x``.

    The problem's parameters are the table's ``attrs``.

    Raises:
        MissingBackendError: pandas is not installed.
    """
    species = problem.model.species
    columns: dict[str, Array] = {}
    for name, values in diagnostics.items():
        if name in ("t", "dt"):
            columns[name] = values
            continue
        parts = np.reshape(values, (len(values), len(species), -1))
        several = parts.shape[2] > 1
        for j, one in enumerate(species):
            for k, x in enumerate(coordinate_names(parts.shape[2])):
                coordinate = f"_{x}" if several else ""
                columns[name + coordinate + (f"[{one}]" if len(species) > 1 else "")] = parts[:, j, k]
    frame = table_of(columns)
    frame.index.name = "step"
    frame.attrs |= _attributes(problem)
    return frame


def distance_table(distance: Any) -> DataFrame:
    """Return a row per distance: value, low, high, the same of its floor and debiased, smoothing, above_floor.

    Raises:
        MissingBackendError: pandas is not installed.
    """
    rows = []
    for name, estimate in distance.by_name.items():
        row = {"distance": name}
        kinds = {
            "": estimate,
            "floor": distance.floor.by_name.get(name),
            "debiased": distance.debiased.by_name.get(name),
        }
        for kind, number in kinds.items():
            if number is not None:
                row[kind or "value"] = number.value
                row |= dict(zip((f"{kind}_low".lstrip("_"), f"{kind}_high".lstrip("_")), number.interval, strict=True))
        if name in distance.smoothing:
            row["smoothing"] = distance.smoothing[name]
        if distance.floor.by_name:
            row["above_floor"] = distance.is_above_floor(name)
        rows.append(row)
    return table_of(rows, "distance")


@collective()
def grid_dataset(
    pde: SolvedDensity,
    axes: Sequence[npt.ArrayLike] | None,
    points: int | None,
    t: float | Sequence[float] | None,
) -> Dataset:
    """Return all densities and fields on a grid at some times, NaN outside the domain, on every rank. Collective.

    Args:
        pde: the solution.
        axes: coordinates in each direction; None for a grid over the mass of all species at the last of the times.
        points: the number of points per direction of that grid.
        t: a time or several; None for all that are saved.

    Raises:
        MissingBackendError: xarray is not installed.
        InputError: axes and points together, a wrong number of axes, a time that is not saved, or a species or field
            that has the name of an axis.
    """
    xarray = _library("xarray", "to_xarray")
    d, species = pde.model.dimension, pde.model.species
    dims = coordinate_names(d)
    for name in (*species, *(f.name for f in pde.problem.fields)):
        if name in ("t", *dims):
            raise InputError(f"{name!r} is an axis of the grid, and a density or field of the model: rename the latter")
    if axes is not None and points is not None:
        raise InputError(f"axes and points = {points} are given: give one of them")
    times = pde.times if t is None else np.array([check_number("t", s, at_least=0) for s in np.atleast_1d(t).tolist()])
    if not len(times):
        raise InputError("t is empty: give a time, or several")
    if axes is None:
        count = (
            _POINTS.get(d, 2)
            if points is None
            else check_integer("points", points, at_least=2, at_most=int(_MOST ** (1 / d)))
        )
        last = float(times.max())
        grids = [
            mass_grid(lambda x, s=s: pde.on_grid(x, s, last, outside=0.0), bounds_of(pde))  # type: ignore[misc]
            for s in species
        ]
        lower, upper = np.stack([g.lower for g in grids]).min(axis=0), np.stack([g.upper for g in grids]).max(axis=0)
        axes = Grid.covering(lower, upper, [count] * d).axes
    if not isinstance(axes, (Sequence, np.ndarray)) or len(axes) != d:
        raise InputError(f"axes = {shown(axes)} is not valid: give a coordinate array for each of {d} directions")
    given = [check_finite(f"axes[{k}]", x, (None,)) for k, x in enumerate(axes)]

    def variable(values: Sequence[Array], long_name: str) -> Any:
        data = np.stack(values)
        return ("t", *dims), np.where(data == _OUTSIDE, np.nan, data), {"long_name": long_name, "units": "1"}

    variables = {}
    for name in species:
        values = [pde.on_grid(given, name, s, outside=_OUTSIDE) for s in times]
        variables[name] = variable(values, f"density of {name}, mass per unit {('length', 'area', 'volume')[d - 1]}")
    for field in pde.problem.fields:
        values = [pde.signal_on_grid(given, field.name, s, outside=_OUTSIDE) for s in times]
        variables[field.name] = variable(values, f"field {field.name}")
    coordinates = {"t": ("t", times, {"long_name": "time", "units": "1"})}
    coordinates |= {
        x: (x, axis, {"long_name": f"coordinate {x}", "units": "1"}) for x, axis in zip(dims, given, strict=True)
    }
    about = {"equation": _EQUATION, "scaling": SCALING, **_attributes(pde.problem)}
    return xarray.Dataset(variables, coords=coordinates, attrs=about)


def _attributes(problem: Problem) -> dict[str, float | str]:
    """Return a problem's numbers and names, and all its parameters as JSON: what netCDF holds too."""
    described = problem.describe()
    plain: dict[str, float | str] = {}
    for name, value in described.items():
        if isinstance(value, (int, float, str)) and type(value) in (int, float, str):
            plain[name] = value
    return {**plain, "parameters": json.dumps(described)}


def _library(name: str, method: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingBackendError(
            f'{method}() needs the library {name}, which is not installed: pip install "kspde[data]"'
        ) from None
