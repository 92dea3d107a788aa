"""TEMDiff: a diffusion prior with the measured tilts enforced at every step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from splatom.data import TiltSeries, Volume, option
from splatom.methods.reconstruct._problem import ReconstructParams

if TYPE_CHECKING:
    from splatom.jobs.job import Job


class TemdiffParams(ReconstructParams):
    """TEMDiff: a learned prior fills in what a narrow range of tilts does not show.

    A 3-D network that was trained to take noise off volumes is asked for its clean estimate again and again while the
    noise falls; at every step the estimate is pulled to the measured tilts, min ‖W^½(A x − y)‖² + λ‖x − x̂₀‖², by
    conjugate gradients with our own projector, and noise of the next level is put on (DDIM). W is one over the variance
    of every pixel, re-estimated as it goes. Ours: before that, the network's estimate, pulled to the data, is shown to
    it again, up to five times where little was measured; this is the result, and the samples about it tell the spread.
    Total variation gets its share where it foresees tilts better that were kept aside. After
    TEMDiff (arXiv 2510.06516), of which only the abstract was at hand: this is our reading, from published parts: T.
    Karras et al. (2022), J. Song et al. (DDIM, 2021), J. Liu et al. (DOLCE, 2023), H. Chung et al. (DDS, 2024). **What
    the tilts do not show, the prior invents**: look at the spread, and at what another prior makes of it.
    """

    method: Literal["temdiff"] = "temdiff"
    prior: Literal["auto", "biological", "materials"] = option(
        "auto", "Prior", "What the specimen is like; auto takes the one that agrees better with the measured tilts."
    )
    steps: int = option(20, "Steps", "Evaluations of the network for each sample.", ge=1, le=1000)
    samples: int = option(
        3, "Samples", "What else the volume may be; their disagreement enters the spread, one gives none.", ge=1, le=64
    )
    strength: float = option(
        1.0, "Strength", "Weight of the prior against the data; near 0 the data decide alone.", live=True, ge=0, le=100
    )
    align: Literal["off", "shifts", "shifts-tilts"] = option(
        "shifts", "Align", "Find small errors of the views in a first sample: shifts, or angles as well."
    )
    robust: bool = option(
        True, "Robust", "Believe tilts and pixels less that no estimate can explain; else by their noise alone.",
        advanced=True,
    )  # fmt: skip
    safeguard: bool = option(
        True, "Safeguard", "Foresee the outermost tilts by the prior and by TV, and give each its share of the result.",
    )  # fmt: skip
    pulls: int = option(
        4, "Data steps", "Conjugate-gradient iterations towards the data after each evaluation.", ge=0, le=100,
        advanced=True,
    )  # fmt: skip
    variant: Literal["auto", "full", "small"] = option(
        "auto", "Network", "auto is the full one where its weights ship; the small one suits a laptop's CPU.",
        advanced=True,
    )  # fmt: skip
    noise: float = option(
        0.5, "Fresh noise", "Share of new noise in each step: 0 follows one path, 1 forgets the way it came.",
        ge=0, le=1, advanced=True,
    )  # fmt: skip
    patch: int = option(
        64, "Patch", "The network sees patches of about this size, which are blended.", unit="voxels", ge=16, le=1024,
        advanced=True,
    )  # fmt: skip
    overlap: int = option(
        16, "Overlap", "What neighbouring patches share at least.", unit="voxels", ge=0, le=256, advanced=True
    )
    non_negative: bool | None = option(
        None, "Non-negative", "Clip negative voxels after each step; by default as the contrast allows.", advanced=True
    )
    weights: Path | None = option(None, "Own weights", "A .safetensors file of 'splatom train temdiff'.", advanced=True)
    std: Path | None = option(None, "Spread", "Write the spread into this file as a volume of its own.", advanced=True)
    decided: Path | None = option(
        None, "Decided by the prior", "Write a volume, 0 to 1: the share of each voxel that the prior decided.",
        advanced=True,
    )  # fmt: skip


def run(series: TiltSeries, job: Job[TemdiffParams]) -> Volume:
    """Reconstruct a volume from a series; its ``std`` is the spread."""
    from splatom.io import write

    for target in (job.params.std, job.params.decided):
        if target is not None and not target.absolute().parent.is_dir():
            raise ValueError(f"{target}: the folder {target.absolute().parent} does not exist")
    volume, decided = fit(series, job)
    if job.stopped_at is None:  # of a run that was stopped the shares are not known
        job.attach("decided by the prior", decided, "share of each voxel that the prior decided", highest=1.0)
    if job.params.decided is not None:
        write(job.params.decided, decided)
    if job.params.std is not None:
        if volume.std is None:
            job.note(no_spread=f"{job.params.std} is not written: a spread takes two finished samples")
        else:
            write(job.params.std, volume.with_(data=volume.std, std=None))
    return volume


def fit(series: TiltSeries, job: Job[TemdiffParams]) -> tuple[Volume, Volume]:
    """Reconstruct; returns the volume with its spread, and the share of each voxel that the prior decided."""
    from splatom.methods.reconstruct._memory import slabs
    from splatom.methods.reconstruct._problem import choose_box, make_problem, prepared_series
    from splatom.methods.reconstruct._temdiff_loop import Sampler
    from splatom.methods.reconstruct._temdiff_plan import BYTES_PER_VOXEL

    params, restored = job.params, job.restore()
    if params.hold_out and not series.held_out.any():
        series = series.holding_out(params.hold_out, job.seed)
    if series.held_out.any():
        job.note(held_out=np.flatnonzero(series.held_out).tolist())
    box = choose_box(series, params, job.note)
    series = prepared_series(series, box.film, params.subtract_background, job.note)
    if not series.projections.any():
        raise ValueError("all projections are zero: there is nothing to reconstruct")
    if len(slabs(series, box, BYTES_PER_VOXEL, 0, job)) > 1:
        needed = BYTES_PER_VOXEL * int(np.prod(box.solved)) / 2**30
        raise MemoryError(
            f"this run needs {needed:.1f} GiB of memory, which are not free, and a prior cannot be run slab by slab: "
            "bin or crop the series, or take a smaller depth"
        )
    problem = make_problem(series, box, params.non_negative, job)
    sampler = Sampler.begun(series, box, problem, job, restored)
    with job.keeping_partial():
        sampler.run()
    return sampler.result()
