"""The monitor shows how a run goes, and how it went."""

from __future__ import annotations

import numpy as np
import pytest

from splatom.methods import find
from splatom.plugin.dock_monitor import MonitorDock
from splatom.plugin.session import session_of

pytestmark = pytest.mark.gui


@pytest.fixture
def monitor(window, ball, qtbot):
    session_of(window).add(ball, "ball")
    dock = MonitorDock(window)
    qtbot.addWidget(dock)
    dock.resize(400, 800)
    dock.show()
    return dock


def _reconstruct(monitor, qtbot, **fields):
    params = find()["reconstruct", "sirt"].params(**fields)
    run = monitor.session.start("reconstruct", "sirt", params)
    qtbot.waitUntil(lambda: not run.active, timeout=120_000)
    assert run.outcome.error is None
    return run


def test_before_any_run_the_monitor_says_what_to_do(monitor):
    assert "No run yet" in monitor.status.text()


def test_a_run_is_followed_from_its_start_to_its_end(monitor, ball, qtbot):
    run = _reconstruct(monitor, qtbot, iterations=12, hold_out=0.2)
    assert monitor.run is run
    assert monitor.ratios.names == ("R", "R-free")
    assert monitor.status.text().startswith("done")
    held = run.outcome.notes["held_out"]
    assert len(monitor.bars.values) == len(ball) - len(held)
    assert not set(monitor._tilts) & set(held)
    assert monitor.bars.values == pytest.approx(run.outcome.figures["r_per_tilt"])


def test_the_prediction_is_that_of_the_tilt_chosen(monitor, ball, qtbot):
    _reconstruct(monitor, qtbot, iterations=40)
    monitor.tilt.setValue(3)
    qtbot.waitUntil(lambda: not monitor._later.busy and "R of this tilt" in monitor.note.text(), timeout=30_000)
    measured, predicted = (pane.image.image for pane in monitor.panes[:2])
    assert np.array_equal(measured, ball.projections[3])
    assert np.corrcoef(measured.ravel(), predicted.ravel())[0, 1] > 0.98
    assert "4 of 16" in monitor.angle.text()


def test_slider_of_viewer_and_monitor_are_one(monitor, window, qtbot):
    _reconstruct(monitor, qtbot, iterations=3)
    window.dims.set_point(0, 7)
    assert monitor.tilt.value() == 7
    monitor.tilt.setValue(2)
    assert window.dims.point[0] == 2


def test_a_click_on_a_bar_shows_its_tilt(monitor, qtbot):
    _reconstruct(monitor, qtbot, iterations=3, hold_out=0.2)
    monitor.bars.picked.emit(5)
    assert monitor.tilt.value() == monitor._tilts[5]


def test_an_earlier_run_can_be_looked_at_again(monitor, qtbot):
    first = _reconstruct(monitor, qtbot, iterations=3)
    second = _reconstruct(monitor, qtbot, iterations=6)
    assert monitor.run is second
    monitor.choice.setCurrentIndex(0)
    assert monitor.run is first
    assert f"R {first.curves['r'][-1][1]:.4f}" in monitor.status.text()
