"""The parallel-beam voxel projector: one front, three backends, an exact adjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from splatom.operators import _reference
from splatom.operators._rays import Rays, rays

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

    Tick = Callable[[], None] | None

__all__ = ["VoxelProjector", "project"]

Backend = Literal["auto", "reference", "cpu", "triton"]


@dataclass(frozen=True, eq=False)
class VoxelProjector:
    """Sum a volume along the beam of every view (Joseph's method), and the exact adjoint of that.

    Parameters
    ----------
    geometry : ViewGeometry
    volume_shape : tuple
        (z, y, x) in voxels; a voxel is as large as a pixel, the volume's centre lies at the specimen's origin.
    detector_shape : tuple
        (rows, columns) in pixels.
    device : str
        'cpu' or 'cuda'.
    backend : {'auto', 'reference', 'cpu', 'triton'}
        'auto' takes the fast one of the device: numba on the CPU; Triton on CUDA where it is installed, else the
        plain PyTorch reference.

    Notes
    -----
    Lengths count voxels: the projection of a volume of ones along z is its number of planes. A single-axis geometry
    is treated slice by slice; a shift along the axis by part of a pixel is then a linear interpolation between rows,
    the same numbers as the general case gives.
    """

    geometry: ViewGeometry
    volume_shape: tuple[int, int, int]
    detector_shape: tuple[int, int]
    device: str = "cpu"
    backend: Backend = "auto"
    _groups: list[Rays] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if min(*self.volume_shape, *self.detector_shape, len(self.geometry)) < 1:
            raise ValueError(f"empty projector: volume {self.volume_shape}, detector {self.detector_shape}")
        object.__setattr__(self, "_groups", rays(self.geometry, self.volume_shape, self.detector_shape))

    # ---------------------------------------------------------------- shapes
    @property
    def domain_shape(self) -> tuple[int, int, int]:
        """Shape of a volume, (z, y, x)."""
        return self.volume_shape

    @property
    def range_shape(self) -> tuple[int, int, int]:
        """Shape of the projections, (n, rows, columns)."""
        return len(self.geometry), *self.detector_shape

    @cached_property
    def chosen_backend(self) -> Literal["reference", "cpu", "triton"]:
        """The backend that runs."""
        if self.backend != "auto":
            return self.backend
        if self.device == "cpu":
            return "cpu"
        try:
            import triton  # noqa: F401
        except ImportError:  # Windows, macOS
            return "reference"
        return "triton"

    @cached_property
    def _row_offsets(self) -> Any:
        """Row of the slice stack seen at detector row 0, per view, if slices do not mix; else None."""
        if not self.geometry.is_single_axis:
            return None
        return (self.volume_shape[1] - self.detector_shape[0]) / 2 - self.geometry.shifts[:, 1]

    # ---------------------------------------------------------------- the maps
    def forward(self, volume: Tensor, tick: Tick = None, out: Tensor | None = None) -> Tensor:
        """Project a volume.

        Parameters
        ----------
        volume : Tensor (z, y, x)
        tick : callable, optional
            Called every few tens of milliseconds; what it raises stops the pass.
        out : Tensor, optional
            Where to write; a loop that keeps it saves the allocation.

        Returns
        -------
        Tensor (n, rows, columns)
        """
        self._check(volume, self.domain_shape)
        out = volume.new_empty(self.range_shape) if out is None else out
        self._check(out, self.range_shape)
        backend = self.chosen_backend
        if backend == "reference":
            _reference.forward(volume, out, self._groups, tick)
        elif backend == "triton":
            from splatom.operators import _triton

            _triton.forward(volume.contiguous(), out, self._groups, tick)
        else:
            self._forward_cpu(volume, out, tick)
        return out

    def adjoint(self, projections: Tensor, tick: Tick = None, out: Tensor | None = None) -> Tensor:
        """Back-project: the exact adjoint of :meth:`forward`.

        Parameters
        ----------
        projections : Tensor (n, rows, columns)
        tick : callable, optional
        out : Tensor, optional

        Returns
        -------
        Tensor (z, y, x)
        """
        self._check(projections, self.range_shape)
        out = projections.new_empty(self.domain_shape) if out is None else out
        self._check(out, self.domain_shape)
        backend = self.chosen_backend
        if backend == "reference":
            _reference.adjoint(projections, out, self._groups, tick)
        elif backend == "triton":
            from splatom.operators import _triton

            _triton.adjoint(projections.contiguous(), out, self._groups, tick)
        else:
            self._adjoint_cpu(projections, out, tick)
        return out

    def __call__(self, volume: Tensor) -> Tensor:
        """Project with gradients (a PyTorch autograd function)."""
        return project(volume, self)

    @property
    def T(self) -> Callable[[Tensor], Tensor]:
        """The adjoint, as in ``A.T(y)``."""
        return self.adjoint

    # ---------------------------------------------------------------- CPU
    def _forward_cpu(self, volume: Tensor, out: Tensor, tick: Tick) -> None:
        from splatom.operators import _cpu

        source = volume.detach().contiguous().numpy()
        offsets = self._row_offsets
        if offsets is None:
            _cpu.forward_general(source, out.numpy(), self._groups, tick)
        elif (offsets == 0).all() and self.volume_shape[1] == self.detector_shape[0]:
            _cpu.forward_slices(source, out.numpy(), self._groups, tick)
        else:
            stack = volume.new_empty((len(self.geometry), self.volume_shape[1], self.detector_shape[1]))
            _cpu.forward_slices(source, stack.numpy(), self._groups, tick)
            out.zero_()
            for view, rows, slices, share in _row_pairs(offsets, self.volume_shape[1], self.detector_shape[0]):
                out[view, rows].add_(stack[view, slices], alpha=share)

    def _adjoint_cpu(self, projections: Tensor, out: Tensor, tick: Tick) -> None:
        from splatom.operators import _cpu

        source = projections.detach().contiguous()
        offsets = self._row_offsets
        if offsets is None:
            _cpu.adjoint_general(source.numpy(), out.numpy(), self._groups, tick)
        elif (offsets == 0).all() and self.volume_shape[1] == self.detector_shape[0]:
            _cpu.adjoint_slices(source.numpy(), out.numpy(), self._groups, tick)
        else:
            stack = source.new_zeros((len(self.geometry), self.volume_shape[1], self.detector_shape[1]))
            for view, rows, slices, share in _row_pairs(offsets, self.volume_shape[1], self.detector_shape[0]):
                stack[view, slices].add_(source[view, rows], alpha=share)
            _cpu.adjoint_slices(stack.numpy(), out.numpy(), self._groups, tick)

    def _check(self, array: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(array.shape) != shape:
            raise ValueError(f"the array has shape {tuple(array.shape)}, the projector takes {shape}")


def _row_pairs(offsets: Any, slices: int, rows: int) -> Any:
    """Yield (view, rows, slices, share): detector rows and the slices they see, for linear interpolation."""
    for view, offset in enumerate(offsets):
        whole = int(np.floor(offset))
        for step, share in ((0, 1 - (offset - whole)), (1, offset - whole)):
            first = max(0, -(whole + step))
            last = min(rows, slices - (whole + step))
            if share > 0 and last > first:
                yield view, slice(first, last), slice(first + whole + step, last + whole + step), float(share)


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: Tensor, operator: VoxelProjector) -> Tensor:
        ctx.operator = operator
        return operator.forward(volume)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.operator.adjoint(gradients[0].contiguous()), None


def project(volume: Tensor, operator: VoxelProjector) -> Tensor:
    """Project a volume (z, y, x) into (n, rows, columns), differentiably."""
    out: Tensor = _Projection.apply(volume, operator)  # type: ignore[no-untyped-call]
    return out
