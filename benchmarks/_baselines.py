"""Filters from libraries, each with its parameter tuned by the truth: what a network has to beat.

A filter sees the image with its mean taken away and divided by its standard deviation. Its parameter is the one with
the highest PSNR against the truth, found per image along a grid of steps of √2 (no user has that luck). SSIM is the
best seen at any parameter tried. BM3D is the package ``bm3d`` (Tampere University, for non-commercial use: a peer, no
part of Splatom); it is told white noise of the strength that there is, or √2 times that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Filter = Callable[[Image, float], Image]


@dataclass(frozen=True)
class Score:
    """What a filter's best parameter gives: PSNR in dB and its image; the best SSIM of any parameter."""

    psnr: float
    ssim: float
    parameter: float
    image: Image


def psnr(image: Image, truth: Image) -> float:
    """Return the PSNR in dB, the peak being the range of the truth; float images, nothing clipped."""
    error = np.mean((np.asarray(image, np.float64) - truth) ** 2)
    return float(20 * np.log10(np.ptp(truth)) - 10 * np.log10(error))


def ssim(image: Image, truth: Image) -> float:
    """Return the SSIM of Wang 2004: Gaussian windows of σ 1.5, the range of the truth."""
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            np.asarray(truth, np.float64), np.asarray(image, np.float64), data_range=float(np.ptp(truth)),
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ the filters
def _gaussian(x: Image, p: float) -> Image:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, p)


def _median(x: Image, p: float) -> Image:
    from scipy.ndimage import median_filter

    return median_filter(x, int(p))


def _wiener(x: Image, p: float) -> Image:
    from scipy.signal import wiener

    with np.errstate(divide="ignore", invalid="ignore"):  # windows without variance get their mean
        return wiener(x.astype(np.float64), int(p)).astype(np.float32)


def _nlm(x: Image, p: float) -> Image:
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(x, patch_size=7, patch_distance=11, h=p, sigma=0, fast_mode=True)


def _tv(x: Image, p: float) -> Image:
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(x, weight=p, max_num_iter=200)


def _wavelet(x: Image, p: float) -> Image:
    from skimage.restoration import denoise_wavelet

    return denoise_wavelet(x, sigma=p, wavelet="sym4", mode="soft", method="BayesShrink", rescale_sigma=False)


def _bm3d(x: Image, p: float) -> Image:
    import bm3d

    return bm3d.bm3d(x, sigma_psd=p).astype(np.float32)


def _steps(low: float, high: float) -> tuple[float, ...]:
    return tuple(low * 2 ** (k / 2) for k in range(round(2 * np.log2(high / low)) + 1))


BASELINES: dict[str, tuple[Filter, Sequence[float]]] = {
    "gaussian": (_gaussian, _steps(0.35, 11)),
    "median": (_median, (3, 5, 7, 9, 11, 15, 19)),
    "wiener": (_wiener, (3, 5, 7, 9, 11, 15, 19)),
    "nlm": (_nlm, _steps(0.02, 1.5)),
    "tv": (_tv, _steps(0.01, 5)),
    "wavelet": (_wavelet, _steps(0.02, 2)),
    "bm3d": (_bm3d, ()),  # see tuned
}
if find_spec("bm3d") is None:
    del BASELINES["bm3d"]


# ------------------------------------------------------------------------------------------------ tuned
def tuned(name: str, noisy: Image, truth: Image, part: tuple[slice, ...] = ()) -> Score:
    """Return the best that a filter does on an image when the truth picks its parameter.

    The truth may be that of a part of the image alone.
    """
    mean, sd = float(noisy.mean()), float(noisy.std()) or 1.0
    x = ((noisy - mean) / sd).astype(np.float32)
    function, grid = BASELINES[name]
    starts = (len(grid) // 3, 2 * len(grid) // 3)
    if name == "bm3d":  # takes seconds: the noise that there is, and a step above, which suits periodic images
        sigma = float((noisy[part] - truth).std()) / sd
        grid, starts = (sigma, np.sqrt(2) * sigma), (0, 1)
    return _climb(lambda p: function(x, p) * sd + mean, grid, truth, starts, part)


def _climb(
    run: Callable[[float], Image], grid: Sequence[float], truth: Image, starts: tuple[int, ...], part: tuple[slice, ...]
) -> Score:
    """Find the best of a grid: up the hill from the best of the starts, so that few parameters are tried."""
    seen: dict[int, Score] = {}

    def at(k: int) -> Score:
        if k not in seen:
            image = np.asarray(run(grid[k]), np.float32)
            seen[k] = Score(psnr(image[part], truth), ssim(image[part], truth), grid[k], image)
        return seen[k]

    best = max(starts, key=lambda k: at(k).psnr)
    while True:
        around = [k for k in (best - 1, best, best + 1) if 0 <= k < len(grid)]
        top = max(around, key=lambda k: at(k).psnr)
        if top == best:
            break
        best = top
    found = seen[best]
    return Score(found.psnr, max(s.ssim for s in seen.values()), found.parameter, found.image)
