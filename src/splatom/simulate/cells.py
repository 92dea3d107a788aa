"""Cell-like volumes: membranes, vesicles, mitochondria with cristae, granules, filaments, on any grid.

Everything is a signed distance (negative inside) turned into the share of each voxel that it covers, so that a membrane
thinner than a voxel stays closed and dims instead of tearing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from splatom.data import Provenance, Volume
from splatom.simulate.specimens import random_rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Vector = NDArray[np.float64]

__all__ = ["Canvas", "cell", "cell_density"]

# Density per nm of path, stained membranes' taken as 1.
_CYTOPLASM, _MEMBRANE, _GRANULE, _MATRIX, _FILAMENT = 0.12, 1.0, 0.8, 0.3, 0.7
_LEAFLETS = 5.0  # thickness of a bilayer in nm


class Canvas:
    """A density on a grid that may be coarse and need not be cubic, painted shape by shape.

    Parameters
    ----------
    shape_zyx : tuple
        In voxels.
    voxel_zyx : tuple
        Edges of a voxel in nm.
    """

    def __init__(self, shape_zyx: tuple[int, int, int], voxel_zyx: tuple[float, float, float]) -> None:
        self.voxel = np.array(voxel_zyx, dtype=np.float64)
        self.density = np.zeros(shape_zyx, dtype=np.float32)

    @property
    def edges(self) -> Vector:
        """Edges of the field in nm, as z, y, x."""
        return np.array(self.density.shape) * self.voxel

    def near(self, centre: Vector, reach: float) -> tuple[tuple[slice, ...], tuple[Array, Array, Array]]:
        """Box of the voxels within reach (nm) of a point, and their open coordinates z, y, x about it."""
        size = np.array(self.density.shape)
        at = centre / self.voxel + (size - 1) / 2
        low = np.clip(np.floor(at - reach / self.voxel).astype(int) - 1, 0, size)
        high = np.clip(np.ceil(at + reach / self.voxel).astype(int) + 2, 0, size)
        # One voxel at least each way, or there is no gradient to tell how wide a voxel is across a surface.
        low = np.minimum(low, np.maximum(high - 2, 0))
        high = np.maximum(high, np.minimum(low + 2, size))
        axes = [(np.arange(a, b) - c) * v for a, b, c, v in zip(low, high, at, self.voxel, strict=True)]
        z, y, x = (axis.astype(np.float32) for axis in axes)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return box, (z[:, None, None], y[None, :, None], x[None, None, :])

    def paint(self, box: tuple[slice, ...], cover: Array, value: float | Array) -> None:
        """Put a density where a shape covers the voxels, over what was there."""
        under = self.density[box]
        under += cover * (np.asarray(value, dtype=np.float32) - under)


def _widths(distance: Array) -> Array:
    """Width of a voxel across the surface, in the units of the distance: |∇d| with steps of one voxel.

    It makes the coverage right on voxels that are not cubes and for functions that are not quite distances.
    """
    parts = [np.gradient(distance, axis=axis) ** 2 for axis in range(3) if distance.shape[axis] > 1]
    out: Array = np.maximum(np.sqrt(np.sum(parts, axis=0, dtype=np.float32)), np.float32(1e-6))
    return out


def _inside(distance: Array, widths: Array) -> Array:
    """Share of each voxel inside a surface."""
    out: Array = np.clip(np.float32(0.5) - distance / widths, 0, 1)
    return out


def _sheet(distance: Array, widths: Array, thickness: float) -> Array:
    """Share of each voxel within a sheet about a surface."""
    half = np.float32(thickness / 2)
    return _inside(distance - half, widths) - _inside(distance + half, widths)


def _bumps(axes: tuple[Array, Array, Array], scale: float, size: float, rng: np.random.Generator) -> Array:
    """Smooth field of a standard deviation (size) and wavelength (scale) in nm: five plane waves."""
    out = np.zeros(np.broadcast_shapes(*(a.shape for a in axes)), dtype=np.float32)
    for _ in range(5):
        way = rng.normal(size=3)
        way *= 2 * np.pi / (np.linalg.norm(way) * scale * rng.uniform(0.8, 1.6))
        z, y, x = (np.exp(1j * w * a).astype(np.complex64) for w, a in zip(way, axes, strict=True))
        out += ((z * np.exp(2j * np.pi * rng.random())).astype(np.complex64) * y * x).real
    out *= np.float32(size * np.sqrt(2 / 5))
    return out


def _ellipsoid(axes: tuple[Array, Array, Array], half: Vector, turn: Vector) -> Array:
    """Nearly the signed distance to an ellipsoid of half lengths in nm: right at the surface, to first order."""
    z, y, x = axes
    matrix = (turn.T / half[:, None]).astype(np.float32)
    u = [m[0] * x + m[1] * y + m[2] * z for m in matrix]
    scaled = (matrix / half[:, None]).astype(np.float32)
    s = [m[0] * x + m[1] * y + m[2] * z for m in scaled]
    # (r − 1)/|∇r| with r = |u|; both bounds act at the very middle only, where r has no gradient.
    radius = np.maximum(np.sqrt(u[0] ** 2 + u[1] ** 2 + u[2] ** 2), np.float32(1e-3))
    slope = np.maximum(np.sqrt(s[0] ** 2 + s[1] ** 2 + s[2] ** 2), np.float32(1e-3 / half.max()))
    out: Array = radius * (radius - 1) / slope
    return out


def _crowd(canvas: Canvas, length: float, rng: np.random.Generator) -> Array:
    """Random field of unit variance with a correlation length in nm: macromolecules, unresolved."""
    from scipy.ndimage import gaussian_filter, zoom

    size = canvas.density.shape
    coarse = [min(n, max(4, int(np.ceil(n * v / (length / 2))))) for n, v in zip(size, canvas.voxel, strict=True)]
    field = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.0, mode="wrap")
    out: Array = zoom(field / field.std(), [n / c for n, c in zip(size, coarse, strict=True)], order=1)
    return out


# ------------------------------------------------------------------------------------------------ organelles
def _cytoplasm(canvas: Canvas, radius: float, rng: np.random.Generator) -> Array:
    """Draw a cell whose wavy plasma membrane crosses the field; return the distance to that membrane."""
    centre = (way := rng.normal(size=3)) / np.linalg.norm(way) * radius * rng.uniform(0.5, 0.9)
    box, axes = canvas.near(centre, 2 * float(np.linalg.norm(canvas.edges)) + radius)
    z, y, x = axes
    distance: Array = np.sqrt(z * z + y * y + x * x) - np.float32(radius) + _bumps(axes, radius, 0.06 * radius, rng)
    widths = _widths(distance)
    crowded = np.float32(_CYTOPLASM) * (1 + np.float32(0.25) * _crowd(canvas, 25.0, rng))
    canvas.paint(box, _inside(distance, widths), np.maximum(crowded, 0))
    canvas.paint(box, _sheet(distance, widths, _LEAFLETS), _MEMBRANE)
    return distance


def _vesicle(canvas: Canvas, centre: Vector, radius: float, rng: np.random.Generator) -> None:
    half = radius * rng.uniform(0.85, 1.1, 3)
    box, axes = canvas.near(centre, 1.3 * radius + _LEAFLETS)
    distance = _ellipsoid(axes, half, random_rotation(rng))
    widths = _widths(distance)
    canvas.paint(box, _inside(distance, widths), rng.choice([0.02, 0.06, 0.3]))
    canvas.paint(box, _sheet(distance, widths, _LEAFLETS), _MEMBRANE)


def _granule(canvas: Canvas, centre: Vector, radius: float, rng: np.random.Generator) -> None:
    box, axes = canvas.near(centre, 1.3 * radius)
    distance = _ellipsoid(axes, radius * rng.uniform(0.8, 1.15, 3), random_rotation(rng))
    canvas.paint(box, _inside(distance, _widths(distance)), _GRANULE * rng.uniform(0.6, 1.1))


def _mitochondrion(canvas: Canvas, centre: Vector, radius: float, rng: np.random.Generator) -> None:
    """Two membranes, and cristae: flat sacs that hang from the inner one and end before the other side."""
    half = radius * np.array([0.5, 0.5, 1.0]) * rng.uniform(0.9, 1.1, 3)
    turn = random_rotation(rng)
    box, axes = canvas.near(centre, 1.25 * radius)
    distance = _ellipsoid(axes, half, turn)
    widths = _widths(distance)
    gap = max(0.07 * radius, 1.6 * _LEAFLETS)
    inner = distance + np.float32(gap)
    canvas.paint(box, _inside(distance, widths), _CYTOPLASM / 2)
    canvas.paint(box, _inside(inner, widths), _MATRIX)
    z, y, x = axes
    along, across, up = (t[0] * x + t[1] * y + t[2] * z for t in (turn.T[2], turn.T[0], turn.T[1]))
    bent = along + _bumps(axes, 1.2 * radius, 0.05 * radius, rng)
    spacing = max(0.2 * radius, 3.2 * _LEAFLETS)
    count = int(2 * 0.8 * half[2] / spacing)
    for i in range(count):
        middle = (i - (count - 1) / 2) * spacing + rng.normal() * 0.06 * spacing
        turnabout = rng.uniform(0, 2 * np.pi)
        side = across * np.float32(np.cos(turnabout)) + up * np.float32(np.sin(turnabout))
        # The sac: a lamella from the inner membrane inwards, to a rim somewhere past the middle.
        lamella = np.abs(bent - np.float32(middle)) - np.float32(0.16 * spacing + _LEAFLETS / 2)
        sac = np.maximum(lamella, side - np.float32(rng.uniform(0, 0.3) * half[0]))
        steps = _widths(sac)
        within = _inside(inner, widths)
        canvas.paint(box, _inside(sac, steps) * within, _CYTOPLASM / 2)
        canvas.paint(box, _sheet(sac, steps, _LEAFLETS) * within, _MEMBRANE)
    canvas.paint(box, _sheet(inner, widths, _LEAFLETS), _MEMBRANE)
    canvas.paint(box, _sheet(distance, widths, _LEAFLETS), _MEMBRANE)


def _filament(canvas: Canvas, centre: Vector, length: float, rng: np.random.Generator) -> None:
    """Draw a microtubule, a hollow tube of 25 nm."""
    way = (way := rng.normal(size=3)) / np.linalg.norm(way)
    box, (z, y, x) = canvas.near(centre, length / 2 + 13)
    along = np.float32(way[0]) * z + np.float32(way[1]) * y + np.float32(way[2]) * x
    off = np.sqrt(np.maximum(z * z + y * y + x * x - along**2, 0))
    tube = np.maximum(off - np.float32(12.5), np.abs(along) - np.float32(length / 2))
    cover = _inside(tube, _widths(tube))
    hollow = off - np.float32(7.5)
    canvas.paint(box, cover, _FILAMENT)
    canvas.paint(box, np.minimum(cover, _inside(hollow, _widths(hollow))), _CYTOPLASM / 2)


# ------------------------------------------------------------------------------------------------ cell
def cell_density(
    shape_zyx: tuple[int, int, int],
    voxel_zyx: tuple[float, float, float],
    seed: int = 0,
    *,
    cytoplasm: bool = True,
    vesicles: int = 8,
    mitochondria: int = 2,
    granules: int = 12,
    filaments: int = 2,
) -> NDArray[np.float32]:
    """Density of a piece of a cell, on voxels of any size and shape.

    Parameters
    ----------
    shape_zyx : tuple
        In voxels.
    voxel_zyx : tuple
        Edges of a voxel in nm. Sizes of the organelles follow the field between what is usual for each: vesicles of 15
        to 60 nm, mitochondria of 60 to 400 nm, granules of 6 to 40 nm in half length; membranes are 5 nm thick.
    seed : int
    cytoplasm : bool
        Whether there is a crowded cytoplasm within a plasma membrane.
    vesicles, mitochondria, granules, filaments : int
        How many of each; fewer where no room is found.

    Returns
    -------
    array (z, y, x), float32
        Per nm of path; 1 in a membrane, where the voxels are fine enough to show it.
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(shape_zyx, voxel_zyx)
    edge = float(canvas.edges.min())
    depth = -_cytoplasm(canvas, edge * rng.uniform(0.7, 1.6), rng) if cytoplasm else np.full(shape_zyx, np.inf)
    for _ in range(filaments):
        _filament(canvas, rng.uniform(-0.4, 0.4, 3) * canvas.edges, edge * rng.uniform(0.4, 0.9), rng)
    kinds = [
        (_mitochondrion, mitochondria, np.clip(edge * np.array([0.16, 0.26]), 60, 400), False),
        (_vesicle, vesicles, np.clip(edge * np.array([0.04, 0.1]), 15, 60), True),
        (_granule, granules, np.clip(edge * np.array([0.015, 0.04]), 6, 40), False),
    ]
    taken: list[tuple[Vector, float]] = []
    for draw, count, (least, most), outside_too in kinds:
        made = 0
        for _ in range(40 * count):
            if made == count:
                break
            size = rng.uniform(least, most)
            at = rng.uniform(-0.5, 0.5, 3) * canvas.edges
            z, y, x = ((at / canvas.edges + 0.5) * np.array(shape_zyx)).astype(int)
            room = abs(depth[z, y, x]) if outside_too else depth[z, y, x]
            free = all(np.linalg.norm(at - other) > 1.15 * size + reach for other, reach in taken)
            if free and room > 1.15 * size + _LEAFLETS:
                draw(canvas, at, size, rng)
                taken.append((at, 1.15 * size))
                made += 1
    return canvas.density


def cell(
    shape_zyx: tuple[int, int, int] = (128, 128, 128), voxel_size: float = 4.0, seed: int = 0, **parts: int | bool
) -> Volume:
    """:func:`cell_density` as a volume of cubic voxels.

    Parameters
    ----------
    shape_zyx : tuple
        In voxels.
    voxel_size : float
        In nm.
    seed : int
    **parts
        What it consists of, as in :func:`cell_density`.

    Returns
    -------
    Volume
        Density times voxel size: voxels summed along a ray give the image intensity.
    """
    density = cell_density(shape_zyx, (voxel_size,) * 3, seed, **parts)  # type: ignore[arg-type]
    return Volume(density * voxel_size, voxel_size, provenance=Provenance(f"simulated cell, seed {seed}"))
