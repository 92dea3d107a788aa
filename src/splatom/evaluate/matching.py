"""Matching found atoms with true ones."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    rotation : array (3, 3)
        The rotation that was removed: true ≈ rotation @ (found − shift), on ``(z, y, x)``; the identity unless asked.
    recall, precision : float
        Pairs as a share of the true and of the found atoms.
    rmsd_pm : float, optional
        Root mean square distance of the pairs in pm; None without pairs.
    species_accuracy : float, optional
        Share of the pairs whose species agree; None where either side names none.
    per_species : dict
        For every species of the truth: ``n_truth``, ``n_found`` (found atoms so named), ``recall`` (of its atoms,
        whatever they were called), ``precision`` (of the found atoms so named, those paired with one of it; None where
        the found atoms have no names), ``rmsd_pm``.
    confusion : dict
        ``confusion[true][found]`` counts pairs; empty where either side names none.
    """

    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    offsets_zyx: NDArray[np.float64]
    shift_zyx: NDArray[np.float64]
    rotation: NDArray[np.float64]
    recall: float
    precision: float
    rmsd_pm: float | None
    species_accuracy: float | None
    per_species: dict[str, dict[str, Any]] = field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def turn_degrees(self) -> float:
        """Angle of the rotation removed."""
        # From the antisymmetric part: the trace alone cannot tell small angles from none.
        sine = np.linalg.norm(self.rotation - self.rotation.T) / np.sqrt(8)
        return float(np.rad2deg(np.arctan2(sine, (np.trace(self.rotation) - 1) / 2)))

    def to_dict(self) -> dict[str, Any]:
        """Return its figures as JSON values."""
        return {
            "pairs": len(self.found),
            "recall": self.recall,
            "precision": self.precision,
            "rmsd_pm": self.rmsd_pm,
            "species_accuracy": self.species_accuracy,
            "shift_nm_zyx": self.shift_zyx.tolist(),
            "per_species": self.per_species,
            "confusion": self.confusion,
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


def match_atoms(
    found: Atoms, truth: Atoms, tolerance_nm: float = 0.1, *, remove_shift: bool = True, remove_turn: bool = False
) -> AtomMatch:
    """Match atoms one to one after a rigid alignment.

    Parameters
    ----------
    found, truth : Atoms
    tolerance_nm : float
        Largest distance of a pair.
    remove_shift : bool
        Whether the mean offset of the pairs is removed, matching and mean repeated until they settle (a common shift
        of the whole specimen is no error of the atoms). A shift of up to five tolerances is found.
    remove_turn : bool
        Whether the best rotation about the pairs' centre is removed too (W. Kabsch, Acta Cryst. A32, 922, 1976); never
        a mirror. It starts from none: turns that carry most atoms further than the tolerance are not found.

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
    i, j, shift, turn = _settled(a, b, np.zeros(3), tolerance_nm, remove_shift, remove_turn)
    if remove_shift and len(i) < 0.8 * min(len(a), len(b)):
        other = _settled(a, b, _commonest_offset(a, b, tolerance_nm), tolerance_nm, True, remove_turn)
        if len(other[0]) > 1.1 * len(i):
            i, j, shift, turn = other
    offsets = (a[i] - shift) @ turn.T - b[j]
    named = not ((found.species == "X").all() or (truth.species == "X").all())
    return AtomMatch(
        i,
        j,
        offsets,
        shift,
        turn,
        recall=len(i) / len(b),
        precision=len(i) / len(a),
        rmsd_pm=_rmsd(offsets),
        species_accuracy=float((found.species[i] == truth.species[j]).mean()) if named and len(i) else None,
        per_species=_by_species(found.species, truth.species, i, j, offsets, named),
        confusion=_confusion(found.species[i], truth.species[j]) if named else {},
    )


def _settled(
    a: NDArray[np.float64], b: NDArray[np.float64], shift: NDArray[np.float64], tolerance: float, move: bool, turn: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Pair, align the pairs, and again until the alignment settles: b ≈ rotation @ (a − shift)."""
    rotation = np.eye(3)
    for _ in range(30 if move or turn else 1):
        i, j = _pairs((a - shift) @ rotation.T, b, tolerance)
        if not (move or turn) or len(i) == 0:
            break
        before = shift, rotation
        if turn and len(i) >= 3:
            rotation = _kabsch(a[i] - a[i].mean(axis=0), b[j] - b[j].mean(axis=0))
        if move:
            shift = a[i].mean(axis=0) - rotation.T @ b[j].mean(axis=0)
        if np.abs(shift - before[0]).max() < 1e-7 and np.abs(rotation - before[1]).max() < 1e-7:
            break
    return i, j, shift, rotation


def _kabsch(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Proper rotation R of least Σ|R a − b|²."""
    u, _, vt = np.linalg.svd(b.T @ a)
    out: NDArray[np.float64] = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return out


def _commonest_offset(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return the offset a − b that most pairs within five tolerances share."""
    from scipy.spatial import cKDTree

    near: Any = cKDTree(b).query_ball_point(a, 5 * tolerance)
    i = np.repeat(np.arange(len(a)), [len(n) for n in near])
    j = np.array([k for n in near for k in n], dtype=np.int64)
    if len(i) == 0:
        return np.zeros(3)
    offsets = a[i] - b[j]
    # Votes in cells of half a tolerance, and in the same cells moved by half a cell: no cluster is cut by all walls.
    best, votes = np.zeros(3), 0
    for corner in (0.0, 0.5):
        cell = np.floor(offsets / (tolerance / 2) + corner).astype(np.int64)
        _, which, counts = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
        if counts.max() > votes:
            votes = int(counts.max())
            best = offsets[which.ravel() == counts.argmax()].mean(axis=0)
    return best


def _rmsd(offsets: NDArray[np.float64]) -> float | None:
    return float(1000 * np.sqrt((offsets**2).sum(axis=1).mean())) if len(offsets) else None


def _by_species(
    found: NDArray[np.str_],
    truth: NDArray[np.str_],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    offsets: NDArray[np.float64],
    named: bool,
) -> dict[str, dict[str, Any]]:
    out = {}
    for name in sorted(set(truth.tolist())):
        mine = truth[j] == name
        called = int((found == name).sum())
        right = int((mine & (found[i] == name)).sum())
        out[name] = {
            "n_truth": int((truth == name).sum()),
            "n_found": called if named else None,
            "recall": float(mine.sum() / (truth == name).sum()),
            "precision": right / called if named and called else None,
            "rmsd_pm": _rmsd(offsets[mine]),
        }
    return out


def _confusion(found: NDArray[np.str_], truth: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    names = sorted(set(found.tolist()) | set(truth.tolist()))
    return {t: {f: int(((truth == t) & (found == f)).sum()) for f in names} for t in sorted(set(truth.tolist()))}
