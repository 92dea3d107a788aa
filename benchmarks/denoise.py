"""The denoisers beside filters from libraries, on images that they were not made on.

    python benchmarks/denoise.py [PART ...] [--cache FOLDER] [--weights NETWORK=FILE ...] [--variants full small]

PART is among: simulated (multislice micrographs, see ``_micrographs.py``), real (five ABF frames), chain (tilt series,
denoised or not, to atoms), speed; all of them by default. ``quick`` is a few of the simulated ones, to compare weights.
Filters have their parameter from the truth (``_baselines.py``), networks have none to choose. Images are float, PSNR is
per image with the range of its truth, and means are over images. Micrographs and what the filters reach on them are
kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from _baselines import BASELINES, Image, psnr, ssim, tuned
from _columns import best_f1, f1_of_map
from _micrographs import DOSES, MODALITIES, MODELS, SPECIMENS, Micrograph, Modality, exposed, instrument, micrograph

NETWORK: dict[Modality, str] = {"haadf": "sfin", "bf": "sfin", "hrtem": "scgn"}
CONTRAST: dict[str, Any] = {"haadf": "adf", "bf": "bf", "hrtem": "phase"}
QUICK = ("mos2", "boundary", "glass")
Condition = float | str  # a dose in e/Å², or 'instrument'


@dataclass(frozen=True)
class Bench:
    """Where things are kept, and which networks to ask."""

    cache: Path
    models: Path = MODELS
    weights: dict[str, Path] = field(default_factory=dict)
    variants: tuple[str, ...] = ("full", "small")
    flips: bool = False
    modalities: tuple[Modality, ...] = MODALITIES
    specimens: tuple[str, ...] = tuple(SPECIMENS)

    def networks(self, name: str) -> dict[str, dict[str, Any]]:
        """Return options of a network's runs by label: the files given, or what ships."""
        if self.weights:
            return {name: {"weights": self.weights[name]}} if name in self.weights else {}
        from splatom.weights import WeightsError, load

        out: dict[str, dict[str, Any]] = {}
        for variant in self.variants:
            try:
                load(name, variant)
            except WeightsError as fault:
                print(f"  ({fault})")
            else:
                out[f"{name} {variant}"] = {"variant": variant}
                if self.flips:
                    out[f"{name} {variant}, flips"] = {"variant": variant, "flips": True}
        return out


def denoised(image: Image, method: str, contrast: str, pixel: float | None = None, **options: Any) -> Image:
    """Run a method of ours on one image, or on a stack of them as one series; pixel in Å."""
    import splatom
    from splatom.data import TiltSeries
    from splatom.geometry import ViewGeometry

    stack = image if image.ndim == 3 else image[None]
    geometry = ViewGeometry.single_axis(np.arange(len(stack), dtype=float))
    series = TiltSeries(
        stack, geometry, pixel_size=None if pixel is None else pixel / 10, contrast=CONTRAST[contrast],
        scan="unknown" if contrast == "hrtem" else "rows",
    )  # fmt: skip
    out = splatom.run("denoise", method, series, **options).projections
    return out if image.ndim == 3 else out[0]


# ------------------------------------------------------------------------------------------------ simulated
def pair(image: Micrograph, condition: Condition) -> tuple[Image, Image]:
    """Return (noisy, truth)."""
    return instrument(image) if isinstance(condition, str) else exposed(image, condition)


def baselines(image: Micrograph, condition: Condition, bench: Bench) -> dict[str, dict[str, float]]:
    """Return PSNR, SSIM, parameter and F1 of the columns of every filter; kept in the cache."""
    noisy, truth = pair(image, condition)
    kept = bench.cache / "baselines" / f"{image.name}-{image.modality}-{condition}.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    mark = float(np.float64(noisy).sum())  # another image, another noise: other results
    if known.get("of") != mark:
        known = {"of": mark}
    missing = [name for name in BASELINES if name not in known]
    for name in missing:
        score = tuned(name, noisy, truth)
        known[name] = {"psnr": score.psnr, "ssim": score.ssim, "parameter": score.parameter}
        if shown(image):
            known[name]["f1"] = max(best_f1(sign * score.image, image) for sign in _signs(image.modality))
    if missing:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(known, indent=1))
    return {name: known[name] for name in BASELINES}


def shown(image: Micrograph) -> bool:
    """Say whether the noise-free image shows its columns as maxima (F1 of 0.8): not every HRTEM image does."""
    return image.columns is not None and max(best_f1(s * image.clean, image) for s in _signs(image.modality)) > 0.8


def _signs(modality: Modality) -> tuple[int, ...]:
    """Whether columns are bright, dark, or either: then a filter gets the better."""
    return {"haadf": (1,), "bf": (-1,), "hrtem": (1, -1)}[modality]


def judged(image: Micrograph, condition: Condition, bench: Bench) -> dict[str, dict[str, Any]]:
    """Return the figures of a micrograph: noisy, best filter, each network."""
    noisy, truth = pair(image, condition)
    filters = baselines(image, condition, bench)
    best = max(filters, key=lambda name: filters[name]["psnr"])
    plain = max((n for n in filters if n != "bm3d"), key=lambda name: filters[name]["psnr"])
    out: dict[str, dict[str, Any]] = {
        "noisy": {"psnr": psnr(noisy, truth), "ssim": ssim(noisy, truth)},
        "best filter": dict(filters[best]) | {"name": best, "ssim": max(f["ssim"] for f in filters.values())},
        "best but BM3D": dict(filters[plain])
        | {"name": plain, "ssim": max(f["ssim"] for n, f in filters.items() if n != "bm3d")},
    }
    network = NETWORK[image.modality]
    for label, options in bench.networks(network).items():
        clean = denoised(noisy, network, image.modality, image.pixel, **options)
        out[label] = {"psnr": psnr(clean, truth), "ssim": ssim(clean, truth)}
        if shown(image):

            dots = denoised(noisy, network, image.modality, image.pixel, output="detect", **options)
            out[label] |= {"f1": f1_of_map(dots, image), "f1 best": best_f1(dots, image)}
    return out


def simulated(bench: Bench, doses: slice = slice(None), noise: bool = True) -> None:
    """Print means over the specimens for each modality and condition, and where a network gains least."""
    for modality in bench.modalities:
        if bench.weights and NETWORK[modality] not in bench.weights:
            continue
        for condition in (*DOSES[modality][doses], *(("instrument",) if noise else ())):
            rows = {
                name: judged(micrograph(name, modality, bench.cache, bench.models), condition, bench)
                for name in bench.specimens
            }
            print(_table(modality, condition, rows), flush=True)
            (bench.cache / f"figures-{modality}-{condition}.json").write_text(json.dumps(rows, indent=1))


def _table(modality: Modality, condition: Condition, rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    kind = condition if isinstance(condition, str) else f"{condition:g} e/Å²"
    lines = [f"{modality}, {kind}, {len(rows)} images"]
    first = next(iter(rows.values()))
    for label in first:
        figures = {
            key: np.mean([row[label][key] for row in rows.values() if key in row[label]])
            for key in ("psnr", "ssim", "f1", "f1 best")
            if any(key in row[label] for row in rows.values())
        }
        text = f"  {label:17} PSNR {figures['psnr']:6.2f} dB  SSIM {figures['ssim']:.4f}"
        if "f1" in figures:
            text += f"  F1 {figures['f1']:.3f}"
        if "f1 best" in figures:
            text += f" (threshold from the truth: {figures['f1 best']:.3f})"
        if "best" in label:
            text += "  " + ", ".join(f"{n} {k}" for n, k in Counter(r[label]["name"] for r in rows.values()).items())
        elif label != "noisy":
            for rival in ("best filter", "best but BM3D"):
                gains = {name: row[label]["psnr"] - row[rival]["psnr"] for name, row in rows.items()}
                least = min(gains, key=lambda n: gains[n])
                text += f"  over {rival} {np.mean(list(gains.values())):+.2f} dB ({least} {gains[least]:+.2f})"
        lines.append(text)
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ speed
def speed(bench: Bench) -> None:
    """Print the seconds for an image of 512², the best of five after one to warm up."""
    import torch

    rng = np.random.default_rng(0)
    image = rng.poisson(20, (512, 512)).astype(np.float32)
    print(f"a 512² image, {torch.get_num_threads()} threads")
    for network, modality in (("scgn", "hrtem"), ("sfin", "haadf")):
        for label, options in bench.networks(network).items():
            took = []
            for _ in range(6):
                began = time.perf_counter()
                denoised(image, network, modality, **options)
                took.append(time.perf_counter() - began)
            print(f"  {label:14} {min(took[1:]):6.2f} s (first {took[0]:.2f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("quick", "simulated", "real", "chain", "speed")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "denoise")
    parser.add_argument("--shared", type=Path, default=MODELS.parent, help="the folder of the real data")
    parser.add_argument("--weights", nargs="+", default=[], metavar="NETWORK=FILE", help="instead of what ships")
    parser.add_argument("--variants", nargs="+", default=["full", "small"])
    parser.add_argument("--flips", action="store_true", help="the flip ensemble, too")
    parser.add_argument("--modalities", nargs="+", default=MODALITIES, choices=MODALITIES)
    parser.add_argument("--specimens", nargs="+", default=tuple(SPECIMENS), choices=tuple(SPECIMENS))
    args = parser.parse_args()
    if not args.shared.is_dir():
        print(f"the published models are not here ({args.shared} is missing): nothing to measure on")
        return
    weights = {name: Path(file) for name, _, file in (w.partition("=") for w in args.weights)}
    bench = Bench(
        args.cache, args.shared / "models", weights, tuple(args.variants), args.flips, tuple(args.modalities),
        tuple(args.specimens),
    )  # fmt: skip
    chosen = args.parts or ["simulated", "real", "chain", "speed"]
    if "quick" in chosen:
        simulated(replace(bench, specimens=QUICK), slice(1, 3), noise=False)
    if "simulated" in chosen:
        simulated(bench)
    if "real" in chosen:
        from _denoise_real import real

        real(bench, args.shared / "stem_images")
    if "chain" in chosen:
        from _denoise_chain import chain

        chain(bench)
    if "speed" in chosen:
        speed(bench)


if __name__ == "__main__":
    main()
