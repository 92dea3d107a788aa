"""Alignment of specimens that stand free across the axis: common line along it, centres of mass across it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.prepare._images import mad_sigma, resampled
from splatom.methods.prepare._specimen import outline

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.methods.prepare._upright import Upright

__all__ = ["across_by_slices", "along_by_common_line", "orbit", "profile_shift", "whole_centre"]


def profile_shift(
    reference: NDArray[np.float64], profile: NDArray[np.float64], limit: float
) -> tuple[float, float]:
    """Find the displacement of a profile against a reference, free of gain and offset, to a fraction of a pixel.

    Whole pixels by normalised correlation over the overlap, then Gauss-Newton steps on
    ``profile(y) = gain · reference(y − shift) + offset``.

    Returns
    -------
    shift, gain : float
    """
    from scipy.interpolate import CubicSpline

    n = len(reference)
    reach = int(min(limit, n // 2))
    best, shift = -np.inf, 0.0
    for lag in range(-reach, reach + 1):
        a = reference[max(0, -lag) : n - max(0, lag)]
        b = profile[max(0, lag) : n - max(0, -lag)]
        a, b = a - a.mean(), b - b.mean()
        score = float(a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), 1e-30) * len(a) / n
        if score > best:
            best, shift = score, float(lag)
    spline = CubicSpline(np.arange(n), reference)
    slope = spline.derivative()
    y = np.arange(n, dtype=np.float64)
    gain = 1.0
    for _ in range(10):
        at = y - shift
        inside = (at >= 1) & (at <= n - 2) & (y >= 1) & (y <= n - 2)
        terms = np.stack([spline(at[inside]), np.ones(int(inside.sum())), -slope(at[inside])], axis=1)
        gain, _, step = np.linalg.lstsq(terms, profile[inside], rcond=None)[0]
        if gain <= 0:
            break
        move = float(np.clip(step / gain, -1, 1))
        shift += move
        if abs(move) < 1e-3:
            break
    return shift, float(gain)


def along_by_common_line(
    up: Upright, shifts: NDArray[np.float64], limit: float, check: Callable[[], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shifts along the axis: the images' profile summed across the axis is the same in every tilt (common line).

    Valid where the specimen is free across the axis (Scott et al., Nature 483, 444, 2012).

    Returns
    -------
    shifts : array (n,)
    gains : array (n,)
        Intensity of each tilt relative to the mean of those in use.
    """
    from scipy import ndimage

    profiles = up.images.sum(axis=2, dtype=np.float64)
    out = shifts[:, 1].copy()
    gains = np.ones(len(out))
    rows = np.arange(profiles.shape[1], dtype=np.float64)
    inner = int(np.flatnonzero(up.use)[np.abs(up.angles[up.use]).argmin()])
    reference = ndimage.gaussian_filter1d(ndimage.shift(profiles[inner], -out[inner], order=1, mode="nearest"), 1.0)
    for _ in range(6):
        check()
        before = out.copy()
        for i, profile in enumerate(profiles):
            out[i], gains[i] = profile_shift(reference, profile, limit)
        gains = np.where(gains > 0, gains, 1.0)
        gains /= np.exp(np.log(gains[up.use]).mean())
        placed = np.stack([np.interp(rows + out[i], rows, profiles[i] / gains[i]) for i in np.flatnonzero(up.use)])
        reference = ndimage.gaussian_filter1d(np.median(placed, axis=0), 0.5)
        if np.abs(out - before)[up.use].max() < 0.02:
            break
    return out, gains


def orbit(angles: NDArray[np.float64], constant: bool = False) -> NDArray[np.float64]:
    """Path of a point across the axis: cos θ, −sin θ (and 1 for an axis beside the centre), (n, 2 or 3)."""
    a = np.deg2rad(angles)
    return np.stack([np.cos(a), -np.sin(a), *([np.ones_like(a)] if constant else [])], axis=1)


def across_by_slices(
    up: Upright, along: NDArray[np.float64], check: Callable[[], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shifts across the axis by the centres of mass of the slices perpendicular to it.

    Each row of the images (once they agree along the axis) is the projection of one slice, whose centre of mass moves
    on its orbit; what all slices do besides is the shift. Slices that leave the field in some tilt do not count, so
    that a needle may leave it along the axis (local centres of mass: Sanders et al., Ultramicroscopy 148, 2015).

    Returns
    -------
    shifts : array (n,)
    centres : array (n,)
        Weighted mean of the slices' centres, shifts included.
    """
    from scipy import ndimage

    n, h, w = up.images.shape
    columns = np.arange(w) - (w - 1) / 2
    mass, moment = np.zeros((n, h)), np.zeros((n, h))
    clear = np.ones(h, bool)
    rows = np.arange(h, dtype=np.float64)
    for i, image in enumerate(up.images):
        check()
        placed = resampled(image, shift=(0.0, along[i]))
        body = outline(placed[None])[0]
        support = ndimage.binary_dilation(body, iterations=6)
        value = np.where(support, placed, 0.0)
        mass[i], moment[i] = value.sum(axis=1), value @ columns
        if up.use[i]:
            clear &= (rows + along[i] >= 1) & (rows + along[i] <= h - 2) & ~body[:, 0] & ~body[:, -1]
    typical = np.median(mass[up.use], axis=0)
    clear &= typical > 0.1 * np.percentile(typical, 95)
    if clear.sum() < 3:
        raise ValueError(
            "no part of the specimen stays in the field across the axis in every tilt, so its centre of mass says "
            "nothing; use --kind cross-correlation or reprojection"
        )
    centres = moment[:, clear] / np.maximum(mass[:, clear], 1e-12)
    weight = typical[clear] / typical[clear].sum()
    shift = np.zeros(n)
    basis = orbit(up.angles)
    for _ in range(4):
        fit = np.linalg.lstsq(basis[up.use], (centres - shift[:, None])[up.use], rcond=None)[0]
        rest = centres - basis @ fit
        middle = np.median(rest, axis=1, keepdims=True)
        far = np.abs(rest - middle) > 4 * max(mad_sigma((rest - middle)[up.use]), 1e-6)
        trusted = np.where(far, 0.0, weight)
        shift = (rest * trusted).sum(axis=1) / np.maximum(trusted.sum(axis=1), 1e-12)
    return shift, centres @ weight


def whole_centre(up: Upright, check: Callable[[], None]) -> NDArray[np.float64]:
    """Centre of mass ``(across, along)`` of every image from the field's centre, (n, 2)."""
    from scipy import ndimage

    n, h, w = up.images.shape
    out = np.empty((n, 2))
    for i, image in enumerate(up.images):
        check()
        support = ndimage.binary_dilation(outline(image[None])[0], iterations=6)
        value = np.where(support, image, 0.0).astype(np.float64)
        total = max(float(value.sum()), 1e-12)
        out[i] = (
            value.sum(axis=0) @ (np.arange(w) - (w - 1) / 2) / total,
            value.sum(axis=1) @ (np.arange(h) - (h - 1) / 2) / total,
        )
    return out
