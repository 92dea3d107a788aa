"""Simulated atomic-resolution tilt series: projected potentials of independent atoms by abTEM, blurred, with noise.

The protocol is the published one of gaussian-atoms: for every tilt, abTEM's projected potential (Lobato's
parametrization, infinite projection), 0.25 Å pixels, a Gaussian blur of σ = 0.5 Å, white noise of σ = 50 V·Å. Nothing
in it is a Gaussian atom, so it favours no model of ours. abTEM is under the GPL: only this benchmark uses it.

    python benchmarks/_potentials.py FOLDER [NAME ...] --models MODELS     writes NAME.npz and NAME_truth.xyz
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    import ase

BLUR = 0.5  # Å
NOISE = 50.0  # V·Å
FULL = np.linspace(-70.0, 70.0, 15)
NARROW = np.linspace(-30.0, 30.0, 21)
DENSE = np.arange(-70.0, 69.0, 3.0)  # 47 tilts, as in au_wedge47


@dataclass(frozen=True)
class Case:
    """A specimen and how it is looked at; positions in Å about the centre of the field."""

    specimen: Callable[[Path], ase.Atoms]
    angles: np.ndarray
    shape: tuple[int, int]
    pixel: float = 0.25  # Å
    seed: int = 0


# ------------------------------------------------------------------------------------------------ specimens
def glass(
    models: Path, elements: tuple[str, str, str] = ("Co", "Pd", "Pt"), centre: tuple[float, ...] | None = None,
    radius: float = 24.0,
) -> ase.Atoms:
    """Cut a sphere (2,805 atoms by default) from the published metallic glass, about its mean position."""
    from ase import Atoms
    from scipy.io import loadmat

    positions = loadmat(models / "metallic_glass_positions_A.mat")["final_atom_coord_inAngstrom"].T.astype(float)
    types = loadmat(models / "metallic_glass_types.mat")["final_atom_types"].ravel()
    positions = positions - (positions.mean(axis=0) if centre is None else np.asarray(centre))
    inside = np.linalg.norm(positions, axis=1) < radius
    return Atoms([elements[t - 1] for t in types[inside]], positions=positions[inside])


def iron_platinum(_: Path) -> ase.Atoms:
    """Return a disordered FePt sphere, turned at random and shaken by 5 pm an axis."""
    from ase.build import bulk

    rng = np.random.default_rng(31)
    atoms = bulk("Pt", "fcc", a=3.85, cubic=True).repeat(12)
    atoms.symbols = rng.choice(["Fe", "Pt"], len(atoms))
    return _ball(atoms, 17.2, rng)


def decahedron(_: Path) -> ase.Atoms:
    """Return a five-fold twinned Ag particle, turned at random and shaken by 5 pm an axis."""
    from ase.cluster import Decahedron

    atoms = Decahedron("Ag", p=6, q=4, r=1)
    atoms.pbc = False
    return _ball(atoms, np.inf, np.random.default_rng(41))


def copper_gold(_: Path) -> ase.Atoms:
    """Return an Au core in a Cu shell on one lattice, turned at random and shaken by 5 pm an axis."""
    from ase.build import bulk

    atoms = bulk("Cu", "fcc", a=3.8, cubic=True).repeat(14)
    centred = atoms.positions - atoms.positions.mean(axis=0)
    atoms.symbols = np.where(np.linalg.norm(centred, axis=1) < 11.0, "Au", "Cu")
    return _ball(atoms, 19.0, np.random.default_rng(51))


def _ball(atoms: ase.Atoms, radius: float, rng: np.random.Generator) -> ase.Atoms:
    from ase import Atoms
    from scipy.spatial.transform import Rotation

    centred = atoms.positions - atoms.positions.mean(axis=0)
    inside = np.linalg.norm(centred, axis=1) < radius
    turned = centred[inside] @ Rotation.random(random_state=rng).as_matrix().T
    return Atoms(atoms.symbols[inside], positions=turned + rng.normal(0.0, 0.05, turned.shape))


def other_glass(models: Path) -> ase.Atoms:
    """Return another part of the glass, near its surface, as other elements."""
    return glass(models, ("Ni", "Rh", "Ir"), centre=(14.0, -12.0, 15.0), radius=20.0)


CASES = {
    "glass47": Case(glass, DENSE, (240, 240), seed=1),
    "glass15": Case(glass, FULL, (240, 240), seed=2),
    "glass30": Case(glass, NARROW, (240, 240), seed=3),
    # Not used while methods were tuned:
    "fept15": Case(iron_platinum, FULL, (188, 192), seed=11),
    "ag15": Case(decahedron, np.linspace(-66.0, 66.0, 15), (190, 184), pixel=0.3, seed=12),
    "cuau21": Case(copper_gold, np.linspace(-60.0, 60.0, 21), (190, 190), seed=13),
    "nirhir15": Case(other_glass, FULL, (200, 204), seed=14),
}


# ------------------------------------------------------------------------------------------------ images
def clean(atoms: ase.Atoms, geometry: ViewGeometry, shape: tuple[int, int], pixel: float = 0.25) -> np.ndarray:
    """Return (views, rows, columns), V·Å: blurred projected potentials without noise.

    ``atoms`` in Å about the centre of the field. The field repeats at its edges (abTEM's cell is periodic).
    """
    import abtem
    from scipy.ndimage import gaussian_filter

    seen = geometry.project(atoms.positions[:, ::-1] / 10, pixel / 10, shape)  # (views, atoms, (column, row))
    out = np.empty((len(geometry), *shape))
    placed = atoms.copy()
    placed.pbc = True
    depth = 10.0  # any: infinite projection
    placed.cell = [shape[1] * pixel, shape[0] * pixel, depth]
    with abtem.config.set({"diagnostics.progress_bar": False}):
        for k, at in enumerate(seen):
            placed.positions = np.column_stack([at * pixel, np.full(len(at), depth / 2)])
            potential = abtem.Potential(
                placed, gpts=(shape[1], shape[0]), slice_thickness=depth, projection="infinite",
                parametrization="lobato",
            )  # fmt: skip
            image = potential.build(lazy=False).project().array
            out[k] = gaussian_filter(np.asarray(image, np.float64).T, BLUR / pixel)
    return out


def make(name: str, folder: Path, models: Path) -> tuple[Path, Path]:
    """Return the paths of a case's series and truth, made first where the folder lacks them."""
    from ase.io import write

    series, truth = folder / f"{name}.npz", folder / f"{name}_truth.xyz"
    if not (series.exists() and truth.exists()):
        case = CASES[name]
        atoms = case.specimen(models)
        folder.mkdir(parents=True, exist_ok=True)
        views = clean(atoms, ViewGeometry.single_axis(case.angles), case.shape, case.pixel)
        views += np.random.default_rng(case.seed).normal(0.0, NOISE, views.shape)
        np.savez(
            series, projections=views.astype(np.float32), angles=case.angles.astype(np.float64),
            pixel_size=case.pixel / 10,
        )  # fmt: skip
        write(truth, atoms, format="xyz")
    return series, truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "../shared/data/models")
    args = parser.parse_args()
    for name in args.names or CASES:
        print(*make(name, args.folder, args.models), flush=True)


if __name__ == "__main__":
    main()
