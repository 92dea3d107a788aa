"""Small chiral test objects: no rotation turns them into their mirror image, and no flip leaves them as they were."""

from __future__ import annotations

import numpy as np

from splatom import TiltSeries, ViewGeometry, Volume

# Four points, unlike in weight, on a right-handed frame: x 1, y 2, z 3 steps from a corner.
POINTS_ZYX = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 4.0, 0.0], [6.0, 0.0, 0.0]]) - [2.0, 1.0, 1.0]
WEIGHTS = np.array([1.0, 2.0, 3.0, 4.0])
ANGLES = np.array([-61.5, -20.0, 0.25, 33.0, 58.0])


def handedness(volume: np.ndarray) -> float:
    """Signed volume spanned by the four points, found by their weights: positive for the object, negative mirrored."""
    order = np.argsort(volume.ravel())[-4:]
    at = np.stack(np.unravel_index(order, volume.shape), axis=1).astype(float)[:, ::-1]
    return float(np.linalg.det(at[1:] - at[0]))


def chiral_volume(voxel_size: float | None = 0.4) -> Volume:
    data = np.zeros((13, 11, 9), np.float32)
    for point, weight in zip(POINTS_ZYX, WEIGHTS, strict=True):
        z, y, x = (point + (np.array(data.shape) - 1) / 2).astype(int)
        data[z, y, x] = weight
    return Volume(data, voxel_size)


def chiral_series(geometry: ViewGeometry | None = None, pixel_size: float | None = 0.4, **more: object) -> TiltSeries:
    geometry = ViewGeometry.single_axis(ANGLES) if geometry is None else geometry
    images = np.zeros((len(geometry), 20, 16), np.float32)
    rows, columns = np.mgrid[:20, :16]
    seen = geometry.project(POINTS_ZYX * 0.4, 0.4, images.shape[1:])
    for i in range(len(images)):
        for (c, r), weight in zip(seen[i], WEIGHTS, strict=True):
            images[i] += weight * np.exp(-((columns - c) ** 2 + (rows - r) ** 2) / 2)
    return TiltSeries(images, geometry, pixel_size=pixel_size, **more)
