"""Views that were never taken, from a reconstruction of those that were."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.operators.tv import PrimalDual, balance_of
from splatom.operators.voxel import VoxelProjector

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["reprojected", "widened"]

_GOES_ON = 0.1  # mean at the edge columns over the highest column's, above which matter goes on beyond the field


def reprojected(
    images: Tensor,
    geometry: ViewGeometry,
    wanted: ViewGeometry,
    *,
    weight: float,
    passes: int,
    non_negative: bool = True,
    tick: Tick = None,
) -> tuple[Tensor, Tensor]:
    """Reconstruct by total variation and project the result again.

    Parameters
    ----------
    images : Tensor (n, rows, columns)
        Measured tilts, zero where there is no matter.
    geometry : ViewGeometry
        Of the measured tilts.
    wanted : ViewGeometry
        Of the views asked for.
    weight : float
        Of the total variation, relative to the noise, as of ``reconstruct tv``.
    passes : int
        Of :class:`splatom.operators.tv.PrimalDual`.
    non_negative : bool
        Whether matter is bright, never darker than nothing.
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
    tilt. Where matter goes on beyond the field, the box is a quarter wider on either side, and the even ground of each
    tilt, which no box could hold, is left out of it.
    """
    _, rows, columns = images.shape
    wide = columns
    if _goes_on(images):
        wide = widened(columns)
        images = images - torch.quantile(images.flatten(1), 0.05, dim=1)[:, None, None].clamp(min=0)
    shape = (wide, rows, wide)
    operator = VoxelProjector(geometry, shape, (rows, columns), device=images.device.type)

    def forward(volume: Tensor) -> Tensor:
        return operator.forward(volume, tick)

    def adjoint(projections: Tensor) -> Tensor:
        return operator.adjoint(projections, tick)

    x = images.new_zeros(shape)
    solver = PrimalDual.of(
        forward, adjoint, images, images.new_ones(()), forward(torch.ones_like(x)), adjoint(torch.ones_like(images)),
        balance_of(geometry), non_negative, tick,
    )  # fmt: skip
    solver.minimised(x, weight, passes)
    there = VoxelProjector(wanted, shape, (rows, columns), device=images.device.type)
    return there.forward(x, tick), forward(x)


def widened(columns: int) -> int:
    """Return the width of the box for matter that goes on beyond a field of so many columns."""
    return columns + 2 * (columns // 4)


def _goes_on(images: Tensor) -> bool:
    course = images.mean(dim=1).clamp(min=0)  # (n, columns)
    edge = torch.cat([course[:, :2], course[:, -2:]], dim=1).mean()
    return bool(edge > _GOES_ON * np.maximum(float(course.amax(dim=1).mean()), 1e-30))
