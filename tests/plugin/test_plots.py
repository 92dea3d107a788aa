"""The plots of the docks say what they are given."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from splatom.plugin.plots import Bars, Curves, ImagePane, PolarPlot, missing_wedge

pytestmark = pytest.mark.gui


def test_the_missing_wedge_of_a_series_to_70_degrees_is_40_degrees_wide():
    start, width = missing_wedge(np.arange(-70, 71, 2))
    assert (start, width) == (70, 40)


def test_a_full_turn_has_no_missing_wedge_beyond_its_step():
    assert missing_wedge(np.arange(0, 180, 3))[1] == 3


def test_a_beam_and_its_opposite_are_one():
    assert missing_wedge([-90, 0, 90])[1] == 90


def test_the_fan_tells_range_kinds_and_wedge(qtbot):
    plot = PolarPlot()
    qtbot.addWidget(plot)
    angles = np.arange(-60.0, 61.0, 5.0)
    plot.set_angles(angles, excluded=angles > 55, held_out=angles == 0)
    assert "−60° to 55°" in plot.summary
    assert "1 held out, 1 excluded" in plot.summary
    assert "missing wedge 65°" in plot.summary


def test_a_click_on_a_beam_picks_its_tilt(qtbot):
    plot = PolarPlot()
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    plot.set_angles([-60.0, 0.0, 60.0])
    centre, radius = plot._frame()
    at = QPoint(round(centre.x() + 0.8 * radius * np.sin(np.pi / 3)), round(centre.y() - 0.8 * radius * 0.5))
    with qtbot.waitSignal(plot.picked) as picked:
        qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=at)
    assert picked.args == [2]


def test_curves_come_and_go_by_name(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    curves.set_curves({"R": ([1, 2], [0.5, 0.25]), "R-free": ([1, 2], [0.6, 0.4])})
    assert curves.names == ("R", "R-free")
    assert "0.25" in curves.legend.text()
    curves.set_curves({"R": ([1, 2, 3], [0.5, 0.25, 0.125])})
    assert curves.names == ("R",)


def test_the_letters_of_a_plot_have_the_colour_of_the_text_around_it(qtbot):
    curves = Curves()
    qtbot.addWidget(curves)
    for colour in ("#f0f1f2", "#3b3a39"):
        curves.setStyleSheet(f"QWidget {{ color: {colour}; }}")
        curves.show()
        assert curves.plot.getAxis("left").textPen().color().name() == colour


def test_a_bar_is_drawn_for_every_tilt(qtbot):
    bars = Bars()
    qtbot.addWidget(bars)
    bars.set_values([-60, 0, 60], [0.1, 0.2, 0.3], current=1)
    bars.show()
    left, right = bars.plot.plotItem.vb.viewRange()[0]
    assert left < -60
    assert right > 60


def test_a_constant_or_empty_image_is_no_fault(qtbot):
    pane = ImagePane(diverging=True)
    qtbot.addWidget(pane)
    pane.set_image(np.zeros((4, 5), np.float32))
    pane.set_image(None)
    pane.set_image(np.ones((6, 5), np.float32))
    assert pane.image.image.shape == (6, 5)
