"""One front for the backends that draw 2-D Gaussians, on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from splatom.operators import _splat_reference

if TYPE_CHECKING:
    from torch import Tensor

    Tick = Callable[[], None] | None
    Gathered = tuple[Tensor, Tensor, Tensor, Tensor]

__all__ = ["Splatter", "splatter"]

NAMES = ("auto", "reference", "cpu", "spline", "triton")


class Splatter:
    """Draw Gaussians and gather under them with one of the modules that share the reference's functions.

    Parameters
    ----------
    module : module
    shape : tuple
        (rows, columns) of an image.
    cutoff : float
    """

    def __init__(self, module: Any, shape: tuple[int, int], cutoff: float) -> None:
        self._module, self.shape, self.cutoff = module, shape, cutoff

    def splat(self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick) -> Tensor:
        """Sum Gaussians into images (v, rows, columns)."""
        out: Tensor = self._module.splat(columns, rows, var, mass, self.shape, self.cutoff, tick)
        return out

    def gather(
        self, images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick
    ) -> Gathered:
        """Sum images under each Gaussian (v, n) and under its derivatives."""
        out: Gathered = self._module.gather(images, columns, rows, var, mass, self.cutoff, tick)
        return out

    def tangent(self, *arguments: Tensor, tick: Tick) -> Tensor:
        """Change of the images along a change of columns, rows, var and mass (after which the changes follow)."""
        out: Tensor = self._module.tangent(*arguments, self.shape, self.cutoff, tick)
        return out

    def compare(
        self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, gains: Tensor, backgrounds: Tensor,
        measured: Tensor, weights: Tensor, residual: Tensor | None, tick: Tick,
    ) -> tuple[Tensor, Gathered]:  # fmt: skip
        """Return (v, 3), the loss and its derivatives by gain and background, and its derivatives as gathered."""
        drawn = self.splat(columns, rows, var, mass, tick)
        left = gains[:, None, None] * drawn + backgrounds[:, None, None] - measured
        if residual is not None:
            residual.copy_(left)
        pull = weights * left
        sums = torch.stack([x.sum((1, 2)) for x in (0.5 * pull * left, pull * drawn, pull)], 1)
        return sums, self.gather(gains[:, None, None] * pull, columns, rows, var, mass, tick)


class _Cpu(Splatter):
    """The numba kernels: float32 arrays in and out, one pass for the comparison."""

    def splat(self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick) -> Tensor:
        c, r, v, m = _arrays(columns, rows, var, mass)
        return _tensor(self._module.splat(c, r, v, m, self.shape, self.cutoff, tick), mass)

    def gather(
        self, images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick
    ) -> Gathered:
        found = self._module.gather(*_arrays(images, columns, rows, var, mass), self.cutoff, tick)
        value, d_columns, d_rows, d_var = (_tensor(f, mass) for f in found)
        return value, d_columns, d_rows, d_var

    def tangent(self, *arguments: Tensor, tick: Tick) -> Tensor:
        return _tensor(self._module.tangent(*_arrays(*arguments), self.shape, self.cutoff, tick), arguments[0])

    def compare(
        self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, gains: Tensor, backgrounds: Tensor,
        measured: Tensor, weights: Tensor, residual: Tensor | None, tick: Tick,
    ) -> tuple[Tensor, Gathered]:  # fmt: skip
        c, r, v, m, g, b, d = _arrays(columns, rows, var, mass, gains, backgrounds, measured)
        w = weights.detach().float().numpy()  # its strides may be zero: no copy
        left = torch.empty(measured.shape) if residual is None or residual.dtype != torch.float32 else residual
        sums, found = self._module.value_and_gather(c, r, v, m, d, w, self.cutoff, g, b, left.numpy(), tick)
        if residual is not None and residual is not left:
            residual.copy_(left)
        value, d_columns, d_rows, d_var = (_tensor(x, mass) for x in found)
        return torch.from_numpy(sums).to(mass.dtype), (value, d_columns, d_rows, d_var)


class _Auto(Splatter):
    """The kernels on the CPU, or splines where all Gaussians have one width and the splines' cost is lower."""

    def __init__(self, windows: Splatter, splines: Splatter) -> None:
        self._windows, self._splines = windows, splines
        super().__init__(None, windows.shape, windows.cutoff)

    def _of(self, var: Tensor) -> Splatter:
        if var.ndim > 1 or not len(var):
            return self._windows
        low, high = (float(v) for v in var.detach().aminmax())
        if low != high or not _splines_win(len(var), low**0.5, self.shape, self.cutoff):
            return self._windows
        return self._splines

    def splat(self, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick) -> Tensor:
        return self._of(var).splat(columns, rows, var, mass, tick)

    def gather(
        self, images: Tensor, columns: Tensor, rows: Tensor, var: Tensor, mass: Tensor, tick: Tick
    ) -> Gathered:
        return self._of(var).gather(images, columns, rows, var, mass, tick)

    def tangent(self, *arguments: Tensor, tick: Tick) -> Tensor:
        return self._of(arguments[2]).tangent(*arguments, tick=tick)

    def compare(self, columns: Tensor, rows: Tensor, var: Tensor, *rest: Any) -> tuple[Tensor, Gathered]:
        return self._of(var).compare(columns, rows, var, *rest)


def _arrays(*tensors: Tensor) -> list[Any]:
    """Return tensors as contiguous float32 arrays."""
    return [t.detach().to(torch.float32).contiguous().numpy() for t in tensors]


def _tensor(array: Any, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.dtype)


def _splines_win(n: int, width: float, shape: tuple[int, int], cutoff: float) -> bool:
    """Whether splines are quicker than windows on the CPU, forward and backward, for n Gaussians a view.

    Measured (one core, ns): a window costs 180 a pixel of its standard deviation (up to 12), a spline 480 and the
    transforms 35 a pixel of the padded image. Below 3 pixels splines are not accurate enough to be taken unasked.
    """
    area = (shape[0] + 2 * cutoff * width) * (shape[1] + 2 * cutoff * width)
    return width >= 3 and n * 180 * width > n * 480 + 35 * area


def splatter(backend: str, device: str, shape: tuple[int, int], cutoff: float) -> tuple[str, Splatter]:
    """Return the name of the backend that runs, and the backend."""
    if backend not in NAMES:
        raise ValueError(f"backend is '{backend}'; it has to be one of {', '.join(NAMES)}")
    name = backend
    if backend == "auto":
        name = "cpu"
        if device != "cpu":
            try:
                import triton  # noqa: F401

                name = "triton"
            except ImportError:  # Windows, macOS
                name = "reference"
    chosen = _named(name, shape, cutoff)
    if backend == "auto" and name == "cpu":
        chosen = _Auto(chosen, _named("spline", shape, cutoff))
    return name, chosen


def _named(name: str, shape: tuple[int, int], cutoff: float) -> Splatter:
    if name == "cpu":
        from splatom.operators import _splat_cpu

        return _Cpu(_splat_cpu, shape, cutoff)
    if name == "spline":
        from splatom.operators import _splat_spline

        return Splatter(_splat_spline, shape, cutoff)
    if name == "triton":
        from splatom.operators import _splat_triton

        return Splatter(_splat_triton, shape, cutoff)
    return Splatter(_splat_reference, shape, cutoff)
