"""Preparing a series in the window: a new layer for each method, edits by hand that can be taken back."""

from __future__ import annotations

import numpy as np
import pytest

from splatom.plugin.dock_prepare import PrepareDock, by_hand
from splatom.plugin.session import session_of

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(window, ball, qtbot):
    session_of(window).add(ball, "ball")
    dock = PrepareDock(window)
    qtbot.addWidget(dock)
    dock.resize(400, 900)
    dock.show()
    return dock


def _run(dock, qtbot, method):
    dock.panel.combo.setCurrentText(method)
    dock.panel.run_button.click()
    run = dock.panel.run
    qtbot.waitUntil(lambda: not run.active, timeout=120_000)
    assert run.outcome.error is None
    return run


def _settled(dock, qtbot):
    qtbot.waitUntil(lambda: not dock._hand.busy and not dock._edits, timeout=30_000)


def test_a_method_gives_a_new_series_and_keeps_the_old_one(dock, window, ball, qtbot):
    _run(dock, qtbot, "bin")
    assert dock.session.series.shape == (16, 16, 16)
    old, new = window.layers["ball"], dock.session.series_layer
    assert old.metadata["splatom"]["value"] is ball
    assert (old.visible, new.visible) == (False, True)
    dock.compare.setChecked(True)
    assert (old.visible, new.visible) == (True, False)
    dock.compare.setChecked(False)
    dock.undo.click()
    assert dock.session.series is ball


def test_a_nudge_moves_one_shift_and_no_pixel(dock, ball, qtbot):
    dock.shifts.set_tilt(5)
    dock.shifts._nudge(1, 0)
    dock.shifts._nudge(1, 0)
    dock.shifts._nudge(0, -1)
    _settled(dock, qtbot)
    series = dock.session.series
    expected = np.zeros((16, 2))
    expected[5] = (2, -1)
    assert np.allclose(series.geometry.shifts, expected)
    assert np.array_equal(series.projections, ball.projections)
    assert [s.method for s in series.provenance.steps] == ["nudge"]  # presses in a row are one step of the recipe
    assert series.provenance.steps[0].params == {"tilt": 5, "column": 2.0, "row": -1.0}


def test_what_was_nudged_can_be_taken_back(dock, ball, qtbot):
    dock.shifts._nudge(1, 0)
    _settled(dock, qtbot)
    dock.undo.click()
    assert np.array_equal(dock.session.series.geometry.shifts, ball.geometry.shifts)
    assert dock.session.series.provenance.steps == ()


def test_an_axis_put_by_hand_goes_into_the_geometry(dock, qtbot):
    dock.axis.angle.setValue(4.0)
    dock.axis.offset.setValue(3.0)
    dock.axis.apply.click()
    _settled(dock, qtbot)
    geometry = dock.session.series.geometry
    assert geometry.axis_degrees == pytest.approx(4.0, abs=1e-6)
    across = 3 * np.array([np.cos(np.deg2rad(4)), np.sin(np.deg2rad(4))])
    assert np.allclose(geometry.shifts, across)


def test_the_line_of_the_axis_runs_where_the_axis_projects(dock, ball):
    """Points on an axis inclined by 10° and moved by 3 pixels fall on the line drawn."""
    from splatom.geometry import ViewGeometry

    dock.axis.angle.setValue(10.0)
    dock.axis.offset.setValue(3.0)
    turn = np.deg2rad(10)
    geometry = ViewGeometry.single_axis([35.0], 10.0, [3 * np.array([np.cos(turn), np.sin(turn)])])
    on_axis = np.array([[0.0, t * np.cos(turn), -t * np.sin(turn)] for t in (-4.0, 4.0)])  # (z, y, x) in nm
    seen = geometry.project(on_axis, 0.5, (32, 32))[0]
    place = np.array([dock.axis.line.pos().x(), dock.axis.line.pos().y()])
    direction = np.deg2rad(dock.axis.line.angle)
    normal = np.array([-np.sin(direction), np.cos(direction)])
    assert np.allclose((seen - place) @ normal, 0, atol=1e-6)


def test_the_sinogram_shows_the_row_chosen(dock, ball, qtbot):
    dock.sinogram.row.setValue(9)
    pane, later = dock.sinogram.before, dock.sinogram.later
    qtbot.waitUntil(lambda: pane.image.image is not None and not later.busy, timeout=30_000)
    assert np.array_equal(dock.sinogram.before.image.image, ball.projections[:, 9])


def test_an_edit_that_cannot_be_says_why(ball):
    with pytest.raises(ValueError, match="there is no tilt 99"):
        by_hand(ball, "nudge", {"tilt": 99, "column": 1.0, "row": 0.0})
