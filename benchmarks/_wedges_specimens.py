"""Volumes that the priors have not seen: seeds far from training's, and shapes that its generators cannot draw.

Each is drawn on voxels half as large as those that are reconstructed, and imaged from these.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from _specimens import SPECIMENS as SOLIDS
from splatom.data import TiltSeries, Volume
from splatom.simulate import cell, nanoparticle_on_support, needle, tilt_series

SEED = 900_001  # training counts up from 0
FINE = 2
NM = {"biological": 5.0, "materials": 0.5}


def _axes(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    return axis[:, None, None], axis[None, :, None], axis[None, None, :]


def _turned(size: int, rng: np.random.Generator) -> list[np.ndarray]:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = (q * np.sign(np.diag(r))).astype(np.float32)
    z, y, x = _axes(size)
    return [row[0] * z + row[1] * y + row[2] * x for row in q]


def _sheet(distance: np.ndarray, size: int, voxels: float) -> np.ndarray:
    """Share of each voxel within a sheet about a surface whose distance is in units of half the field."""
    d = np.abs(distance) * size / 2
    voxels *= FINE
    return np.clip(voxels / 2 + 0.5 - d, 0, 1) - np.clip(-voxels / 2 - 0.5 - d, 0, 1)


def reticulum(size: int, seed: int) -> Volume:
    """Membranes of a gyroid: a network of tubes such as no vesicle or mitochondrion makes."""
    rng = np.random.default_rng((seed, 1))
    waves, phases = np.pi * rng.uniform(1.2, 1.6, 3), rng.uniform(0, 6, 3)
    u, v, w = (a * np.float32(k) + np.float32(p) for a, k, p in zip(_turned(size, rng), waves, phases, strict=True))
    field = np.sin(u) * np.cos(v) + np.sin(v) * np.cos(w) + np.sin(w) * np.cos(u)
    slope = np.sqrt(sum(g**2 for g in np.gradient(field))) * size / 2
    body = np.sqrt(sum(a**2 for a in _axes(size))) < 0.85
    density = (0.12 + 0.88 * _sheet(field / np.maximum(slope, 1e-3), size, 1.0)) * body
    return _volume(density, "biological")


def stacks(size: int, seed: int) -> Volume:
    """Bent flat sacs in a stack, as the Golgi apparatus has, with a few small spheres round them."""
    rng = np.random.default_rng((seed, 2))
    u, v, w = _turned(size, rng)
    bend = u + np.float32(rng.uniform(0.2, 0.5)) * (v * v + w * w)
    density = np.full((size,) * 3, 0.1, np.float32)
    for middle in np.linspace(-0.35, 0.35, 5) + rng.normal(0, 0.02, 5):
        sac = np.maximum(np.abs(bend - np.float32(middle)) - 0.035, np.sqrt(v * v + w * w) - rng.uniform(0.4, 0.65))
        density = np.where(sac < 0, np.float32(0.04), density) * (1 - _sheet(sac, size, 1.0)) + _sheet(sac, size, 1.0)
    for _ in range(12):
        c = rng.uniform(-0.8, 0.8, 3).astype(np.float32)
        r = np.sqrt((u - c[0]) ** 2 + (v - c[1]) ** 2 + (w - c[2]) ** 2) - np.float32(rng.uniform(0.05, 0.1))
        shell = _sheet(r, size, 1.0)
        density = density * (1 - shell) + shell
    return _volume(density, "biological")


def _volume(density: np.ndarray, kind: str) -> Volume:
    voxel = NM[kind] / FINE
    return Volume((density * voxel).astype(np.float32), voxel)


def _cell(size: int, seed: int) -> Volume:
    return cell((size,) * 3, NM["biological"] / FINE, SEED + seed)


def _needle(size: int, seed: int) -> Volume:
    return needle((size,) * 3, NM["materials"] / FINE, SEED + seed)


def _particle(size: int, seed: int) -> Volume:
    return nanoparticle_on_support((size,) * 3, NM["materials"] / FINE, SEED + seed)


def _solid(name: str) -> Callable[[int, int], Volume]:
    return lambda size, seed: _volume(SOLIDS[name](size // FINE, np.random.default_rng(SEED + seed)), "materials")


SPECIMENS: dict[str, dict[str, Callable[[int, int], Volume]]] = {
    "biological": {"cell": _cell, "reticulum": reticulum, "stacks": stacks},
    "materials": {"particle": _particle, "needle": _needle, "core-shell": _solid("core-shell"),
                  "graded": _solid("gradient")},
}  # fmt: skip


def made(
    kind: str, name: str, size: int, half: float, step: float, jitter: float, seed: int
) -> tuple[TiltSeries, Volume]:
    """Return a series over ±half degrees and the truth on the voxels of its pixels.

    Counted electrons, 200 where it is brightest over a background of 5 %; every tilt misplaced by ``jitter`` pixels.
    """
    fine = SPECIMENS[kind][name](size * FINE, seed)
    truth = fine.data.reshape(size, FINE, size, FINE, size, FINE).sum(axis=(1, 3, 5)) / FINE**2
    angles = np.arange(-half, half + 1e-6, step)
    series = tilt_series(
        fine, angles, detector_shape=(size, size), pixel_size=NM[kind], dose=200, background=0.05, jitter=jitter,
        seed=seed,
    )  # fmt: skip
    return series, Volume(truth, NM[kind])
