"""Dock Denoise: choose a denoiser, see what it removes, run it on the series; calibrate noise; find atom columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from splatom.data import TiltSeries
from splatom.jobs import JobError
from splatom.plugin.denoise_columns import ColumnsPage
from splatom.plugin.denoise_input import Source
from splatom.plugin.denoise_noise import NoisePage
from splatom.plugin.denoise_preview import PreviewPage
from splatom.plugin.layers import info
from splatom.plugin.runner import MessageBar, MethodPanel
from splatom.plugin.session import Run, session_of

if TYPE_CHECKING:
    import napari

__all__ = ["DenoiseDock"]


class DenoiseDock(QWidget):
    """Denoise a tilt series or an image; each run gives a new layer, and the old one stays.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.session = viewer, session_of(viewer)
        self.source = Source(viewer)
        self.panel = MethodPanel(self.session, "denoise")
        self.panel.data, self.panel.ready, self.panel.task = self._data, self._ready, self._task
        self.preview = PreviewPage(self.session, self.panel, self.source)
        self.noise = NoisePage(self.session, self.panel, self.source)
        self.columns = ColumnsPage(self.session, self.panel, self.source)
        self._build()
        s = self.session
        s.attach(self, (s.active_series_changed, self._series_changed))
        s.attach(self, (s.run_updated, self._updated), (s.run_ended, self._ended))
        self._proposed = False
        self.source.chosen.connect(self._source_changed)
        if s.series_layer is not None:
            self._series_changed(s.series_layer)
        self._source_changed()
        s.warm_up()

    def _build(self) -> None:
        self.shape = QLabel()
        self.shape.setWordWrap(True)
        self.compare, self.undo = QPushButton("Show before"), QPushButton("Undo")
        self.compare.setCheckable(True)
        self.compare.setToolTip("Switch the view between the denoised images and those they were made from")
        self.undo.setToolTip("Go back to the images before the last run; nothing is deleted")
        self.message = MessageBar()
        top, buttons = QFormLayout(), QHBoxLayout()
        top.addRow("Images", self.source)
        buttons.addWidget(self.compare)
        buttons.addWidget(self.undo)
        body = QWidget()
        inner = QVBoxLayout(body)
        inner.addWidget(self.panel)
        inner.addLayout(buttons)
        inner.addWidget(self.message)
        inner.addStretch(1)
        first = QSplitter(Qt.Orientation.Vertical)
        first.addWidget(_scrolled(body))
        first.addWidget(self.preview)
        first.setChildrenCollapsible(False)
        first.setSizes([280, 560])
        first.setStretchFactor(1, 1)
        self.tabs = QTabWidget()
        self.tabs.addTab(first, "Denoise")
        self.tabs.addTab(_scrolled(self.noise), "Noise")
        self.tabs.addTab(_scrolled(self.columns), "Columns")
        column = QVBoxLayout(self)
        column.addLayout(top)
        column.addWidget(self.shape)
        column.addWidget(self.tabs, 1)
        self.setMinimumWidth(360)
        self.compare.toggled.connect(self._show_before)
        self.undo.clicked.connect(self._go_back)

    # ---------------------------------------------------------------- what to denoise
    def _series_changed(self, layer: Any) -> None:
        """Follow the series in hand, but stay with the noisy images where it is one that this dock has made."""
        run = self.session.run_of(layer) if layer is not None else None
        if layer is not None and (run is None or run.group != "denoise" or self.source.layer is None):
            self.source.refresh()
            self.source.choose(layer)
        self._show_steps()

    def _source_changed(self) -> None:
        self.message.say("")
        layer = self.source.layer
        try:
            series = self.source.series()
        except ValueError as exc:
            line = str(exc) if layer is not None else "Open a tilt series or an image, or File > Open Sample > Splatom."
            self.shape.setText(f"<b>{line[:1].upper()}{line[1:]}</b>")
        else:
            n, h, w = series.shape
            what = f"{n} tilts of {w} × {h} pixels" if n > 1 else f"an image of {w} × {h} pixels"
            kind = {"adf": "dark field", "bf": "bright field", "phase": "phase contrast"}[series.contrast]
            self.shape.setText(f"{what}, {kind}")
            if not self._proposed:  # once: from then on the choice is the user's
                self._proposed = True
                self.panel.combo.setCurrentText("scgn" if series.contrast == "phase" else "sfin")
        self.panel.refresh()
        self._show_steps()

    def _ready(self) -> bool:
        try:
            self.source.series()
        except ValueError:
            return False
        return True

    def _data(self) -> TiltSeries:
        try:
            series = self.source.series()
        except ValueError as exc:
            raise JobError(str(exc)) from exc
        layer = self.source.layer
        if not info(layer):  # a plain image: its result has to lie over it, in the frame that every series has
            taken = self.session.add(series, f"{layer.name} (image)")
            layer.visible = False
            self.source.choose(taken)
        elif self.session.series_layer is not layer:
            self.session.set_series(getattr(layer, "__wrapped__", layer))
        return series

    def _task(self) -> dict[str, Any]:
        self.preview.drop()
        return {}

    # ---------------------------------------------------------------- runs
    def _updated(self, run: Run) -> None:
        if run is self.panel.run and run.snapshot is not None and isinstance(run.snapshot.preview, TiltSeries):
            self.preview.show_progress(run, run.snapshot.preview)

    def _ended(self, run: Run) -> None:
        if run.group != "denoise" or run.outcome is None:
            return
        if run is self.panel.run and run.result is not None and run.layers:
            self.compare.setChecked(False)
            self.preview.show_result(run)
        self._show_steps()

    # ---------------------------------------------------------------- before and after
    def _last(self) -> tuple[Any, Any]:
        """Return the layer in hand that was denoised, and that of its input; None for what is not there."""
        after = self.session.series_layer
        run = self.session.run_of(after) if after is not None else None
        if run is None or run.group != "denoise":
            return None, None
        same = (x for x in self.session.series_layers() if info(x).get("value") is run.data)
        return after, next(same, None)

    def _show_steps(self) -> None:
        possible = all(x is not None for x in self._last())
        for button in (self.compare, self.undo):
            button.setEnabled(possible)
        if not possible:
            self.compare.setChecked(False)

    def _show_before(self, on: bool) -> None:
        after, before = self._last()
        if after is not None and before is not None:
            before.visible, after.visible = on, not on
        self.compare.setText("Show after" if on else "Show before")

    def _go_back(self) -> None:
        after, before = self._last()
        if after is None or before is None:
            return
        self.compare.setChecked(False)
        before.visible, after.visible = True, False
        self.session.set_series(before)
        self.source.choose(before)
        self.preview.forget_result()


def _scrolled(widget: QWidget) -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setWidget(widget)
    return scroll
