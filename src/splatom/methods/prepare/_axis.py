"""Direction of the tilt axis in the images, found without knowing any shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.prepare._images import resampled, taper

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from splatom.data import TiltSeries
    from splatom.geometry import ViewGeometry

__all__ = ["Axis", "find_axis", "redefined", "spread"]

_SIZE = 192


@dataclass(frozen=True)
class Axis:
    """A tilt axis that was found.

    Parameters
    ----------
    degrees : float
        Its in-plane angle as :meth:`splatom.geometry.ViewGeometry.single_axis` takes it, in (−45, 135].
    clarity : float
        How far the evidence stands out: spread of the spectra along the typical direction over that along the axis,
        less one. Above about 0.15 it is clear.
    rival : float
        The same for the best direction more than 25° away; clearly below ``clarity`` for a real axis.
    """

    degrees: float
    clarity: float
    rival: float

    @property
    def is_clear(self) -> bool:
        """Whether the evidence singles out one direction."""
        return self.clarity > 0.12 and self.clarity > 1.3 * max(self.rival, 0.0)


def spread(images: NDArray[np.float32], degrees: ArrayLike) -> NDArray[np.float64]:
    """Relative spread over the tilts of the Fourier amplitudes along given directions.

    By the central-section theorem all tilts share the line of their Fourier transforms along the tilt axis (the
    common line). Its amplitudes depend on no shift, so that unaligned images will do.

    Parameters
    ----------
    images : array (n, height, width)
    degrees : array (m,)
        Directions, as in :meth:`splatom.geometry.ViewGeometry.single_axis`.

    Returns
    -------
    array (m,)
        Variance over mean square of the amplitudes, averaged over the frequencies.
    """
    from scipy import fft, ndimage

    n, h, w = images.shape
    scale = min(1.0, _SIZE / max(h, w))
    shape = (round(h * scale), round(w * scale))
    window = taper(shape)
    size = fft.next_fast_len(2 * max(shape))
    radii = np.arange(3.0, max(shape) / 2)  # of 2·max(shape): half the Nyquist frequency
    angle = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    # The spectrum of a real image is symmetric: one half circle holds all lines.
    rows = size // 2 + radii * np.cos(angle)[:, None]
    columns = size // 2 - radii * np.sin(angle)[:, None]
    lines = np.empty((n, *rows.shape))
    for image, line in zip(images, lines, strict=True):
        small = image if scale == 1 else _small(image, scale, shape)
        flat = (small - (small * window).sum() / window.sum()) * window
        flat /= max(float(np.sqrt((flat**2).sum())), 1e-30)
        amplitude = np.abs(fft.fftshift(fft.fft2(flat, (size, size))))
        line[:] = ndimage.map_coordinates(amplitude, [rows, columns], order=1)
    # Each frequency counts alike; a tilt's overall gain does not.
    lines /= np.sqrt((lines**2).mean(axis=2, keepdims=True))
    out: NDArray[np.float64] = (lines.var(axis=0) / (lines**2).mean(axis=0)).mean(axis=1)
    return out


def _small(image: NDArray[np.float32], scale: float, shape: tuple[int, int]) -> NDArray[np.float32]:
    from scipy import ndimage

    return resampled(ndimage.gaussian_filter(image, 0.5 / scale), scale=scale, shape=shape)


def find_axis(images: NDArray[np.float32], check: Callable[[], None] | None = None) -> Axis:
    """Search the whole circle for the tilt axis.

    Parameters
    ----------
    images : array (n, height, width)
        Unaligned tilts.
    check : callable, optional
        Called between passes.
    """
    angles = np.arange(-45.0, 135.0, 1.0)
    curve = spread(images, angles)
    if check is not None:
        check()
    best = angles[curve.argmin()]
    best = _sharpened(images, float(best), check)
    apart = np.abs((angles - best + 90) % 180 - 90)
    typical = float(np.median(curve))
    degrees = float(135.0 - (135.0 - best) % 180.0)
    clarity = typical / float(curve.min()) - 1
    return Axis(degrees, clarity, typical / float(curve[apart > 25].min()) - 1)


def _sharpened(images: NDArray[np.float32], coarse: float, check: Callable[[], None] | None) -> float:
    """Refine a direction by the profiles along it, phases included: each is first shifted onto their mean."""
    h, w = images.shape[1:]
    scale = min(1.0, _SIZE / max(h, w))
    shape = (round(h * scale), round(w * scale))
    small = images if scale == 1 else np.stack([_small(image, scale, shape) for image in images])
    window = taper(shape)
    flat = (small - (small * window).sum(axis=(1, 2), keepdims=True) / window.sum()) * window
    angles = coarse + np.arange(-5.0, 5.01, 0.5)
    score = np.empty(len(angles))
    for k, angle in enumerate(angles):
        if check is not None:
            check()
        profiles = np.stack([resampled(image, degrees=-angle, fill=0.0).sum(axis=1) for image in flat])
        score[k] = _coherence(profiles)
    top = int(np.clip(score.argmax(), 2, len(angles) - 3))
    near = slice(top - 2, top + 3)
    bend = np.polyfit(angles[near] - angles[top], score[near], 2)
    if bend[0] >= 0:
        return float(angles[score.argmax()])
    return float(angles[top] + np.clip(-bend[1] / (2 * bend[0]), -1, 1))


def _coherence(profiles: NDArray[np.float32]) -> float:
    """Share of the profiles' spectral power that they have in common once shifted onto each other, 0 to 1."""
    from scipy import fft

    n, length = profiles.shape
    size = fft.next_fast_len(2 * length)
    spectra = fft.rfft(profiles, size, axis=1)
    spectra /= np.sqrt((np.abs(spectra) ** 2).sum(axis=1, keepdims=True) + 1e-30)
    floor = float(np.median((np.abs(spectra[:, size * 3 // 8 :]) ** 2).mean(axis=0)))
    lines = spectra[:, 2 : size // 4]
    k = np.arange(2, 2 + lines.shape[1])
    # Each frequency counts by its share of signal, not by its power.
    power = (np.abs(lines) ** 2).mean(axis=0)
    weight = np.maximum(power - 2 * floor, 0.0) / (power**2 + 1e-30) + 1e-6 / power.max()
    dense = 16
    common = lines[n // 2]
    for _ in range(4):
        cross = np.zeros((n, dense * size // 2 + 1), complex)
        cross[:, k] = lines * np.conj(common) * np.sqrt(weight)
        lag = fft.irfft(cross, dense * size, axis=1).argmax(axis=1) / dense
        lines = lines * np.exp(2j * np.pi * lag[:, None] * k / size)
        common = lines.mean(axis=0)
    return float((weight * np.abs(common) ** 2).sum() / (weight * (np.abs(lines) ** 2).mean(axis=0)).sum())


def redefined(series: TiltSeries, degrees: float) -> tuple[ViewGeometry, bool]:
    """Geometry with the tilt axis put elsewhere in the same images, and whether the hand stays known.

    The axis of a file that says nothing is assumed along the rows' direction. Finding it elsewhere corrects this
    assumption: the images, the signs of the tilt angles and the shifts stay, only the axis they belong to is another.
    (Turning the images is something else: :meth:`splatom.geometry.ViewGeometry.turned`.) An axis and its opposite are
    the same line, but tilts about the one are the reverse of tilts about the other; nothing in the images tells them
    apart. Up to 45° from the old axis the sense is carried over; beyond it the angle is taken in (−45, 135], and the
    hand is unknown.
    """
    from splatom.geometry import ViewGeometry

    old = series.geometry
    nearest = old.axis_degrees + (degrees - old.axis_degrees + 90) % 180 - 90
    carried = abs(nearest - old.axis_degrees) <= 45
    new = nearest if carried else 135.0 - (135.0 - degrees) % 180.0
    return ViewGeometry.single_axis(series.angles, new, old.shifts), carried and series.hand_known
