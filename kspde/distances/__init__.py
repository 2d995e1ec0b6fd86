"""How far a density and particles are apart."""

from kspde.distances.comparison import compare
from kspde.distances.over_time import OverTime
from kspde.distances.registry import DISTANCES
from kspde.distances.result import Distance, Estimates, Floor
from kspde.distances.snapshots import Snapshots
from kspde.distances.statistics import Estimate

__all__ = ["DISTANCES", "Distance", "Estimate", "Estimates", "Floor", "OverTime", "Snapshots", "compare"]
