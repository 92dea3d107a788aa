"""Tilt angles from text: .rawtlt, .tlt, SerialEM .mdoc, lists and tables of numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["angles_beside", "angles_from_names", "read_angles", "read_mdoc"]

_LARGEST = 1 << 22  # bytes; no list of angles is longer
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")


def read_angles(path: str | Path) -> NDArray[np.float64]:
    """Read tilt angles from a text file.

    Parameters
    ----------
    path : str or Path
        ``.mdoc``, or text with one number a line, with three a line (Euler angles), or a table with a header of
        which one column is named like ``angle`` or ``tilt``. Lines that begin with ``#`` are comments.

    Returns
    -------
    array (n,) or (n, 3)
        Degrees.

    Raises
    ------
    FileFault
        If the file holds anything else.
    """
    path = Path(path)
    with faults(path, "angles cannot be read"):
        if path.suffix.lower() == ".mdoc":
            return read_mdoc(path)[0]
        if path.stat().st_size > _LARGEST:
            raise FileFault(path, "too large for a list of angles; expected one number a line")
        lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        rows = [re.split(r"[\s,;]+", line.strip(",; ")) for line in lines if line]
        if not rows:
            raise FileFault(path, "holds no angles; expected one number a line")
        column = _column(rows[0])
        if column is not None:
            rows = [row[column : column + 1] for row in rows[1:]]
        try:
            table = np.array([[float(cell) for cell in row] for row in rows])
        except ValueError as error:
            raise FileFault(path, "is not a list of angles; expected one number a line") from error
    if table.ndim == 2 and table.shape[0] == 1 and table.shape[1] > 3:
        table = table.T  # all in one line
    if table.ndim != 2 or table.shape[1] not in (1, 3) or not np.isfinite(table).all():
        raise FileFault(path, "is not a list of angles; expected one number (or three Euler angles) a line")
    return table[:, 0] if table.shape[1] == 1 else table


def _column(header: list[str]) -> int | None:
    """Find the column whose name speaks of angles, None where the first row is numbers already."""
    for i, cell in enumerate(header):
        if re.match(r"(tilt[_ -]?)?angles?|tilts?|theta|alpha", cell.strip("\"'"), re.IGNORECASE):
            return i
    return None


def read_mdoc(path: str | Path) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Read the angles of a SerialEM ``.mdoc`` file, in the order of the sections.

    Returns
    -------
    angles : array (n,)
        Degrees, by ZValue; empty where none are given.
    values : dict
        ``pixel_size`` in nm and ``axis_degrees`` where stated.
    """
    path = Path(path)
    with faults(path, "angles cannot be read"):
        if path.stat().st_size > _LARGEST * 16:
            raise FileFault(path, "too large for an .mdoc file")
        text = path.read_text(encoding="utf-8", errors="replace")
        sections = re.split(r"^\[(?:ZValue|FrameSet)\s*=\s*(-?\d+)\s*\]", text, flags=re.MULTILINE)
        found: dict[int, float] = {}
        for z, body in zip(sections[1::2], sections[2::2], strict=True):
            tilt = re.search(r"^TiltAngle\s*=\s*([-+.\deE]+)", body, re.MULTILINE)
            if tilt:
                found[int(z)] = float(tilt[1])
        values: dict[str, float] = {}
        spacing = re.search(r"^PixelSpacing\s*=\s*([-+.\deE]+)", text, re.MULTILINE)
        if spacing and float(spacing[1]) > 0:
            values["pixel_size"] = float(spacing[1]) / 10
        axis = re.search(r"Tilt axis angle\s*=\s*([-+.\deE]+)", text)
        if axis:
            values["axis_degrees"] = float(axis[1].rstrip(".,"))
    return np.array([found[z] for z in sorted(found)]), values


def angles_beside(
    path: Path, count: int, refined_first: bool = False
) -> tuple[NDArray[np.float64] | None, str, tuple[str, ...]]:
    """Look for a file of angles beside a series.

    Parameters
    ----------
    path : Path
        The series: a file, or a folder (the angles then lie inside).
    count : int
        Number of projections.
    refined_first : bool
        Whether ``.tlt`` (refined, of the aligned stack) goes before ``.rawtlt`` (as set at the microscope).

    Returns
    -------
    angles : array or None
    where : str
        Name of the file taken.
    notes : tuple of str
        Files looked at and left, with the reason.

    Raises
    ------
    FileFault
        If a ``.rawtlt`` or ``.tlt`` of the same name holds another count of angles.
    """
    suffixes = [".tlt", ".rawtlt"] if refined_first else [".rawtlt", ".tlt"]
    suffixes += [".mdoc", ".txt", ".csv"]
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.is_file())
        candidates = [p for s in suffixes for p in inside if p.suffix.lower() == s]
    else:
        candidates = [path.with_suffix(s) for s in suffixes if s != path.suffix.lower()]
        candidates.insert(2, path.with_name(path.name + ".mdoc"))
        candidates += [path.with_name(f"{path.stem}_angles.txt"), path.with_name("angles.txt")]
    notes: list[str] = []
    for candidate in candidates:
        if not candidate.is_file():
            continue
        named_for_it = candidate.suffix.lower() in (".rawtlt", ".tlt")
        try:
            angles = read_angles(candidate)
        except FileFault as fault:
            if named_for_it:
                raise
            notes.append(f"{candidate.name} left aside: {fault.fault}")
            continue
        if len(angles) == count:
            return angles, candidate.name, tuple(notes)
        if named_for_it:
            raise FileFault(
                candidate, f"holds {len(angles)} angles but {path.name} has {count} projections; mend or remove one"
            )
        notes.append(f"{candidate.name} left aside: {len(angles)} angles for {count} projections")
    return None, "", tuple(notes)


def angles_from_names(paths: list[Path]) -> NDArray[np.float64]:
    """Read the last number in each file's name as its angle in degrees, (n,)."""
    out = []
    for path in paths:
        numbers = _NUMBER.findall(path.stem)
        if not numbers:
            raise FileFault(path, "has no number in its name to take as the tilt angle; give the angles themselves")
        out.append(float(numbers[-1].replace(",", ".")))
    return np.array(out)
