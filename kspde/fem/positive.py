r"""The positive scheme: first order in time, degree 1, u ≥ 0 and exact mass for every step.

With w = D u the equation ∂_t u = Δ(D u) − ∇·(b u) has the flux −∇w + (b/D) w. On the graph of the stiffness matrix K,
exponential fitting (Scharfetter and Gummel, 1969) gives the flux from node i to node j

.. math:: F_{ij} = -K_{ij}\,\big(B(-p_{ij})\, w_i - B(p_{ij})\, w_j\big), \qquad
    p_{ij} = \frac{b_i + b_j}{D_i + D_j}\cdot(x_j - x_i), \qquad B(p) = \frac{p}{e^p - 1},

and, with D and b at the old time, one linear system a step for each species:

.. math:: \Big(\tfrac1{\Delta t} M D^{-1} + A\Big) w^{n+1} = \tfrac1{\Delta t} M u^n, \qquad (A w)_i = \sum_j F_{ij},
    \qquad u^{n+1} = D^{-1} w^{n+1}.

Positivity, for every Δt, D > 0, b and u^n ≥ 0: where K has no positive entry off the diagonal (at degree 1 on a tensor
grid with the vertex rule it is the 3-, 5- or 7-point stencil), A has none either, because B > 0; its columns sum to
zero, because F_ij = −F_ji. So the matrix is strictly diagonally dominant by columns with positive diagonal: an
M-matrix, its inverse is non-negative. Mass: summing the equations leaves Σ M u^{n+1} = Σ M u^n. Without drift B(0) = 1,
A = K and the matrix is symmetric. What the iterative solution leaves of both statements, about ``RESIDUAL``, is
repaired: negative values of that size are set to zero and the mass is scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem

from kspde.errors import ConvergenceError, InputError
from kspde.fem.backend import apply_options
from kspde.fem.operators import SemiDiscrete
from kspde.fem.restart import Position, Restart
from kspde.fem.space import Space
from kspde.fem.state import Observer

__all__ = ["RESIDUAL", "solve_positive"]

Array = npt.NDArray[np.float64]

#: Relative residual, in the unpreconditioned norm, to which the linear systems are solved.
RESIDUAL = 1e-13


class _Diffusion:
    """The linear systems of one species: matrix, solver, preconditioner."""

    def __init__(self, system: SemiDiscrete, stiffness: Any, drift: bool, options: dict[str, Any]) -> None:
        from petsc4py import PETSc

        space = system.space
        self.system = system
        self.space = space
        self.drift = drift
        columns = stiffness.index_map(1)
        self.owned = columns.size_local
        rows = stiffness.indptr[: self.owned + 1]
        self.columns = stiffness.indices[: rows[-1]]
        self.rows = np.repeat(np.arange(self.owned), np.diff(rows))
        self.entries = np.array(stiffness.data[: rows[-1]])
        self.on_diagonal = self.columns == self.rows
        everywhere = np.concatenate([np.arange(*columns.local_range), columns.ghosts])
        self.csr = (rows.astype(PETSc.IntType), everywhere[self.columns].astype(PETSc.IntType))
        self.stiffness_diagonal = self.entries[self.on_diagonal]
        self.mass = space.to_dolfinx(space.mass)

        n = columns.size_global
        self.matrix = PETSc.Mat().createAIJ(
            ((self.owned, n), (self.owned, n)), csr=(*self.csr, self.entries), comm=space.comm
        )
        self.w, self.rhs = self.matrix.createVecs()
        self.residual = self.rhs.duplicate()
        self.ghosts = PETSc.Vec().createSeq(len(columns.ghosts), comm=PETSc.COMM_SELF)
        wanted = PETSc.IS().createGeneral(columns.ghosts.astype(PETSc.IntType), comm=PETSc.COMM_SELF)
        self.scatter = PETSc.Scatter().create(self.rhs, wanted, self.ghosts, None)
        wanted.destroy()
        where = space.V.tabulate_dof_coordinates()[: self.owned, : space.dimension]
        self.coordinates = np.stack([self._ghosted(x) for x in where.T], axis=1)
        ksp = PETSc.KSP().create(space.comm)
        ksp.setOperators(self.matrix)
        ksp.setTolerances(rtol=RESIDUAL, atol=1e-300, max_it=1000)
        # A stale or poor preconditioner would fool a test of the preconditioned residual.
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        if drift:
            # Not symmetric, and far from the Laplacian where drift dominates: incomplete LU of the M-matrix.
            ksp.setType("gmres")
            ksp.setGMRESRestart(100)
            ksp.setPCSide(PETSc.PC.Side.RIGHT)
            ksp.getPC().setType("bjacobi")
        else:
            ksp.setType("cg")
            self.precondition = space.preconditioner(ksp.getPC())
        self.ksp = ksp
        apply_options(ksp, options)
        ksp.setInitialGuessNonzero(ksp.getType() != "preonly")

    def step(self, u: Array, diffusion: Array, drift: Array | None, dt: float) -> tuple[Array, int]:
        """Return w^{n+1} / D (owned degrees of freedom) and the number of iterations."""
        inverse = 1.0 / diffusion
        shift = self.mass * inverse / dt
        if drift is None:
            self.rhs.array[:] = self.stiffness_diagonal + shift
            self.matrix.setDiagonal(self.rhs)
            total = self.space.total(np.array([shift.sum(), self.mass.sum()]))
            self.precondition(float(total[0] / total[1]))
        else:
            entries = self._fitted(diffusion, drift)
            entries[self.on_diagonal] += shift
            self.matrix.setValuesCSR(*self.csr, entries)
            self.matrix.assemble()
        self.rhs.array[:] = self.mass * u / dt
        self.w.array[:] = u * diffusion
        self.ksp.solve(self.rhs, self.w)
        reason = self.ksp.getConvergedReason()
        self.matrix.mult(self.w, self.residual)
        self.residual.aypx(-1.0, self.rhs)
        relative = self.residual.norm() / max(self.rhs.norm(), 1e-300)
        if (reason < 0 and not relative < 1e-11) or not relative < 1e-9:
            raise ConvergenceError(
                f"KSP reason {reason} after {self.ksp.getIterationNumber()} iterations, "
                f"relative residual {relative:.3g}"
            )
        return self.w.array_r * inverse, self.ksp.getIterationNumber()

    def _fitted(self, diffusion: Array, drift: Array) -> Array:
        """Return the entries of A by exponential fitting, row by row as those of K."""
        d = self._ghosted(diffusion)
        i, j = self.rows, self.columns
        p = np.zeros(len(i))
        for axis in range(self.space.dimension):
            b = self._ghosted(drift[:, axis])
            p += (b[i] + b[j]) * (self.coordinates[j, axis] - self.coordinates[i, axis])
        p /= d[i] + d[j]
        entries = self.entries * _bernoulli(p)
        # A column's diagonal entry balances the rest of its column; by F_ij = −F_ji that is a sum over its own row.
        outflow = np.where(self.on_diagonal, 0.0, -self.entries * _bernoulli(-p))
        entries[self.on_diagonal] = np.bincount(i, weights=outflow, minlength=self.owned)
        return entries

    def _ghosted(self, owned: Array) -> Array:
        """Return values at all columns of this rank's rows, from those of the owned ones. Collective."""
        self.residual.array[:] = owned
        self.scatter.scatter(self.residual, self.ghosts)
        return np.concatenate([owned, self.ghosts.array_r])

    def free(self) -> None:
        """Free the PETSc objects. Collective."""
        for thing in (self.ksp, self.matrix, self.scatter, self.ghosts, self.w, self.rhs, self.residual):
            thing.destroy()


def solve_positive(
    system: SemiDiscrete,
    start: Position,
    *,
    t_end: float,
    dt: float,
    options: dict[str, Any],
    observer: Observer,
    restart: Restart,
    started: Callable[[], None],
) -> dict[str, Any]:
    """Integrate from 0 to ``t_end`` with steps of ``dt`` (shorter ones where dt does not divide the times to be saved).

    Arguments, results and errors are those of ``solve_rosenbrock``, with a fixed step for the tolerance.
    """
    space, model = system.space, system.model
    u, v = ufl.TrialFunction(space.V), ufl.TestFunction(space.V)
    stiffness = fem.assemble_matrix(fem.form(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx(metadata=space.measure)))
    stiffness.scatter_reverse()
    _check_edges(space, stiffness)
    unknowns = start.unknowns.copy()
    c = system.field_values(unknowns)
    drifts = [system.coefficients(species, c)[1] is not None for species in model.species]
    solvers: list[_Diffusion] = []
    iterations = 0
    t, step = start.t, start.step
    shape = space.mass.shape
    densities = unknowns[: len(model.species)]
    try:
        for drift in drifts:
            solvers.append(_Diffusion(system, stiffness, drift, options))
        masses = space.integral(*densities)
        if not step:
            observer(0.0, unknowns)
        started()
        while t < t_end * (1 - 1e-12):
            step += 1
            # Steps end at the times to be saved; no step is left that is shorter than rounding.
            due = observer.next_time - t
            tau = due if due < dt * (1 + 1e-9) else dt
            c = system.field_values(unknowns)
            try:
                for i, species in enumerate(model.species):
                    diffusion, b = system.coefficients(species, c)
                    _check_coefficients(space.comm, species, diffusion, b)
                    new, count = solvers[i].step(
                        space.to_dolfinx(densities[i]),
                        space.to_dolfinx(diffusion.reshape(shape)),
                        None if b is None else np.stack([space.to_dolfinx(q.reshape(shape)) for q in b.T], axis=1),
                        tau,
                    )
                    iterations += count
                    densities[i] = np.maximum(space.from_dolfinx(new), 0.0)
            except ConvergenceError as error:
                raise ConvergenceError(
                    f"the solve failed in step {step} at t = {t:.6g} with dt = {tau:.3g}: {error}; try a smaller dt, "
                    'or petsc_options such as {"ksp_max_it": 5000} or {"ksp_type": "preonly", "pc_type": "lu"}'
                ) from None
            densities *= (masses / space.integral(*densities)).reshape(-1, *(1,) * (densities.ndim - 1))
            system.relax(unknowns, tau)
            t += tau
            observer(t, unknowns)
            restart.look(Position(step=step, t=t, unknowns=unknowns))
    finally:
        for solver in solvers:
            solver.free()
    return {"method": "positive, linearly implicit", "dt": dt, "steps": step, "linear_iterations": iterations}


def _check_edges(space: Space, stiffness: Any) -> None:
    """Refuse a mesh on which K has positive entries off the diagonal: the scheme would lose its guarantee."""
    columns = stiffness.index_map(1)
    owned = columns.size_local
    rows = np.repeat(np.arange(owned), np.diff(stiffness.indptr[: owned + 1]))
    entries = stiffness.data[: stiffness.indptr[owned]]
    diagonal = np.zeros(owned)
    on_diagonal = stiffness.indices[: len(rows)] == rows
    diagonal[rows[on_diagonal]] = entries[on_diagonal]
    bad = np.flatnonzero(~on_diagonal & (entries > 1e-10 * diagonal[rows]))
    where = space.V.tabulate_dof_coordinates()[:, : space.dimension]
    worst = max(((float(entries[k] / diagonal[rows[k]]), where[rows[k]].tolist()) for k in bad), default=None)
    everywhere = [w for w in space.comm.allgather(worst) if w is not None]
    count = int(space.total(np.array([len(bad)]))[0])
    if count:
        place = ", ".join(f"{x:.4g}" for x in max(everywhere)[1])
        raise InputError(
            f"the mesh has {(count + 1) // 2} edges where the positive scheme loses its guarantee (the stiffness "
            f"matrix is positive there), the worst at ({place}): use a Delaunay mesh of triangles, a Box, or "
            'scheme="adaptive"'
        )


def _check_coefficients(comm: Any, species: str, diffusion: Array, drift: Array | None) -> None:
    if diffusion.ndim == 2:
        raise InputError(
            f"species {species!r} has one diffusion coefficient a direction, which the positive scheme does not take: "
            'use scheme="adaptive"'
        )
    good = bool(np.all(np.isfinite(diffusion)) and np.all(diffusion > 0))
    good = good and (drift is None or bool(np.all(np.isfinite(drift))))
    if comm.allreduce(int(not good)):
        raise ConvergenceError(
            f"the coefficients of {species} are not finite, or its diffusion coefficient is not positive"
        )


def _bernoulli(p: Array) -> Array:
    """Return p / (e^p − 1), by its series where that cancels."""
    small = np.abs(p) < 1e-4
    safe = np.where(small, 1.0, np.clip(p, -700.0, 700.0))
    return np.where(small, 1.0 - 0.5 * p + p * p / 12.0, safe / np.expm1(safe))
