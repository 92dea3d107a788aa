"""What a file holds, before its arrays are read: the value every format's module gives.

A format's module has one function ``find(path) -> Found``. It reads headers only; the pixels come with
:attr:`Found.load`. What to make of it, with what the user said and what lies beside the file, is decided in one
place (:mod:`splatom.io._decide`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from splatom.data import Contrast

__all__ = ["Found", "Kind", "contrast_in_name", "nm_per"]

Kind = Literal["series", "volume", "atoms", "image", "cloud"]

_NM_PER = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "a": 0.1,
    "å": 0.1,
    "angstrom": 0.1,
    "ångström": 0.1,
    "µm": 1e3,
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "pm": 1e-3,
    "picometer": 1e-3,
    "mm": 1e6,
    "millimeter": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}


@dataclass(frozen=True, eq=False)
class Found:
    """What a file says of itself.

    Parameters
    ----------
    shape, dtype
        Of the array as :attr:`load` gives it: ``(n, rows, columns)``, ``(z, y, x)`` or ``(rows, columns)``.
    load : callable
        Reads the array (memory-mapped where the format allows).
    format : str
        The format's name, for the provenance.
    kind : str, optional
        Only where the file leaves no doubt.
    hint : str, optional
        The kind to take where nothing else tells; with ``why``.
    angles : array (n,) or (n, 3), optional
        Degrees.
    pixel_size : float, optional
        nm; for a volume the voxel size.
    fields : dict
        Further fields of the value (weights, shifts, order, provenance ...) by their names.
    notes : tuple of str
        What the reader had to decide.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], NDArray[Any]]
    format: str
    kind: Kind | None = None
    hint: Kind | None = None
    why: str = ""
    angles: NDArray[np.float64] | None = None
    angles_from: str = ""
    pixel_size: float | None = None
    pixel_from: str = ""
    contrast: Contrast | None = None
    axis_degrees: float | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    own_sidecars: bool | None = None
    """Whether an .xf beside the file belongs to it: True or False where Splatom wrote the file, None elsewhere."""


def nm_per(unit: object) -> float | None:
    """Return the length of a unit in nm, None for an unknown one ('', 'pixel')."""
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)
    text = text.strip().strip("[]").replace("_", "").replace("μ", "µ").replace("\\u00B5", "µ")
    return _NM_PER.get(text.lower())


def contrast_in_name(path: Path, *titles: str) -> Contrast | None:
    """Read BF (or ABF) and ADF (or HAADF) as words in a file's name or title."""
    for text in (path.stem, *titles):
        if re.search(r"(?<![A-Za-z])A?BF(?![A-Za-z])", text):
            return "bf"
        if re.search(r"(?<![A-Za-z])(HA|LA|MA)?ADF(?![A-Za-z])", text):
            return "adf"
    return None
