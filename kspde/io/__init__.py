"""Case files in, result directories out."""

from kspde.io.case import Case, read_case
from kspde.io.console import Console
from kspde.io.restarts import Restarts
from kspde.io.results import SUMMARY, ResultDirectory

__all__ = ["SUMMARY", "Case", "Console", "Restarts", "ResultDirectory", "read_case"]
