"""What a finite-element run returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kspde.domains import Domain
from kspde.errors import check_number
from kspde.fem.earlier import EarlierDensity
from kspde.fem.error import DensityError, estimated
from kspde.fem.schemes import Scheme
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.snapshot import Knot, Snapshot, interpolated
from kspde.fem.writers import write_vtkhdf
from kspde.initial import InitialDensity
from kspde.kernels import Mollifier
from kspde.models import Model
from kspde.plots.densities import plot_density, plot_diagnostics
from kspde.plots.particles import Animation, animate
from kspde.problem import Problem
from kspde.protocols import ParticleCloud
from kspde.runtime.checkpoint import Checkpoint
from kspde.runtime.following import Callback, Followers, Stopped
from kspde.runtime.messages import keeping_warnings
from kspde.runtime.notebook import html_table
from kspde.runtime.parallel import collective, together
from kspde.runtime.saving import SaveAt
from kspde.tables import diagnostics_table, grid_dataset
from kspde.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from xarray import Dataset

__all__ = ["Solution"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Solution:
    """Densities and fields at ``t_end`` and at saved times, and the diagnostics of the run.

    Methods that return values at points or grids are collective: call them on every rank, with the same arguments.
    Only points are each rank's own choice: any number of them; the rank gets the values there. All methods take a time
    t, ``t_end`` unless given; other times must be saved, or lie between saved ones.

    Attributes:
        problem: the problem that it solves, up to ``t_end``.
        domain: the domain.
        scheme: the scheme.
        mollifier: the mollifier, as given; ``problem.mollifier`` is the kernel.
        diagnostics: per accepted step, name -> array: t, dt, mass, minimum, maximum, l2 (∫u²), second_moment (∫|x|²u),
            entropy (∫u log u), and the statistics asked for; shape (steps,), or (steps, species) except for t and dt
            where there are several species. With growth also growth (∫∫ r u dx dt from the start): the mass is its
            initial value plus this, to round-off.
        timings: seconds: mesh, setup, loop.
        initial_mass_error: relative error of each species' discrete mass before it was scaled to the exact one.
        stopped: why a callback has ended the run before the ``t_end`` that it was given; None where none has.
        warnings: the warnings issued during the run, line by line.
    """

    same_on_ranks: ClassVar[tuple[str, ...]] = (
        "model", "domain", "u0", "initial", "t_end", "eps", "mollifier", "times",
    )  # fmt: skip

    problem: Problem
    domain: Domain
    scheme: Scheme
    mollifier: Mollifier
    diagnostics: dict[str, Array]
    timings: dict[str, float]
    initial_mass_error: dict[str, float]
    stopped: Stopped | None = None
    warnings: tuple[str, ...] = ()
    _system: Semidiscretisation
    _knots: list[Knot]
    _details: dict[str, Any]
    _again: Callable[..., Solution] | str
    _extended: Callable[..., Solution]
    _errors: list[DensityError] = field(default_factory=list)

    @property
    def error(self) -> DensityError:
        """Estimates of the error at ``t_end``, in L¹ and in the maximum: space, time and truncation apart. Collective.

        The first use solves the problem two or three times on a coarser mesh (:mod:`kspde.fem.error`). Errors at
        earlier saved times are not estimated: where peaks spread they may be larger. Where grids follow peaks
        (``regrid``) there is no estimate, and ``error.unknown`` says why, as it does where a coarser run fails.
        """
        if not self._errors:
            again = self._again
            self._errors.append(DensityError(unknown=again) if isinstance(again, str) else estimated(self, again))
        return self._errors[0]

    @property
    def known_error(self) -> DensityError | None:
        """``error`` where it has been estimated; None elsewhere."""
        return self._errors[0] if self._errors else None

    @property
    def model(self) -> Model:
        """The model."""
        return self.problem.model

    @property
    def u0(self) -> Mapping[str, InitialDensity]:
        """The initial density of each species."""
        return self.problem.u0

    @property
    def initial(self) -> str:
        """Whether the densities start from u_0 ("u0") or from u_0 * j^ε ("mollified")."""
        return self.problem.initial

    @property
    def t_end(self) -> float:
        """The final time."""
        return self.problem.t_end

    @property
    def eps(self) -> float | None:
        """The mollifier's ε; None for the local equation."""
        return self.problem.eps

    @property
    def masses(self) -> dict[str, float]:
        """The mass of each species at the end, which is that of t = 0 unless the model has growth."""
        return self.masses_at(self.t_end)

    def masses_at(self, t: float) -> dict[str, float]:
        """Return the mass of each species at a time up to ``t_end``, with growth from those after each step."""
        if not self.model.has_growth:
            return self.problem.masses
        from scipy.interpolate import PchipInterpolator

        table = self.diagnostics
        masses = np.reshape(table["mass"], (len(table["t"]), -1))
        found = PchipInterpolator(table["t"], masses)(t) if len(masses) > 1 else masses[0]
        return dict(zip(self.species, found.tolist(), strict=True))

    @property
    def comm(self) -> Any:
        """The communicator."""
        return self._system.space.comm

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the species."""
        return self.model.species

    @property
    def half_width(self) -> float:
        """The half-width of the smallest box around the origin that contains the domain."""
        return self._system.space.radius

    @property
    def bounds(self) -> Array:
        """The lowest and the highest coordinates of the domain, shape (2, d)."""
        return self._system.space.bounds

    @property
    def times(self) -> Array:
        """The saved times, the last of which is ``t_end``."""
        return np.array([knot.t for knot in self._knots])

    @property
    def knots(self) -> tuple[Knot, ...]:
        """What is held of the saved times: unknowns, their time derivatives, and the semidiscretisation."""
        return tuple(self._knots)

    def at(self, t: float | None = None) -> Snapshot:
        """Return the snapshot at time t: saved, or interpolated between saved ones (cubic Hermite, order 4).

        An interpolated density has the exact mass unless it grows, but may be negative where u is close to 0, after a
        positive scheme too: save the times at which u ≥ 0 is needed.

        Raises:
            InputError: t is not between saved times.
        """
        t = self.t_end if t is None else check_number("t", t, at_least=0)
        return interpolated(self._knots, t)

    def evaluate(self, points: npt.ArrayLike, species: str | None = None, t: float | None = None) -> Array:
        """Return u at this rank's points, shape (n, d), n ≥ 0: shape (n,).

        Raises:
            InputError: wrong shape, points outside the domain, an unknown species, or a time that is not saved, on any
                rank.
        """
        return self._agreed(t).evaluate(points, species)

    def evaluate_signal(self, points: npt.ArrayLike, field: str | None = None, t: float | None = None) -> Array:
        """Return a field (the model's signal unless named) at this rank's points, shape (n, d), n ≥ 0: shape (n,).

        Raises:
            InputError: wrong shape, points outside the domain, an unknown field, or a time that is not saved, on any
                rank.
        """
        return self._agreed(t).evaluate_signal(points, field)

    def on_grid(
        self,
        axes: Sequence[npt.ArrayLike],
        species: str | None = None,
        t: float | None = None,
        *,
        outside: float | None = None,
    ) -> Array:
        """Return u on the tensor grid of d coordinate arrays: shape (len(axes[0]), ...), the same on every rank.

        Args:
            axes: the coordinates in each direction.
            species: which species, where there are several.
            t: the time.
            outside: the value outside the domain; without it points there are refused.
        """
        return self._agreed(t).on_grid(axes, species, outside=outside)

    def signal_on_grid(
        self,
        axes: Sequence[npt.ArrayLike],
        field: str | None = None,
        t: float | None = None,
        *,
        outside: float | None = None,
    ) -> Array:
        """Return a field (the model's signal unless named) on such a grid."""
        return self._agreed(t).signal_on_grid(axes, field, outside=outside)

    def moment(self, name: str, t: float | None = None) -> Array:
        """Return a moment of the model, ∫φu, at time t: shape () or (k, ...). Collective.

        Raises:
            InputError: an unknown moment.
        """
        return self._agreed(t).moment(name)

    def function(self, species: str | None = None, t: float | None = None) -> Any:
        """Return u as a ``dolfinx.fem.Function`` on this solution's mesh. Collective."""
        return self._agreed(t).function(species)

    def plot(
        self, path: str | Path | None = None, *, species: str | None = None, t: float | None = None
    ) -> Figure | None:
        """Draw the density of a species: a curve, a map, or a map of the plane through its mean z. Collective.

        Args:
            path: the picture's file (PNG, PDF, … by its suffix); without one the matplotlib figure is returned, on rank
                0, and a notebook shows it.
            species: which species, where there are several.
            t: the time.

        Raises:
            InputError: an unknown species, a time that is not saved, or the file cannot be written.
        """
        return plot_density(self, path, species=species, t=t)

    def plot_diagnostics(self, path: str | Path | None = None, *, cloud: ParticleCloud | None = None) -> Figure | None:
        """Draw mass, extremes, second moment, entropy and time step over time, and a cloud's second moment. Collective.

        Args:
            path: the picture's file, as for ``plot``.
            cloud: the particles.

        Raises:
            InputError: the file cannot be written.
        """
        return plot_diagnostics(self, path, cloud=cloud)

    def animate(
        self,
        path: str | Path | None = None,
        *,
        snapshots: Any = None,
        species: str | None = None,
        times: Sequence[float] | None = None,
        most: int = 1000,
        seconds: float = 0.15,
    ) -> Animation | None:
        """Make an animation of the density at its saved times, or with particles over it at theirs. Collective.

        Args:
            path: the file, .webp, .gif or .png; without one the animation is returned, on rank 0, and a notebook shows
                it.
            snapshots: particles at increasing times: :class:`kspde.Snapshots` filled, or a list of clouds.
            species: which species, where there are several.
            times: the times, where no particles are given.
            most: the number of particles shown, the first by id; on the line a histogram shows all.
            seconds: the time that each frame is shown.

        Raises:
            InputError: another suffix, fewer than two times, particles that cannot be compared with the density, or the
                file cannot be written.
        """
        return animate(self, path, snapshots=snapshots, species=species, times=times, most=most, seconds=seconds)

    def to_pandas(self) -> DataFrame:
        """Return the diagnostics as a table of pandas, a row per step, with the problem's parameters as ``attrs``.

        With several species there is a column per species, such as ``mass[u]``.

        Raises:
            MissingBackendError: pandas is not installed.
        """
        return diagnostics_table(self.diagnostics, self.problem)

    def to_xarray(
        self,
        axes: Sequence[npt.ArrayLike] | None = None,
        *,
        points: int | None = None,
        t: float | Sequence[float] | None = None,
    ) -> Dataset:
        """Return all densities and fields on a grid as a dataset of xarray, with dimensions t, x, y, z. Collective.

        Values outside the domain are NaN. Attributes name the equation and hold the problem's parameters.

        Args:
            axes: the coordinates in each direction; without them the grid covers the mass of all species at the last of
                the times.
            points: the number of points per direction of that grid: 513, 129 or 49 in one, two or three dimensions
                unless given.
            t: a time, or several; all saved times unless given.

        Raises:
            InputError: axes and points together, a wrong number of axes, or a time that is not saved.
            MissingBackendError: xarray is not installed.
        """
        return grid_dataset(self, axes, points, t)

    def write_vtkhdf(self, path: str | Path) -> None:
        """Write all densities and fields at the saved times to a VTKHDF file (.vtkhdf). Collective.

        ParaView (from 5.13), pyvista and VTK read it, and h5py as any HDF5 file. Cells have all nodes of their degree,
        at equal distances as VTK expects: readers evaluate the same polynomials. Where the grid has changed, each time
        is on its own. The file appears when it is complete, and holds all parameters as attributes.

        Raises:
            InputError: the file cannot be written.
        """
        described = self.problem.describe(scheme=self.scheme.name, domain=self.domain, **self._details)
        names = [*self.species, *(f.name for f in self._system.fields)]
        write_vtkhdf(path, names, [self.at(t) for t in self.times], described)

    def as_initial(self, name: str | None = None, t: float | None = None) -> InitialDensity:
        """Return a species' density, or a field, as an initial density for another run. Collective.

        ``kspde.solve(model, pde, box, t_end=1.0)`` starts from the densities at ``t_end``, on any mesh: with this one's
        polynomials, so to round-off on the same mesh, but for values below 0, which are cut off. A field that relaxes
        starts from the model's ``v0``, which may be ``pde.as_initial("v")``. Every rank holds all of it.

        Args:
            name: the species, or a field; the only species unless given.
            t: the time, ``t_end`` unless given.

        Raises:
            InputError: an unknown name, or a time that is not saved.
        """
        at = self._agreed(t)
        fields = [f.name for f in self._system.fields]
        own = name is not None and name in fields and name not in self.species
        nodal = at.field(name) if own else at.density(name)
        signed = not own and self.u0[name or self.species[0]].signed
        modal = not self.scheme.positive
        return EarlierDensity(at, name or self.species[0], nodal, modal=modal, signed=signed, comm=self.comm)

    @keeping_warnings
    @collective(own=("progress", "callback"))
    def extend(
        self,
        t_end: float,
        *,
        save: SaveAt | None = None,
        checkpoint: Checkpoint | None = None,
        resume: bool = False,
        on_blow_up: Literal["stop", "warn", "ignore"] = "stop",
        progress: Callable[[float], None] | None = None,
        callback: Callback | Sequence[Callback] | None = None,
    ) -> Solution:
        """Continue the run to a later time, and return the solution from t = 0 to there; this one stays. Collective.

        The result, and checkpoints, are those of one run to ``t_end`` that has this ``t_end`` among its saved times: to
        round-off with a fixed step; with step control within the tolerance, since ``t_end`` may limit the first step. A
        run that a callback has stopped continues too.

        Args:
            t_end: the final time.
            save: further times, a callback; the statistics are those of the run.
            checkpoint: as for ``kspde.solve``, and so are the others.
            resume: whether to continue from the newest checkpoint of such an extension.
            on_blow_up: what to do about a density that blows up.
            progress: called after every step with t/t_end.
            callback: called after every step with the state.

        Raises:
            InputError: a time that is over, a value that is not valid, or a run that failed or had ``regrid``.
        """
        more = {"progress": progress, "followers": Followers(callback)}
        return self._extended(t_end, save, checkpoint=checkpoint, resume=resume, on_blow_up=on_blow_up, **more)

    def _agreed(self, t: float | None) -> Snapshot:
        """Return the snapshot at time t; an error on one rank is raised on all. Collective."""
        with together(self.comm):
            return self.at(t)

    def summary(self) -> dict[str, Any]:
        """Return what characterises the run, ready for JSON."""
        space = self._system.space
        errors = {"estimated_error": asdict(self._errors[0])} if self._errors else {}
        return {
            "scheme": self.scheme.name,
            "initial": self.initial,
            **self._details,
            "t_end": self.t_end,
            **({} if self.stopped is None else {"stopped": asdict(self.stopped)}),
            "eps": self.eps,
            "mollifier": None if self.eps is None else str(self.mollifier),
            "domain": str(self.domain),
            "nodes": space.nodes,
            "cells": space.cells,
            "degree": space.degree,
            "linear_solver": space.linear_solver,
            "initial_mass_error": self.initial_mass_error,
            **errors,
            "timings": self.timings,
            "warnings": list(self.warnings),
        }

    def _rows(self) -> list[tuple[str, str]]:
        """Return names and values: the parameters, then mass and maximum of each species. Rank-local."""
        rows = [("model", str(self.model)), ("domain", f"{self.domain}, {self._system.space.nodes} nodes")]
        if self.eps is not None:
            rows.append(("mollifier", f"{self.mollifier}, eps = {self.eps:g}"))
        steps = len(self.diagnostics["t"]) - 1
        rows.append(("scheme", f"{self.scheme}, {steps} step" + "s" * (steps != 1)))
        rows.append(("t_end", f"{self.t_end:g}" + f", {len(self._knots)} saved times" * (len(self._knots) > 1)))
        mass, largest = (np.atleast_1d(self.diagnostics[name][-1]) for name in ("mass", "maximum"))
        rows += [(s, f"mass {m:.6g}, maximum {u:.6g}") for s, m, u in zip(self.species, mass, largest, strict=True)]
        rows += [] if self.stopped is None else [("stopped", str(self.stopped))]
        return rows + [("warning", line) for line in self.warnings]

    def __repr__(self) -> str:
        return "\n".join(["Solution", *(f"  {name:<9}  {value}" for name, value in self._rows())])

    def _repr_html_(self) -> str:
        return html_table("Solution", ("", ""), self._rows())
