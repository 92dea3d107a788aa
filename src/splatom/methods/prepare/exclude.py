"""Exclude tilts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["ExcludeParams", "run"]


class ExcludeParams(MethodParams):
    """Leave tilts out, by their index or by their angle."""

    method: Literal["exclude"] = "exclude"
    tilts: tuple[int, ...] = option((), "Tilts", "Indices to leave out, from 0; negative ones count from the end.")
    angles: tuple[float, ...] = option((), "Angles", "Tilt angles to leave out, with all their repeats.", unit="°")
    tolerance: float = option(0.1, "Tolerance", "How near an angle has to be.", unit="°", gt=0, le=5, advanced=True)


def run(series: TiltSeries, job: Job[ExcludeParams]) -> TiltSeries:
    """Return the series without some tilts."""
    p, n = job.params, len(series)
    if not p.tilts and not p.angles:
        raise ValueError("no tilt to exclude was named; give tilts (indices from 0) or angles")
    wrong = [t for t in p.tilts if not -n <= t < n]
    if wrong:
        raise ValueError(f"there is no tilt {wrong[0]}: the series has tilts 0 to {n - 1}")
    out = np.zeros(n, bool)
    out[list(p.tilts)] = True
    for angle in p.angles:
        near = np.abs(series.angles - angle) <= p.tolerance
        if not near.any():
            nearest = series.angles[np.abs(series.angles - angle).argmin()]
            raise ValueError(f"no tilt at {angle:g}°; the nearest is at {nearest:g}°")
        out |= near
    if out.all():
        raise ValueError("excluding every tilt leaves nothing")
    job.note(excluded=np.flatnonzero(out).tolist(), angles=series.angles[out].round(4).tolist())
    return series[~out]
