"""Splatting of 2-D Gaussians on the CPU, compiled by numba; :mod:`splatom.operators._splat_reference` defines it.

Each view is one piece of work with an image of its own, so that threads share nothing and the result does not depend on
their number. The rows of a window are whole multiples of eight pixels, with weights of zero where the window has ended
(they may reach into the next row: nothing is added there); the loops over them become vector operations. Arithmetic is
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.operators._cpu import each
from splatom.operators._splat_1d import HALF, LANES, ONE, TWO_PI, ZERO, compiled, f32, padded, ramp, weights, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Tick = Callable[[], None] | None

__all__ = ["gather", "splat", "tangent", "value_and_gather"]

# ------------------------------------------------------------------------------------------------ isotropic
@compiled
def _draw_isotropic(image, size, columns, rows, var, mass, cutoff):  # type: ignore[no-untyped-def]
    """Add Gaussians to a flat image with eight pixels to spare at its end."""
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
    wx, wx1, wx2, wy = np.empty_like(steps), np.empty_like(steps), np.empty_like(steps), np.empty_like(steps)
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
            for k in range(n):
                d = x + steps[k]
                wx1[k] = wx[k] * d
                wx2[k] = wx[k] * d * d
            for j in range(nr):
                d0, d1, d2 = ZERO, ZERO, ZERO
                p = np.uintp((r0 + j) * stride + c0)
                for k in range(n):
                    seen = image[p + k]
                    d0 += seen * wx[k]
                    d1 += seen * wx1[k]
                    d2 += seen * wx2[k]
                d = y + steps[j]
                s += wy[j] * d0
                sx += wy[j] * d1
                sy += wy[j] * d * d0
                ss += wy[j] * (d2 + d * d * d0)
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


def _flat(shape: tuple[int, int]) -> Array:
    return np.zeros(shape[0] * shape[1] + LANES, np.float32)


def _of(var: Array, view: int) -> Array:
    return var if var.ndim == 1 else var[view]


def _splat_view(view: int, out: Array, columns: Array, rows: Array, var: Array, mass: Array, cutoff: Any) -> None:
    flat, draw = _flat(out.shape[1:]), _draw_isotropic if var.ndim == 1 else _draw_anisotropic
    draw(flat, out.shape[1:], columns[view], rows[view], _of(var, view), mass, cutoff)
    out[view] = flat[:-LANES].reshape(out.shape[1:])


def _gather_flat(
    flat: Array, view: int, size: Any, columns: Array, rows: Array, var: Array, mass: Array, cutoff: Any, out: Any
) -> None:
    collect = _gather_isotropic if var.ndim == 1 else _gather_anisotropic
    collect(flat, size, columns[view], rows[view], _of(var, view), mass, cutoff, *(o[view] for o in out))


def _gather_view(view: int, images: Array, *arguments: Any) -> None:
    flat = _flat(images.shape[1:])
    flat[:-LANES] = images[view].ravel()
    _gather_flat(flat, view, images.shape[1:], *arguments)


def _fused_view(
    view: int, measured: Array, weights: Array, gains: Array, backgrounds: Array, residual: Array, sums: Any,
    columns: Array, rows: Array, var: Array, mass: Array, cutoff: Any, out: Any,
) -> None:  # fmt: skip
    flat, size = _flat(measured.shape[1:]), measured.shape[1:]
    draw = _draw_isotropic if var.ndim == 1 else _draw_anisotropic
    draw(flat, size, columns[view], rows[view], _of(var, view), mass, cutoff)
    sums[view] = _residual(flat, measured[view], weights[view], gains[view], backgrounds[view], residual[view])
    _gather_flat(flat, view, size, columns, rows, var, mass, cutoff, out)


def _tangent_view(view: int, out: Array, columns: Array, rows: Array, var: Array, mass: Array, *rest: Any) -> None:
    d_columns, d_rows, d_var, d_mass, cutoff = rest
    flat, draw = _flat(out.shape[1:]), _tangent_isotropic if var.ndim == 1 else _tangent_anisotropic
    draw(
        flat, out.shape[1:], columns[view], rows[view], _of(var, view), mass,
        d_columns[view], d_rows[view], _of(d_var, view), d_mass, cutoff,
    )  # fmt: skip
    out[view] = flat[:-LANES].reshape(out.shape[1:])


# ------------------------------------------------------------------------------------------------ all views
def _gathered(columns: Array, var: Array) -> tuple[Array, Array, Array, Array]:
    """Return arrays for what is gathered: value, d_columns, d_rows (v, n), d_var (v, n) or (v, n, 3)."""
    last = columns.shape if var.ndim == 1 else var.shape
    a, b, c = (np.empty(columns.shape, np.float32) for _ in range(3))
    return a, b, c, np.empty(last, np.float32)


def splat(
    columns: Array, rows: Array, var: Array, mass: Array, shape: tuple[int, int], cutoff: float, tick: Tick = None
) -> Array:
    """Sum Gaussians into images (v, rows, columns); see the reference."""
    out = np.empty((len(columns), *shape), np.float32)
    each(((_splat_view, v, out, columns, rows, var, mass, f32(cutoff)) for v in range(len(columns))), tick)
    return out


def gather(
    images: Array, columns: Array, rows: Array, var: Array, mass: Array, cutoff: float, tick: Tick = None
) -> tuple[Array, Array, Array, Array]:
    """Sum images (v, rows, columns) under each Gaussian and its derivatives; see the reference."""
    out = _gathered(columns, var)
    each(((_gather_view, v, images, columns, rows, var, mass, f32(cutoff), out) for v in range(len(columns))), tick)
    return out


def tangent(
    columns: Array, rows: Array, var: Array, mass: Array,
    d_columns: Array, d_rows: Array, d_var: Array, d_mass: Array,
    shape: tuple[int, int], cutoff: float, tick: Tick = None,
) -> Array:  # fmt: skip
    """Change (v, rows, columns) of the images along a change of the arguments; see the reference."""
    out = np.empty((len(columns), *shape), np.float32)
    rest = (d_columns, d_rows, d_var, d_mass, f32(cutoff))
    each(((_tangent_view, v, out, columns, rows, var, mass, *rest) for v in range(len(columns))), tick)
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
    rest = (measured, weights, gains, backgrounds, residual, sums, columns, rows, var, mass, f32(cutoff), out)
    each(((_fused_view, v, *rest) for v in range(views)), tick)
    return sums, out
