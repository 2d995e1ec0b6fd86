"""Models: mathematics written once, consumed by the finite-element and by the particle backend alike."""

from kspde.models.base import Field, FieldValues, Model
from kspde.models.local_sensing import SignalDependentKellerSegel

__all__ = ["Field", "FieldValues", "Model", "SignalDependentKellerSegel"]
