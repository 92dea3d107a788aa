"""A Gaussian blur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["GaussianParams", "run"]

_WIDTHS = tuple(float(f"{0.35 * 1.18**k:.2g}") for k in range(19))  # to 7 pixels


class GaussianParams(MethodParams):
    """Blur by a Gaussian: the plainest filter, linear, with the same resolution everywhere.

    By default the width is the one at which the blurred neighbours predict a pixel best (Batson & Royer, ICML 2019),
    the same for all tilts.
    """

    method: Literal["gaussian"] = "gaussian"
    sigma: float | None = option(
        None, "Width", "Standard deviation of the blur; empty: from the images.", unit="px", gt=0, le=100
    )


def run(series: TiltSeries, job: Job[GaussianParams]) -> TiltSeries:
    """Return the blurred series."""
    from scipy import ndimage

    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._noise import best_width, sample
    from splatom.methods.denoise._tiles import Tiling

    width = job.params.sigma
    if width is None:
        width = best_width(sample(series), _WIDTHS, _blind, job.check)
        job.note(sigma_px=width)
    chosen = width

    def blur(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = ndimage.gaussian_filter(tile, chosen, mode="reflect")
        return out

    reach = int(np.ceil(4 * chosen)) + 1
    return denoised(series, job, blur, Tiling(max(1024, 4 * reach), 2 * reach))


def _blind(image: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Blur without the pixel's own share."""
    from scipy import ndimage

    centre = ndimage.gaussian_filter1d(np.eye(1, 65, 32)[0], width)[32] ** 2 if width < 8 else 0.0
    out: NDArray[np.float32] = (ndimage.gaussian_filter(image, width, mode="reflect") - centre * image) / (1 - centre)
    return out
