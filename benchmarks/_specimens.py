"""Specimens for the benchmark of `reconstruct denza`: none is made of Gaussians; each is drawn on a finer grid.

Piecewise constant: facets, pores, core-shell, all on a thin support or alone. Graded: a concentration gradient under a
sharp surface, soft interfaces, a ramp through a faceted block, spheres whose density falls from the centre.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splatom.data import TiltSeries, Volume
from splatom.simulate import tilt_series

FINE = 2  # finer voxels per voxel and axis
PIXEL = 0.5  # nm


def _grid(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates z, y, x of the fine grid in units of half the field."""
    axis = ((np.arange(size * FINE) - (size * FINE - 1) / 2) / (size * FINE / 2)).astype(np.float32)
    return axis[:, None, None], axis[None, :, None], axis[None, None, :]


def _solid(distance: np.ndarray, size: int) -> np.ndarray:
    """Share of each fine voxel inside a surface, from the signed distance of its centre."""
    return np.clip(0.5 - distance * (size * FINE / 2), 0, 1).astype(np.float32)


def _turn(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def _polyhedron(size: int, centre: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Signed distance (nearly) of a truncated octahedron, unevenly grown, at random orientation."""
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) / np.sqrt(3)
    normals = np.concatenate([corners, np.eye(3), -np.eye(3)]) @ _turn(rng)
    heights = np.concatenate([np.full(8, radius), np.full(6, 1.15 * radius)]) * rng.uniform(0.8, 1.05, 14)
    z, y, x = (a - np.float32(c) for a, c in zip(_grid(size), centre, strict=True))
    distance = np.full((size * FINE,) * 3, -9, np.float32)
    for n, h in zip(normals.astype(np.float32), heights, strict=True):
        np.maximum(distance, n[0] * z + n[1] * y + n[2] * x - np.float32(h), out=distance)
    return distance


def _ball(size: int, centre: np.ndarray, radii: np.ndarray | float) -> np.ndarray:
    """Signed distance (nearly) of an ellipsoid."""
    radii = np.broadcast_to(np.asarray(radii, np.float32), 3)
    z, y, x = ((a - np.float32(c)) / r for a, c, r in zip(_grid(size), centre, radii, strict=True))
    return (np.sqrt(z * z + y * y + x * x) - 1) * np.float32(radii.min())


def _support(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a thin disc of carbon, a little inclined, wholly in view."""
    z, y, x = _grid(size)
    lean = rng.uniform(-0.15, 0.15, 2).astype(np.float32)
    height = z - np.float32(0.12) - lean[0] * y - lean[1] * x
    return _solid(np.maximum(np.abs(height) - np.float32(0.05), np.sqrt(y * y + x * x) - np.float32(0.8)), size)


def _places(rng: np.random.Generator, count: int, radius: float) -> np.ndarray:
    """Centres (z, y, x) of particles above the support that do not touch, as far as they can be found."""
    out: list[np.ndarray] = []
    for _ in range(400):
        turn, far = rng.uniform(0, 2 * np.pi), 0.62 * np.sqrt(rng.uniform())
        at = np.array([-0.02 - 0.6 * radius, far * np.sin(turn), far * np.cos(turn)])
        if all(np.linalg.norm(at - b) > 2.1 * radius for b in out):
            out.append(at)
        if len(out) == count:
            break
    return np.array(out)


def _over(under: np.ndarray, level: np.ndarray | float, cover: np.ndarray) -> np.ndarray:
    return under * (1 - cover) + np.asarray(level, np.float32) * cover


def facets(size: int, rng: np.random.Generator) -> np.ndarray:
    """Faceted crystals of two densities on a carbon support."""
    out = 0.08 * _support(size, rng)
    for i, at in enumerate(_places(rng, 5, 0.22)):
        radius = rng.uniform(0.14, 0.24)
        out = _over(out, (1.0, 0.6)[i % 2], _solid(_polyhedron(size, at, radius, rng), size))
    return out


def pores(size: int, rng: np.random.Generator) -> np.ndarray:
    """One large faceted particle full of pores."""
    body = _solid(_polyhedron(size, rng.uniform(-0.05, 0.05, 3), 0.5, rng), size)
    for _ in range(14):
        middle = rng.normal(size=3)
        middle *= 0.42 * rng.uniform() ** 0.5 / np.linalg.norm(middle)
        body = body * (1 - _solid(_ball(size, middle, rng.uniform(0.04, 0.13)), size))
    return body


def core_shell(size: int, rng: np.random.Generator) -> np.ndarray:
    """Ellipsoids with a heavy core and a light shell on a carbon support."""
    out = 0.08 * _support(size, rng)
    for at in _places(rng, 4, 0.26):
        radii = rng.uniform(0.16, 0.26, 3)
        out = _over(out, 0.35, _solid(_ball(size, at, radii), size))
        out = _over(out, 1.0, _solid(_ball(size, at + rng.uniform(-0.03, 0.03, 3), 0.6 * radii), size))
    return out


def gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    """Particles whose composition goes from one side to the other, under a sharp surface."""
    out = np.zeros((size * FINE,) * 3, np.float32)
    for at, radius in (((-0.25, -0.3, -0.2), 0.3), ((0.2, 0.3, 0.15), 0.4)):
        way = rng.normal(size=3).astype(np.float32)
        way /= np.linalg.norm(way)
        z, y, x = (a - np.float32(c) for a, c in zip(_grid(size), at, strict=True))
        share = (way[0] * z + way[1] * y + way[2] * x) / np.float32(radius)
        level = 0.65 + 0.35 * np.sin(np.clip(share, -1, 1) * np.pi / 2)
        out = _over(out, level, _solid(_polyhedron(size, np.array(at), radius, rng), size))
    return out


def soft(size: int, rng: np.random.Generator) -> np.ndarray:
    """Interdiffused core and shell, and a surface that fades: no edge is sharp."""
    out = np.zeros((size * FINE,) * 3, np.float32)
    for at, radius in (((0.2, -0.3, 0.15), 0.36), ((-0.2, 0.32, -0.2), 0.3)):
        radii = radius * rng.uniform(0.85, 1.1, 3)
        outer, core = _ball(size, np.array(at), radii), _ball(size, np.array(at) + 0.03, 0.5 * radii)
        out += 0.4 / (1 + np.exp(outer / 0.04)) + 0.6 / (1 + np.exp(core / 0.05))
    return out


def ramp(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a block whose density rises along a slanting direction, with a few holes of soft depth."""
    body = _solid(_polyhedron(size, np.zeros(3), 0.48, rng), size)
    way = _turn(rng)[0]
    z, y, x = _grid(size)
    level = 0.6 + 0.8 * (way[0] * z + way[1] * y + way[2] * x)
    for _ in range(5):
        at = rng.uniform(-0.28, 0.28, 3)
        dip = sum((a - np.float32(c)) ** 2 for a, c in zip((z, y, x), at, strict=True))
        level = level - rng.uniform(0.1, 0.3) / (1 + (dip / 0.1**2) ** 2)
    return body * np.clip(level, 0.05, None)


def radial(size: int, rng: np.random.Generator) -> np.ndarray:
    """Spheres whose density falls from the centre as a parabola."""
    out = np.zeros((size * FINE,) * 3, np.float32)
    for at in ((0.3, 0.3, 0.2), (-0.3, 0.2, -0.25), (0.05, -0.3, 0.05), (-0.2, -0.2, 0.45)):
        inside = _ball(size, np.array(at) + rng.uniform(-0.08, 0.08, 3), rng.uniform(0.2, 0.34))
        radius = -inside.min()
        out += np.clip(1 - (inside / radius + 1) ** 2, 0, None) * np.float32(rng.uniform(0.6, 1))
    return out


Specimen = Callable[[int, np.random.Generator], np.ndarray]
CONSTANT: dict[str, Specimen] = {"facets": facets, "pores": pores, "core-shell": core_shell}
GRADED: dict[str, Specimen] = {"gradient": gradient, "soft": soft, "ramp": ramp, "radial": radial}
SPECIMENS = CONSTANT | GRADED


def made(
    name: str, size: int, views: int, seed: int, *, dose: float = 200.0, gain_drift: float = 0.0
) -> tuple[TiltSeries, Volume]:
    """Return a series over ±66° and the truth on the voxels of its pixels.

    The images are exact strip integrals of the finer grid; electrons are counted, ``dose`` of them where the series is
    brightest, over a background of 5 %.
    """
    fine = SPECIMENS[name](size, np.random.default_rng(seed)).astype(np.float32)
    volume = Volume(fine * (PIXEL / FINE), PIXEL / FINE)
    truth = fine.reshape(size, FINE, size, FINE, size, FINE).mean(axis=(1, 3, 5)) * PIXEL
    series = tilt_series(
        volume, np.linspace(-66, 66, views), detector_shape=(size, size), pixel_size=PIXEL, dose=dose,
        background=0.05, gain_drift=gain_drift, seed=seed,
    )  # fmt: skip
    return series, Volume(truth, PIXEL)
