"""The array steps of a lattice fit: a weighted TV dual step, a divergence, and the blur that makes Gaussians of masses.

Each has a numba form for the CPU and a plain PyTorch form for other devices; see :mod:`_denza_lattice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["Blur", "add_divergence", "dual_step", "gradient_length"]


@cache
def _compiled() -> tuple[Any, Any, Any]:
    """Return the compiled kernels: numba is loaded when the first fit begins, not with the form."""
    from splatom.methods.reconstruct import _denza_numba

    return _denza_numba.dual_planes, _denza_numba.divergence_planes, _denza_numba.blur_planes


def _each(kernel: Any, arguments: tuple[Any, ...], depth: int, tick: Tick) -> None:
    from splatom.operators._cpu import each, threads

    step = max(1, -(-depth // (4 * threads())))
    each(((kernel, *arguments, z, min(z + step, depth)) for z in range(0, depth, step)), tick)


def _difference(x: Tensor, axis: int) -> Tensor:
    out = torch.zeros_like(x)
    n = x.shape[axis] - 1
    out.narrow(axis, 0, n).copy_(x.narrow(axis, 1, n)).sub_(x.narrow(axis, 0, n))
    return out


def gradient_length(x: Tensor) -> Tensor:
    """Length of the forward-difference gradient of a volume, (z, y, x)."""
    return sum((_difference(x, a).square() for a in range(3)), torch.zeros_like(x)).sqrt_()


def dual_step(q: Tensor, ahead: Tensor, step: Tensor, limit: Tensor, tick: Tick = None) -> None:
    """Q ← projection of q + step · ∇ahead onto vectors no longer than a limit per voxel; q (3, z, y, x) in place.

    Parameters
    ----------
    q : Tensor (3, z, y, x)
    ahead, step, limit : Tensor (z, y, x)
    """
    if q.device.type == "cpu":
        arguments = (q.numpy(), ahead.numpy(), step.numpy(), limit.numpy())
        _each(_compiled()[0], arguments, len(ahead), tick)
        return
    for axis in range(3):
        q[axis].add_(_difference(ahead, axis) * step)
    q.div_((q.square().sum(0).sqrt_() / limit).clamp_(min=1))


def add_divergence(out: Tensor, q: Tensor, tick: Tick = None) -> None:
    """Out ← out − div q, in place; the divergence is the negative adjoint of the forward differences."""
    if q.device.type == "cpu":
        _each(_compiled()[1], (out.numpy(), q.numpy()), len(out), tick)
        return
    for axis in range(3):
        n = out.shape[axis] - 1
        out.narrow(axis, 0, n).sub_(q[axis].narrow(axis, 0, n))
        out.narrow(axis, 1, n).add_(q[axis].narrow(axis, 0, n))


class Blur:
    """Masses on a lattice to the density on its voxels: each mass becomes a Gaussian. Its own adjoint.

    Parameters
    ----------
    sigma : float
        Standard deviation in voxels. A Gaussian is averaged over each voxel, so that mass is kept whatever the width.
        Sites nearer to the border than the window lose what falls outside.
    """

    def __init__(self, sigma: float) -> None:
        from scipy.special import erf

        half = max(1, math.ceil(3.5 * sigma))
        edges = np.arange(-half, half + 2) - 0.5
        taps: NDArray[np.float64] = np.diff(erf(edges / (math.sqrt(2) * sigma)))
        self.sigma, self._taps = sigma, (taps / taps.sum()).astype(np.float32)
        self._spare: list[Tensor] = []

    def __call__(self, masses: Tensor, out: Tensor | None = None, tick: Tick = None) -> Tensor:
        """Return the density (z, y, x), in new memory or in a given array."""
        out = torch.empty_like(masses) if out is None else out
        if masses.device.type == "cpu":
            if not self._spare or self._spare[0].shape != masses.shape:
                self._spare = [torch.empty_like(masses)]
            spare = self._spare[0]
            for axis, (source, target) in enumerate(((masses, out), (out, spare), (spare, out))):
                _each(_compiled()[2], (source.numpy(), target.numpy(), self._taps, axis), len(masses), tick)
            return out
        x, taps = masses[None, None], torch.from_numpy(self._taps).to(masses.device)
        for axis in range(3):
            shape = [1, 1, 1, 1, 1]
            shape[axis + 2] = len(taps)
            pad = [len(taps) // 2 if a == axis else 0 for a in range(3)]
            x = torch.nn.functional.conv3d(x, taps.view(shape), padding=pad)
        return out.copy_(x[0, 0])
