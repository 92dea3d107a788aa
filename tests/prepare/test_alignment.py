"""Shifts and tilt axes that are known are found again, on exact projections and on real series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.jobs import Job, JobError
from splatom.methods import execute, get, run
from splatom.methods.prepare._axis import find_axis
from splatom.methods.prepare._images import resampled, shift_between
from splatom.methods.prepare._mass import orbit
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.specimens import chiral_ellipsoids

ANGLES = np.arange(-66.0, 67.0, 6.0)
SHAPE = (96, 96)


def noted(name: str, series: TiltSeries, **params: object) -> tuple[TiltSeries, dict]:
    job = Job(get("prepare", name).params(**params))
    return execute("prepare", name, series, job), job.notes


def errors(found: np.ndarray, true: np.ndarray, angles: np.ndarray = ANGLES) -> tuple[float, float]:
    """RMS error across and along a vertical axis, in pixels, less what only moves the specimen."""
    off = found - true
    basis = orbit(angles)
    across = off[:, 0] - basis @ np.linalg.lstsq(basis, off[:, 0], rcond=None)[0]
    return float(np.sqrt((across**2).mean())), float(off[:, 1].std())


def taken(
    phantom: Ellipsoids, shifts: np.ndarray, noise: float = 0.03, axis: float = 0.0, angles: np.ndarray = ANGLES
) -> TiltSeries:
    """Noisy exact projections with shifts that the geometry does not tell."""
    images = phantom.project(ViewGeometry.single_axis(angles, axis, shifts), SHAPE, 1.0, oversample=2)
    images += np.random.default_rng(9).normal(0, noise * images.max(), images.shape)
    return TiltSeries(images.astype(np.float32), ViewGeometry.single_axis(angles))


def jitter(spread: float, n: int = len(ANGLES), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (n, 2))


PARTICLE = chiral_ellipsoids(62.0)


def grains(seed: int = 0, n: int = 40) -> Ellipsoids:
    """A particle of grains without any symmetry (a helix nearly repeats itself about inclined axes)."""
    rng = np.random.default_rng(seed)
    return Ellipsoids(rng.normal(0, 11, (n, 3)).clip(-24, 24), rng.uniform(2, 6, (n, 3)), rng.uniform(0.5, 1.5, n))


def film(seed: int = 0) -> Ellipsoids:
    """A film much wider than the field: grains in a slab 20 px thick."""
    rng = np.random.default_rng(seed)
    n = 900
    centres = np.stack([rng.uniform(-10, 10, n), rng.uniform(-110, 110, n), rng.uniform(-230, 230, n)], axis=1)
    return Ellipsoids(centres, rng.uniform(2, 6, (n, 3)), rng.uniform(0.5, 1.5, n))


def test_a_shift_is_found_to_a_twentieth_of_a_pixel() -> None:
    image = PARTICLE.project(ViewGeometry.single_axis([0.0]), SHAPE, 1.0, oversample=4)[0].astype(np.float32)
    moved = PARTICLE.project(ViewGeometry.single_axis([0.0], shifts=[[3.37, -5.62]]), SHAPE, 1.0, oversample=4)[0]
    found, peak = shift_between(image, moved.astype(np.float32))
    assert np.abs(found - (3.37, -5.62)).max() < 0.05
    assert 0.9 < peak < 1.05
    back = resampled(moved.astype(np.float32), shift=found, order=3)
    assert np.abs(back - image).mean() < 0.05 * image.mean() + 0.02 * image.max()


@pytest.mark.parametrize("kind", ["centre-of-mass", "common-line"])
def test_a_free_particle_is_aligned_directly(kind: str) -> None:
    true = jitter(4.0)
    out = run("prepare", "align", taken(PARTICLE, true), kind=kind)
    assert max(errors(out.geometry.shifts, true)) < 0.3


@pytest.mark.slow
def test_reprojection_corrects_small_shifts() -> None:
    true = jitter(1.5)
    out, notes = noted("align", taken(PARTICLE, true), kind="reprojection")
    assert max(errors(out.geometry.shifts, true)) < 0.35  # of 1.5 px
    assert notes["r_after"] < notes["r_before"]


def test_auto_takes_a_free_particle_for_what_it_is() -> None:
    true = jitter(4.0)
    series = taken(PARTICLE, true)
    out, notes = noted("align", series)
    assert notes["specimen"] == "isolated"
    assert max(errors(out.geometry.shifts, true)) < 0.25
    assert np.array_equal(out.projections, series.projections)


def test_an_aligned_series_stays_as_it_is() -> None:
    out = run("prepare", "align", taken(PARTICLE, np.zeros((len(ANGLES), 2))))
    assert np.abs(out.geometry.shifts).max() < 0.2


@pytest.mark.slow
def test_a_film_is_aligned_without_its_centre_of_mass() -> None:
    angles = np.arange(-54.0, 55.0, 3.0)
    true = jitter(4.0, len(angles))
    out, notes = noted("align", taken(film(), true, 0.02, angles=angles))
    assert notes["specimen"] == "film"
    across, along = errors(out.geometry.shifts, true, angles)
    assert across < 1.0 and along < 0.5


def test_held_out_tilts_are_aligned_but_teach_nothing() -> None:
    true = jitter(4.0)
    series = taken(PARTICLE, true)
    held = np.zeros(len(ANGLES), bool)
    held[[5, 14]] = True
    honest = run("prepare", "align", series.with_(held_out=held), rounds=2)
    spoiled_images = series.projections.copy()
    spoiled_images[held] = spoiled_images[held][:, ::-1]
    spoiled = run("prepare", "align", series.with_(held_out=held, projections=spoiled_images), rounds=2)
    assert np.allclose(honest.geometry.shifts[~held], spoiled.geometry.shifts[~held])
    assert max(errors(honest.geometry.shifts, true)) < 0.3


def test_a_stop_keeps_the_shifts_so_far() -> None:
    job: Job = Job(get("prepare", "align").params(kind="reprojection"), stop_at=1)
    out = execute("prepare", "align", taken(PARTICLE, jitter(1.0)), job)
    assert job.stopped_at == 1
    assert out.provenance.steps[-1].stopped == 1
    assert len(out) == len(ANGLES)


@pytest.mark.parametrize("axis", [0.0, -20.0, 37.0, 90.0, 115.0])
def test_the_axis_is_found_whatever_the_shifts(axis: float) -> None:
    series = taken(grains(), jitter(4.0), axis=axis)
    found = find_axis(series.projections)
    assert found.is_clear
    assert abs((found.degrees - axis + 90) % 180 - 90) < 2.0


def test_the_axis_beside_the_centre_is_found() -> None:
    out, notes = noted("tilt-axis", taken(PARTICLE, np.tile([3.0, 0.0], (len(ANGLES), 1))), angle=0.0)
    assert notes["offset_px"] == pytest.approx(3.0, abs=0.5)
    assert np.allclose(out.geometry.shifts, (notes["offset_px"], 0.0), atol=1e-3)


def test_an_axis_along_the_columns_is_found_and_its_rotation_proposed() -> None:
    out, notes = noted("tilt-axis", taken(grains(), jitter(1.0), axis=90.0))
    assert abs(abs(out.geometry.axis_degrees) - 90) < 2
    assert "rotate" in notes["proposal"]
    assert run("prepare", "rotate", out).geometry.is_single_axis


def beads(n: int = 14) -> Ellipsoids:
    rng = np.random.default_rng(3)
    centres = np.stack([rng.choice([-14, 14], n) + rng.normal(0, 1, n), *rng.uniform(-36, 36, (2, n))], axis=1)
    return Ellipsoids(centres, np.full((n, 3), 1.7), np.ones(n))


def test_gold_beads_give_shifts_and_axis() -> None:
    angles = np.arange(-54.0, 55.0, 3.0)
    true = jitter(1.5, len(angles))
    series = taken(beads(), true, 0.05, axis=4.0, angles=angles)
    out, _ = noted("tilt-axis", series, kind="fiducials", offset=False)
    assert out.geometry.axis_degrees == pytest.approx(4.0, abs=0.3)
    aligned = run("prepare", "align", out, kind="fiducials")
    a = np.deg2rad(-4.0)
    upright = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    assert max(errors(aligned.geometry.shifts @ upright, true @ upright, angles)) < 0.3


def test_without_beads_fiducials_say_so() -> None:
    with pytest.raises((ValueError, JobError), match="use another kind"):
        run("prepare", "align", taken(film(), jitter(1.0)), kind="fiducials")


@pytest.mark.real
@pytest.mark.slow
def test_the_needle_is_aligned_as_published(shared_data: Path) -> None:
    import splatom

    series = splatom.read(shared_data / "nist_needle" / "HAADF.mrc")
    truth = np.load(shared_data / "nist_needle" / "aligned.npz")["shifts"]  # corrections (row, column)
    out = run("prepare", "align", series)
    assert abs(abs(out.geometry.axis_degrees) - 90) < 5
    # Across the axis are the rows here.
    across, along = errors(out.geometry.shifts[:, ::-1], -truth, series.angles)
    assert across < 1.0 and along < 1.0
    upright = run("prepare", "rotate", series)
    assert upright.geometry.is_single_axis and np.allclose(upright.angles, series.angles)


@pytest.mark.real
@pytest.mark.slow
def test_the_axis_of_the_cryo_series_is_found(shared_data: Path) -> None:
    data = np.load(shared_data / "cryo" / "cryoet_empiar10499_ts_bin2.npz")
    series = TiltSeries(
        data["stack"].astype(np.float32), ViewGeometry.single_axis(data["angles_deg"]), 2.0, contrast="bf"
    )
    out, notes = noted("tilt-axis", series, offset=False)
    assert out.geometry.axis_degrees == pytest.approx(-4.3, abs=1.0)
    assert notes["beads"] >= 10 and notes["bead_rms_px"] < 0.5
