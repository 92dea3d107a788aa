"""Projections of specimens by models of their own, independent of the reconstruction's projectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import Atoms, Volume
    from splatom.geometry import ViewGeometry

__all__ = ["numbers", "project_atoms", "project_volume"]


def project_volume(
    volume: Volume, geometry: ViewGeometry, detector_shape: tuple[int, int], pixel_size: float
) -> NDArray[np.float32]:
    """Project a volume.

    A single-axis series is projected by exact strip integrals: a voxel is a box of constant density, its shadow a
    trapezoid, and a pixel the mean of the shadow over its width. Other geometries sum the turned volume, interpolated
    linearly at half a voxel along the beam and across.

    Parameters
    ----------
    volume : Volume
    geometry : ViewGeometry
    detector_shape : tuple
        ``(height, width)`` in pixels.
    pixel_size : float
        In nm.

    Returns
    -------
    array (n_views, height, width), float32
    """
    if geometry.is_single_axis:
        return _strips(volume, geometry, detector_shape, pixel_size)
    return _ray_sums(volume, geometry, detector_shape, pixel_size)


def _shadow_integral(u: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Integral up to u of a trapezoid of unit area: boxes of widths a and b convolved."""

    def ramp(t: NDArray[np.float64]) -> NDArray[np.float64]:
        half: NDArray[np.float64] = np.maximum(t, 0) ** 2 / 2
        return half

    s, d = (a + b) / 2, (a - b) / 2
    out: NDArray[np.float64] = (ramp(u + s) - ramp(u + d) - ramp(u - d) + ramp(u - s)) / (a * b)
    return out


def _overlap(centres: NDArray[np.float64], n_pixels: int, a: float, b: float, pixel: float) -> NDArray[np.float64]:
    """Columns, and weights, of the pixels that shadows about some centres (pixels) fall on.

    Returns
    -------
    array (2, m, k)
        Pixel indices and the share of each shadow on them; indices outside the detector have weight 0.
    """
    a, b = max(a, 1e-5 * pixel) / pixel, max(b, 1e-5 * pixel) / pixel
    k = int(np.ceil(a + b)) + 1
    first = np.floor(centres - (a + b) / 2 + 0.5)
    edges = first[:, None] + np.arange(k + 1) - 0.5 - centres[:, None]
    weights = np.diff(_shadow_integral(edges, a, b), axis=1)
    index = first[:, None] + np.arange(k)
    weights[(index < 0) | (index >= n_pixels)] = 0
    return np.stack([np.clip(index, 0, n_pixels - 1), weights])


def _strips(
    volume: Volume, geometry: ViewGeometry, detector_shape: tuple[int, int], pixel: float
) -> NDArray[np.float32]:
    from scipy.sparse import csr_array

    height, width = detector_shape
    nz, ny, nx = volume.shape
    voxel = volume.voxel_nm
    oz, oy, ox = volume.origin_zyx
    z = ((np.arange(nz) - (nz - 1) / 2) * voxel + oz)[:, None]
    x = ((np.arange(nx) - (nx - 1) / 2) * voxel + ox)[None, :]
    y = (np.arange(ny) - (ny - 1) / 2) * voxel + oy
    slices = np.ascontiguousarray(volume.data.transpose(0, 2, 1)).reshape(nz * nx, ny)
    same_rows = ny == height and np.isclose(voxel, pixel) and oy == 0
    out = np.empty((len(geometry), height, width), dtype=np.float32)
    for view, (rotation, shift) in enumerate(zip(geometry.rotations, geometry.shifts, strict=True)):
        cos, sin = rotation[0, 0], -rotation[0, 2]
        centres = ((x * cos - z * sin) / pixel + shift[0] + (width - 1) / 2).ravel()
        index, weights = _overlap(centres, width, abs(cos) * voxel, abs(sin) * voxel, pixel)
        # Mean over a pixel of the shadow, whose area is (intensity per voxel) × voxel.
        weights *= voxel / pixel
        rays = np.repeat(np.arange(nz * nx), index.shape[1])
        strips = csr_array(
            (weights.ravel().astype(np.float32), (index.ravel().astype(np.int32), rays)), shape=(width, nz * nx)
        )
        image = np.asarray(strips @ slices).T
        if not (same_rows and shift[1] == 0):
            rows, share = _overlap(y / pixel + shift[1] + (height - 1) / 2, height, voxel, 0.0, pixel)
            moved = np.zeros((height, width))
            for j in range(rows.shape[1]):
                np.add.at(moved, rows[:, j].astype(int), image * (share[:, j] * voxel / pixel)[:, None])
            image = moved
        out[view] = image
    return out


def _ray_sums(
    volume: Volume, geometry: ViewGeometry, detector_shape: tuple[int, int], pixel: float
) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    height, width = detector_shape
    voxel = volume.voxel_nm
    step = voxel / 2
    reach = np.linalg.norm(np.array(volume.shape) * voxel) / 2 + float(np.linalg.norm(volume.origin_zyx))
    depth = np.arange(-reach, reach + step, step)
    middle = (np.array(volume.shape) - 1) / 2
    origin = np.array(volume.origin_zyx)
    v, u = np.meshgrid((np.arange(2 * height) + 0.5) / 2 - 0.5, (np.arange(2 * width) + 0.5) / 2 - 0.5, indexing="ij")
    out = np.empty((len(geometry), height, width), dtype=np.float32)
    for view, (rotation, shift) in enumerate(zip(geometry.rotations, geometry.shifts, strict=True)):
        seen = np.stack([(u - shift[0] - (width - 1) / 2) * pixel, (v - shift[1] - (height - 1) / 2) * pixel])
        plane = np.einsum("ai,ahw->ihw", rotation[:2], seen)
        total = np.zeros(u.shape)
        for t in depth:
            xyz = plane + (t * rotation[2])[:, None, None]
            at = (xyz[::-1] - origin[:, None, None]) / voxel + middle[:, None, None]
            total += map_coordinates(volume.data, at, order=1, mode="grid-constant", output=np.float64)
        out[view] = (total * step / voxel).reshape(height, 2, width, 2).mean(axis=(1, 3))
    return out


def project_atoms(
    atoms: Atoms,
    geometry: ViewGeometry,
    detector_shape: tuple[int, int],
    pixel_size: float,
    *,
    sigma_nm: float = 0.045,
    tail_nm: float = 0.012,
) -> NDArray[np.float32]:
    """Project atoms by the incoherent model of annular dark field: each adds Z^1.7 times the probe's profile.

    The profile is a Gaussian, integrated over every pixel at the atom's exact position, with the long tails of a
    two-dimensional Lorentzian (a Voigt profile), so that a fit of plain Gaussians meets data of another model.

    Parameters
    ----------
    atoms : Atoms
        ``amplitude`` replaces ``(Z/79)^1.7`` where it is given, ``b_factor`` the width ``sigma_nm``.
    geometry : ViewGeometry
    detector_shape : tuple
        ``(height, width)`` in pixels.
    pixel_size : float
        In nm.
    sigma_nm : float
        Standard deviation of the Gaussian in nm: probe, thermal motion and the atom's own width.
    tail_nm : float
        Half width γ of the Lorentzian ``γ / (2π (r² + γ²)^(3/2))`` in nm; 0 for none.

    Returns
    -------
    array (n_views, height, width), float32
        An atom's image sums to amplitude / pixel_size² where it lies in the field.
    """
    from scipy.special import erf

    height, width = detector_shape
    margin = int(np.ceil(max(10 * tail_nm, 5 * sigma_nm) / pixel_size))
    shape = (height + 2 * margin, width + 2 * margin)
    places = geometry.project(atoms.positions_zyx, pixel_size, shape)
    sigma = (np.full(len(atoms), sigma_nm) if atoms.b_factor is None else atoms.b_factor) / pixel_size
    half = int(np.ceil(4.5 * sigma.max(initial=0.1))) + 1
    window = np.arange(-half, half + 1)
    amplitude = _scattering(atoms) if atoms.amplitude is None else atoms.amplitude
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    tails = np.exp(-2 * np.pi * frequency * tail_nm / pixel_size)

    out = np.empty((len(geometry), height, width), dtype=np.float32)
    for view, place in enumerate(places):
        nearest = np.rint(place).astype(int)
        edges = np.concatenate([window - 0.5, [half + 0.5]])[None, :] - (place - nearest)[..., None]  # (m, 2, k+1)
        share = np.diff(erf(edges / (np.sqrt(2) * sigma[:, None, None])), axis=-1) / 2
        spots = amplitude[:, None, None] * share[:, 1, :, None] * share[:, 0, None, :]
        rows = nearest[:, 1, None, None] + window[None, :, None]
        columns = nearest[:, 0, None, None] + window[None, None, :]
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        flat = (rows * shape[1] + columns)[inside]
        image: Any = np.bincount(flat, spots[inside], minlength=shape[0] * shape[1]).reshape(shape)
        if tail_nm > 0:
            image = np.fft.irfft2(np.fft.rfft2(image) * tails, shape)
        out[view] = image[margin : margin + height, margin : margin + width] / pixel_size**2
    return out


def _scattering(atoms: Atoms) -> NDArray[np.float64]:
    """Relative ADF cross-section of every atom, (Z/79)^1.7."""
    out: NDArray[np.float64] = (numbers(atoms) / 79) ** 1.7
    return out


def numbers(atoms: Atoms) -> NDArray[np.float64]:
    """Atomic number of every atom, (n,).

    Raises
    ------
    ValueError
        If a species is no element.
    """
    from ase.data import atomic_numbers

    unknown = sorted(set(atoms.species) - set(atomic_numbers) | ({"X"} & set(atoms.species)))
    if unknown:
        raise ValueError(f"atoms of unknown species {', '.join(unknown)} cannot be imaged; name the elements")
    return np.array([atomic_numbers[s] for s in atoms.species], dtype=np.float64)
