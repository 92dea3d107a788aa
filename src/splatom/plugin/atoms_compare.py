"""Compare the atoms in hand with a file of reference positions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from splatom.data import Atoms
from splatom.plugin.atoms_hand import AtomsHand
from splatom.plugin.later import Later
from splatom.plugin.layers import info
from splatom.plugin.points import chosen, colouring
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from splatom.evaluate import AtomMatch

__all__ = ["ComparePanel"]

_FALSE = (0.90, 0.28, 0.30, 1.0)  # found, and not in the reference
_EMPTY = "Open a file of reference positions (XYZ, CIF, CSV) to see which atoms were found."


def _match(found: Atoms, path: str, tolerance_nm: float) -> tuple[Atoms, Any]:
    """Read the reference and match; in a thread."""
    from splatom.evaluate import match_atoms
    from splatom.io import FileFault, read_atoms

    try:
        reference = read_atoms(path)
    except FileFault as fault:
        raise ValueError(str(fault)) from fault
    return reference, match_atoms(found, reference, tolerance_nm)


class ComparePanel(QWidget):
    """Recall, precision and RMSD against a reference, and which atoms are wrong or missed.

    Parameters
    ----------
    hand : AtomsHand
    viewer : napari viewer
    """

    def __init__(self, hand: AtomsHand, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hand, self._viewer = hand, viewer
        self._path = ""
        self.match: AtomMatch | None = None
        self._reference: Atoms | None = None
        self._compared: Any = None
        self._later = Later(self)
        self._later.done.connect(self._take)
        self._later.failed.connect(self._failed)
        self.open, self.tolerance, self.mark = QPushButton("Reference file…"), QDoubleSpinBox(), QCheckBox()
        self.open.setToolTip("Positions in Å about the centre of the field; a common shift is taken off")
        self.tolerance.setRange(0.05, 5.0)
        self.tolerance.setSingleStep(0.1)
        self.tolerance.setValue(1.0)
        self.tolerance.setSuffix(" Å")
        self.tolerance.setKeyboardTracking(False)
        self.tolerance.setToolTip("Largest distance of a found atom from its partner in the reference")
        self.mark.setText("Mark unmatched atoms")
        self.mark.setToolTip("Found atoms without a partner in red; those missed as crosses in a layer of their own")
        self.result, self.table = QLabel(_EMPTY), QTableWidget(0, 2)
        self.result.setWordWrap(True)
        self.table.horizontalHeader().hide()
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        rows, column = QFormLayout(), QVBoxLayout(self)
        rows.addRow("Pairs within", self.tolerance)
        column.addWidget(self.open)
        column.addLayout(rows)
        column.addWidget(self.mark)
        column.addWidget(self.result)
        column.addWidget(self.table)
        column.addStretch(1)
        self.open.clicked.connect(lambda: self.compare(self._ask_file()))
        self.tolerance.valueChanged.connect(lambda *_: self.compare(self._path))
        self.mark.toggled.connect(self._mark)
        hand.changed.connect(self._changed)
        self._changed()

    def _ask_file(self) -> str:
        return QFileDialog.getOpenFileName(self, "Reference positions", "", "Atoms (*.xyz *.extxyz *.cif *.csv)")[0]

    def _changed(self) -> None:
        value = self._hand.value
        self.open.setEnabled(value is not None)
        if value is None:
            self._clear("No atoms yet: run a method in the tab Find, or open a file.")
        elif value is not self._compared:
            self._clear(_EMPTY)
            if self._path:
                self.compare(self._path)

    def _clear(self, why: str) -> None:
        self.match = self._reference = self._compared = None
        self.result.setText(why)
        self.table.setRowCount(0)
        self.table.hide()
        self.mark.setEnabled(False)

    def compare(self, path: str) -> None:
        """Compare with a file; nothing without one."""
        value = self._hand.value
        if not path or value is None:
            return
        self._path, self._compared = path, value
        found = value if isinstance(value, Atoms) else Atoms(value.centres_zyx, value.species)
        self.result.setText(f"Comparing with {Path(path).name}…")
        self._later.ask(_match, found, path, self.tolerance.value() / 10)

    def _failed(self, why: str) -> None:
        self._clear(why)
        self._path = ""

    def _take(self, answer: tuple[Atoms, AtomMatch]) -> None:
        self._reference, match = answer
        self.match = match
        missed, wrong = len(self._reference) - len(match.truth), len(self._hand.value) - len(match.found)
        rmsd = "–" if match.rmsd_pm is None else f"{match.rmsd_pm:.1f} pm"
        rows = [
            ("recall", f"{match.recall:.4f} ({missed} of {len(self._reference)} missed)"),
            ("precision", f"{match.precision:.4f} ({wrong} of {len(self._hand.value)} have no partner)"),
            ("RMSD", rmsd),
            ("common shift (x, y, z)", " · ".join(f"{10 * v:+.2f}" for v in match.shift_zyx[::-1]) + " Å"),
        ]
        if match.species_accuracy is not None:
            rows.insert(3, ("species right", f"{match.species_accuracy:.1%}"))
        if len(match.offsets_zyx):
            spread = 1000 * np.sqrt((match.offsets_zyx**2).mean(axis=0))[::-1]
            rows.append(("RMS of x, y, z", " · ".join(f"{v:.1f}" for v in spread) + " pm"))
        self.result.setText(f"Against <b>{Path(self._path).name}</b>:")
        self.table.setRowCount(len(rows))
        for r, texts in enumerate(rows):
            for k, text in enumerate(texts):
                item = QTableWidgetItem(text.replace("-", "−") if k else text)
                item.setToolTip(text)
                self.table.setItem(r, k, item)
        self.table.resizeColumnsToContents()
        self.table.show()
        self.table.setFixedHeight(sum(self.table.rowHeight(r) for r in range(len(rows))) + 4)
        self.mark.setEnabled(True)
        self._mark(self.mark.isChecked())

    # ---------------------------------------------------------------- in the viewer
    def _mark(self, on: bool) -> None:
        layer, value = self._hand.layer, self._hand.value
        if layer is None or value is None or self.match is None or self._reference is None:
            return
        pick = chosen(value, preferences().max_points)
        rgba = colouring(value, info(layer).get("colour_by")).rgba.copy()
        if on:
            wrong = np.ones(len(value), bool)
            wrong[self.match.found] = False
            rgba[wrong] = _FALSE
        layer.face_color = rgba[pick]
        self._show_missed(on)

    def _show_missed(self, on: bool) -> None:
        name = f"missed of {Path(self._path).stem}"
        layers = self._viewer.layers
        if name in layers:
            layers.remove(name)
        assert self.match is not None
        assert self._reference is not None
        lost = np.ones(len(self._reference), bool)
        lost[self.match.truth] = False
        if not on or not lost.any():
            return
        before = layers.selection.active
        self._viewer.add_points(
            self._reference.positions_zyx[lost] + self.match.shift_zyx,
            name=name, size=0.2, symbol="cross", face_color=np.array(_FALSE), border_width=0,
            units=("nm",) * 3, axis_labels=("z", "y", "x"),
        )  # fmt: skip
        layers.selection.active = before
