"""The weak orders of reflecting schemes, against the backward equation by Chebyshev collocation.

Run: ``python -m tests.benchmarks.walls [--n 4000000] [--out FILE]``; ten minutes. Particles in [−1, 1] with walls,
from N(.5, .1²), to t = .5. *Given*: b = −1.5, D = .4 + .1 x, which know nothing of the walls. *Field*: b = 1.5 ∂c/∂x,
D = .3 + .4 c in the field c of one particle at rest at .3, a mollified Yukawa potential with its mirror images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import expm

import kspde
from kspde.kernels import GaussianMollifier
from kspde.models import Field, FieldValues, Model
from kspde.typing import Array

T, AT = 0.5, 0.3
START = kspde.GaussianMixture(weights=[1.0], means=[[0.5]], stds=[0.1])
REST = kspde.GaussianMixture(weights=[1.0], means=[[AT]], stds=[1e-9])
KERNEL = kspde.Yukawa(strength=2.0, screening=1.5) * GaussianMollifier(eps=0.3)


@dataclass(frozen=True, kw_only=True)
class Given(Model):
    """A drift and a diffusion that are functions of the position."""

    dimension: int = 1
    species = ("u",)
    fields: tuple[Field, ...] = ()

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return D."""
        return 0.4 + 0.1 * c.points[:, 0]

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return b."""
        return np.full(c.points.shape, -1.5)


@dataclass(frozen=True, kw_only=True)
class Followers(Model):
    """Particles u that follow the field of particles s, which are at rest."""

    dimension: int = 1
    species = ("s", "u")
    fields: tuple[Field, ...] = (Field(name="c", kernel=KERNEL, source="s", gradient=True),)

    def diffusion(self, species: str, c: FieldValues) -> Array:
        """Return D."""
        return 0.0 * c["c"] if species == "s" else 0.3 + 0.4 * c["c"]

    def drift(self, species: str, c: FieldValues) -> Array:
        """Return b."""
        return (0.0 if species == "s" else 1.5) * c.gradient("c")


def field(x: Array) -> tuple[Array, Array]:
    """Return c and its derivative by a cosine series."""
    k = 0.5 * np.pi * np.arange(60)
    modes = KERNEL.symbol(k**2) * np.cos(k * (AT + 1)) * np.where(k == 0, 0.5, 1.0)
    return np.cos(np.outer(x + 1, k)) @ modes, -np.sin(np.outer(x + 1, k)) @ (k * modes)


def exact(model: Model, of: tuple[object, ...]) -> list[float]:
    """Return E f(X_T) for functions f: v_t = D v_xx + b v_x with v_x = 0 on the walls."""
    n = 96
    x = np.cos(np.pi * np.arange(n + 1) / n)
    scale = np.where((np.arange(n + 1) == 0) | (np.arange(n + 1) == n), 2.0, 1.0) * (-1.0) ** np.arange(n + 1)
    gap = x[:, None] - x + np.eye(n + 1)
    first = np.outer(scale, 1 / scale) / gap
    first -= np.diag(first.sum(axis=1))
    c, slope = field(x)
    d, b = (0.4 + 0.1 * x, -1.5 + 0 * x) if isinstance(model, Given) else (0.3 + 0.4 * c, 1.5 * slope)
    # Values at the walls follow from v_x = 0 there.
    ends, inner = [0, n], np.arange(1, n)
    from_inner = -np.linalg.solve(first[np.ix_(ends, ends)], first[np.ix_(ends, inner)])
    whole = np.zeros((n + 1, n - 1))
    whole[inner], whole[ends] = np.eye(n - 1), from_inner
    generator = (np.diag(d) @ first @ first + np.diag(b) @ first) @ whole
    z = np.linspace(-1, 1, 4001)
    weights = np.exp(-0.5 * ((z - 0.5) / 0.1) ** 2)
    coefficients = np.linalg.inv(np.polynomial.chebyshev.chebvander(x, n))
    at = np.polynomial.chebyshev.chebvander(z, n) @ coefficients @ whole @ expm(T * generator[inner])
    return [float(weights @ (at @ f(x[inner])) / weights.sum()) for f in of]  # type: ignore[operator]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4_000_000)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    functions = (lambda x: np.cos(0.5 * np.pi * (x + 1)), lambda x: np.cos(np.pi * (x + 1)))
    lines = [
        "| coefficients | scheme | dt | error of E cos(π(x+1)/2) | error of E cos(π(x+1)) | standard error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    box = kspde.Box(half_width=1.0, cells=4, dimension=1, boundary="neumann")
    for model in (Given(), Followers()):
        right = exact(model, functions)
        several = "s" in model.species
        for scheme in ("euler-maruyama", "weak-2"):
            for dt in (0.25, 0.125, 0.0625):
                n = {"s": 1, "u": options.n} if several else options.n
                means = []
                for replica in range(options.replicas):
                    cloud = kspde.simulate(
                        model,
                        {"s": REST, "u": START} if several else START,
                        n=n,
                        t_end=T,
                        dt=dt,
                        scheme=scheme,
                        domain=box,
                        replica=replica,
                        field_tol=1e-8,
                    )
                    means.append([float(f(cloud.of("u")[:, 0]).mean()) for f in functions])
                error = np.mean(means, axis=0) - right
                name = "field" if several else "given"
                noise = 0.7 / np.sqrt(options.n * options.replicas)
                lines.append(f"| {name} | {scheme} | {dt} | {error[0]:.5f} | {error[1]:.5f} | {noise:.5f} |")
                print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("# Walls\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
