"""How far a prediction is to be trusted against the linear one: the series itself tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.methods.interpolate._neighbours import Pair, neighbours, with_total
from splatom.methods.interpolate._plan import Place, plan, sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries
    from splatom.jobs import Job

__all__ = ["SMOOTHINGS", "Make", "Trust", "blended", "default_passes", "found_trust"]

_ROWS = 32
_DOUBT = 0.05
# Where linear's error fell by 7.9 dB as gaps went from 2° to 1°, that of reprojections fell by 2.1.
_FALLS_LESS = 0.25
SMOOTHINGS = (1.5, 4.0, 10.0)  # weights of total variation to choose from; the middle one where nothing can tell
_WORK = 3e10  # voxels times tilts times passes
_PASSES = (30, 400)

Predicted = Callable[[int, Place], "NDArray[np.float32]"]  # number of a place, and the place, to its image
# Series, tilts to learn from, places, and the weight of total variation.
Make = Callable[["TiltSeries", "NDArray[np.int64]", tuple[Place, ...], float], Predicted]


def default_passes(shape: tuple[int, int, int]) -> int:
    """Return passes of total variation for a series (n, rows, columns): many where they cost little.

    Twelve sparse series of clusters were 0.8 dB better after 400 than after 150 passes. Rows do not count: a few of
    them are predicted as all are.
    """
    tilts, _, columns = shape
    low, high = _PASSES
    return int(min(max(_WORK / (tilts * columns**3), low), high))


@dataclass(frozen=True)
class Trust:
    """How a prediction is to be made and used.

    Parameters
    ----------
    smoothing : float
        Weight of the total variation.
    share : float
        Of the prediction in the result, 0 to 1, the rest being linear.
    """

    smoothing: float
    share: float


def found_trust(
    series: TiltSeries, make: Make, job: Job[Any], smoothing: float | None = None, share: float | None = None
) -> Trust:
    """Return what is given, and the rest as the series itself tells; and write it down.

    Every second angle is predicted from the others, on the rows with the most contrast: by each weight of the total
    variation, and of each with the share that fits the truth best (least squares). The weight whose blend comes nearest
    is the answer, the middle one and a share of 1 where fewer than five angles cannot tell. All this is seen at twice
    the gap, which favours whatever knows the geometry: linear's error is reckoned down to the gap itself.

    Parameters
    ----------
    series : TiltSeries
    make : callable
        Prepares the prediction of some places.
    job : Job
    smoothing, share : float, optional
        Where known.
    """
    usual = Trust(SMOOTHINGS[1] if smoothing is None else smoothing, 1.0 if share is None else share)
    if smoothing is not None and share is not None:
        return usual
    question = _Question.of(series)
    if question is None:
        return usual
    tried: dict[float, tuple[float, float]] = {}  # smoothing: what it gains on linear, and its share

    def gain(weight: float) -> float:
        if weight not in tried:
            known = np.arange(len(question.sparse))
            tried[weight] = question.answered(make(question.sparse, known, question.places, weight))
        return tried[weight][0]

    best = usual.smoothing
    if smoothing is None:
        low, middle, high = SMOOTHINGS
        # The error has one minimum: what is better on one side of the middle need not be sought on the other.
        best = max(middle, high, key=gain)
        if best == middle:
            best = max(middle, low, key=gain)
    gain(best)
    kept = tried[best][1] if share is None else share
    job.note(smoothing=best, share=round(kept, 3))
    if kept < _DOUBT:
        job.note(doubt="linear is as good here: the gaps are narrow, or the tilt axis or the alignment is off")
    return Trust(best, kept)


def blended(predicted: Predicted, share: float, number: int, place: Place, pair: Pair) -> NDArray[np.float32]:
    """Return the linear tilt moved towards the prediction by a share, with the total of the linear one."""
    plain = pair.blend(place.t)
    new = with_total(predicted(number, place), plain)
    # Outside the measured range linear has nothing to say.
    return plain + np.float32(share if 0 < place.t < 1 else 1.0) * (new - plain)


@dataclass(frozen=True)
class _Question:
    """Every second angle, asked for; the answer is compared with linear's at the gaps of the whole series.

    Parameters
    ----------
    sparse : TiltSeries
        What is known.
    places : tuple of Place
        What is asked for.
    truths : tuple
        For each place the indices of its tilts in ``part``.
    part : TiltSeries
    falls : float
        What is left of linear's error, in amplitude, where gaps are half as wide.
    """

    sparse: TiltSeries
    places: tuple[Place, ...]
    truths: tuple[NDArray[np.int64], ...]
    part: TiltSeries
    falls: float

    @classmethod
    def of(cls, series: TiltSeries) -> _Question | None:
        """Ask about the rows with the most contrast; None where the angles are too few."""
        part = _busiest(series[sources(series)])
        groups = part.groups()
        if groups.max() < 4:
            return None
        wanted = (groups % 2 == 1) & (groups < groups.max())
        sparse, places, truths = _asked(part, ~wanted, wanted)
        # The same tilts from neighbours at twice the gap and at four times the gap tell how linear's error grows.
        middle = (groups % 4 == 2) & (groups < groups.max() - 1)
        near = _linear_error(part, *_asked(part, groups % 2 == 1, middle))
        far = _linear_error(part, *_asked(part, groups % 4 == 0, middle))
        return cls(sparse, places, truths, part, min((near / far) ** 0.5, 1.0) if far > 0 else 1.0)

    def answered(self, predicted: Predicted) -> tuple[float, float]:
        """Return by how much a prediction lowers linear's squared error, and the share of it that does.

        A prediction that knows the geometry gains less from narrower gaps than linear does; see _FALLS_LESS.
        """
        linear = cross = own = 0.0  # of linear's error o and the prediction's e: o·o, o·e, e·e
        for k, place in enumerate(self.places):
            plain = neighbours(self.sparse, place).blend(place.t)
            found = with_total(predicted(k, place), plain)
            for i in self.truths[k]:
                seen = 1.0 if self.part.mask is None else self.part.mask[i]
                o = (self.part.projections[i] - plain) * np.float32(self.falls) * seen
                e = (self.part.projections[i] - found) * np.float32(self.falls**_FALLS_LESS) * seen
                linear += float((o * o).sum(dtype=np.float64))
                cross += float((o * e).sum(dtype=np.float64))
                own += float((e * e).sum(dtype=np.float64))
        power = linear - 2 * cross + own  # of o − e
        share = float(np.clip((linear - cross) / power, 0.0, 1.0)) if power > 0 else 1.0
        return 2 * share * (linear - cross) - share**2 * power, share


def _asked(
    part: TiltSeries, known: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> tuple[TiltSeries, tuple[Place, ...], tuple[NDArray[np.int64], ...]]:
    sparse = part[known]
    places = plan(sparse, angles=part.angles[wanted].tolist()).places
    return sparse, places, tuple(np.flatnonzero(wanted & (np.abs(part.angles - p.angle) < 1e-2)) for p in places)


def _linear_error(
    part: TiltSeries, sparse: TiltSeries, places: tuple[Place, ...], truths: tuple[NDArray[np.int64], ...]
) -> float:
    total = 0.0
    for place, tilts in zip(places, truths, strict=True):
        plain = neighbours(sparse, place).blend(place.t)
        for i in tilts:
            seen = 1.0 if part.mask is None else part.mask[i]
            total += float(np.square((part.projections[i] - plain) * seen).sum(dtype=np.float64))
    return total


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
