"""What goes wrong while a tilt series is taken: scans, drift, angles, intensity, background, and noise from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.geometry import ViewGeometry
from splatom.simulate.noise import Noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "MeasuredNoise",
    "drift_of_gain",
    "scanned",
    "tilted_astray",
    "uneven",
]


def scanned(image: Array, jitter: float, drift: float, rng: np.random.Generator, margin: int = 0) -> Array:
    """Image of a specimen that moves while it is scanned row by row, from the top.

    Parameters
    ----------
    image : array (rows, columns)
    jitter : float
        Standard deviation of each row's own displacement along the columns, in pixels.
    drift : float
        Standard deviation, per axis, of the drift between the first row and the last, in pixels: it shears the image
        and stretches it, about its middle row.
    rng : Generator
    margin : int
        Pixels at every side that lie outside the field and may drift into it.

    Returns
    -------
    array (rows, columns)
        Without the margin.
    """
    from scipy.ndimage import map_coordinates

    height, width = (n - 2 * margin for n in image.shape)
    across = rng.normal(0.0, jitter, (height, 1)) if jitter > 0 else np.zeros((height, 1))
    down = np.zeros((height, 1))
    if drift > 0:
        when = np.linspace(-0.5, 0.5, height)[:, None]
        speed = rng.normal(0.0, drift, 2)
        across, down = across + speed[0] * when, speed[1] * when
    columns = np.arange(width)[None, :] - across + margin
    rows = np.broadcast_to(np.arange(height)[:, None] - down, (height, width)) + margin
    out: Array = map_coordinates(image, [rows, columns], order=1, mode="nearest")
    return out


def tilted_astray(geometry: ViewGeometry, error: float, rng: np.random.Generator) -> ViewGeometry:
    """Geometry whose tilts about the image's y axis are off by random angles of a standard deviation in degrees.

    Their mean error is zero, so that the specimen's frame stays.
    """
    errors = rng.normal(0.0, error, len(geometry))
    wrong = ViewGeometry.single_axis(errors - errors.mean())
    return ViewGeometry(wrong.rotations @ geometry.rotations, geometry.shifts)


def drift_of_gain(count: int, size: float, rng: np.random.Generator) -> Array:
    """Slow drift of the intensity from tilt to tilt, γ: a random walk of a relative standard deviation, mean 1."""
    walk = np.cumsum(rng.normal(size=count))
    walk -= walk.mean()
    spread = walk.std()
    gain: Array = np.exp(size * walk / spread) if spread > 0 else np.ones(count)
    gain /= gain.mean()
    return gain


def uneven(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Smooth field of unit standard deviation that varies over half an image, as illumination or contamination does."""
    y, x = (np.polynomial.legendre.legvander(np.linspace(-1, 1, n), 3).T for n in shape)
    field = np.zeros(shape)
    for i, f in enumerate(y):
        for j, g in enumerate(x):
            if 0 < i + j <= 3:
                field += rng.normal() * np.outer(f, g)
    field -= field.mean()
    out: Array = field / max(float(field.std()), 1e-12)
    return out


# ------------------------------------------------------------------------------------------------ measured noise
@dataclass(frozen=True)
class MeasuredNoise:
    """Noise as a calibration found it in images, ready for images on another scale of intensity.

    Parameters
    ----------
    noise : Noise
        In the units of the images it was measured on.
    contrast : float, optional
        Standard deviation of those images without their noise; without it the scales are taken to be the same.
    mean : float, optional
        Their mean.
    """

    noise: Noise
    contrast: float | None = None
    mean: float | None = None

    @classmethod
    def read(cls, path: Path) -> MeasuredNoise:
        """Read the JSON that `splatom calibrate --json` prints: ``noise`` and, beside it, ``contrast`` and ``mean``.

        Raises
        ------
        ValueError
            If the file is no such JSON.
        """
        try:
            found = json.loads(path.read_text())
            given = dict(found["noise"])
            known = {f.name for f in fields(Noise)}
            if set(given) - known:
                raise ValueError(f"unknown: {', '.join(sorted(set(given) - known))}")
            for name in ("line_length",):  # JSON has no infinity
                if name in given and given[name] in (None, "inf", "Infinity"):
                    given[name] = inf
            values: dict[str, Any] = {k: v if k == "lines" else float(v) for k, v in given.items()}
            if values.get("lines", "rows") not in ("rows", "columns"):
                raise ValueError(f"lines is {values['lines']!r}")
            contrast, mean = (None if found.get(k) is None else float(found[k]) for k in ("contrast", "mean"))
            return cls(Noise(**values), contrast, mean)
        except (OSError, UnicodeDecodeError) as exc:
            raise ValueError(f"{path}: the noise cannot be read ({exc})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"{path}: not a noise as 'splatom calibrate --json' prints it ({exc})") from None

    def of(self, clean: NDArray[np.floating[Any]]) -> Noise:
        """Return the noise in the units of other images, whose contrast then stands as high above it.

        Parameters
        ----------
        clean : array (n, rows, columns)
            Noise-free images, all of a series together.
        """
        spread = float(clean.std())
        if self.contrast is None or not self.contrast > 0 or spread == 0:
            return self.noise
        n, scale = self.noise, spread / self.contrast
        # Counting noise vanishes as far below the mean as it did; without a mean, at the darkest of the images.
        zero = float(clean.mean()) - (self.mean - n.zero) * scale if self.mean is not None else float(clean.min())
        return replace(
            n,
            gain=n.gain * scale,
            zero=zero,
            readout=n.readout * scale,
            line=n.line * scale,
            background=n.background * scale,
        )
