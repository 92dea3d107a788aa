"""The small fields of a series or a volume, as arrays or as JSON: what NPZ, TIFF and OME-Zarr files carry.

The names are the contract's (``angles``, ``pixel_size``, ``synthetic`` ...); a field at its default is left out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Provenance
from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    from splatom.data import TiltSeries, Volume

__all__ = ["from_json", "is_image", "series_fields", "series_kwargs", "to_json", "volume_fields"]

_PER_TILT = {
    "weights": np.float32,
    "exposure": np.float32,
    "synthetic": np.bool_,
    "held_out": np.bool_,
    "order": np.int64,
    "shifts": np.float64,
}


def is_image(series: TiltSeries) -> bool:
    """Whether the series stands for one 2-D image, not a tilt series."""
    return len(series) == 1 and bool(series.provenance.loading.get("image"))


def series_fields(series: TiltSeries) -> dict[str, Any]:
    """Everything of a series but its pixels and mask, by name.

    Angles are ``(n,)`` for tilts about the rows' direction, else Euler triples ``(n, 3)``.
    """
    geometry = series.geometry
    euler = not geometry.is_single_axis or series.provenance.loading.get("angles_layout") == "euler"
    out: dict[str, Any] = {"angles": geometry.euler_degrees if euler else geometry.tilt_degrees}
    if series.pixel_size is not None:
        out["pixel_size"] = float(series.pixel_size)
    if geometry.shifts.any():
        out["shifts"] = geometry.shifts
    if series.synthetic.any():
        out["synthetic"] = series.synthetic
    if series.held_out.any():
        out["held_out"] = series.held_out
    if (series.weights != 1).any():
        out["weights"] = series.weights
    if series.exposure is not None:
        out["exposure"] = series.exposure
    if (series.order != np.arange(len(series))).any():
        out["order"] = series.order
    if series.contrast != "adf":
        out["contrast"] = series.contrast
    if series.scan != "unknown":
        out["scan"] = series.scan
    if series.hand_known:
        out["hand_known"] = True
    out["provenance"] = json.dumps(series.provenance.to_dict(), default=_plain)
    return out


def volume_fields(volume: Volume) -> dict[str, Any]:
    """Everything of a volume but its arrays, by name."""
    out: dict[str, Any] = {}
    if volume.voxel_size is not None:
        out["voxel_size"] = float(volume.voxel_size)
    if any(volume.origin_zyx):
        out["origin_zyx"] = np.array(volume.origin_zyx)
    out["provenance"] = json.dumps(volume.provenance.to_dict(), default=_plain)
    return out


def to_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as JSON values."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}


def from_json(values: dict[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`to_json`."""
    return {k: np.array(v) if isinstance(v, list) else v for k, v in values.items()}


def series_kwargs(fields: dict[str, Any], n: int, angles: Any, axis_degrees: float | None) -> dict[str, Any]:
    """Return the keyword arguments of a TiltSeries from fields as read.

    Raises
    ------
    ValueError
        If a field has a wrong shape or value.
    """
    out: dict[str, Any] = {}
    for name, dtype in _PER_TILT.items():
        if fields.get(name) is not None:
            values = np.asarray(fields[name])
            if len(values) != n if values.ndim else True:
                raise ValueError(f"key {name} has shape {values.shape} for {n} projections")
            out[name] = values.astype(dtype)
    if fields.get("mask") is not None:
        out["mask"] = np.asarray(fields["mask"], dtype=np.bool_)
    if "scan" in fields:
        out["scan"] = _one_of("scan", str(fields["scan"]), ("columns", "rows", "unknown"))
    if "hand_known" in fields:
        out["hand_known"] = bool(fields["hand_known"])
    shifts = out.pop("shifts", None)
    angles = np.asarray(angles, dtype=np.float64)
    if angles.ndim == 2:
        out["geometry"] = ViewGeometry.from_euler(angles, shifts)
    else:
        out["geometry"] = ViewGeometry.single_axis(angles, axis_degrees or 0.0, shifts)
    return out


def provenance_from(text: Any) -> Provenance:
    """Return the provenance from its JSON text.

    Raises
    ------
    ValueError
        If the text is not one.
    """
    try:
        values = json.loads(str(text))
        return Provenance.from_dict(values)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("its provenance is no valid JSON record") from error


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
    return value


def _plain(value: Any) -> Any:
    """JSON for numpy scalars and arrays and for paths."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
