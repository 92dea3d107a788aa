"""The real needle with tilts held out: HAADF, 77 tilts 2° apart, aligned as published, binned by 2, axis vertical.

A gap of g keeps every g-th tilt, so that kept ones lie 2g apart, and asks for the middles: truth is a measured tilt
with its own noise. The blur of *blurred* is chosen by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from _interpolate_predict import blurred, figures, linear, missing, ours, questions
from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    from interpolate import Bench

GAPS = (2, 4, 6, 8, 10, 12)
QUICK_GAPS = (2, 4, 8)
MOST = 12
BIN = 2


def needle_of(folder: Path) -> TiltSeries:
    """Return the aligned needle, its tilt axis along the rows' index, in units of its brightest pixel."""
    with np.load(folder / "nist_needle" / "aligned.npz") as file:
        images, angles, pixel = file["aligned"].astype(np.float32), file["angles"], float(file["pixel_size"])
    # The axis runs along the columns' index as published.
    n, rows, columns = images.shape
    images = images.reshape(n, rows // BIN, BIN, columns // BIN, BIN).mean(axis=(2, 4)).transpose(0, 2, 1)
    series = TiltSeries(images / images.max(), ViewGeometry.single_axis(angles), BIN * pixel)
    return series.sorted()


def needle(bench: Bench) -> None:
    """Print PSNR, SSIM and MSE by gap."""
    if not (bench.shared / "nist_needle").is_dir():
        print("the needle is not here: nothing to measure on")
        return
    whole = needle_of(bench.shared)
    print(f"\nthe needle, {whole.shape}, {whole.angles[0]:g} to {whole.angles[-1]:g}°: PSNR in dB, SSIM")
    for gap in QUICK_GAPS if bench.quick else GAPS:
        q = questions(whole, gap, MOST)
        if q is None:
            print(f"  gap {gap}°: too few tilts")
            continue
        found = {"linear": figures(linear(q), q.truth), "blurred": figures(blurred(q), q.truth)}
        for name, (method, options) in bench.methods.items():
            with missing(name):
                found[name] = figures(ours(q, method, options), q.truth)
        plain = found["linear"]["psnr"]
        print(f"  gap {gap}°, {len(q.sparse)} tilts kept, {len(q.angles)} asked for")
        for name, f in found.items():
            gains = 10 * np.log10(np.divide(found["linear"]["bands"], f["bands"]))
            print(f"    {name:12} {f['psnr']:6.2f} dB ({f['psnr'] - plain:+.2f})  {f['ssim']:.4f}  MSE {f['mse']:.2e}  "
                  f"bands {', '.join(f'{g:+.2f}' for g in gains)} dB", flush=True)  # fmt: skip
