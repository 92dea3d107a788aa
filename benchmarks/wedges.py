"""Narrow ranges of tilt: `reconstruct temdiff` against classical methods tuned by the truth.

    python benchmarks/wedges.py [PART ...] [--quick] [--size N] [--cache FOLDER] [--biological FILE] [--materials FILE]
                                [--kind KIND] [--ranges DEGREES ...] [--jitter PX ...]

PART is among: simulated (volumes that no prior has seen, ±4° to ±60°, with and without misalignment, the right prior
and the wrong one, spread), needle, emat, cryo (real series cut to a range and scored on the tilts beyond), calibration
(the constants that depend on the weights, from specimens of training's kind); all but the last by default. The FILEs
are weights in place of those that ship. TV is run over a grid of weights, and its best is taken, which no user could
know. Slice-wise 2-D diffusion, to which the paper compares, is not here: no weights of any can be had.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from _wedges_calibration import calibration
from _wedges_real import SERIES, beyond
from _wedges_specimens import SPECIMENS, made
from splatom.data import TiltSeries, Volume
from splatom.evaluate import fsc, psnr, rmse, ssim
from splatom.jobs import Job
from splatom.methods import execute, get

RANGES = ((4.0, 1.0), (5.0, 1.0), (10.0, 1.0), (30.0, 2.0), (60.0, 2.0))
QUICK_RANGES = ((5.0, 1.0), (10.0, 2.0), (60.0, 4.0))
TV = tuple(0.15 * 2**k for k in range(6))
TV_PASSES = 300  # a narrow wedge fills slowly, and against a TV that is not done any prior looks good
WRONG = {"biological": "materials", "materials": "biological"}
INSIDE = 0.05  # of the highest density: voxels above it are the specimen's, and judge the spread
FIXED = {"specimen": "isolated", "subtract_background": False}


@dataclass(frozen=True)
class Bench:
    """What is asked for."""

    cache: Path
    shared: Path
    quick: bool
    size: int
    weights: dict[str, Path | None]
    options: dict[str, Any]
    kinds: tuple[str, ...] = tuple(SPECIMENS)
    ranges: tuple[float, ...] = ()
    jitter: tuple[float, ...] = (0.0, 0.5)


def made_by(method: str, series: TiltSeries, **options: Any) -> tuple[Volume, Job[Any], float]:
    """Run a method and time it."""
    job = Job(get("reconstruct", method).params(**{**FIXED, **options}))
    began = time.perf_counter()
    return execute("reconstruct", method, series, job), job, time.perf_counter() - began


def scores(volume: Volume, truth: Volume) -> dict[str, float]:
    """RMSE, PSNR, SSIM, and the length in voxels at which the Fourier shell correlation falls below one half."""
    a, b = volume.data, truth.data
    length = fsc(a, b).resolution(0.5)
    return {"rmse": rmse(a, b), "psnr": psnr(a, b), "ssim": ssim(a, b), "fsc": length or float("nan")}


def classical(series: TiltSeries, truth: Volume, known: Path) -> dict[str, dict[str, float]]:
    """Figures of WBP, SIRT and TV, the last two at the setting that the truth likes best."""
    if known.exists():
        found: dict[str, dict[str, float]] = json.loads(known.read_text())
        return found
    out = {"wbp": scores(made_by("wbp", series, non_negative=True)[0], truth)}
    tried = [scores(made_by("sirt", series, iterations=n, momentum=True)[0], truth) for n in (10, 30, 100)]
    out["sirt"] = max(tried, key=lambda s: s["psnr"])
    tried = [scores(made_by("tv", series, weight=w, iterations=TV_PASSES)[0], truth) | {"weight": w} for w in TV]
    out["tv"] = max(tried, key=lambda s: s["psnr"])
    known.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(out))
    return out


def ours(series: TiltSeries, truth: Volume, bench: Bench, prior: str, **options: Any) -> dict[str, float]:
    """Figures of temdiff, how much of the specimen its spread covers, and whether it warned."""
    path = bench.weights[prior]
    given = {"prior": prior} if path is None else {"weights": path}
    volume, job, seconds = made_by("temdiff", series, **given, **bench.options, **options)
    out = scores(volume, truth) | {"seconds": seconds, "r": job.figures["r"], "prior share": job.figures["prior_share"]}
    if volume.std is not None:
        inside = truth.data > INSIDE * truth.data.max()
        out["covered"] = float((np.abs(volume.data - truth.data) <= 2 * volume.std)[inside].mean())
    return out | {"trust": job.notes.get("trust", 1.0), "warned": float("warning" in job.notes)}


def simulated(bench: Bench) -> None:
    """Print a table for each kind and range: PSNR by specimen, then the means of everything."""
    for kind in bench.kinds:
        named = SPECIMENS[kind]
        names = list(named)[:2] if bench.quick else list(named)
        for half, step in QUICK_RANGES if bench.quick else RANGES:
            if bench.ranges and half not in bench.ranges:
                continue
            for jitter in bench.jitter:
                rows: dict[str, list[dict[str, float]]] = {}
                for name in names:
                    series, truth = made(kind, name, bench.size, half, step, jitter, 1)
                    mark = f"{kind}-{name}-{bench.size}-{half:g}-{step:g}-{jitter:g}"
                    found = classical(series, truth, bench.cache / "wedges" / f"{mark}.json")
                    found["temdiff"] = ours(series, truth, bench, kind)
                    found["wrong prior"] = ours(series, truth, bench, WRONG[kind])
                    if jitter:
                        found["not aligning"] = ours(series, truth, bench, kind, align="off")
                    for key, value in found.items():
                        rows.setdefault(key, []).append(value)
                    told = ", ".join(f"{k} {v['psnr']:.2f}" for k, v in found.items())
                    print(f"    {name}: {told}", flush=True)
                _table(f"{kind}, ±{half:g}° in {step:g}°, misaligned by {jitter:g} px", rows)


def _table(title: str, rows: dict[str, list[dict[str, float]]]) -> None:
    best = max(np.mean([f["psnr"] for f in rows[name]]) for name in ("wbp", "sirt", "tv"))
    print(f"  {title}: PSNR (against the best classical), SSIM, RMSE, FSC ½ in voxels")
    for name, figures in rows.items():
        mean = {k: float(np.mean([f[k] for f in figures])) for k in figures[0]}
        told = ("covered", "trust", "prior share", "r", "seconds", "warned", "weight")
        more = "".join(f"  {k} {mean[k]:.3g}" for k in told if k in mean)
        print(f"    {name:12} {mean['psnr']:6.2f} dB ({mean['psnr'] - best:+.2f})  {mean['ssim']:.3f}  "
              f"{mean['rmse']:.3g}  {mean['fsc']:.1f}{more}", flush=True)  # fmt: skip


def real(name: str, bench: Bench) -> None:
    """Print how well a real series foresees its tilts beyond the range that is used."""
    if not bench.shared.is_dir():
        print(f"{name}: the data are not here, nothing to measure on")
        return
    priors = {k: {**({"prior": k} if path is None else {"weights": path}), **bench.options}
              for k, path in sorted(bench.weights.items(), reverse=True)}  # fmt: skip
    beyond(name, bench.shared, 2 if bench.quick else 1, made_by, priors)


def main() -> None:
    """Run the parts that are asked for."""
    parts = {
        "simulated": simulated, **{name: partial(real, name) for name in SERIES},
        "calibration": lambda bench: calibration(bench.weights, bench.kinds, 1 if bench.quick else 3),
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--quick", action="store_true", help="fewer specimens and ranges, smaller volumes")
    parser.add_argument("--size", type=int, help="voxels a side of the simulated volumes")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "splatom-benchmarks")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--biological", type=Path, help="weights")
    parser.add_argument("--materials", type=Path, help="weights")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kind", choices=tuple(SPECIMENS), action="append", help="of specimen; both by default")
    parser.add_argument("--ranges", type=float, nargs="*", default=[], help="half ranges in degrees, of those known")
    parser.add_argument("--jitter", type=float, nargs="*", default=[0.0, 0.5], help="misalignment in pixels")
    args = parser.parse_args()
    unknown = set(args.parts) - set(parts)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    bench = Bench(
        args.cache, args.shared, args.quick, args.size or (48 if args.quick else 64),
        {"biological": args.biological, "materials": args.materials},
        {"samples": args.samples, "steps": args.steps}, tuple(args.kind or SPECIMENS), tuple(args.ranges),
        tuple(args.jitter),
    )  # fmt: skip
    for part in args.parts or ("simulated", *SERIES):
        parts[part](bench)


if __name__ == "__main__":
    main()
