"""Tilts between measured ones: what they are to be judged against, what predicts them, and how alike they are.

Baselines have their parameter from the truth, which no user has: **blurred** is linear interpolation after the Gaussian
blur that is best for that very image; **TV** is the reprojection of a reconstruction by total variation, at the weight
that is best for the series and gap. Ours have none to choose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _baselines import Image, psnr, ssim
from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry

BLURS = tuple(0.25 * 2 ** (k / 2) for k in range(11))  # pixels
WEIGHTS = (1.0, 3.0, 9.0)
PASSES = 400
BANDS = (0.0, 0.125, 0.25, 0.5, 1.0)  # of Nyquist's frequency
BASELINES = ("linear", "blurred", "tv")
Ours = Mapping[str, tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Question:
    """A sparse series, angles in the middles of its gaps, and what is seen there."""

    sparse: TiltSeries
    angles: NDArray[np.float64]
    truth: Image


def questions(series: TiltSeries, gap: float, most: int = 8) -> Question | None:
    """Thin a series out to twice the gap and ask for the middles, at most so many, spread evenly; None: too few."""
    angles = series.angles
    wanted = np.arange(angles[0], angles[-1] + 1e-6, 2 * gap)
    sparse = _at(angles, wanted)
    middles = _at(angles, (wanted[:-1] + wanted[1:]) / 2)
    if sparse is None or middles is None or len(middles) < 2:
        return None
    if len(middles) > most:
        middles = middles[np.linspace(0, len(middles) - 1, most).round().astype(int)]
    return Question(series[sparse], angles[middles], series.projections[middles])


def _at(angles: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp] | None:
    nearest = np.abs(angles[:, None] - wanted).argmin(axis=0)
    return nearest if np.allclose(angles[nearest], wanted, atol=0.05) else None


# ------------------------------------------------------------------------------------------------ predictions
def linear(q: Question) -> Image:
    """Return the means of neighbours."""
    known, images = q.sparse.angles, q.sparse.projections
    above = np.searchsorted(known, q.angles)
    t = ((q.angles - known[above - 1]) / (known[above] - known[above - 1])).astype(np.float32)[:, None, None]
    return (1 - t) * images[above - 1] + t * images[above]


def blurred(q: Question) -> Image:
    """Return the means of neighbours, each blurred as its truth likes it best."""
    from scipy.ndimage import gaussian_filter

    out = []
    for image, truth in zip(linear(q), q.truth, strict=True):
        tries = [image, *(gaussian_filter(image, width) for width in BLURS)]
        out.append(max(tries, key=lambda i: psnr(i, truth)))
    return np.stack(out)


def tv(q: Question) -> Image:
    """Return the reprojection of a reconstruction, its weight the best in the mean over the images asked for."""
    import torch

    import splatom
    from splatom.operators import VoxelProjector

    seen: list[tuple[float, Image]] = []
    for weight in WEIGHTS:
        volume = splatom.run(
            "reconstruct", "tv", q.sparse, weight=weight, iterations=PASSES, specimen="isolated",
            subtract_background=False,
        )  # fmt: skip
        there = VoxelProjector(ViewGeometry.single_axis(q.angles), volume.shape, q.truth.shape[1:])
        images = there.forward(torch.from_numpy(np.array(volume.data))).numpy()
        seen.append((float(np.mean([psnr(a, b) for a, b in zip(images, q.truth, strict=True)])), images))
        if seen[-1][0] < max(s[0] for s in seen):
            break
    return max(seen, key=lambda s: s[0])[1]


def ours(q: Question, method: str, options: Mapping[str, Any]) -> Image:
    """Return what a method of Splatom puts in."""
    import splatom

    out = splatom.run("interpolate", method, q.sparse, angles=tuple(float(a) for a in q.angles), **options)
    return np.asarray(out.projections[out.synthetic])


PREDICT = {"linear": linear, "blurred": blurred, "tv": tv}


@contextlib.contextmanager
def missing(what: str) -> Iterator[None]:
    """Say so, and go on, where a method or its weights are not there."""
    from splatom.jobs import JobError

    try:
        yield
    except (KeyError, ModuleNotFoundError, JobError) as fault:
        print(f"  {what}: not there yet ({fault})", flush=True)


# ------------------------------------------------------------------------------------------------ likeness
def figures(images: Image, truth: Image) -> dict[str, Any]:
    """Return means over the images of PSNR, SSIM and MSE, and the squared error in each band, summed."""
    power = np.zeros(len(BANDS) - 1)
    for image, true in zip(images, truth, strict=True):
        power += by_band(image - true)
    pairs = list(zip(images, truth, strict=True))
    return {
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
        "mse": float(np.mean((images.astype(np.float64) - truth) ** 2)),
        "bands": power.tolist(),
    }


def by_band(image: Image) -> NDArray[np.float64]:
    """Return the power of an image within each band of frequencies (radius, Nyquist's frequency 1)."""
    spectrum = np.abs(np.fft.fft2(image)) ** 2 / image.size
    radius = np.hypot(*np.meshgrid(*(2 * np.fft.fftfreq(n) for n in image.shape), indexing="ij"))
    edges = [*BANDS[:-1], np.inf]
    return np.array([spectrum[(radius >= a) & (radius < b)].sum() for a, b in pairwise(edges)])


def band_names(nyquist: float | None = None) -> Sequence[str]:
    """Return names of the bands: shares of Nyquist's frequency, or 1/unit where that is given."""
    scale = 1.0 if nyquist is None else nyquist
    return [f"{a * scale:.2g} to {b * scale:.2g}" for a, b in pairwise(BANDS)]
