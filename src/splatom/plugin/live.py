"""The layers of a run on its way: what streams in, and the user's hand on it.

Points are the user's only while the run is paused. Resuming hands the difference to the run, and a preview that was
made before the run had it is not shown, so that nothing jumps back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.plugin.layers import info, kind_of, set_points, to_layer, update_layer
from splatom.plugin.overlays import add_layers, overlays
from splatom.plugin.points import Colouring, chosen, colouring, drawn, features_of, ids_of, shown_of
from splatom.plugin.settings import preferences
from splatom.plugin.steering import NEW, edits_between, in_words

if TYPE_CHECKING:
    from splatom.jobs import Outcome, Snapshot
    from splatom.plugin.session import Run, Session

__all__ = ["Live", "parts_of"]

_VALUES = TiltSeries | Volume | GaussianCloud | Atoms
_POINTS = ("cloud", "atoms")
_NUMBER = re.compile(r" \[\d+\]$")  # napari's, behind the second layer of a name
_ASIDE = {"points": "Gaussians", "image": "volume"}


def parts_of(preview: Any) -> dict[str, Any]:
    """Return what a preview shows by kind of layer, 'points' or 'image': a value, or a dict of several.

    A tilt of a series on its way is no layer: it would take the place of the series in hand. Its dock shows it.
    """
    values = list(preview.values()) if isinstance(preview, dict) else [preview]
    found = {_layer_kind(v): v for v in values if isinstance(v, _VALUES) and not isinstance(v, TiltSeries)}
    return dict(sorted(found.items()))  # the image first, under the points


def _layer_kind(value: Any) -> str:
    return "points" if kind_of(value) in _POINTS else "image"


class Live:
    """Shows one run's previews and its result in layers, and takes edits of its points.

    Parameters
    ----------
    session : Session
    run : Run
    """

    def __init__(self, session: Session, run: Run) -> None:
        self._session, self._run = session, run
        self.layers: dict[str, Any] = {}
        self._dismissed: set[str] = set()  # a live layer that the user removed stays away
        self._scaled_at = 0
        self._cloud: GaussianCloud | Atoms | None = None  # as streamed, and as in the layer
        self._ids = np.zeros(0, np.int64)
        self._placed = np.zeros((0, 3))
        self._residual: dict[int, float] = {}
        self.legend = ""
        self._given = 0  # edits sent
        self._batches: list[int] = []  # edits of each hand-over that can be undone

    # ---------------------------------------------------------------- previews
    @property
    def points(self) -> Any:
        """The layer of points; None if the run shows none."""
        return self.layers.get("points")

    @property
    def cloud(self) -> GaussianCloud | Atoms | None:
        """What the layer of points shows."""
        return self._cloud

    def forget(self, layer: Any) -> None:
        """Take note that a layer was removed."""
        for kind, mine in list(self.layers.items()):
            if mine is layer:
                del self.layers[kind]
                self._dismissed.add(kind)

    def show(self, snapshot: Snapshot) -> None:
        """Show the newest preview."""
        parts = parts_of(snapshot.preview)
        # Contrast follows at powers of two: early passes are dim, and a change at every step would flicker.
        due = snapshot.step >= 2 * max(self._scaled_at, 1)
        for kind, value in parts.items():
            layer = self.layers.get(kind)
            if layer is None:
                if kind not in self._dismissed:
                    self._make(kind, value, alone=len(parts) == 1)
            elif kind == "points":
                self._stream(layer, value, snapshot)
            elif layer.visible:
                self._scaled_at = snapshot.step if due else self._scaled_at
                update_layer(layer, value, contrast=due)

    def _make(self, kind: str, value: Any, alone: bool) -> None:
        session, run = self._session, self._run
        name = run.name if alone or kind == "image" else f"{run.name} {_ASIDE[kind]}"
        layer = session.add(value, name, **session.record(run), live=True, title=name)
        layer.metadata["splatom"].pop("value", None)  # a preview is not a result
        self.layers[kind] = layer
        run.layers.append(layer)
        if kind == "points":
            layer.features = {}  # the table is filled when the user may need it: it slows every update
            layer.editable = False
            layer.events.data.connect(self._edited)
            self._keep_in_hand(value)
            self.colouring(value)
        elif kind_of(value) == "volume":
            session.viewer.dims.set_point(-3 % session.viewer.dims.ndim, float(value.origin_zyx[0]))

    def _stream(self, layer: Any, value: GaussianCloud | Atoms, snapshot: Snapshot) -> None:
        if not layer.visible or snapshot.edits < self._given or (self.held and self.unsent()):
            return
        self._put(layer, value)

    def _put(self, layer: Any, value: GaussianCloud | Atoms) -> None:
        pick = chosen(value, preferences().max_points)
        colours = self.colouring(value).rgba[pick]
        more = {"features": features_of(value, pick)} if self.held else {}
        set_points(layer, **drawn(value, pick), face_color=colours, **more)
        self._keep_in_hand(value)
        name = info(layer).get("title", self._run.name) + shown_of(len(self._ids), len(value))
        if _NUMBER.sub("", layer.name) != name:
            layer.name = name

    def _keep_in_hand(self, value: GaussianCloud | Atoms) -> None:
        pick = chosen(value, preferences().max_points)
        self._cloud, self._ids = value, np.array(ids_of(value)[pick])
        self._placed = drawn(value, pick)["data"]

    # ---------------------------------------------------------------- colours
    def colouring(self, value: GaussianCloud | Atoms) -> Colouring:
        """Return the colours of a value as the layer's choice of quantity has them."""
        by = info(self.points).get("colour_by")
        wanted = by == "residual" and bool(self._residual)
        residual = np.array([self._residual.get(int(i), np.nan) for i in ids_of(value)]) if wanted else None
        found = colouring(value, by, residual)
        self.legend = found.legend
        return found

    def set_residual(self, ids: Any, values: Any) -> None:
        """Take the residual of each point; points born later are grey until it is taken again."""
        self._residual = {int(i): float(v) for i, v in zip(ids, values, strict=True)}

    def recolour(self) -> None:
        """Colour the points anew, where the user has not moved them."""
        layer, value = self.points, self._cloud
        if layer is not None and value is not None and len(layer.data) == len(self._ids):
            layer.face_color = self.colouring(value).rgba[chosen(value, preferences().max_points)]

    # ---------------------------------------------------------------- steering
    @property
    def held(self) -> bool:
        """Whether the run is paused and its points are the user's."""
        return self._run.active and self._run.handle.status == "paused"

    def pause(self) -> str:
        """Hold the run and hand its points to the user; returns what to do with them."""
        self._run.handle.pause()
        layer = self.points
        if layer is None or self._cloud is None:
            return ""
        if len(layer.data) == len(self._ids):
            features = features_of(self._cloud, chosen(self._cloud, preferences().max_points))
            layer.features = features
            layer.feature_defaults = {**{k: v[0] for k, v in features.items() if len(v)}, "id": NEW}
        layer.editable = True
        viewer = self._session.viewer
        viewer.layers.selection.active = layer
        layer.mode = "select"
        return (
            f"Paused. In the layer '{layer.name}' select points and drag them (3), delete them (1), or add some (2); "
            "Resume hands that to the fit."
        )

    def _edited(self, event: Any) -> None:
        """Mark added points as new: napari gives them what is in the table for the point selected last."""
        if not self.held or self.points is None:
            return
        table, action = self.points.features, str(getattr(event, "action", ""))
        if action == "added" and "id" in table:
            table.iloc[list(event.data_indices), table.columns.get_loc("id")] = NEW
        if action in ("added", "removed", "changed"):
            self._session.run_updated.emit(self._run)

    def unsent(self) -> list[dict[str, Any]]:
        """Return the edits that the run does not have yet."""
        layer = self.points
        if layer is None or "id" not in layer.features:
            return []
        return edits_between(self._ids, self._placed, np.asarray(layer.features["id"]), layer.data)

    def resume(self) -> str:
        """Hand the user's edits to the run and let it go on; returns what was handed over."""
        edits, layer = self.unsent(), self.points
        for edit in edits:
            self._run.handle.edit(edit)
        if edits:
            self._given += len(edits)
            self._batches.append(len(edits))
        if layer is not None:
            layer.mode = "pan_zoom"
            layer.editable = False
        self._run.handle.resume()
        return f"{in_words(edits)}: taken at the next step" if edits else ""

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self._run.active and (bool(self._batches) or (self.held and bool(self.unsent())))

    def undo(self) -> str:
        """Take back the edits in the layer that the run does not have yet, else those of the last hand-over."""
        if self.held and self.unsent():
            self._put(self.points, self._cloud)
            return "the points are as they were before the edit"
        if not self._batches:
            return "there is no edit to undo"
        count = self._batches.pop()
        for _ in range(count):
            self._run.handle.edit({"undo": True})
        self._given += count
        when = "when the run goes on" if self.held else "at the next step"
        return f"the fit goes back to its state before the last edit {when}"

    # ---------------------------------------------------------------- the end
    def keep(self, outcome: Outcome) -> None:
        """Turn the live layer into the result's, or make one; other live layers stay as previews."""
        run, session, result = self._run, self._session, outcome.result
        if not isinstance(result, _VALUES):
            for layer in self.layers.values():
                layer.name = f"{layer.name} (preview, {outcome.status})"
            return
        name = run.name if outcome.status == "done" else f"{run.name} (stopped)"
        record = session.record(run) | {
            "notes": dict(outcome.notes),
            "figures": dict(outcome.figures),
            "status": outcome.status,
            "seconds": outcome.seconds,
        }
        kind = _layer_kind(result)
        live = self.layers.get(kind)
        for other, layer in self.layers.items():
            if other != kind:
                layer.name = f"{run.name} {_ASIDE[other]} (preview)"
                layer.visible = False  # or it would lie over the result
        if live is None or (kind_of(result) == "series") != (info(live).get("kind") == "series"):
            before = session.series_layer if isinstance(result, TiltSeries) else None
            live = session.add(result, name, **record)
            if before is not None:
                before.visible = False
        else:
            _settle(live, result, name, record)
            run.layers.remove(live)
        run.layers.insert(0, live)
        run.layers += add_layers(session.viewer, overlays(result, live.name, outcome.extras, **record))
        if self.points is not None:
            self.points.editable = True


def _settle(layer: Any, result: Any, name: str, record: dict[str, Any]) -> None:
    """Make a live layer that of the result."""
    most = preferences().max_points
    by = info(layer).get("colour_by")
    extra = {"colour_by": by} if by else {}
    _, attributes, _ = to_layer(result, name, max_points=most, **record, **extra)
    update_layer(layer, result, max_points=most, contrast=True)
    layer.name = attributes["name"]
    kept = {k: v for k, v in info(layer).items() if k not in ("live", "title")}
    layer.metadata = {**layer.metadata, "splatom": {**kept, **attributes["metadata"]["splatom"]}}
    if _layer_kind(result) == "points":
        layer.features = attributes["features"]
