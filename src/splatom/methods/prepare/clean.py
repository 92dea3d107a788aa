"""Remove hot pixels and X-ray spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["CleanParams", "run"]


class CleanParams(MethodParams):
    """Replace hot or dead pixels and X-ray spikes by the median of their neighbours.

    A pixel is a spike if it stands further from the median of its 3 × 3 neighbourhood than a multiple of the noise
    there (from the median absolute deviation), and a hot or dead one if the average of all tilts shows it so. Two
    passes catch pairs. What is not an outlier stays as it was, bit for bit.
    """

    method: Literal["clean"] = "clean"
    threshold: float = option(
        8.0, "Threshold", "How many standard deviations of the noise make an outlier.", unit="σ", ge=2, le=100
    )
    hot: bool = option(True, "Hot and dead pixels", "Also look for pixels that stand out in all tilts.")


def run(series: TiltSeries, job: Job[CleanParams]) -> TiltSeries:
    """Return the cleaned series."""
    p = job.params
    images = series.projections.copy()
    hot = np.zeros(series.shape[1:], bool)
    learn = ~(series.held_out | series.synthetic)
    if p.hot and learn.sum() >= 5:
        # The mean would carry a single spike into the map.
        hot = _outliers(np.median(images[learn], axis=0), p.threshold)
    spikes = 0
    for i, image in enumerate(images):
        if hot.any():
            _replace(image, hot)
        for _ in range(2):
            found = _outliers(image, p.threshold)
            if series.mask is not None:
                found &= series.mask[i]
            if not found.any():
                break
            spikes += int(found.sum())
            _replace(image, found)
        job.tick(i + 1, len(images))
    job.note(spikes=spikes, hot_pixels=int(hot.sum()))
    return series.with_(projections=images)


def _outliers(image: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    from splatom.methods.prepare._images import mad_sigma

    around = np.ones((3, 3), bool)
    around[1, 1] = False
    middle = ndimage.median_filter(image, footprint=around, mode="reflect")
    rest = np.abs(image - middle)
    # Noise grows with intensity and edges differ from their median: the neighbourhood sets the scale, too.
    wide = np.ones((5, 5), bool)
    wide[1:4, 1:4] = False
    local = ndimage.percentile_filter(rest, 75, footprint=wide, mode="reflect") / 1.15
    noise = max(mad_sigma(image - middle), 1e-6 * float(np.ptp(image)), 1e-30)
    out: NDArray[np.bool_] = rest > threshold * np.maximum(local, noise)
    return out


def _replace(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> None:
    for r, c in zip(*np.nonzero(bad), strict=True):
        for reach in (1, 2, 4):
            box = np.s_[max(0, r - reach) : r + reach + 1, max(0, c - reach) : c + reach + 1]
            good = image[box][~bad[box]]
            if good.size >= 3:
                image[r, c] = np.median(good)
                break
