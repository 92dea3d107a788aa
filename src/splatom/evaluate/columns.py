"""Atom columns as points: the dots of a detection map, or the peaks of an image, to a fraction of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["find_columns", "usual_distance", "usual_threshold"]

_BLUR = 0.8  # pixels


def usual_threshold(detect_image: ArrayLike, *, phase: bool = False) -> float:
    """Return the height above which a detection map's dots count, from the heights of its surest dots.

    A network that cannot tell a column's place to a pixel spreads its dot: at low dose all dots are low. So the
    threshold is two fifths of the 95th percentile of the maxima's heights, between 0.06 and 0.4. In phase contrast
    (``phase``) a column may be bright or dark, and a network that is not sure marks the gaps between columns too, but
    lower: there it is 0.65 of that percentile, up to 0.4, too. Chosen on scenes of the networks' training.
    """
    from scipy import ndimage

    share, most = 0.65 if phase else 0.4, 0.4
    image = np.maximum(np.asarray(detect_image, dtype=np.float64), 0)
    tops = image[(image == ndimage.maximum_filter(image, 3, mode="nearest")) & (image > 0.05)]
    return float(np.clip(share * np.percentile(tops, 95), 0.06, most)) if tops.size else most


def usual_distance(detect_image: ArrayLike) -> float:
    """Return the distance in pixels below which the fainter of two dots is none, from how far the sure dots are apart.

    A network draws faint dots in the flanks of columns that are much wider than those it knows. Sure dots are those
    above half of the 95th percentile of the maxima's heights; columns are nowhere nearer than 0.45 of the median
    distance of sure neighbours (a light column between two heavy ones is at half of it). At least 3 pixels.
    """
    from scipy.spatial import cKDTree

    image = np.maximum(np.asarray(detect_image, dtype=np.float64), 0)
    places = find_columns(image, min_distance=3.0)
    rows, columns = np.clip(np.rint(places).astype(int), 0, np.array(image.shape) - 1).T
    heights = image[rows, columns]
    sure = places[heights > 0.5 * np.percentile(heights, 95)] if len(places) else places
    if len(sure) < 8:
        return 3.0
    return max(3.0, 0.45 * float(np.median(cKDTree(sure).query(sure, k=2)[0][:, 1])))


def find_columns(
    detect_image: ArrayLike, threshold: float | None = None, min_distance: float | None = None
) -> NDArray[np.float64]:
    """Find the dots of a detection map.

    A dot is a pixel that is higher than its eight neighbours and the threshold; of two that are nearer than
    ``min_distance`` the lower one goes. Its place is the top of the Gaussian through it and its neighbours
    (least squares in the logarithm): exact for a Gaussian dot, whatever its width.

    Parameters
    ----------
    detect_image : array (rows, columns)
        Dots on a ground of zero; values below zero count as zero.
    threshold : float, optional
        Least height of a dot, in the unit of the image (dots of the networks have height 1); by default
        :func:`usual_threshold`.
    min_distance : float, optional
        Pixels; by default :func:`usual_distance`.

    Returns
    -------
    array (n, 2)
        Row and column of every dot in pixels, the highest first.

    Raises
    ------
    ValueError
        If it is no image, holds values that are not finite, or the threshold is not above zero.
    """
    from scipy import ndimage
    from scipy.spatial import cKDTree

    image = np.asarray(detect_image, dtype=np.float64)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"an array of shape {image.shape}; columns are found in an image (rows, columns)")
    if not np.isfinite(image).all():
        raise ValueError("the image holds values that are not finite (NaN or infinity)")
    threshold = usual_threshold(image) if threshold is None else threshold
    min_distance = usual_distance(image) if min_distance is None else min_distance
    if not threshold > 0:
        raise ValueError(f"threshold is {threshold}; it has to be above zero")
    # A Gaussian that is blurred by another stays one, in its place; a little noise then moves no top.
    smooth = ndimage.gaussian_filter(np.maximum(image, 0), _BLUR, mode="nearest")
    tops = (smooth == ndimage.maximum_filter(smooth, 3, mode="nearest")) & (image >= threshold)
    # A dot that was clipped has a flat top: it is one dot, in the middle of it.
    label, count = ndimage.label(tops, np.ones((3, 3)))
    if count == 0:
        return np.zeros((0, 2))
    middle = np.array(ndimage.center_of_mass(tops, label, np.arange(1, count + 1)))
    flat = np.bincount(label.ravel())[1:] > 1
    at = np.rint(middle).astype(int)
    places = np.where(flat[:, None], middle, at + _top(smooth, at))
    order = np.argsort(-image[at[:, 0], at[:, 1]], kind="stable")
    places = places[order]
    keep = np.ones(count, bool)
    if min_distance > 0:
        near: list[list[int]] = [[] for _ in range(count)]
        for a, b in cKDTree(places).query_pairs(min_distance, output_type="ndarray"):
            near[max(a, b)].append(int(min(a, b)))
        for k, higher in enumerate(near):
            keep[k] = not any(keep[h] for h in higher)
    out: NDArray[np.float64] = places[keep]
    return out


def _top(image: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Offset of the top of the Gaussian through 3 × 3 pixels by least squares, along rows and columns, (n, 2)."""
    wide = np.pad(np.log(np.maximum(image, 1e-3 * image.max())), 1, mode="edge")
    around = np.array([[wide[at[:, 0] + r, at[:, 1] + c] for c in range(3)] for r in range(3)])
    out = np.empty(at.shape)
    for axis in range(2):
        before, here, after = around.sum(axis=1 - axis)
        curve = before - 2 * here + after
        out[:, axis] = np.divide((before - after) / 2, curve, out=np.zeros_like(curve), where=curve < -1e-12)
    return np.clip(out, -0.5, 0.5)
