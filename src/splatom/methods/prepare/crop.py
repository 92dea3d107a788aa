"""Crop the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["CropParams", "run"]


class CropParams(MethodParams):
    """Cut the images down to a box.

    Without a box the specimen is framed where it stands free in the field; otherwise only rows and columns that no
    tilt measured are cut off. The tilt axis stays where it is in the specimen: the shifts follow the moved centre.
    """

    method: Literal["crop"] = "crop"
    box: tuple[int, int, int, int] | None = option(
        None, "Box", "First row, last row, first column, last column (the last ones not included); empty: automatic."
    )
    margin: int = option(8, "Margin", "Room left around the specimen by the automatic box.", unit="px", ge=0)


def run(series: TiltSeries, job: Job[CropParams]) -> TiltSeries:
    """Return the cropped series."""
    p = job.params
    _, h, w = series.shape
    top, bottom, left, right = p.box if p.box is not None else _frame(series, p.margin)
    job.note(box=[top, bottom, left, right])
    if not (0 <= top < bottom <= h and 0 <= left < right <= w):
        raise ValueError(
            f"the box {top}, {bottom}, {left}, {right} does not lie in images of {h} rows and {w} columns; "
            "give first row, last row, first column, last column"
        )
    # A point at column c of the old image is at c − left of the new one, whose centre is elsewhere.
    moved = np.array([(w - 1) / 2 - left - (right - left - 1) / 2, (h - 1) / 2 - top - (bottom - top - 1) / 2])
    mask = None if series.mask is None else series.mask[:, top:bottom, left:right]
    return series.with_(
        projections=series.projections[:, top:bottom, left:right],
        geometry=series.geometry.with_shifts(series.geometry.shifts + moved),
        mask=None if mask is None or mask.all() else mask,
    )


def _frame(series: TiltSeries, margin: int) -> tuple[int, int, int, int]:
    from splatom.methods.prepare._images import learning, matter
    from splatom.methods.prepare._specimen import outline

    use = learning(series)
    seen = np.ones(series.shape[1:], bool) if series.mask is None else np.asarray(series.mask[use].any(axis=0))
    body = np.asarray(outline(matter(series)[use]).any(axis=0))
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
    for axis, first in ((1, 0), (0, 2)):
        held = np.flatnonzero(body.any(axis=axis))
        if len(held):
            box[first] = max(box[first], held[0] - margin)
            box[first + 1] = min(box[first + 1], held[-1] + 1 + margin)
    return int(box[0]), int(box[1]), int(box[2]), int(box[3])
