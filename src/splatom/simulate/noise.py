"""Noise of electron micrographs: pointwise, of scan lines or camera columns, and a smooth background."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Noise", "tukey_lambda"]


def tukey_lambda(shape: tuple[int, ...], tail: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw from Tukey's lambda distribution, scaled to unit variance; 0.14 is nearly normal, less has longer tails.

    Raises
    ------
    ValueError
        If ``tail`` is not above -0.5, where the variance is infinite.
    """
    from scipy.special import gamma

    if tail <= -0.5:
        raise ValueError(f"tail {tail}: Tukey's lambda has a variance above -0.5 only")
    p = rng.uniform(1e-12, 1 - 1e-12, shape)
    if abs(tail) < 1e-6:
        return np.asarray(np.log(p / (1 - p)) * (np.sqrt(3) / np.pi))
    share = gamma(tail + 1) ** 2 / gamma(2 * tail + 2)
    variance = 2 / tail**2 * (1 / (1 + 2 * tail) - share)
    return np.asarray((p**tail - (1 - p) ** tail) / tail / np.sqrt(variance))


@dataclass(frozen=True)
class Noise:
    """A noise model, in the intensity units of the image it is for.

    One model serves both published decompositions. STEM (SFIN): a smooth background, scan noise along image rows whose
    SD grows with the local gradient, and pointwise noise. HRTEM (SCGN): an offset for every camera column and pointwise
    noise whose variance grows with the signal.

    Parameters
    ----------
    gain : float
        Variance of the counting noise per unit of signal above ``zero``: the intensity of one electron.
    zero : float
        Signal at which the counting noise vanishes (the image's black level).
    readout : float
        SD of the pointwise noise that does not depend on the signal.
    tail : float
        Shape of the readout noise's distribution, Tukey's lambda; 0.14 is nearly normal.
    line, line_gradient : float
        SD of a line's offset: ``line + line_gradient · g``, g the gradient of the clean image per pixel.
    line_length : float
        Length in pixels over which the offset holds along its line; infinite for whole lines.
    lines : {'rows', 'columns'}
        Which way a line runs: along image rows (fast scan along x) or along columns.
    background, background_length : float
        SD of a smooth random field, and the σ in pixels of the Gaussian that smooths it.
    blur : float
        σ in pixels of the detector's blur of the pointwise noise.
    """

    gain: float = 0.0
    zero: float = 0.0
    readout: float = 0.0
    tail: float = 0.14
    line: float = 0.0
    line_gradient: float = 0.0
    line_length: float = inf
    lines: Literal["rows", "columns"] = "rows"
    background: float = 0.0
    background_length: float = 64.0
    blur: float = 0.0

    def apply(self, clean: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the noisy image.

        Parameters
        ----------
        clean : array (rows, columns)
        rng : numpy.random.Generator

        Returns
        -------
        array (rows, columns), float32
        """
        signal = np.asarray(clean, dtype=np.float64)
        out = signal + self.pointwise(signal, rng)
        if self.line or self.line_gradient:
            out += self.of_lines(signal, rng)
        if self.background:
            out += _smooth(signal.shape, self.background_length, rng) * self.background
        return out.astype(np.float32)

    def pointwise(self, clean: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw counting and readout noise (rows, columns)."""
        noise = np.zeros(np.shape(clean))
        if self.gain > 0:
            counts = np.maximum((np.asarray(clean, dtype=np.float64) - self.zero) / self.gain, 0)
            noise += (rng.poisson(counts) - counts) * self.gain
        if self.readout > 0:
            normal = abs(self.tail - 0.14) < 1e-9
            drawn = rng.standard_normal(noise.shape) if normal else tukey_lambda(noise.shape, self.tail, rng)
            noise += drawn * self.readout
        return ndimage.gaussian_filter(noise, self.blur, mode="wrap") if self.blur > 0 else noise

    def of_lines(self, clean: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw the noise of lines (rows, columns)."""
        image = np.asarray(clean, dtype=np.float64)
        image = image if self.lines == "rows" else image.T
        rows, columns = image.shape
        if np.isinf(self.line_length):
            offsets = np.broadcast_to(rng.standard_normal((rows, 1)), image.shape)
        else:
            sigma = self.line_length / 2
            offsets = ndimage.gaussian_filter1d(rng.standard_normal((rows, columns)), sigma, axis=1, mode="wrap")
            offsets = offsets / max(_remaining(sigma, columns), 1e-12)
        spread: NDArray[np.float64] | float = self.line
        if self.line_gradient:
            down, along = np.gradient(image) if min(image.shape) > 1 else (np.zeros(1), np.zeros(1))
            spread = self.line + self.line_gradient * np.hypot(down, along)
        out = np.asarray(offsets * spread)
        return out if self.lines == "rows" else out.T


def _remaining(sigma: float, length: int) -> float:
    """SD that white noise of unit SD keeps under a periodic Gaussian filter of this σ along ``length`` pixels."""
    impulse = np.zeros(length)
    impulse[0] = 1
    return float(np.linalg.norm(ndimage.gaussian_filter1d(impulse, sigma, mode="wrap")))


def _smooth(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a Gaussian random field of unit SD, smooth over ``length`` pixels (rows, columns)."""
    pad = int(np.ceil(2 * length))
    wide = (shape[0] + pad, shape[1] + pad)
    transfer = ndimage.fourier_gaussian(np.fft.rfft2(rng.standard_normal(wide)), length, n=wide[1])
    field = np.fft.irfft2(transfer, s=wide)[: shape[0], : shape[1]]
    # Scaled by the ensemble's SD: that of one small field would also scale what is constant in it.
    ky, kx = np.fft.fftfreq(wide[0])[:, None], np.fft.fftfreq(wide[1])[None]
    power = np.exp(-((2 * np.pi * length) ** 2) * (ky**2 + kx**2)).mean()
    return np.asarray(field / np.sqrt(power))
