"""Tilt series: counting statistics, faults, determinism."""

import numpy as np
import pytest
from pydantic import ValidationError

from splatom.data import Atoms, Volume
from splatom.simulate import (
    SPECIMENS,
    atomic_particle,
    counted,
    nanoparticle_on_support,
    parse_angles,
    sample_atoms,
    sample_nanoparticle,
    simulate,
    tilt_series,
)


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


@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_every_specimen_is_made_again_by_its_seed(name):
    series, truth = simulate(name, seed=7, size=32, angles="-60:60:20")
    again, _ = simulate(name, seed=7, size=32, angles="-60:60:20")
    other, _ = simulate(name, seed=8, size=32, angles="-60:60:20")
    np.testing.assert_array_equal(series.projections, again.projections)
    assert (series.projections != other.projections).any()
    assert series.shape == (7, 32, 32)
    assert isinstance(truth, Atoms) if name == "atoms" else truth.shape == (32, 32, 32)


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
