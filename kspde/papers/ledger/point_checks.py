r"""The computations that claims are held against: those on the points of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kspde.distances.statistics import reach_of
from kspde.papers.studies.outcome import TOLERANCE
from kspde.papers.studies.power_law import fit_constant

__all__ = ["LATE_GROWTH", "LOG_SLOPE", "Check", "PointValues"]

#: The quantities of a point of a study, by name, each with "value", "interval", "error", "replicas"; its swept values.
PointValues = tuple[Mapping[str, Any], Mapping[str, Any]]

#: B of :mod:`kspde.evidence.log_law` for the problem of the ready-made studies: χ = 8, T = .5, three Gaussians.
LOG_SLOPE = 0.0182

#: ‖∇Φ^ε‖²/(128π), χ = 8, ε = .3: what the entropy bound of dispersing particles grows by for each unit of log t.
LATE_GROWTH = 0.01632


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a computation found.

    Attributes:
        value: the result in words, with its meaning.
        ratio: the number that is judged: at most 1 where the claim holds.
        interval: the 95 % interval of the ratio; both ends are the ratio itself where it is exact.
    """

    value: str
    ratio: float
    interval: tuple[float, float]


def certified_distance(points: Sequence[PointValues]) -> Check:
    """Return ‖u_{N,1} − u^ε‖₁ over its bound √(2H₁) at the point where this ratio is least certain."""

    def ratio(point: PointValues) -> tuple[float, float, float]:
        left, right = point[0]["l1"], point[0]["certified_l1"]
        (low, high), (least, most) = left["interval"], right["interval"]
        return left["value"] / right["value"], low / most, high / least

    worst = max(points, key=lambda point: ratio(point)[2])
    value, low, high = ratio(worst)
    quantities, swept = worst
    return Check(
        value=f"‖u_{{N,1}} − u^ε‖₁ = {quantities['l1']['value']:.2g}, √(2H₁) ≤ "
        f"{quantities['certified_l1']['value']:.2g} at N = {swept['n']}, where their ratio is least certain",
        ratio=value,
        interval=(low, high),
    )


def log_slope(
    points: Sequence[PointValues], most: float = (1.0 + TOLERANCE) * LOG_SLOPE, smallest: int | None = None
) -> Check:
    """Return the slope of the bound on N H in log(1/ε) over the most that it may be, by weighted least squares.

    The 5 % in this are those that promised rates have, since no range is asymptotic.

    Args:
        points: the points.
        most: what the slope is divided by.
        smallest: how many points are looked at, those of the smallest ε; None for all.
    """
    points = sorted(points, key=lambda point: float(point[1]["eps"]))[:smallest]
    u = np.array([-math.log(swept["eps"]) for _, swept in points])
    found = [quantities["total_entropy"] for quantities, _ in points]
    y, s = (np.array([q[name] for q in found]) for name in ("value", "error"))
    w = s**-2.0
    centred = u - (w @ u) / w.sum()
    slope, error = float((w * centred) @ y / (w @ centred**2)), float((w @ centred**2) ** -0.5)
    reach = reach_of(min(q["replicas"] for q in found)) * error
    low, high = slope - reach, slope + reach
    sizes = [swept["n"] for _, swept in points if "n" in swept]
    where = f", N = {min(sizes):,} to {max(sizes):,}" if sizes else ""
    stated = f"slope {slope:.4f} [{low:.4f}, {high:.4f}]".replace("-", "−")
    return Check(
        value=f"{stated} in log(1/ε) for ε = {math.exp(-u.max()):.3f} to {math.exp(-u.min()):.3f}{where}",
        ratio=slope / most,
        interval=(low / most, high / most),
    )


no_log_slope = partial(log_slope, most=TOLERANCE * LOG_SLOPE, smallest=4)


def growth(points: Sequence[PointValues], quantity: str = "total_entropy", symbol: str = "H_N ≤") -> Check:
    """Return the growth of a quantity from the first to the last time over that of t, where it is largest."""
    worst: tuple[float, float, float, str] = (0.0, 0.0, 0.0, "")
    for n in {swept.get("n") for _, swept in points}:
        own = sorted((swept["t_end"], quantities[quantity]) for quantities, swept in points if swept.get("n") == n)
        (first, start), (last, end) = own[0], own[-1]
        ratio = end["value"] / start["value"] * first / last
        reach = ratio * reach_of(start["replicas"]) * math.hypot(*(q["error"] / q["value"] for q in (start, end)))
        values = ", ".join(f"{q['value']:.3g}" for _, q in own)
        times = ", ".join(f"{t:g}" for t, _ in own)
        text = f"{symbol} {values} at t = {times}" + ("" if n is None else f", N = {n}")
        worst = max(worst, (ratio, ratio - reach, ratio + reach, text))
    ratio, low, high, value = worst
    return Check(value=value, ratio=ratio, interval=(low, high))


coupling_growth = partial(growth, quantity="mean_square", symbol="E sup |X − X̄|² =")


def last_growth(points: Sequence[PointValues]) -> Check:
    """Return the growth of the entropy bound between the last two times over 1.05 times what is expected of it."""
    (first, start), (last, end) = sorted((swept["t_end"], q["total_entropy"]) for q, swept in points)[-2:]
    expected = LATE_GROWTH * math.log(last / first)
    value, most = end["value"] - start["value"], (1.0 + TOLERANCE) * expected
    reach = reach_of(min(start["replicas"], end["replicas"])) * math.hypot(start["error"], end["error"])
    ends = f"{value - reach:.4f}, {value + reach:.4f}"
    text = f"{value:.4f} [{ends}] from t = {first:g} to {last:g}, expected {expected:.4f}"
    return Check(value=text, ratio=value / most, interval=((value - reach) / most, (value + reach) / most))


def largest_distance(points: Sequence[PointValues]) -> Check:
    """Return χ² of one constant C in E S = C√(log N/N) over its 99 % quantile: at most 1 where one fits all N."""
    from scipy.special import chdtri  # scipy.stats takes a second to import

    n = np.array([swept["n"] for _, swept in points])
    sups = [quantities["sup"] for quantities, _ in points]
    y, s, replicas = (np.array([q[name] for q in sups]) for name in ("value", "error", "replicas"))
    found, squares = [], []
    for symbol, scale in (("(N/log N)^{1/2} E S", np.sqrt(n / np.log(n))), ("N^{1/2} E S", np.sqrt(n))):
        law = fit_constant(n, scale * y, scale * s, replicas, 0.0)
        assert law is not None
        assert law.misfit is not None
        squares.append(float(chdtri(len(n) - 1, law.misfit)))
        ends = f"{law.interval[0]:.3f}, {law.interval[1]:.3f}"
        found.append(f"{symbol} = {law.value:.3f} [{ends}], χ² = {squares[-1]:.1f} of {len(n) - 1} degrees")
    ratio = squares[0] / float(chdtri(len(n) - 1, 0.01))
    text = f"{'; '.join(found)}, for N = {n.min():,} to {n.max():,}"
    return Check(value=text, ratio=ratio, interval=(ratio, ratio))


def bounded(points: Sequence[PointValues], quantity: str) -> Check:
    """Return the constant at the last time over the largest before: at most 1 where it has stopped growing."""
    own = sorted((swept["t_end"], quantities[quantity]["value"]) for quantities, swept in points)
    *before, (_, last) = own
    ratio = last / max(value for _, value in before)
    values, times = (", ".join(f"{each[k]:.3g}" for each in own) for k in (1, 0))
    return Check(value=f"the constant is {values} at t = {times}", ratio=ratio, interval=(ratio, ratio))


def score(points: Sequence[PointValues]) -> Check:
    """Return the norm of the score over its value at the start, where it is largest."""
    ratio, t, eps = max((values["ratio"]["value"], swept["t_end"], swept["eps"]) for values, swept in points)
    value = f"‖∇log u^ε(t)‖ ≤ {ratio:.3f} ‖∇log u₀‖ in W^{{1,4}}, largest at t = {t:g}, ε = {eps:g}"
    return Check(value=value, ratio=ratio, interval=(ratio, ratio))


gradient_1, hessian_1, tails_1, gradient_3, hessian_3 = (
    partial(bounded, quantity=name) for name in ("gradient_1", "hessian_1", "tails_1", "gradient_3", "hessian_3")
)


def linear_theory(points: Sequence[PointValues]) -> Check:
    """Return the largest distance of a wave's rate from the linear theory over 5 % of its damping by diffusion."""
    both = [(quantities["scaled"]["value"], quantities["linear"]["value"], swept) for quantities, swept in points]
    distance = max(abs(measured - promised) for measured, promised, _ in both)
    same = sum((measured > 0) == (promised > 0) for measured, promised, _ in both)
    first = min((swept["mean"] for measured, _, swept in both if measured > 0), default=math.inf)
    ratio = distance / TOLERANCE
    return Check(
        value=f"growth or decay as promised at {same} of {len(both)} pairs of ū/b and K, growth from ū/b = {first:g} "
        f"on; the rates differ by at most {distance:.1g} of ν²k²/2",
        ratio=ratio,
        interval=(ratio, ratio),
    )


def largest_density(points: Sequence[PointValues]) -> Check:
    """Return the largest sup u^ε/max u₀ of all points, less rounding."""
    value, b, eps = max((quantities["supremum"]["value"], swept["b"], swept["eps"]) for quantities, swept in points)
    bs = sorted({swept["b"] for _, swept in points})
    text = f"sup u^ε ≤ {value:.6g} max u₀ for b = {bs[0]:g} to {bs[-1]:g} max u₀" + (
        f", the largest at b = {b:g}, ε = {eps:g}" if value > 1 + 1e-6 else ""
    )
    return Check(value=text, ratio=value / (1 + 1e-6), interval=(value / (1 + 1e-6),) * 2)


def bounded_in_eps(points: Sequence[PointValues]) -> Check:
    """Return sup u^ε at the least ε over 1.05 times that at the next larger one: at most 1 where it has settled."""
    own = sorted((swept["eps"], quantities["supremum"]["value"]) for quantities, swept in points)
    ratio = own[0][1] / own[1][1] / (1 + TOLERANCE)
    values, widths = (", ".join(f"{each[k]:.4g}" for each in reversed(own)) for k in (1, 0))
    return Check(value=f"sup u^ε/max u₀ = {values} at ε = {widths}", ratio=ratio, interval=(ratio, ratio))
