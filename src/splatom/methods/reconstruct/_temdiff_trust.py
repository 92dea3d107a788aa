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
    from splatom.operators import VoxelProjector

__all__ = ["ROUGH", "SMOOTHINGS", "USUAL_SMOOTHING", "best_smoothing", "part", "trust"]

_FEWEST = 5  # tilts; of fewer none can be spared
_OUTER = 0.2  # of the tilts, half of them at either end
SMOOTHINGS = (0.25, 0.6, 1.5)  # weights of the total variation, of those that the priors have learnt from
USUAL_SMOOTHING = 0.5
ROUGH = 200  # passes that tell which of them is best


def trust(problem: Problem, smoothing: float, improved: Callable[[Problem, Tensor], Tensor]) -> float:
    """Return the share that the prior should have in the result beside total variation, 0 to 1.

    Ours: leave out the outermost tilts, foresee them by TV and by the prior, and find the share s of the blend that
    does it best. Residuals on the measured tilts cannot tell how well the missing wedge is filled; tilts at its border,
    which a reconstruction has not seen, can, as far as they reach into it. How far is measured: v is the power of what
    the two disagree about in these tilts, over that in tilts from all sides. Over a wide range it is about 1; over a
    narrow one next to nothing of the disagreement can be seen, and the prior's word is what there is. The share is
    1 − (1 − s) v.

    Parameters
    ----------
    problem : Problem
    smoothing : float
        Weight of the total variation.
    improved : callable
        A problem, and its classical reconstruction, to a volume in the unit of its data, by the prior.
    """
    outer = _outermost(problem.projector.geometry.tilt_degrees)
    if not outer.any():
        return 1.0
    within, beyond = part(problem, ~outer), part(problem, outer)
    start = classical(within, smoothing)
    disputed = improved(within, start) - start
    change = beyond.forward(disputed)
    power = float((beyond.weights * change.square()).sum())
    if power == 0:
        return 1.0
    share = float((beyond.weights * change * (beyond.data - beyond.forward(start))).sum()) / power
    around = _from_all_sides(problem).forward(disputed)
    visible = float(change.square().mean() / around.square().mean())
    return 1 - (1 - float(np.clip(share, 0, 1))) * min(visible, 1.0)


def _from_all_sides(problem: Problem) -> VoxelProjector:
    from splatom.operators import VoxelProjector

    old = problem.projector
    geometry = type(old.geometry).single_axis(np.arange(-90, 90, 15.0))
    return VoxelProjector(geometry, old.volume_shape, old.detector_shape, old.device, old.backend)


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
