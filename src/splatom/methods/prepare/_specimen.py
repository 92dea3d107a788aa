"""What kind of specimen the images show: free in the field, a rod along the axis, or a film wider than the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.methods.prepare._images import mad_sigma

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Kind", "background", "kind_of", "outline"]

Kind = Literal["isolated", "rod", "film"]


def outline(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the pixels in which there is matter, in images where matter is bright, (n, height, width).

    The level is the darkest part of the blurred image plus its noise and 6 % of its range: a film that fills the field
    is marked almost everywhere, a particle on an empty ground only where it is.
    """
    from scipy import ndimage

    out = np.empty(images.shape, dtype=bool)
    for image, marked in zip(images, out, strict=True):
        smooth = ndimage.gaussian_filter(image, 2.0, mode="nearest")
        low, high = np.percentile(smooth, (2.0, 99.5))
        dark = smooth[smooth <= low + 0.06 * (high - low)]
        ground = float(np.median(dark))
        level = ground + max(6 * mad_sigma(dark), 0.06 * (high - ground))
        marked[:] = smooth > level
    return out


def kind_of(images: NDArray[np.float32]) -> Kind:
    """Tell the kind of specimen from images whose tilt axis runs along the rows' direction.

    Parameters
    ----------
    images : array (n, height, width)
        Matter bright.
    """
    body = outline(images)
    if body.mean() > 0.9:
        return "film"
    rim = 3

    def touches(edge: NDArray[np.bool_]) -> bool:
        # One stray tilt or a few noisy pixels do not make a film.
        return bool(np.median(edge.mean(axis=(1, 2))) > 0.02 or (edge.mean(axis=(1, 2)) > 0.1).mean() > 0.1)

    if touches(body[:, :, :rim]) or touches(body[:, :, -rim:]):
        return "film"
    if touches(body[:, :rim]) or touches(body[:, -rim:]):
        return "rod"
    return "isolated"


def background(image: NDArray[np.float32], plane: bool = False) -> NDArray[np.float64] | float:
    """Level of the empty ground of one image (matter bright): a number, or a plane of the image's shape.

    The ground is what :func:`outline` leaves, eroded away from the specimen. Where a film leaves none it is zero.
    """
    from scipy import ndimage

    ground = ~ndimage.binary_dilation(outline(image[None])[0], iterations=4)
    if ground.mean() < 0.03:
        return 0.0
    if not plane:
        return float(np.median(image[ground]))
    rows, columns = np.indices(image.shape)
    h, w = image.shape
    terms = np.stack([np.ones(image.shape), rows / h - 0.5, columns / w - 0.5], axis=-1)
    keep = ground
    for _ in range(3):
        found = np.linalg.lstsq(terms[keep], image[keep].astype(np.float64), rcond=None)[0]
        rest = image - terms @ found
        keep = ground & (np.abs(rest) <= 3 * max(mad_sigma(rest[ground]), 1e-12))
        if not keep.any():
            break
    out: NDArray[np.float64] = terms @ found
    return out
