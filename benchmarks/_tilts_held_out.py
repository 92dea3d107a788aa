"""Tilt series for judging interpolation, by other physics than the training's: multislice STEM of unseen clusters.

The networks learn from series that are linear projections. Here electrons go through clusters of elements that the
training lacks (Ir, Al, Yb, Xe) slice by slice: abTEM's potentials (Lobato), PRISM, 200 kV, annular detector of 45 to
70 mrad. Each cluster is imaged by two probes: **sharp**, 35 mrad without aberrations, and **aberrated**, 25 mrad, Cs
30 µm, defocus 5 nm. Tilts are −40° to 40° about the vertical axis, pixels 0.35 Å; there
is no noise.

Half of the views suffice: a cluster has a two-fold axis, it is put along the beam at 0°, and the view at −θ is then
that at θ turned by half a turn. In the plane the cluster is turned by some angle, so that the tilt axis is no
direction of the crystal.

As multislice takes long, there are **incoherent** series as well, −60° to 60°: abTEM's projected potentials, folded
with the intensity of the same probes.

    python benchmarks/_tilts_held_out.py CACHE    makes the multislice ones, view by view: 5 to 15 s each on a core
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import ase

    from splatom.data import TiltSeries

Probe = Literal["sharp", "aberrated"]
Images = NDArray[np.float32]
PROBES: tuple[Probe, ...] = ("sharp", "aberrated")
SIZE = 96  # pixels of an image
PIXEL = 0.35  # Å
LAST = 40  # degrees
WINDOW = 24  # pixels: a probe's window in PRISM, 8.4 Å
FINE = 3  # samples of the potential per pixel
SLICE = 4.0  # Å
ENERGY = 200e3  # eV
DETECTOR = (45.0, 70.0)  # mrad
WIDEST = 35.0  # mrad
OPTICS: dict[Probe, dict[str, float]] = {  # mrad, Å
    "sharp": {"aperture": 35.0},
    "aberrated": {"aperture": 25.0, "spherical": 3e5, "defocus": 50.0},
}


@dataclass(frozen=True)
class Cluster:
    """A cluster of one element: shape, the arguments that ASE wants for it, turn in the plane in degrees.

    ``windows``: how many of the probe's windows lie side by side in its cell; the cell is a part of the image.
    """

    element: str
    shape: Literal["icosahedron", "decahedron", "octahedron"]
    size: tuple[int, ...]
    turned: float
    windows: int


CLUSTERS = {
    "iridium": Cluster("Ir", "decahedron", (3, 3, 1), 17.0, 3),
    "aluminium": Cluster("Al", "octahedron", (7, 2), 31.0, 3),
    "ytterbium": Cluster("Yb", "decahedron", (2, 3, 1), 52.0, 3),
    "xenon": Cluster("Xe", "icosahedron", (4,), 71.0, 4),
}
# First angle, last and step: multiples of 4° serve gaps of 4, 8 and 12°, of 2° all even ones.
PLAN = (
    ("iridium", 0, 40, 2), ("ytterbium", 0, 40, 4), ("aluminium", 0, 40, 4), ("ytterbium", 2, 38, 4),
    ("aluminium", 2, 38, 4), ("iridium", 1, 39, 2), ("xenon", 0, 40, 4), ("xenon", 2, 38, 4), ("ytterbium", 1, 39, 2),
    ("aluminium", 1, 39, 2),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ atoms
def atoms_of(cluster: Cluster) -> ase.Atoms:
    """Return the cluster about the origin, a two-fold axis along z."""
    from ase import Atoms
    from ase.cluster import Decahedron, Icosahedron, Octahedron

    make: Any = {"icosahedron": Icosahedron, "decahedron": Decahedron, "octahedron": Octahedron}[cluster.shape]
    lattice = {"Xe": {"latticeconstant": 6.13}}.get(cluster.element, {})
    at = make(cluster.element, *cluster.size, **lattice).positions
    at = at - at.mean(axis=0)
    axis = _two_fold(at)
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    at = at @ np.stack([across, np.cross(axis, across), axis], axis=1)
    t = np.deg2rad(cluster.turned)
    at[:, :2] = at[:, :2] @ np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    return Atoms([cluster.element] * len(at), positions=at)


def _two_fold(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find a direction about which half a turn maps the atoms onto themselves."""
    from scipy.spatial import cKDTree

    tree = cKDTree(at)
    outer = at[np.argsort(-np.linalg.norm(at, axis=1))[:40]]
    for first in outer:
        for second in outer[::-1]:
            middle = first + second
            length = np.linalg.norm(middle)
            if length > 1.0:
                axis = middle / length
                if tree.query(2 * (at @ axis)[:, None] * axis - at)[0].max() < 1e-3:
                    return np.asarray(axis)
    raise ValueError("the cluster has no two-fold axis")


# ------------------------------------------------------------------------------------------------ multislice
def view(cluster: Cluster, degrees: float) -> dict[Probe, Images]:
    """Return the images of one view, (96, 96), as fractions of the beam."""
    atoms = atoms_of(cluster)
    t = np.deg2rad(degrees)
    x, y, z = atoms.positions.T
    # The beam runs along z; a point is seen at x cos θ − z sin θ, as everywhere in Splatom.
    seen = np.stack([x * np.cos(t) - z * np.sin(t), y, x * np.sin(t) + z * np.cos(t)], axis=1)
    side = cluster.windows * WINDOW
    middle = (side - 1) / 2 * PIXEL
    atoms.positions = seen + np.array([middle, middle, 1.5 - seen[:, 2].min()])
    atoms.cell, atoms.pbc = [side * PIXEL, side * PIXEL, float(np.ptp(seen[:, 2])) + 3.0], True
    orders, waves = _through(atoms, side, cluster.windows)
    edge = (SIZE - side) // 2
    return {p: np.pad(_scanned(waves, orders, cluster.windows, **OPTICS[p]).T, edge) for p in PROBES}


def _through(atoms: ase.Atoms, side: int, windows: int) -> tuple[NDArray[np.int64], NDArray[np.complex64]]:
    """Return the plane waves of the aperture, (n, 2) in orders of the window, and what leaves the cell, (n, x, y).

    Conventional multislice with abTEM's slices; everything is cut off at two thirds of the highest frequency.
    """
    import abtem
    from abtem.core.energy import energy2sigma
    from scipy.fft import fft2, ifft2

    pixels = side * FINE
    potential = abtem.Potential(
        atoms, gpts=pixels, slice_thickness=SLICE, projection="infinite", parametrization="lobato"
    ).build(lazy=False)
    k = np.fft.fftfreq(pixels, PIXEL / FINE)
    squared = k[:, None] ** 2 + k**2
    kept = squared <= (FINE / PIXEL / 3) ** 2
    grid = np.stack(np.meshgrid(*2 * [np.arange(-WINDOW // 2, WINDOW // 2)], indexing="ij"), -1).reshape(-1, 2)
    unit = _wavelength() / (WINDOW * PIXEL) * 1e3  # mrad
    orders = grid[np.linalg.norm(grid, axis=1) * unit <= WIDEST]
    phase = 2j * np.pi * windows * np.arange(pixels) / pixels
    waves = (np.exp(phase * orders[:, :1])[:, :, None] * np.exp(phase * orders[:, 1:])[:, None]).astype(np.complex64)
    sigma = energy2sigma(ENERGY)
    for slab, thick in zip(np.asarray(potential.array), potential.slice_thickness, strict=True):
        bent = ifft2(kept * fft2(np.exp(1j * sigma * slab))).astype(np.complex64)
        onward = (kept * np.exp(-1j * np.pi * _wavelength() * thick * squared)).astype(np.complex64)
        for some in np.array_split(waves, range(16, len(waves), 16)):  # views: what fits into the cache
            some *= bent
            some[:] = ifft2(fft2(some, overwrite_x=True) * onward, overwrite_x=True)
    return orders, waves


def _scanned(
    waves: NDArray[np.complex64], orders: NDArray[np.int64], windows: int, aperture: float, spherical: float = 0.0,
    defocus: float = 0.0,
) -> Images:  # fmt: skip
    """Return what the ring detects for the probe at every pixel (PRISM: Ophus 2017), as a fraction of the beam.

    The probe at p is Σ_n c_n exp(−2πi n·p / w) S_n(x) within a window of width w about p. Over the places of p this
    sum is a Fourier transform, with period w; and the windows of probes that lie w apart tile the cell. So every
    probe comes out of one transform over n and one over each window. Agrees with abTEM's own reduction within
    3 % of an image's values.
    """
    from scipy.fft import fft2

    angle = np.linalg.norm(orders, axis=1) * _wavelength() / (WINDOW * PIXEL)
    phase = 2 * np.pi / _wavelength() * (angle**4 * spherical / 4 - angle**2 * defocus / 2)
    used = angle <= aperture * 1e-3
    c = np.exp(-1j * phase[used]).astype(np.complex64)
    side, window = windows * WINDOW, WINDOW * 2
    coarse = _band(waves[used], side * 2)
    by_order = np.zeros((WINDOW, WINDOW, side * 2, side * 2), np.complex64)
    by_order[tuple(orders[used].T % WINDOW)] = c[:, None, None] * coarse
    by_place = fft2(by_order, axes=(0, 1), overwrite_x=True)
    frequency = np.fft.fftfreq(window, PIXEL / 2) * _wavelength() * 1e3  # mrad
    scattered = np.hypot(frequency[:, None], frequency)
    ring = (scattered >= DETECTOR[0]) & (scattered < DETECTOR[1])
    out = np.empty((windows, WINDOW, windows, WINDOW), np.float32)
    for i in range(WINDOW):
        for j in range(WINDOW):
            start = (window // 2 - 2 * i, window // 2 - 2 * j)  # the window's middle is the probe
            tiles = np.roll(by_place[i, j], start, (0, 1)).reshape(windows, window, windows, window)
            found = fft2(tiles, axes=(1, 3)).transpose(0, 2, 1, 3)[:, :, ring]
            out[:, i, :, j] = (found.real**2 + found.imag**2).sum(axis=-1)
    return out.reshape(side, side) / np.float32(used.sum() * window**4)


def _band(waves: NDArray[np.complex64], pixels: int) -> NDArray[np.complex64]:
    """Sample waves on fewer pixels: above two thirds of the highest frequency they hold nothing."""
    from scipy.fft import fft2, fftfreq, ifft2

    old = waves.shape[-1]
    at = np.rint(fftfreq(pixels) * pixels).astype(int)
    out = np.empty((len(waves), pixels, pixels), np.complex64)
    for k, wave in enumerate(waves):
        out[k] = ifft2(fft2(wave)[np.ix_(at, at)]) * (pixels / old) ** 2
    return out


def _wavelength() -> float:
    """Of the electrons, in Å."""
    from abtem.core.energy import energy2wavelength

    return float(energy2wavelength(ENERGY))


# ------------------------------------------------------------------------------------------------ incoherent
def incoherent(cluster: Cluster, degrees: NDArray[np.float64]) -> dict[Probe, Images]:
    """Return images (n, 96, 96) as the projected potential folded with the probe's intensity: no multislice.

    abTEM's potential, infinite projection; the probe is |F(aperture · exp(−iχ))|².
    """
    import abtem

    atoms = atoms_of(cluster)
    x, y, z = atoms.positions.T.copy()
    side, pixels = SIZE * PIXEL, SIZE * FINE
    middle = (SIZE - 1) / 2 * PIXEL
    k = np.fft.fftfreq(pixels, PIXEL / FINE)
    angle = np.hypot(k[:, None], k) * _wavelength()
    transfer = {}
    for probe, optics in OPTICS.items():
        phase = angle**4 * optics.get("spherical", 0) / 4 - angle**2 * optics.get("defocus", 0) / 2
        wave = np.fft.ifft2((angle <= optics["aperture"] * 1e-3) * np.exp(-2j * np.pi / _wavelength() * phase))
        transfer[probe] = np.fft.fft2(np.abs(wave) ** 2) / (np.abs(wave) ** 2).sum()
    out: dict[Probe, Images] = {p: np.empty((len(degrees), SIZE, SIZE), np.float32) for p in PROBES}
    for n, t in enumerate(np.deg2rad(degrees)):
        seen = np.stack([x * np.cos(t) - z * np.sin(t), y, x * np.sin(t) + z * np.cos(t)], axis=1)
        atoms.positions = seen + np.array([middle, middle, 1.5 - seen[:, 2].min()])
        depth = float(np.ptp(seen[:, 2])) + 3.0
        atoms.cell, atoms.pbc = [side, side, depth], True
        potential = abtem.Potential(
            atoms, gpts=pixels, slice_thickness=depth, projection="infinite", parametrization="lobato"
        ).build(lazy=False)
        spectrum = np.fft.fft2(np.asarray(potential.array).sum(axis=0))
        for probe in PROBES:
            out[probe][n] = np.fft.ifft2(spectrum * transfer[probe]).real[::FINE, ::FINE].T
    return out


# ------------------------------------------------------------------------------------------------ series
def incoherent_series(name: str, probe: Probe, cache: Path) -> TiltSeries:
    """Return the incoherent series, −60° to 60° in steps of 1°, made first where the cache lacks it."""
    from splatom.data import TiltSeries
    from splatom.geometry import ViewGeometry

    path = cache / "tilts" / f"{name}-incoherent.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **incoherent(CLUSTERS[name], np.arange(61.0)))
    with np.load(path) as file:
        half = file[probe]
    edge = (SIZE - CLUSTERS[name].windows * WINDOW) // 2
    half = half[:, edge : SIZE - edge, edge : SIZE - edge]
    stack = np.concatenate([half[:0:-1, ::-1, ::-1], half])
    return TiltSeries(stack / stack.max(), ViewGeometry.single_axis(np.arange(-60.0, 61.0)), PIXEL / 10)


def _path(cache: Path, name: str, degrees: int) -> Path:
    return cache / "tilts" / f"{name}-{degrees:02d}.npz"


def series(name: str, probe: Probe, cache: Path) -> TiltSeries | None:
    """Return the finest complete series there is, in steps of 1°, 2° or 4°; None if there is none.

    Images are as large as the cell, 72² or 96² pixels; the brightest pixel is 1.
    """
    from splatom.data import TiltSeries
    from splatom.geometry import ViewGeometry

    for step in (1, 2, 4):
        angles = np.arange(-LAST, LAST + 1, step)
        if all(_path(cache, name, abs(a)).exists() for a in angles):
            edge = (SIZE - CLUSTERS[name].windows * WINDOW) // 2
            images = []
            for a in angles:
                with np.load(_path(cache, name, abs(a))) as file:
                    image = file[probe][edge : SIZE - edge, edge : SIZE - edge]
                images.append(image if a >= 0 else image[::-1, ::-1])
            stack = np.stack(images)
            return TiltSeries(stack / stack.max(), ViewGeometry.single_axis(angles.astype(float)), PIXEL / 10)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    args = parser.parse_args()
    for name, first, last, step in PLAN:
        for degrees in range(first, last + 1, step):
            path = _path(args.cache, name, degrees)
            if not path.exists():
                began = time.perf_counter()
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, **view(CLUSTERS[name], degrees))
                print(f"{name} {degrees}°: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
