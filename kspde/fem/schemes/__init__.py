"""Schemes in time of the density equation."""
