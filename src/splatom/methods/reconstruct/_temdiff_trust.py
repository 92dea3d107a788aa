"""How far a prior is to be trusted with these data: by how well it foresees the outermost tilts, beside TV."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.methods.reconstruct._problem import Problem

__all__ = ["Trust", "part", "total_variation"]

_FEWEST = 5  # tilts; of fewer none can be spared
_OUTER = 0.2  # of the tilts, half of them at either end
_PASSES, _FEWEST_PASSES, _MOST_PASSES = 4000, 60, 200  # of TV, over all tilts: a narrow wedge takes longer to fill


@dataclass(frozen=True, eq=False)
class Trust:
    """The share of the prior in the result, and what takes the rest.

    Parameters
    ----------
    share : float
        From 0 to 1.
    steady : Tensor (z, y, x), or None
        What TV makes of all tilts; None where it has no part in the result.
    """

    share: float = 1.0
    steady: Tensor | None = None

    @classmethod
    def found(cls, problem: Problem, sampled: Callable[[Problem], Tensor]) -> Trust:
        """Leave out the outermost tilts, foresee them by TV and by the prior, and find the blend that does it best.

        Ours. Residuals on the measured tilts cannot tell how well the missing wedge is filled; tilts at its border,
        which a reconstruction has not seen, can, as far as they reach into it.

        Parameters
        ----------
        problem : Problem
        sampled : callable
            A problem to a volume in the unit of its data, by the prior.
        """
        outer = _outermost(problem.projector.geometry.tilt_degrees)
        if not outer.any():
            return cls()
        within, beyond = part(problem, ~outer), part(problem, outer)
        plain = beyond.forward(total_variation(within))
        change = beyond.forward(sampled(within)) - plain
        w = beyond.weights
        cross, power = float((w * change * (beyond.data - plain)).sum()), float((w * change * change).sum())
        share = float(np.clip(cross / power, 0, 1)) if power > 0 else 1.0
        return cls(share, total_variation(problem))


def _outermost(angles: NDArray[np.float64]) -> NDArray[np.bool_]:
    order = np.argsort(angles, kind="stable")
    out = np.zeros(len(angles), bool)
    if len(angles) >= _FEWEST:
        side = max(1, round(_OUTER * len(angles) / 2))
        out[order[:side]] = out[order[-side:]] = True
    return out


def part(problem: Problem, which: NDArray[np.bool_]) -> Problem:
    """Return the problem of some of the fitted tilts, none of them held out."""
    from splatom.operators import VoxelProjector

    old = problem.projector
    projector = VoxelProjector(
        old.geometry[which], old.volume_shape, old.detector_shape, old.device, old.backend
    )
    index = torch.from_numpy(np.flatnonzero(which)).to(problem.data.device)
    measured = None if problem.measured is None else problem.measured[which]
    return replace(
        problem, projector=projector, data=problem.data[index], weights=problem.weights[index], held_projector=None,
        held_data=None, held_mask=None, measured=measured,
    )  # fmt: skip


def total_variation(problem: Problem) -> Tensor:
    """Return what ``reconstruct tv`` makes of a problem, (z, y, x)."""
    from splatom.jobs.job import Job
    from splatom.methods.reconstruct.tv import TvParams, _iterate

    passes = min(max(_PASSES // len(problem.data), _FEWEST_PASSES), _MOST_PASSES)
    job: Job[Any] = Job(TvParams(iterations=passes), device=problem.data.device.type)
    volume = problem.zeros()
    for now in _iterate(problem, job, 0):
        volume = now.volume
    return volume
