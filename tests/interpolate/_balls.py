"""Small tilt series of a few balls, of any tilts."""

from __future__ import annotations

import numpy as np

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.simulate import Ellipsoids, tilt_series

ROWS, COLUMNS = 20, 48
BALLS = Ellipsoids(
    np.array([[0.0, 0, 0], [4, 3, 14], [-12, -4, -9], [9, 0, -15]]),
    np.array([[6.0, 6, 6], [2, 2, 2], [2.5, 2.5, 2.5], [1.8, 1.8, 1.8]]),
    np.array([1.0, 2.5, 2.0, 3.0]),
)


def balls(angles: object, **more: object) -> TiltSeries:
    """Take a series of four balls, wholly in view at every tilt."""
    return tilt_series(BALLS, angles, detector_shape=(ROWS, COLUMNS), pixel_size=1.0, **more)


def noise(angles: object, seed: int = 0) -> TiltSeries:
    """Images of noise, of which no two are alike."""
    n = len(angles)
    images = np.random.default_rng(seed).normal(5, 1, (n, 12, 16)).astype(np.float32)
    return TiltSeries(images, ViewGeometry.single_axis(angles), 0.5)


def rms(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
