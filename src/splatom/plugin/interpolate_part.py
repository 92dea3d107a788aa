"""What the dock Interpolate knows of gaps, and one predicted tilt beside its neighbours. No Qt here.

:func:`predict` is a runner of :class:`splatom.jobs.Task`: it is called in the process that computes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import TiltSeries
from splatom.jobs import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "Beside", "Frame", "Gaps", "Wanted", "affordable", "beside", "degrees", "gaps_of", "in_words", "only", "predict",
    "stepped", "strip",
]  # fmt: skip

_MOST = 2000  # new tilts; above that a step was mistyped
_SAME = 1e-3  # degrees, as in the methods: nearer angles are repeats
_ROWS = (32, 64, 128, 256, 512)  # that a preview may take


def degrees(angle: float) -> str:
    """Return an angle as people write it: '−12.5°'."""
    return f"{round(float(angle), 2) + 0.0:g}°".replace("-", "−")


# ---------------------------------------------------------------- gaps
@dataclass(frozen=True, eq=False)
class Gaps:
    """The gaps of a series and the tilts that would go into them; angles in degrees.

    Parameters
    ----------
    at : array (m,)
        Different measured angles, sorted.
    new : array (n,)
        Angles of the tilts to come, sorted.
    wide : array (k, 2)
        First and last angle of every gap that new tilts go into.
    step : float, optional
        The step that is kept to, decided or given; None where angles were listed.
    edge : float
        Pixels from the tilt axis to the edge of the field.
    nbytes : int
        That the new tilts take.
    """

    at: NDArray[np.float64]
    new: NDArray[np.float64]
    wide: NDArray[np.float64]
    step: float | None
    edge: float
    nbytes: int

    @property
    def usual(self) -> float:
        """Median gap."""
        return float(np.median(np.diff(self.at)))

    @property
    def widest(self) -> tuple[float, float]:
        """First and last angle of the widest gap."""
        k = int(np.diff(self.at).argmax())
        return float(self.at[k]), float(self.at[k + 1])


def gaps_of(series: TiltSeries, params: Any) -> Gaps:
    """Plan the tilts that a method would put in.

    Parameters
    ----------
    series : TiltSeries
    params : FillParams
        Its step, angles and extrapolate.

    Raises
    ------
    ValueError
        If there is nothing to interpolate between, or far too much; one line.
    """
    from splatom.methods.interpolate._plan import plan, sources

    every = np.sort(series.angles[sources(series)])
    at = every[np.diff(every, prepend=-np.inf) > _SAME]
    if params.step is not None and len(at) > 1 and (count := np.ptp(at) / params.step) > _MOST:
        raise ValueError(f"a step of {params.step:g}° would make some {count:,.0f} new tilts: take a larger one")
    found = plan(series, params.step, params.angles, params.extrapolate)
    new = np.array(found.angles)
    inside = new[(new > at[0]) & (new < at[-1])]
    holes = np.unique(np.searchsorted(at, inside))
    wide = np.stack([at[holes - 1], at[holes]], axis=1) if len(holes) else np.zeros((0, 2))
    return Gaps(at, new, wide, found.step, series.shape[2] / 2, len(new) * series.projections[0].nbytes)


def in_words(gaps: Gaps, auto: bool) -> str:
    """Say what the gaps are and what would come into them.

    Parameters
    ----------
    gaps : Gaps
    auto : bool
        Whether the step was decided, not given.
    """
    first, last = gaps.widest
    even = last - first < 1.05 * gaps.usual
    hole = "" if even else f", at most {degrees(last - first)} ({degrees(first)} to {degrees(last)})"
    moves = gaps.edge * np.sin(np.deg2rad(min(gaps.usual, 90.0)))
    kind = "" if even else "mostly "
    edge = f"From tilt to tilt the field's edge moves by {moves:.1f} px."
    lines = [f"{len(gaps.at)} angles, {kind}{degrees(gaps.usual)} apart{hole}. {edge}"]
    if not len(gaps.new):
        what = f"No gap is wider than {degrees(gaps.step)}" if gaps.step else "These angles are there already"
        lines.append(f"{what}: there is nothing to put in.")
    else:
        many = "1 tilt" if len(gaps.new) == 1 else f"{len(gaps.new)} tilts"
        holes = "1 gap" if len(gaps.wide) == 1 else f"{len(gaps.wide)} gaps"
        kept = f", at most {degrees(gaps.step)} apart" if gaps.step is not None else ""
        decided = " (auto)" if auto and gaps.step is not None else ""
        lines.append(f"To come: <b>{many}</b> in {holes}{kept}{decided}, {_size(gaps.nbytes)}.")
    return "<br>".join(lines)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{max(nbytes / 1e6, 0.1):.1f} MB"


# ---------------------------------------------------------------- rows that are enough
def strip(series: TiltSeries, centre: float, rows: int | None) -> tuple[TiltSeries, int]:
    """Return some rows of a series about a row, and the first; all of them where rows are not slices of their own."""
    height = series.shape[1]
    if rows is None or rows >= height or not series.geometry.is_single_axis:
        return series, 0
    first = int(np.clip(round(centre - rows / 2), 0, height - rows))
    cut = slice(first, first + rows)
    mask = None if series.mask is None else series.mask[:, cut]
    return series.with_(projections=series.projections[:, cut], mask=mask), first


def affordable(rate: float | None, height: int, seconds: float = 3.0) -> int:
    """Return the rows that are done in a time, at so many seconds a row; some to begin with if that is not known."""
    if rate is None:
        return min(_ROWS[1], height)
    if rate * height <= seconds:
        return height
    return min(max([n for n in _ROWS if n * rate <= seconds], default=_ROWS[0]), height)


# ---------------------------------------------------------------- one tilt beside its neighbours
@dataclass(frozen=True, eq=False)
class Wanted:
    """A series, the angle in degrees to predict, and the row of the image that the series begins with."""

    series: TiltSeries
    angle: float
    first: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """One tilt: its angle in degrees, its image (rows, columns), and whether it was predicted."""

    angle: float
    image: NDArray[np.float32]
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class Beside:
    """A tilt and the tilts on both sides of it.

    Parameters
    ----------
    below, here, above : Frame
    beyond : array (rows, columns), optional
        A predicted tilt less the linear mean of its neighbours; None for a measured tilt, and where they are the same.
    seconds : float
        That the prediction took.
    notes : dict
        What the method decided.
    first : int
        Row of the image that the pictures begin with.
    """

    below: Frame
    here: Frame
    above: Frame
    beyond: NDArray[np.float32] | None = None
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)
    first: int = 0


def beside(
    series: TiltSeries, angle: float, image: NDArray[np.float32], seconds: float = 0.0,
    notes: dict[str, Any] | None = None,
) -> Beside:  # fmt: skip
    """Put a predicted tilt beside the measured tilts that are nearest.

    Parameters
    ----------
    series : TiltSeries
        What it was predicted from.
    angle : float
        In degrees.
    image : array (rows, columns)
    seconds, notes
        See :class:`Beside`.
    """
    from splatom.methods.interpolate._neighbours import neighbours
    from splatom.methods.interpolate._plan import plan

    measured = series[~series.synthetic]
    place = plan(measured, None, (angle,), extrapolate=True).places[0]
    linear = neighbours(measured, place).blend(place.t)
    nearest = place.below[0], place.above[0]
    below, above = (Frame(float(measured.angles[i]), measured.projections[i]) for i in nearest)
    beyond = image - linear
    same = np.abs(beyond).max() <= 1e-5 * max(float(np.abs(linear).max()), 1e-30)
    return Beside(below, Frame(angle, image, True), above, None if same else beyond, seconds, notes or {})


def stepped(data: TiltSeries, result: TiltSeries, index: int) -> Beside:
    """Return one tilt of a filled series: a new one beside its measured neighbours, a measured one beside any."""
    if result.synthetic[index] and not data.synthetic.any():
        return beside(data, float(result.angles[index]), result.projections[index])
    below, here, above = (
        Frame(float(result.angles[i]), result.projections[i], bool(result.synthetic[i]))
        for i in (max(index - 1, 0), index, min(index + 1, len(result) - 1))
    )
    return Beside(below, here, above)


def only(params: Any, angles: tuple[float, ...], known: Mapping[str, Any] | None = None) -> Any:
    """Return a method's parameters that ask for some angles and nothing else, not for a check either.

    What the method would first find out, and is known from before, is given to it.
    """
    fields = {**params.model_dump(), "step": None, "angles": angles}
    for name, value in (known or {}).items():
        if name in fields and fields[name] is None:
            fields[name] = value
    return type(params)(**{k: False if k == "check" else v for k, v in fields.items()})


def predict(group: str, name: str, wanted: Wanted, job: Any) -> Beside:
    """Predict one tilt, whose angle the parameters list, as the whole run would."""
    from splatom.methods import execute
    from splatom.operators.device import choose_device

    job.device = choose_device(job.device)  # what is loaded once is not to count
    began = time.perf_counter()
    result = execute(group, name, wanted.series, job)
    seconds = time.perf_counter() - began
    new = np.flatnonzero(result.synthetic & (np.abs(result.angles - wanted.angle) < _SAME))
    if not len(new):
        raise JobError(f"there is a tilt at {degrees(wanted.angle)} already")
    notes = {k: v for k, v in job.notes.items() if k != "new_tilts"}
    found = beside(wanted.series, wanted.angle, np.array(result.projections[new[0]]), seconds, notes)
    return replace(found, first=wanted.first)
