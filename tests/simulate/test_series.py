"""Tilt series: counting statistics, faults, determinism."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from splatom.data import Atoms, Volume
from splatom.geometry import ViewGeometry
from splatom.simulate import (
    SPECIMENS,
    MeasuredNoise,
    Microscope,
    atomic_particle,
    counted,
    nanoparticle_on_support,
    parse_angles,
    sample_atoms,
    sample_nanoparticle,
    simulate,
    tilt_series,
)
from splatom.simulate.faults import drift_of_gain, scanned, tilted_astray, uneven
from splatom.simulate.noise import Noise


def test_counts_have_a_variance_equal_to_their_mean():
    rng = np.random.default_rng(0)
    for level in (0.2, 1.0):
        counts = 50 * counted(np.full((200, 200), level), 50.0, 0.1, rng)
        assert np.allclose(counts, np.rint(counts))
        assert counts.mean() == pytest.approx(50 * (level + 0.1), rel=0.01)
        assert counts.var() == pytest.approx(counts.mean(), rel=0.03)


def test_noise_of_a_series_is_counting_noise_of_its_dose():
    ball = Volume(np.ones((16, 64, 64), np.float32), 1.0)
    series = tilt_series(ball, np.zeros(20), dose=100.0, seed=4)
    # Where it is brightest (everywhere here) 100 electrons are counted: 10 % noise.
    assert series.projections.std() / series.projections.mean() == pytest.approx(0.1, rel=0.02)


def test_a_noise_free_series_is_the_projected_truth():
    truth = nanoparticle_on_support((32, 32, 32), 1.0, seed=1)
    series = tilt_series(truth, [0.0, 90.0], background=0.5)
    np.testing.assert_allclose(series.projections[0], truth.data.sum(axis=0), atol=1e-4)
    # At +90° a point at z appears at column −z.
    np.testing.assert_allclose(series.projections[1], truth.data.sum(axis=2).T[:, ::-1], atol=1e-4)
    assert series.pixel_size == truth.voxel_size and series.hand_known and series.contrast == "adf"


def test_background_stays_unless_subtracted():
    truth = nanoparticle_on_support((32, 32, 32), 1.0, seed=1)
    kept = tilt_series(truth, [0.0], background=0.5, subtract_background=False)
    assert kept.projections.min() == pytest.approx(0.5 * truth.data.sum(axis=0).max(), rel=1e-5)


def test_misalignment_is_hidden_from_the_geometry_but_recorded():
    truth = nanoparticle_on_support((48, 48, 48), 1.0, seed=2)
    series = tilt_series(truth, [-20.0, 0.0, 20.0], jitter=2.0, seed=5)
    assert (series.geometry.shifts == 0).all()
    told = series.geometry.with_shifts(series.provenance.loading["true_shifts"])
    np.testing.assert_allclose(series.projections, tilt_series(truth, told).projections, atol=1e-4)


def test_gain_drift_and_scan_jitter_do_what_they_say():
    truth = nanoparticle_on_support((48, 48, 48), 1.0, seed=2)
    clean = tilt_series(truth, np.zeros(200)).projections
    drifted = tilt_series(truth, np.zeros(200), gain_drift=0.1).projections
    gains = drifted.sum(axis=(1, 2)) / clean.sum(axis=(1, 2))
    assert gains.std() == pytest.approx(0.1, rel=0.2) and gains.mean() == pytest.approx(1, abs=0.03)
    torn = tilt_series(truth, np.zeros(200), scan_jitter=1.0).projections
    columns = np.arange(48)
    rows = clean[0].sum(axis=1) > 1
    centre, before = ((i @ columns)[:, rows] / i.sum(axis=2)[:, rows] for i in (torn, clean))
    moved = centre - before
    assert moved.std() == pytest.approx(1.0, rel=0.05)


def test_drift_during_a_scan_shears_a_line_and_moves_its_middle_nowhere():
    line = np.zeros((101, 61))
    line[:, 30] = 1.0
    slopes = []
    for seed in range(300):
        image = scanned(line, 0.0, 4.0, np.random.default_rng(seed))
        centre = image @ np.arange(61) / image.sum(axis=1)
        assert centre[50] == pytest.approx(30, abs=1e-6)
        assert np.ptp(np.diff(centre)) < 1e-6  # straight
        slopes.append(centre[-1] - centre[0])
    assert np.std(slopes) == pytest.approx(4.0, rel=0.15)
    bar = np.zeros((101, 61))
    bar[20] = 1.0
    seen = [scanned(bar, 0.0, 4.0, np.random.default_rng(s)).sum(axis=1) for s in range(50)]
    moved = [rows @ np.arange(101) / rows.sum() for rows in seen]
    assert np.std(moved) == pytest.approx(0.3 * 4, rel=0.3)  # the row at 0.3 heights above the middle


def test_what_lies_round_the_field_drifts_into_it():
    film = Volume(np.ones((4, 80, 80), np.float32), 1.0)
    series = tilt_series(film, np.zeros(20), detector_shape=(40, 40), pixel_size=1.0, scan_drift=4.0, seed=1)
    np.testing.assert_allclose(series.projections, 4, rtol=1e-5)


def test_tilt_errors_are_hidden_from_the_geometry_but_recorded():
    truth = nanoparticle_on_support((48, 48, 48), 1.0, seed=2)
    nominal = np.arange(-60.0, 61.0, 10.0)
    series = tilt_series(truth, nominal, tilt_error=1.5, seed=3)
    np.testing.assert_allclose(series.angles, nominal)
    told = np.array(series.provenance.loading["true_angles"])
    assert (told - nominal).mean() == pytest.approx(0, abs=1e-6) and 0.7 < (told - nominal).std() < 2.5
    np.testing.assert_allclose(series.projections, tilt_series(truth, told).projections, atol=1e-4)
    one = tilted_astray(ViewGeometry.single_axis(np.zeros(4000)), 2.0, np.random.default_rng(0))
    assert one.is_single_axis and one.tilt_degrees.std() == pytest.approx(2.0, rel=0.05)


def test_intensity_drifts_slowly_and_keeps_its_mean():
    gains = np.stack([drift_of_gain(61, 0.1, np.random.default_rng(s)) for s in range(50)])
    np.testing.assert_allclose(gains.mean(axis=1), 1)
    np.testing.assert_allclose(gains.std(axis=1), 0.1, rtol=0.15)
    # A walk: the step from tilt to tilt is far smaller than the whole.
    assert np.diff(gains, axis=1).std() < 0.5 * gains.std()


def test_an_uneven_background_is_smooth_and_stays():
    field = uneven((64, 80), np.random.default_rng(1))
    assert field.std() == pytest.approx(1) and field.mean() == pytest.approx(0, abs=1e-9)
    assert np.abs(np.diff(field, axis=0)).max() < 0.5
    truth = nanoparticle_on_support((48, 48, 48), 1.0, seed=2)
    clean, sloped = (tilt_series(truth, [0.0, 10.0], background_slope=s).projections for s in (0.0, 0.05))
    left = (sloped - clean).std(axis=(1, 2))
    np.testing.assert_allclose(left, 0.05 * clean.max(), rtol=1e-3)


def test_dark_and_bright_field_of_a_solid_are_those_of_beer():
    slab = Volume(np.ones((40, 24, 24), np.float32), 1.0)
    dark = tilt_series(slab, [0.0], microscope=Microscope(saturation_nm=80.0)).projections
    bright = tilt_series(slab, [0.0], microscope=Microscope("bf", saturation_nm=80.0))
    np.testing.assert_allclose(dark, 80 * (1 - np.exp(-0.5)), rtol=1e-5)
    np.testing.assert_allclose(bright.projections, np.exp(-0.5), rtol=1e-5)
    assert bright.contrast == "bf"
    assert tilt_series(slab, [0.0]).projections.mean() == pytest.approx(40, rel=1e-5)
    with pytest.raises(ValueError, match="atoms only"):
        simulate("needle", imaging="hrtem", size=32)


def test_a_few_tilts_of_a_solid_channel():
    slab = Volume(np.ones((8, 24, 24), np.float32), 1.0)
    lined_up = Microscope(channelling=0.5)
    series = tilt_series(slab, np.zeros(300), microscope=lined_up, seed=2).projections.mean(axis=(1, 2))
    bright = series > 8.01
    assert 5 < bright.sum() < 45
    np.testing.assert_allclose(series[bright], 12, rtol=1e-5)
    np.testing.assert_allclose(series[~bright], 8, rtol=1e-5)


@pytest.mark.parametrize(("imaging", "contrast"), [("haadf", "adf"), ("bf", "bf"), ("hrtem", "phase")])
def test_atoms_are_imaged_in_three_ways(imaging, contrast):
    series, truth = simulate("crystal", imaging=imaging, size=64, angles="-30:30:30", dose=0, seed=2)
    assert series.contrast == contrast
    seen = (truth.positions_zyx[:, 1:] / series.pixel_size + 31.5).round().astype(int)
    middle = series.projections[1]
    inside, corner = middle[seen[:, 0], seen[:, 1]].mean(), middle[:4, :4].mean()
    assert inside > 2 * abs(corner) + 1 if imaging == "haadf" else inside < corner - 0.05
    if imaging != "haadf":
        assert corner == pytest.approx(1, abs=0.05)


def write_noise(path, **others):
    found = {"noise": {"gain": 2.0, "readout": 3.0, "line": 1.5, "line_length": None, "lines": "rows"}, **others}
    path.write_text(json.dumps(found))
    return path


def test_noise_from_a_file_keeps_its_height_over_the_contrast(tmp_path):
    rng = np.random.default_rng(0)
    measured = MeasuredNoise.read(write_noise(tmp_path / "noise.json", contrast=50.0, mean=100.0))
    assert measured.noise == Noise(gain=2.0, readout=3.0, line=1.5)
    ours = 4.0 + 0.5 * rng.standard_normal((3, 32, 32))
    noise = measured.of(ours)
    scale = ours.std() / 50.0
    assert noise.readout == pytest.approx(3 * scale) and noise.line == pytest.approx(1.5 * scale)
    # Counting noise at the mean: variance 2 · 100 there, the same on the scale of these images.
    assert noise.gain * (ours.mean() - noise.zero) == pytest.approx(200 * scale**2)


def test_a_series_takes_its_noise_from_a_file(tmp_path):
    path = write_noise(tmp_path / "noise.json", contrast=10.0)
    options = {"size": 64, "angles": "-40:40:20", "seed": 1}
    clean = simulate("nanoparticle", dose=0, background=0, **options)[0].projections
    noisy = simulate("nanoparticle", noise=path, background=0, **options)[0].projections
    removed = noisy - clean
    scale = clean.std() / 10
    empty = clean < 0.01 * clean.max()
    rows = removed[:, :6].mean(axis=2)  # nothing but support is ever there
    assert rows.std() == pytest.approx(scale * (1.5**2 + 9 / 64) ** 0.5, rel=0.4)
    assert removed[empty].std() == pytest.approx(scale * (9 + 1.5**2) ** 0.5, rel=0.1)
    for text in ("", "{}", '{"noise": {"colour": 1}}', '{"noise": {"gain": "much"}}', '{"noise": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="not a noise"):
            simulate("nanoparticle", noise=path, size=32)
    with pytest.raises(ValueError, match="cannot be read"):
        simulate("nanoparticle", noise=tmp_path / "none.json", size=32)


def test_what_calibrate_prints_is_what_simulate_reads(tmp_path, capsys):
    from splatom.cli import main

    files = {name: str(tmp_path / name) for name in ("measured.npz", "noise.json", "again.npz")}
    options = ["--size", "128", "--angles", "0,0,0", "--background", "0", "--quiet"]
    measured = Noise(readout=2.0, line=1.0, lines="columns")
    clean = simulate("bicrystal", size=128, angles="0,0,0", dose=0, background=0)[0].projections
    rng = np.random.default_rng(4)
    noisy = np.stack([5 * measured.apply(image, rng) + 300 for image in 0.3 * clean])
    np.savez(files["measured.npz"], projections=noisy, angles=np.zeros(3), pixel_size=0.035)
    assert main(["calibrate", files["measured.npz"], "--json"]) == 0
    Path(files["noise.json"]).write_text(capsys.readouterr().out)
    found = MeasuredNoise.read(Path(files["noise.json"]))
    assert found.noise.lines == "columns" and found.noise.line == pytest.approx(5, rel=0.3)
    assert main(["simulate", "bicrystal", files["again.npz"], "--noise", files["noise.json"], *options]) == 0
    with np.load(files["again.npz"]) as again:
        left = again["projections"] - clean
    # Noise over contrast: of the columns, and of all pixels.
    columns = left.mean(axis=1).std() / clean.std()
    assert columns == pytest.approx((noisy - 5 * 0.3 * clean).mean(axis=1).std() / (5 * 0.3 * clean.std()), rel=0.3)
    assert left.std() / clean.std() == pytest.approx(5**0.5 / (0.3 * clean.std()), rel=0.15)


@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_every_specimen_is_made_again_by_its_seed(name):
    series, truth = simulate(name, seed=7, size=32, angles="-60:60:20")
    again, _ = simulate(name, seed=7, size=32, angles="-60:60:20")
    other, _ = simulate(name, seed=8, size=32, angles="-60:60:20")
    np.testing.assert_array_equal(series.projections, again.projections)
    assert (series.projections != other.projections).any()
    assert series.shape == (7, 32, 32)
    assert len(truth) > 50 if isinstance(truth, Atoms) else truth.shape == (32, 32, 32)


def test_the_sample_particle_is_wholly_in_view_at_every_tilt():
    truth = simulate("nanoparticle", seed=3, angles="0,0", dose=0)[1].data
    z, _, x = np.indices(truth.shape) - (np.array(truth.shape).reshape(3, 1, 1, 1) - 1) / 2
    assert np.hypot(z, x)[truth > 0].max() < truth.shape[2] / 2
    assert not truth[:, [0, -1]].any()


def test_samples_are_series_of_a_wedge():
    for series in (sample_nanoparticle(), sample_atoms()):
        assert series.shape == (47, 128, 128)
        assert series.angles.min() == -69 and series.angles.max() == 69
        assert series.pixel_size > 0


def test_a_particle_has_the_metal_s_spacing_and_fits_its_size():
    from scipy.spatial import cKDTree

    for shape in ("decahedron", "icosahedron", "octahedron"):
        atoms = atomic_particle("Pt", 3.0, cluster=shape, vacancies=0.0, displacement_pm=0.0)
        nearest = cKDTree(atoms.positions_zyx).query(atoms.positions_zyx, k=2)[0][:, 1]
        assert np.median(nearest) == pytest.approx(0.392 / np.sqrt(2), rel=0.06)
        assert np.linalg.norm(atoms.positions_zyx, axis=1).max() <= 1.5
        assert len(atoms) > 200


def test_angles_are_read_both_ways():
    assert parse_angles("-2:2:1") == (-2, -1, 0, 1, 2)
    assert parse_angles("0:1:0.4") == (0, 0.4, 0.8)
    assert parse_angles("-36,-34.5, 2") == (-36, -34.5, 2)
    for bad in ("", "a:b:c", "1:2", "0:10:0", "10:0:1", "0:nan:1", "1,,2"):
        with pytest.raises(ValueError, match="angles"):
            parse_angles(bad)


def test_faults_are_named():
    with pytest.raises(ValueError, match="there are: nanoparticle"):
        simulate("unobtainium")
    with pytest.raises(ValidationError):
        simulate("needle", size=3)
    with pytest.raises(ValueError, match="no lattice"):
        atomic_particle("Qq")
    with pytest.raises(ValueError, match="fits in"):
        atomic_particle("Au", 0.1)
    with pytest.raises(ValueError, match="detector_shape"):
        tilt_series(atomic_particle(size_nm=1.5), [0.0])
    with pytest.raises(ValueError, match="dose is -1"):
        tilt_series(Volume(np.ones((4, 4, 4), np.float32)), [0.0], dose=-1)
