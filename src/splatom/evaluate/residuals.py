"""How well a model predicts the measured images: R-factors per tilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from splatom.data import TiltSeries

__all__ = ["ReprojectionReport", "r_factor", "reprojection_report"]


def _stack(measured: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    m, p = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if m.shape != p.shape or m.ndim != 3:
        raise ValueError(f"measured {m.shape} and predicted {p.shape} have to be one (n_tilts, height, width)")
    return m, p


def r_factor(
    measured: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None = None, *, fit_gain: bool = True
) -> NDArray[np.float64]:
    """Crystallographic R1 of every tilt, ``Σ|g p − m| / Σ|m|``.

    Parameters
    ----------
    measured, predicted : array (n_tilts, height, width)
    mask : array of bool, optional
        Pixels to use; same shape.
    fit_gain : bool
        Whether a gain g per tilt is fitted by least squares. It is the only thing that may be fitted to held-out
        tilts: anything more would let them teach the model they are to judge.

    Returns
    -------
    array (n_tilts,)
        0 is perfect; NaN where nothing was measured.
    """
    m, p = _stack(measured, predicted)
    if mask is not None:
        use = np.asarray(mask, dtype=bool)
        if use.shape != m.shape:
            raise ValueError(f"mask has shape {use.shape}, expected {m.shape}")
        m, p = m * use, p * use
    if fit_gain:
        power = (p * p).sum(axis=(1, 2))
        gain = np.divide((p * m).sum(axis=(1, 2)), power, out=np.ones(len(p)), where=power > 0)
        p = p * gain[:, None, None]
    total = np.abs(m).sum(axis=(1, 2))
    out: NDArray[np.float64] = np.full(len(m), np.nan)
    np.divide(np.abs(p - m).sum(axis=(1, 2)), total, out=out, where=total > 0)
    return out


@dataclass(frozen=True, eq=False)
class ReprojectionReport:
    """R-factors of a model against a tilt series.

    Parameters
    ----------
    angles, per_tilt : array (n_tilts,)
        Degrees; R1.
    r : float
        Mean over the tilts that the model learned from.
    r_free : float, optional
        Mean over the held-out tilts within their range; None without any.
    r_outside : float, optional
        Mean over held-out tilts beyond the range of the others: the missing wedge, which R-free cannot test.
    """

    angles: NDArray[np.float64]
    per_tilt: NDArray[np.float64]
    r: float | None
    r_free: float | None = None
    r_outside: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "r": self.r,
            "r_free": self.r_free,
            "r_outside": self.r_outside,
            "angles": self.angles.tolist(),
            "r_per_tilt": [None if np.isnan(v) else float(v) for v in self.per_tilt],
        }


def reprojection_report(series: TiltSeries, predicted: ArrayLike) -> ReprojectionReport:
    """Score predicted images against a series: its own tilts, held-out ones, and held-out ones outside their range.

    Parameters
    ----------
    series : TiltSeries
        Measured; ``held_out`` and ``mask`` are respected, synthetic tilts are not scored.
    predicted : array (n_tilts, height, width)
    """
    per_tilt = r_factor(series.projections, predicted, series.mask)
    angles = series.angles
    learned = ~series.held_out & ~series.synthetic
    outside = np.zeros(len(series), dtype=bool)
    if learned.any():
        outside = (angles < angles[learned].min() - 1e-6) | (angles > angles[learned].max() + 1e-6)

    def mean(which: NDArray[np.bool_]) -> float | None:
        values = per_tilt[which & ~np.isnan(per_tilt)]
        return float(values.mean()) if len(values) else None

    held = series.held_out & ~series.synthetic
    return ReprojectionReport(angles, per_tilt, mean(learned), mean(held & ~outside), mean(held & outside))
