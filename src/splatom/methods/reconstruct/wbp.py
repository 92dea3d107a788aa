"""Weighted back-projection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import TiltSeries, Volume, option
from splatom.methods.reconstruct._problem import ReconstructParams

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.geometry import ViewGeometry
    from splatom.jobs.job import Job


class WbpParams(ReconstructParams):
    """Weighted back-projection: one pass, linear, the quickest look.

    Every tilt is filtered by |k| across its tilt axis, weighted by the range of angles it stands for, and smeared back
    along the beam. Source: G. Ramachandran and A. Lakshminarayanan, PNAS 68, 2236 (1971); M. Radermacher in Electron
    Tomography (2006).
    """

    method: Literal["wbp"] = "wbp"
    filter: Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"] = option(
        "shepp-logan", "Filter", "How high frequencies are damped: ramp not at all, hann the most."
    )
    density: bool = option(
        True, "Tilt-density weighting", "Weight each tilt by its distance to its neighbours; else all alike."
    )
    non_negative: bool = option(False, "Non-negative", "Clip negative voxels.")


def run(series: TiltSeries, job: Job[WbpParams]) -> Volume:
    """Reconstruct a volume from a series."""
    import torch

    from splatom.methods.reconstruct._problem import choose_box, make_problem, prepared_series, preview
    from splatom.operators.backproject import backproject

    params = job.params
    if params.hold_out and not series.held_out.any():
        series = series.holding_out(params.hold_out, job.seed)
    box = choose_box(series, params, job.note)
    series = prepared_series(series, box.film, params.subtract_background, job.note)
    problem = make_problem(series, box, False, job)
    geometry = problem.projector.geometry
    weights = problem.weights.amax(dim=(1, 2)).cpu().numpy()
    shares = angle_shares(geometry, weights) if params.density else np.pi * weights / weights.sum()
    data = problem.data * (problem.weights > 0)
    filtered = filter_projections(data, geometry, params.filter)
    filtered *= torch.from_numpy(shares.astype(np.float32)).to(filtered.device)[:, None, None]
    volume = problem.zeros()
    total = -(-len(geometry) // 8)
    with job.keeping_partial():
        for step, start in enumerate(range(0, len(geometry), 8), start=1):
            views = slice(start, start + 8)
            backproject(filtered[views], geometry[views], volume, job.check)
            job.tick(step, total, lambda: preview(volume, box, series))
        job.figures.update(problem.r_factors(problem.data - problem.forward(volume)))
        free = problem.r_free(volume)
        if free is not None:
            job.figures["r_free"] = free
    data = box.crop(volume)
    if params.non_negative:
        data = data.clamp(min=0)
    return Volume(data.cpu().numpy(), series.pixel_size, provenance=series.provenance)


def angle_shares(geometry: ViewGeometry, weights: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Return the range of angles in radians that each tilt stands for, (n,): its part of the way to either neighbour.

    Two neighbours share the way between them by their weights, as do repeats their range; by halves where they weigh
    alike. The first and the last tilt stand for as much outside as inside.
    """
    angles = geometry.tilt_degrees
    weights = np.ones(len(angles)) if weights is None else np.asarray(weights, dtype=np.float64)
    different, group = np.unique(np.round(angles, 6), return_inverse=True)
    total = np.bincount(group, weights)
    within = weights / total[group]
    if len(different) == 1:
        return np.pi * within
    lower = np.diff(different) * total[:-1] / (total[:-1] + total[1:])  # what the lower one of two has of their way
    upper = np.diff(different) - lower
    share = np.concatenate([lower[:1], upper]) + np.concatenate([lower, upper[-1:]])
    # Together the tilts stand for no more than the half turn that there is.
    share *= min(1.0, 180.0 / share.sum())
    out: NDArray[np.float64] = np.deg2rad(share)[group] * within
    return out


def filter_projections(data: Tensor, geometry: ViewGeometry, name: str) -> Tensor:
    """Filter projections (n, rows, columns) by |k| across the tilt axis and a window.

    The ramp is the transform of its band-limited kernel (A. Kak and M. Slaney, 1988, eq. 3.61), which keeps the mean
    right, where the axis is vertical; for other axes it is |k · normal|.
    """
    import torch

    n, rows, columns = data.shape
    width = 2 ** int(np.ceil(np.log2(2 * columns)))
    axis = np.deg2rad(geometry.axis_degrees)
    if abs(axis) < 1e-9:
        kernel = np.zeros(width)
        odd = np.arange(1, width // 2 + 1, 2)
        kernel[0] = 0.25
        kernel[odd] = kernel[-odd] = -1 / (np.pi * odd) ** 2
        ramp = 2 * np.fft.rfft(kernel).real[None, :] / 2
        height, across = rows, np.fft.rfftfreq(width)[None, :]
    else:
        height = 2 ** int(np.ceil(np.log2(2 * rows)))
        across = np.fft.rfftfreq(width)[None, :] * np.cos(axis) + np.fft.fftfreq(height)[:, None] * np.sin(axis)
        ramp = np.abs(across)
    transfer = torch.from_numpy((ramp * _window(name, np.abs(across))).astype(np.float32)).to(data.device)
    out = torch.empty_like(data)
    for view in range(n):  # one at a time: padded spectra of all would be several times the data
        if height == rows:
            spectrum = torch.fft.rfft(data[view], n=width)
            out[view] = torch.fft.irfft(spectrum * transfer, n=width)[:, :columns]
        else:
            spectrum = torch.fft.rfft2(data[view], s=(height, width))
            out[view] = torch.fft.irfft2(spectrum * transfer, s=(height, width))[:rows, :columns]
    return out


def _window(name: str, k: NDArray[Any]) -> NDArray[Any]:
    """Window at frequencies k in cycles per pixel (Nyquist 0.5)."""
    windows: dict[str, NDArray[Any]] = {
        "ramp": np.ones_like(k),
        "shepp-logan": np.sinc(k),
        "cosine": np.cos(np.pi * k),
        "hamming": 0.54 + 0.46 * np.cos(2 * np.pi * k),
        "hann": 0.5 + 0.5 * np.cos(2 * np.pi * k),
    }
    return windows[name]
