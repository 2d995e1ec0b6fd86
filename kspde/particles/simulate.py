"""Sample the N-particle system of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspde.compiled import use_threads
from kspde.errors import InputError, check_choice, check_integer, check_number
from kspde.initial import InitialDensity, densities_by_species
from kspde.kernels import Kernel
from kspde.models import Model
from kspde.models.base import Array
from kspde.parallel import together, world
from kspde.particles.cloud import Cloud
from kspde.particles.direct import DirectFields
from kspde.particles.fields import FieldEvaluator
from kspde.particles.mesh import MeshFields
from kspde.particles.run import Moments, Observer, Progress, Run, schedule
from kspde.particles.schemes import SCHEMES
from kspde.particles.system import System, local_ids
from kspde.random import Philox

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
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}: give a kspde model, such as SignalDependentKellerSegel")
    densities = densities_by_species(model.species, model.dimension, u0)
    counts = _counts(model.species, n)
    t_end = check_number("t_end", t_end, above=0)
    given_dt = check_number("dt", dt, above=0)
    check_number("field_tol", field_tol, at_least=1e-12, below=1)
    check_choice("method", method, _EVALUATORS)
    start, noise = Philox(seed, _START), Philox(seed, _NOISE)
    times = schedule(t_end, given_dt, (t_end,))
    use_threads(comm)

    evaluator = _EVALUATORS[method](
        model.regularised_fields(eps, mollifier),
        dimension=model.dimension,
        weights={name: densities[name].mass / counts[name] for name in model.species},
        tol=field_tol,
        include_self=include_self,
        comm=comm,
    )
    ids = local_ids(model.species, counts, comm)
    positions: dict[str, Array] = {}
    with together(comm):
        for name in model.species:
            positions[name] = np.ascontiguousarray(densities[name].sample(start, ids[name]), dtype=np.float64)
    system = System(
        model=model, evaluator=evaluator, positions=positions, ids=ids, counts=counts, noise=noise, comm=comm
    )
    moments = Moments("moments", "particles", model.species, model.dimension, len(times) - 1)
    observers: list[Observer] = [moments]
    if progress is not None:
        observers.append(Progress(progress))
    run = Run({"particles": system}, scheme=SCHEMES["euler-maruyama"], times=times, observers=observers)
    run.start()
    ready = time.perf_counter()
    run.finish()
    end = time.perf_counter()
    return Cloud(
        model=model,
        eps=None if eps is None else float(eps),
        mollifier=mollifier if isinstance(mollifier, str) else repr(mollifier),
        t_end=t_end,
        dt=float(np.diff(times).max()),
        seed=int(seed),
        comm=comm,
        counts=counts,
        masses={name: densities[name].mass for name in model.species},
        diagnostics={"t": times, **moments.diagnostics()},
        timings={"setup": ready - begin, "loop": end - ready},
        _positions=positions,
        _ids=ids,
        _details={
            "scheme": run.scheme.name,
            "steps": len(times) - 1,
            "dt_given": given_dt,
            "method": method,
            "field_tol": field_tol,
            "include_self": include_self,
            **evaluator.summary(),
        },
    )


def _counts(species: tuple[str, ...], n: Any) -> dict[str, int]:
    if not isinstance(n, Mapping):
        n = dict.fromkeys(species, n)
    if set(n) != set(species):
        raise InputError(f"n has species {', '.join(map(str, n)) or 'none'}: give {', '.join(species)}")
    return {name: check_integer("n", n[name], at_least=1) for name in species}
