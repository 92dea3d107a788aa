"""What a run is going to take, said before it starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.methods.reconstruct._memory import duration
from splatom.methods.reconstruct._temdiff_patches import count
from splatom.methods.reconstruct._temdiff_trust import ROUGH, SMOOTHINGS
from splatom.methods.reconstruct._temdiff_walk import rounds_for
from splatom.operators.classical import PASSES

if TYPE_CHECKING:
    from splatom.geometry import ViewGeometry
    from splatom.methods.reconstruct._problem import Problem
    from splatom.methods.reconstruct._temdiff_prior import Prior

__all__ = ["BYTES_PER_VOXEL", "planned", "work"]

BYTES_PER_VOXEL = 88
_SIRT = 30  # projections with their adjoints before total variation


def work(params: Any, geometry: ViewGeometry) -> tuple[int, int]:
    """Return how many evaluations of the network a run takes, and how many projections with their adjoints."""
    aligned = params.align != "off"
    evaluations = params.steps * (params.samples + aligned) + rounds_for(geometry)
    pairs = (PASSES + _SIRT) * (1 + aligned)
    if params.safeguard:
        evaluations += rounds_for(geometry)
        pairs += len(SMOOTHINGS) * (ROUGH + _SIRT) + PASSES + _SIRT
    return evaluations, pairs + evaluations * (params.pulls + 2)


def planned(params: Any, prior: Prior, problem: Problem) -> str:
    """Say what is to come, from the seconds that a projection and its adjoint take and those of one patch."""
    shape = tuple(problem.projector.volume_shape)
    patches = count(shape, params.patch, params.overlap)
    evaluations, pairs = work(params, problem.projector.geometry)
    seconds = evaluations * prior.seconds() + pairs * _pair_seconds(problem)
    used = (BYTES_PER_VOXEL * int(np.prod(shape)) + 24 * problem.data.numel()) / 2**30
    return (
        f"{evaluations} evaluations of {patches} patch{'es' * (patches > 1)}: about {duration(seconds)}, "
        f"{max(used, 0.1):.1f} GiB of memory"
    )


def _pair_seconds(problem: Problem) -> float:
    volume = torch.zeros_like(problem.zeros())
    problem.adjoint(problem.forward(volume))  # the first one compiles
    began = time.perf_counter()
    problem.adjoint(problem.forward(volume))
    return time.perf_counter() - began
