"""`reconstruct denza` against WBP, SIRT, CGLS and TV: volumes at 45 and 15 tilts, its ablation, the real needle.

    python benchmarks/denza.py [volumes|ablation|geometric|needle ...] [--size 64] [--seed 7] [--data FOLDER]

Specimens, none made of Gaussians, are in `_specimens.py`; images are exact strip integrals of a grid twice as fine,
with 200 electrons where the series is brightest. Every method is tuned by the same rule, which does not see the truth:
every fifth tilt is held out, the setting with the lowest R-free is taken, and the volume is then made from all tilts.
`denza` does that by itself.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

import splatom
from _specimens import CONSTANT, SPECIMENS, made
from splatom.data import TiltSeries, Volume
from splatom.evaluate import psnr
from splatom.jobs import Job
from splatom.methods import execute, get

TV_WEIGHTS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5)
FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")
CLASSICAL = ("wbp", "sirt", "cgls")


def run(name: str, series: TiltSeries, **params: Any) -> tuple[Volume, Job[Any], float]:
    job: Job[Any] = Job(get("reconstruct", name).params(**params))
    began = time.perf_counter()
    volume = execute("reconstruct", name, series, job)
    return volume, job, time.perf_counter() - began


def tuned(name: str, series: TiltSeries, **fixed: Any) -> dict[str, Any]:
    """Return the setting with the lowest R-free."""
    held = np.zeros(len(series), bool)
    held[2::5] = True
    part = series.with_(held_out=held)
    if name in ("sirt", "cgls"):
        _, job, _ = run(name, part, iterations=150 if name == "sirt" else 40, **fixed)
        curve = job.curves["r_free"]
        return {"iterations": min(curve, key=lambda p: p[1])[0]}
    grid = [{"filter": f} for f in FILTERS] if name == "wbp" else [{"weight": w} for w in TV_WEIGHTS]
    found = [(run(name, part, **g, **fixed)[1].figures["r_free"], i) for i, g in enumerate(grid)]
    return grid[min(found)[1]]


def volumes(size: int, seed: int) -> None:
    """Print PSNR of every specimen and method."""
    for views in (45, 15):
        print(f"\n{views} tilts, {size}³, PSNR in dB; in brackets the setting found")
        print("| specimen | WBP | SIRT | CGLS | TV | TV, 600 passes | denza | over the first three | over TV |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name in SPECIMENS:
            series, truth = made(name, size, views, seed)
            row, got = [], {}
            for method in (*CLASSICAL, "tv"):
                best = tuned(method, series, specimen="isolated")
                got[method] = psnr(run(method, series, specimen="isolated", **best)[0].data, truth.data)
                row.append(f"{got[method]:.2f} ({next(iter(best.values()))})")
            long = psnr(run("tv", series, specimen="isolated", iterations=600, **best)[0].data, truth.data)
            volume, job, _ = run("denza", series, specimen="isolated")
            ours = psnr(volume.data, truth.data)
            chosen = f"{job.notes['width_pixels']:g}, {job.notes['smoothing']:g}"
            lead, over_tv = ours - max(got[m] for m in CLASSICAL), ours - max(got["tv"], long)
            kind = "constant" if name in CONSTANT else "graded"
            print(f"| {name} ({kind}) | {' | '.join(row)} | {long:.2f} | **{ours:.2f}** ({chosen}) | {lead:+.2f} | "
                  f"{over_tv:+.2f} |", flush=True)  # fmt: skip


ABLATION: dict[str, dict[str, Any]] = {
    "as it is": {},
    "denza not learnt (strengths by SIRT)": {"denza": False},
    "without gains γ": {"gain": False},
    "without the Fourier term": {"fourier": 0.0},
    "more of the Fourier term (0.5)": {"fourier": 0.5},
    "without smoothing": {"weight": 0.01},
    "all Gaussians wide (0.9 pixels)": {"width": 0.9},
}
STRETCHED: dict[str, dict[str, Any]] = {
    "wide, then 40 passes in which they stretch and turn": {"width": 0.9, "refine": 40},
    "as it is, then 40 such passes": {"refine": 40},
}


def ablation(size: int, seed: int) -> None:
    """Print PSNR without each component, where the intensity of the tilts drifts by 5 %."""
    names = ("pores", "core-shell", "gradient", "soft")
    for views in (45, 15):
        print(f"\nAblation, {views} tilts, {size}³, gains drift by 5 %; PSNR in dB")
        print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for label, params in (ABLATION | STRETCHED if views == 15 else ABLATION).items():
            row = []
            for name in names:
                series, truth = made(name, size, views, seed, gain_drift=0.05)
                row.append(psnr(run("denza", series, specimen="isolated", **params)[0].data, truth.data))
            print(f"| {label} | {' | '.join(f'{p:.2f}' for p in row)} |", flush=True)


def geometric(seed: int) -> None:
    """Print what the geometric factor is worth."""
    from _geometric_factor import compare

    print("\nFlattened Gaussians (0.6 : 1.2 : 2 pixels), 15 tilts, 48³, no noise: PSNR in dB and R")
    print("| | by integrated mass | by peak amplitude |\n|---|---|---|")
    for name in ("pores", "radial"):
        a, b, c, d = compare(name, 48, 15, seed)
        print(f"| {name} | {a:.2f}, {b:.4f} | {c:.2f}, {d:.4f} |", flush=True)


def needle(data: Path) -> None:
    """Print R of held-out tilts of the real needle."""
    series = splatom.run("prepare", "bin", splatom.read(data / "nist_needle" / "HAADF.mrc"), factor=4)
    for step in ("rotate", "align", "tilt-axis", "rotate"):
        series = splatom.run("prepare", step, series)
    held = np.zeros(len(series), bool)
    held[5::10] = True
    print(f"\nThe needle, {series.shape}, every tenth tilt held out; R-free at the best setting of each by that R-free")
    print("| | R | R-free | seconds |\n|---|---|---|---|")
    for views, step in (("all", 1), ("every fifth", 5)):
        keep = held | (np.arange(len(series)) % step == 0)
        part = series.with_(held_out=held, weights=np.where(keep, 1, 0).astype(np.float32))
        for method in (*CLASSICAL, "tv", "denza"):
            grid = {"wbp": [{"filter": f} for f in FILTERS], "tv": [{"weight": w} for w in TV_WEIGHTS]}.get(
                method, [{}]
            )
            best = None
            for params in grid:
                _, job, seconds = run(method, part, **params)
                found = job.figures["r_free"], job.figures["r"], seconds
                if method in ("sirt", "cgls"):
                    found = min(p[1] for p in job.curves["r_free"]), found[1], seconds
                best = found if best is None or found < best else best
            print(f"| {method}, {views} | {best[1]:.4f} | {best[0]:.4f} | {best[2]:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["volumes", "ablation", "geometric", "needle"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    args = parser.parse_args()
    if "volumes" in args.what:
        volumes(args.size, args.seed)
    if "ablation" in args.what:
        ablation(args.size, args.seed)
    if "geometric" in args.what:
        geometric(args.seed)
    if "needle" in args.what:
        needle(args.data)


if __name__ == "__main__":
    main()
