"""How much noise there is, and how wide a filter should be, from the images themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import TiltSeries
    from splatom.jobs import Job
    from splatom.methods.denoise._scale import Scale

__all__ = ["best_width", "noise_of", "sample", "scaled"]

_SAMPLED = 5  # tilts that a decision looks at


def sample(series: TiltSeries, side: int = 512) -> list[NDArray[np.float32]]:
    """Return the middles (``side`` pixels at most) of a few measured tilts at even distances, to decide from."""
    from splatom.methods.denoise._apply import filled

    use = np.flatnonzero(~(series.synthetic | series.held_out))
    use = use if len(use) else np.arange(len(series))
    chosen = use[np.unique(np.linspace(0, len(use) - 1, min(_SAMPLED, len(use))).round().astype(int))]
    top, left = (max(0, (n - side) // 2) for n in series.shape[1:])
    return [filled(series, int(i))[0][top : top + side, left : left + side] for i in chosen]


def noise_of(images: Sequence[NDArray[np.float32]]) -> float:
    """Estimate the standard deviation of the pointwise noise, in the images' unit: the median over them.

    The second difference along both axes cancels what is smooth along either, lines of a scan too (J. Immerkær,
    Comput. Vis. Image Underst. 64, 300, 1996); here with the median absolute deviation, which edges move little.
    """
    found = []
    for image in images:
        if min(image.shape) < 4:
            found.append(float(image.std()))
            continue
        twice = np.diff(np.diff(image.astype(np.float64), 2, axis=0), 2, axis=1)
        found.append(float(np.median(np.abs(twice))) * 1.4826 / 6)
    return float(np.median(found))


def best_width(
    images: Sequence[NDArray[np.float32]],
    widths: Sequence[float],
    blind: Callable[[NDArray[np.float32], float], NDArray[np.float32]],
    check: Callable[[], None],
) -> float:
    """Choose the width at which a filter that does not see the pixel itself predicts it best.

    For noise that is independent from pixel to pixel the error of such a prediction is the error against the truth
    plus a constant (J. Batson & L. Royer, ICML 2019, proposition 1).

    Parameters
    ----------
    images : sequence of array
    widths : sequence of float
        Increasing.
    blind : callable
        ``blind(image, width)`` is the filtered image, each pixel without its own share.
    check : callable
        Called between two filterings.
    """
    errors = np.zeros(len(widths))
    for k, width in enumerate(widths):
        for image in images:
            check()
            # The images weigh alike, however bright.
            errors[k] += float(np.mean((blind(image, width) - image) ** 2)) / max(float(image.var()), 1e-30)
    return float(widths[int(errors.argmin())])


def scaled(series: TiltSeries, noise: float | None, job: Job[Any]) -> tuple[Scale, float]:
    """Return the series' scale and its noise in that scale, measured where none is given; a note says it.

    The libraries' arithmetic suits numbers about one. Without any noise there is next to nothing to take away.
    """
    from splatom.methods.denoise._scale import Scale

    found = noise_of(sample(series)) if noise is None else noise
    scale = Scale.of(series, check=job.check)
    job.note(noise=float(f"{found:.4g}"))
    return scale, max(found / (scale.sd or 1.0), 1e-4)
