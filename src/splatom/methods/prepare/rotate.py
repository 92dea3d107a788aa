"""Rotate the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.geometry import ViewGeometry
    from splatom.jobs import Job

__all__ = ["RotateParams", "run"]


class RotateParams(MethodParams):
    """Turn the images in their plane, by default until the tilt axis runs along the rows' direction.

    Without an angle: where the geometry has an inclined axis (from the file or from tilt-axis), the images are turned
    so that it becomes vertical. Where it says vertical, which may just be the assumption for a file that says nothing,
    the images are asked (the common line of their spectra): a horizontal axis is turned by 90°, and a small inclination
    is left to tilt-axis.

    Quarter turns move pixels and interpolate nothing. The geometry, the shifts and the scan direction turn with the
    images, so that the specimen is the same, never its mirror image.
    """

    method: Literal["rotate"] = "rotate"
    angle: float | None = option(
        None, "Angle", "Turn from +column towards +row (clockwise on the screen); empty: what the evidence says.",
        unit="°", ge=-360, le=360,
    )  # fmt: skip


def run(series: TiltSeries, job: Job[RotateParams]) -> TiltSeries:
    """Return the turned series."""
    angle = job.params.angle
    if angle is None:
        series, angle = _proposed(series, job)
    angle = (angle + 180) % 360 - 180
    job.note(turned_degrees=round(angle, 4))
    quarters = round(angle / 90)
    series = _quarter_turns(series, quarters)
    rest = angle - 90 * quarters
    return series if abs(rest) < 1e-6 else _interpolated(series, rest, job)


def _proposed(series: TiltSeries, job: Job[RotateParams]) -> tuple[TiltSeries, float]:
    from splatom.methods.prepare._axis import find_axis, redefined
    from splatom.methods.prepare._images import learning, matter

    axis = series.geometry.axis_degrees
    if not series.geometry.is_single_axis and abs(axis) > 1e-6:
        job.note(axis="from the geometry", axis_degrees=round(axis, 4))
        # Of the two turns that do it, the one that suits an axis in (−45, 135] keeps the signs of the file's angles.
        return series, -(axis + 180 if axis <= -45 else axis)
    found = find_axis(matter(series)[learning(series)], job.check)
    job.note(axis="from the images", axis_found_degrees=round(found.degrees, 2), clarity=round(found.clarity, 3))
    if not found.is_clear:
        raise ValueError(
            "the images do not show clearly where the tilt axis runs "
            f"(best guess {found.degrees:.1f}° from vertical); give --angle, or run prepare tilt-axis with an angle"
        )
    quarter = 90 * round(found.degrees / 90)
    if abs(found.degrees - quarter) > 30:
        geometry, known = redefined(series, found.degrees)
        return series.with_(geometry=geometry, hand_known=known), -found.degrees
    if quarter == 0:
        job.note(decision="the axis is vertical already; tilt-axis measures a small inclination")
        return series, 0.0
    geometry, known = redefined(series, quarter)
    return series.with_(geometry=geometry, hand_known=known), -float(quarter)


def _quarter_turns(series: TiltSeries, quarters: int) -> TiltSeries:
    if quarters % 4 == 0:
        return series
    # np.rot90 turns rows towards columns, our angle runs the other way.
    def turn(stack: NDArray[Any]) -> NDArray[Any]:
        return np.rot90(stack, -quarters, axes=(1, 2))

    swapped = {"columns": "rows", "rows": "columns"} if quarters % 2 else {}
    return series.with_(
        projections=turn(series.projections),
        geometry=_cleaned(series.geometry.turned(90.0 * quarters)),
        mask=None if series.mask is None else turn(series.mask),
        scan=swapped.get(series.scan, series.scan),
    )


def _interpolated(series: TiltSeries, degrees: float, job: Job[RotateParams]) -> TiltSeries:
    from splatom.methods.prepare._images import resampled

    shape = series.shape[1:]
    images = np.empty((len(series), *shape), np.float32)
    seen = np.empty(images.shape, bool)
    for i, image in enumerate(series.projections):
        images[i] = resampled(image, degrees=degrees, order=3)
        there = np.ones(shape, np.float32) if series.mask is None else series.mask[i].astype(np.float32)
        seen[i] = resampled(there, degrees=degrees, fill=0.0) > 0.99
        job.tick(i + 1, len(series))
    return series.with_(
        projections=images, geometry=_cleaned(series.geometry.turned(degrees)), mask=None if seen.all() else seen
    )


def _cleaned(geometry: ViewGeometry) -> ViewGeometry:
    """Make an axis that is vertical but for rounding exactly so."""
    from splatom.geometry import ViewGeometry

    y = np.array([0.0, 1.0, 0.0])
    off = max(np.abs(geometry.rotations[:, 1] - y).max(), np.abs(geometry.rotations[:, :, 1] - y).max())
    if 0 < off < 1e-6:
        return ViewGeometry.single_axis(geometry.tilt_degrees, 0.0, geometry.shifts)
    return geometry
