"""One invertible scale of intensity for a whole series: its tilts stay comparable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries

__all__ = ["Scale"]

_SPIKE = 20.0  # standard deviations; a lone pixel further out is no image (an X-ray, a hot pixel)


@dataclass(frozen=True)
class Scale:
    """``x = sign · (image − mean) / sd``, the same for every tilt.

    Parameters
    ----------
    mean, sd : float
        Of all measured pixels of the series together, in its intensity unit. Lone spikes are left out: one X-ray would
        else set the scale of everything.
    sign : {1, -1}
        −1 where matter has to become bright (bright field).
    spikes : int
        How many were left out.
    """

    mean: float
    sd: float
    sign: int = 1
    spikes: int = 0

    @classmethod
    def of(cls, series: TiltSeries, sign: int = 1, check: Callable[[], None] = lambda: None) -> Scale:
        """Measure the scale of a series; one that is constant has ``sd`` 0. A part of a series may say the whole's.

        ``check`` is called before every tilt, several times each: it takes minutes on the largest series.
        """
        whole = series.provenance.loading.get("scale_of_whole")
        if whole is not None:
            return cls(float(whole["mean"]), float(whole["sd"]), sign)
        mean, sd, _ = _moments(series, None, check)
        scale = cls(mean, sd, sign)
        for _ in range(3):  # a large spike hides smaller ones
            if scale.sd == 0:
                break
            mean, sd, spikes = _moments(series, scale, check)
            before, scale = scale.spikes, cls(mean, sd, sign, spikes)
            if spikes == before:
                break
        return scale

    def forward(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale an image (rows, columns); lone spikes become the median of their neighbours."""
        x = ((image.astype(np.float64) - self.mean) * (self.sign / (self.sd or 1.0))).astype(np.float32)
        lone, around = _spikes(x)
        if lone.any():
            x[lone] = around
        return x

    def inverse(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return to the intensity of the series."""
        out: NDArray[np.float32] = (x.astype(np.float64) * (self.sign * self.sd) + self.mean).astype(np.float32)
        return out


def _moments(series: TiltSeries, known: Scale | None, check: Callable[[], None]) -> tuple[float, float, int]:
    """Mean, standard deviation and the number of pixels left out, in two passes of float64."""
    first = float(series.projections.flat[0])  # sums of differences keep the digits of a small spread on a large ground
    count, total, square, spikes = 0, 0.0, 0.0, 0
    for i, image in enumerate(series.projections):
        check()
        keep = np.ones(image.shape, bool) if series.mask is None else series.mask[i].copy()
        if known is not None:
            lone, _ = _spikes((image - np.float32(known.mean)) / np.float32(known.sd))
            spikes += int((lone & keep).sum())
            keep &= ~lone
        values = image[keep].astype(np.float64) - first
        count, total, square = count + values.size, total + values.sum(), square + (values * values).sum()
    if count == 0:
        return 0.0, 0.0, spikes
    mean = total / count
    sd = float(np.sqrt(max(square / count - mean * mean, 0.0)))
    ground = max(abs(first), abs(first + mean))
    return first + mean, sd if sd > 1e-7 * ground else 0.0, spikes


def _spikes(x: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Find pixels far out of whose neighbours two at most are so: where, and the median of the eight around each."""
    far = np.abs(x) > _SPIKE
    if not far.any():
        return far, np.zeros(0, np.float32)
    wide = np.pad(x, 1, mode="edge")
    rows, columns = np.nonzero(far)
    steps = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    around = np.array([wide[rows + r, columns + c] for r, c in steps])
    lone = np.sort(np.abs(around), axis=0)[-3] < 0.5 * np.abs(x[far])  # a pair is lone, the corner of a particle not
    far[rows[~lone], columns[~lone]] = False
    out: NDArray[np.float32] = np.median(around, axis=0).astype(np.float32)
    return far, out[lone]
