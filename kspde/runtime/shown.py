"""What a result shows of itself: a few lines on a terminal, a table in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from html import escape

__all__ = ["Shown"]


class Shown:
    """A result whose ``repr`` is a few rows of names and values. Rank-local."""

    @abstractmethod
    def shown(self) -> Sequence[tuple[str, str]]:
        """Return rows (name, value), the most important first."""

    def __repr__(self) -> str:
        rows = self.shown()
        width = max(len(name) for name, _ in rows)
        return "\n".join([type(self).__name__, *(f"  {name:<{width}}  {value}" for name, value in rows)])

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.shown())
        return f"<table><caption>{type(self).__name__}</caption>{''.join(rows)}</table>"
