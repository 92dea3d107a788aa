"""The MRC family: .mrc .st .ali .mrcs .rec .map.

Headers are parsed with mrcfile's own definitions, but leniently: old FEI files carry no MAP stamp and no machine
stamp. Row 0 of the file is row 0 of the image; nothing is flipped (IMOD shows row 0 at the bottom).
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.io._found import Found, contrast_in_name
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import Volume

__all__ = ["SUFFIXES", "find", "write_stack", "write_volume"]

SUFFIXES = (".mrc", ".st", ".ali", ".mrcs", ".rec", ".map", ".preali")
_SERIES, _VOLUMES = (".st", ".ali", ".mrcs", ".preali"), (".rec", ".map")
_HEADER = 1024
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED = {3: "complex numbers", 4: "complex numbers", 16: "colour pixels", 101: "4-bit pixels"}
_LABEL = "Splatom: "
_FEI_RECORD = 128  # bytes a section in the extended header of old FEI software: 32 floats
_FEI_SECTIONS = 1024


def find(path: Path) -> Found:
    """Read the header of an MRC file (see :class:`Found`); the pixels are memory-mapped."""
    from mrcfile.dtypes import HEADER_DTYPE

    with faults(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            block = file.read(_HEADER)
            if len(block) < _HEADER:
                raise FileFault(path, f"is not an MRC file: {size} bytes, shorter than its header of {_HEADER}")
            header, order = _header(path, block, HEADER_DTYPE)
            extended = int(header["nsymbt"])
            if extended < 0 or _HEADER + extended > size:
                raise FileFault(path, "is truncated or no MRC file: it ends inside its extended header")
            more = file.read(min(extended, 1 << 24))
        shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
        mode = int(header["mode"])
        kind = _TYPES[mode]
        if mode == 0 and _unsigned_bytes(block, order):
            kind = "u1"
        dtype = np.dtype(kind).newbyteorder(order)
        needed = _HEADER + extended + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size < needed:
            raise FileFault(path, f"is truncated: {size} bytes where its header announces {needed}; copy it again")
        labels = [bytes(t).decode("latin-1").strip("\0 ") for t in header["label"][: max(0, int(header["nlabl"]))]]

    def load() -> NDArray[Any]:
        with faults(path):
            pixels = np.memmap(path, dtype, "r", _HEADER + extended, shape)
            return np.asarray(pixels if shape[0] > 1 or kind_of == "series" else pixels[0])

    notes: list[str] = []
    fields: dict[str, Any] = {}
    if bytes(header["map"]) not in (b"MAP ", b"MAP\0"):
        notes.append("no MAP stamp; read as an old MRC file")
    ours = next((t.removeprefix(_LABEL) for t in labels if t.startswith(_LABEL)), "")
    angles, pixel, pixel_from, axis = _extended(header, block, more, order, shape[0])
    if pixel is None:
        pixel, pixel_from = _cell_pixel(header, shape), "header"
        if pixel == 0.1 and not ours:
            pixel = None  # what programs write when they do not know
            notes.append("a pixel of exactly 1 Å counts as unset; give the pixel size if it is right")
    if axis is None:
        stated = next((m for t in labels if (m := re.search(r"Tilt axis angle\s*=\s*([-+\d.]+)", t))), None)
        axis = float(stated[1].rstrip(".")) if stated else None
    kind_of, hint, why = _kind(path, header, ours, angles is not None, shape)
    if kind_of == "volume":
        fields["origin_zyx"] = _centre(header, shape, pixel)
    elif any(float(v) for v in header["origin"].tolist()):
        notes.append("the header's origin is left aside: its sign and reference differ between programs")
    return Found(
        shape=shape if shape[0] > 1 or kind_of == "series" else shape[1:],
        dtype=dtype,
        load=load,
        format="MRC",
        kind=kind_of,  # type: ignore[arg-type]
        hint=hint,  # type: ignore[arg-type]
        why=why,
        angles=angles,
        angles_from="extended header" if angles is not None else "",
        pixel_size=pixel,
        pixel_from=pixel_from,
        contrast=contrast_in_name(path),
        axis_degrees=axis,
        fields=fields,
        notes=tuple(notes),
        own_sidecars=("transforms in .xf" in ours) if ours else None,
    )


def _header(path: Path, block: bytes, dtype: Any) -> tuple[Any, Literal["<", ">"]]:
    """Parse the main header in the byte order that makes sense, or say that it is no MRC file."""
    refused = ""
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        header = np.frombuffer(block, np.dtype(dtype).newbyteorder(order), 1)[0]
        size = [int(header[name]) for name in ("nx", "ny", "nz")]
        mode = int(header["mode"])
        if min(size) > 0 and max(size) < 1 << 24 and mode in _TYPES:
            return header, order
        if min(size) > 0 and max(size) < 1 << 24 and mode in _REFUSED:
            refused = f"holds {_REFUSED[mode]} (mode {mode}); save real pixels (the modulus, for example)"
        elif min(size) == 0 and mode in _TYPES and 0 <= max(size) < 1 << 24:
            refused = f"is empty: {size[0]} × {size[1]} × {size[2]} pixels"
    raise FileFault(path, refused or "is not an MRC file: its header makes no sense (a text file, or truncated?)")


def _unsigned_bytes(block: bytes, order: str) -> bool:
    """IMOD marks signed bytes by a flag behind its stamp; without the flag its bytes count from 0."""
    stamp, flags = struct.unpack(f"{order}ii", block[152:160])
    return stamp == 1146047817 and not flags & 1


def _kind(
    path: Path, header: Any, ours: str, has_angles: bool, shape: tuple[int, ...]
) -> tuple[str | None, str | None, str]:
    suffix = path.suffix.lower()
    if ours:
        return ours.split(";")[0].split()[-1], None, ""
    if shape[0] == 1 and not has_angles and suffix not in _SERIES:
        return None, "image", "it holds one section and no angle"
    if suffix in _VOLUMES:
        return None, "volume", f"files named {suffix} are volumes"
    if suffix in _SERIES or has_angles:
        return None, "series", ""
    if int(header["ispg"]) >= 1:
        return None, "volume", "its header says volume (space group 1) and no angles were found"
    return None, "series", ""


def _cell_pixel(header: Any, shape: tuple[int, ...]) -> float | None:
    """Pixel size in nm from the cell, None where it is unset."""
    cell, count = float(header["cella"]["x"]), int(header["mx"]) or shape[2]
    pixel = cell / count if count > 0 else 0.0
    return _single(pixel) / 10 if np.isfinite(pixel) and pixel > 0 else None


def _centre(header: Any, shape: tuple[int, ...], voxel: float | None) -> tuple[float, float, float]:
    """Centre of a volume that Splatom wrote, nm (z, y, x): the header's origin is that of the first voxel."""
    origin = np.array([float(header["origin"][axis]) for axis in "zyx"]) / 10
    centre = origin + (np.array(shape) - 1) / 2 * (voxel or 1.0)
    z, y, x = np.round(centre, 4)
    return float(z), float(y), float(x)


def _extended(
    header: Any, block: bytes, more: bytes, order: Literal["<", ">"], count: int
) -> tuple[NDArray[np.float64] | None, float | None, str, float | None]:
    """Angles, pixel size (nm), its source and the tilt axis from an extended header."""
    kind = bytes(header["exttyp"])
    if kind in (b"FEI1", b"FEI2"):
        from mrcfile.dtypes import get_ext_header_dtype

        dtype = get_ext_header_dtype(kind, order)
        size = struct.unpack(f"{order}i", more[:4])[0] if len(more) >= 4 else 0
        if size < dtype.itemsize or len(more) < count * size:
            return None, None, "", None
        records = [np.frombuffer(more, dtype, 1, i * size)[0] for i in range(count)]
        angles = np.array([float(r["Alpha tilt"]) for r in records])
        pixel = _single(records[0]["Pixel size X"]) * 1e9
        return _plausible(angles), pixel if 1e-4 < pixel < 1e5 else None, f"{kind.decode()} header", None
    if kind == b"SERI":
        width, flags = struct.unpack(f"{order}hh", block[128:132])
        if not flags & 1 or width < 2 or len(more) < count * width:
            return None, None, "", None
        raw = [struct.unpack_from(f"{order}h", more, i * width)[0] for i in range(count)]
        return _plausible(np.array(raw) / 100.0), None, "", None
    old_fei = any(b"Fei Company" in bytes(t) for t in header["label"])
    if old_fei and len(more) >= count * _FEI_RECORD and len(more) % _FEI_RECORD == 0 and count <= _FEI_SECTIONS:
        table = np.frombuffer(more, np.dtype("f4").newbyteorder(order)).reshape(-1, _FEI_RECORD // 4)[:count]
        pixel = _single(table[0, 11]) * 1e9
        return _plausible(table[:, 0].astype(np.float64)), pixel if 1e-4 < pixel < 1e5 else None, "FEI header", None
    return None, None, "", None


def _single(value: Any) -> float:
    """Take a number as written, without the digits that single precision adds."""
    return float(f"{float(value):.7g}")


def _plausible(angles: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Angles that an instrument may have written: finite, within a turn, not all zero."""
    if np.isfinite(angles).all() and (np.abs(angles) <= 360).all() and angles.any():
        return angles
    return None


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume: voxel size in Å, origin of the first voxel in Å, centre of the volume at ``origin_zyx``."""
    voxel = volume.voxel_nm
    first = (np.array(volume.origin_zyx) - (np.array(volume.shape) - 1) / 2 * voxel) * 10
    _write(path, volume.data, volume.voxel_size, "Splatom: volume", first, is_volume=True)


def write_stack(path: Path, images: NDArray[np.float32], pixel_size: float | None, label: str) -> None:
    """Write projections (n, rows, columns) or one image as an image stack; the label says which."""
    _write(path, images, pixel_size, label, np.zeros(3), is_volume=False)


def _write(
    path: Path, data: NDArray[np.float32], pixel: float | None, label: str, origin_zyx: Any, *, is_volume: bool
) -> None:
    import mrcfile

    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.asarray(data))
        if is_volume:
            mrc.set_volume()
        elif data.ndim == 3:
            mrc.set_image_stack()
        if pixel is not None:
            mrc.voxel_size = pixel * 10
        else:
            mrc.voxel_size = 0.0
        z, y, x = (float(v) for v in origin_zyx)
        mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = x, y, z
        mrc.header.label[0] = label.encode("ascii")
        mrc.header.nlabl = 1
