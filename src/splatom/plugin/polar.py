"""The tilt geometry as a fan of beams: which angles were measured, and which wedge is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPainterPath, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from qtpy.QtGui import QMouseEvent, QPaintEvent

__all__ = ["COLOURS", "PolarPlot", "missing_wedge"]

# Mid tones that keep their contrast on napari's dark and on its light background.
COLOURS = {
    "measured": "#3b8fd4",
    "synthetic": "#d08a1d",
    "held_out": "#b065c8",
    "excluded": "#8d929b",
    "current": "#e5484d",
    "good": "#3fa66b",
}

_MARGIN = 18.0  # pixels kept for the labels of the angles
_FOOT = 36.0  # pixels kept for the two lines of text below


def missing_wedge(angles: ArrayLike) -> tuple[float, float]:
    """Return the widest gap of a tilt range: where it starts and how wide it is, in degrees.

    A beam has no direction, so that angles count modulo 180°; the gap runs upwards from its start.

    Parameters
    ----------
    angles : array (n,)
        Tilt angles in degrees.
    """
    folded = np.sort(np.mod(np.asarray(angles, dtype=np.float64), 180.0))
    if len(folded) == 0:
        return 0.0, 180.0
    gaps = np.diff(np.append(folded, folded[0] + 180.0))
    widest = int(gaps.argmax())
    return float(folded[widest]), float(gaps[widest])


class PolarPlot(QWidget):
    """Beams of all tilts drawn through the specimen, the untilted one upright.

    Signals
    -------
    picked(int)
        Index of the tilt whose beam was clicked.
    planned_picked(int)
        Index of the tilt to come whose beam was clicked.
    """

    picked = Signal(int)
    planned_picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._angles = np.zeros(0)
        self._kind = np.zeros(0, dtype="U9")
        self._planned = np.zeros(0)
        self._wide = np.zeros((0, 2))
        self._chosen: int | None = None
        self._current: int | None = None
        self.setMinimumSize(160, 140)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setToolTip("Beam directions of all tilts. Click a beam to go to its tilt.")

    def sizeHint(self) -> QSize:  # noqa: D102 - Qt's name
        return QSize(280, 200)

    def set_angles(
        self,
        angles: ArrayLike,
        excluded: ArrayLike | None = None,
        synthetic: ArrayLike | None = None,
        held_out: ArrayLike | None = None,
        current: int | None = None,
    ) -> None:
        """Show a series' tilts.

        Parameters
        ----------
        angles : array (n,)
            Tilt angles in degrees.
        excluded, synthetic, held_out : array (n,) of bool, optional
            Tilts to draw apart: left out, interpolated, kept aside to score the result.
        current : int, optional
            Index of the tilt on show.
        """
        self._angles = np.atleast_1d(np.asarray(angles, dtype=np.float64))
        self._kind = np.full(len(self._angles), "measured", dtype="U9")
        for name, flags in (("synthetic", synthetic), ("held_out", held_out), ("excluded", excluded)):
            if flags is not None:
                self._kind[np.asarray(flags, dtype=bool)] = name
        self._current = current
        self.update()

    def set_current(self, index: int | None) -> None:
        """Mark the tilt on show."""
        if index != self._current:
            self._current = index
            self.update()

    def set_plan(self, planned: ArrayLike = (), wide: ArrayLike = (), chosen: int | None = None) -> None:
        """Show tilts that are to come, and the gaps that they go into.

        Parameters
        ----------
        planned : array (n,)
            Tilt angles in degrees.
        wide : array (k, 2)
            First and last angle of each gap.
        chosen : int, optional
            The one of ``planned`` that is looked at.
        """
        self._planned = np.atleast_1d(np.asarray(planned, dtype=np.float64))
        self._wide = np.asarray(wide, dtype=np.float64).reshape(-1, 2)
        self._chosen = chosen
        self.update()

    def set_chosen(self, chosen: int | None) -> None:
        """Mark the tilt to come that is looked at."""
        if chosen != self._chosen:
            self._chosen = chosen
            self.update()

    @property
    def summary(self) -> str:
        """One line: range, count and missing wedge."""
        used = self._angles[self._kind != "excluded"]
        if len(used) == 0:
            return "no tilts"
        others = [
            f"{count} {name.replace('_', ' ')}"
            for name in ("synthetic", "held_out", "excluded")
            if (count := int((self._kind == name).sum()))
        ]
        wedge = missing_wedge(used)[1]
        text = f"{_degrees(used.min())} to {_degrees(used.max())}, {len(self._angles)} tilts"
        text += f" ({', '.join(others)})" if others else ""
        spacing = float(np.median(np.diff(np.sort(used)))) if len(used) > 2 else 180.0
        return text + (f", missing wedge {wedge:.0f}°" if wedge > max(2.5 * spacing, 3.0) else "")

    # ---------------------------------------------------------------- drawing
    def _frame(self) -> tuple[QPointF, float]:
        """Centre of the half disc and its radius, in widget pixels."""
        width, height = float(self.width()), float(self.height())
        radius = max(20.0, min(width / 2 - 1.9 * _MARGIN, height - _FOOT - _MARGIN - 12))
        return QPointF(width / 2, _MARGIN + radius + 2), radius

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: D102 - Qt's name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        faint = QColor(ink)
        faint.setAlpha(90)
        centre, radius = self._frame()
        used = self._angles[self._kind != "excluded"]
        if len(used):
            start, width = missing_wedge(used)
            if width >= 3:
                self._paint_wedge(painter, centre, radius, start, width)
        for low, high in self._wide:
            self._paint_wedge(painter, centre, radius, low, high - low, "synthetic")
        painter.setPen(QPen(faint, 1))
        disc = QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, 2 * radius)
        painter.drawArc(disc, 0, 180 * 16)
        painter.drawLine(QPointF(disc.left(), centre.y()), QPointF(disc.right(), centre.y()))
        order = {"excluded": 0, "synthetic": 1, "measured": 2, "held_out": 3}
        for i in sorted(range(len(self._angles)), key=lambda k: order[str(self._kind[k])]):
            self._paint_beam(painter, centre, radius, i)
        for i in range(len(self._planned)):
            self._paint_planned(painter, centre, radius, i)
        if self._current is not None and 0 <= self._current < len(self._angles):
            self._paint_beam(painter, centre, radius, self._current, current=True)
        painter.setPen(ink)
        for angle in (-90, -60, -30, 0, 30, 60, 90):
            at = _towards(centre, radius + 11, angle)
            box = QRectF(at.x() - 20, at.y() - 8, 40, 16)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, _degrees(angle))
        foot = QRectF(2, centre.y() + 10, self.width() - 4, _FOOT)
        where = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
        painter.drawText(foot, where, self.summary)
        painter.end()

    def _paint_wedge(
        self, painter: QPainter, centre: QPointF, radius: float, start: float, width: float, colour: str = "current"
    ) -> None:
        shade = QColor(COLOURS[colour])
        shade.setAlpha(45)
        clip = QPainterPath()
        clip.addRect(QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, radius))
        painter.save()
        painter.setClipPath(clip)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade)
        disc = QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, 2 * radius)
        for turn in (0.0, 180.0):  # both ends of each missing beam; the clip keeps the upper half
            painter.drawPie(disc, round((90 - start - width + turn) * 16), round(width * 16))
        painter.restore()

    def _paint_beam(self, painter: QPainter, centre: QPointF, radius: float, index: int, current: bool = False) -> None:
        kind = "current" if current else str(self._kind[index])
        angle = _folded(self._angles[index])
        pen = QPen(QColor(COLOURS[kind]), 3.0 if current else 1.3)
        if kind in ("excluded", "synthetic"):
            pen.setStyle(Qt.PenStyle.DotLine if kind == "excluded" else Qt.PenStyle.DashLine)
        painter.setPen(pen)
        painter.drawLine(_towards(centre, 0.12 * radius, angle), _towards(centre, radius, angle))

    def _paint_planned(self, painter: QPainter, centre: QPointF, radius: float, index: int) -> None:
        """Paint the outer half of a beam that is to come."""
        chosen = index == self._chosen
        angle = _folded(self._planned[index])
        painter.setPen(QPen(QColor(COLOURS["synthetic"]), 3.0 if chosen else 1.3))
        painter.drawLine(_towards(centre, 0.6 * radius, angle), _towards(centre, radius, angle))

    # ---------------------------------------------------------------- the mouse
    def _nearest(self, at: QPointF) -> int | None:
        """Return the index of the beam at a place; those to come count on from the tilts."""
        centre, radius = self._frame()
        across, up = at.x() - centre.x(), centre.y() - at.y()
        distance = np.hypot(across, up)
        if len(self._angles) == 0 or up < -4 or distance > 1.15 * radius:
            return None
        beams = np.append(self._angles, self._planned if distance > 0.55 * radius else ())
        away = np.abs([_folded(a) - np.degrees(np.arctan2(across, up)) for a in beams])
        return int(away.argmin())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: D102 - Qt's name
        index = self._nearest(event.position())
        if index is None:
            super().mousePressEvent(event)
            return
        to_come = index - len(self._angles)
        if to_come >= 0:
            text = f"to come: {_degrees(self._planned[to_come], 2)}"
            QToolTip.showText(event.globalPosition().toPoint(), text, self)
            self.planned_picked.emit(to_come)
            return
        QToolTip.showText(event.globalPosition().toPoint(), f"tilt {index}: {_degrees(self._angles[index], 2)}", self)
        self.picked.emit(index)


def _degrees(angle: float, digits: int = 0) -> str:
    return f"{angle:.{digits}f}°".replace("-", "−")


def _folded(angle: float) -> float:
    """Return the same beam's angle in (−90, 90]."""
    return float(90 - (90 - angle) % 180)


def _towards(centre: QPointF, distance: float, angle: float) -> QPointF:
    """Return the point at a distance along a beam; positive angles lie to the right of upright."""
    a = np.deg2rad(angle)
    return QPointF(centre.x() + distance * np.sin(a), centre.y() - distance * np.cos(a))
