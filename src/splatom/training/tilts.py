"""Streamed tilt series with the tilts between, for the networks that predict these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.simulate.ellipsoids import Ellipsoids
from splatom.simulate.images import deposit, filtered, radii
from splatom.training.scenes import rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ELEMENTS", "GAP_DEGREE", "Sparse", "Targets", "cluster", "series", "specimen", "targets"]

ELEMENTS = ("Pt", "Ag", "Au", "Cu")
GAP_DEGREE = (1.0, 12.0)  # half of the distance of neighbours
_MOST_TILTS = 60
_SMOOTHING = (1.0, 12.0)  # weights of the reconstruction's total variation
_PASSES = 100  # of it; a series of a user's gets up to 400, which is better still
_MARGIN = 16  # px around the field: Fourier filters wrap, and shifts bring in what lies beside it

View = Callable[[float], "Array"]  # projection at a tilt in degrees, (rows + 2 margin, columns + 2 margin)


@dataclass(frozen=True)
class Sparse:
    """A series with gaps, and the truth.

    Parameters
    ----------
    angles : array (n,)
        Measured tilts in degrees, rising.
    images : array (n, rows, columns)
        Measured, in units of the series' SD; the axis along the rows' index.
    truth : callable
        ``truth(angle)`` is the noise-free image at any tilt, in these units.
    non_negative : bool
        Whether matter is bright everywhere.
    """

    angles: Array
    images: NDArray[np.float32]
    truth: Callable[[float], NDArray[np.float32]]
    non_negative: bool


@dataclass(frozen=True)
class Targets:
    """What a network is told of m tilts between measured ones, and the truth: arrays (m, channels, rows, columns)."""

    pair: NDArray[np.float32]
    t: NDArray[np.float32]
    gap: NDArray[np.float32]
    reprojected: NDArray[np.float32]
    truth: NDArray[np.float32]

    def only(self, index: int) -> Targets:
        """Return one of the tilts."""
        k = slice(index, index + 1)
        return Targets(self.pair[k], self.t[k], self.gap[k], self.reprojected[k], self.truth[k])


# ---------------------------------------------------------------- specimens
def cluster(rng: np.random.Generator) -> tuple[Array, str]:
    """Build an icosahedron, decahedron or octahedron of a noble metal: (n, 3) in Å, and the name of its shape."""
    from ase import cluster as shapes

    make: Any = shapes  # untyped

    kind, element = rng.choice(["icosahedron", "decahedron", "octahedron"]), str(rng.choice(ELEMENTS))
    size = int(rng.integers(3, 11))
    if kind == "icosahedron":
        atoms = make.Icosahedron(element, size)
    elif kind == "decahedron":
        edge = max(2, size // 2 + 1)
        atoms = make.Decahedron(element, edge, int(rng.integers(1, edge + 2)), int(rng.integers(0, 2)))
    else:
        length = size + 3
        atoms = make.Octahedron(element, length, int(rng.integers(0, (length - 1) // 2 + 1)))
    points = np.asarray(atoms.positions, dtype=np.float64)
    return points - points.mean(axis=0), str(kind)


def _of_points(points: Array, weights: Array, shape: tuple[int, int], transfer: Array) -> View:
    """Make views of points (n, 3), x, y, z in px from the centre; what leaves the canvas does not come back in."""

    def view(angle: float) -> Array:
        turn = np.deg2rad(angle)
        column = points[:, 0] * np.cos(turn) - points[:, 2] * np.sin(turn) + (shape[1] - 1) / 2
        row = points[:, 1] + (shape[0] - 1) / 2
        inside = (row > 0) & (row < shape[0] - 1) & (column > 0) & (column < shape[1] - 1)
        laid = deposit(np.column_stack([row, column])[inside], weights[inside], shape)
        return filtered(laid, transfer)

    return view


def _of_ellipsoids(solids: Ellipsoids, shape: tuple[int, int], transfer: Array) -> View:
    from splatom.geometry import ViewGeometry

    def view(angle: float) -> Array:
        chords = solids.project(ViewGeometry.single_axis([angle]), shape, 1.0)[0]
        return filtered(chords, transfer, points=False)

    return view


def _transfer(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Array:
    """Draw a probe: a Gaussian, half of the time with the tails of an aberrated one."""
    k = radii(shape)[2]
    core = np.exp(-2 * (np.pi * sigma * k) ** 2)
    if rng.random() < 0.5:
        return core
    share, wide = rng.uniform(0.1, 0.6), sigma * rng.uniform(1.6, 4)
    return np.asarray((1 - share) * core + share * np.exp(-2 * (np.pi * wide * k) ** 2))


def _atomic(shape: tuple[int, int], field: tuple[int, int], rng: np.random.Generator) -> View:
    """View a cluster of atoms, whole or a little imperfect."""
    points, _ = cluster(rng)
    points = points @ rotation(rng, zone=False).T
    reach = np.linalg.norm(points, axis=1).max()
    radius = rng.uniform(0.22, 0.48) * field[1]
    pixel = max(reach / radius, 0.1)  # Å
    weights = np.ones(len(points))
    if rng.random() < 0.3:
        weights = np.where(rng.random(len(points)) < rng.uniform(0, 0.5), rng.uniform(0.2, 1), 1.0)
    if rng.random() < 0.3:
        points = points + rng.normal(scale=rng.uniform(0.02, 0.3), size=points.shape)
    sigma = max(rng.uniform(0.25, 0.7) / pixel, 0.75)
    place = np.array([*rng.uniform(-0.03, 0.03, 1), rng.uniform(-0.2, 0.2), 0.0]) * field[1]
    return _of_points(points / pixel + place, weights, shape, _transfer(shape, sigma, rng))


def _crystal(shape: tuple[int, int], field: tuple[int, int], rng: np.random.Generator) -> View:
    """View some faceted solids whose atoms are too small to be seen."""
    pieces, weights = [], []
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(0.12, 0.4) * field[1]
        step = max(1.3, radius / 16)
        axis = np.arange(-radius * 1.2, radius * 1.2, step)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        faces = rng.normal(size=(int(rng.integers(5, 16)), 3))
        faces /= np.linalg.norm(faces, axis=1, keepdims=True)
        grid = grid[(grid @ faces.T < radius * rng.uniform(0.5, 1.0, len(faces))).all(axis=1)]
        # Jitter keeps the sum over a row of the grid from beating with the pixels.
        grid = grid @ rotation(rng, zone=False).T + rng.normal(scale=0.3 * step, size=grid.shape)
        away = rng.uniform(-1, 1, 3) * [0.45 * field[1] - radius, 0.4 * field[0], 0.45 * field[1] - radius]
        pieces.append(grid + away)
        weights.append(np.full(len(grid), rng.uniform(0.2, 1) * step**3))
    step = max(1.0, max(np.ptp(p, axis=0).max() for p in pieces) / 40)
    sigma = max(rng.uniform(0.8, 2), 0.8 * step)
    return _of_points(np.concatenate(pieces), np.concatenate(weights), shape, _transfer(shape, sigma, rng))


def _solid(shape: tuple[int, int], field: tuple[int, int], rng: np.random.Generator) -> View:
    """View smooth solids: an assembly, one with pores, a needle with inclusions, particles on or in a film."""
    kind = rng.choice(["assembly", "porous", "needle", "film"], p=[0.35, 0.25, 0.2, 0.2])
    half, tall = field[1] / 2, field[0] / 2
    centres: list[Any] = []  # x, y, z each
    axes: list[Any] = []
    density: list[float] = []
    if kind == "porous":
        centres.append([0, 0, 0])
        axes.append(rng.uniform(0.4, 0.85, 3) * half)
        density.append(1.0)
    elif kind == "needle":
        radius = rng.uniform(0.3, 0.8) * half
        centres.append([rng.uniform(-0.1, 0.1) * half, rng.uniform(-3, 3) * tall, 0])
        axes.append([radius, rng.uniform(4, 9) * tall, radius * rng.uniform(0.8, 1.2)])
        density.append(1.0)
    elif kind == "film":
        centres.append([0, 0, 0])
        axes.append([30 * half, 30 * half, rng.uniform(1.5, 0.25 * half)])
        density.append(rng.uniform(0.1, 1))
    for _ in range(int(rng.integers(1, 25))):
        size = rng.uniform(0.04, 0.35 if kind == "assembly" else 0.2) * half
        reach = np.array([0.85 * half - size, 1.2 * tall, 0.85 * half - size])
        at = rng.uniform(-1, 1, 3) * np.maximum(reach, 0)
        own = size * rng.uniform(0.7, 1.3, 3)
        value = rng.uniform(0.2, 1)
        if kind in ("porous", "needle"):
            inside = (((at - centres[0]) / (np.asarray(axes[0]) - own.max()).clip(min=1e-3)) ** 2).sum() < 1
            apart = all(np.linalg.norm(at - c) > own.max() + max(a) for c, a in zip(centres[1:], axes[1:], strict=True))
            if not (inside and apart):
                continue
            value = -rng.uniform(0.5, 1) if kind == "porous" or rng.random() < 0.4 else value
        elif kind == "film":
            at[2] = rng.uniform(-1, 1) * axes[0][2] if rng.random() < 0.5 else axes[0][2] + own[2]
        elif np.hypot(at[0], at[2]) > 0.9 * half - size:
            continue
        centres.append(list(at))
        axes.append(own)
        density.append(value)
    if not centres:
        return _crystal(shape, field, rng)
    turns = np.stack([rotation(rng, zone=False) for _ in centres])
    if kind in ("needle", "film"):
        turns[0] = np.eye(3)
    solids = Ellipsoids(
        np.asarray(centres, dtype=np.float64)[:, ::-1],
        np.asarray(axes, dtype=np.float64)[:, ::-1],
        rotations=turns,
        density=np.asarray(density, dtype=np.float64),
    )
    return _of_ellipsoids(solids, shape, _transfer(shape, rng.uniform(0.6, 1.8), rng))


def specimen(field: tuple[int, int], rng: np.random.Generator) -> View:
    """Draw a specimen that fits a field (rows, columns); its views are wider by a margin on every side.

    Clusters of atoms (more than half), faceted solids, smooth, porous and supported ones, needles and films. A share
    is seen with intensities that saturate, or that grow faster than thickness.
    """
    shape = (field[0] + 2 * _MARGIN, field[1] + 2 * _MARGIN)
    make = (_atomic, _crystal, _solid)[int(rng.choice(3, p=[0.55, 0.15, 0.3]))]
    linear = make(shape, field, rng)
    highest = max(float(linear(float(a)).max()) for a in rng.uniform(-80, 80, 3)) or 1.0
    if rng.random() < 0.5:
        return lambda angle: linear(angle) / highest
    bend = rng.uniform(-0.15, 0.6)  # of a mass-thickness law; below 0 as channelling lifts columns
    return lambda angle: (lambda x: x * (1 - 0.5 * bend * np.clip(x, -1, 1.5)))(linear(angle) / highest)


# ---------------------------------------------------------------- series
def _angles(gap: float, rng: np.random.Generator) -> Array:
    half = min(rng.uniform(50, 90), gap * _MOST_TILTS)
    half = max(half, 3.5 * gap)
    angles = np.arange(-half, half + 1e-6, 2 * gap) + rng.uniform(-5, 5)
    if rng.random() < 0.2:
        angles = angles + rng.normal(scale=0.1 * gap, size=len(angles))
    return np.asarray(np.clip(angles, -92, 92))


def series(
    field: tuple[int, int], rng: np.random.Generator, *, gap: float | None = None, faultless: bool = False
) -> Sparse:
    """Draw a sparse series of a random specimen.

    Parameters
    ----------
    field : (rows, columns)
    rng : numpy.random.Generator
    gap : float, optional
        Half of the tilts' distance in degrees; random from ``GAP_DEGREE`` by default.
    faultless : bool
        No noise, no misalignment, no drift of the intensity, and no filter that takes the mean away.
    """
    if gap is None:
        low, high = GAP_DEGREE[0] * 0.7, GAP_DEGREE[1] * 1.05
        gap = float(rng.uniform(low, high) if rng.random() < 0.6 else low * (high / low) ** rng.random())
    angles = _angles(gap, rng)
    view = specimen(field, rng)
    shape = (field[0] + 2 * _MARGIN, field[1] + 2 * _MARGIN)
    ky, kx, k = radii(shape)
    signed = not faultless and rng.random() < 0.08
    pass_high = k**2 / (k**2 + rng.uniform(0.01, 0.04) ** 2) if signed else np.ones_like(k)
    jitter = 0.0 if faultless or rng.random() < 0.5 else rng.uniform(0, 0.3)
    axis = 0.0 if faultless or rng.random() < 0.7 else rng.uniform(-3, 3)
    drift = 0.0 if faultless or rng.random() < 0.7 else rng.uniform(0, 0.02)
    noise = 0.0 if faultless or rng.random() < 0.45 else float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
    counts = rng.random()  # share of the noise's variance at full signal that grows with it
    inner = slice(_MARGIN, -_MARGIN)

    def clean(angle: float, down: float = 0.0, along: float = 0.0) -> Array:
        moved = pass_high * np.exp(-2j * np.pi * (ky * down + kx * (along + axis)))
        if not signed and down == 0 and along + axis == 0:
            return view(angle)[inner, inner]
        return filtered(view(angle), moved, points=False)[inner, inner]

    images = []
    for angle in angles:
        image = clean(float(angle), *(rng.normal(scale=jitter, size=2) if jitter else (0.0, 0.0)))
        image = image * np.exp(rng.normal(scale=drift)) if drift else image
        if noise:
            spread = noise * np.sqrt((1 - counts) + counts * np.clip(image, 0, None))
            image = image + spread * rng.normal(size=image.shape)
        images.append(image)
    stack = np.stack(images)
    scale = float(stack.std()) or 1.0
    return Sparse(
        angles,
        (stack / scale).astype(np.float32),
        lambda angle: (clean(angle) / scale).astype(np.float32),
        not signed,
    )


def targets(given: Sparse, count: int, rng: np.random.Generator, *, middle: bool = False) -> Targets:
    """Draw tilts between the measured ones, with all that a network is told of them.

    Parameters
    ----------
    given : Sparse
    count : int
    rng : numpy.random.Generator
    middle : bool
        Halfway between the neighbours; half of them are anyway, the others anywhere.
    """
    import torch

    from splatom.geometry import ViewGeometry
    from splatom.operators.reprojection import reprojected

    first = rng.permutation(np.resize(rng.permutation(len(given.angles) - 1), count))
    t = np.where(np.full(count, middle) | (rng.random(count) < 0.5), 0.5, rng.uniform(0.02, 0.98, count))
    low, high = given.angles[first], given.angles[first + 1]
    wanted = low + t * (high - low)
    images = torch.from_numpy(given.images)
    there, here = reprojected(
        images,
        ViewGeometry.single_axis(given.angles),
        ViewGeometry.single_axis(wanted),
        weight=float(np.exp(rng.uniform(*np.log(_SMOOTHING)))),
        passes=_PASSES,
        non_negative=given.non_negative,
    )
    back = here.numpy()
    return Targets(
        pair=np.stack([given.images[first], given.images[first + 1]], axis=1),
        t=t.astype(np.float32),
        gap=((high - low) / 2).astype(np.float32),
        reprojected=np.stack([there.numpy(), back[first], back[first + 1]], axis=1),
        truth=np.stack([given.truth(float(a)) for a in wanted])[:, None],
    )


def mirrored(part: Targets, rng: np.random.Generator) -> Targets:
    """Turn the setting about at random: upside down, and the neighbours in each other's place."""
    if rng.random() < 0.5:
        part = replace(
            part, pair=part.pair[:, :, ::-1], reprojected=part.reprojected[:, :, ::-1], truth=part.truth[:, :, ::-1]
        )
    if rng.random() < 0.5:
        part = replace(part, pair=part.pair[:, ::-1], reprojected=part.reprojected[:, [0, 2, 1]], t=1 - part.t)
    return part
