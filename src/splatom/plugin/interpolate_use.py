"""What synthetic tilts are good for, and the tick of the dock Reconstruct that leaves them out where they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QCheckBox

if TYPE_CHECKING:
    from splatom.data import TiltSeries

__all__ = ["ADVICE", "WHY", "SyntheticTick", "helps"]

# Those that draw a gap as streaks; the others fill it by what they assume of the specimen.
_HELPED = ("wbp", "sirt", "cgls")

ADVICE = "Can help WBP, SIRT and CGLS; TV and DenZa need it less."
WHY = (
    "Synthetic tilts were interpolated, not measured, and weigh less. They can help methods that smear along gaps "
    "(WBP, SIRT, CGLS). TV and DenZa fill gaps by what they assume of the specimen: for them, the dock Reconstruct "
    "leaves synthetic tilts out unless you tick them."
)


def helps(method: str) -> bool:
    """Whether synthetic tilts are offered to a reconstruction by default."""
    return method in _HELPED


class SyntheticTick(QCheckBox):
    """Whether a reconstruction uses the synthetic tilts of the series in hand; hidden where there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(f"<p>{WHY}</p>")
        self.hide()

    def offer(self, series: TiltSeries | None, method: str) -> None:
        """Take another series or method, and its default."""
        count = int(series.synthetic.sum()) if series is not None else 0
        self.setVisible(count > 0)
        less = "" if helps(method) else f" ({method} needs them less)"
        self.setText(f"Use the {count} synthetic tilts{less}")
        self.setChecked(helps(method))

    def taken(self, series: Any) -> Any:
        """Return the series as the tick has it; leaving tilts out is a step of its record.

        Raises
        ------
        ValueError
            If no measured tilt is left.
        """
        if series is None or self.isChecked() or not series.synthetic.any():
            return series
        from splatom.plugin.dock_prepare import by_hand

        return by_hand(series, "exclude", {"tilts": tuple(int(i) for i in np.flatnonzero(series.synthetic))})
