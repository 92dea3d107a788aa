"""What a network can learn from noisy images alone: patches, what it is shown and what it is scored on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries
    from splatom.methods.denoise._scale import Scale

__all__ = ["Material", "Repeats", "line_share", "repeats_of"]

Blind = Literal["pixel", "lines"]

_HELD = 0.04  # share of the pixels that are never learnt from
_HELD_LINES = 0.08  # the same of lines, where these are hidden
_PERIOD = 251  # the pattern of those repeats; a prime, so that it follows no lattice
_REACH = 3  # how far away a hidden pixel's stand-in comes from
_BETWEEN = {"pixel": 5, "lines": 6}  # one in so many is hidden, along each axis or across the lines


@dataclass(frozen=True)
class Repeats:
    """Frames of one angle and how each is displaced.

    Parameters
    ----------
    frames : tuple of int
    shifts : array (n, 2)
        ``(row, column)`` in pixels against the first.
    """

    frames: tuple[int, ...]
    shifts: NDArray[np.float64]


def repeats_of(series: TiltSeries, use: NDArray[np.int64], check: Callable[[], None]) -> tuple[list[Repeats], float]:
    """Register the repeated frames of each angle, and say how unlike they are.

    Returns
    -------
    repeats : list of Repeats
    unlike : float
        Standard deviation of the difference of two frames over that of their pointwise noise: 1 where noise is all
        that tells them apart, more with line noise, much more where the specimen has changed. 0 without repeats.
    """
    from splatom.methods.denoise._noise import noise_of
    from splatom.methods.prepare._images import band_pass, resampled, shift_between, taper

    groups, found, ratios = series.groups(1e-2), [], []
    shape = series.shape[1:]
    if min(shape) < 32:
        return [], 0.0
    window = taper((shape[0], shape[1]))
    for group in np.unique(groups[use]):
        frames = use[groups[use] == group]
        if len(frames) < 2:
            continue
        fine = [band_pass(series.projections[i], 1.0, max(shape) / 8) * window for i in frames]
        shifts = np.zeros((len(frames), 2))
        for k in range(1, len(frames)):
            check()
            shifts[k] = shift_between(fine[0], fine[k], whiten=0.3, limit=max(shape) / 8)[0]
        found.append(Repeats(tuple(int(i) for i in frames), shifts[:, ::-1].copy()))
        first, second = series.projections[frames[0]], series.projections[frames[1]]
        inner = np.s_[shape[0] // 8 : -(shape[0] // 8), shape[1] // 8 : -(shape[1] // 8)]
        difference = (resampled(second, shift=np.rint(shifts[1]), order=0) - first)[inner]
        ratios.append(float(difference.std()) / max(noise_of([first, second]) * 2**0.5, 1e-30))
    return found, float(np.median(ratios)) if ratios else 0.0


def line_share(images: list[NDArray[np.float32]]) -> tuple[float, float]:
    """Share of the noise's variance that a row's pixels have in common, and the same for columns.

    The second difference across the lines takes the structure away; what is left at distances of 6 to 24 pixels along
    a line is its common part. A lattice oscillates over such distances, and mostly cancels.
    """
    shares = np.zeros(2)
    for image in images:
        for axis in range(2):
            across = np.diff((image if axis == 0 else image.T).astype(np.float64), 2, axis=0)
            width = across.shape[1]
            if min(across.shape) < 4 or width < 32 or not across.any():
                continue
            far = np.mean([np.mean(across[:, k:] * across[:, : width - k]) for k in range(6, 25)])
            shares[axis] += far / np.mean(across**2) / len(images)
    return float(shares[0]), float(shares[1])


@dataclass(frozen=True, eq=False)
class Material:
    """Noisy images to learn from.

    Parameters
    ----------
    images : array (n, rows, columns)
        In the intensity of the series.
    seen : array (n, rows, columns) of bool, optional
    use : array (m,) of int
        Images to learn from.
    scale : Scale
    transpose : bool
        Whether patches are turned, so that lines run along their rows.
    blind : {'pixel', 'lines'}
        What is hidden where there are no repeats: single pixels, or whole rows of a patch.
    radius : int
        Hide the square of this radius about a target, too.
    repeats : list of Repeats
        Empty to learn blind.
    side : int
        Of a patch.
    """

    images: NDArray[np.float32]
    seen: NDArray[np.bool_] | None
    use: NDArray[np.int64]
    scale: Scale
    transpose: bool
    blind: Blind
    radius: int
    repeats: list[Repeats]
    side: int

    def batch(
        self, rng: np.random.Generator, count: int, held: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Draw patches: what the network is shown, what it shall say, and the weight of each pixel, (count, 1, s, s).

        Parameters
        ----------
        rng : Generator
        count : int
        held : bool
            Score on the pixels held out for validation, else on the others.
        """
        made = [self._one(rng, held) for _ in range(count)]
        return tuple(np.stack(parts)[:, None] for parts in zip(*made, strict=True))  # type: ignore[return-value]

    def _one(
        self, rng: np.random.Generator, held: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        rows, columns = self.images.shape[1:]
        top, left = (int(rng.integers(0, max(n - self.side, 0) + 1)) for n in (rows, columns))
        if self.repeats:
            group = self.repeats[int(rng.integers(len(self.repeats)))]
            a, b = rng.choice(len(group.frames), 2, replace=False)
            shown = self._patch(group.frames[a], top, left)
            wanted = self._shifted(group.frames[b], top, left, group.shifts[b] - group.shifts[a])
            weight = self._weight(group.frames[a], top, left, held)
        else:
            i = int(rng.choice(self.use))
            wanted = self._patch(i, top, left)
            weight = self._weight(i, top, left, held)
        if self.transpose:
            wanted, weight = wanted.T, weight.T
        if self.repeats:
            shown = shown.T if self.transpose else shown
        else:
            if self.blind == "lines":
                shown, targets = self._hide_lines(wanted, rng)
            else:
                shown, targets = self._hide_pixels(wanted, rng, weight if held else None)
            weight = weight & targets
        if rng.random() < 0.5:
            shown, wanted, weight = shown[::-1], wanted[::-1], weight[::-1]
        if rng.random() < 0.5:
            shown, wanted, weight = shown[:, ::-1], wanted[:, ::-1], weight[:, ::-1]
        return shown, wanted, weight.astype(np.float32)

    def _patch(self, i: int, top: int, left: int) -> NDArray[np.float32]:
        part = self.scale.forward(self.images[i, top : top + self.side, left : left + self.side])
        return _padded(part, self.side)

    def _shifted(self, i: int, top: int, left: int, shift: NDArray[np.float64]) -> NDArray[np.float32]:
        """Patch of another frame where the same part of the specimen lies in it."""
        from scipy import ndimage

        r = np.clip(np.arange(top - 4, top + self.side + 4)[:, None] + round(shift[0]), 0, self.images.shape[1] - 1)
        c = np.clip(np.arange(left - 4, left + self.side + 4)[None] + round(shift[1]), 0, self.images.shape[2] - 1)
        part = self.scale.forward(self.images[i][r, c])
        rest = -(shift - np.rint(shift))
        out: NDArray[np.float32] = ndimage.shift(part, rest, order=3, mode="nearest")[4:-4, 4:-4]
        return out

    def _weight(self, i: int, top: int, left: int, held: bool) -> NDArray[np.bool_]:
        """Pixels of the image itself that were measured, and that are held out or not."""
        rows, columns = self.images.shape[1:]
        r, c = np.arange(top, top + self.side)[:, None], np.arange(left, left + self.side)[None]
        rng = np.random.default_rng(20_221)
        if self.blind == "lines" and not self.repeats:
            # A line's other pixels would tell its offset: what is held out are whole lines.
            pattern = rng.random(_PERIOD) < _HELD_LINES
            out = np.broadcast_to(pattern[(c if self.transpose else r) % _PERIOD] == held, (self.side, self.side))
        else:
            out = (rng.random((_PERIOD, _PERIOD)) < _HELD)[r % _PERIOD, c % _PERIOD] == held
        out = out & (r < rows) & (c < columns)
        if self.seen is not None:
            out &= self.seen[i][np.minimum(r, rows - 1), np.minimum(c, columns - 1)]
        return np.asarray(out)

    def _hide_lines(
        self, patch: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Put another line in the place of some: the patch with them, and where they are.

        A whole line from nearby looks like any other, so that nothing tells the network which ones were replaced
        (after C. Broaddus et al., ISBI 2020, who hide pieces of lines).
        """
        side = patch.shape[0]
        shown, targets = patch.copy(), np.zeros(patch.shape, bool)
        r = self._places(side, rng)
        targets[r] = True
        for d in range(-self.radius, self.radius + 1):
            source, moved = self._away(r, side, rng), int(rng.integers(-_REACH, _REACH + 1))
            shown[np.clip(r + d, 0, side - 1)] = np.roll(patch[source], moved, axis=1)
        return shown, targets

    def _hide_pixels(
        self, patch: NDArray[np.float32], rng: np.random.Generator, which: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Put pixels of nearby lines in the place of some: the patch with them, and where they are.

        A. Krull et al., CVPR 2019. Those of ``which``, or a grid of them.
        """
        side = patch.shape[0]
        shown, targets = patch.copy(), np.zeros(patch.shape, bool)
        if which is None:
            grid = np.meshgrid(self._places(side, rng), self._places(side, rng), indexing="ij")
            r, c = (g.ravel() for g in grid)
        else:
            r, c = np.nonzero(which)
            gap = np.maximum(np.abs(r[:, None] - r), np.abs(c[:, None] - c))
            alone = (gap <= 2 * self.radius).sum(axis=1) == 1  # what stands in for one is not the other
            r, c = r[alone], c[alone]
        targets[r, c] = True
        around = range(-self.radius, self.radius + 1)
        for dr in around:
            for dc in around:
                across = np.clip(c + rng.integers(-_REACH, _REACH + 1, len(c)), 0, side - 1)
                stand_in = patch[self._away(r, side, rng), across]
                shown[np.clip(r + dr, 0, side - 1), np.clip(c + dc, 0, side - 1)] = stand_in
        return shown, targets

    def _places(self, side: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Places along an axis, so far apart that hidden neighbourhoods do not touch; the first is drawn."""
        step = max(_BETWEEN[self.blind], 2 * self.radius + 2)
        return np.arange(int(rng.integers(step)), side, step)

    def _away(self, r: NDArray[np.int64], side: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows beyond the hidden ones, on either side, within the patch."""
        away = (self.radius + rng.integers(1, _REACH + 1, len(r))) * rng.choice((-1, 1), len(r))
        return np.asarray(np.where((r + away >= 0) & (r + away < side), r + away, r - away))


def _padded(part: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Fill up a patch of a small image by reflection."""
    rows, columns = part.shape
    if (rows, columns) == (side, side):
        return part
    return np.pad(part, ((0, side - rows), (0, side - columns)), mode="reflect")
