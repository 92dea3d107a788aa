"""Random specimens as networks see them in training: points with atomic numbers, made in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Atoms = tuple[NDArray[np.float64], NDArray[np.float64]]  # positions (n, 3) in Å and numbers (n,)

__all__ = ["Scene", "scene"]

# Lattice parameters (a, b, c in Å), angle γ in degrees, and a basis of (element's index, fractional position); elements
# are drawn anew for every scene, so that these are shapes, not materials.
_FACE = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]


_Site = tuple[int, float, float, float]


def _on(
    sites: list[tuple[float, float, float]], element: int, by: tuple[float, float, float] = (0, 0, 0)
) -> list[_Site]:
    return [(element, x + by[0], y + by[1], z + by[2]) for x, y, z in sites]


_LATTICES: list[tuple[tuple[float, float], tuple[float, float], float, list[_Site]]] = [
    ((3.5, 4.3), (1, 1), 90, _on(_FACE, 0)),  # fcc
    ((2.8, 3.4), (1, 1), 90, _on([(0, 0, 0), (0.5, 0.5, 0.5)], 0)),  # bcc
    ((2.4, 3.3), (1, 1.62), 120, _on([(0, 0, 0), (1 / 3, 2 / 3, 0.5)], 0)),  # hcp
    ((3.5, 6.5), (1, 1), 90, _on(_FACE, 0) + _on(_FACE, 0, (0.25, 0.25, 0.25))),  # diamond
    ((4.3, 6.5), (1, 1), 90, _on(_FACE, 0) + _on(_FACE, 1, (0.25, 0.25, 0.25))),  # zinc blende
    ((4.0, 6.0), (1, 1), 90, _on(_FACE, 0) + _on(_FACE, 1, (0.5, 0.5, 0.5))),  # rock salt
    ((2.9, 4.1), (1, 1), 90, _on([(0, 0, 0)], 0) + _on([(0.5, 0.5, 0.5)], 1)),  # caesium chloride
    ((3.7, 4.2), (1, 1), 90, _on([(0, 0, 0)], 0) + _on([(0.5, 0.5, 0.5)], 1)
     + _on([(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)], 2)),  # perovskite
    ((3.0, 4.0), (1, 1.6), 120, _on([(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0.5)], 0)
     + _on([(1 / 3, 2 / 3, 0.38), (2 / 3, 1 / 3, 0.88)], 1)),  # wurtzite
]  # fmt: skip
_LIGHT = (6, 8, 12, 13, 14, 16, 22, 23, *range(25, 35), 38)
_ELEMENTS = np.array([*_LIGHT, 40, 42, *range(44, 49), 50, 52, 56, 57, *range(72, 76), 78, 79, 82, 83])


@dataclass(frozen=True)
class Scene:
    """Atoms in view.

    Parameters
    ----------
    points : array (n, 3)
        x, y, z in Å; x and y from the field's centre, z along the beam.
    numbers : array (n,)
        Atomic numbers; fractions stand for atoms too many to draw one by one.
    debye : float
        SD of the atoms' thermal displacement in Å.
    """

    points: NDArray[np.float64]
    numbers: NDArray[np.float64]
    debye: float


def rotation(rng: np.random.Generator, *, zone: bool) -> NDArray[np.float64]:
    """Random rotation (3, 3); with ``zone``, one that brings a low-index direction within a few mrad of the beam."""
    if not zone:
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))
        return np.asarray(q if np.linalg.det(q) > 0 else -q)
    axes = [(0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 1, 0), (1, 0, 0), (1, 1, 2), (0, 1, 2), (0, 1, 0)]
    beam = np.array(axes[rng.choice(len(axes), p=[0.26, 0.2, 0.14, 0.14, 0.06, 0.1, 0.06, 0.04])], dtype=float)
    beam = beam / np.linalg.norm(beam) + rng.normal(scale=0.006 if rng.random() < 0.7 else 0.03, size=3)
    beam /= np.linalg.norm(beam)
    side = np.cross(beam, [1.0, 0.0, 0.0] if abs(beam[0]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    turn = rng.uniform(0, 2 * np.pi)
    first = np.cos(turn) * side + np.sin(turn) * np.cross(beam, side)
    return np.stack([first, np.cross(beam, first), beam])


def _elements(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw three elements; heavy ones first in most scenes."""
    numbers = rng.choice(_ELEMENTS, 3).astype(float)
    return np.sort(numbers)[::-1] if rng.random() < 0.6 else numbers


def _crystal(half: float, depth: float, rng: np.random.Generator, *, zone: bool) -> Atoms:
    """Fill |x|, |y| < half and |z| < depth / 2 with a crystal; positions (n, 3) and numbers (n,)."""
    (low, high), (flat, tall), gamma, basis = _LATTICES[
        rng.choice(len(_LATTICES), p=[0.2, 0.08, 0.1, 0.1, 0.1, 0.1, 0.06, 0.16, 0.1])
    ]
    a = rng.uniform(low, high)
    b, c = a * flat, a * tall * (rng.uniform(0.9, 1.3) if rng.random() < 0.2 else 1)
    angle = np.deg2rad(gamma)
    cell = np.array([[a, 0, 0], [b * np.cos(angle), b * np.sin(angle), 0], [0, 0, c]])
    turn = rotation(rng, zone=zone)
    box = np.array([half, half, depth / 2])
    reach = np.linalg.norm(np.linalg.inv(cell), axis=0) * np.linalg.norm(box) + 1
    # Corners of the box in cells bound the indices far closer than a sphere around a thin slab would.
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * box
    bound = np.minimum(np.abs(corners @ turn @ np.linalg.inv(cell)).max(0) + 1, reach + 1)
    axes = [np.arange(-np.ceil(m), np.ceil(m) + 1) for m in bound]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) + rng.random(3)
    elements = _elements(rng)
    points = np.concatenate([(grid + site[1:]) @ cell @ turn.T for site in basis])
    numbers = np.repeat(elements[[site[0] for site in basis]], len(grid))
    inside = (np.abs(points) < box).all(1)
    return points[inside], numbers[inside]


def _disordered(half: float, depth: float, rng: np.random.Generator) -> Atoms:
    """Fill a box with a glass: a simple lattice shaken until nothing of it is left, two species."""
    spacing = rng.uniform(2.2, 3.0)
    axes = [np.arange(-e, e, spacing) for e in (half, half, depth / 2)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    points = points @ rotation(rng, zone=False).T if rng.random() < 0.3 else points
    points = points + rng.normal(scale=0.33 * spacing, size=points.shape)
    elements = _elements(rng)
    return points, elements[(rng.random(len(points)) < rng.uniform(0, 0.6)).astype(int)]


def _carved(points: NDArray[np.float64], half: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark the points of one particle: within some random planes about a centre in the field."""
    centre = np.append(rng.uniform(-0.5, 0.5, 2) * half, 0)
    radius = rng.uniform(0.3, 0.95) * half
    faces = rng.normal(size=(rng.integers(6, 16), 3))
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    keep: NDArray[np.bool_] = ((points - centre) @ faces.T < radius * rng.uniform(0.8, 1.1, len(faces))).all(1)
    return np.asarray(keep & (np.linalg.norm(points - centre, axis=1) < 1.3 * radius))


def _spoiled(points: NDArray[np.float64], numbers: NDArray[np.float64], half: float, rng: np.random.Generator) -> Atoms:
    """Vacancies, foreign atoms, strain, and atoms out of place."""
    if rng.random() < 0.3:
        keep = rng.random(len(points)) > rng.uniform(0, 0.15)
        points, numbers = points[keep], numbers[keep]
    if rng.random() < 0.3:
        foreign = rng.random(len(points)) < rng.uniform(0, 0.3)
        numbers = np.where(foreign, float(rng.choice(_ELEMENTS)), numbers)
    if rng.random() < 0.3:
        wave = rng.normal(size=(3, 2)) * np.pi / half
        bend = rng.normal(scale=0.4, size=(3, 2))
        points = points.copy()
        points[:, :2] += (
            np.sin(points @ wave[:, :1] + rng.uniform(0, 6)) * bend[0] + np.cos(points @ wave[:, 1:]) * bend[1]
        )
    if rng.random() < 0.25:
        points = points + rng.normal(scale=rng.uniform(0.02, 0.35), size=points.shape)
    return points, numbers


def _flat(half: float, rng: np.random.Generator) -> Atoms:
    """One or two layers of a hexagonal material, tilted a little at most, with adatoms."""
    points, numbers = [], []
    for _ in range(1 if rng.random() < 0.7 else 2):
        a = rng.uniform(2.3, 3.6)
        n = int(np.ceil(1.6 * half / a)) + 2
        grid = np.stack(np.meshgrid(np.arange(-n, n), np.arange(-n, n), indexing="ij"), -1).reshape(-1, 2)
        cell = np.array([[a, 0], [a / 2, a * np.sqrt(3) / 2]])
        elements = _elements(rng)
        turn = rng.uniform(0, np.pi)
        spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        spin = spin * [1, np.cos(rng.uniform(0, 0.3))]
        layers = 2 if rng.random() < 0.5 else 1  # of the second kind, above each other as in a dichalcogenide
        for kind, count in ((0, 1), (1, layers)):
            at = (grid @ cell + np.array([0, kind * a / np.sqrt(3)])) @ spin + rng.uniform(-a, a, 1)
            points.append(np.tile(np.column_stack([at, np.zeros(len(at))]), (count, 1)))
            numbers.append(np.full(count * len(at), elements[kind]))
    if rng.random() < 0.4:
        extra = rng.integers(1, 30)
        points.append(np.column_stack([rng.uniform(-half, half, (extra, 2)), np.zeros(extra)]))
        numbers.append(rng.choice(_ELEMENTS, extra).astype(float))
    all_points, all_numbers = np.concatenate(points), np.concatenate(numbers)
    keep = (np.abs(all_points[:, :2]) < half + 4).all(1) & (rng.random(len(all_points)) > rng.choice([0, 0.02, 0.1]))
    return all_points[keep], all_numbers[keep]


def _support(half: float, rng: np.random.Generator) -> Atoms:
    """Make a film of amorphous carbon (or of something as light)."""
    count = int((2 * half) ** 2 * rng.uniform(5, 60) * 0.1)
    count = min(count, 20_000)
    points = rng.uniform(-half, half, (count, 3))
    return points, np.full(count, float(rng.choice([6, 6, 8, 14])))


def scene(half: float, rng: np.random.Generator) -> Scene:
    """Draw a random specimen.

    Parameters
    ----------
    half : float
        Half of the field's edge in Å.
    rng : numpy.random.Generator

    Returns
    -------
    Scene
        Crystals along low-index zones and in any orientation, particles, grain boundaries, glasses and nuclei in them,
        2-D materials, and single atoms; half of what can stand on a support does.
    """
    edge = half + 4  # atoms beyond the field reach into it
    depth = min(float(np.exp(rng.uniform(np.log(6), np.log(90)))), 2e5 / (4 * edge * edge * 0.06) / 8)
    kind = rng.choice(
        ["crystal", "particle", "bicrystal", "glass", "flat", "atoms"], p=[0.3, 0.3, 0.1, 0.12, 0.12, 0.06]
    )
    zone = bool(rng.random() < 0.75)
    if kind == "flat":
        points, numbers = _flat(half, rng)
    elif kind == "atoms":
        count = int(rng.integers(1, 80))
        points, numbers = rng.uniform(-half, half, (count, 3)), rng.choice(_ELEMENTS, count).astype(float)
    elif kind == "glass":
        points, numbers = _disordered(edge, depth, rng)
        if rng.random() < 0.4:  # a nucleus in it
            grain, of_grain = _crystal(edge, depth, rng, zone=zone)
            inside, outside = _carved(grain, half, rng), ~_carved(points, half, rng)
            points = np.concatenate([points[outside], grain[inside]])
            numbers = np.concatenate([numbers[outside], of_grain[inside]])
    else:
        points, numbers = _crystal(edge, depth, rng, zone=zone)
        if kind == "bicrystal":
            other, of_other = _crystal(edge, depth, rng, zone=zone)
            turn, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4) * half
            normal = np.array([np.cos(turn), np.sin(turn), rng.normal(scale=0.1)])
            mine, theirs = points @ normal < offset, other @ normal > offset + 0.8
            points, numbers = (
                np.concatenate([points[mine], other[theirs]]),
                np.concatenate([numbers[mine], of_other[theirs]]),
            )
        if kind == "particle":
            keep = _carved(points, half, rng)
            points, numbers = points[keep], numbers[keep]
    if kind == "glass" and rng.random() < 0.5 and len(points):
        keep = _carved(points, half, rng)
        points, numbers = points[keep], numbers[keep]
    points, numbers = _spoiled(points, numbers, half, rng)
    if kind in ("particle", "flat", "atoms") and rng.random() < 0.5:
        under, of_under = _support(edge, rng)
        points, numbers = np.concatenate([points, under]), np.concatenate([numbers, of_under])
    return Scene(points, numbers, rng.uniform(0.04, 0.12))
