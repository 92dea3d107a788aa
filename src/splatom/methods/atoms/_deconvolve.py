"""Sharp volumes to find atoms in: non-negative deconvolution of the tilt series by the width of an atom.

A volume of points x ≥ 0 is sought whose projections, blurred by a Gaussian, give the images. A Gaussian looks the same
from every side, so the blur is one filter on the images. Being non-negative and blurred makes x sparse, and so
resolves atoms that a plain reconstruction of few tilts runs together. Accelerated projected gradients (A. Beck and
M. Teboulle, SIAM J. Imaging Sci. 2, 183, 2009).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.operators import VoxelProjector

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.geometry import ViewGeometry

__all__ = ["Deconvolution"]


class Deconvolution:
    """min ½ Σ weights (h ∗ A x − y)², x ≥ 0.

    Parameters
    ----------
    geometry : ViewGeometry
        Shifts in pixels.
    box : tuple
        (z, y, x) voxels, of the images' pixel size.
    weights : Tensor (v, rows, columns)
    device : str
    check : callable
        Called inside long passes.
    """

    def __init__(
        self,
        geometry: ViewGeometry,
        box: tuple[int, int, int],
        weights: Tensor,
        device: str,
        check: Callable[[], None],
    ) -> None:
        self.box, self.weights, self.check = box, weights, check
        rows, columns = weights.shape[1:]
        self.projector = VoxelProjector(geometry, box, (rows, columns), device)
        y, x = torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None]
        self._squared = (y.square() + x.square()).to(device)

    def _blurred(self, images: Tensor, sigma: float) -> Tensor:
        kernel = torch.exp(-2 * np.pi**2 * sigma**2 * self._squared)
        out: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * kernel, s=images.shape[1:])
        return out

    def _forward(self, x: Tensor, sigma: float) -> Tensor:
        return self._blurred(self.projector.forward(x, self.check), sigma)

    def _adjoint(self, images: Tensor, sigma: float) -> Tensor:
        return self.projector.adjoint(self._blurred(self.weights * images, sigma).contiguous(), self.check)

    @cached_property
    def _largest(self) -> float:
        """Largest eigenvalue of the normal operator, by power iteration from the flat volume that it nearly belongs to.

        Without the blur, which makes it smaller, if anything: at frequency zero, where it is largest, by nothing.
        """
        x = torch.ones(self.box, device=self.weights.device)
        for _ in range(4):
            seen = self.projector.forward(x / x.norm(), self.check)
            x = self.projector.adjoint((self.weights * seen).contiguous(), self.check)
        return 1.05 * float(x.norm())

    def solve(
        self, data: Tensor, sigma: float, iterations: int, each: Callable[[int, Tensor], Any] | None = None
    ) -> Tensor:
        """Return x, (z, y, x), the mass in each voxel.

        Parameters
        ----------
        data : Tensor (v, rows, columns)
        sigma : float
            Width of an atom, pixels.
        iterations : int
        each : callable, optional
            Called after every iteration with its number and the estimate.
        """
        step = 1 / self._largest
        x = torch.zeros(self.box, device=data.device)
        ahead, t = x, 1.0
        for number in range(1, iterations + 1):
            slope = self._adjoint(self._forward(ahead, sigma) - data, sigma)
            new = (ahead - step * slope).clamp_(min=0)
            t, before = (1 + (1 + 4 * t * t) ** 0.5) / 2, t
            ahead = new + (before - 1) / t * (new - x)
            x = new
            if each is not None:
                each(number, x)
        return x
