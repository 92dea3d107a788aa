"""A form shows what its Params model says, and gives back what the user sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLabel, QSpinBox

from splatom.data import MethodParams, option
from splatom.methods import find
from splatom.plugin.form import Form, forget, recall, remember

pytestmark = pytest.mark.gui


class EveryParams(MethodParams):
    """One field of every kind."""

    method: Literal["every"] = "every"
    count: int = option(200, "Count", "How many.", ge=1, le=500, live=True)
    rate: float = option(0.0005, "Rate", "How fast.", gt=0, unit="nm")
    on: bool = option(True, "On", "Whether.")
    word: str = option("dog", "Word", "Any.")
    choice: Literal["a", "b"] = option("b", "Choice", "Which.")
    maybe: float | None = option(None, "Maybe", "Decided from the data.")
    file: Path = option(Path("x.mrc"), "File", "Where.", advanced=True)
    angles: tuple[float, ...] = option((-3.0, 4.5), "Angles", "Degrees.")
    box: tuple[int, int] | None = option(None, "Box", "Corner.")


@pytest.fixture
def form(qtbot: Any) -> Form:
    made = Form(EveryParams)
    qtbot.addWidget(made)
    return made


def test_defaults_are_shown_and_come_back(form: Form) -> None:
    assert form.value() == EveryParams()


def test_any_value_comes_back(form: Form) -> None:
    other = EveryParams(count=7, rate=1e-7, on=False, word="a b", choice="a", maybe=2.5, file="y/z.st",
                        angles=(-70, 0), box=(3, -4))  # fmt: skip
    form.set_value(other)
    assert form.value() == other


def test_bounds_units_and_texts_are_those_of_the_model(form: Form) -> None:
    count, rate = form.widget("count"), form.widget("rate")
    assert isinstance(count, QSpinBox)
    assert (count.minimum(), count.maximum()) == (1, 500)
    assert isinstance(rate, QDoubleSpinBox)
    assert rate.text() == "0.0005 nm"
    assert isinstance(form.widget("on"), QCheckBox)
    assert isinstance(form.widget("choice"), QComboBox)
    assert "How many" in count.toolTip()
    assert "Count" in [label.text() for label in form.findChildren(QLabel)]


def test_what_may_be_none_has_a_tick_for_automatic(form: Form) -> None:
    maybe = form.widget("maybe")
    assert maybe.tick.isChecked()
    assert not maybe.inner.isEnabled()
    maybe.tick.setChecked(False)
    maybe.inner.setValue(3.25)
    assert form.value().maybe == 3.25


def test_a_value_that_does_not_fit_is_told_by_its_title(form: Form) -> None:
    form.widget("angles").setText("1, two")
    with pytest.raises(ValueError, match=r"^Angles: "):
        form.value()


def test_only_live_fields_stay_open_while_a_run_goes_on(form: Form) -> None:
    form.set_running(True)
    assert form.widget("count").isEnabled()
    assert not form.widget("rate").isEnabled()
    form.set_running(False)
    assert form.widget("rate").isEnabled()


def test_a_change_is_told_with_the_name_of_the_field(form: Form) -> None:
    told: list[str] = []
    form.changed.connect(told.append)
    form.widget("count").setValue(8)
    assert told == ["count"]


def test_parameters_are_remembered_until_they_are_reset() -> None:
    remember("reconstruct", EveryParams(count=9))
    assert recall("reconstruct", EveryParams).count == 9
    assert recall("denoise", EveryParams).count == 200
    assert forget("reconstruct", EveryParams) == EveryParams()
    assert recall("reconstruct", EveryParams).count == 200


def test_a_remembered_value_that_no_longer_fits_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "parameters.json").write_text('{"reconstruct every": {"count": 9000, "gone": 1}}')
    assert recall("reconstruct", EveryParams) == EveryParams()


@pytest.mark.parametrize("key", sorted(find()), ids=" ".join)
def test_every_method_has_a_form_that_gives_back_its_defaults(key: tuple[str, str], qtbot: Any) -> None:
    model = find()[key].params
    made = Form(model)
    qtbot.addWidget(made)
    assert made.value() == model()
