"""What the geometric factor is worth: the same flattened Gaussians by integrated mass, and by peak amplitude.

With mass as amplitude a Gaussian has the same weight in every view. With the peak of its image as amplitude, as
splatting for surfaces has it, an elongated Gaussian weighs less where it is seen along its length than it should.
"""

from __future__ import annotations

import numpy as np
import torch

from _specimens import PIXEL, made
from splatom.evaluate import psnr
from splatom.operators.gaussian import GaussianProjector, voxelise


def compare(name: str, size: int, views: int, seed: int, passes: int = 60) -> tuple[float, float, float, float]:
    """Return PSNR and R by mass, and by peak amplitude, of masses fitted to noise-free images by least squares."""
    series, truth = made(name, size, views, seed, dose=0.0)
    rng = np.random.default_rng(seed)
    inside = truth.data[::2, ::2, ::2] > 0.02 * truth.data.max()
    at = np.argwhere(inside) * 2.0 + 0.5 - (size - 1) / 2
    turns = np.linalg.qr(rng.normal(size=(len(at), 3, 3)))[0]
    squares = np.array([0.6, 1.2, 2.0]) ** 2
    spread = torch.from_numpy((turns * squares @ turns.transpose(0, 2, 1)).astype(np.float32)) * PIXEL**2
    centres = torch.from_numpy((at * PIXEL).astype(np.float32))
    data = torch.from_numpy(np.array(series.projections))
    views_of = [GaussianProjector(series.geometry[i : i + 1], (size, size), PIXEL) for i in range(views)]
    pixel = PIXEL**2 / 12 * torch.eye(3)
    factors = []
    for one in views_of:
        cc, cr, rr = one.seen(centres, spread)[2][0].unbind(1)
        factors.append((cc * rr - cr * cr).sqrt())
    peak = torch.stack(factors)
    found: list[float] = []
    for factor in (torch.ones_like(peak), peak / peak.mean()):
        log = torch.full((len(at),), float(np.log(truth.data.mean() * size**3 * PIXEL**2 / len(at))))
        log.requires_grad_()
        adam = torch.optim.Adam([log], lr=0.1)
        for step in range(passes):
            for group in adam.param_groups:
                group["lr"] = 0.1 * (1 - step / passes)
            adam.zero_grad()
            images = torch.cat(
                [one(centres, spread + pixel, log.exp() * f) for one, f in zip(views_of, factor, strict=True)]
            )
            loss = (images - data).square().sum()
            loss.backward()
            adam.step()
        volume = voxelise(centres, spread + pixel, log.detach().exp(), truth.shape, PIXEL) * PIXEL
        gain = float((volume * torch.from_numpy(truth.data)).sum() / volume.square().sum())
        found += [psnr((gain * volume).numpy(), truth.data), float((images - data).abs().sum() / data.abs().sum())]
    return found[0], found[1], found[2], found[3]
