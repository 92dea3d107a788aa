"""A series as a network for tilts sees it: matter on zero ground, one scale, the tilt axis along the rows' index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries
from splatom.methods.interpolate._neighbours import neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from splatom.geometry import ViewGeometry
    from splatom.jobs import Job
    from splatom.methods.interpolate._plan import Place

__all__ = ["Views", "prepared_views"]

_LEANS = 1.0  # degrees by which the axis may lean in the images
_SMALLEST = 16  # px: smaller images are continued to this
_STRIP, _SHARED = 1 << 20, 32  # pixels that the network sees at once, and rows that two of its views share
_BYTES = 44  # per voxel of the reconstruction


@dataclass(frozen=True, eq=False)
class Views:
    """Predicts places one by one.

    Parameters
    ----------
    predict : callable
        (pair (2, rows, columns), reprojected (3, rows, columns) or None, t, gap) to images (predictors, rows, columns)
        in the network's units: the network's, and before it what `sinogram` would say where it is reconstructed.
    series : TiltSeries
        Upright, in the network's units.
    places : tuple of Place
        In the upright frame.
    reprojected : array (3 places, rows, columns), or None
        For each place the reconstruction there, at the lower and at the upper neighbour, all in the place's frame.
    turned : float
        Degrees that the images were turned by, from +column towards +row.
    back : callable
        Image and place to the intensity of the series.
    shape : (rows, columns)
        Of the images before they were turned.
    """

    predict: Callable[..., NDArray[np.float32]]
    series: TiltSeries
    places: tuple[Place, ...]
    reprojected: NDArray[np.float32] | None
    turned: float
    back: Callable[[NDArray[np.float32], Place], NDArray[np.float32]]
    shape: tuple[int, int]

    def __call__(self, number: int, place: Place) -> NDArray[np.float32]:
        """Return the predictions of a place, (predictors, rows, columns)."""
        mine = self.places[number]
        pair = neighbours(self.series, mine)
        views = None if self.reprojected is None else self.reprojected[3 * number : 3 * number + 3]
        images = self.predict(np.stack([pair.below, pair.above]), views, place.t, place.gap)
        return np.stack([self.back(_turned(image, -self.turned, self.shape), place) for image in images])


def prepared_views(
    net: nn.Module, series: TiltSeries, used: NDArray[np.int64], places: tuple[Place, ...], job: Job[Any],
    smoothing: float, passes: int,
) -> Views:  # fmt: skip
    """Make a series ready for a network: turned upright, background off, scaled, reconstructed where the net asks.

    Parameters
    ----------
    net : Module
        As :class:`splatom.nets.TiltRefiner` or :class:`splatom.nets.Tsgnet`.
    series : TiltSeries
    used : array of int
        Tilts to learn from.
    places : tuple of Place
    job : Job
        For its device and its stop.
    smoothing : float
        Weight of the total variation of the reconstruction.
    passes : int
        Of the reconstruction.
    """
    learned = series[used]
    matter, back = _matter(learned, used)
    sd = _spread(matter)
    axis = series.geometry.axis_degrees
    turned = 0.0 if abs(axis) < _LEANS else -axis
    upright = _upright(matter.with_(projections=matter.projections / np.float32(sd)), turned)
    index = {int(i): k for k, i in enumerate(used)}
    mine = tuple(_moved(place, index, turned) for place in places)
    reprojected = None
    if getattr(net, "uses_reprojection", False):
        reprojected = _reprojections(upright, mine, job, smoothing, passes)
    function = _function(net, job.device)
    return Views(
        function, upright, mine, reprojected, turned, lambda image, place: back(image * np.float32(sd), place),
        series.shape[1:],
    )  # fmt: skip


def _matter(
    series: TiltSeries, used: NDArray[np.int64]
) -> tuple[TiltSeries, Callable[[NDArray[np.float32], Place], NDArray[np.float32]]]:
    """Return images that rise from zero with the matter traversed, and the way back."""
    from splatom.methods.reconstruct._problem import is_film, prepared_series

    if series.contrast == "phase":
        level = np.float32(series.projections.mean(dtype=np.float64))
        return series.with_(projections=series.projections - level), lambda image, place: image + level
    prepared = prepared_series(series, is_film(series), None, lambda **_: None)
    if series.contrast != "bf":
        offset = np.float32(series.projections.flat[0] - prepared.projections.flat[0])
        return prepared, lambda image, place: image + offset
    beam = dict(zip(used.tolist(), np.median(series.projections * np.exp(prepared.projections), (1, 2)), strict=True))

    def back(image: NDArray[np.float32], place: Place) -> NDArray[np.float32]:
        ends = [float(np.mean([beam[int(i)] for i in side])) for side in (place.below, place.above)]
        return np.float32((1 - place.t) * ends[0] + place.t * ends[1]) * np.exp(-image)

    return prepared, back


def _spread(series: TiltSeries) -> float:
    values = series.projections if series.mask is None else series.projections[series.mask]
    return float(values.std(dtype=np.float64)) or 1.0


def _upright(series: TiltSeries, degrees: float) -> TiltSeries:
    if degrees == 0:
        return series
    from splatom.methods.prepare._images import pixel_window, resampled

    h, w = series.shape[1:]
    shape = pixel_window((h, w), degrees)
    images = np.stack([_turned(image, degrees, shape) for image in series.projections])
    masks = np.ones(series.shape, bool) if series.mask is None else series.mask
    mask = np.stack([resampled(m.astype(np.float32), degrees=degrees, shape=shape, fill=0.0) > 0.99 for m in masks])
    return series.with_(projections=images, geometry=series.geometry.turned(degrees), mask=mask)


def _turned(image: NDArray[np.float32], degrees: float, shape: tuple[int, int]) -> NDArray[np.float32]:
    if degrees == 0:
        return image
    from splatom.methods.prepare._images import resampled

    return resampled(image, degrees=degrees, shape=shape, order=3)


def _moved(place: Place, index: dict[int, int], degrees: float) -> Place:
    """Return a place in the frame of turned images, its neighbours numbered among the tilts in use."""
    from splatom.geometry import ViewGeometry

    view = ViewGeometry(place.rotation[None], place.shift[None]).turned(degrees)
    below, above = (np.array([index[int(i)] for i in side]) for side in (place.below, place.above))
    return replace(place, below=below, above=above, rotation=view.rotations[0], shift=view.shifts[0])


def _views(series: TiltSeries, places: tuple[Place, ...]) -> ViewGeometry:
    """Each place, and its neighbours as they would be seen with the specimen where the place has it."""
    from splatom.geometry import ViewGeometry

    rotations, shifts = [], []
    for place in places:
        rotations.append(place.rotation)
        for side, roll in zip((place.below, place.above), place.rolls, strict=True):
            a = np.deg2rad(roll)
            turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
            rotations.append(turn @ series.geometry.rotations[side[0]])
        shifts += [place.shift] * 3
    return ViewGeometry(np.stack(rotations), np.stack(shifts))


def _reprojections(
    series: TiltSeries, places: tuple[Place, ...], job: Job[Any], smoothing: float, passes: int
) -> NDArray[np.float32]:
    import torch

    from splatom.methods.reconstruct._memory import slabs
    from splatom.methods.reconstruct._problem import Box
    from splatom.operators.reprojection import reprojected, widened

    _, rows, columns = series.shape
    wide = widened(columns)
    wanted = _views(series, places)
    out = np.empty((len(wanted), rows, columns), np.float32)
    images = series.projections if series.mask is None else np.where(series.mask, series.projections, 0)
    for piece in slabs(series, Box((wide, rows, wide), (1, rows, columns)), _BYTES, 0, job):
        part = torch.from_numpy(np.array(images[:, piece.rows], np.float32)).to(job.device)
        there, _ = reprojected(
            part, series.geometry, wanted, weight=smoothing, passes=passes, non_negative=series.contrast != "phase",
            tick=job.check,
        )  # fmt: skip
        out[:, piece.rows] = there.cpu().numpy()
    return out


def _function(net: nn.Module, device: str) -> Callable[..., NDArray[np.float32]]:
    """Return a function of one tilt that shows the network strips of rows where the image is large."""
    import torch

    from splatom.jobs.errors import JobError
    from splatom.methods.interpolate._reprojected import smoothed

    def strip(images: NDArray[np.float32], t: float, gap: float, known: bool) -> NDArray[np.float32]:
        high, wide = images.shape[1:]
        grown = np.pad(
            images, ((0, 0), (0, max(0, _SMALLEST - high)), (0, max(0, _SMALLEST - wide))), mode="edge"
        )
        x = torch.from_numpy(grown)[None].to(device)
        one = x.new_ones(1)
        with torch.inference_mode():
            y = net(x[:, :2], t * one, gap / 2 * one, x[:, 2:] if known else None)
        out: NDArray[np.float32] = y[0, :, :high, :wide].float().cpu().numpy()
        if known:
            left = smoothed(images[:2] - images[3:])
            out = np.stack([images[2] + np.float32(1 - t) * left[0] + np.float32(t) * left[1], out[0]])
        if not np.isfinite(out).all():
            raise JobError("the network gave values that are not finite: its weights do not suit these images")
        return out

    def predict(
        pair: NDArray[np.float32], views: NDArray[np.float32] | None, t: float, gap: float
    ) -> NDArray[np.float32]:
        images = pair if views is None else np.concatenate([pair, views])
        rows, columns = images.shape[1:]
        count = -(-rows * columns // _STRIP)
        if count == 1 or rows < 4 * _SHARED:
            return strip(images, t, gap, views is not None)
        edges = np.linspace(0, rows, count + 1).astype(int)
        total = np.zeros((1 if views is None else 2, rows, columns), np.float32)
        weight = np.zeros((rows, 1), np.float32)
        for top, bottom in pairwise(edges.tolist()):
            first, last = max(0, top - _SHARED), min(rows, bottom + _SHARED)
            at = np.arange(first, last)
            # Full weight inside, falling to nothing over the rows that two strips share.
            inside = np.minimum(at - top if top else at + rows, bottom - at if bottom < rows else rows)
            share = np.clip(inside / (2 * _SHARED) + 0.5, 1e-3, 1.0).astype(np.float32)[:, None]
            total[:, first:last] += share * strip(images[:, first:last], t, gap, views is not None)
            weight[first:last] += share
        return total / weight

    return predict
