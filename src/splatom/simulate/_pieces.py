"""One image taken apart into structure, noise of lines and pointwise noise, pixel by pixel.

The lines of the scan run along the last axis here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from splatom.simulate._fit import Floor, floor_of, frequencies, smoothed_square, window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Pieces", "background_of", "course_of", "line_spectrum", "pieces_of", "power_of"]

_EDGE = 0.2  # of the taper; nearer to the edge an image says too little


@dataclass(frozen=True)
class Pieces:
    """What the regressions need of one image.

    Attributes
    ----------
    floor : Floor
    signal : array (rows, columns)
        The structure.
    point, line : array (rows, columns)
        The image at the frequencies of pointwise noise, and at those of lines.
    point_share, line_share : float
        Share of the variance of pointwise noise (before the blur) that each of them holds.
    seen, seen_by_line : array (rows, columns)
        The structure as the squares of each see it: smoothed by their kernels.
    of_lines : array (rows, columns), bool
        The frequencies of ``line``.
    band : array (columns,), bool
        The kx of ``line``.
    whole : float
        Share that ``line`` holds of an offset that is the same everywhere.
    fourth : float
        Fourth cumulant of ``point`` over that of pointwise noise before the blur.
    taper : array (rows, columns)
        ``point`` and ``line`` are of the image times this.
    good : array (rows, columns), bool
        Pixels to count: away from the edge, and not saturated.
    """

    floor: Floor
    power: Array
    signal: Array
    point: Array
    line: Array
    point_share: float
    line_share: float
    seen: Array
    seen_by_line: Array
    of_lines: NDArray[np.bool_]
    band: NDArray[np.bool_]
    whole: float
    fourth: float
    taper: Array
    good: NDArray[np.bool_]

    @property
    def gradient(self) -> Array:
        """Magnitude of the structure's gradient per pixel, (rows, columns)."""
        down, along = np.gradient(self.signal)
        out: Array = np.hypot(down, along)
        return out

    def along_lines(self, gradient: Array) -> tuple[Array, Array]:
        """Split the SD of offsets, as it varies along the lines, into what ``line`` and what ``point`` sees of it.

        An offset is white across the lines, so only the band of kx acts on it. (The gaps that peaks leave in ``line``
        take their share, ``whole``, but do not smooth: of a lattice's gaps the kernel is the lattice.)
        """
        seen: Array = np.fft.ifft(np.fft.fft(gradient, axis=1) * self.band, axis=1).real
        return seen, gradient - seen


def power_of(image: Array) -> Array:
    """Spectrum of an image under the taper, scaled such that white noise has its variance, (rows, columns)."""
    taper = window_of(image.shape)
    out: Array = np.abs(np.fft.fft2(_levelled(image, taper) * taper)) ** 2 / (taper**2).sum()
    return out


def _levelled(image: Array, taper: Array) -> Array:
    return image - float((image * taper).sum() / taper.sum())


def pieces_of(image: Array, structure: Array | None, saturated: NDArray[np.bool_], only_offsets: bool) -> Pieces:
    """Take an image apart.

    Parameters
    ----------
    image : array (rows, columns)
        An image, or what is left of one after the mean of its repeats was subtracted.
    structure : array (rows, columns), optional
        That mean; without it, structure is what stands out of the noise in the image's spectrum.
    saturated : array (rows, columns), bool
    only_offsets : bool
        Lines keep one offset over their whole length, so all else is pointwise.
    """
    shape: tuple[int, int] = image.shape
    taper = window_of(shape)
    level = float((image * taper).sum() / taper.sum())
    spectrum = np.fft.fft2((image - level) * taper)
    power = np.abs(spectrum) ** 2 / (taper**2).sum()
    floor = floor_of(power)
    kx = np.abs(frequencies(shape)[1])
    transfer = floor.transfer()
    good = (taper > _EDGE) & ~saturated
    if structure is None:
        # What stands out by little is mostly noise.
        kept = floor.structure * np.clip(1 - 3 * floor.power() / np.maximum(power, 1e-30), 0, 1)
        found = np.fft.ifft2(spectrum * kept).real
        structure = level + found / np.maximum(taper, _EDGE**2)
    end = 2.5 / shape[1] if only_offsets else min(max(1.5 * floor.end, _reach(structure * taper)), 0.3)
    noise = ~floor.structure & floor.lit
    of_points, of_lines = noise & (kx > end), noise & (kx <= end)
    weights = np.maximum(floor.ridge, 0) * (kx[0] <= end)
    weights = weights / weights.sum() if weights.sum() > 0 else (kx[0] <= end) / (kx[0] <= end).sum()
    one = np.fft.ifft2(of_points * np.sqrt(transfer)).real
    return Pieces(
        floor=floor, power=power, signal=structure,
        point=np.fft.ifft2(spectrum * of_points).real, line=np.fft.ifft2(spectrum * of_lines).real,
        point_share=float((of_points * transfer).mean()), line_share=float((of_lines * transfer).mean()),
        seen=smoothed_square(structure, of_points * np.sqrt(transfer)),
        seen_by_line=smoothed_square(structure, of_lines * np.sqrt(transfer)),
        of_lines=of_lines, band=kx[0] <= end, whole=float(of_lines.mean(axis=0) @ weights),
        fourth=float((one**4).sum()), taper=taper, good=good,
    )  # fmt: skip


def _reach(structure: Array) -> float:
    """|kx| up to which the magnitude of a gradient may modulate the noise of lines: twice as far as structure goes."""
    columns = structure.shape[1]
    power = (np.abs(np.fft.fft(np.gradient(structure, axis=1), axis=1)) ** 2).sum(axis=0)[: columns // 2]
    share = np.cumsum(power) / max(power.sum(), 1e-30)
    return float(2 * np.searchsorted(share, 0.95) / columns)


def course_of(pieces: list[Pieces], variance: float, spread: list[Array]) -> float:
    """Length over which a line's offset holds.

    The products of ``line`` with itself at a distance, over those of the spread that the gradient gives it, are the
    offset's autocorrelation; a Gaussian of that length, ``exp(−(τ/length)²)``, is fitted to it.

    Parameters
    ----------
    pieces : list of Pieces
    variance : float
        Mean variance of the pointwise noise before the blur.
    spread : list of array (rows, columns)
        SD of the offset at every pixel.

    Returns
    -------
    float
        In pixels; infinite where it is as long as the line.
    """
    columns = pieces[0].taper.shape[1]
    measured, expected = np.zeros(columns), np.zeros(columns)
    for piece, sd in zip(pieces, spread, strict=True):
        measured += _products(piece.line)
        left = np.fft.ifft((piece.of_lines * piece.floor.transfer()).mean(axis=0)).real
        measured -= variance * left * _products(piece.taper)
        expected += _products(piece.taper * sd)
    far = columns // 2
    at = np.arange(far)
    weight = expected[:far]
    lengths = np.geomspace(2, 4 * columns, 400)
    model = np.exp(-((at[None, :] / lengths[:, None]) ** 2))
    # Whatever the height, which the regression on the gradient has found better.
    height = (model * measured[:far] * weight).sum(axis=1) / (model**2 * weight**2).sum(axis=1)
    cost = ((measured[:far] - height[:, None] * model * weight) ** 2).sum(axis=1)
    length = float(lengths[np.argmin(cost)])
    return length if length < 0.75 * columns else inf


def line_spectrum(taper: Array, spread: Array, length: float) -> Array:
    """Return the expected power at each kx of offsets of an SD (rows, columns) that hold over a length, (columns,)."""
    own = _products(taper * spread) / (taper**2).sum()
    own = own * np.exp(-((np.arange(len(own)) / length) ** 2))
    out: Array = 2 * np.fft.fft(own).real - own[0]
    return out


def _products(values: Array) -> Array:
    """Sum of the products of values at a distance along their lines, (columns,)."""
    padded = np.abs(np.fft.fft(values, n=2 * values.shape[1], axis=1)) ** 2
    out: Array = np.fft.ifft(padded.sum(axis=0)).real[: values.shape[1]]
    return out


def background_of(pieces: list[Pieces]) -> tuple[float, float]:
    """SD and length of a smooth random field: what the lowest frequencies hold, where those above hold less.

    A field smoothed by a Gaussian of σ = length has the autocovariance ``SD² exp(−r²/(4 length²))``; times the taper's
    own, its transform is what the spectrum is expected to be (Whittle's likelihood, debiased).
    """
    shape: tuple[int, int] = pieces[0].taper.shape
    size = max(min(shape) // 16, 4)
    iy, ix = (np.abs(k) * n for k, n in zip(frequencies(shape), shape, strict=True))
    # The mean that was subtracted took the lowest nine with it.
    near = (np.maximum(iy, ix) > 1.5) & (np.hypot(iy, ix) <= size)
    ring = np.round(np.hypot(iy, ix)[near]).astype(int)
    power = np.mean([p.power[near] for p in pieces], axis=0)
    under = np.mean([p.floor.power()[near] for p in pieces], axis=0)
    median = np.array([np.median(power[ring == r]) if (ring == r).any() else np.inf for r in range(ring.max() + 1)])
    beyond = (np.hypot(iy, ix) > size) & (np.hypot(iy, ix) <= 2 * size)
    over = [np.median(p.power[beyond] / np.maximum(p.floor.power()[beyond], 1e-30)) for p in pieces]
    if np.mean(over) > 2:  # so structure goes on: it is the specimen
        return 0.0, 64.0
    use = power < 10 * median[ring] / np.log(2)
    power, under = power[use], np.maximum(under[use], 1e-30)
    best = (np.log(under).sum() + (power / under).sum() - 10.0, 0.0, 64.0)
    for length in np.geomspace(shape[0] / (2 * np.pi * size) * 1.5, min(shape) / 4, 24):
        model = np.outer(*(_field(n, float(length)) for n in shape))[near][use]
        scale = float(np.median((power - under) / model)) / np.log(2)
        for _ in range(30):  # Newton-like steps of the likelihood
            mean = under + max(scale, 0.0) * model
            weight = (model / mean) ** 2
            scale = float((weight * (power - under) / model).sum() / weight.sum())
        mean = under + max(scale, 0.0) * model
        cost = float((np.log(mean) + power / mean).sum())
        if scale > 0 and cost < best[0]:
            best = (cost, float(np.sqrt(scale)), float(length))
    return best[1], best[2]


def _field(size: int, length: float) -> Array:
    """Return the expected spectrum under the taper of a field of unit SD, along one axis, (size,)."""
    taper = window_of((size, size))[size // 2]
    at = np.arange(size)
    own = np.correlate(taper, taper, "full")[size - 1 :] / (taper**2).sum()
    half = own * np.exp(-(at**2) / (4 * length**2))
    out: Array = 2 * np.fft.fft(half).real - half[0]
    return out
