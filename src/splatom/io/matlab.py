"""MATLAB .mat: the layout of atomic electron tomography, (rows, columns, n) images and (n, 3) or (n,) angles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.io._found import Found, contrast_in_name
from splatom.io._mat5 import read_mat5
from splatom.io.errors import FileFault, faults
from splatom.io.hdf5 import find_mat73

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find"]

SUFFIXES = (".mat",)


def find(path: Path) -> Found:
    """Read a MATLAB file (see :class:`Found`). Angles may lie in a sibling file of ``*angles*.mat``.

    The images' first axis is taken as rows (the y axis), the second as columns; the last counts the tilts.
    """
    arrays = _arrays(path)
    images = {k: v for k, v in arrays.items() if v.ndim == 3 and v.dtype.kind in "biufc"}
    flat = {k: v for k, v in arrays.items() if v.ndim == 2 and min(v.shape, default=0) > 3}
    if not images and len(flat) == 1:
        name, picture = flat.popitem()
        return Found(shape=picture.shape, dtype=picture.dtype, load=lambda: picture, format="MATLAB", notes=(name,))
    if len(images) != 1:
        listing = ", ".join(f"{k} {v.shape}" for k, v in arrays.items())[:150] or "nothing"
        raise FileFault(path, f"holds {len(images)} arrays of 3 axes where one is needed ({listing})")
    name, stack = images.popitem()
    notes = [f"array taken: {name}, as (rows, columns, tilts)"]
    angles, where = _angles(arrays, stack.shape), "the file itself"
    if angles is None:
        angles, where = _sibling_angles(path, stack.shape)
    pixel = next((v for k, v in arrays.items() if k.rsplit(".", 1)[-1] in ("pix_sz", "pixel_size", "pixelsize")), None)
    size = float(pixel.ravel()[0]) if pixel is not None and pixel.size == 1 and pixel.dtype.kind in "iuf" else None
    if size is not None:
        notes.append(f"pixel size {size:g} taken as nm")
    n = None if angles is None else len(angles)
    last = n is None or stack.shape[2] == n or stack.shape[0] != n
    if not last:
        notes.append("tilts found along the first axis")
    ordered = np.moveaxis(stack, 2, 0) if last else stack
    return Found(
        shape=ordered.shape,
        dtype=ordered.dtype,
        load=lambda: ordered,
        format="MATLAB",
        angles=angles,
        angles_from=where if angles is not None else "",
        pixel_size=size,
        pixel_from="key pix_sz" if size is not None else "",
        contrast=contrast_in_name(path),
        notes=tuple(notes),
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array in the file by name; those of a struct as ``struct.field``."""
    with faults(path):
        content = path.read_bytes()
        if content.startswith(b"MATLAB 7.3") or content[:8] == b"\x89HDF\r\n\x1a\n":
            return find_mat73(path)
        return read_mat5(content)


def _angles(arrays: dict[str, NDArray[Any]], shape: tuple[int, ...] | None) -> NDArray[np.float64] | None:
    for key, value in arrays.items():
        if "angle" not in key.lower() and "tilt" not in key.lower():
            continue
        if value.dtype.kind not in "iuf" or value.ndim != 2 or 0 in value.shape:
            continue
        table = value.astype(np.float64)
        if 1 in table.shape:
            return table.ravel()
        if table.shape[1] == 3:
            return table
        if table.shape[0] == 3:
            return table.T
    return None


def _sibling_angles(path: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.float64] | None, str]:
    fitting = []
    for other in sorted(path.parent.glob("*.mat")):
        if "angle" not in other.stem.lower() or other == path:
            continue
        angles = _angles(_arrays(other), None)
        if angles is not None and len(angles) == shape[2]:
            fitting.append((angles, other.name))
    if len(fitting) > 1:
        names = ", ".join(name for _, name in fitting)
        raise FileFault(path, f"several files beside it hold angles that fit ({names}); name one with --angles-file")
    return fitting[0] if fitting else (None, "")
