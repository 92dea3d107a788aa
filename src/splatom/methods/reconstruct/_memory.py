"""Memory and time of a reconstruction, planned before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import MethodParams, TiltSeries

if TYPE_CHECKING:
    from splatom.jobs.job import Job
    from splatom.methods.reconstruct._problem import Box

__all__ = ["Plan", "Slab", "duration", "estimate", "slabs"]

_SHARE = 0.7  # of the free memory that a run may take


@dataclass(frozen=True)
class Slab:
    """Rows of the series that are reconstructed together.

    Parameters
    ----------
    rows : slice
        Rows of the result.
    padded : slice
        Rows read: with the overlap.
    """

    rows: slice
    padded: slice

    @property
    def inner(self) -> slice:
        """The result's rows within the padded ones."""
        return slice(self.rows.start - self.padded.start, self.rows.stop - self.padded.start)

    def cut(self, series: TiltSeries) -> TiltSeries:
        """Return the slab's series; its centre is its own, single-axis tilts do not mix rows."""
        part = series.projections[:, self.padded]
        mask = None if series.mask is None else series.mask[:, self.padded]
        return series.with_(projections=part, mask=mask)


def free_memory(device: str) -> int:
    """Free memory in bytes of the computer, or of the GPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)


def slabs(series: TiltSeries, box: Box, bytes_per_voxel: int, overlap: int, job: Job[Any]) -> list[Slab]:
    """Split the rows so that each slab fits into the free memory.

    Raises
    ------
    MemoryError
        If one slab of 8 rows does not fit, or the geometry mixes rows and all of them do not; says what is
        needed and what there is.
    """
    n, rows, columns = series.shape
    z, y, x = box.solved
    per_row = z * x * bytes_per_voxel + n * columns * 16
    result = int(np.prod(box.result)) * 4
    free = free_memory(job.device)
    usable = int(_SHARE * free)
    whole = per_row * y + result
    if whole <= usable:
        return [Slab(slice(0, rows), slice(0, rows))]
    room = usable if job.device.startswith("cuda") else usable - result
    height = int(room // per_row) - 2 * overlap
    mixes = not series.geometry.is_single_axis or bool((series.geometry.shifts[:, 1] != 0).any())
    if mixes or height < 8:
        why = "tilts that mix rows cannot be split" if mixes else "even 8 rows do not fit"
        raise MemoryError(
            f"this run needs {whole / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free ({why}): "
            "bin or crop the series, or take a smaller depth"
        )
    count = -(-rows // height)
    height = -(-rows // count)
    job.note(slabs=count, slab_rows=height)
    return [
        Slab(
            slice(start, min(start + height, rows)),
            slice(max(0, start - overlap), min(start + height + overlap, rows)),
        )
        for start in range(0, rows, height)
    ]


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Parameters
    ----------
    seconds : float
    bytes : int
        Highest memory.
    slabs : int
    text : str
        The same in words.
    """

    seconds: float
    bytes: int
    slabs: int
    text: str


_NETWORK = 1.5e-6  # seconds per voxel of an evaluation of TEMDiff's small prior on two CPU cores
_BYTES = {"sirt": 20, "cgls": 20, "tv": 44, "wbp": 12, "denza": 64, "temdiff": 88}


def estimate(series: TiltSeries, name: str, params: MethodParams, device: str = "cpu") -> Plan:
    """Estimate time and memory of a reconstruction by timing one pass over a few rows.

    Raises
    ------
    MemoryError
        If it cannot fit.
    """
    import torch

    from splatom.jobs.job import Job
    from splatom.methods.reconstruct._problem import Box, choose_box
    from splatom.operators import VoxelProjector

    job: Job[Any] = Job(params, device=device)
    box = choose_box(series, params, job.note)  # type: ignore[arg-type]
    per_voxel = _BYTES.get(name, 24)
    pieces = slabs(series, box, per_voxel, 4 if name == "tv" else 0, job)
    n, rows, columns = series.shape
    single = series.geometry.is_single_axis
    # A few rows stand for all: rows for the slice-wise projector, columns of planes for the general one.
    some = min(rows, 16) if single else max(2, min(rows, 200_000_000 // (n * columns * box.solved[0] or 1)))
    thin = Box((box.solved[0], some if single else box.solved[1], box.solved[2]), box.result)
    geometry = series.geometry.with_shifts(series.geometry.shifts * [1, 0]) if single else series.geometry
    projector = VoxelProjector(geometry, thin.solved, (some, columns), device)
    x, y = torch.zeros(projector.domain_shape, device=device), torch.zeros(projector.range_shape, device=device)
    projector.forward(x[:, :, :])  # compiles
    projector.adjoint(y)
    began = time.perf_counter()
    projector.forward(x)
    projector.adjoint(y)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    per_pass = (time.perf_counter() - began) * rows / some * {"tv": 1.6, "wbp": 1.0, "denza": 3.0}.get(name, 1.15)
    passes = int(getattr(params, "iterations", 1)) + 1
    if name == "temdiff":
        from splatom.methods.reconstruct._temdiff_plan import work

        evaluations, passes = work(params, series.geometry)
    height = max(p.padded.stop - p.padded.start for p in pieces)
    used = height * (box.solved[0] * box.solved[2] * per_voxel + n * columns * 16) + int(np.prod(box.result)) * 4
    seconds = per_pass * passes
    if name == "temdiff" and not device.startswith("cuda"):
        seconds += evaluations * int(np.prod(box.solved)) * _NETWORK
    text = f"about {duration(seconds)}, {max(used / 2**30, 0.1):.1f} GiB of memory"
    if len(pieces) > 1:
        text += f", in {len(pieces)} slabs"
    return Plan(seconds, used, len(pieces), text)


def duration(seconds: float) -> str:
    """Say a time in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
