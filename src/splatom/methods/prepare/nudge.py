"""Nudge one tilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["NudgeParams", "run"]


class NudgeParams(MethodParams):
    """Correct the shift of one tilt by hand.

    The correction is added to where the specimen is taken to lie in that image; no pixel moves.
    """

    method: Literal["nudge"] = "nudge"
    tilt: int | None = option(
        0, "Tilt", "Index of the tilt, from 0; a negative one counts from the end. None: all, which moves the axis."
    )
    column: float = option(0.0, "Columns", "How much further to the right the specimen lies.", unit="px")
    row: float = option(0.0, "Rows", "How much further down the specimen lies.", unit="px")


def run(series: TiltSeries, job: Job[NudgeParams]) -> TiltSeries:
    """Return the series with one shift changed."""
    p = job.params
    if p.tilt is not None and not -len(series) <= p.tilt < len(series):
        raise ValueError(f"there is no tilt {p.tilt}: the series has tilts 0 to {len(series) - 1}")
    shifts = series.geometry.shifts.copy()
    shifts[slice(None) if p.tilt is None else p.tilt] += (p.column, p.row)
    return series.with_(geometry=series.geometry.with_shifts(shifts))
