"""The Cramér-Rao bound of atom positions: what no unbiased method can beat, from the true model and the noise.

Every atom is known by species, so its image is: abTEM's projected potential, blurred, no Gaussian. White noise of σ
a pixel gives the information matrix JᵀJ/σ², coupled between all atoms whose images overlap in some view. Sums over
pixels become integrals (a pixel is half the blur's σ), so an entry depends on the projected offset d of two atoms
alone, through the correlation of their images

    a(d) = ∫ g_i(u) g_j(u − d) du = 2π ∫ G_i(k) G_j(k) J0(2πkd) k dk :

a for two masses, −∇a for a mass and a position, −∇∇a for two positions. The inverse's diagonal is the bound.

    python benchmarks/_bounds.py SERIES.npz TRUTH.xyz        [--free]: masses unknown too
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

from _potentials import BLUR, NOISE
from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    import ase

_STEP = 0.01  # Å, of the tables
_REACH = 6.0  # Å; the images' correlation is 2e-5 of its peak there


@dataclass(frozen=True)
class Bound:
    """Smallest standard deviations: ``sigma_xyz`` (n, 3) in pm, ``mass`` (n,) relative (None: masses known)."""

    sigma_xyz: np.ndarray
    mass: np.ndarray | None

    @property
    def axes(self) -> np.ndarray:
        """Root mean square over the atoms of each axis (x, y, z), pm."""
        return np.sqrt((self.sigma_xyz**2).mean(axis=0))

    @property
    def rmsd(self) -> float:
        """Root mean square distance, pm."""
        return float(np.sqrt((self.sigma_xyz**2).sum(axis=1).mean()))


@cache
def correlation(first: str, second: str) -> np.ndarray:
    """Return (3, samples) of two elements' images at distances ``_STEP`` · i: a, a'/d and a'' − a'/d, all (V·Å)²Å²."""
    from abtem.parametrizations import LobatoParametrization
    from scipy.special import j0, j1, jv

    k = np.arange(0.5, 1000) * (4.0 / BLUR / 2 / np.pi / 1000)  # 1/Å, up to 4 widths of the blur's transfer
    potential = LobatoParametrization()
    image = [
        potential.projected_scattering_factor(e)(k**2) * np.exp(-2 * (np.pi * k * BLUR) ** 2) for e in (first, second)
    ]
    weight = 2 * np.pi * image[0] * image[1] * k * (k[1] - k[0])
    w = 2 * np.pi * k
    d = np.arange(0.0, _REACH + 2 * _STEP, _STEP)
    x = np.maximum(d, 1e-6)[:, None] * w
    value = j0(x) @ weight
    slope = -(j1(x) / x) @ (weight * w**2)  # a'/d
    curve = jv(2, x) @ (weight * w**2)  # a'' − a'/d, by J0'' + J1/x = ... = J2
    return np.stack([value, slope, curve])


@njit(parallel=True, cache=True)
def _information(rows, columns, at, rotations, species, tables, step, reach, size):
    """Return the part of the information matrix between two sets of atoms; of each x, y, z, then mass (size 4)."""
    views = at.shape[1]
    matrix = np.zeros((len(rows) * size, len(columns) * size))
    for m in prange(len(rows)):
        i = rows[m]
        block = np.zeros((4, 4))
        for n, j in enumerate(columns):
            block[:] = 0.0
            table = tables[species[i], species[j]]
            for v in range(views):
                c, r = at[i, v, 0] - at[j, v, 0], at[i, v, 1] - at[j, v, 1]
                d2 = c * c + r * r
                if d2 >= reach * reach:
                    continue
                d = np.sqrt(d2)
                t = d / step
                low = int(t)
                t -= low
                value = table[0, low] * (1 - t) + table[0, low + 1] * t
                slope = table[1, low] * (1 - t) + table[1, low + 1] * t
                curve = table[2, low] * (1 - t) + table[2, low + 1] * t
                if d > 0:
                    c, r = c / d, r / d
                # −∇∇a = −(a'/d) 1 − (a'' − a'/d) d̂ d̂ᵀ, turned into the specimen's frame
                cc, cr, rr = -slope - curve * c * c, -curve * c * r, -slope - curve * r * r
                for p in range(3):
                    a, b = rotations[v, 0, p], rotations[v, 1, p]
                    for q in range(3):
                        e, f = rotations[v, 0, q], rotations[v, 1, q]
                        block[p, q] += a * (cc * e + cr * f) + b * (cr * e + rr * f)
                    pull = slope * d * (c * a + r * b)
                    block[p, 3] += pull
                    block[3, p] -= pull
                block[3, 3] += value
            matrix[m * size : (m + 1) * size, n * size : (n + 1) * size] = block[:size, :size]
    return matrix


def _slabs(y: np.ndarray, single_axis: bool) -> list[np.ndarray]:
    """Return the atoms of slabs along the tilt axis, which are coupled to the next slab only."""
    if not single_axis:
        return [np.arange(len(y))]
    label = ((y - y.min()) / _REACH).astype(int)
    return [np.flatnonzero(label == k) for k in np.unique(label)]


def _inverse(matrix: np.ndarray) -> np.ndarray:
    from scipy.linalg.lapack import dpotrf, dpotri

    matrix, failed = dpotrf(matrix, lower=1, clean=1)
    if not failed:
        matrix, failed = dpotri(matrix, lower=1, overwrite_c=1)
    if failed:
        raise ValueError("the views do not determine the atoms: the information matrix is singular")
    return matrix + np.tril(matrix, -1).T


def bound(
    atoms: ase.Atoms, geometry: ViewGeometry, pixel: float, *, noise: float = NOISE, free_masses: bool = False
) -> Bound:
    """Return the bound for ``atoms`` (Å, about the centre) seen whole in every view, ``pixel`` in Å.

    Tilts about y couple neighbours along y only. So the matrix is block tridiagonal, with blocks D_k and
    B_k (k + 1, k), and its inverse's diagonal blocks follow from S_k+1 = D_k+1 − B_k S_k⁻¹ B_kᵀ and, backwards,
    G_k = S_k⁻¹ + S_k⁻¹ B_kᵀ G_k+1 B_k S_k⁻¹.
    """
    elements = sorted(set(atoms.symbols))
    species = np.array([elements.index(s) for s in atoms.symbols])
    tables = np.stack([np.stack([correlation(*sorted((a, b))) for b in elements]) for a in elements])
    tables /= (noise * pixel) ** 2
    seen = np.ascontiguousarray((atoms.positions @ geometry.rotations[:, :2].transpose(0, 2, 1)).transpose(1, 0, 2))
    slabs = _slabs(atoms.positions[:, 1], geometry.is_single_axis)
    size = 4 if free_masses else 3

    def part(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return _information(rows, columns, seen, geometry.rotations, species, tables, _STEP, _REACH, size)

    inverses, coupled = [_inverse(part(slabs[0], slabs[0]))], []
    for before, slab in pairwise(slabs):
        off = part(slab, before)
        coupled.append(off @ inverses[-1])
        inverses.append(_inverse(part(slab, slab) - coupled[-1] @ off.T))
    variance = np.empty((len(atoms), size))
    whole = inverses[-1]
    for k in reversed(range(len(slabs))):
        if k < len(coupled):
            whole = inverses[k] + coupled[k].T @ whole @ coupled[k]
        variance[slabs[k]] = np.diag(whole).reshape(-1, size)
    sigma = np.sqrt(variance)
    return Bound(100 * sigma[:, :3], sigma[:, 3] if free_masses else None)


def cached(
    name: str, atoms: ase.Atoms, geometry: ViewGeometry, pixel: float, folder: Path, *, free_masses: bool = False
) -> Bound:
    """Return the bound, kept in ``folder`` under a name (it takes from seconds to minutes)."""
    path = folder / f"{name}_bound{'_free' if free_masses else ''}.npz"
    if path.exists():
        with np.load(path) as file:
            return Bound(file["sigma_xyz"], file["mass"] if free_masses else None)
    found = bound(atoms, geometry, pixel, free_masses=free_masses)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, sigma_xyz=found.sigma_xyz, **({} if found.mass is None else {"mass": found.mass}))
    return found


def main() -> None:
    from ase.io import read

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--free", action="store_true", help="masses are unknown as well")
    args = parser.parse_args()
    with np.load(args.series) as file:
        geometry, pixel = ViewGeometry.single_axis(file["angles"]), 10 * float(file["pixel_size"])
    began = time.perf_counter()
    found = bound(read(args.truth), geometry, pixel, free_masses=args.free)
    print(f"{args.series.stem}: bound {found.rmsd:.2f} pm (x, y, z {np.round(found.axes, 2)})", end="")
    print("" if found.mass is None else f", masses {100 * np.median(found.mass):.2f} % (median)", end="")
    print(f"; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
