"""Case files in, result directories out."""

from kspde.io.case import Case, read_case
from kspde.io.console import Console
from kspde.io.results import ResultDirectory

__all__ = ["Case", "Console", "ResultDirectory", "read_case"]
