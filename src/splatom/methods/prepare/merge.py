"""Register and merge the repeated frames of an angle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job

__all__ = ["MergeParams", "run"]


class MergeParams(MethodParams):
    """Average the frames taken at the same angle, registered to one another first.

    The weight and the exposure of a merged tilt are the sums of its frames'. Held-out, measured and synthetic tilts
    are never mixed; the merged tilt keeps the earliest place in the acquisition order.
    """

    method: Literal["merge"] = "merge"
    align: bool = option(True, "Register", "Bring the frames of an angle on top of each other first.")
    tolerance: float = option(0.01, "Tolerance", "Angles nearer than this are the same.", unit="°", gt=0, le=1)


def run(series: TiltSeries, job: Job[MergeParams]) -> TiltSeries:
    """Return the series with one tilt for each angle."""
    numbers = series.groups(job.params.tolerance)
    kinds = numbers * 4 + series.held_out * 2 + series.synthetic
    merged = series.projections.copy()
    mask = None if series.mask is None else series.mask.copy()
    weights, order = series.weights.copy(), series.order.copy()
    exposure = None if series.exposure is None else series.exposure.copy()
    keep, moved = [], 0.0
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    for k, frames in enumerate(groups):
        first = int(frames[series.order[frames].argmin()])
        keep.append(first)
        if len(frames) > 1:
            images, seen, furthest = _registered(series, frames, first, job)
            moved = max(moved, furthest)
            share = np.maximum(series.weights[frames], 1e-6)[:, None, None] * seen
            merged[first] = (images * share).sum(axis=0) / np.maximum(share.sum(axis=0), 1e-9)
            if mask is not None:
                mask[first] = seen.any(axis=0)
            weights[first] = series.weights[frames].sum()
            order[first] = series.order[frames].min()
            if exposure is not None and series.exposure is not None:
                exposure[first] = series.exposure[frames].sum()
        job.tick(k + 1, len(groups))
    job.note(frames=len(series), tilts=len(keep), largest_shift_px=round(moved, 3))
    out = series.with_(projections=merged, mask=mask, weights=weights, exposure=exposure, order=order)
    return out[np.array(sorted(keep))]


def _registered(
    series: TiltSeries, frames: NDArray[np.int64], first: int, job: Job[MergeParams]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
    """Frames brought onto the first, where each was measured, and the furthest any was moved."""
    from splatom.methods.prepare._images import band_pass, resampled, shift_between, taper

    images = series.projections[frames].copy()
    seen = np.ones(images.shape, bool) if series.mask is None else series.mask[frames].copy()
    if not job.params.align:
        return images, seen, 0.0
    h, w = images.shape[1:]
    window = taper((h, w))
    fine = band_pass(images, 1.0, max(h, w) / 8) * window
    at = int(np.flatnonzero(frames == first)[0])
    # Where a frame lies is known but for its error: what the geometry says of the frames is undone with the rest.
    known = series.geometry.shifts[frames] - series.geometry.shifts[first]
    found = np.zeros((len(frames), 2))
    for _ in range(2):  # first to one frame, then to the mean of all, which holds less noise
        reference = fine[at]
        if found.any():
            reference = np.stack([resampled(f, shift=s) for f, s in zip(fine, found, strict=True)]).mean(axis=0)
        for i in range(len(frames)):
            job.check()
            if i != at:
                shift, peak = shift_between(reference, fine[i], whiten=0.3, limit=max(h, w) / 4)
                found[i] = shift if peak > 0 else known[i]
    for i in range(len(frames)):
        if np.abs(found[i]).max() > 0.02:
            images[i] = resampled(images[i], shift=found[i], order=3)
            inside = resampled(seen[i].astype(np.float32), shift=found[i], fill=0.0) > 0.99
            seen[i] = inside
    return images, seen, float(np.abs(found).max())
