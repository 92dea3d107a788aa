"""The dock that turns a tilt series into a volume, live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from splatom.data import MethodParams, Provenance, TiltSeries
from splatom.jobs import JobError, Task
from splatom.methods import find
from splatom.plugin.interpolate_use import SyntheticTick
from splatom.plugin.layers import from_layer, info
from splatom.plugin.overlay_ticks import OverlayTicks
from splatom.plugin.runner import MethodPanel
from splatom.plugin.session import Run, session_of
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    import napari

__all__ = ["ReconstructDock"]

_EXTENT = ("the whole series", "three slices", "a binned copy")


class ReconstructDock(QWidget):
    """Reconstruct the series in hand; the volume streams into a layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.session = session_of(viewer)
        self.series_label = QLabel()
        self.series_label.setWordWrap(True)
        self.panel = MethodPanel(self.session, "reconstruct")
        self.device, self.extent, self.rows = QComboBox(), QComboBox(), QLineEdit()
        self.device.addItems(["auto", "cpu", "cuda"])
        self.device.setCurrentText(preferences().device)
        self.device.setToolTip("Where to compute; 'auto' takes a CUDA device where there is one")
        self.extent.addItems(_EXTENT)
        self.extent.setToolTip(
            "Find good parameters on a part before the full run. Three slices: the rows given below, each on its own "
            "(3-D TV couples slices: a binned copy tells more of it)."
        )
        self.rows.setToolTip("Three image rows, separated by commas")
        self.overlays = OverlayTicks(self.session.viewer)
        self.estimate = QLabel("Time and memory: not estimated yet")
        self.estimate.setWordWrap(True)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Device", self.device)
        rows.addRow("Run on", self.extent)
        rows.addRow("Rows", self.rows)
        self._rows_label = rows.labelForField(self.rows)
        self.synthetic = SyntheticTick()
        self.panel.extra.addWidget(self.synthetic)
        self.panel.extra.addLayout(rows)
        self.panel.extra.addWidget(self.estimate)
        self.panel.data, self.panel.task = self._data, self._task
        body, column = QWidget(), QVBoxLayout(self)
        inner = QVBoxLayout(body)
        inner.addWidget(self.series_label)
        inner.addWidget(self.panel)
        inner.addWidget(self.overlays)
        inner.addLayout(self._actions())
        inner.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(scroll)
        self.setMinimumWidth(320)
        self._planning: Any = None
        self._planned: Any = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._plan)
        self._asking = QTimer(self)
        self._asking.timeout.connect(self._take_plan)
        self.extent.currentIndexChanged.connect(self._extent_changed)
        self.device.currentTextChanged.connect(lambda *_: self._plan_soon())
        self.panel.params_changed.connect(self._plan_soon)
        self.panel.method_changed.connect(self._plan_soon)
        self.panel.method_changed.connect(self._offer_synthetic)
        s = self.session
        s.attach(self, (s.active_series_changed, self._series_changed), (s.run_started, self._started))
        s.attach(self, (s.run_updated, self._updated), (s.run_ended, self._ended))
        self._extent_changed()
        self._series_changed()
        self.overlays.refresh()
        s.warm_up()

    def _actions(self) -> QGridLayout:
        """Buttons about the selected result."""
        grid = QGridLayout()
        self.actions: dict[str, QPushButton] = {}
        for i, (title, tip, slot) in enumerate(
            (
                ("Save result…", "Save the selected layer; the extension says the format", self.save),
                ("Restore parameters", "Take the method and parameters of the selected layer", self.restore),
                ("Copy as Python", "Copy a script that makes the selected layer again", lambda: self.copy("python")),
                ("Copy as command", "Copy commands that make the selected layer again", lambda: self.copy("commands")),
            )
        ):
            button = self.actions[title] = QPushButton(title)
            button.setToolTip(tip)
            button.clicked.connect(lambda *_, slot=slot: slot())
            grid.addWidget(button, i // 2, i % 2)
        return grid

    # ---------------------------------------------------------------- what to run on
    def _series_changed(self, *_: Any) -> None:
        series = self.session.series
        if series is None:
            layer = self.session.series_layer
            missing = " with tilt angles (give them in the dock Tilt series)" if layer is not None else ""
            self.series_label.setText(f"<b>No tilt series{missing}.</b> Open one, or File > Open Sample > Splatom.")
            self.estimate.setText("")
        else:
            n, h, w = series.shape
            self.series_label.setText(f"<b>{self.session.series_layer.name}</b>: {n} tilts of {w} × {h} pixels")
            if not self.rows.isModified():
                self.rows.setText(", ".join(str(round(h * f)) for f in (0.3, 0.5, 0.7)))
        self._offer_synthetic()
        self.panel._show_state()
        self._plan_soon()

    def _offer_synthetic(self, *_: Any) -> None:
        self.synthetic.offer(self.session.series, self.panel.method)

    def _extent_changed(self, *_: Any) -> None:
        slices = self.extent.currentIndex() == 1
        self.rows.setVisible(slices)
        self._rows_label.setVisible(slices)
        self._plan_soon()

    def _data(self) -> TiltSeries | None:
        from splatom.plugin.trial import three_rows

        try:
            series = self.synthetic.taken(self.session.series)
            if series is None or self.extent.currentIndex() != 1:
                return series
            return three_rows(series, tuple(int(r) for r in self.rows.text().split(",") if r.strip()))
        except ValueError as exc:
            raise JobError(str(exc)) from exc

    def _task(self) -> dict[str, Any]:
        self._drop_plan()
        trial = {"runner": "splatom.plugin.trial:binned"} if self.extent.currentIndex() == 2 else {}
        return {"device": self.device.currentText(), **trial}

    # ---------------------------------------------------------------- the estimate
    def _plan_soon(self, *_: Any) -> None:
        self._soon.start(600)

    def _plan(self) -> None:
        """Estimate the full run where it will be done, for that takes torch."""
        series, form = self.session.series, self.panel.form
        if series is None or form is None or any(r.active for r in self.session.runs):
            return
        if self.extent.currentIndex() != 0:
            self.estimate.setText("A trial: seconds")
            return
        try:
            params = form.value()
        except ValueError as exc:
            self.estimate.setText(str(exc))
            return
        key = self._key(self.panel.method, params)
        if self._planned == key:
            return
        self._drop_plan()
        self._planned = key
        self._planning = self.session.submit(
            Task(
                "reconstruct", self.panel.method, params, series, self.device.currentText(),
                runner="splatom.plugin.trial:plan",
            )
        )  # fmt: skip
        self.estimate.setText("Time and memory: being estimated")
        self._asking.start(100)

    def _key(self, method: str, params: MethodParams) -> tuple[Any, ...]:
        """Return what an estimate is for."""
        return id(self.session.series), method, self.device.currentText(), params

    def _take_plan(self) -> None:
        outcome = self._planning.outcome if self._planning is not None else None
        if outcome is None:
            return
        self._asking.stop()
        self._planning = None
        if outcome.error is not None:
            self.estimate.setText(str(outcome.error))
        elif outcome.result is not None:
            self.estimate.setText(f"Takes {outcome.result.text}")

    def _drop_plan(self) -> None:
        self._asking.stop()
        if self._planning is not None:
            self._planning.stop()
            self._planning = self._planned = None
            self.estimate.setText("")

    # ---------------------------------------------------------------- runs
    def _started(self, run: Run) -> None:
        if run is self.panel.run and self.extent.currentIndex() == 1:
            self._look_along("y")
        elif run.group == "reconstruct" and self.extent.currentIndex() != 1:
            self._look_along("z")

    def _updated(self, run: Run) -> None:
        """Where a method plans its run itself, that is better known than the estimate."""
        if run is self.panel.run and run.snapshot is not None and "plan" in run.snapshot.notes:
            self._planned = self._key(run.method, run.params)
            self.estimate.setText(f"Takes {run.snapshot.notes['plan']}")

    def _ended(self, run: Run) -> None:
        if run.group == "reconstruct":
            self._plan_soon()
            if run.layers:
                self.overlays.choose(run.layers[0])

    def _look_along(self, axis: str) -> None:
        """Show the planes of a trial (x, z) or those of a volume (x, y)."""
        dims = self.viewer.dims
        if dims.ndisplay == 2 and dims.ndim >= 3:
            n = dims.ndim
            last = (n - 2, n - 3, n - 1) if axis == "y" else (n - 3, n - 2, n - 1)
            dims.order = (*range(n - 3), *last)

    # ---------------------------------------------------------------- the selected result
    def _chosen(self) -> Any:
        """Return the selected layer if it is one of Splatom's, else that of the last run."""
        layer = self.viewer.layers.selection.active
        if layer is not None and info(layer).get("provenance"):
            return layer
        done = [r for r in self.session.runs if r.layers and r.result is not None]
        if not done:
            raise JobError("select a result in the layer list")
        return done[-1].layers[0]

    def _try(self, action: Any) -> None:
        try:
            self.panel.message.say(action())
        except (JobError, ValueError, OSError) as exc:
            self.panel.message.say(str(exc), fault=True)

    def restore(self) -> None:
        """Take method and parameters of the selected layer into the form."""

        def act() -> str:
            layer = self._chosen()
            steps = [s for s in info(layer)["provenance"]["steps"] if s["group"] == "reconstruct"]
            if not steps or ("reconstruct", steps[-1]["method"]) not in find():
                raise JobError(f"'{layer.name}' was not reconstructed with a method that is here")
            name = steps[-1]["method"]
            self.panel.set_params(name, find()["reconstruct", name].params(**steps[-1]["params"]))
            return f"parameters of '{layer.name}' restored"

        self._try(act)

    def copy(self, what: str) -> None:
        """Put the selected layer's recipe on the clipboard, as 'python' or 'commands'."""

        def act() -> str:
            from splatom.recipe import Recipe

            layer = self._chosen()
            recipe = Recipe.from_provenance(Provenance.from_dict(info(layer)["provenance"]))
            QApplication.clipboard().setText(getattr(recipe, f"to_{what}")())
            return f"'{layer.name}' copied as {'Python' if what == 'python' else 'commands'}"

        self._try(act)

    def save(self, path: str | Path = "") -> None:
        """Save the selected layer, in a thread; asks for the file's name if none is given."""

        def act() -> str:
            layer = self._chosen()
            value = from_layer(layer)
            folder = preferences().output_folder or str(Path(value.provenance.source).parent)
            name = str(path) or QFileDialog.getSaveFileName(
                self, "Save result", str(Path(folder) / f"{layer.name}.mrc"),
                "MRC (*.mrc *.rec *.map);;NumPy (*.npz);;TIFF (*.tif);;OME-Zarr (*.zarr)",
            )[0]  # fmt: skip
            if not name:
                return ""
            self.session.save(name, value, self.panel.message.say)
            return self.panel.message.text()

        self._try(act)
