"""Normalise the intensity of every tilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job
    from splatom.methods.prepare._upright import Upright

__all__ = ["NormaliseParams", "run"]


class NormaliseParams(MethodParams):
    """Bring all tilts to one scale of intensity, as a drifting dose or detector gain would ask for.

    total: the same total intensity above the ground in each tilt; true for a particle wholly in view. profile: the
    same profile along the axis, which also holds for a needle that leaves the field along it. film: the projected
    mass of a film that fills the field grows as 1/cos θ, and the tilts are scaled to that. auto takes the one that
    the images bear, and changes nothing where a film fills the field in part only. The mean scale stays.
    """

    method: Literal["normalise"] = "normalise"
    kind: Literal["auto", "total", "profile", "film"] = option("auto", "Kind", "What is taken to be constant.")


def run(series: TiltSeries, job: Job[NormaliseParams]) -> TiltSeries:
    """Return the series with each tilt scaled about its ground."""
    from splatom.methods.prepare._images import matter
    from splatom.methods.prepare._specimen import background
    from splatom.methods.prepare._upright import upright

    up = upright(series, job.check)
    kind: str = job.params.kind
    if kind == "auto":
        kind = {"isolated": "total", "rod": "profile", "film": "film"}[up.kind]
        if kind == "film" and not _fills_the_field(series, up):
            job.note(specimen=up.kind, decision="nothing changed: a film in part of the field has no constant total")
            return series
    job.note(specimen=up.kind, kind=kind)
    gains = _gains(series, up, kind, job)
    bad = ~(np.isfinite(gains) & (gains > 0))
    if bad.any():
        raise ValueError(
            f"tilt {int(bad.argmax())} has no intensity above its ground; exclude it, or choose another kind"
        )
    gains = gains / np.exp(np.log(gains[up.use]).mean())
    job.note(gains=[round(float(g), 5) for g in gains])
    images = series.projections.copy()
    sign = 1 if series.contrast == "adf" else -1
    for i, image in enumerate(matter(series)):
        ground = np.float32(sign * background(image) if kind != "film" else 0.0)
        images[i] = (images[i] - ground) / np.float32(gains[i]) + ground
        job.tick(i + 1, len(images))
    return series.with_(projections=images)


def _fills_the_field(series: TiltSeries, up: Upright) -> bool:
    """Whether no image comes near zero anywhere: then there is film everywhere (where zero means no matter)."""
    from scipy import ndimage

    if series.contrast != "adf":
        return False
    smooth = ndimage.gaussian_filter(series.projections[up.use], (0, 2, 2), mode="nearest")
    darkest = np.percentile(smooth, 2, axis=(1, 2))
    return bool((darkest > 0.3 * smooth.mean(axis=(1, 2))).mean() > 0.9)


def _gains(series: TiltSeries, up: Upright, kind: str, job: Job[NormaliseParams]) -> NDArray[np.float64]:
    from splatom.methods.prepare._mass import along_by_common_line

    if kind == "profile":
        return along_by_common_line(up, up.shifts, up.images.shape[1] / 4, job.check)[1]
    if kind == "total":
        return np.asarray(up.images.mean(axis=(1, 2), dtype=np.float64))
    if series.contrast != "adf":  # the logarithm of a bright-field image grows with the thickness, not the image
        raise ValueError("kind film needs intensity that grows with the thickness; choose total or profile")
    means = np.asarray(series.projections.mean(axis=(1, 2), dtype=np.float64))
    return means * np.cos(np.deg2rad(np.clip(up.angles, -85, 85)))
