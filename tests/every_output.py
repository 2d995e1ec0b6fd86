"""A program, not a test: runs cases of both backends and stores everything that a run returns and writes.

``every_output.py DIR CASE`` leaves ``DIR/CASE.npz``; the number of ranks is the launcher's business.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kspde
from kspde.runtime.hdf5 import h5py

MESHES = Path(__file__).parents[1] / "meshes"
U0 = kspde.GaussianMixture(weights=(0.6, 0.4), means=((-0.8, 0.3), (0.7, -0.2)), stds=(0.6, 0.5))
POINTS = np.random.default_rng(4).uniform(-1.9, 1.9, (60, 2))
AXES = (np.linspace(-2.1, 2.0, 9), np.linspace(-1.9, 1.8, 7))
WIDE = (np.linspace(-30.0, 2.0, 5), np.linspace(-1.0, 30.0, 5))


@dataclass(frozen=True, kw_only=True)
class Chemotaxis(kspde.Model):
    """Two species: one drifts up the gradient of a signal that the other makes."""

    species = ("prey", "hunter")

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return (kspde.Field(name="c", kernel=kspde.Yukawa(strength=3.0), source="prey", gradient=True),)

    def diffusion(self, species: str, c: Any) -> Any:
        return 1.0 if species == "prey" else 0.5 + 0.5 * np.exp(-c["c"])

    def drift(self, species: str, c: Any) -> Any:
        return None if species == "prey" else 2.0 * c.gradient("c")


SENSING = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=4.0)
SLOW = kspde.LocalSensing(motility=kspde.ExponentialMotility(), chi=4.0, tau=1.0)
PAIR = {"prey": U0, "hunter": kspde.GaussianMixture(weights=[1.0], means=[[0.0, 0.4]], stds=[0.7], mass=2.0)}
TRIANGLES = kspde.Disk(radius=8.0, size=0.35, rim_size=1.5)
SQUARES = kspde.Disk(radius=8.0, size=1.0, rim_size=3.0, cell="quadrilateral", degree=4)
FILE = kspde.MeshFile(path=MESHES / "ellipse.msh", boundary="neumann")
LOW = kspde.Box(half_width=8.0, cells=24, degree=1)
HIGH = kspde.Box(half_width=8.0, cells=8, degree=5)
POSITIVE = {"scheme": "positive", "dt": 0.04}
NESTED = kspde.Disk(radius=6.0, size=0.25, rim_size=0.6, refine=2, solver="multigrid")
MASS_8PI = kspde.GaussianMixture(weights=U0.weights, means=U0.means, stds=U0.stds, mass=8 * np.pi)
SIGNED = kspde.SignedMixture(
    circulations=[3.0, 2.0, -1.5], means=[[-0.8, 0.3], [0.7, -0.2], [0.1, 1.2]], stds=[0.5] * 3
)
VORTICES, GAS = kspde.ViscousVortices(viscosity=0.05), kspde.LogGas(strength=0.8, noise=0.4)
RIESZ = kspde.RieszGas(s=0.6, strength=0.8, noise=0.4)
ITERATIVE = {"ksp_type": "cg", "pc_type": "gamg"}

DENSITIES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "box-adaptive-tau": (SLOW, U0, HIGH, {"tol": 1e-4, "eps": 0.3, "mollifier": "matern", "initial": "mollified"}),
    "box-rosenbrock": (SENSING, U0, HIGH, {"scheme": "rosenbrock", "tol": 1e-4}),
    "box-positive2": (SENSING, U0, LOW, {"scheme": "positive-2", "tol": 1e-3}),
    "box-positive-drift": (Chemotaxis(), PAIR, LOW, {**POSITIVE, "eps": 0.4}),
    "disk-adaptive-multigrid": (SENSING, U0, TRIANGLES, {"tol": 1e-3, "petsc_options": ITERATIVE}),
    "disk-adaptive-nested": (SENSING, U0, NESTED, {"tol": 1e-4}),
    "disk-positive2": (SENSING, U0, TRIANGLES, {"scheme": "positive-2", "dt": 0.04, "eps": 0.3}),
    "disk-quadrilaterals": (SLOW, U0, SQUARES, {"tol": 1e-3, "eps": 0.3}),
    "disk-positive-drift": (Chemotaxis(), PAIR, TRIANGLES, {**POSITIVE, "eps": 0.4}),
    "file-adaptive-drift": (Chemotaxis(), PAIR, FILE, {"tol": 1e-3, "eps": 0.4}),
    "file-positive": (SENSING, U0, FILE, POSITIVE),
    "plane-keller-segel": (kspde.KellerSegel(chi=1.0), MASS_8PI, HIGH, {"tol": 1e-4}),
    "plane-vortices": (VORTICES, SIGNED, HIGH, {"tol": 1e-4}),
    "plane-log-gas": (GAS, U0, HIGH, {"tol": 1e-4}),
    "plane-riesz-gas": (RIESZ, U0, HIGH, {"tol": 1e-4}),
}


def density(name: str, directory: Path, comm: Any) -> dict[str, Any]:
    """Return all that a density run returns and writes."""
    model, u0, domain, options = DENSITIES[name]
    out: dict[str, Any] = {}
    seen: list[Any] = []
    statistics = ("fisher_information", "log_gradient", *(("free_energy",) if model.has_free_energy else ()))
    species = model.species
    save = kspde.SaveAt(
        times=(0.07,),
        statistics=statistics,
        callback=lambda state: seen.append([state.t, *state.evaluate(POINTS[:3], species[-1])]),
    )
    pde = kspde.solve(model, u0, domain, t_end=0.2, save=save, comm=comm, **options)
    out |= {f"diagnostics/{k}": v for k, v in pde.diagnostics.items()}
    out |= {"times": pde.times, "callback": seen, "masses": list(pde.masses.values())}
    out["initial_mass_error"] = list(pde.initial_mass_error.values())
    for t in (0.07, 0.15, 0.2):
        state = pde.at(t)
        for s in species:
            out |= {
                f"{t}/{s}/u": state.evaluate(POINTS, s),
                f"{t}/{s}/gradient": state.evaluate_gradient(POINTS, s),
                f"{t}/{s}/w": state.evaluate_w(POINTS, s),
                f"{t}/{s}/grid": state.on_grid(AXES, s),
                f"{t}/{s}/wide": state.on_grid(WIDE, s, outside=-1.0),
            }
        out |= {f"{t}/v": state.evaluate_signal(POINTS, model.fields[0].name)}
        out |= {f"{t}/v/grid": state.signal_on_grid(AXES, model.fields[0].name)}
    summary = pde.summary()
    # Iterations depend on how a mesh is cut; all else must not.
    out |= {k: v for k, v in summary.items() if isinstance(v, (int, float)) and k != "linear_iterations"}
    pde.write_vtkhdf(directory / f"{name}.vtkhdf")
    pde.comm.Barrier()
    if pde.comm.rank == 0:
        out |= vtkhdf(directory / f"{name}.vtkhdf")
    return out


def vtkhdf(path: Path) -> dict[str, Any]:
    """Return the nodes in a fixed order and the values there, a row per time, and the cells' centres."""
    with h5py.File(path) as file:
        grid = file["VTKHDF"]
        points, cells = grid["Points"][()], grid["Connectivity"][()]
        order = np.lexsort(np.round(points, 9).T)
        out = {f"vtkhdf/{name}": v[()].reshape(-1, len(order))[:, order] for name, v in grid["PointData"].items()}
        centres = np.round(points[cells].reshape(len(grid["Types"]), -1, 3).mean(axis=1), 9)
        return out | {"vtkhdf/points": points[order], "vtkhdf/cells": centres[np.lexsort(centres.T)]}


CLOUDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "particles": (kspde.SignalDependentKellerSegel(chi=8.0), U0, {"n": 2001, "eps": 0.3}),
    "particles-near": (
        kspde.SignalDependentKellerSegel(chi=8.0),
        U0,
        {"n": 200, "eps": 0.05, "memory_limit": 8e6, "field_tol": 1e-4},
    ),
    "particles-weak-2": (kspde.SignalDependentKellerSegel(chi=8.0), U0, {"n": 800, "eps": 0.3, "scheme": "weak-2"}),
    "particles-direct": (SENSING, U0, {"n": 500, "eps": 0.3, "method": "direct", "initial": "mollified"}),
    "particles-drift": (Chemotaxis(), PAIR, {"n": {"prey": 1000, "hunter": 501}, "eps": 0.4}),
    "plane-keller-segel-particles": (kspde.KellerSegel(chi=1.0), MASS_8PI, {"n": 1501}),
    "plane-vortices-particles": (VORTICES, SIGNED, {"n": 1501, "scheme": "weak-2"}),
    "plane-log-gas-particles": (GAS, U0, {"n": 1501}),
    "plane-riesz-gas-particles": (RIESZ, U0, {"n": 1501}),
    "plane-vortices-twin": (VORTICES, MASS_8PI, {"n": 1001, "eps": 0.3}),
}


def particles(name: str, directory: Path, comm: Any) -> dict[str, Any]:
    """Return all that a simulation, and its comparison with the density, returns and writes."""
    model, u0, options = CLOUDS[name]
    out: dict[str, Any] = {}
    seen: list[Any] = []
    eps = options.get("eps")
    coupled = eps is not None and name != "particles-near"  # whose ε no coarse box resolves
    signs = isinstance(u0, kspde.SignedMixture)
    statistics = ["minimal_distance", *([] if signs else ["moments", "histogram"])]
    pde = None
    if coupled:
        statistics += ["field_fluctuations"] if model.fields[0].value else []
        box = kspde.Box(half_width=9.0, cells=16, degree=6)
        initial = options.get("initial", "u0")
        pde = kspde.solve(
            model,
            u0,
            box,
            t_end=0.2,
            tol=1e-5,
            eps=eps,
            initial=initial,
            save=kspde.SaveAt(times=[0.0, 0.1]),
            comm=comm,
        )
    save = kspde.SaveAt(
        times=(0.0, 0.1), statistics=tuple(statistics), callback=lambda c: seen.append(c.diagnostics["mean"][-1])
    )
    cloud = kspde.simulate(model, u0, t_end=0.2, dt=0.02, seed=7, mean_field=pde, save=save, comm=comm, **options)
    out["callback"] = seen
    cloud.write(directory / f"{name}.h5")
    cloud.comm.Barrier()
    if cloud.comm.rank == 0:
        with h5py.File(directory / f"{name}.h5") as file:
            # names, such as those of coordinates, are not numbers
            file.visititems(lambda k, v: out.update({k: v[()]}) if getattr(v, "dtype", "O") != "O" else None)
            out |= {f"attribute/{k}": v for k, v in file.attrs.items() if not isinstance(v, str)}
    out |= {f"own/{k}": v for k, v in cloud.diagnostics.items()} | {f"s/{k}": v for k, v in cloud.statistics.items()}
    if pde is not None:
        assert cloud.coupling is not None
        out |= {"supremum": cloud.coupling.supremum, "own/twin": cloud.mean_field.diagnostics["second_moment"]}
        for s in model.species:
            distance = kspde.compare(pde, cloud, species=s, replicas=3)
            out |= {f"{s}/axes": distance.axes[0], f"{s}/k": distance.density_particles, f"{s}/u": distance.density_pde}
            out |= {f"{s}/{k}": v for k, v in flat(distance.summary()).items()}
    return out


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the numbers of nested mappings by path."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float, list)):
            out[f"{prefix}{key}"] = value
    return out


def outputs(name: str, directory: Path, comm: Any) -> dict[str, np.ndarray]:
    """Return all that a case returns and writes, to this rank. Collective over ``comm``."""
    case = density if name in DENSITIES else particles
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return {k: np.asarray(v, dtype=np.float64) for k, v in case(name, directory, comm).items()}


def checked(name: str, directory: Path, comm: Any) -> dict[str, np.ndarray]:
    """Return them on rank 0; ranks must agree on what all of them are given. Collective."""
    mine = outputs(name, directory, comm)
    for rank, other in enumerate(comm.gather(mine) or ()):
        for key, values in other.items():
            assert np.array_equal(values, mine[key], equal_nan=True), (
                f"{name}: rank {rank} has another {key} than rank 0"
            )
    return mine


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference, relative to the larger of 1 and the values."""
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return np.inf
    finite = np.isfinite(one)
    scale = max(1.0, float(np.abs(one[finite]).max(initial=0.0)))
    return float(np.abs(one - other)[finite].max(initial=0.0)) / scale


def different(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Return what differs by more than 1e-9: sup |∇log u|, which divides the round-off in u by 1e-12, by 1e-5."""
    assert set(one) == set(other)
    assert len(one) > 20
    found = {key: distance(values, other[key]) for key, values in one.items()}
    return {key: d for key, d in found.items() if not d < (1e-5 if key.endswith("log_gradient") else 1e-9)}


if __name__ == "__main__":
    from mpi4py import MPI

    for each in sys.argv[2:]:
        out = checked(each, Path(sys.argv[1]), MPI.COMM_WORLD)
        if MPI.COMM_WORLD.rank == 0:
            np.savez(Path(sys.argv[1]) / f"{each}.npz", **{k.replace("/", "|"): v for k, v in out.items()})
