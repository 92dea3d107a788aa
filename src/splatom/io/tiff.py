"""TIFF stacks. Pixel sizes come from OME or ImageJ metadata or from the resolution tags.

Splatom's own files carry their small fields as JSON in the image description.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.io._fields import from_json, to_json
from splatom.io._found import Found, contrast_in_name, nm_per
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "find", "write_tiff"]

SUFFIXES = (".tif", ".tiff")
_KEY = "Splatom "  # before the JSON, so that no other reader takes it for its own
_CM = 1e7  # nm


def find(path: Path) -> Found:
    """Read the metadata of a TIFF stack (see :class:`Found`)."""
    import tifffile

    with faults(path), tifffile.TiffFile(path) as tif:
        series = max(tif.series, key=lambda s: s.size) if tif.series else None
        if series is None or not tif.pages:
            raise FileFault(path, "holds no image")
        if "S" in series.axes:
            raise FileFault(path, f"holds colour pixels ({series.axes} of {series.shape}); save it as greyscale")
        shape = tuple(int(n) for n in series.shape if n != 1) or (1, 1)
        ours = _own_fields(tif)
        if ours is not None and len(ours.get("shape", [])) in (2, 3):
            shape = tuple(int(n) for n in ours["shape"])
        if int(np.prod(shape, dtype=object)) != series.size or series.dtype is None:
            raise FileFault(path, f"is damaged: its pages make {series.shape}, its description says {shape}")
        dtype = np.dtype(series.dtype)
        pixel, pixel_from = _pixel_size(tif)

    def load() -> NDArray[Any]:
        with faults(path), tifffile.TiffFile(path) as again:
            largest = max(again.series, key=lambda s: s.size)
            return np.asarray(largest.asarray()).reshape(shape)

    fields = from_json({} if ours is None else ours.get("fields", {}))
    angles = fields.pop("angles", None)
    return Found(
        shape=shape,
        dtype=dtype,
        load=load,
        format="TIFF",
        kind=None if ours is None else ours.get("kind"),
        angles=None if angles is None else np.asarray(angles, dtype=np.float64),
        angles_from="image description" if angles is not None else "",
        pixel_size=fields.pop("pixel_size", fields.pop("voxel_size", None)) if ours is not None else pixel,
        pixel_from="image description" if ours is not None else pixel_from,
        contrast=fields.pop("contrast", None) if ours is not None else contrast_in_name(path),
        fields=fields,
    )


def write_tiff(
    path: Path, data: NDArray[np.float32], kind: str, fields: dict[str, Any], pixel_size: float | None
) -> None:
    """Write a stack with its resolution and, as JSON in the image description, its small fields."""
    import tifffile

    description = _KEY + json.dumps({"kind": kind, "shape": list(data.shape), "fields": to_json(fields)})
    resolution = None if pixel_size is None else (_CM / pixel_size, _CM / pixel_size)
    tifffile.imwrite(
        path,
        data,
        description=description,
        metadata=None,
        photometric="minisblack",
        resolution=resolution,
        resolutionunit="CENTIMETER" if resolution else None,
        bigtiff=data.nbytes > 1 << 31,
    )


def _own_fields(tif: Any) -> dict[str, Any] | None:
    text = tif.pages[0].description
    if not text.startswith(_KEY):
        return None
    try:
        own = json.loads(text.removeprefix(_KEY))
    except (ValueError, RecursionError):
        return None
    return own if isinstance(own, dict) and isinstance(own.get("fields"), dict) else None


def _pixel_size(tif: Any) -> tuple[float | None, str]:
    """Return the pixel size in nm and where it is written."""
    if tif.is_ome:
        size = re.search(r'PhysicalSizeX="([-+.\deE]+)"', tif.ome_metadata or "")
        unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', tif.ome_metadata or "")
        scale = nm_per(unit[1] if unit else "µm")  # the OME schema's default
        if size and scale and float(size[1]) > 0:
            return float(size[1]) * scale, "OME metadata"
    tags = tif.pages[0].tags
    if "XResolution" not in tags:
        return None, ""
    numerator, denominator = tags["XResolution"].value
    if not numerator or not denominator:
        return None, ""
    per_unit = numerator / denominator
    if tif.is_imagej:
        scale = nm_per((tif.imagej_metadata or {}).get("unit", ""))
        return (scale / per_unit, "ImageJ metadata") if scale else (None, "")
    per = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    # Inches are print resolution (72 or 300 dpi), never a microscope's scale.
    pixel = _CM / per_unit if per == 3 else None
    return (pixel, "resolution tags") if pixel is not None and pixel < 1e5 else (None, "")
