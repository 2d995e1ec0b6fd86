r"""The growth of the entropy bound as the mollifier shrinks: a logarithm, with a factor computed from one density.

At a fixed ε the bound of :mod:`kspde.evidence.entropy` on N·H is of order 1 in N. In ε it is not: for a model of the
plane whose kernels behave like :math:`-\frac{s}{2\pi}\log|x|` at the origin (their symbols like :math:`s/|k|^2`; s = χ
for the signal of Wang, Li and Huang),

.. math::
    N\,H_{\mathrm{bound}}(t) = A + B\log\tfrac1\varepsilon + o(1),
    \qquad \varepsilon \to 0,\ \tfrac1N\log^2\tfrac1\varepsilon \to 0,

so that ε = N^(−γ) makes it A + Bγ log N.

**Derivation.** Let the particles be independent to leading order, with the law ρ = u/M and the weights w = M/N, M the
mass. The field's fluctuations at x are :math:`\delta = w\sum_j K^\varepsilon(x - X_j) - K^\varepsilon * u` and
:math:`g = \nabla\delta`. Since log² is integrable, :math:`N E\delta^2` stays bounded, but with
:math:`|\nabla K^\varepsilon(z)| \to s/(2\pi|z|)` down to :math:`|z| \sim \varepsilon`

.. math::
    N E|g|^2 \simeq M \int |\nabla K^\varepsilon(x - y)|^2 u(y)\,dy
    = M\,\frac{s^2}{4\pi^2}\,u(x)\int_\varepsilon \frac{2\pi r\,dr}{r^2} + O(1)
    = \frac{M s^2}{2\pi}\,u(x)\log\frac1\varepsilon + O(1).

The defect is :math:`c = L g + O(|\delta|)` with the matrix
:math:`L = \partial_c D\,I - \partial_{\nabla c}\beta`, g is isotropic to this order, and so
:math:`E|Lg|^2 = \tfrac12|L|^2 E|g|^2` with Frobenius' norm. The mean of :math:`|c|^2/(4D)` over ρ = u/M gives

.. math:: B(t) = \int_0^t\!\int \frac{s^2 |L|^2 u^2}{16\pi D}\,dx\,ds,

the mass cancels. For D = 1 + e^(−v), where L = −e^(−v) I and |L|² = 2e^(−2v), that is
:math:`B = \int_0^t\int \chi^2 u^2 e^{-2v}/(8\pi(1 + e^{-v}))`. The screening does not enter.

**How large N must be.** Where j = i counts, δ also contains the particle's own term
:math:`wK^\varepsilon(0) \simeq \frac{Ms}{2\pi N}\log\frac1\varepsilon`: N times its square is of order
:math:`\frac1N\log^2\frac1\varepsilon`. At N = 400 it still raises the slope by a tenth at t = 0 (measured; without
j = i the slope is B within its interval).

**The logarithm belongs to the bound and not to the entropy.** The bound maximises over
:math:`\nabla\log(u_N/\bar u)`, which cannot follow a defect that is large on the scale ε alone. Two particles on the
line with a kernel of symbol :math:`3(1 + |k|^2)^{-1/2}`, also a logarithm at the origin, j ≠ i, have at T = .5 the
exact H = .0038, .0047, .0051 for ε = .4, .2, .1, with ever smaller increments, and bounds of 2.1, 3.0 and 4.3 times
that. (Where j = i counts, its :math:`wK^\varepsilon(0)` shifts D more and more at a fixed N, and the entropy itself
grows.) The tables are in tests/benchmarks/results.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kspde.distances.target import Target
from kspde.errors import InputError
from kspde.evidence.defect import cumulative, defect, inverse_form
from kspde.evidence.ensemble import check_solution
from kspde.models import FieldValues, Model
from kspde.protocols import SolvedDensity
from kspde.typing import Array

__all__ = ["entropy_bound_slope"]

#: |k|² at which a symbol has reached its asymptote.
_FAR = 1e14


def entropy_bound_slope(pde: SolvedDensity) -> Array:
    r"""Return the factor B(t) of log(1/ε) in N times the entropy bound, at the saved times. Collective.

    :mod:`kspde.evidence.log_law` derives it.

    Args:
        pde: the result of ``solve`` for one species in the plane, local or with a small ε, saved from t = 0 on and
            often enough for a trapezoidal sum in time.

    Returns:
        B at ``pde.times``, shape (times,).

    Raises:
        InputError: another dimension, several species, states that are not saved, or a kernel more singular than a
            logarithm.
    """
    check_solution(pde)
    model: Model = pde.model
    if model.dimension != 2 or len(model.species) != 1:
        raise InputError(
            f"the model has dimension {model.dimension} and {len(model.species)} species: the logarithm in eps is that "
            "of one species in the plane"
        )
    species = model.species[0]
    strengths = {}
    for field in model.regularised_fields():
        if field.kernel.smoothing < 2.0:
            raise InputError(
                f"field {field.name!r} has a symbol that decays as |k|^-{field.kernel.smoothing:g}: the logarithm in "
                "eps is that of kernels that decay as |k|^-2"
            )
        far = float(field.kernel.symbol(np.array([_FAR]))[0]) * _FAR
        strengths[field.name] = far if field.kernel.smoothing == 2.0 else 0.0
    rates = [_rate(pde, model, species, strengths, float(t)) for t in pde.times]
    return cumulative(np.array(rates), np.asarray(pde.times, dtype=np.float64))


def _rate(pde: SolvedDensity, model: Model, species: str, strengths: dict[str, float], t: float) -> float:
    """Return ∫ s²|L|²u²/(16πD) at a time; the columns of sL are the defects of a gradient that is off by s e_a."""
    target = Target.of(pde, species, t=t)
    grid = target.mass_grid()
    u = np.maximum(target.on_grid(grid.axes), 0.0)
    points = np.stack(np.meshgrid(*grid.axes, indexing="ij"), axis=-1).reshape(-1, 2)
    values, gradients = {}, {}
    for name in strengths:
        signal = pde.signal_on_grid(grid.axes, name, t)
        values[name] = signal.ravel()
        gradients[name] = np.stack([*np.gradient(signal, *grid.axes)], axis=-1).reshape(points.shape)
    moments = {m.name: pde.moment(m.name, t) for m in model.moments}
    known = FieldValues(points, values, gradients, t, moments)
    square = np.zeros(len(points))
    for axis in range(2):
        moved = {name: slope + strengths[name] * np.eye(2)[axis] for name, slope in gradients.items()}
        column, diffusion = defect(model, species, replace(known, gradients=moved), known, np.zeros_like(points))
        square += inverse_form(column, diffusion)
    return float(np.sum(u.ravel() ** 2 * square / (16.0 * np.pi)) * grid.cell_volume)
