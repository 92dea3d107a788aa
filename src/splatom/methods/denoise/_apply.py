"""The loop over the tilts that every denoiser shares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries
from splatom.jobs.errors import Stopped
from splatom.methods.denoise._tiles import Tiling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["denoised", "filled", "matched"]

Function = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]


def denoised(
    series: TiltSeries,
    job: Job[Any],
    function: Function,
    tiling: Tiling,
    *,
    transpose: bool = False,
    is_map: bool = False,
    after: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]] | None = None,
    begin: int = 0,
) -> TiltSeries:
    """Apply a function to every tilt, tile by tile.

    Pixels that were not measured are filled before, so that they disturb no neighbour, and come back as they were. A
    constant image stays. After a stop the tilts done so far are denoised and the others as before, and a note says so.

    Parameters
    ----------
    series : TiltSeries
    job : Job
    function : callable
        One tile (rows, columns) in the intensity of the series to the denoised one.
    tiling : Tiling
    transpose : bool
        Whether the function is shown rows as columns.
    is_map : bool
        Whether the result is a map with its own scale and zero ground, no image. An image keeps its tilt's mean, by an
        offset: a mean over all pixels is known far better than any denoiser's bias.
    after : callable, optional
        Gets a whole tilt before and after, and returns what it makes of them; not asked for a map.
    begin : int
        Steps that the job has made before. If it was stopped in them, nothing asks again: their result is applied to
        all tilts.

    Raises
    ------
    Stopped
        If nothing was done yet.
    """
    _note_saturation(series, job)
    count, tiles = len(series), tiling.count(series.shape[1:][::-1] if transpose else series.shape[1:])
    out = series.projections.copy()
    quiet = job.stopped_at is not None
    restored = job.restore() if begin == 0 else None
    done = 0 if restored is None else int(restored["tilts_done"])
    if restored is not None:
        out = np.array(restored["images"])
    total = begin + count * tiles
    shown: list[int] = [done - 1] if done else []

    def snapshot() -> TiltSeries | None:
        return series[shown[-1:]].with_(projections=out[shown[-1:]]) if shown else None

    with job.keeping_partial():
        for i in range(done, count):
            base = begin + i * tiles

            def between(number: int, base: int = base) -> None:
                if number < tiles and not quiet:
                    job.tick(base + number, total, snapshot)

            if not quiet:
                job.check()
            image, seen = filled(series, i)
            if np.ptp(image) > 0:
                given = np.ascontiguousarray(image.T) if transpose else image
                new = tiling.run(function, given, between)
                new = new.T if transpose else new
                if after is not None and not is_map:
                    new = after(image, new)
                new = new if is_map else matched(new, image, seen)
                out[i] = new if seen is None else np.where(seen, new, 0 if is_map else series.projections[i])
            elif is_map:
                out[i] = 0.0
            done = i + 1
            shown[:] = [i]
            if not quiet:
                state: Callable[[], dict[str, Any]] = partial(dict, images=out, tilts_done=done)
                job.tick(base + tiles, total, snapshot, state=state if begin == 0 else None)
    if job.stopped_at is not None and done < count:
        if done == 0:
            raise Stopped
        job.note(stopped=f"{done} of {count} tilts are denoised, the others as they were")
    return series.with_(projections=out)


def _note_saturation(series: TiltSeries, job: Job[Any]) -> None:
    """Say if many pixels share the largest value: what they would have been is not known, and noise there is not."""
    images = series.projections
    top, bottom = images.max(), images.min()
    share = np.count_nonzero(images == top) / images.size
    if share > 1e-3 and top > bottom:
        job.note(saturated=f"{100 * share:.2g} % of the pixels hold the largest value: a lower bound")


def filled(series: TiltSeries, i: int) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return a tilt whose unmeasured pixels hold a smooth continuation of the measured ones, and which those are.

    A normalised convolution at growing widths (Knutsson & Westin, CVPR 1993): each hole takes the narrowest that
    reaches it.
    """
    image = series.projections[i]
    seen = None if series.mask is None else series.mask[i]
    if seen is None or seen.all():
        return image, None
    if not seen.any():
        return np.zeros_like(image), seen
    from scipy import ndimage

    middle = np.float32(np.median(image[seen]))
    known = np.where(seen, image - middle, 0).astype(np.float32)
    new, missing = np.where(seen, image, middle), ~seen
    for width in (1.5, 4.0, 12.0, 36.0):
        weight = ndimage.gaussian_filter(seen.astype(np.float32), width, mode="constant", truncate=3)
        near = missing & (weight > 0.02)
        value = ndimage.gaussian_filter(known, width, mode="constant", truncate=3)
        new[near] = middle + value[near] / weight[near]
        missing &= ~near
        if not missing.any():
            break
    return new, seen


def matched(
    new: NDArray[np.float32], image: NDArray[np.float32], seen: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Shift an image so that its measured pixels have the mean they had."""
    where = np.s_[:] if seen is None else seen
    offset = image[where].mean(dtype=np.float64) - new[where].mean(dtype=np.float64)
    return new + np.float32(offset)
