"""Subtract the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["BackgroundParams", "run"]


class BackgroundParams(MethodParams):
    """Take the level of the empty ground off every tilt.

    The ground is what lies well away from the specimen in each image. Where a film fills the field there is none, and
    the tilt stays as it is.
    """

    method: Literal["background"] = "background"
    kind: Literal["constant", "plane"] = option(
        "constant", "Kind", "One level for each tilt, or a plane where the ground is uneven."
    )


def run(series: TiltSeries, job: Job[BackgroundParams]) -> TiltSeries:
    """Return the series with its ground at zero."""
    from splatom.methods.prepare._images import matter
    from splatom.methods.prepare._specimen import background

    images = series.projections.copy()
    sign = 1 if series.contrast == "adf" else -1
    levels = []
    for i, image in enumerate(matter(series)):
        ground = sign * background(image, job.params.kind == "plane")
        images[i] -= np.asarray(ground, np.float32)
        levels.append(float(np.mean(ground)))
        job.tick(i + 1, len(images))
    bare = sum(level == 0.0 for level in levels)
    job.note(levels=[round(level, 6) for level in levels])
    if bare:
        job.note(left_alone=f"{bare} of {len(levels)} tilts show no empty ground")
    return series.with_(projections=images)
