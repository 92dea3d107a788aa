"""What is known of the picked atoms, and how well they explain the tilts around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from splatom.data import Atoms
from splatom.plugin.atoms_hand import AtomsHand
from splatom.plugin.atoms_pictures import Patch, patches
from splatom.plugin.later import Later
from splatom.plugin.points import COLOUR_BY, ids_of, quantity
from splatom.plugin.runner import MessageBar

__all__ = ["Inspector", "facts_of"]

_SIDE = 84  # pixels of the screen that a patch is drawn in
_ROWS = 3
_EMPTY = "No atom is picked. Tick 'Pick in the viewer' and click one, or give its number above."


def facts_of(value: Any, picked: np.ndarray) -> list[tuple[str, str]]:
    """Return what there is to say of picked atoms, in words with units.

    Parameters
    ----------
    value : Atoms or GaussianCloud
    picked : array of int
        Their indices: of one its values, of more their means and spreads; of two their distance too.
    """
    places = 10 * np.asarray(value.positions_zyx if isinstance(value, Atoms) else value.centres_zyx)[picked][:, ::-1]
    out: list[tuple[str, str]] = []
    if len(picked) == 1:
        out.append(("atom", f"{int(ids_of(value)[picked[0]])}"))
        out.append(("x, y, z", _minus(" · ".join(f"{v:.3f}" for v in places[0]) + " Å")))
        if value.species is not None:
            out.insert(1, ("species", str(value.species[picked[0]])))
    else:
        out.append(("atoms", f"{len(picked)}"))
        if value.species is not None:
            names, counts = np.unique(value.species[picked], return_counts=True)
            out.append(("species", ", ".join(f"{c} {n}" for n, c in zip(names, counts, strict=True))))
        if len(picked) == 2:
            out.append(("distance", f"{float(np.linalg.norm(places[1] - places[0])):.3f} Å"))
    units = {**{k: v[0] for k, v in COLOUR_BY.items()}, "width": "pm"}
    for name in ("width", "amplitude", "uncertainty", "confidence", "occupancy"):
        values = getattr(value, name, None) if name == "occupancy" else quantity(value, name)
        if values is None:
            continue
        chosen = np.asarray(values)[picked]
        text = f"{chosen[0]:.4g}" if len(picked) == 1 else f"{chosen.mean():.4g} ± {chosen.std():.2g}"
        if name == "amplitude" and len(picked) == 1 and getattr(value, "amplitude_sigma", None) is not None:
            text += f" ± {value.amplitude_sigma[picked[0]]:.2g}"
        label = {"width": "width σ", "uncertainty": "σ in space"}.get(name, name)
        out.append((label, f"{text} {units.get(name, '')}".rstrip()))
    if len(picked) == 1 and isinstance(value, Atoms) and value.sigma_zyx is not None:
        sigma = 1000 * value.sigma_zyx[picked[0]][::-1]
        out.append(("σ of x, y, z", " · ".join(f"{s:.2g}" for s in sigma) + " pm"))
    return out


def _minus(text: str) -> str:
    return text.replace("-", "−")


class Inspector(QWidget):
    """Shows the picked atoms and relabels them.

    Parameters
    ----------
    hand : AtomsHand
    viewer : napari viewer
    """

    def __init__(self, hand: AtomsHand, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hand, self._viewer = hand, viewer
        self._later = Later(self)
        self._later.done.connect(self._show_patches)
        self._later.failed.connect(lambda why: self.note.setText(why))
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(60)
        self._soon.timeout.connect(self._ask)
        self.number, self.hint = QSpinBox(), QLabel(_EMPTY)
        self.number.setToolTip("Number of the atom, as in the layer's table; picks it")
        self.number.setMinimum(-1)
        self.number.setSpecialValueText("none")
        self.number.setKeyboardTracking(False)
        self.hint.setWordWrap(True)
        self.table = QTableWidget(0, 2)
        self.table.horizontalHeader().hide()
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.species, self.relabel, self.undo = QComboBox(), QPushButton("Relabel"), QPushButton("Undo")
        self.species.setEditable(True)
        self.species.setToolTip("Chemical symbol; X for unknown")
        self.relabel.setToolTip("Give the selected atoms this species")
        self.undo.setToolTip("Take the last relabelling back")
        self.message, self.grid, self.note = MessageBar(), _PatchGrid(), QLabel()
        self.note.setWordWrap(True)
        column, top, labels = QVBoxLayout(self), QHBoxLayout(), QHBoxLayout()
        top.addWidget(QLabel("Atom"))
        top.addWidget(self.number, 1)
        labels.addWidget(QLabel("Species"))
        labels.addWidget(self.species, 1)
        labels.addWidget(self.relabel)
        labels.addWidget(self.undo)
        column.addLayout(top)
        for widget in (self.hint, self.table):
            column.addWidget(widget)
        column.addLayout(labels)
        for widget in (self.message, self.grid, self.note):
            column.addWidget(widget)
        column.addStretch(1)
        self.number.valueChanged.connect(self._numbered)
        self.relabel.clicked.connect(self._relabel)
        self.undo.clicked.connect(self._undo)
        hand.changed.connect(self._changed)
        hand.picked.connect(self._picked)
        self._changed()
        self._picked()

    # ---------------------------------------------------------------- the pick
    def _changed(self) -> None:
        value = self._hand.value
        self.number.blockSignals(True)
        self.number.setMaximum(-1 if value is None else len(value) - 1)
        self.number.blockSignals(False)
        self.number.setEnabled(value is not None)
        typed = self.species.currentText()
        self.species.clear()
        if value is not None and value.species is not None:
            self.species.addItems([str(s) for s in np.unique(value.species)])
        if typed:
            self.species.setCurrentText(typed)

    def _numbered(self, index: int) -> None:
        self._hand.select([index] if index >= 0 else [])
        dims, value = self._viewer.dims, self._hand.value
        if value is not None and index >= 0 and dims.ndim >= 3:
            places = value.positions_zyx if isinstance(value, Atoms) else value.centres_zyx
            hidden = [a for a in range(3) if a + dims.ndim - 3 in dims.not_displayed]  # bring its plane into view
            dims.set_point([a + dims.ndim - 3 for a in hidden], [float(places[index][a]) for a in hidden])

    def _picked(self) -> None:
        value, picked = self._hand.value, self._hand.selected
        rows = facts_of(value, picked) if value is not None and len(picked) else []
        self.number.blockSignals(True)
        self.number.setValue(int(picked[0]) if len(picked) == 1 else -1)
        self.number.blockSignals(False)
        self.hint.setText("No atoms yet: run a method in the tab Find, or open a file." if value is None else _EMPTY)
        self.hint.setVisible(not rows)
        self.table.setVisible(bool(rows))
        self.table.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for k, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(row, k, item)
        self.table.resizeRowsToContents()
        high = sum(self.table.rowHeight(r) for r in range(len(rows))) + 2 * self.table.frameWidth()
        self.table.setFixedHeight(high)
        self.relabel.setEnabled(bool(len(picked)))
        self.undo.setEnabled(self._hand.can_undo)
        self._soon.start()

    # ---------------------------------------------------------------- relabelling
    def _relabel(self) -> None:
        try:
            count = self._hand.relabel(self._hand.selected, self.species.currentText().strip())
        except ValueError as exc:
            self.message.say(str(exc), fault=True)
            return
        self.message.say(f"{count} relabelled as {self.species.currentText().strip()}" if count else "")

    def _undo(self) -> None:
        self._hand.undo()
        self.message.say("the last relabelling is taken back")

    # ---------------------------------------------------------------- the tilts around it
    def _ask(self) -> None:
        value, series, picked = self._hand.value, self._hand.series, self._hand.selected
        one = value is not None and len(picked) == 1
        self.grid.setVisible(one and series is not None)
        if not one:
            self.note.setText("")
        elif series is None:
            self.note.setText("Open the tilt series to see how well the atom explains it.")
        elif self.isVisible():
            places = value.positions_zyx if isinstance(value, Atoms) else value.centres_zyx
            self._later.ask(patches, value, series, places[picked[0]], self._near(series))

    def _near(self, series: Any) -> int:
        """Return the tilt in view, or the one nearest to 0° where none is."""
        dims = self._viewer.dims
        if dims.ndim >= 4:
            return int(np.clip(round(dims.point[-4]), 0, len(series) - 1))
        return int(np.abs(series.angles).argmin())

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self._soon.start()

    def _show_patches(self, found: list[Patch]) -> None:
        series = self._hand.series
        if series is None:
            return
        self.grid.set_patches(found, [float(series.angles[p.index]) for p in found])
        if not found:
            self.note.setText("The atom is outside the images of these tilts.")
            return
        value = self._hand.value
        unknown = isinstance(value, Atoms) and (value.b_factor is None or value.amplitude is None)
        size = np.sqrt(np.mean([(p.difference**2).mean() for p in found]) / np.mean([p.measured.var() for p in found]))
        self.note.setText(
            f"The tilts nearest to the one in view, {found[0].measured.shape[1]} pixels wide. Residual here "
            f"{size:.0%} of the contrast. Red: too little matter, blue: too much; full colour at half the contrast. "
            "Gain and offset of each tilt are fitted."
            + (" Width or amplitude of these atoms is not known: all are drawn alike." if unknown else "")
        )


class _PatchGrid(QWidget):
    """Measured, predicted and difference, a row for each tilt."""

    def __init__(self) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for k, title in enumerate(("Measured", "Predicted", "Difference")):
            layout.addWidget(QLabel(title), 0, k + 1, Qt.AlignmentFlag.AlignHCenter)
        self.angles = [QLabel() for _ in range(_ROWS)]
        self.images = [[QLabel() for _ in range(3)] for _ in range(_ROWS)]
        for r in range(_ROWS):
            layout.addWidget(self.angles[r], r + 1, 0)
            for k in range(3):
                self.images[r][k].setFixedSize(_SIDE, _SIDE)
                layout.addWidget(self.images[r][k], r + 1, k + 1, Qt.AlignmentFlag.AlignHCenter)

    def set_patches(self, found: list[Patch], angles: list[float]) -> None:
        """Draw patches; rows without one are hidden."""
        for r in range(_ROWS):
            on = r < len(found)
            self.angles[r].setVisible(on)
            for label in self.images[r]:
                label.setVisible(on)
            if not on:
                continue
            patch = found[r]
            self.angles[r].setText(_minus(f"{angles[r]:+.1f}°"))
            low, high = float(patch.measured.min()), float(patch.measured.max())
            reach = max(high - low, 1e-30)
            grey = [np.clip((a - low) / reach, 0, 1) for a in (patch.measured, patch.predicted)]
            for label, image in zip(self.images[r][:2], grey, strict=True):
                label.setPixmap(_pixmap(np.repeat(image[..., None], 3, axis=2)))
            self.images[r][2].setPixmap(_pixmap(_diverging(np.clip(patch.difference / (reach / 2), -1, 1))))


def _diverging(t: np.ndarray) -> np.ndarray:
    """Blue below zero, near white at it, red above; (rows, columns, 3) from 0 to 1."""
    stops = np.array([(33, 102, 172), (247, 247, 247), (178, 24, 43)]) / 255
    return np.stack([np.interp(t, (-1, 0, 1), channel) for channel in stops.T], axis=-1)


def _pixmap(rgb: np.ndarray) -> QPixmap:
    data = np.ascontiguousarray(np.rint(255 * rgb), dtype=np.uint8)
    image = QImage(data.data, data.shape[1], data.shape[0], 3 * data.shape[1], QImage.Format.Format_RGB888).copy()
    return QPixmap.fromImage(image).scaled(
        _SIDE, _SIDE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.FastTransformation
    )
