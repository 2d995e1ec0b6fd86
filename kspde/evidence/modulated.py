r"""The modulated energy: how far an empirical measure is from a density, as their interaction sees it.

For particles of weights :math:`w_j`, of mass m in all, the density u of the same mass and the kernel V of a field,

.. math::
    F_N = \frac1{m^2}\iint_{x \ne y} V(x - y)\,(d\mu - u\,dx)^{\otimes 2}
    = \frac1{m^2}\Big(\sum_{i \ne j} w_i w_j V(X_i - X_j) - 2\sum_i w_i c(X_i) + \int c\,u\Big), \qquad
    c = V * u,

without the terms i = j. It is of both signs: for particles that are independent with the law u/m its mean is exactly
:math:`-\frac1N\iint V(x - y)\,u(x)u(y)\,dx\,dy/m^2`. Where V repels, as for a log gas, it is positive up to a
correction that vanishes with N, and controls the distance of μ from u in a negative Sobolev norm: if it is small, μ
is close to u (Duerinckx; Serfaty, Duke Math. J. 169, 2020). A constant added to V adds −1/N times itself.

For :math:`dX_i = -\frac mN\sum_{j \ne i}\nabla V(X_i - X_j)\,dt + \sqrt{2\sigma}\,dB_i`, in a trap or not, the law of
Gibbs is :math:`\exp(-\frac m{2N\sigma}\sum_{i \ne j} V(x_i - x_j))`, so that with the relative entropy H per particle
of the law to u's the *modulated free energy* per particle is

.. math:: H + \frac m{2\sigma}\,E F_N,

the quantity that Bresch, Jabin and Wang bound (2019; for attractive log gases, Duke Math. J. 172, 2023). The factor is
1/(2σ): 1/σ, which is printed at places, counts pairs twice. :func:`kspde.modulated_free_energy` bounds it, and H, along
a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kspde.errors import InputError, check_choice, check_number
from kspde.evidence.result import Result
from kspde.models import Field
from kspde.particles.fields import FieldOptions
from kspde.particles.fields.pairs import OctaveTables, octave_tables, sum_singular
from kspde.particles.observation import observe
from kspde.particles.region import region_of
from kspde.radial import is_bounded
from kspde.runtime.parallel import collective, together
from kspde.runtime.reductions import everyones, reduced
from kspde.typing import Array

if TYPE_CHECKING:
    from kspde.fem.solution import Solution
    from kspde.particles.cloud import Cloud

__all__ = ["ModulatedEnergy", "PairPotential", "modulated_energy"]


@dataclass(frozen=True, kw_only=True, repr=False)
class ModulatedEnergy(Result):
    """The modulated energy F_N of a cloud at one time, and its three parts.

    Attributes:
        t: the time.
        value: F_N.
        pairs: Σ_{i≠j} w_i w_j V(X_i − X_j)/m².
        cross: −2 Σ_i w_i c(X_i)/m².
        own: ∫c u/m², which is also −N times the mean of F_N for independent particles with the law u/m.
        n: N.
        mass: m.
    """

    t: float
    value: float
    pairs: float
    cross: float
    own: float
    n: int
    mass: float

    def free_energy(self, noise: float, entropy: float = 0.0) -> float:
        """Return H + m F_N/(2σ), one sample of the modulated free energy per particle.

        Args:
            noise: σ > 0, of the noise √(2σ)dB.
            entropy: the relative entropy H of the particles' law per particle, or a bound on it; 0 where particles
                have just started independently, from the law u/m.
        """
        return entropy + self.mass * self.value / (2 * check_number("noise", noise, above=0))

    def summary(self) -> dict[str, Any]:
        """Return what it holds, ready for JSON."""
        return dict(vars(self))

    def _lines(self) -> dict[str, str]:
        return {
            "Modulated energy": f"{self.value:.6g} at t = {self.t:g}, N = {self.n:,}",
            "pairs, cross, own": f"{self.pairs:.6g}, {self.cross:.6g}, {self.own:.6g}",
            "of independent particles": f"{-self.own / self.n:.6g} on average",
        }


@collective()
def modulated_energy(
    cloud: Cloud, pde: Solution, *, field: str | None = None, field_tol: float = 1e-7
) -> ModulatedEnergy:
    """Return the modulated energy of a cloud with respect to a density, at the cloud's time. Collective.

    :mod:`kspde.evidence.modulated` says what it means. Along a run: call it in the callback of ``kspde.SaveAt``. With a
    mollifier it sums over all pairs, in O(N²).

    Args:
        cloud: what ``simulate`` returned, or passes to the callback of ``SaveAt``.
        pde: what ``solve`` returned for the same model and mollifier, up to the cloud's time or beyond.
        field: the field whose kernel is V, the model's signal unless named.
        field_tol: the error allowed in the pairs' potentials, relative to the largest.

    Raises:
        InputError: another kernel, other masses, an unknown field, a time that is not saved, or particles outside the
            density's domain.
    """
    with together(cloud.comm):
        known = {f.name: f for f in cloud.problem.fields}
        name = check_choice("field", field or cloud.model.signal, known)
        wanted = known[name]
        if wanted not in pde.problem.fields:
            raise InputError(f"field {name!r} of cloud and pde is not the same: give both the same model and eps")
        mass = cloud.masses[wanted.source]
        there = pde.masses_at(cloud.t_end)[wanted.source]
        if not abs(mass - there) <= 1e-6 * abs(mass):
            raise InputError(f"the masses {mass:g} of cloud and {there:g} of pde differ: give the same")
        if region_of(cloud.domain, cloud.problem) is not None:
            raise InputError("cloud lives in a box: modulated energies are offered on the whole space")
    x, weights = cloud.of(wanted.source), cloud.weights_of(wanted.source)
    then = pde.at(cloud.t_end)
    felt, _ = PairPotential(wanted, field_tol).at(x, weights, cloud)
    sums = np.array([weights @ felt, -2 * weights @ then.evaluate_signal(x, name)])
    pairs, cross = reduced(cloud.comm, sums) / mass**2
    own = then.interaction(name) / mass**2
    return ModulatedEnergy(
        t=cloud.t_end,
        value=float(pairs + cross + own),
        pairs=float(pairs),
        cross=float(cross),
        own=float(own),
        n=cloud.counts[wanted.source],
        mass=mass,
    )


class PairPotential:
    """The sums Σ_{j≠i} w_j V(x_i − X_j) at the particles of a cloud, and their gradients.

    Args:
        field: the field whose kernel is V.
        tol: the error allowed, relative to the largest value and the largest gradient.
        gradient: whether gradients are wanted.
    """

    def __init__(self, field: Field, tol: float, *, gradient: bool = False) -> None:
        self._field = replace(field, gradient=gradient, value=True)
        self._tol = tol
        self._tables: OctaveTables | None = None
        self._reach = 0.0

    def at(self, x: Array, weights: Array, cloud: Cloud) -> tuple[Array, Array]:
        """Return the sums at this rank's particles, (n,), and their gradients, (n, d), if wanted. Collective."""
        d, name, kernel, sloped = cloud.model.dimension, self._field.source, self._field.kernel, self._field.gradient
        extent = observe({name: x}, {name: cloud.ids_of(name)}, cloud.counts, cloud.comm).extent
        if not is_bounded(kernel, d, gradient=False):
            options = FieldOptions(field_tol=self._tol)
            evaluator = options.evaluator((self._field,), dimension=d, weights={name: weights}, comm=cloud.comm)
            evaluator.update({name: x}, extent)
            found = evaluator.at(name, x)
            return found[self._field.name], found.gradient(self._field.name) if sloped else np.zeros((0, d))
        # Evaluators' tables of mollified potentials that grow are known up to a constant only.
        diameter = float(np.linalg.norm(extent.size)) or 1.0
        if self._tables is None or diameter > self._reach:
            self._reach = 1.5 * diameter
            profile, slope = (partial(function, dimension=d) for function in (kernel.profile, kernel.slope))
            self._tables = octave_tables(profile, slope if sloped else profile, self._reach)
        everyone, all_weights = everyones(x, cloud.comm), everyones(weights, cloud.comm)
        felt, slopes = np.empty(len(x)), np.empty_like(x)
        sum_singular(felt, slopes if sloped else None, x, everyone, len(everyone), *self._tables, all_weights, 1.0)
        return felt, slopes
