"""Tilts as a quick reconstruction of the measured ones shows them, and what it cannot explain of the measured ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries
from splatom.methods.interpolate._neighbours import neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job
    from splatom.methods.interpolate._plan import Place
    from splatom.methods.reconstruct._problem import Box

__all__ = ["Reprojected", "reprojected", "smoothed"]

_SMOOTH = 1.0  # px: what the reconstruction leaves is noise below this, and is not handed on
_BYTES = 44  # per voxel, as `reconstruct tv`
_OVERLAP = 4  # rows that slabs share


@dataclass(frozen=True, eq=False)
class Reprojected:
    """What a reconstruction says of some places.

    Parameters
    ----------
    images : array (places, rows, columns)
        Its projections there, in the unit of ``left``.
    left : TiltSeries
        Measured tilts minus the reconstruction's, smoothed.
    bright : array (n,), optional
        Empty beam of every tilt, where the logarithm was reconstructed.
    """

    images: NDArray[np.float32]
    left: TiltSeries
    bright: NDArray[np.float32] | None

    def __call__(self, number: int, place: Place) -> NDArray[np.float32]:
        """Return the reprojection of a place, plus the linear interpolation of what it leaves of the neighbours.

        An array (1, rows, columns): it is one predictor.
        """
        image: NDArray[np.float32] = self.images[number] + neighbours(self.left, place).blend(place.t)
        if self.bright is None:
            return image[None]
        ends = [self.bright[side].mean() for side in (place.below, place.above)]
        out: NDArray[np.float32] = np.float32((1 - place.t) * ends[0] + place.t * ends[1]) * np.exp(-image)
        return out[None]


def reprojected(
    series: TiltSeries, used: NDArray[np.int64], places: tuple[Place, ...], job: Job[Any],
    smoothing: float, passes: int, tick: Callable[[], None],
) -> Reprojected:  # fmt: skip
    """Reconstruct by total variation and project again.

    Parameters
    ----------
    series : TiltSeries
    used : array of int
        Tilts to learn from.
    places : tuple of Place
    job : Job
        For its device and its stop.
    smoothing : float
        Weight of the total variation.
    passes : int
    tick : callable
        Called after each pass, of each slab if there are several.
    """
    from splatom.jobs.job import Job as AnyJob
    from splatom.methods.reconstruct._memory import slabs
    from splatom.methods.reconstruct._problem import choose_box, prepared_series
    from splatom.methods.reconstruct.tv import TvParams

    inner: AnyJob[TvParams] = AnyJob(TvParams(iterations=passes, weight=smoothing), device=job.device)
    inner.check = job.check  # type: ignore[method-assign]
    learned = series[used].with_(held_out=None, synthetic=None)
    box = _not_too_wide(choose_box(learned, inner.params, inner.note))
    prepared = prepared_series(learned, box.film, None, inner.note)
    images = np.empty((len(places), *series.shape[1:]), np.float32)
    left = np.zeros(series.shape, np.float32)
    rest = np.empty(learned.shape, np.float32)
    for piece in slabs(learned, box, _BYTES, _OVERLAP, inner):
        there, known = _solved(piece.cut(prepared), box, places, inner, tick)
        images[:, piece.rows] = there[:, piece.inner]
        rest[:, piece.rows] = (prepared.projections[:, piece.padded] - known)[:, piece.inner]
    left[used] = smoothed(rest, learned.mask)
    bright = None
    if series.contrast == "bf":
        bright = np.ones(len(series), np.float32)
        bright[used] = np.median(learned.projections * np.exp(prepared.projections), axis=(1, 2))
    else:
        images += learned.projections.flat[0] - prepared.projections.flat[0]
    return Reprojected(images, series.with_(projections=left), bright)


def _not_too_wide(box: Box) -> Box:
    """Limit the box of a film: what steep tilts bring in from further off is smooth, and left to the neighbours."""
    deep, high, wide = box.solved
    most = 2 * box.result[2]
    return replace(box, solved=(deep, high, min(wide, most)))


def _solved(
    series: TiltSeries, box: Box, places: tuple[Place, ...], job: Job[Any], tick: Callable[[], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the reconstruction's views of the places and of the measured tilts."""
    from splatom.geometry import ViewGeometry
    from splatom.methods.reconstruct._problem import Box, make_problem
    from splatom.methods.reconstruct.tv import _iterate
    from splatom.operators import VoxelProjector

    rows = series.shape[1] if series.geometry.is_single_axis else box.solved[1]
    grid = Box((box.solved[0], rows, box.solved[2]), box.result)
    problem = make_problem(series, grid, None, job)
    volume = problem.zeros()
    for done in _iterate(problem, job, 0):
        volume = done.volume
        tick()
    wanted = ViewGeometry(np.stack([p.rotation for p in places]), np.stack([p.shift for p in places]))
    projector = VoxelProjector(wanted, grid.solved, series.shape[1:], job.device)
    there: NDArray[np.float32] = projector.forward(volume, job.check).cpu().numpy()
    return there, problem.forward(volume).cpu().numpy()


def smoothed(images: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Take the noise out of what a reconstruction leaves of images (n, rows, columns); nothing outside a mask."""
    from scipy import ndimage

    known = images if mask is None else np.where(mask, images, 0)
    out: NDArray[np.float32] = ndimage.gaussian_filter(known, (0, _SMOOTH, _SMOOTH), mode="nearest")
    return out
