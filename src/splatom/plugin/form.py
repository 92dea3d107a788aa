"""A form from a Params model: a row a field, with its label, tooltip, bounds, unit and default.

The model is the only source: nothing here knows any method.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from psygnal import Signal
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from splatom.data import MethodParams, live_fields
from splatom.plugin.form_slider import with_slider
from splatom.plugin.settings import config_folder

__all__ = ["Form", "Number", "forget", "recall", "remember"]

_INT = 2**31 - 1


class _NoWheel:
    """Scrolling the dock must not change the number under the pointer."""

    def wheelEvent(self, event: Any) -> None:
        event.ignore()


class _Int(_NoWheel, QSpinBox):
    pass


class _Combo(_NoWheel, QComboBox):
    pass


class Number(_NoWheel, QDoubleSpinBox):
    """Shows 0.0005 and 20000 as people write them, not with a fixed number of decimals."""

    def __init__(self) -> None:
        super().__init__()
        self.setLocale(QLocale.c())
        self.setDecimals(12)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:  # noqa: D102 - Qt's name
        return f"{value:.10g}"


class _Path(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.edit, button = QLineEdit(), QToolButton()
        button.setText("…")
        button.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.edit)
        row.addWidget(button)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose a file")
        if name:
            self.edit.setText(name)


class _Auto(QWidget):
    """A field that may be None: a tick for 'auto', and the value where it is taken off."""

    def __init__(self, inner: QWidget) -> None:
        super().__init__()
        self.inner, self.tick = inner, QCheckBox("auto")
        self.tick.setToolTip("Decided from the data; take the tick off to give a value")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(inner, 1)
        row.addWidget(self.tick)
        self.tick.toggled.connect(inner.setDisabled)


def _bounds(info: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in info.metadata:
        for name in ("ge", "gt", "le", "lt", "multiple_of"):
            value = getattr(item, name, None)
            if value is not None:
                found[name] = value
    return found


def _editor(kind: Any, info: FieldInfo) -> QWidget:
    """Make the widget of a type."""
    bounds = _bounds(info)
    if get_origin(kind) is Literal:
        combo = _Combo()
        for choice in get_args(kind):
            combo.addItem(str(choice), choice)
        return combo
    if kind is bool:
        return QCheckBox()
    if kind is int:
        spin = _Int()
        low, high = bounds.get("ge", bounds.get("gt", -_INT - 1) + 1), bounds.get("le", bounds.get("lt", _INT + 1) - 1)
        spin.setRange(int(max(low, -_INT)), int(min(high, _INT)))
        return spin
    if kind is float:
        number = Number()
        low, high = bounds.get("ge", bounds.get("gt", -1e15)), bounds.get("le", bounds.get("lt", 1e15))
        number.setRange(float(low), float(high))
        return number
    if kind is Path:
        return _Path()
    edit = QLineEdit()
    if get_origin(kind) is tuple:
        edit.setPlaceholderText("numbers, separated by commas" if str not in get_args(kind) else "separated by commas")
    return edit


def _read(widget: QWidget, kind: Any) -> Any:
    if isinstance(widget, _Auto):
        return None if widget.tick.isChecked() else _read(widget.inner, kind)
    if isinstance(widget, QComboBox):
        return widget.currentData()
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QSpinBox | QDoubleSpinBox):
        return widget.value()
    text = (widget.edit if isinstance(widget, _Path) else widget).text().strip()
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _write(widget: QWidget, value: Any) -> None:
    if isinstance(widget, _Auto):
        widget.tick.setChecked(value is None)
        widget.inner.setDisabled(value is None)
        if value is not None:
            _write(widget.inner, value)
    elif isinstance(widget, QComboBox):
        widget.setCurrentIndex(max(0, widget.findData(value)))
    elif isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, QSpinBox | QDoubleSpinBox):
        widget.setValue(value)
    else:
        text = ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        (widget.edit if isinstance(widget, _Path) else widget).setText(text)


def _on_change(widget: QWidget, slot: Any) -> None:
    if isinstance(widget, _Auto):
        widget.tick.toggled.connect(lambda *_: slot())
        _on_change(widget.inner, slot)
    elif isinstance(widget, QComboBox):
        widget.currentIndexChanged.connect(lambda *_: slot())
    elif isinstance(widget, QCheckBox):
        widget.toggled.connect(lambda *_: slot())
    elif isinstance(widget, QSpinBox | QDoubleSpinBox):
        widget.setKeyboardTracking(False)
        widget.valueChanged.connect(lambda *_: slot())
    else:
        (widget.edit if isinstance(widget, _Path) else widget).editingFinished.connect(lambda: slot())


class Form(QWidget):
    """A form for one Params model; ``changed(field name)`` is emitted when the user changes a field.

    Parameters
    ----------
    model : type of MethodParams
    skip : tuple of str
        Fields not shown; they keep their defaults.
    """

    changed = Signal(str)

    def __init__(self, model: type[MethodParams], skip: tuple[str, ...] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self._live = live_fields(model)
        self._fields: dict[str, tuple[QWidget, Any]] = {}
        self._quiet = False
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        plain, folded = QFormLayout(), QFormLayout()
        for layout in (plain, folded):
            layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        column.addLayout(plain)
        for name, info in model.model_fields.items():
            if name != "method" and name not in skip:
                extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
                self._add(name, info, folded if extra.get("advanced") else plain, str(extra.get("unit") or ""))
        if folded.rowCount():
            column.addWidget(_Fold("Advanced", folded))
        self.set_value(model())

    def _add(self, name: str, info: FieldInfo, layout: QFormLayout, unit: str) -> None:
        options = get_args(info.annotation) if NoneType in get_args(info.annotation) else ()
        kind = next((k for k in options if k is not NoneType), info.annotation)
        widget = _editor(kind, info)
        title = info.title or name
        if unit and isinstance(widget, QSpinBox | QDoubleSpinBox):
            widget.setSuffix(f" {unit}")
        elif unit:
            title += f" ({unit})"
        widget = _Auto(widget) if options else widget
        label = QLabel(title)
        live = " It may be changed while the method runs." if name in self._live else ""
        row = self._row(name, info, widget)
        for part in (label, row, widget):
            part.setToolTip(f"<p>{info.description or title}{live}</p>")
        widget.setObjectName(name)
        self._fields[name] = (widget, kind)
        layout.addRow(label, row)
        _on_change(widget, lambda n=name: self._changed(n))

    def _row(self, name: str, info: FieldInfo, widget: QWidget) -> QWidget:
        """Return what stands in a field's row: a slider too, for a number between bounds that acts live."""
        bounds = _bounds(info)
        lower, upper = {"ge", "gt"} & bounds.keys(), {"le", "lt"} & bounds.keys()
        if name not in self._live or not (isinstance(widget, Number) and lower and upper):
            return widget
        if not widget.minimum() < info.default < widget.maximum():
            return widget
        return with_slider(widget, float(info.default), ("ge" in lower, "le" in upper))

    def _changed(self, name: str) -> None:
        if not self._quiet:
            self.changed.emit(name)

    def widget(self, name: str) -> QWidget:
        """Return the widget of a field."""
        return self._fields[name][0]

    def value(self) -> MethodParams:
        """Return the parameters as the form shows them.

        Raises
        ------
        ValueError
            If a field does not fit, in one line that names it.
        """
        values = {name: _read(widget, kind) for name, (widget, kind) in self._fields.items()}
        try:
            return self.model(**values)
        except ValidationError as exc:
            first = exc.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            title = self.model.model_fields[name].title if name in self.model.model_fields else ""
            raise ValueError(f"{title or name or 'parameters'}: {first['msg']}") from exc

    def set_value(self, params: MethodParams) -> None:
        """Show parameters; ``changed`` is emitted once, with an empty name."""
        self._quiet = True
        for name, (widget, _) in self._fields.items():
            _write(widget, getattr(params, name))
        self._quiet = False
        self.changed.emit("")

    def set_running(self, running: bool) -> None:
        """While a run goes on only live fields may be changed."""
        for name, (widget, _) in self._fields.items():
            widget.setEnabled(not running or name in self._live)


class _Fold(QWidget):
    """A part of a form that is hidden until asked for."""

    def __init__(self, title: str, layout: QFormLayout) -> None:
        super().__init__()
        self.button, body = QToolButton(), QWidget()
        body.setLayout(layout)
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        self.button.setAutoRaise(True)
        self.button.toggled.connect(self._turn)
        self.body = body
        body.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.button)
        column.addWidget(body)

    def _turn(self, open_: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.body.setVisible(open_)


# ---------------------------------------------------------------- remembered between sessions
def _store() -> Path:
    return config_folder() / "parameters.json"


def _stored() -> dict[str, Any]:
    try:
        found = json.loads(_store().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _save(values: dict[str, Any]) -> None:
    path = _store()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(values, indent=1), encoding="utf-8")
        aside.replace(path)
    except OSError:
        return  # a read-only home: nothing is remembered, and nothing else suffers


def remember(group: str, params: MethodParams) -> None:
    """Keep parameters for the next session."""
    values = params.model_dump(mode="json")
    _save({**_stored(), f"{group} {values.pop('method')}": values})


def recall(group: str, model: type[MethodParams]) -> MethodParams:
    """Return the parameters used last; the defaults where there are none or they no longer fit."""
    values = _stored().get(f"{group} {model().model_dump()['method']}", {})
    try:
        return model(**values)
    except (ValidationError, TypeError):
        return model()


def forget(group: str, model: type[MethodParams]) -> MethodParams:
    """Drop what is remembered of a method; return the defaults."""
    _save({k: v for k, v in _stored().items() if k != f"{group} {model().model_dump()['method']}"})
    return model()
