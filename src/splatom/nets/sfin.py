"""SFIN: a network in which a spatial and a frequency branch exchange what they find."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from splatom.nets._frame import Frame, image_of, spectrum

__all__ = ["Sfin"]


class _FourierUnit(nn.Module):
    """A 1 × 1 convolution of the spectrum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(2 * width + 2, 2 * width, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        parts = functional.relu(self.norm(self.convolve(spectrum(x))))
        return image_of(parts, (x.shape[-2], x.shape[-1]))


class _Interaction(nn.Module):
    """Spatial and frequency half, each fed by both (SFIB)."""

    def __init__(self, half: int) -> None:
        super().__init__()
        self.local_local, self.global_local, self.local_global = (nn.Conv2d(half, half, 3, padding=1) for _ in range(3))
        self.before, self.fourier = nn.Conv2d(half, half, 3, padding=1), _FourierUnit(half)
        self.join = nn.Conv2d(2 * half, half, 3, padding=1)
        self.norm_local, self.norm_global = nn.BatchNorm2d(half), nn.BatchNorm2d(half)

    def forward(self, local: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        new = self.norm_local(self.local_local(local) + self.global_local(whole))
        transformed = self.join(torch.cat([whole, self.fourier(self.before(whole))], dim=1))
        return functional.relu(new), functional.relu(self.norm_global(self.local_global(local) + transformed))


class _Block(nn.Module):
    """Two interactions, and the input added to each half."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _Interaction(width // 2), _Interaction(width // 2)

    def forward(self, x: Tensor) -> Tensor:
        local, whole = self.second(*self.first(*x.chunk(2, dim=1)))
        return x + torch.cat([local, whole], dim=1)


class Sfin(Frame):
    """SFIN as its authors' code has it; with the defaults, 960,193 parameters.

    The spatial-frequency interactive network for the enhancement of STEM images. Its frequency branch is the fast
    Fourier convolution of Chi et al. (NeurIPS 2020). Ours: two outputs where asked (the authors train one network for
    each of enhance and detect), ``fold`` and ``residual`` (see :class:`Frame`) and any width for small variants.

    Parameters
    ----------
    width, blocks, outputs, fold, residual
        See :class:`splatom.nets._frame.Frame`.
    """

    def __init__(
        self, width: int = 64, blocks: int = 8, outputs: int = 1, fold: int = 1, residual: bool = False
    ) -> None:
        super().__init__(_Block, width, blocks, outputs, fold, residual)
