r"""A measure of the law of one particle: its distance from the density to the order 1/N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kspde.errors import check_integer, check_number
from kspde.evidence import coupled_distance
from kspde.papers.studies.measures.base import Measure, Task
from kspde.papers.studies.measures.particles import particles_of
from kspde.papers.studies.quantities import Meaning, Quantity, given

__all__ = ["OneParticle"]


@dataclass(frozen=True, kw_only=True)
class OneParticle(Measure):
    r"""The coupled estimates of ‖u_{N,1} − u‖₁ and of the entropy H_1 of one particle, at the final time.

    See :func:`kspde.evidence.coupled_distance`. Both are smoothed by one bandwidth for all N, so that it changes
    constants and no orders. Where :math:`u_{N,1} = u + f/N`, N times the distance tends to :math:`\|f\|_1` and
    :math:`N^2 H_1` to :math:`\frac12\int f^2/u`. The noise of :math:`N(u_{N,1} - u)` depends on the replicas alone.

    Attributes:
        replicas: the number of independent systems, at least 4.
        bandwidth: the bandwidth of both density estimates, positive.
        saves: the number of intervals between the snapshots that the density is interpolated from.
    """

    name: ClassVar = "one-particle"
    quantities: ClassVar = {
        "l1": Meaning("‖u_{N,1} − u‖_{L^1}", "Distance of the one-particle law from the density, coupled estimate"),
        "entropy": Meaning("H_1", "Relative entropy of the one-particle law to leading order, coupled estimate"),
    }

    replicas: int
    bandwidth: float
    saves: int = 25

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, at_least=4)
        check_number("bandwidth", self.bandwidth, above=0)
        check_integer("saves", self.saves, at_least=1)

    def at(self, task: Task) -> dict[str, Quantity]:
        """Return the quantities."""
        found = coupled_distance(
            task.density(saves=self.saves), replicas=self.replicas, bandwidth=self.bandwidth, **particles_of(task)
        )
        each = {"l1": found.l1, "entropy": found.entropy}
        return {name: given(estimate.value, estimate.interval) for name, estimate in each.items()}
