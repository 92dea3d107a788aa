"""Plots of the atoms: nearest neighbours, pair distribution, amplitudes by species."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from splatom.data import Atoms
from splatom.plugin.atoms_hand import AtomsHand
from splatom.plugin.later import Later
from splatom.plugin.plots import CYCLE, Plot, pyqtgraph
from splatom.plugin.points import quantity, species_colour

__all__ = ["Lines", "PlotsPanel", "amplitudes", "neighbours", "pairs"]

_KINDS = ("Nearest neighbours", "Pair distribution g(r)", "Amplitude by species")
_TIPS = (
    "How far each atom is from its nearest neighbour",
    "How many atoms there are at a distance of another, against an even spread in the same space",
    "Integrated intensity of the atoms' images, a histogram for each species",
)
_FEWEST = 3


def _hist(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a histogram as the outline of its bars."""
    count, _ = np.histogram(values, edges)
    return np.repeat(edges, 2), np.concatenate([[0], np.repeat(count, 2), [0]]).astype(np.float64)


def neighbours(atoms: Atoms) -> tuple[dict[str, Any], str]:
    """Histogram of the distance to the nearest neighbour in Å, and a line of text."""
    from splatom.evaluate import nearest_neighbours

    distance = 10 * nearest_neighbours(atoms)
    low, high = np.percentile(distance, (0.5, 99.5))
    edges = np.linspace(0.95 * low, 1.05 * high, int(np.clip(len(distance) ** 0.5 * 2, 10, 60)))
    text = f"Nearest neighbour: {np.median(distance):.3f} Å in the middle, least {distance.min():.3f} Å."
    return {"atoms": _hist(distance, edges)}, text


def pairs(atoms: Atoms) -> tuple[dict[str, Any], str]:
    """Pair distribution against distance in Å, and a line of text."""
    from splatom.evaluate import pair_distribution

    found = pair_distribution(atoms)
    r, g = 10 * found.radius, found.g
    seen = found.counts > 0
    start = int(np.argmax(seen))  # below it no two atoms are as near
    text = f"Highest at {float(r[int(np.argmax(g))]):.2f} Å; 1 is an even spread over the same body."
    return {"all pairs": (r[max(0, start - 3) :], g[max(0, start - 3) :])}, text


def amplitudes(atoms: Atoms) -> tuple[dict[str, Any], str]:
    """Histograms of the amplitude by species, and a line of text."""
    values = quantity(atoms, "amplitude")
    if values is None:
        raise ValueError("the amplitudes of these atoms are not known")
    low, high = np.percentile(values, (0.2, 99.8))
    pad = 0.05 * max(high - low, 1e-12)
    edges = np.linspace(low - pad, high + pad, 60)
    names, counts = np.unique(atoms.species, return_counts=True)
    found = {str(n): _hist(values[atoms.species == n], edges) for n in names}
    means = [f"{c} {n}: {values[atoms.species == n].mean():.4g}" for n, c in zip(names, counts, strict=True)]
    return found, "Mean amplitude (intensity · nm²): " + "; ".join(means) + "."


_MAKERS = (neighbours, pairs, amplitudes)
_AXES = (
    ("distance to the nearest neighbour (Å)", "atoms"), ("distance r (Å)", "g(r)"),
    ("amplitude (intensity · nm²)", "atoms"),
)  # fmt: skip


class Lines(Plot):
    """Named curves in colours of one's own, with a legend."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.curves: dict[str, tuple[Any, Any]] = {}
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.layout().insertWidget(0, self.legend)

    def show_curves(self, curves: dict[str, Any], axes: tuple[str, str], colours: dict[str, str]) -> None:
        """Draw curves, and name both axes."""
        pg = pyqtgraph()
        self.curves = curves
        self.plot.clear()
        self.plot.setLabel("bottom", axes[0])
        self.plot.setLabel("left", axes[1])
        words = []
        for name, (x, y) in curves.items():
            colour = colours.get(name, CYCLE[0])
            self.plot.plot(np.asarray(x), np.asarray(y), pen=pg.mkPen(colour, width=2))
            words.append(f"<span style='color:{colour}'>&#9632;</span> {name}")
        self.legend.setText(" &nbsp; ".join(words) if len(words) > 1 else "")
        self.plot.autoRange()


class PlotsPanel(QWidget):
    """One plot at a time of the atoms in hand.

    Parameters
    ----------
    hand : AtomsHand
    """

    def __init__(self, hand: AtomsHand, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hand = hand
        self._later = Later(self)
        self._later.done.connect(self._draw)
        self._later.failed.connect(self._failed)
        self.kind, self.only, self.lines, self.note = QComboBox(), QCheckBox("atoms shown only"), Lines(), QLabel()
        for k, (name, tip) in enumerate(zip(_KINDS, _TIPS, strict=True)):
            self.kind.addItem(name)
            self.kind.setItemData(k, tip, Qt.ItemDataRole.ToolTipRole)
        self.only.setChecked(True)
        self.only.setToolTip("Leave out what the filter hides")
        self.note.setWordWrap(True)
        self.lines.setMinimumHeight(260)
        rows, column = QFormLayout(), QVBoxLayout(self)
        rows.addRow("Plot", self.kind)
        column.addLayout(rows)
        column.addWidget(self.only)
        column.addWidget(self.lines, 1)
        column.addWidget(self.note)
        self.kind.currentIndexChanged.connect(self.refresh)
        self.only.toggled.connect(self.refresh)
        hand.changed.connect(self.refresh)
        self.refresh()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Draw again, where it is seen."""
        value = self._hand.value
        if value is None:
            self._failed("No atoms yet: run a method in the tab Find, or open a file.")
            return
        if not self.isVisible():
            return
        kept = self._hand.shown if self.only.isChecked() else np.ones(len(value), bool)
        places = value.positions_zyx if isinstance(value, Atoms) else value.centres_zyx
        species = None if value.species is None else value.species[kept]
        mass = quantity(value, "amplitude")
        atoms = Atoms(places[kept], species, amplitude=None if mass is None else mass[kept])
        if len(atoms) < _FEWEST:
            self._failed(f"{len(atoms)} atoms are too few for a plot.")
            return
        self.note.setText("…")
        self._asked = self.kind.currentIndex()
        self._later.ask(_MAKERS[self._asked], atoms)

    def _draw(self, found: tuple[dict[str, Any], str]) -> None:
        curves, text = found
        colours = {"atoms": CYCLE[0], "all pairs": CYCLE[0]}
        if self._asked == len(_KINDS) - 1:
            colours = species_colour(list(curves))
        self.lines.show_curves(curves, _AXES[self._asked], colours)
        self.note.setText(text)

    def _failed(self, why: str) -> None:
        self.lines.show_curves({}, _AXES[self.kind.currentIndex()], {})
        self.note.setText(why)
