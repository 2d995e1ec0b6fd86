"""Meshes: built or read, checked, and refined."""
