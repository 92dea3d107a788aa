"""Values as napari layers, and back.

World coordinates are nm with the centre of the field at the origin, the frame of the zero-tilt view. Nothing here
imports napari at the top, so that readers load fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.plugin.points import chosen, colouring, drawn, features_of, shown_of

__all__ = [
    "MAX_POINTS", "Value", "angle_text", "from_layer", "info", "kind_of", "set_points", "to_layer", "update_layer",
]  # fmt: skip

Value = TiltSeries | Volume | GaussianCloud | Atoms
LayerData = tuple[Any, dict[str, Any], str]

#: Most points drawn while a run streams (a batched update of 20,000 takes some 45 ms).
MAX_POINTS = 20_000
_AXES = ("tilt", "z", "y", "x")
_KINDS = {TiltSeries: "series", Volume: "volume", GaussianCloud: "cloud", Atoms: "atoms"}


def kind_of(value: Any) -> str:
    """Return 'series', 'volume', 'cloud' or 'atoms'.

    Raises
    ------
    TypeError
        If it is none of the values that flow.
    """
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return name
    raise TypeError(f"{type(value).__name__} cannot be shown as a layer")


def _metadata(value: Value, **extra: Any) -> dict[str, Any]:
    """Describe a value for its layer; the value itself is kept, not copied."""
    steps = value.provenance.steps
    last = {"params": steps[-1].params, "notes": steps[-1].notes} if steps else {"params": {}, "notes": {}}
    base = {"kind": kind_of(value), "value": value, "provenance": value.provenance.to_dict(), **last, **extra}
    if isinstance(value, TiltSeries):
        base["angles"] = [float(a) for a in value.angles]
    return base


def info(layer: Any) -> dict[str, Any]:
    """Return what Splatom knows of a layer; empty for a layer that is not its own."""
    found = layer.metadata.get("splatom", {}) if layer is not None else {}
    return found if isinstance(found, dict) else {}


def to_layer(value: Value, name: str = "", *, max_points: int = MAX_POINTS, **extra: Any) -> LayerData:
    """Return a value as napari layer data.

    Parameters
    ----------
    value : TiltSeries, Volume, GaussianCloud or Atoms
    name : str
        Layer name.
    max_points : int
        Most Gaussians shown; above it a stable subsample, and the name says so.
    **extra
        Written into ``metadata["splatom"]`` beside the provenance.

    Returns
    -------
    tuple
        ``(data, attributes, layer type)``.
    """
    common = {"name": name or kind_of(value), "metadata": {"splatom": _metadata(value, **extra)}}
    if isinstance(value, TiltSeries):
        return value.projections[:, None], {**common, **_series_frame(value), **_look(value.projections)}, "image"
    if isinstance(value, Volume):
        look = _look(value.data)
        return value.data, {**common, **_volume_frame(value), **look, "rendering": "attenuated_mip"}, "image"
    pick = chosen(value, max_points)
    points = drawn(value, pick)
    data = points.pop("data")
    common["name"] += shown_of(len(data), len(value))
    frame = {"axis_labels": _AXES[1:], "units": ("nm",) * 3, "border_width": 0, "shading": "spherical"}
    colours = colouring(value, extra.get("colour_by")).rgba[pick]
    return data, {**common, **frame, **points, "face_color": colours, "features": features_of(value, pick)}, "points"


def _series_frame(series: TiltSeries) -> dict[str, Any]:
    _, h, w = series.shape
    pixel = series.pixel_nm
    unit = "nm" if series.pixel_size is not None else "pixel"
    # One slice as deep as the box: the image stays in view while the slider of z moves through a volume.
    return {
        "scale": (1.0, w * pixel, pixel, pixel),
        "translate": (0.0, 0.0, -(h - 1) / 2 * pixel, -(w - 1) / 2 * pixel),
        "units": ("dimensionless", unit, unit, unit),
        "axis_labels": _AXES,
    }


def _volume_frame(volume: Volume) -> dict[str, Any]:
    voxel = volume.voxel_nm
    corner = tuple(o - (n - 1) / 2 * voxel for o, n in zip(volume.origin_zyx, volume.shape, strict=True))
    unit = "nm" if volume.voxel_size is not None else "pixel"
    return {"scale": (voxel,) * 3, "translate": corner, "units": (unit,) * 3, "axis_labels": _AXES[1:]}


def _look(data: np.ndarray) -> dict[str, Any]:
    """Contrast limits from a coarse sample, so that a few bright pixels do not darken the rest."""
    step = max(1, int((data.size / 200_000) ** (1 / 3)))
    sample = data[::step, ::step, ::step]
    low, high = (float(v) for v in np.percentile(sample, (0.2, 99.9)))
    if not high > low:
        low, high = float(data.min()), float(data.max())
    return {"contrast_limits": (low, high if high > low else low + 1.0), "colormap": "gray"}


# ---------------------------------------------------------------- in place
def update_layer(layer: Any, value: Value, *, max_points: int = MAX_POINTS, contrast: bool = False) -> None:
    """Show a newer value in a layer of the same kind, with one redraw and no flicker.

    Parameters
    ----------
    layer : napari layer
    value : Volume, TiltSeries, GaussianCloud or Atoms
    max_points : int
    contrast : bool
        Whether the contrast limits follow the new data; else they stay as they are.
    """
    if isinstance(value, TiltSeries | Volume):
        series = isinstance(value, TiltSeries)
        data = value.projections[:, None] if series else value.data
        if layer.data.shape == data.shape:
            with layer.events.blocker_all():  # one redraw below instead of one an event
                layer.data = data
        else:
            frame = _series_frame(value) if series else _volume_frame(value)
            layer.data = data
            layer.scale, layer.translate = frame["scale"], frame["translate"]
        if contrast:
            layer.contrast_limits = _look(value.projections if series else value.data)["contrast_limits"]
        layer.refresh(thumbnail=False, highlight=False)
        return
    pick = chosen(value, max_points)
    colours = colouring(value, info(layer).get("colour_by")).rgba[pick]
    set_points(layer, **drawn(value, pick), face_color=colours)


def set_points(layer: Any, data: np.ndarray, size: np.ndarray, face_color: np.ndarray, **more: Any) -> None:
    """Put new points into a layer in one batch: a third of the time of setting one attribute after another.

    Parameters
    ----------
    layer : napari.layers.Points
    data : array (n, 3)
    size : array (n,)
    face_color : array (n, 4)
    **more
        Further attributes, such as ``features``.
    """
    if len(data) != len(layer.data) and layer.selected_data:
        layer.selected_data = set()  # rows of points that may be gone
    editable = layer.editable
    with layer.events.blocker_all():
        layer.data, layer.size, layer.face_color = data, size, face_color
        for name, value in more.items():
            setattr(layer, name, value)
        layer.editable = editable  # new data make a layer editable again
    layer.refresh(thumbnail=False, highlight=False)


# ---------------------------------------------------------------- and back
def from_layer(layer: Any) -> Value:
    """Return the value that a layer shows.

    Raises
    ------
    ValueError
        If the layer is none of Splatom's and cannot be read as a volume.
    """
    known = info(layer)
    if known.get("value") is not None:
        return known["value"]
    if known.get("angles_missing"):
        raise ValueError(f"'{layer.name}' has no tilt angles yet: give them in the dock Tilt series")
    data = getattr(layer, "data", None)
    if isinstance(data, np.ndarray) and data.ndim == 3 and not getattr(layer, "rgb", False):
        unit = str(layer.units[-1])
        size = float(layer.scale[-1]) if unit in ("nanometer", "nm") else None
        return Volume(np.asarray(data, dtype=np.float32), size)
    raise ValueError(f"'{layer.name}' is no tilt series: open one with Splatom (dock Tilt series)")


def angle_text(layer: Any, point: tuple[float, ...]) -> str:
    """Return what is to be said of the tilt in view, for example 'tilt 12 of 61: −14.0°'."""
    angles = info(layer).get("angles")
    if not angles or len(point) < 4:
        return ""
    index = int(np.clip(round(point[-4]), 0, len(angles) - 1))
    value = info(layer).get("value")
    flags = [
        word
        for word, on in (
            ("synthetic", value is not None and value.synthetic[index]),
            ("held out", value is not None and value.held_out[index]),
        )
        if on
    ]
    note = f" ({', '.join(flags)})" if flags else ""
    return f"tilt {index + 1} of {len(angles)}: {angles[index]:+.1f}°{note}".replace("-", "−")
