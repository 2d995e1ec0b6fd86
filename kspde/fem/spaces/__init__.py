"""Finite-element spaces: nodes, points and fields of a domain, and the linear systems on it."""
