"""How results of this room are shown: a few lines in a terminal, a table in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kspde.runtime.notebook import html_table

__all__ = ["Result"]


class Result(ABC):
    """A result that is shown by its leading numbers."""

    @abstractmethod
    def _lines(self) -> dict[str, str]:
        """Return what a reader wants to know first: the heading with its text, then names with values."""

    def __repr__(self) -> str:
        return "\n  ".join(f"{name}: {text}" for name, text in self._lines().items())

    def _repr_html_(self) -> str:
        (head, about), *rows = self._lines().items()
        return html_table(f"{head}: {about}", ("", "value"), rows)
