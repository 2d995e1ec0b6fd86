"""Checkpoints of a density run, and how a run resumes from one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kspde.errors import InputError, check_later
from kspde.fem.observer import Observer, RunState
from kspde.fem.regrid import Move
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
        system: the semidiscretisation, which changes with the grid.
        observer: what it has recorded belongs to the checkpoint.
    """

    def __init__(self, store: CheckpointStore | None, system: Semidiscretisation, observer: Observer) -> None:
        self._store = store
        self.system = system
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
        path = self._write(self._store, state)
        if self._store.stopping:
            raise self._store.stopped(state.step, state.t, path)

    def at_end(self, state: RunState) -> None:
        """Write a checkpoint of a run that has ended, if it is wanted. Collective.

        Raises:
            InputError: it cannot be written.
        """
        if self._store is not None and self._store.at_end:
            self._write(self._store, state)

    def _write(self, store: CheckpointStore, state: RunState) -> Path:
        parts = {**self.system.space.labels(), **_rows("unknown", state.unknowns)}
        for j, knot in enumerate(self._observer.knots):
            parts |= _rows(f"saved.{j}", knot.unknowns) | _rows(f"slope.{j}", knot.slopes)
        shared = {name: np.array(getattr(state, name)) for name in ("t", "handed_over")}
        shared |= {name: np.array(value) for name in _OPTIONAL if (value := getattr(state, name)) is not None}
        shared["saved"] = np.array([knot.t for knot in self._observer.knots])
        shared |= {f"diagnostics.{name}": values for name, values in self._observer.recorder.table().items()}
        if (regridding := self._observer.regridding) is not None:
            shared["moves"] = np.reshape(regridding.moves, (-1, len(Move._fields)))
            shared |= _vertices("grid", self.system)
            for j, knot in enumerate(self._observer.knots):
                shared |= _vertices(f"grid.{j}", knot.system)
        return store.write(state.step, parts=parts, shared=shared)


def resume(
    store: CheckpointStore, system: Semidiscretisation, observer: Observer
) -> tuple[RunState, Semidiscretisation] | None:
    """Return the state in the newest good checkpoint, and its grid's semidiscretisation; None without one. Collective.

    The observer is restored. The checkpoint may be of a run to an earlier end: of its saved times those that this run
    has too are kept.

    Raises:
        InputError: all checkpoints are of other problems, or of a run that has reached this one's end or has not saved
            one of its times, or the file cannot be read.
    """
    saved = store.latest()
    if saved is None:
        return None
    shared = saved.shared
    rows = len(system.model.species) + len(system.relaxing)
    with together(system.space.comm), saved.fitting():
        check_later(observer.times[-1], float(shared["t"]))
        kept = [j for j, t in enumerate(shared["saved"].tolist()) if t in observer.times]
        for t in observer.times[len(kept) :]:
            if t <= shared["t"]:
                raise InputError(
                    f"times has {t:g}, which the run in {saved.path} has passed and not saved: leave it out"
                )
    with together(system.space.comm), saved.fitting():
        systems = [system] * (1 + len(shared["saved"]))
    if (regridding := observer.regridding) is not None:
        with together(system.space.comm), saved.fitting():
            regridding.moves = [Move(*row) for row in shared["moves"].tolist()]
            names = ["grid", *(f"grid.{j}" for j in range(len(shared["saved"])))]
            grids = [tuple(shared[f"{name}.{a}"] for a in range(system.space.dimension)) for name in names]
        systems = regridding.restored(system, grids)
    with together(system.space.comm), saved.fitting():

        def nodal(name: str, system: Semidiscretisation) -> Array:
            return np.stack([system.space.read(saved, f"{name}.{i}") for i in range(rows)])

        state = RunState(
            step=saved.step,
            t=float(shared["t"]),
            unknowns=nodal("unknown", systems[0]),
            dt=float(shared["dt"]) if "dt" in shared else None,
            bounds=shared.get("bounds"),
            norms=shared.get("norms"),
            handed_over=bool(shared["handed_over"]),
        )
        prefix = "diagnostics."
        table = {k.removeprefix(prefix): v for k, v in shared.items() if k.startswith(prefix)}
        if "growth" in table:
            state.growth = np.atleast_1d(table["growth"][-1])
        _check(state, table, shared["saved"][kept], np.array(observer.times), len(system.model.species))
        knots = [
            Knot(float(shared["saved"][j]), nodal(f"saved.{j}", on), nodal(f"slope.{j}", on), on)
            for j in kept
            for on in [systems[1 + j]]
        ]
        observer.restore(table, knots, state.unknowns)
        if systems[0] is not system:
            observer.move(systems[0], state.unknowns)
    if knots and knots[-1].t == state.t:  # of a run that ended there, perhaps without time derivatives
        knots[-1] = knots[-1]._replace(slopes=observer.slopes(state.unknowns, state.t))
    return state, systems[0]


def _vertices(name: str, system: Semidiscretisation) -> dict[str, Array]:
    return {f"{name}.{a}": vertices for a, vertices in enumerate(system.space.domain.directions)}


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
