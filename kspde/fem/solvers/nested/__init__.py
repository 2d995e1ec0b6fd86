"""Multigrid on meshes that were refined from a coarser one."""
