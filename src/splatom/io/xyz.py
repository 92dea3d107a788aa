"""Atoms as extended XYZ, as ASE writes it: Å about the centre of the field, order x, y, z.

Columns ``species pos sigma amplitude`` and, where known, ``b_factor occupancy confidence amplitude_sigma``. ``sigma``
(one standard deviation an axis) and ``amplitude`` are always written; where they are not known they are 0 and 1 and the
comment says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from splatom.data import Atoms, Provenance
from splatom.io.errors import FileFault, faults

__all__ = ["SUFFIXES", "read_xyz", "xyz_text"]

SUFFIXES = (".xyz", ".extxyz")
_PER_NM = 10.0
_PLAIN = "species:S:1:pos:R:3"
_MORE = ("b_factor", "occupancy", "confidence", "amplitude_sigma")


def read_xyz(path: Path) -> Atoms:
    """Read plain or extended XYZ (the first frame).

    Raises
    ------
    FileFault
        If the count, a number or a column is wrong.
    """
    with faults(path):
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline(256).strip()
            if not re.fullmatch(r"\d{1,9}", first):
                raise FileFault(path, "is not an XYZ file: its first line is not the number of atoms")
            count, comment = int(first), file.readline()
            rows = [line.split() for line, _ in zip(file, range(count), strict=False)]
        if len(rows) < count or count == 0:
            raise FileFault(path, f"is truncated or empty: {len(rows)} atoms of the {count} it announces")
        stated = re.search(r'Properties="?([^\s"]+)', comment)
        columns = _columns(path, stated[1] if stated else _PLAIN)
        width = max(stop for _, stop in columns.values())
        short = next((i for i, row in enumerate(rows) if len(row) < width), None)
        if short is not None:
            raise FileFault(path, f"line {short + 3} has {len(rows[short])} columns where {width} are needed")
        unknown = re.search(r'unknown="([^"]*)"', comment)
        skip = unknown[1].split() if unknown else []

        def numbers(name: str, scale: float = 1.0) -> Any:
            if name not in columns or name in skip:
                return None
            start, stop = columns[name]
            values = np.array([[float(cell) for cell in row[start:stop]] for row in rows]) / scale
            return values[:, ::-1] if stop - start == 3 else values[:, 0]

        start = columns["species"][0]
        return Atoms(
            numbers("pos", _PER_NM),
            np.array([_symbol(row[start]) for row in rows]),
            numbers("sigma", _PER_NM),
            provenance=Provenance(source=str(path), loading={"file": str(path), "format": "XYZ"}),
            **{name: numbers(name) for name in ("amplitude", *_MORE)},
        )


def xyz_text(atoms: Atoms) -> str:
    """Return the atoms as extended XYZ."""
    n = len(atoms)
    unknown = [name for name, v in (("sigma", atoms.sigma_zyx), ("amplitude", atoms.amplitude)) if v is None]
    sigma = np.zeros((n, 3)) if atoms.sigma_zyx is None else atoms.sigma_zyx * _PER_NM
    amplitude = np.ones(n) if atoms.amplitude is None else atoms.amplitude
    table = [atoms.positions_zyx[:, ::-1] * _PER_NM, sigma[:, ::-1], amplitude[:, None]]
    properties = _PLAIN + ":sigma:R:3:amplitude:R:1"
    for name in _MORE:
        values = getattr(atoms, name)
        if values is not None:
            table.append(values[:, None])
            properties += f":{name}:R:1"
    comment = f"Properties={properties}"
    if unknown:
        comment += f' unknown="{" ".join(unknown)}"'
    comment += ' pbc="F F F"'
    lines = [
        f"{symbol:<3s} " + " ".join(f"{value:.9g}" for value in row)
        for symbol, row in zip(atoms.species.tolist(), np.hstack(table).tolist(), strict=True)
    ]
    return "\n".join([str(n), comment, *lines, ""])


def _columns(path: Path, properties: str) -> dict[str, tuple[int, int]]:
    parts = properties.split(":")
    if len(parts) % 3:
        raise FileFault(path, f"has a malformed Properties entry: {properties[:80]}")
    out, at = {}, 0
    for name, kind, count in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if kind not in "SRIL" or not re.fullmatch(r"[1-9]\d?", count):
            raise FileFault(path, f"has a malformed Properties entry: {name}:{kind}:{count}")
        out[name] = (at, at + int(count))
        at += int(count)
    expected = {"species": 1, "pos": 3, "sigma": 3, "amplitude": 1, **dict.fromkeys(_MORE, 1)}
    for name, width in expected.items():
        if name in out and out[name][1] - out[name][0] != width:
            raise FileFault(path, f"its column {name} has {out[name][1] - out[name][0]} values; expected {width}")
    if "species" not in out or "pos" not in out:
        raise FileFault(path, "has no species or no pos column")
    return out


def _symbol(text: str) -> str:
    """Take atomic numbers for symbols, as some XYZ files have them."""
    if not text.isdigit():
        return text
    from ase.data import chemical_symbols

    return str(chemical_symbols[int(text)])
