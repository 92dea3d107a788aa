"""Total variation: the noise that its weight is counted in, and the steps of the primal-dual method, in place.

The gradient takes forward differences with nothing flowing through the border; the divergence is its negative
adjoint. Written as array expressions these steps cost several times the projector itself: every intermediate of a
large volume is a trip to main memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["PrimalDual", "balance_of", "noise_level", "tv_dual_step", "tv_primal_step", "tv_value"]

# Balance of primal against dual steps: voxel values are small against ray sums. On simulated particles at 47 noisy and
# at 15 tilts, 10 to 30 came nearest to the optimum in 50 to 200 passes; 1 and 300 were several times slower. Views
# between 4 to 11 noise-free tilts of clusters of atoms said the same.
_BALANCE = 30.0
# A narrow range of tilts leaves the contrast along the beam to small singular values. On a real needle cut to ±20°, 200
# passes with 10 came as far as 600 with 30: R of the tilts beyond is 0.14, and with 30 it is still 0.28 after 150.
# Clusters at ±40° still want 30.
_NARROW, _NARROW_BALANCE = 60.0, 6.0  # degrees from the first tilt to the last


def noise_level(data: Tensor) -> float:
    """Return the standard deviation of the noise of projections (n, rows, columns), at least 0.5 % of their range.

    The mask of J. Immerkær (Comput. Vis. Image Underst. 64, 300, 1996) removes what is locally linear; the median of
    what remains resists edges. The floor stands for the errors of the model, which noise-free data have as well.
    """
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]], device=data.device)
    if min(data.shape[1:]) < 3:
        return float(0.005 * data.abs().max())
    rough = torch.nn.functional.conv2d(data[:, None], mask[None, None])
    sample = rough.flatten()[:: max(1, rough.numel() // 1_000_000)]
    spread = float(sample.abs().median()) / 0.6745 / 6
    values = data.flatten()[:: max(1, data.numel() // 1_000_000)].cpu().numpy()
    low, high = np.percentile(values, [1, 99.5])
    return max(spread, 0.005 * float(high - low), 1e-12)


def balance_of(geometry: ViewGeometry) -> float:
    """Return the balance of primal against dual steps that suits a range of tilts, from an empty volume."""
    return _BALANCE if float(np.ptp(geometry.tilt_degrees)) > _NARROW else _NARROW_BALANCE


@dataclass(frozen=True, eq=False)
class PrimalDual:
    """Passes towards the minimum of ½ Σ w (A x − y)² + λ TV(x).

    The method of A. Chambolle and T. Pock, J. Math. Imaging Vis. 40, 120 (2011), with the diagonal steps of T. Pock and
    A. Chambolle, ICCV 2011; for tomography: E. Sidky, Phys. Med. Biol. 57, 3065 (2012).

    Made by :meth:`of`.
    """

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    data: Tensor
    dual: Tensor
    damping: Tensor
    primal: Tensor
    tv: float
    non_negative: bool
    tick: Tick = None

    @classmethod
    def of(
        cls, forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], data: Tensor, weights: Tensor,
        lengths: Tensor, sums: Tensor, balance: float, non_negative: bool, tick: Tick = None,
    ) -> PrimalDual:  # fmt: skip
        """Choose the steps.

        Parameters
        ----------
        forward, adjoint : callable
            A and Aᵀ.
        data : Tensor (n, rows, columns)
        weights : Tensor, broadcast to the data's shape
        lengths : Tensor, broadcast to the data's shape
            A 1, the length of each ray.
        sums : Tensor, broadcast to the volume's shape
            Aᵀ 1, how often each voxel is met.
        balance : float
            Of primal against dual steps (:func:`balance_of`).
        non_negative : bool
        tick : callable, optional
            Called now and then within a pass; what it raises ends it.
        """
        # In units in which a voxel is about 1 the dual variables are alike.
        dual = balance / lengths.clamp_min(1.0)
        ray_mean = float(lengths.mean())
        primal = 1 / (balance * (sums + 6.0 / ray_mean))
        damping = (weights > 0) / (1 + dual / weights.clamp_min(1e-12))
        return cls(forward, adjoint, data, dual, damping, primal, balance * 0.5 / ray_mean, non_negative, tick)

    def step(self, x: Tensor, ahead: Tensor, p: Tensor, q: Tensor, penalty: float) -> Tensor:
        """Make one pass in place; return y − A ahead, of the point that it started from.

        Parameters
        ----------
        x, ahead : Tensor (z, y, x)
            Equal at first.
        p : Tensor (n, rows, columns)
            Zero at first.
        q : Tensor (3, z, y, x)
            Zero at first.
        penalty : float
            λ.
        """
        residual = self.forward(ahead).neg_().add_(self.data)
        p.sub_(residual * self.dual).mul_(self.damping)
        tv_dual_step(q, ahead, self.tv, penalty, self.tick)
        tv_primal_step(x, ahead, self.adjoint(p), q, self.primal, self.non_negative, self.tick)
        return residual

    def minimised(self, x: Tensor, weight: float, passes: int) -> Tensor:
        """Make passes from a volume, in place; λ = weight · σ · √n with the noise σ of the data's n tilts.

        Parameters
        ----------
        x : Tensor (z, y, x)
        weight : float
            As of ``reconstruct tv``.
        passes : int

        Returns
        -------
        Tensor (z, y, x)
            x.
        """
        ahead, p, q = x.clone(), torch.zeros_like(self.data), x.new_zeros((3, *x.shape))
        penalty = weight * noise_level(self.data) * len(self.data) ** 0.5
        for _ in range(passes):
            self.step(x, ahead, p, q, penalty)
        return x


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

        _cpu_tv.primal(x.numpy(), ahead.numpy(), back.numpy(), q.numpy(), step.expand_as(x).numpy(), non_negative, tick)
        return
    new = x - step * (back - _divergence(q))
    if non_negative:
        new.clamp_(min=0)
    ahead.copy_(new).mul_(2).sub_(x)
    x.copy_(new)
