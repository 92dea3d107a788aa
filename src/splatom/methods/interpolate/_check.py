"""The hold-out check of a method, with its own parameters, against linear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splatom.data import TiltSeries

if TYPE_CHECKING:
    from collections.abc import Callable

    from splatom.evaluate.interpolation import HoldOut
    from splatom.jobs import Job

__all__ = ["checked"]


def checked(series: TiltSeries, job: Job[Any]) -> HoldOut:
    """Predict every second measured tilt from the others, by the job's method and by linear.

    The figures go into the job's: PSNR, SSIM and MSE, and the error by band of spatial frequency.

    Raises
    ------
    ValueError
        See :func:`splatom.evaluate.interpolation.hold_out`.
    """
    from splatom.evaluate.interpolation import hold_out

    names = dict.fromkeys((job.params.method, "linear"))
    found = hold_out(series, {name: _by(name, job) for name in names})
    told = found.to_dict()
    job.figures["check"] = told
    for name, means in told["methods"].items():
        if means["psnr"] is not None:
            job.figures[f"check_psnr_{name}"] = means["psnr"]
    return found


def _by(name: str, job: Job[Any]) -> Callable[[TiltSeries, tuple[float, ...]], TiltSeries]:
    """Return a function that runs a method within a job, which stops it."""
    from splatom.jobs import Job as AnyJob
    from splatom.methods.registry import get

    model = get("interpolate", name).params

    def run(sparse: TiltSeries, angles: tuple[float, ...]) -> TiltSeries:
        given = job.params.model_dump() if name == job.params.method else {}
        params = model(**{**given, "step": None, "angles": angles, "check": False})
        inner: Any = AnyJob(params, device=job.device, seed=job.seed)
        inner.check = job.check
        inner.tick = lambda *_, **__: job.check()
        out: TiltSeries = get("interpolate", name).function(sparse, inner)
        return out

    return run
