"""Small errors of the views, found while the volume is: each tilt's shift, and its angle, against the reprojection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.operators import VoxelProjector

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from splatom.geometry import ViewGeometry
    from splatom.methods.reconstruct._problem import Problem

__all__ = ["at", "realigned"]

_MOST = 0.5  # pixels, by which a step moves a tilt
_MOST_TURN = 0.3  # degrees
_NUDGE = 0.25  # degrees, of the derivative by the angle
_USUAL_TURN = 0.5  # degrees: SD of the tilt errors that are expected


def realigned(problem: Problem, data: Tensor, precision: Tensor, volume: Tensor, turns: bool) -> Problem:
    """Return the problem with the views' shifts (and angles) moved to where a volume's reprojection fits best.

    One step of Gauss and Newton for each tilt by itself: y − A x is fitted by the derivatives of A x by the shift of
    the image, and by the angle. What only moves the specimen is taken out: a cos θ + b sin θ across the axis, a
    constant along it, and a mean and a stretch of all angles, to which a narrow range is all but blind.

    Parameters
    ----------
    problem : Problem
    data, precision : Tensor (n, rows, columns)
    volume : Tensor (z, y, x)
        In the unit of the data.
    turns : bool
        Whether angles are moved as well.
    """
    geometry = problem.projector.geometry
    image = problem.forward(volume)
    residual = data - image
    slopes = [-torch.gradient(image, dim=2)[0], -torch.gradient(image, dim=1)[0]]  # by column, by row
    if turns:
        ahead, back = (at(problem, _turned(geometry, d)).forward(volume) for d in (_NUDGE, -_NUDGE))
        slopes.append((ahead - back) / (2 * _NUDGE))
    gram = torch.stack([torch.stack([_summed(precision * a * b) for a in slopes]) for b in slopes]).double()
    right = torch.stack([_summed(precision * a * residual) for a in slopes]).double()
    prior = torch.tensor([1.0, 1.0, _USUAL_TURN][: len(slopes)], dtype=torch.float64, device=gram.device) ** -2
    found = torch.linalg.solve(gram.permute(2, 0, 1) + torch.diag(prior), right.T).cpu().numpy()
    shifts = np.clip(found[:, :2], -_MOST, _MOST)
    angles = geometry.tilt_degrees
    total = _without_motion(angles, geometry.shifts + shifts) - _without_motion(angles, geometry.shifts)
    moved = geometry.with_shifts(geometry.shifts + total)
    if turns:
        turn = np.clip(found[:, 2], -_MOST_TURN, _MOST_TURN)
        line = np.stack([np.ones_like(angles), angles - angles.mean()], axis=1)
        turn -= line @ np.linalg.lstsq(line, turn, rcond=None)[0]
        moved = _turned(moved, turn)
    return at(problem, moved)


def _summed(images: Tensor) -> Tensor:
    return images.sum(dim=(1, 2))


def at(problem: Problem, geometry: ViewGeometry) -> Problem:
    """Return the problem with its views elsewhere."""
    old = problem.projector
    fresh = VoxelProjector(geometry, old.volume_shape, old.detector_shape, old.device, old.backend)
    return replace(problem, projector=fresh)


def _turned(geometry: ViewGeometry, degrees: float | NDArray[np.float64]) -> ViewGeometry:
    """Tilt the specimen further about its y axis, before everything else that is done to it."""
    a = np.deg2rad(np.broadcast_to(degrees, len(geometry)))
    turn = np.zeros((len(geometry), 3, 3))
    turn[:, 1, 1] = 1
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(a)
    turn[:, 0, 2], turn[:, 2, 0] = -np.sin(a), np.sin(a)
    return type(geometry)(geometry.rotations @ turn, geometry.shifts)


def _without_motion(angles: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    a = np.deg2rad(angles)
    orbit = np.stack([np.cos(a), np.sin(a)], axis=1)
    out = shifts.copy()
    out[:, 0] -= orbit @ np.linalg.lstsq(orbit, out[:, 0], rcond=None)[0]
    out[:, 1] -= out[:, 1].mean()
    return out
