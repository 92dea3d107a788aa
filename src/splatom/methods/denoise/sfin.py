"""SFIN: STEM images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from splatom.data import TiltSeries, option
from splatom.methods.denoise._network import NetworkParams

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["SfinParams", "run"]


class SfinParams(NetworkParams):
    """SFIN: a network for STEM images, dark field and bright field.

    Spatial and frequency features exchange what they find. It was trained by us on simulated images with calibrated
    noise: background, scan noise along the rows, pointwise noise. Bright-field images are shown as their negative. The
    result is in the unit of the images, on one scale for all tilts. Source: Li, Wu, Shao, Zhang
    and Fu, CVPR 2025 (arXiv 2504.02555); architecture as published, training data and weights our own.
    """

    method: Literal["sfin"] = "sfin"
    mode: Literal["auto", "haadf", "bf"] = option(
        "auto", "Mode", "Whether atoms are bright (haadf) or dark (bf); auto: from the contrast of the series."
    )


def run(series: TiltSeries, job: Job[SfinParams]) -> TiltSeries:
    """Return the denoised series, or its maps of atom columns."""
    from splatom.methods.denoise._network import run_network

    mode = job.params.mode
    if mode == "auto":
        mode = "bf" if series.contrast == "bf" else "haadf"
        job.note(mode=mode)
    return run_network(series, job, "sfin", "rows", -1 if mode == "bf" else 1)
