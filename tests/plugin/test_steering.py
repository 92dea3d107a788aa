"""Centres that stream from a running fit, and the user's hand on them."""

from __future__ import annotations

from typing import Any

import _cloud_fit as cloud_fit
import numpy as np
import pytest

from splatom.data import Atoms, GaussianCloud, TiltSeries
from splatom.geometry import ViewGeometry
from splatom.plugin.atoms_pictures import points_image, predict_points, residual_at
from splatom.plugin.layers import info
from splatom.plugin.points import colouring
from splatom.plugin.runner import MethodPanel
from splatom.plugin.session import session_of
from splatom.plugin.steering import edits_between, in_words

TRUTH = np.array([[0.0, -2.0, 3.0], [2.0, 3.0, -3.0], [-3.0, 1.0, 1.0]])


@pytest.fixture
def spots() -> TiltSeries:
    """Three Gaussians of σ 1 nm and mass 12 in 12 tilts of 24 x 24 pixels of 0.6 nm."""
    geometry = ViewGeometry.single_axis(np.linspace(-66, 66, 12))
    each, _, _ = cloud_fit.images(TRUTH, np.full(3, 12.0), geometry, (24, 24), 0.6)
    return TiltSeries((12.0 * each.sum(axis=1)).astype(np.float32), geometry, pixel_size=0.6)


# ---------------------------------------------------------------- what an edit is
def test_the_difference_of_two_states_names_what_was_deleted_moved_and_added() -> None:
    ids, before = np.array([7, 8, 9]), np.arange(9.0).reshape(3, 3)
    now = np.array([before[0], before[2] + [0, 0, 0.5], [1, 1, 1]])
    found = edits_between(ids, before, np.array([7, 9, -1]), now)
    assert found == [{"delete": [8]}, {"move": {"9": [6.0, 7.0, 8.5]}}, {"add": [[1.0, 1.0, 1.0]]}]
    assert in_words(found) == "1 deleted, 1 moved, 1 added"


def test_a_copied_point_is_a_new_one_and_its_original_stays() -> None:
    ids, before = np.array([7, 8]), np.zeros((2, 3))
    now = np.vstack([before, [[0, 0, 2.0]]])
    assert edits_between(ids, before, np.array([7, 8, 7]), now) == [{"add": [[0.0, 0.0, 2.0]]}]


def test_nothing_done_is_no_edit() -> None:
    assert edits_between(np.array([3]), np.ones((1, 3)), np.array([3.0]), np.ones((1, 3))) == []


# ---------------------------------------------------------------- pictures
def test_points_project_as_the_fit_does_and_turned_ones_keep_their_mass() -> None:
    geometry = ViewGeometry.single_axis([0.0, 40.0])
    each, _, _ = cloud_fit.images(TRUTH, np.full(3, 12.0), geometry, (24, 24), 0.6)
    round_ = GaussianCloud(TRUTH, np.ones((3, 3)), np.full(3, 12.0))
    assert np.allclose(points_image(round_, geometry, (24, 24), 0.6, 1), 12 * each[1].sum(axis=0), atol=2e-3)
    half = np.sqrt(0.5)
    long = GaussianCloud(np.zeros((1, 3)), [[0.5, 0.5, 1.5]], [5.0], [[half, 0, 0, half]])  # x turned onto y
    image = points_image(long, ViewGeometry.single_axis([0.0]), (41, 41), 0.4)
    y, x = np.mgrid[:41, :41] * 0.4 - 8.0
    assert image.sum() * 0.4**2 == pytest.approx(5.0, rel=1e-3)
    assert np.sqrt((image * y**2).sum() / image.sum()) == pytest.approx(1.5, rel=1e-2)
    assert np.sqrt((image * x**2).sum() / image.sum()) == pytest.approx(0.5, rel=1e-2)


def test_the_residual_is_red_where_matter_is_missing(spots: TiltSeries) -> None:
    weak = GaussianCloud(TRUTH, np.ones((3, 3)), [12.0, 12.0, 6.0])
    residual = residual_at(weak, spots)
    assert residual.argmax() == 2
    assert residual[2] > 0 > residual[:2].max() - 0.05
    red, _, blue, _ = colouring(weak, "residual", residual).rgba[2]
    assert red > blue
    assert predict_points(GaussianCloud(TRUTH, np.ones((3, 3)), np.full(3, 12.0)), spots, 4).r < 0.01


def test_what_is_not_known_is_grey_and_says_so() -> None:
    atoms = Atoms(np.zeros((2, 3)), ["Au", "Pt"])
    found = colouring(atoms, "uncertainty")
    assert not found.known
    assert "not known" in found.legend
    assert (found.rgba[0] == found.rgba[1]).all()
    assert "Au" in colouring(atoms).legend


# ---------------------------------------------------------------- in the window
pytestmark = pytest.mark.gui


@pytest.fixture
def panel(window: Any, spots: TiltSeries, qtbot: Any) -> Any:
    session = session_of(window)
    session.add(spots, "spots")
    made = MethodPanel(session, "reconstruct")
    qtbot.addWidget(made)
    made.show()
    return made


def start(panel: Any, qtbot: Any, function: str = "fit", seed: int = 0) -> Any:
    run = panel.session.start(
        "atoms", "fit", cloud_fit.FitParams(), seed=seed, runner=f"_cloud_fit:{function}"
    )
    panel._run = run
    panel._show_state()
    qtbot.waitUntil(lambda: run.live.points is not None and run.snapshot.step > 3, timeout=20_000)
    return run


def later(run: Any, qtbot: Any) -> None:
    """Wait for a preview that knows every edit."""
    sent = run.live._given
    qtbot.waitUntil(lambda: run.snapshot.edits >= sent, timeout=20_000)


def test_centres_stream_into_one_layer_as_large_as_they_are_wide(panel: Any, window: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    layer = run.live.points
    qtbot.waitUntil(lambda: run.snapshot.figures["loss"] < 1e-3, timeout=30_000)
    assert [type(x).__name__ for x in window.layers].count("Points") == 1
    assert np.allclose(layer.size, 2 * cloud_fit.SIGMA)
    assert not layer.editable  # it is the run's while it goes on
    far = np.linalg.norm(layer.data[:, None] - TRUTH[None], axis=2).min(axis=0)
    assert far.max() < 0.5  # two of the four share a spot
    assert panel.undo_button.isVisible()
    assert not panel.undo_button.isEnabled()
    run.handle.stop()
    qtbot.waitUntil(lambda: not run.active, timeout=10_000)
    assert run.layers[0] is layer
    assert list(layer.features["id"]) == list(run.result.ids)


def test_pause_delete_drag_add_resume_and_the_fit_goes_on_from_there(panel: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    panel.pause_button.click()
    layer = run.live.points
    assert layer.editable
    assert "Resume hands that to the fit" in panel.message.text()
    qtbot.wait(300)  # a preview that was on its way comes in
    ids = list(layer.features["id"])
    layer.selected_data = {0}
    layer.remove_selected()
    layer.data[0] = TRUTH[1]  # as dragging does, in place
    layer.add([TRUTH[2]])
    qtbot.wait(300)
    assert len(layer.data) == 4  # no preview took the edit away
    panel.pause_button.click()
    assert panel.message.text() == "1 deleted, 1 moved, 1 added: taken at the next step"
    later(run, qtbot)
    streamed = run.snapshot.preview
    assert ids[0] not in streamed.ids
    assert set(ids[1:]) < set(streamed.ids)
    events = [what["edit"] for _, what in _ended(run, qtbot).events if "edit" in what]
    assert events == [{"delete": [ids[0]]}, {"move": {str(ids[1]): TRUTH[1].tolist()}}, {"add": [TRUTH[2].tolist()]}]


def test_undo_restores_the_fit_before_the_edit(panel: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    panel.pause_button.click()
    qtbot.wait(300)
    layer = run.live.points
    ids = set(layer.features["id"])
    layer.selected_data = {1}
    layer.remove_selected()
    layer.add([[0.0, 0.0, 0.0]])
    panel.pause_button.click()
    later(run, qtbot)
    assert set(run.snapshot.preview.ids) != ids
    assert panel.undo_button.isEnabled()
    panel.undo_button.click()
    assert not panel.undo_button.isEnabled()
    later(run, qtbot)
    assert set(run.snapshot.preview.ids) == ids
    assert set(run.live.cloud.ids) == ids
    _ended(run, qtbot)


def test_an_edit_not_handed_over_is_undone_in_the_layer(panel: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    panel.pause_button.click()
    qtbot.wait(300)
    layer = run.live.points
    before = layer.data.copy()
    layer.add([[0.0, 0.0, 0.0]])
    assert panel.undo_button.isEnabled()
    panel.undo_button.click()
    assert np.array_equal(layer.data, before)
    panel.pause_button.click()
    assert panel.message.text() == ""
    assert not [what for _, what in _ended(run, qtbot).events if "edit" in what]


def test_no_preview_older_than_the_edit_is_shown(panel: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    layer = run.live.points
    panel.pause_button.click()
    qtbot.wait(300)
    gone = int(layer.features["id"][0])
    layer.selected_data = {0}
    layer.remove_selected()
    shown: list[int] = []
    put = run.live._put
    run.live._put = lambda layer, value: (shown.append(gone in value.ids), put(layer, value))
    panel.pause_button.click()
    qtbot.waitUntil(lambda: len(shown) > 3, timeout=20_000)
    assert not any(shown)
    _ended(run, qtbot)


def test_a_live_parameter_acts_on_the_fit_while_it_streams(panel: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    run.handle.change(rate=0.01)
    later(run, qtbot)
    step = run.snapshot.step
    qtbot.waitUntil(lambda: run.snapshot.step > step + 5, timeout=20_000)
    assert {"change": {"rate": 0.01}} in [what for _, what in _ended(run, qtbot).events]


def test_a_preview_of_centres_and_volume_is_one_layer_each(panel: Any, window: Any, qtbot: Any) -> None:
    run = start(panel, qtbot, "both")
    image, points = run.live.layers["image"], run.live.points
    qtbot.waitUntil(lambda: image.data.max() > 3, timeout=20_000)
    assert {type(x).__name__ for x in run.layers} == {"Image", "Points"}
    assert points.data[0, 0] > 0
    assert len(window.layers) == 3
    outcome = _ended(run, qtbot)
    assert run.layers[0] is image
    assert info(image)["value"] is outcome.result
    assert points.name == "fit 1 Gaussians (preview)"
    assert not points.visible
    assert len(window.layers) == 3


def test_a_live_layer_that_the_user_removes_stays_away(panel: Any, window: Any, qtbot: Any) -> None:
    run = start(panel, qtbot, "both")
    window.layers.remove(run.live.points.name)
    step = run.snapshot.step
    qtbot.waitUntil(lambda: run.snapshot.step > step + 5, timeout=20_000)
    assert [type(x).__name__ for x in window.layers].count("Points") == 0
    _ended(run, qtbot)


def test_colours_follow_the_choice_while_it_streams(panel: Any, qtbot: Any) -> None:
    run = start(panel, qtbot)
    row = panel.points
    assert row.combo.currentText() == "denza"
    row.combo.setCurrentIndex(row.combo.findData("residual"))
    qtbot.waitUntil(lambda: "red" in row.legend.text(), timeout=20_000)
    assert info(run.live.points)["colour_by"] == "residual"
    row.combo.setCurrentIndex(row.combo.findData("uncertainty"))
    assert "not known" in row.legend.text()
    _ended(run, qtbot)


def test_the_monitor_shows_what_the_centres_predict(panel: Any, window: Any, spots: TiltSeries, qtbot: Any) -> None:
    from splatom.plugin.dock_monitor import MonitorDock

    monitor = MonitorDock(window)
    qtbot.addWidget(monitor)
    monitor.resize(400, 800)
    monitor.show()
    run = start(panel, qtbot)
    qtbot.waitUntil(lambda: run.snapshot.figures["loss"] < 1e-2, timeout=30_000)
    monitor.tilt.setValue(5)
    qtbot.waitUntil(lambda: "the points predict" in monitor.note.text(), timeout=20_000)

    def alike() -> bool:
        measured, predicted = (pane.image.image for pane in monitor.panes[:2])
        return bool(np.array_equal(measured, spots.projections[5])) and _correlation(measured, predicted) > 0.95

    qtbot.waitUntil(alike, timeout=20_000)  # the next prediction is that of the fit as it is by then
    _ended(run, qtbot)


def _correlation(a: Any, b: Any) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _ended(run: Any, qtbot: Any) -> Any:
    run.handle.stop()
    qtbot.waitUntil(lambda: not run.active, timeout=10_000)
    return run.outcome
