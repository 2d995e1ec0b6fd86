"""kspde: Keller-Segel densities by finite elements, their N-particle systems, and the distance between the two.

Everything is imported at first use: ``import kspde`` needs neither DOLFINx nor numba, and the command watches for
signals before anything takes time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kspde._version import __version__ as __version__
from kspde.runtime.job import launched, watch_the_end

if TYPE_CHECKING:
    from kspde.distances import Snapshots, compare
    from kspde.domains import Box, Disk, MeshFile
    from kspde.errors import BlowUpError, ConvergenceError, InputError, KspdeError, KspdeWarning, MissingBackendError
    from kspde.evidence import (
        coupled_distance,
        entropy_bound,
        fluctuations,
        liouville,
        modulated_energy,
        modulated_free_energy,
    )
    from kspde.fem.regrid import Regrid
    from kspde.fem.schemes import Adaptive, Positive, Positive2, Rosenbrock
    from kspde.fem.solution import Solution
    from kspde.fem.solve import solve
    from kspde.initial import (
        AlgebraicDensity,
        CallableDensity,
        CutDensity,
        GaussianMixture,
        GridDensity,
        SignedMixture,
        nearly_constant,
        observed_positions,
    )
    from kspde.kernels import (
        CompactBump,
        GaussianMollifier,
        Identity,
        Kernel,
        Logarithm,
        LogPotential,
        MaternMollifier,
        Riesz,
        SmoothBump,
        TwoBumps,
        Yukawa,
    )
    from kspde.models import (
        AlgebraicMotility,
        CrossDiffusion,
        DensityDependentVolatility,
        ExponentialMotility,
        Field,
        FieldValues,
        KellerSegel,
        LandauMaxwell,
        LinearDriver,
        LocalSensing,
        LogGas,
        MeanAttraction,
        Model,
        OnePlusExponentialMotility,
        PowerDriver,
        RieszGas,
        ShigesadaKawasakiTeramoto,
        SignalDependentKellerSegel,
        TabulatedDriver,
        TabulatedMotility,
        ViscousVortices,
    )
    from kspde.papers import theory
    from kspde.particles.cloud import Cloud
    from kspde.particles.resampling import SystematicResampling
    from kspde.particles.schemes import EulerMaruyama, PairRotation, Weak2
    from kspde.particles.simulate import simulate
    from kspde.runtime.checkpoint import Checkpoint, StoppedError
    from kspde.runtime.following import Event, Progress, State, SteadyState, Stop
    from kspde.runtime.saving import SaveAt

__all__ = [
    "Adaptive",
    "AlgebraicDensity",
    "AlgebraicMotility",
    "BlowUpError",
    "Box",
    "CallableDensity",
    "Checkpoint",
    "Cloud",
    "CompactBump",
    "ConvergenceError",
    "CrossDiffusion",
    "CutDensity",
    "DensityDependentVolatility",
    "Disk",
    "EulerMaruyama",
    "Event",
    "ExponentialMotility",
    "Field",
    "FieldValues",
    "GaussianMixture",
    "GaussianMollifier",
    "GridDensity",
    "Identity",
    "InputError",
    "KellerSegel",
    "Kernel",
    "KspdeError",
    "KspdeWarning",
    "LandauMaxwell",
    "LinearDriver",
    "LocalSensing",
    "LogGas",
    "LogPotential",
    "Logarithm",
    "MaternMollifier",
    "MeanAttraction",
    "MeshFile",
    "MissingBackendError",
    "Model",
    "Moment",
    "OnePlusExponentialMotility",
    "PairRotation",
    "Positive",
    "Positive2",
    "PowerDriver",
    "Progress",
    "Regrid",
    "Riesz",
    "RieszGas",
    "Rosenbrock",
    "SaveAt",
    "ShigesadaKawasakiTeramoto",
    "SignalDependentKellerSegel",
    "SignedMixture",
    "SmoothBump",
    "Snapshots",
    "Solution",
    "State",
    "SteadyState",
    "Stop",
    "StoppedError",
    "SystematicResampling",
    "TabulatedDriver",
    "TabulatedMotility",
    "TwoBumps",
    "ViscousVortices",
    "Weak2",
    "Yukawa",
    "compare",
    "coupled_distance",
    "entropy_bound",
    "fluctuations",
    "liouville",
    "modulated_energy",
    "modulated_free_energy",
    "nearly_constant",
    "observed_positions",
    "simulate",
    "solve",
    "theory",
]

#: Where public names come from.
_HOMES = {
    "kspde.distances": ("Snapshots", "compare"),
    "kspde.domains": ("Box", "Disk", "MeshFile"),
    "kspde.errors": (
        "BlowUpError",
        "ConvergenceError",
        "InputError",
        "KspdeError",
        "KspdeWarning",
        "MissingBackendError",
    ),
    "kspde.evidence": (
        "coupled_distance",
        "entropy_bound",
        "fluctuations",
        "liouville",
        "modulated_energy",
        "modulated_free_energy",
    ),
    "kspde.fem.regrid": ("Regrid",),
    "kspde.fem.schemes": ("Adaptive", "Positive", "Positive2", "Rosenbrock"),
    "kspde.fem.solution": ("Solution",),
    "kspde.fem.solve": ("solve",),
    "kspde.initial": (
        "AlgebraicDensity",
        "CallableDensity",
        "CutDensity",
        "GaussianMixture",
        "GridDensity",
        "SignedMixture",
        "nearly_constant",
        "observed_positions",
    ),
    "kspde.kernels": (
        "CompactBump",
        "GaussianMollifier",
        "Identity",
        "Kernel",
        "LogPotential",
        "Logarithm",
        "MaternMollifier",
        "Riesz",
        "SmoothBump",
        "TwoBumps",
        "Yukawa",
    ),
    "kspde.models": (
        "AlgebraicMotility",
        "CrossDiffusion",
        "DensityDependentVolatility",
        "ExponentialMotility",
        "Field",
        "FieldValues",
        "KellerSegel",
        "LandauMaxwell",
        "LinearDriver",
        "LocalSensing",
        "LogGas",
        "MeanAttraction",
        "Model",
        "Moment",
        "OnePlusExponentialMotility",
        "PowerDriver",
        "RieszGas",
        "ShigesadaKawasakiTeramoto",
        "SignalDependentKellerSegel",
        "TabulatedDriver",
        "TabulatedMotility",
        "ViscousVortices",
    ),
    "kspde.particles": ("simulate",),
    "kspde.particles.cloud": ("Cloud",),
    "kspde.particles.resampling": ("SystematicResampling",),
    "kspde.particles.schemes": ("EulerMaruyama", "PairRotation", "Weak2"),
    "kspde.runtime.checkpoint": ("Checkpoint", "StoppedError"),
    "kspde.runtime.following": ("Event", "Progress", "State", "SteadyState", "Stop"),
    "kspde.runtime.saving": ("SaveAt",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

#: Public modules.
_MODULES = {
    **{
        name: f"kspde.{name}"
        for name in ("distances", "domains", "errors", "evidence", "initial", "kernels", "models", "plots", "problem")
    },
    "studies": "kspde.papers.studies",
    "theory": "kspde.papers.theory",
}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'kspde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__"})


if launched():  # a rank that fails before its first collective call ends the others too
    watch_the_end()
