"""Figures of the alignment, against published ones and against shifts that are known.

    python benchmarks/alignment.py [FOLDER OF THE REAL DATA]

Shifts are known up to a cos θ + b sin θ across the tilt axis and a constant along it, which only moves the specimen;
no more is taken out. A constant across the axis is an error of the axis and is also shown by itself.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import splatom
from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.jobs import Job
from splatom.methods import execute, get
from splatom.methods.prepare._images import turn_shifts
from splatom.methods.prepare._mass import orbit
from splatom.simulate.specimens import chiral_ellipsoids


def noted(name: str, series: TiltSeries, **params: object) -> tuple[TiltSeries, dict[str, object], float]:
    job = Job(get("prepare", name).params(**params))
    began = time.perf_counter()
    out = execute("prepare", name, series, job)
    return out, job.notes, time.perf_counter() - began


def errors(off: np.ndarray, angles: np.ndarray) -> str:
    plain, offset = orbit(angles), orbit(angles, constant=True)
    across = off[:, 0] - plain @ np.linalg.lstsq(plain, off[:, 0], rcond=None)[0]
    fit = np.linalg.lstsq(offset, off[:, 0], rcond=None)[0]
    rest = off[:, 0] - offset @ fit
    return (
        f"across {np.sqrt((across**2).mean()):.3f} px RMS ({np.sqrt((rest**2).mean()):.3f} beside a constant of "
        f"{fit[2]:+.2f} px), along {off[:, 1].std():.3f} px RMS"
    )


def needle(data: Path) -> None:
    series = splatom.read(data / "nist_needle" / "HAADF.mrc")
    published = -np.load(data / "nist_needle" / "aligned.npz")["shifts"]  # (row, column): across, along the axis
    out, notes, seconds = noted("align", series)
    print(f"needle, raw to published shifts: {errors(out.geometry.shifts[:, ::-1] - published, series.angles)}")
    print(f"  axis at {out.geometry.axis_degrees:.1f}° (90: along the columns), {notes['specimen']}, {seconds:.0f} s")
    _, notes, _ = noted("rotate", series)
    print(f"  rotate proposes {notes['turned_degrees']}° on its own (axis found at {notes['axis_found_degrees']}°)")


def cryo(data: Path) -> None:
    held = np.load(data / "cryo" / "cryoet_empiar10499_ts_bin2.npz")
    geometry = ViewGeometry.single_axis(held["angles_deg"])
    series = TiltSeries(held["stack"].astype(np.float32), geometry, 2.0, contrast="bf")
    published = splatom.run("prepare", "xf", series, path=data / "cryo" / "00254.xf", binning=2.0)
    out, notes, seconds = noted("tilt-axis", series, offset=False)
    print(
        f"cryo, axis: {out.geometry.axis_degrees:.2f}° (published {published.geometry.axis_degrees:.2f}°), "
        f"{notes['beads']} beads, {notes['bead_rms_px']} px RMS, {seconds:.0f} s; "
        f"common line alone {notes['common_line_degrees']}°"
    )
    aligned, _, _ = noted("align", out, kind="fiducials")
    off = turn_shifts(aligned.geometry.shifts - published.geometry.shifts, -out.geometry.axis_degrees)
    print(f"cryo, shifts to the published ones: {errors(off, series.angles)}")


def porous_film(data: Path) -> None:
    held = np.load(data / "ncem_idp_haadf_eds.npz")
    geometry = ViewGeometry.single_axis(held["angles_deg"])
    series = TiltSeries(held["haadf"].astype(np.float32), geometry, float(held["pixel_nm"]))
    _, notes, seconds = noted("align", series)
    print(f"ncem_idp (no truth): R of starts {notes['r_of_starts']}, refined {notes.get('r_after')}, {seconds:.0f} s")


def simulated() -> None:
    angles = np.arange(-66.0, 67.0, 6.0)
    true = np.random.default_rng(0).normal(0, 4, (len(angles), 2))
    images = chiral_ellipsoids(62.0).project(ViewGeometry.single_axis(angles, shifts=true), (96, 96), 1.0, 2)
    images += np.random.default_rng(1).normal(0, 0.03 * images.max(), images.shape)
    series = TiltSeries(images.astype(np.float32), ViewGeometry.single_axis(angles))
    for kind in ("auto", "cross-correlation", "centre-of-mass", "common-line", "reprojection"):
        out, _, seconds = noted("align", series, kind=kind)
        figures = errors(out.geometry.shifts - true, angles)
        print(f"simulated particle, shifts of 4 px, {kind}: {figures}, {seconds:.1f} s")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1].parent / "shared" / "data"
    simulated()
    if folder.is_dir():
        needle(folder)
        cryo(folder)
        porous_film(folder)
    else:
        print(f"the real series are left out: {folder} is missing")
