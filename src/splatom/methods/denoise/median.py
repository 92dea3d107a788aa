"""A median filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["MedianParams", "run"]


class MedianParams(MethodParams):
    """Take the median of each pixel's neighbourhood: robust against spikes, keeps edges.

    By default the neighbourhood is the one whose other pixels predict a pixel best (Batson & Royer, ICML 2019), the
    same for all tilts.
    """

    method: Literal["median"] = "median"
    size: int | None = option(
        None, "Size", "Side of the square neighbourhood, odd; empty: from the images.", unit="px", ge=3, le=31
    )


def run(series: TiltSeries, job: Job[MedianParams]) -> TiltSeries:
    """Return the filtered series."""
    from scipy import ndimage

    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._noise import best_width, sample
    from splatom.methods.denoise._tiles import Tiling

    size = job.params.size
    if size is None:
        size = int(best_width(sample(series, 256), (3, 5, 7, 9), _blind, job.check))
        job.note(size_px=size)
    elif size % 2 == 0:
        raise ValueError(f"size is {size}; a neighbourhood about a pixel has an odd side: {size - 1} or {size + 1}")
    side = size

    def filtered(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = ndimage.median_filter(tile, side, mode="reflect")
        return out

    return denoised(series, job, filtered, Tiling(256, 2 * side))


def _blind(image: NDArray[np.float32], size: float) -> NDArray[np.float32]:
    """Median of the others in the neighbourhood."""
    from scipy import ndimage

    others = np.ones((int(size), int(size)), bool)
    others[int(size) // 2, int(size) // 2] = False
    out: NDArray[np.float32] = ndimage.median_filter(image, footprint=others, mode="reflect")
    return out
