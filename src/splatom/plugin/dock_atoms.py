"""The dock Atoms: find them, look at each, filter, relabel, plot, export, and compare with a reference."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from splatom.data import Atoms, TiltSeries
from splatom.jobs import JobError
from splatom.methods import find
from splatom.plugin.atoms_colour import ColourRow
from splatom.plugin.atoms_compare import ComparePanel
from splatom.plugin.atoms_filter import FilterRow
from splatom.plugin.atoms_hand import AtomsHand, is_points
from splatom.plugin.atoms_inspect import Inspector
from splatom.plugin.atoms_plots import PlotsPanel
from splatom.plugin.choices import LayerChoice, is_volume
from splatom.plugin.layers import from_layer, info
from splatom.plugin.runner import MessageBar, MethodPanel
from splatom.plugin.session import Run, session_of
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    import napari

__all__ = ["AtomsDock", "takes_volume"]


def takes_volume(method: str) -> bool:
    """Whether a method of the group 'atoms' may start from a volume; every one starts from tilts else."""
    first = next(iter(inspect.signature(find()["atoms", method].function).parameters.values()))
    return "Volume" in str(first.annotation)


def _is_input(layer: Any) -> bool:
    if info(layer).get("live") or info(layer).get("overlay"):
        return False  # a preview, or what lies over a result
    return is_volume(layer) or isinstance(info(layer).get("value"), TiltSeries)


class AtomsDock(QWidget):
    """Find atoms and work with those found.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.session = viewer, session_of(viewer)
        self.hand = AtomsHand(self.session, self)
        self.choice = LayerChoice(viewer, is_points, newest=True)
        self.choice.setToolTip("The atoms, or Gaussians, that this dock works on")
        self.choice.setPlaceholderText("none yet")
        self.colour, self.filter = ColourRow(), FilterRow(self.hand)
        self.pick, self.all = QCheckBox("Pick in the viewer"), QCheckBox("hidden too")
        self.export = QPushButton("Export…")
        self.pick.setToolTip("Click atoms in the canvas to inspect or relabel them; shift adds to the selection")
        self.export.setToolTip("Save the atoms: XYZ and extended XYZ, CIF, CSV (the extension says which)")
        self.all.setToolTip("Export the atoms that the filter hides, too")
        self.message = MessageBar()
        self.tabs = QTabWidget()
        self.panel = MethodPanel(self.session, "atoms")
        self.inspector = Inspector(self.hand, viewer)
        self.plots = PlotsPanel(self.hand)
        self.compare = ComparePanel(self.hand, viewer)
        self.tabs.addTab(self._scrolled(self._find_tab()), "Find")
        for widget, name in ((self.inspector, "Inspect"), (self.plots, "Plots"), (self.compare, "Compare")):
            self.tabs.addTab(self._scrolled(widget), name)
        column = QVBoxLayout(self)
        column.addWidget(self.tabs, 1)
        column.addWidget(self._header())
        self.setMinimumWidth(340)
        self.pick.toggled.connect(self._pick)
        self.export.clicked.connect(lambda: self.save())
        self.choice.chosen.connect(self._chosen)
        self.filter.filtered.connect(self.plots.refresh)
        self.hand.changed.connect(self._coloured)
        self.session.attach(self, (self.session.run_ended, self._ended))
        self.session.attach(self, (self.session.active_series_changed, self._inputs_changed))
        self.panel.method_changed.connect(self._inputs_changed)
        self._inputs_changed()
        self._chosen()

    # ---------------------------------------------------------------- layout
    def _find_tab(self) -> QWidget:
        body = QWidget()
        column, rows = QVBoxLayout(body), QFormLayout()
        self.input_label = QLabel()
        self.input_label.setWordWrap(True)
        self.source = LayerChoice(self.viewer, _is_input, newest=True)
        self.source.setToolTip("Where atoms are traced: a volume, or a tilt series that is reconstructed quickly first")
        self.source.chosen.connect(self._inputs_changed)
        rows.addRow("Trace in", self.source)
        self._source_label = rows.labelForField(self.source)
        self.panel.extra.addLayout(rows)
        self.panel.data, self.panel.ready = self._data, self._ready
        column.addWidget(self.input_label)
        column.addWidget(self.panel)
        column.addStretch(1)
        return body

    def _header(self) -> QWidget:
        """Which atoms, how they are drawn, and what can be done with them."""
        box = QWidget()
        column, row, buttons = QVBoxLayout(box), QHBoxLayout(), QHBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Atoms"))
        row.addWidget(self.choice, 1)
        for widget in (self.pick, self.export, self.all):
            buttons.addWidget(widget)
        buttons.addStretch(1)
        column.addLayout(row)
        for widget in (self.colour, self.filter):
            column.addWidget(widget)
        column.addLayout(buttons)
        column.addWidget(self.message)
        return box

    def _scrolled(self, widget: QWidget) -> QScrollArea:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(widget)
        return scroll

    # ---------------------------------------------------------------- finding
    def _inputs_changed(self, *_: Any) -> None:
        method = self.panel.method
        traced = bool(method) and takes_volume(method)
        self.source.setVisible(traced)
        self._source_label.setVisible(traced)
        layer = self.source.layer if traced else self.session.series_layer
        value = info(layer).get("value")
        if isinstance(value, TiltSeries):
            n, h, w = value.shape
            self.input_label.setText(f"<b>{layer.name}</b>: {n} tilts of {w} × {h} pixels")
        elif traced and layer is not None:
            shape = " × ".join(map(str, layer.data.shape))
            self.input_label.setText(f"<b>{layer.name}</b>: a volume of {shape} voxels (z, y, x)")
        else:
            what = "tilt series or volume" if traced else "tilt series"
            self.input_label.setText(f"<b>No {what}.</b> Open one, or File > Open Sample > Splatom.")
        self.panel.refresh()

    def _ready(self) -> bool:
        if self.panel.method and takes_volume(self.panel.method):
            return self.source.layer is not None
        return self.session.series is not None

    def _data(self) -> Any:
        if not takes_volume(self.panel.method):
            return self.session.series
        if self.source.layer is None:
            raise JobError("there is nothing to trace atoms in: open a tilt series, or reconstruct a volume")
        return from_layer(self.source.layer)

    def _ended(self, run: Run) -> None:
        if run.layers and is_points(run.layers[0]):
            self.choice.refresh()  # the run's own layer has become that of a result
            self.choice.choose(run.layers[0])

    # ---------------------------------------------------------------- the atoms in hand
    def _chosen(self) -> None:
        layer = self.choice.layer
        self.hand.set_layer(layer)
        for widget in (self.pick, self.export, self.all):
            widget.setEnabled(layer is not None)
        self.pick.setChecked(False)

    def _coloured(self) -> None:
        self.colour.setVisible(self.hand.layer is not None)
        self.colour.set_layer(self.hand.layer, self.hand.value, self.hand.series)

    def _pick(self, on: bool) -> None:
        layer = self.hand.layer
        if layer is None:
            return
        if on:
            layer.visible = True
            self.viewer.layers.selection.active = layer
            self.tabs.setCurrentIndex(1)
        layer.mode = "select" if on else "pan_zoom"

    def save(self, path: str | Path = "") -> None:
        """Save the atoms shown, or all, in a thread; asks for the file's name if none is given."""
        value = self.hand.value
        if value is None:
            return
        kept = self.hand.shown
        if not kept.all() and not self.all.isChecked():
            value = subset(value, kept)
        kinds = "Extended XYZ (*.xyz);;CIF (*.cif);;CSV (*.csv)" if isinstance(value, Atoms) else "NumPy (*.npz)"
        folder = preferences().output_folder or str(Path(value.provenance.source).parent)
        suffix = ".xyz" if isinstance(value, Atoms) else ".npz"
        start = str(Path(folder) / f"{self.hand.layer.name}{suffix}")
        name = str(path) or QFileDialog.getSaveFileName(self, "Export atoms", start, kinds)[0]
        if name:
            self.session.save(name, value, self.message.say)


def subset(value: Any, kept: Any) -> Any:
    """Return some of the atoms, or Gaussians, of a value."""
    names = [k for k, v in vars(value).items() if k != "provenance" and v is not None]
    return value.with_(**{k: getattr(value, k)[kept] for k in names})
