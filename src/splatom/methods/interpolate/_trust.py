"""How far a prediction is to be trusted against the linear one: the series itself tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.methods.interpolate._neighbours import Pair, neighbours, with_total
from splatom.methods.interpolate._plan import Place, plan, sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries
    from splatom.jobs import Job

__all__ = ["Make", "blended", "found_share"]

_ROWS = 32
_DOUBT = 0.05

Predicted = Callable[[int, Place], "NDArray[np.float32]"]  # number of a place, and the place, to its image
Make = Callable[["TiltSeries", "NDArray[np.int64]", tuple[Place, ...]], Predicted]  # series, tilts to learn from


def found_share(series: TiltSeries, make: Make, job: Job[Any]) -> float:
    """Return the share of a prediction in the result, 0 to 1, the rest being linear, and write it down.

    Every second angle is predicted from the others both ways, on the rows with the most contrast; the share that fits
    these best (least squares) is the answer, 1 where fewer than five angles cannot tell. It is measured at twice the
    gap, which favours whatever knows the geometry, but little: on a real needle and on simulated particles its result
    came within 0.05 dB of the best share's.

    Parameters
    ----------
    series : TiltSeries
    make : callable
        Prepares the prediction of some places.
    job : Job
    """
    share = _best(series, make)
    if share is None:
        return 1.0
    job.note(share=round(share, 3))
    if share < _DOUBT:
        job.note(doubt="held-out tilts are predicted no better than by linear: check the tilt axis and the alignment")
    return share


def blended(predicted: Predicted, share: float, number: int, place: Place, pair: Pair) -> NDArray[np.float32]:
    """Return the linear tilt moved towards the prediction by a share, with the total of the linear one."""
    plain = pair.blend(place.t)
    new = with_total(predicted(number, place), plain)
    # Outside the measured range linear has nothing to say.
    return plain + np.float32(share if 0 < place.t < 1 else 1.0) * (new - plain)


def _best(series: TiltSeries, make: Make) -> float | None:
    part = _busiest(series[sources(series)])
    groups = part.groups()
    if groups.max() < 4:
        return None
    wanted = (groups % 2 == 1) & (groups < groups.max())
    sparse = part[~wanted]
    places = plan(sparse, angles=part.angles[wanted].tolist()).places
    predicted = make(sparse, np.arange(len(sparse)), places)
    cross = power = 0.0
    for k, place in enumerate(places):
        plain = neighbours(sparse, place).blend(place.t)
        change = with_total(predicted(k, place), plain) - plain
        for i in np.flatnonzero(wanted & (np.abs(part.angles - place.angle) < 1e-2)):
            off = change * (part.projections[i] - plain)
            seen = 1.0 if part.mask is None else part.mask[i]
            cross += float((off * seen).sum(dtype=np.float64))
            power += float((change * change * seen).sum(dtype=np.float64))
    return float(np.clip(cross / power, 0.0, 1.0)) if power > 0 else None


def _busiest(series: TiltSeries) -> TiltSeries:
    """Cut out the rows with the most contrast where rows do not mix."""
    g = series.geometry
    if not g.is_single_axis or (g.shifts[:, 1] != 0).any() or series.shape[1] <= _ROWS:
        return series
    contrast = series.projections.std(axis=2).mean(axis=0)
    first = int(np.convolve(contrast, np.ones(_ROWS), mode="valid").argmax())
    rows = slice(first, first + _ROWS)
    mask = None if series.mask is None else series.mask[:, rows]
    return series.with_(projections=series.projections[:, rows], mask=mask)
