"""Gaussians into voxels and back on the CPU, compiled by numba; see :mod:`splatom.operators._voxelise`.

Each thread fills some planes of the volume on its own, and gathers for some Gaussians on its own: nothing is shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.operators._cpu import each, threads
from splatom.operators._splat_1d import LANES, TWO_PI, ZERO, compiled, f32, padded, ramp, weights, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Tick = Callable[[], None] | None

__all__ = ["draw", "moments"]


@compiled
def _shape(cov):  # type: ignore[no-untyped-def]
    """Chain of conditionals of a covariance (zz, zy, zx, yy, yx, xx), so that each row is a 1-D Gaussian.

    Returns var z; var y|z and the slope of its mean with z; var x|zy and the slopes of its mean with z and y.
    """
    zz, zy, zx, yy, yx, xx = cov[0], cov[1], cov[2], cov[3], cov[4], cov[5]
    bend = zy / zz
    var_y = yy - bend * zy
    rest = yx - bend * zx
    by_y = rest / var_y
    by_z = zx / zz - by_y * bend
    return zz, var_y, bend, xx - zx * zx / zz - rest * by_y, by_z, by_y


@compiled
def _draw_planes(out, z0, z1, centres, cov, mass, cutoff):  # type: ignore[no-untyped-def]
    """Fill planes z0 to z1 of out (z, y, x) with Gaussians, all in voxels."""
    height, width = out.shape[1], out.shape[2]
    flat = np.zeros((z1 - z0) * height * width + LANES, np.float32)
    steps = ramp(max(out.shape))
    wx, wy, wz = np.empty_like(steps), np.empty_like(steps), np.empty_like(steps)
    for g in range(len(centres)):
        cz, cy, cx = centres[g, 0] - f32(z0), centres[g, 1], centres[g, 2]
        vz, vy, bend, vx, by_z, by_y = _shape(cov[g])
        p0, nz = window(cz, cutoff * math.sqrt(vz), z1 - z0)
        if nz <= 0:
            continue
        half_y, half_x = cutoff * math.sqrt(vy), cutoff * math.sqrt(vx)
        z, straight = f32(p0) - cz, cov[g, 1] == 0 and cov[g, 2] == 0 and cov[g, 4] == 0
        weights(wz, steps, nz, z, vz)
        a = mass[g] / (TWO_PI * math.sqrt(TWO_PI * vz * vy * vx))
        for i in range(nz):
            dz, wi = z + steps[i], a * wz[i]
            mean_y = cy + bend * dz
            r0, ny = window(mean_y, half_y, height)
            if i == 0 or not straight:
                weights(wy, steps, ny, f32(r0) - mean_y, vy)
            for j in range(ny):
                dy = f32(r0) + steps[j] - cy
                mean_x = cx + by_z * dz + by_y * dy
                c0, nx = window(mean_x, half_x, width)
                if (i == 0 and j == 0) or not straight:
                    weights(wx, steps, nx, f32(c0) - mean_x, vx)
                p, w = np.uintp(((p0 + i) * height + r0 + j) * width + c0), wi * wy[j]
                for k in range(padded(nx)):
                    flat[p + k] += w * wx[k]
    out[z0:z1] = flat[:-LANES].reshape((z1 - z0, height, width))


@compiled
def _moments_some(flat, size, g0, g1, centres, cov, cutoff, out):  # type: ignore[no-untyped-def]
    """Sum a flat volume times Gaussians of mass 1, and its moments (1, z, y, x, zz, zy, zx, yy, yx, xx)."""
    steps = ramp(max(size))
    wx, wy, wz = np.empty_like(steps), np.empty_like(steps), np.empty_like(steps)
    for g in range(g0, g1):
        cz, cy, cx = centres[g, 0], centres[g, 1], centres[g, 2]
        vz, vy, bend, vx, by_z, by_y = _shape(cov[g])
        p0, nz = window(cz, cutoff * math.sqrt(vz), size[0])
        half_y, half_x = cutoff * math.sqrt(vy), cutoff * math.sqrt(vx)
        z, straight = f32(p0) - cz, cov[g, 1] == 0 and cov[g, 2] == 0 and cov[g, 4] == 0
        if nz > 0:
            weights(wz, steps, nz, z, vz)
        s, sz, sy, sx, szz, szy, szx, syy, syx, sxx = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        for i in range(nz):
            dz = z + steps[i]
            mean_y = cy + bend * dz
            r0, ny = window(mean_y, half_y, size[1])
            if i == 0 or not straight:
                weights(wy, steps, ny, f32(r0) - mean_y, vy)
            for j in range(ny):
                dy = f32(r0) + steps[j] - cy
                mean_x = cx + by_z * dz + by_y * dy
                c0, nx = window(mean_x, half_x, size[2])
                if (i == 0 and j == 0) or not straight:
                    weights(wx, steps, nx, f32(c0) - mean_x, vx)
                x = f32(c0) - cx
                d0, d1, d2 = ZERO, ZERO, ZERO
                p = np.uintp(((p0 + i) * size[1] + r0 + j) * size[2] + c0)
                for k in range(padded(nx)):
                    seen, e = flat[p + k] * wx[k], x + steps[k]
                    d0 += seen
                    d1 += seen * e
                    d2 += seen * e * e
                w = wz[i] * wy[j]
                d0, d1, d2 = w * d0, w * d1, w * d2
                s += d0
                sz += dz * d0
                sy += dy * d0
                sx += d1
                szz += dz * dz * d0
                szy += dz * dy * d0
                szx += dz * d1
                syy += dy * dy * d0
                syx += dy * d1
                sxx += d2
        a = f32(1) / (TWO_PI * math.sqrt(TWO_PI * vz * vy * vx))
        out[g, 0], out[g, 1], out[g, 2], out[g, 3], out[g, 4] = a * s, a * sz, a * sy, a * sx, a * szz
        out[g, 5], out[g, 6], out[g, 7], out[g, 8], out[g, 9] = a * szy, a * szx, a * syy, a * syx, a * sxx


def _pieces(size: int, count: int) -> list[tuple[int, int]]:
    step = max(1, -(-size // count))
    return [(i, min(i + step, size)) for i in range(0, size, step)]


def draw(
    centres: Array, cov: Array, mass: Array, shape: tuple[int, int, int], cutoff: float, tick: Tick = None
) -> Array:
    """Sum Gaussians into a volume, all in voxels.

    Parameters
    ----------
    centres : array (n, 3)
    cov : array (n, 6)
        zz, zy, zx, yy, yx, xx.
    mass : array (n,)
    shape : tuple
        (z, y, x).
    cutoff : float

    Returns
    -------
    array (z, y, x)
    """
    out = np.empty(shape, np.float32)
    # Planes of a piece stay in the second cache, and the pieces keep all threads busy.
    thick = max(1, min(-(-shape[0] // (2 * threads())), (1 << 18) // (shape[1] * shape[2]) + 1))
    reach = cutoff * np.sqrt(cov[:, 0]) + 1
    order = np.argsort(centres[:, 0])
    z, widest = centres[order, 0], float(reach.max(initial=0.0))

    def calls() -> Any:
        for z0, z1 in _pieces(shape[0], -(-shape[0] // thick)):
            first, last = np.searchsorted(z, [z0 - widest, z1 + widest])
            some = order[first:last]
            some = some[(centres[some, 0] > z0 - reach[some]) & (centres[some, 0] < z1 + reach[some])]
            yield _draw_planes, out, z0, z1, centres[some], cov[some], mass[some], f32(cutoff)

    each(calls(), tick)
    return out


def moments(volume: Array, centres: Array, cov: Array, cutoff: float, tick: Tick = None) -> Array:
    """Return (n, 10): Σ volume · Gaussian of mass 1 · (1, z, y, x, zz, zy, zx, yy, yx, xx) about its centre."""
    out = np.empty((len(centres), 10), np.float32)
    flat = np.concatenate([volume.ravel(), np.zeros(LANES, np.float32)])
    pieces = _pieces(len(centres), 8 * threads())
    each(((_moments_some, flat, volume.shape, a, b, centres, cov, f32(cutoff), out) for a, b in pieces), tick)
    return out
