"""HDF5: HyperSpy (.hspy), NCEM/Berkeley and Velox EMD, Data Exchange, and plain files with one image array."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.io._found import Found, contrast_in_name, nm_per
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find", "find_mat73"]

SUFFIXES = (".h5", ".hdf5", ".hdf", ".hspy", ".emd", ".nxs")
_ANGLES = ("angles", "tilt_angles", "angle", "tilts", "theta", "tilt")
_MOST = 10_000  # objects looked at


def find(path: Path) -> Found:
    """Read the structure of an HDF5 file (see :class:`Found`)."""
    import h5py

    with faults(path), h5py.File(path, "r") as file:
        for look in (_hyperspy, _velox, _emd, _plain):
            found = look(path, file)
            if found is not None:
                return found
    raise FileFault(path, "holds no array of images (2 or 3 axes of numbers)")


def _found(path: Path, data: Any, format_: str, *titles: str, **more: Any) -> Found:
    """Describe one dataset; axes of length 1 are dropped, frames last (Velox) come first."""
    name, last = data.name, more.pop("frames_last", False)
    order = [2, 0, 1] if last else list(range(data.ndim))
    full = tuple(int(data.shape[i]) for i in order)
    shape = tuple(n for n in full if n != 1) if len(full) > 3 or last else full

    def load() -> NDArray[Any]:
        import h5py

        with faults(path), h5py.File(path, "r") as file:
            pixels = file[name][()]
        return np.asarray(pixels).transpose(order).reshape(shape)

    if data.dtype.kind not in "biufc":
        raise FileFault(path, f"{name} holds {data.dtype} where numbers were expected")
    return Found(
        shape=shape, dtype=data.dtype, load=load, format=format_, contrast=contrast_in_name(path, *titles), **more
    )


def _hyperspy(path: Path, file: Any) -> Found | None:
    if "Experiments" not in file:
        return None
    groups = [g for g in file["Experiments"].values() if hasattr(g, "keys") and "data" in g]
    images = [g for g in groups if g["data"].ndim in (2, 3)]
    if not images:
        raise FileFault(path, "holds no HyperSpy signal of 2 or 3 axes")
    group, data = images[0], images[0]["data"]
    axes = [dict(group[f"axis-{i}"].attrs) if f"axis-{i}" in group else {} for i in range(data.ndim)]
    pixel = _scaled(axes[-1].get("scale"), axes[-1].get("units", ""))
    notes = [] if len(images) == 1 else [f"first of {len(images)} signals taken"]
    if pixel is None and axes[-1].get("scale") is not None:
        notes.append(f"scale {float(axes[-1]['scale']):g} has no unit of length: pixel size left unset")
    general = group["metadata/General"].attrs if "metadata/General" in group else {}
    angles = None
    if data.ndim == 3:
        angles = _axis_angles(axes[0], data.shape[0])
        holder = "metadata/Acquisition_instrument/TEM/Stage"
        if angles is None and holder in group and "tilt_alpha" in group[holder].attrs:
            values = np.atleast_1d(group[holder].attrs["tilt_alpha"])
            angles = np.asarray(values, dtype=np.float64) if len(values) == data.shape[0] else None
    title = str(general.get("title", ""))
    return _found(
        path, data, "HyperSpy", title, pixel_size=pixel, pixel_from="axis scale" if pixel else "",
        angles=angles, angles_from="axis or stage" if angles is not None else "", notes=tuple(notes),
    )  # fmt: skip


def _axis_angles(axis: dict[str, Any], count: int) -> NDArray[np.float64] | None:
    """Angles from a calibrated tilt axis: a unit of degrees or radians."""
    unit = str(axis.get("units", "")).strip().lower()
    factor = {"deg": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0, "rad": 180 / math.pi}.get(unit)
    if factor is None:
        return None
    steps = np.arange(count, dtype=np.float64)
    return np.asarray((float(axis.get("offset", 0.0)) + float(axis.get("scale", 1.0)) * steps) * factor)


def _scaled(scale: Any, unit: object) -> float | None:
    factor = nm_per(unit)
    size = abs(float(scale)) * factor if scale is not None and factor is not None else 0.0
    return size if np.isfinite(size) and size > 0 else None


def _velox(path: Path, file: Any) -> Found | None:
    if "Data" not in file or "Image" not in file["Data"]:
        return None
    images = [g for g in file["Data/Image"].values() if "Data" in g and g["Data"].ndim == 3]
    if not images:
        return None
    metas = [_velox_metadata(g) for g in images]
    named = [(contrast_in_name(Path(str(m.get("BinaryResult", {}).get("Detector", ""))))) for m in metas]
    chosen = next((i for i, n in enumerate(named) if n == "adf"), 0)
    meta, data = metas[chosen], images[chosen]["Data"]
    size = meta.get("BinaryResult", {}).get("PixelSize", {}).get("width")
    notes = [] if len(images) == 1 else [f"image {chosen + 1} of {len(images)} taken"]
    return _found(
        path, data, "Velox EMD", str(meta.get("BinaryResult", {}).get("Detector", "")), frames_last=True,
        pixel_size=_scaled(size, "m") if size else None, pixel_from="metadata" if size else "", notes=tuple(notes),
    )  # fmt: skip


def _velox_metadata(group: Any) -> dict[str, Any]:
    if "Metadata" not in group or group["Metadata"].ndim != 2 or 0 in group["Metadata"].shape:
        return {}
    raw = bytes(group["Metadata"][:, 0]).split(b"\0")[0]
    try:
        values = json.loads(raw)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _emd(path: Path, file: Any) -> Found | None:
    groups = [o for o in _walk(file) if hasattr(o, "keys") and "data" in o and "emd_group_type" in o.attrs]
    groups = [g for g in groups if getattr(g["data"], "ndim", 0) in (2, 3)]
    if not groups:
        return None
    group, data = groups[0], groups[0]["data"]
    dims = [group.get(f"dim{i + 1}") for i in range(data.ndim)]
    pixel = _dim_step(dims[-1])
    angles = None
    if data.ndim == 3 and dims[0] is not None and dims[0].shape == (data.shape[0],):
        unit = _text(dims[0].attrs.get("units", "")).strip("[]").lower()
        if unit in ("deg", "degree", "degrees", "°"):
            angles = np.asarray(dims[0][()], dtype=np.float64)
    hint = "volume" if data.ndim == 3 and angles is None and _dim_step(dims[0]) is not None else None
    notes = () if len(groups) == 1 else (f"first of {len(groups)} arrays taken",)
    return _found(
        path, data, "EMD", group.name, pixel_size=pixel, pixel_from="dimension scale" if pixel else "", angles=angles,
        angles_from="dimension scale" if angles is not None else "", hint=hint,
        why="its three axes are lengths", notes=notes,
    )  # fmt: skip


def _dim_step(dim: Any) -> float | None:
    if dim is None or getattr(dim, "ndim", 0) != 1 or dim.shape[0] < 2:
        return None
    first = dim[:2]
    return _scaled(float(first[1]) - float(first[0]), _text(dim.attrs.get("units", "")))


def _plain(path: Path, file: Any) -> Found | None:
    arrays = [o for o in _walk(file) if hasattr(o, "ndim") and o.dtype.kind in "biufc"]
    images = [o for o in arrays if 2 <= len([n for n in o.shape if n != 1]) <= 3 and min(sorted(o.shape)[-2:]) > 3]
    if not images:
        empty = [o for o in arrays if 0 in o.shape and o.ndim >= 2]
        if empty:
            raise FileFault(path, f"is empty: {empty[0].name} has shape {empty[0].shape}")
        return None
    named = [o for o in images if o.name.rsplit("/", 1)[-1] in ("projections", "tilt_series", "data", "image")]
    best = named if len(named) == 1 else images
    if len(best) > 1:
        raise FileFault(path, f"holds {len(best)} arrays ({', '.join(o.name for o in best[:4])} …); keep one in a file")
    data = best[0]
    siblings = data.parent
    lists = [siblings[n] for n in _ANGLES if n in siblings and getattr(siblings[n], "ndim", 0) in (1, 2)]
    angles = np.asarray(lists[0][()], dtype=np.float64) if lists else None
    if angles is not None and _text(lists[0].attrs.get("units", "")).lower().startswith("rad"):
        angles = np.rad2deg(angles)
    size = siblings.get("pixel_size")
    unit = _text(size.attrs.get("units", "nm")) if size is not None and size.shape == () else ""
    pixel = _scaled(size[()], unit) if size is not None and unit else None
    return _found(
        path, data, "HDF5", data.name, angles=angles, angles_from=lists[0].name if lists else "", pixel_size=pixel,
        pixel_from="pixel_size" if pixel else "", notes=(f"array taken: {data.name}",),
    )  # fmt: skip


def _walk(file: Any) -> Iterator[Any]:
    """Every group and dataset, once, however the links run."""
    stack, count, seen = [file], 0, set()
    while stack and count < _MOST:
        group = stack.pop()
        for key in group:
            child = group.get(key)
            if child is None or (mark := child.id.__hash__()) in seen:
                continue  # a dangling link, or been there
            seen.add(mark)
            count += 1
            yield child
            if hasattr(child, "keys"):
                stack.append(child)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return _text(value[0]) if isinstance(value, np.ndarray) and value.size == 1 else str(value)


def find_mat73(path: Path) -> dict[str, Any]:
    """Read the arrays of a MATLAB 7.3 file (HDF5; MATLAB stores axes in reverse)."""
    import h5py

    with faults(path), h5py.File(path, "r") as file:
        arrays = [o for o in _walk(file) if hasattr(o, "ndim") and o.dtype.kind in "biuf"]
        return {o.name.strip("/"): o[()].transpose() for o in arrays if not o.name.startswith("/#")}
