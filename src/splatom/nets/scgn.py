"""SCGN: guidance by the spatial deviation and by frequency bands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from splatom.nets._frame import Frame, image_of, spectrum

__all__ = ["Scgn"]


class _DeviationGuided(nn.Module):
    """Weight a convolution by the standard deviation in every pixel's 3 × 3 window (SDGW)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.pad(x.float(), (1, 1, 1, 1), mode="reflect")
        mean = functional.avg_pool2d(wide, 3, stride=1)
        square = functional.avg_pool2d(wide * wide, 3, stride=1)
        deviation = (square - mean * mean).clamp_min(1e-5).sqrt().to(x.dtype)
        gated: Tensor = self.convolve(x) * torch.sigmoid(self.gate(deviation))
        return gated


class _BandGuided(nn.Module):
    """Weight the bands of the spectrum by what they hold (FBGW)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 2 * width
        self.decouple = nn.Conv2d(inner + 2, inner, 1, bias=False)
        self.norm = nn.BatchNorm2d(inner)
        self.convolve = nn.Conv2d(inner, inner, 3, padding=1)
        squeezed = max(inner // 16, 1)
        self.weigh = nn.Sequential(
            nn.Conv2d(inner, squeezed, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(squeezed, inner, 1, bias=False),
            nn.Sigmoid(),
        )
        self.couple = nn.Conv2d(inner, inner, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = spectrum(x)
        bands = functional.relu(self.norm(self.decouple(parts)))
        seen = self.convolve(parts[:, 2:])
        weight = self.weigh(seen.mean((2, 3), keepdim=True)) + self.weigh(seen.amax((2, 3), keepdim=True))
        return image_of(self.couple(bands * weight), (x.shape[-2], x.shape[-1]))


class _Spectral(nn.Module):
    """Join a convolution with its image seen through the weighted bands."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(width, width, 3, padding=1)
        self.bands = _BandGuided(width)
        self.join = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolve(x)
        joined: Tensor = self.join(torch.cat([x, self.bands(x)], dim=1))
        return joined


class _Block(nn.Module):
    """Two units of each half, their skips, and the fusion (SFEB); the skip comes before the fusion, as in the code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.spatial = nn.Sequential(
            *(nn.Sequential(_DeviationGuided(half), nn.BatchNorm2d(half), nn.ReLU()) for _ in range(2))
        )
        self.frequency = nn.Sequential(
            *(nn.Sequential(_Spectral(half), nn.BatchNorm2d(half), nn.ReLU()) for _ in range(2))
        )
        self.fuse = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        local, bands = x.chunk(2, dim=1)
        fused: Tensor = self.fuse(torch.cat([local + self.spatial(local), bands + self.frequency(bands)], dim=1))
        return fused


class Scgn(Frame):
    """SCGN as its authors' code has it; with the defaults, 1,640,641 parameters.

    A network with spatial-deviation-guided and frequency-band-guided weighting for the denoising of HRTEM images of
    disordered structures. Ours: two outputs where asked, ``fold`` and ``residual`` (see :class:`Frame`) and any width
    for small variants, and any size of image.

    Parameters
    ----------
    width, blocks, outputs, fold, residual
        See :class:`splatom.nets._frame.Frame`.
    """

    def __init__(
        self, width: int = 64, blocks: int = 8, outputs: int = 1, fold: int = 1, residual: bool = False
    ) -> None:
        super().__init__(_Block, width, blocks, outputs, fold, residual)
