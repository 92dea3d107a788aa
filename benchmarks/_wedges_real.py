"""Real series cut to a narrow range, and judged by the measured tilts beyond it, which alone can test the wedge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import splatom
from _interpolate_needle import needle_of
from splatom.data import TiltSeries, Volume
from splatom.evaluate import psnr, reprojection_report
from splatom.geometry import ViewGeometry
from splatom.jobs import Job
from splatom.operators import VoxelProjector

__all__ = ["SERIES", "beyond"]

TV = (0.15, 0.6, 2.4)
PASSES = 300
Made = Callable[..., tuple[Volume, Job[Any], float]]


def _binned(series: TiltSeries, by: int) -> TiltSeries:
    return series if by == 1 else splatom.run("prepare", "bin", series, factor=by)


def _needle(shared: Path, by: int) -> TiltSeries:
    return _binned(needle_of(shared), 2 * by)


def _emat(shared: Path, by: int) -> TiltSeries:
    """Read six gold particles in liquid: repeats merged, aligned, empty surroundings at zero."""
    series = splatom.run("prepare", "merge", splatom.read(shared / "emat_n6_liquid_haadf.mat"))
    series = _binned(series, 4 * by)
    series = splatom.run("prepare", "align", series)
    level = np.median(series.projections, axis=(1, 2), keepdims=True)
    return series.with_(projections=(series.projections - level).astype(np.float32))


def _cryo(shared: Path, by: int) -> TiltSeries:
    """Read a cell in ice, bright field, as published aligned; matter bright, the ground of each tilt at zero."""
    held = np.load(shared / "cryo" / "cryoet_empiar10499_ts_bin2.npz")
    geometry = ViewGeometry.single_axis(held["angles_deg"])
    series = TiltSeries(held["stack"].astype(np.float32), geometry, 2.0, contrast="bf")
    series = splatom.run("prepare", "xf", series, path=shared / "cryo" / "00254.xf", binning=2.0)
    series = splatom.run("prepare", "bake", _binned(series, 4 * by))
    images = series.projections / np.median(series.projections, axis=(1, 2), keepdims=True)
    images = np.clip(1 - images, -0.5, 0.5).astype(np.float32)
    return TiltSeries(images, ViewGeometry.single_axis(series.angles), series.pixel_nm, contrast="adf")


SERIES: dict[str, tuple[Callable[[Path, int], TiltSeries], float]] = {
    "needle": (_needle, 20.0), "emat": (_emat, 20.0), "cryo": (_cryo, 30.0),
}  # fmt: skip


def beyond(name: str, shared: Path, by: int, made: Made, priors: dict[str, dict[str, Any]]) -> None:
    """Print R of the tilts within the range and beyond it, and how like each volume is to TV of all tilts.

    Parameters
    ----------
    name : str
        Of :data:`SERIES`.
    shared : Path
        Folder of the data.
    by : int
        Binning.
    made : callable
        Runs a method.
    priors : dict
        Options of temdiff by what is printed for them.
    """
    read, half = SERIES[name]
    whole = read(shared, by)
    inside = np.abs(whole.angles) <= half + 1e-6
    cut, outer = whole[inside], whole.with_(held_out=~inside)
    reference, _, _ = made("tv", whole, iterations=100)
    project = VoxelProjector(whole.geometry, reference.shape, whole.shape[1:])

    def judged(volume: Volume) -> dict[str, float]:
        import torch

        report = reprojection_report(outer, project.forward(torch.from_numpy(np.array(volume.data))).numpy())
        assert report.r is not None and report.r_outside is not None
        like = psnr(volume.data, reference.data, fit=True)
        return {"r": report.r, "beyond": report.r_outside, "like": like}

    print(f"{name}, {cut.shape} within ±{half:g}°: R, R beyond, PSNR to TV of all {len(whole)} tilts", flush=True)
    found = {"sirt": judged(made("sirt", cut, iterations=30, momentum=True)[0])}
    tried = [judged(made("tv", cut, weight=w, iterations=PASSES)[0]) for w in TV]
    found["tv"] = min(tried, key=lambda f: f["beyond"])
    for prior, options in priors.items():
        volume, job, seconds = made("temdiff", cut, **options)
        found[f"temdiff, {prior}"] = judged(volume)
        print(f"  {prior}: trust {job.notes.get('trust')}, prior share {job.figures['prior_share']:.2f}, "
              f"{seconds:.0f} s, {job.notes.get('warning', 'no warning')}", flush=True)  # fmt: skip
    found["tv, all"] = judged(reference)
    for method, f in found.items():
        print(f"  {method:22} {f['r']:.4f}  {f['beyond']:.4f}  {f['like']:.2f} dB", flush=True)
