"""Compiled kernels of :mod:`_denza_kernels`, each over a range of planes."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["blur_planes", "divergence_planes", "dual_planes"]

_compiled = numba.njit(fastmath=True, error_model="numpy", nogil=True, cache=True)


@_compiled
def dual_planes(q, ahead, step, limit, z0, z1):  # type: ignore[no-untyped-def]
    depth, height, width = ahead.shape
    one = ahead.dtype.type(1)
    for z in range(z0, z1):
        zn = min(z + 1, depth - 1)
        for y in range(height):
            yn = min(y + 1, height - 1)
            here, below, behind = ahead[z, y], ahead[z, yn], ahead[zn, y]
            qz, qy, qx, most, far = q[0, z, y], q[1, z, y], q[2, z, y], limit[z, y], step[z, y]
            for x in range(width):
                xn = min(x + 1, width - 1)
                a = qz[x] + far[x] * (behind[x] - here[x])
                b = qy[x] + far[x] * (below[x] - here[x])
                c = qx[x] + far[x] * (here[xn] - here[x])
                shrink = one / max(one, math.sqrt(a * a + b * b + c * c) / most[x])
                qz[x], qy[x], qx[x] = a * shrink, b * shrink, c * shrink


@_compiled
def divergence_planes(out, q, z0, z1):  # type: ignore[no-untyped-def]
    _, height, width = out.shape
    for z in range(z0, z1):
        for y in range(height):
            qz, qy, qx, line = q[0, z, y], q[1, z, y], q[2, z, y], out[z, y]
            above, before = q[0, max(z - 1, 0), y], q[1, z, max(y - 1, 0)]
            # At the far border the difference is zero, so q there is zero as well: only the near border needs care.
            in_z, in_y = np.float32(z > 0), np.float32(y > 0)
            for x in range(width):
                left = qx[x - 1] if x > 0 else qx[x] * 0
                line[x] -= qz[x] - in_z * above[x] + qy[x] - in_y * before[x] + qx[x] - left


@_compiled
def blur_planes(source, out, taps, axis, z0, z1):  # type: ignore[no-untyped-def]
    depth, height, width = source.shape
    half = len(taps) // 2
    for z in range(z0, z1):
        for y in range(height):
            line = out[z, y]
            line[:] = 0
            if axis == 2:
                whole = source[z, y]
                for t in range(len(taps)):
                    shift, tap = t - half, taps[t]
                    for x in range(max(0, -shift), min(width, width - shift)):
                        line[x] += tap * whole[x + shift]
                continue
            for t in range(len(taps)):
                zz, yy = z, y
                if axis == 0:
                    zz = z + t - half
                else:
                    yy = y + t - half
                if zz < 0 or zz >= depth or yy < 0 or yy >= height:
                    continue
                other, tap = source[zz, yy], taps[t]
                for x in range(width):
                    line[x] += tap * other[x]
