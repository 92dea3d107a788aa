"""Rays of a view through a voxel grid: where each crosses each plane (Joseph, IEEE Trans. Med. Imaging 1, 192, 1982).

A ray is sampled where it crosses the grid's planes normal to the axis along which it runs most steeply, by linear
interpolation within the plane; the length of a step is 1/|beam component along that axis| voxels. All backends share
these coefficients, so that they sum the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.geometry import ViewGeometry

__all__ = ["PLANE_AXES", "Rays", "rays"]

PLANE_AXES = ((0, 1, 2), (1, 0, 2), (2, 1, 0))
"""For the steepest axis z, y or x of a (z, y, x) volume: the axes (plane, a, b)."""


@dataclass(frozen=True)
class Rays:
    """Views whose steepest axis is the same.

    The ray of detector pixel (row, column) crosses plane p at
    ``a = a[0] + a[1] column + a[2] row + a[3] p`` and ``b`` likewise, in voxel indices.

    Parameters
    ----------
    steepest : int
        Axis of the (z, y, x) volume.
    views : array (m,)
    a, b : array (m, 4)
    weight : array (m,)
        Length of one step in voxels.
    """

    steepest: int
    views: NDArray[np.int64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    weight: NDArray[np.float64]


def rays(geometry: ViewGeometry, volume_shape: tuple[int, int, int], detector_shape: tuple[int, int]) -> list[Rays]:
    """Group the views by steepest axis and give the coefficients of their rays.

    Parameters
    ----------
    geometry : ViewGeometry
    volume_shape : tuple
        (z, y, x) in voxels, as large as the pixels.
    detector_shape : tuple
        (rows, columns) in pixels.
    """
    half_zyx = (np.array(volume_shape) - 1) / 2
    rows, columns = detector_shape
    # rows of the rotation as (z, y, x) vectors: column direction, row direction, beam
    column_zyx, row_zyx, beam_zyx = geometry.rotations[:, :, ::-1].transpose(1, 0, 2)
    steepness = np.abs(beam_zyx)
    # Ties and rounding go to z, then x: a ±45° series is then treated alike on both sides.
    steepest = np.argmax(steepness + np.array([2e-12, 0.0, 1e-12]), axis=1)
    origin_column = -(columns - 1) / 2 - geometry.shifts[:, 0]
    origin_row = -(rows - 1) / 2 - geometry.shifts[:, 1]
    out = []
    for axis, planes in enumerate(PLANE_AXES):
        views = np.flatnonzero(steepest == axis)
        if len(views) == 0:
            continue
        p, a, b = planes
        slope = beam_zyx[views] / beam_zyx[views, p][:, None]

        def affine(k: int, views: NDArray[np.int64] = views, slope: NDArray[np.float64] = slope, p: int = p) -> NDArray[np.float64]:  # noqa: E501
            per_column = column_zyx[views, k] - slope[:, k] * column_zyx[views, p]
            per_row = row_zyx[views, k] - slope[:, k] * row_zyx[views, p]
            constant = (
                half_zyx[k]
                + per_column * origin_column[views]
                + per_row * origin_row[views]
                - slope[:, k] * half_zyx[p]
            )
            return np.stack([constant, per_column, per_row, slope[:, k]], axis=1)

        out.append(Rays(axis, views, affine(a), affine(b), 1 / np.abs(beam_zyx[views, p])))
    return out
