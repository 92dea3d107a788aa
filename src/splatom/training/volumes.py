"""Streamed volumes with a tilt series of each and what is reconstructed from it, for TEMDiff's prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.simulate.cells import cell_density
from splatom.training.solids import field, material

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

__all__ = ["HALF_RANGE_DEGREE", "KINDS", "Measured", "Pair", "measured", "own_volumes", "pair", "specimen"]

Kind = Literal["biological", "materials"]
KINDS: tuple[Kind, ...] = ("biological", "materials")
HALF_RANGE_DEGREE = (3.0, 80.0)
_MOST_TILTS = 61
_SMOOTHING = (0.2, 4.0)  # weights of the reconstruction's total variation
_PASSES = (150, 400)  # of it; the sampler makes 400
_OWN = 0.75  # share of the specimens that are cut from the user's volumes, where there are some
_LEAST = 16  # voxels a side of a user's volume


@dataclass(frozen=True)
class Measured:
    """A specimen and its tilts.

    Parameters
    ----------
    density : array (z, y, x)
        Wider than the field by ``beside`` voxels on either side.
    images : array (n, y, columns)
    angles : array (n,)
        In degrees, as a microscope would report them.
    beside : int
    """

    density: Array
    images: Array
    angles: NDArray[np.float64]
    beside: int


@dataclass(frozen=True)
class Pair:
    """A volume and its classical reconstruction, both over the latter's scale.

    Parameters
    ----------
    truth, classical : array (z, y, x)
        What lies within the field of the tilts.
    reach : float
        Half of the range of tilts over 90°.
    """

    truth: Array
    classical: Array
    reach: float


# ---------------------------------------------------------------- specimens
def specimen(
    kind: Kind, shape: tuple[int, int, int], rng: np.random.Generator, own: tuple[Array, ...] = ()
) -> NDArray[np.float32]:
    """Draw a specimen as a microscope would show it: blurred, uneven in contrast, in a section or not.

    Parameters
    ----------
    kind : {'biological', 'materials'}
    shape : tuple
        (z, y, x) in voxels.
    rng : numpy.random.Generator
    own : tuple of arrays, optional
        The user's volumes (:func:`own_volumes`), which most specimens are then cut from.

    Returns
    -------
    array (z, y, x)
        Density, not negative.
    """
    from scipy.ndimage import gaussian_filter

    if own and rng.random() < _OWN:
        density = _cut(own[int(rng.integers(len(own)))], shape, rng)
    elif kind == "biological":
        density = _cell(shape, rng)
    else:
        density = material(shape, rng)
    if rng.random() < 0.6:
        blur = rng.uniform(0.3, 1.2)
        density = gaussian_filter(density, blur * (np.ones(3) if rng.random() < 0.8 else rng.uniform(0.5, 1.5, 3)))
    return density


def _cell(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """Draw a piece of a cell: the whole box, a section of it, or what lies alone in it."""
    voxel = float(np.exp(rng.uniform(np.log(1.8), np.log(16.0))))  # nm
    stretch = np.ones(3) if rng.random() < 0.8 else np.exp(rng.normal(size=3) * 0.25)
    counts = {"vesicles": 16, "mitochondria": 3, "granules": 24, "filaments": 5}
    parts: dict[str, Any] = {name: int(rng.integers(most + 1)) for name, most in counts.items()}
    parts["cytoplasm"] = bool(rng.random() < 0.8)
    z, y, x = (float(v) for v in voxel * stretch)
    density = cell_density(shape, (z, y, x), int(rng.integers(2**31)), **parts)
    if rng.random() < 0.3:  # stain that is taken up unevenly
        density = density * np.clip(1 + 0.3 * field(shape, min(shape) / 3, rng), 0.2, None)
    if rng.random() < 0.3:
        density = density ** np.float32(rng.uniform(0.7, 1.4))
    return _section(density, rng) if rng.random() < 0.5 else density


def _section(density: Array, rng: np.random.Generator) -> Array:
    """Cut a slab out, a little oblique and rough, in resin or ice or nothing."""
    deep = density.shape[0]
    thick, slope = deep * rng.uniform(0.2, 0.8), rng.normal(size=2) * 0.04
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) - n / 2 for n in density.shape), indexing="ij", sparse=True)
    middle = rng.uniform(-0.5, 0.5) * (deep - thick) * 0.6 + slope[0] * y + slope[1] * x
    inside = np.clip(0.5 + thick / 2 - np.abs(z - middle), 0, 1)
    medium = rng.uniform(0.01, 0.15) if rng.random() < 0.5 else 0.0
    return np.asarray(inside * (density + medium), dtype=np.float32)


def _cut(volume: Array, shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """Cut a piece out of a volume, turned about by right angles; what it is too small for stays empty."""
    turned = np.transpose(volume, rng.permutation(3))
    turned = turned[tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))]
    out = np.zeros(shape, dtype=np.float32)
    from_, to = [], []
    for have, want in zip(turned.shape, shape, strict=True):
        size = min(have, want)
        a, b = int(rng.integers(have - size + 1)), int(rng.integers(want - size + 1))
        from_.append(slice(a, a + size))
        to.append(slice(b, b + size))
    out[tuple(to)] = turned[tuple(from_)]
    return out


def own_volumes(path: Path) -> tuple[NDArray[np.float32], ...]:
    """Read a user's volumes, from 0 (what is emptiest) to about 1.

    Volumes whose rare values are dark ones, as stained membranes of FIB-SEM are, are turned bright on dark.

    Parameters
    ----------
    path : Path
        A file, or a folder of them (TIFF, MRC, Zarr, NumPy).

    Raises
    ------
    ValueError
        If there is none, or one is too small or has no contrast.
    """
    from splatom.io import FileFault, read_volume, suffixes

    known = tuple(suffixes())
    files = [path]
    if path.is_dir() and not path.name.endswith(known):
        files = sorted(p for p in path.iterdir() if p.name.lower().endswith(known))
    volumes = []
    for file in files:
        try:
            data = np.asarray(read_volume(file).data, dtype=np.float32)
        except FileFault as exc:
            raise ValueError(str(exc)) from exc
        if min(data.shape) < _LEAST:
            raise ValueError(f"{file}: {data.shape} voxels, and training takes at least {_LEAST} a side")
        low, middle, high = np.percentile(data, [0.5, 50, 99.5])
        if not high > low:
            raise ValueError(f"{file}: has no contrast to learn from")
        if middle - low > high - middle:
            data, low, high = -data, -high, -low
        volumes.append(np.clip((data - low) / (high - low), 0, 2).astype(np.float32))
    if not volumes:
        raise ValueError(f"{path}: no volumes in it ({', '.join(known)})")
    return tuple(volumes)


# ---------------------------------------------------------------- what is measured, and made of it
def _angles(half: float, rng: np.random.Generator) -> NDArray[np.float64]:
    step = max(rng.uniform(1, 3), 2 * half / (_MOST_TILTS - 1))
    count = max(3, round(2 * half / step) + 1)
    angles = np.linspace(-half, half, count) + (rng.normal() * min(3.0, 0.3 * half) if rng.random() < 0.3 else 0)
    return np.asarray(angles)


def measured(
    kind: Kind,
    size: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    half_range: float | None = None,
    own: tuple[Array, ...] = (),
) -> Measured:
    """Draw a specimen and tilt it.

    Most series have noise, half are misaligned by up to 0.7 pixels, a third have angles that are wrong by up to 0.3°; a
    quarter of the specimens go on beyond the field.

    Parameters
    ----------
    kind : {'biological', 'materials'}
    size : tuple
        (z, y, x) in voxels; the field is (y, x).
    rng : numpy.random.Generator
    half_range : float, optional
        Half of the range of tilts in degrees; random by default, narrow ones as often as wide ones.
    own : tuple of arrays, optional
        The user's volumes.

    Raises
    ------
    ValueError
        If nothing that is drawn has any contrast.
    """
    import torch

    from splatom.geometry import ViewGeometry
    from splatom.operators.voxel import VoxelProjector

    deep, rows, columns = size
    if half_range is None:
        low, high = np.log(HALF_RANGE_DEGREE)
        half_range = float(np.exp(rng.uniform(low, high)))
    beside = columns // 4 if rng.random() < 0.25 else 0
    shape = (deep, rows, columns + 2 * beside)
    for _ in range(20):
        density = specimen(kind, shape, rng, own)
        if density[:, :, beside : beside + columns].max() > 0.05:
            break
    else:
        raise ValueError("nothing to learn from: the volumes are empty")
    angles = _angles(half_range, rng)
    jitter = rng.uniform(0, 0.7) if rng.random() < 0.5 else 0.0
    wrong = rng.uniform(0, 0.3) if rng.random() < 0.3 else 0.0
    shifts = rng.normal(size=(len(angles), 2)) * jitter
    actual = ViewGeometry.single_axis(angles + rng.normal(size=len(angles)) * wrong, shifts=shifts)
    images = VoxelProjector(actual, shape, (rows, columns)).forward(torch.from_numpy(density)).numpy()
    return Measured(density, images + _noise(images, rng), angles, beside)


def pair(
    kind: Kind,
    size: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    half_range: float | None = None,
    own: tuple[Array, ...] = (),
) -> Pair:
    """Draw a specimen, tilt it, and reconstruct it as the sampler does before it begins.

    Parameters
    ----------
    kind, size, rng, half_range, own
        As :func:`measured` takes them.
    """
    import torch

    from splatom.geometry import ViewGeometry
    from splatom.nets.temdiff import scale_of
    from splatom.operators.classical import reconstructed

    given = measured(kind, size, rng, half_range=half_range, own=own)
    weight, passes = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (_SMOOTHING, _PASSES))
    classical = reconstructed(
        torch.from_numpy(given.images), ViewGeometry.single_axis(given.angles), given.density.shape, weight=weight,
        passes=round(passes),
    )  # fmt: skip
    scale = scale_of(classical)
    field = slice(given.beside, given.beside + size[2])
    return Pair(
        given.density[:, :, field] / scale,
        np.asarray(classical[:, :, field] / scale, dtype=np.float32),
        float(np.ptp(given.angles)) / 180,
    )


def _noise(images: Array, rng: np.random.Generator) -> Array:
    """Draw noise of 0.3 to 20 % of what is bright, a share of its variance growing with the signal, or none."""
    drawn = rng.standard_normal(images.shape, dtype=np.float32)
    level = 0.0 if rng.random() < 0.15 else np.exp(rng.uniform(np.log(0.003), np.log(0.2)))
    bright, counted = float(np.percentile(images, 99)), rng.random()
    spread = np.sqrt((1 - counted) + counted * np.clip(images / max(bright, 1e-6), 0, None))
    return np.asarray(level * bright * spread * drawn, dtype=np.float32)
