"""Files: every reader gives a TiltSeries, Volume or Atoms, or one clear line.

Importing it imports no h5py, mrcfile, tifffile, zarr or torch; each is loaded when a file needs it.
"""

from splatom.io.errors import AnglesMissing, FileFault
from splatom.io.reading import describe, read, read_atoms, read_series, read_volume, suffixes
from splatom.io.writing import write
from splatom.io.xf import apply_xf, read_xf

__all__ = [
    "AnglesMissing",
    "FileFault",
    "apply_xf",
    "describe",
    "read",
    "read_atoms",
    "read_series",
    "read_volume",
    "read_xf",
    "suffixes",
    "write",
]
