"""Resample the images so that their shifts are zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["BakeParams", "run"]


class BakeParams(MethodParams):
    """Move the pixels so that no shift is left in the geometry, for programs that know none.

    Interpolation correlates and smooths the noise, and what comes in at an edge was not measured (the mask says so):
    Splatom's own methods work better with the shifts kept.
    """

    method: Literal["bake"] = "bake"
    order: Literal["cubic", "linear", "whole"] = option(
        "cubic", "Interpolation", "Cubic or linear; 'whole' moves whole pixels and keeps the rest of the shift."
    )


def run(series: TiltSeries, job: Job[BakeParams]) -> TiltSeries:
    """Return the resampled series."""
    from splatom.methods.prepare._images import resampled

    shifts = series.geometry.shifts
    moved = np.rint(shifts) if job.params.order == "whole" else shifts
    orders: dict[str, Literal[0, 1, 3]] = {"cubic": 3, "linear": 1, "whole": 0}
    order = orders[job.params.order]
    images = np.empty(series.shape, np.float32)
    seen = np.empty(series.shape, bool)
    for i, image in enumerate(series.projections):
        images[i] = resampled(image, shift=moved[i], order=order)
        there = np.ones(image.shape, np.float32) if series.mask is None else series.mask[i].astype(np.float32)
        seen[i] = resampled(there, shift=moved[i], order=1 if order else 0, fill=0.0) > 0.99
        job.tick(i + 1, len(series))
    return series.with_(
        projections=images,
        geometry=series.geometry.with_shifts(shifts - moved),
        mask=None if seen.all() else seen,
    )
