"""Non-local means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["NlmParams", "run"]


class NlmParams(MethodParams):
    """Non-local means: average pixels whose surroundings look alike.

    Suits images in which a motif repeats, such as a lattice. scikit-image's, with the noise's share of the distance
    taken off; the cut-off is a multiple of the noise's standard deviation, one value for all tilts. Source: A. Buades,
    B. Coll and J.-M. Morel, CVPR 2005; J. Darbon et al., ISBI 2008.
    """

    method: Literal["nlm"] = "nlm"
    strength: float = option(
        0.7, "Strength", "Cut-off in units of the noise: larger is smoother.", unit="σ", gt=0, le=20
    )
    noise: float | None = option(
        None, "Noise", "Standard deviation of the noise in the unit of the images; empty: from the images.", gt=0,
        advanced=True,
    )  # fmt: skip
    patch: int = option(5, "Patch", "Side of the surroundings compared.", unit="px", ge=3, le=25, advanced=True)
    distance: int = option(8, "Distance", "How far away alike pixels are looked for.", unit="px", ge=2, le=50,
                           advanced=True)  # fmt: skip


def run(series: TiltSeries, job: Job[NlmParams]) -> TiltSeries:
    """Return the averaged series."""
    from skimage.restoration import denoise_nl_means

    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._noise import scaled
    from splatom.methods.denoise._tiles import Tiling

    p = job.params
    scale, noise = scaled(series, p.noise, job)

    def averaged(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        out = denoise_nl_means(
            scale.forward(tile), p.patch, p.distance, h=p.strength * noise, sigma=noise, fast_mode=True,
            preserve_range=True,
        )  # fmt: skip
        return scale.inverse(out)

    return denoised(series, job, averaged, Tiling(192, 2 * (p.distance + p.patch // 2 + 1), multiple=2))
