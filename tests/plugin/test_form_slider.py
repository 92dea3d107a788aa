"""Numbers that act live have a slider beside them."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSlider

from splatom.methods.reconstruct.sirt import SirtParams
from splatom.methods.reconstruct.temdiff import TemdiffParams
from splatom.plugin.form import Form

pytestmark = pytest.mark.gui


def slider_of(form: Form, name: str) -> QSlider:
    found = form.widget(name).parent().findChildren(QSlider)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def form(qtbot: Any) -> Form:
    made = Form(TemdiffParams)
    qtbot.addWidget(made)
    return made


def test_only_a_number_that_acts_live_has_a_slider(form: Form) -> None:
    assert form.findChildren(QSlider) == [slider_of(form, "strength")]


def test_the_default_is_in_the_middle_and_the_bounds_at_the_ends(form: Form) -> None:
    slider, seen = slider_of(form, "strength"), []
    assert slider.value() == (slider.minimum() + slider.maximum()) / 2
    for place in (slider.minimum(), slider.maximum()):
        slider.setValue(place)
        seen.append(form.value().strength)
    assert seen == [0, 100]


def test_a_bound_that_may_not_be_taken_is_not_at_the_end(qtbot: Any) -> None:
    form = Form(SirtParams)  # relaxation lies between 0 and 2
    qtbot.addWidget(form)
    slider = slider_of(form, "relaxation")
    for place in (slider.minimum(), slider.maximum()):
        slider.setValue(place)
        assert 0 < form.value().relaxation < 2


def test_the_slider_follows_the_number(form: Form) -> None:
    slider, places = slider_of(form, "strength"), []
    for value in (0.0, 0.1, 1.0, 10.0, 100.0):
        form.widget("strength").setValue(value)
        places.append(slider.value())
    assert places == sorted(set(places))
    assert form.value().strength == 100


def test_a_drag_shows_numbers_on_its_way_and_tells_the_last_one(form: Form, qtbot: Any) -> None:
    slider, told = slider_of(form, "strength"), []
    form.changed.connect(told.append)
    slider.setSliderDown(True)
    for place in (110, 130, 150):
        slider.setSliderPosition(place)
    shown = form.widget("strength").value()
    assert shown > 1
    assert told == []
    slider.setSliderDown(False)
    assert told == ["strength"]
    assert form.value().strength == shown


def test_scrolling_the_dock_does_not_move_it(form: Form, qtbot: Any) -> None:
    from qtpy.QtCore import QPoint, QPointF
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    slider = slider_of(form, "strength")
    before = slider.value()
    turn = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(0, 0), QPoint(0, 120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(slider, turn)
    assert slider.value() == before
