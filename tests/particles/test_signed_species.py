"""Charges of both signs: a species of each sign, whose fields are subtracted, or have kernels of either sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from reference_kernels import sums

import kspde
from kspde.models.base import Field, FieldValues, Model
from kspde.runtime.random import Philox

CHARGE = {"plus": 2.0, "minus": 0.5}


@dataclass(frozen=True, kw_only=True)
class Charges(Model):
    """dX = −q ∇φ dt + √(2 (1 + φ²)) dB with φ = K * (u₊ − u₋) and q = ±1: like charges repel, others attract."""

    dimension: int = 2
    species: tuple[str, ...] = ("plus", "minus")
    one_kernel: bool = True

    @property
    def fields(self) -> tuple[Field, ...]:
        signs = {"plus": 1.0, "minus": 1.0 if self.one_kernel else -1.0}
        return tuple(
            Field(name=f"from {s}", kernel=kspde.Yukawa(strength=8.0 * signs[s]), source=s, gradient=True)
            for s in self.species
        )

    def diffusion(self, species, c: FieldValues):
        sign = -1.0 if self.one_kernel else 1.0
        return 1 + (c["from plus"] + sign * c["from minus"]) ** 2

    def drift(self, species, c: FieldValues):
        sign = -1.0 if self.one_kernel else 1.0
        slope = c.gradient("from plus") + sign * c.gradient("from minus")
        return -slope if species == "plus" else slope


@pytest.mark.parametrize("method", ["mesh", "direct"])
@pytest.mark.parametrize("one_kernel", [True, False])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_charges_of_both_signs_follow_their_direct_sum(dimension, one_kernel, method):
    n, dt, eps = {"plus": 40, "minus": 25}, 0.05, 0.6
    u0 = {
        name: kspde.GaussianMixture(weights=[1.0], means=[[mean] * dimension], stds=[0.7], mass=CHARGE[name])
        for name, mean in (("plus", 0.3), ("minus", -0.4))
    }
    tol = 1e-5 if dimension < 3 else 1e-4
    cloud = kspde.simulate(
        Charges(dimension=dimension, one_kernel=one_kernel),
        u0,
        n=n,
        t_end=2 * dt,
        dt=dt,
        eps=eps,
        seed=6,
        field_tol=tol,
        method=method,
    )
    ids = {"plus": np.arange(40, dtype=np.uint64), "minus": np.arange(40, 65, dtype=np.uint64)}
    x = {name: u0[name].sample(Philox(6, 0), ids[name]) for name in ids}
    for step in range(2):
        potential = {}
        for name in x:
            parts = [sums(dimension, "gaussian", eps, x[name], x[s], CHARGE[s] / n[s]) for s in ("plus", "minus")]
            potential[name] = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
        for name, sign in (("plus", 1.0), ("minus", -1.0)):
            value, slope = potential[name]
            noise = Philox(6, 1).normals(ids[name], step, dimension)
            x[name] = x[name] - sign * dt * slope + np.sqrt(2 * (1 + value**2) * dt)[:, None] * noise
    for name in x:
        found = cloud.comm.bcast(cloud.gathered(name))
        np.testing.assert_allclose(found, x[name], atol=20 * tol)
