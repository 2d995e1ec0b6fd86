r"""Fields of the whole plane on a disk: what they are on the rim, by the angular modes of the charge inside.

With r and θ from the centre, R the radius, and y nearer to the centre than x (Graf's addition theorem),

.. math:: \frac{1}{2\pi} K_0(\mu|x - y|) = \frac{1}{2\pi}\Bigl(K_0(\mu r_x) I_0(\mu r_y) + \sum_{m \ge 1}
    k_m(r_x)\, i_m(r_y) \cos m(\theta_x - \theta_y)\Bigr),

.. math:: i_m(r) = m!\,(2/\mu R)^m I_m(\mu r) = (r/R)^m\,{}_0F_1(m + 1, (\mu r/2)^2), \qquad
    k_m(r) = \frac{2}{m!} (\mu R/2)^m K_m(\mu r),

which without screening are :math:`(r/R)^m` and :math:`(R/r)^m/m`, with −log r in place of K₀. The rim's polygon lies as
near to the circle as charges are to be inside: the modes are right wherever these are, and converge like (|y|/R)^m:
``far_error`` says what is missed. The field solves :math:`\partial_n c + c/R = g` with g from these modes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kspde.fem.solvers.linear import SparseSystem
from kspde.fem.solvers.stiffness import Stiffness
from kspde.fem.spaces.base import Space
from kspde.fem.spaces.resolvents import Resolvents
from kspde.fem.spaces.whole_space import one_sign, outside_factor
from kspde.kernels import Kernel, ResolventPolynomial
from kspde.typing import Array

__all__ = ["DiskOperator"]

#: The highest angular mode.
ORDER = 64


class DiskOperator(Resolvents):
    """K * u on the whole plane at the nodes of a disk that holds u.

    Args:
        space: the space.
        stiffness: K's matrix.
        mollifiers: the polynomials of the kernel's other factors, and the solvers of their resolvents.
        kernel: K, the slowest of whose factors is a fundamental solution.
        radius: R.
        normals: ∫ n φ_i over the rim, shape (n, 2).
        lengths: ∫ φ_i over it.
    """

    def __init__(
        self,
        space: Space,
        stiffness: Stiffness,
        mollifiers: Sequence[tuple[ResolventPolynomial, SparseSystem]],
        kernel: Kernel,
        *,
        radius: float,
        normals: Array,
        lengths: Array,
    ) -> None:
        potential = kernel.factors[0]
        self._kernel = kernel
        self._mu, self._radius = potential.decay_rate, radius
        self._strength = potential.charge
        self._share = self._strength * outside_factor(kernel)
        diagonal = self._mu**2 * space.mass + lengths / radius
        super().__init__(space, stiffness, mollifiers, diagonal)
        self._system = SparseSystem(stiffness, {})
        self._system.update(diagonal, 1.0)
        self._rim = np.flatnonzero(lengths)
        self._normals, self._lengths = normals[self._rim], lengths[self._rim] / radius
        self._expand()

    def apply(self, prepared: Array, gradient: bool) -> tuple[Array, Array | None]:
        """Solve with the modes' values on the rim."""
        smooth = super().apply(prepared, False)[0]
        rhs = self._strength * self._space.mass * smooth
        charges = self._space.mass * prepared
        rhs[self._rim] += self._share * (self._onto @ self._moments(charges))
        total, size = self._space.total(np.array([charges.sum(), np.abs(charges).sum()]))
        c = one_sign(self._system.solve(rhs), self._kernel, float(total), float(size), 2)
        return c, self._space.gradient(c) if gradient else None

    def far_error(self, nodal: Array) -> float:
        """Return the largest share of the last tenth of the modes in g, in units of sup|c|/R. Collective."""
        c, _ = self.apply(nodal, False)
        moments = self._moments(self._space.mass * nodal)
        order = np.append(np.arange(ORDER + 1), np.arange(1, ORDER + 1))
        last = np.abs(self._onto[:, order > 0.9 * ORDER]) @ np.abs(moments[order > 0.9 * ORDER])
        missed = np.max(last * self._radius / np.maximum(self._lengths * self._radius, 1e-300), initial=0.0)
        missed, size = self._space.maximum(np.array([abs(self._share) * missed, np.max(np.abs(c), initial=0.0)]))
        return float(missed / size) if size > 0 else 0.0

    def _moments(self, charges: Array) -> Array:
        """Return Σ_j q_j i_m(r_j) cos mθ_j of charges for m = 0, 1, …, and then those with sines. Collective."""
        sums, power = np.empty(ORDER + 1, dtype=complex), charges.astype(complex)
        for m in range(ORDER + 1):
            sums[m] = power.sum() if self._factors is None else self._factors[m] @ power
            power *= self._z
        out = np.concatenate([sums.real, sums.imag[1:]])
        return self._space.total(out)

    def _expand(self) -> None:
        from scipy.special import hyp0f1, k0e, k1e

        mu, length = self._mu, self._radius
        x = self._space.points - self._space.centre
        self._z = (x[:, 0] + 1j * x[:, 1]) / length
        self._factors = None
        if mu > 0:
            z = (0.5 * mu * length * np.abs(self._z)) ** 2
            self._factors = np.stack([hyp0f1(m + 1, z) for m in range(ORDER + 1)])
        x = x[self._rim]
        r, angle = np.linalg.norm(x, axis=1), np.arctan2(x[:, 1], x[:, 0])
        z = mu * r
        one = z * k1e(z) * np.exp(-z) if mu > 0 else np.ones_like(r)
        zero = k0e(z) * np.exp(-z) if mu > 0 else -np.log(r)
        #: k_m(r) (r/R)^m, by the upward recurrence of K_m
        scaled = [2 * zero if mu > 0 else np.zeros_like(r), one]
        for m in range(1, ORDER):
            scaled.append(scaled[m - 1] * (0.5 * z) ** 2 / (m * (m + 1)) + scaled[m] * m / (m + 1))
        k = [part * (length / r) ** m for m, part in enumerate(scaled)]
        radial, around = x / r[:, None], np.stack([-x[:, 1], x[:, 0]], axis=1) / r[:, None]
        outwards, along = np.sum(self._normals * radial, axis=1), np.sum(self._normals * around, axis=1)
        columns = [-outwards * one / r + self._lengths * zero]
        sines = []
        for m in range(1, ORDER + 1):
            slope = -m / r * k[m] - 0.5 * mu**2 * length / m * k[m - 1]
            across, turned = outwards * slope + self._lengths * k[m], along * m / r * k[m]
            columns.append(across * np.cos(m * angle) - turned * np.sin(m * angle))
            sines.append(across * np.sin(m * angle) + turned * np.cos(m * angle))
        self._onto = np.stack([*columns, *sines], axis=1) / (2 * math.pi)
