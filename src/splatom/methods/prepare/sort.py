"""Sort the tilts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["SortParams", "run"]


class SortParams(MethodParams):
    """Sort the tilts by their angle, or back into the order in which they were taken.

    The acquisition order stays with each tilt.
    """

    method: Literal["sort"] = "sort"
    by: Literal["angle", "acquisition"] = option("angle", "By", "What to sort by.")


def run(series: TiltSeries, job: Job[SortParams]) -> TiltSeries:
    """Return the sorted series."""
    return series.sorted() if job.params.by == "angle" else series[series.order.argsort(kind="stable")]
