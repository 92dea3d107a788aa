"""Training TEMDiff's prior: loss, stream and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.training.volumes import HALF_RANGE_DEGREE, Kind, Pair, pair

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Array = NDArray[np.float32]

__all__ = ["FIT", "prior_loss", "stream", "validation"]

# Boxes (z, y, x) that are reconstructed, and patches that are learnt from; any patch fits in any box.
_BOXES = ((64, 40, 64), (80, 36, 80), (96, 32, 96), (64, 32, 112))
_PATCHES = ((48, 24, 48), (64, 16, 48), (40, 24, 56), (40, 32, 40))
_NEW = 12  # steps between two new specimens: reconstructing takes a second or two
_KEPT = 64  # specimens to draw from
_FIRST = 16  # specimens before the first step
_BATCH = 2  # patches
_DROPPED = 0.1  # share of the patches of which the network is told no reconstruction
_HELD_OUT = 2**32  # seeds of the validation's specimens; training's are below
_FLOOR = 0.002  # of the weighted error: what is better already is left alone
FIT = {"half_range_degree": HALF_RANGE_DEGREE, "deviation": (0.1, 1.2)}  # of the scaled volumes

_REFINED = 0.5  # share of the batches in which the network is shown its own estimate

Inputs = tuple["Tensor", ...]


def prior_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean over patches of the log of the weighted MSE.

    Parameters
    ----------
    output : Tensor (b, 1, z, y, x)
        The clean estimate.
    target : Tensor (b, 2, z, y, x)
        The clean volume, and its noise level's weight, ``(σ² + σ_d²) / (σ σ_d)²`` of Karras et al. (2022), table 1.

    Notes
    -----
    The logarithm is ours: each patch counts alike, whether it is a dim one that is mostly empty or a crowded one, and
    so do wide wedges and narrow ones. Below a five-hundredth, where the noise is all but gone, nothing more is asked.
    """
    truth, weight = target[:, :1], target[:, 1:]
    return ((weight * (output - truth).square()).mean((1, 2, 3, 4)) + _FLOOR).log().mean()


def stream(
    kind: Kind, seed: int, *, scale: int = 1, own: tuple[Array, ...] = ()
) -> Callable[[int], tuple[Inputs, Tensor]]:
    """Return ``batch(i)``: noisy patches, noise levels and conditions of step i, and the clean patches with weights.

    Parameters
    ----------
    kind : {'biological', 'materials'}
    seed : int
    scale : int
        Multiplies the number of patches in a batch.
    own : tuple of arrays, optional
        The user's volumes.
    """
    return _Stream(kind, seed, scale, own)


@dataclass(frozen=True, eq=False)
class _Stream:
    """What :func:`stream` returns; no closure, since processes that make patches are handed it pickled."""

    kind: Kind
    seed: int
    scale: int
    own: tuple[Array, ...]
    _made: dict[int, Pair] = field(default_factory=dict)

    def __call__(self, index: int) -> tuple[Inputs, Tensor]:
        import torch

        from splatom.nets.temdiff import ROUNDS

        rng = np.random.default_rng([self.seed, 2**31, index])
        newest = index // _NEW + _FIRST - 1
        known = range(max(newest + 1 - _KEPT, 0), newest + 1)
        for old in [n for n in self._made if n not in known]:
            del self._made[old]
        size = _PATCHES[int(rng.integers(len(_PATCHES)))]
        drawn = [_patch(self._pair(int(rng.choice(known))), size, rng) for _ in range(_BATCH * self.scale)]
        truth = torch.from_numpy(np.stack([p[0] for p in drawn]))[:, None]
        condition = torch.from_numpy(np.stack([p[1] for p in drawn]))
        condition[torch.from_numpy(rng.random(len(drawn)) < _DROPPED)] = 0
        sigma = torch.from_numpy(_levels(len(drawn), rng))
        noise = torch.from_numpy(rng.standard_normal(truth.shape, dtype=np.float32))
        rounds = int(rng.integers(1, ROUNDS + 1)) if rng.random() < _REFINED else 0
        return _exam(truth, sigma, noise, condition, rounds)

    def _pair(self, number: int) -> Pair:
        if number not in self._made:
            rng = np.random.default_rng([self.seed, number])
            self._made[number] = pair(self.kind, _BOXES[number % len(_BOXES)], rng, own=self.own)
        return self._made[number]


def _exam(truth: Tensor, sigma: Tensor, noise: Tensor, condition: Tensor, rounds: int = 0) -> tuple[Inputs, Tensor]:
    import torch

    from splatom.nets.temdiff import SIGMA_DATA

    level = sigma[:, None, None, None, None]
    weight = (level.square() + SIGMA_DATA**2) / (level * SIGMA_DATA).square()
    asked = torch.full((len(truth),), rounds)
    return (truth + level * noise, sigma, condition, asked), torch.cat([truth, weight.expand_as(truth)], dim=1)


def _levels(count: int, rng: np.random.Generator) -> Array:
    """Draw noise levels: log-normal, and half from 2 on, where sampling starts and all is left to be decided."""
    from splatom.nets.temdiff import SIGMA_MAX, SIGMA_MIN

    middle = np.exp(rng.normal(-1.0, 1.3, count))
    high = np.exp(rng.uniform(np.log(2.0), np.log(SIGMA_MAX), count))
    levels = np.where(rng.random(count) < 1 / 2, high, middle)
    return np.clip(levels, SIGMA_MIN, SIGMA_MAX).astype(np.float32)


def _patch(given: Pair, size: tuple[int, int, int], rng: np.random.Generator) -> tuple[Array, Array]:
    """Cut a patch (z, y, x) and its condition (2, z, y, x), preferably where something is, mirrored at random."""
    best: tuple[slice, ...] = ()
    most = -1.0
    for _ in range(3 if rng.random() < 0.8 else 1):
        corner = [int(rng.integers(have - want + 1)) for have, want in zip(given.truth.shape, size, strict=True)]
        box = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        there = float(given.truth[box].std())
        if there > most:
            best, most = box, there
    # A mirrored specimen has the mirrored reconstruction, whichever of the three axes it is.
    ways = tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))
    bright = np.float32(np.exp(rng.normal() * 0.15))
    truth, classical = (np.ascontiguousarray(bright * a[best][ways]) for a in (given.truth, given.classical))
    return truth, np.stack([classical, np.full_like(classical, given.reach)])


def _psnr(a: Any, b: Any) -> float:
    return float(20 * np.log10(np.ptp(b) / max(float(np.sqrt(np.mean((a - b) ** 2))), 1e-9)))


def validation(
    kind: Kind,
    *,
    half_ranges: tuple[float, ...] = (5, 10, 30, 60),
    repeats: int = 3,
    size: tuple[int, int, int] = (64, 32, 64),
    own: tuple[Array, ...] = (),
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores a network on held-out specimens (other seeds than any training's).

    Figures in dB (PSNR by the range of the true volume), at each half range of tilts: of the condition, what one
    evaluation from nothing but noise gains over it, and what it gains after three refinements; over the condition
    blurred by the Gaussian that is best for each volume (as only the truth can tell), mean of all; of noisy volumes and
    no condition, by noise level.
    """
    import torch
    from scipy import ndimage

    from splatom.nets.temdiff import ROUNDS, SIGMA_MAX

    rows: list[tuple[float, Pair]] = []
    for half in half_ranges:
        for i in range(repeats):
            rng = np.random.default_rng([_HELD_OUT, round(100 * half), i])
            rows.append((half, pair(kind, size, rng, half_range=half, own=own)))
    before = np.array([_psnr(p.classical, p.truth) for _, p in rows])
    widths = (0.5, 0.8, 1.2, 1.7, 2.4, 3.5)
    soft = np.array([max(_psnr(ndimage.gaussian_filter(p.classical, s), p.truth) for s in widths) for _, p in rows])
    soft = np.maximum(soft, before)
    of = np.array([half for half, _ in rows])

    def score(net: nn.Module) -> dict[str, float]:
        device = next(net.parameters()).device
        draw = torch.Generator().manual_seed(0)

        def estimate(x: Array, sigma: float, reach: float | None, rounds: int = 0) -> Array:
            noisy = torch.from_numpy(x) + sigma * torch.randn(x.shape, generator=draw)
            told = None
            if reach is not None:
                told = torch.from_numpy(np.stack([x, np.full_like(x, reach)]))[None].to(device)
            out = net(noisy[None, None].to(device), torch.tensor([sigma], device=device), told, torch.tensor([rounds]))
            return np.asarray(out[0, 0].float().cpu().numpy())

        with torch.no_grad():
            after, refined = (
                np.array([_psnr(estimate(p.classical, SIGMA_MAX, p.reach, n), p.truth) for _, p in rows])
                for n in (0, ROUNDS)
            )
            noisy = {
                sigma: np.mean([_psnr(estimate(p.truth, sigma, None), p.truth) for _, p in rows[::repeats]])
                for sigma in (0.1, 0.5, 2.0)
            }
        figures = {f"condition_{h:g}_degrees": float(before[of == h].mean()) for h in half_ranges}
        figures |= {f"gain_{h:g}_degrees": float((after - before)[of == h].mean()) for h in half_ranges}
        figures |= {f"refined_{h:g}_degrees": float((refined - before)[of == h].mean()) for h in half_ranges}
        figures["gain_over_blurred"] = float((after - soft).mean())
        figures["least_gain_over_blurred"] = float((after - soft).min())
        return figures | {f"denoised_at_{sigma:g}": float(value) for sigma, value in noisy.items()}

    return score
