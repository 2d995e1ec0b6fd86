"""The style of all pictures, and the two ways to make one: a file, or a figure for further use.

Pictures are at least as wide as a printed column (:data:`COLUMN`); letters and lines grow with the width, so that a
wider picture is still legible when printed in a column. Colours are Okabe and Ito's, distinguishable by all eyes.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kspde.errors import InputError, shown
from kspde.runtime.copies import Copies
from kspde.runtime.files import writing
from kspde.runtime.parallel import threads_per_rank, together
from kspde.runtime.values import in_words
from kspde.typing import Comm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLOURS",
    "COLUMN",
    "DENSITY_MAP",
    "DIFFERENCE_MAP",
    "GREEN",
    "GREY",
    "ORANGE",
    "PAGE",
    "PURPLE",
    "Figures",
    "check_path",
    "differing",
    "drawing",
    "drawn",
    "in_digits",
    "map_size",
    "per_volume",
    "picture",
    "setting_of",
    "side_by_side",
    "styled",
    "symbol_of",
    "thousands",
    "wait_for_pictures",
]

#: Perceptually uniform, and a diverging map with white at 0; both readable without red-green vision.
DENSITY_MAP, DIFFERENCE_MAP = "viridis", "PuOr_r"

#: Widths of a column and of a page's text, in inches: 8.5 cm and 18.3 cm.
COLUMN, PAGE = 3.35, 7.2

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#e69f00", "#56b4e9")

_STYLE: Any = {
    "text.usetex": False,  # a matplotlibrc in the current directory could run TeX with its own commands
    "figure.autolayout": False,  # figures have a layout of their own, and none when it is done
    "figure.constrained_layout.use": False,
    "mathtext.fontset": "cm",
    "axes.formatter.use_mathtext": True,
    "savefig.dpi": 250,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.04,
}

#: Sizes in points, for a picture as wide as a column.
_SIZES: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "figure.titlesize": 8.5,
    "figure.labelsize": 7.5,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
}

#: Letters grow by no more than this: a page is 2.15 columns wide.
_GROWTH = 1.5

#: What matplotlib raises when a picture cannot be written: ValueError for a suffix that it does not know.
_FAILURES = (OSError, ValueError)


class Figures:
    """Makes figures in the style of all pictures: ``figures((width, height))``, in inches.

    Attributes:
        last: the figure made last.
    """

    last: Figure | None = None

    def __call__(self, size: tuple[float, float]) -> Figure:
        """Return a new figure of a size."""
        import matplotlib

        from kspde.plots.figure import Picture

        growth = min(_GROWTH, max(1.0, size[0] / COLUMN))
        sizes = {name: growth * value for name, value in _SIZES.items()}
        matplotlib.rcParams.update(sizes)
        self.last = Picture(_STYLE | sizes, size)
        return self.last


@contextmanager
def styled() -> Iterator[Figures]:
    """Yield a maker of figures in the style of all pictures."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield Figures()


@contextmanager
def drawing(comm: Comm) -> Iterator[Figures | None]:
    """Yield a maker of figures in the style of all pictures on rank 0, None elsewhere. Collective."""
    with together(comm):
        if comm.rank != 0:
            yield None
            return
        with styled() as figures:
            yield figures


@contextmanager
def picture(path: str | Path, comm: Comm) -> Iterator[Figures | None]:
    """Yield a maker of the one figure on rank 0, None elsewhere; write the figure at the end. Collective.

    It is for scripts, as the demos are; the package's own pictures are ``drawn``, by functions that a process of their
    own can call.

    Raises:
        InputError: ``path`` is not one, or the file cannot be written.
    """
    check_path(path)
    with drawing(comm) as figures:
        yield figures
        if figures is not None and figures.last is not None:
            with writing(path, _FAILURES):
                figures.last.savefig(path)


def check_path(path: object) -> None:
    """Refuse what is neither None nor the name of a file."""
    if path is not None and (not isinstance(path, (str, PathLike)) or not Path(path).name):
        raise InputError(f'path = {shown(path)} is not valid: give the name of a file, such as "density.png"')


#: What draws the pictures of a block of ``side_by_side``; None outside of it, and where there are no cores for it.
_copies: Copies | None = None


@contextmanager
def side_by_side(comm: Comm, *modules: str) -> Iterator[None]:
    """Draw the pictures that are written in a block in processes of their own, beside one another and the block.

    When the block begins they import matplotlib, and the modules named, which is best done while this process imports
    others. Where there are several ranks, or one core, nothing changes. ``wait_for_pictures`` must end what begins
    pictures: those that nobody waited for are not finished.
    """
    global _copies
    if comm.size > 1 or threads_per_rank(comm) < 2 or not hasattr(os, "fork"):
        yield
        return
    before = _copies
    with suppress(OSError):
        _copies = Copies(partial(_first_figure, modules))
    try:
        yield
    finally:
        if _copies is not None and _copies is not before:
            _copies.end()
        _copies = before


def wait_for_pictures() -> None:
    """Wait until all pictures are written.

    Raises:
        InputError: a file cannot be written.
    """
    if _copies is not None:
        _copies.wait()


def _first_figure(modules: Sequence[str]) -> None:
    """Import modules, and write a figure: the first one needs matplotlib's, its fonts, and the grammar of its type."""
    for name in modules:
        importlib.import_module(name)
    with styled() as figures:
        figure = figures((COLUMN, COLUMN))
        panel = figure.subplots()
        panel.contour([[0.0, 0.0], [1.0, 1.0]])
        panel.set_title("$t$")
        figure.savefig(io.BytesIO(), format="png")


def drawn(path: str | Path | None, comm: Comm, draw: Callable[[Figures], Figure]) -> Figure | None:
    """Write the figure that ``draw`` makes on rank 0; return it there, if no path is given. Collective.

    Args:
        path: the file; None writes none.
        comm: the communicator.
        draw: a function of a module with its arguments (``functools.partial``), since another process may call it: see
            ``side_by_side``.

    Raises:
        InputError: the file cannot be written.
    """
    check_path(path)
    if path is not None and _copies is not None:
        _copies.begin(partial(_write, path, draw))
        return None
    with together(comm):
        if comm.rank == 0 and path is not None:
            _write(path, draw)
        elif comm.rank == 0:
            with styled() as figures:
                return draw(figures)
    return None


def _write(path: str | Path, draw: Callable[[Figures], Figure]) -> None:
    with styled() as figures, writing(path, _FAILURES):
        draw(figures).savefig(path)


def map_size(aspect: float) -> tuple[float, float]:
    """Return the size of a figure of one map, a column wide, with its colour bar; ``aspect`` is height over width."""
    return COLUMN, 0.85 * COLUMN * aspect + 1.0


def setting_of(t_end: float | None, eps: float | None) -> list[str]:
    """Return the parts of a title that state time and ε."""
    given = {"t": t_end, r"\varepsilon": eps}
    return [f"${symbol} = {in_digits(value)}$" for symbol, value in given.items() if value is not None]


def in_digits(value: float) -> str:
    """Return a number for mathematical type: 5.423 × 10⁻⁵ for 5.42271e-05."""
    digits = f"{value:g}"
    if "e" not in digits:
        return digits
    digits, power = f"{value:.4g}".split("e")
    return rf"{digits} \times 10^{{{int(power)}}}"


def differing(differs: Mapping[str, tuple[Any, Any]]) -> str:
    """Return, in one line, what differs between the two sides of a picture."""
    symbols = {"eps": r"$\varepsilon$", "chi": r"$\chi$", "mu": r"$\mu$", "tau": r"$\tau$", "u0": "$u_0$"}
    parts = []
    for name, values in differs.items():
        # A user's names must not be read as mathematical type.
        one, other = (textwrap.shorten(in_words(value), 40, placeholder="…").replace("$", r"\$") for value in values)
        label = symbols.get(name, name.replace("$", r"\$"))
        parts.append(f"{label}: {one} | {other}" if one != other else f"another {label}")
    return ", ".join(parts)


def symbol_of(species: str) -> str:
    """Return a species' name for print."""
    return f"${species}$" if re.fullmatch(r"[A-Za-z](_[A-Za-z0-9])?", species) else species


def thousands(n: int) -> str:
    """Return a number with its thousands separated, for mathematical type."""
    return f"{n:,}".replace(",", r"\,")


def per_volume(text: str, dimension: int) -> str:
    """Return the label of a density's values, with their unit: mass per length, area or volume."""
    return f"{text} per unit {('length', 'area', 'volume')[dimension - 1]}"
