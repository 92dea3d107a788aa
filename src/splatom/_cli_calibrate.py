"""``splatom calibrate``: the noise of a file's images, in figures and in curves."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from splatom.simulate.calibration import Calibration

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add the words of the command."""
    sub = commands.add_parser("calibrate", help="the noise of images, for simulating it")
    sub.add_argument("file", type=Path, help="a tilt series, repeats of one field, or a single image")
    sub.add_argument("--kind", choices=("stem", "hrtem"), default="stem", help="which noise to look for")
    sub.add_argument("--lines", choices=("auto", "rows", "columns"), default="auto", help="which way the lines run")
    sub.add_argument("--json", action="store_true", help="print JSON, with the curves")
    sub.add_argument("--plot", metavar="FILE", type=Path, help="draw the curves (.png, .svg, .pdf; needs matplotlib)")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    from splatom.data import TiltSeries
    from splatom.io import AnglesMissing, read
    from splatom.simulate.calibration import calibrate

    if args.plot is not None and args.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{args.plot}: a plot is a .png, .svg or .pdf")
    try:
        data = read(args.file)
    except AnglesMissing as missing:  # noise needs no angles, so any will do
        data = read(args.file, angles=[float(i) for i in range(missing.n_tilts)])
    if not isinstance(data, TiltSeries):
        raise ValueError(f"{args.file}: holds no images")
    found = calibrate(data.projections, args.kind, args.lines)
    if args.plot is not None:
        _plot(found, args.plot)
    figures = {**_figures(found), "mean": float(data.projections.mean())}
    sys.stdout.write((json.dumps(figures, indent=1) if args.json else _table(found)) + "\n")


def _figures(found: Calibration) -> dict[str, Any]:
    noise = {k: None if isinstance(v, float) and isinf(v) else v for k, v in asdict(found.noise).items()}
    return {
        "kind": found.kind, "repeats": found.repeats, "noise": noise, "contrast": found.contrast,
        "noise_to_contrast": found.noise_to_contrast, "line_to_contrast": found.line_to_contrast,
        "curves": {name: values.tolist() for name, values in found.curves.items()},
    }  # fmt: skip


def _table(found: Calibration) -> str:
    noise = found.noise
    variance = f"{noise.gain:.4g} · (signal - {noise.zero:.4g}) + {noise.readout:.4g}²"
    lines = [
        f"pointwise  variance {variance}, blur {noise.blur:.2g} px, tail {noise.tail:.2g}",
        f"lines      along {noise.lines}: SD {noise.line:.4g} + {noise.line_gradient:.3g} · gradient, over "
        + ("whole lines" if isinf(noise.line_length) else f"{noise.line_length:.3g} px"),
        f"background SD {noise.background:.4g}, over {noise.background_length:.3g} px",
        f"contrast   {found.contrast:.4g}; pointwise noise {found.noise_to_contrast:.3g} of it, "
        f"noise of lines {found.line_to_contrast:.3g}" + (" (from repeats)" if found.repeats else ""),
    ]
    for names in (("signal", "variance", "variance_fit"), ("gradient", "line_sd", "line_sd_fit")):
        if names[0] in found.curves:
            lines.append("\n" + " ".join(f"{name:>12}" for name in names))
            columns = (found.curves[name] for name in names)
            lines += [" ".join(f"{value:12.5g}" for value in row) for row in zip(*columns, strict=True)]
    return "\n".join(lines)


def _plot(found: Calibration, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ValueError("--plot needs matplotlib: pip install matplotlib") from exc
    panels = (
        ("signal", "variance", "variance_fit", "pointwise variance", "linear"),
        ("gradient", "line_sd", "line_sd_fit", "SD of lines", "linear"),
        ("frequency", "power", "power_fit", "power beside structure", "log"),
        ("along", "ridge", "ridge_fit", "power of lines along them", "log"),
    )
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (x, y, fit, title, scale) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        axes.set(title=title, xlabel=x if scale == "linear" else "cycles per pixel", yscale=scale)
        if x in found.curves:
            axes.plot(found.curves[x], found.curves[y], "o", ms=3, label="measured")
            axes.plot(found.curves[x], found.curves[fit], "-", label="fit")
            axes.legend()
    figure.savefig(path, dpi=120)
