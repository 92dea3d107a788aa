"""Dock Views: XY, XZ and YZ of a volume side by side, with a crosshair that moves with the viewer's sliders."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import QFormLayout, QGridLayout, QLabel, QVBoxLayout, QWidget

from splatom.plugin.choices import LayerChoice, follow
from splatom.plugin.pictures import slices_at
from splatom.plugin.plots import COLOURS, ImagePane, pyqtgraph

__all__ = ["OrthoViews", "ViewsDock", "index_of", "lookup"]

_MOST = 1024  # pixels along a side that are drawn


def index_of(layer: Any, point_zyx: np.ndarray) -> np.ndarray:
    """Return the voxel (fractional) that a point in world coordinates falls on, (3,)."""
    return (np.asarray(point_zyx) - np.asarray(layer.translate)[-3:]) / np.asarray(layer.scale)[-3:]


def lookup(layer: Any) -> np.ndarray:
    """Return a layer's colours from its lower to its upper contrast limit, (256, 4) uint8."""
    return np.asarray(np.rint(255 * layer.colormap.map(np.linspace(0, 1, 256))), dtype=np.uint8)


def unit_of(layer: Any) -> str:
    """Return the unit of a layer's last axis as people write it."""
    name = str(layer.units[-1])
    return {"nanometer": "nm", "pixel": "px", "angstrom": "Å", "micrometer": "µm"}.get(name, name)


class OrthoViews(QWidget):
    """Three planes through one point of a volume layer; click or drag the crosshair to move the point.

    Parameters
    ----------
    viewer : napari viewer
        Its sliders give the point, and follow it.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any = None
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self.point = np.zeros(3)  # (z, y, x) in world coordinates
        self.xy, self.xz, self.yz = ImagePane("XY"), ImagePane("XZ"), ImagePane("YZ")
        self.panes = (self.xy, self.xz, self.yz)
        # Which world axis (0 z, 1 y, 2 x) runs across and down each pane.
        self._axes = {self.xy: (2, 1), self.xz: (2, 0), self.yz: (0, 1)}
        self.xz.box.setXLink(self.xy.box)
        self.yz.box.setYLink(self.xy.box)
        pg = pyqtgraph()
        self._lines: dict[Any, tuple[Any, Any]] = {}
        for pane, (across, down) in self._axes.items():
            pen = pg.mkPen(COLOURS["synthetic"], width=1)
            lines = tuple(pg.InfiniteLine(angle=angle, movable=True, pen=pen) for angle in (90, 0))
            for line, axis in zip(lines, (across, down), strict=True):
                pane.box.addItem(line, ignoreBounds=True)
                line.sigDragged.connect(lambda moved, a=axis: self._moved({a: moved.value()}))
            self._lines[pane] = lines
            pane.clicked.connect(lambda x, y, a=across, d=down: self._moved({a: x, d: y}))
        self.where = QLabel("–")
        self.where.setWordWrap(True)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._tall: bool | None = None
        self._arrange()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(30)
        self._soon.timeout.connect(self._draw)
        follow(viewer.dims.events.point, self._follow_viewer)

    def set_layer(self, layer: Any) -> None:
        """Show another volume layer (or None)."""
        self._layer = layer
        if layer is None:
            for pane in self.panes:
                pane.set_image(None)
            self.where.setText("–")
            return
        shape = np.array(layer.data.shape)
        self.point = np.asarray(layer.translate)[-3:] + (shape - 1) / 2 * np.asarray(layer.scale)[-3:]
        if layer not in self._known:
            self._known.add(layer)
            for name in ("set_data", "data", "contrast_limits", "colormap"):
                follow(getattr(layer.events, name), self.refresh)
        self._follow_viewer()
        self.refresh()

    def refresh(self) -> None:
        """Draw again soon; many calls make one drawing."""
        if self.isVisible() and not self._soon.isActive():
            self._soon.start()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self.refresh()

    def resizeEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        """Put the planes around a corner as a drawing does, or below each other where the dock is narrow."""
        tall = self.height() > 1.6 * self.width()
        if tall == self._tall:
            return
        self._tall = tall
        places = ((0, 0), (1, 0), (2, 0), (3, 0)) if tall else ((0, 0), (1, 0), (0, 1), (1, 1))
        for part, place in zip((self.xy, self.xz, self.yz, self.where), places, strict=True):
            self._grid.addWidget(part, *place)
        for i, (row, column) in enumerate(((1, 1), (1, not tall), (tall, 0), (0, 0))):
            self._grid.setRowStretch(i, int(row))
            self._grid.setColumnStretch(i, int(column))

    def _follow_viewer(self) -> None:
        dims = self._viewer.dims
        if self._layer is None or dims.ndim < 3:
            return
        shown = dims.displayed[-2:] if dims.ndisplay == 2 else dims.displayed
        for axis in range(3):
            if axis + dims.ndim - 3 not in shown:  # a displayed axis has no slider
                self.point[axis] = dims.point[axis + dims.ndim - 3]
        self.refresh()

    def _moved(self, to: dict[int, float]) -> None:
        """Take coordinates (by world axis) from a pane, and hand them to the viewer's sliders."""
        if self._layer is None:
            return
        dims = self._viewer.dims
        low = np.asarray(self._layer.translate)[-3:]
        high = low + (np.array(self._layer.data.shape) - 1) * np.asarray(self._layer.scale)[-3:]
        for axis, value in to.items():
            self.point[axis] = np.clip(value, low[axis], high[axis])
        if dims.ndim >= 3:
            axes = [axis + dims.ndim - 3 for axis in to]
            dims.set_point(axes, [float(self.point[axis]) for axis in to])
        self.refresh()

    def _draw(self) -> None:
        layer = self._layer
        if layer is None or layer.data.ndim != 3:
            return
        scale, corner = np.asarray(layer.scale)[-3:], np.asarray(layer.translate)[-3:]
        shape = np.array(layer.data.shape)
        index = np.clip(np.rint(index_of(layer, self.point)), 0, shape - 1).astype(int)
        colours, limits = lookup(layer), tuple(float(v) for v in layer.contrast_limits)
        for pane, plane in zip(self.panes, slices_at(layer.data, tuple(index)), strict=True):
            across, down = self._axes[pane]
            size = scale * shape
            extent = (corner[across] - scale[across] / 2, corner[down] - scale[down] / 2, size[across], size[down])
            step = max(1, -(-max(plane.shape) // _MOST))
            pane.image.setLookupTable(colours)
            pane.set_image(np.asarray(plane[::step, ::step], dtype=np.float32), limits, extent)
            for line, axis in zip(self._lines[pane], (across, down), strict=True):
                with QSignalBlocker(line):
                    line.setValue(self.point[axis])
        unit = unit_of(layer)
        z, y, x = self.point
        value = float(layer.data[tuple(index)])
        place = f"x {x:.2f} {unit}\ny {y:.2f} {unit}\nz {z:.2f} {unit}".replace("-", "−")
        self.where.setText(f"{place}\nvoxel z {index[0]}, y {index[1]}, x {index[2]}\nvalue {value:.4g}")


class ViewsDock(QWidget):
    """The orthogonal views of a volume that is chosen, the newest by itself.

    Parameters
    ----------
    napari_viewer : napari viewer
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.views = OrthoViews(napari_viewer)
        self.choice = LayerChoice(napari_viewer, newest=True)
        self.choice.chosen.connect(lambda: self.views.set_layer(self.choice.layer))
        row = QFormLayout()
        row.addRow("Volume", self.choice)
        column = QVBoxLayout(self)
        column.addLayout(row)
        column.addWidget(self.views, 1)
        self.setMinimumSize(320, 320)
        self.views.set_layer(self.choice.layer)
