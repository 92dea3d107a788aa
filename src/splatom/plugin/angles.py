"""Asks for the tilt angles that a file does not hold; nothing is guessed."""

from __future__ import annotations

import numpy as np
from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from splatom.plugin.form import Number
from splatom.plugin.runner import MessageBar

__all__ = ["AnglesBox"]


class AnglesBox(QWidget):
    """First and last angle of evenly spaced tilts, or a file of angles; ``given(angles or path)`` when they fit."""

    given = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self.first, self.last, self.step, self.message = Number(), Number(), QLabel(), MessageBar()
        for field in (self.first, self.last):
            field.setRange(-180, 180)
            field.setSuffix(" °")
            field.valueChanged.connect(self._tell)
        take, load = QPushButton("Take these angles"), QPushButton("From a file…")
        take.clicked.connect(self._take)
        load.clicked.connect(self._load)
        load.setToolTip("A .rawtlt, .tlt or .mdoc, or any text file with one angle a line")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("First angle", self.first)
        form.addRow("Last angle", self.last)
        form.addRow("Step", self.step)
        row = QHBoxLayout()
        row.addWidget(take)
        row.addWidget(load)
        form.addRow(row)
        form.addRow(self.message)

    def set_count(self, count: int) -> None:
        """Say how many tilts there are."""
        self._count = count
        self._tell()

    def _tell(self, *_: object) -> None:
        span = self.last.value() - self.first.value()
        step = span / (self._count - 1) if self._count > 1 else 0.0
        told = f"{step:.4g}° between" if span else "to be given, for"
        self.step.setText(f"{told} {self._count} tilts")

    def _take(self) -> None:
        if self.first.value() == self.last.value():
            self.message.say("give the first and the last angle", fault=True)
            return
        self.given.emit(tuple(float(a) for a in np.linspace(self.first.value(), self.last.value(), self._count)))

    def _load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Tilt angles", "", "Angles (*.rawtlt *.tlt *.mdoc *.txt);;All (*)")
        if name:
            self.given.emit(name)
