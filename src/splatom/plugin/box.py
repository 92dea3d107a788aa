"""The box that is reconstructed, drawn on the tilt in view: its width and thickness as that tilt sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from splatom.data import TiltSeries
from splatom.plugin.form import Number
from splatom.plugin.session import Session

__all__ = ["BoxOutline", "outline"]

_NAME = "box"


def outline(series: TiltSeries, index: int, width: float, thickness: float) -> np.ndarray:
    """Return the corners ``(y, x)`` in nm of a box's shadow in one tilt, (4, 2).

    Parameters
    ----------
    series : TiltSeries
    index : int
    width, thickness : float
        Extent along x and along z in nm; along y the box is as high as the images.
    """
    _, h, _ = series.shape
    pixel, high = series.pixel_nm, (h - 1) / 2 * series.pixel_nm
    z, y, x = np.meshgrid((-thickness / 2, thickness / 2), (-high, high), (-width / 2, width / 2), indexing="ij")
    corners = np.stack([z.ravel(), y.ravel(), x.ravel()], axis=1)
    seen = series.geometry[[index]].project(corners, pixel, series.shape[1:])[0]
    centre = (np.array([series.shape[2], h]) - 1) / 2
    left, top = ((seen - centre) * pixel).min(axis=0)
    right, bottom = ((seen - centre) * pixel).max(axis=0)
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])


class BoxOutline(QWidget):
    """A tick that draws the box, and its width and thickness in nm."""

    def __init__(self, viewer: Any, session: Session) -> None:
        super().__init__()
        self.viewer, self.session = viewer, session
        self._series: TiltSeries | None = None
        self._index = 0
        self.tick, self.width_, self.thickness = QCheckBox("Draw a box on the tilt in view"), Number(), Number()
        self.tick.setToolTip("The outline of a box of this width and thickness, as each tilt sees it")
        column, row = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.tick)
        column.addLayout(row)
        for text, field in (("width", self.width_), ("thickness", self.thickness)):
            field.setRange(0, 1e7)
            field.setSuffix(" nm")
            field.valueChanged.connect(self._draw)
            row.addWidget(QLabel(text))
            row.addWidget(field, 1)
        self.tick.toggled.connect(self._draw)

    def set_series(self, series: TiltSeries | None) -> None:
        """Take a series; its own width is the first proposal."""
        fresh = series is not None and (self._series is None or series.shape[1:] != self._series.shape[1:])
        self._series = series
        if fresh:
            width = series.shape[2] * series.pixel_nm
            self.width_.setValue(round(width, 3))
            self.thickness.setValue(round(width / 4, 3))
        self._draw()

    def follow(self, index: int) -> None:
        """Draw the box as another tilt sees it."""
        if index != self._index:
            self._index = index
            self._draw()

    def _draw(self, *_: Any) -> None:
        layers, series = self.viewer.layers, self._series
        if series is None or not self.tick.isChecked():
            if _NAME in layers:
                layers.remove(_NAME)
            return
        index = min(self._index, len(series) - 1)
        corners = outline(series, index, self.width_.value(), self.thickness.value())
        if _NAME in layers:
            layers[_NAME].data = [corners]
            return
        # The width of the line is in nm; two pixels are seen at every zoom at which the series fills the window.
        chosen = layers.selection.active
        self.viewer.add_shapes(
            [corners], shape_type="polygon", name=_NAME, face_color="transparent", edge_color="#ffb000",
            edge_width=max(1.0, series.shape[2] / 200) * series.pixel_nm, units=("nm", "nm"), axis_labels=("y", "x"),
        )  # fmt: skip
        layers.selection.active = chosen
