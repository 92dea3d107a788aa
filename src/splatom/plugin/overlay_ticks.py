"""Ticks for what can be laid over the selected result."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from splatom.plugin.choices import follow
from splatom.plugin.layers import info

__all__ = ["OverlayTicks"]


class OverlayTicks(QWidget):
    """A tick for each overlay of a result, and while it is shown what it means; hidden where there is none.

    Parameters
    ----------
    viewer : napari viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._of = ""
        self._layers: list[Any] = []
        self._followed: weakref.WeakSet[Any] = weakref.WeakSet()
        self.ticks: dict[str, QCheckBox] = {}
        self.words: dict[str, QLabel] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        layers = viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.selection.events.active):
            follow(event, self.refresh)
        self.hide()

    def choose(self, layer: Any) -> None:
        """Show the ticks of the result that a layer belongs to; of one that is no result, those that are shown."""
        self._of = _owner(layer) or self._of
        layers = [x for x in self._viewer.layers if info(x).get("overlay") and _owner(x) == self._of]
        if layers != self._layers:
            self._layers = layers
            self._build()
        self.setVisible(bool(layers))
        self._sync()

    def refresh(self) -> None:
        """Look again which result is selected."""
        self.choose(self._viewer.layers.selection.active)

    def _build(self) -> None:
        while (item := self._column.takeAt(0)) is not None:
            item.widget().hide()
            item.widget().deleteLater()
        self.ticks, self.words = {}, {}
        for layer in self._layers:
            title, means = info(layer)["overlay"], info(layer)["means"]
            tick, words = self.ticks[title], self.words[title] = QCheckBox(f"Overlay: {title}"), QLabel(means)
            tick.setToolTip(f"<p>Lay '{layer.name}' over the volume. {means}</p>")
            tick.toggled.connect(lambda on, layer=layer: setattr(layer, "visible", on))
            words.setWordWrap(True)
            words.setIndent(22)
            self._column.addWidget(tick)
            self._column.addWidget(words)
            if layer not in self._followed:
                self._followed.add(layer)
                follow(layer.events.visible, self._sync)

    def _sync(self) -> None:
        """Follow the eyes in the layer list."""
        for layer in self._layers:
            title = info(layer)["overlay"]
            self.ticks[title].setChecked(layer.visible)
            self.words[title].setVisible(layer.visible)


def _owner(layer: Any) -> str:
    """Return the run, or else the file, that a volume's layer is of."""
    known = info(layer)
    return str(known.get("run_id") or known.get("path") or "") if known.get("kind") == "volume" else ""
