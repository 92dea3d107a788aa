"""A run: the prior chosen, samples one after another, what they agree on, and how far it is to be trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import TiltSeries, Volume
from splatom.methods.reconstruct._problem import Box, Problem, preview
from splatom.methods.reconstruct._temdiff_align import at, realigned
from splatom.methods.reconstruct._temdiff_choice import chosen, misfits
from splatom.methods.reconstruct._temdiff_data import Evidence, scattered, spread, undecided
from splatom.methods.reconstruct._temdiff_plan import planned
from splatom.methods.reconstruct._temdiff_prior import Prior, candidates, schedule
from splatom.methods.reconstruct._temdiff_trust import USUAL_SMOOTHING, best_smoothing, trust
from splatom.methods.reconstruct._temdiff_walk import (
    HIGHEST,
    LAST_ROUNDS,
    LOWEST,
    Walk,
    classical,
    condition_of,
    improved,
    noise_of,
    refined,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.jobs.job import Job

__all__ = ["Sampler"]

_SETTLED = 0.3  # of the first sample's steps, before which nothing is aligned
_OF_ANOTHER_KIND = 0.5  # share at most of a prior, where another one knows the data better
_DOUBTED = 0.5  # share of the prior, below which TV foresees unseen tilts better


class Sampler:
    """The state of a run, and its steps.

    Parameters
    ----------
    series : TiltSeries
    box : Box
    job : Job
    walk : Walk
        The sample that is being made.
    smoothing : float
        Weight of the total variation in the classical reconstruction.
    most : float
        Share that the prior may have in the result, where it is safeguarded.
    """

    def __init__(
        self, series: TiltSeries, box: Box, job: Job[Any], walk: Walk, smoothing: float, most: float
    ) -> None:
        self.series, self.box, self.job, self.walk = series, box, job, walk
        self.smoothing, self.most = smoothing, most
        self.trust = 1.0  # the prior's share in the result
        self.steady = walk.x  # what takes the rest
        # Views are aligned in a sample that does not count: the others then all start from the same geometry.
        self.sample = -1 if job.params.align != "off" else 0
        self.index = 0
        self.given = walk.evidence.problem.projector.geometry
        self.mean = torch.zeros_like(walk.x)  # of finished samples
        self.squares = torch.zeros_like(walk.x)

    # ------------------------------------------------------------------------------------------------ begin
    @classmethod
    def begun(
        cls, series: TiltSeries, box: Box, problem: Problem, job: Job[Any], restored: dict[str, Any] | None
    ) -> Sampler:
        """Make the classical reconstruction, choose the prior, and go on from a checkpoint where there is one."""
        from splatom.nets.temdiff import scale_of

        p = job.params
        unknown = torch.stack([problem.zeros()] * 2)
        found = [
            Prior(net.to(job.device), name, card, unknown, p.patch, p.overlap, job.check)
            for name, net, card in candidates(p.prior, p.variant, p.weights)
        ]
        job.note(plan=planned(p, found[0], problem))
        if restored is None:
            smoothing = best_smoothing(problem) if p.safeguard else USUAL_SMOOTHING
            start = classical(problem, smoothing)
            scale = scale_of(start)
            condition = condition_of(problem, start / scale)
        else:  # what was made then stands in the state
            smoothing, scale, condition = float(restored["smoothing"]), float(restored["scale"]), unknown
        evidence = Evidence.of(problem, scale)
        prior, doubts = chosen([replace(one, condition=condition) for one in found], job, restored)
        most = _OF_ANOTHER_KIND if doubts else 1.0
        doubts += misfits(prior, problem.projector.geometry)
        if doubts:
            job.note(warning="; ".join(doubts))
        self = cls(series, box, job, Walk(evidence, prior), smoothing, most)
        if restored is not None:
            self._take(restored)
        return self

    # ------------------------------------------------------------------------------------------------ run
    def run(self) -> None:
        """Make the samples that are left, step by step."""
        while self.sample < self.job.params.samples:
            if self.sample == 0 and self.index == 0:
                self._settled()
            p = self.job.params
            levels = schedule(p.steps, HIGHEST, LOWEST)
            walk = self.walk
            walk.step(p, levels, self.index, self._noise)
            if self.sample < 0 and self.index >= _SETTLED * len(levels):
                self._align()
            self.index += 1
            if self.index == len(levels):
                self._count()
            self._tick(len(levels))

    def _settled(self) -> None:
        """Refine what the network is shown, with the views where they have been found to be; say what it is worth."""
        p, prior = self.job.params, self.walk.prior
        if p.safeguard:
            self.trust = self._judged(prior)
        self.walk = refined(self.walk, p)

    def _judged(self, prior: Prior) -> float:
        p = self.job.params
        share = trust(
            self.walk.evidence.problem, self.smoothing, lambda within, start: improved(within, start, prior, p)
        )
        share = min(share, self.most)
        self.job.note(trust=round(share, 3))
        if share < _DOUBTED:
            said = self.job.notes.get("warning")
            doubt = (
                f"TV foresees unseen tilts better than the prior does and gets {1 - share:.2f} of the result: usual "
                "over a wide range of tilts, else the prior may not fit the specimen, or not at this voxel size"
            )
            self.job.note(warning=f"{said}; {doubt}" if said else doubt)
        return share

    def _noise(self, index: int) -> Tensor:
        return noise_of(self.walk.x, self.job.seed, self.sample + 1, index)

    def _align(self) -> None:
        evidence, turns = self.walk.evidence, self.job.params.align == "shifts-tilts"
        moved = realigned(evidence.problem, evidence.data, evidence.precision(), self.walk.estimate, turns)
        self.walk.evidence = replace(evidence, problem=moved)

    def _count(self) -> None:
        """Take the finished sample into mean and spread (B. Welford, Technometrics 4, 419, 1962)."""
        self.sample, self.index = self.sample + 1, 0
        if self.sample == 0:
            self._rehearsed()
            return
        off = self.walk.estimate - self.mean
        self.mean = self.mean + off / self.sample
        self.squares = self.squares + off * (self.walk.estimate - self.mean)

    def _rehearsed(self) -> None:
        """Start afresh from the geometry that was found."""
        walk, problem = self.walk, self.walk.evidence.problem
        self.steady = classical(problem, self.smoothing) / walk.evidence.scale
        walk.prior = replace(walk.prior, condition=condition_of(problem, self.steady))
        moved = problem.projector.geometry.shifts - self.given.shifts
        self.job.note(
            shifts_found=[[round(float(v), 3) for v in one] for one in moved],
            shifts_rms=round(float(np.sqrt((moved**2).mean())), 4),
        )

    def _tick(self, steps: int) -> None:
        p, evidence = self.job.params, self.walk.evidence
        extra = int(p.align != "off")
        done, total = (self.sample + extra) * steps + self.index, (p.samples + extra) * steps
        found = evidence.problem.r_factors(self.walk.left * evidence.scale)
        self.job.figures["r_per_tilt"] = found["r_per_tilt"]
        figures = {"r": found["r"]}
        free = evidence.problem.r_free(self.walk.estimate * evidence.scale)
        if free is not None:
            figures["r_free"] = free
        self.job.tick(done, total, self._preview, figures=figures, state=self._state)

    def _preview(self) -> Volume:
        return preview(self.walk.estimate * self.walk.evidence.scale, self.box, self.series)

    # ------------------------------------------------------------------------------------------------ state
    _OWN, _WALKS = ("steady", "mean", "squares"), ("x", "estimate", "left")

    def _state(self) -> dict[str, Any]:
        walk = self.walk
        geometry = walk.evidence.problem.projector.geometry
        arrays = {k: getattr(self, k) for k in self._OWN} | {k: getattr(walk, k) for k in self._WALKS}
        arrays |= {"factors": walk.evidence.factors, "shown": walk.prior.condition[0]}
        return {
            **{k: v.cpu().numpy() for k, v in arrays.items()}, "rotations": geometry.rotations,
            "shifts": geometry.shifts, "sample": self.sample, "index": self.index,
            "prior": walk.prior.name, "weight": walk.weight, "share": self.trust,
            "smoothing": self.smoothing, "scale": walk.evidence.scale, "most": self.most,
        }  # fmt: skip

    def _take(self, state: dict[str, Any]) -> None:
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(state[name])).to(self.job.device)

        walk = self.walk
        self.trust, self.most = float(state["share"]), float(state["most"])
        for name in self._OWN:
            setattr(self, name, tensor(name))
        for name in self._WALKS:
            setattr(walk, name, tensor(name))
        self.sample, self.index = int(state["sample"]), int(state["index"])
        walk.weight = float(state["weight"])
        geometry = type(self.given)(np.array(state["rotations"]), np.array(state["shifts"]))
        problem = at(walk.evidence.problem, geometry)
        walk.evidence = replace(walk.evidence, problem=problem, factors=tensor("factors"))
        walk.prior = replace(walk.prior, condition=condition_of(problem, tensor("shown")))

    # ------------------------------------------------------------------------------------------------ end
    def result(self) -> tuple[Volume, Volume]:
        """Return the volume with its spread, and the share of each voxel that is not in the data.

        The volume is the refined estimate, with TV's part: what is expected, which no sample is. It is a sample's
        current estimate as long as none is finished.
        """
        walk, evidence, p = self.walk, self.walk.evidence, self.job.params
        problem, scale = evidence.problem, evidence.scale
        best, std, share = walk.estimate, None, torch.ones_like(walk.estimate)
        with self.job.keeping_partial():
            if self.sample > 0:
                best, _ = walk.pull(walk.prior.condition[0], p.strength, p.pulls, LAST_ROUNDS)
                best = best + (1 - self.trust) * (self.steady - best)
            self.job.figures.update(problem.r_factors(problem.data - problem.forward(best * scale)))
            free = problem.r_free(best * scale)
            if free is not None:
                self.job.figures["r_free"] = free
            open_, share, overall = undecided(problem, evidence.precision(), best)
            self.job.figures["prior_share"] = overall
            if self.sample > 1:
                std = spread(scattered(self.squares, self.sample), best - self.steady, open_) * scale
        return self._volume(best * scale, std), self._volume(share)

    def _volume(self, data: Tensor, std: Tensor | None = None) -> Volume:
        def cut(values: Tensor) -> NDArray[np.float32]:
            return np.ascontiguousarray(self.box.crop(values).cpu().numpy())

        deviation = None if std is None else cut(std)
        return Volume(cut(data), self.series.pixel_size, std=deviation, provenance=self.series.provenance)
