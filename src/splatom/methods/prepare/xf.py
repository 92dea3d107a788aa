"""Apply an IMOD alignment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["XfParams", "run"]


class XfParams(MethodParams):
    """Take shifts and the tilt axis from an IMOD transform file (.xf); no pixel moves."""

    method: Literal["xf"] = "xf"
    path: Path | None = option(None, "File", "The .xf file.")
    binning: float = option(
        1.0, "Binning", "Pixels of the transforms per pixel of the series (2 where it was binned by 2 since).", gt=0
    )


def run(series: TiltSeries, job: Job[XfParams]) -> TiltSeries:
    """Return the series with the transforms in its geometry."""
    from splatom.io import apply_xf

    if job.params.path is None:
        raise ValueError("no transform file was named; give path")
    out = apply_xf(series, job.params.path, job.params.binning)
    job.note(axis_degrees=round(out.geometry.axis_degrees, 3))
    return out
