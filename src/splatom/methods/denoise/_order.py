"""What a network takes away must be noise: order that it removed in part is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["order_kept"]

_STANDS_OUT = 14.0  # times the noise's mean power; noise alone reaches it once in 10⁶ frequencies
_SHOWN = 1.0  # the same of the image that is left
_RINGS = 24


def order_kept(noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give back what stands out of the spectrum of the removed part: a lattice that the network did not know.

    Noise has a smooth spectrum, and ridges where lines share it; a lattice has peaks. Where the power P of what was
    removed is far above the noise's N, it was mostly structure, and the share 1 − N/P of it (Wiener's) is returned. N
    is the median of the power over rings of equal frequency, over rows and over columns of the spectrum, whichever is
    the highest. Hum of the electronics makes peaks, too, so the image that is left has to show the frequency itself.
    A structure without order has no peaks and gets nothing back. Ours.

    Parameters
    ----------
    noisy, clean : array (rows, columns), float32
        An image before and after a denoiser.

    Returns
    -------
    array (rows, columns), float32
    """
    from scipy import fft, ndimage

    removed = noisy - clean
    spectrum = fft.fft2(removed - removed.mean(dtype=np.float64))
    power = np.abs(spectrum) ** 2
    rows, columns = power.shape
    k = np.hypot(fft.fftfreq(noisy.shape[0])[:, None], fft.fftfreq(noisy.shape[1])[None])
    ring = np.minimum((k * (2 * _RINGS)).astype(np.int32), _RINGS)
    around = np.asarray(ndimage.median(power, ring, np.arange(_RINGS + 1)))
    # The median of an exponential distribution is ln 2 times its mean.
    noise = np.maximum.reduce(
        [np.nan_to_num(around)[ring], np.broadcast_to(np.median(power, axis=0), (rows, columns)),
         np.broadcast_to(np.median(power, axis=1)[:, None], (rows, columns))]
    ) / np.log(2)  # fmt: skip
    shown = np.abs(fft.fft2(clean - clean.mean(dtype=np.float64))) ** 2
    peak = (power > _STANDS_OUT * noise) & (ndimage.maximum_filter(shown, 3, mode="wrap") > _SHOWN * noise)
    if not peak.any():
        return clean
    share = np.where(peak, 1 - noise / np.where(peak, power, 1), 0)
    out: NDArray[np.float32] = (clean + fft.ifft2(share * spectrum).real).astype(np.float32)
    return out
