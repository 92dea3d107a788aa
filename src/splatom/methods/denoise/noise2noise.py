"""A network that learns from the noisy images alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from splatom.jobs import Job
    from splatom.methods.denoise._pairs import Material

__all__ = ["Noise2noiseParams", "run"]

_SMALLEST = 8  # px along a side; of less, no pixels are left to hold out
_UNLIKE = 3.0  # frames that differ by more than this times their noise do not show the same
_LINES = 0.04  # share of the noise's variance from which lines are hidden whole


class Noise2noiseParams(MethodParams):
    """Noise2Noise: a network that learns from your own noisy images, without any clean ones.

    Where angles were taken more than once, each frame is predicted from its repeat, registered to it (J. Lehtinen et
    al., ICML 2018). Else pixels are predicted from their surroundings (A. Krull et al., CVPR 2019); where rows or
    columns share noise, whole lines are, so that it cannot be predicted either (after C. Broaddus et al., ISBI 2020).
    What a pixel itself adds to its prediction is then weighed in by the two errors. Neighbouring tilts are no pairs:
    the specimen differs. Pixels held out tell how good it is; a stop keeps the best so far.
    """

    method: Literal["noise2noise"] = "noise2noise"
    start: Literal["scratch", "shipped"] = option(
        "scratch", "Start from", "A new small network, or the shipped one for these images (fine-tuning)."
    )
    minutes: float = option(
        5.0, "Minutes", "Longest time of training; the same seed gives the same result if the steps end first.",
        unit="min", gt=0, le=10_000,
    )  # fmt: skip
    steps: int = option(1500, "Steps", "Steps of training.", ge=1, le=1_000_000)
    learn_from: Literal["auto", "repeats", "pixels", "rows", "columns"] = option(
        "auto", "Learn from", "Repeated frames; or the surroundings of hidden pixels, rows or columns."
    )
    radius: int = option(
        0, "Hidden radius", "Hide so many pixels around, where a detector spreads the noise over neighbours.",
        unit="px", ge=0, le=4, advanced=True,
    )  # fmt: skip
    patch: int = option(64, "Patch", "Side of the patches of training.", unit="px", ge=32, le=512, advanced=True)
    batch: int = option(4, "Batch", "Patches a step.", ge=1, le=64, advanced=True)


def run(series: TiltSeries, job: Job[Noise2noiseParams]) -> TiltSeries:
    """Return the denoised series."""
    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._learn import learn
    from splatom.methods.denoise._network import interruptible, network_tiling, predictor
    from splatom.methods.denoise._noise import noise_of, sample

    p = job.params
    net, sign = _start(series, job)
    material = _material(series, job, sign)
    scale = material.scale
    if scale.sd == 0:
        job.note(decision="nothing to learn: the images are constant")
        return series
    if min(series.shape[1:]) < _SMALLEST:
        job.note(decision=f"nothing to learn: the images are smaller than {_SMALLEST} pixels, and stay as they are")
        return series
    tiling = network_tiling()
    tiles = len(series) * tiling.count(series.shape[1:])

    def preview(net: nn.Module) -> TiltSeries:
        middle = len(series) // 2
        view = _upright(predictor(net, scale, job.device), material.transpose)
        image = np.asarray(material.images[middle, :256, :256])
        return series[middle : middle + 1].with_(projections=view(image)[None], mask=None)

    made = learn(
        net, material, job, steps=p.steps, seconds=60 * p.minutes, rate=2e-4 if p.start == "shipped" else 2e-3,
        batch=p.batch, frozen_norms=p.start == "shipped", total=p.steps + tiles, preview=preview, unit=scale.sd,
    )  # fmt: skip
    job.note(steps_done=made.steps, **({"ended": made.ended} if made.ended else {}))
    own = 0.0
    if made.history:
        noise = noise_of(sample(series)) / scale.sd
        # Prediction and pixel are weighed by their variances, where the noise is of each pixel alone.
        alone = not material.repeats and material.blind == "pixel" and p.radius == 0
        own = max(0.0, 1 - noise**2 / made.error) if alone else 0.0
        job.note(validation_rmse=float(f"{scale.sd * made.error**0.5:.4g}"), noise=float(f"{noise * scale.sd:.4g}"))
        job.note(weight_of_the_pixel_itself=round(own, 3))
    predict = predictor(made.net, scale, job.device)

    def mixed(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.float32(1 - own) * predict(tile) + np.float32(own) * tile

    with nullcontext() if job.stopped_at is not None else interruptible(made.net, job.check):
        return denoised(series, job, mixed, tiling, transpose=material.transpose, begin=p.steps)


def _start(series: TiltSeries, job: Job[Noise2noiseParams]) -> tuple[nn.Module, int]:
    """Return the network to begin with, and the sign with which it is shown the images."""
    import torch

    from splatom.methods.denoise._network import loaded
    from splatom.nets import Sfin

    if job.params.start == "shipped":
        name = "scgn" if series.contrast == "phase" else "sfin"
        net, card = loaded(name, "full" if job.device.startswith("cuda") else "small", None)
        job.note(network=f"{name} {card.variant}, fine-tuned")
        return net, -1 if series.contrast == "bf" else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        return Sfin(width=32, blocks=2), 1


def _material(series: TiltSeries, job: Job[Noise2noiseParams], sign: int) -> Material:
    """Decide what to learn from."""
    from splatom.jobs.errors import JobError
    from splatom.methods.denoise._apply import filled
    from splatom.methods.denoise._noise import sample
    from splatom.methods.denoise._pairs import Material, line_share, repeats_of
    from splatom.methods.denoise._scale import Scale

    p = job.params
    use = np.flatnonzero(~(series.synthetic | series.held_out))
    if len(use) == 0:
        raise JobError("all tilts are synthetic or held out: there is nothing to learn from")
    images = series.projections
    if series.mask is not None:
        images = np.stack([filled(series, i)[0] for i in range(len(series))])
    kind: str = p.learn_from
    repeats, unlike = repeats_of(series, use, job.check) if kind in ("auto", "repeats") else ([], 0.0)
    if kind == "repeats" and not repeats:
        raise JobError("no angle was taken more than once: choose --learn-from auto")
    if repeats and kind == "auto" and unlike > _UNLIKE:
        job.note(repeats=f"left aside: frames differ by {unlike:.1f} times their noise, so the specimen changed")
        repeats = []
    rows, columns = line_share(sample(series, 256))
    if kind == "auto":
        lined = max(rows, columns) > _LINES and max(rows, columns) > 2 * min(rows, columns)
        kind = "repeats" if repeats else ("rows" if rows > columns else "columns") if lined else "pixels"
    job.note(learnt_from=kind, noise_shared_by_rows=round(rows, 3), noise_shared_by_columns=round(columns, 3))
    side = min(p.patch, max(32, *series.shape[1:]))
    return Material(
        images, series.mask, use, Scale.of(series, sign, job.check), kind == "columns",
        "lines" if kind in ("rows", "columns") else "pixel", p.radius, repeats if kind == "repeats" else [], side,
    )  # fmt: skip


def _upright(function: Any, transpose: bool) -> Any:
    return (lambda image: function(np.ascontiguousarray(image.T)).T) if transpose else function
