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
    from splatom.methods.reconstruct._problem import Problem
    from splatom.methods.reconstruct._temdiff_prior import Prior

__all__ = ["BYTES_PER_VOXEL", "planned"]

BYTES_PER_VOXEL = 88
_SIRT = 30  # projections with their adjoints before total variation


def planned(params: Any, prior: Prior, problem: Problem) -> str:
    """Say what is to come, from the seconds that a projection and its adjoint take and those of one patch."""
    shape = tuple(problem.projector.volume_shape)
    patches = count(shape, params.patch, params.overlap)
    walks = params.samples + (params.align != "off")
    evaluations = walks * params.steps
    refining = rounds_for(problem.projector.geometry)
    pairs = (PASSES + _SIRT) * (1 + (params.align != "off"))
    if params.safeguard:
        pairs += len(SMOOTHINGS) * (ROUGH + _SIRT) + PASSES + _SIRT
        refining *= 2
    pull = params.pulls + 2
    seconds = (evaluations + refining) * (prior.seconds() + pull * (pair := _pair_seconds(problem))) + pairs * pair
    used = (BYTES_PER_VOXEL * int(np.prod(shape)) + 24 * problem.data.numel()) / 2**30
    return (
        f"{evaluations} evaluations of {patches} patch{'es' * (patches > 1)}: about {duration(seconds)}, "
        f"{used:.1f} GiB of memory"
    )


def _pair_seconds(problem: Problem) -> float:
    volume = torch.zeros_like(problem.zeros())
    problem.adjoint(problem.forward(volume))  # the first one compiles
    began = time.perf_counter()
    problem.adjoint(problem.forward(volume))
    return time.perf_counter() - began
