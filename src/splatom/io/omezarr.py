"""OME-Zarr (NGFF 0.4): volumes with axes z, y, x in nm; tilt series with an axis ``tilt`` before y, x."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.io._fields import from_json, to_json
from splatom.io._found import Found, nm_per
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find", "is_zarr", "write_zarr"]

SUFFIXES = (".zarr",)
_KEY = "splatom"
_CHUNK = 128


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((path / name).is_file() for name in (".zgroup", ".zarray", "zarr.json"))


def find(path: Path) -> Found:
    """Read the metadata of an OME-Zarr folder (see :class:`Found`)."""
    import zarr

    with faults(path):
        if not is_zarr(path):
            raise FileFault(path, "is not a Zarr folder: it holds no .zgroup or zarr.json")
        group: Any = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        ome = attributes.get("ome", attributes)
        scales = ome.get("multiscales") or []
        if not scales:
            raise FileFault(path, "is not an OME-Zarr image: it has no multiscales entry")
        image = scales[0]
        dataset = image["datasets"][0]
        array = group[str(dataset["path"])]
        own = attributes.get(_KEY)
        if own is not None and array.nchunks_initialized < array.nchunks:
            raise FileFault(path, f"is incomplete: {array.nchunks - array.nchunks_initialized} chunks are missing")
        axes = [a if isinstance(a, dict) else {"name": a} for a in image.get("axes", [])]
        steps = next((t["scale"] for t in dataset.get("coordinateTransformations", []) if "scale" in t), None)
        shape, dtype = tuple(int(n) for n in array.shape), np.dtype(array.dtype)
        squeezed = tuple(n for n in shape if n != 1) if len(shape) > 3 else shape
        pixel = None
        if steps and axes and nm_per(axes[-1].get("unit", "")) is not None:
            pixel = float(steps[-1]) * float(nm_per(axes[-1]["unit"]) or 1.0)
        spatial = [a for a in axes if a.get("type") == "space"]

    def load() -> NDArray[Any]:
        with faults(path):
            again: Any = zarr.open_group(path, mode="r")
            return np.asarray(again[str(dataset["path"])][...]).reshape(squeezed)

    fields = from_json({} if own is None else own["fields"])
    angles = fields.pop("angles", None)
    fields.pop("voxel_size", None)
    fields.pop("pixel_size", None)
    return Found(
        shape=squeezed,
        dtype=dtype,
        load=load,
        format="OME-Zarr",
        kind=None if own is None else own["kind"],
        hint="volume" if len(spatial) == 3 else None,
        why="it has three axes of space",
        angles=None if angles is None else np.asarray(angles, dtype=np.float64),
        angles_from="metadata" if angles is not None else "",
        pixel_size=pixel,
        pixel_from="scale" if pixel else "",
        contrast=fields.pop("contrast", None),
        fields=fields,
    )


def write_zarr(
    path: Path, data: NDArray[np.float32], kind: str, fields: dict[str, Any], pixel_size: float | None
) -> None:
    """Write a volume, a series or an image as one level of an OME-Zarr image."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array(
        "0",
        shape=data.shape,
        dtype=data.dtype,
        chunks=tuple(min(_CHUNK, n) for n in data.shape),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        config={"write_empty_chunks": True},
    )
    array[...] = data
    step = 1.0 if pixel_size is None else float(pixel_size)
    unit = {} if pixel_size is None else {"unit": "nanometer"}
    space = [{"name": name, "type": "space", **unit} for name in "zyx"]
    axes = space[-data.ndim :] if kind != "series" else [{"name": "tilt", "type": "tilt"}, *space[1:]]
    scale = [step] * data.ndim if kind != "series" else [1.0, step, step]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "name": path.name,
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
        }
    ]
    group.attrs[_KEY] = {"kind": kind, "fields": to_json(fields)}
