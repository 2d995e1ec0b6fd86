r"""Integral quantities of the densities, recorded at every accepted step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kspde.fem.space import Space

__all__ = ["DIAGNOSTICS", "Recorder"]

Array = npt.NDArray[np.float64]

#: Names and meanings, in the order of the columns of diagnostics.csv.
DIAGNOSTICS = {
    "t": "time",
    "dt": "length of the step that ended at t; 0 at the start",
    "mass": "∫u",
    "minimum": "smallest nodal value of u",
    "maximum": "largest nodal value of u",
    "l2": "∫u²",
    "second_moment": "∫|x|²u",
    "entropy": "∫u log u, where u > 0",
}


class Recorder:
    """Collects the diagnostics of all species, the same on every rank."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._radius2 = np.sum(space.points**2, axis=1).reshape(space.mass.shape)
        self._rows: list[tuple[float, float, Array]] = []

    def record(self, t: float, dt: float, densities: Array) -> None:
        """Add a row for nodal densities of shape (species, ...). Collective."""
        from mpi4py import MPI

        comm = self._space.comm
        integrands = []
        for u in densities:
            positive = np.maximum(u, 0.0)
            logarithm = np.log(positive, where=positive > 0, out=np.zeros_like(positive))
            integrands += [u, u * u, self._radius2 * u, positive * logarithm]
        mass, l2, moment, entropy = self._space.integral(*integrands).reshape(-1, 4).T
        ends = np.array([[-u.min(initial=np.inf), u.max(initial=-np.inf)] for u in densities])
        extremes = np.empty_like(ends)
        comm.Allreduce(ends, extremes, op=MPI.MAX)
        self._rows.append((t, dt, np.stack([mass, -extremes[:, 0], extremes[:, 1], l2, moment, entropy])))

    def table(self) -> dict[str, Array]:
        """Return name -> values: shape (steps,), or (steps, species) but for t and dt where there are several."""
        values = np.array([row for _, _, row in self._rows])
        if values.shape[2] == 1:
            values = values[:, :, 0]
        names = list(DIAGNOSTICS)
        table = {"t": np.array([t for t, _, _ in self._rows]), "dt": np.array([dt for _, dt, _ in self._rows])}
        return table | {name: values[:, i] for i, name in enumerate(names[2:])}
