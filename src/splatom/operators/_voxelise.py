"""A sum of 3-D Gaussians as a volume, with gradients: for previews, volumes and priors such as total variation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None

__all__ = ["voxelise"]

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_VOXELS_A_CHUNK = 1 << 21


def voxelise(
    centres: Tensor,
    spread: Tensor,
    mass: Tensor,
    shape: tuple[int, int, int],
    voxel_size: float,
    *,
    cutoff: float = 4.5,
    tick: Tick = None,
) -> Tensor:
    """Return the density of Gaussians at the centres of voxels, with gradients to centres, spread and mass.

    Parameters
    ----------
    centres : Tensor (n, 3)
        In nm, order z, y, x; the volume's centre lies at the origin.
    spread : Tensor (n,) or (n, 3, 3)
        Standard deviations in nm (isotropic), or covariances in nm², order z, y, x.
    mass : Tensor (n,)
        Integrated mass, image intensity times nm².
    shape : tuple
        (z, y, x) in voxels.
    voxel_size : float
        In nm.
    cutoff : float
        Half-width of the window in which a Gaussian is drawn, in (conditional) standard deviations.
    tick : callable, optional
        Called every few tens of milliseconds; what it raises stops the pass.

    Returns
    -------
    Tensor (z, y, x)
        In intensity per nm: its sum along z times the voxel size is the projection at zero tilt. On the CPU it is
        computed in float32.
    """
    middle = torch.tensor([(size - 1) / 2 for size in shape], dtype=centres.dtype, device=centres.device)
    placed = centres / voxel_size + middle
    if spread.ndim == 1:
        variance = (spread / voxel_size).square()
        zero = torch.zeros_like(variance)
        cov = torch.stack([variance, zero, zero, variance, zero, variance], 1)
    else:
        cov = torch.stack([(spread[:, i, j] + spread[:, j, i]) / 2 for i, j in _PAIRS], 1) / voxel_size**2
    density = mass / voxel_size**3
    # Out of mass per voxel³ comes mass per nm³: intensity · nm² / nm³.
    if centres.device.type == "cpu":
        out: Tensor = _Voxelise.apply(placed, cov, density, shape, cutoff, tick)  # type: ignore[no-untyped-call]
        return out
    return _plain(placed, cov, density, shape, cutoff, tick)


def _matrix(six: Tensor) -> Tensor:
    """Return symmetric matrices (n, 3, 3) of six entries each."""
    a, b, c, d, e, f = six.unbind(1)
    return torch.stack([a, b, c, b, d, e, c, e, f], 1).view(-1, 3, 3)


def _plain(
    centres: Tensor, cov: Tensor, mass: Tensor, shape: tuple[int, int, int], cutoff: float, tick: Tick = None
) -> Tensor:
    """Draw Gaussians, all in voxels, in plain PyTorch: any device and dtype."""
    size = torch.tensor(shape, device=centres.device)
    precision = torch.linalg.inv(_matrix(cov))
    peak = mass / torch.sqrt((2 * math.pi) ** 3 * torch.linalg.det(_matrix(cov)))
    reach = (cutoff * cov.detach()[:, [0, 3, 5]].amax(1).sqrt() + 0.5).ceil().long()
    out = mass.new_zeros(math.prod(shape))
    for half in sorted(set(reach.tolist())):
        line = torch.arange(-half, half + 1, device=centres.device)
        block = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).view(-1, 3)
        for some in torch.split((reach == half).nonzero()[:, 0], max(1, _VOXELS_A_CHUNK // len(block))):
            at = centres.detach()[some].round().long()[:, None] + block  # (m, k, 3)
            d = at - centres[some, None]
            far = torch.einsum("mki,mij,mkj->mk", d, precision[some], d)
            inside = ((at >= 0) & (at < size)).all(2) & (far.detach() <= 3 * cutoff**2)
            index = (at.clamp(min=0).minimum(size - 1) * torch.tensor(
                [shape[1] * shape[2], shape[2], 1], device=centres.device
            )).sum(2)  # fmt: skip
            out = out.index_add(0, index.flatten(), (peak[some, None] * torch.exp(-far / 2) * inside).flatten())
            if tick is not None:
                tick()
    return out.view(shape)


class _Voxelise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, centres: Tensor, cov: Tensor, mass: Tensor, shape: tuple[int, int, int], cutoff: float, tick: Tick
    ) -> Tensor:
        from splatom.operators import _voxelise_cpu

        ctx.save_for_backward(centres, cov, mass)
        ctx.cutoff, ctx.tick = cutoff, tick
        c, v, m = (t.detach().to(torch.float32).contiguous().numpy() for t in (centres, cov, mass))
        return torch.from_numpy(_voxelise_cpu.draw(c, v, m, shape, cutoff, tick)).to(mass.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        from splatom.operators import _voxelise_cpu

        centres, cov, mass = ctx.saved_tensors
        g, c, v = (t.detach().to(torch.float32).contiguous().numpy() for t in (gradients[0], centres, cov))
        found = torch.from_numpy(_voxelise_cpu.moments(g, c, v, ctx.cutoff, ctx.tick)).to(mass.dtype)
        # dN/dc = N P d and dN/dΣ = ½ N (P d dᵀ P − P), with P = Σ⁻¹.
        zeroth, first, second = found[:, 0], found[:, 1:4], _matrix(found[:, 4:])
        p = torch.linalg.inv(_matrix(cov))
        to_centres = mass[:, None] * (p @ first[:, :, None])[:, :, 0]
        full = mass[:, None, None] * (p @ second @ p - zeroth[:, None, None] * p) / 2
        once = torch.stack([full[:, i, j] * (1 if i == j else 2) for i, j in _PAIRS], 1)
        return to_centres, once, zeroth, None, None, None
