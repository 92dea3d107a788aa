"""Triton CUDA kernels: every ray of every view sampled plane by plane, as in :mod:`splatom.operators._reference`.

Positions are float32, so that results agree with the reference to about 1e-4; forward and adjoint compute them alike,
and the adjoint is exact to rounding. The adjoint adds atomically: its last bits vary from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton
import triton.language as tl

from splatom.operators._rays import PLANE_AXES, Rays

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["adjoint", "forward"]

_BLOCK = 256
_VIEWS_A_LAUNCH = 16  # between launches a stop is felt


@triton.jit  # type: ignore[untyped-decorator]
def _rays_kernel(  # type: ignore[no-untyped-def]
    volume, images, views, coefficients, planes, size_a, size_b, stride_p, stride_a, stride_b, rows, columns,
    BACK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the volume along a block of rays of one view, or (BACK) add the image's values along them."""
    k = tl.program_id(0)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < rows * columns
    row, column = (pixel // columns).to(tl.float32), (pixel % columns).to(tl.float32)
    c = coefficients + 9 * k
    a0 = tl.load(c) + tl.load(c + 1) * column + tl.load(c + 2) * row
    b0 = tl.load(c + 4) + tl.load(c + 5) * column + tl.load(c + 6) * row
    step_a, step_b, weight = tl.load(c + 3), tl.load(c + 7), tl.load(c + 8)
    where = tl.load(views + k).to(tl.int64) * rows * columns + pixel
    total = tl.zeros((BLOCK,), tl.float32)
    if BACK:
        total = weight * tl.load(images + where, mask=real, other=0.0)
    plane = volume
    for p in range(planes):
        a, b = a0 + step_a * p, b0 + step_b * p
        floor_a, floor_b = tl.floor(a), tl.floor(b)
        fa, fb = a - floor_a, b - floor_b
        ia, ib = floor_a.to(tl.int32), floor_b.to(tl.int32)
        in_a, in_b = real & (ia >= 0) & (ia < size_a), (ib >= 0) & (ib < size_b)
        next_a, next_b = real & (ia >= -1) & (ia < size_a - 1), (ib >= -1) & (ib < size_b - 1)
        at = plane + ia.to(tl.int64) * stride_a + ib.to(tl.int64) * stride_b
        plane += stride_p  # a pointer: the index of a large volume's last plane does not fit into 32 bits
        if BACK:
            tl.atomic_add(at, (1 - fa) * (1 - fb) * total, mask=in_a & in_b)
            tl.atomic_add(at + stride_b, (1 - fa) * fb * total, mask=in_a & next_b)
            tl.atomic_add(at + stride_a, fa * (1 - fb) * total, mask=next_a & in_b)
            tl.atomic_add(at + stride_a + stride_b, fa * fb * total, mask=next_a & next_b)
        else:
            near = (1 - fb) * tl.load(at, mask=in_a & in_b, other=0.0)
            near += fb * tl.load(at + stride_b, mask=in_a & next_b, other=0.0)
            far = (1 - fb) * tl.load(at + stride_a, mask=next_a & in_b, other=0.0)
            far += fb * tl.load(at + stride_a + stride_b, mask=next_a & next_b, other=0.0)
            total += (1 - fa) * near + fa * far
    if not BACK:
        tl.store(images + where, weight * total, mask=real)


def _launch(volume: Tensor, images: Tensor, groups: list[Rays], back: bool, tick: Tick) -> None:
    if volume.dtype != torch.float32 or images.dtype != torch.float32:
        raise ValueError("the Triton projector takes float32; use backend='reference' for other types")
    rows, columns = images.shape[1:]
    for group in groups:
        axes = PLANE_AXES[group.steepest]
        size = [volume.shape[i] for i in axes]
        stride = [volume.stride(i) for i in axes]
        table: Any = np.concatenate([group.a, group.b, group.weight[:, None]], axis=1).astype(np.float32)
        for start in range(0, len(group.views), _VIEWS_A_LAUNCH):
            part = slice(start, start + _VIEWS_A_LAUNCH)
            views = torch.from_numpy(group.views[part].astype(np.int32)).to(volume.device)
            coefficients = torch.from_numpy(np.ascontiguousarray(table[part])).to(volume.device)
            grid = (len(views), triton.cdiv(rows * columns, _BLOCK))
            _rays_kernel[grid](
                volume, images, views, coefficients, *size, *stride, rows, columns, BACK=back, BLOCK=_BLOCK
            )
            if tick is not None:
                tick()


def forward(volume: Tensor, out: Tensor, groups: list[Rays], tick: Tick = None) -> None:
    """Write the projections (n, rows, columns) of a volume (z, y, x) to ``out``."""
    _launch(volume, out, groups, False, tick)


def adjoint(projections: Tensor, out: Tensor, groups: list[Rays], tick: Tick = None) -> None:
    """Write the back-projection (z, y, x) of projections (n, rows, columns) to ``out``."""
    out.zero_()
    _launch(out, projections, groups, True, tick)
