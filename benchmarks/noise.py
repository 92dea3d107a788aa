"""Measured noise beside simulated noise, on real images; one frame beside the differences of repeats.

    python benchmarks/noise.py [FOLDER OF THE REAL DATA] [--plot FILE.png] [--size PIXELS]

Protocol. Each image (its middle, 512 × 512 by default) is calibrated. What the calibration took for the specimen gets
noise of the calibrated model (another seed), and the result is calibrated again, with the same procedure. Compared are
the two spectra beside structure in 48 rings of |k| (RMS of the log ratio in dB), the floor with the ridge that the
noise of lines makes over k along the lines (RMS in dB over octaves), and the two curves of pointwise variance against
signal (RMS of the relative difference over the bins that both have). Repeats: noise from one frame alone against noise
from the differences of five frames, which hold no structure that stands still.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import splatom
from splatom.io import AnglesMissing
from splatom.simulate.calibration import Calibration, calibrate

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGES = {
    "DSO": "10_dso_8nm_none_none.png",
    "STO": "16_STOimage_1.ser",
    "gold boundary": "Grain_boundry_gold_512px.png",
    "Si 110": "Si110_5nmX25us_03_none_none.png",
    "ABF cropped": "test_ABF_cropped.hdf5",
    "ADF cropped": "test_ADF_cropped.hdf5",
    "HR-STEM": "exp_hrstem.h5",
    "ABF frames": "stem_abf_data_imagestack.hspy",
}


def images_of(path: Path, size: int) -> np.ndarray:
    try:
        series = splatom.read(path)
    except AnglesMissing as missing:
        series = splatom.read(path, angles=[float(i) for i in range(missing.n_tilts)])
    stack = np.asarray(series.projections, float)
    top, left = (max((n - size) // 2, 0) for n in stack.shape[1:])
    return stack[:, top : top + size, left : left + size]


def decibel(ratio: np.ndarray) -> float:
    return float(np.sqrt(np.mean((10 * np.log10(ratio)) ** 2)))


def octaves(found: Calibration) -> np.ndarray:
    along, floor = found.curves["along"], found.curves["power"][-8:].min()
    edges = np.geomspace(along[1], 0.5, 10)
    label = np.digitize(along, edges)
    total = found.curves["ridge"] + floor
    return np.array([total[label == i].mean() if (label == i).any() else np.nan for i in range(1, 10)])


def compare(real: Calibration, again: Calibration) -> tuple[float, float, float]:
    n = min(len(real.curves["power"]), len(again.curves["power"]))
    spectrum = decibel(again.curves["power"][-n:] / real.curves["power"][-n:])
    one, two = octaves(real), octaves(again)
    both = np.isfinite(one) & np.isfinite(two)
    ridge = decibel(two[both] / one[both])
    if "signal" not in real.curves or "signal" not in again.curves:
        return spectrum, ridge, np.nan
    at = real.curves["signal"]
    inside = (at >= again.curves["signal"].min()) & (at <= again.curves["signal"].max())
    value = np.interp(at[inside], again.curves["signal"], again.curves["variance"])
    off = value / real.curves["variance"][inside] - 1
    return spectrum, ridge, float(np.sqrt((off**2).mean()))


def summary(found: Calibration) -> str:
    n = found.noise
    return (
        f"gain {n.gain:.3g} above {n.zero:.4g}, readout {n.readout:.3g}, tail {n.tail:.2g}, lines ({n.lines}) "
        f"{n.line:.3g} + {n.line_gradient:.2g} g over {n.line_length:.3g} px, "
        f"blur {n.blur:.2g} px, background {n.background:.3g}"
    )


def images(data: Path, size: int) -> dict[str, tuple[Calibration, Calibration]]:
    out = {}
    print(f"{'image':16} {'noise/contrast':>14} {'lines/contrast':>14} {'|k| dB':>7} {'lines dB':>8} {'variance':>9}")
    for name, file in IMAGES.items():
        image = images_of(data / "stem_images" / file, size)[0]
        real = calibrate(image)
        noisy = real.noise.apply(real.structure[0], np.random.default_rng(1))
        again = calibrate(noisy, lines=real.noise.lines)
        spectrum, ridge, variance = compare(real, again)
        print(f"{name:16} {real.noise_to_contrast:14.3f} {real.line_to_contrast:14.3f} {spectrum:7.2f} {ridge:8.2f} "
              f"{variance:9.1%}\n{'':16} {summary(real)}", flush=True)  # fmt: skip
        out[name] = real, again
    return out


def registered(stack: np.ndarray) -> np.ndarray:
    """Frames moved by whole pixels onto the first, so that no interpolation touches the noise, and cropped."""
    from scipy.ndimage import gaussian_filter
    from skimage.registration import phase_cross_correlation

    smooth = [gaussian_filter(frame, 2) for frame in stack]
    moves = [np.rint(phase_cross_correlation(smooth[0], s, upsample_factor=4)[0]).astype(int) for s in smooth]
    edge = int(np.abs(moves).max()) + 1
    return np.stack([np.roll(f, m, (0, 1)) for f, m in zip(stack, moves, strict=True)])[:, edge:-edge, edge:-edge]


def repeats(data: Path, size: int) -> None:
    stack = registered(images_of(data / "stem_images" / IMAGES["ABF frames"], size))
    print(f"\nfive ABF frames, registered to whole pixels, {stack.shape[1]} × {stack.shape[2]}")
    alone = calibrate(stack[0])
    together = calibrate(stack, lines=alone.noise.lines, repeats=True)
    for name, found in (("one frame", alone), ("differences", together)):
        print(f"  {name:12} pointwise SD {found.point:.4g}, lines SD {found.scan:.4g}; {summary(found)}")
    point, lines = alone.point / together.point, alone.scan / together.scan
    print(f"  one frame over differences: pointwise {point:.3f}, lines {lines:.3f}")


def plot(found: dict[str, tuple[Calibration, Calibration]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 2.6 * len(found)), layout="constrained")
    panels = (("frequency", "power", "|k|, cycles per pixel", "log"), ("along", "ridge", "k along the lines", "log"),
              ("signal", "variance", "signal", "linear"))  # fmt: skip
    for row, (name, (real, again)) in zip(figure.subplots(len(found), 3), found.items(), strict=True):
        for axes, (x, y, label, scale) in zip(row, panels, strict=True):
            axes.set(xlabel=label, yscale=scale, title=f"{name}: {y}")
            for which, style, at in (("measured", ".", real), ("simulated", "-", again)):
                if x in at.curves:
                    start = 1 if x == "along" else 0
                    axes.plot(at.curves[x][start:], at.curves[y][start:], style, ms=4, lw=1, label=which)
            if x == "along":
                top = max(float(real.curves[y][1:].max()), 1e-9)
                axes.set(xscale="log", ylim=(top * 1e-4, top * 2))
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--size", type=int, default=512, help="of the middle that is used, in pixels")
    given = parser.parse_args()
    if not (given.data / "stem_images").is_dir():
        raise SystemExit(f"{given.data}: no real data there")
    compared = images(given.data, given.size)
    repeats(given.data, given.size)
    if given.plot is not None:
        plot(compared, given.plot)
