r"""Coefficients of implicit steps as functions of the densities, as far as they depend on them locally.

D is evaluated at the nodes and q = b·(x_j − x_i) on the edges, as ``kspde.fem.schemes.implicit`` states; their
derivatives in the local fields are differences, pointwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kspde.fem.coefficients import checked, checked_growth
from kspde.fem.effective_diffusion import increment, strength_of, with_field
from kspde.fem.schemes.transport import Motion
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.solvers.graph import Graph
from kspde.models import Field, FieldValues
from kspde.models.coefficients import diffusion_of, drift_of
from kspde.runtime.compiled import compiled_in_order
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["EdgeGeometry", "LocalCoefficients", "LocalSlopes", "LocalValues"]

Edges = npt.NDArray[np.int32]


class EdgeGeometry(NamedTuple):
    """Geometry of the edges (i, j): x_j − x_i, its length and direction, and the middle."""

    vectors: Array
    lengths: Array
    directions: Array
    middles: Array

    @classmethod
    def of(cls, graph: Graph) -> EdgeGeometry:
        """Return the geometry of a graph's edges. Collective."""
        x, edges = graph.coordinates, graph.edges
        tails, heads = x[edges.tails], x[edges.heads]
        vectors = np.stack([graph.along(axis) for axis in range(x.shape[1])], axis=1)
        lengths = np.linalg.norm(vectors, axis=1)
        across = np.abs(heads - tails - vectors)  # the period, where an edge joins both ends of a periodic box
        return cls(vectors, lengths, vectors / lengths[:, None], 0.5 * (tails + heads + across))


class LocalValues(NamedTuple):
    """Coefficients of all species: D at this rank's nodes and q of its edges, or None without drift.

    Attributes:
        nodes: the fields at the nodes that they are functions of.
        edges: those on the edges; None without drift.
    """

    diffusion: list[Array]
    q: list[Array | None]
    nodes: FieldValues
    edges: FieldValues | None


class LocalSlopes(NamedTuple):
    """Derivatives of coefficients in the density of each species: [i][j], None where there is none.

    Attributes:
        diffusion: those of D.
        means, differences: of q in a density's mean over the edge and in its difference.
    """

    diffusion: list[list[Array | None]]
    means: list[list[Array | None]]
    differences: list[list[Array | None]]


class LocalCoefficients:
    """Coefficients as functions of the densities, with what is not local frozen.

    Args:
        system: the semidiscretisation, with local fields.
        graph: the graph.
        drifting: which species have a drift.
        geometry: the geometry of the edges; None if no species drifts.
        unknowns: where it is frozen.
        t: the time, likewise.
    """

    def __init__(
        self,
        system: Semidiscretisation,
        graph: Graph,
        drifting: tuple[bool, ...],
        geometry: EdgeGeometry | None,
        unknowns: Array,
        t: float,
    ) -> None:
        self._system, self._graph, self._drifting, self._geometry = system, graph, drifting, geometry
        self._nodes = system.field_values(unknowns, t)
        self._edges: FieldValues | None = None
        if geometry is not None:
            names = {f.name for f in system.local}
            values = {name: _means(graph, c) for name, c in self._nodes.values.items() if name not in names}
            gradients = {}
            for name, gradient in self._nodes.gradients.items():
                mean = np.stack([_means(graph, g) for g in gradient.T], axis=1)
                if name in names:  # what is across the edge
                    along = geometry.directions
                    mean -= _products(mean, along)[:, None] * along
                gradients[name] = mean
            self._edges = FieldValues(geometry.middles, values, gradients, t, self._nodes.moments)

    def motions(self, u: Array) -> list[Motion]:
        """Return the fluxes with the coefficients of these densities. Collective.

        Raises:
            CoefficientError: coefficients have no meaning.
        """
        system, graph = self._system, self._graph
        values = self.at(u)
        out = []
        for species, d, q in zip(system.model.species, values.diffusion, values.q, strict=True):
            speed = None
            if q is not None and self._geometry is not None:  # for the message: the drift along the edges of a node
                along = np.abs(q) / self._geometry.lengths
                speed = np.sqrt(graph.sums(along * along))[:, None]
            out.append(Motion.along(graph, checked(system.space, species, d, speed), q))
        if system.model.has_growth:
            for motion, growth in zip(out, self.growth(u), strict=True):
                motion.growth = growth
        return out

    def growth(self, u: Array) -> list[Array | None]:
        """Return r of these densities, or None without growth. Collective.

        Raises:
            CoefficientError: it is not finite.
        """
        system, nodes = self._system, self._at_nodes(u)
        return [checked_growth(system.space, name, system.growth(name, nodes)) for name in system.model.species]

    def at(self, u: Array) -> LocalValues:
        """Return the coefficients of these densities. Collective."""
        nodes, edges = self._at_nodes(u), self._at_edges(u)
        diffusion, q = [], []
        with together(self._system.space.comm), np.errstate(all="ignore"):
            for i, species in enumerate(self._system.model.species):
                diffusion.append(self._diffusion(species, nodes))
                q.append(self._along(species, edges) if self._drifting[i] else None)
        return LocalValues(diffusion, q, nodes, edges)

    def slopes(self, values: LocalValues) -> LocalSlopes:
        """Return how the coefficients depend on the densities whose values these are. Collective."""
        system, geometry, nodes, edges = self._system, self._geometry, values.nodes, values.edges
        n = len(system.model.species)
        largest = self._largest(nodes)
        table: list[list[list[Array | None]]] = [[[None] * n for _ in range(n)] for _ in range(3)]
        diffusion, means, differences = table
        with together(system.space.comm), np.errstate(all="ignore"):
            for i, species in enumerate(system.model.species):
                for f in system.local:
                    j, strength = self._source(f), strength_of(f)
                    c = nodes.values[f.name]
                    h = increment(c, largest[f.name], strength)
                    moved = self._diffusion(species, with_field(nodes, f, c + h))
                    _add(diffusion[i], j, strength * (moved - values.diffusion[i]) / h)
                    along = values.q[i]
                    if along is None or edges is None or geometry is None:
                        continue
                    c = edges.values[f.name]
                    h = increment(c, largest[f.name], strength)
                    moved = self._along(species, with_field(edges, f, c + h))
                    _add(means[i], j, strength * (moved - along) / h)
                    if f.gradient:
                        g, lengths = edges.gradients[f.name], geometry.lengths
                        h = increment(np.sqrt(_products(g, g)), largest[f.name] / lengths, 1.0)
                        moved = self._along(
                            species, with_field(edges, f, gradient=g + h[:, None] * geometry.directions)
                        )
                        _add(differences[i], j, strength * (moved - along) / (h * lengths))
        return LocalSlopes(diffusion, means, differences)

    def _at_nodes(self, u: Array) -> FieldValues:
        """Return the fields at the nodes, the local ones those of these densities. Rank-local."""
        nodes = self._nodes
        for f in self._system.local:
            nodes = with_field(nodes, f, strength_of(f) * u[self._source(f)])
        return nodes

    def _at_edges(self, u: Array) -> FieldValues | None:
        """Return the fields on the edges likewise; None without drift. Collective."""
        edges, geometry = self._edges, self._geometry
        if edges is None or geometry is None:
            return None
        near = self._graph.edges
        for f in self._system.local:
            ends = self._graph.ghosted(strength_of(f) * u[self._source(f)])
            means, gradient = np.empty(len(near.heads)), np.empty((0, 0))
            frozen = gradient
            if f.gradient:
                frozen = edges.gradients[f.name]
                gradient = np.empty_like(frozen)
            _on_edges(near.starts, near.heads, ends, geometry.lengths, geometry.directions, frozen, means, gradient)
            edges = with_field(edges, f, means, gradient if f.gradient else None)
        return edges

    def _largest(self, nodes: FieldValues) -> dict[str, float]:
        """Return the largest size of each local field. Collective."""
        names = [f.name for f in self._system.local]
        sizes = np.array([np.max(np.abs(nodes.values[name]), initial=0.0) for name in names])
        return dict(zip(names, self._system.space.maximum(sizes).tolist(), strict=True))

    def _diffusion(self, species: str, c: FieldValues) -> Array:
        d = diffusion_of(self._system.model, species, c, scalar=True)
        return np.broadcast_to(d, (len(c.points),))

    def _along(self, species: str, c: FieldValues | None) -> Array:
        """Return q of each edge."""
        assert c is not None
        assert self._geometry is not None
        b = drift_of(self._system.model, species, c)
        vectors = self._geometry.vectors
        return np.zeros(len(vectors)) if b is None else _products(b, vectors)

    def _source(self, f: Field) -> int:
        return self._system.model.species.index(f.source)


def _means(graph: Graph, values: Array) -> Array:
    """Return the mean over each edge of values at this rank's nodes. Collective."""
    ends = graph.ghosted(np.ascontiguousarray(values))
    return np.asarray(0.5 * (ends[graph.edges.tails] + ends[graph.edges.heads]))


@compiled_in_order
def _products(a: Array, b: Array) -> Array:
    """Return the scalar products of vectors, shape (n, d): a quarter of the time of ``einsum``."""
    out = np.empty(len(a))
    for e in range(len(a)):
        out[e] = 0.0
        for k in range(a.shape[1]):
            out[e] += a[e, k] * b[e, k]
    return out


@compiled_in_order
def _on_edges(
    starts: Edges, heads: Edges, ends: Array, lengths: Array, directions: Array, frozen: Array, means: Array, out: Array
) -> None:
    """Write means over edges, and unless ``out`` is empty gradients: the frozen ones with difference quotients."""
    for i in range(starts.size - 1):
        for e in range(starts[i], starts[i + 1]):
            tail, head = ends[i], ends[heads[e]]
            means[e] = 0.5 * (tail + head)
            if out.size:
                slope = (head - tail) / lengths[e]
                for k in range(out.shape[1]):
                    out[e, k] = frozen[e, k] + slope * directions[e, k]


def _add(row: list[Array | None], j: int, slope: Array) -> None:
    """Add to one derivative of several: the same ones on every rank."""
    known = row[j]
    row[j] = slope if known is None else known + slope
