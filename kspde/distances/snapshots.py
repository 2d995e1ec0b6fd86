"""Particles at times before the end: kept in memory, or read from the files that a simulation wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kspde.errors import InputError
from kspde.models import Model
from kspde.protocols import ParticleCloud
from kspde.runtime.parallel import together
from kspde.typing import Array, Ids

__all__ = ["Snapshot", "Snapshots", "clouds_at"]

#: Times closer than this, relative to the final one, are the same.
_CLOSE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A cloud at one time, as far as distances need it.

    Attributes:
        model: the model.
        eps: ε, or None.
        mollifier: its name.
        t_end: the time.
        masses: by species.
        comm: the communicator.
        positions: this rank's, by species, shapes (n_local, d).
        ids: by species, shapes (n_local,).
        variations: by species with weights of their own, which have no distance to a density.
        u0: the density of the starting points, by species, where it is known.
    """

    model: Model
    eps: float | None
    mollifier: Any
    t_end: float
    masses: Mapping[str, float]
    comm: Any
    positions: Mapping[str, Array]
    ids: Mapping[str, Ids]
    variations: Mapping[str, float] = field(default_factory=dict)
    u0: Mapping[str, Any] = field(default_factory=dict)

    def of(self, species: str) -> Array:
        """Return this rank's positions of a species, shape (n_local, d)."""
        return self.positions[species]

    def ids_of(self, species: str) -> Ids:
        """Return this rank's particle ids of a species, shape (n_local,)."""
        return self.ids[species]


class Snapshots:
    """Keeps copies of the particles at the saved times: ``SaveAt(times=..., callback=snapshots)``.

    Attributes:
        clouds: the copies, in the order of times.
    """

    def __init__(self) -> None:
        self.clouds: list[Snapshot] = []

    def __call__(self, cloud: Any) -> None:
        """Keep a copy."""
        names = cloud.model.species
        self.clouds.append(
            Snapshot(
                model=cloud.model,
                eps=cloud.eps,
                mollifier=cloud.mollifier,
                t_end=float(cloud.t_end),
                masses=dict(cloud.masses),
                comm=cloud.comm,
                positions={name: np.array(cloud.of(name)) for name in names},
                ids={name: np.array(cloud.ids_of(name)) for name in names},
                variations=dict(getattr(cloud, "variations", {})),
                u0=dict(getattr(cloud, "u0", {})),
            )
        )


def clouds_at(times: Sequence[float], cloud: ParticleCloud, states: Any) -> list[ParticleCloud]:
    """Return a simulation's particles at times. Collective.

    Args:
        times: which.
        cloud: its end, which serves the final time.
        states: :class:`Snapshots`, clouds, a directory of state files or what wrote it; None for none.

    Raises:
        InputError: particles of a time are missing, or the files are another simulation's.
    """
    close = _CLOSE * max(float(cloud.t_end), 1e-300)
    if isinstance(states, Snapshots):
        states = states.clouds
    folder = getattr(states, "directory", states)
    if isinstance(folder, (str, Path)):
        found = _Files(Path(folder), cloud)
        return [cloud if abs(t - cloud.t_end) <= close else found.at(t, close) for t in times]
    if states is not None and not isinstance(states, Iterable):
        raise InputError(
            f"states is a {type(states).__name__}: give Snapshots, a directory of state files, or a list of clouds"
        )
    known: list[ParticleCloud] = [cloud, *(states or ())]
    out = []
    for t in times:
        near = min(known, key=lambda c: abs(float(c.t_end) - t))
        if abs(float(near.t_end) - t) > close:
            raise InputError(_missing(t, sorted({float(c.t_end) for c in known})))
        out.append(near)
    return out


class _Files:
    """The state files of one simulation."""

    def __init__(self, folder: Path, cloud: ParticleCloud) -> None:
        self._cloud = cloud
        self._times: dict[float, Path] = {}
        comm = cloud.comm
        with together(comm):
            if comm.rank == 0:
                from kspde.runtime.hdf5 import check_hdf5, h5py

                paths = sorted(folder.glob("state-*.h5"))
                if not paths:
                    raise InputError(f"there is no state-*.h5 in {folder}: give the directory of kspde's state files")
                for path in paths:
                    try:
                        check_hdf5(path)
                        with h5py.File(path, "r") as file:
                            self._check(path, file)
                            self._times[float(file.attrs["t"])] = path
                    except (OSError, KeyError, TypeError, ValueError) as error:
                        if isinstance(error, InputError):
                            raise
                        raise InputError(f"{path} cannot be read as a state file ({error}): remove it") from None
        self._times = comm.bcast(self._times)

    def at(self, t: float, close: float) -> Snapshot:
        """Return the particles at a time, spread over the ranks."""
        nearest = min(self._times, key=lambda s: abs(s - t))
        if abs(nearest - t) > close:
            raise InputError(_missing(t, sorted({*self._times, float(self._cloud.t_end)})))
        cloud, path = self._cloud, self._times[nearest]
        comm, positions, ids = cloud.comm, {}, {}
        with together(comm):
            from kspde.runtime.hdf5 import h5py

            with h5py.File(path, "r") as file:
                for name in cloud.model.species:
                    data = file[f"positions/{name}"]
                    mine = slice(len(data) * comm.rank // comm.size, len(data) * (comm.rank + 1) // comm.size)
                    positions[name] = np.asarray(data[mine], dtype=np.float64)
                    ids[name] = np.arange(mine.start, mine.stop, dtype=np.uint64)
        return Snapshot(
            model=cloud.model,
            eps=cloud.eps,
            mollifier=cloud.mollifier,
            t_end=nearest,
            masses=cloud.masses,
            comm=comm,
            positions=positions,
            ids=ids,
            variations=getattr(cloud, "variations", {}),
            u0=getattr(cloud, "u0", {}),
        )

    def _check(self, path: Path, file: Any) -> None:
        ours = {"eps": self._cloud.eps, "seed": getattr(self._cloud, "seed", None)}
        for name, value in ours.items():
            theirs = file.attrs.get(name)
            if (name == "eps" or value is not None) and theirs != value:
                raise InputError(f"{path} has {name} = {theirs}, the cloud {value}: give the states of this simulation")


def _missing(t: float, known: Sequence[float]) -> str:
    return (
        f"times contain {t:g}, and particles are known at {', '.join(f'{s:g}' for s in known)}: give states that were "
        "saved then, with SaveAt(times=..., callback=kspde.Snapshots())"
    )
