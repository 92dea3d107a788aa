"""Training SCGN and SFIN: their variants, loss, stream and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.training.micrographs import Modality, pair

if TYPE_CHECKING:
    from torch import Tensor, nn

    from splatom.training.own import Own

__all__ = ["MODALITY", "SMALLEST", "denoising_loss", "stream", "validation"]

MODALITY: dict[str, Modality] = {"scgn": "hrtem", "sfin": "stem"}

# Edge in pixels and number of images of a batch: many sizes, so that the frequency branch learns no single one.
_SIZES = ((80, 10), (112, 5), (144, 3))
SMALLEST = min(size for size, _ in _SIZES)
_HELD_OUT = 2**32  # seeds of the validation's images; training's are below


def denoising_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean over images of log MSE, for the image and (a third of the weight) the dots.

    Ours, where the papers take the mean absolute error: the logarithm weighs each image's PSNR alike, so that the clean
    ones are not lost beside those of low dose, and the square makes the answer the mean of what is possible.
    """
    error = (output - target).square().mean((2, 3))
    dots = error[:, 1][error[:, 1].isfinite()]  # those of a user's own clean images are not known
    value = (error[:, 0] + 1e-5).log().mean()
    return value + 0.3 * (dots + 1e-3).log().sum() / len(error)


def stream(
    network: str, seed: int, *, scale: int = 1, own: Own | None = None
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Return ``batch(i)``: the images and targets of step i.

    Parameters
    ----------
    network : {'scgn', 'sfin'}
    seed : int
    scale : int
        Multiplies the number of images in a batch.
    own : Own, optional
        What a user's own images add.
    """
    return _Stream(network, seed, scale, own)


@dataclass(frozen=True)
class _Stream:
    """What :func:`stream` returns; no closure, since processes that make images are handed it pickled."""

    network: str
    seed: int
    scale: int
    own: Own | None

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        import torch

        rng = np.random.default_rng([self.seed, index])
        size, count = _SIZES[int(rng.integers(len(_SIZES)))]
        pairs = [pair(size, MODALITY[self.network], rng, self.own) for _ in range(count * self.scale)]
        return torch.from_numpy(np.stack([p[0] for p in pairs])), torch.from_numpy(np.stack([p[1] for p in pairs]))


def validation(network: str, *, count: int = 48, size: int = 128) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores a network on held-out scenes (other seeds than any training's).

    Figures: PSNR in dB (range of the clean image) of input and output, the gain over the best Gaussian filter for each
    image, and the PSNR of the dots (peak 1).
    """
    import torch
    from scipy import ndimage

    pairs = [pair(size, MODALITY[network], np.random.default_rng([_HELD_OUT, i])) for i in range(count)]
    images = torch.from_numpy(np.stack([p[0] for p in pairs]))
    targets = np.stack([p[1] for p in pairs])

    def psnr(a: Any, b: Any) -> float:
        return float(20 * np.log10(np.ptp(b) / np.sqrt(np.mean((a - b) ** 2))))

    best = [
        max(psnr(ndimage.gaussian_filter(x[0], s), y[0]) for s in (0.0, 0.5, 0.8, 1.2, 1.7, 2.4, 3.5, 5.0))
        for (x, y) in pairs
    ]

    def score(net: nn.Module) -> dict[str, float]:
        device = next(net.parameters()).device
        with torch.no_grad():
            out = torch.cat([net(part.to(device)).float().cpu() for part in torch.split(images, 8)]).numpy()
        reached = [psnr(o[0], t[0]) for o, t in zip(out, targets, strict=True)]
        dots = float(np.mean((out[:, 1] - targets[:, 1]) ** 2))
        return {
            "psnr": float(np.mean(reached)),
            "psnr_input": float(np.mean([psnr(x[0], y[0]) for x, y in pairs])),
            "gain_over_gaussian": float(np.mean(np.subtract(reached, best))),
            "least_gain_over_gaussian": float(np.min(np.subtract(reached, best))),
            "psnr_dots": float(-10 * np.log10(dots)),
        }

    return score
