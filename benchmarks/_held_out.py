"""Specimens for judging the denoisers, none of them among those they are trained on.

Structures that the training lacks: anatase, spinel, garnet, fluorite with a twin boundary. Defects that it lacks: a
dislocation (in a lattice that it has), a five-fold twin. Published models, of kinds that the training has as random
ones: a NiPt particle, a metallic glass, a layer of MoS2 with ripples. Each is a cell of atoms to be looked at along z,
and how it is looked at; ``_micrographs.py`` makes the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class Specimen:
    """What is looked at, along z, and how. ``build`` gives an orthogonal cell that the beam's field repeats.

    ``edge``: what is outside the cell: the same again, vacuum, or nothing (the image lies within).
    """

    build: Callable[[Path], ase.Atoms]
    pixel: float  # Å
    turned: float = 0.0  # degrees, in the plane
    edge: Literal["repeats", "vacuum", "within"] = "repeats"
    columns: bool = True  # whether atoms line up along the beam, so that columns can be told
    phonons: int = 2
    lens: str = "corrected"
    shake: float = 0.07  # Å per axis, of the frozen phonons


def _boxed(atoms: ase.Atoms, width: float, depth: float) -> ase.Atoms:
    """Cut a box about the origin and put it into a cell of that width, with 1 Å above and below."""
    inside = (np.abs(atoms.positions) <= [width / 2, width / 2, depth / 2]).all(axis=1)
    out = atoms[inside]
    out.positions += [width / 2, width / 2, depth / 2 + 1]
    out.cell, out.pbc = [width, width, depth + 2], True
    return out


def nickel_platinum(models: Path) -> ase.Atoms:
    """Return a ball of 36 Å about the middle of the published NiPt particle, as it lies there.

    The published list of species is two longer than that of positions: they are paired from the first on.
    """
    from ase import Atoms
    from scipy.io import loadmat

    positions = next(v for k, v in loadmat(models / "nipt_p1_positions_A.mat").items() if k[0] != "_").T
    types = next(v for k, v in loadmat(models / "nipt_p1_types.mat").items() if k[0] != "_").ravel()[: len(positions)]
    inside = np.linalg.norm(positions - positions.mean(axis=0), axis=1) < 18.0
    atoms = Atoms([("Ni", "Pt")[t - 1] for t in types[inside]], positions=positions[inside])
    atoms.positions -= atoms.positions.mean(axis=0)
    return _boxed(atoms, 42.0, 37.0)


def metallic_glass(models: Path) -> ase.Atoms:
    """Return a slab of 20 Å of the published metallic glass, wider than the image."""
    from ase import Atoms
    from scipy.io import loadmat

    positions = loadmat(models / "metallic_glass_positions_A.mat")["final_atom_coord_inAngstrom"].T.astype(float)
    types = loadmat(models / "metallic_glass_types.mat")["final_atom_types"].ravel()
    atoms = Atoms([("Co", "Pd", "Pt")[t - 1] for t in types], positions=positions - positions.mean(axis=0))
    return _boxed(atoms, 42.0, 20.0)


def molybdenum_sulphide(models: Path) -> ase.Atoms:
    """Return the lowest layer of the published MoS2 model, ripples and all, without a sulphur atom in thirty."""
    from ase.io import read

    atoms = read(models / "mos2_ground_truth.xyz")
    layer = atoms[atoms.positions[:, 2] < 7.0]
    layer.positions -= (layer.positions.max(axis=0) + layer.positions.min(axis=0)) / 2
    lost = (layer.symbols == "S") & (np.random.default_rng(7).random(len(layer)) < 1 / 30)
    return _boxed(layer[~lost], 42.0, 6.0)


def _crystal(symbols: list[str], basis: list[tuple[float, ...]], group: int, cell: tuple[float, ...]) -> ase.Atoms:
    from ase.spacegroup import crystal

    setting = 2 if group in (227, 141) else 1
    return crystal(symbols, basis, spacegroup=group, cellpar=[*cell, 90, 90, 90], setting=setting)


def _along(atoms: ase.Atoms, a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> ase.Atoms:
    """Return the cell spanned by lattice vectors a, b, c, turned so that they run along x, y, z."""
    from ase.build import cut

    out = cut(atoms, a=a, b=b, c=c)
    lengths = out.cell.lengths()
    out.set_cell(np.diag(lengths), scale_atoms=True)
    out.pbc = True
    return out


def anatase(_: Path) -> ase.Atoms:
    """Return TiO2 anatase along [100], 42 Å thick."""
    cell = _crystal(["Ti", "O"], [(0, 0.25, 0.375), (0, 0.25, 0.1666)], 141, (3.785, 3.785, 9.514))
    return _along(cell, (0, 1, 0), (0, 0, 1), (1, 0, 0)).repeat((6, 2, 11))


def spinel(_: Path) -> ase.Atoms:
    """Return the spinel Co3O4 along [110], 46 Å thick."""
    basis = [(0.125, 0.125, 0.125), (0.5, 0.5, 0.5), (0.2631, 0.2631, 0.2631)]
    cell = _crystal(["Co", "Co", "O"], basis, 227, (8.084, 8.084, 8.084))
    return _along(cell, (0.5, -0.5, 0), (0, 0, 1), (0.5, 0.5, 0)).repeat((4, 3, 8))


def garnet(_: Path) -> ase.Atoms:
    """Return gadolinium gallium garnet along [001], 50 Å thick."""
    basis = [(0.125, 0, 0.25), (0, 0, 0), (0.375, 0, 0.25), (0.9711, 0.0528, 0.1500)]
    return _crystal(["Gd", "Ga", "Ga", "O"], basis, 230, (12.383, 12.383, 12.383)).repeat((2, 2, 4))


def boundary(_: Path) -> ase.Atoms:
    """Return a Σ5 (310) [001] twin boundary (two in the cell, there and back) in CeO2, 32 Å thick."""
    from ase import Atoms
    from scipy.spatial import cKDTree

    a = 5.411
    width, height = 4 * a * np.sqrt(10) / 2, 3 * a * np.sqrt(10) / 2
    block = _crystal(["Ce", "O"], [(0, 0, 0), (0.25, 0.25, 0.25)], 225, (a, a, a)).repeat((20, 20, 6))
    block.positions[:, :2] -= 10 * a
    depth = 6 * a
    symbols, positions = [], []
    for sign, low in ((1, 0.0), (-1, width / 2)):
        t = sign * np.arctan(1 / 3)
        turned = block.positions.copy()
        turned[:, :2] = turned[:, :2] @ np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
        x, y = turned[:, 0] - low + 1e-3, turned[:, 1] + 1e-3
        inside = (x >= 0) & (x < width / 2) & (y >= 0) & (y < height)
        symbols += list(np.asarray(block.get_chemical_symbols())[inside])
        positions.append(turned[inside])
    atoms = Atoms(symbols, positions=np.concatenate(positions), cell=[width, height, depth], pbc=True)
    # Where the halves meet too closely, one atom of two goes.
    atoms.positions %= atoms.cell.lengths() * (1 - 1e-12)
    tree = cKDTree(atoms.positions, boxsize=atoms.cell.lengths())
    limit = {"Ce": 2.6, "O": 1.9}
    gone = {
        max(i, j)
        for i, j in tree.query_pairs(2.6)
        if atoms[i].symbol == atoms[j].symbol
        and atoms.get_distance(i, j, mic=True) < limit[atoms[i].symbol]
    }
    return atoms[[k for k in range(len(atoms)) if k not in gone]]


def dislocation(_: Path) -> ase.Atoms:
    """Return an edge dislocation, b = a[100] (isotropic elasticity), in B2-ordered NiAl along [001], 35 Å thick."""
    from ase.build import bulk
    from scipy.spatial import cKDTree

    a, nu = 2.887, 0.3
    atoms = bulk("NiAl", "cesiumchloride", a=a, cubic=True).repeat((24, 24, 12))
    atoms.positions -= (atoms.positions.mean(axis=0) + np.array([0.3 * a, 0.3 * a, 0]))
    x, y = atoms.positions[:, 0], atoms.positions[:, 1]
    square = x**2 + y**2
    atoms.positions[:, 0] += a / (2 * np.pi) * (np.arctan2(y, x) + x * y / (2 * (1 - nu) * square))
    atoms.positions[:, 1] -= (
        a / (2 * np.pi) * ((1 - 2 * nu) / (4 * (1 - nu)) * np.log(square) + (x**2 - y**2) / (4 * (1 - nu) * square))
    )
    atoms.positions[:, 1] -= np.median(atoms.positions[:, 1])
    out = _boxed(atoms, 42.0, 35.0)
    crowded = {max(pair) for pair in cKDTree(out.positions).query_pairs(1.8)}  # in the core
    return out[[k for k in range(len(out)) if k not in crowded]]


def five_fold(_: Path) -> ase.Atoms:
    """Return a Pd decahedron seen along its five-fold axis."""
    from ase.cluster import Decahedron

    atoms = Decahedron("Pd", p=7, q=4, r=0)
    atoms.positions -= atoms.positions.mean(axis=0)
    return _boxed(atoms, 42.0, float(np.ptp(atoms.positions[:, 2])) + 0.2)


SPECIMENS: dict[str, Specimen] = {
    "nipt": Specimen(nickel_platinum, 0.22, edge="vacuum", columns=False, phonons=1),
    "garnet": Specimen(garnet, 0.30, turned=33.0),
    "boundary": Specimen(boundary, 0.20, turned=12.0, lens="conventional"),
    "mos2": Specimen(molybdenum_sulphide, 0.15, edge="within"),
    "anatase": Specimen(anatase, 0.12, turned=20.0),
    "spinel": Specimen(spinel, 0.25, turned=7.0, lens="conventional"),
    "decahedron": Specimen(five_fold, 0.18, turned=25.0, edge="vacuum", phonons=1),
    "dislocation": Specimen(dislocation, 0.15, edge="within", phonons=1),
    "glass": Specimen(metallic_glass, 0.15, edge="within", columns=False, phonons=1, lens="conventional"),
}
