"""kspde: Keller-Segel densities by finite elements, their N-particle systems, and the distance between the two.

All is imported at first use: ``import kspde`` needs neither DOLFINx nor numba, and the command watches for signals
before anything takes time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kspde._version import __version__ as __version__
from kspde.runtime.job import launched, watch_the_end

if TYPE_CHECKING:
    from kspde.distances import Snapshots, compare
    from kspde.domains import Box, Disk, MeshFile
    from kspde.errors import BlowUpError, ConvergenceError, InputError, KspdeError, KspdeWarning, MissingBackendError
    from kspde.evidence import coupled_distance, entropy_bound, liouville
    from kspde.fem.schemes import Adaptive, Positive, Positive2, Rosenbrock
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
    from kspde.papers import theory
    from kspde.particles.schemes import EulerMaruyama, Weak2
    from kspde.particles.simulate import simulate
    from kspde.runtime.checkpoint import Checkpoint, StoppedError
    from kspde.runtime.saving import SaveAt

__all__ = [
    "Adaptive",
    "AlgebraicMotility",
    "BlowUpError",
    "Box",
    "CallableDensity",
    "Checkpoint",
    "ConvergenceError",
    "Disk",
    "EulerMaruyama",
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
    "Positive",
    "Positive2",
    "Rosenbrock",
    "SaveAt",
    "SignalDependentKellerSegel",
    "Snapshots",
    "StoppedError",
    "Weak2",
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
    "Checkpoint": "kspde.runtime.checkpoint",
    "StoppedError": "kspde.runtime.checkpoint",
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
    "SaveAt": "kspde.runtime.saving",
    "solve": "kspde.fem",
    "Adaptive": "kspde.fem.schemes",
    "Positive": "kspde.fem.schemes",
    "Positive2": "kspde.fem.schemes",
    "Rosenbrock": "kspde.fem.schemes",
    "simulate": "kspde.particles",
    "EulerMaruyama": "kspde.particles.schemes",
    "Weak2": "kspde.particles.schemes",
    "compare": "kspde.distances",
    "Snapshots": "kspde.distances",
    "entropy_bound": "kspde.evidence",
    "coupled_distance": "kspde.evidence",
    "liouville": "kspde.evidence",
}

#: Parts of the package that are there after ``import kspde``.
_PARTS = {
    **{
        name: f"kspde.{name}" for name in ("distances", "domains", "errors", "evidence", "initial", "kernels", "models")
    },
    "studies": "kspde.papers.studies",
    "theory": "kspde.papers.theory",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _PARTS:
        return import_module(_PARTS[name])
    raise AttributeError(f"module 'kspde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})


if launched():  # a rank that fails before its first collective call ends the others too
    watch_the_end()
