"""Hide atoms below a bound of confidence or amplitude; how many are left is told."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from splatom.plugin.atoms_hand import AtomsHand
from splatom.plugin.points import COLOUR_BY, quantity

__all__ = ["FilterRow"]

_STEPS = 200
#: Quantity, and whether large values are the good ones.
_BY = {"confidence": True, "amplitude": True, "uncertainty": False, "width": False}
_UNITS = {**{k: v[0] for k, v in COLOUR_BY.items()}, "width": "pm"}


class FilterRow(QWidget):
    """A quantity, a slider, and the number of atoms shown.

    Signals
    -------
    filtered()
        Other atoms are shown.
    """

    filtered = Signal()

    def __init__(self, hand: AtomsHand, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hand = hand
        self.combo, self.slider, self.count = QComboBox(), QSlider(Qt.Orientation.Horizontal), QLabel()
        self.combo.setToolTip("Hide atoms by this; the value itself is not changed, and an export may leave them out")
        self.slider.setRange(0, _STEPS)
        self.slider.setToolTip("The bound, between the least and the largest value; at the left end all are shown")
        self.count.setWordWrap(True)
        row, column = QHBoxLayout(), QVBoxLayout(self)
        row.addWidget(QLabel("Hide by"))
        row.addWidget(self.combo)
        row.addWidget(self.slider, 1)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.count)
        hand.changed.connect(self._refresh)
        self.combo.currentIndexChanged.connect(self._apply)
        self.slider.valueChanged.connect(self._apply)
        self._refresh()

    def _refresh(self) -> None:
        value = self._hand.value
        known = [k for k in _BY if value is not None and len(value) and quantity(value, k) is not None]
        if known != [self.combo.itemText(i) for i in range(self.combo.count())]:
            self.combo.blockSignals(True)
            self.combo.clear()
            self.combo.addItems(known)
            self.combo.blockSignals(False)
            self.slider.blockSignals(True)
            self.slider.setValue(0)
            self.slider.blockSignals(False)
        self.setVisible(bool(known))
        self._apply()

    def bound(self) -> float:
        """Return the bound that the slider is at."""
        values = self._values()
        if values is None:
            return float("nan")
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        share = self.slider.value() / _STEPS
        return low + share * (high - low) if _BY[self.combo.currentText()] else high - share * (high - low)

    def _values(self) -> Any:
        value, name = self._hand.value, self.combo.currentText()
        found = quantity(value, name) if value is not None and name else None
        return None if found is None or not np.isfinite(found).any() else found

    def _apply(self, *_: Any) -> None:
        value, values = self._hand.value, self._values()
        if value is None:
            self.count.setText("")
            return
        if values is None or self.slider.value() == 0:
            kept = np.ones(len(value), bool)
            self.count.setText(f"All {len(value):,} are shown".replace(",", " "))
        else:
            name, bound = self.combo.currentText(), self.bound()
            large = _BY[name]
            with np.errstate(invalid="ignore"):
                kept = values >= bound if large else values <= bound
            sign, unit = "≥" if large else "≤", _UNITS.get(name, "")
            words = f"{int(kept.sum()):,} of {len(value):,} shown".replace(",", " ")
            self.count.setText(f"{words}: {name} {sign} {bound:.3g} {unit}".rstrip())
        if not np.array_equal(kept, self._hand.shown):
            self._hand.show_only(kept)
            self.filtered.emit()
