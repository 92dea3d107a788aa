"""A slider for a number that may change while a method runs."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

__all__ = ["with_slider"]

_STEPS = 200


class _Slider(QSlider):
    def wheelEvent(self, event: Any) -> None:
        event.ignore()  # scrolling the dock must not change the number


def with_slider(number: QDoubleSpinBox, middle: float, ends: tuple[bool, bool]) -> QWidget:
    """Return a row of a slider and a number that follow each other; the number is told when the slider is let go.

    Parameters
    ----------
    number : QDoubleSpinBox
        With its bounds set.
    middle : float
        The number at the middle of the slider, between the bounds.
    ends : tuple of bool
        Whether the lower and the upper bound may be taken.
    """
    low, high = number.minimum(), number.maximum()
    bend = math.log((middle - low) / (high - low)) / math.log(0.5)

    def value_at(step: int) -> float:
        return float(f"{low + (high - low) * (step / _STEPS) ** bend:.3g}")

    def step_of(value: float) -> int:
        return round(_STEPS * ((value - low) / (high - low)) ** (1 / bend))

    slider, row = _Slider(Qt.Orientation.Horizontal), QWidget()
    slider.setRange(0 if ends[0] else 1, _STEPS if ends[1] else _STEPS - 1)
    slider.setTracking(False)  # each number on the way would be a change that the run records
    slider.setMinimumWidth(60)

    def dragged(step: int) -> None:
        with QSignalBlocker(number):
            number.setValue(value_at(step))

    def let_go(step: int) -> None:
        dragged(step)
        number.valueChanged.emit(number.value())

    def follow(value: float) -> None:
        with QSignalBlocker(slider):
            slider.setValue(step_of(value))

    slider.sliderMoved.connect(dragged)
    slider.valueChanged.connect(let_go)
    number.valueChanged.connect(follow)
    follow(number.value())
    line = QHBoxLayout(row)
    line.setContentsMargins(0, 0, 0, 0)
    line.addWidget(slider, 3)
    line.addWidget(number, 2)
    return row
