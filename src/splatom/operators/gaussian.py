"""The Gaussian projector: a specimen as a sum of 3-D Gaussians, seen in any view, exactly and with gradients.

A Gaussian of integrated mass m, centre x and covariance Σ projects along the beam to a 2-D Gaussian of the same mass,
with centre P x and covariance P Σ Pᵀ (P: the first two rows of the view's rotation). That chain is plain PyTorch on
arrays (views, n); the drawing of 2-D Gaussians and its adjoint are one autograd function over a choice of backends.
Gradients to the geometry of the views follow by the chain rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch

from splatom.operators._gaussian_views import GaussianViews
from splatom.operators._splat_backends import Splatter, splatter
from splatom.operators._voxelise import voxelise

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["GaussianProjector", "voxelise"]

Backend = Literal["auto", "reference", "cpu", "spline", "triton"]


class GaussianProjector:
    """Project 3-D Gaussians into the views of a tilt series.

    Parameters
    ----------
    geometry : ViewGeometry
    detector_shape : tuple
        (rows, columns) in pixels.
    pixel_size : float
        In nm.
    device : str
        'cpu' or 'cuda'.
    backend : {'auto', 'reference', 'cpu', 'spline', 'triton'}
        'auto' takes the fast one of the device: numba on the CPU; Triton on CUDA where it is installed, else the plain
        PyTorch reference; and splines on the CPU where all Gaussians have one great width.
    cutoff : float
        Half-width of the window in which a Gaussian is drawn, in standard deviations. What lies outside is 0.001 % of
        the mass at 4.5 and 0.5 % at 3.

    Notes
    -----
    The value of a pixel is Σ mass · N₂(pixel centre; projected centre, projected covariance), with mass in intensity ·
    nm² and N₂ per nm²: point sampled, with no blur added. The sum of a view times pixel² is therefore the mass inside
    the field, the same in every view.
    """

    def __init__(
        self,
        geometry: ViewGeometry,
        detector_shape: tuple[int, int],
        pixel_size: float,
        *,
        device: str = "cpu",
        backend: Backend = "auto",
        cutoff: float = 4.5,
    ) -> None:
        if min(*detector_shape, len(geometry)) < 1:
            raise ValueError(f"empty projector: detector {detector_shape}, {len(geometry)} views")
        if not pixel_size > 0 or not cutoff > 0:
            raise ValueError(f"pixel size {pixel_size} nm and cutoff {cutoff} have to be positive")
        self.geometry, self.detector_shape, self.pixel_size = geometry, detector_shape, float(pixel_size)
        self.device, self.cutoff = device, float(cutoff)
        self.backend, self._splatter = splatter(backend, device, detector_shape, self.cutoff)
        self._views = GaussianViews(geometry, detector_shape, self.pixel_size, device)

    @property
    def range_shape(self) -> tuple[int, int, int]:
        """Shape of the projections, (n, rows, columns)."""
        return len(self.geometry), *self.detector_shape

    # ---------------------------------------------------------------- three dimensions to two
    def seen(
        self, centres: Tensor, spread: Tensor, *, shifts: Tensor | None = None, turns: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return where Gaussians appear in each view, in pixels; differentiable.

        Parameters
        ----------
        centres : Tensor (n, 3)
            In nm, order z, y, x.
        spread : Tensor (n,) or (n, 3, 3)
            Standard deviations in nm (isotropic), or covariances in nm², order z, y, x.
        shifts : Tensor (v, 2), optional
            Further displacement of each view, (column, row) in pixels.
        turns : Tensor (v, 3), optional
            Small rotation of each view in rad, as a rotation vector in the view's frame (x: columns, y: rows, z: beam):
            R′ = exp([turn]ₓ) R.

        Returns
        -------
        columns, rows : Tensor (v, n)
        var : Tensor (n,) or (v, n, 3)
            Variance, or (column-column, column-row, row-row) of the covariance, in pixel².
        """
        return self._views(centres, spread, shifts, turns)

    # ---------------------------------------------------------------- the maps
    def __call__(
        self,
        centres: Tensor,
        spread: Tensor,
        mass: Tensor,
        *,
        shifts: Tensor | None = None,
        turns: Tensor | None = None,
        tick: Tick = None,
    ) -> Tensor:
        """Project Gaussians, with gradients to every argument.

        Parameters
        ----------
        centres, spread, shifts, turns
            As in :meth:`seen`.
        mass : Tensor (n,)
            Integrated mass, image intensity times nm².
        tick : callable, optional
            Called every few tens of milliseconds; what it raises stops the pass.

        Returns
        -------
        Tensor (v, rows, columns)
        """
        columns, rows, var = self.seen(centres, spread, shifts=shifts, turns=turns)
        out: Tensor = _Splat.apply(columns, rows, var, mass / self.pixel_size**2, self._splatter, tick)  # type: ignore[no-untyped-call]
        return out

    def tangent(
        self,
        centres: Tensor,
        spread: Tensor,
        mass: Tensor,
        d_centres: Tensor,
        d_spread: Tensor,
        d_mass: Tensor,
        *,
        shifts: Tensor | None = None,
        turns: Tensor | None = None,
        d_shifts: Tensor | None = None,
        d_turns: Tensor | None = None,
        tick: Tick = None,
    ) -> Tensor:
        """Return the change (v, rows, columns) of the projections along a change of the arguments (forward mode).

        With :meth:`__call__`'s gradient this is what Gauss-Newton with conjugate gradients needs: J p and Jᵀ r.
        """
        with torch.no_grad():
            columns, rows, var = self.seen(centres, spread, shifts=shifts, turns=turns)
            d_columns, d_rows, d_var = self._views.tangent(
                centres, spread, shifts, turns, d_centres, d_spread, d_shifts, d_turns
            )
            unit = self.pixel_size**-2
            return self._splatter.tangent(
                columns, rows, var, mass * unit, d_columns, d_rows, d_var, d_mass * unit, tick=tick
            )

    def loss(
        self,
        centres: Tensor,
        spread: Tensor,
        mass: Tensor,
        measured: Tensor,
        weights: Tensor | None = None,
        *,
        gains: Tensor | None = None,
        backgrounds: Tensor | None = None,
        shifts: Tensor | None = None,
        turns: Tensor | None = None,
        residual: Tensor | None = None,
        tick: Tick = None,
    ) -> Tensor:
        """Return ½ Σ weights (gain · projection + background − measured)² of each view, with gradients.

        Value and gradient in one pass: on the CPU a view is drawn, compared and gathered while it is in the cache.

        Parameters
        ----------
        centres, spread, mass, shifts, turns, tick
            As in :meth:`__call__`.
        measured : Tensor (v, rows, columns)
        weights : Tensor, optional
            Inverse variances; anything that broadcasts to the shape of measured. 1 by default.
        gains, backgrounds : Tensor (v,), optional
            1 and 0 by default.
        residual : Tensor (v, rows, columns), optional
            Model − measured is written here.

        Returns
        -------
        Tensor (v,)
        """
        columns, rows, var = self.seen(centres, spread, shifts=shifts, turns=turns)
        gains = mass.new_ones(len(columns)) if gains is None else gains
        backgrounds = mass.new_zeros(len(columns)) if backgrounds is None else backgrounds
        weights = (mass.new_ones(()) if weights is None else weights).to(mass.dtype).expand(measured.shape)
        out: Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
            columns, rows, var, mass / self.pixel_size**2, gains, backgrounds, measured, weights, residual,
            self._splatter, tick,
        )  # fmt: skip
        return out


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, splatter: Splatter, tick: Tick
    ) -> Tensor:
        ctx.save_for_backward(columns, rows, var, mass)
        ctx.splatter, ctx.tick = splatter, tick
        return splatter.splat(columns, rows, var, mass, tick)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        columns, rows, var, mass = ctx.saved_tensors
        value, d_columns, d_rows, d_var = ctx.splatter.gather(
            gradients[0].contiguous(), columns, rows, var, mass, ctx.tick
        )
        return d_columns, d_rows, d_var.sum(0) if var.ndim == 1 else d_var, value.sum(0), None, None


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, gains: Tensor, backgrounds: Tensor,
        measured: Tensor, weights: Tensor, residual: Tensor | None, splatter: Splatter, tick: Tick,
    ) -> Tensor:  # fmt: skip
        sums, gathered = splatter.compare(
            columns, rows, var, mass, gains, backgrounds, measured, weights, residual, tick
        )
        ctx.save_for_backward(sums, *gathered)
        ctx.isotropic = var.ndim == 1
        return sums[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        sums, value, d_columns, d_rows, d_var = ctx.saved_tensors
        g = gradients[0]
        by_view = g[:, None]
        wide = g @ d_var if ctx.isotropic else g[:, None, None] * d_var
        return (
            by_view * d_columns, by_view * d_rows, wide, g @ value,
            g * sums[:, 1], g * sums[:, 2], None, None, None, None, None,
        )  # fmt: skip
