"""kspde: Keller-Segel densities by finite elements, their N-particle systems, and the distance between the two.

The backends are imported at first use: ``import kspde`` needs neither DOLFINx nor numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kspde.checkpoint import Checkpoint, StoppedError
from kspde.domains import Box, Disk, MeshFile
from kspde.errors import BlowUpError, ConvergenceError, InputError, KspdeError, KspdeWarning, MissingBackendError
from kspde.initial import CallableDensity, GaussianMixture, GridDensity, observed_positions
from kspde.kernels import GaussianMollifier, Kernel, MaternMollifier, Yukawa
from kspde.models import (
    AlgebraicMotility,
    ExponentialMotility,
    Field,
    FieldValues,
    LocalSensing,
    Model,
    OnePlusExponentialMotility,
    SignalDependentKellerSegel,
)
from kspde.output import SaveAt

if TYPE_CHECKING:
    from kspde import theory
    from kspde.distances import Snapshots, compare
    from kspde.evidence import coupled_distance, entropy_bound, liouville
    from kspde.fem.solve import solve
    from kspde.particles.simulate import simulate

__version__ = "0.1.0"

__all__ = [
    "AlgebraicMotility",
    "BlowUpError",
    "Box",
    "CallableDensity",
    "Checkpoint",
    "ConvergenceError",
    "Disk",
    "ExponentialMotility",
    "Field",
    "FieldValues",
    "GaussianMixture",
    "GaussianMollifier",
    "GridDensity",
    "InputError",
    "Kernel",
    "KspdeError",
    "KspdeWarning",
    "LocalSensing",
    "MaternMollifier",
    "MeshFile",
    "MissingBackendError",
    "Model",
    "OnePlusExponentialMotility",
    "SaveAt",
    "SignalDependentKellerSegel",
    "Snapshots",
    "StoppedError",
    "Yukawa",
    "compare",
    "coupled_distance",
    "entropy_bound",
    "liouville",
    "observed_positions",
    "simulate",
    "solve",
    "theory",
]

_LAZY = {
    "solve": "kspde.fem",
    "simulate": "kspde.particles",
    "compare": "kspde.distances",
    "Snapshots": "kspde.distances",
    "entropy_bound": "kspde.evidence",
    "coupled_distance": "kspde.evidence",
    "liouville": "kspde.evidence",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name == "theory":
        return import_module("kspde.theory")
    raise AttributeError(f"module 'kspde' has no attribute {name!r}")
