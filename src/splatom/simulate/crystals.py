"""Crystals as atoms: a unit cell in any orientation, cut to a shape.

Everything here works in nm and, inside, in ``(x, y, z)``; :class:`splatom.data.Atoms` keeps ``(z, y, x)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["MATERIALS", "Shape", "aligned", "ball", "block", "crystal", "unit_cell", "wulff"]

# Space group, cell (Å, Å, Å, degrees × 3), and each symbol's place: the textbook structures, at room temperature.
_CUBIC = (90.0, 90.0, 90.0)
MATERIALS: dict[str, tuple[int, tuple[float, ...], tuple[tuple[str, tuple[float, float, float]], ...]]] = {
    "NaCl": (225, (5.640, 5.640, 5.640, *_CUBIC), (("Na", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5)))),
    "MgO": (225, (4.212, 4.212, 4.212, *_CUBIC), (("Mg", (0, 0, 0)), ("O", (0.5, 0.5, 0.5)))),
    "GaAs": (216, (5.653, 5.653, 5.653, *_CUBIC), (("Ga", (0, 0, 0)), ("As", (0.25, 0.25, 0.25)))),
    "CeO2": (225, (5.411, 5.411, 5.411, *_CUBIC), (("Ce", (0, 0, 0)), ("O", (0.25, 0.25, 0.25)))),
    "SrTiO3": (
        221,
        (3.905, 3.905, 3.905, *_CUBIC),
        (("Sr", (0, 0, 0)), ("Ti", (0.5, 0.5, 0.5)), ("O", (0.5, 0.5, 0))),
    ),
    "ZnO": (186, (3.250, 3.250, 5.207, 90, 90, 120), (("Zn", (1 / 3, 2 / 3, 0)), ("O", (1 / 3, 2 / 3, 0.382)))),
    "FePt": (
        123,  # L1_0, drawn in the cell of the fcc lattice it comes from
        (3.852, 3.852, 3.713, *_CUBIC),
        (("Fe", (0, 0, 0)), ("Fe", (0.5, 0.5, 0)), ("Pt", (0.5, 0, 0.5))),
    ),
    "Cu3Au": (221, (3.750, 3.750, 3.750, *_CUBIC), (("Au", (0, 0, 0)), ("Cu", (0.5, 0.5, 0)))),  # L1_2
    "Pt3Co": (221, (3.854, 3.854, 3.854, *_CUBIC), (("Co", (0, 0, 0)), ("Pt", (0.5, 0.5, 0)))),
    "NiAl": (221, (2.887, 2.887, 2.887, *_CUBIC), (("Ni", (0, 0, 0)), ("Al", (0.5, 0.5, 0.5)))),  # B2
}


def unit_cell(material: str) -> Any:
    """Conventional unit cell as ``ase.Atoms``.

    Parameters
    ----------
    material : str
        An element (ASE's reference state), a key of :data:`MATERIALS`, or one layer of ``graphene``, ``hBN``,
        ``MoS2``, ``WS2`` or ``MoSe2``.

    Raises
    ------
    ValueError
        If the structure is not known.
    """
    import ase.build
    from ase.spacegroup import crystal as by_spacegroup

    build: Any = ase.build  # ASE's annotations are partial
    # Thickness between the outer layers and lattice constant of the hexagonal sheets, Å.
    sheets = {"MoS2": (3.16, 3.13), "WS2": (3.153, 3.14), "MoSe2": (3.288, 3.34)}
    if material in MATERIALS:
        group, cell, sites = MATERIALS[material]
        return by_spacegroup([s for s, _ in sites], [p for _, p in sites], spacegroup=group, cellpar=cell)
    if material == "graphene":
        return build.graphene("C2", a=2.46)
    if material == "hBN":
        return build.graphene("BN", a=2.504)
    if material in sheets:
        edge, thickness = sheets[material]
        return build.mx2(material, a=edge, thickness=thickness)
    try:
        return build.bulk(material, cubic=_is_cubic(material))
    except (ValueError, RuntimeError, KeyError, NotImplementedError):
        known = ", ".join([*MATERIALS, "graphene", "hBN", *sheets])
        raise ValueError(f"no structure known for '{material}'; give an element, or one of {known}") from None


def _is_cubic(element: str) -> bool:
    from ase.data import atomic_numbers, reference_states

    state: Any = reference_states[atomic_numbers[element]] or {}
    return state.get("symmetry") in ("fcc", "bcc", "diamond", "sc")


# ------------------------------------------------------------------------------------------------ orientation, shape
def aligned(zone: ArrayLike, right: ArrayLike | None = None) -> NDArray[np.float64]:
    """Rotation that turns a crystal so that one direction lies along the beam and another along the image columns.

    Parameters
    ----------
    zone : array (3,)
        Direction ``[u v w]`` in Cartesian axes of the crystal that comes to lie along +z, the beam.
    right : array (3,), optional
        Direction that comes to lie along +x, as far as it is normal to the zone; any by default.

    Returns
    -------
    array (3, 3)
        Acts on column vectors ``(x, y, z)`` of the crystal.

    Raises
    ------
    ValueError
        If a direction is zero or the two are parallel.
    """
    z = np.asarray(zone, dtype=np.float64)
    x = np.eye(3)[int(np.argmin(np.abs(z)))] if right is None else np.asarray(right, dtype=np.float64)
    if not z.any():
        raise ValueError("the zone axis is the null vector")
    z = z / np.linalg.norm(z)
    x = x - (x @ z) * z
    if np.linalg.norm(x) < 1e-9:
        raise ValueError("the direction along the columns is parallel to the zone axis")
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


@dataclass(frozen=True)
class Shape:
    """A solid about the origin.

    Parameters
    ----------
    half : tuple
        Half widths of a box that encloses it, ``(x, y, z)`` in nm.
    inside : callable
        ``inside(xyz)`` for points (n, 3) in nm gives a mask (n,).
    """

    half: tuple[float, float, float]
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]]

    @property
    def reach(self) -> float:
        """Radius in nm that encloses the solid."""
        return float(np.linalg.norm(self.half))


def ball(diameter: float) -> Shape:
    """Sphere of a diameter in nm."""
    radius = diameter / 2

    def inside(xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.linalg.norm(xyz, axis=1) <= radius
        return mask

    return Shape((radius,) * 3, inside)


def block(width: float, height: float, thickness: float) -> Shape:
    """Box of edges along x, y and z in nm: a slab where the thickness (along the beam) is small."""
    half = np.array([width, height, thickness]) / 2

    def inside(xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
        # Closed below and open above, so that a whole number of periods holds a whole number of cells.
        mask: NDArray[np.bool_] = np.all((xyz >= -half - 1e-9) & (xyz < half - 1e-9), axis=1)
        return mask

    return Shape((width / 2, height / 2, thickness / 2), inside)


def wulff(
    diameter: float, rotation: NDArray[np.float64], energies: Mapping[tuple[int, int, int], float] | None = None
) -> Shape:
    """Wulff's shape of a cubic crystal: each face lies as far from the centre as its surface energy is high.

    Parameters
    ----------
    diameter : float
        Largest distance across, between opposite faces of the family of least energy, in nm.
    rotation : array (3, 3)
        Orientation of the crystal; the faces turn with it.
    energies : mapping, optional
        Surface energy of each family ``{hkl}``, any unit; {111} and {100} as 1 : 1.15 by default, near to fcc metals'.

    Returns
    -------
    Shape
    """
    energies = energies or {(1, 1, 1): 1.0, (1, 0, 0): 1.15}
    least = min(energies.values())
    normals, heights = [], []
    for hkl, energy in energies.items():
        family = {
            tuple(s * i for s, i in zip(signs, order, strict=True))
            for order in permutations(hkl)
            for signs in product((-1, 1), repeat=3)
        }
        faces = np.array(sorted(family), dtype=np.float64)
        normals.append(faces / np.linalg.norm(faces, axis=1, keepdims=True))
        heights.append(np.full(len(faces), diameter / 2 * energy / least))
    n, h = np.concatenate(normals) @ rotation.T, np.concatenate(heights)
    reach = float(1.8 * h.max())  # a cube's corner is √3 times as far as its faces

    def inside(xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.all(xyz @ n.T <= h + 1e-9, axis=1)
        return mask

    return Shape((reach,) * 3, inside)


# ------------------------------------------------------------------------------------------------ crystal
def crystal(
    material: str | Any,
    shape: Shape,
    rotation: NDArray[np.float64] | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Atoms:
    """Cut a shape from a crystal.

    Parameters
    ----------
    material : str or ase.Atoms
        What :func:`unit_cell` knows, or a unit cell.
    shape : Shape
        In the frame of the images.
    rotation : array (3, 3), optional
        Orientation, as :func:`aligned` gives it; the cell's own axes by default.
    origin : tuple
        Point of the cell, in fractions of its vectors, that lies at the shape's centre.

    Returns
    -------
    Atoms

    Raises
    ------
    ValueError
        If no atom lies within the shape.
    """
    cell = unit_cell(material) if isinstance(material, str) else material
    name = material if isinstance(material, str) else cell.get_chemical_formula()
    vectors = np.array(cell.cell.complete()) / 10  # rows, nm; a sheet's third vector is made up and not repeated
    basis = cell.get_positions() / 10
    # Planes of the lattice lie 1/|reciprocal vector| apart: so many cells reach the end of the shape each way.
    reach = shape.reach + np.linalg.norm(vectors, axis=1).max()
    periods = np.ceil(reach * np.linalg.norm(np.linalg.inv(vectors), axis=0))
    counts = np.where(cell.pbc, periods, 0).astype(int)
    index = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), -1).reshape(-1, 3)
    corners = index @ vectors - np.asarray(origin) @ vectors
    corners = corners[np.linalg.norm(corners, axis=1) <= shape.reach + np.linalg.norm(basis, axis=1).max() + 1e-9]
    if not np.all(cell.pbc):
        basis = basis - [0, 0, basis[:, 2].mean()]
    xyz = (corners[:, None, :] + basis[None, :, :]).reshape(-1, 3)
    if rotation is not None:
        xyz = xyz @ np.asarray(rotation).T
    keep = shape.inside(xyz)
    if not keep.any():
        raise ValueError(f"no atom of {name} lies within the shape")
    species = np.tile(np.array(cell.get_chemical_symbols()), len(corners))
    return Atoms(xyz[keep][:, ::-1], species[keep], provenance=Provenance(f"simulated {name} crystal"))
