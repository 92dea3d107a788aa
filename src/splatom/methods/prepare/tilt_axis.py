"""Find the tilt axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from splatom.jobs import Job
    from splatom.methods.prepare._upright import Upright

__all__ = ["TiltAxisParams", "run"]


class TiltAxisParams(MethodParams):
    """Find the direction of the tilt axis in the images, and how far it runs beside their centre.

    The direction is that along which the Fourier amplitudes of all tilts agree best (the common line), searched over
    the whole circle; it needs no alignment. Where a film holds gold beads, their paths give it instead. The result
    corrects what the file said or what was assumed: images, signs of angles and shifts stay, the geometry's axis
    changes (prepare rotate then turns the images upright).

    The offset is a constant shift across the axis: where the specimen stands free, from its centre of mass, which
    moves as x₀ + a cos θ + b sin θ; for a film, the one that leaves the smallest reprojection residual. It means
    something only once the tilts are aligned to one another.
    """

    method: Literal["tilt-axis"] = "tilt-axis"
    kind: Literal["auto", "common-line", "fiducials"] = option("auto", "Kind", "How the direction is found.")
    angle: float | None = option(
        None,
        "Angle",
        "In-plane angle of the axis where it is known, from +row towards −column; empty: found from the images.",
        unit="°",
        ge=-180,
        le=180,
    )
    offset: bool = option(True, "Offset", "Also find how far the axis runs beside the centre.")


def run(series: TiltSeries, job: Job[TiltAxisParams]) -> TiltSeries:
    """Return the series with the axis in its geometry."""
    from splatom.methods.prepare._axis import redefined
    from splatom.methods.prepare._images import turn_shifts
    from splatom.methods.prepare._upright import upright

    p, geometry = job.params, series.geometry
    if _has_own_rotations(series) and p.angle is None:
        job.note(decision="every view has rotations of its own; the direction was left alone")
    else:
        degrees = p.angle if p.angle is not None else _direction(series, job)
        geometry, known = redefined(series, degrees)
        series = series.with_(geometry=geometry, hand_known=known)
        turn = -(geometry.axis_degrees + 180 if geometry.axis_degrees <= -45 else geometry.axis_degrees)
        job.note(axis_degrees=round(geometry.axis_degrees, 3))
        if not geometry.is_single_axis:
            job.note(proposal=f"prepare rotate turns the images by {turn:.2f}° so that the axis runs along the rows")
    if not p.offset:
        return series
    up = upright(series, job.check)
    offset, error = _offset(up, job)
    significant = abs(offset) > 2 * error
    job.note(offset_px=round(offset, 3), offset_error_px=round(error, 3))
    if not significant:
        job.note(offset="not applied: no larger than its error")
        return series
    across = turn_shifts([[offset, 0.0]], -up.turn)
    return series.with_(geometry=geometry.with_shifts(geometry.shifts + across))


def _has_own_rotations(series: TiltSeries) -> bool:
    from splatom.geometry import ViewGeometry

    plain = ViewGeometry.single_axis(series.angles, series.geometry.axis_degrees)
    return bool(np.abs(plain.rotations - series.geometry.rotations).max() > 1e-3)


def _direction(series: TiltSeries, job: Job[TiltAxisParams]) -> float:
    from splatom.methods.prepare._axis import find_axis, redefined
    from splatom.methods.prepare._beads import BeadError, by_beads
    from splatom.methods.prepare._images import learning, matter
    from splatom.methods.prepare._upright import upright

    kind = job.params.kind
    axis = find_axis(matter(series)[learning(series)], job.check)
    job.note(common_line_degrees=round(axis.degrees, 2), clarity=round(axis.clarity, 3))
    if kind != "common-line":
        # The beads' paths are looked for near the axis that the spectra show.
        guess = series.with_(geometry=redefined(series, axis.degrees)[0]) if axis.is_clear else series
        up = upright(guess, job.check)
        if up.kind == "film" or kind == "fiducials":
            try:
                beads = by_beads(up, job.check, limit=max(up.images.shape[1:]) / 4)
                job.note(beads=len(beads.positions), bead_rms_px=round(beads.rms, 3))
                return guess.geometry.axis_degrees + beads.axis_degrees
            except BeadError as fault:
                if kind == "fiducials":
                    raise
                job.note(fiducials=str(fault))
    if not axis.is_clear:
        raise ValueError(
            f"the images do not show clearly where the tilt axis runs (best guess {axis.degrees:.1f}° from vertical); "
            "give --angle"
        )
    # What is no further from the axis there is than this can be told is no reason to give up the fast, exact case.
    off = (axis.degrees - series.geometry.axis_degrees + 90) % 180 - 90
    return series.geometry.axis_degrees if abs(off) < 0.25 else axis.degrees


def _offset(up: Upright, job: Job[TiltAxisParams]) -> tuple[float, float]:
    """Constant shift across the axis beside those known, and its standard error, in pixels."""
    if up.kind == "film":
        return _offset_by_residual(up, job)
    from splatom.methods.prepare._mass import orbit, whole_centre

    basis = orbit(up.angles[up.use], constant=True)
    centre = (whole_centre(up, job.check)[:, 0] - up.shifts[:, 0])[up.use]
    weight = np.ones(len(centre))
    for _ in range(10):  # Huber weights: a few tilts out of place do not decide
        found = np.linalg.lstsq(basis * weight[:, None], centre * weight, rcond=None)[0]
        rest = centre - basis @ found
        scale = max(1.4826 * float(np.median(np.abs(rest))), 1e-6)
        weight = np.sqrt(np.minimum(1.0, 1.5 * scale / np.maximum(np.abs(rest), 1e-12)))
    covariance = np.linalg.pinv(basis.T @ (basis * weight[:, None] ** 2)) * float((rest**2).mean())
    return float(found[2]), float(np.sqrt(covariance[2, 2]))


def _offset_by_residual(up: Upright, job: Job[TiltAxisParams]) -> tuple[float, float]:
    from splatom.methods.prepare._reproject import judge, levels

    factor = levels(up)[0]
    reach = up.images.shape[2] / 8
    tried: dict[float, float] = {}
    best = 0.0
    steps = (reach / 3, reach / 12, reach / 36)
    for k, step in enumerate(steps):
        for c in best + step * np.arange(-3, 4):
            if float(c) not in tried:
                tried[float(c)] = judge(up, up.shifts + np.array([float(c), 0.0]), factor, job.device, job.check)
        best = min(tried, key=lambda c: tried[c])
        job.tick(k + 1, len(steps))
    near = np.array([(c, r) for c, r in tried.items() if abs(c - best) <= 3.5 * steps[-1]])
    fit = np.polynomial.Polynomial.fit(near[:, 0], near[:, 1], 2).convert()
    top = -fit.coef[1] / (2 * fit.coef[2]) if fit.coef[2] > 0 else best
    depth = tried[0.0] / tried[best] - 1 if 0.0 in tried else 0.0
    job.note(r_without_offset=round(tried.get(0.0, np.nan), 4), r_with_offset=round(tried[best], 4))
    # A residual that hardly falls is no evidence.
    error = steps[-1] / 2 if depth > 0.01 else abs(float(top)) + reach
    return float(top if abs(top - best) <= steps[-1] else best), float(error)
