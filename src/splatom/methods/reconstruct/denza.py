"""DenZa-Gaussian."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import GaussianCloud, TiltSeries, Volume, option
from splatom.methods.reconstruct._problem import ReconstructParams, choose_box, make_problem, prepared_series, preview

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.jobs.job import Job
    from splatom.methods.reconstruct._denza_lattice import LatticeFit
    from splatom.methods.reconstruct._denza_refine import Refinement
    from splatom.methods.reconstruct._problem import Box, Problem

_BYTES_PER_VOXEL = 64
_LOWEST = 2e-4  # of the matter's values: lighter Gaussians are pruned at the end
_SHOWN = 0.05  # of the same: lighter ones are left out of previews, or half of what is shown would be haze
_DOUBT = 0.3  # R above the noise's share from which on the angles are doubted


class DenzaParams(ReconstructParams):
    """A cloud of Gaussians with learnt scattering strengths: few tilts, sharp edges and gradual changes alike.

    The specimen is a sum of 3-D Gaussians whose strengths per volume ("denza") are learnt, with a gain γ for each view
    and a Fourier-amplitude term in the loss, after DenZa-Gaussian (Zhang, Li, Shao and Fu, arXiv 2604.04693). Of that
    paper only the abstract was at hand, so all that follows is our reading. Denza is mass per volume, mass being
    integrated intensity: the same in every view, so that the geometric part of γ is exactly 1. The rest of γ is a
    least-squares gain of each view with mean log γ = 0. The Gaussians sit on the voxels and overlap; their masses are
    found together, from coarse to fine, as a convex problem: squares weighted by the noise, the total variation of the
    voxelised cloud, and the amplitude term by majorisation. Width and smoothing are those that predict held-out tilts
    best, unless they are given.
    """

    method: Literal["denza"] = "denza"
    iterations: int = option(80, "Iterations", "Full passes over all tilts.", live=True, ge=1, le=10_000)
    weight: float | None = option(
        None, "Weight", "Strength of the smoothing, relative to the noise; by default what predicts unseen tilts best.",
        live=True, gt=0, le=1000,
    )  # fmt: skip
    width: float | None = option(
        None, "Width", "Standard deviation of the Gaussians: narrow for sharp edges, wide for gradual changes; by "
        "default what predicts unseen tilts best.", unit="pixels", ge=0.2, le=3.0,
    )  # fmt: skip
    denza: bool = option(
        True, "Learn denza", "Fit the strength of every Gaussian; else it stays as SIRT gives it.", advanced=True
    )
    gain: bool = option(True, "Learn gains", "Fit a gain γ to each view, for drifts of dose and detector.", live=True)
    refine: int = option(
        0, "Refine", "Further passes in which the Gaussians move, stretch, turn and split: smaller clouds follow edges "
        "better, at several times the cost of a pass.", ge=0, le=10_000, advanced=True,
    )  # fmt: skip
    fourier: float = option(
        0.2, "Fourier term", "Share of the Fourier-amplitude term in the loss.", live=True, ge=0, le=0.9
    )
    cloud: Path | None = option(None, "Cloud", "Write the Gaussians into this file (.npz).", advanced=True)


def run(series: TiltSeries, job: Job[DenzaParams]) -> Volume:
    """Reconstruct a volume from a series, and write the cloud where it is asked for."""
    target = job.params.cloud
    if target is not None and not target.absolute().parent.is_dir():
        raise ValueError(f"{target}: the folder {target.absolute().parent} does not exist")
    volume, cloud = fit(series, job)
    if target is not None:
        from splatom.io import write

        write(target, cloud)
    return volume


def fit(series: TiltSeries, job: Job[DenzaParams]) -> tuple[Volume, GaussianCloud]:
    """Fit a cloud to a series; returns the volume it makes, and the cloud itself."""
    from splatom.methods.reconstruct._denza_cloud import lattice_cloud
    from splatom.methods.reconstruct._denza_refine import Refinement
    from splatom.methods.reconstruct._memory import slabs

    params, restored = job.params, job.restore()
    if params.hold_out and not series.held_out.any():
        series = series.holding_out(params.hold_out, job.seed)
    kept = ~series.held_out & (series.weights > 0)
    if kept.sum() < 3:
        raise ValueError(f"{int(kept.sum())} tilts to fit; a cloud needs at least 3")
    if series.held_out.any():
        job.note(held_out=np.flatnonzero(series.held_out).tolist())
    if not series.projections[kept].any():
        raise ValueError("all projections are zero: there is nothing to fit")
    box = choose_box(series, params, job.note)
    series = prepared_series(series, box.film, params.subtract_background, job.note)
    if len(slabs(series, box, _BYTES_PER_VOXEL, 0, job)) > 1:
        raise MemoryError("a cloud is fitted whole and does not fit into the free memory: bin or crop the series")
    problem = make_problem(series, box, None, job)
    lattice, weight = _begun(series, box, problem, job, restored)
    lowest = _LOWEST * lattice.scale
    free: Refinement | None = None
    with job.keeping_partial():
        _masses(series, box, problem, lattice, weight, lowest, job)
        if params.refine:
            start = lattice_cloud(lattice.masses, lattice.blur.sigma, series.pixel_nm, lowest)
            held = restored if restored is not None and "free" in restored else None
            free = Refinement(lattice, start, series.pixel_nm, held)
            _refine(series, box, problem, lattice, free, weight, job)
    if free is None:
        kept_masses = lattice.masses.masked_fill(lattice.masses.abs() <= lowest, 0)
        cloud = lattice_cloud(kept_masses, lattice.blur.sigma, series.pixel_nm, 0.0)
        density = lattice.blur(kept_masses)
    else:
        cloud = free.cloud()
        density = free.still_density()
    _score(problem, lattice, density, job)
    job.figures["n_gaussians"] = len(cloud)
    data = box.crop(density).cpu().numpy()
    volume = Volume(np.ascontiguousarray(data), series.pixel_size, provenance=series.provenance)
    return volume, cloud.with_(provenance=series.provenance)


def _masses(
    series: TiltSeries, box: Box, problem: Problem, lattice: LatticeFit, weight: float, lowest: float,
    job: Job[DenzaParams],
) -> None:  # fmt: skip
    """Make the passes of the lattice fit: the masses of Gaussians that stay where they are."""
    from splatom.methods.reconstruct._denza_cloud import PREVIEW, Hand, lattice_cloud

    pixel, good = series.pixel_nm, lattice.masses
    hand = Hand(lattice, pixel)

    def show() -> dict[str, Any]:
        return {
            "cloud": lattice_cloud(lattice.masses, lattice.blur.sigma, pixel, _SHOWN * lattice.scale, PREVIEW),
            "volume": preview(lattice.density(), box, series),
        }

    def state() -> dict[str, Any]:
        return {**lattice.state(), "sigma": lattice.blur.sigma, "weight": weight}

    while lattice.steps < job.params.iterations:
        now = job.params
        if now.denza:
            residual = lattice.advance(now.weight or weight, now.fourier, now.gain)
        else:
            residual = lattice.keep_as_it_is(now.gain)
        loss = lattice.loss(residual)
        if not np.isfinite(loss):
            job.note(diverged=f"the fit diverged at pass {lattice.steps}; the state before it is kept")
            lattice.masses = good
            return
        good = lattice.masses
        figures = _figures(lattice.density, problem, residual, job)
        figures |= {"loss": loss, "n_gaussians": float((good.abs() > lowest).sum())}
        for edit in job.tick(lattice.steps, now.iterations + now.refine, show, figures=figures, state=state):
            hand.apply(edit)


def _refine(
    series: TiltSeries, box: Box, problem: Problem, lattice: LatticeFit, free: Refinement, weight: float,
    job: Job[DenzaParams],
) -> None:  # fmt: skip
    """Make the passes in which Gaussians move, stretch and turn."""
    from splatom.methods.reconstruct._denza_cloud import PREVIEW

    def show() -> dict[str, Any]:
        return {"cloud": free.cloud(PREVIEW), "volume": preview(free.still_density(), box, series)}

    def state() -> dict[str, Any]:
        return {**lattice.state(), **free.state(), "sigma": lattice.blur.sigma, "weight": weight}

    good = free.cloud()
    while free.steps < job.params.refine:
        now = job.params
        residual, loss = free.advance(now.weight or weight)
        if not np.isfinite(loss):
            job.note(diverged=f"the refinement diverged at pass {free.steps}; an earlier state is kept")
            free.take(good)
            return
        if free.steps % 10 == 0:
            good = free.cloud()
        figures = _figures(free.still_density, problem, residual, job)
        figures |= {"loss": lattice.loss(residual), "n_gaussians": float(free.count)}
        done, total = lattice.steps + free.steps, now.iterations + now.refine
        for edit in job.tick(done, total, show, figures=figures, state=state):
            free.apply(edit)


def _begun(
    series: TiltSeries, box: Box, problem: Problem, job: Job[DenzaParams], restored: dict[str, Any] | None
) -> tuple[LatticeFit, float]:
    """Return the fit at its first pass, or as the checkpoint left it, and the weight chosen."""
    from splatom.methods.reconstruct._denza_lattice import LatticeFit
    from splatom.methods.reconstruct._denza_refine import NARROWEST
    from splatom.methods.reconstruct._denza_start import chosen, coarse_start, sirt_start, typical

    params = job.params
    if restored is not None:
        lattice = LatticeFit(problem, float(restored["sigma"]), float(restored["scale"]), state=restored)
        return lattice, float(restored["weight"])
    if not params.denza:
        masses = sirt_start(problem)
        return LatticeFit(problem, params.width or 0.4, typical(masses), masses), params.weight or 1.0
    start = coarse_start(series, box, job)
    scale = typical(start) or float(problem.data.abs().max()) / box.solved[0]
    width, weight = chosen(series, box, job, scale, params.width, params.weight, params.fourier, params.gain)
    if params.refine:
        width = max(width, NARROWEST)
    return LatticeFit(problem, width, scale, start), weight


def _figures(
    density: Callable[[], Tensor], problem: Problem, residual: Tensor, job: Job[DenzaParams]
) -> dict[str, float]:
    found = problem.r_factors(residual)
    job.figures["r_per_tilt"] = found["r_per_tilt"]
    free = problem.r_free(density()) if problem.held_projector is not None else None
    return {"r": found["r"]} | ({} if free is None else {"r_free": free})


def _score(problem: Problem, lattice: LatticeFit, density: Tensor, job: Job[DenzaParams]) -> None:
    """Put the final figures into the report, and doubt the angles where the noise explains too little."""
    with job.keeping_partial():
        found = problem.r_factors(problem.data - lattice.gains * problem.forward(density))
        job.figures.update(found)
        free = problem.r_free(density)
        if free is not None:
            job.figures["r_free"] = free
        noise = 0.8 * float((lattice.variance.sqrt() * (problem.weights > 0)).sum() / problem.data.abs().sum())
        over = (found["r"] if free is None else free) - noise
        if over > _DOUBT:
            which = "R" if free is None else "R-free"
            job.note(
                warning=f"{which} is {over + noise:.2f}, of which the noise explains {noise:.2f}: more than {_DOUBT} "
                "is left, so the angles or the alignment may not fit the data"
            )
    if job.params.gain:
        job.note(gains=[round(float(g), 4) for g in lattice.gains.flatten()])
