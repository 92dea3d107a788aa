"""The page that measures the noise of the images: its plots, its figures, and whether a network knows such noise."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from splatom.jobs import JobError, Task
from splatom.plugin.denoise_ask import Asking
from splatom.plugin.denoise_input import Source
from splatom.plugin.plots import COLOURS, Plot, pyqtgraph
from splatom.plugin.runner import MessageBar
from splatom.plugin.settings import preferences

if TYPE_CHECKING:
    from splatom.plugin.runner import MethodPanel
    from splatom.plugin.session import Session
    from splatom.simulate.calibration import Calibration

__all__ = ["FitPlot", "NoisePage", "compare", "in_words", "measure"]

_MOST = 16  # images that are measured, as many as a calibration takes
_RUNNER = "splatom.plugin.denoise_noise:measure"
_COMPARE = "splatom.plugin.denoise_noise:compare"
_KINDS = {"STEM scan": "stem", "HRTEM camera": "hrtem"}
_LINES = {"auto": "auto", "image rows": "rows", "image columns": "columns"}
_MEASURED, _FITTED = COLOURS["measured"], COLOURS["synthetic"]


@dataclass(frozen=True, eq=False)
class Images:
    """What is to be measured, picklable."""

    images: Any
    kind: str
    lines: str


def measure(group: str, name: str, data: Images, job: Any) -> Calibration:
    """Calibrate the noise (a runner of :class:`splatom.jobs.Task`)."""
    from splatom.simulate.calibration import calibrate

    try:
        return calibrate(data.images, kind=data.kind, lines=data.lines, tick=job.check)  # type: ignore[arg-type]
    except ValueError as fault:
        raise JobError(str(fault)) from fault


def compare(group: str, name: str, found: Calibration, job: Any) -> dict[str, str]:
    """Say what of the noise lies outside a network's training (a runner too); 'outside' is empty if it knows it."""
    from splatom.simulate.calibration import outside
    from splatom.weights import WeightsError, load

    try:
        _, card = load(name, job.params.variant, job.params.weights)
    except WeightsError:
        return {}  # the run says so
    return {"outside": outside(card.trained, found) or "", "network": f"{name} {card.variant}"}


class FitPlot(Plot):
    """Measured points and a line through them."""

    def __init__(self, title: str, x: str, y: str, log: bool = False, tip: str = "") -> None:
        super().__init__(x, f"log₁₀ {y}" if log else y)
        self._log = log  # not the plot's own logarithm, whose ticks run into one another
        self._points = self.plot.plot(pen=None, symbol="o", symbolSize=6, symbolPen=None, symbolBrush=_MEASURED)
        self._line = self.plot.plot(pen=pyqtgraph().mkPen(_FITTED, width=2))
        self.title = QLabel(f"<b>{title}</b>")
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        head = QHBoxLayout()
        head.addWidget(self.title)
        head.addStretch(1)
        head.addWidget(self.legend)
        self.layout().insertLayout(0, head)
        self.setToolTip(tip)
        self._names = ("measured", "fitted")

    def name(self, measured: str, fitted: str) -> FitPlot:
        """Say what both are; returns itself."""
        self._names = (measured, fitted)
        return self

    def set_data(self, x: Any, measured: Any, fitted: Any) -> None:
        """Show points and line; without any, the plot hides."""
        self.setVisible(x is not None and len(x) > 0)
        if x is None:
            return
        x, measured, fitted = (np.asarray(a, np.float64) for a in (x, measured, fitted))
        if self._log:
            measured, fitted = (np.log10(np.maximum(a, 1e-30 * max(a.max(), 1e-30))) for a in (measured, fitted))
        keep = np.isfinite(measured) & np.isfinite(fitted)
        x, measured, fitted = x[keep], measured[keep], fitted[keep]
        self._points.setData(x, measured)
        self._line.setData(x, fitted)
        dot, dash = (f"<span style='color:{c}'>{s}</span>" for c, s in ((_MEASURED, "&#9679;"), (_FITTED, "&#9644;")))
        self.legend.setText(f"{dot} {self._names[0]} &nbsp; {dash} {self._names[1]}")

    @property
    def points(self) -> tuple[Any, Any]:
        """The measured points on show."""
        x, y = self._points.getOriginalDataset()
        return (np.zeros(0), np.zeros(0)) if x is None else (x, y)


def in_words(found: Calibration) -> dict[str, str]:
    """Return the figures of a calibration with their units, in words."""
    noise = found.noise
    lines = noise.lines[:-1]
    out = {
        "pointwise": f"SD {_g(found.point)} in the mean, {found.noise_to_contrast:.2g} of the contrast",
        "readout": f"SD {_g(noise.readout)}, without signal",
        "gain": f"{_g(noise.gain)} units² of variance per unit of signal" if noise.gain else "none: no shot noise seen",
    }
    if found.scan > 0:
        grow = f", and {_g(noise.line_gradient)} per unit/px of gradient" if noise.line_gradient else ""
        out["lines"] = f"along {lines}s, SD {_g(noise.line)}{grow}"
        if np.isfinite(noise.line_length):
            out["lines"] += f"; they hold for {_g(noise.line_length)} px"
    else:
        out["lines"] = "none found"
    if noise.background > 0:
        out["background"] = f"SD {_g(noise.background)}, over {_g(noise.background_length)} px"
    out["detector blur"] = f"{_g(noise.blur)} px" if noise.blur > 0.05 else "none"
    out["contrast"] = f"SD {_g(found.contrast)} of the image without its noise"
    if found.repeats:
        out["from"] = "repeats of one field"
    return out


def _g(value: float) -> str:
    return f"{value:.3g}"


class NoisePage(QWidget):
    """Calibrate noise.

    Parameters
    ----------
    session : Session
    panel : MethodPanel
    source : Source
    """

    def __init__(self, session: Session, panel: MethodPanel, source: Source) -> None:
        super().__init__()
        self._session, self._panel, self._source = session, panel, source
        self.found: Calibration | None = None
        self.asking = Asking(session, self)
        self.asking.done.connect(self._show)
        self.asking.failed.connect(self._failed)
        self._comparing = Asking(session, self)
        self._comparing.done.connect(self._warn)
        self._build()
        source.chosen.connect(self._source_changed)
        panel.method_changed.connect(self._compare)
        panel.params_changed.connect(self._compare)
        self._source_changed()

    def _build(self) -> None:
        self.kind, self.lines = QComboBox(), QComboBox()
        self.kind.addItems(list(_KINDS))
        self.kind.setToolTip(
            "STEM: noise of scan lines, stronger where the image is steep. HRTEM: offsets of the camera's columns"
        )
        self.lines.addItems(list(_LINES))
        self.lines.setToolTip("Which way a line of line noise runs; auto: whichever way it is found")
        self.button = QPushButton("Calibrate noise")
        self.button.setToolTip("Measure the noise in the images as recorded; filtered images have filtered noise")
        self.warning, self.message = MessageBar(), MessageBar()
        self.figures = QFormLayout()
        self.figures.setVerticalSpacing(2)
        self.plots = {
            "point": FitPlot(
                "Pointwise noise", "signal (units of the image)", "variance (units²)",
                tip="Variance of the noise of single pixels in bins of the signal. A line that rises is shot noise; "
                "where it meets zero signal is the readout noise.",
            ),
            "lines": FitPlot(
                "Noise of lines", "gradient (units/px)", "SD (units)",
                tip="SD of the offsets of scan lines in bins of the image's gradient. What rises with the gradient is "
                "jitter: lines that were scanned a little beside their place.",
            ),
            "power": FitPlot(
                "Spectrum", "spatial frequency (1/px)", "power (units²)", log=True,
                tip="Power of the noise against frequency, structure left out, and that of noise simulated with these "
                "figures. Where both lie on one another the model holds.",
            ).name("measured", "simulated"),
        }  # fmt: skip
        row, column = QHBoxLayout(), QVBoxLayout(self)
        row.addWidget(self.kind, 1)
        row.addWidget(QLabel("lines along"))
        row.addWidget(self.lines, 1)
        column.addLayout(row)
        column.addWidget(self.button)
        column.addWidget(self.warning)
        column.addWidget(self.message)
        column.addLayout(self.figures)
        for plot in self.plots.values():
            column.addWidget(plot, 1)
        column.addStretch(0)
        self.button.clicked.connect(self.calibrate)
        self._empty("Not measured yet.")

    # ---------------------------------------------------------------- asking
    def _source_changed(self) -> None:
        self.found = None
        self.asking.forget()
        self._comparing.forget()
        self.warning.say("")
        self.message.say("")
        self._empty("Not measured yet.")
        try:
            contrast = self._source.series().contrast
        except ValueError:
            self.button.setEnabled(False)
            return
        self.button.setEnabled(True)
        self.kind.setCurrentIndex(int(contrast == "phase"))

    def calibrate(self) -> None:
        """Measure the noise of the source."""
        form = self._panel.form
        try:
            series = self._source.series()
        except ValueError as exc:
            self._failed(str(exc))
            return
        images = series.projections[~series.synthetic] if series.synthetic.any() else series.projections
        if len(images) > _MOST:
            images = images[np.linspace(0, len(images) - 1, _MOST).round().astype(int)]
        data = Images(images, _KINDS[self.kind.currentText()], _LINES[self.lines.currentText()])
        self.warning.say("")
        self.message.say("measuring the noise …")
        self.button.setEnabled(False)
        assert form is not None
        self.asking.ask(Task("denoise", self._panel.method, form.model(), data, preferences().device, runner=_RUNNER))

    def _failed(self, why: str) -> None:
        self.button.setEnabled(True)
        self.message.say(why, fault=True)

    # ---------------------------------------------------------------- showing
    def _empty(self, why: str) -> None:
        self._fill({"": why})
        for plot in self.plots.values():
            plot.hide()

    def _fill(self, figures: Mapping[str, str]) -> None:
        while self.figures.rowCount():
            self.figures.removeRow(0)
        for name, text in figures.items():
            label = QLabel(text)
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self.figures.addRow(f"{name}:" if name else "", label)

    def _show(self, found: Calibration) -> None:
        self.found = found
        self.button.setEnabled(True)
        self.message.say("")
        self._fill(in_words(found))
        curves = found.curves
        for name, keys in (
            ("point", ("signal", "variance", "variance_fit")),
            ("lines", ("gradient", "line_sd", "line_sd_fit")),
            ("power", ("frequency", "power", "power_fit")),
        ):
            self.plots[name].set_data(*(curves.get(k) for k in keys))
        self._compare()

    def _compare(self, *_: Any) -> None:
        """Ask whether the network that is chosen was trained on such noise."""
        self.warning.say("")
        self._comparing.forget()
        form, method = self._panel.form, self._panel.method
        if self.found is None or form is None or "variant" not in form.model.model_fields:
            return
        with suppress(ValueError):  # the form says what is wrong where it is filled in
            task = Task("denoise", method, form.value(), self.found, "cpu", runner=_COMPARE)
            self._comparing.ask(task)

    def _warn(self, said: dict[str, str]) -> None:
        if not said or self.found is None:
            return
        line, network = said["outside"], said["network"]
        if line:
            cure = "Look closely at what it removes, or let noise2noise learn from these images."
            self.warning.say(f"{network}: {line}. {cure}", fault=True)
        else:
            self.warning.say(f"{network} was trained on such noise.")
