"""SIRT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from splatom.data import TiltSeries, Volume, option
from splatom.methods.reconstruct._driver import Pass, reconstruct
from splatom.methods.reconstruct._problem import IterativeParams, Problem

if TYPE_CHECKING:
    from splatom.jobs.job import Job


class SirtParams(IterativeParams):
    """Simultaneous iterative reconstruction: robust, the field's standard.

    Each pass adds the back-projected residual, scaled by ray length and voxel coverage: x ← x + C Aᵀ R (y − A x).
    Sources: P. Gilbert, J. Theor. Biol. 36, 105 (1972); the scaling is that of J. Gregor and T. Benson, IEEE Trans.
    Med. Imaging 27, 918 (2008). Momentum: Y. Nesterov (1983), with the restart of O'Donoghue and Candès (2015).
    """

    method: Literal["sirt"] = "sirt"
    iterations: int = option(100, "Iterations", "Full passes over all tilts.", live=True, ge=1, le=10_000)
    non_negative: bool | None = option(
        None, "Non-negative", "Clip negative voxels after each pass; by default as the contrast allows."
    )
    relaxation: float = option(
        1.0, "Relaxation", "Length of each step; below 1 is slower and smoother.", live=True, gt=0, lt=2
    )
    momentum: bool = option(False, "Momentum", "Nesterov's acceleration: the same quality in a third of the passes.")


def run(series: TiltSeries, job: Job[SirtParams]) -> Volume:
    """Reconstruct a volume from a series."""
    return reconstruct(series, job, _iterate, bytes_per_voxel=20)


def _iterate(problem: Problem, job: Job[Any], done: int) -> Iterator[Pass]:
    import torch

    rows, columns = problem.normalisers()
    x = problem.start("x", problem.zeros)
    momentum = job.params.momentum
    ahead = problem.start("ahead", x.clone) if momentum else x
    t = float(problem.restored["t"]) if problem.restored and momentum else 1.0
    residual, scaled, update = problem.data.clone(), problem.data.clone(), problem.zeros()
    step = done
    while step < job.params.iterations:
        problem.forward(ahead, residual).neg_().add_(problem.data)
        torch.mul(residual, rows, out=scaled)
        problem.adjoint(scaled, update).mul_(columns)
        if not momentum:
            x.add_(update, alpha=job.params.relaxation)
            if problem.non_negative:
                x.clamp_(min=0)
            state: dict[str, Any] = {}
        else:
            new = ahead.add(update, alpha=job.params.relaxation)
            if problem.non_negative:
                new.clamp_(min=0)
            # Restart where the step goes against the momentum: it has overshot.
            if float((update * (new - x)).sum()) < 0:
                t = 1.0
            grown = (1 + (1 + 4 * t * t) ** 0.5) / 2
            ahead = new + (new - x).mul_((t - 1) / grown)
            x, t = new, grown
            state = {"ahead": ahead, "t": t}
        step += 1
        yield Pass(x, residual, state)
