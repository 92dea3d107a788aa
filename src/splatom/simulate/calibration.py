"""What noise is in these images: the parameters of :class:`~splatom.simulate.noise.Noise`, from the images alone.

The decomposition is SFIN's (STEM: an image blurred in two dimensions, B, and one blurred along the lines of the scan,
R; scan noise is R − B, pointwise noise I − R; their SDs regressed on gradient and on grey level in bins, sparse bins
left out) and SCGN's (HRTEM: column offsets, pointwise variance a + b·signal). Their kernels are not published. Ours
are sets of frequencies that the image's own spectrum decides (:mod:`splatom.simulate._fit`): B is where structure
stands out of the noise, R everything at low frequency along the line. What of the noise a set leaves out is known and
allowed for, so that the figures are those of the noise and not of the part that a kernel happens to keep.

In one image a structure without order and noise that the detector has blurred look alike. Repeats (several images of
the same field, registered) tell them apart: with them the structure is subtracted, not filtered out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.simulate._curves import line_curve, spectra, tail_of, variance_curve
from splatom.simulate._fit import floor_of, frequencies
from splatom.simulate._pieces import background_of, course_of, pieces_of, power_of
from splatom.simulate.noise import Noise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = ["Calibration", "calibrate", "outside"]

_SMALLEST = 64
_MOST_IMAGES = 16
_MOST_PIXELS = 2**24  # in all; some 180 bytes each


@dataclass(frozen=True)
class Calibration:
    """Noise as it was found, and the curves it was read off.

    Attributes
    ----------
    noise : Noise
        In the units of the images.
    curves : dict
        Named arrays for plots, all 1-D: ``signal``, ``variance``, ``variance_fit`` (pointwise, before the blur);
        ``gradient``, ``line_sd``, ``line_sd_fit`` (of lines); ``frequency``, ``power``, ``power_fit`` (over |k| in
        cycles per pixel, structure left out); ``along``, ``ridge``, ``ridge_fit`` (over k along the line).
    kind : {'stem', 'hrtem'}
    contrast : float
        SD of the image without its noise.
    point, scan : float
        SD of the pointwise noise and of the noise of lines, over the whole image.
    structure : array (n, rows, columns)
        What was taken for the specimen, towards the edges faded out; of repeats their mean, n = 1.
    repeats : bool
        Whether the images were taken as repeats of one field.
    """

    noise: Noise
    curves: dict[str, Array]
    kind: Literal["stem", "hrtem"]
    contrast: float
    point: float
    scan: float
    structure: Array
    repeats: bool = False

    @property
    def noise_to_contrast(self) -> float:
        """SD of the pointwise noise over the contrast."""
        return self.point / max(self.contrast, 1e-30)

    @property
    def line_to_contrast(self) -> float:
        """SD of the noise of lines over the contrast."""
        return self.scan / max(self.contrast, 1e-30)


def calibrate(
    images: ArrayLike,
    kind: Literal["stem", "hrtem"] = "stem",
    lines: Literal["rows", "columns", "auto"] = "auto",
    repeats: bool | None = None,
    tick: Callable[[], None] | None = None,
) -> Calibration:
    """Find the noise in images.

    Parameters
    ----------
    images : array (n, rows, columns) or (rows, columns)
        As recorded: filtered or interpolated images have filtered noise. Of more than 16 (fewer
        where they are larger than 1024², 2 at least), as many evenly spaced are used; constant ones are left out.
    kind : {'stem', 'hrtem'}
        STEM: offsets of scan lines that grow with the gradient and may change along a line. HRTEM: one offset for each
        line, of camera columns unless `lines` says otherwise.
    lines : {'rows', 'columns', 'auto'}
        Which way the lines run; by default whichever way the noise is.
    repeats : bool, optional
        Whether the images are registered repeats of one field; by default whether they look alike.
    tick : callable, optional
        Called before every image; what it raises ends the calibration.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If the images are constant, hold values that are not finite, are saturated, or are smaller than 64 pixels.
    """
    stack = _checked(images)
    if kind not in ("stem", "hrtem"):
        raise ValueError(f"kind {kind!r}: 'stem' or 'hrtem'")
    if repeats is None:
        repeats = _alike(stack)
    if repeats and len(stack) < 2:
        raise ValueError("repeats need two images or more")
    saturated = np.stack([_saturated(image) for image in stack])
    mean = stack.mean(axis=0) if repeats else None
    parts = (stack - mean) * np.sqrt(len(stack) / (len(stack) - 1)) if mean is not None else stack
    if lines == "auto":
        lines = "columns" if kind == "hrtem" else _direction(parts)
    if lines == "columns":
        parts, saturated = parts.transpose(0, 2, 1), saturated.transpose(0, 2, 1)
        mean = None if mean is None else mean.T
    offsets = kind == "hrtem"
    pieces = []
    for part, bad in zip(parts, saturated, strict=True):
        if tick is not None:
            tick()
        pieces.append(pieces_of(part, mean, bad, offsets))

    curves: dict[str, Array] = {}
    blur = float(np.median([p.floor.blur for p in pieces]))
    line, line_gradient = 0.0, 0.0
    for _ in range(3):  # each is measured on what the other leaves
        base, gain = variance_curve(pieces, line_gradient, curves)
        line, line_gradient = line_curve(pieces, base, gain, offsets, curves)
        if line_gradient == 0:
            break
    spread = [line + line_gradient * p.gradient for p in pieces]
    scan = float(np.sqrt(np.mean([(s**2)[p.good].mean() for s, p in zip(spread, pieces, strict=True)])))
    level = float(np.mean([p.signal[p.good].mean() for p in pieces]))
    variance = base + gain * level
    length = inf if offsets or scan == 0 else course_of(pieces, variance, spread)
    background, background_length = background_of(pieces)
    if background < 0.1 * np.sqrt(max(variance, 0.0)):
        background, background_length = 0.0, 64.0  # an error of the floor would look the same
    spectra(pieces, base + gain * level, spread, length, curves)
    zero = max(-base / gain, 0.0) if gain > 0 else 0.0
    readout = float(np.sqrt(max(base, 0.0)))
    # The noise of lines that a steep gradient leaves among the points has tails of its own.
    shape = 0.14 if line_gradient else tail_of(pieces, base, gain, readout)
    noise = Noise(
        gain=gain, zero=zero, readout=readout, tail=shape, line=line, line_gradient=line_gradient,
        line_length=length, lines=lines, background=background, background_length=background_length, blur=blur,
    )  # fmt: skip
    point = float(np.sqrt(max(variance, 0.0) * pieces[0].floor.transfer().mean()))
    total = float(np.mean([image.var() for image in stack]))
    contrast = float(np.sqrt(max(total - point**2 - scan**2 - background**2, 0.0)))
    structure = np.stack([p.signal for p in (pieces[:1] if repeats else pieces)])
    structure = structure.transpose(0, 2, 1) if lines == "columns" else structure
    return Calibration(noise, curves, kind, contrast, point, scan, structure, repeats)


def outside(card_trained: Mapping[str, Any], calibration: Calibration) -> str | None:
    """Say whether the noise is outside what a network was trained on.

    Parameters
    ----------
    card_trained : dict
        Ranges of the training: ``noise_to_contrast`` and ``line_to_contrast``, each ``[low, high]``, of the SDs of the
        noise over that of the image without noise. What is missing is not checked.
    calibration : Calibration

    Returns
    -------
    str or None
        One line, or None if the noise is within the ranges. Less noise than the least is said too: a network may take
        fine structure for noise.
    """
    if calibration.contrast <= 0:
        return "no structure stands out of the noise in these images: what a network makes of them is its own invention"
    said = []
    for key, name, value in (
        ("noise_to_contrast", "pointwise noise", calibration.noise_to_contrast),
        ("line_to_contrast", "noise of lines", calibration.line_to_contrast),
    ):
        if key in card_trained:
            low, high = (float(bound) for bound in card_trained[key])
            if not low <= value <= high:
                said.append(f"{name} is {value:.3g} of the contrast (trained on {low:.3g} to {high:.3g})")
    return "outside the training: " + "; ".join(said) if said else None


def _checked(images: ArrayLike) -> Array:
    stack = np.asarray(images)
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3:
        raise ValueError(f"images of shape {stack.shape}: give grey images as (n, rows, columns) or (rows, columns)")
    if np.iscomplexobj(stack):
        raise ValueError("the images are complex; give real ones")
    if min(stack.shape[1:]) < _SMALLEST:
        size = f"{stack.shape[1]} × {stack.shape[2]}"
        raise ValueError(f"images of {size} pixels: noise is measured on {_SMALLEST} × {_SMALLEST} or more")
    most = min(_MOST_IMAGES, max(2, _MOST_PIXELS // stack[0].size))
    if len(stack) > most:
        stack = stack[np.linspace(0, len(stack) - 1, most).round().astype(int)]
    stack = stack.astype(np.float64)
    if not np.isfinite(stack).all():
        raise ValueError("the images hold values that are not finite (NaN); clean them first")
    blank = stack.std(axis=(1, 2)) <= 1e-9 * np.abs(stack).max(axis=(1, 2))
    if blank.all():
        raise ValueError("the images are constant: there is no noise to measure")
    return stack[~blank] if blank.any() else stack


def _saturated(image: Array) -> NDArray[np.bool_]:
    """Pixels at an end of the range that holds more than chance puts there, and their neighbours, (rows, columns)."""
    from scipy.ndimage import binary_dilation

    out = np.zeros(image.shape, bool)
    for end in (image.min(), image.max()):
        at_end = image == end
        if at_end.mean() > 5e-4:
            out |= at_end
    if out.mean() > 0.3:
        raise ValueError(f"{out.mean():.0%} of the pixels are saturated: their noise is lost")
    grown: NDArray[np.bool_] = binary_dilation(out, np.ones((3, 3), bool)) if out.any() else out
    return grown


def _alike(stack: Array) -> bool:
    """Whether all images show the same: what is left of each after the mean is far less than it was."""
    if len(stack) < 2:
        return False
    from scipy.ndimage import gaussian_filter

    smooth = np.stack([gaussian_filter(image, 3) for image in stack])
    smooth -= smooth.mean(axis=(1, 2), keepdims=True)
    mean = smooth.mean(axis=0)
    return bool(((smooth - mean) ** 2).mean() < 0.1 * (smooth**2).mean())


def _direction(parts: Array) -> Literal["rows", "columns"]:
    """Which way the ridge in the spectrum is the stronger."""

    def strength(power: Array) -> float:
        floor = floor_of(power, passes=2, may_blur=False)
        near = np.abs(frequencies(power.shape)[1][0]) <= floor.end
        return float(floor.ridge[near].sum() / power.shape[1])

    powers = [power_of(part) for part in parts[:4]]
    rows = sum(strength(power) for power in powers)
    return "rows" if rows >= sum(strength(power.T) for power in powers) else "columns"
