"""The page that says whether an interpolation can be trusted with the user's own images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from splatom.data import MethodParams
from splatom.evaluate.interpolation import every_second
from splatom.jobs import Task
from splatom.methods import find
from splatom.plugin.denoise_ask import Asking
from splatom.plugin.denoise_input import in_view, shape_of
from splatom.plugin.form import recall
from splatom.plugin.interpolate_input import usable
from splatom.plugin.interpolate_panes import FittedRow
from splatom.plugin.interpolate_part import degrees, strip
from splatom.plugin.interpolate_trust import Checked, Trial, verdict
from splatom.plugin.plots import COLOURS, Curves, ImagePane
from splatom.plugin.runner import MessageBar, duration
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from splatom.plugin.interpolate_input import SeriesChoice
    from splatom.plugin.runner import MethodPanel
    from splatom.plugin.session import Session

__all__ = ["YARDSTICK", "CheckPage"]

YARDSTICK = "linear"
_RUNNER = "splatom.plugin.interpolate_trust:check"
_INK = {"good": COLOURS["good"], "even": COLOURS["synthetic"], "bad": COLOURS["current"]}
_EXTENTS = ("whole images", "64 rows")
_ROWS = 64
_LARGE = 4_000_000  # pixels of a series; above that a few rows are proposed
_COLUMNS = ("Method", "PSNR (dB)", "SSIM", "RMSE")


class CheckPage(QWidget):
    """Leave out every second tilt, predict it from the others, and compare with what was measured.

    Parameters
    ----------
    session : Session
    panel : MethodPanel
    source : SeriesChoice
    """

    def __init__(self, session: Session, panel: MethodPanel, source: SeriesChoice) -> None:
        super().__init__()
        self._session, self._panel, self._source = session, panel, source
        self.found: Checked | None = None
        self._of: Any = None  # the series that was checked
        self._began = 0.0
        self.asking = Asking(session, self)
        self.asking.done.connect(self._show)
        self.asking.failed.connect(self._failed)
        self._progress = QTimer(self)
        self._progress.setInterval(150)
        self._progress.timeout.connect(self._show_progress)
        self._build()
        panel.method_changed.connect(self._words)
        source.chosen.connect(self._source_changed)
        self._source_changed()

    def _build(self) -> None:
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.extent = QComboBox()
        self.extent.addItems(_EXTENTS)
        self.extent.setToolTip("The whole images, or 64 rows in the middle of the view: enough to judge by, and faster")
        self.every = QCheckBox("all methods")
        self.every.setToolTip("Try every method that there is, with its own parameters, not only the chosen one")
        self.button, self.stop = QPushButton("Check"), QPushButton("Stop")
        self.stop.setToolTip("Stop; nothing is scored then")
        self.stop.setEnabled(False)
        self.bar, self.sentence, self.message = QProgressBar(), QLabel(), MessageBar()
        self.bar.hide()
        self.sentence.setWordWrap(True)
        self.sentence.setTextFormat(Qt.TextFormat.RichText)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.take = QPushButton()
        self.take.setToolTip("Choose this method for the run")
        self.take.clicked.connect(self._take_best)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setToolTip(
            "<p>Means over the tilts that were left out. PSNR: 20 log₁₀ (range of the measured tilt / RMSE), higher is "
            "better. SSIM: structural similarity, 1 for equal images. RMSE in units of the image.</p>"
            "<p>The noise of a measured tilt cannot be predicted: it limits all three, for every method.</p>"
        )
        self.curves = Curves("tilt (°)", "PSNR (dB)")
        self.curves.setMinimumHeight(130)
        self.curves.setToolTip("Each tilt that was left out. Click one to see it below")
        self.curves.plot.scene().sigMouseClicked.connect(self._clicked)
        self.measured, self.predicted = ImagePane(), ImagePane()
        self.missed = ImagePane("Difference", diverging=True)
        self.missed.setToolTip("Measured less predicted; noise stays in it, outlines should not")
        self.panes = FittedRow((self.measured, self.predicted, self.missed))
        self.panes.setMinimumHeight(130)
        self.which = QLabel()
        self.which.setWordWrap(True)
        row, column = QHBoxLayout(), QVBoxLayout(self)
        row.addWidget(self.button, 1)
        row.addWidget(self.extent)
        row.addWidget(self.every)
        row.addWidget(self.stop)
        column.addWidget(self.about)
        column.addLayout(row)
        for widget in (self.bar, self.message, self.sentence, self.take, self.table):
            column.addWidget(widget)
        column.addWidget(self.curves, 2)
        column.addWidget(self.which)
        column.addWidget(self.panes, 3)
        column.addStretch(0)
        self.button.clicked.connect(self.check)
        self.stop.clicked.connect(self._stop)

    # ---------------------------------------------------------------- what to check
    def _source_changed(self, *_: Any) -> None:
        series = self._source.value
        if series is not None:
            self.extent.setCurrentIndex(int(series.projections.size > _LARGE))
        self.asking.forget()
        self._rest()
        self._clear()
        self.message.say("")
        self._words()

    def _words(self, *_: Any) -> None:
        """Say what the check does with this series, and whether it can be done."""
        series, method = self._source.value, self._panel.method
        against = "" if method == YARDSTICK else f" and by {YARDSTICK}"
        what = f"Before you trust it: every second measured tilt is predicted from the others, by {method}{against}, "
        what += "and compared with what was measured."
        can = series is not None
        if series is not None:
            try:
                held, kept = every_second(series)
            except ValueError as fault:
                what, can = str(fault)[:1].upper() + str(fault)[1:] + ".", False
            else:
                what = what.replace("every second measured tilt is", f"{len(held)} tilts, every second one, are")
                what += f" The other {len(kept)} then lie twice as far apart, which is harder than the run itself."
        self.about.setText(what)
        self.button.setEnabled(can and bool(method) and not self.asking.busy)

    def _methods(self) -> tuple[tuple[str, MethodParams], ...]:
        """Return what to try: the yardstick first, the chosen one last."""
        form, chosen = self._panel.form, self._panel.method
        assert form is not None
        names = sorted(n for g, n in find() if g == "interpolate") if self.every.isChecked() else [YARDSTICK]
        names = [n for n in names if n != chosen and usable(n)]
        others = [(n, recall("interpolate", find()["interpolate", n].params)) for n in names]
        return *others, (chosen, form.value())

    def check(self) -> None:
        """Predict tilts that were measured, and score them."""
        self.message.say("")
        if any(run.active for run in self._session.runs):
            self._failed("a run is going on: wait for its end or stop it first")
            return
        try:
            series = self._source.series()
            part, first = strip(series, self._centre(), _ROWS if self.extent.currentIndex() else None)
            trial = Trial(part, self._methods(), first)
        except ValueError as exc:
            self._failed(str(exc))
            return
        method, params = trial.methods[-1]
        self._clear()
        self._of, self._began = part, time.monotonic()
        self.asking.ask(Task("interpolate", method, params, trial, preferences().device, runner=_RUNNER))
        self.bar.setRange(0, 0)
        self.bar.show()
        self.button.setEnabled(False)
        self.stop.setEnabled(True)
        self._progress.start()

    def _centre(self) -> float:
        """Return the row in the middle of the view."""
        layer = self._source.layer
        top, _, rows, _ = in_view(layer) or (0, 0, *shape_of(layer))
        return top + rows / 2

    def _show_progress(self) -> None:
        if not self.asking.busy:
            self._rest()
            if self.found is None and not self.message.text():
                self.message.say("Stopped: there is nothing to compare yet.")
            return
        running = self.asking.running
        shot = running.take() if running is not None else None
        if shot is not None and shot.step:
            self.bar.setRange(0, shot.total)
            self.bar.setValue(shot.step)
            left = (time.monotonic() - self._began) / shot.step * (shot.total - shot.step)
            self.bar.setFormat(f"%p %, {duration(left)} left")

    def _stop(self) -> None:
        if self.asking.running is not None:
            self.asking.running.stop()
            self.stop.setEnabled(False)

    def _rest(self) -> None:
        self._progress.stop()
        self.bar.hide()
        self.stop.setEnabled(False)
        self.button.setEnabled(self._source.value is not None)

    def _failed(self, why: str) -> None:
        self._rest()
        self.message.say(why, fault=True)

    # ---------------------------------------------------------------- the answer
    def _clear(self) -> None:
        self.found = self._of = None
        self.sentence.setText("")
        for widget in (*self._answer(), self.take):
            widget.hide()
        self.about.show()

    def _answer(self) -> tuple[QWidget, ...]:
        return self.sentence, self.table, self.curves, self.which, self.panes

    def _show(self, found: Checked) -> None:
        self._rest()
        self.found = found
        text, kind = verdict(found, YARDSTICK)
        over = f"Tested over gaps of {degrees(found.held.gap)}, wider than the run's."
        self.sentence.setText(f"<span style='color:{_INK[kind]}'>&#9679;</span> <b>{text}</b> {over}")
        self.message.say(found.notes.get("misaligned", ""), fault=True)
        self._fill_table(found)
        order = [found.method, *(m for m in found.predicted if m != found.method)]
        self.curves.set_curves({m: (found.held.angles, found.psnr(m)) for m in order}, markers=True)
        for widget in self._answer():
            widget.show()
        self.about.hide()  # the sentence says it
        self.take.setText(f"Use {found.best}")
        self.take.setVisible(found.best != found.method)
        self.show_tilt(int(found.psnr(found.method).argmin()))

    def _take_best(self) -> None:
        if self.found is not None:
            self._panel.combo.setCurrentText(self.found.best)
            self.take.hide()

    def _fill_table(self, found: Checked) -> None:
        scores = found.held.scores
        means = {m: (s.psnr.mean(), s.ssim.mean(), np.sqrt(s.mse.mean())) for m, s in scores.items()}
        rows = sorted(means.items(), key=lambda item: -item[1][0])
        self.table.setRowCount(len(rows))
        for row, (method, values) in enumerate(rows):
            texts = (method, f"{values[0]:.2f}", f"{values[1]:.3f}", f"{values[2]:.4g}")
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                font = item.font()
                font.setBold(method == found.method)
                item.setFont(font)
                self.table.setItem(row, column, item)
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + 22 * len(rows) + 4)

    def _clicked(self, event: Any) -> None:
        if self.found is not None:
            x = self.curves.plot.plotItem.vb.mapSceneToView(event.scenePos()).x()
            self.show_tilt(int(np.abs(self.found.held.angles - x).argmin()))

    def show_tilt(self, k: int) -> None:
        """Show one of the tilts that were left out as it was measured and as it was predicted."""
        found, layer = self.found, self._source.layer
        if found is None or layer is None:
            return
        truth, guess = self._of.projections[found.held.tilts[k]], found.predicted[found.method][k]
        limits = tuple(float(v) for v in layer.contrast_limits)
        self.measured.set_image(truth, limits)
        self.predicted.set_image(guess, limits)
        miss = truth - guess
        reach = 3 * float(miss.std())
        self.missed.set_image(miss, (-reach, reach))
        scores = found.psnr(found.method)
        worst = "the worst one, " if k == int(scores.argmin()) else ""
        what = f"Left out: {worst}{degrees(found.held.angles[k])}, {scores[k]:.1f} dB by {found.method}."
        self.which.setText(f"{what} Click a point above to see another.")
        self.measured.title.setText(f"Measured {degrees(found.held.angles[k])}")
        self.predicted.title.setText(f"<span style='color:{COLOURS['synthetic']}'>Predicted</span>")
