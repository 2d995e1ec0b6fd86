"""Fields of the particles and their gradients, evaluated at the particles.

To add a method, write its evaluator in a file here and name it in ``METHODS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kspde.errors import InputError, check_choice, check_flag, check_number
from kspde.models import Field, Moment
from kspde.particles.fields.base import MEMORY_LIMIT, FieldEvaluator
from kspde.particles.fields.box_mesh import BoxMesh
from kspde.particles.fields.compact import CompactFields, is_compact
from kspde.particles.fields.direct import DirectSum
from kspde.particles.fields.nufft import NonuniformFFT
from kspde.particles.fields.parted import PartedFields
from kspde.particles.fields.particle_mesh import ParticleMesh
from kspde.particles.fields.relaxing import RelaxingFields
from kspde.particles.region import Region
from kspde.radial import check_bounded, check_not_local, is_bounded, is_zero
from kspde.typing import Array, Comm

__all__ = ["METHODS", "FieldOptions"]

#: Evaluators by the name that ``simulate(method=...)`` accepts.
METHODS: dict[str, type[FieldEvaluator]] = {"mesh": ParticleMesh, "direct": DirectSum, "finufft": NonuniformFFT}


@dataclass(frozen=True, kw_only=True)
class FieldOptions:
    """How the fields of particles are computed.

    Attributes:
        field_tol: error allowed at the particles, relative to the supremum of the field, and of its gradient.
        method: a name in ``METHODS``.
        memory_limit: bytes that the grids, or the modes, of one rank may take.
        include_self: whether a particle feels itself; None: unless a kernel is singular.

    Raises:
        InputError: a value that is not valid.
    """

    field_tol: float = 1e-6
    method: str = "mesh"
    memory_limit: float = MEMORY_LIMIT
    include_self: bool | None = None

    def __post_init__(self) -> None:
        check_number("field_tol", self.field_tol, at_least=1e-12, below=1)
        check_choice("method", self.method, METHODS)
        check_number("memory_limit", self.memory_limit, above=0)
        if self.include_self is not None:
            check_flag("include_self", self.include_self)

    def includes_self(self, fields: tuple[Field, ...], dimension: int) -> bool:
        """Return whether a particle feels itself in these fields.

        Raises:
            InputError: it should, and a kernel is singular; or a field is the density at the same place.
        """
        for f in fields:
            check_not_local(f.name, f.kernel)
        still = [f for f in fields if f.tau == 0]
        singular = [f.name for f in still if not is_bounded(f.kernel, dimension, gradient=f.gradient)]
        if singular and self.include_self:
            raise InputError(
                f"include_self = True, but the kernel of field {singular[0]!r} is singular: leave it out, for j ≠ i, "
                "or give eps"
            )
        return not singular if self.include_self is None else self.include_self

    def evaluator(
        self,
        fields: tuple[Field, ...],
        *,
        moments: tuple[Moment, ...] = (),
        dimension: int,
        weights: Mapping[str, float | Array],
        comm: Comm,
        region: Region | None = None,
    ) -> FieldEvaluator:
        """Return the evaluator of the fields and moments of an empirical measure, in a region or the whole space.

        Raises:
            InputError: a method other than the mesh where a field relaxes, or a kernel that it cannot handle.
        """
        include_self = self.includes_self(fields, dimension)
        make: Any = partial(METHODS[self.method], memory_limit=self.memory_limit)
        if region is not None:
            for f in fields:  # a particle would meet its own mirror image at every wall
                check_bounded(f.name, f.kernel, dimension, gradient=f.gradient)
            confined: Any = self._confined()
            make = partial(confined, memory_limit=self.memory_limit, region=region)
        elif self.method == "mesh":
            make = partial(PartedFields, memory_limit=self.memory_limit)
        if self.method == "mesh" and any(is_compact(f) and not is_zero(f.kernel) for f in fields):
            make = partial(CompactFields, others=make, region=region, memory_limit=self.memory_limit)
        relaxing = [f.name for f in fields if f.tau > 0]
        if relaxing:
            if self.method != "mesh":
                raise InputError(
                    f"method = {self.method!r} gives no field with tau > 0 such as {relaxing[0]!r}, which lives on a "
                    f'mesh: use method = "mesh"'
                )
            if region is None:
                make = partial(RelaxingFields, others=make, memory_limit=self.memory_limit)
        evaluator: FieldEvaluator = make(
            fields,
            moments=moments,
            dimension=dimension,
            weights=weights,
            tol=self.field_tol,
            include_self=include_self,
            comm=comm,
        )
        return evaluator

    def _confined(self) -> type[FieldEvaluator]:
        if self.method not in ("mesh", "direct"):
            raise InputError(f'method = {self.method!r} knows neither walls nor tori: use method = "mesh" or "direct"')
        return BoxMesh if self.method == "mesh" else DirectSum
