"""The version of kspde."""

__version__ = "0.1.0"
