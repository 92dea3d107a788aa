"""The gaps of a series on the polar plot and in words, with the tilts that would come into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from splatom.plugin.interpolate_part import Gaps, gaps_of, in_words
from splatom.plugin.later import Later
from splatom.plugin.polar import COLOURS, PolarPlot

if TYPE_CHECKING:
    from splatom.data import TiltSeries

__all__ = ["GapsView"]


def _key() -> str:
    """Return the legend of the plot."""
    blue, orange = COLOURS["measured"], COLOURS["synthetic"]
    marks = (
        (blue, "&#9473;", "measured"), (orange, "&#9473;", "to come"), (orange, "&#9482;", "synthetic"),
        (orange, "&#9608;", "gap"),
    )  # fmt: skip
    return " &nbsp; ".join(f"<span style='color:{c}'>{s}</span> {t}" for c, s, t in marks)


class GapsView(QWidget):
    """Gaps wider than the step, drawn and in words.

    Signals
    -------
    planned(object)
        The :class:`~splatom.plugin.interpolate_part.Gaps` of the newest question, None where there is none.
    picked(int), planned_picked(int)
        See :class:`~splatom.plugin.polar.PolarPlot`.
    """

    planned = Signal(object)
    picked = Signal(int)
    planned_picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.gaps: Gaps | None = None
        self.fault = ""
        self._auto = True
        self._series: TiltSeries | None = None
        self._filled: TiltSeries | None = None
        self.polar = PolarPlot()
        self.polar.setFixedHeight(164)
        self.polar.setToolTip(
            "Beam directions. Blue: measured. Orange: tilts to come, in the gaps that are shaded; once made, they are "
            "dashed. Red: the missing wedge, which nothing fills. Click a beam to look at its tilt."
        )
        self.key, self.words = QLabel(_key()), QLabel()
        self.key.setTextFormat(Qt.TextFormat.RichText)
        self.key.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.words.setTextFormat(Qt.TextFormat.RichText)
        for label in (self.key, self.words):
            label.setWordWrap(True)
        self.words.setToolTip(
            "<p>Between two tilts a point moves by its distance from the axis times the sine of the gap. Detail that "
            "is finer than this shows twice in a linear interpolation; a method that follows the motion keeps it.</p>"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for widget in (self.polar, self.key, self.words):
            column.addWidget(widget)
        self._later = Later(self)
        self._later.done.connect(self._planned)
        self._later.failed.connect(self._failed)
        self.polar.picked.connect(self.picked)
        self.polar.planned_picked.connect(self.planned_picked)

    @property
    def busy(self) -> bool:
        """Whether a plan is on its way."""
        return self._later.busy

    def ask(self, series: TiltSeries | None, params: Any) -> None:
        """Plan anew; with no series the plot is empty."""
        self._series, self._filled = series, None
        if series is None or params is None:
            self._later.forget()
            self._take(None, "")
            return
        self._auto = params.step is None
        self._later.ask(gaps_of, series, params)

    def refuse(self, why: str) -> None:
        """Show that there is no plan, and why."""
        self._later.forget()
        self._failed(why)

    def set_filled(self, series: TiltSeries) -> None:
        """Show a series that was filled, its synthetic tilts dashed."""
        self._filled = series
        self.polar.set_angles(series.angles, series.weights == 0, series.synthetic, series.held_out)
        self.polar.set_plan()
        new = int(series.synthetic.sum())
        made = "1 synthetic tilt" if new == 1 else f"{new} synthetic tilts"
        self.words.setText(f"{len(series) - new} measured tilts, as they were, and {made}, dashed above.")

    def _planned(self, gaps: Gaps) -> None:
        self._take(gaps, "")

    def _failed(self, why: str) -> None:
        self._take(None, why)

    def _take(self, gaps: Gaps | None, fault: str) -> None:
        self.gaps, self.fault = gaps, fault
        series = self._series
        if self._filled is None:
            if series is None:
                self.polar.set_angles([])
            else:
                self.polar.set_angles(series.angles, series.weights == 0, series.synthetic, series.held_out)
            self.polar.set_plan(*((gaps.new, gaps.wide) if gaps is not None else ((), ())))
            self.words.setText(fault and f"<b>{fault[:1].upper()}{fault[1:]}.</b>")
            if gaps is not None:
                self.words.setText(in_words(gaps, self._auto))
        self.key.setVisible(series is not None)
        self.planned.emit(gaps)

    def follow(self, index: int | None) -> None:
        """Mark the tilt in view."""
        shown = self._filled or self._series
        self.polar.set_current(index if shown is not None and index is not None and index < len(shown) else None)

    def choose(self, angle: float | None) -> None:
        """Mark the tilt to come that is looked at."""
        new = self.gaps.new if self.gaps is not None else np.zeros(0)
        self.polar.set_chosen(int(np.abs(new - angle).argmin()) if angle is not None and len(new) else None)
