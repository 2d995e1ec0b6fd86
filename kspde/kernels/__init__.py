r"""Interaction kernels and mollifiers as functions of the Laplacian.

A radial kernel :math:`K` on :math:`\mathbb R^d` acts by convolution, :math:`c = K * u`. All kernels here have a Fourier
symbol that depends on :math:`|k|^2` alone,

.. math:: \hat K(k) = g(|k|^2), \qquad K * u = g(-\Delta) u,

so one object serves both backends: the particles multiply by :math:`g(|k|^2)` between two Fourier transforms, and the
finite elements apply the same :math:`g` to the discrete :math:`-\Delta`. Convolution multiplies symbols, and is
written as in the papers: ``Yukawa(strength=chi) * GaussianMollifier(eps=0.3)`` is :math:`\Phi^\varepsilon = \Phi *
j^\varepsilon`.

A new kernel is a file; a mollifier is also a line in ``MOLLIFIERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import overload

import numpy as np

from kspde.errors import InputError, check_choice, check_scale, shown
from kspde.kernels.base import Convolution, Kernel, Multiple, ResolventPolynomial, check_symbol
from kspde.kernels.bumps import CompactBump, SmoothBump, TwoBumps
from kspde.kernels.gaussian import GaussianMollifier
from kspde.kernels.identity import Identity
from kspde.kernels.log_potential import LogPotential
from kspde.kernels.logarithm import Logarithm
from kspde.kernels.matern import MaternMollifier
from kspde.kernels.riesz import Riesz
from kspde.kernels.yukawa import Yukawa

__all__ = [
    "MOLLIFIERS",
    "CompactBump",
    "Convolution",
    "GaussianMollifier",
    "Identity",
    "Kernel",
    "LogPotential",
    "Logarithm",
    "MaternMollifier",
    "Mollifier",
    "Multiple",
    "ResolventPolynomial",
    "Riesz",
    "SmoothBump",
    "TwoBumps",
    "Yukawa",
    "check_symbol",
    "resolve_mollifier",
]

#: Mollifiers by name: kernels of integral 1 that are made with the keyword ``eps``.
MOLLIFIERS: dict[str, Callable[..., Kernel]] = {
    "gaussian": GaussianMollifier,
    "matern": MaternMollifier,
    "bump": SmoothBump,
    "compact-bump": CompactBump,
    "two-bumps": TwoBumps,
}

#: What may be given as ``mollifier``: a name, a function of ``eps``, or the kernel itself.
Mollifier = str | Callable[..., Kernel] | Kernel


@overload
def resolve_mollifier(eps: float, mollifier: Mollifier = ..., dimension: int | None = ...) -> Kernel: ...
@overload
def resolve_mollifier(eps: float | None, mollifier: Mollifier = ..., dimension: int | None = ...) -> Kernel | None: ...
def resolve_mollifier(
    eps: float | None, mollifier: Mollifier = "gaussian", dimension: int | None = None
) -> Kernel | None:
    """Return the mollifier j^ε, or None if the system is not regularised: no ``eps``, and no kernel.

    Args:
        eps: ε > 0, the mollifier's standard deviation in each coordinate, or the radius of a bump.
        mollifier: "gaussian", "matern" (order 2), "bump", "compact-bump" (power 4), "two-bumps" (on the line), a
            callable with a keyword ``eps`` that returns a kernel of integral 1, such as
            ``functools.partial(kspde.MaternMollifier, order=3)``, or, without ``eps``, a kernel that has an ``eps`` of
            its own, such as ``kspde.MaternMollifier(eps=0.3, order=3)``.
        dimension: the dimension in which it is wanted (``Kernel.in_dimension``), where that is known.

    Raises:
        InputError: ε ≤ 0, an unknown name, a kernel whose integral is not 1, or two different ε.
    """
    kernel = _resolved(eps, mollifier)
    return kernel if kernel is None or dimension is None else kernel.in_dimension(dimension)


def _resolved(eps: float | None, mollifier: Mollifier) -> Kernel | None:
    if isinstance(mollifier, Kernel):
        own = getattr(mollifier, "eps", None)
        if own is None:
            raise InputError(f"mollifier = {mollifier!r} has no eps: give eps, and a function of eps that returns it")
        if eps is not None and eps != own:
            raise InputError(f"eps = {shown(eps)} is not that of mollifier = {mollifier!r}: leave one of them out")
        return _checked_mollifier(mollifier)
    if eps is None:
        return None
    check_scale("eps", eps)
    if not callable(mollifier):
        return MOLLIFIERS[check_choice("mollifier", mollifier, MOLLIFIERS)](eps=eps)
    try:
        signature(mollifier).bind(eps=eps)
    except (TypeError, ValueError):
        raise InputError(
            f"mollifier = {mollifier!r} does not take the keyword eps alone: give a callable such as "
            "functools.partial(kspde.MaternMollifier, order=3)"
        ) from None
    kernel = mollifier(eps=eps)
    if not isinstance(kernel, Kernel):
        raise InputError(f"mollifier returned {type(kernel).__name__}: it must return a kspde kernel")
    return _checked_mollifier(kernel)


def _checked_mollifier(kernel: Kernel) -> Kernel:
    bound = kernel.in_dimension(1)
    check_symbol("mollifier", bound)
    integral = float(bound.symbol(np.zeros(1))[0])
    if not abs(integral - 1.0) < 1e-6:
        raise InputError(
            f"mollifier has the integral {integral:g}, the value of its symbol at 0: give one of integral 1, which "
            "conserves mass"
        )
    return kernel
