"""Training TSGNet: losses, stream and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.training.tilts import Targets, mirrored, series, targets

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["interpolation_loss", "linear", "published_loss", "stream", "validation"]

# (rows, columns) of a series; broad ones, as the depth of what is reconstructed is the columns.
_SIZES = ((64, 80), (48, 96), (40, 128))
_NEW = 5  # steps between two new series: reconstructing is most of the work
_KEPT = 24  # series of each size to draw from, so that a batch is of many of them
_FIRST = 24  # series before the first step
_OF_EACH = 20  # tilts of a series
_BATCH = 16  # tilts
_HELD_OUT = 2**32  # seeds of the validation's series; training's are below

Inputs = tuple["Tensor", "Tensor", "Tensor", "Tensor"]


def interpolation_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean over images of log MSE over the target's variance.

    Ours: every image's PSNR counts alike, so that narrow gaps, where errors are small, are not lost beside wide ones;
    but for errors below 1 % of the contrast, which would drown all others.
    """
    error = (output - target).square().mean((1, 2, 3)) / (target.var((1, 2, 3)) + 1e-6)
    return (error + 1e-4).log().mean()


def published_loss(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the published loss of Tsgnet: Charbonnier + census + 0.01 census of features.

    What the encoder makes of the truth is compared with what the decoders expect (of the neighbours' own mean, which
    is taken from the last forward pass). Flow distillation is off, as in the released code.
    """
    import torch
    from torch.nn import functional

    def ternary(image: Tensor, size: int) -> Tensor:
        around = functional.unfold(image, size, padding=size // 2).view(
            *image.shape[:1], image.shape[1], size * size, *image.shape[2:]
        )
        apart = around - image[:, :, None]
        return apart / (0.81 + apart.square()).sqrt()

    def census(a: Tensor, b: Tensor, size: int) -> Tensor:
        apart = (ternary(a, size) - ternary(b, size)).square()
        edge = size // 2
        return (apart / (0.1 + apart)).mean((1, 2))[:, edge:-edge, edge:-edge].mean()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        value = ((output - target).square() + 1e-6).sqrt().mean() + census(output, target, 7)
        seen: list[Tensor] = net.seen  # type: ignore[assignment]
        mean: Tensor = net.mean  # type: ignore[assignment]
        rows, columns = target.shape[-2:]
        padded = functional.pad(target, (0, -columns % 16, 0, -rows % 16), mode="replicate")
        wanted = net.features(padded - mean)[:3]  # type: ignore[operator]
        near = [census(a.float(), b, 3) for a, b in zip(seen, wanted, strict=True)]
        net.seen, net.mean = [], torch.zeros(())  # type: ignore[assignment]  # they would hold on to the graph
        return torch.as_tensor(value + 0.01 * sum(near))

    return loss


def stream(seed: int, *, scale: int = 1) -> Callable[[int], tuple[Inputs, Tensor]]:
    """Return ``batch(i)``: what the network sees in step i, and the tilts it should say.

    Parameters
    ----------
    seed : int
    scale : int
        Multiplies the number of tilts in a batch.
    """
    return _Stream(seed, scale)


@dataclass(frozen=True)
class _Stream:
    """What :func:`stream` returns; no closure, since processes that make series are handed it pickled."""

    seed: int
    scale: int

    def __call__(self, index: int) -> tuple[Inputs, Tensor]:
        kinds = len(_SIZES)
        rng = np.random.default_rng([self.seed, 2**31, index])
        newest = index // _NEW + _FIRST - 1
        _made(self.seed, newest)
        last = newest - int(rng.integers(kinds))  # of a random size; of this size there are those before it
        known = range(max(last - kinds * (_KEPT - 1), last % kinds), last + 1, kinds)
        drawn = [
            mirrored(_made(self.seed, int(rng.choice(known))).only(int(rng.integers(_OF_EACH))), rng)
            for _ in range(_BATCH * self.scale)
        ]
        return _stacked(drawn)


@lru_cache(maxsize=len(_SIZES) * (_KEPT + 1))
def _made(seed: int, number: int) -> Targets:
    rng = np.random.default_rng([seed, number])
    return targets(series(_SIZES[number % len(_SIZES)], rng), _OF_EACH, rng)


def _stacked(parts: list[Targets]) -> tuple[Inputs, Tensor]:
    import torch

    def one(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.concatenate([getattr(p, name) for p in parts])))

    return (one("pair"), one("t"), one("gap"), one("reprojected")), one("truth")


def linear(pair: Any, t: Any) -> Any:
    """Interpolate linearly: the neighbours (n, 2, rows, columns) at t (n,) → (n, 1, rows, columns)."""
    at = t[:, None, None, None]
    return (1 - at) * pair[:, :1] + at * pair[:, 1:]


def _psnr(a: Any, b: Any) -> float:
    return float(20 * np.log10(np.ptp(b) / max(float(np.sqrt(np.mean((a - b) ** 2))), 1e-9)))


def validation(
    *, gaps: tuple[float, ...] = tuple(range(1, 13)), repeats: int = 2, size: tuple[int, int] = (64, 80)
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores a network on held-out series (other seeds than any training's), halfway.

    Figures in dB, means over gaps of 1 to 12 degrees: PSNR (range of the true image) of the network, and its gain over
    linear interpolation, over linear blurred by the Gaussian that is best for each image (as only the truth can tell),
    and over what the reconstruction alone says.
    """
    import torch
    from scipy import ndimage

    parts = []
    for gap in gaps:
        for i in range(repeats):
            rng = np.random.default_rng([_HELD_OUT, round(100 * gap), i])
            parts.append(targets(series(size, rng, gap=gap), 4, rng, middle=True))
    (pair, t, halves, reprojected), truth = _stacked(parts)
    blended = linear(pair, t).numpy()[:, 0]
    true = truth.numpy()[:, 0]
    widths = (0.0, 0.5, 0.8, 1.2, 1.7, 2.4, 3.5, 5.0)
    straight = np.array([_psnr(a, b) for a, b in zip(blended, true, strict=True)])
    soft = np.array(
        [max(_psnr(ndimage.gaussian_filter(a, s), b) for s in widths) for a, b in zip(blended, true, strict=True)]
    )
    alone = np.array([_psnr(a, b) for a, b in zip(reprojected[:, 0].numpy(), true, strict=True)])

    def score(net: nn.Module) -> dict[str, float]:
        device = next(net.parameters()).device
        with torch.no_grad():
            out = torch.cat(
                [
                    net(*(x[i : i + 8].to(device) for x in (pair, t, halves, reprojected))).float().cpu()
                    for i in range(0, len(t), 8)
                ]
            ).numpy()[:, 0]
        reached = np.array([_psnr(a, b) for a, b in zip(out, true, strict=True)])
        narrow = halves.numpy() < 4.5
        return {
            "psnr": float(reached.mean()),
            "gain_over_linear": float((reached - straight).mean()),
            "gain_over_blurred": float((reached - soft).mean()),
            "gain_over_reprojection": float((reached - alone).mean()),
            "gain_over_linear_narrow": float((reached - straight)[narrow].mean()),
            "least_gain_over_linear": float((reached - straight).min()),
        }

    return score
