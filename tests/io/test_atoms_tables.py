"""Atoms as CSV and CIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splatom import io
from splatom.cli import main
from splatom.data import Atoms

RNG = np.random.default_rng(5)
ATOMS = Atoms(
    RNG.normal(0, 2, (9, 3)), np.array(["Au", "Pt", "X"] * 3), RNG.random((9, 3)) / 100, amplitude=RNG.random(9),
    b_factor=RNG.random(9), occupancy=RNG.random(9), confidence=RNG.random(9),
    amplitude_sigma=RNG.random(9),
)  # fmt: skip
FIELDS = ("positions_zyx", "sigma_zyx", "amplitude", "b_factor", "occupancy", "confidence", "amplitude_sigma")


@pytest.mark.parametrize("name", ["a.csv", "a.xyz"])
def test_everything_known_of_an_atom_survives(tmp_path: Path, name: str) -> None:
    io.write(tmp_path / name, ATOMS)
    back = io.read_atoms(tmp_path / name)
    assert back.species.tolist() == ATOMS.species.tolist()
    for field in FIELDS:
        np.testing.assert_allclose(getattr(back, field), getattr(ATOMS, field), rtol=1e-8)
    assert io.describe(tmp_path / name)["species"] == {"Au": 3, "Pt": 3, "X": 3}


def test_a_table_is_in_angstrom_with_x_first_and_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    io.write(tmp_path / "a.csv", Atoms(np.array([[0.3, 0.2, 0.1]]), np.array(["Au"])))
    assert (tmp_path / "a.csv").read_text() == "species,x,y,z\nAu,1,2,3\n"
    back = io.read_atoms(tmp_path / "a.csv")
    assert back.sigma_zyx is None
    assert back.amplitude is None


def test_a_table_of_another_program_needs_only_three_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffID, Z, Y, X\n7,30,20,10\n\n8,3,2,1\n", encoding="utf-8")
    back = io.read_atoms(tmp_path / "a.csv")
    np.testing.assert_allclose(back.positions_zyx, [[3, 2, 1], [0.3, 0.2, 0.1]])
    assert back.species.tolist() == ["X", "X"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("species,x,y\nAu,1,2\n", "no column z"),
        ("species,x,y,z\n", "no atoms"),
        ("species,x,y,z\nAu,1,2\n", "row 2 has 3 cells"),
        ("species,x,y,z\nAu,1,2,three\n", "three"),
        ("x,y,z\n1,2,nan\n", "finite"),
    ],
)
def test_a_bad_table_is_told_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(io.FileFault, match=fault):
        io.read(tmp_path / "a.csv")


def test_a_cif_keeps_places_about_the_centre_of_the_field_and_species(tmp_path: Path) -> None:
    import ase.io

    io.write(tmp_path / "a.cif", ATOMS)
    there = ase.io.read(tmp_path / "a.cif")
    assert there.get_chemical_symbols() == ATOMS.species.tolist()
    # Between atoms nothing has moved, and all lie inside the cell, away from its walls.
    np.testing.assert_allclose(there.positions - there.positions[0], _xyz(ATOMS) - _xyz(ATOMS)[0], atol=1e-3)
    assert (there.get_scaled_positions(wrap=False) > 0).all() and (there.get_scaled_positions(wrap=False) < 1).all()
    back = io.read_atoms(tmp_path / "a.cif")
    np.testing.assert_allclose(back.positions_zyx, ATOMS.positions_zyx, atol=1e-4)


def _xyz(atoms: Atoms) -> np.ndarray:
    return atoms.positions_zyx[:, ::-1] * 10


def test_a_damaged_cif_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text("data_a\n_cell_length_a what\n")
    with pytest.raises(io.FileFault, match="cannot be read"):
        io.read(tmp_path / "a.cif")


def test_the_command_converts_atoms(tmp_path: Path) -> None:
    io.write(tmp_path / "a.xyz", ATOMS)
    for name in ("b.csv", "c.cif"):
        assert main(["convert", str(tmp_path / "a.xyz"), str(tmp_path / name)]) in (0, None)
        assert len(io.read_atoms(tmp_path / name)) == 9
