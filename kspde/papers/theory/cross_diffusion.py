r"""The conditions of L. Chen, E. Daus and A. Jüngel, *Rigorous mean-field limit and cross-diffusion*.

For n species with :math:`\partial_t u_i - \sigma_i\Delta u_i = \operatorname{div}(\sum_j a_{ij} u_i\nabla u_j)`, their
(1), the limit of particles (2) that interact by potentials of range η with :math:`a_{ij} = \int V_{ij}`:

- small data, (6): :math:`\|u^0\|_{H^s} \le \sigma/(C^*\sum_{ij} A_{ij})`, σ = min σ_i, A_ij = ‖V_ij‖₁ ≥ |a_ij|, s >
  d/2 + 1. With (7) σ is replaced by σ − γ. C* is a constant of the paper's calculus inequalities, which it does not
  give; it assumes only C* ≥ 1 (proof of its Lemma 6);
- entropy (introduction, after Galiano and Selgas): ∫ Σ u_i (log u_i − 1) decays if 4 a_11 a_22 > (a_12 + a_21)²;
- (8), its a priori estimate, is ‖u_η(t)‖² + γ∫_0^t‖∇u_η‖² ≤ ‖u⁰‖² in H^s at each t (printed: sup over t of the first
  term, which is ‖u⁰‖² as t → 0, plus the whole integral, of ∇u_η in H^{s+1}), and the weak form (17) has −(σ_i ∇u_i +
  Σ_j u_i V_ij * ∇u_j) (printed: + and ∇V_ij * ∇u_j);
- (10): ‖u_η − u‖ ≤ C η. For symmetric V, as theirs are, :math:`V^\eta * u = au + O(\eta^2)` and the order is 2: with
  Taylor's formula to second order in (18) their proof needs D³u_η in L²L², which (8) has for s ≥ 2, always if d ≥ 2;
- Theorem 3: E Σ_i sup_s sup_k |X − X̂| ≤ C η when η^(−2d−4) ≤ δ log N with δ small, s > d/2 + 2. In the estimate of
  J_3 its proof exchanges the expectation with the supremum over k, which is not allowed; a bound on higher moments and
  a sum over the N particles give the same at the cost of an arbitrarily small power of N. The same holds for K_1 and
  K_2 in Lemma 14, which would need (10) in uniform norms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kspde.errors import InputError, check_finite, check_integer, check_number
from kspde.initial import GaussianMixture
from kspde.kernels import GaussianMollifier
from kspde.papers.theory.norms import LaplacianPower
from kspde.radial import profile
from kspde.typing import Array

__all__ = ["entropy_decays", "interaction_range", "modified_entropy_decays", "small_data_constant", "sobolev_norm"]

_MOST_COMPONENTS = 500


def small_data_constant(norm: float, *, sigma: npt.ArrayLike, potential_l1: npt.ArrayLike, gamma: float = 0.0) -> float:
    """Return the largest C* for which the initial density is small in the sense of (6), or of (7) with γ > 0.

    The condition holds if and only if the paper's C* is at most (σ − γ)/(‖u⁰‖ Σ A_ij). Since C* ≥ 1, it fails where the
    result is below 1; above 1 the paper does not decide.

    Args:
        norm: ‖u⁰‖ in H^s, √(Σ_i ‖u_i⁰‖²); see ``sobolev_norm``.
        sigma: σ_i > 0, shape (n,).
        potential_l1: A_ij = ‖V_ij‖₁, shape (n, n); |a_ij| where V_ij has one sign.
        gamma: 0 ≤ γ < min σ_i.

    Raises:
        InputError: a value out of range, or A_ij that all vanish.
    """
    check_number("norm", norm, above=0)
    sigmas = check_finite("sigma", sigma, (None,))
    l1 = check_finite("potential_l1", potential_l1, (len(sigmas), len(sigmas)))
    if np.any(sigmas <= 0):
        raise InputError(f"sigma contains {sigmas.min():g}: give positive diffusivities")
    if np.any(l1 < 0) or not np.any(l1 > 0):
        raise InputError(f"potential_l1 = {l1.tolist()} is not valid: give norms >= 0, one of them positive")
    check_number("gamma", gamma, at_least=0, below=float(sigmas.min()))
    return float((sigmas.min() - gamma) / (norm * l1.sum()))


def entropy_decays(a: npt.ArrayLike) -> bool:
    r"""Return whether ∫ Σ u_i (log u_i − 1) decays whatever the σ_i: a + aᵀ is positive definite.

    Its derivative is :math:`-\sum_i\sigma_i\int|\nabla u_i|^2/u_i - \sum_{ij}\int a_{ij}\nabla u_i\cdot\nabla u_j`.
    For two species this is 4 a_11 a_22 > (a_12 + a_21)² *and* a_11 > 0: the first condition, printed alone, also holds
    for two negative self-interactions, for which the second term grows.

    Args:
        a: a_ij, shape (n, n).

    Raises:
        InputError: not a square matrix of finite numbers.
    """
    matrix = _square(a)
    return bool(np.linalg.eigvalsh(matrix + matrix.T).min() > 0)


def modified_entropy_decays(a: npt.ArrayLike) -> bool:
    """Return whether ∫ a_21 u_1 (log u_1 − 1) + a_12 u_2 (log u_2 − 1) is an entropy that decays, for two species.

    That is a_11 a_22 > a_12 a_21, with a_12, a_21 > 0 (so that it is an entropy) and a_11 > 0.

    Raises:
        InputError: not a 2 × 2 matrix of finite numbers.
    """
    matrix = check_finite("a", a, (2, 2))
    weights_positive = matrix[0, 1] > 0 and matrix[1, 0] > 0 and matrix[0, 0] > 0
    return bool(weights_positive and matrix[0, 0] * matrix[1, 1] > matrix[0, 1] * matrix[1, 0])


def interaction_range(n: int, *, dimension: int, delta: float = 1.0) -> float:
    """Return the smallest range η = (δ log N)^(−1/(2d+4)) that Theorem 3 allows for N particles per species.

    Args:
        n: N ≥ 2.
        dimension: d.
        delta: the paper's small number, in (0, 1].

    Raises:
        InputError: a value out of range.
    """
    check_integer("n", n, at_least=2)
    check_integer("dimension", dimension, at_least=1)
    if check_number("delta", delta, above=0) > 1:
        raise InputError(f"delta = {delta} is not valid: give a number > 0 and <= 1")
    return float((delta * math.log(n)) ** (-1.0 / (2 * dimension + 4)))


def sobolev_norm(u0: GaussianMixture, s: float) -> float:
    r"""Return :math:`\|u_0\|_{H^s}`, with :math:`\|u\|_{H^s}^2 = (2\pi)^{-d}\int(1 + |k|^2)^s|\hat u(k)|^2\,dk`.

    Other definitions of the norm for integer s differ by constants, which C* absorbs.

    Args:
        u0: a mixture of at most 500 Gaussians.
        s: s ≥ 0.

    Raises:
        InputError: s < 0, or too many Gaussians.
    """
    check_number("s", s, at_least=0)
    if len(u0.weights) > _MOST_COMPONENTS:
        raise InputError(
            f"u0 has {len(u0.weights)} components: give at most {_MOST_COMPONENTS} (the cost grows with their square)"
        )
    distances = np.linalg.norm(u0.means[:, None] - u0.means[None], axis=2)
    variances = u0.stds[:, None] ** 2 + u0.stds[None] ** 2
    weights = np.outer(u0.weights, u0.weights)
    total = 0.0
    for variance in np.unique(variances):
        pairs = variances == variance
        kernel = LaplacianPower(power=float(s), shift=1.0) * GaussianMollifier(eps=math.sqrt(variance))
        apart, which = np.unique(distances[pairs], return_inverse=True)
        total += float(weights[pairs] @ profile(kernel, u0.dimension, apart, tol=1e-12)[which])
    return float(u0.mass * math.sqrt(total))


def _square(a: npt.ArrayLike) -> Array:
    matrix = check_finite("a", a, (None, None))
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"a has shape {matrix.shape}: give a square matrix, with a row and a column per species")
    return matrix
