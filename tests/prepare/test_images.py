"""Steps that change images keep the specimen: its exact projections in the new geometry are the new images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.jobs import Job, JobError
from splatom.methods import execute, find, get, run
from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.specimens import chiral_ellipsoids

ANGLES = np.arange(-60.0, 61.0, 15.0)
SHAPE = (72, 84)
PIXEL = 0.5
PHANTOM = chiral_ellipsoids(0.75 * SHAPE[0] * PIXEL)


def exact(geometry: ViewGeometry, shape: tuple[int, int], pixel: float, phantom: Ellipsoids = PHANTOM) -> np.ndarray:
    return phantom.project(geometry, shape, pixel, oversample=4).astype(np.float32)


def taken(axis: float = 0.0, seed: int = 0, spread: float = 2.0) -> TiltSeries:
    shifts = np.random.default_rng(seed).normal(0, spread, (len(ANGLES), 2))
    geometry = ViewGeometry.single_axis(ANGLES, axis, shifts)
    return TiltSeries(exact(geometry, SHAPE, PIXEL), geometry, PIXEL, scan="rows", order=np.arange(len(ANGLES))[::-1])


def noted(name: str, series: TiltSeries, **params: object) -> tuple[TiltSeries, dict]:
    job = Job(get("prepare", name).params(**params))
    return execute("prepare", name, series, job), job.notes


def difference(series: TiltSeries, phantom: Ellipsoids = PHANTOM) -> float:
    """Relative difference of the images and the phantom's exact projections where they were measured."""
    truth = exact(series.geometry, series.shape[1:], series.pixel_nm, phantom)
    seen = np.ones(series.shape, bool) if series.mask is None else series.mask
    return float(np.abs(series.projections - truth)[seen].sum() / truth[seen].sum())


def turned(degrees: float) -> Ellipsoids:
    a = np.deg2rad(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    xyz = PHANTOM.centres_zyx[:, ::-1] @ about_z.T
    return Ellipsoids(xyz[:, ::-1], PHANTOM.semi_axes_zyx, PHANTOM.density, about_z @ PHANTOM.rotations)


def test_the_methods_of_the_contract_are_there() -> None:
    names = {n for g, n in find() if g == "prepare"}
    assert names >= {"crop", "bin", "rotate", "clean", "normalise", "align", "tilt-axis", "exclude"}


def test_a_crop_keeps_every_point_where_it_is() -> None:
    out = run("prepare", "crop", taken(), box=(3, 66, 5, 78))
    assert out.shape == (len(ANGLES), 63, 73)
    assert difference(out) < 1e-6


def test_the_automatic_crop_keeps_the_whole_specimen() -> None:
    series = taken(spread=0.5)
    wide = series.with_(projections=np.pad(series.projections, ((0, 0), (20, 10), (30, 0))))
    out = run("prepare", "crop", wide)
    assert out.shape[1] < wide.shape[1] and out.shape[2] < wide.shape[2]
    assert out.projections.sum() == pytest.approx(wide.projections.sum(), rel=1e-3)


@pytest.mark.parametrize("factor", [2, 5])
def test_binning_averages_blocks_and_keeps_the_geometry(factor: int) -> None:
    out = run("prepare", "bin", taken(), factor=factor)
    assert out.pixel_size == PIXEL * factor
    # The mean over a block of rays, each the mean over its pixel, is the mean over the wider pixel.
    truth = PHANTOM.project(out.geometry, out.shape[1:], out.pixel_nm, oversample=4 * factor)
    assert np.abs(out.projections - truth).sum() < 2e-4 * truth.sum()


def test_binning_leaves_unmeasured_pixels_out_of_the_mean() -> None:
    series = taken()
    mask = np.ones(series.shape, bool)
    mask[:, :, 0] = False
    spoiled = series.projections.copy()
    spoiled[:, :, 0] = 1e6
    out = run("prepare", "bin", series.with_(projections=spoiled, mask=mask), factor=2)
    assert out.projections.max() < 1e3
    assert out.mask is not None and out.mask.all()


@pytest.mark.parametrize("angle", [90.0, -90.0, 180.0, 270.0])
def test_a_quarter_turn_is_exact_and_keeps_the_hand(angle: float) -> None:
    series = taken()
    out = run("prepare", "rotate", series, angle=angle)
    assert np.array_equal(np.sort(out.projections, axis=None), np.sort(series.projections, axis=None))
    assert difference(out, turned(angle)) < 1e-6
    assert out.scan == ("rows" if angle == 180 else "columns")
    mirror = Ellipsoids(PHANTOM.centres_zyx * (-1, 1, 1), PHANTOM.semi_axes_zyx, PHANTOM.density)
    assert difference(out, mirror) > 0.3


def soft(series: TiltSeries) -> TiltSeries:
    """Blur as a lens does: interpolation is exact for what is sampled finely enough only."""
    return series.with_(projections=gaussian_filter(series.projections, (0, 1.5, 1.5)))


def soft_difference(series: TiltSeries, phantom: Ellipsoids = PHANTOM) -> float:
    truth = gaussian_filter(exact(series.geometry, series.shape[1:], series.pixel_nm, phantom), (0, 1.5, 1.5))
    assert series.mask is not None and not series.mask.all()
    return float(np.abs(series.projections - truth)[series.mask].sum() / truth[series.mask].sum())


def test_any_turn_keeps_the_specimen_and_marks_what_was_not_measured() -> None:
    assert soft_difference(run("prepare", "rotate", soft(taken()), angle=17.0), turned(17.0)) < 0.01


@pytest.mark.parametrize("axis", [90.0, -30.0, 100.0])
def test_by_default_the_axis_of_the_geometry_is_turned_upright(axis: float) -> None:
    out = run("prepare", "rotate", taken(axis))
    assert out.geometry.is_single_axis
    assert np.allclose(np.abs(out.angles), np.abs(ANGLES), atol=1e-6)
    if axis in (90.0, 100.0):
        assert np.allclose(out.angles, ANGLES, atol=1e-6)


def test_an_axis_that_the_file_does_not_tell_is_turned_upright_without_a_mirror_image() -> None:
    # Taken about a horizontal axis, loaded without knowing so.
    about_x = taken(90.0, spread=3.0)
    loaded = about_x.with_(geometry=ViewGeometry.single_axis(ANGLES))
    out, notes = noted("rotate", loaded)
    assert notes["turned_degrees"] == -90.0
    assert out.geometry.is_single_axis
    assert np.allclose(out.angles, ANGLES)
    placed = out.with_(geometry=about_x.geometry.turned(-90.0))
    assert difference(placed, turned(-90.0)) < 1e-6
    assert np.allclose(placed.geometry.rotations, out.geometry.rotations)


def test_images_without_a_direction_do_not_turn() -> None:
    noise = np.random.default_rng(0).normal(size=(9, 64, 64)).astype(np.float32)
    with pytest.raises((ValueError, JobError), match="angle"):
        run("prepare", "rotate", TiltSeries(noise, ViewGeometry.single_axis(ANGLES)))


def test_baking_brings_every_shift_to_zero() -> None:
    out = run("prepare", "bake", soft(taken()))
    assert not out.geometry.shifts.any()
    assert soft_difference(out) < 0.01


def test_cleaning_removes_spikes_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    series = taken()
    noisy = series.projections + rng.normal(0, 0.02 * series.projections.max(), series.shape).astype(np.float32)
    spoiled = noisy.copy()
    where = (rng.integers(0, 9, 40), rng.integers(2, 70, 40), rng.integers(2, 82, 40))
    spoiled[where] += 3 * noisy.max()
    spoiled[:, 20, 30] = 2 * noisy.max()  # a hot pixel
    out, notes = noted("clean", series.with_(projections=spoiled))
    assert notes["hot_pixels"] == 1
    assert notes["spikes"] >= 40
    assert np.abs(out.projections - noisy).max() < 0.5 * noisy.max()
    touched = (out.projections != spoiled).mean()
    assert touched < 3 * (40 + 9) / spoiled.size


@pytest.mark.parametrize("kind", ["constant", "plane"])
def test_the_ground_is_taken_off(kind: str) -> None:
    series = taken()
    columns = np.arange(SHAPE[1]) - (SHAPE[1] - 1) / 2
    ground = 5.0 + (0.01 * columns if kind == "plane" else 0 * columns)
    lifted = series.with_(projections=series.projections + ground.astype(np.float32))
    out = run("prepare", "background", lifted, kind=kind)
    assert np.abs(out.projections - series.projections).max() < 0.02 * series.projections.max()


def test_gains_of_a_free_particle_are_evened_out() -> None:
    series = taken(spread=0.5)
    gains = np.random.default_rng(2).uniform(0.7, 1.4, len(series)).astype(np.float32)
    out, notes = noted("normalise", series.with_(projections=series.projections * gains[:, None, None]))
    assert notes["kind"] == "total"
    ratio = out.projections.sum(axis=(1, 2)) / series.projections.sum(axis=(1, 2))
    assert ratio.std() / ratio.mean() < 1e-3


def test_a_film_is_scaled_to_its_growing_thickness() -> None:
    rng = np.random.default_rng(3)
    texture = 10 + rng.random((len(ANGLES), 64, 64))
    thick = texture / np.cos(np.deg2rad(ANGLES))[:, None, None]
    out, notes = noted("normalise", TiltSeries(1.3 * thick, ViewGeometry.single_axis(ANGLES)))
    assert notes["kind"] == "film"
    grown = out.projections.mean(axis=(1, 2)) * np.cos(np.deg2rad(ANGLES))
    assert grown.std() / grown.mean() < 0.01


def test_tilts_are_excluded_by_index_and_by_angle() -> None:
    out = run("prepare", "exclude", taken(), tilts=(0, -1), angles=(15.0,))
    assert out.angles.tolist() == [-45, -30, -15, 0, 30, 45]
    assert out.order.tolist() == [7, 6, 5, 4, 2, 1]
    with pytest.raises((ValueError, JobError), match="nearest"):
        run("prepare", "exclude", taken(), angles=(7.0,))


def test_sorting_keeps_the_acquisition_order_with_each_tilt() -> None:
    series = taken()
    mixed = series[np.random.default_rng(4).permutation(len(series))]
    by_angle = run("prepare", "sort", mixed)
    assert by_angle.angles.tolist() == ANGLES.tolist()
    assert by_angle.order.tolist() == series.order.tolist()
    assert run("prepare", "sort", mixed, by="acquisition").order.tolist() == list(range(9))


def test_a_nudge_moves_one_tilt() -> None:
    series = taken()
    out = run("prepare", "nudge", series, tilt=3, column=1.5, row=-0.5)
    change = out.geometry.shifts - series.geometry.shifts
    assert np.allclose(change[3], (1.5, -0.5)) and np.abs(np.delete(change, 3, axis=0)).max() == 0


def test_held_out_tilts_are_marked_with_their_repeats() -> None:
    twice = taken()[np.repeat(np.arange(9), 2)]
    out = run("prepare", "hold-out", twice, share=0.3)
    assert out.held_out.reshape(9, 2).all(axis=1).sum() == 3
    assert not (out.held_out[:2].any() or out.held_out[-2:].any())


def test_repeated_frames_are_registered_and_averaged() -> None:
    rng = np.random.default_rng(5)
    jitter = rng.normal(0, 1.5, (27, 2))
    jitter[::3] = 0
    geometry = ViewGeometry.single_axis(np.repeat(ANGLES, 3), 0.0, jitter)
    images = exact(geometry, SHAPE, PIXEL)
    noise = rng.normal(0, 0.1 * images.max(), images.shape).astype(np.float32)
    series = TiltSeries(images + noise, ViewGeometry.single_axis(np.repeat(ANGLES, 3)), PIXEL)
    out, notes = noted("merge", series)
    assert len(out) == 9 and notes["frames"] == 27
    assert out.weights.tolist() == [3.0] * 9
    still = exact(ViewGeometry.single_axis(ANGLES), SHAPE, PIXEL)
    left = np.abs(out.projections - still).mean() / np.abs(noise).mean()
    assert left < 0.75  # 1/√3 for the noise, and a little for the registration
    plain = run("prepare", "merge", series, align=False)
    assert np.abs(plain.projections - still).mean() > np.abs(out.projections - still).mean()
