"""Noise apart from structure, by frequency: what :mod:`splatom.simulate.calibration` measures on.

Lines of the scan run along the last axis here. In the spectrum of an image

- pointwise noise is a floor, level or, if the detector blurs, falling with frequency: ``point · T(k)²``;
- noise of lines is a ridge: whatever its course along the line, ``L(kx)``, one line knows nothing of the next, so it is
  as strong at every ky;
- structure is neither: Bragg peaks, or a disc about zero that the microscope's resolution ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_dilation, uniform_filter
from scipy.signal.windows import hann

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["Floor", "blur_transfer", "floor_of", "frequencies", "smoothed_square", "window_of"]

_PEAK = 14.0  # power over floor that noise exceeds once in a million
_DARK = 0.02
_BLURS = tuple(float(b) for b in (0.0, *np.arange(0.3, 3.01, 0.05)))


@dataclass(frozen=True)
class Floor:
    """The noise in a spectrum.

    Attributes
    ----------
    point : float
        Power of the pointwise noise at frequency 0, which is its variance before the blur.
    blur : float
        SD of the detector's blur in pixels.
    ridge : array (columns,)
        Power of the noise of lines at each kx.
    end : float
        |kx| in cycles per pixel from which on the ridge is lost in the floor.
    structure : array (rows, columns), bool
        Where the image is more than noise.
    """

    point: float
    blur: float
    ridge: Array
    end: float
    structure: Mask

    @property
    def lit(self) -> Mask:
        """Frequencies that the blur has not all but taken away, (rows, columns)."""
        out: Mask = self.transfer() >= _DARK
        return out

    def transfer(self) -> Array:
        """Transfer of the blur at every frequency, squared, (rows, columns)."""
        return blur_transfer(self.structure.shape, self.blur) ** 2

    def power(self) -> Array:
        """Return the expected power of the noise, (rows, columns)."""
        return self.point * self.transfer() + self.ridge[None, :]


def frequencies(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return ky (rows, 1) and kx (1, columns) in cycles per pixel, in the order of the FFT."""
    down: Array = np.fft.fftfreq(shape[0])[:, None].astype(np.float64)
    along: Array = np.fft.fftfreq(shape[1])[None, :].astype(np.float64)
    return down, along


def window_of(shape: tuple[int, int]) -> Array:
    """Taper that keeps the edges' jump, and strong peaks, from spilling over the spectrum."""
    out: Array = np.outer(hann(shape[0], sym=False), hann(shape[1], sym=False))
    return out


def blur_transfer(shape: tuple[int, int], blur: float) -> Array:
    """Transfer of a Gaussian blur as it is drawn on pixels, (rows, columns)."""
    down, along = (_transfer(blur, k.ravel()) for k in frequencies(shape))
    out: Array = np.outer(down, along)
    return out


def _transfer(blur: float, at: Array) -> Array:
    """Transfer of the blur along one axis at some frequencies, as :func:`scipy.ndimage.gaussian_filter1d` draws it."""
    if blur <= 0:
        return np.ones(len(at))
    reach = int(4 * blur + 0.5)
    pixel = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (pixel / blur) ** 2)
    out: Array = np.cos(2 * np.pi * at[:, None] * pixel) @ weights / weights.sum()
    return out


def smoothed_square(values: Array, passed: NDArray[Any]) -> Array:
    """Return the expected square of filtered white noise of variance `values`, over that of the unfiltered.

    A filter f turns noise of variance v(x) into noise of variance Σ f(u)² v(x − u). This is that sum, divided by
    Σ f(u)²: the kernel's own smoothing of the curve that is to be measured, so that the fit may allow for it.
    """
    kernel = np.abs(np.fft.ifft2(passed)) ** 2
    out: Array = np.fft.ifft2(np.fft.fft2(values) * np.fft.fft2(kernel / kernel.sum())).real
    return out


def _cells(power: Array, use: Mask, size: int = 12) -> tuple[Array, Array, Array, Array]:
    """Median power over patches of the (|ky|, |kx|) plane: value, weight, and the patch's ky and kx."""
    ky, kx = (np.abs(k) for k in frequencies(power.shape))
    row = np.minimum((ky * 2 * size).astype(int), size - 1)
    column = np.minimum((kx * 2 * size).astype(int), size - 1)
    label = np.broadcast_to(row * size + column, power.shape)[use]
    order = np.argsort(label, kind="stable")
    label, values = label[order], power[use][order]
    starts = np.flatnonzero(np.r_[True, np.diff(label) > 0])
    pieces = np.split(values, starts[1:])
    median = np.array([np.quantile(piece, 0.3) for piece in pieces]) / -np.log(0.7)
    count = np.array([len(piece) for piece in pieces], float)
    at = label[starts]
    return median, count, (at // size + 0.5) / (2 * size), (at % size + 0.5) / (2 * size)


def _point_and_blur(power: Array, use: Mask, blurs: Sequence[float]) -> tuple[float, float]:
    """Fit ``point · T²`` under the patches: structure can only lie above it, so what sticks out counts no further."""
    median, count, ky, kx = _cells(power, use)
    keep = count >= 8
    median, weight, ky, kx = median[keep], count[keep], ky[keep], kx[keep]
    best = (np.inf, 0.0, 0.0)
    for blur in blurs:
        shape = np.maximum((_transfer(blur, ky) * _transfer(blur, kx)) ** 2, 1e-9)
        ratio = np.log(median / shape)
        level = float(np.quantile(ratio, 0.25))
        for _ in range(20):
            off = ratio - level
            trust = weight * np.where(off > 0, 1 / (1 + (off / 0.3) ** 2) ** 2, 1.0)
            level = float((trust * ratio).sum() / trust.sum())
        off = ratio - level
        cost = float((weight * np.where(off > 0, off**2 / (1 + off**2), off**2)).sum())
        # A blur must earn its place: a level floor is what most images have.
        if cost * (1.25 if best[2] == 0 and blur > 0 else 1.0) < best[0]:
            best = (cost, float(np.exp(level)), float(blur))
    return best[1], best[2]


def _grown(found: Mask) -> Mask:
    """Two pixels more on every side: as far as the taper spreads a peak."""
    out: Mask = binary_dilation(np.pad(found, 2, mode="wrap"), np.ones((5, 5), bool))[2:-2, 2:-2]
    return out


def _structure(ratio: Array) -> Mask:
    """Where the power over its floor is more than chance: single peaks, and regions that are a little high."""
    found = _grown(ratio > _PEAK)
    found[np.ix_(np.r_[-5:6], np.r_[-5:6])] = True
    for size, most in ((7, 2.6), (21, 1.5)):
        left = uniform_filter((~found).astype(float), size, mode="wrap")
        mean = uniform_filter(np.where(found, 0.0, ratio), size, mode="wrap") / np.maximum(left, 0.2)
        found |= _grown(mean > most)
    return found


def _columns(power: Array, use: Mask) -> Array:
    """Mean power at each kx, (columns,); what lies far above the median, a peak's skirt say, does not count."""
    count = use.sum(axis=0)
    middle = np.maximum(count - 1, 0) // 2
    median = np.take_along_axis(np.sort(np.where(use, power, np.inf), axis=0), middle[None, :], axis=0)[0]
    use = use & (power <= 5 * median)
    # Of exponentially distributed power, the part below five medians has 0.888 of the mean.
    out: Array = (power * use).sum(axis=0) / np.maximum(use.sum(axis=0), 1) / 0.8882
    return out


def floor_of(power: Array, passes: int = 4, may_blur: bool = True) -> Floor:
    """Tell noise from structure in a spectrum.

    Parameters
    ----------
    power : array (rows, columns)
        In the order of the FFT, scaled such that white noise has its variance.
    passes : int
    may_blur : bool
        Whether the pointwise noise may fall with frequency.

    Returns
    -------
    Floor
    """
    level = _passes(power, (0.0,), passes)
    return level if not may_blur or _is_level(power, level) else _passes(power, _BLURS, passes)


def _is_level(power: Array, floor: Floor) -> bool:
    """Whether the floor beside the ridge does not fall with frequency, which it would under a blur."""
    kx = np.abs(frequencies(power.shape)[1])
    value, count, ky, _ = _cells(power, np.broadcast_to(kx > floor.end, power.shape))
    keep = (count >= 8) & (ky > 0.15)  # structure goes on for longer in a few images only, and peaks do not matter
    at, ratio, weight = ky[keep] ** 2, np.log(value[keep] / floor.point), count[keep]
    at = at - np.average(at, weights=weight)
    slope = float((weight * at * ratio).sum() / (weight * at**2).sum())
    rest = ratio - np.average(ratio, weights=weight) - slope * at
    error = float(np.sqrt((weight**2 * at**2 * rest**2).sum()) / (weight * at**2).sum())
    return slope > min(-4 * error, -0.8)


def _passes(power: Array, blurs: Sequence[float], passes: int) -> Floor:
    ky, kx = (np.abs(k) for k in frequencies(power.shape))
    use: Mask = np.ones(power.shape, bool)
    use[0, 0] = False
    end = 0.0
    for _ in range(passes):
        point, blur = _point_and_blur(power, use & (kx > min(end, 0.2)), blurs)
        transfer = blur_transfer(power.shape, blur) ** 2
        lit = transfer >= _DARK  # what the blur has all but taken away tells nothing
        ridge, end = _ridge(power, use & lit, point * transfer, ky)
        smooth = np.maximum(np.where(kx[0] <= end, ridge, uniform_filter(ridge, 9, mode="wrap")), 0)
        use = ~_structure(power / (point * np.maximum(transfer, _DARK) + smooth[None, :]))
    bare = use & lit & (kx > 1.3 * end)
    if bare.sum() > 50:  # means over what is left are sharper than medians
        point = float(power[bare].sum() / transfer[bare].sum())
        ridge, end = _ridge(power, use & lit, point * transfer, ky)
    return Floor(point, blur, ridge, end, ~use)


def _ridge(power: Array, use: Mask, floor: Array, ky: Array) -> tuple[Array, float]:
    """Power above the floor at each kx (columns,), and where it ends."""
    outer = use & (ky > 0.15)
    outer = np.where(outer.sum(axis=0) >= 8, outer, ky > 0.15)
    count = outer.sum(axis=0)
    ridge = _columns(power, outer) - (floor * outer).sum(axis=0) / count
    return ridge, _end(ridge, float(floor[0, 0]), count)


def _end(ridge: Array, point: float, count: Array) -> float:
    """|kx| beyond which the ridge adds less than a twelfth to the floor."""
    half = len(ridge) // 2
    # Against the far end, where no ridge reaches, and not against the floor, which may be a little off.
    folded = ridge[1 : half + 1] - np.median(ridge[int(0.7 * half) : half + 1])
    beyond = np.cumsum(folded[::-1])[::-1]  # from kx = 1, 2, … upwards
    number = np.arange(half, 0, -1)
    error = 2 * point / np.sqrt(number * count[1 : half + 1])  # the taper leaves half as many independent values
    high = beyond / number > np.maximum(0.08 * point, 3 * error)
    last = int(np.flatnonzero(high)[-1]) + 2 if high.any() else 2
    return min(last / len(ridge), 0.3)
