"""Atoms as CIF, through ASE: a box around the atoms, without symmetry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, Provenance
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "read_cif", "write_cif"]

SUFFIXES = (".cif",)
_PER_NM = 10.0
_ROOM = 5.0  # Å between the outermost atoms and the box's walls


def write_cif(path: Path, atoms: Atoms) -> None:
    """Write a CIF of a rectangular box (space group P 1) that leaves 5 Å around the atoms.

    A crystal's file knows a cell, not the centre of a field: the box is centred on it, so that the frame survives.
    """
    import ase.io

    if len(atoms) == 0:
        raise FileFault(path, "there are no atoms to write")
    bare: Any = Atoms(atoms.positions_zyx, atoms.species, occupancy=atoms.occupancy).to_ase()
    edges = 2 * np.abs(bare.positions).max(axis=0) + 2 * _ROOM
    bare.set_cell(edges)
    bare.positions += edges / 2
    with faults(path, "cannot be written"):
        ase.io.write(path, bare, format="cif")


def read_cif(path: Path) -> Atoms:
    """Read the atoms of a CIF's cell, about the cell's centre.

    Raises
    ------
    FileFault
        If ASE cannot read it.
    """
    import ase.io

    with faults(path):
        crystals: Any = ase.io.read(path, index=":", format="cif")
        if not crystals:
            raise FileFault(path, "cannot be read: it holds no crystal")
        found = crystals[0]
        centre: NDArray[np.float64] = np.asarray(found.cell.array).sum(axis=0) / 2
        return Atoms(
            (np.asarray(found.positions) - centre)[:, ::-1] / _PER_NM,
            np.array(found.get_chemical_symbols(), dtype=np.str_),
            provenance=Provenance(source=str(path), loading={"file": str(path), "format": "CIF"}),
        )
