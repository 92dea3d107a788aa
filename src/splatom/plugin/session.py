"""What belongs to one viewer: its executor, its runs and the series in hand.

Data goes one way: a dock calls :meth:`Session.start`; a timer in the window's thread takes the newest snapshot of every
run and shows it; the end turns into a layer that carries its provenance. Docks listen to the signals.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psygnal import Signal, SignalInstance
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from splatom.data import MethodParams, TiltSeries
from splatom.jobs import JobError, Outcome, ProcessExecutor, RunningJob, Snapshot, Task, ThreadExecutor
from splatom.plugin.layers import angle_text, info, to_layer
from splatom.plugin.live import Live
from splatom.plugin.settings import preferences

__all__ = ["Run", "Session", "session_of"]

_SESSIONS: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Return the session of a viewer, made at the first call; plugin widgets get proxies of the same viewer."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _SESSIONS:
        _SESSIONS[viewer] = Session(viewer)
    return _SESSIONS[viewer]


@dataclass(eq=False)
class Run:
    """One run of a method in a viewer.

    Parameters
    ----------
    name : str
        Shown to the user and put before its layers' names: 'sirt 2'.
    group, method : str
    params : MethodParams
        As started; live changes are in the outcome's events.
    data : object
        The input value.
    handle : RunningJob
    layers : list
        Layers it made; the first is the live one.
    snapshot : Snapshot, optional
        The newest one.
    curves : dict
        Figures against step, gathered from the snapshots while it runs and complete at the end.
    outcome : Outcome, optional
    live : Live
        Shows it and takes the user's edits.
    """

    name: str
    group: str
    method: str
    params: MethodParams
    data: Any
    handle: RunningJob
    device: str = "auto"
    seed: int = 0
    layers: list[Any] = field(default_factory=list)
    snapshot: Snapshot | None = None
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    outcome: Outcome | None = None
    began: float = field(default_factory=time.monotonic)
    live: Live = field(init=False)

    @property
    def id(self) -> str:
        """Name of the run in metadata; unique."""
        return self.handle.run_id

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.outcome is None

    @property
    def result(self) -> Any:
        """Its result; None while it runs or if there is none."""
        return None if self.outcome is None else self.outcome.result


class Session:
    """State of Splatom in one viewer.

    Signals: ``run_started(Run)``, ``run_updated(Run)``, ``run_ended(Run)``, ``active_series_changed(layer or None)``.
    """

    run_started = Signal(object)
    run_updated = Signal(object)
    run_ended = Signal(object)
    active_series_changed = Signal(object)

    def __init__(self, viewer: Any) -> None:
        # Weak: the session is the value of a dictionary whose weak key is the viewer.
        self._viewer = weakref.ref(viewer)
        self._executor: Any = None
        self._series: Any = None
        self._workers: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self.runs: list[Run] = []
        self._closed = False
        self._timer = QTimer()
        self._timer.timeout.connect(self._poll)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.selection.events.active.connect(self._on_selected)
        viewer.dims.events.current_step.connect(self._show_angle)
        for layer in viewer.layers:
            self._consider(layer)
        self._anchor()
        weakref.finalize(viewer, self.close)  # at the latest when the viewer is gone, or Python ends

    # ---------------------------------------------------------------- the window
    @property
    def viewer(self) -> Any:
        """The napari viewer."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the viewer is closed")
        return viewer

    def attach(self, widget: QWidget, *links: tuple[SignalInstance, Callable[..., Any]]) -> None:
        """Connect signals to a dock's methods until the dock is destroyed."""
        for signal, slot in links:
            signal.connect(slot)

        def leave(*_: Any) -> None:
            for signal, slot in links:
                signal.disconnect(slot, missing_ok=True)

        widget.destroyed.connect(leave)

    def _anchor(self) -> None:
        """End with the window: a viewer may outlive it, and jobs must not."""
        menu = getattr(getattr(self.viewer, "window", None), "main_menu", None)
        if menu is not None:
            menu.window().destroyed.connect(lambda *_: self.close())

    def warm_up(self) -> None:
        """Start the process that computes while the user is still choosing."""
        executor = self._ready_executor()
        if isinstance(executor, ProcessExecutor):
            executor.warm_up()

    def close(self) -> None:
        """Stop every job and end the process that computes."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # at the end of Python Qt may be gone before the session
            self._timer.stop()
        for run in self.runs:
            if run.active:
                run.handle.stop()
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def _ready_executor(self) -> Any:
        self._closed = False
        if self._executor is None:
            self._executor = ThreadExecutor() if preferences().executor == "thread" else ProcessExecutor()
        return self._executor

    # ---------------------------------------------------------------- the series in hand
    @property
    def series_layer(self) -> Any:
        """The layer of the series that the docks work on, None if there is none."""
        return self._series

    @property
    def series(self) -> TiltSeries | None:
        """The series in hand as a value."""
        value = info(self._series).get("value")
        return value if isinstance(value, TiltSeries) else None

    def set_series(self, layer: Any) -> None:
        """Take another series in hand."""
        layer = getattr(layer, "__wrapped__", layer)
        if layer is not self._series:
            self._series = layer
            self._show_angle()
            self.active_series_changed.emit(layer)

    def series_layers(self) -> list[Any]:
        """All layers that hold a tilt series, with angles or without."""
        return [x for x in self.viewer.layers if info(x).get("kind") == "series"]

    def add(self, value: Any, name: str, **extra: Any) -> Any:
        """Show a value in a new layer; a series becomes the one in hand."""
        data, attributes, kind = to_layer(value, name, max_points=preferences().max_points, **extra)
        viewer = self.viewer
        layer = getattr(viewer, f"add_{kind}")(data, **attributes)
        viewer.canvas.overlays.scale_bar.visible = True
        return layer

    def replace_series(self, series: TiltSeries, layer: Any = None) -> None:
        """Put an edited series (angles, held-out tilts, pixel size) into its layer; the pixels are the same."""
        layer = layer or self._series
        data, attributes, _ = to_layer(series, layer.name)
        if layer.data.shape != data.shape:
            raise ValueError("the edited series has other images; show it in a layer of its own")
        layer.units, layer.scale, layer.translate = (attributes[k] for k in ("units", "scale", "translate"))
        kept = {k: v for k, v in info(layer).items() if k not in ("angles_missing", "n_tilts", "path")}
        layer.metadata = {**layer.metadata, "splatom": {**kept, **attributes["metadata"]["splatom"]}}
        self._series = layer
        self._show_angle()
        self.active_series_changed.emit(layer)

    def _consider(self, layer: Any) -> None:
        if info(layer).get("kind") == "series":
            self.viewer.canvas.overlays.scale_bar.visible = True
            self.set_series(layer)

    def _on_inserted(self, event: Any) -> None:
        self._consider(event.value)
        self._show_angle()

    def _on_selected(self, event: Any) -> None:
        self._consider(event.value)

    def _on_removed(self, event: Any) -> None:
        for run in self.runs:
            run.layers = [x for x in run.layers if x is not event.value]
            run.live.forget(event.value)
        self._show_angle()
        if event.value is self._series:
            self._series = None
            others = self.series_layers()
            self.set_series(others[-1]) if others else self.active_series_changed.emit(None)

    def _show_angle(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        layer = self._series
        shown = layer is not None and layer.visible and viewer.dims.ndisplay == 2 and not self._covered(layer)
        text = angle_text(layer, viewer.dims.point) if shown else ""
        overlay = viewer.canvas.overlays.text
        if overlay.text != text:
            overlay.text, overlay.visible = text, bool(text)
            overlay.position = "top_left"

    def _covered(self, layer: Any) -> bool:
        """Whether a volume lies over the series."""
        layers = list(self.viewer.layers)
        above = layers[layers.index(layer) + 1 :] if layer in layers else []
        return any(x.visible and info(x).get("kind") == "volume" for x in above)

    # ---------------------------------------------------------------- runs
    def start(
        self, group: str, method: str, params: MethodParams, data: Any = None, *, seed: int = 0, **task: Any
    ) -> Run:
        """Start a method on a value (the series in hand by default).

        Parameters
        ----------
        group, method : str
        params : MethodParams
        data : TiltSeries, Volume, GaussianCloud or Atoms, optional
        seed : int
        **task
            Further fields of :class:`splatom.jobs.Task`, such as ``device`` or ``checkpoint``.

        Raises
        ------
        JobError
            If there is no data.
        """
        data = self.series if data is None else data
        if data is None:
            raise JobError("there is no tilt series with angles: open one in the dock Tilt series")
        settings = preferences()
        task = {"device": settings.device, **task}
        handle = self._ready_executor().submit(Task(group, method, params, data, seed=seed, **task))
        self._counts[method] = self._counts.get(method, 0) + 1
        run = Run(f"{method} {self._counts[method]}", group, method, params, data, handle, task["device"], seed)
        run.live = Live(self, run)
        self.runs.append(run)
        from splatom.plugin.worker import watch

        self._workers[run.id] = watch(handle, run.name)
        self._timer.start(round(1000 / max(settings.refresh_rate, 0.1)))
        self.run_started.emit(run)
        return run

    def submit(self, task: Task) -> RunningJob:
        """Start a task that is no run of the user's (an estimate, say): no layer, no signal."""
        return self._ready_executor().submit(task)

    def save(self, path: str, value: Any, say: Callable[[str, bool], Any]) -> None:
        """Write a value in a thread and say how it went: ``say(text, is a fault)``."""
        from napari.qt.threading import create_worker

        def told(answer: tuple[str, bool]) -> None:
            with contextlib.suppress(RuntimeError):  # the dock that asked was closed meanwhile
                say(*answer)

        say(f"saving {path}", False)
        create_worker(_write, path, value, _start_thread=True, _connect={"returned": told})

    def run_of(self, layer: Any) -> Run | None:
        """Return the run that made a layer, None if it was none of this session."""
        wanted = info(layer).get("run_id")
        return next((r for r in self.runs if r.id == wanted), None)

    def _poll(self) -> None:
        if self._closed or self._viewer() is None:
            self.close()
            return
        for run in [r for r in self.runs if r.active]:
            ended = run.handle.outcome  # before the snapshot: none can come after it
            snapshot = run.handle.take()
            if snapshot is not None and ended is None:
                self._show(run, snapshot)
            if ended is not None:
                self._finish(run, ended)
        if not any(r.active for r in self.runs):
            self._timer.stop()

    def _show(self, run: Run, snapshot: Snapshot) -> None:
        run.snapshot = snapshot
        for name, value in snapshot.figures.items():
            if isinstance(value, int | float):
                run.curves.setdefault(name, []).append((snapshot.step, float(value)))
        run.live.show(snapshot)
        self.run_updated.emit(run)

    def record(self, run: Run) -> dict[str, Any]:
        """Return what the layers of a run say of it."""
        return {
            "run_id": run.id,
            "run": run.name,
            "group": run.group,
            "method": run.method,
            "params": run.params.model_dump(mode="json"),
        }

    def _finish(self, run: Run, outcome: Outcome) -> None:
        run.outcome = outcome
        if outcome.curves:
            run.curves = {k: list(v) for k, v in outcome.curves.items()}
        self._workers.pop(run.id, None)
        run.live.keep(outcome)
        if outcome.error is not None:
            from napari.utils.notifications import show_error

            show_error(f"{run.name}: {outcome.error}")
        self.run_ended.emit(run)


def _write(path: str, value: Any) -> tuple[str, bool]:
    from splatom.io import FileFault, write

    try:
        return f"saved {write(path, value)}", False
    except FileFault as fault:
        return str(fault), True
