"""The dock Reconstruct: from a series in hand to a volume, as a person drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from splatom.data import TiltSeries
from splatom.methods.reconstruct.sirt import SirtParams
from splatom.plugin.layers import info
from splatom.plugin.session import session_of
from splatom.plugin.trial import three_rows

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(window: Any) -> Any:
    made = window.window.add_plugin_dock_widget("splatom", "Reconstruct")[1]
    made.device.setCurrentText("cpu")
    return made


def run(dock: Any, qtbot: Any, **params: Any) -> Any:
    dock.panel.set_params("sirt", SirtParams(**params))
    dock.panel.run_button.click()
    qtbot.waitUntil(lambda: not dock.panel.run.active, timeout=60_000)
    return dock.panel.run


def test_nothing_can_be_run_before_a_series_is_there(window: Any, dock: Any, ball: TiltSeries) -> None:
    assert not dock.panel.run_button.isEnabled()
    session_of(window).add(ball, "ball")
    assert dock.panel.run_button.isEnabled()


def test_run_shows_progress_and_figures_and_gives_a_volume(
    window: Any, dock: Any, ball: TiltSeries, qtbot: Any
) -> None:
    session_of(window).add(ball, "ball")
    done = run(dock, qtbot, iterations=5, hold_out=0.2)
    assert done.outcome.status == "done"
    assert "R-free" in dock.panel.status.text()
    assert window.layers["sirt 1"].data.shape == (32, 32, 32)
    assert dock.panel.run_button.isEnabled()


def test_time_and_memory_are_told_before_the_start(window: Any, dock: Any, ball: TiltSeries, qtbot: Any) -> None:
    session_of(window).add(ball, "ball")
    qtbot.waitUntil(lambda: dock.estimate.text().startswith("Takes about"), timeout=60_000)
    assert "GiB of memory" in dock.estimate.text()


def test_a_live_field_acts_on_the_running_job_and_pause_holds_it(
    window: Any, dock: Any, ball: TiltSeries, qtbot: Any
) -> None:
    session_of(window).add(ball, "ball")
    dock.panel.set_params("sirt", SirtParams(iterations=10_000))
    dock.panel.run_button.click()
    going = dock.panel.run
    qtbot.waitUntil(lambda: going.snapshot is not None, timeout=60_000)
    dock.panel.pause_button.click()
    assert going.handle.status == "paused"
    assert dock.panel.pause_button.text() == "Resume"
    dock.panel.form.widget("relaxation").setValue(0.5)
    dock.panel.pause_button.click()
    dock.panel.form.widget("iterations").setValue(9_000)
    held_at = going.snapshot.step
    qtbot.waitUntil(lambda: going.snapshot.step > held_at + 2, timeout=20_000)
    dock.panel.stop_button.click()
    qtbot.waitUntil(lambda: not going.active, timeout=10_000)
    assert going.outcome.status == "stopped"
    changes = [what.get("change") for _, what in going.outcome.events]
    assert changes == [{"relaxation": 0.5}, {"iterations": 9_000}]
    assert going.layers[0].name == "sirt 1 (stopped)"


def test_parameters_are_restored_from_a_result_and_copied_as_a_recipe(
    window: Any, dock: Any, ball: TiltSeries, qtbot: Any
) -> None:
    session_of(window).add(ball, "ball")
    run(dock, qtbot, iterations=3)
    dock.panel.reset.click()
    assert dock.panel.form.value().iterations == 100
    window.layers.selection.active = window.layers["sirt 1"]
    dock.restore()
    assert dock.panel.form.value().iterations == 3
    dock.copy("python")
    assert 'splatom.run("reconstruct", "sirt", data, iterations=3)' in QApplication.clipboard().text()
    dock.copy("commands")
    assert "splatom reconstruct sirt" in QApplication.clipboard().text()
    assert "--iterations 3" in QApplication.clipboard().text()


def test_parameters_are_remembered_by_the_next_dock(window: Any, dock: Any, ball: TiltSeries, qtbot: Any) -> None:
    session_of(window).add(ball, "ball")
    run(dock, qtbot, iterations=4)
    from splatom.plugin.dock_reconstruct import ReconstructDock

    other = ReconstructDock(window)
    qtbot.addWidget(other)
    assert other.panel.method == "sirt"
    assert other.panel.form.value().iterations == 4


def test_a_result_is_saved_and_a_place_that_cannot_be_written_is_one_line(
    window: Any, dock: Any, ball: TiltSeries, qtbot: Any, tmp_path: Path
) -> None:
    session_of(window).add(ball, "ball")
    run(dock, qtbot, iterations=2)
    dock.save(tmp_path / "volume.mrc")
    qtbot.waitUntil(lambda: dock.panel.message.text().startswith("saved"), timeout=20_000)
    assert (tmp_path / "volume.mrc").stat().st_size > 32**3 * 4
    dock.save(tmp_path / "no such folder" / "volume.txt")
    qtbot.waitUntil(lambda: "volume.txt" in dock.panel.message.text() and "saving" not in dock.panel.message.text())
    assert "\n" not in dock.panel.message.text()


def test_three_slices_of_a_trial_are_those_of_the_full_run(
    window: Any, dock: Any, ball: TiltSeries, qtbot: Any
) -> None:
    session_of(window).add(ball, "ball")
    full = run(dock, qtbot, iterations=5)
    dock.extent.setCurrentIndex(1)
    dock.rows.setText("10, 13, 16")
    trial = run(dock, qtbot, iterations=5)
    assert trial.outcome.status == "done", trial.outcome.error
    found = trial.result.data[:, 1]
    assert np.abs(found - full.result.data[:, 13]).max() < 0.02 * full.result.data.max()


def test_a_trial_on_a_binned_copy_says_so_in_its_record(window: Any, dock: Any, ball: TiltSeries, qtbot: Any) -> None:
    session_of(window).add(ball, "ball")
    dock.extent.setCurrentIndex(2)
    trial = run(dock, qtbot, iterations=2)
    assert trial.result.shape == (16, 16, 16)
    steps = info(trial.layers[0])["provenance"]["steps"]
    assert [s["method"] for s in steps] == ["bin", "sirt"]


def starved(group: str, name: str, data: Any, job: Any) -> Any:
    """Fail as a GPU without memory does."""
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB (GPU 0; 8.00 GiB total capacity)")


def test_out_of_memory_is_told_in_the_dock_which_runs_again(
    window: Any, dock: Any, ball: TiltSeries, qtbot: Any
) -> None:
    session_of(window).add(ball, "ball")
    usual, dock.panel.task = dock.panel.task, lambda: {"runner": f"{__name__}:starved"}
    run(dock, qtbot, iterations=2)
    assert "out of memory" in dock.panel.message.text()
    assert "a smaller depth" in dock.panel.message.text()
    assert dock.panel.run_button.isEnabled()
    dock.panel.task = usual
    assert run(dock, qtbot, iterations=2).outcome.status == "done"
    assert dock.panel.message.isHidden()


def test_rows_outside_the_images_are_one_line(window: Any, dock: Any, ball: TiltSeries) -> None:
    session_of(window).add(ball, "ball")
    dock.extent.setCurrentIndex(1)
    dock.rows.setText("5, 99")
    dock.panel.run_button.click()
    assert dock.panel.run is None
    assert "rows from 0 to 31" in dock.panel.message.text()


def test_the_rows_of_a_trial_follow_the_shift_of_each_tilt(ball: TiltSeries) -> None:
    shifts = np.zeros((16, 2))
    shifts[3] = (2.0, 4.2)
    part = three_rows(ball.with_(geometry=ball.geometry.with_shifts(shifts)), (10,))
    assert np.array_equal(part.projections[3, 0], ball.projections[3, 14])
    assert np.array_equal(part.projections[2, 0], ball.projections[2, 10])
    assert part.geometry.shifts[3].tolist() == [2.0, 0.0]
