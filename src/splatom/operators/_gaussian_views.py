"""From Gaussians in three dimensions to Gaussians in each view: plain, differentiable PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

__all__ = ["GaussianViews"]

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # entries of a symmetric matrix


class GaussianViews:
    """Where Gaussians appear in the views of a tilt series, in pixels.

    Parameters
    ----------
    geometry : ViewGeometry
    detector_shape : tuple
        (rows, columns).
    pixel_size : float
        In nm.
    device : str
    """

    def __init__(
        self, geometry: ViewGeometry, detector_shape: tuple[int, int], pixel_size: float, device: str
    ) -> None:
        self._rotations = torch.as_tensor(np.array(geometry.rotations), device=device)
        centre = (np.array([detector_shape[1], detector_shape[0]]) - 1) / 2
        self._offsets = torch.as_tensor(geometry.shifts + centre, device=device)  # (v, 2) column, row
        self._unit = 1 / pixel_size

    def __call__(
        self, centres: Tensor, spread: Tensor, shifts: Tensor | None, turns: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return columns (v, n), rows (v, n) and var (n,) or (v, n, 3); see :meth:`GaussianProjector.seen`."""
        kind = centres.dtype
        rotations = self._rotations.to(kind)
        if turns is not None:
            rotations = torch.linalg.matrix_exp(_cross(turns)) @ rotations
        p = self._unit * rotations[:, :2]
        offsets = self._offsets.to(kind)
        if shifts is not None:
            offsets = offsets + shifts
        columns, rows = _place(offsets, p, centres).unbind(1)
        if spread.ndim == 1:
            return columns, rows, (self._unit * spread).square()
        return columns, rows, _entries(spread) @ _products(p, p)

    def tangent(
        self,
        centres: Tensor,
        spread: Tensor,
        shifts: Tensor | None,
        turns: Tensor | None,
        d_centres: Tensor,
        d_spread: Tensor,
        d_shifts: Tensor | None,
        d_turns: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the change of columns, rows and var along a change of the arguments."""
        kind, views = centres.dtype, len(self._rotations)
        rotations, d_p = self._rotations.to(kind), None
        if turns is not None or d_turns is not None:
            still = centres.new_zeros((views, 3))
            t, d = (_cross(still if x is None else x) for x in (turns, d_turns))
            # The derivative of the exponential is the corner of that of a block matrix (Higham 2008, eq. 3.16).
            both = torch.linalg.matrix_exp(torch.cat([torch.cat([t, d], 2), torch.cat([torch.zeros_like(t), t], 2)], 1))
            d_p = self._unit * (both[:, :3, 3:] @ rotations)[:, :2]
            rotations = both[:, :3, :3] @ rotations
        p = self._unit * rotations[:, :2]
        offsets = centres.new_zeros((views, 2)) if d_shifts is None else d_shifts
        moved = _place(offsets, p, d_centres)
        if d_p is not None:
            moved = _place(torch.zeros_like(offsets), d_p, centres) + moved
        columns, rows = moved.unbind(1)
        if spread.ndim == 1:
            return columns, rows, 2 * self._unit**2 * spread * d_spread
        var = _entries(d_spread) @ _products(p, p)
        if d_p is not None:
            var = var + _entries(spread) @ (_products(p, d_p) + _products(d_p, p))
        return columns, rows, var


def _cross(t: Tensor) -> Tensor:
    """Return matrices [t]ₓ (v, 3, 3) with [t]ₓ r = t × r."""
    x, y, z = t.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).view(-1, 3, 3)


def _place(offsets: Tensor, p: Tensor, centres: Tensor) -> Tensor:
    """Return offsets (v, 2) + p (v, 2, 3) · centres (n, 3; z, y, x), (v, 2, n)."""
    flat = p.flip(-1).reshape(-1, 3) @ centres.T  # one product for all views
    return flat.view(*offsets.shape, -1) + offsets[:, :, None]


def _entries(spread: Tensor) -> Tensor:
    """Return the six entries of covariances (n, 3, 3; z, y, x) in the order of _PAIRS of x, y, z; mixed ones twice."""
    return torch.stack(
        [spread[:, 2 - i, 2 - j] if i == j else spread[:, 2 - i, 2 - j] + spread[:, 2 - j, 2 - i] for i, j in _PAIRS], 1
    )


def _products(p: Tensor, q: Tensor) -> Tensor:
    """Return (v, 6, 3): what multiplies the six entries of Σ in the (cc, cr, rr) entries of the symmetric p Σ qᵀ."""
    return torch.stack(
        [
            torch.stack([(p[:, a, i] * q[:, b, j] + p[:, a, j] * q[:, b, i]) / 2 for i, j in _PAIRS], 1)
            for a, b in ((0, 0), (0, 1), (1, 1))
        ],
        2,
    )
