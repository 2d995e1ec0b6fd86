"""kspde: Keller-Segel densities by finite elements, their N-particle systems, and the distance between the two.

All is imported at first use: ``import kspde`` needs neither DOLFINx nor numba, and the command watches for signals
before anything takes time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kspde.launcher import launched

if TYPE_CHECKING:
    from kspde import theory
    from kspde.checkpoint import Checkpoint, StoppedError
    from kspde.distances import Snapshots, compare
    from kspde.domains import Box, Disk, MeshFile
    from kspde.errors import BlowUpError, ConvergenceError, InputError, KspdeError, KspdeWarning, MissingBackendError
    from kspde.evidence import coupled_distance, entropy_bound, liouville
    from kspde.fem.solve import solve
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
    "Checkpoint": "kspde.checkpoint",
    "StoppedError": "kspde.checkpoint",
    "Box": "kspde.domains",
    "Disk": "kspde.domains",
    "MeshFile": "kspde.domains",
    "BlowUpError": "kspde.errors",
    "ConvergenceError": "kspde.errors",
    "InputError": "kspde.errors",
    "KspdeError": "kspde.errors",
    "KspdeWarning": "kspde.errors",
    "MissingBackendError": "kspde.errors",
    "CallableDensity": "kspde.initial",
    "GaussianMixture": "kspde.initial",
    "GridDensity": "kspde.initial",
    "observed_positions": "kspde.initial",
    "GaussianMollifier": "kspde.kernels",
    "Kernel": "kspde.kernels",
    "MaternMollifier": "kspde.kernels",
    "Yukawa": "kspde.kernels",
    "AlgebraicMotility": "kspde.models",
    "ExponentialMotility": "kspde.models",
    "Field": "kspde.models",
    "FieldValues": "kspde.models",
    "LocalSensing": "kspde.models",
    "Model": "kspde.models",
    "OnePlusExponentialMotility": "kspde.models",
    "SignalDependentKellerSegel": "kspde.models",
    "SaveAt": "kspde.output",
    "solve": "kspde.fem",
    "simulate": "kspde.particles",
    "compare": "kspde.distances",
    "Snapshots": "kspde.distances",
    "entropy_bound": "kspde.evidence",
    "coupled_distance": "kspde.evidence",
    "liouville": "kspde.evidence",
}

#: Modules that are there after ``import kspde``.
_PARTS = ("checkpoint", "domains", "errors", "initial", "kernels", "models", "output", "theory")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _PARTS:
        return import_module(f"kspde.{name}")
    raise AttributeError(f"module 'kspde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})


if launched():  # a rank that fails before its first collective call ends the others too
    import_module("kspde.last_words").watch_the_end()
