"""Structure of a set of atoms: nearest neighbours, pair distribution, coordination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import Atoms

__all__ = ["PairDistribution", "coordination_numbers", "nearest_neighbours", "pair_distribution"]

_MOST_PAIRS = 30_000_000
_SAMPLES = 3000  # points of the random body at least; their pair histogram is smooth, and is smoothed again


@dataclass(frozen=True, eq=False)
class PairDistribution:
    """Pair distribution of a set of atoms.

    Parameters
    ----------
    radius : array (n,)
        Middles of the bins in nm.
    g : array (n,)
        Pairs found over pairs expected of as many atoms scattered evenly over the same body: 1 without structure, at
        every distance, for a small particle and a film too.
    counts : array (n,)
        Pairs in each bin.
    density : float
        Atoms per nm³ of the body's convex hull.
    """

    radius: NDArray[np.float64]
    g: NDArray[np.float64]
    counts: NDArray[np.int64]
    density: float

    @property
    def first_peak(self) -> float | None:
        """Distance in nm of the first peak: the highest one below 1.4 times where g first passes 1."""
        over = np.flatnonzero(self.g > 1)
        if len(over) == 0:
            return None
        part = np.flatnonzero((self.radius >= self.radius[over[0]]) & (self.radius <= 1.4 * self.radius[over[0]]))
        return float(self.radius[part[self.g[part].argmax()]])

    @property
    def first_minimum(self) -> float | None:
        """Distance in nm of the lowest place between the first peak and 1.7 times it: the edge of the first shell."""
        peak = self.first_peak
        if peak is None:
            return None
        part = np.flatnonzero((self.radius > peak) & (self.radius <= 1.7 * peak))
        if len(part) == 0:
            return None
        low = part[self.g[part] <= self.g[part].min() + 1e-9]  # empty bins in a row: their middle
        return float(self.radius[low].mean())


def nearest_neighbours(atoms: Atoms) -> NDArray[np.float64]:
    """Distance in nm from every atom to its nearest neighbour, (n,); infinite for a lone atom."""
    from scipy.spatial import cKDTree

    places = atoms.positions_zyx
    if len(places) < 2:
        return np.full(len(places), np.inf)
    out: NDArray[np.float64] = np.asarray(cKDTree(places).query(places, 2)[0])[:, 1]
    return out


def pair_distribution(
    atoms: Atoms, reach: float = 1.0, bin_width: float = 0.005, between: tuple[str, str] | None = None, seed: int = 0
) -> PairDistribution:
    """Pair distribution function g(r), normalised by the set's own shape.

    In a small particle most atoms lie near the surface, and shells of volume 4πr² dr reach beyond it: that common
    normalisation lets g fall to zero at the particle's diameter. Here the pairs are divided by those of points
    scattered evenly within the atoms' convex hull (by Monte Carlo), grown by half a neighbour's distance since every
    atom fills a volume.

    Parameters
    ----------
    atoms : Atoms
    reach : float
        Largest distance in nm.
    bin_width : float
        In nm.
    between : tuple of str, optional
        Two species: only the pairs of one with the other (or the same twice).
    seed : int
        Of the random points.

    Raises
    ------
    ValueError
        If the atoms are fewer than five or lie in a plane, a species is missing, or the reach holds too many pairs.
    """
    from scipy.spatial import cKDTree

    if bin_width <= 0 or reach <= bin_width:
        raise ValueError(f"reach {reach} nm has to be several bins of {bin_width} nm, and these positive")
    edges = np.arange(0, reach + bin_width / 2, bin_width)
    places = atoms.positions_zyx
    first, second = (np.ones(len(places), bool),) * 2
    if between is not None:
        first, second = (atoms.species == name for name in between)
        if not (first.any() and second.any()):
            raise ValueError(f"there are no atoms of {' or of '.join(between)}")
    body, volume = _scattered(places, seed)
    a, b = cKDTree(places[first]), cKDTree(places[second])
    if a.count_neighbors(b, reach) > _MOST_PAIRS:
        raise ValueError(f"within {reach} nm there are more than {_MOST_PAIRS} pairs; give a shorter reach")
    # Ordered pairs; an atom with itself is at distance 0 and left out of the first bin.
    counts = np.diff(a.count_neighbors(b, edges)).astype(np.int64)
    expected = _shape_shares(body, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    both = int(first.sum()) * int(second.sum()) - int((first & second).sum())
    g = counts / np.maximum(expected * both, 1e-30)
    return PairDistribution(
        middles, g, counts // (1 if between and between[0] != between[1] else 2), len(places) / volume
    )


def _scattered(places: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], float]:
    """Scatter points evenly over the atoms' body; return them and its volume in nm³."""
    from scipy.spatial import ConvexHull, QhullError, cKDTree

    if len(places) < 5:
        raise ValueError(f"{len(places)} atoms have no structure to speak of; five are the fewest")
    try:
        hull = ConvexHull(places)
    except QhullError as error:
        raise ValueError("the atoms lie in a plane; a pair distribution needs a body") from error
    half = float(np.median(np.asarray(cKDTree(places).query(places, 2)[0])[:, 1])) / 2
    rng = np.random.default_rng(seed)
    faces = np.unique(np.round(hull.equations, 9), axis=0)
    low, high = places.min(axis=0) - half, places.max(axis=0) + half
    inside: list[NDArray[np.float64]] = []
    drawn = kept = 0
    while kept < _SAMPLES:
        points = rng.uniform(low, high, (4096, 3))
        points = points[(points @ faces[:, :3].T + faces[:, 3] <= half).all(axis=1)]
        inside.append(points)
        drawn, kept = drawn + 4096, kept + len(points)
    return np.concatenate(inside), float(np.prod(high - low) * kept / drawn)


def _shape_shares(body: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of all pairs of an even body whose distance falls in each bin.

    Over r² it is a smooth curve (for a ball a cubic in r): fitted to coarse bins and read at the fine ones.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(body)
    coarse = np.linspace(0, edges[-1], 31)
    share = np.diff(tree.count_neighbors(tree, coarse)) / (len(body) * (len(body) - 1))
    # Volumes of the shells, not 4πr² dr: the bins are wide.
    density = share / np.diff(coarse**3)
    middle = (coarse[:-1] + coarse[1:]) / (2 * edges[-1])
    cubic = np.polynomial.polynomial.polyfit(middle, density, 3, w=middle)
    fine = (edges[:-1] + edges[1:]) / (2 * edges[-1])
    out: NDArray[np.float64] = np.maximum(np.polynomial.polynomial.polyval(fine, cubic), 0) * np.diff(edges**3)
    return out


def coordination_numbers(atoms: Atoms, within: float | None = None) -> NDArray[np.int64]:
    """Neighbours of every atom within a distance, (n,).

    Parameters
    ----------
    atoms : Atoms
    within : float, optional
        In nm; by default the first minimum of the pair distribution.

    Raises
    ------
    ValueError
        If no distance is given and the pair distribution has no first shell.
    """
    from scipy.spatial import cKDTree

    if within is None:
        near = float(np.median(nearest_neighbours(atoms)))
        within = pair_distribution(atoms, reach=2.2 * near, bin_width=near / 40).first_minimum
        if within is None:
            raise ValueError("the pair distribution has no first shell; give the distance")
    tree: Any = cKDTree(atoms.positions_zyx)
    return np.asarray(tree.query_ball_point(atoms.positions_zyx, within, return_length=True), dtype=np.int64) - 1
