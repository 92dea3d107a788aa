"""Gold beads: found in every tilt, followed through them, and solved for together with the shifts and the axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splatom.methods.prepare._images import mad_sigma, turn_shifts
from splatom.methods.prepare._mass import orbit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from splatom.methods.prepare._upright import Upright

    Points = list[NDArray[np.float64]]

__all__ = ["BeadError", "Beads", "by_beads", "detect", "solve"]

_SIGMAS = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6)
_FEWEST = 4


class BeadError(ValueError):
    """There are no beads to go by."""


@dataclass(frozen=True, eq=False)
class Beads:
    """What the beads say.

    Parameters
    ----------
    shifts : array (n, 2)
        ``(across, along)`` of every tilt, in pixels.
    axis_degrees : float
        Angle of the tilt axis against the one that was assumed.
    positions : array (beads, 3)
        x, z and y of each bead about the centre, in pixels.
    rms : float
        Root mean square distance per coordinate of the beads from where the solution puts them, in pixels.
    """

    shifts: NDArray[np.float64]
    axis_degrees: float
    positions: NDArray[np.float64]
    rms: float


def detect(images: NDArray[np.float32], check: Callable[[], None]) -> tuple[Points, float]:
    """Find compact bright spots of one size, to a fraction of a pixel.

    The size is the one at which the strongest spots of the typical image stand out most from its noise.

    Returns
    -------
    points : list of array (m, 2)
        ``(column, row)`` about the centre of each image.
    sigma : float
        Size of the spots.
    """
    from scipy import ndimage

    def response(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        out: NDArray[np.float32] = -ndimage.gaussian_laplace(image, sigma, mode="nearest")
        return np.asarray(out / np.float32(max(mad_sigma(out), 1e-30)), np.float32)

    def strength(sigma: float) -> float:
        tops = []
        for image in images[:: max(1, len(images) // 7)]:
            spots = response(image, sigma)
            peaks = spots[ndimage.maximum_filter(spots, size=int(4 * sigma) | 1) == spots]
            tops.append(np.sort(peaks)[-12:].mean())
        check()
        return float(np.median(tops))

    sigma = max(_SIGMAS, key=strength)
    rim = int(np.ceil(2 * sigma)) + 1
    h, w = images.shape[1:]
    centre = np.array([(w - 1) / 2, (h - 1) / 2])
    points = []
    for image in images:
        check()
        spots = response(image, sigma)
        peak = ndimage.maximum_filter(spots, size=int(4 * sigma) | 1) == spots
        peak[:rim] = peak[-rim:] = peak[:, :rim] = peak[:, -rim:] = False
        top = np.sort(spots[peak])[::-1]
        if len(top) == 0:
            points.append(np.zeros((0, 2)))
            continue
        level = max(6.0, 0.45 * float(top[: min(10, len(top))].mean()))
        rows, columns = np.nonzero(peak & (spots >= level))
        keep = np.argsort(-spots[rows, columns])[:100]
        rows, columns = rows[keep], columns[keep]

        def vertex(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-12), np.float32)

        here = spots[rows, columns]
        dc = vertex(spots[rows, columns - 1], here, spots[rows, columns + 1])
        dr = vertex(spots[rows - 1, columns], here, spots[rows + 1, columns])
        points.append(np.stack([columns + dc, rows + dr], axis=1) - centre)
    return points, sigma


def solve(
    seen: NDArray[np.float64], angles: NDArray[np.float64], use: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, NDArray[np.float64]]:
    """Solve for beads, shifts and the axis by least squares with Huber weights.

    Parameters
    ----------
    seen : array (n, beads, 2)
        ``(across, along)`` of each bead in each tilt, NaN where it was not found.
    angles : array (n,)
    use : array (n,) of bool
        Tilts that place the beads; the others get their shift from the beads so placed.

    Returns
    -------
    positions : array (beads, 3)
        x, z, y.
    shifts : array (n, 2)
        In the frame of ``seen``.
    degrees : float
        Angle of the axis.
    rest : array (n, beads, 2)
        Found minus predicted, in the frame of the axis.
    """
    from scipy.optimize import minimize_scalar

    there = np.isfinite(seen[..., 0])
    weight = np.where(there, 1.0, 0.0)

    def at(degrees: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        turned = turn_shifts(np.nan_to_num(seen).reshape(-1, 2), -degrees).reshape(seen.shape)
        return _linear(turned, weight, angles, use)

    def cost(degrees: float) -> float:
        rest = at(degrees)[2]
        return float((weight[use, :, None] * rest[use] ** 2).sum())

    best = 0.0
    for width in (20.0, 3.0, 1.0):
        # Beads that were mistaken for others weigh less in each round.
        best = float(minimize_scalar(cost, bounds=(best - width, best + width), method="bounded").x)
        positions, shifts, rest = at(best)
        distance = np.hypot(rest[..., 0], rest[..., 1])
        scale = max(1.4826 * float(np.median(distance[there & use[:, None]])), 0.05)
        weight = np.where(there, np.minimum(1.0, 1.5 * scale / np.maximum(distance, 1e-9)), 0.0)
    return positions, turn_shifts(shifts, best), best, rest


def _linear(
    seen: NDArray[np.float64], weight: NDArray[np.float64], angles: NDArray[np.float64], use: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Solve for positions and shifts with the axis along the rows' direction."""
    n, m = weight.shape
    tilt, bead = np.nonzero((weight > 0) & use[:, None])
    basis = orbit(angles)
    root = np.sqrt(weight[tilt, bead])
    k = np.arange(len(tilt))
    across = np.zeros((len(k), 2 * m + n))
    across[k, bead], across[k, m + bead], across[k, 2 * m + tilt] = basis[tilt, 0], basis[tilt, 1], 1.0
    along = np.zeros((len(k), m + n))
    along[k, bead] = along[k, m + tilt] = 1.0

    def ridge(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        # What no bead determines (the specimen's place) is kept smallest; normal equations, as they are small.
        a = a * root[:, None]
        normal = a.T @ a
        out: NDArray[np.float64] = np.linalg.solve(
            normal + 1e-7 * np.trace(normal) / len(normal) * np.eye(len(normal)), a.T @ (b * root)
        )
        return out

    u = ridge(across, seen[tilt, bead, 0])
    v = ridge(along, seen[tilt, bead, 1])
    positions = np.stack([u[:m], u[m : 2 * m], v[:m]], axis=1)
    predicted = np.stack([basis @ positions[:, :2].T, np.broadcast_to(positions[:, 2], (n, m))], axis=-1)
    # The shift of each tilt, held out or not, is the weighted mean of what is left.
    total = np.maximum(weight.sum(axis=1), 1e-12)[:, None]
    shifts = ((seen - predicted) * weight[..., None]).sum(axis=1) / total
    return positions, shifts, np.where(weight[..., None] > 0, seen - predicted - shifts[:, None], 0.0)


def by_beads(
    up: Upright, check: Callable[[], None], start: NDArray[np.float64] | None = None, limit: float = 60.0
) -> Beads:
    """Align by gold beads.

    Parameters
    ----------
    up : Upright
        With dark beads in bright field turned bright.
    check : callable
    start : array (n, 2), optional
        Rough shifts ``(across, along)``; by cross-correlation otherwise.
    limit : float
        Largest shift for that, in pixels.

    Raises
    ------
    BeadError
        If there are none, or they cannot be followed.
    """
    from splatom.methods.prepare._coarse import chain

    points, sigma = detect(up.images, check)
    counts = np.array([len(p) for p in points])
    if np.median(counts[up.use]) < _FEWEST:
        raise BeadError(f"no gold beads were found (at least {_FEWEST} are needed in most tilts); use another kind")
    shifts = chain(up, whiten=0.3, limit=limit, check=check) if start is None else start
    seen = _follow(points, up, shifts, reach=max(4.0, 2 * sigma))
    degrees = 0.0
    for tolerance in (4.0, 2.5, 1.5):
        check()
        enough = np.isfinite(seen[up.use, :, 0]).mean(axis=0) >= 0.4
        seen = seen[:, enough]
        if seen.shape[1] < _FEWEST:
            raise BeadError("the spots that look like gold beads cannot be followed; use another kind")
        positions, shifts, degrees, rest = solve(seen, up.angles, up.use)
        seen = _matched(points, up, positions, shifts, degrees, max(tolerance, tolerance * sigma / 2))
    there = np.isfinite(seen[..., 0])
    positions, shifts, degrees, rest = solve(seen, up.angles, up.use)
    near = there & (np.hypot(rest[..., 0], rest[..., 1]) < 3.0)
    rms = float(np.sqrt((rest[near & up.use[:, None]] ** 2).mean()))
    per_tilt = near.sum(axis=1)
    share = near[up.use].sum() / max(counts[up.use].sum(), 1)
    if rms > 0.8 or per_tilt[up.use].min() < 3 or np.median(per_tilt) < _FEWEST or share < 0.3:
        raise BeadError(
            f"the spots that look like gold beads do not move as one body (rms {rms:.2f} px, "
            f"{int(np.median(per_tilt))} in a typical tilt); use another kind"
        )
    return Beads(shifts, degrees, positions, rms)


def _follow(points: Points, up: Upright, shifts: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Follow spots outward from zero tilt from neighbour to neighbour, (n, beads, 2) with NaN where lost.

    Beads lie on both faces of a film, so that they move by different amounts: the place (x, z, y) of each is fitted to
    what was seen of it so far, and a bead of unknown depth is looked for in a window that is wide across the axis.
    """
    from scipy.spatial import cKDTree

    from splatom.methods.prepare._coarse import neighbours

    pairs = neighbours(up.angles, up.use)
    first = pairs[0][0]
    basis = orbit(up.angles)
    rough, shifts = shifts, shifts.copy()
    seen = np.full((len(points), len(points[first]), 2), np.nan)
    seen[first] = points[first]
    for ref, i in pairs:
        if len(points[i]) == 0:
            continue
        # What was learnt at the neighbour holds here as well, foreshortened.
        shifts[i] += (shifts[ref] - rough[ref]) * (basis[i, 0] / basis[ref, 0], 1.0)
        places, known = _places(seen, shifts, basis)
        expected = np.stack([places[:, :2] @ basis[i], places[:, 2]], axis=1) + shifts[i]
        # The rough shift may be off by more than a spot: the displacement that most spots share puts it right.
        tree = cKDTree(points[i])
        sure = expected[known] if known.sum() >= _FEWEST else expected
        gaps = np.concatenate(
            [points[i][near] - e for e, near in zip(sure, tree.query_ball_point(sure, 5 * reach), strict=True)]
        )
        if len(gaps):
            vicinity = cKDTree(gaps).query_ball_point(gaps, reach / 2)
            jump = np.median(gaps[max(vicinity, key=len)], axis=0)
            shifts[i] += jump
            expected += jump
        step = abs(np.sin(np.deg2rad(up.angles[i] - up.angles[ref])))
        wide = np.where(known, 1.0, max(1.0, 0.4 * up.images.shape[2] * step / reach))
        apart = points[i][None] - expected[:, None]
        distance = np.hypot(apart[..., 0] / wide[:, None], apart[..., 1])
        at = distance.argmin(axis=1)
        found = (distance.min(axis=1) <= reach) & (distance.argmin(axis=0)[at] == np.arange(len(expected)))
        seen[i, found] = points[i][at[found]]
        if (found & known).sum() >= _FEWEST:
            shifts[i] += np.median(seen[i, found & known] - expected[found & known], axis=0)
    return seen


def _places(
    seen: NDArray[np.float64], shifts: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fit x, z, y of each bead to where it was seen, (beads, 3), and tell for which the depth is known."""
    there = np.isfinite(seen[..., 0])
    flat = np.where(there[..., None], seen - shifts[:, None], 0.0)
    out = np.zeros((seen.shape[1], 3))
    for k, rows in enumerate(there.T):
        # A pinch of ridge keeps the depth at zero until it shows.
        normal = basis[rows].T @ basis[rows] + np.diag([0.0, 1e-4])
        out[k, :2] = np.linalg.solve(normal, basis[rows].T @ flat[rows, k, 0])
        out[k, 2] = flat[rows, k, 1].mean()
    return out, there.sum(axis=0) >= 3


def _matched(
    points: Points,
    up: Upright,
    positions: NDArray[np.float64],
    shifts: NDArray[np.float64],
    degrees: float,
    tolerance: float,
) -> NDArray[np.float64]:
    """Match the spots of every tilt anew to where the solution expects the beads."""
    from scipy.spatial import cKDTree

    basis = orbit(up.angles)
    seen = np.full((len(points), len(positions), 2), np.nan)
    for i, spots in enumerate(points):
        if len(spots) == 0:
            continue
        flat = np.stack([positions[:, :2] @ basis[i], positions[:, 2]], axis=1)
        expected = turn_shifts(flat, degrees) + shifts[i]
        distance, at = cKDTree(spots).query(expected, distance_upper_bound=tolerance)
        back = cKDTree(expected).query(spots)[1]
        found = np.isfinite(distance)
        found[found] &= back[at[found]] == np.flatnonzero(found)
        seen[i, found] = spots[at[found]]
    return seen
