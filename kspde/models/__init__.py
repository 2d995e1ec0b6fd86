"""Models: mathematics written once, used by the finite elements and the particles alike."""

from kspde.models.base import Field, FieldValues, Model, Moment
from kspde.models.cross_diffusion import CrossDiffusion, ShigesadaKawasakiTeramoto
from kspde.models.local_sensing import LocalSensing, SignalDependentKellerSegel
from kspde.models.motility import MOTILITIES, AlgebraicMotility, ExponentialMotility, OnePlusExponentialMotility

__all__ = [
    "MODELS",
    "MOTILITIES",
    "AlgebraicMotility",
    "CrossDiffusion",
    "ExponentialMotility",
    "Field",
    "FieldValues",
    "LocalSensing",
    "Model",
    "Moment",
    "OnePlusExponentialMotility",
    "ShigesadaKawasakiTeramoto",
    "SignalDependentKellerSegel",
]

#: By their names in case files.
MODELS: dict[str, type[Model]] = {
    "signal-dependent-keller-segel": SignalDependentKellerSegel,
    "local-sensing": LocalSensing,
    "cross-diffusion": CrossDiffusion,
    "shigesada-kawasaki-teramoto": ShigesadaKawasakiTeramoto,
}
