"""Hold tilts out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["HoldOutParams", "run"]


class HoldOutParams(MethodParams):
    """Mark a share of the tilts so that no later step learns from them; they score the result (R-free).

    All repeats of an angle go together; the outermost angles and synthetic tilts stay in. Hold out before denoising,
    interpolation and alignment.
    """

    method: Literal["hold-out"] = "hold-out"
    share: float = option(0.1, "Share", "Share of the angles to hold out; 0 takes all back in.", ge=0, le=0.5)
    tilts: tuple[int, ...] = option(
        (), "Tilts", "Indices of the tilts to hold out, from 0, instead of a share; repeats of their angles go too."
    )


def run(series: TiltSeries, job: Job[HoldOutParams]) -> TiltSeries:
    """Return the series with some tilts marked."""
    if job.params.tilts:
        wrong = [t for t in job.params.tilts if not -len(series) <= t < len(series)]
        if wrong:
            raise ValueError(f"there is no tilt {wrong[0]}: the series has tilts 0 to {len(series) - 1}")
        groups = series.groups()
        out = series.with_(held_out=np.isin(groups, groups[list(job.params.tilts)]))
    else:
        out = series.holding_out(job.params.share, job.seed)
    job.note(held_out=out.held_out.nonzero()[0].tolist(), angles=out.angles[out.held_out].round(4).tolist())
    return out
