r"""A limiter that keeps fluxes from taking more than there is.

Nodes hold amounts :math:`c_i \ge 0`. Fluxes :math:`A_{ij} = -A_{ji}` are to be added, :math:`c_i - \sum_j A_{ij}`,
which may be negative. Each node has a share :math:`0 \le R_i \le 1`, and a flux is multiplied by the share of the node
that it leaves, at both its ends: so the sum of all amounts stays. With :math:`P_i = \sum_j A_{ij}^+` and
:math:`I_i(R) = \sum_j R_j A_{ji}^+`,

.. math:: R_i^{(k)} = \min\big(P_i,\; c_i + I_i(R^{(k-1)})\big) / P_i, \qquad R^{(0)} = 0, \qquad
    c_i' = c_i + I_i(R^{(k)}) - R_i^{(k)} P_i .

The first pass is Zalesak's limiter (J. Comput. Phys. 31, 1979) for the bound 0: a node gives no more than it has. The
next ones let it pass on what it is sure to get. **c' ≥ 0 after any number of passes**: R does not fall from pass to
pass, since I is monotone and R^(1) ≥ 0 = R^(0); so :math:`R_i^{(k)} P_i \le c_i + I_i(R^{(k-1)}) \le c_i +
I_i(R^{(k)})`. Rounding is monotone too: the statement holds in floating-point arithmetic. All fluxes pass unchanged
if and only if :math:`P_i \le c_i + I_i(R^{(k-1)})` at every node, for which P_i ≤ c_i is enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kspde.fem.solvers.graph import Graph
from kspde.runtime.compiled import compiled_in_order

__all__ = ["limited"]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]

#: Passes; on the tails of Gaussians the third still gains a few per cent, the fifth nothing.
_PASSES = 4


def limited(graph: Graph, amounts: Array, flux: Array) -> tuple[Array, float]:
    """Return the amounts after the limited fluxes, and how much was held back on this rank. Collective.

    Args:
        graph: nodes and edges.
        amounts: c ≥ 0 at this rank's nodes.
        flux: A on its edges, antisymmetric to the last bit.
    """
    wanted = graph.sums(np.maximum(flux, 0.0))
    divisor = np.where(wanted > 0.0, wanted, 1.0)
    had = amounts
    given = np.zeros_like(wanted)
    for _ in range(_PASSES):
        given = np.minimum(wanted, had)
        had = amounts.copy()
        _arrive(graph.starts, graph.heads, flux, graph.ghosted(given / divisor), had)
    return had - given, float(np.sum(wanted - given))


@compiled_in_order
def _arrive(starts: Indices, heads: Indices, flux: Array, share: Array, had: Array) -> None:
    """Add to each node the share of what the others send."""
    for i in range(had.size):
        total = had[i]
        for e in range(starts[i], starts[i + 1]):
            total += max(-flux[e], 0.0) * share[heads[e]]
        had[i] = total
