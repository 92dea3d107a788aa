"""The loop around every iterative reconstruction: slabs, ticks, figures, checkpoints, the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries, Volume
from splatom.methods.reconstruct._problem import Box, Problem, choose_box, make_problem, prepared_series, preview

if TYPE_CHECKING:
    from torch import Tensor

    from splatom.jobs.job import Job

__all__ = ["Pass", "reconstruct"]


@dataclass(frozen=True, eq=False)
class Pass:
    """What a method hands over after each pass.

    Parameters
    ----------
    volume : Tensor (z, y, x)
        The estimate now.
    residual : Tensor (n, rows, columns)
        y − A x of some estimate of this pass, for R.
    state : dict
        All other arrays and numbers that the next pass needs.
    figures : dict
        Further figures, such as the loss.
    """

    volume: Tensor
    residual: Tensor
    state: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


Iterate = Callable[[Problem, "Job[Any]", int], Iterator[Pass]]


def reconstruct(series: TiltSeries, job: Job[Any], iterate: Iterate, bytes_per_voxel: int, overlap: int = 0) -> Volume:
    """Run an iterative method over a series.

    Parameters
    ----------
    series : TiltSeries
    job : Job
    iterate : callable
        ``iterate(problem, job, done)`` yields a :class:`Pass` after each pass; ``done`` passes were made before.
    bytes_per_voxel : int
        Memory the method holds per voxel while it runs.
    overlap : int
        Rows that neighbouring slabs share, for methods that couple slices.
    """
    from splatom.methods.reconstruct._memory import slabs

    params = job.params
    restored = job.restore()
    if params.hold_out and not series.held_out.any():
        series = series.holding_out(params.hold_out, job.seed)
    if series.held_out.any():
        job.note(held_out=np.flatnonzero(series.held_out).tolist())
    if params.stop_when == "r-free-rises" and not series.held_out.any():
        raise ValueError("'r-free-rises' needs held-out tilts: set a share to hold out, for example 0.1")
    box = choose_box(series, params, job.note)
    series = prepared_series(series, box.film, params.subtract_background, job.note)
    pieces = slabs(series, box, bytes_per_voxel, overlap, job)
    first, done = (0, job.step) if restored is None else (int(restored.get("slab", 0)), job.step)
    if len(pieces) == 1:
        problem = make_problem(series, box, params.non_negative, job, restored)
        volume = _solve(problem, series, box, job, iterate, done, 0, params.iterations)
        return _result(box.crop(volume).cpu().numpy(), series)

    output = np.zeros(box.result, np.float32) if restored is None else np.array(restored.pop("output"))
    total = params.iterations * len(pieces)
    for number, piece in enumerate(pieces):
        if number < first:
            continue
        part = piece.cut(series)
        small = Box((box.solved[0], part.shape[1], box.solved[2]), (box.result[0], part.shape[1], box.result[2]))
        resumed = restored if number == first else None
        problem = make_problem(part, small, params.non_negative, job, resumed)
        before = done - number * params.iterations if resumed is not None else 0
        stop = _Stream(output, piece, small, number)
        volume = _solve(problem, series, small, job, iterate, before, number * params.iterations, total, stop)
        output[:, piece.rows] = small.crop(volume)[:, piece.inner].cpu().numpy()
        if job.stopped_at is not None:
            break
    return _result(output, series)


@dataclass(frozen=True)
class _Stream:
    """Where a slab's estimate goes in the whole, for previews and checkpoints."""

    output: np.ndarray[Any, Any]
    piece: Any
    box: Box
    number: int

    def show(self, volume: Tensor) -> Volume:
        """Return the whole volume so far, small, with this slab's estimate in it."""
        factor = -(-max(self.output.shape) // 256)
        self.output[:, self.piece.rows] = self.box.crop(volume)[:, self.piece.inner].cpu().numpy()
        return Volume(np.ascontiguousarray(self.output[::factor, ::factor, ::factor]), None)


def _result(data: np.ndarray[Any, Any], series: TiltSeries) -> Volume:
    return Volume(np.ascontiguousarray(data), series.pixel_size, provenance=series.provenance)


def _solve(
    problem: Problem,
    series: TiltSeries,
    box: Box,
    job: Job[Any],
    iterate: Iterate,
    done: int,
    offset: int,
    total: int,
    stream: _Stream | None = None,
) -> Tensor:
    """Run the passes of one slab; ``offset`` passes belong to slabs before it."""
    volume = problem.zeros()
    r_history: list[float] = []
    free_history: list[float] = []
    with job.keeping_partial():
        for step, now in enumerate(iterate(problem, job, done), start=done + 1):
            volume = now.volume
            figures: dict[str, Any] = {**now.figures, "r": (fit := problem.r_factors(now.residual))["r"]}
            job.figures["r_per_tilt"] = fit["r_per_tilt"]
            r_history.append(fit["r"])
            free = problem.r_free(volume)
            if free is not None:
                figures["r_free"] = free
                free_history.append(free)
            many = total if stream is not None else job.params.iterations
            state_now, volume_now = now.state, volume

            def show(volume: Tensor = volume_now) -> Volume:
                small = preview(volume, box, series) if stream is None else stream.show(volume)
                if stream is not None and series.pixel_size:
                    scale = max(stream.output.shape) / max(small.shape)
                    small = small.with_(voxel_size=series.pixel_nm * scale)
                return small

            def state(volume: Tensor = volume_now, extra: Mapping[str, Any] = state_now) -> dict[str, Any]:
                out = {"x": volume.cpu().numpy(), **{k: _plain(v) for k, v in extra.items()}}
                if stream is not None:
                    out.update(slab=stream.number, output=stream.output)
                return out

            job.tick(offset + step, many, show, figures=figures, state=state)
            if _enough(job.params.stop_when, r_history, free_history):
                job.note(stopped_because=job.params.stop_when, passes=step)
                break
        final = problem.r_factors(problem.data - problem.forward(volume))
        job.figures.update(final)
        free = problem.r_free(volume)
        if free is not None:
            job.figures["r_free"] = free
    return volume


def _plain(value: Any) -> Any:
    return value.cpu().numpy() if hasattr(value, "cpu") else value


def _enough(rule: str, r: list[float], free: list[float]) -> bool:
    if rule == "r-stalls":
        return len(r) > 10 and r[-1] > 0.995 * r[-11]
    if rule == "r-free-rises":
        return len(free) > 5 and all(a < b for a, b in zip(free[-6:], free[-5:], strict=False))
    return False
