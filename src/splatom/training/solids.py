"""Materials as training volumes: particles, pores, films, needles, lattices of atoms, by signed distances in voxels.

The specimens of :mod:`splatom.simulate` (particles on carbon, the needle, the phantoms) are not among them: they are
what a prior is judged by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from splatom.simulate.specimens import random_rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Vector = NDArray[np.float64]
    Axes = tuple[Array, Array, Array]
    Distance = Callable[[Axes], Array]  # of open coordinates z, y, x in voxels from the shape's centre

__all__ = ["field", "material"]


class _Scene:
    """A density painted shape by shape."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.density = np.zeros(shape, dtype=np.float32)
        self.half = np.array(shape) / 2

    def cover(self, centre: Vector, reach: float, distance: Distance) -> tuple[tuple[slice, ...], Array]:
        """Box of the voxels within reach, and the share of each inside."""
        at, size = centre + self.half - 0.5, self.density.shape
        low = [int(np.clip(a - reach - 1, 0, n - 1)) for a, n in zip(at, size, strict=True)]
        high = [int(np.clip(a + reach + 2, lo + 1, n)) for a, lo, n in zip(at, low, size, strict=True)]
        z, y, x = (np.arange(lo, hi, dtype=np.float32) - np.float32(a) for lo, hi, a in zip(low, high, at, strict=True))
        inside = np.clip(np.float32(0.5) - distance((z[:, None, None], y[None, :, None], x[None, None, :])), 0, 1)
        return tuple(slice(lo, hi) for lo, hi in zip(low, high, strict=True)), inside

    def paint(self, centre: Vector, reach: float, distance: Distance, value: float | Array) -> None:
        """Put a density where a shape is, over what was there."""
        box, inside = self.cover(centre, reach, distance)
        under = self.density[box]
        there = value[box] if isinstance(value, np.ndarray) else np.float32(value)
        under += inside * (there - under)


def field(shape: tuple[int, int, int], length: float, rng: np.random.Generator) -> Array:
    """Draw a smooth random field of unit variance, with a correlation length in voxels."""
    from scipy.ndimage import gaussian_filter, zoom

    coarse = [max(4, int(np.ceil(2 * n / length))) for n in shape]
    drawn = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.0, mode="wrap")
    out: Array = zoom(drawn / drawn.std(), [n / c for n, c in zip(shape, coarse, strict=True)], order=1)
    return out


# ---------------------------------------------------------------- distances
def _ellipsoid(half: Vector, turn: Vector) -> Distance:
    rows, shortest = (turn.T / half[:, None]).astype(np.float32), np.float32(half.min())

    def distance(axes: Axes) -> Array:
        z, y, x = axes
        r = np.sqrt(sum((m[0] * x + m[1] * y + m[2] * z) ** 2 for m in rows))
        return np.asarray((r - 1) * shortest, dtype=np.float32)

    return distance


def _polyhedron(normals: Vector, heights: Vector) -> Distance:
    def distance(axes: Axes) -> Array:
        z, y, x = axes
        out = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), -np.inf, dtype=np.float32)
        for (nx, ny, nz), height in zip(normals.astype(np.float32), heights.astype(np.float32), strict=True):
            np.maximum(out, nx * x + ny * y + nz * z - height, out=out)
        return out

    return distance


def _faces(radius: float, rng: np.random.Generator) -> tuple[Vector, Vector]:
    """Draw normals and heights of a crystal: a cuboid, a prism, an octahedron cut or not, or of random faces."""
    kind = rng.choice(["cuboid", "prism", "octahedron", "random"])
    if kind == "cuboid":
        normals = np.concatenate([np.eye(3), -np.eye(3)])
        heights = radius * np.tile(rng.uniform(0.3, 1, 3), 2)
    elif kind == "prism":
        sides = int(rng.choice([3, 5, 6]))
        turns = 2 * np.pi * np.arange(sides) / sides
        around = np.stack([np.cos(turns), np.sin(turns), np.zeros(sides)], axis=1)
        normals = np.concatenate([around, [[0, 0, 1], [0, 0, -1]]])
        heights = radius * np.array([rng.uniform(0.2, 0.8)] * sides + [rng.uniform(0.15, 1.0)] * 2)
    elif kind == "octahedron":
        corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) / np.sqrt(3)
        normals = np.concatenate([corners, np.eye(3), -np.eye(3)])
        heights = radius * np.concatenate([np.full(8, 0.7), np.full(6, rng.uniform(0.7, 1.2))])
        heights *= rng.uniform(0.85, 1.1, 14)
    else:
        count = int(rng.integers(6, 16))
        drawn = rng.normal(size=(count, 3))
        normals = np.concatenate([drawn, -drawn[:3]])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        heights = radius * rng.uniform(0.5, 1.0, len(normals))
    return normals @ random_rotation(rng).T, heights


def _body(radius: float, rng: np.random.Generator) -> Distance:
    if rng.random() < 0.45:
        return _ellipsoid(radius * rng.uniform(0.35, 1, 3), random_rotation(rng))
    return _polyhedron(*_faces(radius, rng))


# ---------------------------------------------------------------- scenes
def _particles(scene: _Scene, rng: np.random.Generator) -> None:
    """Draw bodies side by side, some with a core or a hollow."""
    edge = 2 * scene.half.min()
    most = edge * rng.uniform(0.1, 0.5)
    value = rng.uniform(0.4, 1)
    for _ in range(int(rng.integers(1, 4 + int(12 * (1 - most / edge))))):
        radius = max(most * rng.uniform(0.25, 1), 1.5)
        centre = rng.uniform(-1, 1, 3) * np.maximum(0.92 * scene.half - radius, 0)
        body = _body(radius, rng)
        own = value if rng.random() < 0.6 else rng.uniform(0.15, 1)
        scene.paint(centre, radius * 1.3, body, own)
        if rng.random() < 0.25:
            shell = np.float32(radius * rng.uniform(0.15, 0.5))
            inner = 0.0 if rng.random() < 0.5 else rng.uniform(0, 1)
            scene.paint(centre, radius * 1.3, lambda axes, b=body, s=shell: b(axes) + s, inner)  # type: ignore[misc]


def _holes(scene: _Scene, inside: Array, rng: np.random.Generator) -> None:
    """Put pores or inclusions in what is there."""
    edge = 2 * scene.half.min()
    before = scene.density.copy()
    value = 0.0 if rng.random() < 0.7 else rng.uniform(0.2, 1)
    largest = edge * rng.uniform(0.03, 0.14)
    for _ in range(int(rng.integers(3, 40))):
        radius = max(largest * rng.uniform(0.4, 1), 1.0)
        centre = rng.uniform(-1, 1, 3) * scene.half
        shape = _ellipsoid(np.full(3, radius), np.eye(3)) if rng.random() < 0.6 else _body(radius, rng)
        scene.paint(centre, radius * 1.3, shape, value)
    scene.density = before + inside * (scene.density - before)


def _porous(scene: _Scene, rng: np.random.Generator) -> None:
    """Draw a body with pores, or of two phases that wind through each other."""
    radius = scene.half.min() * rng.uniform(0.6, 1.1)
    box, inside = scene.cover(np.zeros(3), 2 * scene.half.max(), _body(radius, rng))
    whole = np.zeros_like(scene.density)
    whole[box] = inside
    value = rng.uniform(0.5, 1)
    if rng.random() < 0.5:
        scene.density += value * whole
        _holes(scene, whole, rng)
        return
    length = scene.half.min() * rng.uniform(0.12, 0.5)
    phases = np.clip(0.5 + (field(whole.shape, length, rng) - rng.uniform(-0.6, 0.6)) * length / 2, 0, 1)
    other = 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.7)
    scene.density += whole * (other + (value - other) * phases)


def _film(scene: _Scene, rng: np.random.Generator) -> None:
    """Draw a film across the field, bare, with holes or of grains, with particles in and on it."""
    shape = scene.density.shape
    thick = max(2 * scene.half[0] * rng.uniform(0.04, 0.35), 2.0)
    place = rng.uniform(-0.4, 0.4) * (scene.half[0] - thick)
    slope = np.float32(rng.normal() * 0.05)
    rough = np.float32(rng.uniform(0, 1.5)) * field((1, *shape[1:]), scene.half.min() * rng.uniform(0.1, 0.5), rng)
    z, x = (np.arange(n, dtype=np.float32) - n / 2 for n in (shape[0], shape[2]))
    sheet = np.abs(z[:, None, None] - np.float32(place) - slope * x[None, None, :] - rough) - np.float32(thick / 2)
    inside = np.clip(np.float32(0.5) - sheet, 0, 1)
    value = rng.uniform(0.1, 0.9)
    scene.density += inside * np.float32(value)
    if rng.random() < 0.4:
        grains = field(shape, scene.half.min() * rng.uniform(0.15, 0.6), rng)
        scene.density *= np.float32(1) + np.float32(rng.uniform(0.05, 0.5)) * np.clip(3 * grains, -1, 1)
    if rng.random() < 0.3:
        _holes(scene, inside, rng)
    if rng.random() < 0.7:
        for _ in range(int(rng.integers(2, 25))):
            radius = scene.half.min() * rng.uniform(0.04, 0.25)
            lift = rng.choice([-1, 1]) * (thick / 2 + 0.4 * radius) if rng.random() < 0.6 else rng.normal() * thick / 4
            centre = np.array([place + lift, *(rng.uniform(-1, 1, 2) * scene.half[1:])])
            scene.paint(centre, 1.3 * radius, _body(radius, rng), rng.uniform(0.5, 1))


def _rod(scene: _Scene, rng: np.random.Generator) -> None:
    """Draw a needle or wire along the axis or nearly, in layers across or around it, with pores."""
    wide = scene.half[[0, 2]].min() * rng.uniform(0.25, 0.8)
    taper, bent = rng.uniform(-0.5, 0.5), rng.normal(size=2) * 0.1
    lean, oval = rng.normal(size=2) * 0.08, rng.uniform(0.7, 1.2)
    tip = rng.uniform(-1.6, -0.7) * scene.half[1] if rng.random() < 0.5 else -1e4

    def distance(axes: Axes) -> Array:
        z, y, x = axes
        s = y / np.float32(scene.half[1])
        radius = wide * (1 + taper * s) * np.clip((y - tip) / (1.5 * wide), 0, 1) ** 0.5
        off = [lean[i] * y + bent[i] * wide * s**2 for i in range(2)]
        r = np.sqrt((x - off[0]) ** 2 + ((z - off[1]) / oval) ** 2)
        return np.asarray(r - radius, dtype=np.float32)

    box, inside = scene.cover(np.zeros(3), 2 * scene.half.max(), distance)
    whole = np.zeros_like(scene.density)
    whole[box] = inside
    _, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) - n / 2 for n in whole.shape), indexing="ij", sparse=True)
    layers = np.floor((y + 0.2 * rng.normal() * x) / (scene.half[1] * rng.uniform(0.15, 2)))
    levels = rng.uniform(0.3, 1, 64)
    scene.density += whole * levels[layers.astype(int) % 64].astype(np.float32)
    if rng.random() < 0.7:
        _holes(scene, whole, rng)


def _atoms(scene: _Scene, rng: np.random.Generator) -> None:
    """Draw a crystallite whose atoms are seen: blobs on any lattice, ``exp(κ Σ (cos 2π b·r − 1))``."""
    radius = scene.half.min() * rng.uniform(0.4, 0.95)
    spacing = rng.uniform(4, 9)
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2) if rng.random() < 0.7 else np.eye(3)
    cell = spacing * (cell + rng.normal(size=(3, 3)) * 0.03) @ random_rotation(rng).T
    waves = (2 * np.pi * np.linalg.inv(cell).T).astype(np.float32)
    sharp = np.float32((spacing / (2 * np.pi * rng.uniform(0.8, 1.4))) ** 2)
    z, y, x = np.meshgrid(
        *(np.arange(n, dtype=np.float32) - n / 2 for n in scene.density.shape), indexing="ij", sparse=True
    )
    lattice = np.exp(sharp * sum(np.cos(w[0] * x + w[1] * y + w[2] * z) - 1 for w in waves))
    scene.paint(np.zeros(3), 2 * scene.half.max(), _body(radius, rng), np.asarray(lattice, dtype=np.float32))


def _support(scene: _Scene, rng: np.random.Generator) -> None:
    """Put something light and rough behind: a lump of spheres."""
    value, under = rng.uniform(0.03, 0.25), scene.density.copy()
    rough = 1 + np.float32(rng.uniform(0, 0.3)) * field(under.shape, scene.half.min() * rng.uniform(0.1, 0.4), rng)
    scene.density[:] = 0
    for _ in range(int(rng.integers(1, 7))):
        radius = scene.half.min() * rng.uniform(0.2, 0.6)
        ball = _ellipsoid(np.full(3, radius), np.eye(3))
        scene.paint(rng.uniform(-0.6, 0.6, 3) * scene.half, radius + 1, ball, value)
    scene.density = np.maximum(under, scene.density * np.clip(rough, 0, None))


_KINDS = ((_particles, 0.3), (_porous, 0.2), (_film, 0.2), (_rod, 0.18), (_atoms, 0.12))


def material(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a specimen of materials science.

    Parameters
    ----------
    shape : tuple
        (z, y, x) in voxels; films lie across z, needles along y.
    rng : numpy.random.Generator

    Returns
    -------
    array (z, y, x), float32
        Density from 0 to about 1.
    """
    scene = _Scene(shape)
    make = _KINDS[int(rng.choice(len(_KINDS), p=[share for _, share in _KINDS]))][0]
    make(scene, rng)
    if rng.random() < 0.3 and make is not _film:
        _support(scene, rng)
    if rng.random() < 0.3:
        length = scene.half.min() * rng.uniform(0.08, 0.5)
        scene.density *= np.clip(1 + np.float32(rng.uniform(0.02, 0.2)) * field(shape, length, rng), 0, None)
    return scene.density
