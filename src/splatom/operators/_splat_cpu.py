"""Splatting of 2-D Gaussians on the CPU, compiled by numba; :mod:`splatom.operators._splat_reference` defines it.

Each piece of work draws whole views, in an image of its own, so that threads share nothing and the result does not
depend on their number. The rows of a window are whole multiples of eight pixels, with weights of zero where the window
has ended (they may reach into the next row: nothing is added there); the loops over them become vector operations.
Arithmetic is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.operators._cpu import each, threads
from splatom.operators._splat_1d import HALF, LANES, ONE, TWO_PI, ZERO, compiled, f32, padded, ramp, weights, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Tick = Callable[[], None] | None

__all__ = ["gather", "splat", "tangent", "value_and_gather"]

_ROWS = 3  # rows of zeros after an image: kernels read four rows at a time
_PIECE = 100_000  # Gaussians × views in a piece of work: some 10 ms
TWO, THREE = f32(2), f32(3)

# ------------------------------------------------------------------------------------------------ isotropic
@compiled
def _draw_isotropic(image, size, columns, rows, var, mass, cutoff):  # type: ignore[no-untyped-def]
    """Add Gaussians to a flat image with some pixels to spare at its end."""
    stride, steps = size[1], ramp(max(size))
    wx, wy = np.empty_like(steps), np.empty_like(steps)
    for g in range(len(columns)):
        v = var[g]
        half = cutoff * math.sqrt(v)
        c0, nc = window(columns[g], half, size[1])
        r0, nr = window(rows[g], half, size[0])
        if nc <= 0 or nr <= 0:
            continue
        n, a = padded(nc), mass[g] / (TWO_PI * v)
        weights(wx, steps, nc, f32(c0) - columns[g], v)
        weights(wy, steps, nr, f32(r0) - rows[g], v)
        for j in range(nr):
            y, p = a * wy[j], np.uintp((r0 + j) * stride + c0)
            for k in range(n):
                image[p + k] += y * wx[k]


@compiled
def _gather_isotropic(image, size, columns, rows, var, mass, cutoff, value, d_columns, d_rows, d_var):  # type: ignore[no-untyped-def]
    """Sum a flat image under Gaussians and their derivatives, by way of its moments there."""
    stride, steps = size[1], ramp(max(size))
    wx, wy = np.empty_like(steps), np.empty_like(steps)
    step = np.uintp(stride)
    for g in range(len(columns)):
        v = var[g]
        half = cutoff * math.sqrt(v)
        c0, nc = window(columns[g], half, size[1])
        r0, nr = window(rows[g], half, size[0])
        s, sx, sy, ss = ZERO, ZERO, ZERO, ZERO
        if nc > 0 and nr > 0:
            n, x, y = padded(nc), f32(c0) - columns[g], f32(r0) - rows[g]
            weights(wx, steps, nc, x, v)
            weights(wy, steps, nr, y, v)
            for j in range(0, nr, 4):  # four rows at a time: fewer sums across a vector; weights past nr are zero
                a0, a1, a2, a3 = wy[j], wy[j + 1], wy[j + 2], wy[j + 3]
                d = y + steps[j]
                b1, b2, b3 = a1 * (d + ONE), a2 * (d + TWO), a3 * (d + THREE)
                b0, c1, c2, c3 = a0 * d, b1 * (d + ONE), b2 * (d + TWO), b3 * (d + THREE)
                q0 = b0 * d
                p0 = np.uintp((r0 + j) * stride + c0)
                p1, p2, p3 = p0 + step, p0 + step + step, p0 + step + step + step
                m, mx, my, mm = ZERO, ZERO, ZERO, ZERO
                for k in range(n):
                    u0, u1, u2, u3 = image[p0 + k], image[p1 + k], image[p2 + k], image[p3 + k]
                    w, e = wx[k], x + steps[k]
                    seen = w * (a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3)
                    m += seen
                    mx += seen * e
                    my += w * (b0 * u0 + b1 * u1 + b2 * u2 + b3 * u3)
                    mm += seen * e * e + w * (q0 * u0 + c1 * u1 + c2 * u2 + c3 * u3)
                s += m
                sx += mx
                sy += my
                ss += mm
        a = ONE / (TWO_PI * v)
        b = a * mass[g] / v
        value[g], d_columns[g], d_rows[g] = a * s, b * sx, b * sy
        d_var[g] = b * (HALF * ss / v - s)


@compiled
def _tangent_isotropic(image, size, columns, rows, var, mass, d_columns, d_rows, d_var, d_mass, cutoff):  # type: ignore[no-untyped-def]
    """Add to a flat image how it changes along a change of the Gaussians."""
    stride, steps = size[1], ramp(max(size))
    wx, wx1, wy = np.empty_like(steps), np.empty_like(steps), np.empty_like(steps)
    for g in range(len(columns)):
        v = var[g]
        half = cutoff * math.sqrt(v)
        c0, nc = window(columns[g], half, size[1])
        r0, nr = window(rows[g], half, size[0])
        if nc <= 0 or nr <= 0:
            continue
        n, a, x, y = padded(nc), ONE / (TWO_PI * v), f32(c0) - columns[g], f32(r0) - rows[g]
        weights(wx, steps, nc, x, v)
        weights(wy, steps, nr, y, v)
        m = mass[g] / v
        along, up, wider = m * d_columns[g], m * d_rows[g], HALF * m * d_var[g] / v
        still = d_mass[g] - m * d_var[g]
        for k in range(n):
            d = x + steps[k]
            wx1[k] = wx[k] * d * (along + wider * d)
        for j in range(nr):
            d, y1 = y + steps[j], a * wy[j]
            y0 = y1 * (still + d * (up + wider * d))
            p = np.uintp((r0 + j) * stride + c0)
            for k in range(n):
                image[p + k] += y0 * wx[k] + y1 * wx1[k]


# ------------------------------------------------------------------------------------------------ anisotropic
@compiled
def _draw_anisotropic(image, size, columns, rows, var, mass, cutoff):  # type: ignore[no-untyped-def]
    """As the isotropic one; each row is a 1-D Gaussian of its own (the conditional one)."""
    stride, steps = size[1], ramp(max(size))
    wx, wy = np.empty_like(steps), np.empty_like(steps)
    for g in range(len(columns)):
        across, slope = var[g, 2], var[g, 1] / var[g, 2]
        within = var[g, 0] - slope * var[g, 1]
        half = cutoff * math.sqrt(within)
        r0, nr = window(rows[g], cutoff * math.sqrt(across), size[0])
        if nr <= 0:
            continue
        y = f32(r0) - rows[g]
        weights(wy, steps, nr, y, across)
        a = mass[g] / (TWO_PI * math.sqrt(within * across))
        for j in range(nr):
            centre = columns[g] + slope * (y + steps[j])
            c0, nc = window(centre, half, size[1])
            if nc > 0:
                weights(wx, steps, nc, f32(c0) - centre, within)
                w, p = a * wy[j], np.uintp((r0 + j) * stride + c0)
                for k in range(padded(nc)):
                    image[p + k] += w * wx[k]


@compiled
def _gather_anisotropic(image, size, columns, rows, var, mass, cutoff, value, d_columns, d_rows, d_var):  # type: ignore[no-untyped-def]
    """As the isotropic one, with the moments about the conditional mean of each row put together."""
    stride, steps = size[1], ramp(max(size))
    wx, wy = np.empty_like(steps), np.empty_like(steps)
    for g in range(len(columns)):
        cc, cr, rr = var[g, 0], var[g, 1], var[g, 2]
        slope = cr / rr
        within = cc - slope * cr
        half = cutoff * math.sqrt(within)
        r0, nr = window(rows[g], cutoff * math.sqrt(rr), size[0])
        s, sx, sy, sxx, sxy, syy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        y = f32(r0) - rows[g]
        if nr > 0:
            weights(wy, steps, nr, y, rr)
        for j in range(nr):
            d = y + steps[j]
            bent = slope * d
            c0, nc = window(columns[g] + bent, half, size[1])
            if nc <= 0:
                continue
            x = f32(c0) - columns[g] - bent
            weights(wx, steps, nc, x, within)
            d0, d1, d2 = ZERO, ZERO, ZERO
            p = np.uintp((r0 + j) * stride + c0)
            for k in range(padded(nc)):
                e, seen = x + steps[k] + bent, image[p + k] * wx[k]
                d0 += seen
                d1 += seen * e
                d2 += seen * e * e
            w = wy[j]
            s += w * d0
            sx += w * d1
            sxx += w * d2
            sy += w * d * d0
            sxy += w * d * d1
            syy += w * d * d * d0
        n = ONE / (TWO_PI * math.sqrt(within * rr))
        m, a, b, c = n * mass[g], ONE / within, -slope / within, cc / (within * rr)
        value[g], d_columns[g], d_rows[g] = n * s, m * (a * sx + b * sy), m * (b * sx + c * sy)
        d_var[g, 0] = HALF * m * (a * a * sxx + f32(2) * a * b * sxy + b * b * syy - a * s)
        d_var[g, 1] = m * (a * b * sxx + (a * c + b * b) * sxy + b * c * syy - b * s)
        d_var[g, 2] = HALF * m * (b * b * sxx + f32(2) * b * c * sxy + c * c * syy - c * s)


@compiled
def _tangent_anisotropic(image, size, columns, rows, var, mass, d_columns, d_rows, d_var, d_mass, cutoff):  # type: ignore[no-untyped-def]
    """As the isotropic one."""
    stride, steps = size[1], ramp(max(size))
    wx, wy = np.empty_like(steps), np.empty_like(steps)
    for g in range(len(columns)):
        cc, cr, rr = var[g, 0], var[g, 1], var[g, 2]
        slope = cr / rr
        within = cc - slope * cr
        half = cutoff * math.sqrt(within)
        r0, nr = window(rows[g], cutoff * math.sqrt(rr), size[0])
        if nr <= 0:
            continue
        y, m = f32(r0) - rows[g], mass[g]
        weights(wy, steps, nr, y, rr)
        amplitude = ONE / (TWO_PI * math.sqrt(within * rr))
        a, b, c = ONE / within, -slope / within, cc / (within * rr)
        t_cc, t_cr, t_rr = HALF * m * d_var[g, 0], m * d_var[g, 1], HALF * m * d_var[g, 2]
        still = d_mass[g] - t_cc * a - t_cr * b - t_rr * c
        along, up = m * d_columns[g], m * d_rows[g]
        for j in range(nr):
            d = y + steps[j]
            c0, nc = window(columns[g] + slope * d, half, size[1])
            if nc <= 0:
                continue
            x = f32(c0) - columns[g]
            weights(wx, steps, nc, x - slope * d, within)
            w, p = amplitude * wy[j], np.uintp((r0 + j) * stride + c0)
            for k in range(padded(nc)):
                ux, uy = a * (x + steps[k]) + b * d, b * (x + steps[k]) + c * d
                slant = ux * (along + t_cc * ux + t_cr * uy) + uy * (up + t_rr * uy)
                image[p + k] += w * wx[k] * (still + slant)


# ------------------------------------------------------------------------------------------------ one view
@compiled
def _residual(flat, measured, weights, gain, background, out):  # type: ignore[no-untyped-def]
    """Turn a drawn view into gain · weights · (gain · drawn + background − measured); return the sums it takes part in.

    Returns half the weighted sum of squares and its derivatives with respect to gain and background.
    """
    rows, columns = measured.shape
    loss, d_gain, d_background = 0.0, 0.0, 0.0
    for r in range(rows):
        at = r * columns
        a, b, c = ZERO, ZERO, ZERO
        for k in range(columns):
            drawn = flat[at + k]
            left = gain * drawn + background - measured[r, k]
            pull = weights[r, k] * left
            a += pull * left
            b += pull * drawn
            c += pull
            out[r, k] = left
            flat[at + k] = gain * pull
        loss += 0.5 * a
        d_gain += b
        d_background += c
    return loss, d_gain, d_background


@compiled
def _flat(shape):  # type: ignore[no-untyped-def]
    return np.zeros((shape[0] + _ROWS) * shape[1] + LANES, np.float32)


@compiled
def _draw(flat, size, columns, rows, var, mass, cutoff):  # type: ignore[no-untyped-def]
    if var.ndim == 1:
        _draw_isotropic(flat, size, columns, rows, var, mass, cutoff)
    else:
        _draw_anisotropic(flat, size, columns, rows, var, mass, cutoff)


@compiled
def _collect(flat, size, columns, rows, var, mass, cutoff, value, d_columns, d_rows, d_var):  # type: ignore[no-untyped-def]
    if var.ndim == 1:
        _gather_isotropic(flat, size, columns, rows, var, mass, cutoff, value, d_columns, d_rows, d_var)
    else:
        _gather_anisotropic(flat, size, columns, rows, var, mass, cutoff, value, d_columns, d_rows, d_var)


@compiled
def _splat_views(first, last, out, columns, rows, var, mass, cutoff):  # type: ignore[no-untyped-def]
    size = out.shape[1:]
    flat = _flat(size)
    pixels = flat[: size[0] * size[1]]
    for v in range(first, last):
        flat[:] = ZERO
        _draw(flat, size, columns[v], rows[v], var[v], mass, cutoff)
        out[v] = pixels.reshape(size)


@compiled
def _gather_views(first, last, images, columns, rows, var, mass, cutoff, out):  # type: ignore[no-untyped-def]
    size = images.shape[1:]
    flat = _flat(size)
    pixels = flat[: size[0] * size[1]].reshape(size)
    for v in range(first, last):
        pixels[:] = images[v]
        _collect(
            flat, size, columns[v], rows[v], var[v], mass, cutoff, out[0][v], out[1][v], out[2][v], out[3][v]
        )


@compiled
def _fused_views(  # type: ignore[no-untyped-def]
    first, last, measured, weights, gains, backgrounds, residual, sums, columns, rows, var, mass, cutoff, out
):
    size = measured.shape[1:]
    flat = _flat(size)
    for v in range(first, last):
        flat[:] = ZERO
        _draw(flat, size, columns[v], rows[v], var[v], mass, cutoff)
        found = _residual(flat, measured[v], weights[v], gains[v], backgrounds[v], residual[v])
        sums[v, 0], sums[v, 1], sums[v, 2] = found
        flat[size[0] * size[1] :] = ZERO
        _collect(
            flat, size, columns[v], rows[v], var[v], mass, cutoff, out[0][v], out[1][v], out[2][v], out[3][v]
        )


@compiled
def _tangent_views(  # type: ignore[no-untyped-def]
    first, last, out, columns, rows, var, mass, d_columns, d_rows, d_var, d_mass, cutoff
):
    size = out.shape[1:]
    flat = _flat(size)
    pixels = flat[: size[0] * size[1]]
    for v in range(first, last):
        flat[:] = ZERO
        if var.ndim == 2:
            _tangent_isotropic(
                flat, size, columns[v], rows[v], var[v], mass, d_columns[v], d_rows[v], d_var[v], d_mass, cutoff
            )
        else:
            _tangent_anisotropic(
                flat, size, columns[v], rows[v], var[v], mass, d_columns[v], d_rows[v], d_var[v], d_mass, cutoff
            )
        out[v] = pixels.reshape(size)


# ------------------------------------------------------------------------------------------------ all views
def _gathered(columns: Array, var: Array) -> tuple[Array, Array, Array, Array]:
    """Return arrays for what is gathered: value, d_columns, d_rows (v, n), d_var (v, n) or (v, n, 3)."""
    last = columns.shape if var.ndim == 1 else var.shape
    a, b, c = (np.empty(columns.shape, np.float32) for _ in range(3))
    return a, b, c, np.empty(last, np.float32)


def _in_views(var: Array, views: int) -> Array:
    """Return the same variance for every view, without a copy."""
    return np.broadcast_to(var, (views, *var.shape)) if var.ndim == 1 else var


def _pieces(function: Any, columns: Array, *arguments: Any) -> Any:
    """Yield calls for a few views each: enough pieces for every thread, and short ones, so that a stop is soon felt."""
    views, n = columns.shape
    step = max(1, min(-(-views // (4 * threads())), _PIECE // max(n, 1)))
    for first in range(0, views, step):
        yield function, first, min(first + step, views), *arguments


def splat(
    columns: Array, rows: Array, var: Array, mass: Array, shape: tuple[int, int], cutoff: float, tick: Tick = None
) -> Array:
    """Sum Gaussians into images (v, rows, columns); see the reference."""
    out = np.empty((len(columns), *shape), np.float32)
    var = _in_views(var, len(columns))
    each(_pieces(_splat_views, columns, out, columns, rows, var, mass, f32(cutoff)), tick)
    return out


def gather(
    images: Array, columns: Array, rows: Array, var: Array, mass: Array, cutoff: float, tick: Tick = None
) -> tuple[Array, Array, Array, Array]:
    """Sum images (v, rows, columns) under each Gaussian and its derivatives; see the reference."""
    out = _gathered(columns, var)
    var = _in_views(var, len(columns))
    each(_pieces(_gather_views, columns, images, columns, rows, var, mass, f32(cutoff), out), tick)
    return out


def tangent(
    columns: Array, rows: Array, var: Array, mass: Array,
    d_columns: Array, d_rows: Array, d_var: Array, d_mass: Array,
    shape: tuple[int, int], cutoff: float, tick: Tick = None,
) -> Array:  # fmt: skip
    """Change (v, rows, columns) of the images along a change of the arguments; see the reference."""
    out = np.empty((len(columns), *shape), np.float32)
    var, d_var = (_in_views(t, len(columns)) for t in (var, d_var))
    rest = (d_columns, d_rows, d_var, d_mass, f32(cutoff))
    each(_pieces(_tangent_views, columns, out, columns, rows, var, mass, *rest), tick)
    return out


def value_and_gather(
    columns: Array, rows: Array, var: Array, mass: Array, measured: Array, weights: Array, cutoff: float,
    gains: Array | None = None, backgrounds: Array | None = None, residual: Array | None = None, tick: Tick = None,
) -> tuple[NDArray[np.float64], tuple[Array, Array, Array, Array]]:  # fmt: skip
    """Draw each view, compare it with what was measured and gather the difference, while it is in the cache.

    Parameters
    ----------
    columns, rows, var, mass, cutoff
        As in :func:`splat`.
    measured : array (v, rows, columns)
    weights : array (v, rows, columns)
        Inverse variances, zero where nothing was measured; may be broadcast (strides of zero).
    gains, backgrounds : array (v,), optional
        The model of a view is gain · drawn + background; 1 and 0 by default.
    residual : array (v, rows, columns), optional
        Where to write model − measured.

    Returns
    -------
    sums : array (v, 3), float64
        ½ Σ weights (model − measured)² of each view, and its derivatives with respect to gain and background.
    gathered : tuple
        Its derivatives with respect to mass (v, n), columns, rows and var, as :func:`gather` gives them.
    """
    views = len(columns)
    out = _gathered(columns, var)
    sums = np.empty((views, 3))
    gains = np.ones(views, np.float32) if gains is None else gains
    backgrounds = np.zeros(views, np.float32) if backgrounds is None else backgrounds
    residual = np.empty_like(measured) if residual is None else residual
    var = _in_views(var, views)
    rest = (measured, weights, gains, backgrounds, residual, sums, columns, rows, var, mass, f32(cutoff), out)
    each(_pieces(_fused_views, columns, *rest), tick)
    return sums, out
