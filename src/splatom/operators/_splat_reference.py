"""Splatting of 2-D Gaussians in plain PyTorch: the definition that every backend has to match.

A Gaussian is drawn within a window: rows within ``cutoff`` standard deviations of its centre, and in each row the
columns within ``cutoff`` conditional standard deviations of the conditional mean. An isotropic one is the outer product
of two 1-D Gaussians. Any dtype and device; chunks of Gaussians of like width keep the memory bounded.

All lengths are pixels; images are point sampled (the value of the Gaussian at the centre of the pixel).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["gather", "splat", "tangent"]

_PIXELS_A_CHUNK = 1 << 20  # of all windows of a chunk together
_PIXELS_A_CHUNK_CPU = 1 << 18  # stays in the cache


def _covariance(var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (conditional variance of columns, slope of their mean with the row, variance of rows)."""
    if var.ndim == 1:
        return var, torch.zeros_like(var), var
    cc, cr, rr = var.unbind(-1)
    slope = cr / rr
    return cc - slope * cr, slope, rr


class _Window:
    """Pixels that some Gaussians reach in one view, and the Gaussians' values there."""

    def __init__(
        self, column: Tensor, row: Tensor, var: Tensor, shape: tuple[int, int], cutoff: float, half: tuple[int, int]
    ) -> None:
        within, slope, across = _covariance(var)
        reach = [torch.arange(-h, h + 1, device=column.device) for h in half]  # rows, columns
        y, x = row.round().long()[:, None] + reach[0], column.round().long()[:, None] + reach[1]  # (n, h), (n, w)
        self.dy, dx = y - row[:, None], x - column[:, None]
        in_y = (y >= 0) & (y < shape[0]) & (self.dy.abs() <= cutoff * across.sqrt()[:, None])
        in_x = (x >= 0) & (x < shape[1])
        peak = 1 / (2 * math.pi * (within * across).sqrt())
        wy = peak[:, None] * torch.exp(self.dy.square() / (-2 * across[:, None])) * in_y
        limit, width = cutoff * within.sqrt(), -2 * within
        self.dx: Tensor
        if var.ndim == 1:
            wx = torch.exp(dx.square() / width[:, None]) * (in_x & (dx.abs() <= limit[:, None]))
            self.dx, self.value = dx[:, None, :], wy[:, :, None] * wx[:, None, :]
        else:
            bent = dx[:, None, :] - slope[:, None, None] * self.dy[:, :, None]
            inside = in_x[:, None, :] & (bent.abs() <= limit[:, None, None])
            self.value = wy[:, :, None] * torch.exp(bent.square() / width[:, None, None]) * inside
            self.dx = dx[:, None, :]
        self.dy = self.dy[:, :, None]
        self.index = (y.clamp(0, shape[0] - 1) * shape[1])[:, :, None] + x.clamp(0, shape[1] - 1)[:, None, :]


def _windows(
    columns: Tensor, rows: Tensor, var: Tensor, shape: tuple[int, int], cutoff: float, tick: Tick
) -> Iterator[tuple[int, Tensor, _Window]]:
    """Yield (view, Gaussians, window) of chunks of like width."""
    pixels = _PIXELS_A_CHUNK_CPU if columns.device.type == "cpu" else _PIXELS_A_CHUNK
    for view in range(len(columns)):
        v = var if var.ndim == 1 else var[view]
        width = (v if v.ndim == 1 else v[:, 0]).sqrt()  # columns
        height = width if v.ndim == 1 else v[:, 2].sqrt()
        low, wide, high = -cutoff * torch.maximum(width, height) - 1, shape[1], shape[0]
        near = (columns[view] > low) & (columns[view] < wide - low) & (rows[view] > low) & (rows[view] < high - low)
        chosen = near.nonzero()[:, 0]
        # The reach of a window is held to whole powers of √2: a wide Gaussian does not widen the windows of others.
        classes = (2 * torch.log2(torch.maximum(width, height)[chosen].clamp(min=0.25))).ceil().long()
        for one in sorted(set(classes.tolist())):
            some = chosen[classes == one]
            half = [min(math.ceil(cutoff * float(s[some].max()) + 0.5), max(shape) * 2 + 1) for s in (height, width)]
            size = max(1, pixels // ((2 * half[0] + 1) * (2 * half[1] + 1)))
            for chunk in torch.split(some, size):
                part = v[chunk]
                yield view, chunk, _Window(
                    columns[view, chunk], rows[view, chunk], part, shape, cutoff, (half[0], half[1])
                )
                if tick is not None:
                    tick()


def splat(
    columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, shape: tuple[int, int], cutoff: float, tick: Tick = None
) -> Tensor:
    """Sum Gaussians into images.

    Parameters
    ----------
    columns, rows : Tensor (v, n)
        Centres in each view, in pixels.
    var : Tensor (n,) or (v, n, 3)
        Variance in pixel², or (column-column, column-row, row-row) of the covariance in each view.
    mass : Tensor (n,)
        Integral of each Gaussian.
    shape : tuple
        (rows, columns) of an image.
    cutoff : float
        Half-width of the window in standard deviations.

    Returns
    -------
    Tensor (v, rows, columns)
    """
    images = columns.new_zeros((len(columns), shape[0] * shape[1]))
    for view, some, window in _windows(columns, rows, var, shape, cutoff, tick):
        drawn = mass[some, None, None] * window.value
        images[view].scatter_add_(0, window.index.flatten(), drawn.flatten())
    return images.view(-1, *shape)


def gather(
    images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, cutoff: float, tick: Tick = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum images under each Gaussian and under its derivatives: the adjoint of :func:`splat` and of its derivative.

    Parameters
    ----------
    images : Tensor (v, rows, columns)
    columns, rows, var, mass, cutoff
        As in :func:`splat`.

    Returns
    -------
    value : Tensor (v, n)
        Sum of the image times the Gaussian of mass 1: the derivative with respect to the mass.
    d_columns, d_rows : Tensor (v, n)
    d_var : Tensor (v, n) or (v, n, 3)
        Sum of the image times the derivative of the Gaussian, mass included.
    """
    value, d_columns, d_rows = (torch.zeros_like(columns) for _ in range(3))
    d_var = columns.new_zeros(columns.shape if var.ndim == 1 else var.shape)
    shape = (images.shape[1], images.shape[2])
    for view, some, w in _windows(columns, rows, var, shape, cutoff, tick):
        seen = w.value * images[view].flatten()[w.index]
        along, up = seen.sum(1), seen.sum(2)
        x, y = w.dx[:, 0, :], w.dy[:, :, 0]
        s = along.sum(1)
        sx, sy, sxx, syy = (along * x).sum(1), (up * y).sum(1), (along * x * x).sum(1), (up * y * y).sum(1)
        m = mass[some]
        value[view, some] = s
        if var.ndim == 1:
            v = var[some]
            d_columns[view, some], d_rows[view, some] = m * sx / v, m * sy / v
            d_var[view, some] = m * ((sxx + syy) / (2 * v) - s) / v
        else:
            sxy = ((seen * w.dx).sum(2) * y).sum(1)
            dx, dy, dv = _from_moments(s, sx, sy, sxx, sxy, syy, var[view, some])
            d_columns[view, some], d_rows[view, some], d_var[view, some] = m * dx, m * dy, m[:, None] * dv
    return value, d_columns, d_rows, d_var


def _from_moments(
    s: Tensor, sx: Tensor, sy: Tensor, sxx: Tensor, sxy: Tensor, syy: Tensor, var: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return derivatives by centre and covariance from moments: dN/dc = N Σ⁻¹d, dN/dΣ = ½ N (Σ⁻¹ddᵀΣ⁻¹ − Σ⁻¹)."""
    cc, cr, rr = var.unbind(-1)
    det = cc * rr - cr * cr
    a, b, c = rr / det, -cr / det, cc / det
    d_cc = 0.5 * (a * a * sxx + 2 * a * b * sxy + b * b * syy - a * s)
    d_cr = a * b * sxx + (a * c + b * b) * sxy + b * c * syy - b * s
    d_rr = 0.5 * (b * b * sxx + 2 * b * c * sxy + c * c * syy - c * s)
    return a * sx + b * sy, b * sx + c * sy, torch.stack([d_cc, d_cr, d_rr], -1)


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
    """Return the change (v, rows, columns) of :func:`splat` along a change of its arguments, of the same shapes."""
    images = columns.new_zeros((len(columns), shape[0] * shape[1]))
    for view, some, w in _windows(columns, rows, var, shape, cutoff, tick):
        if var.ndim == 1:
            cc = rr = var[some]
            cr = torch.zeros_like(cc)
            t_cc = t_rr = d_var[some]
            t_cr = torch.zeros_like(cc)
        else:
            cc, cr, rr = var[view, some].unbind(-1)
            t_cc, t_cr, t_rr = d_var[view, some].unbind(-1)
        det = cc * rr - cr * cr
        a, b, c = (p[:, None, None] for p in (rr / det, -cr / det, cc / det))
        t_cc, t_cr, t_rr, m = (p[:, None, None] for p in (t_cc, t_cr, t_rr, mass[some]))
        ux, uy = a * w.dx + b * w.dy, b * w.dx + c * w.dy
        slope = ux * d_columns[view, some, None, None] + uy * d_rows[view, some, None, None]
        slope = slope + 0.5 * t_cc * (ux * ux - a) + t_cr * (ux * uy - b) + 0.5 * t_rr * (uy * uy - c)
        drawn = w.value * (d_mass[some, None, None] + m * slope)
        images[view].scatter_add_(0, w.index.flatten(), drawn.flatten())
    return images.view(-1, *shape)
