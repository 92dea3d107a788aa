"""Five frames of one place by annular bright field, taken one after another: a real test without a truth.

One frame is denoised as it was recorded, and scored against the mean of the other four, shifted onto it by rigid,
subpixel Fourier shifts, which keep their noise as it is (splines would smooth it, and flatter what is smooth). The
reference has noise of its own, a quarter of a frame's: the best that any denoiser can get is the **cap**, which is
printed, and with it the PSNR that is left when the reference's noise is taken from the squared error. Filters have
their parameter from that same score. What shifts cannot mend (the scan is distorted otherwise in each frame) counts as
noise of the reference.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from _baselines import BASELINES, Image, psnr, ssim, tuned

if TYPE_CHECKING:
    from denoise import Bench

BORDER = 24  # pixels: what was shifted in from the other side, and a little more


def frames(folder: Path) -> tuple[Image, float]:
    """Return the frames (5, 512, 512), mean 0 and SD 1 in all, and the pixel in Å."""
    import h5py

    with h5py.File(folder / "stem_abf_data_imagestack.hspy") as file:
        group = next(iter(file["Experiments"].values()))
        stack, pixel = group["data"][:].astype(np.float64), 10 * float(group["axis-2"].attrs["scale"])
    return ((stack - stack.mean()) / stack.std()).astype(np.float32), pixel


def drift(stack: Image) -> np.ndarray:
    """Return (n, 2): the shift in pixels that lays each frame over the first.

    Neighbours first, where the drift is a tenth of the lattice's period and cannot be mistaken for it; then each
    against the mean of all. Only for this the frames are smoothed.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.registration import phase_cross_correlation

    def between(a: Image, b: Image) -> np.ndarray:
        return np.asarray(phase_cross_correlation(a, b, upsample_factor=50, normalization=None)[0])

    smooth = np.stack([gaussian_filter(f, 2.0) for f in stack])
    steps = [between(a, b) for a, b in pairwise(smooth)]
    shifts = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    inner = slice(BORDER, -BORDER)
    for _ in range(3):
        moved = np.stack([shifted(f, s) for f, s in zip(smooth, shifts, strict=True)])[:, inner, inner]
        mean = moved.mean(axis=0)
        shifts = shifts + np.stack([between(mean, m) for m in moved])
    return shifts - shifts[0]


def shifted(image: Image, shift: np.ndarray) -> Image:
    """Shift by (rows, columns) in Fourier space: every frequency keeps its strength."""
    from scipy.ndimage import fourier_shift

    return np.fft.ifft2(fourier_shift(np.fft.fft2(image), shift)).real.astype(np.float32)


def real(bench: Bench, folder: Path) -> None:
    """Print PSNR, SSIM and PSNR without the reference's noise of filters and networks, means over the five frames."""
    from denoise import denoised

    stack, pixel = frames(folder)
    shifts = drift(stack)
    inner = (slice(BORDER, -BORDER),) * 2
    scores: dict[str, list[tuple[float, float, float]]] = {}
    caps = []
    for k, frame in enumerate(stack):
        others = np.stack([shifted(stack[j], shifts[j] - shifts[k])[inner] for j in range(len(stack)) if j != k])
        reference = others.mean(axis=0)
        noise = float(others.var(axis=0, ddof=1).mean() / len(others))
        span = float(np.ptp(reference))
        caps.append(10 * np.log10(span**2 / noise))

        def score(image: Image, reference: Image = reference, noise: float = noise, span: float = span) -> tuple:
            error = float(np.mean((image.astype(np.float64) - reference) ** 2))
            clear = 10 * np.log10(span**2 / (error - noise)) if error > noise else np.inf
            return psnr(image, reference), ssim(image, reference), clear

        kept = bench.cache / f"real-{k}.json"
        found = json.loads(kept.read_text()) if kept.exists() else {"as recorded": score(frame[inner])}
        for name in BASELINES:  # tuned on the inner part, seen with the border around it
            if name not in found:
                found[name] = score(tuned(name, frame, reference, inner).image[inner])
                kept.write_text(json.dumps(found))
        for label, options in bench.networks("sfin").items():
            found[label] = score(denoised(frame, "sfin", "bf", pixel, **options)[inner])
        for name, values in found.items():
            scores.setdefault(name, []).append(values)
    print(f"five ABF frames, pixel {pixel:.3f} Å, drift from first to last {np.round(shifts[-1], 2)} px")
    print(f"  cap by the noise of the mean of four: {np.mean(caps):.2f} dB")
    best = max(np.mean([s[0] for s in scores[name]]) for name in BASELINES)
    for name, values in scores.items():
        a, b, c = np.mean(values, axis=0)
        print(
            f"  {name:14} PSNR {a:6.2f} dB ({a - best:+.2f} to the best filter)  SSIM {b:.4f}  "
            f"reference's noise taken off: {c:.2f} dB", flush=True,
        )  # fmt: skip
