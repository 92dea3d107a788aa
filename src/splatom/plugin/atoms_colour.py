"""A row that chooses what points are coloured by, and says what the colours mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from splatom.data import TiltSeries
from splatom.plugin.atoms_pictures import residual_at
from splatom.plugin.later import Later
from splatom.plugin.layers import info
from splatom.plugin.points import COLOUR_BY, chosen, colouring, ids_of
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from splatom.data import Atoms, GaussianCloud
    from splatom.plugin.session import Run

__all__ = ["ColourRow"]

_AGAIN = 3000  # ms between two residuals of points that stream


class ColourRow(QWidget):
    """Colours a layer of points: that of a run on its way, or that of a result."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._run: Run | None = None
        self._layer: Any = None
        self._value: GaussianCloud | Atoms | None = None
        self._series: TiltSeries | None = None
        self._asked: Any = None  # ids of the points whose residual is on its way
        self.combo, self.legend = QComboBox(), QLabel()
        for name, (unit, what) in COLOUR_BY.items():
            self.combo.addItem(name, name)
            self.combo.setItemData(self.combo.count() - 1, f"{what}{f' ({unit})' if unit else ''}", Qt.ToolTipRole)
        self.combo.setToolTip("What the colour of the points shows")
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setWordWrap(True)
        row, column = QHBoxLayout(), QVBoxLayout(self)
        row.addWidget(QLabel("Colour by"))
        row.addWidget(self.combo, 1)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.legend)
        self._later = Later(self)
        self._later.done.connect(self._take_residual)
        self._later.failed.connect(self.legend.setText)
        self._again = QTimer(self)
        self._again.setInterval(_AGAIN)
        self._again.timeout.connect(self._ask_residual)
        self.combo.currentIndexChanged.connect(self._chosen)

    # ---------------------------------------------------------------- what is coloured
    def set_run(self, run: Run | None) -> None:
        """Follow the points of a run on its way; hidden without one."""
        self.setVisible(run is not None)
        if run is self._run:
            if run is not None and self.combo.currentData() != "residual":
                self._explain()
            return
        self._run = run
        data = None if run is None else run.data
        self._show(None if run is None else run.live.points, None, data if isinstance(data, TiltSeries) else None)

    def set_layer(self, layer: Any, value: GaussianCloud | Atoms | None, series: TiltSeries | None) -> None:
        """Colour the layer of a result.

        Parameters
        ----------
        layer : napari.layers.Points or None
        value : GaussianCloud or Atoms, optional
        series : TiltSeries, optional
            What the residual is taken from.
        """
        self._run = None
        self._show(layer, value, series)

    def _show(self, layer: Any, value: Any, series: TiltSeries | None) -> None:
        self._layer, self._value, self._series = layer, value, series
        self._later.forget()
        self._again.stop()
        self.combo.setEnabled(layer is not None)
        if layer is None:
            self.legend.setText("")
            return
        by = info(layer).get("colour_by") or colouring(self._points()).by
        self.combo.blockSignals(True)
        self.combo.setCurrentIndex(self.combo.findData(by))
        self.combo.blockSignals(False)
        self._explain()
        if by == "residual":
            self._ask_residual()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        if self._layer is not None and self.combo.currentData() == "residual":
            self._ask_residual()

    def _points(self) -> Any:
        return self._value if self._run is None else self._run.live.cloud

    # ---------------------------------------------------------------- colours
    def _chosen(self, *_: Any) -> None:
        by = self.combo.currentData()
        if self._layer is None:
            return
        self._layer.metadata["splatom"]["colour_by"] = by
        self._again.stop()
        if by != "residual":
            self._recolour()
        elif self._series is None:
            self.legend.setText("The residual needs the tilt series that the points were fitted to.")
        else:
            self._ask_residual()
            if self._run is not None:
                self._again.start()

    def _recolour(self, residual: Any = None) -> None:
        value = self._points()
        if self._run is not None:
            self._run.live.recolour()
        elif value is not None:
            pick = chosen(value, preferences().max_points)
            colours = colouring(value, self.combo.currentData(), residual)
            if len(self._layer.data) == len(colours.rgba[pick]):
                self._layer.face_color = colours.rgba[pick]
            self.legend.setText(colours.legend)
            return
        self._explain()

    def _explain(self) -> None:
        if self._run is not None:
            self.legend.setText(self._run.live.legend)
        elif self._value is not None:
            self.legend.setText(colouring(self._value, self.combo.currentData()).legend)

    def _ask_residual(self) -> None:
        value = self._points()
        if value is None or self._series is None or self._later.busy or not self.isVisible():
            return
        if self._run is not None and not self._run.active:
            self._again.stop()
            return
        self._asked = ids_of(value)
        if self._run is None:
            self.legend.setText("Taking the residual…")
        self._later.ask(residual_at, value, self._series)

    def _take_residual(self, values: Any) -> None:
        if self._run is not None:
            self._run.live.set_residual(self._asked, values)
            self._recolour()
        elif self._layer is not None and self.combo.currentData() == "residual":
            self._recolour(values)
