"""Atomic specimens: what a crystal, its defects and a glass have to be."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from splatom.data import Atoms
from splatom.simulate.crystals import MATERIALS, aligned, ball, block, crystal, unit_cell, wulff
from splatom.simulate.defects import (
    alloyed,
    core_shell,
    dislocated,
    displaced,
    grain_boundary,
    substituted,
    vacant,
)
from splatom.simulate.glasses import amorphous, nuclei


def shortest(atoms):
    return cKDTree(atoms.positions_zyx).query(atoms.positions_zyx, k=2)[0][:, 1].min()


def counts(atoms):
    return dict(zip(*np.unique(atoms.species, return_counts=True), strict=True))


# ------------------------------------------------------------------------------------------------ crystals
@pytest.mark.parametrize(("material", "nearest"), [("Au", 0.408 / 2**0.5), ("Fe", 0.287 * 0.75**0.5), ("Si", 0.2351)])
def test_an_element_has_its_nearest_neighbour_and_its_density(material, nearest):
    atoms = crystal(material, ball(5.0))
    assert shortest(atoms) == pytest.approx(nearest, rel=1e-3)
    cell = unit_cell(material)
    density = len(cell) / cell.get_volume() * 1000
    assert len(atoms) == pytest.approx(density * 4 / 3 * np.pi * 2.5**3, rel=0.05)


@pytest.mark.parametrize("material", sorted(set(MATERIALS) - {"ZnO"}))  # no block is whole cells of a hexagonal one
def test_whole_cells_of_a_compound_keep_its_stoichiometry(material):
    cell = unit_cell(material)
    edges = np.array(cell.cell.lengths()) / 10 * 4
    atoms = crystal(material, block(*edges), origin=(0.013, 0.017, 0.019))
    expected = dict(zip(*np.unique(cell.get_chemical_symbols(), return_counts=True), strict=True))
    assert counts(atoms) == {k: 64 * v for k, v in expected.items()}


def test_turning_a_crystal_changes_no_distance():
    cube = crystal("MgO", ball(3.0))
    turned = crystal("MgO", ball(3.0), aligned((1, 2, 3)))
    assert len(cube) == len(turned)
    assert shortest(cube) == pytest.approx(shortest(turned))


def test_along_a_zone_axis_atoms_fall_into_columns():
    def columns(zone):
        seen = crystal("Au", block(3, 3, 4), aligned(zone)).positions_zyx[:, 1:]
        return len(np.unique(np.round(seen, 4), axis=0)), len(seen)

    for zone in ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
        distinct, atoms = columns(zone)
        assert distinct < atoms / 4
    distinct, atoms = columns((1, 0.37, 0.21))
    assert distinct > 0.9 * atoms


def test_directions_lie_where_they_are_put():
    turn = aligned((-1, -1, 2), (1, -1, 0))
    assert turn @ turn.T == pytest.approx(np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert turn @ (np.array([-1, -1, 2]) / 6**0.5) == pytest.approx([0, 0, 1])
    assert turn @ (np.array([1, -1, 0]) / 2**0.5) == pytest.approx([1, 0, 0])
    with pytest.raises(ValueError, match="null"):
        aligned((0, 0, 0))
    with pytest.raises(ValueError, match="parallel"):
        aligned((0, 0, 1), (0, 0, 2))


def test_a_wulff_shape_has_the_crystal_s_symmetry_and_its_faces_turn_with_it():
    xyz = crystal("Pt", wulff(4.0, np.eye(3))).positions_zyx[:, ::-1]
    tree = cKDTree(xyz)
    for turn in (np.eye(3)[[1, 2, 0]], np.eye(3)[[1, 0, 2]], -np.eye(3)):
        assert tree.query(xyz @ turn.T)[0].max() < 1e-6
    assert np.abs(xyz @ np.ones(3) / 3**0.5).max() <= 2.0 + 1e-6
    turn = aligned((1, 2, 3), (3, 0, -1))
    turned = crystal("Pt", wulff(4.0, turn), turn).positions_zyx[:, ::-1]
    assert cKDTree(xyz @ turn.T).query(turned)[0].max() < 1e-6 and len(turned) == len(xyz)


def test_sheets_are_one_layer_of_their_lattice():
    graphene = crystal("graphene", block(5, 5, 1))
    assert np.ptp(graphene.positions_zyx[:, 0]) == 0
    assert shortest(graphene) == pytest.approx(0.142, abs=1e-3)
    assert len(graphene) / 25 == pytest.approx(38.2, rel=0.03)  # atoms per nm²
    mos2 = crystal("MoS2", block(16 * 0.316, 9 * 0.316 * 3**0.5, 1), origin=(0.01, 0.02, 0))  # whole rectangular cells
    assert len(np.unique(np.round(mos2.positions_zyx[:, 0], 3))) == 3
    assert counts(mos2)["S"] / counts(mos2)["Mo"] == 2


def test_what_is_not_known_or_empty_is_said():
    with pytest.raises(ValueError, match="no structure known for 'Unobtainium'"):
        unit_cell("Unobtainium")
    with pytest.raises(ValueError, match="no atom"):
        crystal("Au", ball(0.1), origin=(0.25, 0.25, 0.25))


# ------------------------------------------------------------------------------------------------ alloys, defects
def test_an_alloy_holds_what_its_composition_says():
    sites = crystal("Au", ball(3.0))
    alloy = alloyed(sites, {"Au": 1, "Pd": 1, "Pt": 1}, seed=2)
    assert max(counts(alloy).values()) - min(counts(alloy).values()) <= 1
    np.testing.assert_array_equal(alloy.positions_zyx, sites.positions_zyx)
    np.testing.assert_array_equal(alloy.species, alloyed(sites, {"Au": 1, "Pd": 1, "Pt": 1}, seed=2).species)
    assert (alloy.species != alloyed(sites, {"Au": 1, "Pd": 1, "Pt": 1}, seed=3).species).any()
    # Solid solution: a neighbour is as likely of one element as any atom is.
    pairs = cKDTree(alloy.positions_zyx).query_pairs(0.3, output_type="ndarray")
    assert (alloy.species[pairs[:, 0]] == alloy.species[pairs[:, 1]]).mean() == pytest.approx(1 / 3, abs=0.03)


def test_in_an_ordered_alloy_every_neighbour_of_the_minority_is_of_the_majority():
    atoms = crystal("Cu3Au", ball(3.0))
    pairs = cKDTree(atoms.positions_zyx).query_pairs(0.27, output_type="ndarray")
    assert not ((atoms.species[pairs[:, 0]] == "Au") & (atoms.species[pairs[:, 1]] == "Au")).any()


def test_a_shell_covers_its_core():
    atoms = core_shell(crystal("Au", wulff(4.0, np.eye(3))), "Au", "Pd", 0.35)
    radius = np.linalg.norm(atoms.positions_zyx, axis=1)
    assert radius[atoms.species == "Au"].max() < radius.max() - 0.35
    core, every = atoms.positions_zyx[atoms.species == "Au"], cKDTree(atoms.positions_zyx)
    assert min(len(n) for n in every.query_ball_point(core, 0.29)) == 13  # no atom of the core lies open


def test_vacancies_and_substitutions_are_counted_on_their_sites():
    sheet = crystal("MoS2", block(5, 5, 1))
    before = counts(sheet)
    holed = counts(vacant(sheet, 0.1, seed=1, species="S"))
    assert holed["Mo"] == before["Mo"] and holed["S"] == before["S"] - round(0.1 * before["S"])
    doped = counts(substituted(sheet, "Mo", "W", 0.2, seed=1))
    assert doped["W"] == round(0.2 * before["Mo"]) and doped["S"] == before["S"]
    moved = displaced(sheet, 7.0, seed=3).positions_zyx - sheet.positions_zyx
    assert moved.std() == pytest.approx(0.007, rel=0.05)
    with pytest.raises(ValueError, match="share"):
        vacant(sheet, 1.5)


# ------------------------------------------------------------------------------------------------ dislocations
def closure(perfect, atoms, steps, line):
    """Burgers circuit: sum over a loop of the perfect crystal's steps that the crystal's own steps stand for."""
    angle = np.linspace(0, 2 * np.pi, steps + 1)
    lattice = cKDTree(perfect.positions_zyx[:, ::-1])
    # The vectors of the lattice, from an atom at the middle to those round it.
    at = perfect.positions_zyx[:, ::-1][lattice.query([0, 0, 0])[1]]
    vectors = perfect.positions_zyx[:, ::-1][lattice.query_ball_point(at, 0.9)] - at
    xyz = atoms.positions_zyx[:, ::-1]
    loop = np.stack([1.7 * np.cos(angle), 1.7 * np.sin(angle), np.zeros_like(angle)], 1) + line
    path = xyz[cKDTree(xyz).query(loop)[1]]
    steps_made = np.diff(path, axis=0)
    gap, which = cKDTree(vectors).query(steps_made)
    assert gap.max() < 0.12  # every step stands for one of the lattice's without doubt
    assert path[0] == pytest.approx(path[-1])
    return vectors[which].sum(axis=0)


@pytest.mark.parametrize(
    ("material", "turn", "burgers"),
    [
        ("Au", aligned((-1, -1, 2), (1, -1, 0)), np.array([0.408 / 2**0.5, 0, 0])),
        ("Au", aligned((1, -1, 0), (1, 1, 0)), np.array([0, 0, 0.408 / 2**0.5])),
        ("Fe", aligned((1, 1, 1)), np.array([0, 0, 0.287 * 0.75**0.5])),
    ],
    ids=["edge", "screw", "screw in bcc"],
)
def test_a_circuit_round_a_dislocation_fails_to_close_by_its_burgers_vector(material, turn, burgers):
    perfect = crystal(material, block(5, 5, 3), turn, (0.1, 0.05, 0.12))
    atoms = dislocated(perfect, burgers)
    assert len(atoms) == len(perfect)
    assert closure(perfect, perfect, 40, 0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert closure(perfect, atoms, 40, 0) == pytest.approx(-burgers, abs=2e-3)
    # A line outside the loop is not encircled.
    outside = dislocated(perfect, burgers, through=(9, 0, 0))
    assert closure(perfect, outside, 40, 0) == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_dislocation_strains_the_crystal_but_breaks_it_nowhere():
    turn = aligned((-1, -1, 2), (1, -1, 0))
    perfect = crystal("Au", block(5, 5, 2), turn, (0.1, 0.05, 0.12))
    atoms = dislocated(perfect, (0.408 / 2**0.5, 0, 0))
    assert shortest(atoms) > 0.7 * shortest(perfect)
    far = np.hypot(*atoms.positions_zyx[:, 1:].T) > 1.0
    inner = (np.abs(perfect.positions_zyx) < [0.6, 2.2, 2.2]).all(axis=1) & far
    whole = [len(n) for n in cKDTree(atoms.positions_zyx).query_ball_point(atoms.positions_zyx[inner], 0.345)]
    assert np.mean(np.array(whole) == 13) > 0.98  # twelve neighbours each, across the cut as well


# ------------------------------------------------------------------------------------------------ grains, glasses
def test_grains_are_turned_against_each_other_and_touch():
    for material, nearest in (("Au", 0.2885), ("SrTiO3", 0.1952)):
        atoms = grain_boundary(material, block(5, 5, 2), 36.87)
        xyz = atoms.positions_zyx[:, ::-1]
        assert shortest(atoms) >= 0.75 * nearest - 1e-9
        # Directions of the bonds in the plane of each grain, folded to the fourfold axis.
        turns = []
        for side in (xyz[:, 0] < -0.5, xyz[:, 0] > 0.5):
            pairs = cKDTree(xyz[side]).query_pairs(1.05 * nearest, output_type="ndarray")
            step = np.diff(xyz[side][pairs], axis=1)[:, 0]
            flat = step[np.abs(step[:, 2]) < 1e-6]
            turns.append(np.angle(np.exp(4j * np.arctan2(flat[:, 1], flat[:, 0])).sum()) / 4)
        assert np.rad2deg(turns[0] - turns[1]) % 90 == pytest.approx(36.87, abs=0.01)
        density = [np.mean((xyz[:, 0] > a) & (xyz[:, 0] < a + 0.8)) for a in (-2, -0.4, 1.2)]
        assert density[1] > 0.85 * density[0]


def test_a_glass_has_its_density_its_least_distance_and_no_order():
    glass = amorphous({"Pd": 4, "Si": 1}, ball(3.6), 62, 0.235, seed=1)
    assert shortest(glass) >= 0.235 * (1 - 1e-6)
    assert len(glass) == pytest.approx(62 * 4 / 3 * np.pi * 1.8**3, rel=0.05)
    assert counts(glass)["Pd"] / len(glass) == pytest.approx(0.8, abs=1e-3)

    def strongest_ring(atoms):
        """Highest Fourier intensity per atom of a central ball, over directions, at spacings of 0.18 to 0.25 nm."""
        xyz = atoms.positions_zyx - atoms.positions_zyx.mean(axis=0)
        xyz = xyz[np.linalg.norm(xyz, axis=1) < 1.4]
        way = np.random.default_rng(0).normal(size=(3000, 3))
        k = way / np.linalg.norm(way, axis=1, keepdims=True) * np.random.default_rng(1).uniform(4, 5.5, (3000, 1))
        return np.max(np.abs(np.exp(2j * np.pi * xyz @ k.T).sum(axis=0)) ** 2) / len(xyz)

    assert strongest_ring(crystal("Pd", ball(3.6))) > 5 * strongest_ring(glass)


def test_a_glass_comes_again_by_its_seed_and_refuses_to_be_too_dense():
    one, same, other = (amorphous({"C": 1}, block(2, 2, 1), 100, 0.138, seed=s).positions_zyx for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or (one != other).any()
    with pytest.raises(ValueError, match="too much"):
        amorphous({"Pd": 1}, ball(2), 70, 0.3)


def test_nuclei_are_crystals_and_the_matrix_keeps_off_them():
    atoms = nuclei("Pd", block(4, 4, 2), 60, 0.24, count=3, seed=5)
    assert isinstance(atoms, Atoms)
    assert shortest(atoms) >= 0.24 * (1 - 1e-6)
    # Twelve neighbours at the crystal's own distance: only inside the nuclei.
    tree = cKDTree(atoms.positions_zyx)
    bond = 0.389 / 2**0.5
    distance = tree.query(atoms.positions_zyx, k=15)[0]
    shell = (np.abs(distance - bond) < 1e-3).sum(axis=1)
    full = np.flatnonzero(shell == 12)
    assert 20 < len(full) < len(atoms) / 2
    assert full.max() < len(atoms) / 2  # the crystals come first
