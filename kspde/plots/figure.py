"""The class of all figures: it needs matplotlib, which :mod:`kspde.plots.style` imports for the first one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import Bbox

__all__ = ["Numbers", "Picture"]

#: Dots per inch of a figure that a notebook shows.
_NOTEBOOK_DPI = 120

#: PNG files are a fifth larger than by default, and compressed in .06 s in place of .1.
_PNG = {"compress_level": 3}


class Numbers(ScalarFormatter):
    """Numbers at ticks, of which the power of ten alone is mathematical type: to parse that takes 4 ms each time."""

    def __init__(self) -> None:
        super().__init__(useMathText=False)

    def get_offset(self) -> str:
        """Return the power of ten, and what is to be added to all numbers."""
        self.set_useMathText(True)
        try:
            return super().get_offset()
        finally:
            self.set_useMathText(False)


class Picture(Figure):
    """A figure that is written in the style it was made in, and that a notebook shows without pyplot.

    Args:
        style: values of ``matplotlib.rcParams``.
        size: width and height in inches.
    """

    def __init__(self, style: Any, size: tuple[float, float]) -> None:
        super().__init__(figsize=size, layout="compressed")
        FigureCanvasAgg(self)
        self._style = style

    def add_subplot(self, *args: Any, **options: Any) -> Any:
        """Add axes, whose linear scales have ``Numbers``."""
        panel = super().add_subplot(*args, **options)
        if panel.name == "rectilinear":
            for axis in (panel.xaxis, panel.yaxis):
                if type(axis.get_major_formatter()) is ScalarFormatter:
                    axis.set_major_formatter(Numbers())
            panel.spines[["top", "right"]].set_in_layout(False)  # they need no room; a tenth of the time of six panels
        return panel

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure; options as of matplotlib."""
        with matplotlib.rc_context(self._style):
            if str(options.get("format", fname)).endswith("png"):
                options.setdefault("pil_kwargs", _PNG)
            if self.axes and options.keys().isdisjoint({"bbox_inches", "pad_inches"}):
                with self._arranged(options.setdefault("dpi", matplotlib.rcParams["savefig.dpi"])) as box:
                    super().savefig(fname, bbox_inches=box, **options)
            else:
                super().savefig(fname, **options)

    @contextmanager
    def _arranged(self, dpi: Any) -> Iterator[Bbox]:
        """Arrange the axes, and yield the box of all that is drawn.

        To find both, matplotlib would draw all of it once more, in an eighth of the time.
        """
        engine, before = self.get_layout_engine(), self.get_dpi()
        try:
            if dpi != "figure":
                self.set_dpi(dpi)
            if engine is not None:
                engine.execute(self)
            self.set_layout_engine(None)
            yield self.get_tightbbox().padded(matplotlib.rcParams["savefig.pad_inches"])
        finally:
            self.set_layout_engine(engine)
            self.set_dpi(before)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_NOTEBOOK_DPI)
        return buffer.getvalue()
