"""Bin the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["BinParams", "run"]


class BinParams(MethodParams):
    """Average blocks of pixels: smaller images with less noise.

    Intensities keep their scale, the pixel size grows, and the shifts follow. Rows and columns that fill no block are
    trimmed evenly. A block counts as measured where at least half of it was.
    """

    method: Literal["bin"] = "bin"
    factor: int = option(2, "Factor", "Pixels of the old images along each side of a new one.", ge=1, le=64)


def run(series: TiltSeries, job: Job[BinParams]) -> TiltSeries:
    """Return the binned series."""
    b = job.params.factor
    n, h, w = series.shape
    rows, columns = h // b, w // b
    if not rows or not columns:
        raise ValueError(f"binning by {b} leaves nothing of images of {h} × {w} pixels; choose at most {min(h, w)}")
    top, left = (h - rows * b) // 2, (w - columns * b) // 2

    def blocks(stack: NDArray[Any]) -> NDArray[np.float32]:
        cut = stack[:, top : top + rows * b, left : left + columns * b]
        out: NDArray[np.float32] = cut.reshape(n, rows, b, columns, b).mean(axis=(2, 4), dtype=np.float32)
        return out

    mask = series.mask
    if mask is None:
        images = blocks(series.projections)
    else:
        share = blocks(mask)
        images = np.divide(blocks(np.where(mask, series.projections, 0)), np.maximum(share, np.float32(1e-6)))
        mask = share >= 0.5
    centre = np.array([(w - 1) / 2 - left - (b - 1) / 2, (h - 1) / 2 - top - (b - 1) / 2])
    shifts = (series.geometry.shifts + centre) / b - np.array([(columns - 1) / 2, (rows - 1) / 2])
    return series.with_(
        projections=images,
        geometry=series.geometry.with_shifts(shifts),
        pixel_size=None if series.pixel_size is None else series.pixel_size * b,
        mask=mask,
    )
