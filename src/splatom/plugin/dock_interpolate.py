"""Dock Interpolate: see the gaps of a series, check a method on the series itself, and fill them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFormLayout, QLabel, QScrollArea, QSplitter, QTabWidget, QVBoxLayout, QWidget

from splatom.data import TiltSeries
from splatom.jobs import JobError
from splatom.plugin.choices import follow
from splatom.plugin.interpolate_check import YARDSTICK, CheckPage
from splatom.plugin.interpolate_gaps import GapsView
from splatom.plugin.interpolate_input import SeriesChoice, usable
from splatom.plugin.interpolate_part import Gaps
from splatom.plugin.interpolate_preview import PreviewPage
from splatom.plugin.interpolate_steps import Steps, go_to_angle, index_in_view, seen_layer
from splatom.plugin.interpolate_use import ADVICE, WHY
from splatom.plugin.layers import info
from splatom.plugin.runner import MessageBar, MethodPanel
from splatom.plugin.session import Run, session_of

if TYPE_CHECKING:
    import napari

__all__ = ["InterpolateDock"]

_PURPOSE = "Here a predicted tilt will stand beside its measured neighbours."
# Proposed in this order, where they are here: on the sample, sinogram is 0.5 dB ahead of the network's first weights.
_BEST = ("sinogram", "tsgnet", YARDSTICK)


class InterpolateDock(QWidget):
    """Fill the gaps of a tilt series; each run gives a new layer, and the old one stays.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.session = viewer, session_of(viewer)
        self.source = SeriesChoice(viewer)
        self.panel = MethodPanel(self.session, "interpolate")
        self.panel.data, self.panel.ready, self.panel.task = self._data, self._ready, self._task
        self.gaps = GapsView()
        self.preview = PreviewPage(self.session, self.panel, self.source)
        self.check = CheckPage(self.session, self.panel, self.source)
        self.steps = Steps(self.session, "interpolate")
        self._result: Run | None = None
        self._looked_at: float | None = None
        self._proposed = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(100)
        self._soon.timeout.connect(self._plan)
        self._build()
        self.source.chosen.connect(self._source_changed)
        self.panel.params_changed.connect(self._params_changed)
        self.panel.method_changed.connect(self._params_changed)
        self.gaps.planned.connect(self._planned)
        self.gaps.picked.connect(self._go_to)
        self.gaps.planned_picked.connect(self._look_at)
        self.preview.looked_at.connect(self.gaps.choose)
        self.steps.undone.connect(self._undone)
        follow(viewer.dims.events.current_step, self._follow)
        s = self.session
        s.attach(self, (s.active_series_changed, self._series_changed))
        s.attach(self, (s.run_updated, self._updated), (s.run_ended, self._ended))
        if s.series_layer is not None:
            self._series_changed(s.series_layer)
        self._source_changed()
        s.warm_up()

    def _build(self) -> None:
        self.message, self.advice = MessageBar(), QLabel(ADVICE)
        self.advice.setWordWrap(True)
        self.advice.setToolTip(f"<p>{WHY}</p>")
        self.advice.setStyleSheet("QLabel { font-style: italic; }")
        self.source.setToolTip("The tilt series whose gaps are to be filled; results come in layers of their own")
        top, column = QFormLayout(), QVBoxLayout(self)
        top.addRow("Series", self.source)
        body = QWidget()
        inner = QVBoxLayout(body)
        inner.setContentsMargins(0, 0, 0, 0)
        for widget in (self.gaps, self.panel, self.message, self.advice, self.steps):
            inner.addWidget(widget)
        inner.addStretch(1)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.preview, "Preview")
        self.tabs.addTab(_scrolled(self.check), "Check")
        self.tabs.setTabToolTip(0, "One predicted tilt beside its neighbours")
        self.tabs.setTabToolTip(1, "Predict tilts that were measured, and compare: before you trust a method")
        self._parts = QSplitter(Qt.Orientation.Vertical)
        self._parts.addWidget(_scrolled(body))
        self._parts.addWidget(self.tabs)
        self._parts.setChildrenCollapsible(False)
        self._parts.setSizes([560, 380])
        self._parts.setStretchFactor(1, 1)
        column.addLayout(top)
        column.addWidget(self._parts, 1)
        self.setMinimumWidth(360)
        self._placed = False  # the user has moved the bar between the parts
        self._parts.splitterMoved.connect(self._moved)
        self.tabs.currentChanged.connect(self._make_room)

    def _moved(self, *_: Any) -> None:
        self._placed = True

    def _make_room(self, tab: int) -> None:
        """Give the check the room that its answer takes."""
        if not self._placed:
            total = sum(self._parts.sizes())
            upper = round((0.64, 0.38)[tab] * total)
            self._parts.setSizes([upper, total - upper])

    # ---------------------------------------------------------------- what to fill
    def _series_changed(self, layer: Any) -> None:
        """Follow the series in hand, but stay with the measured tilts where it is one that this dock has filled."""
        run = self.session.run_of(layer) if layer is not None else None
        ours = run is not None and run.group == "interpolate"
        if layer is not None and (not ours or self.source.layer is None):
            self.source.refresh()
            self.source.choose(layer)
            if self._result is not None and run is not self._result:
                self._forget_result()
        elif ours and run is not self._result and run is not None and run.data is self.source.value:
            self._show_result(run)

    def _source_changed(self) -> None:
        self.message.say("")
        self._result = None
        self.preview.forget_result()
        if not self._proposed and self.source.value is not None:  # once: from then on the choice is the user's
            self._proposed = True
            combo = self.panel.combo
            combo.setCurrentText(_proposal([combo.itemText(i) for i in range(combo.count())]))
        self._plan()
        self.panel.refresh()

    def _params_changed(self, *_: Any) -> None:
        self._result = None
        self._soon.start()

    def _plan(self) -> None:
        """Find the gaps anew."""
        self._soon.stop()
        form = self.panel.form
        try:
            series = self.source.series()
            params = form.value() if form is not None else None
        except ValueError as fault:
            if self.source.layer is None:
                self.gaps.ask(None, None)
            self.gaps.refuse(str(fault))
            return
        self.gaps.ask(series, params)

    def _planned(self, gaps: Gaps | None) -> None:
        if self._result is not None:
            return
        self._offer_step(gaps)
        fault = self.gaps.fault
        why = "There is no new tilt to show: choose a smaller step."
        if gaps is None:
            why = f"{fault[:1].upper()}{fault[1:]}." if self.source.layer is not None else _PURPOSE
        self.preview.set_gaps(gaps, why)
        self.panel.refresh()
        self._follow()

    def _offer_step(self, gaps: Gaps | None) -> None:
        """Where the step is decided, show it: the number that the user starts from."""
        field = self.panel.form.widget("step") if self.panel.form is not None else None
        if field is None or not field.tick.isChecked():
            return
        field.inner.blockSignals(True)
        field.inner.setValue(1.0 if gaps is None or gaps.step is None else round(gaps.step, 4))
        field.inner.blockSignals(False)

    def _ready(self) -> bool:
        gaps = self.gaps.gaps
        return self.source.value is not None and gaps is not None and len(gaps.new) > 0

    def _data(self) -> TiltSeries:
        try:
            series = self.source.series()
        except ValueError as exc:
            raise JobError(str(exc)) from exc
        layer = self.source.layer
        if self.session.series_layer is not layer:
            self.session.set_series(getattr(layer, "__wrapped__", layer))
        return series

    def _task(self) -> dict[str, Any]:
        self.preview.drop()
        self._looked_at = self.preview.angle
        self.tabs.setCurrentIndex(0)
        return {}

    # ---------------------------------------------------------------- which tilt
    def _shown_layer(self) -> Any:
        """Return the layer whose tilts the plot shows."""
        layers = self._result.layers if self._result is not None else []
        return layers[0] if layers else self.source.layer

    def _follow(self) -> None:
        layer = self._shown_layer()
        self.gaps.follow(index_in_view(self.session, layer) if layer is not None else None)

    def _go_to(self, index: int) -> None:
        angles = info(self._shown_layer()).get("angles")
        if angles and index < len(angles):
            go_to_angle(self.viewer, seen_layer(self.session, self.source.layer), angles[index])

    def _look_at(self, index: int) -> None:
        gaps = self.gaps.gaps
        if gaps is not None and 0 <= index < len(gaps.new):
            self.tabs.setCurrentIndex(0)
            self.preview.look_at(float(gaps.new[index]))

    # ---------------------------------------------------------------- runs
    def _updated(self, run: Run) -> None:
        if run is self.panel.run and run.snapshot is not None and isinstance(run.snapshot.preview, TiltSeries):
            self.preview.show_progress(run.data, run.snapshot.preview)

    def _ended(self, run: Run) -> None:
        if run.group != "interpolate" or run.outcome is None:
            return
        if run is self.panel.run and run.result is not None and run.layers:
            self._show_result(run)
            if self._looked_at is not None:
                go_to_angle(self.viewer, run.layers[0], self._looked_at)
            self._say(run)
        self.preview.refresh()

    def _show_result(self, run: Run) -> None:
        if run.result is None or not run.result.synthetic.any():
            return
        self._result = run
        self.gaps.set_filled(run.result)
        self.preview.show_result(run)
        self._follow()

    def _say(self, run: Run) -> None:
        notes = run.outcome.notes if run.outcome is not None else {}
        line = notes.get("misaligned") or notes.get("doubt") or notes.get("stopped") or notes.get("nothing_new") or ""
        checked = self.check.found
        if not line and (checked is None or checked.method != run.method):
            line = "Not checked yet: the tab Check tells how well these tilts can be predicted."
        self.message.say(line[:1].upper() + line[1:], fault="misaligned" in notes or "doubt" in notes)

    def _forget_result(self) -> None:
        self._result = None
        self._plan()

    def _undone(self, layer: Any) -> None:
        self.message.say("")
        self.source.choose(layer)
        self._forget_result()


def _proposal(names: list[str]) -> str:
    """Return the method to start with: a network only where its weights are here."""
    for name in _BEST:
        if name in names and usable(name):
            return name
    return names[0] if names else ""


def _scrolled(widget: QWidget) -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setWidget(widget)
    return scroll
