"""The page that tries parameters on a part of the tilt in view, and shows a result tilt by tilt."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from splatom.data import TiltSeries
from splatom.jobs import Task
from splatom.plugin.choices import follow
from splatom.plugin.denoise_ask import Asking
from splatom.plugin.denoise_input import Source, in_view, shape_of, to_pixels, to_world
from splatom.plugin.denoise_part import Preview, Window, affordable, framed, judged, part_of, scale_of
from splatom.plugin.denoise_views import Triptych
from splatom.plugin.later import Later
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from splatom.plugin.runner import MethodPanel
    from splatom.plugin.session import Run, Session

__all__ = ["REGION", "PreviewPage", "whole_tilt"]

REGION = "denoise region"
_EXTENTS = {
    "part in view": "The middle of what the viewer shows, as large as takes about a second",
    "whole image": "The whole image in view; with a large network this takes a while",
    "rectangle": "A rectangle in a layer of its own: drag it, or its corners",
}
_RUNNER = "splatom.plugin.denoise_part:preview"
_LEAST = 64  # pixels of a part in view, however far it is zoomed in
_LEARNS = ("noise2noise",)  # methods that learn from the series before they can show anything


def whole_tilt(before: TiltSeries, after: TiltSeries, index: int, is_map: bool) -> Preview:
    """Return one tilt of a result beside what it was made from."""
    old, new = before.projections[index], after.projections[index]
    rows, columns = old.shape
    return Preview(index, (0, 0, rows, columns), old, new, *judged(old, new, is_map), {}, 0.0, is_map)


class PreviewPage(QWidget):
    """Before, after and removed noise of a region, made anew as parameters change.

    Parameters
    ----------
    session : Session
    panel : MethodPanel
    source : Source
    """

    def __init__(self, session: Session, panel: MethodPanel, source: Source) -> None:
        super().__init__()
        self._session, self._panel, self._source = session, panel, source
        self._viewer = session.viewer
        self._scaled: tuple[TiltSeries, Any] | None = None
        self._rates: dict[Any, float] = {}  # seconds per pixel by what determines it
        self._asked: tuple[Any, Window] | None = None  # what the rate belongs to, and where
        self._result: Run | None = None
        self._index = 0
        self._heard: weakref.WeakSet[Any] = weakref.WeakSet()
        self.asking = Asking(session, self)
        self.asking.done.connect(self._answered)
        self.asking.failed.connect(self._failed)
        self._measuring, self._comparing = Later(self), Later(self)
        self._measuring.done.connect(self._measured)
        self._measuring.failed.connect(self._failed)
        self._comparing.done.connect(self._show)
        self._comparing.failed.connect(self._failed)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(120)
        self._soon.timeout.connect(self.ask)
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(400)
        self._slow.timeout.connect(lambda: self.status.setText("computing …"))
        self._build()
        panel.params_changed.connect(self._params_changed)
        panel.method_changed.connect(self._params_changed)
        source.chosen.connect(self._source_changed)
        dims, camera = self._viewer.dims, self._viewer.scene.camera
        follow(dims.events.current_step, self._tilt_changed)
        for emitter in (camera.events.center, camera.events.zoom):
            follow(emitter, self._view_moved)
        follow(self._viewer.layers.events.removed, self._region_gone)
        session.attach(self, (session.run_ended, self._run_ended))
        self._source_changed()

    def _build(self) -> None:
        self.extent, self.live, self.button = QComboBox(), QCheckBox("live"), QPushButton("Preview")
        for i, (name, tip) in enumerate(_EXTENTS.items()):
            self.extent.addItem(name)
            self.extent.setItemData(i, tip, 3)  # Qt.ToolTipRole
        self.extent.setToolTip("<br>".join(f"<b>{k}</b>: {v}" for k, v in _EXTENTS.items()))
        self.live.setChecked(True)
        self.live.setToolTip("Make the preview anew whenever a parameter, the tilt or the view changes")
        self.button.setToolTip("Denoise this part of the tilt in view with the parameters above")
        self.status = QLabel()
        self.status.setMinimumWidth(70)
        self.triptych = Triptych()
        row, column = QHBoxLayout(), QVBoxLayout(self)
        for widget in (QLabel("Of"), self.extent, self.button, self.live):
            row.addWidget(widget)
        row.addWidget(self.status, 1)
        column.addLayout(row)
        column.addWidget(self.triptych, 1)
        self.extent.currentIndexChanged.connect(self._extent_changed)
        self.button.clicked.connect(self._pressed)
        self.live.toggled.connect(self._redraw)

    # ---------------------------------------------------------------- what has changed
    def refresh(self, *_: Any) -> None:
        """Make the preview anew soon, if it is live and on show."""
        if self.live.isChecked() and self.isVisible():
            self._soon.start()

    def showEvent(self, event: Any) -> None:  # noqa: D102 - Qt's name
        super().showEvent(event)
        self._redraw()

    def _run_ended(self, run: Run) -> None:
        self._redraw()  # what waited for it

    def _redraw(self, *_: Any) -> None:
        """Show the result's tilt in view, or a preview."""
        if self._result is not None:
            self._compare()
        else:
            self.refresh()

    def _pressed(self) -> None:
        self._leave_result()
        self.ask()  # even if it is not live

    def _params_changed(self, *_: Any) -> None:
        self._leave_result()
        self.refresh()

    def _leave_result(self) -> None:
        self._result = None
        self._comparing.forget()

    def _source_changed(self) -> None:
        layer = self._source.layer
        self._leave_result()
        if layer is not None:
            plain = getattr(layer, "__wrapped__", layer)
            if plain not in self._heard:
                self._heard.add(plain)
                follow(layer.events.contrast_limits, self._contrast_changed)
            self.triptych.clear()
        else:
            self.triptych.clear("Open a tilt series or an image first.")
        self.refresh()

    def _tilt_changed(self) -> None:
        index = self.tilt
        if index != self._index:
            self._index = index
            self._redraw()

    def _view_moved(self) -> None:
        if self._result is None and self.extent.currentIndex() == 0 and self._asked is not None:
            layer = self._source.layer
            if layer is not None and self._window(layer, self._asked[0]) != self._asked[1]:
                self.refresh()

    def _contrast_changed(self) -> None:
        if self.triptych.shown is not None:
            self._show(self.triptych.shown)

    # ---------------------------------------------------------------- where
    @property
    def tilt(self) -> int:
        """Index of the tilt in view."""
        layer, dims = self._source.layer, self._viewer.dims
        if layer is None or layer.ndim != 4 or dims.ndim < 4:
            return 0
        return int(np.clip(round(dims.point[-4]), 0, layer.data.shape[0] - 1))

    def _extent_changed(self, index: int) -> None:
        self._leave_result()
        if index == 2:
            self._draw_region()
        elif REGION in self._viewer.layers:
            self._viewer.layers.remove(REGION)
        self.refresh()

    def _draw_region(self) -> None:
        """Put a rectangle into the middle of the view, in a layer that the user may change."""
        layer = self._source.layer
        if layer is None or REGION in self._viewer.layers:
            return
        top, left, rows, columns = in_view(layer) or (0, 0, *shape_of(layer))
        side = max(32, min(rows, columns) // 2)
        row, column, high, wide = framed(shape_of(layer), (top + rows / 2, left + columns / 2), (side, side))
        corners = to_world(layer, np.array([[row, column], [row + high, column + wide]]) - 0.5)
        unit = str(layer.units[-1])
        region = self._viewer.add_shapes(
            [corners], shape_type="rectangle", name=REGION, face_color="transparent", edge_color="#ffb000",
            edge_width=float(max(shape_of(layer)) / 300 * layer.scale[-1]), units=(unit, unit), axis_labels=("y", "x"),
        )  # fmt: skip
        region.mode = "select"
        region.selected_data = {0}
        follow(region.events.data, self.refresh)  # it stays the active layer, so that it can be dragged at once

    def _region_gone(self) -> None:
        if self.extent.currentIndex() == 2 and REGION not in self._viewer.layers:
            self.extent.setCurrentIndex(0)

    def _window(self, layer: Any, key: Any) -> Window | None:
        """Return the region to denoise; None where there is none."""
        shape = shape_of(layer)
        if self.extent.currentIndex() == 1:
            return 0, 0, *shape
        if self.extent.currentIndex() == 2:
            if REGION not in self._viewer.layers or not len(self._viewer.layers[REGION].data):
                return None
            corners = to_pixels(layer, np.asarray(self._viewer.layers[REGION].data[-1])[:, -2:])
            low = np.clip(np.ceil(corners.min(axis=0) - 1e-6), 0, shape).astype(int)
            high = np.clip(np.floor(corners.max(axis=0) + 1e-6) + 1, 0, shape).astype(int)
            size = high - low
            return (int(low[0]), int(low[1]), int(size[0]), int(size[1])) if (size >= 8).all() else None
        seen = in_view(layer) or (0, 0, *shape)
        top, left, rows, columns = seen
        side = affordable(self._rates.get(key), 160 if key[1] in ("auto", "full") else 320)
        size = (min(side, max(rows, _LEAST)), min(side, max(columns, _LEAST)))
        return framed(shape, (top + rows / 2, left + columns / 2), size)

    # ---------------------------------------------------------------- asking
    def ask(self) -> None:
        """Ask for a preview now."""
        self._soon.stop()
        layer, method, form = self._source.layer, self._panel.method, self._panel.form
        if layer is None or form is None:
            return
        if any(run.active for run in self._session.runs):
            self.status.setText("waits for the run")
            return
        try:
            series, params = self._source.series(), form.value()
        except ValueError as exc:
            self._failed(str(exc))
            return
        if method in _LEARNS:
            self.asking.forget()
            self._settled("")
            self.triptych.clear(f"{method} learns from the whole series first, so there is no preview: press Run.")
            return
        if self._scaled is None or self._scaled[0] is not series:
            self._slow.start()
            self._measuring.ask(lambda: (series, scale_of(series)))
            return
        key = (method, getattr(params, "variant", None), getattr(params, "flips", False))
        window = self._window(layer, key)
        if window is None:
            self._failed("the rectangle lies outside the image or is smaller than 8 pixels: drag it onto the image")
            return
        self._asked = (key, window)
        self._index = min(self.tilt, len(series) - 1)
        part = part_of(series, self._index, window, self._scaled[1])
        self._slow.start()
        self.asking.ask(Task("denoise", method, params, part, preferences().device, runner=_RUNNER))

    def drop(self) -> None:
        """Stop a preview on its way: a run comes first."""
        self._soon.stop()
        self._measuring.forget()
        self.asking.forget()
        self._settled("")

    def _measured(self, found: tuple[TiltSeries, Any]) -> None:
        self._scaled = found
        self.ask()

    def _answered(self, preview: Preview) -> None:
        assert self._asked is not None
        key, window = self._asked
        fresh = key not in self._rates
        pixels = window[2] * window[3]
        self._rates[key] = min(preview.seconds / pixels, self._rates.get(key, np.inf))
        self._settled(f"{preview.seconds:.2f} s")
        self._show(preview)
        layer = self._source.layer
        if fresh and layer is not None and self.extent.currentIndex() == 0:
            wider = self._window(layer, key)  # now that its speed is known
            if wider is not None and wider[2] * wider[3] > 1.5 * pixels:
                self.refresh()

    def _failed(self, why: str) -> None:
        self._settled("")
        self.triptych.clear(why)

    def _settled(self, text: str) -> None:
        self._slow.stop()
        self.status.setText(text)

    # ---------------------------------------------------------------- showing
    def show_result(self, run: Run) -> None:
        """Show a finished run, tilt by tilt, until a parameter changes."""
        self.drop()
        self._result = run
        self._compare()

    def forget_result(self) -> None:
        """Go back to previews."""
        self._leave_result()
        self.refresh()

    def show_progress(self, run: Run, done: TiltSeries) -> None:
        """Show the tilt that a run has just done."""
        where = np.flatnonzero(run.data.order == done.order[0])
        if len(where) and self.isVisible() and not self._comparing.busy:
            before = run.data[where[:1]]
            is_map = getattr(run.params, "output", "") == "detect"
            self._comparing.ask(lambda: replace(whole_tilt(before, done, 0, is_map), index=int(where[0])))

    def _compare(self) -> None:
        run = self._result
        index = self._index = self.tilt
        if run is not None and self.isVisible():
            is_map = getattr(run.params, "output", "") == "detect"
            self._comparing.ask(whole_tilt, run.data, run.result, min(index, len(run.data) - 1), is_map)

    def _show(self, preview: Preview) -> None:
        layer = self._source.layer
        if layer is None:
            return
        limits = tuple(float(v) for v in layer.contrast_limits)
        run = self._result
        what = f"{run.name}, " if run is not None else ""
        if layer.ndim == 4 and layer.data.shape[0] > 1:
            what += f"tilt {preview.index + 1}: "
        if getattr(layer, "rgb", False) or not limits[1] > limits[0]:
            limits = (float(preview.before.min()), float(preview.before.max()))
        self.triptych.set_preview(preview, limits, what)
