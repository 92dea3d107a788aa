"""Pictures of a tilt series and of what a volume predicts of it: plain numpy, made beside the window.

No torch: its import would hold the window for most of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries

__all__ = [
    "Prediction",
    "aligned_mean",
    "binned",
    "held_out_of",
    "overlay",
    "predict",
    "residual_angles",
    "sinogram",
    "slices_at",
]

_LARGEST = 256  # voxels along any axis that a prediction is made from
_LARGEST_TURNED = 80  # the same for a geometry of more than one axis, which takes longer


@dataclass(frozen=True, eq=False)
class Prediction:
    """A tilt as measured, as a volume projects, and the difference, all (rows, columns).

    Parameters
    ----------
    index : int
    measured, predicted : array
    r : float
        Σ|measured − predicted| / Σ|measured| at this resolution.
    factor : int
        Pixels of the series per pixel of these images.
    """

    index: int
    measured: NDArray[np.float32]
    predicted: NDArray[np.float32]
    r: float
    factor: int

    @property
    def difference(self) -> NDArray[np.float32]:
        """Measured less predicted."""
        return self.measured - self.predicted


def binned(array: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Average blocks of ``factor`` along every axis; what is left over at the end is cut off."""
    if factor <= 1:
        return np.asarray(array, dtype=np.float32)
    shape = tuple(max(1, n // factor) for n in array.shape)
    cut = array[tuple(slice(0, n * factor) for n in shape)]
    split = [part for n, whole in zip(shape, cut.shape, strict=True) for part in (n, whole // n)]
    out: NDArray[np.float32] = cut.reshape(split).mean(axis=tuple(range(1, 2 * len(shape), 2)), dtype=np.float32)
    return out


def predict(volume: Volume, series: TiltSeries, index: int) -> Prediction:
    """Project a volume, or a preview of one, into one tilt of the series it came from.

    Parameters
    ----------
    volume : Volume
        Its voxels are as large as a pixel or a whole multiple; values are intensity per voxel of one pixel's edge.
    series : TiltSeries
    index : int
        The tilt.
    """
    from splatom.methods.reconstruct._problem import is_film, prepared_series
    from splatom.simulate import project_volume

    known = volume.voxel_size is not None and series.pixel_size is not None
    ratio = volume.voxel_nm / series.pixel_nm if known else series.shape[2] / volume.shape[2]
    limit = _LARGEST if series.geometry.is_single_axis else _LARGEST_TURNED
    coarse = max(1, -(-max(volume.shape) // limit))
    before = max(1, round(ratio))
    factor = before * coarse
    # As the reconstruction saw it: the background is that of the whole series.
    one = prepared_series(series, is_film(series), None, lambda **_: None)[[index]]
    measured = binned(one.projections[0], factor)
    # Where blocks do not fill the field (or the volume), its centre is not that of the blocks.
    left_pixels = np.array([one.shape[2] - measured.shape[1] * factor, one.shape[1] - measured.shape[0] * factor])
    small = binned(volume.data, coarse)
    left_voxels = np.array([n - m * coarse for n, m in zip(volume.shape, small.shape, strict=True)])
    # The last block of a preview may reach beyond the volume it was made from, which was centred.
    over = before * np.array(volume.shape) - np.array([one.shape[2], one.shape[1], one.shape[2]])
    over = np.where((over > 0) & (over < before), over, 0)
    origin = over / 2 / factor - left_voxels / 2 / coarse
    geometry = one.geometry.scaled(1 / factor)
    geometry = geometry.with_shifts(geometry.shifts + left_pixels / 2 / factor)
    centred = Volume(small, 1.0, tuple(float(v) for v in origin))
    predicted = project_volume(centred, geometry, measured.shape, 1.0)[0] * factor
    size = float(np.abs(measured).sum())
    r = float(np.abs(measured - predicted).sum()) / size if size else 0.0
    return Prediction(index, measured, predicted, r, factor)


def sinogram(series: TiltSeries, row: int, shifted: bool = True) -> NDArray[np.float32]:
    """One image row of every tilt, sorted by angle, (n_tilts, columns).

    Parameters
    ----------
    series : TiltSeries
    row : int
        Row of the image, from the top.
    shifted : bool
        Whether the shifts that are known are undone; else the images as they are.
    """
    n, height, width = series.shape
    order = np.argsort(series.angles, kind="stable")
    if not shifted:
        return np.asarray(series.projections[order, np.clip(row, 0, height - 1)])
    out = np.empty((n, width), np.float32)
    columns = np.arange(width)
    for line, i in zip(out, order, strict=True):
        across, along = series.geometry.shifts[i]
        at = float(np.clip(row + along, 0, height - 1))
        low = int(np.floor(at))
        share = at - low
        both = series.projections[i, [low, min(low + 1, height - 1)]]
        line[:] = np.interp(columns + across, columns, (1 - share) * both[0] + share * both[1])
    return out


def aligned_mean(series: TiltSeries, how: str = "mean", limit: int = 384) -> NDArray[np.float32]:
    """All tilts in one picture, their shifts undone: their mean, their maximum, or their power spectrum.

    Parameters
    ----------
    series : TiltSeries
    how : {'mean', 'maximum', 'spectrum'}
        The spectrum is log(1 + Σ|F|) about zero frequency in the middle; no shift changes it.
    limit : int
        Most pixels along a side; larger images are averaged in blocks.
    """
    from scipy import ndimage

    factor = max(1, -(-max(series.shape[1:]) // limit))
    total: Any = None
    sign = 1.0 if series.contrast == "adf" else -1.0
    for image, shift in zip(series.projections, series.geometry.shifts / factor, strict=True):
        small = sign * binned(image, factor)
        if how == "spectrum":
            window = np.outer(np.hanning(small.shape[0]), np.hanning(small.shape[1]))
            flat = (small - small.mean()) * window
            now = np.abs(np.fft.fftshift(np.fft.fft2(flat)))
        else:
            now = ndimage.shift(small, -shift[::-1], order=1, mode="nearest") if shift.any() else small
        total = now if total is None else np.maximum(total, now) if how == "maximum" else total + now
    out = np.log1p(total / np.median(total)) if how == "spectrum" else total / (1 if how == "maximum" else len(series))
    return np.asarray(out, dtype=np.float32)


def held_out_of(
    series: TiltSeries, params: Any, notes: dict[str, Any] | None = None, seed: int = 0
) -> NDArray[np.bool_]:
    """Which tilts a run kept aside, (n_tilts,): what it noted, or what its share to hold out gives."""
    out = np.array(series.held_out)
    noted = (notes or {}).get("held_out")
    if noted is not None:
        out[:] = False
        out[[i for i in noted if 0 <= i < len(out)]] = True
    elif not out.any() and getattr(params, "hold_out", 0):
        out = np.array(series.holding_out(params.hold_out, seed).held_out)
    return out


def residual_angles(series: TiltSeries, held_out: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Index of the tilt that each of ``count`` residuals belongs to: of all tilts, or of those that were fitted."""
    fitted = np.flatnonzero(~held_out & (series.weights > 0))
    if count == len(series):
        return np.arange(count)
    return fitted if count == len(fitted) else np.arange(min(count, len(series)))


def slices_at(
    data: NDArray[Any], index_zyx: tuple[int, int, int]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Cut the three planes through a voxel: XY (y, x), XZ (z, x) and YZ shown with z across, (y, z)."""
    z, y, x = (int(np.clip(i, 0, n - 1)) for i, n in zip(index_zyx, data.shape, strict=True))
    return data[z], data[:, y], data[:, :, x].T


def overlay(series: TiltSeries, index: int, limit: int = 256) -> NDArray[np.uint8]:
    """Lay one aligned tilt in orange over the mean of its aligned neighbours in blue, (rows, columns, 3).

    Both together are white where they agree.
    """
    from scipy import ndimage

    factor = max(1, -(-max(series.shape[1:]) // limit))
    order = np.argsort(series.angles, kind="stable")
    place = int(np.flatnonzero(order == index)[0])

    def aligned(i: int) -> NDArray[np.float32]:
        small = binned(series.projections[i], factor)
        back = -series.geometry.shifts[i][::-1] / factor
        out: NDArray[np.float32] = ndimage.shift(small, back, order=1, mode="nearest")
        low, high = np.percentile(out, (1, 99.8))
        return np.clip((out - low) / max(high - low, 1e-30), 0, 1)

    near = [int(order[k]) for k in (place - 1, place + 1) if 0 <= k < len(order)] or [index]
    this, others = aligned(index), np.mean([aligned(i) for i in near], axis=0)
    colours = np.stack([this, (this + others) / 2, others], axis=-1)
    return np.asarray(np.rint(255 * colours), dtype=np.uint8)
