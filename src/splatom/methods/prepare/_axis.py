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
    fine = best + np.arange(-3.0, 3.01, 0.25)
    near = spread(images, fine)
    fit = np.polynomial.Polynomial.fit(fine - best, near, 2, w=np.exp(-((fine - fine[near.argmin()]) ** 2) / 4))
    at = fit.deriv().roots()
    found = float(np.real(at[0])) if fit.convert().coef[2] > 0 and abs(at[0]) <= 3 else float(fine[near.argmin()] - best)
    apart = np.abs((angles - best + 90) % 180 - 90)
    typical = float(np.median(curve))
    degrees = float(135.0 - (135.0 - (best + found)) % 180.0)
    clarity = typical / float(curve.min()) - 1
    return Axis(degrees, clarity, typical / float(curve[apart > 25].min()) - 1)


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
