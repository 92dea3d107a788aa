"""Samples of what the volume may be, one after another: the network's estimate, the pull of the data, fresh noise."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import TiltSeries, Volume
from splatom.methods.reconstruct._memory import duration
from splatom.methods.reconstruct._problem import Box, Problem, preview
from splatom.methods.reconstruct._temdiff_align import at, realigned
from splatom.methods.reconstruct._temdiff_data import Evidence, decided_by_prior, pulled, spread
from splatom.methods.reconstruct._temdiff_patches import count
from splatom.methods.reconstruct._temdiff_prior import Prior, candidates, schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.jobs.job import Job

__all__ = ["Sampler"]

_HIGHEST, _LOWEST = 3.0, 0.02  # noise levels of the schedule, in the volume's scale
_SETTLED = 0.3  # of the first sample's steps, before which nothing is aligned
_PAIRS = 34  # projections with their adjoints that the classical reconstruction takes, with its normalisers
_BYTES_PER_VOXEL = 72
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
        # Views are aligned in a sample that does not count: the others then all start from the same geometry.
        self.sample = -1 if job.params.align != "off" else 0
        self.index = 0
        self.x = self.estimate = prior.condition[0]
        self.left = evidence.data  # what the estimate leaves of the data
        self.mean = torch.zeros_like(self.estimate)
        self.squares = torch.zeros_like(self.estimate)
        self.weight = 0.0
        self.given = evidence.problem.projector.geometry

    # ------------------------------------------------------------------------------------------------ begin
    @classmethod
    def begun(
        cls, series: TiltSeries, box: Box, problem: Problem, job: Job[Any], restored: dict[str, Any] | None
    ) -> Sampler:
        """Make the classical reconstruction, choose the prior, and go on from a checkpoint where there is one."""
        from splatom.nets.temdiff import scale_of

        p = job.params
        began = time.perf_counter()
        classical = _classical(problem)
        seconds = (time.perf_counter() - began) / _PAIRS
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
        job.note(plan=self._plan(seconds))
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

    def _plan(self, pair: float) -> str:
        """Say what is to come, from the seconds that a projection and its adjoint take and those of one patch."""
        p, shape = self.job.params, self.mean.shape
        patches = count(shape, p.patch, p.overlap)
        evaluations = p.steps * (p.samples + (p.align != "off"))
        seconds = evaluations * (self.prior.seconds() + (p.pulls + 2) * pair)
        used = (_BYTES_PER_VOXEL * self.mean.numel() + 16 * self.evidence.data.numel()) / 2**30
        return (
            f"{evaluations} evaluations of {patches} patch{'es' * (patches > 1)}: about {duration(seconds)}, "
            f"{used:.1f} GiB of memory"
        )

    def _step(self, levels: list[float]) -> None:
        p, sigma = self.job.params, levels[self.index]
        problem, last = self.evidence.problem, self.index + 1 == len(levels)
        clean = self.prior(self.x, sigma)
        residual = self.evidence.data - problem.forward(clean)
        self.weight = p.strength / self.evidence.misfit(residual)
        precision = self.evidence.precision(self.left if p.robust and self.index else None)
        pulls = p.pulls * (_LAST_PULLS if last else 1)
        estimate, self.left = pulled(problem, residual, precision, clean, self.weight, pulls)
        if problem.non_negative:
            estimate.clamp_(min=0)
        self.estimate = estimate
        if p.robust:
            self.evidence = self.evidence.learned(self.left)
        if self.sample < 0 and self.index >= _SETTLED * len(levels):
            self._align(precision)
        if not last:
            fresh = self._noise(self.index + 1)
            known = (self.x - clean) / sigma
            mixed = (1 - p.noise**2) ** 0.5 * known + p.noise * fresh
            self.x = estimate + levels[self.index + 1] * mixed

    def _align(self, precision: Tensor) -> None:
        evidence, turns = self.evidence, self.job.params.align == "shifts-tilts"
        moved = realigned(evidence.problem, evidence.data, precision, self.estimate, turns)
        self.evidence = replace(evidence, problem=moved)

    def _noise(self, index: int) -> Tensor:
        """Return white noise of this step: the same for a seed, however often the run was resumed."""
        seeds = np.random.SeedSequence((self.job.seed, self.sample + 1, index)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seeds[0] >> np.uint64(1)))
        return torch.randn(self.mean.shape, generator=generator).to(self.mean.device)

    def _count(self) -> None:
        """Take the finished sample into mean and spread (B. Welford, Technometrics 4, 419, 1962)."""
        self.sample, self.index = self.sample + 1, 0
        if self.sample == 0:
            self._rehearsed()
            return
        off = self.estimate - self.mean
        self.mean = self.mean + off / self.sample
        self.squares = self.squares + off * (self.estimate - self.mean)

    def _rehearsed(self) -> None:
        """Start afresh from the geometry that was found."""
        problem = self.evidence.problem
        classical = _classical(problem) / self.evidence.scale
        self.prior = replace(self.prior, condition=torch.stack([classical, self.prior.condition[1]]))
        moved = problem.projector.geometry.shifts - self.given.shifts
        self.job.note(
            shifts_found=[[round(float(v), 3) for v in one] for one in moved],
            shifts_rms=round(float(np.sqrt((moved**2).mean())), 4),
        )

    def _tick(self, steps: int) -> None:
        evidence, problem = self.evidence, self.evidence.problem
        p = self.job.params
        extra = int(p.align != "off")
        done, total = (self.sample + extra) * steps + self.index, (p.samples + extra) * steps
        found = problem.r_factors(self.left * evidence.scale)
        self.job.figures["r_per_tilt"] = found["r_per_tilt"]
        figures = {"r": found["r"]}
        if problem.held_projector is not None:
            figures["r_free"] = problem.r_free(self.estimate * evidence.scale) or 0.0
        self.job.tick(done, total, self._preview, figures=figures, state=self._state)

    def _preview(self) -> Volume:
        return preview(self.estimate * self.evidence.scale, self.box, self.series)

    # ------------------------------------------------------------------------------------------------ state
    _ARRAYS = ("x", "estimate", "left", "mean", "squares")

    def _state(self) -> dict[str, Any]:
        geometry = self.evidence.problem.projector.geometry
        arrays = {name: getattr(self, name) for name in self._ARRAYS}
        arrays |= {"factors": self.evidence.factors, "classical": self.prior.condition[0]}
        return {
            **{k: v.cpu().numpy() for k, v in arrays.items()}, "rotations": geometry.rotations,
            "shifts": geometry.shifts, "sample": self.sample, "index": self.index, "prior": self.prior.name,
            "weight": self.weight,
        }  # fmt: skip

    def _take(self, state: dict[str, Any]) -> None:
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(state[name])).to(self.job.device)

        for name in self._ARRAYS:
            setattr(self, name, tensor(name))
        self.sample, self.index, self.weight = int(state["sample"]), int(state["index"]), float(state["weight"])
        problem = at(self.evidence.problem, type(self.given)(np.array(state["rotations"]), np.array(state["shifts"])))
        self.evidence = replace(self.evidence, problem=problem, factors=tensor("factors"))
        self.prior = replace(self.prior, condition=torch.stack([tensor("classical"), self.prior.condition[1]]))

    # ------------------------------------------------------------------------------------------------ end
    def result(self) -> tuple[Volume, Volume]:
        """Return the volume with its spread, and the share of each voxel that the prior decided."""
        scale, problem = self.evidence.scale, self.evidence.problem
        best = self.mean if self.sample > 0 else self.estimate
        std, share = None, torch.ones_like(best)
        if self.sample > 1:
            std = spread(self.squares, self.sample) * scale
        with self.job.keeping_partial():
            residual = problem.data - problem.forward(best * scale)
            self.job.figures.update(problem.r_factors(residual))
            free = problem.r_free(best * scale)
            if free is not None:
                self.job.figures["r_free"] = free
            share, overall = decided_by_prior(problem, self.evidence.precision(), best, self.weight)
            self.job.figures["prior_share"] = overall
        return self._volume(best * scale, std), self._volume(share)

    def _volume(self, data: Tensor, std: Tensor | None = None) -> Volume:
        def cut(values: Tensor) -> NDArray[np.float32]:
            return np.ascontiguousarray(self.box.crop(values).cpu().numpy())

        deviation = None if std is None else cut(std)
        return Volume(cut(data), self.series.pixel_size, std=deviation, provenance=self.series.provenance)


def _classical(problem: Problem) -> Tensor:
    from splatom.operators.reprojection import reconstructed

    return reconstructed(
        problem.data, problem.projector.geometry, problem.projector.volume_shape, non_negative=problem.non_negative,
        tick=problem.check,
    )  # fmt: skip


def _first_misfit(prior: Prior, evidence: Evidence) -> float:
    """Return R of a prior's first estimate, before the data have a say in it."""
    clean = prior(prior.condition[0], _LOWEST)
    residual = evidence.data - evidence.problem.forward(clean)
    return float(evidence.problem.r_factors(residual * evidence.scale)["r"])
