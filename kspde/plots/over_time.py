"""Pictures of distances over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    def __getitem__(self, column: str) -> Array: ...
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

    def draw(figures: Figures) -> Figure:
        columns = min(2, len(names))
        rows = -(-len(names) // columns)
        figure = figures((COLUMN if columns == 1 else PAGE, (2.2 if columns == 1 else 2.9) * rows + 0.5))
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _panel(panel, table, name)
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        for panel in panels[max(0, len(names) - columns) : len(names)]:
            panel.set_xlabel("$t$")
            panel.xaxis.set_tick_params(labelbottom=True)
        panels[0].legend(frameon=False, handlelength=1.8, loc="best")
        size = [f"$N = {thousands(table.n)}$"] if table.n else []
        first = ", ".join([*size, *setting_of(None, table.eps)])
        figure.suptitle("\n".join(part for part in (first, differing(table.differs)) if part))
        return figure

    return drawn(path, table.comm, draw)


def _panel(panel: Any, table: _Table, name: str) -> None:
    t = table["t"]
    if f"floor_{name}" in table.columns:
        low, high = table[f"floor_{name}_low"], table[f"floor_{name}_high"]
        panel.fill_between(t, low, high, color=GREY, alpha=0.25, linewidth=0, label="floor, 95 %")
        panel.plot(t, table[f"floor_{name}"], color=GREY, linewidth=0.8)
    value = table[name]
    below, above = value - table[f"{name}_low"], table[f"{name}_high"] - value
    label = "particles, 95 %" if table.n else "densities"
    panel.errorbar(t, value, (below, above), fmt="o-", color=BLUE, markersize=3, capsize=2, linewidth=1.0, label=label)
    if f"smoothing_{name}" in table.columns:
        panel.plot(t, table[f"smoothing_{name}"], color=ORANGE, linestyle="--", linewidth=1.0, label="smoothing alone")
    panel.set_title(table.title(name), y=1.08)  # above the power of ten
    panel.set_ylim(min(0.0, 1.1 * float(table[f"{name}_low"].min())), None)
    panel.ticklabel_format(axis="y", scilimits=(-3, 4))
