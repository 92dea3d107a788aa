"""DM3/DM4 and SER/EMI through RosettaSciIO, an optional extra (GPL, so never required)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.io._found import Found, contrast_in_name
from splatom.io.errors import FileFault, faults
from splatom.io.hdf5 import _axis_angles, _scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find"]

_MODULES = {
    ".dm3": "rsciio.digitalmicrograph",
    ".dm4": "rsciio.digitalmicrograph",
    ".ser": "rsciio.tia",
    ".emi": "rsciio.tia",
}
SUFFIXES = tuple(_MODULES)


def find(path: Path) -> Found:
    """Read the metadata of a DM3/DM4 or SER/EMI file (see :class:`Found`).

    Raises
    ------
    FileFault
        If the extra is not installed, naming it.
    """
    signals = _signals(path)
    with faults(path):
        images = [s for s in signals if s["data"].ndim in (2, 3) and min(s["data"].shape[-2:]) > 1]
        if not images:
            raise FileFault(path, "holds no image or stack of images")
        # DigitalMicrograph keeps a thumbnail beside the image; the largest is the data.
        chosen = max(range(len(images)), key=lambda i: images[i]["data"].size)
        signal = images[chosen]
        data, axes, meta = signal["data"], signal["axes"], signal.get("metadata", {})
        shape, dtype = tuple(int(n) for n in data.shape), np.dtype(data.dtype)
        pixel = _scaled(axes[-1].get("scale"), axes[-1].get("units", ""))
        angles = _axis_angles(axes[0], shape[0]) if len(shape) == 3 else None
        where = "axis of the stack" if angles is not None else ""
        stage = meta.get("Acquisition_instrument", {}).get("TEM", {}).get("Stage", {}).get("tilt_alpha")
        if angles is None and stage is not None and len(shape) == 2:
            angles, where = np.array([float(stage)]), "stage"

    def load() -> NDArray[Any]:
        again = [s for s in _signals(path) if s["data"].ndim in (2, 3) and min(s["data"].shape[-2:]) > 1]
        with faults(path):
            pixels = again[chosen]["data"]
            return np.asarray(pixels.compute(scheduler="synchronous") if hasattr(pixels, "compute") else pixels)

    return Found(
        shape=shape,
        dtype=dtype,
        load=load,
        format=path.suffix.lstrip(".").upper(),
        angles=angles,
        angles_from=where,
        pixel_size=pixel,
        pixel_from="axis scale" if pixel else "",
        contrast=contrast_in_name(path, str(meta.get("General", {}).get("title", ""))),
        notes=() if len(images) == 1 else (f"the largest of {len(images)} images taken",),
    )


def _signals(path: Path) -> list[dict[str, Any]]:
    if find_spec("rsciio") is None:
        raise FileFault(
            path, f'{path.suffix} files need RosettaSciIO: install it with  pip install "splatom[formats]"'
        )
    with faults(path):
        if not path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        signals: list[dict[str, Any]] = import_module(_MODULES[path.suffix.lower()]).file_reader(str(path), lazy=True)
    return signals
