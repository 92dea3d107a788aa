"""Rounds of the atom fit: all atoms descend together, then some are taken away and others are born."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from splatom.methods.atoms._peaks import local_maxima, sum_in_balls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.methods.atoms._deconvolve import Deconvolution
    from splatom.methods.atoms._model import Linear, State

__all__ = ["Candidates", "born", "first_atoms", "least_mass", "merged", "neighbour_distance"]

_SHARPNESS = 0.5  # σ of the filter before peaks are looked for, in widths of an atom
_BALL = 1.8  # radius within which an atom's deconvolved mass is counted, in widths of an atom


@dataclass(frozen=True, eq=False)
class Candidates:
    """Places where an atom may be: (n, 3) as (z, y, x) pixels about the centre, and the mass found there (n,)."""

    centres: NDArray[np.float64]
    mass: NDArray[np.float64]


def _candidates(points: torch.Tensor, sigma: float, apart: float) -> Candidates:
    """Return the peaks of a deconvolved volume, heaviest first."""
    from scipy.ndimage import gaussian_filter

    data = points.cpu().numpy()
    smooth = gaussian_filter(data, _SHARPNESS * sigma)
    found, _ = local_maxima(smooth, apart, threshold=1e-3 * float(smooth.max()))
    mass = sum_in_balls(data, found, max(_BALL * sigma, 1.5))
    order = np.argsort(-mass, kind="stable")
    middle = (np.array(data.shape) - 1) / 2
    return Candidates(found[order] - middle, mass[order])


def first_atoms(points: torch.Tensor, sigma: float, apart: float) -> Candidates:
    """Return the atoms to start from: every peak of a fifth of the mass of the heavy ones, too many rather than few.

    Parameters
    ----------
    points : Tensor (z, y, x)
        A deconvolved volume.
    sigma : float
        Width of an atom, pixels.
    apart : float
        Least distance between two, pixels.
    """
    found = _candidates(points, sigma, apart)
    if not len(found.mass):
        return found
    keep = found.mass > 0.2 * np.quantile(found.mass[found.mass > 0.1 * found.mass[0]], 0.9)
    return Candidates(found.centres[keep], found.mass[keep])


def neighbour_distance(state: State) -> float:
    """Typical distance of neighbours, pixels: the first peak of the pair distances of the heavier half of the atoms.

    Errors are light and lie anywhere, so that nearest neighbours among all would say too little. Infinite for fewer
    than two atoms.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.spatial import cKDTree

    at = state.centres[state.mass >= state.mass.median()].cpu().numpy().astype(np.float64)
    if len(at) < 2:
        return float("inf")
    tree = cKDTree(at)
    nearest = float(np.median(tree.query(at, 2)[0][:, 1]))
    pairs = tree.query_pairs(1.7 * nearest, output_type="ndarray")
    if len(pairs) < 100:
        return nearest
    apart = np.linalg.norm(at[pairs[:, 0]] - at[pairs[:, 1]], axis=1)
    count, edges = np.histogram(apart, 60, (0.0, 1.7 * nearest))
    middle = (edges[1:] + edges[:-1]) / 2
    shells = gaussian_filter1d(count.astype(np.float64), 1.5) / middle**2
    shells[middle < 0.5 * nearest] = 0
    return float(middle[np.argmax(shells)])


def least_mass(mass: torch.Tensor) -> float:
    """Return the mass below which a Gaussian is not an atom: the first valley of the masses from zero up.

    Gaussians that soak up errors are light and many have hardly any mass; the atoms of the lightest species make the
    first peak. The valley is looked for between 5 % and 60 % of the median; where there is none, 30 % of the median.
    """
    values = mass.cpu().numpy().astype(np.float64)
    median = float(np.median(values))
    at = np.geomspace(0.05, 0.6, 60) * median
    logs = np.log(np.maximum(values, 1e-6 * median))
    density = np.exp(-0.5 * ((np.log(at)[:, None] - logs) / 0.12) ** 2).sum(axis=1)
    falls = np.flatnonzero((density[1:-1] <= density[:-2]) & (density[1:-1] < density[2:])) + 1
    # A valley has atoms of a light species above it that are worth the name: not a ripple of a few.
    for i in falls:
        if density[i:].max() > max(4 * density[i], 0.03 * len(values)):
            return float(at[i])
    return 0.3 * median


def merged(state: State, distance: float) -> State:
    """Merge pairs nearer than a distance (pixels) into the heavier one: mass and centre of mass are kept."""
    from scipy.spatial import cKDTree

    centres = state.centres.cpu().numpy().astype(np.float64)
    mass = state.mass.cpu().numpy().astype(np.float64)
    pairs = cKDTree(centres).query_pairs(distance, output_type="ndarray")
    if not len(pairs):
        return state
    keep = np.ones(len(mass), bool)
    near = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
    for i, j in pairs[np.argsort(near, kind="stable")]:
        if not (keep[i] and keep[j]):
            continue
        a, b = (i, j) if mass[i] >= mass[j] else (j, i)
        both = max(mass[a] + mass[b], 1e-30)
        centres[a] = (centres[a] * mass[a] + centres[b] * mass[b]) / both
        mass[a], keep[b] = both, False
    new = state.with_(
        centres=torch.from_numpy(centres).to(state.centres), mass=torch.from_numpy(mass).to(state.mass)
    )
    return new.keep(torch.from_numpy(keep).to(state.mass.device))


def born(
    linear: Linear, deconvolution: Deconvolution, apart: float, least: float, most: int, iterations: int
) -> State:
    """Add atoms at the peaks of the deconvolved residual that are far enough from every atom.

    Parameters
    ----------
    linear : Linear
        The fit so far.
    deconvolution : Deconvolution
    apart : float
        Least distance to atoms, pixels.
    least : float
        Least mass to be found there.
    most : int
        Most atoms to be born at once.
    iterations : int
    """
    from scipy.spatial import cKDTree

    state = linear.state
    sigma = float(state.sigma.mean())
    left = -linear.residual / linear.gain
    found = _candidates(deconvolution.solve(left, sigma, iterations), sigma, apart)
    if not len(found.mass):
        return state
    far = cKDTree(state.centres.cpu().numpy()).query(found.centres)[0] > apart
    chosen = np.flatnonzero(far & (found.mass > least))[:most]
    if not len(chosen):
        return state
    usual = float(state.mass.median())
    mass = np.minimum(found.mass[chosen], usual)
    return state.add(
        torch.from_numpy(found.centres[chosen]), torch.from_numpy(mass), int(torch.mode(state.klass).values)
    )
