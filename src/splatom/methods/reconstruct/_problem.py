"""What every reconstruction shares: the box, the data, held-out tilts, and how good the fit is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, Volume, option

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.jobs.job import Job
    from splatom.operators import VoxelProjector

__all__ = ["Box", "Problem", "ReconstructParams", "choose_box", "is_film", "make_problem", "prepared_series"]

_FILM_EDGE = 0.12  # edges of the field brighter than this share of the brightest column: matter goes on outside


class ReconstructParams(MethodParams):
    """Options that every reconstruction has."""

    hold_out: float = option(
        0.0, "Hold out", "Share of the tilts kept aside to score the result (R-free); they are not fitted.",
        ge=0.0, le=0.5,
    )  # fmt: skip
    specimen: Literal["auto", "isolated", "film"] = option(
        "auto", "Specimen", "A film goes on outside the field: it is reconstructed in a wider box.", advanced=True
    )
    thickness: float | None = option(
        None, "Film thickness", "Thickness of a film; estimated where not given.", unit="nm", gt=0, advanced=True
    )
    depth: int | None = option(
        None, "Depth", "Planes of the volume along the beam; by default as many as columns.", unit="voxels", ge=1,
        le=16384, advanced=True,
    )  # fmt: skip
    subtract_background: bool | None = option(
        None, "Subtract background",
        "Set the empty surroundings to zero; by default where an ADF image's offset is more than 5 % of its contrast.",
        advanced=True,
    )  # fmt: skip


class IterativeParams(ReconstructParams):
    """Options of the reconstructions that fit the data step by step."""

    stop_when: Literal["done", "r-stalls", "r-free-rises"] = option(
        "done", "Stop when",
        "done: after all passes. r-stalls: when R fell by less than 0.5 % over ten passes. r-free-rises: when the "
        "error of the held-out tilts has risen for five passes (needs held-out tilts).",
    )  # fmt: skip


@dataclass(frozen=True)
class Box:
    """The grid that is solved for, and the part of it that is the result.

    Parameters
    ----------
    solved : tuple
        (z, y, x) voxels of the grid; wider than the field for a film.
    result : tuple
        (z, y, x) voxels of the volume handed back; both are centred on the origin.
    film : bool
        Whether matter goes on outside the field.
    """

    solved: tuple[int, int, int]
    result: tuple[int, int, int]
    film: bool = False

    def crop(self, volume: Tensor) -> Tensor:
        """Cut (or pad with zeros) a solved volume to the result's shape about the common centre."""
        import torch

        if self.solved == self.result:
            return volume
        pad: list[int] = []
        for have, want in zip(self.solved[::-1], self.result[::-1], strict=True):
            before = (want - have) // 2
            pad += [before, want - have - before]
        return torch.nn.functional.pad(volume, pad)


def _same_parity(size: int, like: int) -> int:
    """Round a size up so that it has the parity of another: their centres then coincide on the grid."""
    return size + (size - like) % 2


def edge_level(series: TiltSeries) -> float:
    """Return the brightness at the field's brighter side edge as a share of the brightest column's, 0 to about 1.

    The median over the tilts. The background is the first percentile of slightly smoothed images.
    """
    smooth = _smoothed(_weighed(series))
    profile = smooth.mean(axis=1, dtype=np.float64) - np.percentile(smooth[:, ::4, ::4], 1)
    band = max(1, series.shape[2] // 32)
    edges = np.maximum(profile[:, :band].mean(axis=1), profile[:, -band:].mean(axis=1))
    return float(np.median(edges / np.maximum(profile.max(axis=1), 1e-30)))


def is_film(series: TiltSeries, level: float | None = None) -> bool:
    """Return whether matter goes on at the side edges of the field; their brightness may be given."""
    return series.contrast != "phase" and (edge_level(series) if level is None else level) > _FILM_EDGE


def estimate_thickness(series: TiltSeries) -> float:
    """Estimate a film's thickness in nm from a coarse reconstruction: the range in z that holds its contrast.

    Ours: 15 SIRT passes on a copy binned to about 64 pixels; the planes whose standard deviation passes half of the
    highest, counted, times 1.3.
    """
    import torch

    from splatom.operators import VoxelProjector

    factor = max(1, series.shape[2] // 64)
    n, h, w = (s // k for s, k in zip(series.shape, (1, factor, factor), strict=True))
    cut = torch.from_numpy(np.array(series.projections[:, : h * factor, : w * factor]))
    data = torch.nn.functional.avg_pool2d(cut[:, None], factor)[:, 0]
    data = data - data.mean(dim=(1, 2), keepdim=True)
    wide = _same_parity(int(2 * w), w)
    projector = VoxelProjector(series.geometry.scaled(1 / factor), (w, h, wide), (h, w))
    rows = 1 / projector.forward(torch.ones(projector.domain_shape)).clamp_min(1e-3)
    columns = 1 / projector.adjoint(torch.ones(n, h, w)).clamp_min(1e-3)
    x = torch.zeros(projector.domain_shape)
    for _ in range(15):
        x += columns * projector.adjoint(rows * (data - projector.forward(x)))
    start = (wide - w) // 2
    spread = x[:, :, start : start + w].std(dim=(1, 2))
    planes = int((spread > 0.5 * spread.max()).sum())
    return float(1.3 * max(planes, 2) * factor * series.pixel_nm)


def choose_box(series: TiltSeries, params: ReconstructParams, note: Callable[..., None]) -> Box:
    """Choose the grid: the field itself for an isolated specimen, a wider and thinner one for a film.

    A film of thickness t tilted to θ brings matter into the field of width W from a range of
    (W + t sin θ) / cos θ.
    """
    _, rows, columns = series.shape
    result = (params.depth or columns, rows, columns)
    kind = params.specimen
    if kind == "auto":
        level = edge_level(series)
        kind = "film" if is_film(series, level) else "isolated"
        note(specimen=kind, edge_level=round(level, 3))
    if kind == "isolated":
        return Box(result, result)
    thickness = params.thickness or min(estimate_thickness(series), columns * series.pixel_nm)
    planes = max(2, round(thickness / series.pixel_nm))
    steepest = np.deg2rad(min(float(np.abs(series.angles).max()), 80.0))
    wide = int(np.ceil((columns + planes * np.sin(steepest)) / np.cos(steepest)))
    wide = _same_parity(min(wide, 6 * columns), columns)
    high = rows
    if not series.geometry.is_single_axis:
        lean = np.abs(series.geometry.rotations[:, 1, :]).max(axis=0)  # how far image rows lean out of y
        high = _same_parity(rows + int(np.ceil(lean[2] * planes + lean[0] * (wide - columns) / 2)), rows)
    deep = _same_parity(int(np.ceil(1.2 * planes)), result[0])
    note(thickness_nm=round(thickness, 4), box_voxels=[deep, high, wide])
    return Box((deep, high, wide), result, film=True)


def prepared_series(series: TiltSeries, film: bool, subtract: bool | None, note: Callable[..., None]) -> TiltSeries:
    """Return a series whose projections grow with the matter traversed, from zero where there is none.

    Bright field falls with thickness, so the logarithm of the empty beam over the image is taken (Beer's law), the
    empty beam of a tilt being its 98th percentile. An ADF detector's offset (raw 16-bit files have one of tens of
    thousands) would be reconstructed as matter: where the empty surroundings of an isolated specimen are off zero by
    more than 5 % of the contrast, or where a film is negative, the background is subtracted. Phase contrast is taken
    as it is.
    """
    if series.contrast == "phase":
        return series
    if series.contrast == "bf":
        empty = np.maximum(np.percentile(series.projections, 98, axis=(1, 2), keepdims=True), 1e-20)
        note(bright_field="the logarithm of empty beam over image is reconstructed")
        data = np.log(empty / np.maximum(series.projections, 0.01 * empty))
        return series.with_(projections=data.astype(np.float32), contrast="adf")
    smooth = _smoothed(_weighed(series))[:, ::4, ::4]
    background, bright = np.percentile(smooth, [1, 99.5])
    limit = 0.05 * (bright - background)
    if subtract is None:
        subtract = bool(background < -limit or (background > limit and not film))
    if subtract:
        note(background_subtracted=float(f"{background:.5g}"))
        return series.with_(projections=series.projections - np.float32(background))
    return series


def _weighed(series: TiltSeries) -> TiltSeries:
    """Return the tilts of a weight above zero: the others decide nothing."""
    used = series.weights > 0
    return series if used.all() or not used.any() else series[used]


def _smoothed(series: TiltSeries) -> NDArray[np.float32]:
    """Average over 5 × 5 pixels, so that noise is not taken for matter."""
    from scipy.ndimage import uniform_filter

    images = series.projections
    if series.mask is not None:  # what was not measured counts as empty
        images = np.where(series.mask, images, np.percentile(images[series.mask][::7], 1)).astype(np.float32)
    out: NDArray[np.float32] = uniform_filter(images, (0, 5, 5), mode="nearest")
    return out


@dataclass(eq=False)
class Problem:
    """Weighted least squares of one slab: find x with A x ≈ y.

    Parameters
    ----------
    projector : VoxelProjector
        Of the fitted tilts.
    data : Tensor (n, rows, columns)
    weights : Tensor (n, 1, 1) or (n, rows, columns)
        Weight of every pixel, 1 for the mean measured tilt; zero where it was not measured.
    held_projector, held_data, held_mask
        The same of the held-out tilts, None where there are none.
    non_negative : bool
    check : callable
        To be called inside long passes.
    restored : dict, optional
        State of a checkpoint to go on from.
    measured : array (n,) of bool, optional
        Tilts that are not synthetic; all by default.
    """

    projector: VoxelProjector
    data: Tensor
    weights: Tensor
    held_projector: VoxelProjector | None
    held_data: Tensor | None
    held_mask: Tensor | None
    non_negative: bool
    check: Callable[[], None]
    restored: dict[str, Any] | None = None
    measured: NDArray[np.bool_] | None = None

    @property
    def measured_data(self) -> Tensor:
        """Data of the measured tilts: noise is judged by these alone. All, where none was measured."""
        if self.measured is None or self.measured.all() or not self.measured.any():
            return self.data
        import torch

        return self.data[torch.from_numpy(np.flatnonzero(self.measured)).to(self.data.device)]

    def forward(self, volume: Tensor, out: Tensor | None = None) -> Tensor:
        """Return A x, checking for a stop."""
        return self.projector.forward(volume, self.check, out)

    def adjoint(self, projections: Tensor, out: Tensor | None = None) -> Tensor:
        """Return Aᵀ y, checking for a stop."""
        return self.projector.adjoint(projections, self.check, out)

    def zeros(self) -> Tensor:
        """Return an empty volume."""
        return self.data.new_zeros(self.projector.domain_shape)

    def start(self, name: str, default: Callable[[], Tensor]) -> Tensor:
        """Return an array of the checkpoint, or the default where there is none."""
        import torch

        if self.restored is None:
            return default()
        return torch.from_numpy(np.array(self.restored[name])).to(self.data.device)

    def one_slice(self) -> Problem:
        """Return the problem of a single slice, if all slices are alike; else this problem."""
        from dataclasses import replace

        g = self.projector.geometry
        if not (g.is_single_axis and (g.shifts[:, 1] == 0).all() and self.weights.shape[1:] == (1, 1)):
            return self
        z, y, x = self.projector.volume_shape
        if y != self.projector.detector_shape[0]:
            return self
        thin = replace(self.projector, volume_shape=(z, 1, x), detector_shape=(1, self.projector.detector_shape[1]))
        return replace(self, projector=thin, data=self.data[:, :1])

    def normalisers(self) -> tuple[Tensor, Tensor]:
        """Return SIRT's scalings: weight over ray length (n, rows, columns), and one over weighted voxel sum (z, y, x).

        Either may have one row for all where the slices are alike.
        """
        import torch

        thin = self.one_slice()
        lengths = thin.forward(torch.ones_like(thin.zeros()))
        # Rays that only graze the grid's corner would be multiplied by almost infinity.
        rows = torch.where(lengths > 1e-3, 1 / lengths.clamp_min(1e-3), 0.0) * self.weights
        sums = thin.adjoint((self.weights + torch.zeros_like(thin.data)).contiguous())
        columns = torch.where(sums > 1e-3, 1 / sums.clamp_min(1e-3), 0.0)
        return rows, columns

    @cached_property
    def _measured(self) -> Tensor | None:
        """Ones where a pixel was measured, None where all were."""
        measured = self.weights > 0
        return None if bool(measured.all()) else measured.to(self.data.dtype)

    def _summed(self, projections: Tensor) -> Tensor:
        """Return Σ|values| over the measured pixels of each tilt, (n,)."""
        if self._measured is None:
            return _absolute_sum(projections)
        return _absolute_sum(projections * self._measured)

    @cached_property
    def _sizes(self) -> Tensor:
        return self._summed(self.data).clamp_min(1e-30)

    def r_factors(self, residual: Tensor) -> dict[str, Any]:
        """Return R of the fitted tilts from the residual y − A x: Σ|y − A x| / Σ|y|, in all and per tilt."""
        off = self._summed(residual)
        per_tilt = (off / self._sizes).tolist()
        return {"r": float(off.sum() / self._sizes.sum()), "r_per_tilt": [round(v, 6) for v in per_tilt]}

    def r_free(self, volume: Tensor) -> float | None:
        """Return R of the held-out tilts; only a gain per tilt is fitted to them. None where no tilt is held out."""
        if self.held_projector is None or self.held_data is None:
            return None
        predicted = self.held_projector.forward(volume, self.check)
        mask = 1.0 if self.held_mask is None else self.held_mask
        cross = (predicted * self.held_data * mask).sum(dim=(1, 2), keepdim=True)
        gain = cross / (predicted * predicted * mask).sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)
        off = ((gain * predicted - self.held_data).abs() * mask).sum()
        return float(off / (self.held_data.abs() * mask).sum().clamp_min(1e-30))


def _absolute_sum(projections: Tensor) -> Tensor:
    """Return Σ|values| of each tilt, (n,), without a copy of their absolute values."""
    import torch

    out: Tensor = torch.linalg.vector_norm(projections, ord=1, dim=(1, 2))
    return out


def make_problem(
    series: TiltSeries, box: Box, non_negative: bool | None, job: Job[Any], restored: dict[str, Any] | None = None
) -> Problem:
    """Set up the problem of a series (or of one slab of it) in a box."""
    import torch

    from splatom.operators import VoxelProjector

    kept = ~series.held_out & (series.weights > 0)
    if kept.sum() < 1:
        raise ValueError("no tilt is left to reconstruct from: all are held out or have weight zero")
    data = series.projections

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(job.device)

    def projector(views: NDArray[np.bool_]) -> VoxelProjector:
        return VoxelProjector(series.geometry[views], box.solved, series.shape[1:], job.device)

    # Interpolated tilts add little that is new: they leave the weight of the measured ones, against a prior, as it is.
    measured = ~series.synthetic[kept]
    unit = series.weights[kept][measured if measured.any() else np.s_[:]].mean()
    weights = tensor(series.weights[kept] / unit)[:, None, None]
    if series.mask is not None:
        weights = weights * tensor(series.mask[kept])
    held = series.held_out
    some = bool(held.any())
    positive = series.contrast == "adf" if non_negative is None else non_negative
    return Problem(
        projector(kept),
        tensor(data[kept]),
        weights,
        projector(held) if some else None,
        tensor(data[held]) if some else None,
        tensor(series.mask[held]) if some and series.mask is not None else None,
        positive,
        job.check,
        restored,
        measured,
    )


def preview(volume: Tensor, box: Box, series: TiltSeries, limit: int = 256) -> Volume:
    """Return a small copy of a running result, at most ``limit`` voxels along any axis."""
    import torch

    result = box.crop(volume.detach())
    factor = -(-max(result.shape) // limit)
    if factor > 1:
        pool = torch.nn.functional.avg_pool3d
        result = pool(result[None, None], factor, ceil_mode=True, count_include_pad=False)[0, 0]
    data = result.cpu().numpy()
    return Volume(
        data.copy() if np.shares_memory(data, volume.cpu().numpy()) else data,
        series.pixel_nm * factor if series.pixel_size else None,
    )
