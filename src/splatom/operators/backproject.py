"""Voxel-driven back-projection by interpolation: smooth, for filtered projections; not the projector's adjoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["backproject"]


def backproject(images: Tensor, geometry: ViewGeometry, volume: Tensor, tick: Tick = None) -> None:
    """Add to every voxel the value that each image has where the voxel is seen; in place.

    Parameters
    ----------
    images : Tensor (n, rows, columns)
    geometry : ViewGeometry
        Of the same n views.
    volume : Tensor (z, y, x)
    tick : callable, optional
    """
    rows, columns = images.shape[1:]
    z, y, x = volume.shape
    device = volume.device
    grid_y = torch.arange(y, device=device, dtype=torch.float32)[:, None] - (y - 1) / 2
    grid_x = torch.arange(x, device=device, dtype=torch.float32)[None, :] - (x - 1) / 2
    if volume.device.type == "cpu":
        from splatom.operators import _cpu

        _cpu.backproject(images.contiguous().numpy(), geometry, volume.numpy(), tick)
        return
    for view in range(len(geometry)):
        r = geometry.rotations[view]
        shift_column, shift_row = geometry.shifts[view]
        for plane in range(z):
            depth = plane - (z - 1) / 2
            column = r[0, 0] * grid_x + r[0, 1] * grid_y + float(r[0, 2] * depth + shift_column)
            row = r[1, 0] * grid_x + r[1, 1] * grid_y + float(r[1, 2] * depth + shift_row)
            where = torch.stack([column * 2 / columns, row * 2 / rows], dim=-1)  # pixel edges at ±1
            seen = torch.nn.functional.grid_sample(
                images[view][None, None], where[None], padding_mode="zeros", align_corners=False
            )
            volume[plane] += seen[0, 0]
        if tick is not None:
            tick()
