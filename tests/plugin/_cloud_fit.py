"""A small real fit of Gaussians, for the tests of streaming and steering: it takes edits as every method does."""

from __future__ import annotations

import time
from functools import partial
from typing import Literal

import numpy as np

from splatom.data import GaussianCloud, MethodParams, Volume, option

SIGMA = 1.0  # nm


class FitParams(MethodParams):
    """Fit the centres and masses of Gaussians of one width."""

    method: Literal["fit"] = "fit"
    iterations: int = option(5000, "Iterations", "Steps of descent.", live=True, ge=1, le=100_000)
    rate: float = option(0.5, "Rate", "Share of a Gauss-Newton step of each centre alone.", live=True, gt=0, le=1)


def images(centres, mass, geometry, shape, pixel):
    """Project, (views, n, rows, columns) of each Gaussian of mass 1, and the offsets of every pixel in nm."""
    rows, columns = shape
    at = geometry.project(centres, pixel, shape)  # (views, n, 2)
    dx = (np.arange(columns) - at[..., :1]) * pixel
    dy = (np.arange(rows) - at[..., 1:]) * pixel
    gx, gy = np.exp(-(dx**2) / (2 * SIGMA**2)), np.exp(-(dy**2) / (2 * SIGMA**2))
    spots = gy[..., :, None] * gx[..., None, :] / (2 * np.pi * SIGMA**2)
    return spots, dx, dy


def fit(group, name, series, job):
    """Descend on Σ(measured − predicted)², centre by centre; the start is the job's seed of four centres."""
    rng = np.random.default_rng(job.seed)
    centres, mass, ids = rng.normal(0, 2, (4, 3)), np.full(4, 10.0), np.arange(4)
    past = []
    step = 0
    with job.keeping_partial():
        while step < job.params.iterations:
            spots, dx, dy = images(centres, mass, series.geometry, series.shape[1:], series.pixel_nm)
            left = series.projections - np.einsum("n,vnrc->vrc", mass, spots)
            along = np.stack([np.einsum("vrc,vnrc,vnc->vn", left, spots, dx),
                              np.einsum("vrc,vnrc,vnr->vn", left, spots, dy)], -1) / SIGMA**2  # fmt: skip
            power = np.einsum("vnrc,vnrc->n", spots, spots) / len(series)
            turn = series.geometry.rotations[:, :2, :]  # image from specimen, (x, y, z)
            pull = np.einsum("vni,vij->nj", along, turn)[:, ::-1] / len(series)
            grip = np.maximum(mass, 1.0)[:, None] * power[:, None] / (2 * SIGMA**2)
            centres = centres + job.params.rate * np.clip(pull / grip, -0.3, 0.3)
            gain = np.einsum("vrc,vnrc->n", left, spots) / len(series) / power / 4
            mass = np.maximum(mass + job.params.rate * gain, 0)
            step += 1
            time.sleep(0.004)
            figures = {"loss": float((left**2).mean())}
            for edit in job.tick(step, job.params.iterations, partial(_cloud, centres, mass, ids), figures=figures):
                if "undo" in edit:
                    if past:
                        centres, mass, ids = past.pop()
                    continue
                past.append((centres.copy(), mass.copy(), ids.copy()))
                keep = ~np.isin(ids, edit.get("delete", []))
                centres, mass, ids = centres[keep], mass[keep], ids[keep]
                for who, to in edit.get("move", {}).items():
                    centres[ids == int(who)] = to
                for to in edit.get("add", []):
                    centres, mass = np.vstack([centres, to]), np.append(mass, 10.0)
                    ids = np.append(ids, 1000 + step + len(ids))
    return _cloud(centres, mass, ids)


def both(group, name, series, job):
    """The same, and a volume beside the centres; the result is the volume."""
    volume = np.zeros((8, 8, 8), np.float32)
    with job.keeping_partial():
        for step in range(1, 100_000):
            volume[step % 8] += 1
            cloud = _cloud(np.full((3, 3), step / 1000), np.ones(3), np.arange(3))
            job.tick(step, 100_000, lambda v=volume, c=cloud: {"cloud": c, "volume": Volume(v.copy(), 1.0)})
            time.sleep(0.004)
    return Volume(volume, 1.0)


def _cloud(centres, mass, ids):
    return GaussianCloud(centres, np.full((len(ids), 3), SIGMA), mass, ids=ids)
