"""The particles of a simulation: their positions at the end, and what was recorded on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from kspde._version import __version__
from kspde.domains import Domain
from kspde.errors import InputError, check_choice, counted
from kspde.grids import coordinate_names
from kspde.initial import InitialDensity
from kspde.models import Model
from kspde.particles.coupling import Coupling
from kspde.particles.statistics import STATISTICS
from kspde.plots.particles import plot_cloud
from kspde.problem import SCALING, Problem
from kspde.protocols import SolvedDensity
from kspde.runtime.checkpoint import Checkpoint
from kspde.runtime.following import Callback, Followers, Stopped
from kspde.runtime.messages import keeping_warnings
from kspde.runtime.notebook import html_table
from kspde.runtime.parallel import collective, together
from kspde.runtime.provenance import provenance
from kspde.runtime.reductions import gather_rows
from kspde.runtime.saving import SaveAt
from kspde.tables import diagnostics_table
from kspde.typing import Array, Comm, Ids

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["DTYPES", "Cloud"]

#: Types of positions in files.
DTYPES = ("float64", "float32")

#: What files say of the particles, and of their diagnostics: in words, and by the axes after that of time.
_EQUATION = (
    "dX_j = b dt + sqrt(2 D) dB_j, with the model's drift b and diffusion coefficient D at the fields K^eps * mu of "
    "the empirical measure mu = sum_j w_j delta_{X_j}; with the model's growth r, dw_j = r w_j dt"
)
_SCALING = (
    f"{SCALING}; the weights w_j of a species sum to its mass and are mass/n where the file has none, so that mu "
    "approximates u dx, where u is mass per volume"
)
_DIAGNOSTICS = {
    "second_moment": ("integral of |x|^2 over the empirical measure", "species"),
    "unweighted_second_moment": ("mean of |x|^2 over the particles, without their weights", "species"),
    "mean": ("integral of x over the empirical measure, divided by its total variation", "species", "coordinate"),
    "mass": ("sum of the weights, which change by growth", "species"),
    "effective_share": ("(sum of |w|)^2 over n sum of w^2: the share of effective particles", "species"),
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Cloud:
    """N particles per species at time ``t_end``, distributed over the ranks in contiguous ranges of ids.

    Attributes:
        problem: the problem: model, initial density, mollifier.
        mollifier: name of the mollifier.
        t_end: time of the particles.
        dt: the time step used.
        seed: seed of the random numbers.
        domain: the domain that the particles live in, as given; None for the whole space.
        replica: number of this one of the independent runs with that seed.
        comm: the MPI communicator.
        counts: number of particles by species, over all ranks.
        masses: mass by species; a particle weighs mass/n. For particles with their own weights, or of a model with
            growth, the sum of these.
        diagnostics: by name an array over the times 0, dt, ..., t_end: ``t``; ``second_moment``, the integral ∫|x|²dμ =
            Σ_j w_j |X_j|² over the empirical measure μ = Σ_j w_j δ_{X_j}, w_j = mass/n or the particles' own weights,
            as ``Solution.diagnostics`` has that of u dx; and ``mean``, Σ_j w_j X_j / Σ_j |w_j|, the mean position where
            no weight is negative. Their shapes are (times,) and (times, d) for one species, (times, species) and
            (times, species, d) for several. Where the model has growth also ``mass``, and ``effective_share``, the
            share (Σ|w|)²/(n Σw²) of the particles that as many equal weights stand for. Where particles have their
            own weights, which do not grow, also ``unweighted_second_moment``, (1/n) Σ_j |X_j|²: that of signed weights
            says nothing of how far they are.
        variations: Σ_j |w_j| by species, of those with their own weights.
        timings: seconds of ``setup`` (sampling, first field, compilation when it is needed) and ``loop``.
        statistics: by name an array over the saved times ``t``; see :mod:`kspde.particles.statistics`.
        mean_field: the mean-field particles with the same starting points and noise, if a mean field was given.
        coupling: the distance between the two.
        stopped: why a callback has ended the run before the ``t_end`` that it was given; None where none has.
        warnings: warnings given during the run, line by line.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = (
        "model", "u0", "t_end", "eps", "mollifier", "dt", "seed", "replica", "counts", "masses",
    )  # fmt: skip

    problem: Problem
    mollifier: str
    t_end: float
    dt: float
    seed: int
    comm: Comm
    counts: Mapping[str, int]
    masses: Mapping[str, float]
    diagnostics: Mapping[str, Array]
    timings: Mapping[str, float]
    domain: Domain | None = None
    replica: int = 0
    statistics: Mapping[str, Array] = field(default_factory=dict)
    mean_field: Cloud | None = None
    coupling: Coupling | None = None
    variations: Mapping[str, float] = field(default_factory=dict)
    stopped: Stopped | None = None
    warnings: tuple[str, ...] = ()
    _positions: Mapping[str, Array]
    _ids: Mapping[str, Ids]
    _details: Mapping[str, Any]
    _weights: Mapping[str, float | Array] = field(default_factory=dict)
    _extended: Callable[..., Cloud] | None = None

    @property
    def model(self) -> Model:
        """The model."""
        return self.problem.model

    @property
    def u0(self) -> Mapping[str, InitialDensity]:
        """The density of the starting points, by species."""
        return self.problem.u0

    @property
    def eps(self) -> float | None:
        """ε of the regularised kernels, or None."""
        return self.problem.eps

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the species."""
        return self.model.species

    @property
    def n(self) -> int | dict[str, int]:
        """Number of particles over all ranks; by species where there are several."""
        return self.counts[self.species[0]] if len(self.species) == 1 else dict(self.counts)

    @property
    def positions(self) -> Array:
        """Positions of this rank's particles of the only species, shape (n_local, d).

        Raises:
            InputError: there are several species; ``of`` returns those of one.
        """
        return self.of(self._species(None))

    @property
    def ids(self) -> Ids:
        """Ids of this rank's particles of the only species, shape (n_local,)."""
        return self._ids[self._species(None)]

    def __repr__(self) -> str:
        return "\n".join(["Cloud", *(f"  {name:<9}  {value}" for name, value in self._rows())])

    def _repr_html_(self) -> str:
        return html_table("Cloud", ("", ""), self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        """Return names and values: the parameters, then mean and standard deviation of each species."""
        details = self._details
        rows = [("model", str(self.model))]
        if self.eps is not None:
            rows.append(("mollifier", f"{self.mollifier}, eps = {self.eps:g}"))
        rows.append(("t_end", f"{self.t_end:g}, {details.get('scheme', 'the same')} steps of {self.dt:g}"))
        rows.append(("seed", f"{self.seed}" + (f", replica {self.replica}" if self.replica else "")))
        means = np.reshape(self.diagnostics["mean"][-1], (len(self.species), -1))
        squares = np.reshape(self.diagnostics["second_moment"][-1], -1)
        for name, mean, square in zip(self.species, means, squares, strict=True):
            mass, size = self.masses[name], self.variations.get(name, self.masses[name])
            words = (
                f"{counted(self.counts[name], 'particle')}, mass {mass:g}, mean ({', '.join(f'{x:.4g}' for x in mean)})"
            )
            if math.isclose(mass, size):  # a measure with two signs has no variance
                words += f", std {math.sqrt(max(square / mass - mean @ mean, 0.0) / len(mean)):.4g} per coordinate"
            rows.append((name, words))
        if self.stopped is not None:
            rows.append(("stopped", str(self.stopped)))
        if self.coupling is not None:
            rows.append(("coupling", f"max |X - X̄| = {self.coupling.supremum:.4g} to the mean-field particles"))
        return rows

    def of(self, species: str) -> Array:
        """Return the positions of this rank's particles of a species, shape (n_local, d).

        Raises:
            InputError: an unknown species.
        """
        return self._positions[self._species(species)]

    def ids_of(self, species: str) -> Ids:
        """Return the ids of this rank's particles of a species, shape (n_local,).

        Raises:
            InputError: an unknown species.
        """
        return self._ids[self._species(species)]

    def weights_of(self, species: str) -> Array:
        """Return the weights of this rank's particles of a species, shape (n_local,): mass/n, or their own weights.

        Raises:
            InputError: an unknown species.
        """
        name = self._species(species)
        equal = self.masses[name] / self.counts[name]
        return np.array(np.broadcast_to(self._weights.get(name, equal), (len(self._positions[name]),)))

    def gathered(self, species: str | None = None) -> Array | None:
        """Return all positions of a species in the order of ids, shape (n, d), on rank 0; None elsewhere. Collective.

        Raises:
            InputError: an unknown species, or none named where there are several.
        """
        with together(self.comm, "gathered") as same:
            name = self._species(species)
            same(species=name)
        return gather_rows(self._positions[name], self.comm)

    @keeping_warnings
    @collective(own=("progress", "callback"))
    def extend(
        self,
        t_end: float,
        *,
        mean_field: SolvedDensity | None = None,
        save: SaveAt | None = None,
        checkpoint: Checkpoint | None = None,
        resume: bool = False,
        on_blow_up: Literal["warn", "stop", "ignore"] = "warn",
        progress: Callable[[float], None] | None = None,
        callback: Callback | Sequence[Callback] | None = None,
    ) -> Cloud:
        """Continue the run to a later time, and return the particles there; these stay where they are. Collective.

        The noise continues too. The result is that of one run to ``t_end``, bit by bit, if steps end at this ``t_end``
        there, as they do where it is saved. A run that a callback has stopped continues too.

        Args:
            t_end: the final time.
            mean_field: the mean field until then, where there is one: ``pde.extend(t_end)``.
            save: further times, a callback; the statistics are those of the run.
            checkpoint: as for ``kspde.simulate``, and so are the others.
            resume: whether to continue from the newest checkpoint of such an extension.
            on_blow_up: what to do about particles that collapse.
            progress: called after every step with t/t_end.
            callback: called after every step with the state.

        Raises:
            InputError: a time that is over, a value that is not valid, or a cloud that ``simulate`` has not returned.
        """
        if self._extended is None:
            raise InputError("a snapshot cannot be extended: extend what kspde.simulate returned")
        more = {"progress": progress, "followers": Followers(callback), "on_blow_up": on_blow_up}
        return self._extended(t_end, save, mean_field, resume, checkpoint=checkpoint, **more)

    def plot(
        self,
        path: str | Path | None = None,
        *,
        species: str | None = None,
        pde: SolvedDensity | None = None,
        most: int = 2000,
    ) -> Figure | None:
        """Draw the particles: a histogram on the line, dots on the plane, dots projected along z in space. Collective.

        Args:
            path: the picture's file (PNG, PDF, … by its suffix); without one the matplotlib figure is returned, on rank
                0, and a notebook shows it.
            species: which species, where there are several.
            pde: a density, drawn below the particles; in space it is integrated over z.
            most: the number of dots, the first particles by id.

        Raises:
            InputError: an unknown species, a density that cannot be compared with the particles, or the file cannot be
                written.
        """
        return plot_cloud(self, path, species=species, pde=pde, most=most)

    def to_pandas(self) -> DataFrame:
        """Return the diagnostics as a table of pandas, a row per step, with the problem's parameters as ``attrs``.

        The coordinates of the mean are columns, ``mean_x`` and so on; with several species ``mean_x[u]``.

        Raises:
            MissingBackendError: pandas is not installed.
        """
        return diagnostics_table(self.diagnostics, self.problem)

    def summary(self) -> dict[str, Any]:
        """Return parameters and final diagnostics, JSON-ready."""
        return {
            "n": self.n,
            "t_end": self.t_end,
            **({} if self.stopped is None else {"stopped": asdict(self.stopped)}),
            "dt": self.dt,
            "eps": self.eps,
            "mollifier": self.mollifier if self.eps is not None else None,
            "seed": self.seed,
            "replica": self.replica,
            "masses": dict(self.masses),
            **({"variations": dict(self.variations)} if self.variations else {}),
            **self._details,
            "second_moment": self.diagnostics["second_moment"][-1].tolist(),
            "mean": self.diagnostics["mean"][-1].tolist(),
            "timings": dict(self.timings),
            "warnings": list(self.warnings),
            **self._mean_field_summary(),
        }

    def write(self, path: str | Path, *, dtype: Literal["float64", "float32"] = "float64") -> None:
        """Write an HDF5 file with the particles, what was recorded, and all parameters. Collective.

        An existing file is replaced. The arrays, with the names of their axes:

        - ``positions/<species>`` (particle, coordinate), and ``mean_field/<species>``, those of the mean-field
          particles: row i belongs to the particle with id i;
        - ``weights/<species>`` (particle): weights of their own, where there are any; otherwise all are mass/n;
          ``mean_field_weights/<species>`` are those of the mean-field particles, where growth has changed them;
        - ``diagnostics/t`` and ``diagnostics/<name>`` (t, …), as in :attr:`diagnostics`;
        - ``statistics/t`` and ``statistics/<name>`` (t, …), as in :attr:`statistics`.

        The axes are dimension scales. ``coordinate`` has the values x, y, z; ``species`` and ``field`` are names;
        ``particle`` has only a length. With several species it is ``particle_<species>``, and diagnostics have an axis
        ``species``. Every array has a ``long_name`` and ``units``: "1", since the model is dimensionless.

        Attributes of the file are ``t``, ``dt``, ``eps`` and ``mollifier`` (absent where there is none), ``seed``,
        ``replica``, ``scheme``, ``method``, ``kspde_version`` and each parameter that is a number or a name, such as
        ``model.chi``; ``equation`` and ``scaling`` in words; ``parameters``, which is JSON with all parameters as
        :meth:`kspde.problem.Problem.describe` has them; and ``provenance``, JSON with versions, machine and date.
        Positions have the attributes ``n`` and ``mass``.

        Args:
            path: path of the file.
            dtype: type of the positions: "float64", or "float32" for half the size.

        Raises:
            InputError: an unknown dtype, or the file cannot be written; on every rank.
        """
        with together(self.comm, "write") as same:
            check_choice("dtype", dtype, DTYPES)
            same(path=str(path), dtype=dtype, t=self.t_end)
        clouds = {"positions": self, **({} if self.mean_field is None else {"mean_field": self.mean_field})}
        positions = {
            f"{group}/{name}": _rows(cloud._positions[name], self.comm)
            for group, cloud in clouds.items()
            for name in self.species
        }
        growing = self.model.has_growth
        weights = {
            f"{group}/{name}": _rows(cloud.weights_of(name)[:, None], self.comm)
            for group, cloud in (("weights", self), ("mean_field_weights", self.mean_field))
            for name in self.species
            if cloud is not None and (growing or (name in self.variations and cloud is self))
        }
        with together(self.comm):
            if self.comm.rank == 0:
                from kspde.runtime.hdf5 import new_file

                with new_file(path, sum(x.nbytes for x in (*positions.values(), *weights.values()))) as file:
                    self._write_parameters(file)
                    self._write_arrays(file, positions, weights, dtype)

    def write_vtkhdf(self, path: str | Path) -> None:
        """Write the particles as points of a VTKHDF file, which pyvista and ParaView read. Collective.

        Particles are in the order of their ids, species after species; with them are ``weight`` and the number of the
        ``species``, from 0 in the model's order.

        Args:
            path: path of the file; an existing one is replaced.

        Raises:
            InputError: the file cannot be written; on every rank.
        """
        with together(self.comm, "write_vtkhdf") as same:
            same(path=str(path), t=self.t_end)
        x = np.concatenate([_rows(self._positions[name], self.comm) for name in self.species])
        weights = np.concatenate([_rows(self.weights_of(name)[:, None], self.comm)[:, 0] for name in self.species])
        with together(self.comm):
            if self.comm.rank == 0:
                from kspde.runtime.hdf5 import new_file, write_points

                number = np.repeat(np.arange(len(self.species), dtype=np.uint8), list(self.counts.values()))
                with new_file(path, 64 * len(x)) as file:
                    self._write_parameters(file)
                    write_points(file, x, weight=weights, species=number)

    def _write_parameters(self, file: Any) -> None:
        from kspde.runtime.hdf5 import write_parameters

        mollifier = {"mollifier": self.mollifier} if self.eps is not None else {}
        details = {name: value for name, value in self._details.items() if name != "threads"}  # provenance has them
        write_parameters(
            file,
            self.problem.describe(counts=self.counts, seed=self.seed, replica=self.replica, **details),
            provenance(self.comm),
            t=self.t_end,
            dt=self.dt,
            kspde_version=__version__,
            equation=_EQUATION,
            scaling=_SCALING,
            **mollifier,
        )

    def _write_arrays(
        self, file: Any, positions: Mapping[str, Array], weights: Mapping[str, Array], dtype: str
    ) -> None:
        from kspde.runtime.hdf5 import write_array, write_scale

        coordinates, several = coordinate_names(self.model.dimension), len(self.species) > 1
        names = {"coordinate": coordinates, "other_coordinate": coordinates, "species": list(self.species)}
        names["field"] = [f.name for f in self.problem.fields]

        def write(path: str, values: Any, long_name: str, *axes: str, **more: Any) -> None:
            for axis in axes:
                if axis in names and axis not in file:
                    write_scale(file, axis, names[axis], f"name of the {axis.replace('_', ' ')}")
            write_array(file, path, values, long_name, *(f"/{axis}" for axis in axes), **more)

        particle = {name: f"particle_{name}" if several else "particle" for name in self.species}
        for path, x in positions.items():
            group, name = path.split("/", 1)
            words = (
                f"positions of {'particles' if group == 'positions' else 'mean-field particles'} in the order of ids"
            )
            sizes = {"n": self.counts[name], "mass": self.masses[name]}
            # HDF5 converts to single precision in twice numpy's time.
            write(path, x.astype(dtype, copy=False), words, particle[name], "coordinate", **sizes)
        for path, w in weights.items():
            write(path, w[:, 0], "weights, whose sum is the mass", particle[path.split("/", 1)[1]])
        known = {k: v for each in STATISTICS.values() for k, v in each.arrays.items()}
        for group, arrays, labels in (
            ("diagnostics", self.diagnostics, _DIAGNOSTICS),
            ("statistics", self.statistics, known),
        ):
            if arrays:
                write_scale(file, f"{group}/t", arrays["t"], "time")
            for name, values in arrays.items():
                if name == "t":
                    continue
                words, *axes = labels.get(name, (name, *(f"{name}_axis_{k}" for k in range(1, values.ndim))))
                axes = axes[len(axes) + 1 - values.ndim :]  # without that of the only species, or field
                write(f"{group}/{name}", values, words, f"{group}/t", *axes)

    def _mean_field_summary(self) -> dict[str, Any]:
        if self.mean_field is None or self.coupling is None:
            return {}
        return {
            "mean_field": {
                "second_moment": self.mean_field.diagnostics["second_moment"][-1].tolist(),
                "largest_distance": self.coupling.supremum,
                **self.mean_field._details,
            }
        }

    @property
    def resampled(self) -> bool:
        """Whether particles were resampled on the way: then some have one ancestor, and are not independent."""
        shares = self.diagnostics.get("effective_share")
        return shares is not None and "resampling" in self._details and bool(np.any(shares[1:] > 1.0 - 1e-12))

    def _species(self, species: str | None) -> str:
        if species is None:
            if len(self.species) > 1:
                raise InputError(
                    f"there are several species: name one of {', '.join(self.species)}, such as "
                    f"cloud.of({self.species[0]!r}) for its positions and cloud.ids_of({self.species[0]!r}) for its ids"
                )
            return self.species[0]
        return check_choice("species", species, self.species)


def _rows(local: Array, comm: Comm) -> Array:
    """Return the rows of all ranks on rank 0, for a file: no copy on one rank; nothing elsewhere. Collective."""
    rows = local if comm.size == 1 else gather_rows(local, comm)
    return local[:0] if rows is None else rows
