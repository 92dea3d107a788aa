"""How well tilts can be predicted: every second measured one is left out and predicted from the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries
from splatom.evaluate.images import psnr, rmse, ssim

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HoldOut", "Scores", "band_errors", "every_second", "hold_out"]

BANDS = 8
_SAME = 1e-3  # degrees

Interpolate = Callable[[TiltSeries, tuple[float, ...]], TiltSeries]


@dataclass(frozen=True, eq=False)
class Scores:
    """Figures of one method, one number for each held-out tilt.

    Parameters
    ----------
    psnr : array (k,)
        In dB, of the range of the measured tilt.
    ssim : array (k,)
    mse : array (k,)
        In squared units of the images.
    bands : array (k, bands)
        Error in each band of spatial frequency, as a share of the measured tilt's power there; 1 is as bad as no image.
    """

    psnr: NDArray[np.float64]
    ssim: NDArray[np.float64]
    mse: NDArray[np.float64]
    bands: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return the means as JSON values; PSNR is the mean over tilts of dB."""
        finite = self.psnr[np.isfinite(self.psnr)]
        return {
            "psnr": float(finite.mean()) if len(finite) else None,
            "ssim": float(self.ssim.mean()),
            "mse": float(self.mse.mean()),
            "bands": [float(b) for b in self.bands.mean(axis=0)],
        }


@dataclass(frozen=True, eq=False)
class HoldOut:
    """What a hold-out check found.

    Parameters
    ----------
    tilts : array (k,) of int
        The tilts that were predicted, by angle; the first of repeats.
    angles : array (k,)
        In degrees.
    gap : float
        Usual distance in degrees of the tilts that they were predicted from: twice that of the series.
    frequencies : array (bands + 1,)
        Edges of the bands in cycles per pixel, up to 0.5.
    scores : dict
        By name of the method.
    """

    tilts: NDArray[np.int64]
    angles: NDArray[np.float64]
    gap: float
    frequencies: NDArray[np.float64]
    scores: Mapping[str, Scores]

    def gain(self, name: str, over: str = "linear") -> float:
        """Return by how many dB a method is better than another, the mean over the tilts."""
        return float(np.mean(self.scores[name].psnr - self.scores[over].psnr))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "kind": "hold-out",
            "n_tilts": len(self.tilts),
            "gap_degrees": self.gap,
            "band_edges": self.frequencies.tolist(),
            "methods": {name: scores.to_dict() for name, scores in self.scores.items()},
        }


def every_second(series: TiltSeries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tilts to predict (the first of each angle), and those to predict them from, by angle.

    Repeats go together; the outermost angles are never predicted. Synthetic tilts, held-out ones and those of weight
    zero are left out altogether.

    Raises
    ------
    ValueError
        If fewer than three different angles were measured.
    """
    use = np.flatnonzero(~series.synthetic & ~series.held_out & (series.weights > 0))
    use = use[np.argsort(series.angles[use], kind="stable")]
    starts = np.flatnonzero(np.diff(series.angles[use], prepend=-np.inf) > _SAME)
    groups = np.split(use, starts[1:]) if len(use) else []
    if len(groups) < 3:
        raise ValueError(f"a check needs three different measured angles; this series has {len(groups)}")
    held = groups[1:-1:2]
    gone = np.concatenate(held)
    return np.array([g[0] for g in held]), use[~np.isin(use, gone)]


def hold_out(
    series: TiltSeries,
    methods: Mapping[str, Interpolate],
    *,
    bands: int = BANDS,
    progress: Callable[[int, int], None] | None = None,
) -> HoldOut:
    """Predict every second measured tilt from the others by some methods, and score them.

    Parameters
    ----------
    series : TiltSeries
    methods : dict of callable
        By name: ``interpolate(sparse, angles)`` returns the sparse series with synthetic tilts at these angles, as
        ``splatom.run("interpolate", "linear", sparse, angles=angles)`` does. Stops are theirs to hear.
    bands : int
        Bands of spatial frequency.
    progress : callable, optional
        Called with the number of methods done and their count.

    Returns
    -------
    HoldOut

    Raises
    ------
    ValueError
        If fewer than three different angles were measured, a tilt to score is constant, or a method left one out.

    Notes
    -----
    The measured tilt holds noise, which nothing can predict: no method reaches more than the PSNR of the measurement.
    Gaps are twice those of the series, so that the figures are lower bounds. Bands are ours; the rest is usual.
    """
    held, kept = every_second(series)
    angles = series.angles[held]
    sparse = series[kept]
    found = {}
    for number, (name, interpolate) in enumerate(methods.items()):
        result = interpolate(sparse, tuple(angles.tolist()))
        found[name] = _scored(series, held, _predicted(result, angles, name), bands)
        if progress is not None:
            progress(number + 1, len(methods))
    different = np.unique(np.round(sparse.angles, 3))
    return HoldOut(held, angles, float(np.median(np.diff(different))), np.linspace(0, 0.5, bands + 1), found)


def band_errors(image: NDArray[Any], truth: NDArray[Any], bands: int = BANDS) -> NDArray[np.float64]:
    """Return the power of the error over that of the truth in rings of spatial frequency, (bands,); means are left out.

    Parameters
    ----------
    image, truth : array (rows, columns)
    bands : int
        Rings of equal width from 0 to 0.5 cycles per pixel.
    """
    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in b.shape))  # an image does not go on at its border as it began
    frequency = np.hypot(np.fft.fftfreq(b.shape[0])[:, None], np.fft.rfftfreq(b.shape[1])[None])
    ring = np.minimum((frequency * 2 * bands).astype(int), bands).ravel()

    def power(x: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = np.abs(np.fft.rfft2((x - x.mean()) * window)) ** 2
        return np.bincount(ring, spectrum.ravel(), minlength=bands + 1)[:bands].astype(np.float64)

    out: NDArray[np.float64] = power(a - b) / np.maximum(power(b), 1e-30)
    return out


def _predicted(result: TiltSeries, angles: NDArray[np.float64], name: str) -> NDArray[np.float32]:
    images = []
    for angle in angles:
        there = np.flatnonzero(result.synthetic & (np.abs(result.angles - angle) < 10 * _SAME))
        if not len(there):
            raise ValueError(f"{name} predicted no tilt at {angle:g}°")
        images.append(result.projections[there[0]])
    return np.stack(images)


def _scored(series: TiltSeries, held: NDArray[np.int64], images: NDArray[np.float32], bands: int) -> Scores:
    figures = []
    for i, image in zip(held, images, strict=True):
        truth = series.projections[i]
        if series.mask is not None:
            image = np.where(series.mask[i], image, truth)
        if np.ptp(truth) == 0:
            raise ValueError(f"the tilt at {series.angles[i]:g}° is constant: exclude it first")
        similar = ssim(image, truth) if min(truth.shape) >= 3 else np.nan
        figures.append((psnr(image, truth), similar, rmse(image, truth) ** 2, band_errors(image, truth, bands)))
    first, second, third, fourth = zip(*figures, strict=True)
    return Scores(np.array(first), np.array(second), np.array(third), np.array(fourth))
