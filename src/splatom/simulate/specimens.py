"""Specimens: solids described by signed distances, phantoms made of ellipsoids, and atomic particles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import Atoms, Provenance, Volume
from splatom.simulate.ellipsoids import Ellipsoids

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "Cluster",
    "atomic_particle",
    "chiral_ellipsoids",
    "chiral_phantom",
    "nanoparticle_on_support",
    "needle",
    "shepp_logan",
]

Cluster = Literal["decahedron", "icosahedron", "octahedron"]

# Densities are HAADF intensity per nm of path, relative to the metal's.
_METAL, _OXIDE, _CARBON = 1.0, 0.35, 0.06


# ------------------------------------------------------------------------------------------------ signed distances
def _grid(shape_zyx: tuple[int, int, int], voxel: float) -> tuple[NDArray[np.float32], ...]:
    """Open coordinate grids ``z, y, x`` in nm about the centre."""
    axes = [((np.arange(n) - (n - 1) / 2) * voxel).astype(np.float32) for n in shape_zyx]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def _coverage(distance: NDArray[np.float32], voxel: float) -> NDArray[np.float32]:
    """Share of each voxel inside a surface, from the signed distance of its centre (negative inside)."""
    out: NDArray[np.float32] = np.clip(0.5 - distance / voxel, 0, 1).astype(np.float32)
    return out


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Random proper rotation, uniform (from a unit quaternion)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _crystal_faces(radius: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return normals (14, 3) and distances (14,) of a truncated octahedron's {111} and {100} faces, unevenly grown."""
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) / np.sqrt(3)
    normals = np.concatenate([corners, np.eye(3), -np.eye(3)]) @ random_rotation(rng).T
    heights = np.concatenate([np.full(8, radius), np.full(6, 1.15 * radius)]) * rng.uniform(0.85, 1.05, 14)
    return normals, heights


def _smooth_noise(
    shape_zyx: tuple[int, int, int], voxel: float, length: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian random field of unit variance with a correlation length in nm."""
    from scipy.ndimage import gaussian_filter, zoom

    coarse = [max(4, int(np.ceil(n * voxel / (length / 2)))) for n in shape_zyx]
    field = gaussian_filter(rng.normal(size=coarse), 1.0, mode="wrap")
    field = zoom(field / field.std(), [n / c for n, c in zip(shape_zyx, coarse, strict=True)], order=1)
    return np.asarray(field, dtype=np.float32)


def _box(centre_zyx: NDArray[np.float64], reach: float, shape: tuple[int, int, int], voxel: float) -> tuple[slice, ...]:
    """Slices of the voxels within reach (nm) of a point."""
    at = np.asarray(centre_zyx) / voxel + (np.array(shape) - 1) / 2
    lo = np.clip(np.floor(at - reach / voxel).astype(int), 0, shape)
    hi = np.clip(np.ceil(at + reach / voxel).astype(int) + 1, 0, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(lo, hi, strict=True))


def _crystal(
    metal: NDArray[np.float32], centre: NDArray[np.float64], radius: float, voxel: float, rng: np.random.Generator
) -> None:
    """Add a faceted crystal's coverage to ``metal`` in place."""
    shape: Any = metal.shape
    box = _box(centre, 1.5 * radius, shape, voxel)
    z, y, x = (np.asarray(a[b]) for a, b in zip(_relative(shape, voxel, centre), _open(box), strict=True))
    distance = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), -np.inf, dtype=np.float32)
    for normal, height in zip(*_crystal_faces(radius, rng), strict=True):
        nx, ny, nz = normal.astype(np.float32)
        np.maximum(distance, nx * x + ny * y + nz * z - np.float32(height), out=distance)
    np.maximum(metal[box], _coverage(distance, voxel), out=metal[box])


def _pore(metal: NDArray[np.float32], centre: NDArray[np.float64], radius: float, voxel: float) -> None:
    """Cut a spherical pore out of ``metal`` in place."""
    shape: Any = metal.shape
    box = _box(centre, radius + 2 * voxel, shape, voxel)
    z, y, x = (np.asarray(a[b]) for a, b in zip(_relative(shape, voxel, centre), _open(box), strict=True))
    metal[box] *= 1 - _coverage(np.sqrt(z * z + y * y + x * x) - np.float32(radius), voxel)


def _relative(
    shape: tuple[int, int, int], voxel: float, centre: NDArray[np.float64]
) -> tuple[NDArray[np.float32], ...]:
    return tuple(axis - np.float32(c) for axis, c in zip(_grid(shape, voxel), centre, strict=True))


def _open(box: tuple[slice, ...]) -> tuple[tuple[slice, ...], ...]:
    """Return the box as slices of the three open grids."""
    every = slice(None)
    return (box[0], every, every), (every, box[1], every), (every, every, box[2])


# ------------------------------------------------------------------------------------------------ solids
def nanoparticle_on_support(
    shape_zyx: tuple[int, int, int] = (128, 128, 128), voxel_size: float = 0.5, seed: int = 0
) -> Volume:
    """Faceted, porous metal particles on a lump of carbon, wholly in view at every tilt.

    One large porous crystal and a dozen small ones sit on an aggregate of rough carbon spheres; HAADF densities are
    1 (metal) and 0.06 (carbon) per nm of path.

    Parameters
    ----------
    shape_zyx : tuple
        In voxels.
    voxel_size : float
        In nm.
    seed : int

    Returns
    -------
    Volume
        Density times voxel size: voxels summed along a ray give the image intensity.
    """
    rng = np.random.default_rng(seed)
    edge = min(shape_zyx) * voxel_size
    z, y, x = _grid(shape_zyx, voxel_size)

    # The carbon: a short chain of spheres along the tilt axis, their surface roughened, their inside uneven.
    n = 6
    along = np.linspace(-0.22, 0.22, n)
    balls = np.stack([rng.uniform(-0.09, 0.09, n), along, rng.uniform(-0.09, 0.09, n)], axis=1) * edge
    radii = rng.uniform(0.11, 0.16, n) * edge
    distance = np.full(shape_zyx, np.inf, dtype=np.float32)
    for (cz, cy, cx), radius in zip(balls.astype(np.float32), radii.astype(np.float32), strict=True):
        np.minimum(distance, np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) - radius, out=distance)
    rough = _smooth_noise(shape_zyx, voxel_size, edge / 16, rng)
    carbon = _coverage(distance + np.float32(0.012 * edge) * rough, voxel_size)
    carbon *= 1 + 0.12 * _smooth_noise(shape_zyx, voxel_size, edge / 30, rng)

    # The metal: crystals on the surface of the carbon, inside the cylinder that stays in view.
    metal = np.zeros(shape_zyx, dtype=np.float32)
    sizes = [0.12 * edge, *rng.uniform(0.02, 0.05, 12) * edge]
    for i, radius in enumerate(sizes):
        for _ in range(50):
            ball = int(rng.integers(n)) if i else n // 2
            direction = rng.normal(size=3)
            centre = balls[ball] + direction / np.linalg.norm(direction) * (radii[ball] + 0.3 * radius)
            in_view = max(np.hypot(centre[0], centre[2]), abs(centre[1])) + 1.3 * radius < 0.47 * edge
            on_surface = all(
                np.linalg.norm(centre - b) > 0.85 * r + 0.2 * radius for b, r in zip(balls, radii, strict=True)
            )
            if in_view and on_surface:
                break
        else:
            continue
        _crystal(metal, centre, radius, voxel_size, rng)
        if i == 0:
            for _ in range(5):
                middle = centre + rng.uniform(-0.55, 0.55, 3) * radius
                _pore(metal, middle, rng.uniform(0.12, 0.28) * radius, voxel_size)

    data = (_METAL * metal + _CARBON * carbon * (1 - metal)) * voxel_size
    return Volume(data.astype(np.float32), voxel_size, provenance=Provenance(f"simulated nanoparticle, seed {seed}"))


def needle(shape_zyx: tuple[int, int, int] = (128, 128, 128), voxel_size: float = 1.0, seed: int = 0) -> Volume:
    """Layered, porous needle along the tilt axis; it leaves the field at its thick end (high y).

    Parameters
    ----------
    shape_zyx : tuple
        In voxels.
    voxel_size : float
        In nm.
    seed : int

    Returns
    -------
    Volume
    """
    rng = np.random.default_rng(seed)
    z, y, x = _grid(shape_zyx, voxel_size)
    length = shape_zyx[1] * voxel_size
    wide = 0.32 * min(shape_zyx[0], shape_zyx[2]) * voxel_size
    tip = -0.42 * length
    # A cone with a round tip and an elliptic section (so that views differ), slightly bent.
    along = np.clip((y - tip) / (length / 2 - tip), 0, None)
    radius = wide * np.sqrt(along) * (0.55 + 0.45 * along)
    bend = np.float32(0.04 * wide) * np.sin(np.float32(2 * np.pi) * along)
    distance = np.sqrt(((x - bend) / 1.0) ** 2 + (z / 0.8) ** 2) - radius
    distance = np.maximum(distance, tip - y)
    body = _coverage(distance.astype(np.float32), voxel_size)

    edges = tip + np.cumsum(rng.uniform(0.06, 0.18, 8)) * length
    levels = np.array([_METAL, _OXIDE, 0.7, 0.2, _METAL, _OXIDE, 0.6, 0.25, 0.8])
    # Layers are tilted a little against the axis, as those of a milled device are.
    height = y + 0.15 * x + 0.08 * z
    layers = np.full(shape_zyx, levels[0], dtype=np.float32)
    for level, below, at in zip(levels[1:], levels[:-1], edges, strict=True):
        layers += np.float32(level - below) * _coverage((at - height).astype(np.float32), voxel_size)

    solid = np.ones(shape_zyx, dtype=np.float32)
    for _ in range(25):
        middle = rng.uniform(tip + 0.1 * length, length / 2)
        share = (middle - tip) / (length / 2 - tip)
        spread = 0.6 * wide * np.sqrt(share)
        centre = np.array([rng.normal() * 0.5 * spread, middle, rng.normal() * 0.5 * spread])
        _pore(solid, centre, rng.uniform(0.06, 0.16) * wide, voxel_size)
    data = body * layers * solid * voxel_size
    return Volume(data.astype(np.float32), voxel_size, provenance=Provenance(f"simulated needle, seed {seed}"))


# ------------------------------------------------------------------------------------------------ ellipsoids
def chiral_ellipsoids(edge: float) -> Ellipsoids:
    """Right-handed helix of growing ellipsoids about the y axis, in a field of a given edge (nm).

    Seen along +y, going towards +y, it turns from z towards x: ``(z, x) = r (cos φ, sin φ)``, φ growing with y. No
    mirror or inversion maps it onto itself, so a wrong hand, row order or sign of the angles shows.
    """
    n = 14
    phase = np.linspace(0, 1.5 * 2 * np.pi, n)
    share = np.linspace(0, 1, n)
    radius = 0.26 * edge
    centres = np.stack([radius * np.cos(phase), (share - 0.5) * 0.72 * edge, radius * np.sin(phase)], axis=1)
    size = (0.025 + 0.045 * share) * edge
    axes = size[:, None] * np.array([0.8, 0.7, 1.4])  # long side tangential once turned
    rotations = np.zeros((n, 3, 3))
    c, s = np.cos(phase), np.sin(phase)
    rotations[:, 0, 0], rotations[:, 0, 2], rotations[:, 2, 0], rotations[:, 2, 2] = c, s, -s, c
    rotations[:, 1, 1] = 1
    return Ellipsoids(centres, axes, np.linspace(0.6, 1.0, n), rotations)


def chiral_phantom(shape_zyx: tuple[int, int, int] = (96, 96, 96), voxel_size: float = 1.0) -> Volume:
    """:func:`chiral_ellipsoids` on a grid; voxel size in nm."""
    return chiral_ellipsoids(min(shape_zyx) * voxel_size).volume(shape_zyx, voxel_size)


def shepp_logan(edge: float) -> Ellipsoids:
    """Three-dimensional Shepp-Logan phantom in a field of a given edge (nm), with Toft's contrast.

    Sources: Shepp and Logan, IEEE Trans. Nucl. Sci. 21, 21 (1974); Toft, PhD thesis, DTU (1996). The head's long axis
    (b below) lies along y, the tilt axis.
    """
    table = np.array(
        [  # density, half lengths x, y, z, centre x, y, z, turn about z in degrees
            [1.0, 0.69, 0.92, 0.81, 0, 0, 0, 0],
            [-0.8, 0.6624, 0.874, 0.78, 0, -0.0184, 0, 0],
            [-0.2, 0.11, 0.31, 0.22, 0.22, 0, 0, -18],
            [-0.2, 0.16, 0.41, 0.28, -0.22, 0, 0, 18],
            [0.1, 0.21, 0.25, 0.41, 0, 0.35, -0.15, 0],
            [0.1, 0.046, 0.046, 0.05, 0, 0.1, 0.25, 0],
            [0.1, 0.046, 0.046, 0.05, 0, -0.1, 0.25, 0],
            [0.1, 0.046, 0.023, 0.05, -0.08, -0.605, 0, 0],
            [0.1, 0.023, 0.023, 0.02, 0, -0.606, 0, 0],
            [0.1, 0.023, 0.046, 0.02, 0.06, -0.605, 0, 0],
        ]
    )
    turn = np.deg2rad(table[:, 7])
    rotations = np.tile(np.eye(3), (len(table), 1, 1))
    rotations[:, 0, 0] = rotations[:, 1, 1] = np.cos(turn)
    rotations[:, 1, 0], rotations[:, 0, 1] = np.sin(turn), -np.sin(turn)
    half = edge / 2
    return Ellipsoids(table[:, 6:3:-1] * half, table[:, 3:0:-1] * half, table[:, 0], rotations)


# ------------------------------------------------------------------------------------------------ atoms
def atomic_particle(
    element: str = "Au",
    size_nm: float = 3.5,
    seed: int = 0,
    cluster: Cluster = "decahedron",
    vacancies: float = 0.02,
    displacement_pm: float = 5.0,
) -> Atoms:
    """Metal particle of the usual shapes (by ASE), in a random orientation, with vacancies and static disorder.

    Parameters
    ----------
    element : str
        Chemical symbol of a metal.
    size_nm : float
        Largest diameter in nm; the particle is the largest of its shape within it.
    seed : int
    cluster : {'decahedron', 'icosahedron', 'octahedron'}
        The octahedron is truncated.
    vacancies : float
        Share of the sites left empty.
    displacement_pm : float
        Standard deviation per axis of the random displacement of every atom.

    Returns
    -------
    Atoms

    Raises
    ------
    ValueError
        If the element has no known lattice, or nothing of that shape fits in the size.
    """
    import ase.cluster
    from ase.data import atomic_numbers, reference_states

    shapes: Any = ase.cluster

    reference = reference_states[atomic_numbers[element]] if element in atomic_numbers else None
    if reference is None or reference["symmetry"] not in ("fcc", "bcc", "hcp"):
        raise ValueError(f"no lattice known for element '{element}'; give a metal such as Au, Pt, Pd, Ni or Cu")
    # Nearest-neighbour distance of the bulk, as an fcc lattice constant: these shapes are packed closely.
    nearest = reference["a"] * {"fcc": np.sqrt(0.5), "bcc": np.sqrt(0.75), "hcp": 1.0}[reference["symmetry"]]
    lattice = float(nearest * np.sqrt(2))
    builders: dict[str, Callable[[int], Any]] = {
        "decahedron": lambda n: shapes.Decahedron(element, n, max(1, n // 2), n // 4, latticeconstant=lattice),
        "icosahedron": lambda n: shapes.Icosahedron(element, n, latticeconstant=lattice),
        "octahedron": lambda n: shapes.Octahedron(element, 2 * n - 1, (2 * n - 1) // 3, latticeconstant=lattice),
    }
    build = builders[cluster]
    positions: NDArray[np.float64] | None = None
    for n in range(2, 40):
        xyz = build(n).get_positions() / 10
        xyz -= xyz.mean(axis=0)
        if 2 * np.linalg.norm(xyz, axis=1).max() > size_nm:
            break
        positions = xyz
    if positions is None:
        raise ValueError(f"no {cluster} of {element} fits in {size_nm} nm")
    rng = np.random.default_rng(seed)
    positions = positions @ random_rotation(rng).T
    positions = positions[rng.random(len(positions)) >= vacancies]
    positions = positions + rng.normal(scale=displacement_pm / 1000, size=positions.shape)
    return Atoms(
        positions[:, ::-1],
        np.full(len(positions), element),
        provenance=Provenance(f"simulated {element} {cluster}, seed {seed}"),
    )
