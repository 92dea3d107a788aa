"""Pictures of the dock Interpolate: a tilt between its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from splatom.plugin.interpolate_part import Beside, Frame, degrees
from splatom.plugin.plots import COLOURS, ImagePane, PaneRow
from splatom.plugin.runner import MessageBar

__all__ = ["FittedRow", "Neighbourhood"]

_TITLE = 105  # px that a title takes
_BEYOND = (
    "Beyond linear",
    "<p>The predicted tilt less the linear mean of its neighbours: detail where things move, nothing elsewhere.</p>",
)
_MOVES = ("What moves", "<p>The upper neighbour less the lower one: red where matter comes, blue where it goes.</p>")


class FittedRow(PaneRow):
    """Panes that their pictures fill again whenever their place changes."""

    def __init__(self, panes: Sequence[ImagePane]) -> None:
        self._fitting = QTimer()
        super().__init__(panes)
        self._fitting.setParent(self)
        self._fitting.setSingleShot(True)
        self._fitting.setInterval(60)  # ms: until the panes have their size
        self._fitting.timeout.connect(self._fit)

    def resizeEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().resizeEvent(event)
        self.fit()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self.fit()

    def fit(self) -> None:
        """Let the pictures fill the panes soon."""
        self._fitting.start()

    def _fit(self) -> None:
        self.panes[0].box.autoRange(padding=0.03)

    def _arrange(self, columns: int) -> None:
        if len(self.panes) == 4 and (columns == 3 or (columns == 4 and self.width() < 4 * _TITLE)):
            columns = 2  # three and one would waste the room, and narrow titles would be cut
        super()._arrange(columns)


class Neighbourhood(QWidget):
    """A tilt between its neighbours, and what it has beyond their linear mean; four pictures with one zoom."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.here, self.above = ImagePane(), ImagePane(), ImagePane()
        self.beyond = ImagePane(diverging=True)
        self.panes = FittedRow((self.below, self.here, self.above, self.beyond))
        self.panes.setToolTip("The wheel zooms all pictures, the left button moves them")
        self.words, self.fault = QLabel(), MessageBar()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.panes, 1)
        column.addWidget(self.words)
        column.addWidget(self.fault)
        self.shown: Beside | None = None

    def clear(self, why: str = "") -> None:
        """Empty the pictures and say why."""
        self.shown = None
        for pane in self.panes.panes:
            pane.set_image(None)
            pane.title.setText("")
        self.words.setText(why)
        self.fault.say("")

    def set_beside(self, found: Beside, limits: tuple[float, float], words: str = "") -> None:
        """Show a tilt and its neighbours in one contrast."""
        if self.shown is None or self.shown.here.image.shape != found.here.image.shape:
            self.panes.fit()
        self.shown = found
        rows, columns = found.here.image.shape
        extent = (-0.5, found.first - 0.5, columns, rows)
        for pane, frame in ((self.below, found.below), (self.here, found.here), (self.above, found.above)):
            pane.set_image(frame.image, limits, extent)
            pane.title.setText(_title(frame))
        fourth = found.beyond if found.beyond is not None else found.above.image - found.below.image
        reach = max(3 * float(fourth.std()), 1e-3 * (limits[1] - limits[0]))
        self.beyond.set_image(fourth, (-reach, reach), extent)
        name, tip = _BEYOND if found.beyond is not None else _MOVES
        self.beyond.title.setText(name)
        self.beyond.setToolTip(tip)
        self.words.setText(words)
        self.fault.say(found.notes.get("misaligned", ""), fault=True)


def _title(frame: Frame) -> str:
    if frame.synthetic:
        return f"<span style='color:{COLOURS['synthetic']}'>Predicted {degrees(frame.angle)}</span>"
    return f"Measured {degrees(frame.angle)}"
