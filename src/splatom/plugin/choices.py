"""A choice among the viewer's layers of some kind."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from splatom.plugin.layers import info

__all__ = ["LayerChoice", "follow", "is_volume"]


def follow(emitter: Any, slot: Callable[[], None]) -> None:
    """Call a widget's method at every event, as long as the widget lives."""
    ref = weakref.WeakMethod(slot)

    def call(event: Any = None) -> None:
        method = ref()
        if method is not None and isalive(method.__self__):
            method()

    emitter.connect(call)


def is_volume(layer: Any) -> bool:
    """Whether a layer is an image of three dimensions."""
    data = getattr(layer, "data", None)
    return type(layer).__name__ == "Image" and getattr(data, "ndim", 0) == 3 and not getattr(layer, "rgb", False)


class LayerChoice(QComboBox):
    """Names of the viewer's layers that pass a test; follows what is added, removed and renamed.

    Parameters
    ----------
    viewer : napari viewer
    accepts : callable, optional
        ``accepts(layer)``; volumes by default.
    newest : bool
        Whether a layer added later is chosen by itself.

    Signals
    -------
    chosen()
        Another layer is chosen, or the chosen one has gone.
    """

    chosen = Signal()

    def __init__(
        self,
        viewer: Any,
        accepts: Callable[[Any], bool] = is_volume,
        newest: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._accepts = accepts
        self._newest = newest
        self._held: Any = None  # a weak reference to the chosen layer
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for name in ("inserted", "removed", "reordered"):
            follow(getattr(viewer.layers.events, name), self.refresh)
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self.currentIndexChanged.connect(self._changed)
        self.refresh()

    @property
    def layer(self) -> Any:
        """The chosen layer, None if there is none."""
        name = self.currentText()
        return self._viewer.layers[name] if name and name in self._viewer.layers else None

    def choose(self, layer: Any) -> None:
        """Choose a layer."""
        index = self.findText(layer.name)
        if index >= 0:
            self.setCurrentIndex(index)

    def refresh(self) -> None:
        """Read the viewer's layers again."""
        layers = [x for x in self._viewer.layers if self._accepts(x)]
        results = [x for x in layers if not info(x).get("overlay")]  # what lies over a result is chosen by hand only
        fresh = any(x not in self._known for x in results)
        for layer in layers:
            if layer not in self._known:
                self._known.add(layer)
                follow(layer.events.name, self.refresh)
        held = self._held() if self._held is not None else None
        chosen = next((x for x in layers if x is held), None)
        if chosen is None or (self._newest and fresh):
            chosen = next(iter((results or layers)[-1:]), None)
        names = [x.name for x in layers]
        self.blockSignals(True)
        self.clear()
        self.addItems(names)
        self.setCurrentIndex(names.index(chosen.name) if chosen is not None else -1)
        self.blockSignals(False)
        if chosen is not held:
            self._changed()

    def _changed(self) -> None:
        layer = self.layer
        self._held = weakref.ref(getattr(layer, "__wrapped__", layer)) if layer is not None else None
        self.setToolTip(_tip(layer))
        self.chosen.emit()


def _tip(layer: Any) -> str:
    known = info(layer)
    return " ".join(str(known[k]) for k in ("group", "method", "status") if known.get(k))
