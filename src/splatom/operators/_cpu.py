"""Matrix-free CPU kernels, compiled by numba.

A single-axis tilt treats every slice normal to the axis alike: a block of slices is packed with the slice as the
innermost index, and every ray sample becomes one short vector operation. Other geometries sample ray by ray.
Blocks are handed to plain threads (the kernels release the GIL): numba's own thread pool must not be entered from two
Python threads at once. The result does not depend on the number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from splatom.operators._rays import PLANE_AXES, Rays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = [
    "adjoint_general", "adjoint_slices", "backproject", "each", "forward_general", "forward_slices", "threads",
]  # fmt: skip

_WIDEST_BLOCK = 32
_PLANES = 16  # packed at a time: they stay in the second cache while every view passes over them

_compiled = numba.njit(fastmath=True, error_model="numpy", nogil=True, cache=True)


def threads() -> int:
    """Return the number of threads to use: the processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="splatom-kernel")


def each(calls: Iterable[tuple[Any, ...]], tick: Tick) -> None:
    """Run calls in the pool, ticking as they end; the first fault (a stop, say) drops those not begun."""
    pool, waiting = _pool(threads()), set[Future[None]]()
    try:
        for function, *arguments in calls:
            waiting.add(pool.submit(function, *arguments))
        while waiting:
            done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            if tick is not None:
                tick()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)  # those begun still write to the caller's arrays


@_compiled
def _columns(a: float, b: float, size: int, columns: int) -> tuple[int, int]:
    """First and past-last column whose position a + b·column lies strictly within (−1, size)."""
    if abs(b) < 1e-12:
        if a > -1.0 and a < size:
            return 0, columns
        return 0, 0
    low, high = (-1.0 - a) / b, (size - a) / b
    if low > high:
        low, high = high, low
    first = max(0, math.floor(max(low, -1.0)) + 1)
    last = min(columns, math.ceil(min(high, columns + 1.0)))
    return first, max(first, last)


@_compiled
def _forward_block(volume, sino, y0, y1, axes, views, b, weight):  # type: ignore[no-untyped-def]
    """Project slices y0 to y1 of volume (z, y, x) into sino (n, y, columns) for one steepest axis (0: z, 2: x)."""
    width = np.uintp(y1 - y0)
    planes, across, columns = volume.shape[axes], volume.shape[2 - axes], sino.shape[2]
    packed = np.zeros((_PLANES, across + 2, y1 - y0), volume.dtype)
    seen = np.zeros((len(views), columns, y1 - y0), volume.dtype)
    kind = volume.dtype.type
    for p0 in range(0, planes, _PLANES):
        p1 = min(p0 + _PLANES, planes)
        for o in range(p1 - p0 if axes == 0 else across):
            for i in range(across if axes == 0 else p1 - p0):
                for j in range(width):  # reads a tile that stays in the first cache, writes whole cache lines
                    if axes == 0:
                        packed[o, i + 1, j] = volume[p0 + o, y0 + j, i]
                    else:
                        packed[i, o + 1, j] = volume[o, y0 + j, p0 + i]
        for k in range(len(views)):
            image, wk = seen[k], weight[k]
            for p in range(p0, p1):
                plane = packed[p - p0]
                start = b[k, 0] + b[k, 3] * p
                first, last = _columns(start, b[k, 1], across, columns)
                for c in range(first, last):
                    q = start + b[k, 1] * c + 1.0
                    whole = np.int64(q)
                    w1 = wk * kind(q - whole)
                    w0 = wk - w1
                    cc, i0, i1 = np.uintp(c), np.uintp(whole), np.uintp(whole + 1)
                    for j in range(width):
                        image[cc, j] += w0 * plane[i0, j] + w1 * plane[i1, j]
    for k in range(len(views)):
        for j in range(width):
            for c in range(columns):
                sino[views[k], y0 + j, c] = seen[k, c, j]


@_compiled
def _adjoint_block(volume, sino, y0, y1, axes, views, b, weight, first_plane, end_plane):  # type: ignore[no-untyped-def]
    """Add the back-projection of sino (n, y, columns) to some planes of slices y0 to y1 of volume (z, y, x)."""
    width = np.uintp(y1 - y0)
    across, columns = volume.shape[2 - axes], sino.shape[2]
    packed = np.empty((_PLANES, across + 2, y1 - y0), volume.dtype)
    seen = np.empty((len(views), columns, y1 - y0), volume.dtype)
    kind = volume.dtype.type
    for k in range(len(views)):
        for j in range(width):
            for c in range(columns):
                seen[k, c, j] = sino[views[k], y0 + j, c]
    for p0 in range(first_plane, end_plane, _PLANES):
        p1 = min(p0 + _PLANES, end_plane)
        packed[:] = 0
        for k in range(len(views)):
            image, wk = seen[k], weight[k]
            for p in range(p0, p1):
                plane = packed[p - p0]
                start = b[k, 0] + b[k, 3] * p
                first, last = _columns(start, b[k, 1], across, columns)
                for c in range(first, last):
                    q = start + b[k, 1] * c + 1.0
                    whole = np.int64(q)
                    w1 = wk * kind(q - whole)
                    w0 = wk - w1
                    cc, i0, i1 = np.uintp(c), np.uintp(whole), np.uintp(whole + 1)
                    for j in range(width):
                        s = image[cc, j]
                        plane[i0, j] += w0 * s
                        plane[i1, j] += w1 * s
        for o in range(p1 - p0 if axes == 0 else across):
            for i in range(across if axes == 0 else p1 - p0):
                for j in range(width):
                    if axes == 0:
                        volume[p0 + o, y0 + j, i] += packed[o, i + 1, j]
                    else:
                        volume[o, y0 + j, p0 + i] += packed[i, o + 1, j]


@_compiled
def _forward_view(packed, image, a, b, weight):  # type: ignore[no-untyped-def]
    """Project packed (planes, a + 2, b + 2), zero at its border, into one image (rows, columns)."""
    planes, size_a, size_b = packed.shape[0], packed.shape[1] - 2, packed.shape[2] - 2
    rows, columns = image.shape
    kind = packed.dtype.type
    image[:] = 0
    for p in range(planes):
        plane = packed[p]
        for r in range(rows):
            a0 = a[0] + a[2] * r + a[3] * p
            b0 = b[0] + b[2] * r + b[3] * p
            first_a, last_a = _columns(a0, a[1], size_a, columns)
            first_b, last_b = _columns(b0, b[1], size_b, columns)
            for c in range(max(first_a, first_b), min(last_a, last_b)):
                qa, qb = a0 + a[1] * c + 1.0, b0 + b[1] * c + 1.0
                ia, ib = np.int64(qa), np.int64(qb)
                fa, fb = kind(qa - ia), kind(qb - ib)
                i, j, i1, j1 = np.uintp(ia), np.uintp(ib), np.uintp(ia + 1), np.uintp(ib + 1)
                near = plane[i, j] + fb * (plane[i, j1] - plane[i, j])
                far = plane[i1, j] + fb * (plane[i1, j1] - plane[i1, j])
                image[r, c] += near + fa * (far - near)
    for r in range(rows):
        for c in range(columns):
            image[r, c] *= weight


@_compiled
def _adjoint_planes(packed, sino, views, a, b, weight, p0, p1):  # type: ignore[no-untyped-def]
    """Add the back-projection of all views to planes p0 to p1 of packed (planes, a + 2, b + 2)."""
    size_a, size_b = packed.shape[1] - 2, packed.shape[2] - 2
    rows, columns = sino.shape[1], sino.shape[2]
    kind = packed.dtype.type
    for k in range(len(views)):
        image = sino[views[k]]
        w = weight[k]
        for p in range(p0, p1):
            plane = packed[p]
            for r in range(rows):
                a0 = a[k, 0] + a[k, 2] * r + a[k, 3] * p
                b0 = b[k, 0] + b[k, 2] * r + b[k, 3] * p
                first_a, last_a = _columns(a0, a[k, 1], size_a, columns)
                first_b, last_b = _columns(b0, b[k, 1], size_b, columns)
                for c in range(max(first_a, first_b), min(last_a, last_b)):
                    qa, qb = a0 + a[k, 1] * c + 1.0, b0 + b[k, 1] * c + 1.0
                    ia, ib = np.int64(qa), np.int64(qb)
                    fa, fb = kind(qa - ia), kind(qb - ib)
                    i, j, i1, j1 = np.uintp(ia), np.uintp(ib), np.uintp(ia + 1), np.uintp(ib + 1)
                    s = w * image[r, c]
                    far, near = fa * s, s - fa * s
                    plane[i, j1] += fb * near
                    plane[i, j] += near - fb * near
                    plane[i1, j1] += fb * far
                    plane[i1, j] += far - fb * far


def _blocks(slices: int) -> list[tuple[int, int]]:
    """Split the slices into blocks of the width at which the kernels are quickest."""
    return [(start, min(start + _WIDEST_BLOCK, slices)) for start in range(0, slices, _WIDEST_BLOCK)]


def _parts(size: int, blocks: int) -> list[slice]:
    """Split views or planes, so that few blocks keep every thread busy as well."""
    count = min(size, -(-threads() // blocks))
    edges = [size * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def forward_slices(volume: NDArray[Any], sino: NDArray[Any], groups: list[Rays], tick: Tick = None) -> None:
    """Project every slice: volume (z, y, x) into sino (n, y, columns), single-axis tilts only."""
    blocks = _blocks(volume.shape[1])
    each(
        (
            (_forward_block, volume, sino, y0, y1, g.steepest, g.views[some], g.b[some], w[some])
            for y0, y1 in blocks
            for g, w in ((g, g.weight.astype(volume.dtype)) for g in groups)
            for some in _parts(len(g.views), len(blocks))
        ),
        tick,
    )


def adjoint_slices(sino: NDArray[Any], volume: NDArray[Any], groups: list[Rays], tick: Tick = None) -> None:
    """Back-project every slice: sino (n, y, columns) into volume (z, y, x), single-axis tilts only."""
    volume[:] = 0
    blocks = _blocks(volume.shape[1])
    for g in groups:  # one after the other: they add to the same voxels
        w = g.weight.astype(volume.dtype)
        each(
            (
                (_adjoint_block, volume, sino, y0, y1, g.steepest, g.views, g.b, w, part.start, part.stop)
                for y0, y1 in blocks
                for part in _parts(volume.shape[g.steepest], len(blocks))
            ),
            tick,
        )


def forward_general(volume: NDArray[Any], out: NDArray[Any], groups: list[Rays], tick: Tick = None) -> None:
    """Project a volume (z, y, x) into out (n, rows, columns) for any geometry."""
    for g in groups:
        packed = np.pad(volume.transpose(PLANE_AXES[g.steepest]), ((0, 0), (1, 1), (1, 1)))
        w = g.weight.astype(volume.dtype)
        each(((_forward_view, packed, out[v], g.a[k], g.b[k], w[k]) for k, v in enumerate(g.views)), tick)


def adjoint_general(sino: NDArray[Any], volume: NDArray[Any], groups: list[Rays], tick: Tick = None) -> None:
    """Back-project (n, rows, columns) into volume (z, y, x) for any geometry."""
    volume[:] = 0
    for g in groups:
        axes = PLANE_AXES[g.steepest]
        p, a, b = (volume.shape[i] for i in axes)
        packed = np.zeros((p, a + 2, b + 2), volume.dtype)
        w = g.weight.astype(volume.dtype)
        step = max(1, -(-p // (8 * threads())))  # many short pieces: a stop is felt soon
        each(
            ((_adjoint_planes, packed, sino, g.views, g.a, g.b, w, i, min(i + step, p)) for i in range(0, p, step)),
            tick,
        )
        volume += packed[:, 1:-1, 1:-1].transpose(np.argsort(axes))


@_compiled
def _backproject_planes(volume, images, rotations, shifts, z0, z1):  # type: ignore[no-untyped-def]
    """Add to voxels of planes z0 to z1 what images (n, rows + 2, columns + 2), zero at the border, show of them."""
    depth, height, width = volume.shape
    rows, columns = images.shape[1] - 2, images.shape[2] - 2
    kind = volume.dtype.type
    for k in range(len(images)):
        image, r = images[k], rotations[k]
        for z in range(z0, z1):
            for y in range(height):
                zz, yy = z - (depth - 1) / 2, y - (height - 1) / 2
                column0 = r[0, 1] * yy + r[0, 2] * zz + shifts[k, 0] + (columns - 1) / 2 - r[0, 0] * (width - 1) / 2
                row0 = r[1, 1] * yy + r[1, 2] * zz + shifts[k, 1] + (rows - 1) / 2 - r[1, 0] * (width - 1) / 2
                first, last = _columns(column0, r[0, 0], columns, width)
                first2, last2 = _columns(row0, r[1, 0], rows, width)
                for x in range(max(first, first2), min(last, last2)):
                    qc, qr = column0 + r[0, 0] * x + 1.0, row0 + r[1, 0] * x + 1.0
                    ir, ic = np.int64(qr), np.int64(qc)
                    fi, fj = kind(qr - ir), kind(qc - ic)
                    i, j, i1, j1 = np.uintp(ir), np.uintp(ic), np.uintp(ir + 1), np.uintp(ic + 1)
                    near = image[i, j] + fj * (image[i, j1] - image[i, j])
                    far = image[i1, j] + fj * (image[i1, j1] - image[i1, j])
                    volume[z, y, x] += near + fi * (far - near)


def backproject(images: NDArray[Any], geometry: ViewGeometry, volume: NDArray[Any], tick: Tick = None) -> None:
    """Add to every voxel the interpolated value of each image (n, rows, columns) where the voxel is seen."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    r, s = np.ascontiguousarray(geometry.rotations), np.ascontiguousarray(geometry.shifts)
    z = len(volume)
    step = max(1, -(-z // (8 * threads())))
    each(((_backproject_planes, volume, padded, r, s, i, min(i + step, z)) for i in range(0, z, step)), tick)
