"""TSGNet: a tilt between two others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Tsgnet"]

_PYRAMID = (32, 48, 72, 96)


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1), nn.PReLU(outside))


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _warped(image: Tensor, flow: Tensor) -> Tensor:
    """Take image (batch, n, rows, columns) at each pixel plus flow (batch, 2, ...): columns, rows, in pixels."""
    rows, columns = image.shape[-2:]
    across = torch.linspace(-1, 1, columns, device=image.device).view(1, 1, columns)
    down = torch.linspace(-1, 1, rows, device=image.device).view(1, rows, 1)
    at = flow.float()
    where = torch.stack(
        [across + at[:, 0] * (2 / max(columns - 1, 1)), down + at[:, 1] * (2 / max(rows - 1, 1))], dim=-1
    )
    out: Tensor = functional.grid_sample(
        image.float(), where, mode="bilinear", padding_mode="border", align_corners=True
    )
    return out.to(image.dtype)


class _Block(nn.Module):
    """A residual block two of whose steps act on the last channels only."""

    def __init__(self, width: int, side: int = 32) -> None:
        super().__init__()
        self.side = side
        self.first, self.third = _conv(width, width), _conv(width, width)
        self.second, self.fourth = _conv(side, side), _conv(side, side)
        self.last, self.act = nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x, (batch, width, rows, columns)."""
        y = x
        for whole, side in ((self.first, self.second), (self.third, self.fourth)):
            y = whole(y)
            y = torch.cat([y[:, : -self.side], side(y[:, -self.side :])], dim=1)
        out: Tensor = self.act(x + self.last(y))
        return out


class _Decoder(nn.Sequential):
    def __init__(self, inside: int, width: int, outside: int) -> None:
        super().__init__(_conv(inside, width), _Block(width), nn.ConvTranspose2d(width, outside, 4, 2, 1))


class Tsgnet(nn.Module):
    """A shared pyramid encoder and four decoders, coarse to fine, that estimate flow and features together.

    Parameters
    ----------
    residuals : int
        Channels of what is added to the merged images; 3 as published, of which one is meant (the released code
        broadcasts three against a target of one), 1 ours.
    gap : bool
        Ours: the distance of the neighbours is an input beside t.

    Notes
    -----
    As published (4,959,116 parameters; Sagar et al., NeurIPS workshop ML4PS 2025, which takes IFRNet, L. Kong et al.,
    CVPR 2022, for images of one channel): widths 32, 48, 72, 96; decoders of width 192, 216, 144, 96; flows that add up
    from level to level; a mask that merges the two warped neighbours; a residual. Ours: any t (theirs is always 0.5),
    the gap, one residual channel, no clamp to 0..1 (a series has one scale, and its own), any size.
    """

    uses_reprojection = False

    def __init__(self, residuals: int = 1, gap: bool = True) -> None:
        super().__init__()
        self.gap, self.residuals = gap, residuals
        self.seen: list[Tensor] = []
        self.mean = torch.zeros(())
        one, two, three, four = _PYRAMID
        self.encoder = nn.ModuleList(
            nn.Sequential(_conv(i, o, 2), _conv(o, o)) for i, o in zip((1, *_PYRAMID), _PYRAMID, strict=False)
        )
        self.decoder = nn.ModuleList(
            [
                _Decoder(2 * four + 1 + gap, 192, 4 + three),
                _Decoder(3 * three + 4, 216, 4 + two),
                _Decoder(3 * two + 4, 144, 4 + one),
                _Decoder(3 * one + 4, 96, 4 + 1 + residuals),
            ]
        )

    def features(self, image: Tensor) -> list[Tensor]:
        """Encode images (batch, 1, rows, columns), finest level first."""
        levels = []
        x = image
        for level in self.encoder:
            x = level(x)
            levels.append(x)
        return levels

    def forward(self, pair: Tensor, t: Tensor, gap: Tensor, reprojected: Tensor | None = None) -> Tensor:
        """Predict the tilt at t.

        Parameters
        ----------
        pair : Tensor (batch, 2, rows, columns)
            The neighbours, in units of one scale for the whole series; any size of at least 8 pixels.
        t : Tensor (batch,)
            Position between them, 0 to 1.
        gap : Tensor (batch,)
            Half of their distance in degrees.
        reprojected : ignored
            What other variants take.

        Returns
        -------
        Tensor (batch, 1, rows, columns)
        """
        out, seen, mean = self.decoded(pair, t, gap)
        if self.training:  # for the published loss
            self.seen, self.mean = seen, mean
        return out

    def decoded(self, pair: Tensor, t: Tensor, gap: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the prediction, the decoders' features (finest first; of the padded size) and the pair's mean."""
        rows, columns = pair.shape[-2:]
        padded = functional.pad(pair, (0, -columns % 16, 0, -rows % 16), mode="replicate")
        mean = pair.mean(dim=(1, 2, 3), keepdim=True)
        first, second = (padded[:, i : i + 1] - mean for i in (0, 1))
        ours, theirs = self.features(first), self.features(second)
        planes = [t] if not self.gap else [t, gap / 12]
        known = torch.stack(planes, dim=1).to(pair.dtype)[:, :, None, None].expand(-1, -1, *ours[3].shape[-2:])
        out = self.decoder[0](torch.cat([ours[3], theirs[3], known], dim=1))
        flow, rest, seen = out[:, :4], out[:, 4:], []
        for k, level in ((1, 2), (2, 1), (3, 0)):
            seen.append(rest)
            a, b = _warped(ours[level], flow[:, :2]), _warped(theirs[level], flow[:, 2:])
            out = self.decoder[k](torch.cat([rest, a, b, flow], dim=1))
            flow, rest = out[:, :4] + 2 * _twice(flow), out[:, 4:]
        mask = torch.sigmoid(rest[:, :1])
        merged = mask * _warped(first, flow[:, :2]) + (1 - mask) * _warped(second, flow[:, 2:])
        image = merged + mean + rest[:, 1:].mean(dim=1, keepdim=True)
        return image[..., :rows, :columns], seen[::-1], mean
