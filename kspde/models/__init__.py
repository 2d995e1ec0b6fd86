"""Models: mathematics written once, used by the finite elements and the particles alike."""

from kspde.models.base import Field, FieldValues, Model, Moment
from kspde.models.cross_diffusion import CrossDiffusion, ShigesadaKawasakiTeramoto
from kspde.models.drivers import DRIVERS, LinearDriver, PowerDriver, TabulatedDriver
from kspde.models.gases import LogGas, RieszGas
from kspde.models.keller_segel import KellerSegel
from kspde.models.landau import LandauMaxwell
from kspde.models.local_sensing import LocalSensing, SignalDependentKellerSegel
from kspde.models.mean_attraction import MeanAttraction
from kspde.models.motility import (
    MOTILITIES,
    AlgebraicMotility,
    ExponentialMotility,
    OnePlusExponentialMotility,
    TabulatedMotility,
)
from kspde.models.volatility import DensityDependentVolatility
from kspde.models.vortices import ViscousVortices

__all__ = [
    "DRIVERS",
    "MODELS",
    "MOTILITIES",
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
]

#: By their names in case files.
MODELS: dict[str, type[Model]] = {
    "signal-dependent-keller-segel": SignalDependentKellerSegel,
    "local-sensing": LocalSensing,
    "cross-diffusion": CrossDiffusion,
    "shigesada-kawasaki-teramoto": ShigesadaKawasakiTeramoto,
    "density-dependent-volatility": DensityDependentVolatility,
    "landau-maxwell": LandauMaxwell,
    "keller-segel": KellerSegel,
    "log-gas": LogGas,
    "riesz-gas": RieszGas,
    "viscous-vortices": ViscousVortices,
    "mean-attraction": MeanAttraction,
}
