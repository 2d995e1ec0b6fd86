"""A periodic box: fields against Fourier modes, and a density that crosses its ends, by every scheme."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from mpi4py import MPI
from numpy.testing import assert_allclose

import kspde
from kspde.fem.spaces import build_space
from kspde.models.base import Field, FieldValues, Model

L = 1.3


def torus(d: int, **options) -> kspde.Box:
    given = {"half_width": L, "cells": 12, "degree": 6, "grading": 0.0} | options
    return kspde.Box(dimension=d, boundary="periodic", **given)


@pytest.mark.parametrize(("d", "cells", "grading"), [(1, 8, 1.5), (2, 6, 0.7), (3, 3, 0.0)])
def test_fields_are_fourier_modes(d: int, cells: int, grading: float) -> None:
    """On tori of different periods, off the origin."""
    half, centre = L * np.array([1.0, 1.2, 0.8])[:d], (7.0, -3.0, 2.0)[:d]
    box = torus(d, cells=cells, degree=8, grading=grading, half_width=tuple(half), centre=centre)
    space = build_space(box, d, MPI.COMM_WORLD)
    k = np.pi / half * np.array([1.0, -2.0, 1.0])[:d]
    phase = space.points @ k + 0.3
    u = 1.5 + np.cos(phase).reshape(space.mass.shape)
    operator = space.field_operator(kspde.Yukawa(strength=2.0, screening=0.7), "c")
    c, gradient = operator.apply(operator.prepare(u, None), True)
    factor = 2.0 / (k @ k + 0.49)
    assert_allclose(c, 3.0 / 0.49 + factor * np.cos(phase), rtol=0, atol=2e-5 * factor)
    assert_allclose(gradient, -factor * np.sin(phase)[:, None] * k, rtol=0, atol=2e-4 * factor * np.abs(k).max())
    assert_allclose(space.integral(np.ones(space.mass.shape)), np.prod(2 * half), rtol=1e-13)
    away = np.linspace(-4.0, 4.0, 7)[:, None] * np.arange(1, d + 1)  # outside of the box, where the function repeats
    assert_allclose(space.evaluate(u, away), 1.5 + np.cos(away @ k + 0.3), rtol=0, atol=2e-5)


def test_both_ends_are_one_node_in_every_numbering() -> None:
    space = build_space(torus(2, cells=3, degree=1, centre=(5.0, 0.3)), 2, MPI.COMM_WORLD)
    u = np.cos(np.pi / L * space.points @ (1.0, 0.0)).reshape(space.mass.shape)
    owned = space.to_dolfinx(u)
    x = space.V.tabulate_dof_coordinates()[: len(owned)]
    assert_allclose(owned, np.cos(np.pi / L * x[:, 0]), rtol=0, atol=1e-14)
    assert_allclose(space.from_dolfinx(owned), u, rtol=0, atol=0)
    stiffness = space.stiffness_matrix()
    assert_allclose(space.mass.ravel() * space.laplacian().apply(space.laplacian().eigenvalues, u).ravel(),
                    stiffness.times(u.ravel()), rtol=0, atol=1e-13)  # fmt: skip
    stiffness.free()


@dataclass(frozen=True, kw_only=True)
class Carried(Model):
    """u moves with a constant velocity and diffuses."""

    species = ("u",)
    fields: tuple[Field, ...] = ()

    def diffusion(self, species: str, c: FieldValues) -> float:
        return 0.05

    def drift(self, species: str, c: FieldValues) -> np.ndarray:
        return np.broadcast_to((1.0, -0.6), c.points.shape)


U0 = kspde.GaussianMixture(weights=(1.0,), means=((0.5, -0.4),), stds=(0.15,), mass=3.0)
T, AXES = 0.5, [np.linspace(-L, L, 40)] * 2


@pytest.mark.parametrize("scheme", [kspde.Adaptive(tol=1e-7), kspde.Rosenbrock(tol=1e-5)], ids=lambda s: s.name)
def test_a_density_crosses_the_ends(scheme) -> None:
    """The wrapped Gaussian of mass 3, a seventh of which has crossed an end."""
    pde = kspde.solve(Carried(), U0, domain=torus(2, cells=10), t_end=T, scheme=scheme)
    variance = 0.15**2 + 2 * 0.05 * T
    grid = np.stack(np.meshgrid(*AXES, indexing="ij"), axis=-1)
    exact = 0.0
    for shift in product((-2 * L, 0.0, 2 * L), repeat=2):
        square = np.sum((grid - (0.5, -0.4) - T * np.array([1.0, -0.6]) - shift) ** 2, axis=-1)
        exact += 3.0 / (2 * np.pi * variance) * np.exp(-0.5 * square / variance)
    assert_allclose(pde.on_grid(AXES), exact, rtol=0, atol=2e-4 * exact.max())
    assert_allclose(pde.diagnostics["mass"][-1], 3.0, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:the")
@pytest.mark.parametrize(("scheme", "error"), [(kspde.Positive2(dt=0.05), 1e-4), (kspde.Positive(dt=0.01), 1e-6)])
def test_positive_schemes_do_not_see_the_ends(scheme, error: float) -> None:
    """A box three times as wide with the same cells, wrapped, has the same solution, up to the limiter of order 2."""
    pde = kspde.solve(Carried(), U0, domain=torus(2, cells=24, degree=1), t_end=T, scheme=scheme)
    wide = kspde.Box(half_width=3 * L, cells=72, degree=1, grading=0.0)
    there = kspde.solve(Carried(), U0, domain=wide, t_end=T, scheme=scheme)
    wrapped = sum(
        there.on_grid([axis + s for axis, s in zip(AXES, shift, strict=True)], outside=0.0)
        for shift in product((-2 * L, 0.0, 2 * L), repeat=2)
    )
    assert_allclose(pde.on_grid(AXES), wrapped, rtol=0, atol=error * wrapped.max())
    assert_allclose(pde.diagnostics["mass"][-1], 3.0, rtol=1e-12)
