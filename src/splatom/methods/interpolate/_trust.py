"""How far a prediction is to be trusted against the linear one: the series itself tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.methods.interpolate._neighbours import Pair, neighbours, with_total
from splatom.methods.interpolate._plan import Place, plan, sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries
    from splatom.jobs import Job

__all__ = ["SMOOTHINGS", "Make", "Trust", "default_passes", "found_trust", "least_mix"]

_ROWS = 32
_DOUBT = 0.05
_TELL = 5  # angles to predict from; what fewer say counts half
# From twice the gap to the gap errors fall by less than from four times to twice: of linear by this power of that
# ratio, of reprojections, which know the geometry, by the other. Where linear's fell by 7.9 dB, theirs fell by 2.1.
_FALLS, _FALLS_LESS = 0.6, 0.15
SMOOTHINGS = (1.5, 4.0, 10.0)  # weights of total variation to choose from; the middle one where nothing can tell
_WORK = 8e10  # voxels times tilts times passes; 300² pixels and 50 tilts take a minute on two cores
_PASSES = (30, 400)

# Number of a place, and the place, to what each of one or two predictors says: (predictors, rows, columns).
Predicted = Callable[[int, Place], "NDArray[np.float32]"]
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
    mix : tuple of float
        Of linear and of every predictor; not negative, 1 together.
    """

    smoothing: float
    mix: tuple[float, ...]

    def applied(self, predicted: NDArray[np.float32], place: Place, pair: Pair) -> NDArray[np.float32]:
        """Return the mix of the linear tilt with predictions (predictors, rows, columns), with the linear one's total.

        Outside the measured range linear has nothing to say.
        """
        plain = pair.blend(place.t)
        shares = np.array(self.mix[1:], np.float32)
        if not 0 < place.t < 1:
            shares = shares / shares.sum() if shares.sum() > 0 else np.eye(len(shares), dtype=np.float32)[0]
        out = plain.copy()
        for share, image in zip(shares, predicted, strict=True):
            out += share * (with_total(image, plain) - plain)
        return out


def found_trust(
    series: TiltSeries, make: Make, job: Job[Any], smoothing: float | None = None, share: float | None = None,
    predictors: int = 1,
) -> Trust:  # fmt: skip
    """Return what is given, and the rest as the series itself tells; and write it down.

    Every second angle is predicted from the others, on the rows with the most contrast: by each weight of the total
    variation, and of each with the mix that fits the truth best (least squares). The weight whose mix comes nearest is
    the answer; the middle one and the first predictor alone where fewer than five angles cannot tell. All this is seen
    at twice the gap, which favours whatever knows the geometry: linear's error is reckoned down to the gap itself.

    Parameters
    ----------
    series : TiltSeries
    make : callable
        Prepares the prediction of some places.
    job : Job
    smoothing : float, optional
        Where known.
    share : float, optional
        Of the last predictor, where known; the rest is linear then.
    predictors : int
        How many there are.
    """
    given = None if share is None else (1 - share, *(0.0,) * (predictors - 1), share)
    usual = Trust(SMOOTHINGS[1] if smoothing is None else smoothing, given or _first(predictors))
    if smoothing is not None and share is not None:
        return usual
    question = _Question.of(series)
    if question is None:
        return usual
    tried: dict[float, tuple[float, tuple[float, ...]]] = {}  # smoothing: the error that is left, and the mix

    def error(weight: float) -> float:
        if weight not in tried:
            known = np.arange(len(question.sparse))
            tried[weight] = question.answered(make(question.sparse, known, question.places, weight * question.louder))
        return tried[weight][0]

    best = usual.smoothing
    if smoothing is None:
        low, middle, high = SMOOTHINGS
        # The error has one minimum: what is better on one side of the middle need not be sought on the other.
        best = min(middle, high, key=error)
        if best == middle:
            best = min(middle, low, key=error)
    error(best)
    mix = given or tried[best][1]
    job.note(smoothing=best, share=round(1 - mix[0], 3))
    if predictors > 1:
        job.note(mix=[round(m, 3) for m in mix])
    if mix[0] > 1 - _DOUBT:
        job.note(doubt="linear is as good here: the gaps are narrow, or the tilt axis or the alignment is off")
    return Trust(best, mix)


def _first(predictors: int) -> tuple[float, ...]:
    """Mix of the first predictor alone: a network whose worth nothing can tell is left out."""
    return (0.0, 1.0, *(0.0,) * (predictors - 1))


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
    noise : float
        Variance of the truths' own noise.
    louder : float
        Noise of the whole series over that of the part, in which structure may pass for noise. The total variation's
        weight is relative to it.
    """

    sparse: TiltSeries
    places: tuple[Place, ...]
    truths: tuple[NDArray[np.int64], ...]
    part: TiltSeries
    falls: float
    noise: float
    louder: float

    @classmethod
    def of(cls, series: TiltSeries) -> _Question | None:
        """Ask about the rows with the most contrast; None where the angles are too few."""
        whole = series[sources(series)]
        part = _busiest(whole)
        groups = part.groups()
        if groups.max() < 4:
            return None
        wanted = (groups % 2 == 1) & (groups < groups.max())
        sparse, places, truths = _asked(part, ~wanted, wanted)
        sigma = _noise(whole)
        # The same tilts from neighbours at twice the gap and at four times the gap tell how linear's error grows.
        middle = (groups % 4 == 2) & (groups < groups.max() - 1)
        near, far = (
            _linear_error(part, *_asked(part, groups % step == first, middle), sigma**2)
            for step, first in ((2, 1), (4, 0))
        )
        falls = min((near / far) ** 0.5, 1.0) if far > near > 0 else 1.0
        return cls(sparse, places, truths, part, falls, sigma**2, 1.0 if part is whole else sigma / _noise(part))

    def answered(self, predicted: Predicted) -> tuple[float, tuple[float, ...]]:
        """Return the least squared error of a mix of linear and the predictors, and that mix.

        A prediction that knows the geometry gains less from narrower gaps than linear does; see _FALLS_LESS.
        """
        products, pixels = np.zeros(()), 0
        for k, place, plain, truths in _compared(self.part, self.sparse, self.places, self.truths):
            images = np.stack([plain, *(with_total(image, plain) for image in predicted(k, place))])
            for truth, seen in truths:
                flat = (truth[seen] - images[:, seen]).astype(np.float64)
                products = products + flat @ flat.T
                pixels += flat.shape[1]
        # The noise of the truth is in all errors alike, and does not fall.
        own = self.noise * pixels
        less = self.falls ** np.array([_FALLS, *[_FALLS_LESS] * (len(products) - 1)])
        products = (products - own) * np.outer(less, less) + own
        error, mix = least_mix(products)
        if self.sparse.groups().max() < _TELL - 1:
            # So few tilts reconstruct much worse than twice as many will.
            mix = tuple((m + u) / 2 for m, u in zip(mix, _first(len(mix) - 1), strict=True))
        return error, mix


def least_mix(products: NDArray[np.float64]) -> tuple[float, tuple[float, ...]]:
    """Return the least of ``m · products · m`` over mixes m, not negative and 1 together, and m.

    ``products`` (n, n) are the scalar products of errors, n few: the minimum over each subset is tried.
    """
    n = len(products)
    best, mix = np.inf, (1.0, *(0.0,) * (n - 1))
    for size in range(1, n + 1):
        for some in combinations(range(n), size):
            part = products[np.ix_(some, some)]
            m = np.linalg.lstsq(part, np.ones(size), rcond=1e-10)[0]
            if not m.sum() > 0 or (m < 0).any():
                continue
            m = m / m.sum()
            if (error := float(m @ part @ m)) < best:
                whole = np.zeros(n)
                whole[list(some)] = m
                best, mix = error, tuple(whole.tolist())
    return best, mix


def _asked(
    part: TiltSeries, known: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> tuple[TiltSeries, tuple[Place, ...], tuple[NDArray[np.int64], ...]]:
    sparse = part[known]
    places = plan(sparse, angles=part.angles[wanted].tolist()).places
    return sparse, places, tuple(np.flatnonzero(wanted & (np.abs(part.angles - p.angle) < 1e-2)) for p in places)


def _linear_error(
    part: TiltSeries, sparse: TiltSeries, places: tuple[Place, ...], truths: tuple[NDArray[np.int64], ...],
    noise: float,
) -> float:  # fmt: skip
    """Return the squared error of linear beyond the truth's own noise of some variance."""
    return sum(
        float(np.square(truth[seen] - plain[seen]).sum(dtype=np.float64)) - noise * int(seen.sum())
        for _, _, plain, found in _compared(part, sparse, places, truths)
        for truth, seen in found
    )


def _compared(
    part: TiltSeries, sparse: TiltSeries, places: tuple[Place, ...], truths: tuple[NDArray[np.int64], ...]
) -> Iterator[tuple[int, Place, NDArray[np.float32], list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]]:
    """Yield each place's number, the place, what linear says there, and what was measured there with its mask."""
    mask = np.ones(part.shape, bool) if part.mask is None else part.mask
    for k, (place, tilts) in enumerate(zip(places, truths, strict=True)):
        plain = neighbours(sparse, place).blend(place.t)
        yield k, place, plain, [(part.projections[i], mask[i]) for i in tilts]


def _noise(series: TiltSeries) -> float:
    import torch

    from splatom.operators.tv import noise_level

    return noise_level(torch.from_numpy(np.array(series.projections)))


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
