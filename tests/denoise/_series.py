"""Noisy images of a known specimen, small."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry


def lattice(rows: int = 96, columns: int = 80, period: float = 11.0) -> np.ndarray:
    """Atoms of height 1 on a round particle, on a ground of zero."""
    r, c = np.mgrid[:rows, :columns].astype(float)
    inside = gaussian_filter((np.hypot(r - rows / 2, c - columns / 2) < 0.36 * min(rows, columns)).astype(float), 2)
    waves = np.cos(2 * np.pi * r / period) + np.cos(2 * np.pi * c / period)
    return (inside * (0.6 + 0.2 * waves)).astype(np.float32)


def noisy(
    tilts: int = 3, sigma: float = 0.15, line: float = 0.0, seed: int = 0, angles: np.ndarray | None = None
) -> TiltSeries:
    """Return noisy images, with offsets of the rows of standard deviation ``line``."""
    rng = np.random.default_rng(seed)
    clean = np.stack([lattice()] * tilts)
    images = clean + rng.normal(0, sigma, clean.shape) + rng.normal(0, line, (*clean.shape[:2], 1))
    angles = np.linspace(-20, 20, tilts) if angles is None else angles
    return TiltSeries(images.astype(np.float32), ViewGeometry.single_axis(angles), 0.02)


def error(series: TiltSeries) -> float:
    """Root mean square error of the first tilt against the truth."""
    return float(np.sqrt(np.mean((series.projections[0] - lattice()) ** 2)))
