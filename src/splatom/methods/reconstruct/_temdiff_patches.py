"""A volume in patches whose overlaps are blended: memory stays bounded, and a stop is felt between two patches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

import torch

from splatom.methods.denoise._tiles import Tiling, ramp

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["count", "in_patches"]


def _tiling(size: int, overlap: int) -> Tiling:
    return Tiling(size, overlap, multiple=8)


def count(shape: tuple[int, ...], size: int, overlap: int) -> int:
    """Return how many patches a volume takes."""
    number = 1
    for length in shape:
        number *= len(_tiling(size, overlap).along(length)[1])
    return number


def in_patches(
    function: Callable[[Tensor], Tensor], volumes: Tensor, size: int, overlap: int, tick: Callable[[], None]
) -> Tensor:
    """Apply a function to volumes patch by patch.

    Each patch weighs as a squared sine that falls over the overlap, not at the volume's own border, so that the weights
    of neighbours sum to one.

    Parameters
    ----------
    function : callable
        (channels, z, y, x) to (z, y, x).
    volumes : Tensor (channels, z, y, x)
    size, overlap : int
        Side of a patch and what neighbours share at least, in voxels; actual patches are up to a quarter larger where
        that saves some.
    tick : callable
        Called before each patch.

    Returns
    -------
    Tensor (z, y, x)
    """
    shape = tuple(volumes.shape[1:])
    tiling = _tiling(size, overlap)
    plans = [_pieces(tiling, length) for length in shape]
    if all(len(plan) == 1 for plan in plans):
        tick()
        return function(volumes)
    total = volumes.new_zeros(shape)
    for (z, along_z), (y, along_y), (x, along_x) in product(*plans):
        tick()
        share = along_z[:, None, None] * along_y[:, None] * along_x
        total[z, y, x] += share.to(total.device) * function(volumes[:, z, y, x].contiguous())
    return total


def _pieces(tiling: Tiling, length: int) -> list[tuple[slice, Tensor]]:
    """Return where patches lie along an axis, and their weights there, which sum to one at every voxel."""
    side, starts = tiling.along(length)
    if len(starts) == 1:
        return [(slice(0, length), torch.ones(length))]
    out = []
    for k, start in enumerate(starts):
        before = starts[k - 1] + side - start if k else 0
        after = start + side - starts[k + 1] if k + 1 < len(starts) else 0
        out.append((slice(start, start + side), torch.from_numpy(ramp(side, before, after))))
    total = torch.zeros(length)
    for place, share in out:
        total[place] += share
    return [(place, share / total[place]) for place, share in out]
