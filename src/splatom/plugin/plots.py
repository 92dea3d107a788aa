"""Small plots of the docks: curves, a bar per tilt, images. pyqtgraph is loaded with the first of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy import API_NAME
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from splatom.plugin.polar import COLOURS, PolarPlot, missing_wedge

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "COLOURS", "CYCLE", "Bars", "Curves", "ImagePane", "PaneRow", "Plot", "PolarPlot", "missing_wedge", "pyqtgraph",
]  # fmt: skip

CYCLE = tuple(COLOURS[k] for k in ("measured", "synthetic", "good", "held_out", "current"))


def pyqtgraph() -> Any:
    """Import pyqtgraph on the Qt binding that napari uses."""
    os.environ.setdefault("PYQTGRAPH_QT_LIB", API_NAME)
    import pyqtgraph as pg

    return pg


class Plot(QWidget):
    """A pyqtgraph plot whose lines and letters take the colour of the text around it."""

    def __init__(self, x: str = "", y: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        pg = pyqtgraph()
        self.plot = pg.PlotWidget(background=None)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.getPlotItem().layout.setContentsMargins(0, 8, 8, 6)  # room for the outermost labels
        self.plot.setLabel("bottom", x)
        self.plot.setLabel("left", y)
        for side in ("bottom", "left"):
            self.plot.getAxis(side).enableAutoSIPrefix(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot, 1)
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.setMinimumSize(200, 150)
        self._ink()

    def changeEvent(self, event: QEvent) -> None:  # noqa: D102 - Qt's name
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._ink()

    def showEvent(self, event: QEvent) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self._ink()

    def _ink(self) -> None:
        if not hasattr(self, "plot"):
            return
        ink = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        for side in ("bottom", "left"):
            axis = self.plot.getAxis(side)
            axis.setPen(ink)
            axis.setTextPen(ink)


class Curves(Plot):
    """Curves by name, with a legend of the last values.

    Parameters
    ----------
    x, y : str
        Labels of the axes.
    log : bool
        Whether the vertical axis counts decades.
    """

    def __init__(self, x: str = "step", y: str = "", log: bool = False, parent: QWidget | None = None) -> None:
        self._lines: dict[str, Any] = {}
        super().__init__(x, y, parent)
        self.plot.setLogMode(y=log)
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.legend.setWordWrap(True)
        self.layout().insertWidget(0, self.legend)

    def set_curves(self, curves: Mapping[str, tuple[ArrayLike, ArrayLike]], markers: bool = False) -> None:
        """Show curves.

        Parameters
        ----------
        curves : dict of (x, y)
            By name; curves shown before and not named now go away.
        markers : bool
            Whether to mark each point.
        """
        pg = pyqtgraph()
        for name in set(self._lines) - set(curves):
            self.plot.removeItem(self._lines.pop(name))
        words = []
        for i, (name, (x, y)) in enumerate(curves.items()):
            colour = CYCLE[i % len(CYCLE)]
            x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
            if name not in self._lines:
                self._lines[name] = self.plot.plot()
            symbol = {"symbol": "o", "symbolSize": 5, "symbolPen": None, "symbolBrush": colour} if markers else {}
            if len(x) == 1 and not markers:  # one point is no line
                symbol = {"symbol": "o", "symbolSize": 6, "symbolPen": None, "symbolBrush": colour}
            self._lines[name].setData(
                x, y, pen=pg.mkPen(colour, width=2), **(symbol or {"symbol": None})
            )
            last = f" {y[-1]:.4g}" if len(y) and not markers else ""
            words.append(f"<span style='color:{colour}'>&#9632;</span> {name}{last}")
        self.legend.setText(" &nbsp; ".join(words))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the curves on show."""
        return tuple(self._lines)


class Bars(Plot):
    """A bar per tilt at its angle; a click picks one.

    Signals
    -------
    picked(int)
        Index of the tilt whose bar was clicked.
    """

    picked = Signal(int)

    def __init__(self, y: str = "R", x: str = "tilt (°)", parent: QWidget | None = None) -> None:
        super().__init__(x, y, parent)
        self._bars = pyqtgraph().BarGraphItem(x=[], height=[], width=1)
        self._at = np.zeros(0)
        self.values = np.zeros(0)
        self.plot.addItem(self._bars)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.scene().sigMouseClicked.connect(self._clicked)

    def set_values(
        self,
        at: ArrayLike,
        values: ArrayLike,
        highlight: ArrayLike | None = None,
        current: int | None = None,
    ) -> None:
        """Show one value per tilt.

        Parameters
        ----------
        at, values : array (n,)
            Tilt angle in degrees, and the value.
        highlight : array (n,) of bool, optional
            Bars in the colour of held-out tilts.
        current : int, optional
            The bar of the tilt on show.
        """
        self._at, self.values = np.asarray(at, dtype=np.float64), np.asarray(values, dtype=np.float64)
        brushes = [COLOURS["measured"]] * len(self._at)
        for i in np.flatnonzero(np.asarray(highlight)) if highlight is not None else ():
            brushes[i] = COLOURS["held_out"]
        if current is not None and 0 <= current < len(brushes):
            brushes[current] = COLOURS["current"]
        steps = np.diff(np.unique(self._at))
        width = 0.8 * float(np.median(steps)) if len(steps) else 1.0
        self._bars.setOpts(x=self._at, height=self.values, width=width, brushes=brushes, pen=None)
        if len(self._at):
            self.plot.setXRange(self._at.min() - width, self._at.max() + width, padding=0.01)
            lowest, highest = min(0.0, float(self.values.min())), max(0.0, float(self.values.max()))
            self.plot.setYRange(lowest, highest or 1.0, padding=0.05)

    def _clicked(self, event: Any) -> None:
        if len(self._at):
            x = self.plot.plotItem.vb.mapSceneToView(event.scenePos()).x()
            self.picked.emit(int(np.abs(self._at - x).argmin()))


class ImagePane(QWidget):
    """One image with a title: rows downwards, square pixels, grey or diverging about zero.

    Parameters
    ----------
    title : str
    diverging : bool
        For differences: blue below zero, red above, the neutral tone at zero.
    square : bool
        Whether pixels are as wide as high (not for a sinogram).
    """

    clicked = Signal(float, float)

    def __init__(
        self, title: str = "", diverging: bool = False, square: bool = True, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        pg = pyqtgraph()
        self._diverging = diverging
        self._place: Any = None  # shape and extent of the image on show
        self.title = QLabel(title)
        self.title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.view = pg.GraphicsLayoutWidget()
        self.view.setBackground(None)
        self.view.ci.layout.setContentsMargins(0, 0, 0, 0)
        self.box = self.view.addViewBox(lockAspect=square, invertY=True, enableMenu=False)
        self.image = pg.ImageItem(axisOrder="row-major")
        if diverging:
            stops = ((33, 102, 172), (247, 247, 247), (178, 24, 43))
            self.image.setColorMap(pg.ColorMap([0.0, 0.5, 1.0], stops))
        self.image.setBorder(pg.mkPen(COLOURS["excluded"]))
        self.box.addItem(self.image)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addWidget(self.view, 1)
        self.view.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.setMinimumSize(80, 80)
        self.view.scene().sigMouseClicked.connect(self._pressed)

    def set_image(
        self,
        image: NDArray[Any] | None,
        limits: tuple[float, float] | None = None,
        extent: Sequence[float] | None = None,
    ) -> None:
        """Show an image.

        Parameters
        ----------
        image : array (rows, columns), optional
            None empties the pane.
        limits : tuple, optional
            Values at both ends of the colours; by default the 0.5th and 99.5th percentile, or ± the largest for
            a difference.
        extent : (x, y, width, height), optional
            Where the image lies in the pane's coordinates; pixels by default.
        """
        if image is None:
            self.image.clear()
            self._place = None
            return
        if limits is None:
            thin = np.asarray(image)[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
            low, high = (float(v) for v in np.percentile(thin, (0.5, 99.5)))
            limits = (-max(abs(low), abs(high)), max(abs(low), abs(high))) if self._diverging else (low, high)
        if not limits[1] > limits[0]:
            limits = (limits[0] - 0.5, limits[0] + 0.5)
        self.image.setImage(np.ascontiguousarray(image), levels=limits, autoLevels=False)
        if extent is not None:
            self.image.setRect(*extent)
        place = (image.shape, None if extent is None else tuple(np.round(extent, 9)))
        if place != self._place:  # else the zoom is the user's
            self._place = place
            self.box.autoRange(padding=0.03)

    def _pressed(self, event: Any) -> None:
        at = self.box.mapSceneToView(event.scenePos())
        self.clicked.emit(float(at.x()), float(at.y()))


class PaneRow(QWidget):
    """Panes that share their zoom, in as many columns as show them largest."""

    def __init__(self, panes: Sequence[ImagePane], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.panes = tuple(panes)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._columns = 0
        self._arrange(len(self.panes))
        for pane in self.panes[1:]:
            pane.box.setXLink(self.panes[0].box)
            pane.box.setYLink(self.panes[0].box)

    def resizeEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().resizeEvent(event)
        n, wide, high = len(self.panes), self.width(), self.height()
        self._arrange(max(range(n, 0, -1), key=lambda c: min(wide / c, high / -(-n // c) - 25)))

    def _arrange(self, columns: int) -> None:
        if columns != self._columns:
            self._columns = columns
            for i, pane in enumerate(self.panes):
                self._grid.addWidget(pane, i // columns, i % columns)
                self._grid.setRowStretch(i, int(i * columns < len(self.panes)))
                self._grid.setColumnStretch(i, int(i < columns))
