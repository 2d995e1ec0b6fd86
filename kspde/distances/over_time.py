"""Distances at several times, as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kspde.distances.statistics import Estimate
from kspde.errors import InputError
from kspde.grids import Array
from kspde.runtime.parallel import together

__all__ = ["OverTime"]


class _Named(Protocol):
    @property
    def by_name(self) -> Mapping[str, Estimate]: ...


class _AtOneTime(_Named, Protocol):
    @property
    def t_end(self) -> float | None: ...
    @property
    def bandwidth(self) -> float | None: ...
    @property
    def smoothing(self) -> Mapping[str, float]: ...
    @property
    def floor(self) -> _Named: ...
    @property
    def debiased(self) -> _Named: ...
    @property
    def n(self) -> int: ...
    @property
    def eps(self) -> float | None: ...
    @property
    def differs(self) -> Mapping[str, tuple[Any, Any]]: ...
    @property
    def comm(self) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class OverTime:
    """One row a time.

    Attributes:
        columns: by name an array over the times: ``t``, ``bandwidth``; for each distance ``<name>``, ``<name>_low``,
            ``<name>_high``, the same after ``floor_``, after ``debiased_`` where there is one, and
            ``smoothing_<name>`` where something was smoothed.
        names: of the distances.
        n: N.
        eps: ε, or None.
        differs: in what the two sides differ, as in ``Distance``.
        comm: the communicator.
    """

    columns: Mapping[str, Array]
    names: tuple[str, ...]
    n: int
    eps: float | None
    differs: Mapping[str, tuple[Any, Any]]
    comm: Any

    @classmethod
    def of(cls, history: Sequence[_AtOneTime]) -> OverTime:
        """Return the table of distances at increasing times, all of the same kinds."""
        last = history[-1]
        columns: dict[str, Array] = {"t": np.array([d.t_end for d in history], dtype=np.float64)}
        if last.bandwidth is not None:
            columns["bandwidth"] = np.array([d.bandwidth for d in history], dtype=np.float64)
        kinds: dict[str, list[_Named]] = {
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
        for name in last.smoothing:
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
        """Write the table, one row a time. Collective.

        Raises:
            InputError: the file cannot be written.
        """
        with together(self.comm):
            if self.comm.rank == 0:
                try:
                    with open(path, "w", newline="", encoding="utf-8") as file:
                        writer = csv.writer(file)
                        writer.writerow(self.columns)
                        writer.writerows(zip(*(values.tolist() for values in self.columns.values()), strict=True))
                except OSError as error:
                    raise InputError(f"cannot write {path}: {error.strerror or error}") from None

    def plot(self, path: str | Path, *, names: Sequence[str] | None = None) -> None:
        """Write a picture: distances over time with their intervals, floors and what smoothing does, as bands.

        Collective.

        Args:
            path: the file.
            names: which distances; None takes L¹ and the relative entropy, or all where they were not measured.

        Raises:
            InputError: an unknown distance, or the file cannot be written.
        """
        from kspde.plots.over_time import plot_over_time

        plot_over_time(self, path, names)

    def summary(self) -> dict[str, list[float]]:
        """Return a JSON-ready dict of columns."""
        return {name: values.tolist() for name, values in self.columns.items()}
