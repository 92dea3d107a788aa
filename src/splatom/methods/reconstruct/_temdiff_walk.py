"""One sample of what the volume may be: the network's estimate, the pull of the data, fresh noise, less each time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.methods.reconstruct._temdiff_data import Evidence, pulled
from splatom.methods.reconstruct._temdiff_prior import schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from splatom.methods.reconstruct._problem import Problem
    from splatom.methods.reconstruct._temdiff_prior import Prior

__all__ = ["HIGHEST", "LAST_ROUNDS", "LOWEST", "QUICK", "Walk", "classical", "condition_of", "noise_of", "quick_sample"]

HIGHEST, LOWEST = 3.0, 0.02  # noise levels of the schedule, in the volume's scale
LAST_ROUNDS = 3  # of iterations towards the data at the end
QUICK = 6  # steps of a sample that only tells how good the prior is


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


def quick_sample(problem: Problem, start: Tensor, prior: Prior, params: Any, seed: int) -> Tensor:
    """Return what a short walk from a classical reconstruction comes to, (z, y, x), in the unit of the data."""
    from splatom.nets.temdiff import scale_of

    scale = scale_of(start)
    walk = Walk(Evidence.of(problem, scale), replace(prior, condition=condition_of(problem, start / scale)))
    levels = schedule(QUICK, HIGHEST, LOWEST)
    total = torch.zeros_like(start)
    for index in range(QUICK):
        walk.step(params, levels, index, lambda k: noise_of(start, seed, 1 << 20, k))
        total += walk.estimate
    mean, _ = walk.pull(total / QUICK, params.strength, params.pulls, LAST_ROUNDS)
    return mean * scale
