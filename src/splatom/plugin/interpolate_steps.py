"""Before and after a run that changes which tilts there are: switch, undo, and stay at the same angle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from splatom.plugin.layers import info

if TYPE_CHECKING:
    from splatom.plugin.session import Session

__all__ = ["Steps", "go_to_angle", "index_in_view", "seen_layer", "tilt_in_view"]


def tilt_in_view(viewer: Any, layer: Any) -> int:
    """Return the index of a series' tilt in view."""
    dims = viewer.dims
    if layer is None or layer.ndim != 4 or dims.ndim < 4:
        return 0
    return int(np.clip(round(dims.point[-4]), 0, layer.data.shape[0] - 1))


def seen_layer(session: Session, layer: Any) -> Any:
    """Return the series that the viewer shows: the one in hand, or if that is hidden another."""
    inhand = session.series_layer
    return inhand if inhand is not None and (inhand.visible or layer is None) else layer


def index_in_view(session: Session, layer: Any) -> int:
    """Return the index of a series' tilt that is nearest to the angle in view, be it that of another series."""
    seen = seen_layer(session, layer)
    index = tilt_in_view(session.viewer, seen)
    mine, theirs = (info(x).get("angles") for x in (layer, seen))
    if not mine or not theirs or len(mine) == len(theirs):
        return index
    return int(np.abs(np.asarray(mine) - theirs[index]).argmin())


def go_to_angle(viewer: Any, layer: Any, angle: float) -> None:
    """Bring the tilt of a series that is nearest to an angle in degrees into view."""
    angles = info(layer).get("angles")
    if angles and viewer.dims.ndim >= 4:
        index = int(np.abs(np.asarray(angles) - angle).argmin())
        viewer.dims.set_point(viewer.dims.ndim - 4, index)


class Steps(QWidget):
    """Buttons 'Show before' and 'Undo' for runs of one group.

    Parameters
    ----------
    session : Session
    group : str

    Signals
    -------
    undone(object)
        The layer that was gone back to.
    """

    undone = Signal(object)

    def __init__(self, session: Session, group: str) -> None:
        super().__init__()
        self._session, self._group = session, group
        self.compare, self.undo = QPushButton("Show before"), QPushButton("Undo")
        self.compare.setCheckable(True)
        self.compare.setToolTip("Switch the view between the new series and the one it was made from")
        self.undo.setToolTip("Go back to the series before the last run; nothing is deleted")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.compare)
        row.addWidget(self.undo)
        self.compare.toggled.connect(self._show_before)
        self.undo.clicked.connect(self._go_back)
        session.attach(self, (session.active_series_changed, self.refresh), (session.run_ended, self.refresh))
        self.refresh()

    def last(self) -> tuple[Any, Any]:
        """Return the layer in hand that such a run made, and that of its input; None for what is not there."""
        after = self._session.series_layer
        run = self._session.run_of(after) if after is not None else None
        if run is None or run.group != self._group:
            return None, None
        same = (x for x in self._session.series_layers() if info(x).get("value") is run.data)
        return after, next(same, None)

    def refresh(self, *_: Any) -> None:
        """Look again whether there is something to go back to."""
        possible = all(x is not None for x in self.last())
        for button in (self.compare, self.undo):
            button.setEnabled(possible)
        if not possible:
            self.compare.setChecked(False)

    def _show_before(self, on: bool) -> None:
        after, before = self.last()
        if after is not None and before is not None:
            self._swap(before, after) if on else self._swap(after, before)
        self.compare.setText("Show after" if on else "Show before")

    def _swap(self, shown: Any, hidden: Any) -> None:
        viewer = self._session.viewer
        angle = info(hidden)["angles"][tilt_in_view(viewer, hidden)]
        shown.visible, hidden.visible = True, False
        go_to_angle(viewer, shown, angle)

    def _go_back(self) -> None:
        after, before = self.last()
        if after is None or before is None:
            return
        self.compare.setChecked(False)
        self._swap(before, after)
        self._session.set_series(before)
        self.undone.emit(before)
