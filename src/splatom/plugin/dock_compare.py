"""Dock Compare: two volumes in linked planes, their difference, and what was different in how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QSlider,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from splatom.plugin.choices import LayerChoice, follow
from splatom.plugin.later import Later
from splatom.plugin.layers import info
from splatom.plugin.plots import COLOURS, ImagePane, PaneRow
from splatom.plugin.views import unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CompareDock", "Grid", "compare_planes", "facts", "plane_of"]

_PLANES = {"XY": 0, "XZ": 1, "YZ": 2}  # the axis of (z, y, x) that is cut


@dataclass(frozen=True)
class Grid:
    """Where a volume's voxels lie: ``world = corner + index · size``, order (z, y, x)."""

    corner: tuple[float, ...]
    size: tuple[float, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, layer: Any) -> Grid:
        """Return that of a volume layer."""
        return cls(
            tuple(float(v) for v in layer.translate[-3:]),
            tuple(float(v) for v in layer.scale[-3:]),
            tuple(int(n) for n in layer.data.shape),
        )

    def index(self, axis: int, at: float) -> int:
        """Return the plane nearest to a coordinate."""
        return int(np.clip(round((at - self.corner[axis]) / self.size[axis]), 0, self.shape[axis] - 1))


def plane_of(data: NDArray[Any], axis: int, index: int) -> NDArray[np.float32]:
    """Return a plane of a (z, y, x) array normal to an axis; YZ with z across."""
    plane = np.asarray(np.take(data, index, axis=axis), dtype=np.float32)
    return plane.T if axis == 2 else plane


def compare_planes(
    first: NDArray[Any], grid: Grid, second: NDArray[Any], other: Grid, axis: int, at: float, scaled: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], float, float]:
    """Cut both volumes at a coordinate and bring the second to the first one's pixels.

    Parameters
    ----------
    first, second : array (z, y, x)
    grid, other : Grid
        Their places.
    axis : int
        The axis that is cut, 0 for z.
    at : float
        World coordinate along it.
    scaled : bool
        Whether the second is multiplied by the factor that brings it closest to the first.

    Returns
    -------
    a, b : array (rows, columns)
    correlation : float
        Normalised, of the two planes.
    factor : float
        What the second was multiplied by.
    """
    a = plane_of(first, axis, grid.index(axis, at))
    b = plane_of(second, axis, other.index(axis, at))
    down, across = {0: (1, 2), 1: (0, 2), 2: (1, 0)}[axis]
    if grid != other:
        from scipy.ndimage import map_coordinates

        places = [
            (grid.corner[k] + np.arange(n) * grid.size[k] - other.corner[k]) / other.size[k]
            for k, n in zip((down, across), a.shape, strict=True)
        ]
        inside = [(p >= -0.5) & (p <= n - 0.5) for p, n in zip(places, b.shape, strict=True)]
        b = map_coordinates(b, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest") * np.outer(*inside)
    power = float((b.astype(np.float64) ** 2).sum())
    factor = float((a * b.astype(np.float64)).sum()) / power if scaled and power else 1.0
    flat_a, flat_b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((flat_a**2).sum() * (flat_b**2).sum()))
    return a, np.asarray(b * factor, np.float32), float((flat_a * flat_b).sum()) / size if size else 0.0, factor


def facts(layer: Any) -> dict[str, str]:
    """Return what there is to say of a layer: figures, parameters and decisions, in words."""
    if layer is None:
        return {}
    known = info(layer)
    voxel = float(layer.scale[-1])
    out = {"method": str(known.get("method", "–")), "status": str(known.get("status", "–"))}
    if known.get("seconds"):
        out["time"] = f"{known['seconds']:.1f} s"
    names = {"r": "R", "r_free": "R-free"}
    for name, value in known.get("figures", {}).items():
        if isinstance(value, int | float):
            out[names.get(name, name.replace("_", " "))] = f"{value:.4g}"
    out["shape (z, y, x)"] = " × ".join(map(str, layer.data.shape))
    out["voxel"] = f"{voxel:.4g} {unit_of(layer)}"
    for part in ("params", "notes"):
        for name, value in known.get(part, {}).items():
            if name != "method":
                text = f"{value:.6g}" if isinstance(value, float) else str(value)
                out[name.replace("_", " ")] = "auto" if value is None else text
    return out


class CompareDock(QWidget):
    """Compare two volume layers.

    Parameters
    ----------
    napari_viewer : napari viewer
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._later = Later(self)
        self._later.done.connect(self._show)
        self._later.failed.connect(lambda why: self.note.setText(why))
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(40)
        self._soon.timeout.connect(self._draw)
        self._build()
        follow(napari_viewer.dims.events.point, self._follow_viewer)
        layers = [x for x in napari_viewer.layers if self.first.findText(x.name) >= 0]
        if len(layers) > 1:
            self.first.choose(layers[-2])
        self._chosen()

    def _build(self) -> None:
        self.first, self.second = LayerChoice(self._viewer), LayerChoice(self._viewer, newest=True)
        self.plane = QComboBox()
        self.plane.addItems(list(_PLANES))
        self.plane.currentIndexChanged.connect(self._plane_changed)
        self.scaled = QCheckBox("Scale B to A")
        self.scaled.setToolTip("Multiply B by the factor that brings it closest to A, before taking the difference")
        self.scaled.toggled.connect(self.refresh)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.valueChanged.connect(self._slid)
        self.where = QLabel("–")
        self.where.setMinimumWidth(90)
        self.panes = [ImagePane("A"), ImagePane("B"), ImagePane("A − B", diverging=True)]
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["", "A", "B"])
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        form, row, top = QFormLayout(), QHBoxLayout(), QWidget()
        form.addRow("A", self.first)
        form.addRow("B", self.second)
        row.addWidget(self.plane)
        row.addWidget(self.slider, 1)
        row.addWidget(self.where)
        column = QVBoxLayout(top)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addLayout(row)
        column.addWidget(self.scaled)
        column.addWidget(PaneRow(self.panes), 1)
        column.addWidget(self.note)
        parts = QSplitter(Qt.Orientation.Vertical)
        parts.addWidget(top)
        parts.addWidget(self.table)
        parts.setChildrenCollapsible(False)
        parts.setSizes([480, 300])
        layout = QVBoxLayout(self)
        layout.addWidget(parts)
        self.setMinimumSize(340, 360)
        self.first.chosen.connect(self._chosen)
        self.second.chosen.connect(self._chosen)

    # ---------------------------------------------------------------- what is compared
    @property
    def axis(self) -> int:
        """The axis of (z, y, x) that is cut."""
        return _PLANES[self.plane.currentText()]

    def _chosen(self) -> None:
        self._fill_table()
        self._plane_changed()

    def _plane_changed(self, *_: Any) -> None:
        layer = self.first.layer
        self.slider.setEnabled(layer is not None)
        if layer is not None:
            count = layer.data.shape[self.axis]
            self.slider.blockSignals(True)
            self.slider.setMaximum(count - 1)
            self.slider.setValue(count // 2)
            self.slider.blockSignals(False)
            self._follow_viewer()
        self.refresh()

    def _follow_viewer(self) -> None:
        dims, layer = self._viewer.dims, self.first.layer
        axis = self.axis + dims.ndim - 3
        if layer is not None and dims.ndisplay == 2 and axis >= 0 and axis in dims.not_displayed:
            self.slider.setValue(Grid.of(layer).index(self.axis, dims.point[axis]))

    def _slid(self, index: int) -> None:
        dims, layer = self._viewer.dims, self.first.layer
        if layer is not None:
            grid, axis = Grid.of(layer), self.axis + dims.ndim - 3
            at = grid.corner[self.axis] + index * grid.size[self.axis]
            if axis in dims.not_displayed and grid.index(self.axis, dims.point[axis]) != index:
                dims.set_point(axis, at)
        self.refresh()

    # ---------------------------------------------------------------- planes
    def refresh(self, *_: Any) -> None:
        """Draw again soon."""
        if self.isVisible() and not self._soon.isActive():
            self._soon.start()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self.refresh()

    def _draw(self) -> None:
        a, b = self.first.layer, self.second.layer
        if a is None or b is None:
            for pane in self.panes:
                pane.set_image(None)
            self.note.setText("Two volumes are needed: run two reconstructions, or open a saved one.")
            return
        grid, axis = Grid.of(a), self.axis
        at = grid.corner[axis] + self.slider.value() * grid.size[axis]
        self.where.setText(f"{'zyx'[axis]} {at:.2f} {unit_of(a)}".replace("-", "−"))
        data = (np.asarray(a.data), grid, np.asarray(b.data), Grid.of(b))
        self._limits = tuple(float(v) for v in a.contrast_limits)
        self._later.ask(compare_planes, *data, axis, at, self.scaled.isChecked())

    def _show(self, found: Any) -> None:
        layer = self.first.layer
        if layer is None:
            return
        a, b, correlation, factor = found
        grid, (down, across) = Grid.of(layer), {0: (1, 2), 1: (0, 2), 2: (1, 0)}[self.axis]
        rows, columns = a.shape
        extent = (
            grid.corner[across] - grid.size[across] / 2,
            grid.corner[down] - grid.size[down] / 2,
            grid.size[across] * columns,
            grid.size[down] * rows,
        )
        self.panes[0].set_image(a, self._limits, extent)
        self.panes[1].set_image(b, self._limits, extent)
        reach = (self._limits[1] - self._limits[0]) / 4
        self.panes[2].set_image(a - b, (-reach, reach), extent)
        rms = float(np.sqrt(((a - b) ** 2).mean()))
        share = rms / max(float(np.sqrt((a**2).mean())), 1e-30)
        scale = f" (B × {factor:.4g})" if self.scaled.isChecked() else ""
        self.note.setText(
            f"In this plane: correlation {correlation:.4f}, RMS difference {rms:.4g}{scale}, {share:.1%} of A's RMS. "
            "Both in A's contrast; difference: red where A is larger, full colour at a quarter of its contrast."
        )

    # ---------------------------------------------------------------- figures and parameters
    def _fill_table(self) -> None:
        left, right = facts(self.first.layer), facts(self.second.layer)
        names = [*left, *(k for k in right if k not in left)]
        mark = QColor(COLOURS["synthetic"])
        mark.setAlpha(110)
        self.table.setRowCount(len(names))
        for row, name in enumerate(names):
            texts = (name, left.get(name, "–"), right.get(name, "–"))
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if texts[1] != texts[2]:
                    item.setBackground(mark)
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                self.table.setItem(row, column, item)
        self.table.resizeRowsToContents()
