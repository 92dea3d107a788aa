"""View geometry of a tilt series as a value.

Conventions (the whole project keeps them):

* the specimen frame is that of the zero-tilt view, right-handed, origin at the centre of the field;
* the beam runs along z, the tilt axis along y; image columns run along x and image rows along y;
* a view is a rotation ``R`` (3 × 3, acting on column vectors ``(x, y, z)``) and a shift in pixels:
  a point ``r`` in nm appears at column ``(R r)_x / pixel + shift_x + (width − 1)/2`` and at row
  ``(R r)_y / pixel + shift_y + (height − 1)/2``;
* a single-axis tilt by θ gives ``(R r)_x = x cos θ − z sin θ``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ViewGeometry"]

_TOLERANCE = 1e-9


def _frozen(array: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    out = np.array(array, dtype=np.float64)
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, expected {shape}")
    if not np.isfinite(out).all():
        raise ValueError(f"{name} holds values that are not finite")
    out.setflags(write=False)
    return out


def _rotation(axis: str, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Active right-handed rotations about one axis, shape (n, 3, 3)."""
    a = np.deg2rad(degrees)
    # Exact values at multiples of 90° keep rays parallel to the voxel grid exactly parallel.
    c, s = np.round(np.cos(a), 15), np.round(np.sin(a), 15)
    out = np.zeros((len(a), 3, 3))
    i, j, k = {"x": (0, 1, 2), "y": (1, 2, 0), "z": (2, 0, 1)}[axis]
    out[:, i, i] = 1.0
    out[:, j, j] = out[:, k, k] = c
    out[:, k, j], out[:, j, k] = s, -s
    return out


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """Rotation and shift of every view.

    Parameters
    ----------
    rotations : array (n, 3, 3)
        Rotation of the specimen into each view, acting on ``(x, y, z)``.
    shifts : array (n, 2), optional
        Displacement of the specimen in each image, ``(column, row)`` in pixels. Zero by default.

    Raises
    ------
    ValueError
        If a shape is wrong, a value is not finite or a matrix is not a rotation.
    """

    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64] = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        n = len(self.rotations)
        rotations = _frozen(self.rotations, (n, 3, 3), "rotations")
        gram = rotations @ rotations.transpose(0, 2, 1)
        if not np.allclose(gram, np.eye(3), atol=1e-6) or not (np.linalg.det(rotations) > 0).all():
            raise ValueError("rotations holds a matrix that is not a proper rotation")
        shifts = np.zeros((n, 2)) if self.shifts is None else self.shifts
        object.__setattr__(self, "rotations", rotations)
        object.__setattr__(self, "shifts", _frozen(shifts, (n, 2), "shifts"))

    # ---------------------------------------------------------------- construction
    @classmethod
    def single_axis(
        cls, angles: ArrayLike, axis_degrees: float = 0.0, shifts: ArrayLike | None = None
    ) -> ViewGeometry:
        """Tilts about one axis in the image plane.

        Parameters
        ----------
        angles : array (n,)
            Tilt angles in degrees.
        axis_degrees : float
            Angle of the tilt axis in the image, from the direction of increasing rows (y) towards that of
            decreasing columns (−x); 0 is an axis along the image rows' direction y.
        shifts : array (n, 2), optional
            ``(column, row)`` displacement in pixels.
        """
        theta = np.atleast_1d(np.asarray(angles, dtype=np.float64))
        tilt = _rotation("y", -theta)
        if axis_degrees:
            turn = _rotation("z", np.array([float(axis_degrees)]))
            tilt = turn @ tilt @ turn.transpose(0, 2, 1)
        return cls(tilt, None if shifts is None else np.asarray(shifts))  # type: ignore[arg-type]

    @classmethod
    def from_euler(cls, angles: ArrayLike, shifts: ArrayLike | None = None) -> ViewGeometry:
        """Three Euler angles per view, as atomic electron tomography gives them.

        Parameters
        ----------
        angles : array (n, 3)
            ``(phi, theta, psi)`` in degrees: ``R = Rz(phi) Ry(theta) Rx(psi)``, and a position projects as
            ``Rᵀ r`` (Yang et al., Nature 592, 60, 2021).
        shifts : array (n, 2), optional
            ``(column, row)`` displacement in pixels.
        """
        euler = np.asarray(angles, dtype=np.float64)
        if euler.ndim != 2 or euler.shape[1] != 3:
            raise ValueError(f"Euler angles have shape {euler.shape}, expected (n, 3)")
        matrix = _rotation("z", euler[:, 0]) @ _rotation("y", euler[:, 1]) @ _rotation("x", euler[:, 2])
        return cls(
            matrix.transpose(0, 2, 1), None if shifts is None else np.asarray(shifts)  # type: ignore[arg-type]
        )

    # ---------------------------------------------------------------- what it says
    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, views: Any) -> ViewGeometry:
        """Return the geometry of some views (a slice, a mask or an index array)."""
        return ViewGeometry(self.rotations[views], self.shifts[views])

    @property
    def beams(self) -> NDArray[np.float64]:
        """Direction of the beam in the specimen frame, (n, 3) as ``(x, y, z)``."""
        return self.rotations[:, 2, :]

    @property
    def tilt_degrees(self) -> NDArray[np.float64]:
        """Tilt angle of every view in degrees, (n,), signed, about the (mean) tilt axis."""
        axis = np.deg2rad(self.axis_degrees)
        x, y, z = self.beams.T
        across = x * np.cos(axis) + y * np.sin(axis)
        out: NDArray[np.float64] = np.round(np.rad2deg(np.arctan2(across, z)), 9)
        return out

    @property
    def axis_degrees(self) -> float:
        """In-plane angle of the tilt axis in degrees: 0 along the rows' direction y, in (−90, 90]."""
        beams = self.beams
        if np.abs(beams[:, 1]).max(initial=0.0) < _TOLERANCE:
            return 0.0
        # The beams of a single-axis series lie in the plane normal to the axis.
        moment = beams[:, :2].T @ beams[:, :2]
        across = np.linalg.eigh(moment)[1][:, 1]
        angle = float(np.rad2deg(np.arctan2(across[1], across[0])))
        return 90.0 - (90.0 - angle) % 180.0

    @property
    def is_single_axis(self) -> bool:
        """Whether every view is a tilt about exactly the image's y axis (the fast case)."""
        y = np.array([0.0, 1.0, 0.0])
        return bool(np.abs(self.rotations[:, 1] - y).max(initial=0.0) < _TOLERANCE)

    @property
    def euler_degrees(self) -> NDArray[np.float64]:
        """The views as ``(phi, theta, psi)`` in degrees, (n, 3), inverse of :meth:`from_euler`."""
        m = self.rotations.transpose(0, 2, 1)
        theta = np.arcsin(np.clip(-m[:, 2, 0], -1.0, 1.0))
        locked = np.abs(m[:, 2, 0]) > 1 - 1e-12
        phi = np.where(locked, np.arctan2(-m[:, 0, 1], m[:, 1, 1]), np.arctan2(m[:, 1, 0], m[:, 0, 0]))
        psi = np.where(locked, 0.0, np.arctan2(m[:, 2, 1], m[:, 2, 2]))
        out: NDArray[np.float64] = np.round(np.rad2deg(np.stack([phi, theta, psi], axis=1)), 9)
        return out

    # ---------------------------------------------------------------- new values
    def with_shifts(self, shifts: ArrayLike) -> ViewGeometry:
        """Return the same views with other shifts, (n, 2) ``(column, row)`` pixels."""
        return replace(self, shifts=np.asarray(shifts, dtype=np.float64))

    def scaled(self, factor: float) -> ViewGeometry:
        """Return the geometry for pixels ``1/factor`` as large: shifts times ``factor``."""
        return self.with_shifts(self.shifts * factor)

    def turned(self, degrees: float) -> ViewGeometry:
        """Return the geometry after the images were turned in their plane about their centre.

        Parameters
        ----------
        degrees : float
            Turn from +column towards +row. The specimen frame turns with the images, so that it stays
            that of the zero-tilt view.
        """
        turn = _rotation("z", np.array([float(degrees)]))
        shifts = self.shifts @ turn[0, :2, :2].T
        return ViewGeometry(turn @ self.rotations @ turn.transpose(0, 2, 1), shifts)

    def project(
        self, positions_zyx: ArrayLike, pixel_size: float, shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Project points into every view.

        Parameters
        ----------
        positions_zyx : array (m, 3)
            Points in nm, order ``(z, y, x)``.
        pixel_size : float
            Pixel size in nm.
        shape : tuple
            ``(height, width)`` of the images in pixels.

        Returns
        -------
        array (n, m, 2)
            ``(column, row)`` of each point in each view, in pixels.
        """
        xyz = np.asarray(positions_zyx, dtype=np.float64)[:, ::-1]
        seen = xyz @ self.rotations[:, :2, :].transpose(0, 2, 1)  # (n, m, 2)
        centre = (np.array([shape[1], shape[0]]) - 1) / 2
        out: NDArray[np.float64] = seen / pixel_size + self.shifts[:, None, :] + centre
        return out
