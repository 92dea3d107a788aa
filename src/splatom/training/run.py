"""``splatom train``: a network, a budget, and the file of weights with its card at the end."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import splatom
from splatom.data import MethodParams, option
from splatom.training.loop import Batch, Budget, Progress, log_line, train

if TYPE_CHECKING:
    from torch import Tensor, nn

    from splatom.weights import Card

__all__ = ["NETWORKS", "TrainParams", "train_network"]

NETWORKS = ("scgn", "sfin", "temdiff", "tsgnet")


@dataclass(frozen=True)
class _Lesson:
    """What differs between the networks: what they learn from, and how they are judged."""

    batch: Callable[[int], Batch]
    loss: Callable[[Tensor, Tensor], Tensor]
    validate: Callable[[], Callable[[nn.Module], dict[str, float]]]
    data: str
    trained: dict[str, tuple[float, float]]


class TrainParams(MethodParams):
    """Train a network on streamed simulated images, or fine-tune it on a user's own.

    Nothing is stored: image i of seed s is the same on every machine. The end is set in minutes or in steps; with
    steps, on the CPU and with one thread count, the weights repeat to the last bit.
    """

    method: Literal["train"] = "train"
    variant: Literal[
        "full", "small", "published", "full-biological", "full-materials", "small-biological", "small-materials"
    ] = option(
        "small",
        "Variant",
        "full is large, and for a GPU; published is TSGNet as its authors made it; TEMDiff has a prior of each kind, "
        "biological by default.",
    )
    minutes: float = option(10.0, "Minutes", "Time to train for; a resumed run counts from its first start.", gt=0)
    steps: int | None = option(None, "Steps", "End after so many steps instead.", ge=1)
    rate: float | None = option(
        None, "Learning rate", "Highest one; 0.002 (TEMDiff: 0.001) by default, from given weights 0.0005.", gt=0, le=1
    )
    batch: int = option(1, "Batch", "Multiplies the images in a batch (3 to 10, by their size).", ge=1, le=64)
    start: str | None = option(None, "Start from", "'shipped', or a file of weights; by default from nothing.")
    images: Path | None = option(
        None, "Own noisy images", "File or folder; their calibrated noise is what the simulation then adds."
    )
    clean: Path | None = option(None, "Own clean images", "File or folder; half of the scenes are cut from them.")
    volumes: Path | None = option(
        None, "Own volumes", "File or folder; three of four specimens that TEMDiff learns from are cut from them."
    )
    every: int = option(200, "Validate every", "Steps between two validations and checkpoints.", ge=1)
    workers: int | None = option(
        None,
        "Workers",
        "Processes that make images; by default none on a CPU, all cores but one on a GPU.",
        ge=0,
        le=256,
    )


def train_network(
    network: str,
    out: Path,
    params: TrainParams,
    *,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    tick: Callable[[], None] | None = None,
) -> Card:
    """Train a network and write its weights, its card, and a log of one JSON object a line beside them.

    Parameters
    ----------
    network : {'scgn', 'sfin', 'temdiff', 'tsgnet'}
    out : Path
        ``.safetensors``; the card is the page beside it, the log the file ``.jsonl``.
    params : TrainParams
    seed : int
    device : {'cpu', 'cuda'}
    checkpoint : Path, optional
        Folder of the state; with ``resume``, go on from it.
    resume : bool
    report : callable
        Called with each validation's figures.
    tick : callable, optional
        Called at every step; what it raises ends the training.

    Returns
    -------
    Card

    Raises
    ------
    WeightsError
        If the weights to start from are missing or do not fit.
    KeyboardInterrupt
        After Ctrl-C, when what was learnt by then has been written.
    ValueError
        If the user's images cannot be used, or the network is unknown.
    """
    import os

    import torch

    from splatom.weights import Card, build, load, save

    if network not in NETWORKS:
        raise ValueError(f"no network '{network}' to train; there are {', '.join(NETWORKS)}")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; give a file's name")
    torch.manual_seed(seed)
    architecture: dict[str, Any] = {}
    variant: str = params.variant
    if network == "temdiff" and variant in ("full", "small"):
        variant += "-biological"
    if params.start is None:
        net = build(network, variant)
    else:
        at = None if params.start == "shipped" else Path(params.start)
        net, before = load(network, variant if at is None else "auto", at)
        architecture, variant = before.architecture, before.variant
    if params.volumes is not None and network != "temdiff":
        raise ValueError(f"{network} learns from images: leave out --volumes")
    if network == "temdiff":
        lesson = _of_volumes(variant, params, seed)
    elif network == "tsgnet":
        lesson = _of_tilts(net, params, seed)
    else:
        lesson = _of_micrographs(network, params, seed)
    state = None
    if checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
        state = checkpoint / f"{network}-{variant}.state"
    log = out.with_suffix(".jsonl")
    if not resume:
        log.unlink(missing_ok=True)
    latest: dict[str, float] = {}

    def told(progress: Progress) -> None:
        latest.update(progress.figures)
        log_line(log, progress)
        report(progress)

    on_gpu = device.startswith("cuda")
    workers = params.workers if params.workers is not None else max((os.cpu_count() or 2) - 1, 1) if on_gpu else 0
    rate = params.rate or ((1e-3 if network == "temdiff" else 2e-3) if params.start is None else 5e-4)
    done = train(
        net,
        lesson.batch,
        lesson.loss,
        Budget(params.minutes, params.steps, rate),
        validate=lesson.validate(),
        device=device,
        checkpoint=state,
        resume=resume,
        report=told,
        every=params.every,
        workers=workers,
        tick=tick,
    )
    card = Card(
        network,
        variant,
        architecture=architecture,
        data=lesson.data,
        seed=seed,
        steps=done.steps,
        minutes=done.seconds / 60,
        machine=torch.cuda.get_device_name()
        if on_gpu
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        date=date.today().isoformat(),
        version=splatom.__version__,
        figures=latest,
        trained=lesson.trained,
    )
    card = save(out, done.net, card)
    if done.interrupted:
        raise KeyboardInterrupt
    return card


def _of_micrographs(network: str, params: TrainParams, seed: int) -> _Lesson:
    from splatom.training import denoisers, micrographs
    from splatom.training.own import Own, own_images

    own: Own | None = None
    if params.images is not None or params.clean is not None:
        own = own_images(denoisers.MODALITY[network], params.images, params.clean)
        if own.clean and max(min(image.shape) for image in own.clean) < denoisers.SMALLEST:
            side = denoisers.SMALLEST
            raise ValueError(f"{params.clean}: no image of {side} × {side} pixels or more, which scenes are cut from")
    data = "streamed simulated images" if own is None else "streamed simulated images and the user's own"
    return _Lesson(
        denoisers.stream(network, seed, scale=params.batch, own=own),
        denoisers.denoising_loss,
        lambda: denoisers.validation(network),
        f"{data} ({denoisers.MODALITY[network]}; splatom.training)",
        {
            "noise_to_contrast": micrographs.NOISE_TO_CONTRAST,
            "line_to_contrast": (0.0, micrographs.LINE_TO_CONTRAST[1]),
            "pixel_angstrom": micrographs.PIXEL_ANGSTROM,
        },
    )


def _of_tilts(net: nn.Module, params: TrainParams, seed: int) -> _Lesson:
    from splatom.training import interpolators, tilts

    if params.images is not None or params.clean is not None:
        raise ValueError("tsgnet learns from simulated series only: leave out --images and --clean")
    return _Lesson(
        interpolators.stream(seed, scale=params.batch),
        interpolators.published_loss(net) if params.variant == "published" else interpolators.interpolation_loss,
        interpolators.validation,
        "streamed simulated tilt series (splatom.training.tilts)",
        {"gap_degree": tilts.GAP_DEGREE},
    )


def _of_volumes(variant: str, params: TrainParams, seed: int) -> _Lesson:
    from splatom.training import priors, volumes

    if params.images is not None or params.clean is not None:
        raise ValueError(
            "temdiff learns from volumes: leave out --images and --clean, and name a folder with --volumes"
        )
    kind = next(k for k in volumes.KINDS if variant.endswith(k))
    own = () if params.volumes is None else volumes.own_volumes(params.volumes)
    data = "streamed simulated volumes and the user's own" if own else "streamed simulated volumes"
    return _Lesson(
        priors.stream(kind, seed, scale=params.batch, own=own),
        priors.prior_loss,
        lambda: priors.validation(kind),
        f"{data} ({kind}; splatom.training.volumes)",
        priors.FIT,
    )
