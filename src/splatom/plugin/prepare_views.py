"""Views of a series that is being prepared: sinogram, tilt axis and shifts, with the hand on axis and shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from splatom.data import TiltSeries
from splatom.plugin.form import Number
from splatom.plugin.later import Later
from splatom.plugin.pictures import aligned_mean, overlay, sinogram
from splatom.plugin.plots import COLOURS, Curves, ImagePane, pyqtgraph

__all__ = ["AxisView", "ShiftsView", "SinogramView", "View"]

_PICTURES = {"Mean of all tilts": "mean", "Maximum over all tilts": "maximum", "Power spectrum": "spectrum"}
_STEPS = (0.1, 1.0, 10.0)


class View(QWidget):
    """A picture of the series in hand, drawn anew only while it is on show.

    Signals
    -------
    edited(str, dict)
        A method of the group prepare and its parameters, to be applied to the series.
    """

    edited = Signal(str, dict)

    def __init__(self) -> None:
        super().__init__()
        self.series: TiltSeries | None = None
        self.stale = True
        self.later = Later(self)
        self.later.done.connect(self.show_picture)

    def set_series(self, series: TiltSeries | None) -> None:
        """Take another series."""
        self.series = series
        self.stale = True
        self.taken()
        if self.isVisible():
            self.draw()

    def draw(self) -> None:
        """Ask for the picture."""
        self.stale = False
        if self.series is not None:
            self.ask(self.series)

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        if self.stale:
            self.draw()

    def taken(self) -> None:
        """Adapt the controls to the series."""

    def ask(self, series: TiltSeries) -> None:
        """Ask for the picture of a series."""

    def show_picture(self, picture: Any) -> None:
        """Show the picture asked for."""


class SinogramView(View):
    """One image row of all tilts: smooth curves where the tilts are aligned."""

    def __init__(self) -> None:
        super().__init__()
        self.row = QSlider(Qt.Orientation.Horizontal)
        self.label = QLabel("–")
        self.label.setMinimumWidth(70)
        self.row.valueChanged.connect(self._moved)
        self.before = ImagePane("As recorded", square=False)
        self.after = ImagePane("With the shifts found", square=False)
        self.after.box.setXLink(self.before.box)
        self.after.box.setYLink(self.before.box)
        self.foot = QLabel("Across: image column. Down: tilt, from the most negative angle.")
        self.foot.setWordWrap(True)
        head, panes = QHBoxLayout(), QHBoxLayout()
        head.addWidget(QLabel("Row"))
        head.addWidget(self.row, 1)
        head.addWidget(self.label)
        panes.addWidget(self.before)
        panes.addWidget(self.after)
        column = QVBoxLayout(self)
        column.addLayout(head)
        column.addLayout(panes, 1)
        column.addWidget(self.foot)

    def taken(self) -> None:  # noqa: D102 - see View
        if self.series is None:
            self.before.set_image(None)
            self.after.set_image(None)
            return
        height = self.series.shape[1]
        if self.row.maximum() != height - 1:
            with QSignalBlocker(self.row):
                self.row.setMaximum(height - 1)
                self.row.setValue(height // 2)
        self.label.setText(f"{self.row.value()} of {height}")
        self.after.title.setText("With the shifts found" if self.series.geometry.shifts.any() else "No shifts yet")

    def ask(self, series: TiltSeries) -> None:  # noqa: D102 - see View
        row = self.row.value()
        self.later.ask(lambda: (sinogram(series, row, shifted=False), sinogram(series, row)))

    def show_picture(self, picture: Any) -> None:  # noqa: D102 - see View
        before, after = picture
        low, high = (float(v) for v in np.percentile(before, (0.5, 99.8)))
        self.before.set_image(before, (low, high))
        self.after.set_image(after, (low, high))

    def _moved(self) -> None:
        self.taken()
        self.draw()


class AxisView(View):
    """All tilts in one picture, with the tilt axis drawn in; the line can be dragged and turned."""

    def __init__(self) -> None:
        super().__init__()
        self.how = QComboBox()
        self.how.addItems(list(_PICTURES))
        self.how.setToolTip(
            "The mean of aligned tilts is drawn out across the tilt axis. The power spectrum keeps its detail along "
            "the axis only: all tilts share that line."
        )
        self.how.currentIndexChanged.connect(lambda *_: self.draw())
        self.pane = ImagePane()
        self.pane.title.hide()
        pg = pyqtgraph()
        pen = pg.mkPen(COLOURS["synthetic"], width=2)
        self.line = pg.InfiniteLine(angle=90, movable=True, pen=pen, hoverPen=pg.mkPen(COLOURS["current"], width=3))
        self.pane.box.addItem(self.line, ignoreBounds=True)
        self.line.sigDragged.connect(self._dragged)
        self.angle, self.offset = Number(), Number()
        for box, suffix, step, reach in ((self.angle, " °", 0.5, 180.0), (self.offset, " px", 0.5, 1e5)):
            box.setRange(-reach, reach)
            box.setSuffix(suffix)
            box.setStepType(type(box).StepType.DefaultStepType)
            box.setSingleStep(step)
            box.valueChanged.connect(self._place_line)
        self.angle.setToolTip("Direction of the tilt axis: 0 is upright; positive turns its lower end to the left")
        self.offset.setToolTip("How far the axis runs to the right of where it is now taken to run")
        self.apply = QPushButton("Use this axis")
        self.apply.clicked.connect(self._apply)
        row = QHBoxLayout()
        row.addWidget(QLabel("Angle"))
        row.addWidget(self.angle, 1)
        row.addWidget(QLabel("Offset"))
        row.addWidget(self.offset, 1)
        column = QVBoxLayout(self)
        column.addWidget(self.how)
        column.addWidget(self.pane, 1)
        column.addLayout(row)
        column.addWidget(self.apply)

    def taken(self) -> None:  # noqa: D102 - see View
        with QSignalBlocker(self.angle), QSignalBlocker(self.offset):
            self.angle.setValue(0.0 if self.series is None else round(self.series.geometry.axis_degrees, 3))
            self.offset.setValue(0.0)
        if self.series is None:
            self.pane.set_image(None)
        self._place_line()

    def ask(self, series: TiltSeries) -> None:  # noqa: D102 - see View
        self.later.ask(aligned_mean, series, _PICTURES[self.how.currentText()])

    def show_picture(self, picture: Any) -> None:  # noqa: D102 - see View
        if self.series is not None:
            _, height, width = self.series.shape
            self.pane.set_image(picture, extent=(-0.5, -0.5, width, height))

    def _across(self) -> np.ndarray:
        """Return the unit vector (column, row) across the axis."""
        turn = np.deg2rad(self.angle.value())
        return np.array([np.cos(turn), np.sin(turn)])

    def _place_line(self) -> None:
        changed = False
        if self.series is not None:
            _, height, width = self.series.shape
            spectrum = self.how.currentText() == "Power spectrum"
            offset = 0.0 if spectrum else self.offset.value()
            at = (np.array([width, height]) - 1) / 2 + offset * self._across()
            with QSignalBlocker(self.line):
                self.line.setAngle(90 + self.angle.value())
                self.line.setPos(at)
            axis = self.series.geometry.axis_degrees
            changed = abs(self.angle.value() - axis) > 5e-4 or abs(self.offset.value()) > 5e-4
        self.apply.setEnabled(changed)

    def _dragged(self) -> None:
        _, height, width = self.series.shape
        at = np.array([self.line.pos().x(), self.line.pos().y()]) - (np.array([width, height]) - 1) / 2
        self.offset.setValue(round(float(at @ self._across()), 2))

    def _apply(self) -> None:
        across = self._across() * self.offset.value()
        if abs(self.angle.value() - self.series.geometry.axis_degrees) > 5e-4:
            self.edited.emit("tilt-axis", {"angle": self.angle.value(), "offset": False})
        if across.any():
            self.edited.emit("nudge", {"tilt": None, "column": float(across[0]), "row": float(across[1])})


class ShiftsView(View):
    """Shift of every tilt; one of them can be nudged, and is seen over its neighbours."""

    tilt_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.tilt = 0
        self.curves = Curves("tilt (°)", "shift (px)")
        self.mark = pyqtgraph().InfiniteLine(angle=90, pen=COLOURS["current"])
        self.curves.plot.addItem(self.mark, ignoreBounds=True)
        self.pane = ImagePane("Over its neighbours")
        self.pane.setToolTip("Orange: this tilt. Blue: the mean of its neighbours. White where they agree.")
        self.where = QLabel("–")
        self.where.setWordWrap(True)
        grid = QGridLayout()
        for text, tip, at, move in (
            ("◀", "The specimen lies further to the left", (1, 0), (-1, 0)),
            ("▶", "The specimen lies further to the right", (1, 2), (1, 0)),
            ("▲", "The specimen lies further up", (0, 1), (0, -1)),
            ("▼", "The specimen lies further down", (2, 1), (0, 1)),
        ):
            button = QPushButton(text)
            button.setFixedWidth(36)
            button.setToolTip(tip)
            button.setAutoRepeat(True)
            button.clicked.connect(lambda _=False, m=move: self._nudge(*m))
            grid.addWidget(button, *at)
        self.step = QComboBox()
        for step in _STEPS:
            self.step.addItem(f"{step:g} px", step)
        self.step.setCurrentIndex(1)
        self.step.setToolTip("How far one press moves it")
        grid.addWidget(self.step, 3, 0, 1, 3)
        hand = QVBoxLayout()
        hand.addWidget(self.where)
        hand.addLayout(grid)
        hand.addStretch(1)
        low = QHBoxLayout()
        low.addWidget(self.pane, 1)
        low.addLayout(hand)
        column = QVBoxLayout(self)
        column.addWidget(self.curves, 1)
        column.addLayout(low, 1)
        self.curves.plot.scene().sigMouseClicked.connect(self._clicked)

    def set_tilt(self, index: int) -> None:
        """Show another tilt."""
        if index != self.tilt:
            self.tilt = index
            self.taken()
            if self.isVisible():
                self.draw()
            else:
                self.stale = True

    def taken(self) -> None:  # noqa: D102 - see View
        if self.series is None:
            self.curves.set_curves({})
            self.pane.set_image(None)
            self.where.setText("–")
            return
        self.tilt = min(self.tilt, len(self.series) - 1)
        order = np.argsort(self.series.angles, kind="stable")
        angles, shifts = self.series.angles[order], self.series.geometry.shifts[order]
        self.curves.set_curves({"columns": (angles, shifts[:, 0]), "rows": (angles, shifts[:, 1])}, markers=True)
        self.mark.setPos(self.series.angles[self.tilt])
        column, row = self.series.geometry.shifts[self.tilt]
        text = f"tilt {self.tilt + 1} of {len(self.series)}\n{self.series.angles[self.tilt]:+.1f}°\n"
        self.where.setText((text + f"columns {column:+.2f} px\nrows {row:+.2f} px").replace("-", "−"))

    def ask(self, series: TiltSeries) -> None:  # noqa: D102 - see View
        self.later.ask(overlay, series, self.tilt)

    def show_picture(self, picture: Any) -> None:  # noqa: D102 - see View
        self.pane.set_image(picture, (0, 255))

    def _nudge(self, column: int, row: int) -> None:
        if self.series is not None:
            step = self.step.currentData()
            self.edited.emit("nudge", {"tilt": self.tilt, "column": column * step, "row": row * step})

    def _clicked(self, event: Any) -> None:
        if self.series is not None:
            angle = self.curves.plot.plotItem.vb.mapSceneToView(event.scenePos()).x()
            self.tilt_chosen.emit(int(np.abs(self.series.angles - angle).argmin()))
