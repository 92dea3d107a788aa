"""Ellipsoids: a specimen whose projections are known in closed form, the independent truth for projectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from splatom.data import Provenance, Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.geometry import ViewGeometry

__all__ = ["Ellipsoids"]


@dataclass(frozen=True, eq=False)
class Ellipsoids:
    """Solid ellipsoids of constant density; where they overlap the densities add.

    Parameters
    ----------
    centres_zyx : array (n, 3)
        Centres in nm.
    semi_axes_zyx : array (n, 3)
        Half lengths in nm along the body axes z, y, x.
    density : array (n,)
        Image intensity per nm of path; may be negative (a void in another ellipsoid).
    rotations : array (n, 3, 3), optional
        Rotation of the body axes into the specimen, acting on ``(x, y, z)``; identity by default.

    Raises
    ------
    ValueError
        If shapes disagree or a half length is not positive.
    """

    centres_zyx: NDArray[np.float64]
    semi_axes_zyx: NDArray[np.float64]
    density: NDArray[np.float64]
    rotations: NDArray[np.float64] = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        n = len(self.centres_zyx)
        rotations = np.tile(np.eye(3), (n, 1, 1)) if self.rotations is None else self.rotations
        for name, value, shape in (
            ("centres_zyx", self.centres_zyx, (n, 3)),
            ("semi_axes_zyx", self.semi_axes_zyx, (n, 3)),
            ("density", self.density, (n,)),
            ("rotations", rotations, (n, 3, 3)),
        ):
            array = np.array(value, dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if not (self.semi_axes_zyx > 0).all():
            raise ValueError("semi_axes_zyx has to be positive")

    def __len__(self) -> int:
        return len(self.density)

    @property
    def mass(self) -> NDArray[np.float64]:
        """Integrated density of each ellipsoid, image intensity times nm², (n,)."""
        out: NDArray[np.float64] = 4 / 3 * np.pi * self.semi_axes_zyx.prod(axis=1) * self.density
        return out

    @property
    def _to_unit_ball(self) -> NDArray[np.float64]:
        """Matrices (n, 3, 3) taking ``(x, y, z)`` about each centre to the frame where the ellipsoid is |u| < 1."""
        out: NDArray[np.float64] = self.rotations.transpose(0, 2, 1) / self.semi_axes_zyx[:, ::-1, None]
        return out

    def _half_extent_xyz(self) -> NDArray[np.float64]:
        """Half widths of the bounding boxes, (n, 3) as ``(x, y, z)``."""
        out: NDArray[np.float64] = np.linalg.norm(self.rotations * self.semi_axes_zyx[:, None, ::-1], axis=2)
        return out

    def project(
        self, geometry: ViewGeometry, detector_shape: tuple[int, int], pixel_size: float, oversample: int = 1
    ) -> NDArray[np.float64]:
        """Exact line integrals in every view.

        A ray ``p + t b`` meets an ellipsoid over the length ``2 sqrt((u·v)² − |v|² (|u|² − 1)) / |v|²``, where u and
        v are p and b in the frame in which the ellipsoid is the unit ball.

        Parameters
        ----------
        geometry : ViewGeometry
        detector_shape : tuple
            ``(height, width)`` in pixels.
        pixel_size : float
            In nm.
        oversample : int
            Rays per pixel along each side; 1 is the ray through the pixel's centre.

        Returns
        -------
        array (n_views, height, width), float64
            Density times path in nm.
        """
        height, width = (int(s) * oversample for s in detector_shape)
        fine = pixel_size / oversample
        out = np.zeros((len(geometry), height, width))
        centres = geometry.scaled(oversample).project(self.centres_zyx, fine, (height, width))
        for view, rotation in enumerate(geometry.rotations):
            for i, matrix in enumerate(self._to_unit_ball @ rotation.T):
                reach = np.linalg.norm((rotation @ self.rotations[i])[:2] * self.semi_axes_zyx[i, ::-1], axis=1) / fine
                column, row = centres[view, i]
                c0, c1 = max(0, int(np.floor(column - reach[0]))), min(width, int(np.ceil(column + reach[0])) + 1)
                r0, r1 = max(0, int(np.floor(row - reach[1]))), min(height, int(np.ceil(row + reach[1])) + 1)
                if c0 >= c1 or r0 >= r1:
                    continue
                x = (np.arange(c0, c1)[None, :] - column) * fine
                y = (np.arange(r0, r1)[:, None] - row) * fine
                gram = matrix.T @ matrix
                uu = gram[0, 0] * x * x + 2 * gram[0, 1] * x * y + gram[1, 1] * y * y
                uv = gram[0, 2] * x + gram[1, 2] * y
                vv = gram[2, 2]
                chord = 2 * np.sqrt(np.maximum(uv * uv - vv * (uu - 1), 0)) / vv
                out[view, r0:r1, c0:c1] += self.density[i] * chord
        if oversample > 1:
            h, w = detector_shape
            out = out.reshape(len(geometry), h, oversample, w, oversample).mean(axis=(2, 4))
        return out

    def volume(self, shape_zyx: tuple[int, int, int], voxel_size: float, oversample: int = 5) -> Volume:
        """Sample on a grid, antialiased: voxels on a surface hold the share of them that lies inside.

        Parameters
        ----------
        shape_zyx : tuple
            In voxels.
        voxel_size : float
            In nm.
        oversample : int
            Points along each edge of a voxel that a surface may cross.

        Returns
        -------
        Volume
            Density times voxel size, so that voxels summed along a ray give its line integral.
        """
        out = np.zeros(shape_zyx, dtype=np.float64)
        middle = (np.array(shape_zyx) - 1) / 2
        offsets = (np.arange(oversample) + 0.5) / oversample - 0.5
        sub = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3) * voxel_size
        for i, matrix in enumerate(self._to_unit_ball):
            half = self._half_extent_xyz()[i, ::-1] / voxel_size + 1
            at = self.centres_zyx[i] / voxel_size + middle
            lo = np.clip(np.floor(at - half).astype(int), 0, shape_zyx)
            hi = np.clip(np.ceil(at + half).astype(int) + 1, 0, shape_zyx)
            if (lo >= hi).any():
                continue
            places = zip(lo, hi, middle, self.centres_zyx[i], strict=True)
            axes = [(np.arange(a, b) - m) * voxel_size - c for a, b, m, c in places]
            zyx = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
            radius = np.linalg.norm(zyx[..., ::-1] @ matrix.T, axis=-1)
            inside = (radius < 1).astype(np.float64)
            # |∇|u|| is at most 1/(shortest half length), so only voxels this near to the surface may be cut by it.
            edge = np.abs(radius - 1) < voxel_size * np.sqrt(3) / 2 / self.semi_axes_zyx[i].min()
            points = zyx[edge]
            share = np.zeros(len(points))
            for step in sub:
                share += np.linalg.norm((points + step)[:, ::-1] @ matrix.T, axis=1) < 1
            inside[edge] = share / len(sub)
            box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
            out[box] += self.density[i] * voxel_size * inside
        return Volume(out.astype(np.float32), voxel_size, provenance=Provenance("simulated ellipsoids"))
