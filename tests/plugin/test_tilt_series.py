"""The dock Tilt series: what is known of a series is seen, and what is not is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from splatom.data import TiltSeries
from splatom.plugin.layers import info
from splatom.plugin.session import session_of

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(window: Any) -> Any:
    return window.window.add_plugin_dock_widget("splatom", "Tilt series")[1]


def tick(dock: Any, row: int, column: int, on: bool) -> None:
    dock.table.item(row, column).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)


def test_tilts_are_listed_and_their_wedge_told(window: Any, dock: Any, ball: TiltSeries) -> None:
    session_of(window).add(ball, "ball")
    assert dock.table.rowCount() == 16
    assert dock.table.item(0, 1).text() == "−60.00°"
    assert "missing wedge 60°" in dock.polar.summary


def test_the_slider_and_the_table_follow_each_other(window: Any, dock: Any, ball: TiltSeries, qtbot: Any) -> None:
    session_of(window).add(ball, "ball")
    dock.table.setCurrentCell(4, 1)
    assert window.dims.current_step[0] == 4
    dock.polar.picked.emit(9)
    assert window.dims.current_step[0] == 9


def test_pixel_size_and_contrast_go_into_the_series_and_its_record(window: Any, dock: Any, ball: TiltSeries) -> None:
    session = session_of(window)
    layer = session.add(ball, "ball")
    dock.pixel.setValue(0.25)
    dock.contrast.setCurrentIndex(1)
    assert session.series.pixel_size == 0.25
    assert session.series.contrast == "bf"
    assert layer.scale[-1] == 0.25
    assert np.allclose(layer.data_to_world((0, 0, 15.5, 15.5)), 0)
    assert session.series.provenance.loading["given"] == {"pixel_size": 0.25, "contrast": "bf"}


def test_tilts_are_left_out_and_held_out_in_a_new_layer(window: Any, dock: Any, ball: TiltSeries, qtbot: Any) -> None:
    session = session_of(window)
    session.add(ball, "ball")
    tick(dock, 1, 2, False)
    tick(dock, 5, 3, True)
    assert "1 held out, 1 excluded" in dock.polar.summary
    dock.apply.click()
    qtbot.waitUntil(lambda: len(session.runs) == 2 and not session.runs[-1].active, timeout=20_000)
    assert len(session.series) == 15
    assert list(np.flatnonzero(session.series.held_out)) == [4]
    assert [s.method for s in session.series.provenance.steps] == ["exclude", "hold-out"]
    assert info(window.layers["ball"])["value"] is ball


def test_missing_angles_are_asked_for_and_taken(window: Any, dock: Any, tmp_path: Path) -> None:
    import mrcfile

    path = tmp_path / "needle.st"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(0).random((7, 10, 12), dtype=np.float32))
        mrc.voxel_size = 4.0
    session = session_of(window)
    dock.open(str(path))
    assert not dock.angles.isHidden()
    assert session.series is None
    dock.angles.first.setValue(-60)
    dock.angles.last.setValue(60)
    assert "20° between 7 tilts" in dock.angles.step.text()
    dock.angles._take()
    assert np.allclose(session.series.angles, np.linspace(-60, 60, 7))
    assert session.series.pixel_size == pytest.approx(0.4)
    assert dock.angles.isHidden()
    assert session.series.provenance.loading["given"]["angles"][0] == -60


def test_a_file_of_angles_with_another_count_is_refused(window: Any, dock: Any, tmp_path: Path) -> None:
    import mrcfile

    path = tmp_path / "needle.st"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(0).random((7, 10, 12), dtype=np.float32))
    (tmp_path / "angles.txt").write_text("1\n2\n3\n")
    dock.open(str(path))
    dock.angles.given.emit(str(tmp_path / "angles.txt"))
    assert session_of(window).series is None
    assert "3" in dock.message.text()
    assert not dock.message.isHidden()


def test_the_box_is_drawn_as_wide_as_each_tilt_sees_it(window: Any, dock: Any, ball: TiltSeries) -> None:
    session_of(window).add(ball, "ball")
    dock.box.width_.setValue(12)
    dock.box.thickness.setValue(4)
    dock.box.follow(0)
    dock.box.tick.setChecked(True)
    seen = np.ptp(window.layers["box"].data[0][:, -1])
    # A box tilted by 60 degrees: w cos + t sin.
    assert seen == pytest.approx(12 * 0.5 + 4 * np.sqrt(3) / 2, abs=1e-6)
    dock.box.tick.setChecked(False)
    assert "box" not in window.layers
