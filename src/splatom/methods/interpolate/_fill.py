"""What all interpolations share: their options, and the loop that puts predicted tilts between the measured ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import MethodParams, TiltSeries, option
from splatom.jobs.errors import Stopped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job
    from splatom.methods.interpolate._neighbours import Pair
    from splatom.methods.interpolate._plan import Place, Plan

__all__ = ["FillParams", "filled", "inserted", "planned"]

Predict = Callable[["Place", "Pair"], "NDArray[np.float32]"]


class FillParams(MethodParams):
    """Options that every interpolation has."""

    step: float | None = option(
        None, "Step", "Gaps that are wider get tilts at equal distances of at most this; empty, and no angles: half of "
        "the usual gap.", unit="°", ge=0.01, le=180,
    )  # fmt: skip
    angles: tuple[float, ...] = option(
        (), "Angles", "Tilt angles to put in, as a list with commas, instead of or besides the step.", unit="°"
    )
    extrapolate: bool = option(
        False, "Outside too", "Whether angles may lie outside the measured range: a guess, not an interpolation.",
        advanced=True,
    )  # fmt: skip
    weight: float = option(
        0.3, "Weight", "Weight of a new tilt in reconstructions, as a share of its measured neighbours'.", gt=0, le=1
    )
    check: bool = option(
        False, "Hold-out check", "First predict every second measured tilt from the others, and report the figures "
        "beside those of linear.", advanced=True,
    )  # fmt: skip


class ReprojectingParams(FillParams):
    """Options of the methods that reconstruct, project again, and blend the result with linear."""

    smoothing: float | None = option(
        None, "Smoothing", "Weight of the total variation in the reconstruction; empty: of three, the one by which "
        "held-out tilts are best predicted.", gt=0, le=1000, advanced=True,
    )  # fmt: skip
    passes: int | None = option(
        None, "Passes", "Passes of the reconstruction; empty: 30 to 400, fewer for large series.", ge=1, le=1000,
        advanced=True,
    )  # fmt: skip
    share: float | None = option(
        None, "Share", "Share of the prediction in the result, the rest being linear; empty: from the series.",
        ge=0, le=1, advanced=True,
    )  # fmt: skip


def planned(series: TiltSeries, job: Job[Any]) -> Plan:
    """Plan the new tilts of a job and write down what was decided and what looks wrong.

    Raises
    ------
    ValueError
        See :func:`splatom.methods.interpolate._plan.plan`.
    """
    from splatom.methods.interpolate._check import checked
    from splatom.methods.interpolate._neighbours import misaligned
    from splatom.methods.interpolate._plan import plan

    p = job.params
    out = plan(series, p.step, p.angles, p.extrapolate)
    if p.step is None and out.step is not None:
        job.note(step_degrees=round(out.step, 6))
    job.note(new_tilts=len(out.places))
    if not out.places:
        job.note(nothing_new="no gap is wider than the step, and all angles asked for are there already")
    elif (line := misaligned(series, job.check)) is not None:
        job.note(misaligned=line)
    if p.check:
        checked(series, job)
    return out


def filled(series: TiltSeries, job: Job[Any], plan: Plan, predict: Predict, begin: int = 0) -> TiltSeries:
    """Predict the tilts of a plan one by one and put them in.

    After a stop the tilts predicted so far are put in, and a note says so.

    Parameters
    ----------
    series : TiltSeries
    job : Job
        Of a :class:`FillParams`.
    plan : Plan
    predict : callable
        Gets a place and its neighbours in its frame; returns the tilt (rows, columns) in the intensity of the series.
    begin : int
        Steps that the job made before.

    Raises
    ------
    Stopped
        If nothing was predicted yet.
    """
    from splatom.geometry import ViewGeometry
    from splatom.methods.interpolate._neighbours import neighbours

    places = plan.places
    new = np.empty((len(places), *series.shape[1:]), np.float32)
    seen = np.ones(new.shape, bool)
    restored = job.restore() if begin == 0 else None
    done = 0 if restored is None else int(restored["tilts_done"])
    if restored is not None:
        new[:done], seen[:done] = restored["images"], restored["seen"]

    def state() -> dict[str, Any]:
        return {"images": new[:done], "seen": seen[:done], "tilts_done": done}

    def snapshot() -> TiltSeries:
        last = places[done - 1]
        view = ViewGeometry(last.rotation[None], last.shift[None])
        return TiltSeries(
            new[done - 1 : done], view, series.pixel_size, synthetic=np.ones(1, bool), contrast=series.contrast
        )

    with job.keeping_partial():
        for place in places[done:]:
            job.check()
            pair = neighbours(series, place)
            new[done] = predict(place, pair)
            if pair.seen is not None:
                seen[done] = pair.seen
            done += 1
            job.tick(begin + done, begin + len(places), snapshot, state=state if begin == 0 else None)
    if job.stopped_at is not None and done < len(places):
        if done == 0:
            raise Stopped
        job.note(stopped=f"{done} of {len(places)} tilts were put in")
    return inserted(series, places[:done], new[:done], seen[:done], job)


def inserted(
    series: TiltSeries, places: tuple[Place, ...], images: NDArray[np.float32], seen: NDArray[np.bool_], job: Job[Any]
) -> TiltSeries:
    """Return a series, sorted by angle, with new tilts in it: synthetic, of no exposure, last in acquisition order."""
    from splatom.geometry import ViewGeometry

    count = len(places)
    if count == 0:
        return series.sorted()
    g = series.geometry
    weights = [
        job.params.weight * ((1 - p.t) * series.weights[p.below].mean() + p.t * series.weights[p.above].mean())
        for p in places
    ]
    mask = series.mask
    if mask is not None or not seen.all():
        old = np.ones(series.shape, bool) if mask is None else mask
        mask = np.concatenate([old, seen])
    exposure = series.exposure
    together = TiltSeries(
        np.concatenate([series.projections, images]),
        ViewGeometry(
            np.concatenate([g.rotations, [p.rotation for p in places]]),
            np.concatenate([g.shifts, [p.shift for p in places]]),
        ),
        series.pixel_size,
        np.concatenate([series.weights, np.array(weights, np.float32)]),
        None if exposure is None else np.concatenate([exposure, np.zeros(count, np.float32)]),
        np.concatenate([series.synthetic, np.ones(count, bool)]),
        np.concatenate([series.held_out, np.zeros(count, bool)]),
        mask,
        series.contrast,
        series.scan,
        np.concatenate([series.order, series.order.max() + 1 + np.arange(count)]),
        series.hand_known,
        series.provenance,
    )
    angles = np.concatenate([series.angles, [p.angle for p in places]])
    return together[np.argsort(angles, kind="stable")]
