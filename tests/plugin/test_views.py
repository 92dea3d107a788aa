"""The views follow the viewer, and the viewer the views; two volumes are compared where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from splatom.data import Provenance, Step, Volume
from splatom.plugin.dock_compare import CompareDock, Grid, compare_planes, facts
from splatom.plugin.session import session_of
from splatom.plugin.views import ViewsDock

pytestmark = pytest.mark.gui


@pytest.fixture
def volume():
    data = np.random.default_rng(0).random((12, 16, 20)).astype(np.float32)
    return Volume(data, 0.5, provenance=Provenance("x", (Step("reconstruct", "sirt", {"iterations": 10}),)))


def _docked(window, dock, qtbot):
    window.window.add_dock_widget(dock)
    dock.show()
    return dock


def test_the_three_planes_pass_through_the_point_that_the_slider_shows(window, volume, qtbot):
    session_of(window).add(volume, "sirt 1")
    dock = ViewsDock(window)
    qtbot.addWidget(dock)
    dock.show()
    window.dims.set_point(0, -2.25)  # plane 1
    qtbot.waitUntil(lambda: dock.views.xy.image.image is not None and not dock.views._soon.isActive())
    assert np.array_equal(dock.views.xy.image.image, volume.data[1])


def test_a_click_in_a_plane_moves_the_viewers_slider(window, volume, qtbot):
    session_of(window).add(volume, "sirt 1")
    dock = ViewsDock(window)
    qtbot.addWidget(dock)
    dock.show()
    dock.views.xz.clicked.emit(1.25, 1.75)  # x, z in nm
    assert window.dims.point[0] == pytest.approx(1.75)
    qtbot.waitUntil(lambda: not dock.views._soon.isActive())
    assert np.array_equal(dock.views.yz.image.image, volume.data[:, :, 12].T)
    assert "voxel z 9" in dock.views.where.text()


def test_a_removed_volume_leaves_empty_views(window, volume, qtbot):
    layer = session_of(window).add(volume, "sirt 1")
    dock = ViewsDock(window)
    qtbot.addWidget(dock)
    window.layers.remove(layer)
    assert dock.choice.layer is None
    assert dock.views.where.text() == "–"


def test_volumes_on_other_grids_are_compared_where_they_lie():
    """A function of place sampled on two grids differs by nothing but the sampling."""

    def sample(shape, size):
        z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * size for n in shape), indexing="ij")
        return (2 * x - y + 0.5 * z).astype(np.float32), Grid(
            tuple(-(n - 1) / 2 * size for n in shape), (size,) * 3, shape
        )

    fine, grid = sample((24, 24, 24), 0.5)
    coarse, other = sample((12, 12, 12), 1.0)
    for axis in range(3):
        a, b, correlation, _ = compare_planes(fine, grid, coarse, other, axis, -1.5, False)
        inner = (slice(2, -2),) * 2
        slope = (0.5, -1.0, 2.0)[axis]  # each cuts its nearest plane: these lie at most 0.75 apart
        assert np.abs((a - b)[inner]).max() <= abs(slope) * 0.75 + 1e-4
        assert correlation > 0.9


def test_scaling_takes_out_a_factor():
    a = np.random.default_rng(1).random((4, 8, 8)).astype(np.float32)
    grid = Grid((0.0,) * 3, (1.0,) * 3, a.shape)
    _, b, _, factor = compare_planes(a, grid, a / 5, grid, 0, 2.0, True)
    assert factor == pytest.approx(5)
    assert np.allclose(a[2], b, atol=1e-5)


def test_the_table_marks_what_differs(window, volume, qtbot):
    session = session_of(window)
    common = {"method": "sirt", "status": "done"}
    session.add(volume, "one", **common, params={"iterations": 10, "depth": None}, figures={"r": 0.25})
    session.add(volume, "two", **common, params={"iterations": 30, "depth": None}, figures={"r": 0.125})
    dock = CompareDock(window)
    qtbot.addWidget(dock)
    dock.show()
    assert (dock.first.layer.name, dock.second.layer.name) == ("one", "two")
    rows = {dock.table.item(i, 0).text(): i for i in range(dock.table.rowCount())}
    marked = {name for name, i in rows.items() if dock.table.item(i, 1).font().bold()}
    assert marked == {"iterations", "R"}
    assert facts(dock.second.layer)["R"] == "0.125"
    qtbot.waitUntil(lambda: "correlation 1.0000" in dock.note.text(), timeout=20_000)


def test_comparing_needs_two_volumes_and_says_so(window, qtbot):
    dock = CompareDock(window)
    qtbot.addWidget(dock)
    dock.show()
    qtbot.waitUntil(lambda: "Two volumes are needed" in dock.note.text(), timeout=20_000)
