"""The dock that opens a tilt series and shows what is known of it: angles, pixel size, contrast, tilts left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from splatom.data import TiltSeries
from splatom.jobs import JobError
from splatom.plugin.angles import AnglesBox
from splatom.plugin.box import BoxOutline
from splatom.plugin.form import Number
from splatom.plugin.layers import info
from splatom.plugin.polar import PolarPlot
from splatom.plugin.runner import MessageBar
from splatom.plugin.session import Run, session_of

if TYPE_CHECKING:
    import napari

__all__ = ["TiltSeriesDock"]

_COLUMNS = ("Tilt", "Angle", "Use", "Hold out", "")
_USE, _HOLD = 2, 3


class TiltSeriesDock(QWidget):
    """Open a series, complete what its file does not say, and choose its tilts.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.session = viewer, session_of(viewer)
        self._filling = False
        self._pending: Run | None = None
        self._then_hold: tuple[int, ...] = ()
        self.title, self.message = QLabel(), MessageBar()
        self.title.setWordWrap(True)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.angles, self.polar, self.box = AnglesBox(), PolarPlot(), BoxOutline(viewer, self.session)
        self.angles.given.connect(self._give_angles)
        self.polar.picked.connect(self._go_to)
        self.pixel = Number()
        self.pixel.setRange(0, 1e6)
        self.pixel.setSpecialValueText("not known")
        self.pixel.setSuffix(" nm")
        self.pixel.setKeyboardTracking(False)
        self.contrast = QComboBox()
        self.contrast.addItem("dark field: matter is bright", "adf")
        self.contrast.addItem("bright field: matter is dark", "bf")
        self.contrast.addItem("phase: either", "phase")
        self.contrast.setToolTip("Decides whether a logarithm is taken and whether voxels may be negative")
        self.pixel.valueChanged.connect(self._pixel_changed)
        self.contrast.currentIndexChanged.connect(self._contrast_changed)
        self.facts = QFormLayout()
        self.facts.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.facts.addRow("Pixel size", self.pixel)
        self.facts.addRow("Contrast", self.contrast)
        self.table = self._make_table()
        self.apply = QPushButton("Apply to a new layer")
        self.apply.setToolTip("Leave out tilts without a tick; keep the held-out ones aside to score results (R-free)")
        self.apply.clicked.connect(self._apply)
        column = QVBoxLayout(self)
        column.addLayout(self._files())
        for widget in (self.title, self.message, self.angles):
            column.addWidget(widget)
        column.addLayout(self.facts)
        column.addWidget(self.box)
        self.polar.setFixedHeight(210)
        column.addWidget(self.polar)
        column.addWidget(self.table, 1)
        column.addWidget(self.apply)
        self.setMinimumWidth(320)
        self._following = QTimer(self)  # follows the slider without a callback from napari into a dead dock
        self._following.timeout.connect(self._follow)
        self._following.start(100)
        s = self.session
        s.attach(self, (s.active_series_changed, self._show), (s.run_ended, self._ended))
        self._show()

    def _files(self) -> QHBoxLayout:
        row = QHBoxLayout()
        for text, tip, slot in (
            ("Open file…", "A tilt series: MRC, TIFF, HDF5, EMD, DM3/4, NumPy, MATLAB", self._open_file),
            ("Open folder…", "A folder of images, one a tilt", self._open_folder),
            ("Save…", "Save the series as it is now", self._save),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda *_, slot=slot: slot())
            row.addWidget(button)
        return row

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(_COLUMNS)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(len(_COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.currentCellChanged.connect(lambda row, *_: self._go_to(row))
        table.itemChanged.connect(self._ticked)
        table.setMinimumHeight(120)
        return table

    # ---------------------------------------------------------------- files
    def _open_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a tilt series")
        self.open(name)

    def _open_folder(self) -> None:
        self.open(QFileDialog.getExistingDirectory(self, "Open a folder of images"))

    def open(self, path: str) -> None:
        """Read a file or folder into a layer; a fault is one line in this dock and in napari."""
        if path:
            self.message.say("")
            self.viewer.open(path, plugin="splatom")

    def _save(self) -> None:
        if self.session.series is None:
            self.message.say("there is no series with angles to save", fault=True)
            return
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the series", "", "NumPy, everything (*.npz);;MRC (*.mrc *.st *.ali);;TIFF (*.tif)"
        )
        if name:
            self.session.save(name, self.session.series, self.message.say)

    # ---------------------------------------------------------------- what is known
    def _show(self, *_: Any) -> None:
        layer, series = self.session.series_layer, self.session.series
        self._filling = True
        missing = bool(info(layer).get("angles_missing"))
        self.angles.setVisible(missing)
        if missing:
            self.angles.set_count(info(layer)["n_tilts"])
        for widget in (self.pixel, self.contrast, self.table, self.apply, self.box):
            widget.setEnabled(series is not None)
        if series is None:
            what = f"<b>{layer.name}</b>: no tilt angles were found. Give them here:" if missing else ""
            self.title.setText(what or "Open a tilt series, or File > Open Sample > Splatom.")
            self.polar.set_angles([])
            self.table.setRowCount(0)
        else:
            n, h, w = series.shape
            hand = "" if series.hand_known else " · hand not known"
            self.title.setText(f"<b>{layer.name}</b>: {n} tilts of {w} × {h} pixels{hand}")
            self.title.setToolTip("\n".join(f"{k}: {v}" for k, v in series.provenance.loading.items()))
            self.pixel.setValue(series.pixel_size or 0.0)
            self.contrast.setCurrentIndex(self.contrast.findData(series.contrast))
            self._fill_table(series)
            self._draw()
        self.box.set_series(series)
        self._filling = False

    def _fill_table(self, series: TiltSeries) -> None:
        self.table.setRowCount(len(series))
        for row, angle in enumerate(series.angles):
            note = "synthetic" if series.synthetic[row] else ""
            texts = (str(row), f"{angle:+.2f}°".replace("-", "−"), "", "", note)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                if column in (_USE, _HOLD):
                    on = series.held_out[row] if column == _HOLD else series.weights[row] > 0
                    item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                    item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
                self.table.setItem(row, column, item)

    def _checked(self, column: int) -> np.ndarray:
        rows = range(self.table.rowCount())
        return np.array([self.table.item(r, column).checkState() == Qt.CheckState.Checked for r in rows], bool)

    def _ticked(self, item: QTableWidgetItem) -> None:
        if not self._filling:
            self._draw()

    def _draw(self) -> None:
        series = self.session.series
        if series is not None:
            excluded, held = ~self._checked(_USE), self._checked(_HOLD)
            self.polar.set_angles(series.angles, excluded, series.synthetic, held, self._index())
            self.apply.setEnabled(bool(excluded.any()) or not np.array_equal(held, series.held_out))

    # ---------------------------------------------------------------- the tilt in view
    def _index(self) -> int | None:
        layer = self.session.series_layer
        point = self.viewer.dims.point
        if layer is None or len(point) < 4:
            return None
        return int(np.clip(round(point[-4]), 0, layer.data.shape[0] - 1))

    def _follow(self) -> None:
        index = self._index()
        if not self.isVisible() or index is None or self.session.series is None:
            return
        self.polar.set_current(index)
        if self.table.currentRow() != index and not self.table.hasFocus():
            self.table.blockSignals(True)
            self.table.selectRow(index)
            self.table.blockSignals(False)
        self.box.follow(index)

    def _go_to(self, index: int) -> None:
        dims = self.viewer.dims
        if not self._filling and dims.ndim >= 4 and index >= 0:
            dims.set_point(dims.ndim - 4, index)

    # ---------------------------------------------------------------- changes
    def _edit(self, **given: Any) -> None:
        """Put what the user says of the file into the series, and into its record so that a recipe says it too."""
        series = self.session.series
        if series is None or self._filling:
            return
        loading = dict(series.provenance.loading)
        loading["given"] = {**loading.get("given", {}), **given}
        changed = series.with_(**given, provenance=replace(series.provenance, loading=loading))
        self.session.replace_series(changed)

    def _pixel_changed(self, value: float) -> None:
        if value > 0:
            self._edit(pixel_size=float(value))

    def _contrast_changed(self, index: int) -> None:
        self._edit(contrast=self.contrast.itemData(index))

    def _give_angles(self, angles: Any) -> None:
        """Read the file again, now with its angles."""
        from splatom.io import FileFault
        from splatom.recipe import load_input

        layer = self.session.series_layer
        try:
            series = load_input(info(layer)["path"], "series", {"angles": angles})
            self.session.replace_series(series, layer)
        except (FileFault, ValueError) as fault:
            self.message.say(str(fault), fault=True)
            return
        self.message.say(f"{len(series)} angles taken")

    def _apply(self) -> None:
        """Run the methods exclude and hold-out, so that a recipe can do the same."""
        from splatom.methods import get

        use, held = self._checked(_USE), self._checked(_HOLD)
        out = tuple(int(i) for i in np.flatnonzero(~use))
        # Indices after the exclusion: the second step sees the first one's result.
        self._then_hold = tuple(int(i) for i in np.flatnonzero(held[use]))
        try:
            if out:
                self._pending = self.session.start("prepare", "exclude", get("prepare", "exclude").params(tilts=out))
            else:
                self._hold(self.session.series)
        except (JobError, ValueError) as exc:
            self.message.say(str(exc), fault=True)

    def _hold(self, series: TiltSeries | None) -> None:
        from splatom.methods import get

        held, self._then_hold = self._then_hold, ()
        if series is None or list(np.flatnonzero(series.held_out)) == list(held):
            return
        params = get("prepare", "hold-out").params(**({"tilts": held} if held else {"share": 0.0}))
        self._pending = self.session.start("prepare", "hold-out", params, series)

    def _ended(self, run: Run) -> None:
        if run is not self._pending:
            return
        self._pending = None
        if run.outcome.error is not None:
            self.message.say(str(run.outcome.error), fault=True)
        elif run.method == "exclude":
            self._hold(run.result)
        self.box.set_series(self.session.series)
