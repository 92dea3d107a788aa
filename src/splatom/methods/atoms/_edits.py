"""The user's hand on a running fit: take atoms away, put some in, move them, and take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from splatom.methods.atoms._model import State

__all__ = ["Edits"]

_KEPT = 20  # states that can be gone back to


class Edits:
    """Apply edits to the state of a fit; positions are in nm about the centre of the field, order (z, y, x).

    Parameters
    ----------
    pixel : float
        Working pixel in nm.
    """

    def __init__(self, pixel: float) -> None:
        self.pixel = pixel
        self._before: list[State] = []
        self.made = False

    def apply(self, state: State, edits: tuple[dict[str, Any], ...]) -> State:
        """Return the state after some edits.

        ``{"delete": [ids]}``, ``{"add": [[z, y, x], ...]}``, ``{"move": {id: [z, y, x]}}``, ``{"undo": true}``: the
        state before the last edit. Ids that are no longer there are passed over.
        """
        self.made = self.made or bool(edits)
        for edit in edits:
            if edit.get("undo"):
                state = self._before.pop() if self._before else state
                continue
            self._before = [*self._before[1 - _KEPT :], state]
            if "delete" in edit:
                gone = torch.as_tensor(list(map(int, edit["delete"])), dtype=torch.int64, device=state.ids.device)
                if not bool(torch.isin(state.ids, gone).all()):  # nothing would be left to fit
                    state = state.keep(~torch.isin(state.ids, gone))
            if "move" in edit:
                centres = state.centres.clone()
                rows = {int(i): row for row, i in enumerate(state.ids.tolist())}
                for name, place in edit["move"].items():
                    if int(name) in rows:
                        centres[rows[int(name)]] = torch.tensor([p / self.pixel for p in place])
                state = state.with_(centres=centres)
            if edit.get("add"):
                places = torch.from_numpy(np.asarray(edit["add"], np.float64).reshape(-1, 3) / self.pixel)
                usual = state.mass.median().expand(len(places)).clone()
                state = state.add(places, usual, int(torch.mode(state.klass).values))
        return state
