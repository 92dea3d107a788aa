"""Alignment of neighbouring tilts by cross-correlation, outward from zero tilt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.prepare._images import band_pass, resampled, shift_between, taper

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.methods.prepare._upright import Upright

__all__ = ["chain", "neighbours"]


def neighbours(angles: NDArray[np.float64], use: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs (reference, tilt), outward from the tilt nearest to zero; tilts not in use are only ever the second.

    The reference is the nearest tilt in use that lies nearer to zero and is itself placed before.
    """
    order = sorted(range(len(angles)), key=lambda i: (not use[i], abs(angles[i]), angles[i]))
    pairs = []
    for k, i in enumerate(order[1:], start=1):
        placed = [j for j in order[:k] if use[j]]
        pairs.append((min(placed, key=lambda j: (abs(angles[j] - angles[i]), abs(angles[j]))), i))
    return pairs


def chain(up: Upright, *, whiten: float, limit: float, check: Callable[[], None]) -> NDArray[np.float64]:
    """Shifts ``(across, along)`` of every tilt by cross-correlation with its inner neighbour, (n, 2).

    A tilted film is foreshortened by cos θ across the axis; each image is stretched by the ratio of the cosines
    before it is compared (as IMOD's tiltxcorr does). Both are first shifted by what is known of the reference.
    """
    _, h, w = up.images.shape
    window = taper((h, w), 0.15)
    fine = band_pass(up.images, 1.0, max(h, w) / 12)
    cosine = np.cos(np.deg2rad(np.clip(up.angles, -85, 85)))
    known = up.shifts
    shifts = known.copy()
    for ref, i in neighbours(up.angles, up.use):
        check()
        ratio = cosine[ref] / cosine[i]
        # What is known of the reference, foreshortened, is the best guess for this tilt.
        guess = known[i] + (shifts[ref] - known[ref]) * (1 / ratio, 1.0)
        for _ in range(2):
            a = resampled(fine[ref], shift=shifts[ref])
            b = resampled(fine[i], shift=guess, stretch=ratio)
            # Material that left the field on either side is not to be compared.
            a, b = (window * (image - (image * window).sum() / window.sum()) for image in (a, b))
            found, _ = shift_between(a, b, whiten=whiten, limit=limit)
            guess = guess + found * (1 / ratio, 1.0)
        shifts[i] = guess
    return shifts
