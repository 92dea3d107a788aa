"""What the trained networks share: one network shown every tilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from splatom.data import MethodParams, TiltSeries, option

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from splatom.jobs import Job
    from splatom.methods.denoise._lines import Direction
    from splatom.methods.denoise._scale import Scale
    from splatom.methods.denoise._tiles import Tiling
    from splatom.weights import Card

__all__ = ["NetworkParams", "interruptible", "loaded", "network_tiling", "pooling", "predictor", "run_network"]

_FINEST = 0.2  # Å; no microscope resolves twice of that, so finer pixels hold no more

Function = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]


class NetworkParams(MethodParams):
    """Parameters of every trained denoiser."""

    output: Literal["enhance", "detect"] = option(
        "enhance", "Output", "enhance: the image without noise; detect: dots of height 1 where atom columns are."
    )
    variant: Literal["auto", "full", "small"] = option(
        "auto", "Network", "auto is the full one where its weights ship; the small one suits a laptop's CPU."
    )
    flips: bool = option(False, "Flip ensemble", "Average over the four flips: a little better, four times the work.")
    order: bool = option(
        True, "Keep order", "Give back what stands out of the removed part's spectrum: a lattice that the network "
        "weakened.", advanced=True,
    )  # fmt: skip
    lines: Literal["auto", "rows", "columns"] = option(
        "auto", "Lines run along", "Direction of line noise in the images; auto: from the scan and the turns since.",
        advanced=True,
    )  # fmt: skip
    weights: Path | None = option(None, "Own weights", "A .safetensors file of 'splatom train'.", advanced=True)


def run_network(
    series: TiltSeries, job: Job[Any], network: Literal["scgn", "sfin"], native: Direction, sign: int = 1
) -> TiltSeries:
    """Show a network every tilt, with the lines in the direction in which it was trained.

    Parameters
    ----------
    series : TiltSeries
    job : Job
        Of a :class:`NetworkParams`.
    network : {'scgn', 'sfin'}
    native : {'rows', 'columns'}
        Direction of the lines in training; they are so in an image as recorded, too.
    sign : {1, -1}
        −1 to show it the negative.
    """
    from splatom.methods.denoise._apply import denoised
    from splatom.methods.denoise._lines import lines_of
    from splatom.methods.denoise._order import order_kept
    from splatom.methods.denoise._scale import Scale

    p = job.params
    net, card = loaded(network, p.variant, p.weights)
    job.note(network=f"{network} {card.variant}", weights=str(p.weights or "shipped"))
    scale = Scale.of(series, sign, job.check)
    if scale.spikes:
        job.note(spikes=f"{scale.spikes} lone pixels far out of range do not count; 'prepare clean' removes them")
    lines = lines_of(series, native, p.lines, job)
    channel = ("enhance", "detect").index(p.output)
    pool = pooling(series)
    if pool > 1:
        job.note(pooled=f"{pool} × {pool} pixels for the network: finer ones than {_FINEST} Å hold nothing more")
    net.to(job.device)
    function = predictor(net, scale, job.device, channel, flips=p.flips, pool=pool)
    with interruptible(net, job.check):
        out = denoised(
            series, job, function, network_tiling(pool), transpose=lines != native, is_map=p.output == "detect",
            after=order_kept if p.order else None,
        )  # fmt: skip
    return out.with_(contrast="adf") if p.output == "detect" else out


def pooling(series: TiltSeries) -> int:
    """Return how many pixels, along each axis, a network is shown as one; 1 where the pixel size is not known.

    Ours. Where pixels are much finer than the resolution, a network sees less of the specimen than it could, and noise
    that it takes for structure: on real frames of 0.09 Å, pooling is worth 0.6 dB.
    """
    if series.pixel_size is None:
        return 1
    return max(1, min(int(_FINEST / (10 * series.pixel_size) + 1e-6), 8, min(series.shape[1:]) // 32))


def network_tiling(pool: int = 1) -> Tiling:
    """Tiles for a network: lengths that suit the FFT, and a margin for what its convolutions do at a border.

    Large ones: the frequency branch sees a tile at once, and a lattice stands out of the noise the better the more of
    it is seen. Tiles of 128 instead of 256 pixels cost 0.3 dB with SFIN and 0.4 to 1.4 dB with SCGN.
    """
    from splatom.methods.denoise._tiles import Tiling

    return Tiling(512 * pool, 64 * pool, multiple=16 * pool, margin=8 * pool)


def loaded(network: str, variant: str, path: Path | None) -> tuple[nn.Module, Card]:
    """Load a network and its card.

    Raises
    ------
    JobError
        If the weights are missing, damaged or another network's.
    """
    from splatom.jobs.errors import JobError
    from splatom.weights import WeightsError, load

    try:
        return load(network, variant, path)
    except WeightsError as fault:
        raise JobError(str(fault)) from fault


def predictor(
    net: nn.Module, scale: Scale, device: str, channel: int = 0, *, flips: bool = False, pool: int = 1
) -> Function:
    """Return a function of one tile in the intensity of the series.

    The first output is an image in that intensity again, any other a map from 0 to 1. On CUDA the network runs in half
    precision, its Fourier transforms in single. With ``pool``, whose multiple the tile's sides are, the network sees
    the means of blocks, and what it says is interpolated by cubic splines.
    """
    import torch
    from scipy import ndimage

    from splatom.jobs.errors import JobError

    turns: list[tuple[int, ...]] = [(), (2,), (3,), (2, 3)] if flips else [()]

    def predict(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        given = scale.forward(tile)
        if pool > 1:
            rows, columns = (n // pool for n in given.shape)
            given = given.reshape(rows, pool, columns, pool).mean(axis=(1, 3))
        x = torch.from_numpy(given)[None, None].to(device)
        with torch.inference_mode(), torch.autocast(
            device.partition(":")[0], torch.float16, enabled=device.startswith("cuda")
        ):
            total = None
            for axes in turns:
                y = net(x.flip(axes)).float()
                if channel >= y.shape[1]:
                    raise JobError("these weights have no output 'detect'; choose enhance, or other weights")
                y = y[:, channel : channel + 1].flip(axes)
                total = y if total is None else total + y
        assert total is not None
        out = (total[0, 0] / len(turns)).cpu().numpy()
        if pool > 1:
            out = ndimage.zoom(out, pool, order=3, mode="nearest", grid_mode=True)
        if not np.isfinite(out).all():
            raise JobError("the network gave values that are not finite: its weights do not suit these images")
        return np.clip(out, 0.0, 1.0) if channel else scale.inverse(out)

    return predict


@contextmanager
def interruptible(net: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """Call a check before every layer: one tile of a large network takes a CPU seconds."""
    hooks = [
        part.register_forward_pre_hook(lambda *_: check()) for part in net.modules() if not any(part.children())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
