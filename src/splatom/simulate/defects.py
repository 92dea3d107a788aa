"""What is wrong with a crystal: vacancies, disorder, other elements, dislocations, grain boundaries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from splatom.data import Atoms, Provenance
from splatom.simulate.crystals import Shape, aligned, crystal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "alloyed",
    "apart",
    "bicrystal",
    "core_shell",
    "dislocated",
    "displaced",
    "grain_boundary",
    "substituted",
    "vacant",
]


# ------------------------------------------------------------------------------------------------ points
def displaced(atoms: Atoms, displacement_pm: float, seed: int = 0) -> Atoms:
    """Move every atom at random; standard deviation per axis in pm."""
    rng = np.random.default_rng(seed)
    moved = atoms.positions_zyx + rng.normal(scale=displacement_pm / 1000, size=atoms.positions_zyx.shape)
    return atoms.with_(positions_zyx=moved)


def vacant(atoms: Atoms, share: float, seed: int = 0, species: str | None = None) -> Atoms:
    """Leave a share of the sites empty: exactly so many, to the nearest atom.

    Parameters
    ----------
    atoms : Atoms
    share : float
        0 to 1, of the atoms of the species.
    seed : int
    species : str, optional
        Only sites of this element; all by default.
    """
    chosen = _some_of(atoms, share, seed, species)
    keep = np.ones(len(atoms), dtype=bool)
    keep[chosen] = False
    return _picked(atoms, keep)


def substituted(atoms: Atoms, old: str, new: str, share: float, seed: int = 0) -> Atoms:
    """Put another element on a share of one element's sites."""
    species = atoms.species.astype("U3")
    species[_some_of(atoms, share, seed, old)] = new
    return atoms.with_(species=species)


def _some_of(atoms: Atoms, share: float, seed: int, species: str | None) -> NDArray[np.int64]:
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} is asked for; it has to lie between 0 and 1")
    sites = np.arange(len(atoms)) if species is None else np.flatnonzero(atoms.species == species)
    return np.random.default_rng(seed).permutation(sites)[: round(share * len(sites))]


def _picked(atoms: Atoms, keep: NDArray[np.bool_]) -> Atoms:
    """Return some of the atoms (of those that specimens make: positions and species only)."""
    return replace(atoms, positions_zyx=atoms.positions_zyx[keep], species=atoms.species[keep])


# ------------------------------------------------------------------------------------------------ alloys
def alloyed(atoms: Atoms, composition: Mapping[str, float], seed: int = 0) -> Atoms:
    """Random solid solution: elements put on the sites at random, their numbers as the composition says.

    Parameters
    ----------
    atoms : Atoms
    composition : mapping
        Share of each element, any scale; numbers are rounded to whole atoms by the largest remainder.
    seed : int
    """
    shares = np.array(list(composition.values()), dtype=np.float64)
    exact = shares / shares.sum() * len(atoms)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: len(atoms) - counts.sum()]] += 1
    species = np.repeat(np.array(list(composition)), counts)
    return atoms.with_(species=np.random.default_rng(seed).permutation(species))


def core_shell(atoms: Atoms, core: str, shell: str, shell_nm: float) -> Atoms:
    """Make a particle's outer layer of one element and its inside of another.

    Parameters
    ----------
    atoms : Atoms
        A convex particle.
    core, shell : str
        Elements.
    shell_nm : float
        Depth of the shell below the hull through the outermost atoms, in nm.
    """
    from scipy.spatial import ConvexHull

    faces = ConvexHull(atoms.positions_zyx).equations
    depth = -(atoms.positions_zyx @ faces[:, :3].T + faces[:, 3]).max(axis=1)
    return atoms.with_(species=np.where(depth < shell_nm, shell, core))


# ------------------------------------------------------------------------------------------------ dislocations
def dislocated(
    atoms: Atoms,
    burgers: ArrayLike,
    line: ArrayLike = (0.0, 0.0, 1.0),
    through: tuple[float, float, float] = (0.0, 0.0, 0.0),
    poisson: float = 0.3,
) -> Atoms:
    """Displace atoms by the elastic field of a straight dislocation in an infinite isotropic solid.

    Hirth and Lothe, Theory of Dislocations, 2nd ed. (1982), eqs. 3-2 (screw) and 3-45 (edge); a mixed dislocation is
    their sum. There is no relaxation of the core and no image force of the surfaces.

    Parameters
    ----------
    atoms : Atoms
        A perfect crystal.
    burgers : array (3,)
        Burgers vector ``(x, y, z)`` in nm, a vector of the lattice if the crystal is to match across the cut.
    line : array (3,)
        Direction of the dislocation line, ``(x, y, z)``; the beam by default.
    through : tuple
        A point of the line, ``(x, y, z)`` in nm.
    poisson : float
        Poisson's ratio.

    Returns
    -------
    Atoms
        Along a closed, right-handed circuit round the line, the lattice vectors that its steps stand for sum to
        minus the Burgers vector.
    """
    b, t = np.asarray(burgers, dtype=np.float64), np.asarray(line, dtype=np.float64)
    t = t / np.linalg.norm(t)
    along = float(b @ t)
    across = b - along * t
    size = float(np.linalg.norm(across))
    # Edge: x along the Burgers vector, z along the line; the cut lies at x < 0. A pure screw may have any x.
    frame = aligned(t, across if size > 1e-9 else None)
    x, y, _ = ((atoms.positions_zyx[:, ::-1] - np.asarray(through)) @ frame.T).T
    r2 = np.maximum(x * x + y * y, 1e-6)
    angle = np.arctan2(y, x)
    k = 1 / (4 * (1 - poisson))
    u = np.stack(
        [
            size / (2 * np.pi) * (angle + 2 * k * x * y / r2),
            -size / (2 * np.pi) * ((1 - 2 * poisson) * k * np.log(r2) + k * (x * x - y * y) / r2),
            along / (2 * np.pi) * angle,
        ],
        axis=1,
    )
    # The logarithm has no origin; without its mean the crystal stays where it was.
    u[:, 1] -= u[:, 1].mean()
    return atoms.with_(positions_zyx=atoms.positions_zyx + (u @ frame)[:, ::-1])


# ------------------------------------------------------------------------------------------------ grains
def apart(positions: NDArray[np.float64], closest: float) -> NDArray[np.bool_]:
    """Mask of points (n, 3) of which no two are nearer than a distance; of a pair the later one goes."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(positions).query_pairs(closest * (1 - 1e-9), output_type="ndarray")
    keep = np.ones(len(positions), dtype=bool)
    for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[i] and keep[j]:
            keep[j] = False
    return keep


def bicrystal(
    material: str,
    shape: Shape,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    closest: float | None = None,
) -> Atoms:
    """Two grains of one material that meet in the plane x = 0.

    Parameters
    ----------
    material : str
    shape : Shape
        Of both together.
    left, right : array (3, 3)
        Orientations of the grains at x < 0 and at x ≥ 0.
    closest : float, optional
        Distance in nm below which one of two atoms is left out; 0.75 of the crystal's shortest by default.

    Returns
    -------
    Atoms
    """
    from scipy.spatial import cKDTree

    a, b = crystal(material, shape, left), crystal(material, shape, right)
    if closest is None:
        closest = 0.75 * float(cKDTree(a.positions_zyx).query(a.positions_zyx, k=2)[0][:, 1].min())
    a, b = _picked(a, a.positions_zyx[:, 2] < 0), _picked(b, b.positions_zyx[:, 2] >= 0)
    both = Atoms(
        np.concatenate([a.positions_zyx, b.positions_zyx]),
        np.concatenate([a.species, b.species]),
        provenance=Provenance(f"simulated {material} bicrystal"),
    )
    return _picked(both, apart(both.positions_zyx, closest))


def grain_boundary(material: str, shape: Shape, misorientation: float, zone: ArrayLike = (0.0, 0.0, 1.0)) -> Atoms:
    """Symmetric tilt boundary in the plane x = 0, seen edge on.

    Parameters
    ----------
    material : str
    shape : Shape
    misorientation : float
        Angle in degrees between the grains, about the beam.
    zone : array (3,)
        Direction of the crystal along the beam, common to both.
    """
    half = np.deg2rad(misorientation / 2)
    turn = np.array([[np.cos(half), -np.sin(half), 0], [np.sin(half), np.cos(half), 0], [0, 0, 1]])
    upright = aligned(zone)
    return bicrystal(material, shape, turn @ upright, turn.T @ upright)
