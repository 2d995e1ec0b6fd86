"""The tidy table of a study: a row for each point and quantity, as CSV and as HDF5."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from kspde.papers.studies.outcome import Outcome

__all__ = ["write_csv_table", "write_hdf5_table"]


def write_csv_table(outcome: Outcome, path: Path) -> None:
    """Write the swept parameters, quantity, value, low, high, error, replicas, seconds; with all digits."""
    rows = list(outcome.rows())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_hdf5_table(outcome: Outcome, path: Path) -> None:
    """Write the same columns as datasets of the group ``table``, and all replicas.

    ``samples/<point>/<quantity>`` holds the replicas of a point, whose swept parameters are the group's attributes.
    """
    from kspde.runtime.hdf5 import h5py

    rows = list(outcome.rows())
    with h5py.File(path, "w") as file:
        file.attrs.update(study=outcome.study.name, setting=outcome.study.setting)
        for name in rows[0]:
            column = [row[name] for row in rows]
            text = any(isinstance(value, str) for value in column)
            data = [str(value) for value in column] if text else np.array(column, dtype=np.float64)
            file.create_dataset(f"table/{name}", data=data, dtype=h5py.string_dtype() if text else None)
        for point, record in zip(outcome.study.points, outcome.records, strict=True):
            group = file.create_group(f"samples/{point.key}")
            group.attrs.update(dict(point.swept))
            for name, quantity in record["quantities"].items():
                if quantity.samples:
                    group.create_dataset(name, data=np.array(quantity.samples))
