"""Interpolation by a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from splatom.data import TiltSeries, option
from splatom.methods.interpolate._fill import ReprojectingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from splatom.jobs import Job
    from splatom.methods.interpolate._neighbours import Pair
    from splatom.methods.interpolate._network import Views
    from splatom.methods.interpolate._plan import Place, Plan

__all__ = ["TsgnetParams", "run"]


class TsgnetParams(ReprojectingParams):
    """TSGNet: a network for any gap from 2 to 24 degrees and any angle in between.

    It was trained by us on simulated series. The full and the small variant know the tilt axis: they see both
    neighbours and what a quick reconstruction of all measured tilts shows at the new angle, and correct the blend of
    these; 'published' sees the two neighbours alone, as video interpolation does. All tilts are on one scale; each new
    one has the total intensity of the linear one. What comes is a mix of the network's tilt, 'sinogram's and the
    linear one: the one, and the weight of the reconstruction's total variation, by which held-out tilts of the
    series itself are best predicted. Source: Sagar et al., NeurIPS workshop ML4PS (2025), after IFRNet, L. Kong et al.,
    CVPR 2022; the variants that know the axis, training data and weights are our own.
    """

    method: Literal["tsgnet"] = "tsgnet"
    variant: Literal["auto", "full", "small", "published"] = option(
        "auto", "Network", "auto is the full one where its weights ship; the small one suits a laptop's CPU."
    )
    weights: Path | None = option(None, "Own weights", "A .safetensors file of 'splatom train'.", advanced=True)


def run(series: TiltSeries, job: Job[TsgnetParams]) -> TiltSeries:
    """Return the series with its gaps filled."""
    from splatom.methods.denoise._network import interruptible, loaded
    from splatom.methods.interpolate._fill import filled, planned
    from splatom.methods.interpolate._network import prepared_views
    from splatom.methods.interpolate._plan import sources
    from splatom.methods.interpolate._trust import SMOOTHINGS, default_passes, found_trust

    p = job.params
    net, card = loaded("tsgnet", p.variant, p.weights)
    order = planned(series, job)
    if not order.places:
        return series.sorted()
    job.note(network=f"tsgnet {card.variant}", weights_file=str(p.weights or "shipped"))
    _note_gaps(order, card.trained.get("gap_degree"), job)
    net.to(job.device)
    used = sources(series)
    passes = p.passes or default_passes((len(used), *series.shape[1:]))
    # The published network sees no reconstruction: there is no smoothing to choose, and nothing beside itself.
    corrects = getattr(net, "uses_reprojection", False)
    smoothing = p.smoothing if corrects else SMOOTHINGS[1]

    def make(given: TiltSeries, used: NDArray[np.int64], places: tuple[Place, ...], smoothing: float) -> Views:
        return prepared_views(net, given, used, places, job, smoothing, passes)

    with interruptible(net, job.check):
        trust = found_trust(series, make, job, smoothing, p.share, predictors=2 if corrects else 1)
        job.tick(1, 2 + len(order.places))
        views = make(series, used, order.places, trust.smoothing)
        job.tick(2, 2 + len(order.places))
        numbers = {id(place): k for k, place in enumerate(order.places)}

        def predict(place: Place, pair: Pair) -> NDArray[np.float32]:
            return trust.applied(views(numbers[id(place)], place), place, pair)

        return filled(series, job, order, predict, begin=2)


def _note_gaps(order: Plan, trained: tuple[float, float] | None, job: Job[TsgnetParams]) -> None:
    if trained is None:
        return
    widest = max(place.gap for place in order.places)
    if widest > 2 * trained[1] * 1.05:
        job.note(wide_gap=f"gaps of {widest:.3g} degrees; the network has seen none beyond {2 * trained[1]:g}")
