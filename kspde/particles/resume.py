"""Checkpoints of a run, and its continuation from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspde.initial import InitialDensity
from kspde.models.base import Array
from kspde.particles.run import Run
from kspde.particles.weights import ParticleWeights, everyones
from kspde.runtime.checkpoint import CheckpointStore, Saved, fingerprint, run_description
from kspde.runtime.parallel import together
from kspde.runtime.random import Philox

__all__ = ["CheckpointWriter", "description", "restore"]


class CheckpointWriter:
    """Writes a checkpoint after a step when one is due; must be the last observer."""

    name = "checkpoints"

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store

    def look(self, run: Run) -> None:
        """Write one if it is due. Collective.

        Raises:
            StoppedError: a signal asked for it, and there are steps left.
            InputError: it cannot be written.
        """
        if run.step == len(run.times) - 1 or not self._store.due():
            return
        parts: dict[str, Array] = {}
        shared: dict[str, Array] = {}
        for label, system in run.systems.items():
            parts |= {f"{label}.{species}": x for species, x in system.positions.items()}
            shared |= {f"{label}.fields.{key}": value for key, value in system.evaluator.state().items()}
        for observer in run.observers:
            shared |= {f"observer.{observer.name}.{key}": value for key, value in observer.state().items()}
        path = self._store.write(run.step, parts=parts, shared=shared)
        if self._store.stopping:
            raise self._store.stopped(run.step, run.t, path)

    def state(self) -> Mapping[str, Array]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take nothing."""


def restore(run: Run, saved: Saved) -> None:
    """Put a run into the state of a checkpoint. Collective.

    Raises:
        InputError: the file cannot be read, or holds what no such run has written; on every rank.
    """

    def under(prefix: str) -> dict[str, Array]:
        return {key.removeprefix(prefix): value for key, value in saved.shared.items() if key.startswith(prefix)}

    with saved.fitting():
        if not saved.step < len(run.times) - 1:
            raise ValueError(f"step {saved.step} of {len(run.times) - 1}")
    run.step = saved.step
    for label, system in run.systems.items():
        with saved.fitting():
            system.evaluator.restore(under(f"{label}.fields."))
        offset = 0
        with together(system.comm), saved.fitting():
            for species, x in system.positions.items():
                # Ids are contiguous on a rank, and those of one species follow those of another.
                first = int(system.ids[species][0]) - offset if len(x) else 0
                x[:] = saved.part(f"{label}.{species}", first, first + len(x))
                if not np.all(np.isfinite(x)):
                    raise ValueError("a position is not finite")
                offset += system.counts[species]
    for observer in run.observers:
        with saved.fitting():
            found = under(f"observer.{observer.name}.")
            for name, ours in observer.state().items():
                if found[name].shape != ours.shape:
                    raise ValueError(f"{name} has shape {found[name].shape} there, {ours.shape} here")
            observer.restore(found)


def description(
    model: Any,
    densities: Mapping[str, InitialDensity],
    *,
    times: Array,
    weights: ParticleWeights,
    comm: Any,
    **facts: Any,
) -> dict[str, Any]:
    """Return what decides a run's result; densities are told apart by some draws, weights by themselves. Collective."""
    if weights.variations:
        arrays = [everyones(np.asarray(weights.each[name]), comm) for name in weights.variations]
        facts["weights"] = f"{', '.join(weights.variations)}: {fingerprint(*arrays)}"
    ids = np.arange(64, dtype=np.uint64)
    masses = {name: density.mass for name, density in densities.items()}
    draws = [density.sample(Philox(0), ids) for density in densities.values()]
    return run_description("particles", model, masses, draws, times=fingerprint(times), **facts)
