"""Peaks of a volume, species by amplitude, and the classical route from a volume or a series to atoms."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import splatom
from splatom.data import Atoms, TiltSeries, Volume
from splatom.evaluate import match_atoms
from splatom.geometry import ViewGeometry
from splatom.jobs import Job, JobError, Stopped
from splatom.methods import execute, get
from splatom.methods.atoms._peaks import (
    fit_gaussians,
    fit_polynomials,
    local_maxima,
    share_in_ball,
    sum_in_balls,
    thin,
)
from splatom.methods.atoms._species import by_amplitude, relative_scattering
from splatom.methods.atoms.trace import valley
from splatom.simulate import atomic_particle, project_atoms

RNG = np.random.default_rng(21)
VOXEL = 0.03


def bells(
    places: np.ndarray, sigma: float | tuple[float, float, float], shape: tuple[int, int, int], mass: np.ndarray
) -> np.ndarray:
    """Gaussians of given mass at places (voxels), sampled at the voxels' centres."""
    s = np.broadcast_to(sigma, 3)
    out = np.zeros(shape)
    reach = np.ceil(5 * s).astype(int)
    for place, m in zip(places, mass, strict=True):
        lo = np.maximum(np.rint(place).astype(int) - reach, 0)
        hi = np.minimum(np.rint(place).astype(int) + reach + 1, shape)
        axes = [np.exp(-0.5 * ((np.arange(a, b) - c) / w) ** 2) for a, b, c, w in zip(lo, hi, place, s, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        out[box] += m / ((2 * np.pi) ** 1.5 * s.prod()) * np.einsum("i,j,k->ijk", *axes)
    return out.astype(np.float32)


def apart(n: int, size: float, distance: float) -> np.ndarray:
    """At most n random points in a cube, no two nearer than a distance."""
    points = RNG.uniform(6, size - 7, (n, 3))
    return points[thin(points, distance)]


def errors(found: np.ndarray, places: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(found).query(places)[0])


# ------------------------------------------------------------------------------------------------ maxima
def test_every_gaussian_is_found_once_to_a_tenth_of_a_voxel_the_highest_first():
    places = apart(150, 64, 9)
    mass = RNG.uniform(50, 150, len(places))
    found, heights = local_maxima(bells(places, 1.6, (64, 64, 64), mass), 4)
    assert len(found) == len(places)
    assert errors(found, places).max() < 0.1
    assert (np.diff(heights) <= 0).all()
    nearest = np.argmin(np.linalg.norm(found[:, None] - places[None], axis=2), axis=1)
    np.testing.assert_allclose(heights, mass[nearest] / ((2 * np.pi) ** 1.5 * 1.6**3), rtol=0.05)


def test_of_two_maxima_too_near_the_higher_stays():
    places = np.array([[16.0, 16, 13], [16, 16, 19]])
    volume = bells(places, 1.5, (32, 32, 32), np.array([100.0, 80]))
    assert len(local_maxima(volume, 5)[0]) == 2
    one, _ = local_maxima(volume, 7)
    np.testing.assert_allclose(one, places[:1], atol=0.1)


def test_thinning_goes_from_the_first_down_and_what_is_driven_away_drives_nobody():
    line = np.array([[0, 0, 0.0], [0, 0, 2], [0, 0, 1], [0, 0, 3]])
    # The first drives the third away (not the second, 2 apart); the second drives the third and the fourth.
    assert thin(line, 1.5).tolist() == [True, True, False, False]
    chain = np.array([[0, 0, 0.0], [0, 0, 1], [0, 0, 2]])
    assert thin(chain, 1.5).tolist() == [True, False, True]
    many = RNG.uniform(0, 10, (800, 3))
    stays = np.ones(800, bool)
    for i in range(800):  # one by one
        if stays[i]:
            near = np.linalg.norm(many - many[i], axis=1) <= 1.2
            stays[i + 1 :] &= ~near[i + 1 :]
    np.testing.assert_array_equal(thin(many, 1.2), stays)


def test_flat_and_empty_volumes_and_those_thinner_than_three_voxels_have_no_peaks():
    block = np.zeros((20, 20, 20))
    block[5:15, 5:15, 5:15] = 1
    assert len(local_maxima(np.zeros((9, 9, 9)), 2)[0]) == 0
    assert len(local_maxima(np.ones((9, 9, 9)), 2)[0]) == 0
    assert len(local_maxima(RNG.random((2, 9, 9)), 2)[0]) == 0
    found, _ = local_maxima(block, 30)
    assert len(found) == 1


@pytest.mark.slow
def test_maxima_of_noise_in_a_large_volume_take_seconds_not_minutes():
    volume = RNG.normal(size=(200, 200, 200)).astype(np.float32)
    began = time.perf_counter()
    found, _ = local_maxima(volume, 6)
    assert time.perf_counter() - began < 20  # 1.7 s on two quiet cores
    assert 10_000 < len(found) < 30_000


# ------------------------------------------------------------------------------------------------ placing
@pytest.mark.parametrize("fit", [fit_polynomials, fit_gaussians])
def test_a_fit_places_better_than_the_parabola(fit):
    places = apart(120, 60, 10)
    volume = bells(places, (2.0, 1.5, 1.7), (60, 60, 60), np.full(len(places), 100.0)) + 0.5
    coarse, _ = local_maxima(volume, 4)
    fine = fit(volume, coarse, 3.0)
    assert fine.good.all()
    assert errors(fine.positions, places).max() < 0.05
    rms = [np.sqrt((errors(p, places) ** 2).mean()) for p in (coarse, fine.positions)]
    assert rms[1] < rms[0]


def test_a_gaussian_is_recovered_exactly_with_its_widths_and_its_background():
    places = apart(40, 50, 14)
    volume = bells(places, (2.0, 1.5, 1.7), (50, 50, 50), np.full(len(places), 100.0)) + 0.5
    fitted = fit_gaussians(volume, np.rint(places), 3.0)
    np.testing.assert_allclose(fitted.positions, places, atol=2e-3)
    np.testing.assert_allclose(fitted.sigma, np.tile([2.0, 1.5, 1.7], (len(places), 1)), rtol=5e-3)
    np.testing.assert_allclose(fitted.heights, 100 / ((2 * np.pi) ** 1.5 * 2.0 * 1.5 * 1.7), rtol=1e-2)


def test_a_polynomial_of_fourth_order_is_recovered_exactly():
    z, y, x = np.ogrid[-8:9, -8:9, -8:9]
    dz, dy, dx = z - 0.3, y + 0.2, x - 0.1
    volume = 10 - dz**2 - 0.5 * dy**2 - 0.7 * dx**2 + 0.1 * dz * dy + 0.02 * dx**4 - 0.01 * dz**2 * dy**2
    fitted = fit_polynomials(volume, np.array([[8.0, 8, 8]]), 3.0)
    np.testing.assert_allclose(fitted.positions, [[8.3, 7.8, 8.1]], atol=1e-4)
    assert fitted.heights[0] == pytest.approx(10, abs=1e-5)
    # σ² = height over curvature.
    np.testing.assert_allclose(fitted.sigma[0], np.sqrt(10 / np.array([2.0, 1.0, 1.4])), rtol=1e-3)


def test_a_peak_begun_in_the_next_voxel_moves_over_and_where_there_is_none_it_stays():
    volume = bells(np.array([[12.0, 12, 12.4]]), 1.6, (25, 25, 25), np.ones(1) * 100)
    moved = fit_polynomials(volume, np.array([[12.0, 12, 11]]), 3.0)
    np.testing.assert_allclose(moved.positions, [[12, 12, 12.4]], atol=0.05)
    ramp = np.broadcast_to(np.arange(25.0), (25, 25, 25))
    for fit in (fit_polynomials, fit_gaussians):
        stayed = fit(ramp, np.array([[12.0, 12, 12]]), 3.0)
        assert not stayed.good[0]
        np.testing.assert_array_equal(stayed.positions, [[12, 12, 12]])


def test_what_a_ball_holds_of_a_gaussian_is_its_share_of_the_mass():
    places = np.array([[20.2, 19.9, 20.4], [20.2, 38.0, 20.4]])
    volume = bells(places, 2.0, (40, 60, 40), np.array([70.0, 140]))
    for radius in (3.0, 5.0, 8.0):
        np.testing.assert_allclose(
            sum_in_balls(volume, places, radius), np.array([70, 140]) * share_in_ball(radius / 2.0), rtol=0.02
        )
    assert share_in_ball(10) == pytest.approx(1)


def test_voxels_between_two_atoms_are_counted_once():
    places = np.array([[15.0, 15, 13.3], [15, 15, 16.7]])
    volume = RNG.random((30, 30, 30))
    both = sum_in_balls(volume, places, 3.0).sum()
    grid = np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"), -1)
    distance = np.min([np.linalg.norm(grid - p, axis=-1) for p in places], axis=0)
    assert both == pytest.approx((volume * np.clip(3.5 - distance, 0, 1)).sum())


# ------------------------------------------------------------------------------------------------ threshold, species
def test_the_valley_lies_between_noise_and_atoms_however_uneven_their_numbers():
    noise = np.abs(RNG.normal(0, 0.5, 8000)) + 0.1
    for n in (300, 9000):
        cut = valley(np.concatenate([noise, RNG.normal(6, 0.6, n)]), 1)
        assert noise.max() * 0.8 < cut < 4.8


@pytest.mark.parametrize("lightest", [0.2, None])
def test_the_valley_lies_below_the_lightest_of_several_species(lightest):
    noise = RNG.exponential(0.05, 8000)
    atoms = np.concatenate([RNG.normal(m, 0.08 * m + 0.02, n) for m, n in ((0.5, 1300), (1.0, 1000), (2.1, 400))])
    assert 0.15 < valley(np.concatenate([noise, atoms]), lightest) < 0.45


def test_named_elements_keep_the_threshold_below_the_lightest_where_noise_hides_its_valley():
    noise = RNG.exponential(0.16, 9000)
    atoms = np.concatenate([RNG.normal(m, 0.1 * m, n) for m, n in ((0.5, 900), (2.1, 800))])
    heights = np.concatenate([noise, atoms])
    assert valley(heights) > 0.8  # between the two species: nothing else is to be seen
    assert valley(heights, 0.17) < 0.62


@pytest.mark.parametrize("noise", [0.03, 0.07, 0.12])
def test_a_confidence_of_p_is_right_in_p_of_the_cases(noise):
    elements, counts = ("Co", "Pd", "Pt"), (1300, 1000, 400)
    truth = np.repeat(elements, counts)
    amplitude = np.repeat(5 * relative_scattering(elements), counts)
    amplitude = amplitude + RNG.normal(0, 5 * noise, len(amplitude))
    fit = by_amplitude(amplitude, ("Pt", "Co", "Pd"))
    right = fit.species == truth
    assert fit.names == elements  # in the order of Z, however they were named
    assert fit.confidence.mean() == pytest.approx(right.mean(), abs=0.015)
    unsure = fit.confidence < 0.9
    if unsure.sum() > 100:
        assert fit.confidence[unsure].mean() == pytest.approx(right[unsure].mean(), abs=0.1)


def test_elements_named_but_hardly_there_keep_their_ratio():
    """All atoms are gold: the class of silver is not spent on splitting gold in two."""
    fit = by_amplitude(RNG.normal(10, 1, 3000), ("Au", "Ag"))
    assert (fit.species == "Au").mean() > 0.99


def test_without_names_the_number_of_classes_is_that_of_the_humps_and_one_element_is_all():
    one = RNG.normal(10, 1, 2000)
    three = np.concatenate([one, RNG.normal(20, 1, 1500), RNG.normal(35, 1.5, 500)])
    assert len(by_amplitude(one).means) == 1
    fit = by_amplitude(three)
    np.testing.assert_allclose(fit.means, [10, 20, 35], rtol=0.02)
    assert set(fit.species) == {"X"}
    gold = by_amplitude(three, ("Au",))
    assert (gold.species == "Au").all() and (gold.confidence == 1).all()
    assert len(by_amplitude(np.zeros(0)).species) == 0
    with pytest.raises(ValueError, match="Xy: no such element"):
        by_amplitude(one, ("Au", "Xy"))


# ------------------------------------------------------------------------------------------------ the method
@cache
def alloy() -> tuple[Volume, Atoms]:
    """A decahedron of gold and copper as a noisy volume of Gaussians, off the centre."""
    whole = atomic_particle("Au", 2.4, 0)
    species = np.where(RNG.random(len(whole)) < 0.5, "Au", "Cu")
    truth = Atoms(whole.positions_zyx, species, amplitude=np.where(species == "Au", 1.0, (29 / 79) ** 1.7))
    shape = (100, 90, 96)
    places = truth.positions_zyx / VOXEL + (np.array(shape) - 1) / 2
    volume = bells(places, (0.06 / VOXEL, 0.05 / VOXEL, 0.05 / VOXEL), shape, truth.amplitude / VOXEL**2)
    noisy = volume + RNG.normal(0, 0.03 * volume.max(), shape)
    shift = (1.0, -2.0, 0.5)
    return Volume(noisy, VOXEL, shift), truth.with_(positions_zyx=truth.positions_zyx + np.array(shift))


@pytest.mark.parametrize("placing", ["polynomial", "gaussian", "parabola"])
def test_an_alloy_is_traced_with_places_species_and_amplitudes(placing):
    volume, truth = alloy()
    job = Job(get("atoms", "trace").params(elements=("Au", "Cu"), placing=placing))
    found = execute("atoms", "trace", volume, job)
    match = match_atoms(found, truth, remove_shift=False)
    assert match.recall == match.precision == 1
    assert match.rmsd_pm < {"polynomial": 13, "gaussian": 10, "parabola": 15}[placing]
    assert match.species_accuracy > 0.99
    assert np.median(found.amplitude[found.species == "Au"]) == pytest.approx(1, rel=0.15)
    assert np.median(found.b_factor) == pytest.approx(0.053, rel=0.2)
    assert (found.confidence > 0.5).all()
    step = found.provenance.steps[-1]
    assert (step.group, step.method) == ("atoms", "trace")
    assert step.notes["min_distance_nm"] < 0.2 and [c["species"] for c in step.notes["classes"]] == ["Cu", "Au"]
    assert job.figures["n_atoms"] == len(truth)


def test_options_go_before_what_the_data_say():
    volume, truth = alloy()
    few = splatom.run("atoms", "trace", volume, most=20, min_distance=0.2, smoothing=0.0, radius=0.09)
    assert len(few) == 20
    notes = few.provenance.steps[-1].notes
    assert (notes["min_distance_nm"], notes["smoothing_nm"], notes["radius_nm"]) == (0.2, 0.0, 0.09)
    assert len(splatom.run("atoms", "trace", volume, threshold=1.0)) < len(truth)


def particle_series() -> tuple[TiltSeries, Atoms]:
    truth = atomic_particle("Au", 1.8, 0)
    geometry = ViewGeometry.single_axis(np.arange(-70, 71, 4.0))
    images = project_atoms(truth, geometry, (72, 72), 0.035)
    images = images + RNG.normal(0, 0.02 * images.max(), images.shape)
    return TiltSeries(images.astype(np.float32), geometry, pixel_size=0.035), truth


def test_a_series_is_reconstructed_first_and_traced_then():
    series, truth = particle_series()
    job = Job(get("atoms", "trace").params(elements=("Au",)))
    found = execute("atoms", "trace", series, job)
    match = match_atoms(found, truth)
    assert match.recall == match.precision == 1
    assert match.rmsd_pm < 20
    assert (found.species == "Au").all()
    assert (job.step, job.total) == (24, 24)
    assert "20 passes of SIRT" in job.notes["reconstruction"]
    assert job.figures["r"] < 0.6  # mostly noise


def test_a_stop_while_it_reconstructs_leaves_nothing():
    series, _ = particle_series()
    job = Job(get("atoms", "trace").params(), stop_at=3)
    with pytest.raises(Stopped):
        execute("atoms", "trace", series, job)
    assert job.step == 3


def test_bad_input_is_told_in_words():
    from splatom.jobs import Task, perform

    def told(data: object, **params: object) -> str:
        task = Task("atoms", "trace", get("atoms", "trace").params(**params), data)
        outcome = perform(task, Job(task.params))
        assert isinstance(outcome.error, JobError)
        return str(outcome.error)

    assert "no peaks" in told(Volume(np.zeros((20, 20, 20)), 0.03))
    assert "Qq: no such element" in told(alloy()[0], elements=("Au", "Qq"))
    assert "volume or a tilt series" in told(Atoms(np.zeros((1, 3))))


@pytest.mark.real
def test_a_gold_particle_of_6679_atoms_is_traced_whole(shared_data: Path):
    series = splatom.read(shared_data / "au_wedge47.npz")
    truth = splatom.read(shared_data / "au_wedge47_truth.xyz")
    found = splatom.run("atoms", "trace", series, elements=("Au",))
    match = match_atoms(found, truth)
    assert match.recall == match.precision == 1.0
    assert match.rmsd_pm < 10  # 7.6 measured; the parabola of an unsmoothed volume gives 11.3
