"""Which tilts to put in, and how each is seen: no image is looked at here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from splatom.geometry import ViewGeometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from splatom.data import TiltSeries

__all__ = ["Place", "Plan", "default_step", "plan", "sources"]

_SAME = 1e-3  # degrees, as in TiltSeries.groups: nearer angles are repeats
_SLACK = 1e-6  # of a step: what rounding of angles may add to a gap
_LOOSE = 0.02  # the same where views turn about more than the tilt axis, whose tilt angle is no exact number
_APART = 1.5, 5.0  # neighbours may differ by so much (a factor, and degrees) more than by their tilt


@dataclass(frozen=True, eq=False)
class Place:
    """One tilt to put in between two measured angles.

    Parameters
    ----------
    angle : float
        Its tilt angle in degrees.
    below, above : array of int
        Indices of the measured tilts at the nearest lower and higher angle, repeats together.
    t : float
        Position between the two, 0 to 1.
    gap : float
        Degrees between the two.
    rolls : (float, float)
        In-plane turns in degrees, from +column towards +row, that bring the lower and the upper neighbour to this view.
    rotation : array (3, 3)
    shift : array (2,)
        ``(column, row)`` in pixels, as in :class:`~splatom.geometry.ViewGeometry`.
    """

    angle: float
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    t: float
    gap: float
    rolls: tuple[float, float]
    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """The tilts to put in, by angle, and the step they were asked for with (None: by a list)."""

    places: tuple[Place, ...]
    step: float | None

    @property
    def angles(self) -> tuple[float, ...]:
        """Tilt angles in degrees."""
        return tuple(p.angle for p in self.places)


def sources(series: TiltSeries) -> NDArray[np.int64]:
    """Return the tilts to predict from, sorted by angle: measured, not held out, of a weight above zero."""
    use = np.flatnonzero(~series.synthetic & ~series.held_out & (series.weights > 0))
    return use[np.argsort(series.angles[use], kind="stable")]


def default_step(angles: NDArray[np.float64]) -> float:
    """Return half of the widest regular gap in degrees: one up to half as wide again as the median, no hole.

    Every regular gap of unevenly spaced tilts then gets one tilt, and a hole as many as its width asks for.
    """
    gaps = np.diff(np.sort(angles))
    gaps = gaps[gaps > _SAME]
    return float(gaps[gaps <= 1.5 * np.median(gaps)].max()) / 2


def plan(
    series: TiltSeries, step: float | None = None, angles: Sequence[float] = (), extrapolate: bool = False
) -> Plan:
    """Return which tilts to put in.

    Parameters
    ----------
    series : TiltSeries
        In any order, with repeats.
    step : float, optional
        Between neighbours a < b, ``ceil((b − a)/step − 1e-6) − 1`` tilts come at equal distances. Without a step and
        without angles, see :func:`default_step`.
    angles : sequence of float
        Tilt angles in degrees to put in besides; those that are there already are passed over.
    extrapolate : bool
        Whether these may lie outside the measured range.

    Raises
    ------
    ValueError
        If fewer than two different angles were measured, an angle lies outside, or the tilts turn about several axes.
    """
    use = sources(series)
    every = series.angles
    starts = np.flatnonzero(np.diff(every[use], prepend=-np.inf) > _SAME)
    groups = np.split(use, starts[1:])
    at = np.array([every[g[0]] for g in groups])
    if len(at) < 2:
        there = f"{at[0]:g}° only" if len(at) else "none that is measured, not held out and of a weight above zero"
        raise ValueError(f"two different tilt angles are needed to interpolate between; this series has {there}")
    if step is None and not len(angles):
        step = default_step(at)
    axis = _common_axis(series.geometry)
    if axis is None:
        _check_one_axis(series.geometry, groups, at)
    wanted = [] if step is None else _stepped(at, step, _SLACK if axis is not None else _LOOSE)
    for angle in angles:
        if not extrapolate and not at[0] - _SAME <= angle <= at[-1] + _SAME:
            raise ValueError(
                f"{angle:g}° lies outside the measured range, {at[0]:g}° to {at[-1]:g}°; only 'extrapolate' goes there"
            )
        wanted.append(float(angle))
    known = every[~series.held_out]
    places: list[Place] = []
    for angle in sorted(wanted):
        if np.abs(known - angle).min() <= _SAME or (places and angle - places[-1].angle <= _SAME):
            continue
        k = int(np.clip(np.searchsorted(at, angle) - 1, 0, len(at) - 2))
        places.append(_place(series.geometry, groups[k], groups[k + 1], (at[k], at[k + 1]), angle, axis))
    return Plan(tuple(places), step)


def _stepped(at: NDArray[np.float64], step: float, slack: float) -> list[float]:
    out: list[float] = []
    for a, b in pairwise(at.tolist()):
        count = int(np.ceil((b - a) / step - slack)) - 1
        out.extend(float(a + (b - a) * k / (count + 1)) for k in range(1, count + 1))
    return out


def _common_axis(geometry: ViewGeometry) -> float | None:
    """Return the in-plane angle of the axis that all views turn about; None where there is no such axis."""
    axis = geometry.axis_degrees
    same = ViewGeometry.single_axis(geometry.tilt_degrees, axis).rotations
    return axis if np.abs(same - geometry.rotations).max() < 1e-6 else None


def _place(
    geometry: ViewGeometry, below: NDArray[np.int64], above: NDArray[np.int64], ends: tuple[float, float],
    angle: float, axis: float | None,
) -> Place:  # fmt: skip
    gap = ends[1] - ends[0]
    t = (angle - ends[0]) / gap
    inside = min(max(t, 0.0), 1.0)
    shifts = [geometry.shifts[side].mean(axis=0) for side in (below, above)]
    shift = (1 - inside) * shifts[0] + inside * shifts[1]
    if axis is not None:
        rotation = ViewGeometry.single_axis([angle], axis).rotations[0]
        return Place(angle, below, above, inside, gap, (0.0, 0.0), rotation, shift)
    first, last = (geometry.rotations[side[0]] for side in (below, above))
    turn = _rotation_vector(last @ first.T)
    roll = float(np.rad2deg(turn[2]))
    rotation = _rotated(t * turn) @ first
    return Place(angle, below, above, inside, gap, (inside * roll, (inside - 1) * roll), rotation, shift)


def _check_one_axis(geometry: ViewGeometry, groups: list[NDArray[np.int64]], at: NDArray[np.float64]) -> None:
    """Raise ValueError if neighbours, or repeats of an angle, look along directions further apart than their tilt."""
    beams = geometry.beams[np.concatenate(groups)]
    angles = np.concatenate([np.full(len(g), a) for g, a in zip(groups, at, strict=True)])
    # A turn in the image plane does not count: it can be made good.
    apart = np.rad2deg(np.arccos(np.clip((beams[1:] * beams[:-1]).sum(axis=1), -1, 1)))
    excess = apart - (_APART[0] * np.diff(angles) + _APART[1])
    k = int(excess.argmax())
    if excess[k] > 0:
        raise ValueError(
            f"the views at {angles[k]:g}° and {angles[k + 1]:g}° look {apart[k]:.0f}° apart: tilts about "
            "several axes cannot be interpolated together; take the series of one axis at a time"
        )


def _rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the axis times the angle in radians of a rotation (3, 3), of at most half a turn."""
    from scipy.spatial.transform import Rotation

    out: NDArray[np.float64] = Rotation.from_matrix(rotation).as_rotvec()
    return out


def _rotated(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    out: NDArray[np.float64] = Rotation.from_rotvec(vector).as_matrix()
    return out
