"""Wavelet shrinkage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["WaveletParams", "run"]


class WaveletParams(MethodParams):
    """Wavelet shrinkage: small coefficients are taken for noise, each band with its own threshold.

    scikit-image's BayesShrink with soft thresholds, averaged over shifts of the grid, which takes away its blocks; the
    noise is one value for all tilts. Source: S. Chang, B. Yu and M. Vetterli, IEEE Trans. Image Process. 9, 1532
    (2000); R. Coifman and D. Donoho (1995) for the shifts.
    """

    method: Literal["wavelet"] = "wavelet"
    strength: float = option(
        1.0, "Strength", "Factor on the noise that thresholds reckon with: larger is smoother.", gt=0, le=20
    )
    noise: float | None = option(
        None, "Noise", "Standard deviation of the noise in the unit of the images; empty: from the images.", gt=0,
        advanced=True,
    )  # fmt: skip
    shifts: int = option(
        2, "Shifts", "Shifts of the grid along each axis that are averaged; 1 is none.", ge=1, le=8, advanced=True
    )


def run(series: TiltSeries, job: Job[WaveletParams]) -> TiltSeries:
    """Return the shrunken series."""
    from skimage.restoration import denoise_wavelet

    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._noise import scaled
    from splatom.methods.denoise._tiles import Tiling

    p = job.params
    scale, noise = scaled(series, p.noise, job)
    sigma = p.strength * noise
    moves = [(r, c) for r in range(p.shifts) for c in range(p.shifts)]

    def shrunken(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        x, out = scale.forward(tile), np.zeros_like(tile)
        for move in moves:
            job.check()
            bands = denoise_wavelet(np.roll(x, move, (0, 1)), sigma=sigma, wavelet="sym4", rescale_sigma=False)
            out += np.roll(bands, (-move[0], -move[1]), (0, 1))
        return scale.inverse(out / np.float32(len(moves)))

    return denoised(series, job, shrunken, Tiling(512, 32, multiple=32, margin=16))
