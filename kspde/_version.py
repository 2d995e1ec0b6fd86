"""The version of kspde."""

__version__ = "1.0.0"
