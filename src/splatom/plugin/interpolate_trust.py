"""Whether an interpolation can be trusted with these images: every second tilt predicted from the others. No Qt here.

:func:`check` is a runner of :class:`splatom.jobs.Task`: it is called in the process that computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import MethodParams, TiltSeries
from splatom.jobs import Job, JobError, Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Checked", "Trial", "check", "every_second", "verdict"]

_PARTS = 1000  # steps that the progress counts
_FEWEST = 3  # held-out tilts that a verdict needs
_MARGIN = 0.1  # dB: less is no difference to anyone


@dataclass(frozen=True, eq=False)
class Trial:
    """A series, the methods to try on it (names and parameters, in order), and the row of the image it begins with."""

    series: TiltSeries
    methods: tuple[tuple[str, MethodParams], ...]
    first: int = 0


@dataclass(frozen=True, eq=False)
class Checked:
    """How well held-out tilts were predicted.

    Parameters
    ----------
    method : str
        The one that was asked about.
    index : array (k,) of int
        The tilts, by angle; the first of repeats.
    angles : array (k,)
        In degrees.
    gap : float
        Usual distance in degrees between the tilts that they were predicted from.
    scores : dict
        By method: 'psnr' in dB, 'ssim', 'rmse' in units of the image, each (k,).
    predicted : dict
        By method: images (k, rows, columns).
    stopped : bool
        Whether it was stopped before the end.
    notes : dict
        What looked wrong.
    first : int
        Row of the image that the predicted ones begin with.
    """

    method: str
    index: NDArray[np.int64]
    angles: NDArray[np.float64]
    gap: float
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]]
    predicted: Mapping[str, NDArray[np.float32]]
    stopped: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    first: int = 0


def every_second(series: TiltSeries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tilts to predict (one of each angle) and those to predict them from, by angle.

    Repeats go together. The outermost angles are never predicted.

    Raises
    ------
    ValueError
        If fewer than three different angles were measured.
    """
    from splatom.methods.interpolate._plan import sources

    use = sources(series)
    number = series.groups()[use]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    groups = np.split(use, starts[1:]) if len(use) else []
    if len(groups) < 3:
        raise ValueError(f"a check needs three different measured angles; this series has {len(groups)}")
    held = groups[1:-1:2]
    gone = np.concatenate(held)
    return np.array([g[0] for g in held]), use[~np.isin(use, gone)]


def check(group: str, name: str, trial: Trial, job: Any) -> Checked:
    """Predict every second tilt from the others by each method, and score it.

    A stop keeps the tilts that all methods have done.

    Raises
    ------
    JobError
        If there are too few angles.
    Stopped
        If no tilt was predicted by all of them.
    """
    series = trial.series
    try:
        held, kept = every_second(series)
    except ValueError as fault:
        raise JobError(str(fault)) from fault
    angles = series.angles[held]
    rest = series[kept].with_(held_out=np.zeros(len(kept), bool))
    found = {}
    stopped = False
    for k, (method, params) in enumerate(trial.methods):
        asked = type(params)(**{**params.model_dump(), "step": None, "angles": tuple(angles.tolist())})
        result = _within(job, group, method, asked, rest, (k, len(trial.methods)))
        found[method] = _matched(series, result, held)
        stopped = job.stop_requested
        if stopped:
            break
    if len(found) < len(trial.methods):
        raise Stopped
    pick = np.array([i for i in range(len(held)) if all(i in f for f in found.values())], np.int64)
    if not len(pick):
        raise Stopped
    images = {m: np.stack([f[i] for i in pick]) for m, f in found.items()}
    scores = {m: _scores(series, held[pick], images[m]) for m in images}
    gap = float(np.median(np.diff(np.unique(np.round(rest.angles, 3)))))
    return Checked(name, held[pick], angles[pick], gap, scores, images, stopped, dict(job.notes), trial.first)


def _within(
    job: Any, group: str, method: str, params: MethodParams, series: TiltSeries, part: tuple[int, int]
) -> TiltSeries:
    """Run a method inside another job, which hears of its progress and stops it."""
    from splatom.methods import execute

    sub: Any = Job(params, device=job.device, seed=job.seed)
    tick = sub.tick

    def reporting(step: int, total: int, *args: Any, **more: Any) -> Any:
        job.tick(round(_PARTS * (part[0] + step / max(total, 1)) / part[1]), _PARTS)
        return tick(step, total)

    sub.check, sub.tick = job.check, reporting
    result: TiltSeries = execute(group, method, series, sub)
    if "misaligned" in sub.notes:
        job.note(misaligned=sub.notes["misaligned"])
    return result


def _matched(series: TiltSeries, result: TiltSeries, held: NDArray[np.int64]) -> dict[int, NDArray[np.float32]]:
    """Return the predicted images by number of the held-out tilt, moved to where that tilt has its specimen."""
    from splatom.methods.interpolate._neighbours import placed

    out = {}
    for k, i in enumerate(held):
        same = np.flatnonzero(result.synthetic & (np.abs(result.angles - series.angles[i]) < 1e-3))
        if len(same):
            j = same[0]
            shifts = result.geometry.shifts[j], series.geometry.shifts[i]
            out[k] = placed(result.projections[j], None, 0.0, *shifts)[0]
    return out


def _scores(series: TiltSeries, held: NDArray[np.int64], images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    from splatom.evaluate import psnr, rmse, ssim

    out: dict[str, list[float]] = {"psnr": [], "ssim": [], "rmse": []}
    for i, image in zip(held, images, strict=True):
        truth = series.projections[i]
        if series.mask is not None:
            image = np.where(series.mask[i], image, truth)
        if not np.ptp(truth) > 0:
            raise JobError(f"the tilt at {series.angles[i]:g}° is constant: leave it out (Prepare, exclude)")
        for name, score in (("psnr", psnr), ("ssim", ssim), ("rmse", rmse)):
            out[name].append(score(image, truth))
    return {k: np.array(v) for k, v in out.items()}


# ---------------------------------------------------------------- in a sentence
def verdict(found: Checked, yardstick: str = "linear") -> tuple[str, str]:
    """Say in a sentence whether a method is to be trusted, and 'good', 'even' or 'bad'.

    A difference counts if it is at least 0.1 dB and twice its standard error over the tilts.
    """
    mine = found.scores[found.method]["psnr"]
    count = len(mine)
    if count < _FEWEST:
        return f"Only {count} tilts could be left out: too few to judge by.", "even"
    if found.method == yardstick:
        best = max(found.scores, key=lambda m: float(found.scores[m]["psnr"].mean()))
        ahead = float((found.scores[best]["psnr"] - mine).mean())
        if best != yardstick and ahead >= _MARGIN:
            return f"{best} predicts these images better than {yardstick}, by {ahead:.1f} dB: choose it.", "bad"
        more = "" if len(found.scores) > 1 else " Choose another method to compare it with."
        return f"{yardstick} predicts the left-out tilts with {mine.mean():.1f} dB.{more}", "even"
    other = found.scores[yardstick]["psnr"]
    ahead = mine - other
    mean, doubt = float(ahead.mean()), 2 * float(ahead.std(ddof=1)) / np.sqrt(count)
    figures = f"{mine.mean():.1f} against {other.mean():.1f} dB, better in {int((ahead > 0).sum())} of {count} tilts"
    if mean >= max(doubt, _MARGIN):
        return f"{found.method} predicts the left-out tilts {mean:.1f} dB better than {yardstick} ({figures}).", "good"
    if mean <= -max(doubt, _MARGIN):
        worse = f"{-mean:.1f} dB worse than {yardstick} ({figures}): do not use it here."
        return f"{found.method} predicts the left-out tilts {worse}", "bad"
    return f"{found.method} is no better than {yardstick} here ({figures}).", "even"
