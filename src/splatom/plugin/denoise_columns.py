"""The page that finds atom columns: a network's map of dots, and the dots as points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from splatom.jobs import Task
from splatom.methods import find
from splatom.plugin.denoise_ask import Asking
from splatom.plugin.denoise_input import Source, to_world
from splatom.plugin.form import Number, recall
from splatom.plugin.later import Later
from splatom.plugin.runner import MessageBar
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import MethodParams, TiltSeries
    from splatom.plugin.runner import MethodPanel
    from splatom.plugin.session import Session

__all__ = ["ColumnsPage", "placed", "spacing"]

_RUNNER = "splatom.plugin.denoise_part:detect"
_WHICH = ("the tilt in view", "all tilts")
_COLOUR = "#ffb000"


def placed(maps: NDArray[np.float32], threshold: float, distance: float) -> tuple[NDArray[np.float64], ...]:
    """Return places of the columns in each map, (row, column) in pixels."""
    from splatom.evaluate.columns import find_columns

    return tuple(find_columns(m, threshold, distance) for m in maps)


def threshold_for(maps: NDArray[np.float32], *, phase: bool) -> float:
    """Return one threshold for all maps: the median of what suits each."""
    from splatom.evaluate.columns import usual_threshold

    return float(np.median([usual_threshold(m, phase=phase) for m in maps]))


def distance_for(maps: NDArray[np.float32]) -> float:
    """Return one least distance for all maps, pixels: the median of what suits each."""
    from splatom.evaluate.columns import usual_distance

    return float(np.median([usual_distance(m) for m in maps]))


def spacing(places: tuple[NDArray[np.float64], ...]) -> float | None:
    """Median distance to the nearest neighbour in pixels; None where there are too few."""
    from scipy.spatial import cKDTree

    near = [cKDTree(p).query(p, 2)[0][:, 1] for p in places if len(p) > 2]
    return float(np.median(np.concatenate(near))) if near else None


class ColumnsPage(QWidget):
    """Find atom columns.

    Parameters
    ----------
    session : Session
    panel : MethodPanel
        Its parameters serve a network that is chosen there.
    source : Source
    """

    def __init__(self, session: Session, panel: MethodPanel, source: Source) -> None:
        super().__init__()
        self._session, self._panel, self._source = session, panel, source
        self._of: tuple[Any, TiltSeries, tuple[int, ...], str] | None = None  # layer, series, tilts and network asked
        self._maps: NDArray[np.float32] | None = None
        self.places: tuple[NDArray[np.float64], ...] = ()
        self.layer: Any = None
        self.asking = Asking(session, self)
        self.asking.done.connect(self._mapped)
        self.asking.failed.connect(self._failed)
        self._finding = Later(self)
        self._finding.done.connect(self._found)
        self._finding.failed.connect(self._failed)
        self._progress = QTimer(self)
        self._progress.setInterval(200)
        self._progress.timeout.connect(self._show_progress)
        self._build()
        panel.method_changed.connect(self._method_changed)
        source.chosen.connect(self._source_changed)
        self._method_changed(panel.method)
        self._source_changed()

    def _build(self) -> None:
        self.network, self.which = QComboBox(), QComboBox()
        self.network.addItems([n for g, n in find() if g == "denoise" and "output" in find()[g, n].params.model_fields])
        self.network.setToolTip("sfin for STEM images, scgn for HRTEM; other parameters are those in the tab Denoise")
        self.which.addItems(_WHICH)
        self.threshold, self.distance = Number(), Number()
        self.threshold.setRange(0.02, 1.0)
        self.threshold.setValue(0.3)
        self.threshold.setToolTip(
            "Least height of a dot; the network draws sure columns with height 1.\n"
            "Chosen from the map when it comes; change it, and the points follow."
        )
        self.distance.setRange(0.0, 1000.0)
        self.distance.setValue(3.0)
        self.distance.setSuffix(" px")
        self.distance.setToolTip(
            "Of two columns that are nearer, the fainter one goes.\nChosen from the map when it comes, too."
        )
        self.button, self.stop = QPushButton("Find columns"), QPushButton("Stop")
        self.bar, self.result, self.message = QProgressBar(), QLabel(), MessageBar()
        self.result.setWordWrap(True)
        self.bar.hide()
        self.stop.setEnabled(False)
        form, buttons, column = QFormLayout(), QHBoxLayout(), QVBoxLayout(self)
        for label, widget in (
            ("Network", self.network), ("In", self.which), ("Threshold", self.threshold),
            ("Least distance", self.distance),
        ):  # fmt: skip
            form.addRow(label, widget)
        buttons.addWidget(self.button, 1)
        buttons.addWidget(self.stop)
        column.addLayout(form)
        column.addLayout(buttons)
        for widget in (self.bar, self.result, self.message):
            column.addWidget(widget)
        column.addStretch(1)
        self.button.clicked.connect(self.find)
        self.stop.clicked.connect(self._stopped)
        self.threshold.valueChanged.connect(self._place)
        self.distance.valueChanged.connect(self._place)

    # ---------------------------------------------------------------- asking
    def _method_changed(self, name: str) -> None:
        if self.network.findText(name) >= 0:
            self.network.setCurrentText(name)

    def _source_changed(self) -> None:
        self._maps, self.layer = None, None
        self._stopped()
        self.result.setText("Atom columns come out as a layer of points, in nm; save it as CSV from the File menu.")
        try:
            series = self._source.series()
        except ValueError:
            self.button.setEnabled(False)
            return
        self.button.setEnabled(self.network.count() > 0)
        self.which.setEnabled(len(series) > 1)
        if self.network.findText(self._panel.method) < 0:
            self.network.setCurrentText("scgn" if series.contrast == "phase" else "sfin")

    def _params(self) -> MethodParams:
        """Return the network's parameters: those on show if it is chosen there, else those used last."""
        name, form = self.network.currentText(), self._panel.form
        params = form.value() if form is not None and self._panel.method == name else None
        params = params or recall("denoise", find()["denoise", name].params)
        return type(params)(**{**params.model_dump(), "output": "detect"})

    @property
    def tilt(self) -> int:
        """Index of the tilt in view."""
        layer, dims = self._source.layer, self._session.viewer.dims
        if layer is None or layer.ndim != 4 or dims.ndim < 4:
            return 0
        return int(np.clip(round(dims.point[-4]), 0, layer.data.shape[0] - 1))

    def find(self) -> None:
        """Run the network and find its dots."""
        self.message.say("")
        if any(run.active for run in self._session.runs):
            self._failed("a run is going on: wait for its end or stop it first")
            return
        try:
            series, params = self._source.series(), self._params()
        except ValueError as exc:
            self._failed(str(exc))
            return
        every = self.which.currentIndex() == 1 and len(series) > 1
        tilts = tuple(range(len(series))) if every else (self.tilt,)
        name = self.network.currentText()
        self._of, self._maps, self.layer = (self._source.layer, series, tilts, name), None, None
        data = series if every else _one(series, tilts[0])
        self.asking.ask(Task("denoise", name, params, data, preferences().device, runner=_RUNNER))
        self.bar.setRange(0, 0)
        self.bar.show()
        self.stop.setEnabled(True)
        self._progress.start()

    def _show_progress(self) -> None:
        running = self.asking.running
        shot = running.take() if running is not None else None
        if shot is not None:
            self.bar.setRange(0, max(shot.total, 1))
            self.bar.setValue(shot.step)

    def _stopped(self) -> None:
        self.asking.forget()
        self._rest()

    def _rest(self) -> None:
        self._progress.stop()
        self.bar.hide()
        self.stop.setEnabled(False)

    def _failed(self, why: str) -> None:
        self._rest()
        self.message.say(why, fault=True)

    # ---------------------------------------------------------------- points
    def _mapped(self, maps: NDArray[np.float32]) -> None:
        self._rest()
        self._maps = maps
        with QSignalBlocker(self.threshold), QSignalBlocker(self.distance):
            self.threshold.setValue(round(threshold_for(maps, phase=self._of is not None and self._of[3] == "scgn"), 2))
            self.distance.setValue(round(distance_for(maps), 1))
        self._place()

    def _place(self, *_: Any) -> None:
        if self._maps is not None:
            self._finding.ask(placed, self._maps, self.threshold.value(), self.distance.value())

    def _found(self, places: tuple[NDArray[np.float64], ...]) -> None:
        if self._of is None or self._maps is None:
            return
        self.places = places
        image, series, tilts, network = self._of
        self._say(series, tilts)
        if image not in self._session.viewer.layers:
            self._failed("the images that the columns were sought in are gone")
            return
        pixels = np.concatenate(places)
        of = np.repeat(tilts, [len(p) for p in places])
        flat = to_world(image, pixels)
        data = flat if image.ndim == 2 else np.column_stack([of, np.zeros(len(of)), flat])
        features = {"tilt": of, "row": pixels[:, 0], "column": pixels[:, 1]}
        size = 0.35 * (spacing(places) or 8.0) * float(image.scale[-1])
        if self.layer is not None and self.layer in self._session.viewer.layers:
            with self.layer.events.blocker_all():
                self.layer.selected_data = set()
                self.layer.data = data
                self.layer.size = size
                self.layer.features = features
            self.layer.refresh()
            return
        self.layer = self._session.viewer.add_points(
            data, name=f"columns of {image.name}", size=size, face_color="transparent", border_color=_COLOUR,
            border_width=0.18, features=features, units=tuple(str(u) for u in image.units),
            axis_labels=image.axis_labels, projection_mode="none",
            metadata={"splatom": {"kind": "columns", "network": network, "of": image.name, "tilts": list(tilts)}},
        )  # fmt: skip

    def _say(self, series: TiltSeries, tilts: tuple[int, ...]) -> None:
        count = sum(len(p) for p in self.places)
        where = f"tilt {tilts[0] + 1}" if len(tilts) == 1 else f"{len(tilts)} tilts"
        text = f"<b>{count}</b> columns in {where if len(series) > 1 else 'the image'}"
        apart = spacing(self.places)
        if apart is not None:
            unit = f" ({1000 * apart * series.pixel_size:.0f} pm)" if series.pixel_size else ""
            text += f"; the nearest neighbour is {apart:.1f} px{unit} away (median)"
        if not count:
            text += ": lower the threshold, or try the other network"
        self.result.setText(text + ".")


def _one(series: TiltSeries, index: int) -> TiltSeries:
    """Return one tilt that says the scale of all, so that the network sees it as it does in the series."""
    from splatom.plugin.denoise_part import part_of, scale_of

    height, width = series.shape[1:]
    return part_of(series, index, (0, 0, height, width), scale_of(series)).series[[0]]
