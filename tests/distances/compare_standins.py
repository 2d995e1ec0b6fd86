"""Objects that answer as a solution and a cloud do, for densities and positions that are known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

import kspde


@dataclass(frozen=True, kw_only=True)
class Still(kspde.Model):
    """A model without fields, in any dimension, of one species or more."""

    dimension: int = 2
    species: tuple[str, ...] = ("u",)
    rate: float = 1.0

    @property
    def fields(self) -> tuple[kspde.Field, ...]:
        return ()

    def diffusion(self, species: str, c: kspde.FieldValues) -> float:
        return self.rate


def gaussian(std: float = 1.0, *, dimension: int = 2, mean: float = 0.0, mass: float = 1.0) -> kspde.GaussianMixture:
    return kspde.GaussianMixture(weights=(1.0,), means=(np.full(dimension, mean),), stds=(std,), mass=mass)


@dataclass(kw_only=True)
class KnownDensity:
    """A solution whose density at t_end is a Gaussian mixture; a strict one is not asked outside its domain."""

    density: kspde.GaussianMixture
    half_width: float = 14.0
    strict: bool = True
    eps: float | None = 0.3
    t_end: float = 0.5
    mollifier: str = "gaussian"
    model: Any = None
    comm: Any = field(default_factory=lambda: MPI.COMM_WORLD)
    masses: dict[str, float] = field(default_factory=dict)
    diagnostics: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.model or Still(dimension=self.density.dimension)
        self.domain = kspde.Box(half_width=self.half_width, cells=8, dimension=self.density.dimension)
        self.masses = self.masses or dict.fromkeys(self.model.species, self.density.mass)
        self.species = self.model.species

    def on_grid(self, axes: Any, species: str | None = None, *, outside: float | None = None) -> np.ndarray:
        for axis in axes if self.strict else ():
            if np.any(np.abs(axis) > self.half_width * (1 + 1e-12)):
                raise ValueError("a point outside the domain was asked for")
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        inside = np.all(np.abs(points) <= self.half_width * (1 + 1e-12), axis=-1)
        return np.where(inside, self.density(points.reshape(-1, len(axes))).reshape(points.shape[:-1]), outside or 0.0)


class KnownCloud:
    """A cloud with given positions (in id order), spread over the ranks by turns."""

    def __init__(self, positions: np.ndarray, like: KnownDensity, **changes: Any) -> None:
        self.comm = like.comm
        self.ids = np.arange(self.comm.rank, len(positions), self.comm.size, dtype=np.uint64)
        self.positions = np.asarray(positions)[self.ids.astype(np.int64)]
        self.model, self.eps, self.t_end, self.masses = like.model, like.eps, like.t_end, dict(like.masses)
        self.n, self.mollifier, self.species = len(positions), like.mollifier, like.species
        for name, value in changes.items():
            setattr(self, name, value)

    def of(self, species: str) -> np.ndarray:
        return self.positions

    def ids_of(self, species: str) -> np.ndarray:
        return self.ids


def draws(density: kspde.GaussianMixture, n: int, seed: int) -> np.ndarray:
    """Return n points of a mixture, by numpy's own means."""
    rng = np.random.default_rng(seed)
    choice = rng.choice(len(density.weights), size=n, p=density.weights)
    return density.means[choice] + density.stds[choice, None] * rng.standard_normal((n, density.dimension))


def quantiles(n: int, *, std: float = 1.0, mean: float = 0.0) -> np.ndarray:
    """Return n points of a Gaussian on the line at its midpoint quantiles, shape (n, 1), in shuffled order."""
    from scipy.special import ndtri

    points = mean + std * ndtri((np.arange(n) + 0.5) / n)
    return np.random.default_rng(0).permutation(points)[:, None]
