"""Which prior, and what speaks against it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.methods.reconstruct._temdiff_walk import noise_of

if TYPE_CHECKING:
    from splatom.geometry import ViewGeometry
    from splatom.jobs.job import Job
    from splatom.methods.reconstruct._temdiff_prior import Prior

__all__ = ["chosen", "misfits"]

_NOISE, _DRAWS = 0.3, 2  # its SD in the volume's scale, and how often it is drawn
_CLEARLY = 0.2  # between both kinds of held-out specimens of training lies about no difference
_ASIDE = 5.0  # degrees by which the middle of the tilts may lie off zero


def chosen(found: list[Prior], job: Job[Any], restored: dict[str, Any] | None) -> tuple[Prior, list[str]]:
    """Return the prior that is asked for, or that finds the data least surprising; and doubts about its kind.

    A prior tells its own kind by how well it takes noise off it, shown nothing else (A. Li et al., "Your Diffusion
    Model is Secretly a Zero-Shot Classifier", ICCV 2023). How well the estimates project to the tilts tells less:
    over a narrow range, the wrong prior's do as well.
    """
    if restored is not None:
        return next((one for one in found if one.name == restored["prior"]), found[0]), []
    kind, doubts = job.params.prior, []
    prior = next((one for one in found if one.name.endswith(kind)), found[0])
    if len(found) > 1:
        told = {one.name: _surprise(one) for one in found}
        job.note(prior_surprise={name: round(value, 3) for name, value in told.items()})
        best = min(found, key=lambda one: told[one.name])
        if kind == "auto":
            prior = best
        elif told[best.name] < told[prior.name] - _CLEARLY:
            doubts.append(f"these data look like what the prior {best.name} knows, not {prior.name}")
    job.note(prior=prior.name)
    return prior, doubts


def _surprise(prior: Prior) -> float:
    """Return the log of the mean square that denoising misses, of the classical reconstruction with noise put on."""
    x, total = prior.condition[0], 0.0
    alone = replace(prior, condition=torch.zeros_like(prior.condition))
    for k in range(_DRAWS):
        noisy = x + _NOISE * noise_of(x, k, _DRAWS)
        total += float((alone(noisy, _NOISE) - x).square().mean())
    return float(np.log(max(total / _DRAWS, 1e-30)))


def misfits(prior: Prior, geometry: ViewGeometry) -> list[str]:
    """Say where the data are unlike all that a prior has learnt from: range, contrast, axis."""
    trained = {} if prior.card is None else prior.card.trained
    angles = geometry.tilt_degrees
    half, out = float(np.ptp(angles)) / 2, []
    low, high = trained.get("half_range_degree", (0.0, 90.0))
    if not low * 0.9 <= half <= high * 1.1:
        out.append(f"the tilts span ±{half:.3g}°, the prior has seen ±{low:g}° to ±{high:g}°")
    low, high = trained.get("deviation", (0.0, np.inf))
    deviation = float(prior.condition[0].std())
    if not low * 0.7 <= deviation <= high * 1.4:
        out.append(
            f"the volume's contrast is {deviation:.2g} of its scale, the prior has seen {low:g} to {high:g}: crop to "
            "the specimen, or bin until details are a few voxels wide"
        )
    middle = float(angles.max() + angles.min()) / 2
    if abs(middle) > max(_ASIDE, half / 2):
        out.append(f"the tilts lie about {middle:.3g}°, the prior has seen them about 0°")
    if not geometry.is_single_axis:
        out.append("the prior takes the tilt axis to run along the image rows' direction, and here it does not")
    return out
