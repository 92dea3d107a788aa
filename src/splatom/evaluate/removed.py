"""Structure in what a denoiser removed: the sign of a bad choice, measured without a truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["foreseen"]

_REACH = 9  # px: how far around a pixel the image may speak for it
_HOLE = 3  # px: nearer than this the noise of neighbours may be correlated (a detector's blur)
_LINE = 1  # px: nor may those in its row or column, which share line noise
_BLOCK = 24  # px: sides of the blocks that fit and score in turn
_MOST = 40_000  # pixels that the figure is made from
_SMALLEST = 32


def foreseen(before: ArrayLike, after: ArrayLike) -> float | None:
    """Share of the removed part's variance that the image around each pixel foretells, 0 to 1.

    Noise cannot be foreseen from pixels that do not share it; structure can. The removed part, freed of what is smooth
    over 12 px (a background may be removed rightly), is predicted by ridge regression from the noisy image at 3 to 9
    px around each pixel, without the pixel's own row and column, whose line noise it shares. Half of the image, in
    blocks like a chessboard, fits and the other half scores, in turns, so that pure noise gives 0 and not a small
    positive number.

    It is a lower bound: what the surroundings cannot tell, such as a lone atom, is not counted. The measure is ours.

    Parameters
    ----------
    before, after : array (rows, columns)
        The image and what a denoiser made of it.

    Returns
    -------
    float or None
        None for an image that is too small to say (less than 32 pixels along a side).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    image, result = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if image.shape != result.shape or image.ndim != 2:
        raise ValueError(f"two images of one shape are needed, not {image.shape} and {result.shape}")
    if min(image.shape) < _SMALLEST:
        return None
    from scipy.ndimage import gaussian_filter

    removed = image - result
    removed -= gaussian_filter(removed, 12.0, mode="nearest")
    around = image - gaussian_filter(image, 12.0, mode="nearest")
    size = float(removed.std())
    if size <= 1e-6 * max(float(image.std()), 1e-30):
        return 0.0
    rows, columns = _sampled(image.shape)
    target = removed[rows, columns] / size
    seen = _surroundings(around / max(float(around.std()), 1e-30), rows, columns)
    side = ((rows // _BLOCK + columns // _BLOCK) % 2).astype(bool)
    left = 0.0
    for fits in (side, ~side):
        weights = _ridge(seen[fits], target[fits])
        left += float(((target[~fits] - seen[~fits] @ weights) ** 2).sum())
    total = float((target**2).sum())
    return float(np.clip(1 - left / total, 0.0, 1.0))


def _sampled(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the pixels that count: all, or some at random, the same ones for a shape."""
    inner = [np.arange(_REACH, n - _REACH) for n in shape]
    rows, columns = (a.ravel() for a in np.meshgrid(*inner, indexing="ij"))
    if len(rows) > _MOST:
        pick = np.random.default_rng(0).choice(len(rows), _MOST, replace=False)
        rows, columns = rows[pick], columns[pick]
    return rows, columns


def _surroundings(image: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the pixels around each, (pixels, neighbours): every second one of the ring."""
    steps = np.arange(-_REACH, _REACH + 1)
    down, across = (a.ravel() for a in np.meshgrid(steps, steps, indexing="ij"))
    far = np.hypot(down, across)
    taken = (far >= _HOLE) & (far <= _REACH) & (np.abs(down) > _LINE) & (np.abs(across) > _LINE)
    taken &= (down + across) % 2 == 0
    return np.stack([image[rows + i, columns + j] for i, j in zip(down[taken], across[taken], strict=True)], axis=1)


def _ridge(seen: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    gram = seen.T @ seen
    gram[np.diag_indices_from(gram)] += 0.02 * len(seen) * float(seen.var())
    return np.asarray(np.linalg.solve(gram, seen.T @ target))
