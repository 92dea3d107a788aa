"""The working view of a series in which the tilt axis runs along the rows' direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.prepare._images import learning, matter, pixel_window, resampled, turn_shifts
from splatom.methods.prepare._specimen import Kind, background, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.data import TiltSeries

__all__ = ["Upright", "upright"]


@dataclass(frozen=True, eq=False)
class Upright:
    """Images to measure shifts in; they never leave this folder.

    Parameters
    ----------
    images : array (n, height, width)
        Matter bright, the empty ground at zero, the tilt axis along the rows' direction.
    angles : array (n,)
        Tilt angles in degrees.
    shifts : array (n, 2)
        Shifts known so far, ``(across, along)`` the axis, in pixels.
    use : array (n,) of bool
        Tilts to learn from.
    turn : float
        Degrees by which the images were turned.
    kind : {'isolated', 'rod', 'film'}
        What kind of specimen they show.
    """

    images: NDArray[np.float32]
    angles: NDArray[np.float64]
    shifts: NDArray[np.float64]
    use: NDArray[np.bool_]
    turn: float
    kind: Kind

    def as_seen(self, shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn shifts ``(across, along)`` back into ``(column, row)`` of the series' images."""
        return turn_shifts(shifts, -self.turn)


def upright(series: TiltSeries, check: Callable[[], None]) -> Upright:
    """Turn the images upright and take the ground off."""
    geometry = series.geometry
    use = learning(series)
    turn = -geometry.axis_degrees
    shape = pixel_window((series.shape[1], series.shape[2]), turn, full=False)
    images = np.empty((len(series), *shape), np.float32)
    quarters = round(turn / 90)
    for i, image in enumerate(matter(series)):
        check()
        flat = image - np.float32(background(image))
        if abs(turn - 90 * quarters) < 1e-6:
            images[i] = np.rot90(flat, -quarters)
        else:
            images[i] = resampled(flat, degrees=turn, shape=shape, order=1)
    turned = geometry.turned(turn)
    return Upright(images, turned.tilt_degrees, turned.shifts, use, turn, kind_of(images[use]))
