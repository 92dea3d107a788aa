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

from splatom.operators import _splat_reference
from splatom.operators._gaussian_views import GaussianViews
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
        PyTorch reference.
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
        self.backend = _chosen(backend, device)
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
        out: Tensor = _Splat.apply(columns, rows, var, mass / self.pixel_size**2, self, tick)  # type: ignore[no-untyped-call]
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
            return self._tangent(
                columns, rows, var, mass * unit, d_columns, d_rows, d_var, d_mass * unit, tick
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
            columns, rows, var, mass / self.pixel_size**2, gains, backgrounds, measured, weights, residual, self, tick
        )
        return out

    # ---------------------------------------------------------------- two dimensions: the backends
    def _splat(self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick) -> Tensor:
        arguments: Any = (self.detector_shape, self.cutoff, tick)
        if self.backend == "cpu":
            from splatom.operators import _splat_cpu

            return _tensor(_splat_cpu.splat(*_arrays(columns, rows, var, mass), *arguments), mass)
        return _splat_reference.splat(columns, rows, var, mass, *arguments)

    def _gather(
        self, images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.backend == "cpu":
            from splatom.operators import _splat_cpu

            i, c, r, v, m = _arrays(images, columns, rows, var, mass)
            found = _splat_cpu.gather(i, c, r, v, m, self.cutoff, tick)
            a, b, c, d = (_tensor(f, mass) for f in found)
            return a, b, c, d
        return _splat_reference.gather(images, columns, rows, var, mass, self.cutoff, tick)

    def _tangent(
        self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor,
        d_columns: Tensor, d_rows: Tensor, d_var: Tensor, d_mass: Tensor, tick: Tick,
    ) -> Tensor:  # fmt: skip
        tensors: Any = (columns, rows, var, mass, d_columns, d_rows, d_var, d_mass)
        arguments: Any = (self.detector_shape, self.cutoff, tick)
        if self.backend == "cpu":
            from splatom.operators import _splat_cpu

            return _tensor(_splat_cpu.tangent(*_arrays(*tensors), *arguments), mass)
        return _splat_reference.tangent(*tensors, *arguments)

    def _compare(
        self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, gains: Tensor, backgrounds: Tensor,
        measured: Tensor, weights: Tensor, residual: Tensor | None, tick: Tick,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:  # fmt: skip
        """Return (v, 3) loss and its derivatives by gain and background, and what was gathered."""
        if self.backend == "cpu":
            from splatom.operators import _splat_cpu

            c, r, v, m, g, b = _arrays(columns, rows, var, mass, gains, backgrounds)
            d, w = measured.detach().float().numpy(), weights.detach().float().numpy()
            left = residual.numpy() if residual is not None and residual.dtype == torch.float32 else None
            sums, found = _splat_cpu.value_and_gather(c, r, v, m, d, w, self.cutoff, g, b, left, tick)
            if residual is not None and left is None:
                raise ValueError("the CPU backend writes the residual as float32")
            e, f, h, i = (_tensor(x, mass) for x in found)
            return torch.from_numpy(sums).to(mass.dtype), (e, f, h, i)
        drawn = self._splat(columns, rows, var, mass, tick)
        left_over = gains[:, None, None] * drawn + backgrounds[:, None, None] - measured
        pull = weights * left_over
        sums_ = torch.stack([x.sum((1, 2)) for x in (0.5 * pull * left_over, pull * drawn, pull)], 1)
        if residual is not None:
            residual.copy_(left_over)
        return sums_, self._gather(gains[:, None, None] * pull, columns, rows, var, mass, tick)


def _chosen(backend: str, device: str) -> str:
    if backend not in ("auto", "reference", "cpu", "spline", "triton"):
        raise ValueError(f"backend is '{backend}'; it has to be auto, reference, cpu, spline or triton")
    if backend != "auto":
        return backend
    if device == "cpu":
        return "cpu"
    try:
        import triton  # noqa: F401
    except ImportError:  # Windows, macOS
        return "reference"
    return "triton"


def _arrays(*tensors: Tensor) -> list[Any]:
    """Return tensors as contiguous float32 arrays."""
    return [t.detach().to(torch.float32).contiguous().numpy() for t in tensors]


def _tensor(array: Any, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.dtype)


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, projector: GaussianProjector, tick: Tick
    ) -> Tensor:
        ctx.save_for_backward(columns, rows, var, mass)
        ctx.projector, ctx.tick = projector, tick
        return projector._splat(columns, rows, var, mass, tick)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        columns, rows, var, mass = ctx.saved_tensors
        value, d_columns, d_rows, d_var = ctx.projector._gather(
            gradients[0].contiguous(), columns, rows, var, mass, ctx.tick
        )
        return d_columns, d_rows, d_var.sum(0) if var.ndim == 1 else d_var, value.sum(0), None, None


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, gains: Tensor, backgrounds: Tensor,
        measured: Tensor, weights: Tensor, residual: Tensor | None, projector: GaussianProjector, tick: Tick,
    ) -> Tensor:  # fmt: skip
        sums, gathered = projector._compare(
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
