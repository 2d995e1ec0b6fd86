"""Schemes in time of the particle system."""
