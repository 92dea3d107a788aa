"""Glasses as atoms: random packings with a least distance, alone or round crystals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from splatom.data import Atoms, Provenance
from splatom.simulate.crystals import Shape, ball, crystal
from splatom.simulate.defects import alloyed, apart
from splatom.simulate.specimens import random_rotation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["amorphous", "nuclei"]


def amorphous(
    composition: Mapping[str, float],
    shape: Shape,
    density: float,
    nearest: float,
    seed: int = 0,
    around: Atoms | None = None,
    sweeps: int = 120,
) -> Atoms:
    """Random packing: points strewn at the density, pushed apart until none are too near.

    Points nearer than the least distance move apart along their line by half of what is lacking each, again and again
    (soft spheres going down their energy; no dynamics, no chemistry); what is still too near in the end is left out.

    Parameters
    ----------
    composition : mapping
        Share of each element.
    shape : Shape
    density : float
        Atoms per nm³. The packed share ``π/6 · density · nearest³`` has to stay below 0.6 for all to find room.
    nearest : float
        Least distance in nm.
    seed : int
    around : Atoms, optional
        Atoms that stay where they are and keep the others off; they are not part of the result.
    sweeps : int
        Passes over all pairs, at most.

    Returns
    -------
    Atoms

    Raises
    ------
    ValueError
        If the packing is too dense, or nothing lies within the shape.
    """
    from scipy.spatial import cKDTree

    packed = np.pi / 6 * density * nearest**3
    if packed > 0.6:
        raise ValueError(f"{density:g} atoms per nm³, {nearest:g} nm apart, fill {packed:.2f} of space: too much")
    rng = np.random.default_rng(seed)
    # A periodic box one distance wider than the shape: no wall orders the packing near its surface.
    edges = 2 * np.array(shape.half) + 2 * nearest
    fixed = np.zeros((0, 3)) if around is None else around.positions_zyx[:, ::-1] + edges / 2
    free = rng.uniform(size=(round(density * edges.prod()), 3)) * edges
    if len(fixed):
        fixed = fixed[((fixed >= 0) & (fixed < edges)).all(axis=1)]
        # The crystals take room that the strewn points then lack: leave out what lies in them.
        free = free[cKDTree(fixed).query(free)[0] > 0.75 * nearest]
    xyz, n = np.concatenate([fixed, free]), len(fixed)
    aim = 1.03 * nearest  # a little more than asked, so that the last sweeps end above it
    for _ in range(sweeps):
        pairs = cKDTree(xyz % edges, boxsize=edges).query_pairs(aim, output_type="ndarray")
        pairs = pairs[pairs[:, 1] >= n]
        gap = xyz[pairs[:, 0]] - xyz[pairs[:, 1]]
        gap -= edges * np.rint(gap / edges)
        distance = np.maximum(np.linalg.norm(gap, axis=1), 1e-6)
        if not len(pairs) or distance.min() > nearest:
            break
        push = gap * ((aim - distance) / distance / 2)[:, None]
        held = pairs[:, 0] < n
        push[held] *= 2  # the crystal does not give way
        for axis in range(3):
            xyz[:, axis] += np.bincount(pairs[:, 0], np.where(held, 0, push[:, axis]), len(xyz))
            xyz[:, axis] -= np.bincount(pairs[:, 1], push[:, axis], len(xyz))
    xyz[n:] %= edges
    xyz -= edges / 2
    xyz = xyz[np.concatenate([np.ones(n, dtype=bool), shape.inside(xyz[n:])])]
    xyz = xyz[n:][apart(xyz, nearest)[n:]]  # those that stay come first, and so go to no one
    if not len(xyz):
        raise ValueError("no atom lies within the shape")
    name = "".join(composition)
    packing = Atoms(xyz[:, ::-1], provenance=Provenance(f"simulated amorphous {name}, seed {seed}"))
    return alloyed(packing, composition, seed)


def nuclei(
    material: str,
    shape: Shape,
    density: float,
    nearest: float,
    *,
    count: int = 3,
    diameters: tuple[float, float] = (1.0, 1.8),
    composition: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Atoms:
    """Crystal nuclei, each in its own orientation, in an amorphous matrix.

    Parameters
    ----------
    material : str
        Of the crystals.
    shape : Shape
        Of the whole.
    density, nearest : float
        Of the matrix, as in :func:`amorphous`.
    count : int
        Nuclei asked for; fewer where they find no room.
    diameters : tuple
        Least and largest diameter in nm.
    composition : mapping, optional
        Of the matrix; the crystal's own by default.
    seed : int

    Returns
    -------
    Atoms
        Crystals first, then the matrix.
    """
    rng = np.random.default_rng(seed)
    grains: list[NDArray[np.float64]] = []
    species: list[NDArray[np.str_]] = []
    places: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(60 * count):
        if len(places) == count:
            break
        size = rng.uniform(*diameters)
        at = rng.uniform(-1, 1, 3) * np.maximum(np.array(shape.half) - size / 2, 0)
        if all(np.linalg.norm(at - p) > (size + s) / 2 + nearest for p, s in places) and shape.inside(at[None])[0]:
            grain = crystal(material, ball(size), random_rotation(rng))
            xyz = grain.positions_zyx[:, ::-1] + at
            keep = shape.inside(xyz)
            grains.append(xyz[keep][:, ::-1])
            species.append(grain.species[keep])
            places.append((at, size))
    if not places:
        raise ValueError(f"no nucleus of {diameters[0]:g} nm fits in the shape")
    crystals = Atoms(np.concatenate(grains), np.concatenate(species))
    if composition is None:
        names, numbers = np.unique(crystals.species, return_counts=True)
        composition = {str(k): float(v) for k, v in zip(names, numbers, strict=True)}
    matrix = amorphous(composition, shape, density, nearest, seed, around=crystals)
    return Atoms(
        np.concatenate([crystals.positions_zyx, matrix.positions_zyx]),
        np.concatenate([crystals.species, matrix.species]),
        provenance=Provenance(f"simulated {material} nuclei in a glass, seed {seed}"),
    )
