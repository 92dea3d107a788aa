"""Alignment of every tilt to the reconstruction from all of them, alternating, coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.prepare._images import band_pass, resampled, shift_between, taper
from splatom.methods.prepare._mass import orbit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.methods.prepare._upright import Upright

__all__ = ["Level", "judge", "level", "levels", "mismatch", "refine", "without_gauge"]


@dataclass(frozen=True, eq=False)
class Level:
    """A binned copy of the series, and how large the volume behind it is."""

    images: NDArray[np.float32]
    factor: int
    volume_shape: tuple[int, int, int]


def levels(up: Upright, finest: int = 256) -> list[int]:
    """Binning factors from coarse to fine; the finest leaves at most so many pixels a side."""
    _, h, w = up.images.shape
    last = max(1, int(np.ceil(max(h, w) / finest)))
    return [f for f in (4 * last, 2 * last, last) if min(h, w) // f >= 24 or f == last]


def level(up: Upright, factor: int) -> Level:
    """Bin the images; the box of a film is wider than the field, as neighbouring film enters at high tilt."""
    n, h, w = up.images.shape
    rows, columns = h // factor, w // factor
    top, left = (h - rows * factor) // 2, (w - columns * factor) // 2
    cut = up.images[:, top : top + rows * factor, left : left + columns * factor]
    images = cut.reshape(n, rows, factor, columns, factor).mean(axis=(2, 4), dtype=np.float32)
    if up.kind == "film":
        steep = np.deg2rad(min(float(np.abs(up.angles[up.use]).max()), 60.0))
        width, depth = int(columns / np.cos(steep)), columns // 2
    else:
        width = depth = columns
    return Level(images, factor, (depth, rows, width))


def without_gauge(
    angles: NDArray[np.float64], use: NDArray[np.bool_], shifts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Take out of shifts what only moves the specimen: a cos θ + b sin θ across the axis, a constant along it."""
    out = shifts.copy()
    basis = orbit(angles)
    out[:, 0] -= basis @ np.linalg.lstsq(basis[use], out[use, 0], rcond=None)[0]
    out[:, 1] -= out[use, 1].mean()
    return out


def _placed(lv: Level, shifts: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.stack([resampled(im, shift=s / lv.factor, order=3) for im, s in zip(lv.images, shifts, strict=True)])


class _Solver:
    """SIRT on the tilts in use, kept warm from one round to the next."""

    def __init__(self, up: Upright, lv: Level, device: str) -> None:
        import torch

        from splatom.geometry import ViewGeometry
        from splatom.operators import VoxelProjector

        _, h, w = lv.images.shape
        self.use = up.use
        self.device = device
        self.every = VoxelProjector(ViewGeometry.single_axis(up.angles), lv.volume_shape, (h, w), device=device)
        self.fitted = VoxelProjector(
            ViewGeometry.single_axis(up.angles[up.use]), lv.volume_shape, (h, w), device=device
        )
        self.volume = torch.zeros(lv.volume_shape, device=device)
        lengths = self.fitted.forward(torch.ones_like(self.volume))
        self.per_ray = torch.where(lengths > 1e-3, 1 / lengths.clamp(min=1e-3), 0.0)
        touched = self.fitted.adjoint(torch.ones_like(lengths))
        self.per_voxel = torch.where(touched > 1e-3, 1 / touched.clamp(min=1e-3), 0.0)
        self.positive = bool(np.percentile(lv.images[up.use], 10) > -0.05 * np.percentile(lv.images[up.use], 99))

    def iterate(self, images: NDArray[np.float32], passes: int, check: Callable[[], None]) -> None:
        import torch

        data = torch.from_numpy(images[self.use]).to(self.device)
        for _ in range(passes):
            rest = data - self.fitted.forward(self.volume, check)
            rest *= self.per_ray
            step = self.fitted.adjoint(rest, check)
            step *= self.per_voxel
            self.volume += step
            if self.positive:
                self.volume.clamp_(min=0)

    def predicted(self, check: Callable[[], None]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = self.every.forward(self.volume, check).cpu().numpy()
        return out


def mismatch(
    predicted: NDArray[np.float32], measured: NDArray[np.float32], use: NDArray[np.bool_], window: NDArray[np.float32]
) -> float:
    """Relative difference (R) of the tilts in use, a gain for each fitted, within a window."""
    over, under = 0.0, 0.0
    for p, m in zip(predicted[use], measured[use], strict=True):
        pw = p * window
        gain = float((pw * m).sum() / max(float((pw * p).sum()), 1e-30))
        over += float((window * np.abs(m - gain * p)).sum())
        under += float((window * np.abs(m)).sum())
    return over / max(under, 1e-30)


def refine(
    up: Upright,
    shifts: NDArray[np.float64],
    *,
    rounds: int,
    limit: float,
    device: str,
    tick: Callable[[int, int, float, NDArray[np.float64]], None],
    check: Callable[[], None],
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Alternate a few SIRT passes and a registration of every tilt to its reprojection.

    Parameters
    ----------
    up : Upright
    shifts : array (n, 2)
        Start, ``(across, along)`` in pixels.
    rounds : int
        Rounds at each binning.
    limit : float
        Largest correction of a round, in binned pixels.
    device : str
    tick : callable
        Gets (round, rounds in all, R, shifts so far).
    check : callable
        Called inside long passes.

    Returns
    -------
    shifts : array (n, 2)
    figures : dict
        ``r_before`` and ``r_after``: mismatch at the finest binning, after equally many passes.
    """
    start = shifts
    factors = levels(up)
    done, total = 0, rounds * len(factors)
    kept = shifts.copy()
    for factor in factors:
        lv = level(up, factor)
        solver = _Solver(up, lv, device)
        window = taper(lv.images.shape[1:], 0.1)
        last = np.zeros_like(kept)
        for k in range(rounds):
            images = _placed(lv, kept)
            solver.iterate(images, 8 if k == 0 else 3, check)
            predicted = solver.predicted(check)
            r = mismatch(predicted, images, up.use, window)
            step = _register(predicted, images, window, limit, check) * factor
            # What the tilts say of the specimen's place they all say together: it is no error of theirs.
            step = without_gauge(up.angles, up.use, step)
            # The reconstruction holds each tilt as it lay before, which shortens every step.
            along = (step * last)[up.use].sum() > 0
            kept = kept + step * (1.5 if along else 1.0)
            last = step
            done += 1
            tick(done, total, r, kept)
            if np.sqrt((step[up.use] ** 2).mean()) < 0.03 * factor:
                done += rounds - 1 - k
                break
    figures = {
        "r_before": judge(up, start, factors[-1], device, check),
        "r_after": judge(up, kept, factors[-1], device, check),
    }
    return kept, figures


def judge(up: Upright, shifts: NDArray[np.float64], factor: int, device: str, check: Callable[[], None]) -> float:
    """Mismatch (R) that is left after 12 SIRT passes on images with some shifts: the lower, the better they agree."""
    from scipy import ndimage

    lv = level(up, factor)
    solver = _Solver(up, lv, device)
    images = _placed(lv, shifts)
    solver.iterate(images, 12, check)
    # Compared with the images as measured: resampling smooths noise away, which would favour any shift over none.
    seen = np.stack([resampled(p, shift=-s / factor) for p, s in zip(solver.predicted(check), shifts, strict=True)])
    # Noise, which no shift explains, would drown the difference that shifts make.
    smooth = (0.0, 1.5, 1.5)
    seen, measured = ndimage.gaussian_filter(seen, smooth), ndimage.gaussian_filter(lv.images, smooth)
    return mismatch(seen, measured, up.use, taper(lv.images.shape[1:], 0.15))


def _register(
    predicted: NDArray[np.float32],
    measured: NDArray[np.float32],
    window: NDArray[np.float32],
    limit: float,
    check: Callable[[], None],
) -> NDArray[np.float64]:
    """Shift ``(across, along)`` of each measured image against the predicted one, (n, 2) in their pixels."""
    out = np.zeros((len(measured), 2))
    widest = max(window.shape) / 8
    for i, (p, m) in enumerate(zip(predicted, measured, strict=True)):
        check()
        a, b = (band_pass(image, 0.7, widest) * window for image in (p, m))
        found, peak = shift_between(a, b, limit=limit)
        out[i] = found if peak > 0.1 else 0.0
    return out
