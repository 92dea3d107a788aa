"""Splatting of isotropic Gaussians of one width, or few: cubic B-splines on a grid, then a filter in Fourier space.

The mass of a Gaussian goes to the 4 × 4 nearest pixels with the weights of a cubic B-spline; one filter, the Gaussian's
transform over that of the spline, makes the image of it. The cost does not grow with the width. Gathering is the exact
adjoint: the same filter, then interpolation by the spline, its derivatives for the centre, and a filter of its own for
the width. Plain PyTorch, any device. What aliases limits the accuracy: of the largest value 1e-2 at σ = 1 pixel, 1e-3
at 1.5, 3e-4 at 2, 4e-5 at 3, of derivatives some ten times as much; narrower ones are refused. The gathered derivatives
are exactly those of the drawn image, so that an optimiser does not notice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["NARROWEST", "gather", "splat", "tangent"]

NARROWEST = 1.0  # pixels
_MOST_CLASSES = 8
_SPREAD_A_CHUNK = 1 << 22  # Gaussians × views at a time


def _classes(var: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Yield each variance and its Gaussians."""
    if var.ndim != 1:
        raise ValueError("the spline backend draws isotropic Gaussians only; use another")
    values = sorted(set(var.detach().tolist()))
    if len(values) > _MOST_CLASSES:
        raise ValueError(f"the spline backend takes at most {_MOST_CLASSES} widths, not {len(values)}; use another")
    if values and values[0] < NARROWEST**2 * (1 - 1e-5):
        raise ValueError(f"the spline backend takes widths from {NARROWEST:g} pixel on; use another")
    for value in values:
        yield value, (var == value).nonzero()[:, 0]


class _Grid:
    """A padded grid, so that what wraps round in Fourier space does not reach the field."""

    def __init__(self, shape: tuple[int, int], variance: float, cutoff: float, like: Tensor) -> None:
        from scipy.fft import next_fast_len

        reach = math.ceil(cutoff * math.sqrt(variance))
        self.shape, self.margin = shape, reach + 2
        # Gaussians lie up to the margin off the field; wrapped round they have to stay a reach away from it.
        self.size = tuple(next_fast_len(s + self.margin + reach + 2, real=True) for s in shape)
        squares, spline = [], []
        for size, frequencies in zip(self.size, (torch.fft.fftfreq, torch.fft.rfftfreq), strict=True):
            k = frequencies(size, device=like.device, dtype=torch.float64)
            squares.append((2 * math.pi * k).square())
            spline.append(torch.sinc(k) ** 4)
        both = squares[0][:, None] + squares[1][None, :]
        filter_ = torch.exp(-0.5 * variance * both) / (spline[0][:, None] * spline[1][None, :])
        self.filter = filter_.to(like.dtype)
        self.widen = (-0.5 * both * filter_).to(like.dtype)  # derivative with respect to the variance

    def inside(self, columns: Tensor, rows: Tensor) -> Tensor:
        """Return whether a Gaussian may reach the field."""
        edge = self.margin - 1
        return (
            (columns > -edge) & (columns < self.shape[1] - 1 + edge)
            & (rows > -edge) & (rows < self.shape[0] - 1 + edge)
        )  # fmt: skip

    def places(self, columns: Tensor, rows: Tensor, slopes: bool) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield index, weight and its slopes along columns and rows (v, n) of each of 16 pixels."""
        inside = self.inside(columns, rows)
        x, y = (torch.where(inside, t, 0.0) for t in (columns, rows))
        column, row = x.floor(), y.floor()
        wx, dx = _cubic(x - column, slopes)
        wy, dy = _cubic(y - row, slopes)
        wx, dx = ([w * inside for w in ws] for ws in (wx, dx))
        for j in range(4):
            r = (row.long() + (j - 1)) % self.size[0] * self.size[1]
            for i in range(4):
                index = r + (column.long() + (i - 1)) % self.size[1]
                along, up = (dx[i] * wy[j], wx[i] * dy[j]) if slopes else (wx[i], wx[i])
                yield index, wx[i] * wy[j], along, up

    def filtered(self, grid: Tensor, kernel: Tensor) -> Tensor:
        """Return grids (v, rows, columns) after a filter."""
        out: Tensor = torch.fft.irfft2(torch.fft.rfft2(grid) * kernel, s=self.size)
        return out

    def padded(self, images: Tensor) -> Tensor:
        out = images.new_zeros((len(images), *self.size))
        out[:, : self.shape[0], : self.shape[1]] = images
        return out

    def cropped(self, grid: Tensor) -> Tensor:
        return grid[:, : self.shape[0], : self.shape[1]]


def _cubic(t: Tensor, slopes: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of the pixels at −1, 0, 1, 2 for a point at 0 ≤ t < 1, and their derivatives by t."""
    u = 1 - t
    weights = [u**3 / 6, 2 / 3 - t * t * (1 - t / 2), 2 / 3 - u * u * (1 - u / 2), t**3 / 6]
    if not slopes:
        return weights, []
    return weights, [-u * u / 2, t * (1.5 * t - 2), u * (2 - 1.5 * u), t * t / 2]


def _views(columns: Tensor) -> Iterator[slice]:
    step = max(1, _SPREAD_A_CHUNK // max(1, 16 * columns.shape[1]))
    for first in range(0, len(columns), step):
        yield slice(first, first + step)


def splat(
    columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, shape: tuple[int, int], cutoff: float, tick: Tick = None
) -> Tensor:
    """Sum Gaussians into images (v, rows, columns); see the reference."""
    images = columns.new_zeros((len(columns), *shape))
    for variance, some in _classes(var):
        grid = _Grid(shape, variance, cutoff, columns)
        for v in _views(columns):
            spread = columns.new_zeros((len(columns[v]), math.prod(grid.size)))
            for index, weight, _, _ in grid.places(columns[v][:, some], rows[v][:, some], False):
                spread.scatter_add_(1, index, weight * mass[some])
            images[v] += grid.cropped(grid.filtered(spread.view(-1, *grid.size), grid.filter))
            if tick is not None:
                tick()
    return images


def gather(
    images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, cutoff: float, tick: Tick = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum images under each Gaussian and its derivatives; see the reference."""
    value, d_columns, d_rows, d_var = (torch.zeros_like(columns) for _ in range(4))
    for variance, some in _classes(var):
        grid = _Grid((images.shape[1], images.shape[2]), variance, cutoff, columns)
        for v in _views(columns):
            transform = torch.fft.rfft2(grid.padded(images[v]))
            smooth, wider = (torch.fft.irfft2(transform * k, s=grid.size).flatten(1) for k in (grid.filter, grid.widen))
            sums = [torch.zeros_like(columns[v][:, some]) for _ in range(4)]
            for index, weight, along, up in grid.places(columns[v][:, some], rows[v][:, some], True):
                seen = smooth.gather(1, index)
                for total, w, s in zip(sums, (weight, along, up, weight), (seen, seen, seen, None), strict=True):
                    total.addcmul_(w, wider.gather(1, index) if s is None else s)
            value[v, some] = sums[0]
            for out, total in zip((d_columns, d_rows, d_var), sums[1:], strict=True):
                out[v, some] = mass[some] * total
            if tick is not None:
                tick()
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
    for variance, some in _classes(var):
        grid = _Grid(shape, variance, cutoff, columns)
        for v in _views(columns):
            still, wider = (columns.new_zeros((len(columns[v]), math.prod(grid.size))) for _ in range(2))
            m, c, r = mass[some], d_columns[v][:, some], d_rows[v][:, some]
            for index, weight, along, up in grid.places(columns[v][:, some], rows[v][:, some], True):
                still.scatter_add_(1, index, weight * d_mass[some] + m * (along * c + up * r))
                wider.scatter_add_(1, index, weight * (m * d_var[some]))
            transform = torch.fft.rfft2(still.view(-1, *grid.size)) * grid.filter
            transform += torch.fft.rfft2(wider.view(-1, *grid.size)) * grid.widen
            images[v] += grid.cropped(torch.fft.irfft2(transform, s=grid.size))
            if tick is not None:
                tick()
    return images
