"""Before, after, and what was removed: three linked pictures, and what to think of the third."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from splatom.plugin.plots import ImagePane, PaneRow

if TYPE_CHECKING:
    from splatom.plugin.denoise_part import Preview

__all__ = ["Triptych", "verdict"]

_CLEAN, _BAD = 0.02, 0.10  # shares of the removed part that is foreseen
_GOOD_INK, _DOUBT_INK, _BAD_INK = "#5fa55f", "#d09a2c", "#d9604c"

# What methods decide that is worth a word: its words, and its unit.
_TOLD = {
    "sigma_px": ("width", " px"), "size_px": ("size", " px"), "noise": ("noise SD", ""), "network": ("network", ""),
    "mode": ("mode", ""), "spikes": ("", ""), "saturated": ("", ""),
}  # fmt: skip

STRUCTURE_TIP = (
    "<p><b>Structure in the removed part is the sign of a bad choice.</b> Noise cannot be foreseen from the pixels "
    "around it, structure can. This is the share of the removed part's variance that the image 3 to 9 pixels around "
    "each pixel foretells, fitted on one half of the picture and scored on the other. The pixel's own row and column "
    "are left out, so that line noise does not count; what is smooth over 12 pixels does not count either.</p>"
    "<p>Pure noise gives 0 %, unless it is correlated over many pixels. It is a lower bound: the loss of a lone "
    "feature, an edge say, shows little here. "
    "Look at the picture, too: outlines and columns must not be seen in it.</p>"
)


def verdict(structure: float | None, grain: float | None) -> tuple[str, str]:
    """Return what the structure in the removed part says, and a colour."""
    if structure is None:
        return "too small a region to judge the removed part", _DOUBT_INK
    if structure < _CLEAN:
        return f"{structure:.1%} of the removed part is structure: it looks like noise", _GOOD_INK
    if grain is not None and grain > _CLEAN and structure < 3 * grain:
        both = f"{structure:.0%} of the removed part can be foreseen, but {grain:.0%} of the finest grain, too"
        return f"{both}: the noise is correlated (an interpolated image, or hum). Judge by eye", _DOUBT_INK
    if structure < _BAD:
        return f"{structure:.1%} of the removed part is structure: a little is lost, look at it", _DOUBT_INK
    return f"{structure:.0%} of the removed part is structure: too strong a choice", _BAD_INK


class _Row(PaneRow):
    """Three panes, and words where there is room for them: in the fourth place of a square, else below."""

    def __init__(self, panes: tuple[ImagePane, ...], words: QWidget) -> None:
        self._words = words
        super().__init__(panes)

    def _arrange(self, columns: int) -> None:
        super()._arrange(columns)
        if columns == 2:
            self._grid.addWidget(self._words, 1, 1)
        else:
            below = -(-len(self.panes) // columns)
            self._grid.addWidget(self._words, below, 0, 1, columns)
            self._grid.setRowStretch(below, 0)


class Triptych(QWidget):
    """Three pictures with one zoom: before and after in one contrast, what was removed about zero."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after, self.removed = ImagePane("Before"), ImagePane("After"), ImagePane("Removed")
        self.judgement, self.figures = QLabel(), QLabel()
        self.judgement.setToolTip(STRUCTURE_TIP)
        self.judgement.setTextFormat(Qt.TextFormat.RichText)
        self.figures.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words = QWidget()
        lines, column = QVBoxLayout(words), QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for label in (self.judgement, self.figures):
            label.setWordWrap(True)
            lines.addWidget(label)
        lines.addStretch(1)
        self.panes = _Row((self.before, self.after, self.removed), words)
        column.addWidget(self.panes, 1)
        self.shown: Preview | None = None

    def clear(self, why: str = "") -> None:
        """Empty the pictures and say why."""
        self.shown = None
        for pane in (self.before, self.after, self.removed):
            pane.set_image(None)
        self.judgement.setText("")
        self.figures.setText(why)

    def set_preview(self, preview: Preview, limits: tuple[float, float], what: str = "") -> None:
        """Show a region before and after.

        Parameters
        ----------
        preview : Preview
        limits : tuple
            Contrast of before and after.
        what : str
            What the figures begin with, such as the tilt.
        """
        self.shown = preview
        row, column, rows, columns = preview.window
        extent = (column - 0.5, row - 0.5, columns, rows)
        removed = preview.removed
        self.before.set_image(preview.before, limits, extent)
        self.panes.setToolTip("The wheel zooms all three, the left button moves them")
        if preview.is_map:
            self.after.title.setText("Columns")
            self.after.set_image(preview.after, (0.0, 1.0), extent)
            self.removed.title.setText("")
            self.removed.set_image(None)
            self.judgement.setText("")
            self.figures.setText(f"{what}dots of height 1 where atom columns are. The tab Columns finds their places.")
            return
        self.after.title.setText("After")
        self.after.set_image(preview.after, limits, extent)
        spread = float(removed.std())
        reach = 3 * spread if spread > 0 else 1.0
        self.removed.title.setText("Removed")
        self.removed.set_image(removed, (-reach, reach), extent)
        text, ink = verdict(preview.structure, preview.grain)
        self.judgement.setText(f"<span style='color:{ink}'>&#9679;</span> {text}")
        share = spread / max(float(preview.before.std()), 1e-30)
        decided = "".join(f"; {text} {_short(preview.notes[k])}{unit}" for k, (text, unit) in _TOLD.items()
                          if k in preview.notes)  # fmt: skip
        self.figures.setText(f"{what}removed SD {spread:.4g}, {share:.0%} of the region's{decided}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)
