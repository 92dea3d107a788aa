"""One sample of what the volume may be: the network's estimate, the pull of the data, fresh noise, less each time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.methods.reconstruct._temdiff_data import Evidence, pulled
from splatom.nets.temdiff import SIGMA_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from splatom.geometry import ViewGeometry
    from splatom.methods.reconstruct._problem import Problem
    from splatom.methods.reconstruct._temdiff_prior import Prior

__all__ = [
    "HIGHEST",
    "LAST_ROUNDS",
    "LOWEST",
    "Walk",
    "classical",
    "condition_of",
    "improved",
    "noise_of",
    "refined",
    "rounds_for",
]

HIGHEST, LOWEST = 3.0, 0.02  # noise levels of the schedule, in the volume's scale
_ONCE, _MOST_ROUNDS = 60.0, 5  # half range in degrees for which one evaluation is enough; rounds at most
LAST_ROUNDS = 3  # of iterations towards the data at the end


class Walk:
    """From noise to a volume; the state between two steps.

    Parameters
    ----------
    evidence : Evidence
        The data, and how far they are to be believed.
    prior : Prior
    """

    def __init__(self, evidence: Evidence, prior: Prior) -> None:
        self.evidence, self.prior = evidence, prior
        self.x = self.estimate = prior.condition[0]
        self.left = evidence.data  # what the estimate leaves of the data
        self.weight = 0.0

    def step(self, params: Any, levels: list[float], index: int, noise: Callable[[int], Tensor]) -> None:
        """Go from one noise level to the next: DDIM (J. Song et al., 2021) with the data's pull in between.

        Parameters
        ----------
        params : TemdiffParams
        levels : list of float
        index : int
            Of the level that the walk is at.
        noise : callable
            Gives the white noise of a level.
        """
        sigma, last = levels[index], index + 1 == len(levels)
        if index == 0:
            self.x = self.prior.condition[0] + sigma * noise(0)
        clean = self.prior(self.x, sigma)
        left = self.left if params.robust and index > 0 else None
        self.estimate, self.left = self.pull(clean, params.strength, params.pulls, LAST_ROUNDS if last else 1, left)
        if params.robust:
            self.evidence = self.evidence.learned(self.left)
        if not last:
            known = (self.x - clean) / sigma
            mixed = (1 - params.noise**2) ** 0.5 * known + params.noise * noise(index + 1)
            self.x = self.estimate + levels[index + 1] * mixed

    def pull(
        self, clean: Tensor, strength: float, iterations: int, rounds: int, left: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pull an estimate to the data; returns it, and what it leaves of them.

        The weight of the estimate is one over the variance that its misfit of the data tells.
        """
        evidence, problem = self.evidence, self.evidence.problem
        self.weight = strength / evidence.misfit(evidence.data - problem.forward(clean))
        return pulled(problem, evidence.data, evidence.precision(left), clean, self.weight, iterations, rounds)


def noise_of(like: Tensor, *seed: int) -> Tensor:
    """Return white noise of the shape of a volume: the same for a seed, however often a run was resumed."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
    return torch.randn(like.shape, generator=generator).to(like.device)


def classical(problem: Problem, smoothing: float, passes: int | None = None) -> Tensor:
    """Return the classical reconstruction that the network is shown, (z, y, x), by a weight of total variation."""
    from splatom.operators.classical import PASSES, reconstructed

    return reconstructed(
        problem.data, problem.projector.geometry, problem.projector.volume_shape, weight=smoothing,
        weights=problem.weights, non_negative=problem.non_negative, passes=passes or PASSES, tick=problem.check,
    )  # fmt: skip


def condition_of(problem: Problem, start: Tensor) -> Tensor:
    """Return what the network is shown of the data, (2, z, y, x): a reconstruction over its scale, and the range."""
    reach = float(np.ptp(problem.projector.geometry.tilt_degrees)) / 180
    return torch.stack([start, torch.full_like(start, reach)])


def refined(walk: Walk, params: Any) -> Walk:
    """Return the walk with the network's own estimate, pulled to the data, in the place of what it is shown.

    The network has learnt to correct what it has made itself (:meth:`splatom.nets.temdiff.TemDiff.refined`).
    """
    shown = walk.prior.condition
    for _ in range(rounds_for(walk.evidence.problem.projector.geometry)):
        estimate = replace(walk.prior, condition=shown)(shown[0], SIGMA_MAX)
        better, _ = walk.pull(estimate, params.strength, params.pulls, LAST_ROUNDS)
        shown = torch.stack([better, shown[1]])
    return Walk(walk.evidence, replace(walk.prior, condition=shown))


def rounds_for(geometry: ViewGeometry) -> int:
    """Return how often an estimate is refined: the less was measured, the less of the error one evaluation mends."""
    return int(np.clip(round(_ONCE / max(float(np.ptp(geometry.tilt_degrees)) / 2, 1e-3)), 1, _MOST_ROUNDS))


def improved(problem: Problem, start: Tensor, prior: Prior, params: Any) -> Tensor:
    """Return what the prior makes of a classical reconstruction, both (z, y, x) in the unit of the data."""
    from splatom.nets.temdiff import scale_of

    scale = scale_of(start)
    shown = replace(prior, condition=condition_of(problem, start / scale))
    return refined(Walk(Evidence.of(problem, scale), shown), params).prior.condition[0] * scale
