"""Total variation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["TvParams", "run"]


class TvParams(MethodParams):
    """Total variation: the image of least variation that is near the measured one.

    Suits flat regions with sharp edges; what is round becomes stepped. scikit-image's; the weight is a multiple of the
    noise's standard deviation, one value for all tilts. Source: L. Rudin, S. Osher and E. Fatemi, Physica D 60, 259
    (1992); A. Chambolle, J. Math. Imaging Vis. 20, 89 (2004).
    """

    method: Literal["tv"] = "tv"
    weight: float = option(
        1.2, "Weight", "Weight of the variation in units of the noise: larger is smoother.", unit="σ", gt=0, le=50
    )
    noise: float | None = option(
        None, "Noise", "Standard deviation of the noise in the unit of the images; empty: from the images.", gt=0,
        advanced=True,
    )  # fmt: skip


def run(series: TiltSeries, job: Job[TvParams]) -> TiltSeries:
    """Return the series with less variation."""
    from skimage.restoration import denoise_tv_chambolle

    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._noise import scaled
    from splatom.methods.denoise._tiles import Tiling

    p = job.params
    scale, noise = scaled(series, p.noise, job)
    weight = p.weight * noise

    def smoothed(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return scale.inverse(denoise_tv_chambolle(scale.forward(tile), weight))  # type: ignore[no-untyped-call]

    return denoised(series, job, smoothed, Tiling(256, 32))
