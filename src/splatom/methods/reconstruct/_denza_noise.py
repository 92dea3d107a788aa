"""What the noise of the projections says: weights of the pixels, gains of the views, amplitudes to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["amplitude_target", "closed_form_gains", "noise_model", "variances"]

_BINS = 24


def _local_mean(data: Tensor) -> Tensor:
    """Mean over 5 × 5 pixels of projections (n, rows, columns), inside the field."""
    return torch.nn.functional.avg_pool2d(data[:, None], 5, 1, 2, count_include_pad=False)[:, 0]


def noise_model(data: Tensor) -> tuple[float, float]:
    """Return (a, b) of the noise's variance a + b · intensity, from the projections (n, rows, columns) alone.

    Ours, after the mask of J. Immerkær (Comput. Vis. Image Underst. 64, 300, 1996), which removes what is locally
    linear: its median in each of 24 classes of local brightness gives a variance, and a line is fitted to those. An
    offset that was subtracted from counted electrons shows as a > 0. The floor of 0.5 % of the range stands for
    the errors of the model, which noise-free data have as well.
    """
    from scipy.optimize import nnls

    values = data.flatten()[:: max(1, data.numel() // 1_000_000)].cpu().numpy()
    low, high = np.percentile(values, [1, 99.5])
    floor = max((0.005 * float(high - low)) ** 2, 1e-24)
    if min(data.shape[1:]) < 5:
        return floor, 0.0
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]], device=data.device) / 6
    rough = torch.nn.functional.conv2d(data[:, None], mask[None, None])[:, 0].abs()
    level = _local_mean(data)[:, 1:-1, 1:-1]
    step = max(1, rough.numel() // 2_000_000)
    bright, off = (t.flatten()[::step].cpu().numpy() for t in (level, rough))
    classes = np.array_split(np.argsort(bright), _BINS)
    mean = np.array([bright[c].mean() for c in classes]).clip(min=0)
    variance = np.array([(np.median(off[c]) / 0.6745) ** 2 for c in classes]) + floor
    design = np.stack([np.ones(_BINS), mean], 1) / variance[:, None]  # relative errors are alike in all classes
    (a, b), _ = nnls(design, np.ones(_BINS))
    return max(float(a), floor), float(b)


def variances(data: Tensor, a: float, b: float) -> Tensor:
    """Variance of every pixel, (n, rows, columns), from its neighbourhood's brightness."""
    return a + b * _local_mean(data).clamp_min_(0)


def closed_form_gains(predicted: Tensor, data: Tensor, weights: Tensor) -> Tensor:
    """γ (n, 1, 1): least-squares gain of each view, their mean logarithm zero (or the scale would be undefined)."""
    cross = (weights * predicted * data).sum((1, 2), keepdim=True)
    gain = cross / (weights * predicted * predicted).sum((1, 2), keepdim=True).clamp_min(1e-30)
    gain = gain.clamp(0.2, 5.0)
    return gain / gain.log().mean().exp()


def amplitude_target(predicted: Tensor, data: Tensor, weights: Tensor, variance: Tensor) -> Tensor:
    """Return the images with the data's Fourier amplitudes and the prediction's phases, (n, rows, columns).

    ½ Σ (|F A x| − |F y|)² has its tangent majorant in ½ Σ |A x − target|²: the term is minimised by pulling towards
    this target and renewing it. The noise's share of the power, Σ variance, is taken off the data's amplitudes.
    """
    seen = (weights > 0).to(data.dtype)
    there, here = torch.fft.rfft2(data * seen), torch.fft.rfft2(predicted * seen)
    noise = (variance * seen).sum((1, 2), keepdim=True)
    size = (there.abs().square() - noise).clamp_min_(0).sqrt_()
    phase = here / here.abs().clamp_min(1e-20)
    out: Tensor = torch.fft.irfft2(size * phase, s=data.shape[1:])
    return out * seen + data * (1 - seen)
