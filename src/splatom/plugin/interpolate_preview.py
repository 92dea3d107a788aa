"""The page that predicts one tilt and shows it beside its neighbours, and then steps through a filled series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from splatom.jobs import Task
from splatom.plugin.choices import follow
from splatom.plugin.denoise_ask import Asking
from splatom.plugin.denoise_input import in_view, shape_of
from splatom.plugin.interpolate_panes import Neighbourhood
from splatom.plugin.interpolate_part import Beside, Gaps, Wanted, affordable, beside, degrees, only, stepped, strip
from splatom.plugin.interpolate_steps import go_to_angle, index_in_view, seen_layer
from splatom.plugin.later import Later
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from splatom.data import TiltSeries
    from splatom.plugin.interpolate_input import SeriesChoice
    from splatom.plugin.runner import MethodPanel
    from splatom.plugin.session import Run, Session

__all__ = ["PreviewPage"]

_SLOW = 8.0  # seconds
_QUICK = {"passes": 60}  # where none are given: enough to see what comes, at a sixth of the time
_TOLD = ("smoothing",)  # notes of what the held-out tilts chose, which further previews need not ask again
_DECIDES = ("variant", "weights", "passes", "share", *_TOLD)  # parameters that this, and the time it takes, depend on
_RUNNER = "splatom.plugin.interpolate_part:predict"


class PreviewPage(QWidget):
    """One predicted tilt, made anew as parameters change.

    Parameters
    ----------
    session : Session
    panel : MethodPanel
    source : SeriesChoice

    Signals
    -------
    looked_at(object)
        Angle in degrees of the tilt that is asked for, None for none.
    """

    looked_at = Signal(object)

    def __init__(self, session: Session, panel: MethodPanel, source: SeriesChoice) -> None:
        super().__init__()
        self._session, self._panel, self._source = session, panel, source
        self._viewer = session.viewer
        self._result: Run | None = None
        self._new = np.zeros(0)  # angles that the choice lists
        self._rates: dict[Any, float] = {}  # seconds per row by what determines it
        self._found: dict[Any, dict[str, Any]] = {}  # what the series told the method, by the same
        self._asked: tuple[Any, int] | None = None  # what these belong to, and rows
        self._index = 0
        self.asking = Asking(session, self)
        self.asking.done.connect(self._answered)
        self.asking.failed.connect(self._failed)
        self._stepping = Later(self)
        self._stepping.done.connect(self._show)
        self._stepping.failed.connect(self._failed)
        self._soon, self._slow = QTimer(self), QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(150)
        self._soon.timeout.connect(self.ask)
        self._slow.setInterval(300)
        self._slow.timeout.connect(self._show_progress)
        self._build()
        follow(self._viewer.dims.events.current_step, self._tilt_changed)
        session.attach(self, (session.run_ended, self._run_ended))

    def _build(self) -> None:
        self.back, self.on = QToolButton(), QToolButton()
        self.back.setArrowType(Qt.ArrowType.LeftArrow)
        self.on.setArrowType(Qt.ArrowType.RightArrow)
        self.back.setToolTip("The new tilt before")
        self.on.setToolTip("The next new tilt")
        self.choice, self.live, self.button = QComboBox(), QCheckBox("live"), QPushButton("Preview")
        self.choice.setToolTip("Which new tilt to show; it follows the tilt in view")
        self.choice.setMinimumContentsLength(7)
        self.live.setChecked(True)
        self.live.setToolTip("Predict anew whenever a parameter or the tilt changes")
        self.button.setToolTip("Predict this tilt with the parameters above, by fewer passes where none are set")
        self.status = QLabel()
        self.status.setMinimumWidth(50)
        self.pictures = Neighbourhood()
        row, column = QHBoxLayout(), QVBoxLayout(self)
        for widget in (self.back, self.choice, self.on, self.button, self.live):
            row.addWidget(widget)
        row.addWidget(self.status, 1)
        column.addLayout(row)
        column.addWidget(self.pictures, 1)
        self.choice.currentIndexChanged.connect(self._chosen)
        self.back.clicked.connect(lambda: self._step(-1))
        self.on.clicked.connect(lambda: self._step(1))
        self.button.clicked.connect(self._pressed)
        self.live.toggled.connect(self.refresh)

    # ---------------------------------------------------------------- which tilt
    @property
    def angle(self) -> float | None:
        """Angle of the new tilt that is chosen."""
        k = self.choice.currentIndex()
        return float(self._new[k]) if 0 <= k < len(self._new) else None

    def set_gaps(self, gaps: Gaps | None, why: str = "") -> None:
        """List the tilts to come; ``why`` says why there are none."""
        self.forget_result()
        self._list(gaps.new if gaps is not None else np.zeros(0))
        if not len(self._new):
            self.drop()
            self.pictures.clear(why)
            self.looked_at.emit(None)
            return
        self._choose_near_view()
        self.looked_at.emit(self.angle)
        self.refresh()

    def look_at(self, angle: float) -> None:
        """Choose the new tilt nearest to an angle."""
        if len(self._new):
            self.choice.setCurrentIndex(int(np.abs(self._new - angle).argmin()))

    def _list(self, new: Any) -> None:
        old = self.angle
        self._new = np.asarray(new)
        with QSignalBlocker(self.choice):
            self.choice.clear()
            self.choice.addItems([degrees(a) for a in self._new])
            if old is not None and len(self._new):
                self.choice.setCurrentIndex(int(np.abs(self._new - old).argmin()))
        for widget in (self.choice, self.back, self.on, self.button, self.live):
            widget.setEnabled(len(self._new) > 0)

    def _choose_near_view(self) -> None:
        """Choose the first new tilt after the tilt in view, or the last of all."""
        layer = self._source.layer
        if layer is None or not len(self._new) or self._result is not None:
            return
        self._index = index_in_view(self._session, layer)
        series = self._source.value
        if series is not None:
            at = series.angles[min(self._index, len(series) - 1)]
            with QSignalBlocker(self.choice):
                self.choice.setCurrentIndex(min(int(np.searchsorted(self._new, at)), len(self._new) - 1))

    def _tilt_changed(self) -> None:
        if self._result is not None:
            index = index_in_view(self._session, self._shown_layer())
            if index != self._index:
                self._step_through(index)
            return
        if index_in_view(self._session, self._source.layer) != self._index:
            before = self.angle
            self._choose_near_view()
            if self.angle != before:
                self._chosen()

    def _chosen(self, *_: Any) -> None:
        angle = self.angle
        if angle is None:
            return
        if self._result is None:
            self.looked_at.emit(angle)
            self.refresh()
            return
        result = self._result.result
        index = int(np.abs(np.where(result.synthetic, result.angles, np.inf) - angle).argmin())
        angle = float(result.angles[index])
        go_to_angle(self._viewer, seen_layer(self._session, self._source.layer), angle)
        self._step_through(index)

    def _step(self, by: int) -> None:
        k = self.choice.currentIndex() + by
        if self._result is not None and self.choice.currentIndex() < 0:  # a measured tilt is in view
            before = int(self._result.result.synthetic[: self._index].sum())
            k = before if by > 0 else before - 1
        if 0 <= k < len(self._new):
            self.choice.setCurrentIndex(k)

    # ---------------------------------------------------------------- asking
    def refresh(self, *_: Any) -> None:
        """Predict anew soon, if it is live and on show."""
        if self._result is None and self.live.isChecked() and self.isVisible():
            self._soon.start()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self.refresh()

    def _run_ended(self, run: Run) -> None:
        self.refresh()  # what waited for it

    def _pressed(self) -> None:
        self.forget_result()
        self.ask()  # even if it is not live

    def ask(self) -> None:
        """Ask for the chosen tilt now."""
        self._soon.stop()
        form, angle, series = self._panel.form, self.angle, self._source.value
        if series is None or form is None or angle is None:
            return
        if any(run.active for run in self._session.runs):
            self.status.setText("waits for the run")
            return
        try:
            params = form.value()
        except ValueError as exc:
            self._failed(str(exc))
            return
        key = (id(series), self._panel.method, *(getattr(params, name, None) for name in _DECIDES))
        params = only(params, (angle,), {**_QUICK, **self._found.get(key, {})})
        self.status.setText("")
        self._slow.start()
        part, first = strip(series, self._centre(), affordable(self._rates.get(key), series.shape[1]))
        self._asked = (key, part.shape[1])
        data = Wanted(part, angle, first)
        self.asking.ask(Task("interpolate", self._panel.method, params, data, preferences().device, runner=_RUNNER))

    def _centre(self) -> float:
        """Return the row in the middle of the view."""
        layer = self._source.layer
        top, _, rows, _ = in_view(layer) or (0, 0, *shape_of(layer))
        return top + rows / 2

    def drop(self) -> None:
        """Stop a prediction on its way."""
        self._soon.stop()
        self.asking.forget()
        self._settled("")

    def _show_progress(self) -> None:
        running = self.asking.running
        shot = running.take() if running is not None else None
        if shot is not None and shot.total > 1:
            self.status.setText(f"{shot.step / shot.total:.0%}")
        elif not self.status.text():
            self.status.setText("computing …")

    def _answered(self, found: Beside) -> None:
        self._settled(f"{found.seconds:.2g} s")
        if self._result is not None or self._asked is None:
            return
        key, rows = self._asked
        if found.seconds > _SLOW and key not in self._rates:
            self.live.setChecked(False)  # stepping through the tilts would start it again and again
            self.status.setText(f"{found.seconds:.2g} s, so not live")
        self._rates[key] = min(found.seconds / rows, self._rates.get(key, np.inf))
        self._found[key] = {k: found.notes[k] for k in _TOLD if k in found.notes} or self._found.get(key, {})
        self._show(found)
        series = self._source.value
        if series is not None and affordable(self._rates[key], series.shape[1]) > 1.5 * rows:
            self.refresh()  # now that its speed is known

    def _failed(self, why: str) -> None:
        self._settled("")
        self.pictures.clear(why[:1].upper() + why[1:])

    def _settled(self, text: str) -> None:
        self._slow.stop()
        self.status.setText(text)

    # ---------------------------------------------------------------- a result
    def show_result(self, run: Run) -> None:
        """Step through a filled series until a parameter changes."""
        self.drop()
        result = run.result
        self._result = run
        self._list(result.angles[result.synthetic])
        self._step_through(index_in_view(self._session, self._shown_layer()))

    def forget_result(self) -> None:
        """Go back to previews."""
        self._result = None
        self._stepping.forget()

    def show_progress(self, data: TiltSeries, done: TiltSeries) -> None:
        """Show the tilt that a run has just made."""
        if self.isVisible() and not self._stepping.busy:
            self._stepping.ask(beside, data, float(done.angles[0]), done.projections[0])

    def _shown_layer(self) -> Any:
        """Return the layer of the result that is stepped through."""
        layers = self._result.layers if self._result is not None else []
        return layers[0] if layers else self._session.series_layer

    def _step_through(self, index: int) -> None:
        run = self._result
        if run is None:
            return
        result = run.result
        self._index = index = min(index, len(result) - 1)
        with QSignalBlocker(self.choice):
            k = np.flatnonzero(np.flatnonzero(result.synthetic) == index)
            self.choice.setCurrentIndex(int(k[0]) if len(k) else -1)
        if self.isVisible():
            self._stepping.ask(stepped, run.data, result, index)

    def _show(self, found: Beside) -> None:
        layer = self._source.layer
        if layer is None:
            return
        limits = tuple(float(v) for v in layer.contrast_limits)
        if not limits[1] > limits[0]:
            limits = (float(found.here.image.min()), float(found.here.image.max()))
        run = self._result
        words = f"{run.name}: " if run is not None else ""
        if found.here.synthetic:
            both = " and ".join(degrees(f.angle) for f in (found.below, found.above))
            words += f"predicted from the tilts around it, the nearest at {both}"
            rows, height = found.here.image.shape[0], layer.data.shape[-2]
            if rows < height:
                words += f"; rows {found.first} to {found.first + rows - 1} of {height}, to be quick"
        elif run is not None:
            words += f"a measured tilt, as it was; the arrows go to the {len(self._new)} new ones"
        self.pictures.set_beside(found, limits, words[:1].upper() + words[1:])
