"""Total variation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from splatom.data import TiltSeries, Volume, option
from splatom.methods.reconstruct._driver import Pass, reconstruct
from splatom.methods.reconstruct._problem import IterativeParams, Problem

if TYPE_CHECKING:
    from splatom.jobs.job import Job


class TvParams(IterativeParams):
    """Total variation in 3-D: flat regions and sharp edges, for few tilts and noisy data.

    Minimises ½ Σ w (A x − y)² + λ TV(x), x ≥ 0 where the contrast is, by the primal-dual method of A. Chambolle and
    T. Pock, J. Math. Imaging Vis. 40, 120 (2011), with the diagonal steps of T. Pock and A. Chambolle, ICCV 2011; for
    tomography: E. Sidky, Phys. Med. Biol. 57, 3065 (2012). Ours: λ = weight · σ · √n, with the noise σ estimated from
    the projections, so that one weight serves all intensities, doses and numbers of tilts n.
    """

    method: Literal["tv"] = "tv"
    iterations: int = option(200, "Iterations", "Full passes over all tilts.", live=True, ge=1, le=10_000)
    weight: float = option(
        1.5, "Weight", "Strength of the smoothing, relative to the noise: higher is flatter.", live=True, gt=0, le=1000
    )
    non_negative: bool | None = option(
        None, "Non-negative", "Clip negative voxels in each pass; by default as the contrast allows."
    )


def run(series: TiltSeries, job: Job[TvParams]) -> Volume:
    """Reconstruct a volume from a series."""
    return reconstruct(series, job, _iterate, bytes_per_voxel=44, overlap=4)


def _iterate(problem: Problem, job: Job[Any], done: int) -> Iterator[Pass]:
    import torch

    from splatom.operators.tv import PrimalDual, balance_of, noise_level

    sigma = noise_level(problem.measured_data)
    scale = sigma * float(problem.weights.amax(dim=(1, 2)).sum()) ** 0.5  # √n; an interpolated tilt counts as it weighs
    job.note(noise=float(f"{sigma:.4g}"))
    thin = problem.one_slice()
    lengths = thin.forward(torch.ones_like(thin.zeros()))
    sums = thin.adjoint(torch.ones_like(thin.data))
    balance = balance_of(problem.projector.geometry)
    solver = PrimalDual.of(
        problem.forward, problem.adjoint, problem.data, problem.weights, lengths, sums, balance, problem.non_negative,
        problem.check,
    )  # fmt: skip
    x = problem.start("x", problem.zeros)
    ahead = problem.start("ahead", x.clone)
    p = problem.start("p", lambda: torch.zeros_like(problem.data))
    q = problem.start("q", lambda: x.new_zeros((3, *x.shape)))
    step = done
    while step < job.params.iterations:
        residual = solver.step(x, ahead, p, q, job.params.weight * scale)
        step += 1
        yield Pass(x, residual, {"ahead": ahead, "p": p, "q": q})
