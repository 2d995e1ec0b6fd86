"""h5py, imported so that it works beside DOLFINx: ``from kspde.hdf5 import h5py``.

``dolfinx.fem.petsc`` makes the symbols of its own HDF5 library global to the process. An h5py that is imported later
would call that library instead of the one it was built with, and fail or corrupt memory. Here it is told to look into
its own library first; after that, other modules may import it in the usual way.
"""

from __future__ import annotations

import os
import sys

__all__ = ["h5py"]

_flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_LOCAL | getattr(os, "RTLD_DEEPBIND", 0))
try:
    import h5py
finally:
    sys.setdlopenflags(_flags)
