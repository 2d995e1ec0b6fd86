"""How far a density and a cloud of particles are apart."""

from kspde.distances.distance import Distance, Floor, compare
from kspde.distances.statistics import Estimate

__all__ = ["Distance", "Estimate", "Floor", "compare"]
