"""What the dock Interpolate works on: a tilt series in the viewer."""

from __future__ import annotations

from typing import Any

from splatom.data import TiltSeries
from splatom.methods import find
from splatom.plugin.choices import LayerChoice
from splatom.plugin.denoise_input import series_of
from splatom.plugin.layers import info

__all__ = ["SeriesChoice", "is_series", "usable"]


def is_series(layer: Any) -> bool:
    """Whether a layer is a tilt series."""
    return info(layer).get("kind") == "series" and not info(layer).get("live")


def usable(method: str) -> bool:
    """Whether an interpolation can be proposed: a network only if its weights are in the package."""
    from splatom.weights import shipped

    fields = find()["interpolate", method].params.model_fields
    return "variant" not in fields or bool(shipped(method))


class SeriesChoice(LayerChoice):
    """The series whose gaps are to be filled.

    Parameters
    ----------
    viewer : napari viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, is_series)
        self.setPlaceholderText("none yet")

    def series(self) -> TiltSeries:
        """Return the series of the chosen layer.

        Raises
        ------
        ValueError
            If there is none; the line says what to do.
        """
        if self.layer is None:
            raise ValueError("open a tilt series, or File > Open Sample > Splatom")
        return series_of(self.layer)

    @property
    def value(self) -> TiltSeries | None:
        """The series; None where there is none."""
        try:
            return self.series()
        except ValueError:
            return None
