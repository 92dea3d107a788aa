"""Atoms as a table: CSV with a header, lengths in Å about the centre of the field, order x, y, z.

Columns ``species,x,y,z`` and, where known, ``sigma_x,sigma_y,sigma_z,amplitude,b_factor,occupancy,confidence,
amplitude_sigma``. The b factor is the width σ of the atom's image in nm, as in the XYZ files.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, Provenance
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "read_table", "table_text"]

SUFFIXES = (".csv",)
_PER_NM = 10.0
_PLACE = ("x", "y", "z")
_SIGMA = ("sigma_x", "sigma_y", "sigma_z")
_MORE = ("amplitude", "b_factor", "occupancy", "confidence", "amplitude_sigma")


def table_text(atoms: Atoms) -> str:
    """Return the atoms as CSV."""
    header: list[str] = ["species", *_PLACE]
    table = [atoms.positions_zyx[:, ::-1] * _PER_NM]
    if atoms.sigma_zyx is not None:
        header += _SIGMA
        table.append(atoms.sigma_zyx[:, ::-1] * _PER_NM)
    for name in _MORE:
        values = getattr(atoms, name)
        if values is not None:
            header.append(name)
            table.append(values[:, None])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for symbol, row in zip(atoms.species.tolist(), np.hstack(table).tolist(), strict=True):
        writer.writerow([symbol, *(f"{value:.9g}" for value in row)])
    return out.getvalue()


def read_table(path: Path) -> Atoms:
    """Read a table of atoms: columns x, y and z in Å are needed, the others taken where they are there.

    Raises
    ------
    FileFault
        If a column is missing or a cell is no number.
    """
    with faults(path):
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        header = [cell.strip().lower() for cell in rows[0]] if rows else []
        missing = [name for name in _PLACE if name not in header]
        if missing:
            raise FileFault(path, f"is no table of atoms: its first line names no column {', '.join(missing)} (in Å)")
        if len(rows) < 2:
            raise FileFault(path, "holds no atoms")
        short = next((i for i, row in enumerate(rows) if len(row) < len(header)), None)
        if short is not None:
            raise FileFault(path, f"row {short + 1} has {len(rows[short])} cells where {len(header)} are needed")

        def column(name: str) -> Any:
            at = header.index(name)
            return np.array([float(row[at]) for row in rows[1:]])

        def lengths(names: tuple[str, ...]) -> NDArray[np.float64] | None:
            if not all(name in header for name in names):
                return None
            return np.stack([column(name) for name in names[::-1]], axis=1) / _PER_NM

        species = None
        if "species" in header:
            at = header.index("species")
            species = np.array([row[at].strip() or "X" for row in rows[1:]])
        return Atoms(
            lengths(_PLACE),  # type: ignore[arg-type]
            species,  # type: ignore[arg-type]
            lengths(_SIGMA),
            provenance=Provenance(source=str(path), loading={"file": str(path), "format": "CSV"}),
            **{name: column(name) for name in _MORE if name in header},
        )
