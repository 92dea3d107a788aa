"""The two measured neighbours of a tilt, brought to where its view has them; and whether they fit at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.interpolate._plan import Place, sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.data import TiltSeries

__all__ = ["Pair", "misaligned", "neighbours", "placed", "with_total"]

_STILL = 1e-3  # pixels: below this an image is not resampled
_WIDEST = 256  # pixels: images are binned to this to be registered


@dataclass(frozen=True, eq=False)
class Pair:
    """Both neighbours in the frame of the tilt between them.

    Parameters
    ----------
    below, above : array (rows, columns), float32
        Repeats of an angle are averaged by their weights. What one neighbour did not see is taken from the other.
    seen : array (rows, columns) of bool, or None
        Pixels that either of them saw; None where all are.
    """

    below: NDArray[np.float32]
    above: NDArray[np.float32]
    seen: NDArray[np.bool_] | None

    def blend(self, t: float) -> NDArray[np.float32]:
        """Return ``(1 − t) · below + t · above``."""
        out: NDArray[np.float32] = np.float32(1 - t) * self.below + np.float32(t) * self.above
        return out


def neighbours(series: TiltSeries, place: Place) -> Pair:
    """Return the neighbours of a place, moved and turned into its view where the geometry says they lie otherwise."""
    (a, saw_a), (b, saw_b) = (
        _averaged(series, side, place, roll)
        for side, roll in zip((place.below, place.above), place.rolls, strict=True)
    )
    if saw_a.all() and saw_b.all():
        return Pair(a, b, None)
    neither = ~(saw_a | saw_b)
    # What nobody saw holds the level of what was seen, and is marked as not seen.
    level = np.float32(np.median(a[saw_a]) if saw_a.any() else 0.0)
    below = np.where(saw_a, a, np.where(neither, level, b))
    above = np.where(saw_b, b, np.where(neither, level, a))
    return Pair(below, above, ~neither)


def with_total(image: NDArray[np.float32], like: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give an image the total of another; what is added or taken lies where that one rises over its ground.

    Where it hardly rises, all pixels get the same.
    """
    missing = float(like.sum(dtype=np.float64) - image.sum(dtype=np.float64))
    rim = np.concatenate([like[0], like[-1], like[:, 0], like[:, -1]])
    share: NDArray[np.float32] = np.maximum(like - np.median(rim), np.float32(0))
    total = float(share.sum(dtype=np.float64))
    if total <= 10 * abs(missing):
        return image + np.float32(missing / image.size)
    return image + share * np.float32(missing / total)


def placed(
    image: NDArray[np.float32], seen: NDArray[np.bool_] | None, roll: float, shift: NDArray[np.float64],
    target: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    """Turn an image about its specimen by a roll (degrees) and move the specimen from one shift to another."""
    from splatom.methods.prepare._images import resampled, turn_shifts

    whole = np.ones(image.shape, bool) if seen is None else seen
    move = shift - turn_shifts(target, -roll)
    if abs(np.deg2rad(roll)) * max(image.shape) / 2 < _STILL and np.abs(move).max() < _STILL:
        return image, whole
    there = resampled(whole.astype(np.float32), shift=move, degrees=roll, fill=0.0) > 0.99
    return resampled(image, shift=move, degrees=roll, order=3), there


def _averaged(
    series: TiltSeries, frames: NDArray[np.int64], place: Place, roll: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    images, masks = [], []
    for i in frames:
        mask = None if series.mask is None else series.mask[i]
        image, seen = placed(series.projections[i], mask, roll, series.geometry.shifts[i], place.shift)
        images.append(image)
        masks.append(seen)
    if len(frames) == 1:
        return images[0], masks[0]
    share = series.weights[frames][:, None, None] * np.stack(masks)
    total = share.sum(axis=0)
    mean = (np.stack(images) * share).sum(axis=0) / np.maximum(total, 1e-30)
    return mean.astype(np.float32), total > 0


def misaligned(series: TiltSeries, check: Callable[[], None]) -> str | None:
    """Say in a line if neighbouring tilts lie so far apart that no tilt between them can be right; None if all fit.

    Neighbours are registered by cross-correlation. Along the tilt axis nothing moves; across it a point at the edge
    of the field moves by half the width times the sine of the gap at most. What is beyond that by 2 % of the field and
    2 px is an error of alignment.
    """
    from splatom.methods.prepare._images import band_pass, resampled, shift_between, taper, turn_shifts

    use = sources(series)
    angles, shifts = series.angles[use], series.geometry.shifts[use]
    h, w = series.shape[1:]
    factor = max(1, -(-max(h, w) // _WIDEST))
    rows, columns = h // factor, w // factor
    if min(rows, columns) < 8:
        return None
    window = taper((rows, columns))
    axis = series.geometry.axis_degrees
    worst, line = 0.0, None
    before: NDArray[np.float32] | None = None
    for k, i in enumerate(use):
        check()
        cut = series.projections[i][: rows * factor, : columns * factor]
        image = cut.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype=np.float32)
        if np.abs(shifts[k]).max() > _STILL:
            image = resampled(image, shift=shifts[k] / factor)
        image = band_pass(image, 1.0, max(rows, columns) / 8) * window
        if before is not None and (gap := angles[k] - angles[k - 1]) <= 15:
            moved, peak = shift_between(before, image, upsample=1)
            across, along = turn_shifts(moved, -axis)
            allowed = 0.02 * max(rows, columns) + 2
            excess = max(abs(along) - allowed, abs(across) - allowed - columns / 2 * np.sin(np.deg2rad(gap)))
            if peak > 0.3 and excess > worst:
                worst = excess
                line = (
                    f"the tilts at {angles[k - 1]:g}° and {angles[k]:g}° lie about {factor * np.hypot(*moved):.0f} px "
                    "apart: align the series first, or what is put in between will be blurred"
                )
        before = image
    return line
