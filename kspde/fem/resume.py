"""Checkpoints of a density run, and its continuation from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kspde.fem.observer import Observer
from kspde.fem.semidiscretisation import SemiDiscrete
from kspde.initial import InitialDensity
from kspde.runtime.checkpoint import CheckpointStore, run_description

__all__ = ["Position", "Restart", "description"]

Array = npt.NDArray[np.float64]


@dataclass(kw_only=True)
class Position:
    """Where a run stands: what its scheme needs to go on from there.

    Attributes:
        step: accepted steps so far.
        t: the time.
        unknowns: nodal densities and relaxing fields.
        dt: the length of the next step; None where the scheme has yet to choose its first.
        bounds: the largest diffusion coefficients of the last step; None at the start.
        norms: the L² norms of the initial data, to which tolerances refer; None at the start.
        handed_over: whether the adaptive scheme has gone on to its second method.
    """

    step: int = 0
    t: float = 0.0
    unknowns: Array
    dt: float | None = None
    bounds: Array | None = None
    norms: Array | None = None
    handed_over: bool = False


class Restart:
    """Writes checkpoints of a run, and reads them.

    Args:
        store: where they are; None for a run without.
        system: the semi-discrete system.
        observer: what has been recorded so far belongs to the checkpoint.
    """

    def __init__(self, store: CheckpointStore | None, system: SemiDiscrete, observer: Observer) -> None:
        self._store = store
        self._system = system
        self._observer = observer

    def look(self, position: Position) -> None:
        """Write a checkpoint if one is due. Collective.

        Raises:
            StoppedError: a signal asked for it, and the run is not at its end.
            InputError: it cannot be written.
        """
        if self._store is None:
            return
        due = self._store.due()
        next_time, end = self._observer.next_time, self._observer.times[-1]
        if not due or position.t >= end * (1 - 1e-12):
            return
        if position.dt is not None and next_time < end and position.t + position.dt > next_time * (1 - 1e-10):
            return  # the next step is cut short to end at a saved time: its natural length would be lost
        parts = dict(self._system.space.labels())
        parts |= {f"unknown.{i}": u for i, u in enumerate(position.unknowns)}
        for j, (_, unknowns, slopes) in enumerate(self._observer.states):
            parts |= {f"saved.{j}.{i}": u for i, u in enumerate(unknowns)}
            parts |= {f"slope.{j}.{i}": u for i, u in enumerate(slopes)}
        shared: dict[str, Array] = {"t": np.array(position.t), "handed_over": np.array(position.handed_over)}
        if position.dt is not None:
            shared["dt"] = np.array(position.dt)
        shared |= {k: v for k, v in (("bounds", position.bounds), ("norms", position.norms)) if v is not None}
        shared["saved"] = np.array([t for t, _, _ in self._observer.states])
        shared |= {f"diagnostics.{name}": values for name, values in self._observer.recorder.table().items()}
        path = self._store.write(position.step, parts=parts, shared=shared)
        if self._store.stopping:
            raise self._store.stopped(position.step, position.t, path)

    def latest(self) -> Position | None:
        """Return where the newest good checkpoint stands, with the observer as it was then; None without one.

        Raises:
            InputError: there are checkpoints of other problems only, or the file cannot be read. Collective.
        """
        from kspde.runtime.parallel import together

        saved = None if self._store is None else self._store.latest()
        if saved is None:
            return None
        space = self._system.space
        rows = len(self._system.model.species) + len(self._system.relaxing)
        with together(space.comm), saved.fitting():

            def nodal(name: str) -> Array:
                return np.stack([space.read(saved, f"{name}.{i}") for i in range(rows)])

            position = Position(
                step=saved.step,
                t=float(saved.shared["t"]),
                unknowns=nodal("unknown"),
                dt=float(saved.shared["dt"]) if "dt" in saved.shared else None,
                bounds=saved.shared.get("bounds"),
                norms=saved.shared.get("norms"),
                handed_over=bool(saved.shared["handed_over"]),
            )
            prefix = "diagnostics."
            table = {k.removeprefix(prefix): v for k, v in saved.shared.items() if k.startswith(prefix)}
            self._check(position, table, saved.shared["saved"])
            states = [(float(t), nodal(f"saved.{j}"), nodal(f"slope.{j}")) for j, t in enumerate(saved.shared["saved"])]
            self._observer.restore(table, states)
        return position

    def _check(self, position: Position, table: Mapping[str, Array], times: Array) -> None:
        """Refuse where no run of this problem can stand.

        Raises:
            ValueError: it is such a place; what differs is named.
        """
        due = np.array(self._observer.times)
        expected: dict[str, tuple[Array | float | None, tuple[int, ...]]] = {
            "norms": (position.norms, (len(position.unknowns),)),
            "unknowns": (position.unknowns, position.unknowns.shape),
            "dt": (position.dt, ()),
        }
        for name, (values, shape) in expected.items():
            if values is not None and (np.shape(values) != shape or not np.all(np.isfinite(values))):
                raise ValueError(f"{name} of shape {np.shape(values)}, or not finite")
        if position.bounds is not None and len(position.bounds) != len(self._system.model.species):
            raise ValueError(f"bounds of shape {position.bounds.shape}")
        if not 0.0 < position.t < due[-1] or not (position.dt is None or position.dt > 0):
            raise ValueError(f"t = {position.t:g}, dt = {position.dt}")
        if np.shape(table["t"]) != (position.step + 1,) or table["t"][-1] != position.t:
            raise ValueError(f"step {position.step}, and times of shape {np.shape(table['t'])}")
        if np.ndim(times) != 1 or len(times) > len(due) or not np.array_equal(times, due[: len(times)]):
            raise ValueError("states of other times")


def description(model: Any, densities: Mapping[str, InitialDensity], **facts: Any) -> dict[str, Any]:
    """Return what decides a run's result; densities are told apart by their values at some points."""
    points = np.random.default_rng(0).normal(size=(256, model.dimension))
    masses = {name: density.mass for name, density in densities.items()}
    return run_description("fem", model, masses, [u(points) for u in densities.values()], **facts)
