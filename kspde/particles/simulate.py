"""Sample the N-particle system of a model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspde.compiled import use_threads
from kspde.errors import ConvergenceError, InputError, check_choice, check_integer, check_number
from kspde.initial import InitialDensity
from kspde.kernels import Kernel
from kspde.models import Model
from kspde.models.base import Array
from kspde.parallel import together, world
from kspde.particles.cloud import Cloud
from kspde.particles.direct import DirectFields
from kspde.particles.euler import euler_maruyama
from kspde.particles.fields import FieldEvaluator
from kspde.particles.mesh import MeshFields
from kspde.particles.observe import Observation, observe
from kspde.random import Ids, Philox

__all__ = ["simulate"]

#: Streams of a seed: where particles start, and what moves them.
_START, _NOISE = 0, 1
_EVALUATORS: dict[str, Callable[..., FieldEvaluator]] = {"mesh": MeshFields, "direct": DirectFields}


def simulate(
    model: Model,
    u0: InitialDensity | Mapping[str, InitialDensity],
    *,
    n: int | Mapping[str, int],
    t_end: float,
    dt: float,
    eps: float | None = None,
    mollifier: str | Callable[..., Kernel] = "gaussian",
    seed: int = 0,
    field_tol: float = 1e-6,
    method: str = "mesh",
    include_self: bool = True,
    progress: Callable[[float], None] | None = None,
    comm: Any = None,
) -> Cloud:
    r"""Simulate N particles from t = 0 to ``t_end`` by the Euler-Maruyama scheme.

    .. math:: dX_i = b\,dt + \sqrt{2 D}\,dB_i, \qquad c(X_i) = \sum_j \frac{\text{mass}}{N} K^\varepsilon(X_i - X_j),

    with D and b the model's diffusion coefficient and drift at the fields c of the empirical measure: Wang, Li and
    Huang's (1.3) for their model. The positions depend on the seed, but on the number of ranks only through round-off
    in the fields. Collective over ``comm``.

    Args:
        model: the model.
        u0: the density particles are drawn from; for several species one by name.
        n: number of particles; for several species by name, or the same for all.
        t_end: final time > 0.
        dt: time step > 0. Steps are equal and the last ends at ``t_end``: where ``t_end``/``dt`` is no integer the step
            is shortened to ``t_end``/⌈``t_end``/``dt``⌉ (``Cloud.dt``, and both in its summary).
        eps: ε of the mollified kernels K^ε = K * j^ε; None keeps K, which must then be bounded.
        mollifier: "gaussian", "matern", or a callable with a keyword ``eps``.
        seed: an integer >= 0.
        field_tol: error allowed in the fields at the particles, relative to the supremum of a field over space, and
            of its gradient. A mesh keeps it a priori for every position of the particles; with many particles the error
            is some hundred times smaller.
        method: "mesh" (spread, multiply, gather), or "direct", a sum over all pairs, to check it with.
        include_self: whether j = i is in the sum, as printed in (1.3).
        progress: called on every rank after every step with t/``t_end``.
        comm: the MPI communicator; all of MPI's ranks unless given.

    Returns:
        The particles at ``t_end``.

    Raises:
        InputError: a value that is not valid, a kernel that is singular at the origin, or a field that would need a
            grid larger than memory allows.
        ConvergenceError: a diffusion coefficient that is negative or not finite, a position that is not finite, or a
            cloud that has grown beyond what a grid can hold.
    """
    begin = time.perf_counter()
    comm = world() if comm is None else comm
    densities, counts = _per_species(model, u0, n)
    t_end = check_number("t_end", t_end, above=0)
    given_dt = check_number("dt", dt, above=0)
    check_number("field_tol", field_tol, at_least=1e-12, below=1)
    check_choice("method", method, _EVALUATORS)
    start, noise = Philox(seed, _START), Philox(seed, _NOISE)
    # A ratio that is an integer up to rounding is that integer.
    steps = max(1, math.ceil(t_end / given_dt * (1 - 1e-12) - 1e-9))
    if steps >= 1 << 32:
        raise InputError(f"dt = {given_dt:g} makes {steps:.3g} steps to t_end = {t_end:g}: give a larger dt")
    dt = t_end / steps
    use_threads(comm)

    evaluator = _EVALUATORS[method](
        model.regularised_fields(eps, mollifier),
        dimension=model.dimension,
        weights={name: densities[name].mass / counts[name] for name in model.species},
        tol=field_tol,
        include_self=include_self,
        comm=comm,
    )
    ids = _local_ids(model.species, counts, comm)
    positions: dict[str, Array] = {}
    with together(comm):
        for name in model.species:
            positions[name] = np.ascontiguousarray(densities[name].sample(start, ids[name]), dtype=np.float64)
    seen = observe(positions, ids, counts, comm)
    if seen.not_finite is not None:
        raise InputError(
            f"u0 of species {seen.not_finite[0]!r} gave particle {seen.not_finite[1]} a position that is not finite"
        )
    evaluator.update(positions, seen.extent)
    history = [seen]
    ready = time.perf_counter()

    for step in range(steps):
        where = f"step {step}, t = {step * dt:.6g}, dt = {dt:.6g}"
        if step:
            try:
                evaluator.update(positions, seen.extent)
            except InputError as error:
                raise ConvergenceError(f"{where}: {error}") from None
        with together(comm):
            try:
                for name in model.species:
                    x = positions[name]
                    euler_maruyama(model, name, evaluator.at(name, x), x, ids[name], step=step, dt=dt, noise=noise)
            except ConvergenceError as error:
                raise ConvergenceError(f"{where}: {error}") from None
        seen = observe(positions, ids, counts, comm)
        if seen.not_finite is not None:
            name, lost = seen.not_finite
            raise ConvergenceError(
                f"{where}: particle {lost} of species {name!r} moved to a position that is not finite: check the "
                f"model's drift, or give a smaller dt"
            )
        history.append(seen)
        if progress is not None:
            progress((step + 1) / steps)

    end = time.perf_counter()
    return Cloud(
        model=model,
        eps=None if eps is None else float(eps),
        mollifier=mollifier if isinstance(mollifier, str) else repr(mollifier),
        t_end=t_end,
        dt=dt,
        seed=int(seed),
        comm=comm,
        counts=counts,
        masses={name: densities[name].mass for name in model.species},
        diagnostics=_diagnostics(history, model.species, dt),
        timings={"setup": ready - begin, "loop": end - ready},
        _positions=positions,
        _ids=ids,
        _details={
            "scheme": "euler-maruyama",
            "steps": steps,
            "dt_given": given_dt,
            "method": method,
            "field_tol": field_tol,
            "include_self": include_self,
            **evaluator.summary(),
        },
    )


def _per_species(model: Any, u0: Any, n: Any) -> tuple[dict[str, InitialDensity], dict[str, int]]:
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}: give a kspde model, such as SignalDependentKellerSegel")
    names = model.species
    if not isinstance(u0, Mapping):
        if len(names) > 1:
            raise InputError(f"u0 is one density for several species: give a mapping with keys {', '.join(names)}")
        u0 = {names[0]: u0}
    if not isinstance(n, Mapping):
        n = dict.fromkeys(names, n)
    for what, mapping in (("u0", u0), ("n", n)):
        if set(mapping) != set(names):
            found = ", ".join(str(key) for key in mapping) or "none"
            raise InputError(f"{what} has species {found}: the model's are {', '.join(names)}")
    for name in names:
        if not isinstance(u0[name], InitialDensity):
            raise InputError(f"u0 is a {type(u0[name]).__name__}: give an initial density, such as GaussianMixture")
        if u0[name].dimension != model.dimension:
            raise InputError(f"u0 has dimension {u0[name].dimension}: the model has dimension {model.dimension}")
    return {name: u0[name] for name in names}, {name: check_integer("n", n[name], at_least=1) for name in names}


def _local_ids(species: tuple[str, ...], counts: Mapping[str, int], comm: Any) -> dict[str, Ids]:
    """Split the ids into contiguous ranges, one a rank; those of one species follow those of another."""
    out: dict[str, Ids] = {}
    offset = 0
    for name in species:
        first, last = (counts[name] * r // comm.size for r in (comm.rank, comm.rank + 1))
        out[name] = np.arange(offset + first, offset + last, dtype=np.uint64)
        offset += counts[name]
    return out


def _diagnostics(history: list[Observation], species: tuple[str, ...], dt: float) -> dict[str, Array]:
    second = np.array([[seen.second_moment[name] for name in species] for seen in history])
    mean = np.array([[seen.mean[name] for name in species] for seen in history])
    one = len(species) == 1
    return {
        "t": dt * np.arange(len(history)),
        "second_moment": second[:, 0] if one else second,
        "mean": mean[:, 0] if one else mean,
    }
