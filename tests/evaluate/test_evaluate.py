"""Figures of merit have the values that their definitions give."""

import json

import numpy as np
import pytest

from splatom.data import Atoms, TiltSeries, Volume
from splatom.evaluate import (
    directional_fsc,
    evaluate,
    fsc,
    match_atoms,
    psnr,
    r_factor,
    reprojection_report,
    rmse,
    ssim,
)
from splatom.geometry import ViewGeometry

RNG = np.random.default_rng(0)
BLOCK = np.pad(RNG.random((16, 16, 16)), 4).astype(np.float32)


def _series(images, angles, **more):
    return TiltSeries(np.asarray(images, np.float32), ViewGeometry.single_axis(angles), 1.0, **more)


# ------------------------------------------------------------------------------------------------ likeness
def test_psnr_of_a_known_error():
    reference = np.zeros((10, 10))
    reference[0, 0] = 10.0
    assert rmse(reference + 0.1, reference) == pytest.approx(0.1)
    assert psnr(reference + 0.1, reference) == pytest.approx(40.0)  # range 10, error 0.1
    assert psnr(reference, reference) == np.inf


def test_fitted_figures_ignore_gain_and_offset_only():
    assert psnr(3 * BLOCK + 7, BLOCK) < 0
    assert psnr(3 * BLOCK + 7, BLOCK, fit=True) > 100
    noisy = BLOCK + RNG.normal(scale=0.02, size=BLOCK.shape)
    assert psnr(noisy, BLOCK, fit=True) == pytest.approx(psnr(noisy, BLOCK), abs=0.1)


def test_ssim_falls_with_noise():
    values = [ssim(BLOCK + RNG.normal(scale=s, size=BLOCK.shape), BLOCK) for s in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1.0) and values[0] > values[1] > values[2]


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(np.ones((3, 3)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="constant"):
        psnr(np.ones((3, 3)), np.ones((3, 3)))


# ------------------------------------------------------------------------------------------------ resolution
def test_equal_volumes_correlate_fully_and_noise_not_at_all():
    same = fsc(BLOCK, 2.5 * BLOCK, 0.5)
    np.testing.assert_allclose(same.correlation, 1.0, atol=1e-6)
    assert same.resolution(0.143) == 1.0  # two voxels
    a, b = RNG.normal(size=(2, 40, 40, 40))
    curve = fsc(a, b)
    shells = curve.count > 500
    assert np.abs(curve.correlation[shells]).max() < 5 / np.sqrt(curve.count[shells].min() / 2)
    assert curve.resolution(0.5) > 20


def test_fsc_counts_every_coefficient_once():
    for shape in ((8, 8, 8), (7, 7, 7), (8, 8, 7)):
        curve = fsc(np.ones(shape), np.ones(shape))
        full = np.fft.fftfreq(shape[0])[:, None, None] ** 2 + np.fft.fftfreq(shape[1])[:, None] ** 2
        radius = np.sqrt(full + np.fft.fftfreq(shape[2]) ** 2) * min(shape)
        expected = [(np.rint(radius) == i).sum() for i in range(len(curve.count))]
        np.testing.assert_array_equal(curve.count, expected)


def test_resolution_is_where_the_low_pass_cuts():
    noise = RNG.normal(size=(48, 48, 48))
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(48, 0.5)] * 3, indexing="ij")))
    low = np.fft.ifftn(np.fft.fftn(noise) * (frequency < 0.5)).real
    assert fsc(low + 1e-3 * RNG.normal(size=noise.shape), noise, 0.5).resolution(0.5) == pytest.approx(2.0, rel=0.1)


def test_a_volume_blurred_along_the_beam_is_worse_in_that_direction():
    from scipy.ndimage import gaussian_filter1d

    truth = RNG.normal(size=(48, 48, 48))
    a, b = (gaussian_filter1d(truth, 2.0, axis=0) + 0.3 * RNG.normal(size=truth.shape) for _ in range(2))
    by = {k: c.resolution(0.5) for k, c in directional_fsc(a, b, 1.0).items()}
    assert by["z"] > 1.5 * by["x"] and by["z"] > 1.5 * by["y"]


# ------------------------------------------------------------------------------------------------ residuals
def test_r_factor_forgives_a_gain_and_nothing_else():
    images = RNG.random((3, 8, 8))
    gains = np.array([0.5, 2.0, 10.0])[:, None, None]
    np.testing.assert_allclose(r_factor(images, gains * images), 0, atol=1e-12)
    np.testing.assert_allclose(r_factor(images, gains * images, fit_gain=False), [0.5, 1.0, 9.0])
    assert (r_factor(images, images + 0.5) > 0.1).all()
    noisy = images + RNG.normal(scale=0.1, size=images.shape)
    np.testing.assert_allclose(r_factor(images, 3 * noisy), r_factor(images, noisy))


def test_masked_pixels_do_not_count():
    images = RNG.random((2, 8, 8))
    spoilt = images.copy()
    spoilt[:, :2] = 100
    mask = np.ones(images.shape, bool)
    mask[:, :2] = False
    np.testing.assert_allclose(r_factor(images, spoilt, mask), 0, atol=1e-12)


def test_held_out_tilts_are_scored_apart_and_those_in_the_wedge_apart_again():
    images = RNG.random((6, 8, 8)) + 1
    series = _series(images, [-40, -20, 0, 20, 40, 60], held_out=np.array([0, 1, 0, 0, 0, 1], bool))
    predicted = images.copy()
    predicted[1] += RNG.random((8, 8))
    predicted[5] += 5 * RNG.random((8, 8))
    report = reprojection_report(series, predicted)
    assert report.r == pytest.approx(0, abs=1e-6)
    assert report.r_free == pytest.approx(report.per_tilt[1])
    assert report.r_outside == pytest.approx(report.per_tilt[5])
    json.dumps(report.to_dict(), allow_nan=False)


# ------------------------------------------------------------------------------------------------ atoms
def _lattice(n=6, spacing=0.25):
    return np.stack(np.meshgrid(*[np.arange(n) * spacing] * 3), -1).reshape(-1, 3)


def test_a_permutation_and_a_shift_are_seen_through():
    positions = _lattice()
    order = RNG.permutation(len(positions))
    truth = Atoms(positions, np.where(positions[:, 0] > 0.6, "Au", "Pd"))
    found = Atoms(positions[order] + [0.03, -0.02, 0.05], truth.species[order])
    match = match_atoms(found, truth)
    np.testing.assert_array_equal(order[match.found], match.truth)
    np.testing.assert_allclose(match.shift_zyx, [0.03, -0.02, 0.05], atol=1e-9)
    assert match.recall == match.precision == match.species_accuracy == 1
    assert match.rmsd_pm == pytest.approx(0, abs=1e-6)
    kept = match_atoms(found, truth, remove_shift=False)
    assert kept.rmsd_pm == pytest.approx(1000 * np.linalg.norm([0.03, -0.02, 0.05]))


def test_missing_and_false_atoms_lower_recall_and_precision():
    positions = _lattice()
    found = np.concatenate([positions[:-16], [[9.0, 9.0, 9.0]] * 4])
    match = match_atoms(Atoms(found), Atoms(positions))
    assert match.recall == pytest.approx(200 / 216) and match.precision == pytest.approx(200 / 204)
    assert match.species_accuracy is None


def test_rmsd_is_that_of_the_scatter_put_in():
    positions = _lattice(12)
    found = Atoms(positions + RNG.normal(scale=0.01, size=positions.shape))
    assert match_atoms(found, Atoms(positions)).rmsd_pm == pytest.approx(10 * np.sqrt(3), rel=0.03)


def test_matching_is_one_to_one_and_takes_as_many_pairs_as_can_be():
    # The nearest of both found atoms is the first true one; two pairs are possible, and are taken.
    truth = Atoms(np.array([[0, 0, 0.0], [0, 0, 0.09]]))
    found = Atoms(np.array([[0, 0, -0.05], [0, 0, 0.04]]))
    match = match_atoms(found, truth, remove_shift=False)
    assert sorted(zip(match.found.tolist(), match.truth.tolist(), strict=True)) == [(0, 0), (1, 1)]
    twice = match_atoms(Atoms(np.array([[0, 0, 0.0], [0, 0, 0.01]])), Atoms(np.zeros((1, 3))), remove_shift=False)
    assert twice.found.tolist() == [0] and twice.precision == 0.5


# ------------------------------------------------------------------------------------------------ dispatch
def test_volumes_of_other_shape_are_compared_at_their_common_centre():
    inner = Volume(BLOCK[4:20], 0.5)
    figures = evaluate(inner, Volume(BLOCK, 0.5))
    assert figures["psnr"] is None and figures["ssim"] == pytest.approx(1) and "common centre" in figures["note"]
    assert figures["fsc_0.5_nm"] == 1.0
    json.dumps(figures, allow_nan=False)


def test_grids_half_a_voxel_apart_are_brought_together():
    z = np.arange(32)[:, None, None] - 15.5
    odd = np.arange(25)[:, None, None] - 12.0
    y, x = np.ogrid[-8:8, -8:8]
    even, other = (np.exp(-(a**2 + (y + 0.5) ** 2 + (x + 0.5) ** 2) / 18) for a in (z, odd))
    figures = evaluate(Volume(even.astype(np.float32), 1.0), Volume(other.astype(np.float32), 1.0))
    assert figures["psnr"] > 50 and "half a voxel" in figures["note"]


def test_a_single_slice_is_compared_as_far_as_it_goes():
    figures = evaluate(Volume(BLOCK[4:5] + 0.1, 0.5), Volume(BLOCK[4:5], 0.5))
    assert figures["rmse"] == pytest.approx(0.1, rel=1e-5) and figures["ssim"] is None
    assert figures["fsc_0.5_nm"] == 1.0 and figures["fsc_0.5_nm_by_direction"]["z"] is None


def test_series_are_compared_at_the_tilts_they_share():
    images = RNG.random((5, 8, 8)) + 1
    reference = _series(images, [-20, -10, 0, 10, 20])
    result = _series(images[::-1][:4], [20.01, 10, 0, -10], synthetic=np.array([0, 1, 0, 0], bool))
    figures = evaluate(result, reference)
    assert figures["n_tilts"] == 4 and figures["rmse"] == 0 and figures["synthetic"]["n_tilts"] == 1
    assert "left out" in figures["note"]
    json.dumps(figures, allow_nan=False)


def test_images_and_single_tilts_are_compared_with_one_another():
    image = RNG.random((16, 16)).astype(np.float32)
    figures = evaluate(_series(image[None] + 0.1, [0.0]), image)
    assert figures["kind"] == "images" and figures["rmse"] == pytest.approx(0.1, rel=1e-4)


def test_atoms_are_matched():
    figures = evaluate(Atoms(_lattice(), np.full(216, "Au")), Atoms(_lattice(), np.full(216, "Au")))
    assert figures["recall"] == figures["species_accuracy"] == 1 and figures["n_truth"] == 216
    json.dumps(figures, allow_nan=False)


def test_what_cannot_be_compared_is_refused_in_words():
    volume = Volume(BLOCK, 0.5)
    with pytest.raises(ValueError, match="cannot compare a volume with atoms"):
        evaluate(volume, Atoms(_lattice()))
    with pytest.raises(ValueError, match="voxel sizes differ"):
        evaluate(volume, Volume(BLOCK, 0.7))
    with pytest.raises(ValueError, match="share no tilt"):
        evaluate(_series(np.ones((2, 4, 4)), [0, 1]), _series(np.ones((2, 4, 4)), [10, 11]))
    with pytest.raises(ValueError, match="no"):
        match_atoms(Atoms(np.zeros((0, 3))), Atoms(_lattice()))
