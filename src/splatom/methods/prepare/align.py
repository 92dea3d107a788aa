"""Align the tilts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs import Job
    from splatom.methods.prepare._upright import Upright

__all__ = ["AlignParams", "run"]


class AlignParams(MethodParams):
    """Find the shift of every tilt and write it into the geometry; no image is resampled.

    cross-correlation: neighbours, outward from zero tilt, stretched by the ratio of the cosines across the axis
    (Guckenberger 1982); for films. centre-of-mass: of the whole image; for a particle wholly in view. common-line:
    the profile along the axis is the same in every tilt, and across it the centre of mass of each slice moves on its
    orbit (Scott et al., Nature 483, 444, 2012; Sanders et al. 2015); for particles, rods and needles. reprojection:
    every tilt is registered to the reconstruction of all, alternating, coarse to fine (Dengler 1989). fiducials: gold
    beads are followed through the tilts and their places and the shifts solved for together (Lawrence 1992).

    auto looks whether the specimen stands free, tries what suits it beside the shifts there are, keeps the start that
    leaves the smallest reprojection residual, and refines it by reprojection. Held-out tilts are aligned to the
    others and teach nothing. Shifts are found up to a cos θ + b sin θ across the axis and a constant along it, which
    only moves the specimen; these stay as they were.
    """

    method: Literal["align"] = "align"
    kind: Literal["auto", "cross-correlation", "centre-of-mass", "common-line", "reprojection", "fiducials"] = option(
        "auto", "Kind", "How the shifts are found; auto decides from the images."
    )
    rounds: int = option(
        8, "Rounds", "Most rounds of reprojection at each of three binnings; 0 leaves the refinement out.", ge=0, le=100
    )
    whiten: float = option(
        0.3, "Whitening", "0 is plain cross-correlation, 1 is phase correlation.", ge=0, le=1, advanced=True
    )
    limit: float = option(
        0.25, "Largest shift", "Largest shift between neighbours, as a share of the image.", gt=0, le=0.5, advanced=True
    )
    find_axis: bool = option(
        True,
        "Find a horizontal axis",
        "Ask the images whether the tilt axis runs along the columns where the file does not say.",
        advanced=True,
    )


def run(series: TiltSeries, job: Job[AlignParams]) -> TiltSeries:
    """Return the series with its shifts in the geometry."""
    from splatom.methods.prepare._reproject import without_gauge
    from splatom.methods.prepare._upright import upright

    if job.params.find_axis:
        series = _with_axis(series, job)
    up = upright(series, job.check)
    job.note(specimen=up.kind, axis_degrees=round(series.geometry.axis_degrees, 3))
    found = _found(up, series, job)
    # What only moves the specimen stays as it was: the frame does not wander.
    change = without_gauge(up.angles, up.use, found - up.shifts)
    job.note(rms_change_px=round(float(np.sqrt((change[up.use] ** 2).sum(axis=1).mean())), 3))
    return series.with_(geometry=series.geometry.with_shifts(up.as_seen(up.shifts + change)))


def _with_axis(series: TiltSeries, job: Job[AlignParams]) -> TiltSeries:
    """Put the axis along the columns where the images say so clearly and the geometry only assumes otherwise."""
    from splatom.methods.prepare._axis import find_axis, redefined
    from splatom.methods.prepare._images import learning, matter

    if not series.geometry.is_single_axis:
        return series
    axis = find_axis(matter(series)[learning(series)], job.check)
    job.note(axis_found_degrees=round(axis.degrees, 2), axis_clarity=round(axis.clarity, 3))
    quarter = 90.0 * round(axis.degrees / 90)
    if not axis.is_clear or quarter == 0 or abs(axis.degrees - quarter) > 20:
        return series
    geometry, known = redefined(series, quarter)
    job.note(axis="the tilt axis runs along the columns; prepare rotate turns the images upright")
    return series.with_(geometry=geometry, hand_known=known)


def _found(up: Upright, series: TiltSeries, job: Job[AlignParams]) -> NDArray[np.float64]:
    kind = job.params.kind
    if kind == "reprojection":
        return _refined(up, up.shifts, job)
    if kind != "auto":
        return _start(up, kind, job)
    candidates = {"as given": up.shifts, **_candidates(up, job)}
    start = _best(up, candidates, job)
    return _refined(up, start, job) if job.params.rounds else start


def _start(up: Upright, kind: str, job: Job[AlignParams]) -> NDArray[np.float64]:
    """Shifts ``(across, along)`` by one direct way."""
    from splatom.methods.prepare import _coarse, _mass

    p, (_, h, w) = job.params, up.images.shape
    if kind == "cross-correlation":
        return _coarse.chain(up, whiten=p.whiten, limit=p.limit * max(h, w), check=job.check)
    if kind == "centre-of-mass":
        job.note(**_orbit_notes(up, centre := _mass.whole_centre(up, job.check)))
        return centre
    if kind == "common-line":
        along, gains = _mass.along_by_common_line(up, up.shifts, p.limit * h, job.check)
        across, _ = _mass.across_by_slices(up, along, job.check)
        job.note(gain_spread=round(float(gains[up.use].std()), 4))
        return np.stack([across, along], axis=1)
    return _by_beads(up, job, None)


def _by_beads(up: Upright, job: Job[AlignParams], start: NDArray[np.float64] | None) -> NDArray[np.float64]:
    from splatom.methods.prepare._beads import by_beads

    beads = by_beads(up, job.check, start, job.params.limit * max(up.images.shape[1:]))
    job.note(beads=len(beads.positions), bead_rms_px=round(beads.rms, 3))
    job.note(bead_axis_off_degrees=round(beads.axis_degrees, 3))
    if abs(beads.axis_degrees) > 0.3:
        job.note(advice="the beads see the tilt axis elsewhere; prepare tilt-axis puts it right")
    return beads.shifts


def _orbit_notes(up: Upright, centre: NDArray[np.float64]) -> dict[str, float]:
    """Fit x₀ + r cos(θ − φ) to the centre of mass across the axis and tell it."""
    from splatom.methods.prepare._mass import orbit

    c, s, x0 = np.linalg.lstsq(orbit(up.angles, True)[up.use], centre[up.use, 0], rcond=None)[0]
    return {
        "orbit_radius_px": round(float(np.hypot(c, s)), 3),
        "orbit_phase_degrees": round(float(np.rad2deg(np.arctan2(-s, c))), 2),
        "axis_offset_px": round(float(x0), 3),
    }


def _candidates(up: Upright, job: Job[AlignParams]) -> dict[str, NDArray[np.float64]]:
    names = ["cross-correlation"] if up.kind == "film" else ["common-line", "cross-correlation"]
    out = {}
    for name in names:
        try:
            out[name] = _start(up, name, job)
        except ValueError as fault:
            job.note(**{f"{name} failed": str(fault)})
    if up.kind == "film":
        from splatom.methods.prepare._beads import BeadError

        try:
            out["fiducials"] = _by_beads(up, job, out.get("cross-correlation"))
        except BeadError as fault:
            job.note(fiducials=str(fault))
    return out


def _best(up: Upright, candidates: dict[str, NDArray[np.float64]], job: Job[AlignParams]) -> NDArray[np.float64]:
    """Return the candidate that leaves the smallest reprojection residual in a binned copy."""
    from splatom.methods.prepare._reproject import judge, levels

    r = {name: judge(up, shifts, levels(up)[0], job.device, job.check) for name, shifts in candidates.items()}
    best = min(r, key=lambda name: r[name])
    job.note(start=best, r_of_starts={name: round(value, 4) for name, value in r.items()})
    return candidates[best]


def _refined(up: Upright, start: NDArray[np.float64], job: Job[AlignParams]) -> NDArray[np.float64]:
    """Refine by reprojection; kept only if the residual falls. A stop keeps what was reached."""
    from splatom.methods.prepare._reproject import refine

    kept = start

    def tick(step: int, total: int, r: float, shifts: NDArray[np.float64]) -> None:
        nonlocal kept
        kept = shifts
        job.tick(step, total, lambda: {"shifts": up.as_seen(shifts)}, figures={"r": r})

    with job.keeping_partial():
        kept, figures = refine(
            up, start, rounds=job.params.rounds, limit=12.0, device=job.device, tick=tick, check=job.check
        )
        job.note(**{name: round(value, 4) for name, value in figures.items()})
        if figures["r_after"] > 0.99 * figures["r_before"]:
            job.note(refinement="left out: it lowered the residual by less than 1 %")
            return start
    return kept
