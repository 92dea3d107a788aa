"""Interpolated tilts against measured ones, and what they are worth to a reconstruction.

    python benchmarks/interpolate.py [PART ...] [--cache FOLDER] [--quick] [--weights FILE] [--variants full small]

PART is among: tilts (multislice series of unseen clusters, see ``_tilts_held_out.py``, which makes them first; gap g:
neighbours at θ − g and θ + g), incoherent (the same by projected potentials, finer), chain (sparse series, filled or
not, to volumes), needle (a real series with tilts held out); all of them by default. ``--quick`` takes fewer gaps and
specimens. What is not there, a series or a method, is left out and said. Figures of the baselines are kept in
``--cache``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from _interpolate_predict import (
    BASELINES,
    PASSES,
    PREDICT,
    WEIGHTS,
    Question,
    band_names,
    figures,
    missing,
    ours,
    questions,
)
from _tilts_held_out import CLUSTERS, PIXEL, PROBES, incoherent_series, series

QUICK_GAPS = (1, 2, 4, 6, 8, 12)
QUICK_CLUSTERS = ("aluminium", "iridium")
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Bench:
    """Where things are kept, and which methods and gaps to ask for."""

    cache: Path
    shared: Path
    gaps: tuple[int, ...]
    methods: dict[str, tuple[str, dict[str, Any]]]
    most: int = 8
    quick: bool = False


def judged(label: str, gap: float, q: Question, bench: Bench) -> Rows:
    """Return figures of every baseline, from the cache where they are known, and of every method of ours."""
    kept = bench.cache / "interpolated" / f"{label}-{gap:g}.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    mark = [float(np.float64(q.truth).sum()), len(q.truth), PASSES, *WEIGHTS]
    if known.get("of") != mark:
        known = {"of": mark}
    for name in BASELINES:
        if name not in known:
            known[name] = figures(PREDICT[name](q), q.truth)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(known))
    out: Rows = {name: known[name] for name in BASELINES}
    for name, (method, options) in bench.methods.items():
        with missing(name):
            out[name] = figures(ours(q, method, options), q.truth)
    print(f"  {label} {gap:g}°: " + ", ".join(f"{n} {f['psnr']:.2f}" for n, f in out.items()), flush=True)
    return out


# ------------------------------------------------------------------------------------------------ tilts
def tilts(bench: Bench, physics: str, clusters: tuple[str, ...]) -> None:
    """Print a table for each probe: means over clusters and tilts, gap by gap; then the bands."""
    print(f"\n{physics}")
    found: dict[str, dict[tuple[str, int], Rows]] = {probe: {} for probe in PROBES}
    for probe in PROBES:
        for name in clusters:
            whole = (series if physics == "multislice" else incoherent_series)(name, probe, bench.cache)
            if whole is None:
                print(f"{name}, {probe}: the series is not there (python benchmarks/_tilts_held_out.py {bench.cache})")
                continue
            for gap in bench.gaps:
                q = questions(whole, gap, bench.most)
                if q is not None:
                    found[probe][name, gap] = judged(f"{physics}-{name}-{probe}", gap, q, bench)
        _table(probe, found[probe])
    both = {(f"{name} {probe}", gap): rows for probe in PROBES for (name, gap), rows in found[probe].items()}
    _table("both probes", both)
    (bench.cache / f"figures-{physics}.json").write_text(
        json.dumps([{"series": n, "gap": g, "rows": rows} for (n, g), rows in both.items()], indent=1)
    )


def _table(title: str, found: dict[tuple[str, int], Rows]) -> None:
    if not found:
        return
    gaps = sorted({gap for _, gap in found})
    names = [n for n in next(iter(found.values())) if all(n in rows for rows in found.values())]
    mine = [n for n in names if n not in BASELINES]
    print(f"\n{title}, {len({n for n, _ in found})} series: PSNR in dB, SSIM; best baseline of each series and gap")
    print(f"| gap | {' | '.join(names)} | best baseline |" + "".join(f" {n} over linear, over best |" for n in mine))
    print("|---|" + "---|" * (len(names) + 1 + len(mine)))
    leads: dict[str, list[tuple[float, float]]] = {n: [] for n in mine}
    for gap in gaps:
        some = [rows for (_, g), rows in found.items() if g == gap]
        best = [max(rows[b]["psnr"] for b in BASELINES) for rows in some]
        cells = [f"{_mean(some, n, 'psnr'):.2f}, {_mean(some, n, 'ssim'):.3f}" for n in names]
        for n in mine:
            lead = _mean(some, n, "psnr") - _mean(some, "linear", "psnr"), _mean(some, n, "psnr") - float(np.mean(best))
            leads[n].append(lead)
        print(f"| {gap}° ({len(some)}) | {' | '.join(cells)} | {np.mean(best):.2f} |"
              + "".join(f" {leads[n][-1][0]:+.2f}, {leads[n][-1][1]:+.2f} |" for n in mine), flush=True)  # fmt: skip
    cells = [
        f"{np.mean([_mean([r for (_, g), r in found.items() if g == gap], n, 'psnr') for gap in gaps]):.2f}"
        for n in names
    ]
    means = {n: np.mean(leads[n], axis=0) for n in mine}
    print(f"| mean | {' | '.join(cells)} | |" + "".join(f" **{a:+.2f}, {b:+.2f}** |" for a, b in means.values()))
    print(f"\n{title}: MSE, and gain over linear in dB by band of spatial frequency (1/Å), means over the gaps")
    print(f"| | MSE | {' | '.join(band_names(1 / (2 * PIXEL)))} |\n|---|---|{'---|' * len(band_names())}")
    for n in names:
        mse = np.mean([rows[n]["mse"] for rows in found.values()])
        gains = [10 * np.log10(np.divide(rows["linear"]["bands"], rows[n]["bands"])) for rows in found.values()]
        print(f"| {n} | {mse:.2e} | {' | '.join(f'{v:+.2f}' for v in np.mean(gains, axis=0))} |", flush=True)


def _mean(some: list[Rows], name: str, key: str) -> float:
    return float(np.mean([rows[name][key] for rows in some]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("tilts", "incoherent", "chain", "needle")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "gaps")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--gaps", type=int, nargs="+")
    parser.add_argument("--most", type=int, default=8, help="images asked for of a series and gap")
    parser.add_argument("--methods", nargs="*", default=["sinogram", "tsgnet"])
    parser.add_argument("--variants", nargs="+", default=["auto"], help="of tsgnet")
    parser.add_argument("--weights", type=Path, help="of tsgnet, instead of what ships")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    methods: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in args.methods:
        if name == "tsgnet" and args.weights is not None:
            methods["tsgnet"] = (name, {"weights": args.weights})
        elif name == "tsgnet":
            methods |= {f"tsgnet {v}": (name, {"variant": v}) for v in args.variants}
        else:
            methods[name] = (name, {})
    args.cache.mkdir(parents=True, exist_ok=True)
    gaps = args.gaps or (QUICK_GAPS if args.quick else range(1, 13))
    bench = Bench(args.cache, args.shared, tuple(gaps), methods, args.most, args.quick)
    chosen = args.parts or parts
    if "tilts" in chosen:
        tilts(bench, "multislice", tuple(CLUSTERS))
    if "incoherent" in chosen:
        tilts(bench, "incoherent", QUICK_CLUSTERS if args.quick else tuple(CLUSTERS))
    if "chain" in chosen:
        from _interpolate_chain import chain

        chain(bench)
    if "needle" in chosen:
        from _interpolate_needle import needle

        needle(bench)


if __name__ == "__main__":
    main()
