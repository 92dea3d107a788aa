"""Dock Monitor: how a run goes, or went: figures against step, residual per tilt, measured and predicted tilt."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QSplitter, QTabWidget, QVBoxLayout, QWidget

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.plugin.atoms_pictures import calibrated, predict_points
from splatom.plugin.choices import follow
from splatom.plugin.later import Later
from splatom.plugin.live import parts_of
from splatom.plugin.pictures import Prediction, held_out_of, predict, residual_angles
from splatom.plugin.plots import Bars, Curves, ImagePane, PaneRow
from splatom.plugin.session import Run, session_of

__all__ = ["MonitorDock"]

_RATIOS = {"r": "R", "r_free": "R-free"}
_PAUSE = 1.5  # seconds between two predictions of a run that goes on: the processor is its own first


class MonitorDock(QWidget):
    """Shows the newest run, or the one chosen.

    Parameters
    ----------
    napari_viewer : napari viewer
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.run: Run | None = None
        self._later = Later(self)
        self._later.done.connect(self._show_prediction)
        self._later.failed.connect(self._no_prediction)
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self._predict)
        self._predicted_at = 0.0
        self._fitted = False
        self._build()
        self.session.attach(
            self,
            (self.session.run_started, self._started),
            (self.session.run_updated, self._updated),
            (self.session.run_ended, self._updated),
        )
        follow(napari_viewer.dims.events.current_step, self._follow_viewer)
        for run in self.session.runs:
            self.choice.addItem(run.name)
        self.choice.currentIndexChanged.connect(self._chosen)
        self.choice.setCurrentIndex(len(self.session.runs) - 1)
        self._chosen()

    def _build(self) -> None:
        self.choice = QComboBox()
        self.choice.setToolTip("The run on show; a new one is shown as it starts")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.ratios = Curves("step", "R")
        self.others = Curves("step", "loss", log=True)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.ratios, "R and R-free")
        self.tabs.addTab(self.others, "Loss")
        self.bars = Bars("R of the tilt")
        self.bars.setToolTip("Σ|measured − predicted| / Σ|measured| of every fitted tilt. Click a bar to see its tilt.")
        self.bars.picked.connect(self._picked_bar)
        self.tilt = QSlider(Qt.Orientation.Horizontal)
        self.tilt.setToolTip("The tilt below; it follows the viewer's slider")
        self.angle = QLabel("–")
        self.angle.setMinimumWidth(120)
        self.tilt.valueChanged.connect(self._tilt_changed)
        self.panes = [ImagePane("Measured"), ImagePane("Predicted"), ImagePane("Difference", diverging=True)]
        self.note = QLabel()
        self.note.setWordWrap(True)

        images = QWidget()
        column = QVBoxLayout(images)
        column.setContentsMargins(0, 0, 0, 0)
        slider = QHBoxLayout()
        slider.addWidget(QLabel("Tilt"))
        slider.addWidget(self.tilt, 1)
        slider.addWidget(self.angle)
        column.addLayout(slider)
        column.addWidget(PaneRow(self.panes), 1)
        column.addWidget(self.note)

        parts = QSplitter(Qt.Orientation.Vertical)
        for part in (self.tabs, self.bars, images):
            parts.addWidget(part)
        parts.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        top = QHBoxLayout()
        top.addWidget(QLabel("Run"))
        top.addWidget(self.choice, 1)
        layout.addLayout(top)
        layout.addWidget(self.status)
        layout.addWidget(parts, 1)
        self.setMinimumWidth(330)

    # ---------------------------------------------------------------- which run
    def _started(self, run: Run) -> None:
        self.choice.addItem(run.name)
        self.choice.setCurrentIndex(self.choice.count() - 1)

    def _chosen(self, *_: Any) -> None:
        index = self.choice.currentIndex()
        runs = self.session.runs
        self.run = runs[index] if 0 <= index < len(runs) else None
        self._later.forget()
        for pane in self.panes:
            pane.set_image(None)
        series = self.series
        self.tilt.setEnabled(series is not None)
        if series is not None:
            self.tilt.setMaximum(len(series) - 1)
            self._follow_viewer()
            self._tilt_changed()
        self._refresh()

    @property
    def series(self) -> TiltSeries | None:
        """The series that the run on show was given."""
        data = None if self.run is None else self.run.data
        return data if isinstance(data, TiltSeries) else None

    # ---------------------------------------------------------------- figures
    def _updated(self, run: Run) -> None:
        if run is self.run:
            self._refresh()

    def _refresh(self) -> None:
        run = self.run
        self.status.setText(_status(run))
        curves = {} if run is None else {k: np.array(v).T for k, v in run.curves.items() if len(v)}
        self.ratios.set_curves({_RATIOS[k]: curves[k] for k in _RATIOS if k in curves})
        rest = {k.replace("_", " "): v for k, v in curves.items() if k not in _RATIOS}
        self.others.set_curves(rest)
        self.tabs.setTabEnabled(1, bool(rest))
        if rest and not any(k in curves for k in _RATIOS):
            self.tabs.setCurrentIndex(1)
        self._show_bars()
        if run is not None:
            self._predict_soon()

    def _figures(self) -> dict[str, Any]:
        run = self.run
        if run is None:
            return {}
        if run.outcome is not None:
            return dict(run.outcome.figures)
        return dict(run.snapshot.figures) if run.snapshot is not None else {}

    def _show_bars(self) -> None:
        series, values = self.series, self._figures().get("r_per_tilt")
        if series is None or values is None or self.run is None:
            self._tilts = np.zeros(0, int)
            self.bars.set_values([], [])
            self.bars.setVisible(self.run is None or not self.run.curves)  # a method that scores no tilt has no bars
            return
        self.bars.show()
        notes = self.run.outcome.notes if self.run.outcome is not None else None
        held = held_out_of(series, self.run.params, notes, self.run.seed)
        self._tilts = residual_angles(series, held, len(values))
        at = np.flatnonzero(self._tilts == self.tilt.value())
        current = int(at[0]) if len(at) else None
        self.bars.set_values(series.angles[self._tilts], values[: len(self._tilts)], current=current)

    # ---------------------------------------------------------------- the tilt
    def _picked_bar(self, index: int) -> None:
        if index < len(self._tilts):
            self.tilt.setValue(int(self._tilts[index]))

    def _follow_viewer(self) -> None:
        dims = self._viewer.dims
        if self.series is not None and dims.ndim == 4 and dims.ndisplay == 2:
            self.tilt.setValue(round(dims.point[0]))

    def _tilt_changed(self, *_: Any) -> None:
        series = self.series
        if series is None:
            self.angle.setText("–")
            return
        index = min(self.tilt.value(), len(series) - 1)
        self.angle.setText(f"{index + 1} of {len(series)}: {series.angles[index]:+.1f}°".replace("-", "−"))
        dims = self._viewer.dims
        if dims.ndim == 4 and dims.ndisplay == 2 and round(dims.point[0]) != index:
            dims.set_point(0, index)
        self._show_bars()
        self._predict()

    def _predict_soon(self) -> None:
        """Predict again when the last prediction is old enough."""
        if not self.isVisible() or self._again.isActive():
            return
        wait = 0.0 if not (self.run and self.run.active) else _PAUSE - (time.monotonic() - self._predicted_at)
        self._again.start(max(0, round(1000 * wait)))

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self._predict_soon()

    def _model(self) -> Any:
        """Return what predicts the tilts: the result, or of a preview the centres before the coarser volume."""
        run = self.run
        if run is None:
            return None
        if run.result is not None:
            return run.result
        parts = parts_of(getattr(run.snapshot, "preview", None))
        return parts.get("points", parts.get("image"))

    def _predict(self) -> None:
        series, model = self.series, self._model()
        if series is None or not self.isVisible():
            return
        if not isinstance(model, Volume | GaussianCloud | Atoms) or (not isinstance(model, Volume) and not len(model)):
            waiting = self.run is not None and self.run.active
            self._no_prediction("" if waiting else "This run has neither a volume nor points to project.")
            return
        self._predicted_at = time.monotonic()
        self._fitted = not isinstance(model, Volume)
        how = predict_points if self._fitted else predict
        if self._fitted and self.run.outcome is not None:
            series = calibrated(series, self.run.outcome.notes)
        self._later.ask(how, model, series, min(self.tilt.value(), len(series) - 1))

    def _show_prediction(self, found: Prediction) -> None:
        series = self.series
        if series is None:
            return
        low, high = (float(v) for v in np.percentile(found.measured, (0.5, 99.8)))
        for pane, image in zip(self.panes[:2], (found.measured, found.predicted), strict=True):
            pane.set_image(image, (low, high))
        reach = max(high - low, 1e-30) / 4
        self.panes[2].set_image(found.difference, (-reach, reach))
        coarse = f", averaged over {found.factor} × {found.factor} pixels" if found.factor > 1 else ""
        kept = held_out_of(series, getattr(self.run, "params", None), None, getattr(self.run, "seed", 0))
        held = ", held out of the fit" if kept[found.index] else ""
        what = "the points predict" if self._fitted else "the volume predicts"
        fitted = " Gain and offset of the prediction are fitted to the tilt." if self._fitted else ""
        self.note.setText(
            f"R of this tilt {found.r:.3f}{held}{coarse}. Difference: blue where {what} too much, red too "
            f"little; full colour at a quarter of the range of the measured image.{fitted}"
        )

    def _no_prediction(self, why: str) -> None:
        for pane in self.panes[1:]:
            pane.set_image(None)
        self.note.setText(why)


def _status(run: Run | None) -> str:
    """Return one line about a run."""
    if run is None:
        return "No run yet. Start one in the dock Reconstruct or Atoms; it shows here while it runs and after."
    words = [run.handle.status if run.active else run.outcome.status]
    if run.active and run.snapshot is not None and run.snapshot.total:
        words.append(f"step {run.snapshot.step} of {run.snapshot.total}")
    seconds = run.outcome.seconds if run.outcome is not None else getattr(run.snapshot, "seconds", 0.0)
    if seconds:
        words.append(f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min")
    for key, name in _RATIOS.items():
        if run.curves.get(key):
            words.append(f"{name} {run.curves[key][-1][1]:.4f}")
    if run.outcome is not None and run.outcome.error is not None:
        words.append(str(run.outcome.error))
    return " · ".join(words)
