"""Pictures of a study: each fitted quantity in log-log, the fitted line, and the promised slope.

Where nothing is fitted: the quantities that a finding shows, with what a theory says of them.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kspde.papers.studies.formulas import PARAMETERS, label_of, mathtext, sentence, symbol_of, text_of
from kspde.papers.studies.measures import MEASURES
from kspde.papers.studies.outcome import Rate
from kspde.papers.studies.quantities import Meaning, Quantity
from kspde.papers.studies.study import GROWING, Study
from kspde.plots.style import COLOURS, COLUMN, styled
from kspde.typing import Array

__all__ = ["picture_of", "pictures_of", "pictures_of_values"]

_MARKERS = "osD^vP"
_LINES: dict[str, Any] = {"proved": "-", "improved": (0, (6, 1, 1, 1, 1, 1)), "expected": "-.", "printed": ":"}

#: The axis of a parameter without fits is logarithmic where its largest value is so many times its smallest.
_DECADES = 30.0


def pictures_of(rates: Sequence[Rate], measure: str) -> dict[str, bytes]:
    """Return a picture (PNG) of each fitted quantity against each parameter, by file name.

    A quantity whose floor is fitted too has it as a dotted line: as near as N independent draws come.

    Args:
        rates: the rates of a study.
        measure: the name of its measure.
    """
    groups: dict[str, list[Rate]] = {}
    for rate in rates:
        groups.setdefault(f"{rate.fit.quantity}-{rate.fit.against}", []).append(rate)
    meanings = MEASURES[measure].quantities
    return {
        f"{name}.png": picture_of(
            group, meanings[fit.quantity], floors=groups.get(f"{fit.quantity}_floor-{fit.against}", ())
        )
        for name, group in groups.items()
        for fit in (group[0].fit,)
    }


def pictures_of_values(study: Study, records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return a picture (PNG) of each quantity that the finding of a study without fits shows, by file name.

    Against the first swept parameter with numbers, in the colours of the others' values; lines are the quantity beside.
    """
    if study.fits or study.finding is None:
        return {}
    against = next(name for name, values in study.axes.items() if not any(isinstance(v, str) for v in values))
    groups: dict[str, list[tuple[float, Mapping[str, Quantity]]]] = {}
    for record in records:
        others = {name: value for name, value in record["swept"].items() if name != against}
        groups.setdefault(sentence(label_of(others)) or "measured", []).append(
            (record["swept"][against], record["quantities"])
        )
    meanings = MEASURES[study.measure].quantities
    return {
        f"{name}-{against}.png": _picture_of_values(groups, name, meanings[name], against)
        for name in study.finding.shown
        if name not in {meanings[other].beside for other in study.finding.shown}
    }


def _picture_of_values(
    groups: Mapping[str, Sequence[tuple[float, Mapping[str, Quantity]]]], name: str, meaning: Meaning, against: str
) -> bytes:
    buffer = io.BytesIO()
    with styled() as figures:
        figure = figures((1.25 * COLUMN, 0.85 * COLUMN + 0.15 * len(groups)))
        axes = figure.subplots()
        _label(axes, meaning, against)
        axes.axhline(0.0, color="black", linewidth=0.6)
        for index, (label, members) in enumerate(groups.items()):
            colour = COLOURS[index % len(COLOURS)]
            x, found = zip(*sorted(members, key=lambda member: member[0]), strict=True)
            if x[0] > 0 and x[-1] >= _DECADES * x[0]:
                axes.set_xscale("log")
                places = np.exp(np.log(x) + _aside(np.log(x), index, len(groups)))
            else:
                places = np.array(x) + _aside(np.array(x), index, len(groups))
            values = np.array([q[name].value for q in found])
            reach = np.abs(np.array([q[name].interval for q in found]).T - values)
            axes.errorbar(places, values, yerr=reach, color=colour, capsize=2, label=label, **_marker(index))
            if meaning.beside:
                axes.plot(x, [q[meaning.beside].value for q in found], "--", linewidth=1, color=colour)
        if meaning.beside:
            axes.plot([], [], "--", linewidth=1, color="black", label="theory")
        figure.legend(loc="outside lower center", frameon=False, ncols=2)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _label(axes: Any, meaning: Meaning, against: str) -> None:
    """Label the axes and give the title."""
    axes.set_xlabel(sentence(PARAMETERS.get(against, ("", symbol_of(against)))[1]))
    axes.set_ylabel(mathtext(meaning.symbol))
    axes.set_title("\n".join(sentence(line) for line in textwrap.wrap(meaning.words, 52, break_on_hyphens=False)))
    axes.grid(visible=True, which="major", alpha=0.3)


def picture_of(rates: Sequence[Rate], meaning: Meaning, floors: Sequence[Rate] = ()) -> bytes:
    """Return a picture (PNG) of the rates of one quantity against one parameter, with those of its floor."""
    buffer = io.BytesIO()
    with styled() as figures:
        figure = figures((1.25 * COLUMN, 0.85 * COLUMN + 0.15 * (2 * len(rates) + bool(floors))))
        axes = figure.subplots()
        _draw_rates(axes, rates, meaning)
        for index, rate in enumerate(rates):
            for floor in (each for each in floors if each.group == rate.group):
                x, values = zip(*sorted(zip(floor.x, (q.value for q in floor.values), strict=True)), strict=True)
                axes.plot(x, values, ":", color=COLOURS[index % len(COLOURS)])
        if floors:
            axes.plot([], [], ":", color="black", label="floor: as many independent draws")
        figure.legend(loc="outside lower center", frameon=False, handlelength=1.8)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_rates(axes: Any, rates: Sequence[Rate], meaning: Meaning) -> None:
    axes.set_xscale("log")
    fit = rates[0].fit
    values = [abs(q.value) for rate in rates for q in rate.values]
    if any(values):
        axes.set_yscale("log")
        if not all(values):  # zeros are shown below the smallest value
            axes.set_yscale("symlog", linthresh=0.5 * min(v for v in values if v))
    for index, rate in enumerate(rates):
        _draw(axes, rate, index, len(rates))
    orders: dict[tuple[float, str], list[int]] = {}
    for index, rate in enumerate(rates):
        for promise in rate.promises:
            orders.setdefault((round(promise.order, 12), promise.status), []).append(index)
    for (order, status), members in orders.items():
        shared = len(members) == len(rates)
        whose = "" if shared else ", ".join(sentence(label_of(rates[k].group)) for k in members)
        _guide(axes, rates[members[0]], order, status, None if shared else members[0], whose)
    if axes.get_yscale() == "log":  # intervals that hold 0 go down to the frame
        frame = axes.get_ylim()
        for index, rate in enumerate(rates):
            reached = _ends(rate)[:, 0] <= 0
            tops = np.array([abs(q.value) for q in rate.values])[reached]
            places = np.exp(np.log(rate.x) + _aside(np.log(rate.x), index, len(rates)))
            axes.vlines(places[reached], frame[0], tops, color=COLOURS[index % len(COLOURS)])
        axes.set_ylim(frame)
    _label(axes, meaning, fit.against)
    ticks = sorted({x for rate in rates for x in rate.x})
    if len(ticks) <= 8:
        least = 0.14 * np.log(ticks[-1] / ticks[0])  # labels must not touch
        kept = [ticks[-1]]
        for x in reversed(ticks):
            if np.log(kept[0] / x) > least:
                kept.insert(0, x)
        axes.set_xticks(kept, [_tick(x) for x in kept])
        axes.set_xticks([], minor=True)


def _tick(x: float) -> str:
    power = round(np.log10(x))
    if x < 0.01 and np.isclose(x, 10.0**power, rtol=1e-12):
        return f"$10^{{{power}}}$"
    return text_of(x)


def _ends(rate: Rate) -> Array:
    """Return the ends of the intervals of the values' absolute values, shape (K, 2); below 0 where 0 is inside."""
    return np.array([sorted(np.copysign(1.0, q.value) * end for end in q.interval) for q in rate.values])


def _marker(index: int) -> dict[str, Any]:
    """Return the marker of one of several groups: full ones in all colours, then empty ones."""
    empty = {"markerfacecolor": "white"} if index // len(COLOURS) % 2 else {}
    return {"fmt": _MARKERS[index % len(_MARKERS)], **empty}


def _aside(x: Array, index: int, count: int) -> float:
    """Return how far the points of one of several groups are moved, so that intervals do not lie on one another."""
    return float(min(0.012, 0.07 / count) * np.ptp(x) * (index - (count - 1) / 2))


def _draw(axes: Any, rate: Rate, index: int, count: int) -> None:
    """Draw the values with their intervals, and the fitted line."""
    colour = COLOURS[index % len(COLOURS)]
    x = np.array(rate.x)
    order = np.argsort(x)
    values = np.array([abs(q.value) for q in rate.values])
    ends = _ends(rate)
    low = np.where((ends[:, 0] <= 0) & (axes.get_yscale() == "log"), values, np.clip(ends[:, 0], 0.0, None))
    reach = np.stack([values - low, ends[:, 1] - values]).clip(0.0)
    words = sentence(label_of(rate.group)) or "measured"
    if rate.order is not None:
        p, (q, r) = rate.order
        words += f": order {p:.3g} [{q:.3g}, {r:.3g}]"
    places = np.exp(np.log(x) + _aside(np.log(x), index, count))
    axes.errorbar(
        places[order], values[order], yerr=reach[:, order], color=colour, capsize=2, label=words, **_marker(index)
    )
    if rate.law is not None:
        fitted = np.geomspace(x.min(), x.max(), 2 if rate.law.correction is None else 50)
        axes.plot(fitted, rate.law.at(fitted), "--", linewidth=1, color=colour)


def _guide(axes: Any, rate: Rate, order: float, status: str, index: int | None, whose: str) -> None:
    """Draw the promised slope through the value at the coarse end; ``whose`` names the values it is promised for."""
    resolved = [(x, abs(q.value)) for x, q in zip(rate.x, rate.values, strict=True) if q.value != 0]
    if not resolved:
        return
    growing = rate.fit.against in GROWING
    x0, y0 = min(resolved) if growing else max(resolved)
    ends = np.array([min(rate.x), max(rate.x)])
    slope = -order if growing else order
    axes.plot(
        ends,
        1.25 * y0 * (ends / x0) ** slope,
        linestyle=_LINES.get(status, "-"),
        alpha=0.6,
        color="black" if index is None else COLOURS[index % len(COLOURS)],
        label=f"{status}: order {order:.3g}" + (f" ({whose})" if whose else ""),
    )
