"""How far a prior is to be trusted with these data: by how well it foresees the outermost tilts, beside TV."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.methods.reconstruct._temdiff_walk import classical

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.methods.reconstruct._problem import Problem

__all__ = ["ROUGH", "SMOOTHINGS", "USUAL_SMOOTHING", "best_smoothing", "part", "trust"]

_FEWEST = 5  # tilts; of fewer none can be spared
_OUTER = 0.2  # of the tilts, half of them at either end
SMOOTHINGS = (0.4, 1.0, 2.5)  # weights of the total variation, of those that the priors have learnt from
USUAL_SMOOTHING = 1.0
ROUGH = 100  # passes that tell which of them is best


def trust(problem: Problem, smoothing: float, sampled: Callable[[Problem, Tensor], Tensor]) -> float:
    """Return the share that the prior should have in the result beside total variation, 0 to 1.

    Ours: leave out the outermost tilts, foresee them by TV and by the prior, and find the blend that does it best.
    Residuals on the measured tilts cannot tell how well the missing wedge is filled; tilts at its border, which a
    reconstruction has not seen, can, as far as they reach into it.

    Parameters
    ----------
    problem : Problem
    smoothing : float
        Weight of the total variation.
    sampled : callable
        A problem, and its classical reconstruction, to a volume in the unit of its data, by the prior.
    """
    outer = _outermost(problem.projector.geometry.tilt_degrees)
    if not outer.any():
        return 1.0
    within, beyond = part(problem, ~outer), part(problem, outer)
    start = classical(within, smoothing)
    plain = beyond.forward(start)
    change = beyond.forward(sampled(within, start)) - plain
    w = beyond.weights
    cross, power = float((w * change * (beyond.data - plain)).sum()), float((w * change * change).sum())
    return float(np.clip(cross / power, 0, 1)) if power > 0 else 1.0


def best_smoothing(problem: Problem) -> float:
    """Return the weight of the total variation that foresees the outermost tilts best."""
    outer = _outermost(problem.projector.geometry.tilt_degrees)
    if not outer.any():
        return USUAL_SMOOTHING
    within, beyond = part(problem, ~outer), part(problem, outer)

    def missed(smoothing: float) -> float:
        left = beyond.data - beyond.forward(classical(within, smoothing, ROUGH))
        return float((beyond.weights * left.square()).sum())

    return min(SMOOTHINGS, key=missed)


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
    projector = VoxelProjector(old.geometry[which], old.volume_shape, old.detector_shape, old.device, old.backend)
    index = torch.from_numpy(np.flatnonzero(which)).to(problem.data.device)
    measured = None if problem.measured is None else problem.measured[which]
    return replace(
        problem, projector=projector, data=problem.data[index], weights=problem.weights[index], held_projector=None,
        held_data=None, held_mask=None, measured=measured,
    )  # fmt: skip
