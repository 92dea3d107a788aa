"""Images in tiles whose overlaps are blended: memory stays bounded, and a stop is felt between two tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tiling", "ramp"]


@dataclass(frozen=True)
class Tiling:
    """Tiles of about one size that cover an image evenly.

    Parameters
    ----------
    size : int
        Side of a tile in pixels; actual ones are up to a quarter larger where that saves tiles.
    overlap : int
        Pixels that neighbours share at least; there the result goes over from one to the other.
    multiple : int
        Sides of tiles are multiples of this (lengths that suit the FFT, for one).
    margin : int
        Pixels around the image, taken from it by reflection and cut off again.
    """

    size: int
    overlap: int
    multiple: int = 1
    margin: int = 0

    def along(self, length: int) -> tuple[int, tuple[int, ...]]:
        """Return the side of the tiles along an axis and where each starts; one tile may be longer than the image."""
        length = length + 2 * self.margin
        most = self.size + self.size // 4
        count = 1 if length <= most else -(-(length - self.overlap) // (most - self.overlap))
        side = -(-(length + (count - 1) * self.overlap) // count)
        side = -(-side // self.multiple) * self.multiple
        if count == 1 or side >= length:
            return side, (0,)
        return side, tuple(np.rint(np.linspace(0, length - side, count)).astype(int).tolist())

    def count(self, shape: tuple[int, ...]) -> int:
        """Return how many tiles an image (rows, columns) takes."""
        return len(self.along(shape[0])[1]) * len(self.along(shape[1])[1])

    def run(
        self,
        function: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        image: NDArray[np.float32],
        done: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Apply a function to an image tile by tile.

        Each tile weighs as a squared sine that falls over the overlap, not at the image's own border (as MONAI's
        sliding-window inference, with a flat middle).

        Parameters
        ----------
        function : callable
            (rows, columns) to (rows, columns).
        image : array (rows, columns), float32
        done : callable, optional
            Called with the number of tiles done, after each.
        """
        (high, tops), (wide, lefts) = self.along(image.shape[0]), self.along(image.shape[1])
        below = max(0, tops[-1] + high - image.shape[0] - self.margin)
        right = max(0, lefts[-1] + wide - image.shape[1] - self.margin)
        padded = np.pad(image, ((self.margin, below), (self.margin, right)), mode="reflect")
        total = np.zeros(padded.shape, np.float32)
        weight = np.zeros(padded.shape, np.float32)
        number = 0
        for k, top in enumerate(tops):
            down = ramp(high, k and tops[k - 1] + high - top, top + high - tops[k + 1] if k + 1 < len(tops) else 0)
            for j, left in enumerate(lefts):
                side = left + wide - lefts[j + 1] if j + 1 < len(lefts) else 0
                share = down[:, None] * ramp(wide, j and lefts[j - 1] + wide - left, side)[None]
                here = np.s_[top : top + high, left : left + wide]
                total[here] += share * function(np.ascontiguousarray(padded[here]))
                weight[here] += share
                number += 1
                if done is not None:
                    done(number)
        total /= weight
        return total[self.margin : self.margin + image.shape[0], self.margin : self.margin + image.shape[1]]


def ramp(length: int, before: int, after: int) -> NDArray[np.float32]:
    """Weight along a tile that shares its first and last pixels with neighbours; weights of neighbours sum to one."""
    out = np.ones(length)
    if before > 0:
        out[:before] *= np.sin(np.pi / 2 * (np.arange(before) + 0.5) / before) ** 2
    if after > 0:
        out[length - after :] *= np.cos(np.pi / 2 * (np.arange(after) + 0.5) / after) ** 2
    return np.maximum(out, 1e-6).astype(np.float32)
