"""What Gaussians and atoms predict of the tilts: plain numpy, made beside the window.

No torch, as in :mod:`splatom.plugin.pictures`: its import would hold the window for most of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, GaussianCloud
from splatom.plugin.pictures import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries
    from splatom.geometry import ViewGeometry

__all__ = ["ASSUMED_WIDTH", "Patch", "calibrated", "patches", "points_image", "predict_points", "residual_at"]

#: Width in nm of atoms whose own is not known.
ASSUMED_WIDTH = 0.05
_REACH = 4.0  # standard deviations that are drawn
_CHUNK = 2048
_VIEWS = 16  # tilts that the residual of every point is averaged over


@dataclass(frozen=True, eq=False)
class Patch:
    """The surroundings of a point in one tilt, all (rows, columns).

    Parameters
    ----------
    index : int
        The tilt.
    measured, predicted : array
    centre : (column, row)
        Where the point projects, in pixels of the patch.
    """

    index: int
    measured: NDArray[np.float32]
    predicted: NDArray[np.float32]
    centre: tuple[float, float]

    @property
    def difference(self) -> NDArray[np.float32]:
        """Measured less predicted."""
        return self.measured - self.predicted


def calibrated(series: TiltSeries, notes: dict[str, Any] | None) -> TiltSeries:
    """Return a series with the shifts and turns of its views that a fit of atoms found along with them.

    Parameters
    ----------
    series : TiltSeries
    notes : dict, optional
        Of the run. ``calibration`` has ``shifts_pixels`` (views, 2) and ``turns_degrees`` (views, 3): rotation vectors
        in the view's frame (column, row, beam), applied after the view's rotation. Without it, or where it is of other
        views than all or those fitted, the series stays as it is.
    """
    found = (notes or {}).get("calibration") or {}
    if not {"shifts_pixels", "turns_degrees"} <= set(found):
        return series
    from scipy.spatial.transform import Rotation

    from splatom.geometry import ViewGeometry

    shifts, turns = np.asarray(found["shifts_pixels"]), np.asarray(found["turns_degrees"])
    views = np.arange(len(series))
    if len(shifts) != len(views):
        held = (notes or {}).get("held_out")
        views = np.setdiff1d(views, held if held is not None else np.flatnonzero(series.held_out))
    if shifts.shape != (len(views), 2) or turns.shape != (len(views), 3):
        return series
    rotations, moved = np.array(series.geometry.rotations), np.array(series.geometry.shifts)
    rotations[views] = Rotation.from_rotvec(turns, degrees=True).as_matrix() @ rotations[views]
    moved[views] += shifts
    return series.with_(geometry=ViewGeometry(rotations, moved))


def _gaussians(value: GaussianCloud | Atoms) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Centres (n, 3) as zyx in nm, covariances (n, 3, 3) as xyz in nm², masses (n,)."""
    n = len(value)
    if isinstance(value, Atoms):
        sigma = np.full(n, ASSUMED_WIDTH) if value.b_factor is None else np.asarray(value.b_factor)
        mass = np.ones(n) if value.amplitude is None else np.asarray(value.amplitude)
        return value.positions_zyx, sigma[:, None, None] ** 2 * np.eye(3), mass
    w, x, y, z = value.rotations.T.astype(np.float64)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    axes = turn * value.scales[:, None, ::-1]  # columns: the principal axes (x, y, z), as long as their deviation
    return value.centres_zyx, axes @ axes.transpose(0, 2, 1), value.mass.astype(np.float64)


def points_image(
    value: GaussianCloud | Atoms, geometry: ViewGeometry, shape: tuple[int, int], pixel_size: float, view: int = 0
) -> NDArray[np.float32]:
    """Project Gaussians, or atoms as Gaussians, into one view.

    Parameters
    ----------
    value : GaussianCloud or Atoms
    geometry : ViewGeometry
    shape : tuple
        ``(rows, columns)``.
    pixel_size : float
        In nm.
    view : int

    Returns
    -------
    array (rows, columns), float32
        Sampled at the middle of each pixel; the window about each point is ±4 of its standard deviations.
    """
    centres, covariances, mass = _gaussians(value)
    rows, columns = shape
    across = geometry.rotations[view][:2]  # rows: image column, image row
    places = geometry[[view]].project(centres, pixel_size, shape)[0]
    spread = np.einsum("ij,njk,lk->nil", across, covariances, across) / pixel_size**2
    out = np.zeros(rows * columns)
    for start in range(0, len(centres), _CHUNK):
        part = slice(start, start + _CHUNK)
        c, p, m = spread[part], places[part], mass[part]
        half = int(np.ceil(_REACH * np.sqrt(max(c[:, 0, 0].max(), c[:, 1, 1].max()))))
        window = np.arange(-half, half + 1)
        nearest = np.rint(p).astype(np.int64)
        dx = window[None, :] - (p - nearest)[:, :1]
        dy = window[None, :] - (p - nearest)[:, 1:]
        det = c[:, 0, 0] * c[:, 1, 1] - c[:, 0, 1] ** 2
        a, b, d = c[:, 1, 1] / det, -c[:, 0, 1] / det, c[:, 0, 0] / det  # the inverse of the covariance
        height = m / (2 * np.pi * np.sqrt(det) * pixel_size**2)
        # Separable but for the cross term: one exponential a row and a column, one a pixel only where they are oblique.
        spots = np.exp(-d[:, None] * dy**2 / 2)[:, :, None] * np.exp(-a[:, None] * dx**2 / 2)[:, None, :]
        if np.abs(b).max() > 1e-6 * np.abs(a).max():
            spots *= np.exp(-b[:, None, None] * dy[:, :, None] * dx[:, None, :])
        spots *= height[:, None, None]
        r = nearest[:, 1, None, None] + window[None, :, None]
        k = nearest[:, 0, None, None] + window[None, None, :]
        inside = (r >= 0) & (r < rows) & (k >= 0) & (k < columns)
        out += np.bincount((r * columns + k)[inside], spots[inside], minlength=rows * columns)
    return out.reshape(shape).astype(np.float32)


def _both(value: GaussianCloud | Atoms, series: TiltSeries, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """One tilt as measured (matter bright), and as predicted with the gain and the offset that fit it best."""
    measured = series.projections[index] if series.contrast == "adf" else -series.projections[index]
    raw = points_image(value, series.geometry, series.shape[1:], series.pixel_nm, index)
    counted = np.ones(raw.shape, bool) if series.mask is None else np.asarray(series.mask[index], bool)
    p, m = raw[counted].astype(np.float64), measured[counted].astype(np.float64)
    spread = float(((p - p.mean()) ** 2).sum()) if len(p) else 0.0
    gain = float(((p - p.mean()) * (m - m.mean())).sum()) / spread if spread > 0 else 1.0
    offset = float(m.mean() - gain * p.mean()) if len(p) else 0.0
    return measured, (gain * raw + offset).astype(np.float32)


def predict_points(value: GaussianCloud | Atoms, series: TiltSeries, index: int) -> Prediction:
    """Project points into one tilt of the series they were fitted to; its gain and offset are fitted.

    Parameters
    ----------
    value : GaussianCloud or Atoms
    series : TiltSeries
    index : int
    """
    measured, predicted = _both(value, series, index)
    size = float(np.abs(measured).sum())
    r = float(np.abs(measured - predicted).sum()) / size if size else 0.0
    return Prediction(index, measured, predicted, r, 1)


def residual_at(value: GaussianCloud | Atoms, series: TiltSeries) -> NDArray[np.float64]:
    """Mean of measured less predicted where each point projects, over up to 16 tilts of those fitted; (n,)."""
    from scipy.ndimage import map_coordinates

    fitted = np.flatnonzero(~series.held_out & (series.weights > 0))
    fitted = fitted if len(fitted) else np.arange(len(series))
    views = np.unique(fitted[np.linspace(0, len(fitted) - 1, min(_VIEWS, len(fitted))).round().astype(int)])
    centres = value.positions_zyx if isinstance(value, Atoms) else value.centres_zyx
    total, count = np.zeros(len(value)), np.zeros(len(value))
    for view in views:
        measured, predicted = _both(value, series, int(view))
        at = series.geometry[[int(view)]].project(centres, series.pixel_nm, series.shape[1:])[0]
        found = map_coordinates(measured - predicted, at[:, ::-1].T, order=1, mode="constant", cval=np.nan)
        seen = np.isfinite(found)
        total[seen] += found[seen]
        count += seen
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def patches(
    value: GaussianCloud | Atoms, series: TiltSeries, point_zyx: NDArray[Any], near: int, count: int = 3, half: int = 8
) -> list[Patch]:
    """Cut out the surroundings of a point in the tilts whose angles are nearest to that of one.

    Parameters
    ----------
    value : GaussianCloud or Atoms
    series : TiltSeries
    point_zyx : array (3,)
        In nm.
    near : int
        The tilt in view.
    count : int
    half : int
        A patch reaches this many pixels to each side of the pixel that the point falls on, less where the image ends.

    Returns
    -------
    list of Patch
        By angle; fewer where the point is outside the image.
    """
    order = np.argsort(np.abs(series.angles - series.angles[near]), kind="stable")
    found: list[Patch] = []
    rows, columns = series.shape[1:]
    for view in order[: 3 * count]:
        x, y = series.geometry[[int(view)]].project(np.asarray(point_zyx)[None], series.pixel_nm, (rows, columns))[0, 0]
        i, j = round(float(y)), round(float(x))
        if not (0 <= i < rows and 0 <= j < columns):
            continue
        top, left = max(0, i - half), max(0, j - half)
        cut = (slice(top, i + half + 1), slice(left, j + half + 1))
        measured, predicted = _both(value, series, int(view))
        found.append(Patch(int(view), measured[cut], predicted[cut], (float(x) - left, float(y) - top)))
        if len(found) == count:
            break
    return sorted(found, key=lambda p: float(series.angles[p.index]))
