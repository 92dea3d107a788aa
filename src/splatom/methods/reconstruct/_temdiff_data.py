"""What the measured tilts say: pulling an estimate to them, and how far each pixel is to be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.methods.reconstruct._problem import Problem

__all__ = ["Evidence", "pulled", "scattered", "spread", "undecided"]

_TAIL = 5.0  # degrees of freedom of Student's t: residuals beyond some three SDs lose their pull
_SCATTER, _CHANGE, _OPEN = 6.0, 3.0, 3.7  # shares of what the spread is made of
_FAINT = 1e-3  # of the highest mean square
_NEAR = 5  # voxels, over which spread and shares are averaged
_ROUGHEST = 30.0  # by which the variance of a tilt may pass that of its noise


@dataclass(frozen=True, eq=False)
class Evidence:
    """Data over the volume's scale, and the variance of every pixel.

    Parameters
    ----------
    problem : Problem
        Of the fitted tilts.
    scale : float
        Of the volume; everything here is in its unit.
    data : Tensor (n, rows, columns)
    noise : Tensor (n, rows, columns)
        Variance of the noise, from the data alone.
    factors : Tensor (n, 1, 1)
        By which each tilt's variance passes that of its noise: misalignment, gain, what the model cannot say.
    """

    problem: Problem
    scale: float
    data: Tensor
    noise: Tensor
    factors: Tensor

    @classmethod
    def of(cls, problem: Problem, scale: float) -> Evidence:
        """Return the evidence before anything is fitted: the noise alone, from how rough the images are."""
        from splatom.methods.reconstruct._denza_noise import noise_model, variances

        data = problem.data / scale
        noise = variances(data, *noise_model(problem.measured_data / scale))
        return cls(problem, scale, data, noise, torch.ones_like(data[:, :1, :1]))

    @property
    def seen(self) -> Tensor:
        """Weight of every pixel, 1 for a measured one; zero where nothing was measured."""
        return self.problem.weights

    def precision(self, residual: Tensor | None = None) -> Tensor:
        """Return W (n, rows, columns): one over the variance, less where a residual is far beyond it.

        The weights of Student's t, (ν + 1) / (ν + r²/s²) (K. Lange et al., J. Am. Stat. Assoc. 84, 881, 1989), scaled
        to 1 at r = 0, are those of a fit that outliers cannot pull.
        """
        variance = self.noise * self.factors
        out = self.seen / variance
        if residual is not None:
            out = out / (1 + residual.square() / (_TAIL * variance))
        return out

    def learned(self, residual: Tensor) -> Evidence:
        """Return the evidence with each tilt's variance re-estimated from what an estimate leaves of it.

        The median of r²/variance resists outliers. Tilts are compared with the better ones among them, their lower
        quartile: what all leave alike is the estimate's fault, and taking it for noise would keep it so. Half of the
        way only, so that one bad estimate does not decide.
        """
        ratio = torch.where(self.seen > 0, residual.square() / self.noise, torch.nan).flatten(1)
        found = torch.nanmedian(ratio, dim=1).values.nan_to_num(1.0)
        found = (found / found.quantile(0.25).clamp_min(1e-12)).clamp(1.0, _ROUGHEST)[:, None, None]
        return replace(self, factors=(self.factors * found).sqrt())

    def misfit(self, residual: Tensor) -> float:
        """Return by how much an estimate misses the data beyond their noise: a variance per voxel along the rays."""
        seen = (self.seen > 0).expand_as(residual)
        excess = float(((residual.square() / self.factors - self.noise) * seen).sum() / seen.sum().clamp_min(1))
        return max(excess, 0.01 * float(self.noise.mean())) / float(self.problem.projector.volume_shape[0])


def pulled(
    problem: Problem, data: Tensor, precision: Tensor, estimate: Tensor, weight: float, iterations: int,
    rounds: int = 1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Minimise ‖W^½(A x − y)‖² + λ‖x − x̂₀‖² by conjugate gradients, from x̂₀.

    The normal equations are (AᵀWA + λ) d = AᵀW (y − A x) − λ (x − x̂₀) for the correction d of x; A and Aᵀ are an exact
    pair. After DOLCE (J. Liu et al., ICCV 2023) and DDS (H. Chung et al., ICLR 2024); W is ours. Where the problem is
    non-negative, each round solves them for the voxels that are positive or about to be, and clips: an active set (as
    in C. Lin and J. Moré, SIAM J. Optim. 9, 1100, 1999). Clipping once, at the end, would add matter to every ray.

    Parameters
    ----------
    problem : Problem
        Gives A and its adjoint.
    data : Tensor (n, rows, columns)
        y.
    precision : Tensor (n, rows, columns)
        W.
    estimate : Tensor (z, y, x)
        x̂₀.
    weight : float
        λ.
    iterations : int
        In each round.
    rounds : int
        One is enough where nothing is clipped.

    Returns
    -------
    Tensor (z, y, x)
    Tensor (n, rows, columns)
        y − A x of it.
    """
    x = estimate.clamp(min=0) if problem.non_negative else estimate.clone()
    residual = problem.forward(x).neg_().add_(data)
    image = torch.empty_like(residual)
    for _ in range(rounds if iterations else 0):
        r = problem.adjoint(precision * residual).add_(x - estimate, alpha=-weight)
        free = ((x > 0) | (r > 0)).to(r.dtype) if problem.non_negative else None
        if free is not None:
            r *= free
        p = r.clone()
        power = first = _dot(r, r)
        for _ in range(iterations):
            if power <= 1e-12 * first or first == 0:
                break
            problem.forward(p, image)
            turn = problem.adjoint(precision * image).add_(p, alpha=weight)
            if free is not None:
                turn *= free
            step = power / max(_dot(p, turn), 1e-30)
            x.add_(p, alpha=step)
            residual.sub_(image, alpha=step)
            r.sub_(turn, alpha=step)
            new = _dot(r, r)
            p.mul_(new / power).add_(r)
            power = new
        if problem.non_negative:
            x.clamp_(min=0)
            problem.forward(x, residual).neg_().add_(data)
    return x, residual


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def undecided(problem: Problem, precision: Tensor, volume: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return what of a volume the data do not carry, and by how much each voxel is the prior's.

    The data alone carry H x of a volume x, H = (AᵀWA + λ)⁻¹ AᵀWA being the resolution (Backus and Gilbert, 1968) with λ
    one over the mean square of the volume, as of a specimen of which nothing else is known. x − H x is what another
    prior could change without the data noticing.

    Parameters
    ----------
    problem : Problem
    precision : Tensor (n, rows, columns)
        W.
    volume : Tensor (z, y, x)

    Returns
    -------
    Tensor (z, y, x)
        (x − H x)², averaged over 5 × 5 × 5 voxels.
    Tensor (z, y, x)
        Its share of (x − H x)² + (H x)², 0 to 1; it fades to zero where there is next to nothing.
    float
        The share of the whole.
    """
    weight = float(1 / volume.square().mean().clamp_min(1e-30))
    none = torch.zeros_like(volume)
    linear = replace(problem, non_negative=False)
    carried, _ = pulled(linear, problem.forward(volume), precision, none, weight, 15)
    open_ = _near((volume - carried).square())
    power = open_ + _near(carried.square())
    share = open_ / (power + _FAINT * power.max()).clamp_min(1e-30)
    return open_, share, float(open_.sum() / power.sum().clamp_min(1e-30))


def scattered(squares: Tensor, samples: int) -> Tensor:
    """Return the variance (z, y, x) that samples alone give the error of what is expected.

    Parameters
    ----------
    squares : Tensor (z, y, x)
        Sum of the squared deviations from their mean.
    samples : int
        Two at least.

    Notes
    -----
    If the truth is as likely as any of n samples, its distance from their mean has the variance (1 + 1/n) σ². Few
    samples say little of σ² at one voxel, so it is averaged over 5 × 5 × 5.
    """
    return _near(squares / (samples - 1)) * (1 + 1 / samples)


def spread(scatter: Tensor, change: Tensor, open_: Tensor) -> Tensor:
    """Return the spread (z, y, x): about the standard deviation of the result's error.

    Ours. Samples of a network that was trained for minutes are too much alike. How far the prior has moved away from
    total variation, and what no tilt has shown, tell of errors that all samples share. The three shares were fitted on
    held-out specimens of the kind that training draws, all ranges of tilts alike.

    Parameters
    ----------
    scatter : Tensor (z, y, x)
        Variance of :func:`scattered`.
    change : Tensor (z, y, x)
        From total variation to the result.
    open_ : Tensor (z, y, x)
        Of :func:`undecided`.
    """
    return (_SCATTER * scatter + _CHANGE * _near(change.square()) + _OPEN * open_).sqrt()


def _near(values: Tensor) -> Tensor:
    side = min(_NEAR, *values.shape) // 2 * 2 + 1
    side = side if side <= min(values.shape) else 1
    mean = torch.nn.functional.avg_pool3d(values[None, None], side, 1, side // 2, count_include_pad=False)
    return mean[0, 0]
