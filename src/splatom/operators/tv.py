"""The total-variation half of a primal-dual step, fused and in place.

The gradient takes forward differences with nothing flowing through the border; the divergence is its negative
adjoint. Written as array expressions these steps cost several times the projector itself: every intermediate of a
large volume is a trip to main memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["tv_dual_step", "tv_primal_step", "tv_value"]


def _difference(x: Tensor, axis: int) -> Tensor:
    """Forward difference, zero at the far border."""
    out = torch.zeros_like(x)
    n = x.shape[axis] - 1
    out.narrow(axis, 0, n).copy_(x.narrow(axis, 1, n)).sub_(x.narrow(axis, 0, n))
    return out


def _divergence(q: Tensor) -> Tensor:
    """Negative adjoint of the forward differences: q (3, z, y, x) to (z, y, x)."""
    out = torch.zeros_like(q[0])
    for axis in range(3):
        n = out.shape[axis] - 1
        out.narrow(axis, 0, n).add_(q[axis].narrow(axis, 0, n))
        out.narrow(axis, 1, n).sub_(q[axis].narrow(axis, 0, n))
    return out


def tv_value(x: Tensor) -> float:
    """Isotropic total variation of a volume: the sum of the gradient's length over all voxels."""
    return float(sum(_difference(x, a).square() for a in range(3)).sqrt().sum(dtype=torch.float64))  # type: ignore[union-attr]


def tv_dual_step(q: Tensor, ahead: Tensor, step: float, weight: float, tick: Tick = None) -> None:
    """Q ← projection of q + step · ∇ahead onto vectors no longer than weight; q (3, z, y, x) in place."""
    if q.device.type == "cpu":
        from splatom.operators import _cpu_tv

        _cpu_tv.dual(q.numpy(), ahead.numpy(), step, weight, tick)
        return
    for axis in range(3):
        q[axis].add_(_difference(ahead, axis), alpha=step)
    q.div_((q.square().sum(0).sqrt_() / weight).clamp_(min=1))


def tv_primal_step(
    x: Tensor, ahead: Tensor, back: Tensor, q: Tensor, step: Tensor, non_negative: bool, tick: Tick = None
) -> None:
    """X ← x − step · (back − div q), clipped if asked; ahead ← 2 x_new − x_old. In place.

    Parameters
    ----------
    x, ahead, back : Tensor (z, y, x)
    q : Tensor (3, z, y, x)
    step : Tensor (z, y, x) or (z, 1, x)
    non_negative : bool
    """
    if q.device.type == "cpu":
        from splatom.operators import _cpu_tv

        _cpu_tv.primal(
            x.numpy(), ahead.numpy(), back.numpy(), q.numpy(), step.expand_as(x).numpy(), non_negative, tick
        )
        return
    new = x - step * (back - _divergence(q))
    if non_negative:
        new.clamp_(min=0)
    ahead.copy_(new).mul_(2).sub_(x)
    x.copy_(new)
