"""SCGN: HRTEM images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from splatom.data import TiltSeries
from splatom.methods.denoise._network import NetworkParams

if TYPE_CHECKING:
    from splatom.jobs import Job

__all__ = ["ScgnParams", "run"]


class ScgnParams(NetworkParams):
    """SCGN: a network for HRTEM images, of crystals and of what is disordered.

    It weighs what it sees by the local spread and by the bands of the spectrum, and was trained by us on simulated
    images with calibrated noise: pointwise, growing with the signal, and offsets of the camera's columns. The result is
    in the unit of the images, on one scale for all tilts. Source: Li, Wu, Shao and Fu, CVPR 2026 (arXiv 2603.18834);
    architecture as published, training data and weights our own.
    """

    method: Literal["scgn"] = "scgn"


def run(series: TiltSeries, job: Job[ScgnParams]) -> TiltSeries:
    """Return the denoised series, or its maps of atom columns."""
    from splatom.methods.denoise._network import run_network

    return run_network(series, job, "scgn", "columns")
