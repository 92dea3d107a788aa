"""Views that were never taken, from a quick reconstruction of those that were."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.operators.voxel import VoxelProjector

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["PASSES", "reprojected"]

PASSES = 30
_GOES_ON = 0.1  # mean at the edge columns over the highest column's, above which matter goes on beyond the field


def reprojected(
    images: Tensor,
    geometry: ViewGeometry,
    wanted: ViewGeometry,
    *,
    non_negative: bool = True,
    passes: int = PASSES,
    tick: Tick = None,
) -> tuple[Tensor, Tensor]:
    """Reconstruct by accelerated SIRT and project again.

    Parameters
    ----------
    images : Tensor (n, rows, columns)
        Measured tilts, zero where there is no matter.
    geometry : ViewGeometry
        Of the measured tilts.
    wanted : ViewGeometry
        Of the views asked for.
    non_negative : bool
        Whether matter is bright, never darker than nothing.
    passes : int
        Of SIRT with Nesterov's momentum. The networks learn from the default.
    tick : callable, optional
        Called every few tens of milliseconds; what it raises stops the work.

    Returns
    -------
    Tensor (m, rows, columns)
        The views asked for.
    Tensor (n, rows, columns)
        The same reconstruction at the measured tilts: what it makes of what is known. What it leaves of a tilt is to be
        interpolated otherwise.

    Notes
    -----
    Rotation about a known axis is not video: every row of pixels sees one slice of the specimen, the same one in every
    tilt. SIRT as J. Gregor and T. Benson, IEEE Trans. Med. Imaging 27, 918 (2008) scale it; momentum as Y. Nesterov
    (1983). Where matter goes on beyond the field, the box is a quarter wider on either side, and the even ground of
    each tilt, which no box could hold, is left out of it.
    """
    _, rows, columns = images.shape
    wide = columns
    if _goes_on(images):
        wide += 2 * (columns // 4)
        images = images - torch.quantile(images.flatten(1), 0.05, dim=1)[:, None, None].clamp(min=0)
    operator = VoxelProjector(geometry, (wide, rows, wide), (rows, columns), device=images.device.type)
    ones = images.new_ones
    per_ray = 1 / operator.forward(ones(operator.domain_shape), tick).clamp(min=1.0)
    per_voxel = 1 / operator.adjoint(ones(operator.range_shape), tick).clamp(min=1.0)
    x, residual, update = (images.new_zeros(s) for s in (per_voxel.shape, images.shape, per_voxel.shape))
    ahead, t = x.clone(), 1.0
    for _ in range(passes):
        operator.forward(ahead, tick, residual).neg_().add_(images).mul_(per_ray)
        new = operator.adjoint(residual, tick, update).mul_(per_voxel).add_(ahead)
        if non_negative:
            new.clamp_(min=0)
        grown = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = torch.sub(new, x, out=ahead).mul_((t - 1) / grown).add_(new)
        x.copy_(new)
        t = grown
    there = VoxelProjector(wanted, operator.volume_shape, operator.detector_shape, device=images.device.type)
    return there.forward(x, tick), operator.forward(x, tick)


def _goes_on(images: Tensor) -> bool:
    course = images.mean(dim=1).clamp(min=0)  # (n, columns)
    edge = torch.cat([course[:, :2], course[:, -2:]], dim=1).mean()
    return bool(edge > _GOES_ON * np.maximum(float(course.amax(dim=1).mean()), 1e-30))
