"""Pictures of distances over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kspde.errors import check_choice
from kspde.plots.style import BLUE, COLUMN, GREY, ORANGE, PAGE, Figures, differing, drawn, setting_of, thousands
from kspde.runtime.parallel import collective
from kspde.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_over_time"]


class _Table(Protocol):
    """Distances over time, as ``kspde.OverTime`` has them: columns by name, and those of their floors and intervals."""

    @property
    def columns(self) -> Mapping[str, Array]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def n(self) -> int: ...
    @property
    def eps(self) -> float | None: ...
    @property
    def differs(self) -> Mapping[str, tuple[Any, Any]]: ...
    @property
    def comm(self) -> Any: ...
    def title(self, name: str) -> str: ...


@collective(own=("table",))
def plot_over_time(table: _Table, path: str | Path | None = None, names: Sequence[str] | None = None) -> Figure | None:
    """Draw distances over time: values with intervals, the floor as a band, what smoothing alone does as a line.

    Args:
        table: the distances.
        path: the file; without one the figure is returned on rank 0.
        names: which distances; None takes L¹ and the relative entropy, or all where they were not measured.

    Raises:
        InputError: a distance that was not measured, or the file cannot be written.
    """
    if names is None:
        names = [name for name in ("l1", "relative_entropy") if name in table.names] or table.names
    for name in names:
        check_choice("names", name, table.names)

    size = [f"$N = {thousands(table.n)}$"] if table.n else []
    first = ", ".join([*size, *setting_of(None, table.eps)])
    return drawn(
        path,
        table.comm,
        partial(
            _draw,
            columns=dict(table.columns),
            titles={name: table.title(name) for name in names},
            label="particles, 95 %" if table.n else "densities",
            title="\n".join(part for part in (first, differing(table.differs)) if part),
        ),
    )


def _draw(
    figures: Figures, *, columns: Mapping[str, Array], titles: Mapping[str, str], label: str, title: str
) -> Figure:
    across = min(2, len(titles))
    rows = -(-len(titles) // across)
    figure = figures((COLUMN if across == 1 else PAGE, (2.2 if across == 1 else 2.9) * rows + 0.5))
    panels = figure.subplots(rows, across, sharex=True, squeeze=False).ravel()
    for panel, name in zip(panels, titles, strict=False):
        _curves(panel, columns, name, label)
        panel.set_title(titles[name], y=1.08)  # above the power of ten
    for panel in panels[len(titles) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(titles) - across) : len(titles)]:
        panel.set_xlabel("$t$")
        panel.xaxis.set_tick_params(labelbottom=True)
    panels[0].legend(frameon=False, handlelength=1.8, loc="best")
    figure.suptitle(title)
    return figure


def _curves(panel: Any, columns: Mapping[str, Array], name: str, label: str) -> None:
    t, value = columns["t"], columns[name]
    if f"floor_{name}" in columns:
        low, high = columns[f"floor_{name}_low"], columns[f"floor_{name}_high"]
        panel.fill_between(t, low, high, color=GREY, alpha=0.25, linewidth=0, label="floor, 95 %")
        panel.plot(t, columns[f"floor_{name}"], color=GREY, linewidth=0.8)
    below, above = value - columns[f"{name}_low"], columns[f"{name}_high"] - value
    panel.errorbar(t, value, (below, above), fmt="o-", color=BLUE, markersize=3, capsize=2, linewidth=1.0, label=label)
    if f"smoothing_{name}" in columns:
        panel.plot(
            t, columns[f"smoothing_{name}"], color=ORANGE, linestyle="--", linewidth=1.0, label="smoothing alone"
        )
    panel.set_ylim(min(0.0, 1.1 * float(columns[f"{name}_low"].min())), None)
    panel.ticklabel_format(axis="y", scilimits=(-3, 4))
