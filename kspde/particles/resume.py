"""Checkpoints of a particle run: the observer that writes them, and how a run resumes from one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kspde.particles.run import Observer, Run
from kspde.runtime.checkpoint import CheckpointFile, CheckpointStore, InMemory
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["CheckpointWriter", "Reached", "resume"]


class CheckpointWriter(Observer):
    """Writes a checkpoint after a step when one is due; must be the last observer."""

    name = "checkpoints"

    def __init__(self, store: CheckpointStore) -> None:
        super().__init__()
        self._store = store

    def __call__(self, run: Run) -> None:
        """Write a checkpoint if one is due. Collective.

        Raises:
            StoppedError: a signal asked for it, and there are steps left.
            InputError: it cannot be written.
        """
        if run.step == run.steps or not self._store.due():
            return
        parts, shared = _state_of(run)
        path = self._store.write(run.step, parts=parts, shared=shared)
        if self._store.stopping:
            raise self._store.stopped(run.step, run.t, path)


def _state_of(run: Run) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return by name this rank's rows, and what is the same on every rank, of all that a run resumes from."""
    parts: dict[str, Array] = {}
    shared: dict[str, Array] = {}
    for label, system in run.systems.items():
        parts |= {f"{label}.{species}": x for species, x in system.positions.items()}
        parts |= {f"{label}.weights.{species}": w for species, w in system.changing_weights.items()}
        shared |= {f"{label}.fields.{key}": value for key, value in system.evaluator.state().items()}
    for observer in run.observers:
        shared |= {f"observer.{observer.name}.{key}": value for key, value in observer.recorded.items()}
    return parts, shared


@dataclass(frozen=True, kw_only=True)
class Reached(InMemory):
    """Where a run has ended: what a longer one on the same ranks continues from.

    Attributes:
        times: the times of all steps until then.
    """

    times: Array

    @classmethod
    def by(cls, run: Run) -> Reached:
        """Return where a run is; the arrays are its own."""
        parts, shared = _state_of(run)
        return cls(step=run.step, shared=shared, parts=parts, times=run.times[: run.step + 1])

    def copy(self) -> Reached:
        """Return the same with arrays that a run may change."""
        return replace(self, shared={name: array.copy() for name, array in self.shared.items()})


def resume(run: Run, checkpoint: CheckpointFile) -> None:
    """Put a run into the state of a checkpoint, or of a shorter run. Collective.

    Raises:
        InputError: the file cannot be read, or no such run has written it; on every rank.
    """

    def under(prefix: str) -> dict[str, Array]:
        return {key.removeprefix(prefix): a for key, a in checkpoint.shared.items() if key.startswith(prefix)}

    with checkpoint.fitting():
        if not checkpoint.step < run.steps:
            raise ValueError(f"step {checkpoint.step} of {run.steps}")
    run.step = checkpoint.step
    for label, system in run.systems.items():
        with checkpoint.fitting():
            system.evaluator.restore(under(f"{label}.fields."))
        with together(system.comm), checkpoint.fitting():
            for species, x in system.positions.items():
                first = system.first_row(species)
                x[:] = checkpoint.part(f"{label}.{species}", first, first + len(x))
                if not np.all(np.isfinite(x)):
                    raise ValueError("a position is not finite")
            for species, w in system.changing_weights.items():
                first = system.first_row(species)
                w[:] = checkpoint.part(f"{label}.weights.{species}", first, first + len(w))
                if not np.all(np.isfinite(w)):
                    raise ValueError("a weight is not finite")
    for observer in run.observers:
        with checkpoint.fitting():
            found = under(f"observer.{observer.name}.")
            for name, ours in observer.recorded.items():
                if isinstance(checkpoint, Reached) and len(found[name]) < len(ours):  # of fewer steps
                    ours[: len(found[name])] = found[name]
                    found[name] = ours
                if found[name].shape != ours.shape:
                    raise ValueError(f"{name} has shape {found[name].shape} there, {ours.shape} here")
            observer.recorded = found
