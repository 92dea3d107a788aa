"""Fast images of atoms: points laid on the pixel grid, then one product in Fourier space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["contrast_transfer", "deposit", "filtered", "radii", "wavelength_angstrom"]


def deposit(points: ArrayLike, weights: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Sum weighted points on a periodic pixel grid.

    Parameters
    ----------
    points : array (n, 2)
        Row and column in pixels; any real number, wrapped at the edges.
    weights : array (n,)
    shape : (rows, columns)

    Returns
    -------
    array (rows, columns)
        Each point shared bilinearly by the four pixels around it: the sum is that of the weights, the mean position is
        exact, and frequency k is damped by sinc²(k) of both directions, which :func:`filtered` takes back.
    """
    at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    mass = np.broadcast_to(np.asarray(weights, dtype=np.float64), at.shape[:1])
    rows, columns = shape
    low = np.floor(at).astype(np.int64)
    part = at - low
    out = np.zeros(rows * columns)
    for down in (0, 1):
        for along in (0, 1):
            share = np.abs(1 - down - part[:, 0]) * np.abs(1 - along - part[:, 1])
            index = (low[:, 0] + down) % rows * columns + (low[:, 1] + along) % columns
            out += np.bincount(index, weights=share * mass, minlength=rows * columns)
    return out.reshape(rows, columns)


def radii(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies in cycles per pixel of the half spectrum: rows (r, 1), columns (1, c) and radius (r, c)."""
    ky = np.asarray(np.fft.fftfreq(shape[0])[:, None], dtype=np.float64)
    kx = np.asarray(np.fft.rfftfreq(shape[1])[None], dtype=np.float64)
    return ky, kx, np.hypot(ky, kx)


def filtered(image: NDArray[np.float64], transfer: NDArray[np.float64], *, points: bool = True) -> NDArray[np.float64]:
    """Multiply an image's half spectrum by a transfer function.

    Parameters
    ----------
    image : array (rows, columns)
    transfer : array (rows, columns // 2 + 1)
    points : bool
        Whether the image comes from :func:`deposit`, whose damping is then taken back.
    """
    shape = (image.shape[0], image.shape[1])
    if points:
        ky, kx, _ = radii(shape)
        transfer = transfer / (np.sinc(ky) ** 2 * np.sinc(kx) ** 2)
    return np.asarray(fft.irfft2(fft.rfft2(image) * transfer, s=shape))


def wavelength_angstrom(energy_kev: float) -> float:
    """Relativistic wavelength of an electron in Å."""
    return float(12.2642596 / np.sqrt(energy_kev * 1e3 * (1 + 0.978475598e-6 * energy_kev * 1e3)))


def contrast_transfer(
    k: NDArray[np.float64],
    *,
    energy_kev: float,
    defocus: float,
    spherical: float,
    focal_spread: float,
    convergence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the aberration phase χ in radians and the envelope of an HRTEM's transfer function.

    Parameters
    ----------
    k : array
        Spatial frequency in 1/Å.
    energy_kev : float
        Energy of the electrons in keV.
    defocus : float
        Å, positive for underfocus.
    spherical : float
        Spherical aberration in Å.
    focal_spread : float
        SD of the focus in Å.
    convergence : float
        Semi-angle of the illumination in rad.

    Notes
    -----
    Temporal and spatial envelopes as in E. J. Kirkland, Advanced Computing in Electron Microscopy (2010), chapter 3.
    """
    wave = wavelength_angstrom(energy_kev)
    chi = np.pi * wave * k**2 * (0.5 * spherical * wave**2 * k**2 - defocus)
    temporal = np.exp(-0.5 * (np.pi * wave * focal_spread * k**2) ** 2)
    slope = np.pi * convergence * (spherical * wave**2 * k**3 - defocus * k)
    return chi, temporal * np.exp(-(slope**2))
