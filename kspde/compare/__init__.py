"""How far a density and a cloud of particles are apart.

``kspde.compare(pde, cloud)`` is :func:`kspde.compare.compare`: the package shares its name with the function, and is
callable.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from kspde.compare.distance import Distance, Floor, compare
from kspde.compare.statistics import Estimate

__all__ = ["Distance", "Estimate", "Floor", "compare"]


class _CallablePackage(ModuleType):
    # Importing this package binds it to kspde.compare, over the function of that name.
    def __call__(self, *args: Any, **kwargs: Any) -> Distance:
        return compare(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
