"""The atoms that the dock Atoms works on: one layer, its value, which of them are shown and which are selected."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from splatom.data import Atoms, GaussianCloud, TiltSeries
from splatom.plugin.atoms_pictures import calibrated
from splatom.plugin.choices import follow
from splatom.plugin.layers import info, set_points, to_layer
from splatom.plugin.points import chosen, colouring, drawn, features_of
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.plugin.session import Session

__all__ = ["AtomsHand", "is_points"]


def is_points(layer: Any) -> bool:
    """Whether a layer shows atoms or Gaussians that are complete, not a preview."""
    known = info(layer)
    return isinstance(known.get("value"), Atoms | GaussianCloud) and not known.get("live")


class AtomsHand(QObject):
    """One layer of atoms or Gaussians in hand.

    Parameters
    ----------
    session : Session
    parent : QObject

    Signals
    -------
    changed()
        Another layer, or other atoms in it.
    picked()
        Another selection.
    """

    changed = Signal()
    picked = Signal()

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self.layer: Any = None
        self._of_run: tuple[Any, TiltSeries] | None = None  # a run and its series, calibrated
        self._before: list[Atoms | GaussianCloud] = []  # values before each relabelling
        self._of = np.zeros(0, np.int64)  # which atom each row of the layer is

    # ---------------------------------------------------------------- which atoms
    @property
    def value(self) -> Atoms | GaussianCloud | None:
        """The atoms; None without a layer."""
        return info(self.layer).get("value") if self.layer is not None else None

    @property
    def series(self) -> TiltSeries | None:
        """The tilts that the atoms were found in, with the views as they were fitted; else those in hand."""
        run = self._session.run_of(self.layer) if self.layer is not None else None
        if run is None or not isinstance(run.data, TiltSeries):
            return self._session.series
        if self._of_run is None or self._of_run[0] is not run:
            self._of_run = (run, calibrated(run.data, run.outcome.notes if run.outcome is not None else None))
        return self._of_run[1]

    def set_layer(self, layer: Any) -> None:
        """Take another layer in hand."""
        layer = getattr(layer, "__wrapped__", layer)
        self._before.clear()
        if layer is not self.layer and layer is not None:
            follow(layer.selected_data.events.items_changed, self._selected)
        self.layer = layer
        self._number_rows()
        self.changed.emit()
        self.picked.emit()

    def _number_rows(self) -> None:
        value = self.value
        every = np.arange(0 if value is None else len(value))
        self._of = every if value is None else every[chosen(value, preferences().max_points)]

    def _selected(self) -> None:
        self.picked.emit()

    # ---------------------------------------------------------------- selection
    @property
    def selected(self) -> NDArray[np.int64]:
        """Indices of the selected atoms."""
        if self.layer is None:
            return np.zeros(0, np.int64)
        rows = [r for r in sorted(self.layer.selected_data) if r < len(self._of)]
        return self._of[rows]

    def select(self, indices: Any) -> None:
        """Select atoms in the layer; those that are not drawn cannot be."""
        if self.layer is not None:
            self.layer.selected_data = {int(r) for r in np.flatnonzero(np.isin(self._of, indices))}

    # ---------------------------------------------------------------- what is shown
    @property
    def shown(self) -> NDArray[np.bool_]:
        """Which atoms are shown, (n,); those not drawn for their number count as the filter has them."""
        value = self.value
        if value is None:
            return np.zeros(0, bool)
        out = np.ones(len(value), bool)
        if len(self.layer.shown) == len(self._of):
            out[self._of] = self.layer.shown
        return out

    def show_only(self, mask: NDArray[np.bool_]) -> None:
        """Hide the atoms that are not in a mask (n,)."""
        if self.layer is not None and len(self.layer.data) == len(self._of):
            self.layer.shown = mask[self._of]

    # ---------------------------------------------------------------- relabelling
    @property
    def can_undo(self) -> bool:
        """Whether a relabelling can be taken back."""
        return bool(self._before)

    def relabel(self, indices: Any, species: str) -> int:
        """Give atoms another species; returns how many changed.

        Raises
        ------
        ValueError
            If the species is no chemical symbol (X stands for unknown).
        """
        from ase.data import chemical_symbols

        value = self.value
        if value is None or not len(indices):
            raise ValueError("select atoms first: tick 'Pick in the viewer' and click them")
        if species not in chemical_symbols:
            raise ValueError(f"'{species}' is no chemical symbol; X stands for unknown")
        now = np.full(len(value), "X", dtype="<U8") if value.species is None else value.species.astype("<U8")
        count = int((now[indices] != species).sum())
        if not count:
            return 0
        now[indices] = species
        loading = dict(value.provenance.loading)
        given = {**loading.get("relabelled", {})}
        given.update({str(int(i)): species for i in indices})
        loading["relabelled"] = given
        self._before.append(value)
        self._take(value.with_(species=now, provenance=replace(value.provenance, loading=loading)))
        return count

    def undo(self) -> None:
        """Take the last relabelling back."""
        if self._before:
            self._take(self._before.pop())

    def _take(self, value: Atoms | GaussianCloud) -> None:
        """Put a value with other species into the layer; places and selection stay."""
        layer = self.layer
        _, attributes, _ = to_layer(value)
        new = attributes["metadata"]["splatom"]
        layer.metadata["splatom"].update({k: new[k] for k in ("value", "provenance")})
        pick = chosen(value, preferences().max_points)
        shown = np.array(layer.shown)
        colours = colouring(value, info(layer).get("colour_by")).rgba[pick]
        set_points(layer, **drawn(value, pick), face_color=colours, features=features_of(value, pick), shown=shown)
        self.changed.emit()
        self.picked.emit()
