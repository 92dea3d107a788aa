"""Whether an interpolation can be trusted with these images: every second tilt predicted from the others. No Qt here.

:func:`check` is a runner of :class:`splatom.jobs.Task`: it is called in the process that computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import MethodParams, TiltSeries
from splatom.jobs import Job, JobError
from splatom.plugin.interpolate_part import only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from splatom.evaluate.interpolation import HoldOut, Interpolate

__all__ = ["Checked", "Trial", "check", "verdict"]

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
    held : HoldOut
        Tilts, angles, gap and scores by method.
    predicted : dict
        By method: images (k, rows, columns).
    notes : dict
        What looked wrong.
    first : int
        Row of the image that the predicted ones begin with.
    """

    method: str
    held: HoldOut
    predicted: Mapping[str, NDArray[np.float32]]
    notes: dict[str, Any] = field(default_factory=dict)
    first: int = 0

    def psnr(self, method: str) -> NDArray[np.float64]:
        """Return a method's PSNR of every tilt in dB, (k,)."""
        return self.held.scores[method].psnr

    @property
    def best(self) -> str:
        """Name of the method of the highest mean PSNR; the one asked about where no other is better by 0.1 dB."""
        mean = {m: float(self.psnr(m).mean()) for m in self.predicted}
        first = max(mean, key=lambda m: mean[m])
        return first if mean[first] - mean[self.method] >= _MARGIN else self.method


def check(group: str, name: str, trial: Trial, job: Any) -> Checked:
    """Predict every second tilt from the others by each method, and score it.

    Raises
    ------
    JobError
        If there are too few angles, or a tilt is constant.
    """
    from splatom.evaluate.interpolation import every_second, hold_out

    predicted: dict[str, NDArray[np.float32]] = {}

    def interpolating(number: int, method: str, params: MethodParams) -> Interpolate:
        def interpolate(sparse: TiltSeries, angles: tuple[float, ...]) -> TiltSeries:
            result = _within(job, group, method, only(params, angles), sparse, (number, len(trial.methods)))
            job.check()  # a method that was stopped hands over what it has
            moved, predicted[method] = _as_held(trial.series, every_second(trial.series)[0], result)
            return moved

        return interpolate

    tried = {method: interpolating(k, method, params) for k, (method, params) in enumerate(trial.methods)}
    try:
        held = hold_out(trial.series, tried)
    except ValueError as fault:
        raise JobError(str(fault)) from fault
    return Checked(name, held, predicted, dict(job.notes), trial.first)


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


def _as_held(
    series: TiltSeries, held: NDArray[np.int64], result: TiltSeries
) -> tuple[TiltSeries, NDArray[np.float32]]:
    """Move each predicted tilt to where the measured one has its specimen; return the series, and these alone."""
    from splatom.methods.interpolate._neighbours import placed

    images = result.projections.copy()
    numbers = [int(np.abs(np.where(result.synthetic, result.angles, np.inf) - series.angles[i]).argmin()) for i in held]
    for i, j in zip(held, numbers, strict=True):
        images[j] = placed(images[j], None, 0.0, result.geometry.shifts[j], series.geometry.shifts[i])[0]
    return result.with_(projections=images), images[numbers]


# ---------------------------------------------------------------- in a sentence
def verdict(found: Checked, yardstick: str = "linear") -> tuple[str, str]:
    """Say in a sentence whether a method is to be trusted, and 'good', 'even' or 'bad'.

    A difference counts if it is at least 0.1 dB and twice its standard error over the tilts.
    """
    mine = found.psnr(found.method)
    count = len(mine)
    if count < _FEWEST:
        return f"Only {count} tilts could be left out: too few to judge by.", "even"
    if found.method == yardstick:
        if found.best != yardstick:
            return f"{found.best} predicts these images better than {yardstick}, by {_ahead(found):.1f} dB.", "bad"
        more = "" if len(found.predicted) > 1 else " Choose another method to compare it with."
        return f"{yardstick} predicts the left-out tilts with {mine.mean():.1f} dB.{more}", "even"
    other = found.psnr(yardstick)
    ahead = mine - other
    mean, doubt = float(ahead.mean()), 2 * float(ahead.std(ddof=1)) / np.sqrt(count)
    figures = f"{mine.mean():.1f} against {other.mean():.1f} dB, better in {int((ahead > 0).sum())} of {count} tilts"
    if mean >= max(doubt, _MARGIN):
        more = "" if found.best == found.method else f" {found.best} does better still, by {_ahead(found):.1f} dB."
        better = f"{mean:.1f} dB better than {yardstick} ({figures})."
        return f"{found.method} predicts the left-out tilts {better}{more}", "good"
    if mean <= -max(doubt, _MARGIN):
        worse = f"{-mean:.1f} dB worse than {yardstick} ({figures}): do not use it here."
        return f"{found.method} predicts the left-out tilts {worse}", "bad"
    clearly = "" if abs(mean) < _MARGIN else "clearly "
    return f"{found.method} is not {clearly}better than {yardstick} here ({figures}).", "even"


def _ahead(found: Checked) -> float:
    """Return by how many dB the best method is better than the one asked about."""
    return float((found.psnr(found.best) - found.psnr(found.method)).mean())
