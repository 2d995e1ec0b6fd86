"""What a density's run takes of memory, estimated from the number of nodes before anything is computed.

The constants are bytes per node beyond what the libraries take, measured with one species and one field
(tests/benchmarks/memory.py, whose table holds estimates beside measured peaks).
"""

from __future__ import annotations

import math
from typing import Any

from kspde.domains import Box, Disk, Domain
from kspde.runtime.memory import check_memory

__all__ = ["bytes_of_run", "check_run"]

#: On a Box, by scheme: vectors of the time stepping that do not depend on how many species and fields there are.
_BOX = {"adaptive": 130.0, "rosenbrock": 205.0}
#: Matrices of the positive schemes on a Box in two dimensions; rows are three times as long in each further one.
_MATRICES = {"positive": 390.0, "positive2": 460.0}
#: Vectors of a species or a field on a Box, and DOLFINx's mesh, for each cell.
_PART, _CELL = 80.0, 150.0
#: On a mesh of degree 1, by scheme: DOLFINx's mesh, matrices and their hierarchy take most.
_MESH = {"adaptive": 1200.0, "rosenbrock": 1200.0, "positive": 950.0, "positive2": 1200.0}
#: Of each entry of a row of a matrix of degree p > 1, about (p + 1)^d of them.
_ENTRY = 48.0
#: A factor by Cholesky in two dimensions: times log2 of the number of nodes.
_FACTOR = 36.0
#: What ranks that share a mesh take more than one.
_SHARED = 1.25
#: Whatever the mesh; gmsh's is loaded for a Disk or a MeshFile.
_LEAST = {"box": 2e6, "mesh": 30e6}


def bytes_of_run(
    domain: Domain, dimension: int, nodes: float, scheme: str, *, parts: int, saved: int, ranks: int
) -> float:
    """Return about how many bytes a run takes on all ranks together.

    Args:
        domain: where.
        dimension: of space.
        nodes: of the mesh.
        scheme: of ``solve``.
        parts: species and fields.
        saved: species times saved states.
        ranks: how many share the mesh.
    """
    each = 16.0 * saved
    if isinstance(domain, Box):
        each += _PART * parts + _CELL / domain.degree**dimension
        if scheme in _MATRICES:
            each += _BOX["adaptive"] + 3.0 ** (dimension - 2) * _MATRICES[scheme]
        else:
            each += _BOX[scheme]
    else:
        each += _MESH[scheme] + _PART * (parts - 2)
        if domain.degree > 1:
            each += _ENTRY * (domain.degree + 1) ** dimension
        if domain.solver == "direct":
            each += _FACTOR * math.log2(max(nodes, 2.0)) * (nodes ** (1 / 3) if dimension == 3 else 1.0)
    least = _LEAST["box" if isinstance(domain, Box) else "mesh"]
    return least + nodes * each * (_SHARED if ranks > 1 else 1.0)


def check_run(
    domain: Domain, dimension: int, scheme: str, comm: Any, *, parts: int, saved: int, nodes: float | None = None
) -> None:
    """Refuse a run that does not fit into memory. Collective.

    Args:
        domain: where.
        dimension: of space.
        scheme: of ``solve``.
        comm: the communicator.
        parts: species and fields.
        saved: species times saved states.
        nodes: of the mesh, where they are known; else those of a Box, or about those of a Disk.

    Raises:
        InputError: it does not fit; on every rank.
    """
    if nodes is None:
        nodes = _nodes(domain, dimension)
    if nodes is not None:
        needed = bytes_of_run(domain, dimension, nodes, scheme, parts=parts, saved=saved, ranks=comm.size)
        remedy = "give fewer cells" if isinstance(domain, Box) else "give a coarser mesh"
        check_memory(f"a density on {nodes:.3g} nodes", needed / comm.size, comm, remedy)


def _nodes(domain: Domain, dimension: int) -> float | None:
    if isinstance(domain, Box):
        return float(domain.cells * domain.degree + 1) ** dimension
    if isinstance(domain, Disk):
        # Cells grow linearly from the centre to the rim: the integral of 2πr/h(r)².
        size, rim = domain.size, domain.rim_size or domain.size
        growth = (rim - size) / domain.radius
        if abs(growth) * domain.radius < 1e-3 * size:
            whole = math.pi * (domain.radius / size) ** 2
        else:
            whole = 2 * math.pi / growth**2 * (math.log(rim / size) + size / rim - 1.0)
        return (1.16 if domain.cell == "triangle" else 1.0) * whole * domain.degree**2
    return None
