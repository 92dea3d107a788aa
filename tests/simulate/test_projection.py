"""Simulated projections agree with closed forms and keep what physics keeps."""

import numpy as np
import pytest

from splatom.data import Atoms
from splatom.geometry import ViewGeometry
from splatom.simulate import Ellipsoids, chiral_ellipsoids, project_atoms, project_volume, shepp_logan
from splatom.simulate.projection import _ray_sums

TILTS = ViewGeometry.single_axis([-70.0, -31.0, 0.0, 45.0, 90.0])


def _turned(seed: int = 0) -> Ellipsoids:
    """Three ellipsoids in general position, off centre."""
    rng = np.random.default_rng(seed)
    rotations = np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(3)])
    rotations *= np.sign(np.linalg.det(rotations))[:, None, None]
    return Ellipsoids(rng.uniform(-8, 8, (3, 3)), rng.uniform(4, 11, (3, 3)), np.array([1.0, 0.5, -0.3]), rotations)


def _relative_error(a, b):
    return np.sqrt(((a - b) ** 2).mean(axis=(1, 2))) / np.abs(b).max()


def test_a_ball_projects_to_its_chord_length():
    ball = Ellipsoids(np.array([[3.0, -2.0, 5.0]]), np.full((1, 3), 6.0), np.array([2.0]))
    image = ball.project(TILTS, (41, 41), 1.0)
    for view, (column, row) in enumerate(TILTS.project(ball.centres_zyx, 1.0, (41, 41))[:, 0]):
        v, u = np.mgrid[:41, :41]
        r2 = (u - column) ** 2 + (v - row) ** 2
        np.testing.assert_allclose(image[view], 2.0 * 2 * np.sqrt(np.maximum(36 - r2, 0)), atol=1e-9)


def test_closed_form_agrees_with_the_sampled_volume_in_any_view():
    specimen = _turned()
    truth = specimen.volume((64, 64, 64), 0.75)
    assert truth.data.sum() * 0.75**2 == pytest.approx(specimen.mass.sum(), rel=2e-3)
    exact = specimen.project(TILTS, (64, 64), 0.75, oversample=4)
    assert _relative_error(project_volume(truth, TILTS, (64, 64), 0.75), exact).max() < 0.005
    euler = ViewGeometry.from_euler([[20.0, 30.0, -15.0], [0.0, -50.0, 40.0]], shifts=[[1.5, -2.25], [0.0, 0.5]])
    exact = specimen.project(euler, (64, 64), 0.75, oversample=4)
    assert _relative_error(project_volume(truth, euler, (64, 64), 0.75), exact).max() < 0.015


def test_strips_and_ray_sums_are_two_answers_to_one_question():
    truth = chiral_ellipsoids(48.0).volume((48, 48, 48), 1.0)
    shifted = ViewGeometry.single_axis([-40.0, 10.0, 65.0], shifts=[[2.3, -1.7], [0, 0], [-4.0, 0.5]])
    strips = project_volume(truth, shifted, (48, 56), 0.9)
    assert _relative_error(_ray_sums(truth, shifted, (48, 56), 0.9), strips).max() < 0.02


def test_tilting_keeps_the_mass_of_an_isolated_object():
    specimen = shepp_logan(40.0)
    images = project_volume(specimen.volume((40, 40, 40), 1.0), TILTS, (44, 60), 1.0)
    np.testing.assert_allclose(images.sum(axis=(1, 2)), specimen.mass.sum(), rtol=3e-3)
    np.testing.assert_allclose(images.sum(axis=(1, 2)), images[0].sum(), rtol=1e-5)


def test_pixels_of_another_size_see_the_same_line_integrals():
    truth = shepp_logan(40.0).volume((40, 40, 40), 1.0)
    fine, coarse = (project_volume(truth, TILTS, (40 * k // 4, 40 * k // 4), 4 / k) for k in (8, 4))
    np.testing.assert_allclose(fine.reshape(5, 40, 2, 40, 2).mean(axis=(2, 4)), coarse, atol=1e-3)


def test_the_chiral_phantom_is_not_its_mirror_image():
    helix = chiral_ellipsoids(64.0)
    mirrored = Ellipsoids(helix.centres_zyx * [1, 1, -1], helix.semi_axes_zyx, helix.density, helix.rotations)
    a, b = helix.volume((64, 64, 64), 1.0).data, mirrored.volume((64, 64, 64), 1.0).data
    # Turned about the tilt axis by any angle, the mirror image stays another thing.
    from scipy.ndimage import rotate

    turned = (rotate(b, t, (0, 2), reshape=False, order=1) for t in range(0, 360, 30))
    assert max(np.corrcoef(t.ravel(), a.ravel())[0, 1] for t in turned) < 0.5


def test_an_atom_lands_where_geometry_says_with_all_its_mass():
    atom = Atoms(np.array([[0.31, -0.2, 0.47]]), np.array(["Au"]))
    images = project_atoms(atom, TILTS, (96, 96), 0.03, tail_nm=0.0)
    places = TILTS.project(atom.positions_zyx, 0.03, (96, 96))[:, 0]
    v, u = np.mgrid[:96, :96]
    for image, (column, row) in zip(images, places, strict=True):
        assert image.sum() * 0.03**2 == pytest.approx(1.0, abs=1e-3)
        assert (image * u).sum() / image.sum() == pytest.approx(column, abs=1e-3)
        assert (image * v).sum() / image.sum() == pytest.approx(row, abs=1e-3)


def test_heavier_atoms_are_brighter_as_z_to_the_1_7():
    pair = Atoms(np.array([[0, 0, -0.6], [0, 0, 0.6]]), np.array(["Au", "Cu"]))
    image = project_atoms(pair, ViewGeometry.single_axis([0.0]), (65, 129), 0.03, tail_nm=0.0)[0]
    assert image[:, 65:].sum() / image[:, :64].sum() == pytest.approx((29 / 79) ** 1.7, rel=1e-3)


def test_tails_move_intensity_outwards_and_lose_none_nearby():
    atom = Atoms(np.zeros((1, 3)), np.array(["Au"]))
    view = ViewGeometry.single_axis([0.0])
    plain, tailed = (project_atoms(atom, view, (201, 201), 0.02, tail_nm=t)[0] for t in (0.0, 0.02))
    assert tailed.max() < plain.max()
    # The share of a 2-D Lorentzian beyond r is γ / sqrt(r² + γ²): 4 % at 25 γ.
    v, u = np.mgrid[-100:101, -100:101]
    within = np.hypot(u, v) < 25
    assert tailed[within].sum() / plain[within].sum() == pytest.approx(1 - 0.04, abs=0.004)


def test_unknown_species_are_named():
    with pytest.raises(ValueError, match="species X"):
        project_atoms(Atoms(np.zeros((1, 3))), TILTS, (32, 32), 0.03)
