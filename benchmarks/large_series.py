"""A 1024 × 1024 series of 61 tilts: the plan before the start, and the plan tested on a part.

The plan (time, memory, slabs) is made as the window makes it. Then 64 rows are reconstructed in full, and the time and
the memory they took are scaled to all rows.

    python benchmarks/large_series.py [--passes 20] [--rows 64]
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import psutil

import splatom
from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.methods import get
from splatom.methods.reconstruct._memory import estimate

SIZE = 1024
ANGLES = np.linspace(-60, 60, 61)


def series(rows: int) -> TiltSeries:
    """Return projections of a cylinder of random blobs: smooth, isolated, cheap to make."""
    rng = np.random.default_rng(0)
    x = np.arange(SIZE) - (SIZE - 1) / 2
    images = np.zeros((len(ANGLES), rows, SIZE), np.float32)
    for _ in range(40):
        cx, cz = rng.uniform(-250, 250, 2)
        y, width = rng.uniform(0, rows), rng.uniform(10, 60)
        along = np.exp(-((np.arange(rows) - y) ** 2) / (2 * width**2))[None, :, None]
        theta = np.deg2rad(ANGLES)[:, None, None]
        images += along * np.exp(-((x - (cx * np.cos(theta) - cz * np.sin(theta))) ** 2) / (2 * width**2))
    return TiltSeries(images, ViewGeometry.single_axis(ANGLES), 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--rows", type=int, default=64)
    args = parser.parse_args()
    params = get("reconstruct", "sirt").params(iterations=args.passes)
    plan = estimate(series(SIZE), "sirt", params)
    print(f"plan for all {SIZE} rows, {args.passes} passes: {plan.text}")
    part = series(args.rows)
    process = psutil.Process()
    before = process.memory_info().rss
    began = time.perf_counter()
    peak = before

    def watch(step: int, total: int) -> None:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)

    volume = splatom.run("reconstruct", "sirt", part, iterations=args.passes, progress=watch)
    seconds = time.perf_counter() - began
    per_voxel = (peak - before) / np.prod(volume.shape)
    print(f"measured on {args.rows} rows: {seconds:.1f} s, {(peak - before) / 2**30:.2f} GiB above the start")
    print(f"scaled to {SIZE} rows: {seconds * SIZE / args.rows / 60:.1f} min, {per_voxel:.0f} bytes per voxel")
    print(f"plan / measured time: {plan.seconds / (seconds * SIZE / args.rows):.2f}")


if __name__ == "__main__":
    main()
