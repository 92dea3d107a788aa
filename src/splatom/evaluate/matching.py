"""Matching found atoms with true ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.data import Atoms

__all__ = ["AtomMatch", "match_atoms"]


@dataclass(frozen=True, eq=False)
class AtomMatch:
    """Pairs of found and true atoms, and what they say.

    Parameters
    ----------
    found, truth : array (n_pairs,) of int
        Indices of the pairs.
    offsets_zyx : array (n_pairs, 3)
        Found minus true position in nm, after the mean shift was removed.
    shift_zyx : array (3,)
        The mean shift removed, in nm.
    recall, precision : float
        Pairs as a share of the true and of the found atoms.
    rmsd_pm : float, optional
        Root mean square distance of the pairs in pm; None without pairs.
    species_accuracy : float, optional
        Share of the pairs whose species agree; None where either side names none.
    """

    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    offsets_zyx: NDArray[np.float64]
    shift_zyx: NDArray[np.float64]
    recall: float
    precision: float
    rmsd_pm: float | None
    species_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return its figures as JSON values."""
        return {
            "pairs": len(self.found),
            "recall": self.recall,
            "precision": self.precision,
            "rmsd_pm": self.rmsd_pm,
            "species_accuracy": self.species_accuracy,
            "shift_nm_zyx": self.shift_zyx.tolist(),
        }


def _pairs(
    a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Most pairs within tolerance that use each point once, and among those the ones of least total distance.

    The graph of admissible pairs falls apart into small pieces, each solved exactly by the Hungarian method.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    near: Any = cKDTree(a).query_ball_point(b, tolerance)
    j = np.repeat(np.arange(len(b)), [len(n) for n in near])
    i = np.array([k for n in near for k in n], dtype=np.int64)
    if len(i) == 0:
        return i, j.astype(np.int64)
    size = len(a) + len(b)
    _, label = connected_components(coo_array((np.ones(len(i)), (i, j + len(a))), shape=(size, size)), directed=False)
    order = np.argsort(label[i], kind="stable")
    i, j = i[order], j[order]
    cuts = np.flatnonzero(np.diff(label[i])) + 1
    out: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for ii, jj in zip(np.split(i, cuts), np.split(j, cuts), strict=True):
        if len(ii) == 1:
            out.append((ii, jj))
            continue
        rows, r = np.unique(ii, return_inverse=True)
        columns, c = np.unique(jj, return_inverse=True)
        # One more pair is always worth more than any saving of distance.
        bonus = tolerance * (min(len(rows), len(columns)) + 1)
        cost = np.zeros((len(rows), len(columns)))
        cost[r, c] = np.linalg.norm(a[ii] - b[jj], axis=1) - bonus
        chosen = linear_sum_assignment(cost)
        real = cost[chosen] < 0
        out.append((rows[chosen[0][real]], columns[chosen[1][real]]))
    return np.concatenate([o[0] for o in out]), np.concatenate([o[1] for o in out])


def match_atoms(found: Atoms, truth: Atoms, tolerance_nm: float = 0.1, *, remove_shift: bool = True) -> AtomMatch:
    """Match atoms one to one.

    Parameters
    ----------
    found, truth : Atoms
    tolerance_nm : float
        Largest distance of a pair.
    remove_shift : bool
        Whether the mean offset of the pairs is removed, matching and mean repeated until they settle (a common shift
        of the whole specimen is no error of the atoms).

    Returns
    -------
    AtomMatch

    Raises
    ------
    ValueError
        If a side holds no atoms or the tolerance is not positive.
    """
    if tolerance_nm <= 0:
        raise ValueError(f"tolerance is {tolerance_nm} nm; it has to be positive")
    if len(found) == 0 or len(truth) == 0:
        raise ValueError(f"nothing to match: {len(found)} atoms found, {len(truth)} true ones")
    a, b = found.positions_zyx, truth.positions_zyx
    shift = np.zeros(3)
    for _ in range(20 if remove_shift else 1):
        i, j = _pairs(a - shift, b, tolerance_nm)
        if not remove_shift or len(i) == 0:
            break
        mean = (a[i] - b[j]).mean(axis=0)
        settled = np.abs(mean - shift).max() < 1e-7
        shift = mean
        if settled:
            break
    offsets = a[i] - shift - b[j]
    known = not ((found.species == "X").all() or (truth.species == "X").all())
    return AtomMatch(
        i,
        j,
        offsets,
        shift,
        recall=len(i) / len(b),
        precision=len(i) / len(a),
        rmsd_pm=float(1000 * np.sqrt((offsets**2).sum(axis=1).mean())) if len(i) else None,
        species_accuracy=float((found.species[i] == truth.species[j]).mean()) if known and len(i) else None,
    )
