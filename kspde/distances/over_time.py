"""Distances at several times, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.distances.registry import DISTANCES
from kspde.errors import InputError, counted
from kspde.plots.over_time import plot_over_time
from kspde.runtime.files import write_columns
from kspde.runtime.notebook import html_table
from kspde.runtime.parallel import together
from kspde.tables import table_of
from kspde.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["OverTime"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OverTime:
    """Distances over time, one row per time.

    Attributes:
        columns: by name an array over the times: ``t``, ``bandwidth``; for each distance ``<name>``, ``<name>_low``,
            ``<name>_high``, the same after ``floor_``, after ``debiased_`` where there is one, and
            ``smoothing_<name>`` where something was smoothed.
        names: of the distances.
        n: N.
        eps: ε, or None.
        differs: what differs between the two sides, as in ``Distance``.
        comm: the communicator.
    """

    columns: Mapping[str, Array]
    names: tuple[str, ...]
    n: int
    eps: float | None
    differs: Mapping[str, tuple[Any, Any]]
    comm: Any

    @classmethod
    def of(cls, history: Sequence[Any]) -> OverTime:
        """Return the table of a ``Distance`` per increasing time, all of the same kinds."""
        last = history[-1]
        columns: dict[str, Array] = {"t": np.array([d.t_end for d in history], dtype=np.float64)}
        if last.bandwidth is not None:
            columns["bandwidth"] = np.array([d.bandwidth for d in history], dtype=np.float64)
        kinds: dict[str, list[Any]] = {
            "": list(history),
            "floor_": [d.floor for d in history],
            "debiased_": [d.debiased for d in history],
        }
        for prefix, kind in kinds.items():
            for name in kind[-1].by_name:
                estimates = [each.by_name[name] for each in kind]
                columns[prefix + name] = np.array([e.value for e in estimates])
                columns[f"{prefix}{name}_low"] = np.array([e.interval[0] for e in estimates])
                columns[f"{prefix}{name}_high"] = np.array([e.interval[1] for e in estimates])
        for name in (name for name in last.by_name if name in last.smoothing):
            columns[f"smoothing_{name}"] = np.array([d.smoothing[name] for d in history])
        return cls(
            columns=columns, names=tuple(last.by_name), n=last.n, eps=last.eps, differs=last.differs, comm=last.comm
        )

    def __getitem__(self, column: str) -> Array:
        """Return a column, shape (times,).

        Raises:
            InputError: there is no such column.
        """
        if column not in self.columns:
            raise InputError(f"there is no column {column!r}: the columns are {', '.join(self.columns)}")
        return self.columns[column]

    def write_csv(self, path: str | Path) -> None:
        """Write the table, one row per time. Collective.

        Raises:
            InputError: the file cannot be written.
        """
        with together(self.comm):
            if self.comm.rank == 0:
                write_columns(path, {name: values.tolist() for name, values in self.columns.items()})

    def plot(self, path: str | Path | None = None, *, names: Sequence[str] | None = None) -> Figure | None:
        """Draw distances over time with their intervals, floors and what smoothing does, as bands. Collective.

        Args:
            path: the file; without one the figure is returned on rank 0.
            names: which distances; None takes L¹ and the relative entropy, or all where they were not measured.

        Raises:
            InputError: an unknown distance, or the file cannot be written.
        """
        return plot_over_time(self, path, names)

    def title(self, name: str) -> str:
        """Return what a distance is called in pictures, with its symbol."""
        distance = DISTANCES[name]
        return f"{distance.label} ${distance.symbol}$" if distance.symbol else distance.label

    def __repr__(self) -> str:
        """Return the times and the names of the distances."""
        t = self["t"]
        return f"OverTime of {', '.join(self.names)}: {counted(len(t), 'time')} from {t[0]:g} to {t[-1]:g}"

    def _repr_html_(self) -> str:
        """Return the distances as a table."""
        columns = ("t", *self.names)
        rows = zip(*(self[column].tolist() for column in columns), strict=True)
        titles = ("t", *(DISTANCES[name].title for name in self.names))
        return html_table(repr(self), titles, [[f"{number:.4g}" for number in row] for row in rows])

    def to_pandas(self) -> DataFrame:
        """Return the columns as a table of pandas, with the times as its index.

        Raises:
            MissingBackendError: pandas is not installed.
        """
        return table_of(self.columns, "t")

    def summary(self) -> dict[str, list[float]]:
        """Return a JSON-ready dict of columns."""
        return {name: values.tolist() for name, values in self.columns.items()}
