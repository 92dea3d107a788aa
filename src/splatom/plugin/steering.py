"""What a user did to points that stream from a run, as edits that the run takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NEW", "edits_between", "in_words"]

#: Id of a point that the user added.
NEW = -1


def edits_between(
    ids: NDArray[np.int64], before: NDArray[np.float64], now_ids: NDArray[Any], now: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Compare points as they were streamed with those in the layer.

    Parameters
    ----------
    ids : array (n,)
    before : array (n, 3)
        As streamed, zyx in nm.
    now_ids : array (m,)
        Ids in the layer's table; a point that is new has :data:`NEW`, or the id of the point it was copied from.
    now : array (m, 3)

    Returns
    -------
    list of dict
        At most one of each: ``{"delete": [ids]}``, ``{"move": {"id": [z, y, x]}}``, ``{"add": [[z, y, x], ...]}``.
    """
    row = {int(i): k for k, i in enumerate(ids)}
    moved: dict[str, list[float]] = {}
    added: list[list[float]] = []
    seen: set[int] = set()
    for raw, place in zip(np.asarray(now_ids, dtype=np.float64), np.asarray(now, dtype=np.float64), strict=True):
        name = NEW if np.isnan(raw) else int(raw)
        if name not in row or name in seen:  # a copy keeps the id of its original, which comes first
            added.append(place.tolist())
            continue
        seen.add(name)
        if not np.array_equal(before[row[name]], place):
            moved[str(name)] = place.tolist()
    gone = [int(i) for i in ids if int(i) not in seen]
    found: list[dict[str, Any]] = []
    if gone:
        found.append({"delete": gone})
    if moved:
        found.append({"move": moved})
    if added:
        found.append({"add": added})
    return found


def in_words(edits: list[dict[str, Any]]) -> str:
    """Return edits as people say them: '2 deleted, 1 moved'."""
    names = {"delete": "deleted", "move": "moved", "add": "added"}
    return ", ".join(f"{len(what)} {names[kind]}" for edit in edits for kind, what in edit.items() if kind in names)
