"""Particles at times before the end: kept in memory, or read from the files that a simulation wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from kspde.comparable import clouds_in
from kspde.errors import InputError
from kspde.models import Model
from kspde.protocols import ParticleCloud
from kspde.runtime.parallel import together
from kspde.typing import Array, Comm, Ids

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
        variations: Σ|w| by species, of those with weights of their own.
        u0: the density of the starting points, by species, where it is known.
        initial: "u0" or "mollified": what the particles started from.
        weights: this rank's, by species, where they are not all equal.
        domain: the domain that the particles live in, as given; None for the whole space.
    """

    model: Model
    eps: float | None
    mollifier: Any
    t_end: float
    masses: Mapping[str, float]
    comm: Comm
    positions: Mapping[str, Array]
    ids: Mapping[str, Ids]
    variations: Mapping[str, float]
    u0: Mapping[str, Any]
    initial: str
    weights: Mapping[str, Array] = field(default_factory=dict)
    domain: Any = None

    @classmethod
    def like(
        cls,
        cloud: Any,
        t: float,
        positions: Mapping[str, Array],
        ids: Mapping[str, Ids],
        masses: Mapping[str, float],
        weights: Mapping[str, Array],
    ) -> Self:
        """Return other particles of a cloud's simulation, at time t."""
        return cls(
            model=cloud.model,
            eps=cloud.eps,
            mollifier=cloud.mollifier,
            t_end=t,
            masses=dict(masses),
            comm=cloud.comm,
            positions=positions,
            ids=ids,
            variations=dict(getattr(cloud, "variations", {})),
            u0=dict(getattr(cloud, "u0", {})),
            initial=getattr(cloud, "initial", "u0"),
            weights=weights,
            domain=getattr(cloud, "domain", None),
        )

    def __repr__(self) -> str:
        """Return the model and the time."""
        return f"Snapshot of {self.model!r} at t = {self.t_end:g}"

    def of(self, species: str) -> Array:
        """Return this rank's positions of a species, shape (n_local, d)."""
        return self.positions[species]

    def ids_of(self, species: str) -> Ids:
        """Return this rank's particle ids of a species, shape (n_local,)."""
        return self.ids[species]

    def weights_of(self, species: str) -> Array:
        """Return the weights of this rank's particles of a species, shape (n_local,)."""
        if species in self.weights:
            return self.weights[species]
        count = len(self.positions[species])
        return np.full(count, self.masses[species] / max(1, self.comm.allreduce(count)))


class Snapshots:
    """Keeps copies of the particles at the saved times: ``SaveAt(times=..., callback=snapshots)``.

    Attributes:
        clouds: the copies, in the order of times.
    """

    def __init__(self) -> None:
        self.clouds: list[Snapshot] = []

    def __repr__(self) -> str:
        """Return the times."""
        return f"Snapshots(t = {', '.join(f'{cloud.t_end:g}' for cloud in self.clouds)})"

    def __call__(self, cloud: Any) -> None:
        """Keep a copy."""
        positions = {name: np.array(cloud.of(name)) for name in cloud.model.species}
        ids = {name: np.array(cloud.ids_of(name)) for name in cloud.model.species}
        weights = {name: np.array(cloud.weights_of(name)) for name in _weighted(cloud)}
        self.clouds.append(Snapshot.like(cloud, float(cloud.t_end), positions, ids, cloud.masses, weights))


def _weighted(cloud: Any) -> tuple[str, ...]:
    """Return the species whose weights are not all equal."""
    species = tuple(cloud.model.species)
    return species if cloud.model.has_growth else tuple(s for s in species if s in getattr(cloud, "variations", ()))


def clouds_at(times: Sequence[float], cloud: ParticleCloud, snapshots: Any) -> list[ParticleCloud]:
    """Return a simulation's particles at times. Collective.

    Args:
        times: which.
        cloud: its end, which serves the final time.
        snapshots: :class:`Snapshots`, clouds, a directory of snapshot files or what wrote it; None for none.

    Raises:
        InputError: particles of a time are missing, or the files are another simulation's.
    """
    close = _CLOSE * max(float(cloud.t_end), 1e-300)
    folder = getattr(snapshots, "directory", snapshots)
    if isinstance(folder, (str, Path)):
        files = _snapshot_files(Path(folder), cloud)
        return [cloud if abs(t - cloud.t_end) <= close else _read(files, t, close, cloud) for t in times]
    known: dict[float, ParticleCloud] = {}
    for each in (cloud, *clouds_in(snapshots, "Snapshots, a directory of snapshot files, or a list of clouds")):
        known.setdefault(float(each.t_end), each)
    return [known[_nearest(t, known, close)] for t in times]


def _snapshot_files(folder: Path, cloud: ParticleCloud) -> dict[float, Path]:
    """Return a simulation's snapshot files by time. Collective."""
    from kspde.runtime.hdf5 import check_hdf5, h5py

    files: dict[float, Path] = {}
    with together(cloud.comm):
        if cloud.comm.rank == 0:
            paths = sorted(folder.glob("snapshot-*.h5"))
            if not paths:
                raise InputError(f"there is no snapshot-*.h5 in {folder}: give the directory of kspde's snapshots")
            for path in paths:
                try:
                    check_hdf5(path)
                    with h5py.File(path, "r") as file:
                        _check_simulation(path, file, cloud)
                        files[float(file.attrs["t"])] = path
                except InputError:
                    raise
                except (OSError, KeyError, TypeError, ValueError) as error:
                    raise InputError(f"{path} cannot be read as a snapshot ({error}): remove it") from None
    found: dict[float, Path] = cloud.comm.bcast(files)
    return found


def _check_simulation(path: Path, file: Any, cloud: ParticleCloud) -> None:
    ours = {"eps": cloud.eps, "seed": getattr(cloud, "seed", None)}
    for name, value in ours.items():
        theirs = file.attrs.get(name)
        if (name == "eps" or value is not None) and theirs != value:
            raise InputError(f"{path} has {name} = {theirs}, the cloud {value}: give the snapshots of this simulation")


def _read(files: Mapping[float, Path], t: float, close: float, cloud: ParticleCloud) -> Snapshot:
    """Return the particles at a time, spread over the ranks. Collective."""
    from kspde.runtime.hdf5 import h5py

    nearest = _nearest(t, files, close, float(cloud.t_end))
    comm, positions, ids = cloud.comm, {}, {}
    masses, weights = dict(cloud.masses), {}
    with together(comm), h5py.File(files[nearest], "r") as file:
        for name in cloud.model.species:
            data = file[f"positions/{name}"]
            mine = slice(len(data) * comm.rank // comm.size, len(data) * (comm.rank + 1) // comm.size)
            positions[name] = np.asarray(data[mine], dtype=np.float64)
            ids[name] = np.arange(mine.start, mine.stop, dtype=np.uint64)
            if name in _weighted(cloud):
                masses[name] = float(data.attrs["mass"])
                weights[name] = np.asarray(file[f"weights/{name}"][mine], dtype=np.float64)
    return Snapshot.like(cloud, nearest, positions, ids, masses, weights)


def _nearest(t: float, known: Iterable[float], close: float, *others: float) -> float:
    """Return the known time that is t.

    Raises:
        InputError: there is none.
    """
    nearest = min(known, key=lambda s: abs(s - t))
    if abs(nearest - t) > close:
        times = ", ".join(f"{s:g}" for s in sorted({*known, *others}))
        raise InputError(
            f"times contain {t:g}, and particles are known at {times}: give snapshots that were saved then, with "
            f"SaveAt(times=..., callback=kspde.Snapshots())"
        )
    return nearest
