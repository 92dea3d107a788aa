"""IMOD transforms (.xf): a 2 × 2 matrix and a shift per view, from the raw image to the aligned one.

``X' − Xc = A (X − Xc) + d`` with X = (column, row), Xc the centre of the image (IMOD's manual, page "libxf"). Rows
count as they lie in the file, so nothing depends on which way up they are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splatom.geometry import ViewGeometry
from splatom.io.errors import FileFault, faults

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries

__all__ = ["apply_xf", "read_xf", "xf_text"]

_ROTATION_TOLERANCE = 0.05  # a magnification or shear of up to 5 % is left out of the geometry, beyond it refused


def read_xf(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read an IMOD transform file.

    Returns
    -------
    matrices : array (n, 2, 2)
        ``A`` of each view, acting on (column, row).
    shifts : array (n, 2)
        ``d`` of each view in pixels (column, row).

    Raises
    ------
    FileFault
    """
    path = Path(path)
    with faults(path, "transforms cannot be read"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        if not rows or any(len(row) != 6 for row in rows):
            raise FileFault(path, "is not an IMOD transform file; expected six numbers a line")
        table = np.array([[float(cell) for cell in row] for row in rows])
        if not np.isfinite(table).all():
            raise FileFault(path, "holds transforms that are not finite")
    return table[:, :4].reshape(-1, 2, 2), table[:, 4:]


def apply_xf(
    series: TiltSeries, xf: tuple[NDArray[np.float64], NDArray[np.float64]] | str | Path, binning: float = 1.0
) -> TiltSeries:
    """Take IMOD's alignment into a raw series' geometry; the pixels stay as they are.

    In the aligned frame the tilt axis runs along the rows' direction and a point projects to ``p``; in the raw
    image it is seen at ``A⁻¹ (p − d)``. The mean rotation of ``A⁻¹`` therefore is the angle of the tilt axis,
    and ``−A⁻¹ d`` the shift of each view.

    Parameters
    ----------
    series : TiltSeries
        The raw series; its tilt angles are kept, its axis and shifts replaced.
    xf : tuple or path
        As :func:`read_xf` gives it.
    binning : float
        Pixels of the transforms per pixel of the series (2 where the series was binned by 2 since).

    Raises
    ------
    FileFault, ValueError
        If the count differs, or a matrix is no rotation (within 5 %).
    """
    source = str(xf) if isinstance(xf, str | Path) else "transforms"
    matrices, d = read_xf(xf) if isinstance(xf, str | Path) else xf
    if len(matrices) != len(series):
        raise FileFault(source, f"{len(matrices)} transforms for {len(series)} projections")
    inverse = _inverses(matrices, source)
    turns = np.arctan2(inverse[:, 1, 0] - inverse[:, 0, 1], inverse[:, 0, 0] + inverse[:, 1, 1])
    mean = np.arctan2(np.sin(turns).mean(), np.cos(turns).mean())
    shifts = -np.einsum("nij,nj->ni", inverse, d) / binning
    axis = float(np.rad2deg(mean))
    angles = series.angles
    if not series.geometry.is_single_axis and np.cos(np.deg2rad(axis - series.geometry.axis_degrees)) < 0:
        angles = -angles  # the same axis named by its other end
    tilts = ViewGeometry.single_axis(angles, axis).rotations
    # A view's own deviation from the mean rotation turns that image in its plane.
    extra = np.rad2deg((turns - mean + np.pi) % (2 * np.pi) - np.pi)
    if np.abs(extra).max() > 1e-4:
        spins = np.tile(np.eye(3), (len(series), 1, 1))
        c, s = np.cos(np.deg2rad(extra)), np.sin(np.deg2rad(extra))
        spins[:, 0, 0] = spins[:, 1, 1] = c
        spins[:, 1, 0], spins[:, 0, 1] = s, -s
        tilts = spins @ tilts
    return series.with_(geometry=ViewGeometry(tilts, shifts))


def xf_text(geometry: ViewGeometry) -> str | None:
    """Write a geometry as IMOD transforms, None where they cannot hold it (more than one tilt axis)."""
    axis = geometry.axis_degrees
    twin = ViewGeometry.single_axis(geometry.tilt_degrees, axis)
    if not np.allclose(twin.rotations, geometry.rotations, atol=1e-6):
        return None
    a = np.deg2rad(-axis)
    matrix = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    d = -geometry.shifts @ matrix.T
    head = " ".join(f"{v:12.9f}" for v in matrix.ravel())
    return "".join(f"{head} {x:13.6f} {y:13.6f}\n" for x, y in d)


def _inverses(matrices: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    gram = matrices @ matrices.transpose(0, 2, 1)
    if (np.linalg.det(matrices) <= 0).any() or np.abs(gram - np.eye(2)).max() > 2 * _ROTATION_TOLERANCE:
        raise FileFault(source, "holds a mirror, magnification or shear; apply it to the pixels with IMOD's newstack")
    return np.asarray(np.linalg.inv(matrices))
