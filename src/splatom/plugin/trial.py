"""What a job does for a dock besides a method: plan a run, or try it on a small copy first. No Qt here.

The functions are runners of :class:`splatom.jobs.Task`: they are called in the process that computes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from splatom.data import TiltSeries

__all__ = ["binned", "plan", "three_rows"]

_TRIAL_WIDTH = 128  # columns of a binned copy


def plan(group: str, name: str, series: TiltSeries, job: Any) -> Any:
    """Estimate time and memory of a run (see :func:`splatom.methods.reconstruct._memory.estimate`)."""
    from splatom.methods.reconstruct._memory import estimate
    from splatom.operators.device import choose_device

    return estimate(series, name, job.params, choose_device(job.device))


def binned(group: str, name: str, series: TiltSeries, job: Any) -> Any:
    """Run a method on a binned copy; the binning is a step of the result's provenance."""
    from splatom.jobs import Job
    from splatom.methods import execute, get

    factor = max(2, -(-series.shape[2] // _TRIAL_WIDTH))
    small = execute("prepare", "bin", series, Job(get("prepare", "bin").params(factor=factor)))
    job.note(trial=f"on a copy binned {factor} times")
    return execute(group, name, small, job)


def three_rows(series: TiltSeries, rows: tuple[int, ...]) -> TiltSeries:
    """Return a series of a few image rows only: for tilts about y each row is a slice of its own.

    Parameters
    ----------
    series : TiltSeries
    rows : tuple of int
        Rows of the specimen; in every tilt the row is taken to which the shift has moved it.

    Raises
    ------
    ValueError
        If a row is outside the images, or the tilts mix rows.
    """
    height = series.shape[1]
    if not rows or min(rows) < 0 or max(rows) >= height:
        raise ValueError(f"rows {', '.join(map(str, rows)) or 'none'}: give rows from 0 to {height - 1}")
    if not series.geometry.is_single_axis:
        raise ValueError("the tilt axis does not run along the image rows' direction: try a binned copy instead")
    shifts = np.array(series.geometry.shifts)
    taken = np.clip(np.array(rows)[None] + np.rint(shifts[:, 1:]).astype(int), 0, height - 1)
    shifts[:, 1] = 0
    loading = {**series.provenance.loading, "trial_rows": list(rows)}
    views = np.arange(len(series))[:, None]
    return series.with_(
        projections=series.projections[views, taken],
        mask=None if series.mask is None else series.mask[views, taken],
        geometry=series.geometry.with_shifts(shifts),
        provenance=replace(series.provenance, loading=loading),
    )
