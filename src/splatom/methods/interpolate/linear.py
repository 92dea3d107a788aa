"""Linear interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from splatom.data import TiltSeries
from splatom.methods.interpolate._fill import FillParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from splatom.jobs import Job
    from splatom.methods.interpolate._neighbours import Pair
    from splatom.methods.interpolate._plan import Place

__all__ = ["LinearParams", "run"]


class LinearParams(FillParams):
    """Linear: the mean of both neighbours, each by its nearness. The yardstick, and hard to be far off with.

    What moves between the neighbours is shown twice, at half its strength: fine detail is lost as soon as it moves by
    more than its own size. Intensities and their total lie between the neighbours'. Outside the measured range the
    last tilt is repeated.
    """

    method: Literal["linear"] = "linear"


def run(series: TiltSeries, job: Job[LinearParams]) -> TiltSeries:
    """Return the series with its gaps filled."""
    from splatom.methods.interpolate._fill import filled, planned

    def predict(place: Place, pair: Pair) -> NDArray[np.float32]:
        return pair.blend(place.t)

    return filled(series, job, planned(series, job), predict)
