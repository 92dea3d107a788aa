"""How a lattice fit begins: from a fit of half the resolution, with width and smoothing chosen by held-out tilts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import TiltSeries
from splatom.methods.reconstruct._denza_lattice import LatticeFit
from splatom.methods.reconstruct._problem import Box, Problem, make_problem

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.jobs.job import Job

__all__ = ["WEIGHT", "WIDTH", "chosen", "coarse_start", "sirt_start", "typical"]

WIDTHS, WEIGHTS = (0.3, 0.6, 0.9, 1.3), (0.4, 0.7, 1.0, 1.7, 3.0)
WIDTH, WEIGHT = 0.4, 1.0  # where there are too few tilts to hold any out
_TRIAL_PASSES, _TRIAL_ROWS = 40, 32
_BETTER = 2e-4  # a wider or smoother fit has to lower the held-out misfit by more than this share


def typical(density: Tensor) -> float:
    """Return the size of the values of matter: the ninth decile of what is above a tenth of the highest."""
    values = density.flatten()[:: max(1, density.numel() // 2_000_000)]
    top = float(values.max())
    inside = values[values > 0.1 * top]
    return float(torch.quantile(inside[:1_000_000], 0.9)) if top > 0 else 0.0


def _guess(problem: Problem) -> float:
    """Size of the values before anything is known: the brightest pixel over a third of the depth."""
    return float(problem.data.max()) / (0.3 * problem.projector.volume_shape[0])


def coarse_start(series: TiltSeries, box: Box, job: Job[Any], passes: int = 40) -> Tensor:
    """Return masses (z, y, x) on the full lattice from a fit with voxels twice as wide."""
    n, rows, columns = series.shape
    small = max(3, rows // 2), max(3, columns // 2)
    if rows < 16 or columns < 16:
        return torch.zeros(box.solved, device=job.device)
    # In blocks of tilts: all of a large series in torch would be a second copy.
    half = np.concatenate([_area(series.projections[i : i + 8], small) for i in range(0, n, 8)])
    mask = None if series.mask is None else _area(series.mask.astype(np.float32), small) > 0.999
    coarse = series.with_(
        projections=half, mask=mask, geometry=series.geometry.scaled(small[1] / columns),
        pixel_size=None if series.pixel_size is None else series.pixel_nm * columns / small[1],
    )  # fmt: skip
    solved: Any = tuple(max(2, round(s * small[1] / columns)) for s in box.solved)
    solved = (solved[0], max(solved[1], small[0]), max(solved[2], small[1]))
    problem = make_problem(coarse, Box(solved, solved), None, job)
    fit = LatticeFit(problem, WIDTH, _guess(problem))
    for _ in range(passes):
        fit.advance(WEIGHT, 0.0, False)
        job.check()
    up = torch.nn.functional.interpolate(fit.density()[None, None], box.solved, mode="trilinear")[0, 0]
    return up * (small[1] / columns)  # a finer voxel holds less path


def _area(images: Any, shape: tuple[int, int]) -> Any:
    tensor = torch.from_numpy(np.array(images, dtype=np.float32))
    return torch.nn.functional.interpolate(tensor[:, None], shape, mode="area")[:, 0].numpy()


def sirt_start(problem: Problem, passes: int = 40) -> Tensor:
    """Return masses (z, y, x) after some passes of SIRT."""
    rows, columns = problem.normalisers()
    x = problem.zeros()
    for _ in range(passes):
        residual = problem.data - problem.forward(x)
        x += columns * problem.adjoint(residual.mul_(rows))
        if problem.non_negative:
            x.clamp_(min=0)
    return x


def chosen(
    series: TiltSeries, box: Box, job: Job[Any], scale: float, width: float | None, weight: float | None,
    fourier: float, gains: bool,
) -> tuple[float, float]:  # fmt: skip
    """Return width (voxels) and weight of the smoothing: those given, or those that predict unseen tilts best.

    Every fifth tilt is held out of trial fits on the rows with the most contrast, first over the widths, then over the
    weights. Where rows cannot be cut out (tilts about several axes) or tilts are fewer than nine, defaults are taken.
    """
    if width is not None and weight is not None:
        return width, weight
    used = np.flatnonzero(~series.held_out & (series.weights > 0))
    if not series.geometry.is_single_axis or len(used) < 9:
        return width or WIDTH, weight or WEIGHT
    held = np.zeros(len(series), dtype=bool)
    held[used[2::5]] = True
    keep = np.isin(np.arange(len(series)), used)
    # Rows that a shift along the axis may bring in from outside the part are not looked at.
    margin = int(np.ceil(np.abs(series.geometry.shifts[used, 1]).max()))
    high = min(_TRIAL_ROWS + 2 * margin, series.shape[1])
    contrast = series.projections[used].std(axis=2).mean(axis=0)
    first = int(np.convolve(contrast, np.ones(high), mode="valid").argmax())
    rows = slice(first, first + high)
    mask = None if series.mask is None else np.array(series.mask[keep][:, rows])
    if margin and high > 3 * margin:
        mask = np.ones((int(keep.sum()), high, series.shape[2]), bool) if mask is None else mask
        mask[:, :margin] = mask[:, -margin:] = False
    part = series.with_(
        projections=series.projections[keep][:, rows],
        geometry=series.geometry[keep],
        weights=series.weights[keep],
        mask=mask,
        held_out=held[keep],
        synthetic=series.synthetic[keep],
        exposure=None if series.exposure is None else series.exposure[keep],
        order=None,
    )
    small = Box((box.solved[0], high, box.solved[2]), (box.solved[0], high, box.solved[2]))
    problem = make_problem(part, small, None, job)
    trials: dict[str, float] = {}

    def misfit(one_width: float, one_weight: float) -> float:
        fit = LatticeFit(problem, one_width, scale)
        for _ in range(_TRIAL_PASSES):
            fit.advance(one_weight, fourier, gains)
            job.check()
        found = fit.misfit(fit.density())
        trials[f"width {one_width:g}, weight {one_weight:g}"] = round(found or 0.0, 5)
        return found or 0.0

    if width is None:
        width = _best([(w, misfit(w, weight or WEIGHT)) for w in WIDTHS])
    if weight is None:
        weight = _best([(w, misfit(width, w)) for w in WEIGHTS])
    job.note(width_pixels=width, smoothing=weight, held_out_misfit=trials)
    return width, weight


def _best(found: list[tuple[float, float]]) -> float:
    best = found[0]
    for one in found[1:]:
        if one[1] < best[1] * (1 - _BETTER):
            best = one
    return best[0]
