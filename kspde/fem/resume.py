"""Checkpoints of a density run, and how a run resumes from one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kspde.fem.observer import Observer, RunState
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.snapshot import Knot
from kspde.runtime.checkpoint import CheckpointStore
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["CheckpointWriter", "resume"]

#: Values of a ``RunState`` that are the same on every rank and may be None.
_OPTIONAL = ("dt", "bounds", "norms")


class CheckpointWriter:
    """Writes a checkpoint after a step when one is due; it must be the last observer.

    Args:
        store: the files; None for a run without checkpoints.
        system: the semidiscretisation.
        observer: what it has recorded belongs to the checkpoint.
    """

    def __init__(self, store: CheckpointStore | None, system: Semidiscretisation, observer: Observer) -> None:
        self._store = store
        self._system = system
        self._observer = observer

    def __call__(self, state: RunState) -> None:
        """Write a checkpoint if one is due. Collective.

        Raises:
            StoppedError: a signal asked for it, and the run is not at its end.
            InputError: it cannot be written.
        """
        if self._store is None or not self._store.due() or state.t >= self._observer.times[-1] * (1 - 1e-12):
            return
        next_time, end = self._observer.next_time, self._observer.times[-1]
        if state.dt is not None and next_time < end and state.t + state.dt > next_time * (1 - 1e-10):
            return  # the next step is cut short to end at a saved time: its natural length would be lost
        parts = {**self._system.space.labels(), **_rows("unknown", state.unknowns)}
        for j, knot in enumerate(self._observer.knots):
            parts |= _rows(f"saved.{j}", knot.unknowns) | _rows(f"slope.{j}", knot.slopes)
        shared = {name: np.array(getattr(state, name)) for name in ("t", "handed_over")}
        shared |= {name: np.array(value) for name in _OPTIONAL if (value := getattr(state, name)) is not None}
        shared["saved"] = np.array([knot.t for knot in self._observer.knots])
        shared |= {f"diagnostics.{name}": values for name, values in self._observer.recorder.table().items()}
        path = self._store.write(state.step, parts=parts, shared=shared)
        if self._store.stopping:
            raise self._store.stopped(state.step, state.t, path)


def resume(store: CheckpointStore, system: Semidiscretisation, observer: Observer) -> RunState | None:
    """Return the state in the newest good checkpoint, and restore the observer; None without one. Collective.

    Raises:
        InputError: all checkpoints are of other problems, or the file cannot be read.
    """
    saved = store.latest()
    if saved is None:
        return None
    space, shared = system.space, saved.shared
    rows = len(system.model.species) + len(system.relaxing)
    with together(space.comm), saved.fitting():

        def nodal(name: str) -> Array:
            return np.stack([space.read(saved, f"{name}.{i}") for i in range(rows)])

        state = RunState(
            step=saved.step,
            t=float(shared["t"]),
            unknowns=nodal("unknown"),
            dt=float(shared["dt"]) if "dt" in shared else None,
            bounds=shared.get("bounds"),
            norms=shared.get("norms"),
            handed_over=bool(shared["handed_over"]),
        )
        prefix = "diagnostics."
        table = {k.removeprefix(prefix): v for k, v in shared.items() if k.startswith(prefix)}
        if "growth" in table:
            state.growth = np.atleast_1d(table["growth"][-1])
        _check(state, table, shared["saved"], np.array(observer.times), len(system.model.species))
        knots = [Knot(float(t), nodal(f"saved.{j}"), nodal(f"slope.{j}")) for j, t in enumerate(shared["saved"])]
        observer.restore(table, knots, state.unknowns)
    return state


def _rows(name: str, unknowns: Array) -> dict[str, Array]:
    return {f"{name}.{i}": row for i, row in enumerate(unknowns)}


def _check(state: RunState, table: Mapping[str, Array], saved: Array, due: Array, species: int) -> None:
    """Refuse a state that no run of this problem reaches.

    Raises:
        ValueError: what is wrong.
    """
    expected: dict[str, tuple[Array | float | None, tuple[int, ...]]] = {
        "norms": (state.norms, (len(state.unknowns),)),
        "unknowns": (state.unknowns, state.unknowns.shape),
        "dt": (state.dt, ()),
    }
    for name, (values, shape) in expected.items():
        if values is not None and (np.shape(values) != shape or not np.all(np.isfinite(values))):
            raise ValueError(f"{name} of shape {np.shape(values)}, or not finite")
    if state.bounds is not None and len(state.bounds) != species:
        raise ValueError(f"bounds of shape {state.bounds.shape}")
    if not 0.0 < state.t < due[-1] or not (state.dt is None or state.dt > 0):
        raise ValueError(f"t = {state.t:g}, dt = {state.dt}")
    if np.shape(table["t"]) != (state.step + 1,) or table["t"][-1] != state.t:
        raise ValueError(f"step {state.step}, and times of shape {np.shape(table['t'])}")
    if np.ndim(saved) != 1 or len(saved) > len(due) or not np.array_equal(saved, due[: len(saved)]):
        raise ValueError("states of other times")
