"""How alike two images or volumes are: RMSE, PSNR, SSIM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["data_range", "fit_gain_offset", "psnr", "rmse", "ssim"]


def _pair(result: ArrayLike, reference: ArrayLike, fit: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(result, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: result {a.shape}, reference {b.shape}; crop or bin one to the other")
    if a.size == 0:
        raise ValueError("nothing to compare: the arrays are empty")
    return (fit_gain_offset(a, b) if fit else a), b


def data_range(reference: ArrayLike) -> float:
    """Range that PSNR and SSIM refer to: maximum minus minimum of the reference.

    Raises
    ------
    ValueError
        If the reference is constant.
    """
    span = float(np.ptp(np.asarray(reference, dtype=np.float64)))
    if span == 0:
        raise ValueError("the reference is constant: it has no range that an error could refer to")
    return span


def fit_gain_offset(result: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return gain · result + offset, the two chosen by least squares to fit the reference."""
    a, b = np.asarray(result, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    centred = a - a.mean()
    power = float((centred * centred).sum())
    gain = float((centred * (b - b.mean())).sum()) / power if power > 0 else 0.0
    out: NDArray[np.float64] = gain * centred + b.mean()
    return out


def rmse(result: ArrayLike, reference: ArrayLike, *, fit: bool = False) -> float:
    """Root mean square error, in the unit of the arrays.

    Parameters
    ----------
    result, reference : array
        Images or volumes of one shape.
    fit : bool
        Whether the best gain and offset are applied to the result first.
    """
    a, b = _pair(result, reference, fit)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def psnr(result: ArrayLike, reference: ArrayLike, *, fit: bool = False) -> float:
    """Peak signal-to-noise ratio ``20 log10(range / RMSE)`` in dB; infinite for equal arrays.

    Parameters
    ----------
    result, reference : array
        Images or volumes of one shape; the range is that of the reference (:func:`data_range`).
    fit : bool
        Whether the best gain and offset are applied to the result first.
    """
    error = rmse(result, reference, fit=fit)
    span = data_range(reference)
    return float("inf") if error == 0 else float(20 * np.log10(span / error))


def ssim(result: ArrayLike, reference: ArrayLike, *, fit: bool = False) -> float:
    """Mean structural similarity (Wang et al., IEEE Trans. Image Process. 13, 600, 2004), window 7.

    Parameters
    ----------
    result, reference : array
        Images or volumes of one shape, at least 3 along each axis; range as in :func:`data_range`. A volume is judged
        by 3-D windows.
    fit : bool
        Whether the best gain and offset are applied to the result first.
    """
    from skimage.metrics import structural_similarity

    a, b = _pair(result, reference, fit)
    window = min(7, *a.shape)
    window -= 1 - window % 2
    if window < 3:
        raise ValueError(f"SSIM needs at least 3 pixels along each axis, not {a.shape}")
    similarity: Any = structural_similarity
    return float(similarity(b, a, data_range=data_range(b), win_size=window))
