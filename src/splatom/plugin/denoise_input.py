"""What the dock Denoise works on: a tilt series, or any single image in the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Provenance, TiltSeries
from splatom.geometry import ViewGeometry
from splatom.plugin.choices import LayerChoice
from splatom.plugin.layers import info

if TYPE_CHECKING:
    from splatom.plugin.denoise_part import Window

__all__ = ["Source", "in_view", "is_image", "series_of", "shape_of", "to_pixels", "to_world"]


def is_image(layer: Any) -> bool:
    """Whether a layer is a tilt series, or a plain image of two dimensions, be it in colour."""
    if info(layer):
        return info(layer).get("kind") == "series" and not info(layer).get("live")
    return type(layer).__name__ == "Image" and getattr(layer, "ndim", 0) == 2


def series_of(layer: Any) -> TiltSeries:
    """Return a layer's series; a plain image becomes a series of one view.

    Raises
    ------
    ValueError
        If it cannot be one; the line says what to do.
    """
    known = info(layer)
    if known.get("angles_missing"):
        raise ValueError(f"'{layer.name}' has no tilt angles yet: give them in the dock Tilt series")
    if isinstance(known.get("value"), TiltSeries):
        return known["value"]
    data = np.asarray(layer.data)
    if getattr(layer, "rgb", False):
        if (data[..., :3] != data[..., :1]).any():
            raise ValueError(f"'{layer.name}' is a colour picture: save it as greyscale, or split its channels")
        data = data[..., 0]
    if np.iscomplexobj(data):
        raise ValueError(f"'{layer.name}' is complex: take its modulus first")
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"'{layer.name}' has pixels that are no numbers: fill them first (Prepare, clean)")
    size = float(layer.scale[-1]) if str(layer.units[-1]) in ("nanometer", "nm") else None
    path = getattr(getattr(layer, "source", None), "path", None)
    provenance = Provenance(source=str(Path(path).resolve()) if path else "", loading={"image": True})
    return TiltSeries(
        data[None].astype(np.float32), ViewGeometry.single_axis([0.0]), pixel_size=size, provenance=provenance
    )


class Source(LayerChoice):
    """The layer to denoise.

    Parameters
    ----------
    viewer : napari viewer
    """

    def __init__(self, viewer: Any) -> None:
        self._made: tuple[Any, TiltSeries] | None = None  # a plain image's pixels and their series
        super().__init__(viewer, is_image)
        self.setPlaceholderText("none yet")
        self.setToolTip("The tilt series, or single image, to denoise; results come in layers of their own")

    def series(self) -> TiltSeries:
        """Return the series of the chosen layer, the same one for the same pixels.

        Raises
        ------
        ValueError
            If there is none; the line says what to do.
        """
        layer = self.layer
        if layer is None:
            raise ValueError("there is nothing to denoise: open a tilt series or an image")
        if info(layer):
            return series_of(layer)
        data = layer.data
        if self._made is None or self._made[0] is not data:
            self._made = (data, series_of(layer))
        return self._made[1]


# ---------------------------------------------------------------- places
def to_pixels(layer: Any, yx: np.ndarray) -> np.ndarray:
    """Turn world coordinates (n, 2) as (y, x) into rows and columns of a layer's images."""
    return (np.asarray(yx, dtype=np.float64) - layer.translate[-2:]) / layer.scale[-2:]


def to_world(layer: Any, pixels: np.ndarray) -> np.ndarray:
    """Turn rows and columns (n, 2) into world coordinates (y, x)."""
    return np.asarray(pixels, dtype=np.float64) * layer.scale[-2:] + layer.translate[-2:]


def shape_of(layer: Any) -> tuple[int, int]:
    """Return rows and columns of a layer's images."""
    rows, columns = layer.data.shape[:2] if getattr(layer, "rgb", False) else layer.data.shape[-2:]
    return int(rows), int(columns)


def in_view(layer: Any) -> Window | None:
    """Return the part of a layer's image that the viewer shows; None where it shows none of it."""
    shape = np.array(shape_of(layer))
    first, last = np.asarray(layer.corner_pixels)[:, -2:]
    first, last = np.clip(first, 0, shape), np.clip(last + 1, 0, shape)
    if (last - first < 2).any():
        return None
    size = last - first
    return int(first[0]), int(first[1]), int(size[0]), int(size[1])
