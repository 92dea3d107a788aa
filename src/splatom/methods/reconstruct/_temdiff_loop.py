"""Samples of what the volume may be, one after another: the network's estimate, the pull of the data, fresh noise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import TiltSeries, Volume
from splatom.methods.reconstruct._problem import Box, Problem, preview
from splatom.methods.reconstruct._temdiff_data import Evidence, pulled
from splatom.methods.reconstruct._temdiff_prior import Prior, candidates, schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.jobs.job import Job

__all__ = ["Sampler"]

_HIGHEST, _LOWEST = 3.0, 0.02  # noise levels of the schedule, in the volume's scale
_SETTLED = 0.3  # of the first sample's steps, before which nothing is aligned
_LAST_PULLS = 3  # times as many iterations towards the data at the end of a sample


class Sampler:
    """The state of a run, and its steps.

    Parameters
    ----------
    series : TiltSeries
    box : Box
    job : Job
    evidence : Evidence
        The data, and how far they are to be believed.
    prior : Prior
    """

    def __init__(self, series: TiltSeries, box: Box, job: Job[Any], evidence: Evidence, prior: Prior) -> None:
        self.series, self.box, self.job, self.evidence, self.prior = series, box, job, evidence, prior
        self.sample = self.index = 0
        self.x = self.estimate = prior.condition[0]
        self.mean = torch.zeros_like(self.estimate)
        self.squares = torch.zeros_like(self.estimate)
        self.weight = 0.0

    # ------------------------------------------------------------------------------------------------ begin
    @classmethod
    def begun(
        cls, series: TiltSeries, box: Box, problem: Problem, job: Job[Any], restored: dict[str, Any] | None
    ) -> Sampler:
        """Make the classical reconstruction, choose the prior, and go on from a checkpoint where there is one."""
        from splatom.nets.temdiff import scale_of
        from splatom.operators.reprojection import reconstructed

        p = job.params
        classical = reconstructed(
            problem.data, problem.projector.geometry, box.solved, non_negative=problem.non_negative, tick=job.check
        )
        scale = scale_of(classical)
        evidence = Evidence.of(problem, scale)
        reach = np.ptp(problem.projector.geometry.tilt_degrees) / 2 / 90
        condition = torch.stack([classical / scale, torch.full_like(classical, float(reach))])

        def as_prior(name: str, net: torch.nn.Module, card: Any) -> Prior:
            return Prior(net.to(job.device), name, card, condition, p.patch, p.overlap, job.check)

        found = [as_prior(*one) for one in candidates(p.prior, p.variant, p.weights)]
        prior = cls._chosen(found, evidence, job, restored)
        self = cls(series, box, job, evidence, prior)
        if restored is not None:
            self._take(restored)
        return self

    @staticmethod
    def _chosen(found: list[Prior], evidence: Evidence, job: Job[Any], restored: dict[str, Any] | None) -> Prior:
        if len(found) == 1:
            prior = found[0]
        elif restored is not None:
            prior = next(one for one in found if one.name == restored["prior"])
        else:
            misfits = {one.name: _first_misfit(one, evidence) for one in found}
            job.note(prior_misfit={name: round(value, 4) for name, value in misfits.items()})
            prior = min(found, key=lambda one: misfits[one.name])
        job.note(prior=prior.name)
        return prior

    # ------------------------------------------------------------------------------------------------ run
    def run(self) -> None:
        """Make the samples that are left, step by step."""
        while self.sample < self.job.params.samples:
            levels = schedule(self.job.params.steps, _HIGHEST, _LOWEST)
            if self.index == 0:
                self.x = self.prior.condition[0] + levels[0] * self._noise(0)
            self._step(levels)
            self.index += 1
            if self.index == len(levels):
                self._count()
            self._tick(len(levels))

    def _step(self, levels: list[float]) -> None:
        p, sigma = self.job.params, levels[self.index]
        problem, last = self.evidence.problem, self.index + 1 == len(levels)
        clean = self.prior(self.x, sigma)
        residual = self.evidence.data - problem.forward(clean)
        self.weight = p.strength / self.evidence.misfit(residual)
        precision = self.evidence.precision(self._left if p.robust and self.index else None)
        pulls = p.pulls * (_LAST_PULLS if last else 1)
        estimate, self._left = pulled(problem, residual, precision, clean, self.weight, pulls)
        if problem.non_negative:
            estimate.clamp_(min=0)
        self.estimate = estimate
        if p.robust:
            self.evidence = self.evidence.learned(self._left)
        if not last:
            fresh = self._noise(self.index + 1)
            known = (self.x - clean) / sigma
            mixed = (1 - p.noise**2) ** 0.5 * known + p.noise * fresh
            self.x = estimate + levels[self.index + 1] * mixed

    def _noise(self, index: int) -> Tensor:
        """Return white noise of this step: the same for a seed, however often the run was resumed."""
        seeds = np.random.SeedSequence((self.job.seed, self.sample, index)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seeds[0] >> np.uint64(1)))
        return torch.randn(self.mean.shape, generator=generator).to(self.mean.device)

    def _count(self) -> None:
        """Take the finished sample into mean and spread (B. Welford, Technometrics 4, 419, 1962)."""
        self.sample, self.index = self.sample + 1, 0
        off = self.estimate - self.mean
        self.mean = self.mean + off / self.sample
        self.squares = self.squares + off * (self.estimate - self.mean)

    def _tick(self, steps: int) -> None:
        evidence, problem = self.evidence, self.evidence.problem
        done, total = self.sample * steps + self.index, self.job.params.samples * steps
        found = problem.r_factors(self._left * evidence.scale)
        self.job.figures["r_per_tilt"] = found["r_per_tilt"]
        figures = {"r": found["r"]}
        if problem.held_projector is not None:
            figures["r_free"] = problem.r_free(self.estimate * evidence.scale) or 0.0
        self.job.tick(done, total, self._preview, figures=figures, state=self._state)

    def _preview(self) -> Volume:
        return preview(self.estimate * self.evidence.scale, self.box, self.series)

    # ------------------------------------------------------------------------------------------------ state
    def _state(self) -> dict[str, Any]:
        geometry = self.evidence.problem.projector.geometry
        arrays = {"x": self.x, "estimate": self.estimate, "mean": self.mean, "squares": self.squares,
                  "left": self._left, "factors": self.evidence.factors}  # fmt: skip
        return {
            **{k: v.cpu().numpy() for k, v in arrays.items()}, "rotations": geometry.rotations,
            "shifts": geometry.shifts, "sample": self.sample, "index": self.index, "prior": self.prior.name,
            "weight": self.weight,
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------ end
    def result(self) -> tuple[Volume, Volume]:
        """Return the volume with its spread, and the share of each voxel that the prior decided."""
        scale, problem = self.evidence.scale, self.evidence.problem
        best = self.mean if self.sample else self.estimate
        with self.job.keeping_partial():
            self.job.figures.update(problem.r_factors(problem.data - problem.forward(best * scale)))
        std = None
        if self.sample > 1:
            std = (self.squares / (self.sample - 1)).sqrt()
        return self._volume(best * scale, None if std is None else std * scale), self._volume(best)

    def _volume(self, data: Tensor, std: Tensor | None = None) -> Volume:
        def cut(values: Tensor) -> NDArray[np.float32]:
            return np.ascontiguousarray(self.box.crop(values).cpu().numpy())

        spread = None if std is None else cut(std)
        return Volume(cut(data), self.series.pixel_size, std=spread, provenance=self.series.provenance)


def _first_misfit(prior: Prior, evidence: Evidence) -> float:
    """Return R of a prior's first estimate, before the data have a say in it."""
    clean = prior(prior.condition[0], _LOWEST)
    residual = evidence.data - evidence.problem.forward(clean)
    return float(evidence.problem.r_factors(residual * evidence.scale)["r"])
