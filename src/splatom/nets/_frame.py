"""What SCGN and SFIN share: the frame of convolutions around the blocks, and the spectrum as channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Frame", "image_of", "spectrum"]


def spectrum(x: Tensor) -> Tensor:
    """Fourier transform x (batch, n, rows, columns) into 2 n + 2 real channels (batch, 2n + 2, rows, columns // 2 + 1).

    First two planes of coordinates (rows, columns; 0 to 1 in the order of the raw transform, as both published codes
    have them), then real and imaginary part of each channel in turn. The transform is orthonormal.
    """
    transform = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho"))
    batch, n, rows, columns, _ = transform.shape
    parts = transform.permute(0, 1, 4, 2, 3).reshape(batch, 2 * n, rows, columns)
    down = torch.linspace(0, 1, rows, device=x.device).view(1, 1, rows, 1).expand(batch, 1, rows, columns)
    along = torch.linspace(0, 1, columns, device=x.device).view(1, 1, 1, columns).expand(batch, 1, rows, columns)
    out: Tensor = torch.cat([down, along, parts], dim=1).to(x.dtype)
    return out


def image_of(parts: Tensor, shape: tuple[int, int]) -> Tensor:
    """Transform real channels (batch, 2 n, rows, columns // 2 + 1) back into images (batch, n, *shape)."""
    batch, twice, rows, columns = parts.shape
    pairs = parts.float().reshape(batch, twice // 2, 2, rows, columns).permute(0, 1, 3, 4, 2).contiguous()
    out: Tensor = torch.fft.irfft2(torch.view_as_complex(pairs), s=shape, norm="ortho").to(parts.dtype)
    return out


class Frame(nn.Module):
    """Head convolution, residual blocks with a skip over all of them, tail convolution.

    Parameters
    ----------
    block : callable
        ``block(width)`` makes one block that keeps shape (batch, width, rows, columns).
    width, blocks : int
        Channels and number of blocks; 64 and 8 as published.
    outputs : int
        Channels of the result; 1 as published.
    fold : int
        Ours, for small variants: squares of fold × fold pixels become channels before the head and pixels again after
        the tail, which divides the cost by fold².
    residual : bool
        Ours: the first output is what is added to the input.

    Notes
    -----
    Takes (batch, 1, rows, columns) of any size of at least 8 pixels and returns (batch, outputs, rows, columns).
    """

    def __init__(
        self, block: Callable[[int], nn.Module], width: int, blocks: int, outputs: int, fold: int, residual: bool
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width {width}: half of the channels are spatial, half in frequency; take an even number")
        self.fold, self.residual = fold, residual
        self.head = nn.Conv2d(fold * fold, width, 3, padding=1)
        self.body = nn.ModuleList(block(width) for _ in range(blocks))
        self.tail = nn.Conv2d(width, outputs * fold * fold, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (batch, outputs, rows, columns)."""
        rows, columns = image.shape[-2:]
        down, right = -rows % self.fold, -columns % self.fold
        x = functional.pad(image, (0, right, 0, down), mode="replicate") if down or right else image
        x = functional.pixel_unshuffle(x, self.fold) if self.fold > 1 else x
        head = self.head(x)
        x = head
        for block in self.body:
            x = block(x)
        out = self.tail(x + head)
        out = functional.pixel_shuffle(out, self.fold)[..., :rows, :columns] if self.fold > 1 else out
        return torch.cat([out[:, :1] + image, out[:, 1:]], dim=1) if self.residual else out
