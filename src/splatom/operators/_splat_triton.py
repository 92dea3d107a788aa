"""Splatting of 2-D Gaussians by Triton kernels on CUDA; :mod:`splatom.operators._splat_reference` defines it.

A program draws (adding atomically) or gathers for a block of Gaussians of one view, row by row of their windows: no
sorting, no tiles, and all views in one launch. A row of a window is a 1-D Gaussian (the conditional one).
Images add up atomically: their last bits vary from run to run. Float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["gather", "splat", "tangent"]

_TILE = 512  # pixels a program holds of one row of all its windows
_TWO_PI = tl.constexpr(2 * math.pi)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    images, columns, rows, var, mass, out, d_columns, d_rows, d_var, d_mass, order, first, count, n, height, width,
    cutoff, ISOTROPIC: tl.constexpr, MODE: tl.constexpr, BLOCK: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    """Draw (MODE 0), draw the change (1) or gather (2) for a block of Gaussians of one view."""
    view = tl.program_id(1).to(tl.int64)
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = slot < count
    g = tl.load(order + first + slot, mask=real, other=0)
    at = view * n + g
    column, row = tl.load(columns + at, mask=real, other=0.0), tl.load(rows + at, mask=real, other=0.0)
    m = tl.load(mass + g, mask=real, other=0.0)
    if ISOTROPIC:
        cc = tl.load(var + g, mask=real, other=1.0)
        rr = cc
        cr = tl.zeros_like(cc)
    else:
        cc = tl.load(var + 3 * at, mask=real, other=1.0)
        cr = tl.load(var + 3 * at + 1, mask=real, other=0.0)
        rr = tl.load(var + 3 * at + 2, mask=real, other=1.0)
    slope = cr / rr
    within = cc - slope * cr
    half_row, half_column = cutoff * tl.sqrt(rr), cutoff * tl.sqrt(within)
    peak = 1.0 / (_TWO_PI * tl.sqrt(within * rr))
    a, b, c = 1.0 / within, -slope / within, cc / (within * rr)
    near = real & (row + half_row >= 0) & (row - half_row <= height - 1)
    near = near & (tl.abs(column) < 1e6) & (tl.abs(row) < 1e6)
    low = tl.maximum(tl.ceil(row - half_row), 0.0)
    high = tl.minimum(tl.floor(row + half_row), height - 1.0)
    rows_here = tl.where(near, high - low + 1, 0.0).to(tl.int32)
    low = tl.where(near, low, 0.0)
    image = images + view * height * width
    lane = tl.arange(0, WINDOW)[None, :].to(tl.float32)
    t_c, t_r, t_cc, t_cr, t_rr, t_m = m, m, m, m, m, m
    if MODE == 0:
        t_m = m * peak
    if MODE == 1:
        t_c = m * tl.load(d_columns + at, mask=real, other=0.0)
        t_r = m * tl.load(d_rows + at, mask=real, other=0.0)
        if ISOTROPIC:
            t_cc = 0.5 * m * tl.load(d_var + g, mask=real, other=0.0)
            t_rr = t_cc
            t_cr = tl.zeros_like(m)
        else:
            t_cc = 0.5 * m * tl.load(d_var + 3 * at, mask=real, other=0.0)
            t_cr = m * tl.load(d_var + 3 * at + 1, mask=real, other=0.0)
            t_rr = 0.5 * m * tl.load(d_var + 3 * at + 2, mask=real, other=0.0)
        t_m = tl.load(d_mass + g, mask=real, other=0.0) - t_cc * a - t_cr * b - t_rr * c
    s, sx, sy = tl.zeros_like(m), tl.zeros_like(m), tl.zeros_like(m)
    sxx, sxy, syy = tl.zeros_like(m), tl.zeros_like(m), tl.zeros_like(m)
    for j in range(tl.max(rows_here, 0)):
        r = low + j
        dy = r - row
        bent = slope * dy
        begin = tl.ceil(column + bent - half_column)
        wy = tl.exp(-0.5 * dy * dy / rr)
        pixel = begin[:, None] + lane
        dx = pixel - column[:, None]
        off = dx - bent[:, None]
        ok = (near & (j < rows_here))[:, None] & (tl.abs(off) <= half_column[:, None])
        ok = ok & (pixel >= 0) & (pixel < width)
        e = wy[:, None] * tl.exp(-0.5 * off * off / within[:, None])
        where = image + (r.to(tl.int32) * width)[:, None] + tl.where(ok, pixel, 0.0).to(tl.int32)
        if MODE == 0:
            tl.atomic_add(where, t_m[:, None] * e, mask=ok, sem="relaxed")
        elif MODE == 1:
            ux, uy = a[:, None] * dx + (b * dy)[:, None], b[:, None] * dx + (c * dy)[:, None]
            slant = ux * (t_c[:, None] + t_cc[:, None] * ux + t_cr[:, None] * uy)
            slant += uy * (t_r[:, None] + t_rr[:, None] * uy) + t_m[:, None]
            tl.atomic_add(where, peak[:, None] * e * slant, mask=ok, sem="relaxed")
        else:
            seen = e * tl.load(where, mask=ok, other=0.0)
            d0, d1, d2 = tl.sum(seen, 1), tl.sum(seen * dx, 1), tl.sum(seen * dx * dx, 1)
            s += d0
            sx += d1
            sy += dy * d0
            sxx += d2
            sxy += dy * d1
            syy += dy * dy * d0
    if MODE == 2:
        q = peak * m
        tl.store(out + at, peak * s, mask=real)
        tl.store(d_columns + at, q * (a * sx + b * sy), mask=real)
        tl.store(d_rows + at, q * (b * sx + c * sy), mask=real)
        g_cc = 0.5 * q * (a * a * sxx + 2 * a * b * sxy + b * b * syy - a * s)
        g_rr = 0.5 * q * (b * b * sxx + 2 * b * c * sxy + c * c * syy - c * s)
        if ISOTROPIC:
            tl.store(d_var + at, g_cc + g_rr, mask=real)
        else:
            tl.store(d_var + 3 * at, g_cc, mask=real)
            tl.store(d_var + 3 * at + 1, q * (a * b * sxx + (a * c + b * b) * sxy + b * c * syy - b * s), mask=real)
            tl.store(d_var + 3 * at + 2, g_rr, mask=real)


def _launch(
    mode: int, images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, cutoff: float,
    extra: tuple[Any, Any, Any, Any, Any], tick: Tick,
) -> None:  # fmt: skip
    """Run the kernel for classes of Gaussians whose windows take a like power of two of columns."""
    tensors = (images, columns, rows, var, mass, *(t for t in extra if t is not None))
    if any(t.dtype != torch.float32 for t in tensors):
        raise ValueError("the Triton kernels take float32; use backend='reference' for other types")
    if not len(mass):
        return
    isotropic = var.ndim == 1
    # The conditional width in a row is at most the width: over all views the widest counts.
    widest = var.sqrt() if isotropic else (var[..., 0] - var[..., 1].square() / var[..., 2]).amax(0).sqrt()
    pixels = (2 * cutoff * widest + 1).clamp(max=columns.new_tensor(float(1 << 14)))
    classes = torch.log2(pixels).ceil().clamp(min=3).to(torch.int32)
    order = torch.argsort(classes, stable=True)
    sizes = torch.bincount(classes, minlength=1).tolist()
    order = order.to(torch.int32)
    out, d_columns, d_rows, d_var, d_mass = extra
    first = 0
    for power, count in enumerate(sizes):
        if not count:
            continue
        window = 1 << power
        block = max(1, _TILE // window)
        grid = (triton.cdiv(count, block), len(columns))
        _kernel[grid](
            images, columns, rows, var, mass, out, d_columns, d_rows, d_var, d_mass, order, first, count,
            columns.shape[1], images.shape[1], images.shape[2], cutoff,
            ISOTROPIC=isotropic, MODE=mode, BLOCK=block, WINDOW=window,
        )  # fmt: skip
        first += count
        if tick is not None:
            tick()


def splat(
    columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, shape: tuple[int, int], cutoff: float, tick: Tick = None
) -> Tensor:
    """Sum Gaussians into images (v, rows, columns); see the reference."""
    images = columns.new_zeros((len(columns), *shape))
    columns, rows, var, mass = (t.detach().contiguous() for t in (columns, rows, var, mass))
    _launch(0, images, columns, rows, var, mass, cutoff, (mass, mass, mass, mass, mass), tick)
    return images


def gather(
    images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, cutoff: float, tick: Tick = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum images under each Gaussian and its derivatives; see the reference."""
    images, columns, rows, var, mass = (t.detach().contiguous() for t in (images, columns, rows, var, mass))
    value, d_columns, d_rows = (torch.zeros_like(columns) for _ in range(3))
    d_var = columns.new_zeros(columns.shape if var.ndim == 1 else var.shape)
    _launch(2, images, columns, rows, var, mass, cutoff, (value, d_columns, d_rows, d_var, mass), tick)
    return value, d_columns, d_rows, d_var


def tangent(
    columns: Tensor,
    rows: Tensor,
    var: Tensor,
    mass: Tensor,
    d_columns: Tensor,
    d_rows: Tensor,
    d_var: Tensor,
    d_mass: Tensor,
    shape: tuple[int, int],
    cutoff: float,
    tick: Tick = None,
) -> Tensor:
    """Change (v, rows, columns) of the images along a change of the arguments; see the reference."""
    images = columns.new_zeros((len(columns), *shape))
    columns, rows, var, mass = (t.detach().contiguous() for t in (columns, rows, var, mass))
    moved = tuple(t.detach().contiguous() for t in (d_columns, d_rows, d_var, d_mass))
    _launch(1, images, columns, rows, var, mass, cutoff, (mass, *moved), tick)  # type: ignore[arg-type]
    return images
