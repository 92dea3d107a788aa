"""Small image operations that the methods of this folder share; none knows a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from splatom.data import TiltSeries

__all__ = [
    "band_pass",
    "learning",
    "mad_sigma",
    "matter",
    "pixel_window",
    "resampled",
    "shift_between",
    "taper",
    "turn_shifts",
]


def learning(series: TiltSeries) -> NDArray[np.bool_]:
    """Tilts that may be learnt from: measured and not held out, (n_tilts,).

    Raises
    ------
    ValueError
        If fewer than three are left.
    """
    out: NDArray[np.bool_] = ~(series.held_out | series.synthetic)
    if out.sum() < 3:
        raise ValueError(f"only {int(out.sum())} measured tilts that are not held out; this needs at least 3")
    return out


def matter(series: TiltSeries) -> NDArray[np.float32]:
    """Images in which matter is bright (bright-field ones are inverted) and unmeasured pixels hold the median."""
    out = series.projections if series.contrast == "adf" else -series.projections
    if series.mask is None:
        return out
    out = out.copy()
    for image, seen in zip(out, series.mask, strict=True):
        image[~seen] = np.median(image[seen]) if seen.any() else 0.0
    return out


def mad_sigma(values: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of the bulk of some values from their median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def taper(shape: tuple[int, int], share: float = 0.12) -> NDArray[np.float32]:
    """Window that falls as a squared sine to zero over a share of each side, (height, width)."""

    def edge(n: int) -> NDArray[np.float64]:
        rim = np.minimum(np.arange(n) + 0.5, n - 0.5 - np.arange(n)) / max(share * n, 1.0)
        out: NDArray[np.float64] = np.sin(np.pi / 2 * np.clip(rim, 0, 1)) ** 2
        return out

    return np.outer(edge(shape[0]), edge(shape[1])).astype(np.float32)


def band_pass(images: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Keep structure between two widths: a difference of Gaussians with sigmas ``low`` < ``high`` in pixels."""
    from scipy import ndimage

    sigma = (0.0,) * (images.ndim - 2)
    fine = ndimage.gaussian_filter(images, (*sigma, low, low), mode="nearest") if low > 0 else images
    coarse = ndimage.gaussian_filter(images, (*sigma, high, high), mode="nearest")
    out: NDArray[np.float32] = fine - coarse
    return out


def turn_shifts(shifts: ArrayLike, degrees: float) -> NDArray[np.float64]:
    """Turn ``(column, row)`` vectors by an angle from +column towards +row, (n, 2)."""
    a = np.deg2rad(degrees)
    c, s = np.round(np.cos(a), 15), np.round(np.sin(a), 15)
    out: NDArray[np.float64] = np.asarray(shifts, dtype=np.float64) @ np.array([[c, s], [-s, c]])
    return out


def pixel_window(shape: tuple[int, int], degrees: float, full: bool = True) -> tuple[int, int]:
    """Height and width of an image after a turn: all of it (``full``), or the old one with sides swapped at need."""
    a = np.deg2rad(degrees)
    c, s = abs(np.round(np.cos(a), 12)), abs(np.round(np.sin(a), 12))
    h, w = shape
    if not full:
        return (w, h) if s > c else (h, w)
    return int(np.ceil(h * c + w * s - 1e-6)), int(np.ceil(w * c + h * s - 1e-6))


def resampled(
    image: NDArray[np.float32],
    *,
    shift: ArrayLike = (0.0, 0.0),
    degrees: float = 0.0,
    stretch: float = 1.0,
    scale: float = 1.0,
    shape: tuple[int, int] | None = None,
    order: Literal[0, 1, 3] = 1,
    fill: float | None = None,
) -> NDArray[np.float32]:
    """Undo a shift, then turn, then stretch the columns, then scale the whole, about the centre of the field.

    Parameters
    ----------
    image : array (height, width)
    shift : (column, row)
        Displacement of the specimen to undo, in pixels of the input.
    degrees : float
        Turn from +column towards +row.
    stretch, scale : float
        Factors of the columns, and of both axes, of the output (below 1: smaller).
    shape : (height, width), optional
        Of the output; that of the input by default.
    order : int
        Of the spline.
    fill : float, optional
        Value outside; the nearest pixel's by default.
    """
    from scipy import ndimage

    h, w = image.shape
    rows, columns = shape or (h, w)
    a = np.deg2rad(degrees)
    c, s = np.round(np.cos(a), 15), np.round(np.sin(a), 15)
    # input (row, column) = back · output + offset
    back = np.array([[c, -s], [s, c]]) @ np.diag([1 / scale, 1 / (scale * stretch)])
    centre_in = np.array([(h - 1) / 2, (w - 1) / 2]) + np.asarray(shift, dtype=np.float64)[::-1]
    offset = centre_in - back @ np.array([(rows - 1) / 2, (columns - 1) / 2])
    mode: Literal["nearest", "constant"] = "nearest" if fill is None else "constant"
    out: NDArray[np.float32] = ndimage.affine_transform(
        image, back, tuple(offset), (rows, columns), order=order, mode=mode, cval=0.0 if fill is None else fill
    )
    return out


def shift_between(
    reference: NDArray[np.float32],
    image: NDArray[np.float32],
    *,
    whiten: float = 0.0,
    limit: float | None = None,
    upsample: int = 50,
) -> tuple[NDArray[np.float64], float]:
    """Find by how much an image is displaced against a reference, to a fraction of a pixel.

    The peak of the cross-correlation is found by FFT and refined by an upsampled matrix DFT around it (Guizar-Sicairos,
    Thurman & Fienup, Opt. Lett. 33, 156, 2008).

    Parameters
    ----------
    reference, image : array (height, width)
        Tapered, of zero mean.
    whiten : float
        0 is the plain cross-correlation, 1 the phase correlation.
    limit : float, optional
        Largest shift looked for, in pixels along each axis.
    upsample : int
        Fractions of a pixel.

    Returns
    -------
    shift : array (2,)
        ``(column, row)`` in pixels.
    peak : float
        Height of the peak, 1 for equal images (with ``whiten=0``).
    """
    from scipy import fft

    h, w = reference.shape
    shape = (fft.next_fast_len(h * 3 // 2), fft.next_fast_len(w * 3 // 2))
    cross = fft.fft2(image, shape) * np.conj(fft.fft2(reference, shape))
    if whiten:
        size = np.abs(cross)
        cross *= (size + 1e-6 * size.max() + 1e-30) ** -whiten
        norm = np.abs(cross).sum() / cross.size
    else:
        norm = float(np.sqrt((reference.astype(np.float64) ** 2).sum() * (image.astype(np.float64) ** 2).sum()))
    surface = fft.ifft2(cross).real
    rows, columns = (np.rint(fft.fftfreq(n) * n) for n in shape)
    if limit is not None:
        surface = np.where((np.abs(rows) <= limit)[:, None] & (np.abs(columns) <= limit)[None], surface, -np.inf)
    at = np.unravel_index(int(surface.argmax()), shape)
    peak = np.array([rows[at[0]], columns[at[1]]])
    fine = np.arange(-upsample, upsample + 1) / upsample
    kernel_r = np.exp(2j * np.pi * np.outer(peak[0] + fine, fft.fftfreq(shape[0])))
    kernel_c = np.exp(2j * np.pi * np.outer(fft.fftfreq(shape[1]), peak[1] + fine))
    zoom = (kernel_r @ cross @ kernel_c).real
    r, c = np.unravel_index(int(zoom.argmax()), zoom.shape)
    height = zoom[r, c] / (shape[0] * shape[1] * max(norm, 1e-30))
    return np.array([peak[1] + fine[c], peak[0] + fine[r]]), float(height)
