"""A part of one tilt, denoised as the whole series would be, to try parameters on. No Qt here.

:func:`preview` and :func:`detect` are runners of :class:`splatom.jobs.Task`: they are called in the process that
computes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.methods.denoise._scale import Scale

__all__ = [
    "SIDES", "Part", "Preview", "Window", "affordable", "detect", "framed", "judged", "part_of", "preview", "scale_of",
]  # fmt: skip

Window = tuple[int, int, int, int]  # first row, first column, rows, columns

#: Sides in pixels of the regions that a preview may take.
SIDES = (96, 160, 224, 320, 448, 640, 896, 1280, 2048)
_MARGIN = 16  # px of the image around a region, so that its border is none
_MILD = 0.4  # px: a blur that takes next to nothing but grain
_OTHERS = 3  # further tilts that decisions are made from
_ENOUGH = 8_000_000  # pixels that the scale of a series is measured on


@dataclass(frozen=True, eq=False)
class Part:
    """A region of one tilt, and what the methods decide from.

    Parameters
    ----------
    series : TiltSeries
        View 0 is the region with its margin; the others, from other tilts, are only looked at.
    index : int
        The tilt.
    window : tuple
        First row, first column, rows and columns of the region in the tilt.
    inner : tuple of slice
        The region without its margin.
    """

    series: TiltSeries
    index: int
    window: Window
    inner: tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Preview:
    """A region before and after.

    Parameters
    ----------
    index : int
    window : tuple
        See :class:`Part`.
    before, after : array (rows, columns)
    structure : float, optional
        Share of the removed part that is foreseen (:func:`splatom.evaluate.foreseen`); None where it means nothing.
    grain : float, optional
        The same share of what the mildest blur removes: above zero where the noise itself is correlated.
    notes : dict
        What the method decided.
    seconds : float
        That the method took.
    is_map : bool
        Whether ``after`` is a map of atom columns, no image.
    """

    index: int
    window: Window
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    structure: float | None
    grain: float | None
    notes: dict[str, Any]
    seconds: float = 0.0
    is_map: bool = False

    @property
    def removed(self) -> NDArray[np.float32]:
        """What was taken away."""
        return self.before - self.after


# ---------------------------------------------------------------- which part
def framed(shape: tuple[int, int], centre: tuple[float, float], size: tuple[int, int]) -> Window:
    """Return a rectangle about a pixel, moved inside an image (rows, columns) and cut to it."""
    kept = tuple(min(s, n) for s, n in zip(size, shape, strict=True))
    first = [int(np.clip(round(c - s / 2), 0, n - s)) for c, s, n in zip(centre, kept, shape, strict=True)]
    return first[0], first[1], kept[0], kept[1]


def affordable(rate: float | None, first: int, seconds: float = 0.8) -> int:
    """Return the side of the square that is done in a time, at so many seconds a pixel; ``first`` if not known."""
    if rate is None:
        return first
    return max([s for s in SIDES if (s + 2 * _MARGIN) ** 2 * rate <= seconds], default=SIDES[0])


def scale_of(series: TiltSeries) -> Scale:
    """Measure the scale that all tilts share, on some of them where there are many."""
    from splatom.methods.denoise._scale import Scale

    step = max(1, series.projections.size // _ENOUGH)
    return Scale.of(series[::step] if step > 1 else series)


def part_of(series: TiltSeries, index: int, window: Window, scale: Scale | None = None) -> Part:
    """Cut a region of one tilt out of a series; the whole of a single image stays what it is.

    Parameters
    ----------
    series : TiltSeries
    index : int
    window : tuple
        See :class:`Part`.
    scale : Scale, optional
        Of the whole series, so that a network sees the region as it would see it then.
    """
    count, height, width = series.shape
    row, column, rows, columns = window
    top, left = max(0, row - _MARGIN), max(0, column - _MARGIN)
    high, wide = min(height, row + rows + _MARGIN) - top, min(width, column + columns + _MARGIN) - left
    inner = (slice(row - top, row - top + rows), slice(column - left, column - left + columns))
    others = [int(i) for i in np.unique(np.linspace(0, count - 1, _OTHERS).round()) if int(i) != index]
    views = [index, *others]
    places = [(top, left), *[((height - high) // 2, (width - wide) // 2)] * len(others)]
    # Thinned first: indexing would copy whole tilts.
    thin = series.with_(projections=series.projections[:, :1, :1], mask=None)[views]

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        return np.stack([array[i, r : r + high, c : c + wide] for i, (r, c) in zip(views, places, strict=True)])

    provenance = series.provenance
    if scale is not None:
        whole = {"mean": scale.mean, "sd": scale.sd}
        provenance = replace(provenance, loading={**provenance.loading, "scale_of_whole": whole})
    small = replace(
        thin,
        projections=cut(series.projections),
        mask=None if series.mask is None else cut(series.mask),
        provenance=provenance,
    )
    return Part(small, index, window, inner)


# ---------------------------------------------------------------- in the process that computes
def preview(group: str, name: str, part: Part, job: Any) -> Preview:
    """Denoise the region of a part: the first view, then stop."""
    import skimage.restoration  # noqa: F401 - what is loaded once, scipy with it, is not to count

    from splatom.operators.device import choose_device

    job.device = choose_device(job.device)
    began = time.perf_counter()
    result = _first(group, name, part.series, job)
    seconds = time.perf_counter() - began
    before, after = (np.array(s.projections[0][part.inner]) for s in (part.series, result))
    is_map = getattr(job.params, "output", "") == "detect"
    notes = {k: v for k, v in job.notes.items() if k != "stopped"}
    return Preview(part.index, part.window, before, after, *judged(before, after, is_map), notes, seconds, is_map)


def judged(before: NDArray[Any], after: NDArray[Any], is_map: bool) -> tuple[float | None, float | None]:
    """Return the structure in the removed part, and in the finest grain of the image."""
    if is_map:
        return None, None
    from scipy.ndimage import gaussian_filter

    from splatom.evaluate import foreseen

    mildest = gaussian_filter(np.asarray(before, np.float64), _MILD)
    return foreseen(before, after), foreseen(before, mildest)


def detect(group: str, name: str, series: TiltSeries, job: Any) -> NDArray[np.float32]:
    """Return the maps of atom columns of a series, (n, rows, columns)."""
    from splatom.methods import execute

    return np.asarray(execute(group, name, series, job).projections)


def _first(group: str, name: str, series: TiltSeries, job: Any) -> TiltSeries:
    from splatom.methods import execute

    tick: Callable[..., Any] = job.tick

    def until_one_is_done(step: int, total: int, snapshot: Any = None, **more: Any) -> Any:
        if more.get("state") is not None:  # handed over once a tilt is complete
            job.stop()
        return tick(step, total, snapshot, **more)

    job.tick = until_one_is_done
    result: TiltSeries = execute(group, name, series, job)
    return result
