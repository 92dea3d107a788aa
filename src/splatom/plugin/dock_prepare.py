"""Dock Prepare: clean and align the series in hand, see it before and after, and correct by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QScrollArea, QSplitter, QTabWidget, QVBoxLayout, QWidget

from splatom.data import Step, TiltSeries
from splatom.jobs import Job, JobError
from splatom.methods.registry import get
from splatom.plugin.choices import follow
from splatom.plugin.later import Later
from splatom.plugin.layers import info
from splatom.plugin.prepare_views import AxisView, ShiftsView, SinogramView
from splatom.plugin.runner import MessageBar, MethodPanel
from splatom.plugin.session import Run, session_of

__all__ = ["PrepareDock", "by_hand"]

_UNDO = 30  # edits by hand that can be taken back; they share their pixels


def by_hand(series: TiltSeries, method: str, fields: dict[str, Any]) -> TiltSeries:
    """Apply a quick method of the group prepare; nudges of one tilt in a row count as one step.

    Raises
    ------
    ValueError
        If it cannot be applied.
    """
    steps = series.provenance.steps
    last = steps[-1] if steps else None
    if method == "nudge" and last is not None and last.method == "nudge" and last.params.get("tilt") == fields["tilt"]:
        before = series.geometry.shifts.copy()
        which = slice(None) if fields["tilt"] is None else fields["tilt"]
        before[which] -= (last.params["column"], last.params["row"])
        fields = {**fields, **{k: round(fields[k] + last.params[k], 9) for k in ("column", "row")}}
        provenance = replace(series.provenance, steps=steps[:-1])
        series = series.with_(geometry=series.geometry.with_shifts(before), provenance=provenance)
    # Not by `execute`: that asks torch for a device, and importing torch holds the window for most of a second.
    known = get("prepare", method)
    job = Job(known.params(**fields))
    try:
        result = known.function(series, job)
    except JobError as exc:
        raise ValueError(str(exc)) from exc
    params = {k: v for k, v in job.params.model_dump(mode="json").items() if k != "method"}
    return result.with_(provenance=series.provenance.then(Step("prepare", method, params, (), dict(job.notes))))


class PrepareDock(QWidget):
    """Prepare the series in hand; each method gives a new layer, so that the old one is always there.

    Parameters
    ----------
    napari_viewer : napari viewer
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self._undo: list[TiltSeries] = []
        self._edited_layer: Any = None
        self._edits: list[tuple[str, dict[str, Any]]] = []
        self._hand = Later(self)
        self._hand.done.connect(self._edited)
        self._hand.failed.connect(lambda why: self.message.say(why, fault=True))
        self._build()
        self.session.attach(
            self,
            (self.session.active_series_changed, self._series_changed),
            (self.session.run_ended, self._ended),
        )
        follow(napari_viewer.dims.events.current_step, self._follow_viewer)
        self._series_changed(self.session.series_layer)

    def _build(self) -> None:
        self.name = QLabel()
        self.name.setWordWrap(True)
        self.panel = MethodPanel(self.session, "prepare")
        self.compare = QPushButton("Show before")
        self.compare.setCheckable(True)
        self.compare.setToolTip("Switch the view between this series and the one it was made from")
        self.compare.toggled.connect(self._show_before)
        self.undo = QPushButton("Undo")
        self.undo.setToolTip("Go back to the series before the last step; nothing is deleted")
        self.undo.clicked.connect(self._go_back)
        self.notes, self.message = QLabel(), MessageBar()
        self.notes.setWordWrap(True)
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        steps = QHBoxLayout()
        steps.addWidget(self.compare)
        steps.addWidget(self.undo)
        body, column = QWidget(), QVBoxLayout()
        inner = QVBoxLayout(body)
        inner.addWidget(self.name)
        inner.addWidget(self.panel)
        inner.addLayout(steps)
        inner.addWidget(self.notes)
        inner.addWidget(self.message)
        inner.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(body)
        self.sinogram, self.axis, self.shifts = SinogramView(), AxisView(), ShiftsView()
        self.views = (self.sinogram, self.axis, self.shifts)
        self.tabs = QTabWidget()
        for title, view in zip(("Sinogram", "Tilt axis", "Shifts"), self.views, strict=True):
            self.tabs.addTab(view, title)
            view.edited.connect(self._edit)
        self.shifts.tilt_chosen.connect(self._go_to)
        parts = QSplitter(Qt.Orientation.Vertical)
        parts.addWidget(scroll)
        parts.addWidget(self.tabs)
        parts.setChildrenCollapsible(False)
        parts.setSizes([380, 420])
        self.setLayout(column)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(parts)
        self.setMinimumWidth(340)

    # ---------------------------------------------------------------- the series in hand
    def _series_changed(self, layer: Any) -> None:
        series = self.session.series
        name = f"Series: <b>{layer.name}</b>" if layer is not None else "No tilt series yet: open one first."
        self.name.setText(name)
        if layer is not self._edited_layer:
            self._undo, self._edits = [], []
        with_before = self._before() is not None
        self.compare.setEnabled(with_before)
        if not with_before:
            self.compare.setChecked(False)
        self._show_undo()
        self.notes.setText(_words(info(layer).get("notes", {})) if layer is not None else "")
        for view in self.views:
            view.set_series(series)
        self._follow_viewer()

    def _before(self) -> Any:
        """Return the layer of the series that the one in hand was made from, None if it is not there."""
        run = self.session.run_of(self.session.series_layer)
        if run is None:
            return None
        same = (x for x in self.session.series_layers() if info(x).get("value") is run.data)
        return next(same, None)

    def _show_before(self, before: bool) -> None:
        old, new = self._before(), self.session.series_layer
        if old is not None and new is not None:
            old.visible, new.visible = before, not before
        self.compare.setText("Show after" if before else "Show before")

    def _show_undo(self) -> None:
        self.undo.setEnabled(bool(self._undo) or self._before() is not None)

    def _go_back(self) -> None:
        self.message.say("")
        if self._undo:
            self.session.replace_series(self._undo.pop())
            self._show_undo()
            return
        old, new = self._before(), self.session.series_layer
        if old is not None:
            self.compare.setChecked(False)
            old.visible, new.visible = True, False
            self.session.set_series(old)

    def _ended(self, run: Run) -> None:
        if run.group == "prepare" and run.outcome is not None and run.outcome.error is None:
            self.message.say("")
            if run.layers and run.result is self.session.series:
                self._series_changed(self.session.series_layer)

    # ---------------------------------------------------------------- by hand
    def _edit(self, method: str, fields: dict[str, Any]) -> None:
        """Apply an edit after those that wait; pixels stay as they are, so the layer is kept."""
        if self.session.series is None:
            return
        waiting = self._edits[-1] if self._edits else None
        if waiting and method == waiting[0] == "nudge" and fields["tilt"] == waiting[1]["tilt"]:
            merged = {k: fields[k] + waiting[1][k] for k in ("column", "row")}
            self._edits[-1] = (method, {**fields, **merged})
        else:
            self._edits.append((method, fields))
        self._next_edit()

    def _next_edit(self) -> None:
        if self._edits and not self._hand.busy and self.session.series is not None:
            method, fields = self._edits.pop(0)
            self._hand.ask(by_hand, self.session.series, method, fields)

    def _edited(self, series: TiltSeries) -> None:
        old = self.session.series
        if old is not None and old.shape == series.shape:
            self._edited_layer = self.session.series_layer
            self._undo = [*self._undo, old][-_UNDO:]
            self.session.replace_series(series)
        self._next_edit()

    # ---------------------------------------------------------------- which tilt
    def _follow_viewer(self) -> None:
        dims = self._viewer.dims
        if self.session.series is not None and dims.ndim == 4:
            self.shifts.set_tilt(int(min(max(round(dims.point[0]), 0), len(self.session.series) - 1)))

    def _go_to(self, index: int) -> None:
        if self._viewer.dims.ndim == 4:
            self._viewer.dims.set_point(0, index)
        self.shifts.set_tilt(index)


def _words(notes: dict[str, Any]) -> str:
    """Return what a method decided, a line each."""
    lines = []
    for name, value in list(notes.items())[:8]:
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(f"{name.replace('_', ' ')}: {text[:120]}")
    return "\n".join(lines)
