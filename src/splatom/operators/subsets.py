"""A quick classical reconstruction: SIRT by ordered subsets with momentum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.operators.voxel import VoxelProjector

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["PASSES", "reconstructed"]

PASSES = 20
_SUBSETS = 4  # of tilts: a pass over each of them does as much as four over all
_LAST = 5  # passes over all tilts, which the subsets do not agree on to the last


def reconstructed(
    images: Tensor,
    geometry: ViewGeometry,
    shape: tuple[int, int, int],
    *,
    non_negative: bool = True,
    passes: int = PASSES,
    tick: Tick = None,
) -> Tensor:
    """Reconstruct by accelerated SIRT.

    Parameters
    ----------
    images : Tensor (n, rows, columns)
        Measured tilts, zero where there is no matter.
    geometry : ViewGeometry
        Of the measured tilts.
    shape : tuple
        Of the box in voxels, (z, y, x).
    non_negative : bool
        Whether matter is bright, never darker than nothing.
    passes : int
        The networks that are told the result learn from the default.
    tick : callable, optional
        Called every few tens of milliseconds; what it raises stops the work.

    Returns
    -------
    Tensor (z, y, x)

    Notes
    -----
    SIRT as J. Gregor and T. Benson, IEEE Trans. Med. Imaging 27, 918 (2008) scale it; subsets with momentum as D. Kim,
    S. Ramani and J. Fessler, IEEE Trans. Med. Imaging 34, 167 (2015): 25 passes come as near as 100 of SIRT with
    momentum alone.
    """
    whole = _Part.of(images, geometry, shape, np.arange(len(images)), tick)
    count = max(1, min(_SUBSETS, len(images) // 2))
    subsets = [_Part.of(images, geometry, shape, np.arange(k, len(images), count), tick) for k in range(count)]
    x = _passed(images.new_zeros(shape), subsets * passes, non_negative, tick)
    return _passed(x, [whole] * _LAST, non_negative, tick)


@dataclass(frozen=True, eq=False)
class _Part:
    """Some tilts, and what one step of SIRT needs of them."""

    operator: VoxelProjector
    images: Tensor
    per_ray: Tensor
    per_voxel: Tensor

    @classmethod
    def of(
        cls, images: Tensor, geometry: ViewGeometry, shape: tuple[int, int, int], which: NDArray[np.int64], tick: Tick
    ) -> _Part:
        views = type(geometry)(geometry.rotations[which], geometry.shifts[which])
        mine = images[torch.from_numpy(which)]
        operator = VoxelProjector(views, shape, (images.shape[1], images.shape[2]), device=images.device.type)
        # Rays and voxels that are hardly met are not to be divided by next to nothing.
        per_ray = 1 / operator.forward(images.new_ones(shape), tick).clamp(min=1.0)
        return cls(operator, mine, per_ray, 1 / operator.adjoint(torch.ones_like(mine), tick).clamp(min=1.0))


def _passed(x: Tensor, parts: list[_Part], non_negative: bool, tick: Tick) -> Tensor:
    """Take one step of SIRT for each part, with momentum from the second on."""
    ahead, t = x.clone(), 1.0
    for part in parts:
        residual = part.operator.forward(ahead, tick).neg_().add_(part.images).mul_(part.per_ray)
        new = part.operator.adjoint(residual, tick).mul_(part.per_voxel).add_(ahead)
        if non_negative:
            new.clamp_(min=0)
        grown = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = torch.sub(new, x, out=ahead).mul_((t - 1) / grown).add_(new)
        x, t = new, grown
    return x
