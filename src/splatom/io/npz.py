"""NumPy files: the project's own .npz (see DESIGN.md), .npz of other layouts, and bare .npy arrays. Never a pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from splatom.data import GaussianCloud
from splatom.io._fields import provenance_from
from splatom.io._found import Found, contrast_in_name
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find", "read_cloud", "write_npz"]

SUFFIXES = (".npz", ".npy")
#: Names that other programs' files use, in the order of preference; the first is the contract's.
_STACKS = ("projections", "stack", "aligned", "tilt_series", "images", "haadf")
_ANGLES = ("angles", "angles_deg", "tilt_angles")
_VOLUMES = ("volume", "volume_zyx")
_PIXELS = {"pixel_size": 1.0, "pixel_nm": 1.0, "voxel_size": 1.0, "pixel_A": 0.1}
_SERIES_FIELDS = (
    "shifts", "weights", "exposure", "synthetic", "held_out", "order", "scan", "hand_known", "provenance",
)  # fmt: skip
_MOST = 1 << 24  # elements of a small array
_CLOUD = ("centres_zyx", "scales", "mass")


def find(path: Path) -> Found:
    """Read the headers of a NumPy file (see :class:`Found`); the arrays stay unread."""
    return _find_npy(path) if path.suffix.lower() == ".npy" else _find_npz(path)


def _find_npy(path: Path) -> Found:
    with faults(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            shape, dtype = _header(path, path.name, file)
            _check_size(path, path.name, shape, dtype, size - file.tell())

    def load() -> NDArray[Any]:
        with faults(path):
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    return Found(shape=shape, dtype=dtype, load=load, format="NumPy", contrast=contrast_in_name(path))


def _find_npz(path: Path) -> Found:
    headers = _headers(path)
    kind, name = _main(path, headers)
    shape, dtype = headers[name]
    if kind == "cloud":
        return Found(shape=shape, dtype=dtype, load=_loader(path, name), format="NPZ", kind="cloud")
    notes = []
    if name not in ("projections", "volume", "image"):
        notes.append(f"array taken: {name}")
    own = name in ("projections", "volume", "image")
    names = _SERIES_FIELDS if name == "projections" else ("provenance", "origin_zyx") if name == "volume" else ()
    fields: dict[str, Any] = {key: _small(path, key, headers) for key in names if key in headers}
    if own and "mask" in headers and name == "projections":
        fields["mask"] = _loader(path, "mask")
    if own and "std" in headers and name == "volume":
        fields["std"] = _loader(path, "std")
    angles_key = next((key for key in _ANGLES if key in headers), None) if kind == "series" else None
    pixel_key = next((key for key in _PIXELS if key in headers), None)
    angles = None if angles_key is None else _numbers(path, angles_key, headers)
    return Found(
        shape=shape,
        dtype=dtype,
        load=_loader(path, name),
        format="NPZ",
        kind=kind,  # type: ignore[arg-type]
        angles=angles,
        angles_from=f"key {angles_key}" if angles_key else "",
        pixel_size=None if pixel_key is None else _scalar(path, pixel_key, headers) * _PIXELS[pixel_key],
        pixel_from=f"key {pixel_key}" if pixel_key else "",
        contrast=_text(path, "contrast", headers) if "contrast" in headers else None,  # type: ignore[arg-type]
        fields=fields,
        notes=tuple(notes),
    )


def _main(path: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> tuple[str | None, str]:
    """Name the kind and the array that matters, or say what the file should hold."""
    if all(key in headers for key in _CLOUD):
        return "cloud", "centres_zyx"
    for kind, names, ndim in (("series", _STACKS, 3), ("volume", _VOLUMES, 3), ("image", ("image",), 2)):
        for name in names:
            if name in headers:
                shape = headers[name][0]
                if len(shape) != ndim and not (name != names[0] and len(shape) in (2, 3)):
                    wanted = {"series": "(n, rows, columns)", "volume": "(z, y, x)", "image": "(rows, columns)"}[kind]
                    raise FileFault(path, f"key {name} has shape {shape}; expected {wanted}")
                return kind, name
    arrays = [key for key, (shape, dtype) in headers.items() if len(shape) in (2, 3) and dtype.kind in "biuf"]
    if len(arrays) == 1 and min(headers[arrays[0]][0]) > 3:
        return None, arrays[0]
    raise FileFault(
        path,
        f"holds the keys {', '.join(list(headers)[:8]) or '(none)'}; expected projections and angles, image, or volume",
    )


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of every array in an .npz, from its headers alone."""
    out: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    with faults(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            key = info.filename.removesuffix(".npy")
            with archive.open(info) as file:
                shape, dtype = _header(path, key, file)
                _check_size(path, key, shape, dtype, info.file_size - file.tell())
            out[key] = shape, dtype
    return out


def _header(path: Path, key: str, file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    read: Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype[Any]]]
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise FileFault(path, f"{key} holds pickled Python objects, which are never loaded; save plain arrays")
    return tuple(int(n) for n in shape), dtype


def _check_size(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if min(shape, default=0) < 0 or size < needed:
        raise FileFault(path, f"is truncated: {key} of shape {shape} needs {needed} bytes and has {size}")


def _loader(path: Path, key: str) -> Callable[[], NDArray[Any]]:
    def load() -> NDArray[Any]:
        with faults(path), np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[key])

    return load


def _small(path: Path, key: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> NDArray[Any]:
    if int(np.prod(headers[key][0], dtype=object)) > _MOST:
        raise FileFault(path, f"key {key} has shape {headers[key][0]}: too large")
    return _loader(path, key)()


def _numbers(
    path: Path, key: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
) -> NDArray[np.float64]:
    if headers[key][1].kind not in "biuf":
        raise FileFault(path, f"key {key} holds {headers[key][1]}; expected numbers")
    return _small(path, key, headers).astype(np.float64)


def _scalar(path: Path, key: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> float:
    values = _numbers(path, key, headers).ravel()
    if values.size != 1:
        raise FileFault(path, f"key {key} holds {values.size} values; expected one")
    return float(values[0])


def _text(path: Path, key: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    values = _small(path, key, headers)
    if values.dtype.kind not in "US" or values.size != 1:
        raise FileFault(path, f"key {key} is no text")
    first = values.ravel()[0]
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


def read_cloud(path: Path) -> GaussianCloud:
    """Read a GaussianCloud that :func:`splatom.io.write` wrote."""
    with faults(path), np.load(path, allow_pickle=False) as archive:
        names = ("centres_zyx", "scales", "mass", "rotations", "ids", "uncertainty", "species")
        values = {name: archive[name] for name in names if name in archive.files}
        record = provenance_from(archive["provenance"]) if "provenance" in archive.files else None
        return GaussianCloud(**values) if record is None else GaussianCloud(**values, provenance=record)


def write_npz(path: Path, arrays: dict[str, Any]) -> None:
    """Write named arrays, compressed; none of them may be of objects."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
