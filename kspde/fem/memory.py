"""The memory of a density run, estimated from the number of nodes before anything is computed.

The constants are bytes per node beyond what the libraries take, measured with one species and one field
(tests/benchmarks/memory.py, whose table sets estimates beside measured peaks). Each scheme has its own ``node_bytes``.
"""

from __future__ import annotations

import math

from kspde.domains import Domain
from kspde.fem.schemes import Scheme
from kspde.runtime.limits import check_memory
from kspde.typing import Comm

__all__ = ["bytes_of_run", "check_run"]

#: Vectors of a species or a field on a Box, and DOLFINx's mesh, per cell.
_PART, _CELL = 80.0, 150.0
#: Each entry of a row of a matrix of degree p > 1, which has about (p + 1)^d of them.
_ENTRY = 48.0
#: A factor by Cholesky in two dimensions: times log2 of the number of nodes.
_FACTOR = 36.0
#: Implicit steps with local fields, per edge and node (2d + 1 of them at a node), and per entry of their blocks.
_EDGE, _BLOCK = 175.0, 120.0
#: The factor by which ranks that share a mesh need more than one.
_SHARED = 1.25
#: Bytes needed on any mesh; gmsh is loaded for one without structure.
_LEAST = {True: 2e6, False: 30e6}


def bytes_of_run(
    domain: Domain,
    dimension: int,
    nodes: float,
    scheme: Scheme,
    *,
    parts: int,
    saved: int,
    ranks: int,
    coupled: int = 0,
) -> float:
    """Return about how many bytes a run takes on all ranks together.

    Args:
        domain: the domain.
        dimension: the dimension of space.
        nodes: the number of nodes.
        scheme: the scheme.
        parts: the number of species and fields.
        saved: the number of species times that of snapshots.
        ranks: the number of ranks that share the mesh.
        coupled: the number of species whose coefficients depend on local densities; 0 if none do.
    """
    each = 16.0 * saved
    vectors, matrices, on_mesh = scheme.node_bytes
    if domain.structured:
        # Rows of matrices are three times as long in each further dimension.
        each += vectors + 3.0 ** (dimension - 2) * matrices + _PART * parts + _CELL / domain.degree**dimension
    else:
        each += on_mesh + _PART * (parts - 2)
        if domain.degree > 1:
            each += _ENTRY * (domain.degree + 1) ** dimension
        if domain.solver == "direct":
            each += _FACTOR * math.log2(max(nodes, 2.0)) * (nodes ** (1 / 3) if dimension == 3 else 1.0)
    if scheme.positive and coupled:
        each += (2 * dimension + 1) * (_EDGE + _BLOCK * coupled**2)
    return _LEAST[domain.structured] + nodes * each * (_SHARED if ranks > 1 else 1.0)


def check_run(
    domain: Domain, dimension: int, scheme: Scheme, comm: Comm, *, nodes: float | None = None, **sizes: int
) -> None:
    """Refuse a run that does not fit into memory. Collective.

    Args:
        domain: the domain.
        dimension: the dimension of space.
        scheme: the scheme.
        comm: the communicator.
        nodes: the nodes of a mesh that has been built.
        sizes: ``parts``, ``saved`` and ``coupled`` of ``bytes_of_run``.

    Raises:
        InputError: it does not fit; on every rank.
    """
    nodes = domain.nodes(dimension) if nodes is None else nodes
    if nodes is not None:
        needed = bytes_of_run(domain, dimension, nodes, scheme, ranks=comm.size, **sizes)
        remedy = "give fewer cells" if domain.structured else "give a coarser mesh"
        check_memory(f"a density on {nodes:.3g} nodes", needed / comm.size, comm, remedy)
