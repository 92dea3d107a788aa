"""Which prior, and what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.methods.reconstruct._temdiff_walk import LOWEST

if TYPE_CHECKING:
    from splatom.geometry import ViewGeometry
    from splatom.jobs.job import Job
    from splatom.methods.reconstruct._temdiff_data import Evidence
    from splatom.methods.reconstruct._temdiff_prior import Prior

__all__ = ["chosen", "misfits"]

_BETTER = 0.9  # of a prior's misfit: another prior below that fits the data clearly better
_ASIDE = 5.0  # degrees by which the middle of the tilts may lie off zero


def chosen(
    found: list[Prior], evidence: Evidence, job: Job[Any], restored: dict[str, Any] | None
) -> tuple[Prior, list[str]]:
    """Return the prior that is asked for, or whose first estimate projects most like the data; and doubts about it.

    The estimates are compared before the data have a say in them, by R.
    """
    if restored is not None:
        return next((one for one in found if one.name == restored["prior"]), found[0]), []
    kind, doubts = job.params.prior, []
    prior = next((one for one in found if one.name.endswith(kind)), found[0])
    if len(found) > 1:
        r = {one.name: _first_misfit(one, evidence) for one in found}
        job.note(prior_misfit={name: round(value, 4) for name, value in r.items()})
        best = min(found, key=lambda one: r[one.name])
        if kind == "auto":
            prior = best
        elif r[best.name] < _BETTER * r[prior.name]:
            doubts.append(f"the prior {best.name} agrees better with the tilts")
    job.note(prior=prior.name)
    return prior, doubts


def _first_misfit(prior: Prior, evidence: Evidence) -> float:
    clean = prior(prior.condition[0], LOWEST)
    residual = evidence.data - evidence.problem.forward(clean)
    return float(evidence.problem.r_factors(residual * evidence.scale)["r"])


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
