"""What docks with methods share: choose one, fill in its form, run, pause, stop, and see how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from splatom.data import MethodParams
from splatom.jobs import JobError
from splatom.methods import find
from splatom.plugin.atoms_colour import ColourRow
from splatom.plugin.form import Form, forget, recall, remember
from splatom.plugin.session import Run, Session

__all__ = ["MessageBar", "MethodPanel", "duration"]

_ORDER = ("sirt", "align", "clean")  # what most people want first; the rest by name


def duration(seconds: float) -> str:
    """Return a time as people say it: '40 s', '3 min', '1.5 h'."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class MessageBar(QLabel):
    """Says what is wrong or what was done; hidden while there is nothing to say."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def say(self, text: str, fault: bool = False) -> None:
        """Show a line; an empty one hides the bar."""
        colour = "#a33a3a" if fault else "#3c5a78"
        self.setStyleSheet(f"QLabel {{ background: {colour}; color: white; padding: 5px; border-radius: 3px; }}")
        self.setText(text)
        self.setVisible(bool(text))


class MethodPanel(QWidget):
    """Choose a method of a group, set its parameters, and steer its run.

    Parameters
    ----------
    session : Session
    group : str
        'prepare', 'reconstruct', ...
    skip : tuple of str
        Methods not offered here.

    Attributes
    ----------
    data : callable
        Gives the input of the next run; the series in hand by default.
    task : callable
        Gives further fields of the next run's Task, such as the device.
    ready : callable
        Says whether there is an input.
    """

    method_changed = Signal(str)
    params_changed = Signal()

    def __init__(self, session: Session, group: str, skip: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.session, self.group = session, group
        self.data: Callable[[], Any] = lambda: session.series
        self.task: Callable[[], dict[str, Any]] = dict
        self.ready: Callable[[], bool] = lambda: session.series is not None
        self._run: Run | None = None
        self._form: Form | None = None
        names = sorted(n for g, n in find() if g == group and n not in skip)
        names.sort(key=lambda n: n not in _ORDER)
        self.combo = QComboBox()
        self.combo.addItems(names)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.reset = QPushButton("Defaults")
        self.reset.setToolTip("Put every parameter of this method back to its default")
        head = QHBoxLayout()
        head.addWidget(self.combo, 1)
        head.addWidget(self.reset)
        self._place = QVBoxLayout()
        self.run_button, self.pause_button, self.stop_button = (QPushButton(t) for t in ("Run", "Pause", "Stop"))
        self.pause_button.setToolTip(
            "Hold the run. Centres that stream from it may then be dragged, deleted and added in their layer; Resume "
            "hands the edit to the fit."
        )
        self.stop_button.setToolTip("Stop and keep what there is")
        self.undo_button = QPushButton("Undo edit")
        self.undo_button.setToolTip("Put the fit back to its state before the last edit of its centres")
        buttons = QHBoxLayout()
        for button in (self.run_button, self.pause_button, self.stop_button, self.undo_button):
            buttons.addWidget(button)
        self.points = ColourRow()
        self.bar, self.status = QProgressBar(), QLabel()
        self.warning, self.message = MessageBar(), MessageBar()  # the warning stays until the next run
        self.bar.setTextVisible(True)
        self.status.setWordWrap(True)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(head)
        column.addWidget(self.about)
        column.addLayout(self._place)
        self.extra = QVBoxLayout()  # a dock's own rows, between form and buttons
        column.addLayout(self.extra)
        column.addLayout(buttons)
        column.addWidget(self.points)
        for widget in (self.bar, self.status, self.warning, self.message):
            column.addWidget(widget)
        self.combo.currentTextChanged.connect(self._choose)
        self.reset.clicked.connect(self._reset)
        self.run_button.clicked.connect(self._start)
        self.pause_button.clicked.connect(self._pause)
        self.stop_button.clicked.connect(self._stop)
        self.undo_button.clicked.connect(self._undo)
        session.attach(self, (session.run_updated, self._updated), (session.run_ended, self._ended))
        session.attach(self, (session.active_series_changed, self._show_state))
        self._choose(self.combo.currentText())
        self._show_state()

    # ---------------------------------------------------------------- the method and its parameters
    @property
    def method(self) -> str:
        """Name of the chosen method."""
        return self.combo.currentText()

    @property
    def form(self) -> Form | None:
        """The form of the chosen method."""
        return self._form

    @property
    def run(self) -> Run | None:
        """The run that this panel started last."""
        return self._run

    def refresh(self) -> None:
        """Look again whether there is an input."""
        self._show_state()

    def set_params(self, method: str, params: MethodParams) -> None:
        """Choose a method and show parameters."""
        self.combo.setCurrentText(method)
        if self._form is not None and isinstance(params, self._form.model):
            self._form.set_value(params)

    def _choose(self, name: str) -> None:
        if self._form is not None:
            self._form.hide()
            self._place.removeWidget(self._form)
            self._form.deleteLater()
            self._form = None
        if not name:
            self.about.setText(f"There is no method to {self.group} with yet.")
            return
        method = find()[self.group, name]
        self.about.setText(method.summary + ".")
        self.about.setToolTip(f"<p>{method.description}</p>")
        self._form = Form(method.params)
        self._form.set_value(recall(self.group, method.params))
        self._form.changed.connect(self._field_changed)
        self._place.addWidget(self._form)
        self._show_state()
        self.method_changed.emit(name)

    def _reset(self) -> None:
        if self._form is not None:
            self._form.set_value(forget(self.group, self._form.model))

    def _field_changed(self, name: str) -> None:
        """Hand a changed live field to the run at once."""
        self.message.say("")
        run = self._run
        if name and run is not None and run.active and run.method == self.method:
            try:
                value = getattr(self._form.value(), name)
                run.handle.change(**{name: value})
                self.message.say(f"{name} is {value} from the next step on")
            except (JobError, ValueError) as exc:
                self.message.say(str(exc), fault=True)
        self.params_changed.emit()

    # ---------------------------------------------------------------- the run
    def _start(self) -> None:
        self.message.say("")
        self.warning.say("")
        try:
            params = self._form.value()
            self._run = self.session.start(self.group, self.method, params, self.data(), **self.task())
        except (JobError, ValueError) as exc:
            self.message.say(str(exc), fault=True)
            return
        remember(self.group, params)
        self.bar.setRange(0, 0)
        self.status.setText("starting")
        self._show_state()

    def _pause(self) -> None:
        run = self._run
        if run is not None and run.active:
            self.message.say(run.live.resume() if run.live.held else run.live.pause())
            self._show_state()

    def _undo(self) -> None:
        if self._run is not None:
            self.message.say(self._run.live.undo())
            self._show_state()

    def _stop(self) -> None:
        if self._run is not None and self._run.active:
            self._run.handle.stop()
            self.status.setText("stopping")

    def _updated(self, run: Run) -> None:
        if run is not self._run or run.snapshot is None:
            return
        shot = run.snapshot
        self._warn(shot.notes)
        if not shot.total:  # what was decided before the first step
            return
        self._show_points()
        self.bar.setRange(0, max(shot.total, 1))
        self.bar.setValue(shot.step)
        left = shot.seconds / max(shot.step, 1) * (shot.total - shot.step)
        self.status.setText(f"step {shot.step} of {shot.total}, {duration(left)} left{figures(shot.figures)}")

    def _ended(self, run: Run) -> None:
        if run is not self._run:
            return
        outcome = run.outcome
        self._warn(outcome.notes)
        done = outcome.status == "done"
        self.bar.setRange(0, 1)
        self.bar.setValue(1 if done else 0)
        if outcome.error is not None:
            self.message.say(str(outcome.error), fault=True)
            self.status.setText("failed")
        else:
            self.status.setText(f"{outcome.status} in {duration(outcome.seconds)}{figures(outcome.figures)}")
        self._show_state()

    def _warn(self, notes: Mapping[str, Any]) -> None:
        """Show why the method itself doubts its result."""
        text = str(notes.get("warning", ""))
        self.warning.say(f"Warning: {text}." if text else "", fault=True)

    def _show_points(self) -> None:
        """Show what is for runs that stream points only."""
        run = self._run
        streams = run is not None and run.active and run.live.points is not None
        self.undo_button.setVisible(streams)
        self.undo_button.setEnabled(streams and run.live.can_undo)
        self.points.set_run(run if streams else None)

    def _show_state(self, *_: Any) -> None:
        run = self._run
        active = run is not None and run.active
        self.run_button.setEnabled(not active and self._form is not None and self.ready())
        self.pause_button.setEnabled(active)
        self.stop_button.setEnabled(active)
        self.pause_button.setText("Resume" if active and run.live.held else "Pause")
        self._show_points()
        self.combo.setEnabled(not active)
        self.reset.setEnabled(not active)
        if self._form is not None:
            self._form.set_running(active)


def figures(values: Any) -> str:
    """Return the numbers among some figures in words, with a separator before them."""
    names = {"r": "R", "r_free": "R-free"}
    found = [f"{names.get(k, k.replace('_', ' '))} {v:.4g}" for k, v in values.items() if isinstance(v, int | float)]
    return (" · " + " · ".join(found)) if found else ""
