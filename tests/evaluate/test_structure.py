"""Structure of sets of atoms, and their comparison after a rigid alignment."""

from __future__ import annotations

import json

import numpy as np
import pytest

from splatom.data import Atoms
from splatom.evaluate import coordination_numbers, evaluate, match_atoms, nearest_neighbours, pair_distribution
from splatom.simulate import atomic_particle

RNG = np.random.default_rng(11)


def _gas(n: int, radius: float) -> np.ndarray:
    """Points scattered evenly in a ball."""
    away = RNG.normal(size=(n, 3))
    return away / np.linalg.norm(away, axis=1)[:, None] * radius * RNG.random((n, 1)) ** (1 / 3)


def _fcc(n: int, a: float) -> np.ndarray:
    corners = np.stack(np.meshgrid(*[np.arange(n)] * 3), -1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return (corners + basis).reshape(-1, 3) * a


def _turn(axis: list[float], degrees: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * np.deg2rad(degrees)).as_matrix()


# ------------------------------------------------------------------------------------------------ structure
def test_a_gas_has_no_structure_at_any_distance_up_to_the_size_of_its_vessel():
    """The shells of 4πr² dr that a bulk is divided by would give 0.3 at the radius of the ball."""
    found = pair_distribution(Atoms(_gas(2000, 2.0)), reach=3.0, bin_width=0.1)
    np.testing.assert_allclose(found.g[3:], 1, atol=0.1)
    assert found.density == pytest.approx(2000 / (4 / 3 * np.pi * 8), rel=0.07)


def test_a_crystal_shows_its_shells_and_inner_atoms_have_twelve_neighbours():
    a = 0.4078
    atoms = Atoms(_fcc(5, a))
    np.testing.assert_allclose(nearest_neighbours(atoms), a / np.sqrt(2))
    found = pair_distribution(atoms, reach=0.7, bin_width=0.01)
    assert found.first_peak == pytest.approx(a / np.sqrt(2), abs=0.006)
    assert a / np.sqrt(2) + 0.01 < found.first_minimum < a - 0.01
    # Shells at √(1/2), 1, √(3/2) edges and nothing between them.
    full = found.radius[found.counts > 0]
    for shell in np.sqrt([0.5, 1.0, 1.5]) * a:
        assert np.abs(full - shell).min() < 0.006
    assert found.counts[(found.radius > 0.30) & (found.radius < 0.40)].sum() == 0
    inner = (np.abs(atoms.positions_zyx - 2.25 * a) < 1.3 * a).all(axis=1)
    assert set(coordination_numbers(atoms)[inner].tolist()) == {12}


def test_pairs_of_two_species_are_counted_apart():
    """In a rock salt the first neighbours are of the other species, the second of one's own."""
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3), -1).reshape(-1, 3)
    atoms = Atoms(grid * 0.28, np.where(grid.sum(axis=1) % 2, "Na", "Cl"))
    other = pair_distribution(atoms, 0.5, 0.01, between=("Na", "Cl"))
    same = pair_distribution(atoms, 0.5, 0.01, between=("Na", "Na"))
    assert other.first_peak == pytest.approx(0.28, abs=0.006)
    assert same.first_peak == pytest.approx(0.28 * np.sqrt(2), abs=0.006)
    assert other.counts[other.radius < 0.3].sum() == 3 * 8 * 8 * 7  # the bonds of the grid, each once
    with pytest.raises(ValueError, match="no atoms of"):
        pair_distribution(atoms, 0.5, between=("Na", "K"))


def test_too_few_or_flat_atoms_have_no_pair_distribution():
    with pytest.raises(ValueError, match="five are the fewest"):
        pair_distribution(Atoms(np.eye(3)))
    with pytest.raises(ValueError, match="plane"):
        pair_distribution(Atoms(_gas(50, 1.0) * [0, 1, 1]))
    assert nearest_neighbours(Atoms(np.zeros((1, 3)))).tolist() == [np.inf]


# ------------------------------------------------------------------------------------------------ alignment
def test_a_turned_particle_is_turned_back():
    truth = atomic_particle("Au", 3.0, 0)
    turn = _turn([1, 2, 3], 1.2)
    scatter = RNG.normal(scale=0.005, size=(len(truth), 3))
    found = Atoms((truth.positions_zyx + scatter) @ turn + [0.02, -0.01, 0.03])
    moved = match_atoms(found, truth)
    turned = match_atoms(found, truth, remove_turn=True)
    assert turned.turn_degrees == pytest.approx(1.2, abs=0.06)
    np.testing.assert_allclose(turned.rotation, turn, atol=2e-3)
    assert turned.recall == 1
    assert turned.rmsd_pm == pytest.approx(5 * np.sqrt(3), rel=0.05)
    assert moved.rmsd_pm > 2 * turned.rmsd_pm
    np.testing.assert_allclose(
        turned.offsets_zyx,
        (found.positions_zyx[turned.found] - turned.shift_zyx) @ turned.rotation.T - truth.positions_zyx[turned.truth],
    )


def test_a_mirrored_particle_is_not_mirrored_back():
    truth = Atoms(_gas(60, 1.0))
    mirrored = Atoms(truth.positions_zyx * [1, 1, -1])
    match = match_atoms(mirrored, truth, tolerance_nm=3.0, remove_turn=True)
    assert np.linalg.det(match.rotation) == pytest.approx(1)
    assert match.rmsd_pm > 100


def test_a_shift_beyond_the_tolerance_is_found():
    truth = Atoms(_gas(400, 1.5))
    found = Atoms(truth.positions_zyx[:350] + np.array([0.3, -0.2, 0.1]))
    match = match_atoms(found, truth)
    np.testing.assert_allclose(match.shift_zyx, [0.3, -0.2, 0.1], atol=1e-9)
    assert match.precision == 1
    assert match.recall == pytest.approx(350 / 400)


def test_species_are_scored_one_by_one():
    places = _fcc(3, 0.4)
    truth = Atoms(places, np.array(["Co"] * 50 + ["Pt"] * 58))
    named = np.array(["Co"] * 40 + ["Pt"] * 68)
    found = Atoms(np.delete(places, [0, 107], axis=0), np.delete(named, [0, 107]))
    match = match_atoms(found, truth)
    assert match.confusion == {"Co": {"Co": 39, "Pt": 10}, "Pt": {"Co": 0, "Pt": 57}}
    assert match.species_accuracy == pytest.approx(96 / 106)
    cobalt, platinum = match.per_species["Co"], match.per_species["Pt"]
    assert cobalt["recall"] == pytest.approx(49 / 50) and cobalt["precision"] == 1
    assert platinum["recall"] == pytest.approx(57 / 58) and platinum["precision"] == pytest.approx(57 / 67)
    unnamed = match_atoms(Atoms(places), truth)
    assert unnamed.confusion == {} and unnamed.per_species["Co"]["precision"] is None


def test_the_report_of_two_sets_of_atoms_says_all():
    truth = atomic_particle("Au", 2.5, 0)
    figures = evaluate(Atoms(truth.positions_zyx @ _turn([0, 0, 1], 1.0), truth.species), truth)
    assert figures["per_species"]["Au"]["recall"] == figures["recall"] == 1
    assert figures["confusion"] == {"Au": {"Au": len(truth)}}
    assert figures["after_rotation"]["turn_degrees"] == pytest.approx(1.0, abs=1e-3)
    assert figures["after_rotation"]["rmsd_pm"] < 0.01 < figures["rmsd_pm"]
    json.dumps(figures, allow_nan=False)
