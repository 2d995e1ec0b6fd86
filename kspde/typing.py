"""Arrays by what they hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Ids", "Indices", "Mask", "Numbers"]

#: Real numbers in double precision.
Array = npt.NDArray[np.float64]
#: Numbers of any type.
Numbers = npt.NDArray[np.number]
#: Positions in other arrays, as numpy returns them.
Indices = npt.NDArray[np.int64]
#: True and false.
Mask = npt.NDArray[np.bool_]
#: Ids of particles, from which their random numbers are made.
Ids = npt.NDArray[np.uint64]
