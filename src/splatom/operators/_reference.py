"""Plain PyTorch projector: any device, any type, any geometry; the yardstick of the fast ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from splatom.operators._rays import PLANE_AXES, Rays

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["adjoint", "forward"]


def _samples(
    group: Rays, k: int, shape: tuple[int, int, int], detector: tuple[int, int], like: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each corner of the bilinear cell, index (P, rows, columns) into the flat volume, and weight."""
    plane, along_a, along_b = PLANE_AXES[group.steepest]
    sizes = (shape[1] * shape[2], shape[2], 1)
    rows = torch.arange(detector[0], device=like.device, dtype=torch.float64)[None, :, None]
    columns = torch.arange(detector[1], device=like.device, dtype=torch.float64)[None, None, :]
    planes = torch.arange(shape[plane], device=like.device, dtype=torch.float64)[:, None, None]

    def position(c: list[float]) -> Tensor:
        return c[0] + c[1] * columns + c[2] * rows + c[3] * planes

    a, b = position(group.a[k].tolist()), position(group.b[k].tolist())
    base_a, base_b = torch.floor(a), torch.floor(b)
    first = planes.long() * sizes[plane]
    for da in (0, 1):
        for db in (0, 1):
            ia, ib = base_a.long() + da, base_b.long() + db
            inside = (ia >= 0) & (ia < shape[along_a]) & (ib >= 0) & (ib < shape[along_b])
            weight = (1 - (a - ia).abs()) * (1 - (b - ib).abs()) * inside * group.weight[k].item()
            index = first + ia.clamp(0, shape[along_a] - 1) * sizes[along_a]
            yield index + ib.clamp(0, shape[along_b] - 1) * sizes[along_b], weight.to(like.dtype)


def forward(volume: Tensor, out: Tensor, groups: list[Rays], tick: Tick = None) -> None:
    """Write the projections (n, rows, columns) of a volume (z, y, x) to ``out``."""
    shape, detector = (volume.shape[0], volume.shape[1], volume.shape[2]), (out.shape[1], out.shape[2])
    flat = volume.reshape(-1)
    for group in groups:
        for k, view in enumerate(group.views.tolist()):
            out[view] = 0
            for index, weight in _samples(group, k, shape, detector, volume):
                out[view] += (flat[index] * weight).sum(0)
            if tick is not None:
                tick()


def adjoint(projections: Tensor, out: Tensor, groups: list[Rays], tick: Tick = None) -> None:
    """Write the back-projection (z, y, x) of projections (n, rows, columns) to ``out``."""
    shape, detector = (out.shape[0], out.shape[1], out.shape[2]), (projections.shape[1], projections.shape[2])
    flat = out.view(-1).zero_()
    for group in groups:
        for k, view in enumerate(group.views.tolist()):
            for index, weight in _samples(group, k, shape, detector, projections):
                flat.index_add_(0, index.reshape(-1), (weight * projections[view]).reshape(-1))
            if tick is not None:
                tick()
