"""Peaks of a volume: local maxima, thinned to a least distance, and placed to a fraction of a voxel.

Pure functions of arrays, in voxels: a position is ``(z, y, x)`` as an index, fractions allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import erf, exp, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Fitted",
    "fit_gaussians",
    "fit_polynomials",
    "local_maxima",
    "share_in_ball",
    "sum_in_balls",
    "thin",
]

_CHUNK = 4096  # peaks fitted at once: keeps the patches of a ball of radius 5 below 20 MB


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a local fit says of each peak.

    Parameters
    ----------
    positions : array (n, 3)
        In voxels.
    heights : array (n,)
        The fit's value at its maximum, above its background where it has one.
    sigma : array (n, 3)
        Standard deviations in voxels along z, y and x; NaN where the fit is not one of a peak.
    good : array (n,) of bool
        Whether the fit found a maximum within a voxel of where it began; the others stay where they were.
    """

    positions: Floats
    heights: Floats
    sigma: Floats
    good: NDArray[np.bool_]


def local_maxima(
    volume: NDArray[Any], min_distance: float, threshold: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the maxima of a volume that stand at least a distance apart.

    A maximum is a voxel not below any of its 26 neighbours; the outermost voxels, which have not as many, are left
    out. Each is placed by the parabola through its neighbourhood of 27 voxels. Where two are nearer than the least
    distance the lower one goes, from the highest down.

    Parameters
    ----------
    volume : array (z, y, x)
    min_distance : float
        In voxels.
    threshold : float, optional
        Least value of a maximum; by default anything above the volume's lowest value.

    Returns
    -------
    positions : array (n, 3), float64
        In voxels, highest first.
    heights : array (n,), float64
        Values of the parabolas at their tops.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    data = np.asarray(volume, dtype=np.float32)
    if min(data.shape) < 3:
        return np.zeros((0, 3)), np.zeros(0)
    least = float(data.min()) if threshold is None else threshold
    top = maximum_filter(data, size=3, mode="nearest") == data
    top &= data > least
    top[[0, -1]] = top[:, [0, -1]] = top[:, :, [0, -1]] = False
    # Within a flat stretch every voxel is as high as its neighbours; none of them is a peak.
    top &= minimum_filter(data, size=3, mode="nearest") < data
    at = np.argwhere(top)
    at = at[np.argsort(-data[tuple(at.T)], kind="stable")]
    # Noise has a maximum in every 30 voxels: most go before they are placed, with a margin for the placing.
    at = at[thin(at.astype(np.float64), min_distance - 1.0)]
    positions, heights = _parabolas(data, at)
    order = np.argsort(-heights, kind="stable")
    order = order[thin(positions[order], min_distance)]
    return positions[order], heights[order]


def thin(positions: NDArray[np.float64], min_distance: float) -> NDArray[np.bool_]:
    """Say which points stay if, from the first on, each drives away those that follow within a distance.

    Parameters
    ----------
    positions : array (n, 3)
        The most important first.
    min_distance : float

    Returns
    -------
    array (n,) of bool
    """
    from scipy.spatial import cKDTree

    n = len(positions)
    stays = np.ones(n, dtype=bool)
    if n < 2 or min_distance <= 0:
        return stays
    pairs = cKDTree(positions).query_pairs(min_distance, output_type="ndarray")
    first, second = pairs.min(axis=1), pairs.max(axis=1)
    undecided = np.ones(n, dtype=bool)
    # In each round those stay that no undecided point before them is near to, and drive their neighbours away.
    while len(first):
        hindered = np.zeros(n, dtype=bool)
        hindered[second] = True
        settled = undecided & ~hindered
        undecided &= hindered
        gone = second[settled[first]]
        stays[gone] = undecided[gone] = False
        left = undecided[first] & undecided[second]
        first, second = first[left], second[left]
    return stays


# ------------------------------------------------------------------------------------------------ polynomials
@cache
def _ball(radius: float) -> NDArray[np.int64]:
    """Offsets (m, 3) of the voxels within a radius of one."""
    reach = int(np.floor(radius))
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    out: NDArray[np.int64] = grid[(grid**2).sum(axis=1) <= radius**2 + 1e-9]
    out.setflags(write=False)
    return out


@cache
def _powers(order: int) -> NDArray[np.int64]:
    """Exponents (k, 3) of all monomials of z, y, x up to a total order."""
    return np.array([p for p in product(range(order + 1), repeat=3) if sum(p) <= order])


def _monomials(at: Floats, powers: NDArray[np.int64], derivative: tuple[int, ...] = ()) -> Floats:
    """Values (n, k) of monomials, or of their derivatives along some axes, at points (n, 3)."""
    factor, left = np.ones(len(powers)), powers.copy()
    for axis in derivative:
        factor = factor * left[:, axis]
        left[:, axis] = np.maximum(left[:, axis] - 1, 0)
    table = at[:, :, None] ** np.arange(powers.max() + 1)
    out: Floats = factor * table[:, 0, left[:, 0]] * table[:, 1, left[:, 1]] * table[:, 2, left[:, 2]]
    return out


@cache
def _solver(radius: float, order: int) -> Floats:
    """Return the weighted pseudo-inverse (k, m) that takes a ball of values to a polynomial's coefficients.

    Weights are exp(−r²/R²), as in the tracing code of the Miao group.
    """
    ball = _ball(radius).astype(np.float64)
    weight = np.exp(-(ball**2).sum(axis=1) / radius**2)
    root = np.sqrt(weight)
    out: Floats = np.linalg.pinv(root[:, None] * _monomials(ball, _powers(order))) * root
    return out


def _patches(data: NDArray[np.float32], at: NDArray[np.int64], ball: NDArray[np.int64]) -> Floats:
    """Values (n, m) of a ball about each voxel; beyond the edge the edge's value goes on."""
    index = at[:, None, :] + ball[None]
    for axis, length in enumerate(data.shape):
        np.clip(index[..., axis], 0, length - 1, out=index[..., axis])
    out: Floats = data[index[..., 0], index[..., 1], index[..., 2]].astype(np.float64)
    return out


def _solve_step(hessian: Floats, gradient: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return Newton's steps (n, 3) to the tops, and where there is one (the Hessian is negative definite)."""
    values, vectors = np.linalg.eigh(hessian)
    good = values[:, -1] < -1e-6 * np.abs(values[:, 0])
    safe = np.minimum(values, -1e-30)
    along = np.einsum("nij,ni->nj", vectors, gradient) / -safe
    step: Floats = np.where(good[:, None], np.einsum("nij,nj->ni", vectors, along), 0.0)
    return step, good


def _parabolas(data: NDArray[np.float32], at: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Place maxima by the parabola through 27 voxels: positions (n, 3) and heights (n,)."""
    positions, heights = at.astype(np.float64), np.zeros(len(at))
    for start in range(0, len(at), 16 * _CHUNK):
        part = slice(start, start + 16 * _CHUNK)
        c = _patches(data, at[part], _ball(sqrt(3.0))) @ _solver(sqrt(3.0), 2).T
        step, value = np.zeros((len(c), 3)), data[tuple(at[part].T)].astype(np.float64)
        where = {tuple(p): i for i, p in enumerate(_powers(2).tolist())}
        unit = np.eye(3, dtype=int)
        gradient = np.stack([c[:, where[tuple(unit[a].tolist())]] for a in range(3)], axis=1)
        hessian = np.stack(
            [
                np.stack([c[:, where[tuple((unit[a] + unit[b]).tolist())]] * (2 if a == b else 1) for b in range(3)], 1)
                for a in range(3)
            ],
            axis=1,
        )
        step, _ = _solve_step(hessian, gradient)
        np.clip(step, -0.5, 0.5, out=step)
        positions[part] += step
        heights[part] = value + 0.5 * (gradient * step).sum(axis=1)
    return positions, heights


def fit_polynomials(
    volume: NDArray[Any],
    positions: NDArray[np.float64],
    radius: float = 3.0,
    order: int = 4,
    *,
    tick: Callable[[], None] | None = None,
) -> Fitted:
    """Place peaks at the maximum of a 3-D polynomial fitted to a ball of voxels about each.

    The ball and its weights are the same about every voxel, so that one pseudo-inverse serves all of them; Newton's
    steps on the polynomial, at most half a voxel each, follow. Peaks that wander to another voxel are fitted there
    again. This is the fit of atomic electron tomography's tracing codes (Yang et al., Nature 542, 75, 2017; order 4 in
    a radius of 3 voxels), without its loop over peaks.

    Parameters
    ----------
    volume : array (z, y, x)
    positions : array (n, 3)
        Where the peaks are to about a voxel.
    radius : float
        Of the ball, in voxels; grown where it holds too few voxels for the order.
    order : int
        Highest total order of the polynomial.
    tick : callable, optional
        Called between pieces.

    Returns
    -------
    Fitted
        ``sigma`` is that of the Gaussian of equal height and curvature.
    """
    data = np.asarray(volume, dtype=np.float32)
    powers = _powers(order)
    while np.linalg.matrix_rank(_monomials(_ball(radius).astype(np.float64), powers)) < len(powers):
        radius += 0.25
    parts = []
    for start in range(0, len(positions), _CHUNK):
        if tick is not None:
            tick()
        parts.append(_polynomials(data, positions[start : start + _CHUNK], radius, order))
    return _joined(parts)


def _polynomials(data: NDArray[np.float32], begun: Floats, radius: float, order: int) -> Fitted:
    ball, powers, solver = _ball(radius), _powers(order), _solver(radius, order)
    upper = np.array(data.shape) - 1
    voxel = np.clip(np.rint(begun), 0, upper).astype(np.int64)
    offset = begun - voxel
    n = len(begun)
    good, height, curvature = np.ones(n, dtype=bool), np.zeros(n), np.zeros((n, 3))
    todo = np.arange(n)
    for _ in range(4):  # a peak changes its voxel once or twice at most
        if len(todo) == 0:
            break
        c = _patches(data, voxel[todo], ball) @ solver.T
        at = offset[todo]
        for _ in range(8):
            gradient = np.stack([(_monomials(at, powers, (a,)) * c).sum(axis=1) for a in range(3)], axis=1)
            hessian = np.empty((len(at), 3, 3))
            for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
                hessian[:, a, b] = hessian[:, b, a] = (_monomials(at, powers, (a, b)) * c).sum(axis=1)
            step, fine = _solve_step(hessian, gradient)
            at = np.clip(at + np.clip(step, -0.5, 0.5), -1.5, 1.5)
            if np.abs(step).max() < 1e-4:
                break
        offset[todo], good[todo] = at, fine & (np.abs(step).max(axis=1) < 0.05)
        height[todo] = (_monomials(at, powers) * c).sum(axis=1)
        curvature[todo] = -hessian[:, [0, 1, 2], [0, 1, 2]]
        moved = np.rint(at)
        away = np.abs(moved).max(axis=1) > 0
        todo, moved = todo[away], moved[away].astype(np.int64)
        fresh = np.clip(voxel[todo] + moved, 0, upper)
        offset[todo] -= fresh - voxel[todo]
        voxel[todo] = fresh
    found = voxel + offset
    good &= (np.linalg.norm(found - begun, axis=1) < 1.75) & (height > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma = np.sqrt(np.where(curvature > 0, height[:, None] / curvature, np.nan))
    sigma[~good] = np.nan
    return Fitted(np.where(good[:, None], found, begun), height, sigma, good)


# ------------------------------------------------------------------------------------------------ Gaussians
def fit_gaussians(
    volume: NDArray[Any],
    positions: NDArray[np.float64],
    radius: float = 3.0,
    *,
    passes: int = 12,
    tick: Callable[[], None] | None = None,
) -> Fitted:
    """Fit a Gaussian with widths of its own along z, y and x, on an even background, to a ball about each peak.

    Least squares by Levenberg's and Marquardt's steps, all peaks at once.

    Parameters
    ----------
    volume : array (z, y, x)
    positions : array (n, 3)
        Where the peaks are to about a voxel.
    radius : float
        Of the ball, in voxels.
    passes : int
        Steps made.
    tick : callable, optional
        Called between pieces.
    """
    data = np.asarray(volume, dtype=np.float32)
    radius = max(radius, 2.0)
    parts = []
    for start in range(0, len(positions), _CHUNK):
        if tick is not None:
            tick()
        parts.append(_gaussians(data, positions[start : start + _CHUNK], radius, passes))
    return _joined(parts)


def _gaussians(data: NDArray[np.float32], begun: Floats, radius: float, passes: int) -> Fitted:
    ball = _ball(radius)
    voxel = np.rint(begun).astype(np.int64)
    values = _patches(data, voxel, ball)
    grid = ball.astype(np.float64)
    n = len(begun)
    low, high = values.min(axis=1), values.max(axis=1)
    scale = np.maximum(high - low, 1e-30)
    values = (values - low[:, None]) / scale[:, None]
    # Parameters: height, z, y, x, log σ of each axis, background.
    p = np.zeros((n, 8))
    p[:, 0], p[:, 1:4], p[:, 4:7] = 1.0, begun - voxel, np.log(radius / 2)

    def model(p: Floats) -> tuple[Floats, Floats, Floats]:
        away = (grid[None] - p[:, None, 1:4]) / np.exp(p[:, None, 4:7])
        bell = np.exp(-0.5 * (away**2).sum(axis=2))
        return values - p[:, :1] * bell - p[:, 7:], bell, away

    damping = np.full(n, 1e-2)
    residual, bell, away = model(p)
    cost = (residual**2).sum(axis=1)
    for _ in range(passes):
        jacobian = np.empty((n, len(ball), 8))
        jacobian[..., 0] = bell
        risen = p[:, :1] * bell
        jacobian[..., 1:4] = risen[..., None] * away / np.exp(p[:, None, 4:7])
        jacobian[..., 4:7] = risen[..., None] * away**2
        jacobian[..., 7] = 1.0
        turned = jacobian.transpose(0, 2, 1)
        normal = turned @ jacobian
        diagonal = normal[:, range(8), range(8)]
        normal[:, range(8), range(8)] += damping[:, None] * diagonal + 1e-9
        step = np.linalg.solve(normal, turned @ residual[..., None])[..., 0]
        tried = p + np.clip(step, -0.5, 0.5)
        tried[:, 4:7] = np.clip(tried[:, 4:7], np.log(0.3), np.log(3 * radius))
        new = model(tried)
        better = (new[0] ** 2).sum(axis=1)
        ok = better < cost
        p[ok], cost[ok] = tried[ok], better[ok]
        residual = np.where(ok[:, None], new[0], residual)
        bell = np.where(ok[:, None], new[1], bell)
        away = np.where(ok[:, None, None], new[2], away)
        damping = np.clip(np.where(ok, damping / 5, damping * 4), 1e-7, 1e4)
    found, sigma = voxel + p[:, 1:4], np.exp(p[:, 4:7])
    good = (np.linalg.norm(found - begun, axis=1) < 1.75) & (p[:, 0] > 0) & (sigma < 2.5 * radius).all(axis=1)
    sigma[~good] = np.nan
    return Fitted(np.where(good[:, None], found, begun), p[:, 0] * scale, sigma, good)


def _joined(parts: list[Fitted]) -> Fitted:
    if not parts:
        return Fitted(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros(0, dtype=bool))
    fields = ("positions", "heights", "sigma", "good")
    return Fitted(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


# ------------------------------------------------------------------------------------------------ sums
def sum_in_balls(volume: NDArray[Any], positions: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Sum the volume in a ball about each position.

    The ball's edge is soft: a voxel counts from fully to not at all as its distance passes from half a voxel below
    the radius to half a voxel above, so that the sum varies smoothly with the position. Where balls overlap, a voxel
    goes to the nearest position.

    Parameters
    ----------
    volume : array (z, y, x)
    positions : array (n, 3)
        In voxels.
    radius : float
        In voxels.

    Returns
    -------
    array (n,)
    """
    from scipy.spatial import cKDTree

    data = np.asarray(volume, dtype=np.float32)
    out = np.zeros(len(positions))
    if len(positions) == 0:
        return out
    tree = cKDTree(positions)
    ball = _ball(radius + 1.5)
    crowded = len(positions) > 1 and bool((tree.query(positions, 2)[0][:, 1] < 2 * radius + 1).any())
    for start in range(0, len(positions), _CHUNK):
        centre = positions[start : start + _CHUNK]
        voxel = np.rint(centre).astype(np.int64)
        distance = np.linalg.norm(ball[None] - (centre - voxel)[:, None], axis=2)
        weight = np.clip(radius + 0.5 - distance, 0, 1)
        places = voxel[:, None] + ball[None]
        inside = ((places >= 0) & (places < np.array(data.shape))).all(axis=2) & (weight > 0)
        if crowded:
            owner = np.full(inside.shape, -1)
            owner[inside] = tree.query(places[inside])[1]
            inside &= owner == np.arange(start, start + len(centre))[:, None]
        out[start : start + _CHUNK] = (np.where(inside, weight, 0) * _patches(data, voxel, ball)).sum(axis=1)
    return out


def share_in_ball(radius_over_sigma: float) -> float:
    """Return the share of an isotropic Gaussian's mass within a ball about its centre."""
    r = radius_over_sigma
    return erf(r / sqrt(2)) - sqrt(2 / pi) * r * exp(-r * r / 2)
