"""Fused total-variation steps, compiled by numba; see :mod:`splatom.operators.tv`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from splatom.operators._cpu import each, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tick = Callable[[], None] | None

__all__ = ["dual", "primal"]

_compiled = numba.njit(fastmath=True, error_model="numpy", nogil=True, cache=True)


@_compiled
def _dual_planes(q, ahead, step, weight, z0, z1):  # type: ignore[no-untyped-def]
    depth, height, width = ahead.shape
    one = ahead.dtype.type(1)
    for z in range(z0, z1):
        zn = min(z + 1, depth - 1)
        for y in range(height):
            yn = min(y + 1, height - 1)
            here, below, behind = ahead[z, y], ahead[z, yn], ahead[zn, y]
            qz, qy, qx = q[0, z, y], q[1, z, y], q[2, z, y]
            for x in range(width):
                xn = min(x + 1, width - 1)
                a = qz[x] + step * (behind[x] - here[x])
                b = qy[x] + step * (below[x] - here[x])
                c = qx[x] + step * (here[xn] - here[x])
                shrink = one / max(one, math.sqrt(a * a + b * b + c * c) / weight)
                qz[x], qy[x], qx[x] = a * shrink, b * shrink, c * shrink


@_compiled
def _primal_planes(x, ahead, back, q, step, lowest, z0, z1):  # type: ignore[no-untyped-def]
    height, width = x.shape[1:]
    for z in range(z0, z1):
        for y in range(height):
            qz, qy, qx = q[0, z, y], q[1, z, y], q[2, z, y]
            above, before = q[0, max(z - 1, 0), y], q[1, z, max(y - 1, 0)]
            # At the far border the difference is zero, so q there is zero as well: only the near border needs care.
            in_z, in_y = np.float32(z > 0), np.float32(y > 0)
            for i in range(width):
                left = qx[i - 1] if i > 0 else qx[i] * 0
                divergence = qz[i] - in_z * above[i] + qy[i] - in_y * before[i] + qx[i] - left
                old = x[z, y, i]
                new = max(lowest, old - step[z, y, i] * (back[z, y, i] - divergence))
                ahead[z, y, i] = 2 * new - old
                x[z, y, i] = new


def _pieces(depth: int) -> list[tuple[int, int]]:
    step = max(1, -(-depth // (4 * threads())))
    return [(z, min(z + step, depth)) for z in range(0, depth, step)]


def dual(q: NDArray[Any], ahead: NDArray[Any], step: float, weight: float, tick: Tick) -> None:
    """Dual step on q (3, z, y, x)."""
    kind = ahead.dtype.type
    each(((_dual_planes, q, ahead, kind(step), kind(weight), a, b) for a, b in _pieces(len(ahead))), tick)


def primal(
    x: NDArray[Any],
    ahead: NDArray[Any],
    back: NDArray[Any],
    q: NDArray[Any],
    step: NDArray[Any],
    non_negative: bool,
    tick: Tick,
) -> None:
    """Primal step on x and ahead (z, y, x)."""
    lowest = x.dtype.type(0 if non_negative else -np.inf)
    each(((_primal_planes, x, ahead, back, q, step, lowest, a, b) for a, b in _pieces(len(x))), tick)
