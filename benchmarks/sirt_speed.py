"""SIRT against ASTRA's CPU SIRT on the same data: seconds, ratio and quality, measured in one run.

100 passes over 256 × 256 × 32 slices and 61 tilts (±60°). ASTRA's CPU projectors are two-dimensional and run on one
thread, so it gets one process per core, each with its share of the slices; starting them is not counted. The data are
line integrals by ASTRA's 'strip' projector, which neither side reconstructs with, plus 1 % noise.

    python benchmarks/sirt_speed.py [--passes 100]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

SIZE, SLICES = 256, 32
ANGLES = np.linspace(-60.0, 60.0, 61)


def phantom() -> np.ndarray:
    """Return (z, y, x): the Shepp-Logan head, growing from slice to slice."""
    from splatom.simulate import shepp_logan

    return shepp_logan(float(SIZE)).volume((SIZE, SIZE, SIZE), 1.0).data[:, (SIZE - SLICES) // 2 :][:, :SLICES]


def _astra_geometry():
    import astra

    # ASTRA's angle turns the detector the other way round than our tilt.
    projections = astra.create_proj_geom("parallel", 1.0, SIZE, np.deg2rad(ANGLES))
    return astra, projections, astra.create_vol_geom(SIZE, SIZE)


def astra_project(volume: np.ndarray) -> np.ndarray:
    """Return (tilts, slices, columns) of a volume (z, y, x) by strip integrals."""
    astra, projections, grid = _astra_geometry()
    projector = astra.create_projector("strip", projections, grid)
    out = np.empty((len(ANGLES), volume.shape[1], SIZE), np.float32)
    for k in range(volume.shape[1]):
        handle, sino = astra.create_sino(np.ascontiguousarray(volume[:, k]), projector)
        out[:, k] = sino
        astra.data2d.delete(handle)
    astra.projector.delete(projector)
    return out


def astra_sirt(data: np.ndarray, passes: int) -> np.ndarray:
    """Reconstruct slices (tilts, slices, columns) with ASTRA; returns (z, y, x)."""
    astra, projections, grid = _astra_geometry()
    projector = astra.create_projector("linear", projections, grid)
    out = np.empty((SIZE, data.shape[1], SIZE), np.float32)
    for k in range(data.shape[1]):
        sino = astra.data2d.create("-sino", projections, np.ascontiguousarray(data[:, k]))
        volume = astra.data2d.create("-vol", grid)
        config = astra.astra_dict("SIRT")
        config.update(ProjectorId=projector, ProjectionDataId=sino, ReconstructionDataId=volume)
        config["option"] = {"MinConstraint": 0.0}
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm, passes)
        out[:, k] = astra.data2d.get(volume)
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([sino, volume])
    return out


def _share(arguments: tuple[np.ndarray, int]) -> np.ndarray:
    return astra_sirt(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    import splatom
    from splatom.data import TiltSeries
    from splatom.evaluate import psnr
    from splatom.geometry import ViewGeometry

    truth = phantom()
    data = astra_project(truth)
    data += np.random.default_rng(0).normal(0, 0.01 * data.max(), data.shape).astype(np.float32)
    # ASTRA: column = x cos + y sin with its rows running against y, so its row index is our z: the same frame.
    series = TiltSeries(data, ViewGeometry.single_axis(ANGLES), 1.0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    splatom.run("reconstruct", "sirt", series, iterations=1, specimen="isolated")  # compiles
    began = time.perf_counter()
    ours = splatom.run("reconstruct", "sirt", series, iterations=args.passes, specimen="isolated").data
    seconds_ours = time.perf_counter() - began

    shares = [(part, args.passes) for part in np.array_split(data, cores, axis=1)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(_share, [(part[:, :1], 1) for part, _ in shares])  # starts the processes, loads the library
        began = time.perf_counter()
        theirs = np.concatenate(pool.map(_share, shares, chunksize=1), axis=1)
        seconds_theirs = time.perf_counter() - began

    found = {
        "machine": f"{platform.processor() or platform.machine()}, {cores} cores",
        "passes": args.passes,
        "seconds_splatom": round(seconds_ours, 2),
        "seconds_astra": round(seconds_theirs, 2),
        "ratio": round(seconds_theirs / seconds_ours, 1),
        "psnr_splatom": round(psnr(ours, truth), 3),
        "psnr_astra": round(psnr(theirs, truth), 3),
        "psnr_between": round(psnr(ours, theirs), 1),
    }
    print(json.dumps(found) if args.json else "\n".join(f"{k:18} {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()
