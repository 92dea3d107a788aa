"""Fourier shell correlation: up to which spatial frequency two volumes agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from splatom.data import TiltSeries

__all__ = ["FscCurve", "directional_fsc", "fsc", "half_sets"]

_FEWEST = 10  # coefficients that make a shell's correlation worth reading


@dataclass(frozen=True, eq=False)
class FscCurve:
    """Correlation by shell.

    Parameters
    ----------
    frequency : array (n,)
        Middle of each shell in cycles per nm.
    correlation : array (n,)
        From −1 to 1; 0 in a shell that holds nothing.
    count : array (n,)
        Fourier coefficients in each shell.
    voxel_size : float
        In nm.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    count: NDArray[np.int64]
    voxel_size: float

    def resolution(self, threshold: float = 0.143) -> float | None:
        """Length in nm at which the curve first falls below a threshold; two voxels if it never does.

        Shells of fewer than ten coefficients are passed over; None if there are no others.
        """
        # The shell at zero frequency only compares means; a handful of coefficients, as in the innermost shells of
        # a cone, is chance.
        use = (self.frequency > 0) & (self.count >= _FEWEST)
        if not use.any():
            return None
        frequency, correlation = self.frequency[use], self.correlation[use]
        below = np.flatnonzero(correlation < threshold)
        if len(below) == 0:
            return 2 * self.voxel_size
        i = int(below[0])
        if i == 0:
            return float(1 / frequency[0])
        share = (correlation[i - 1] - threshold) / (correlation[i - 1] - correlation[i])
        return float(1 / (frequency[i - 1] + share * (frequency[i] - frequency[i - 1])))


def _spectra(
    a: ArrayLike, b: ArrayLike, voxel: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], list[NDArray[np.float64]], NDArray[np.float64]]:
    """Half spectra of both, their frequency axes (cycles per nm, open) and how often each coefficient counts."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"shapes differ: {x.shape} and {y.shape}; crop one to the other")
    if voxel <= 0:
        raise ValueError(f"voxel size is {voxel} nm; it has to be positive")
    shape = x.shape
    axes: list[Any] = [np.fft.fftfreq(n, voxel) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1], voxel)]
    axes = [f.reshape([-1 if i == j else 1 for j in range(len(shape))]) for i, f in enumerate(axes)]
    twice: NDArray[np.float64] = np.full(shape[-1] // 2 + 1, 2.0)
    twice[0] = 1
    if shape[-1] % 2 == 0:
        twice[-1] = 1
    return np.fft.rfftn(x), np.fft.rfftn(y), axes, twice


def _edge(a: ArrayLike) -> int:
    """Length of the shortest axis; one of a single slice does not count."""
    return min((n for n in np.shape(a) if n > 1), default=1)


def _curve(
    fa: NDArray[np.complex128],
    fb: NDArray[np.complex128],
    axes: list[NDArray[np.float64]],
    weight: NDArray[np.float64],
    voxel: float,
    edge: int,
) -> FscCurve:
    width = 1 / (max(edge, 2) * voxel)
    shell = np.rint(np.sqrt(np.asarray(sum(a * a for a in axes))) / width).astype(np.int64).ravel()
    n = max(edge, 2) // 2 + 1
    weights = np.broadcast_to(weight, fa.shape).ravel()
    use = (shell < n) & (weights > 0)

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out: Any = np.bincount(shell[use], (values.ravel() * weights)[use], minlength=n)
        return np.asarray(out, dtype=np.float64)

    cross = summed((fa * fb.conj()).real)
    power = np.sqrt(summed(np.abs(fa) ** 2) * summed(np.abs(fb) ** 2))
    correlation = np.divide(cross, power, out=np.zeros(n), where=power > 0)
    count = np.rint(summed(np.ones(fa.shape))).astype(np.int64)
    frequency: Any = np.arange(n) * width
    return FscCurve(frequency, correlation, count, voxel)


def fsc(a: ArrayLike, b: ArrayLike, voxel_size: float = 1.0) -> FscCurve:
    """Fourier shell correlation (ring correlation of two images).

    Source: Harauz and van Heel, Optik 73, 146 (1986). Against a truth the usual threshold is 0.5, between two
    independent half sets 0.143 (Rosenthal and Henderson, J. Mol. Biol. 333, 721, 2003).

    Parameters
    ----------
    a, b : array
        Volumes or images of one shape.
    voxel_size : float
        In nm.

    Returns
    -------
    FscCurve
        Shells one reciprocal of the shortest edge wide, up to the Nyquist frequency.

    Warnings
    --------
    The correlation of half sets is inflated by everything that both share: an alignment made from all tilts, a mask, a
    regulariser, a learned prior. It then measures how reproducible the result is, not how right.
    """
    fa, fb, axes, twice = _spectra(a, b, voxel_size)
    return _curve(fa, fb, axes, twice, voxel_size, _edge(a))


def directional_fsc(
    a: ArrayLike, b: ArrayLike, voxel_size: float = 1.0, half_angle: float = 30.0
) -> dict[str, FscCurve]:
    """Fourier shell correlation in cones about z (the beam), y (the tilt axis) and x.

    A missing wedge leaves the cone about z without data, which a correlation over whole shells hides.

    Parameters
    ----------
    a, b : array (z, y, x)
    voxel_size : float
        In nm.
    half_angle : float
        Of each double cone, in degrees.

    Returns
    -------
    dict
        ``{"z": FscCurve, "y": …, "x": …}``.

    Warnings
    --------
    Inflated by shared priors and joint alignment as :func:`fsc` is, and most where no data bear the result: two halves
    filled in by one prior agree in the missing wedge without either being right.
    """
    if np.ndim(a) != 3:
        raise ValueError(f"directional FSC compares volumes, not arrays of {np.ndim(a)} dimensions")
    if not 0 < half_angle <= 90:
        raise ValueError(f"half angle is {half_angle}°; it has to lie in 0 to 90")
    fa, fb, axes, twice = _spectra(a, b, voxel_size)
    total = np.sqrt(np.asarray(sum(f * f for f in axes)))
    limit = np.cos(np.deg2rad(half_angle)) * (1 - 1e-12)
    return {
        name: _curve(fa, fb, axes, twice * (np.abs(axis) >= limit * total), voxel_size, _edge(a))
        for name, axis in zip("zyx", axes, strict=True)
    }


def half_sets(series: TiltSeries) -> tuple[TiltSeries, TiltSeries]:
    """Split a series into two of alternate angles, all repeats of an angle together, for the FSC of half sets.

    Reconstruct each by itself, with everything that learns from the data (alignment, denoising) done anew for each
    half if the correlation is to be independent, and compare the volumes with :func:`fsc` or :func:`directional_fsc`.

    Raises
    ------
    ValueError
        If there are fewer than two angles.
    """
    group = series.groups()
    if group.max() < 1:
        raise ValueError("half sets need at least two different tilt angles")
    return series[group % 2 == 0], series[group % 2 == 1]
