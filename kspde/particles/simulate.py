"""Sample the N-particle system of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kspde.domains import Domain
from kspde.errors import ON_BLOW_UP, InputError, check_callable, check_choice, check_integer
from kspde.initial import InitialDensity
from kspde.kernels import Kernel
from kspde.models import Model
from kspde.papers.theory.hypotheses import warn_outside_hypotheses
from kspde.particles.cloud import Cloud
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.base import MEMORY_LIMIT
from kspde.particles.mean_field import check_mean_field
from kspde.particles.region import region_of
from kspde.particles.resampling import Resampling, resampling_of
from kspde.particles.schemes import Scheme, scheme_of
from kspde.particles.simulation import Simulation
from kspde.particles.start import Seed, given_positions
from kspde.particles.statistics import check_statistics
from kspde.particles.weights import GivenWeights
from kspde.problem import Problem
from kspde.protocols import SolvedDensity
from kspde.runtime.checkpoint import Checkpoint
from kspde.runtime.compiled import use_threads
from kspde.runtime.following import Callback, Followers
from kspde.runtime.limits import check_steps, check_work
from kspde.runtime.messages import keeping_warnings
from kspde.runtime.parallel import collective, communicator
from kspde.runtime.saving import SaveAt
from kspde.typing import Comm

__all__ = ["simulate"]


@keeping_warnings
@collective(own=("progress", "callback"))
def simulate(
    model: Model,
    u0: InitialDensity | Mapping[str, InitialDensity],
    *,
    n: int | Mapping[str, int],
    t_end: float,
    dt: float | None = None,
    positions: Any = None,
    weights: GivenWeights | Mapping[str, GivenWeights] | None = None,
    eps: float | None = None,
    mollifier: str | Callable[..., Kernel] | Kernel = "gaussian",
    initial: Literal["u0", "mollified"] = "u0",
    scheme: Literal["euler-maruyama", "weak-2"] | Scheme = "euler-maruyama",
    resampling: Literal["systematic"] | Resampling | None = None,
    mean_field: SolvedDensity | None = None,
    mean_field_differs: Sequence[Literal["eps", "initial"]] = (),
    domain: Domain | None = None,
    seed: int = 0,
    replica: int = 0,
    field_tol: float = 1e-6,
    method: str = "mesh",
    memory_limit: float = MEMORY_LIMIT,
    include_self: bool | None = None,
    save: SaveAt | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    on_blow_up: Literal["warn", "stop", "ignore"] = "warn",
    progress: Callable[[float], None] | None = None,
    callback: Callback | Sequence[Callback] | None = None,
    comm: Comm | None = None,
) -> Cloud:
    r"""Simulate N particles from t = 0 to ``t_end``.

    .. math:: dX_i = b\,dt + \sqrt{2 D}\,dB_i, \qquad c(X_i) = \sum_j w_j K^\varepsilon(X_i - X_j),

    with D and b the model's diffusion coefficient and drift at the fields c of the empirical measure, w_j = mass/N
    unless ``weights`` are given: Wang, Li and Huang's (1.3) for their model. Where the model has growth r, weights
    change, dw_j = r w_j dt. With a mean field, their (1.8) beside it,
    from the same starting points and with the same Brownian motions. The positions depend on the seed, but on the
    number of ranks only through round-off in the fields. Collective over ``comm``.

    Args:
        model: the model.
        u0: the density that particles are drawn from; for several species one by name.
        n: the number of particles; for several species by name, or the same for all.
        t_end: the final time > 0.
        dt: time step > 0. It belongs to a ``scheme`` given by name. Steps are equal and the last one ends at ``t_end``:
            where ``t_end``/``dt`` is not an integer, the step is shortened to ``t_end``/⌈``t_end``/``dt``⌉
            (``Cloud.dt``; its summary has both), and likewise between saved times.
        positions: where the particles start, in place of draws from ``u0``, which then says their mass and what they
            are compared with: an array of shape (n, d), the same on every rank, the path of a .csv file whose first row
            has x, y, z, of a .npy file or of one that ``Cloud.write`` has made, or a cloud; for several species by
            name. Give another ``seed`` than that of the run which has moved them there: its noise would come again,
            which is refused where the file or the cloud says the seed. Weights of their own are given again. With
            ``initial="mollified"`` each is moved by a draw of the mollifier.
        weights: the weights w_j of the particles, finite numbers of either sign, where they are not all mass/``n``: an
            array of shape (n,), the same on every rank, or a function of the starting points that returns shape (m,)
            for points (m, d), such as the sign of a vorticity at particles drawn from its modulus; for several species
            by name, and those that are left out keep mass/``n``. The 1/N of a sum (1/N) Σ M_j K is not added: give
            M/``n``. ``Cloud.masses`` is then Σ w_j, moments and histograms are those of the measure Σ w_j δ_{X_j},
            which ``compare`` compares.
        eps: ε of the mollified kernels K^ε = K * j^ε; None keeps K.
        mollifier: the mollifier: "gaussian", "matern", "bump", "compact-bump" (power 4), "two-bumps", a callable with a
            keyword ``eps``, or a kernel with its own ε.
        initial: where particles start: "u0", or "mollified", from u_0 * j^ε, which is ζ_i plus an independent draw from
            the mollifier. The paper's (1.8) and (3.2) start from u_0, its (1.9) from u_0 * j^ε; the relative entropy of
            the particles' law to the density's is 0 at t = 0 only where both start alike, so give ``solve`` the
            same.
        scheme: the scheme in time: "euler-maruyama" (weak order 1, strong order 1/2, one field evaluation per step),
            "weak-2" (weak order 2, strong order 1/2, three evaluations), "pair-rotation" (models whose pairs of
            particles rotate, such as ``LandauMaxwell``: energy and momentum to round-off), or an object,
            ``kspde.EulerMaruyama(dt=...)``, ``kspde.Weak2(dt=...)`` or ``kspde.PairRotation(dt=...)``, which has its
            own dt; their attribute ``source`` says where they come from.
        resampling: how weights that growth has made different become equal again: None for not at all, "systematic"
            (:mod:`kspde.particles.resampling`), or an object, ``kspde.SystematicResampling(effective_share=0.5)``.
        mean_field: the density that ``solve`` returned for this problem, up to ``t_end`` at least, saved often enough
            to be interpolated in time. Its fields are interpolated in space to ``field_tol`` where it is smooth enough;
            the errors in space, and in time between snapshots, are measured (``Coupling.field_error``).
        mean_field_differs: what is meant to differ: "eps" where the mean field has another ε or mollifier than the
            particles, such as that of the local equation; "initial" where it starts from another density.
        domain: where the particles live: the whole space (None, or a domain with ``boundary="decay"``), a closed box
            (``Box(boundary="neumann")``), at whose walls they are reflected, or a torus (``"periodic"``), in which
            positions are wrapped (:mod:`kspde.particles.region`): there fields are those of the box's own Green
            function, and need a mollifier or a bounded kernel; a particle feels its own mirror images, whatever
            ``include_self``. Other domains with walls are refused.
        seed: the seed of all random numbers, an integer >= 0.
        replica: the number of the run among those with one seed, an integer >= 0: different replicas have independent
            starting points and noise, for averages over runs.
        field_tol: the error allowed in the fields at the particles, relative to the supremum over space of a field, and
            of its gradient; where weights have both signs, of the field of their absolute values. A mesh keeps it a
            priori for all positions of the particles; with many particles the error is some hundred times smaller.
        method: how fields are computed: "mesh" (spread, multiply, gather); "finufft", non-uniform Fourier transforms,
            which needs that library: three to twenty times slower at the tolerances of a simulation, but with a
            Gaussian mollifier its modes grow only as √log(1/``field_tol``) in each direction, so that it is faster, and
            takes far less memory, below about 1e-10 in two dimensions and 1e-8 in three; "direct", a sum over all
            pairs. Each checks the others.
        memory_limit: the bytes that the mesh, or the modes, of a rank may take. Kernels that need a finer mesh (a small
            ε, a slow symbol) are split into what a mesh carries and a sum over neighbours, or refused with the numbers.
        include_self: whether j = i is in the sum, as printed in (1.3); None: unless a kernel is singular. Singular
            kernels, which need no ``eps``, are summed over j ≠ i, and pairs at the same place add nothing. Pairs too
            close for the time step move by bounded, opposite displacements
            (:mod:`kspde.particles.fields.close_pairs` states the bias; that of "weak-2" is estimated, as a share of the
            interaction, by ``Cloud.summary()["left_out"]``).
        save: times that steps end at, statistics to record there ("moments", "minimal_distance", "histogram",
            "field_fluctuations", or objects of :mod:`kspde.particles.statistics` with their arguments), and a function
            that is called with the snapshot, a cloud whose arrays are the run's own: copy what is kept.
        checkpoint: where and how often checkpoints are written; SIGTERM or SIGHUP then writes one and stops the run.
        resume: whether to resume from the newest checkpoint of this same run, where there is one. The result is that of
            an uninterrupted run: bitwise on as many ranks and threads, to round-off on others.
        on_blow_up: what to do about particles that collapse into a cluster whose size is that of ε, or, where a kernel
            is singular, into one that sticks (``kspde.particles.collapse``): "warn", "stop" the run with a
            ``BlowUpError``, or "ignore". Unlike for ``solve`` the default is "warn": the particles still follow their
            own system.
        progress: a function called on every rank after every step with t/``t_end``.
        callback: a function, or several, called on every rank after every step with the ``State`` of the run: time,
            step, newest diagnostics, and the cloud, as for ``solve``. A run in which one returns True, or raises
            ``kspde.Stop("why")``, ends there: ``Cloud.stopped`` says why and when.
            ``kspde.Event("second_moment", 4.0)`` ends it after the step in which a diagnostic, or a function of the
            state, passes a value.
        comm: the MPI communicator; all of MPI's ranks unless given.

    Returns:
        The particles at ``t_end``. With a mean field ``Cloud.mean_field`` has the mean-field particles; ``positions``
        are those of the interacting ones.

    Raises:
        InputError: a value that is not valid, or not the same on every rank, a kernel that is singular at the origin
            in a box, with τ > 0, a mean field or j = i, or a field that would need a grid larger than memory allows.
        ConvergenceError: a diffusion coefficient that is negative or not finite, a position that is not finite, or a
            cloud that has grown beyond what a grid, or the mean field's domain, can hold.
        StoppedError: SIGTERM or SIGHUP came, and a checkpoint was written.
    """
    begin = time.perf_counter()
    comm = communicator(comm)
    problem = Problem.of(model, u0, t_end=t_end, eps=eps, mollifier=mollifier, initial=initial)
    region, counts = region_of(domain, problem), _counts(problem.model.species, n)
    if getattr(positions, "variations", None) and weights is None:
        raise InputError("the particles of positions have weights of their own: give weights")
    simulation = Simulation(
        problem=problem,
        mollifier=str(mollifier),
        counts=counts,
        positions=None
        if positions is None
        else given_positions(positions, counts, problem.model.dimension, Seed(seed, replica)),
        given_weights=weights,
        scheme=scheme_of(scheme, dt),
        domain=domain,
        region=region,
        seed=Seed(seed, replica),
        fields=FieldOptions(field_tol=field_tol, method=method, memory_limit=memory_limit, include_self=include_self),
        resampling=resampling_of(resampling, growing=problem.model.has_growth, coupled=mean_field is not None),
        mean_field=mean_field,
        mean_field_differs=mean_field_differs,
        save=check_statistics(save, problem.fields, mean_field=mean_field is not None),
        on_blow_up=check_choice("on_blow_up", on_blow_up, ON_BLOW_UP),
        checkpoint=Checkpoint.checked(checkpoint, resume),
        progress=progress,
        followers=Followers(callback),
        comm=comm,
    )
    if checkpoint is not None and checkpoint.at_end:
        raise InputError("at_end = True is for kspde.solve: leave it out, cloud.extend continues a run of particles")
    check_callable("progress", progress, "one argument, t/t_end")
    check_mean_field(mean_field, problem, mean_field_differs, domain)
    simulation.scheme.check_region(region)
    simulation.scheme.check(
        problem.model,
        weighted=weights is not None or any(u.signed for u in problem.u0.values()),
        mean_field=mean_field is not None,
    )
    check_work(sum(simulation.counts.values()), steps=check_steps(problem.t_end, simulation.scheme.dt))
    use_threads(comm)
    warn_outside_hypotheses(problem.model, problem.u0, problem.eps, comm)

    return simulation.carried_out(begin, resume=resume)


def _counts(species: tuple[str, ...], n: Any) -> dict[str, int]:
    if not isinstance(n, Mapping):
        n = dict.fromkeys(species, n)
    if set(n) != set(species):
        raise InputError(f"n has species {', '.join(map(str, n)) or 'none'}: give {', '.join(species)}")
    return {name: check_integer("n", n[name], at_least=1) for name in species}
