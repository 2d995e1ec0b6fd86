r"""Coefficients of implicit steps as functions of the densities, as far as they depend on them locally.

D is evaluated at the nodes and q = b·(x_j − x_i) on the edges, as ``kspde.fem.schemes.implicit`` states; their
derivatives in the local fields are differences, pointwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kspde.fem.coefficients import checked, checked_growth
from kspde.fem.effective_diffusion import increment, strength_of, with_field
from kspde.fem.schemes.transport import Motion
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.fem.solvers.graph import Graph
from kspde.models import Field, FieldValues
from kspde.models.coefficients import diffusion_of, drift_of
from kspde.runtime.parallel import together
from kspde.typing import Array

__all__ = ["EdgeGeometry", "LocalCoefficients", "LocalValues"]


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
        slopes: of D in the density of each species: [i][j], None where there is none.
        means, differences: of q in a density's mean over the edge and in its difference, likewise.
    """

    diffusion: list[Array]
    q: list[Array | None]
    slopes: list[list[Array | None]]
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
                    mean -= np.einsum("ea,ea->e", mean, along)[:, None] * along
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

    def at(self, u: Array, *, slopes: bool = False) -> LocalValues:
        """Return the coefficients of these densities, and how they depend on them. Collective."""
        system = self._system
        model, n = system.model, len(u)
        nodes, edges = self._at_nodes(u), self._at_edges(u)
        largest = self._largest(nodes) if slopes else {}
        table: list[list[list[Array | None]]] = [[[None] * n for _ in range(n)] for _ in range(3)]
        d_slopes, means, differences = table
        diffusion: list[Array] = []
        q: list[Array | None] = []
        with together(system.space.comm), np.errstate(all="ignore"):
            for i, species in enumerate(model.species):
                diffusion.append(self._diffusion(species, nodes))
                q.append(self._along(species, edges) if self._drifting[i] else None)
                for f in system.local if slopes else ():
                    j, strength = self._source(f), strength_of(f)
                    c = nodes.values[f.name]
                    h = increment(c, largest[f.name], strength)
                    moved = self._diffusion(species, with_field(nodes, f, c + h))
                    _add(d_slopes[i], j, strength * (moved - diffusion[i]) / h)
                    along = q[i]
                    if along is None or edges is None or self._geometry is None:
                        continue
                    c = edges.values[f.name]
                    h = increment(c, largest[f.name], strength)
                    _add(means[i], j, strength * (self._along(species, with_field(edges, f, c + h)) - along) / h)
                    if f.gradient:
                        g, lengths = edges.gradients[f.name], self._geometry.lengths
                        h = increment(np.sqrt(np.einsum("ea,ea->e", g, g)), largest[f.name] / lengths, 1.0)
                        g = g + h[:, None] * self._geometry.directions
                        moved = self._along(species, with_field(edges, f, gradient=g))
                        _add(differences[i], j, strength * (moved - along) / (h * lengths))
        return LocalValues(diffusion, q, d_slopes, means, differences)

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
        for f in self._system.local:
            ends = self._graph.ghosted(strength_of(f) * u[self._source(f)])
            tails, heads = ends[self._graph.edges.tails], ends[self._graph.edges.heads]
            edges = with_field(edges, f, 0.5 * (tails + heads))
            if f.gradient:
                tangent = ((heads - tails) / geometry.lengths)[:, None] * geometry.directions
                edges = with_field(edges, f, gradient=edges.gradients[f.name] + tangent)
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
        return np.zeros(len(vectors)) if b is None else np.asarray(np.einsum("ea,ea->e", b, vectors))

    def _source(self, f: Field) -> int:
        return self._system.model.species.index(f.source)


def _means(graph: Graph, values: Array) -> Array:
    """Return the mean over each edge of values at this rank's nodes. Collective."""
    ends = graph.ghosted(np.ascontiguousarray(values))
    return np.asarray(0.5 * (ends[graph.edges.tails] + ends[graph.edges.heads]))


def _add(row: list[Array | None], j: int, slope: Array) -> None:
    """Add to one derivative of several: the same ones on every rank."""
    known = row[j]
    row[j] = slope if known is None else known + slope
