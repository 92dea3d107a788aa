"""CGLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from splatom.data import TiltSeries, Volume, option
from splatom.methods.reconstruct._driver import Pass, reconstruct
from splatom.methods.reconstruct._problem import IterativeParams, Problem

if TYPE_CHECKING:
    from splatom.jobs.job import Job


class CglsParams(IterativeParams):
    """Conjugate gradients on the least-squares problem: the fewest passes, no constraints.

    It fits noise after some tens of passes: stop early. Source: M. Hestenes and E. Stiefel, J. Res. Natl. Bur. Stand.
    49, 409 (1952), in the form of Å. Björck.
    """

    method: Literal["cgls"] = "cgls"
    iterations: int = option(15, "Iterations", "Full passes over all tilts.", live=True, ge=1, le=1000)
    non_negative: bool | None = option(
        None, "Non-negative", "Clip the result once, at the end; by default it is left as it is."
    )


def run(series: TiltSeries, job: Job[CglsParams]) -> Volume:
    """Reconstruct a volume from a series."""
    volume = reconstruct(series, job, _iterate, bytes_per_voxel=20)
    if job.params.non_negative:
        volume = volume.with_(data=volume.data.clip(min=0))
    return volume


def _iterate(problem: Problem, job: Job[Any], done: int) -> Iterator[Pass]:
    x = problem.start("x", problem.zeros)
    residual = problem.start("residual", problem.data.clone)
    normal = None
    if problem.restored is None:
        normal = problem.adjoint(residual * problem.weights)
    direction = problem.start("direction", lambda: normal.clone())  # type: ignore[union-attr]
    energy = float((normal * normal).sum()) if normal is not None else float(problem.restored["energy"])  # type: ignore[index]
    step = done
    while step < job.params.iterations and energy > 0:
        seen = problem.forward(direction)
        length = energy / max(float((seen * seen * problem.weights).sum()), 1e-30)
        x.add_(direction, alpha=length)
        residual.add_(seen, alpha=-length)
        normal = problem.adjoint(residual * problem.weights)
        new = float((normal * normal).sum())
        direction.mul_(new / energy).add_(normal)
        energy = new
        step += 1
        yield Pass(x, residual, {"residual": residual, "direction": direction, "energy": energy})
