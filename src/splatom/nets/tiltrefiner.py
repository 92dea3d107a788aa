"""TSGNet's heir for a known tilt axis: it sees what a quick reconstruction makes of the tilt in question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TiltRefiner"]

_SMALLEST = 1e-4  # of the scale of corrections, in units of the series'


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x."""
        out: Tensor = x + self.body(x)
        return out


class TiltRefiner(nn.Module):
    """A U-Net that corrects a blend which knows the tilt's geometry.

    Parameters
    ----------
    widths : sequence of int
        Channels of the levels, finest first.
    fold : int
        Squares of fold × fold pixels become channels before the first level and pixels again after the last.

    Notes
    -----
    All ours. Video has no third dimension to reconstruct; a tilt series has. With R the reprojections of a quick
    reconstruction of all measured tilts (:func:`splatom.operators.reprojection.reprojected`), the blend is
    ``R_θ + (1 − t) (a − R_a) + t (b − R_b)``: what the reconstruction could not explain of the neighbours is
    interpolated linearly. At t = 0 and 1 it is the measured tilt. The network adds a correction, zero before training,
    in units of how far the blend and the linear one disagree: where they agree, it can do no harm.
    """

    uses_reprojection = True

    def __init__(self, widths: Sequence[int] = (32, 48, 64), fold: int = 2) -> None:
        super().__init__()
        self.fold, self.widths = fold, tuple(widths)
        self.head = nn.Conv2d(6 * fold * fold + 4, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(_Block(a), nn.Conv2d(a, b, 2, 2)) for a, b in pairs)
        self.bottom = nn.Sequential(_Block(widths[-1]), _Block(widths[-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.side = nn.ModuleList(_Block(a) for a, _ in reversed(pairs))
        self.tail = nn.Conv2d(widths[0], fold * fold, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    @staticmethod
    def blend(pair: Tensor, t: Tensor, reprojected: Tensor) -> Tensor:
        """Return the blend that the network corrects, (batch, 1, rows, columns); arguments as in :meth:`forward`."""
        at = t.to(pair.dtype)[:, None, None, None]
        left = pair - reprojected[:, 1:]
        return reprojected[:, :1] + (1 - at) * left[:, :1] + at * left[:, 1:]

    def forward(self, pair: Tensor, t: Tensor, gap: Tensor, reprojected: Tensor) -> Tensor:
        """Predict the tilt at t.

        Parameters
        ----------
        pair : Tensor (batch, 2, rows, columns)
            The neighbours, divided by one scale for the whole series (its SD); the axis along the rows' index. Any size
            of at least 8 pixels.
        t : Tensor (batch,)
            Position between them, 0 to 1.
        gap : Tensor (batch,)
            Half of their distance in degrees.
        reprojected : Tensor (batch, 3, rows, columns)
            The reconstruction at the wanted tilt and at the two neighbours, in the pair's units.

        Returns
        -------
        Tensor (batch, 1, rows, columns)
        """
        rows, columns = pair.shape[-2:]
        at = t.to(pair.dtype)[:, None, None, None]
        blend = self.blend(pair, t, reprojected)
        linear = (1 - at) * pair[:, :1] + at * pair[:, 1:]
        left = pair - reprojected[:, 1:]
        left = left - left.mean(dim=(2, 3), keepdim=True)  # an even ground is no part of what is reconstructed
        apart = ((blend - linear).square().mean((1, 2, 3)) + left.square().mean((1, 2, 3))).sqrt()
        unit = (apart + _SMALLEST)[:, None, None, None]
        contrast = pair.std(dim=(1, 2, 3), keepdim=True) + _SMALLEST
        images = torch.cat([(pair - blend) / contrast, (linear - blend) / unit, left / unit, blend / contrast], dim=1)
        whole = self.fold * 2 ** (len(self.widths) - 1)
        images = functional.pad(images, (0, -columns % whole, 0, -rows % whole), mode="replicate")
        x = functional.pixel_unshuffle(images, self.fold)
        known = torch.stack([t, t * (1 - t), gap / 12, (apart / contrast.flatten()).log() / 4], dim=1).to(x.dtype)
        x = self.head(torch.cat([x, known[:, :, None, None].expand(-1, -1, *x.shape[-2:])], dim=1))
        skips = []
        for level in self.down:
            skips.append(level[0](x))  # type: ignore[index]
            x = level[1](skips[-1])  # type: ignore[index]
        x = self.bottom(x)
        for up, side in zip(self.up, self.side, strict=True):
            x = side(up(x) + skips.pop())
        correction = functional.pixel_shuffle(self.tail(x), self.fold)[..., :rows, :columns]
        out: Tensor = blend + unit * correction.to(blend.dtype)
        return out
