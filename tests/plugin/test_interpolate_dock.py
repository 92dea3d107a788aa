"""Filling gaps in the window: what is missing, one predicted tilt, the check, runs, undo, and what follows."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt

from splatom.data import TiltSeries
from splatom.evaluate.interpolation import HoldOut, Scores
from splatom.geometry import ViewGeometry
from splatom.plugin.dock_interpolate import InterpolateDock
from splatom.plugin.dock_reconstruct import ReconstructDock
from splatom.plugin.interpolate_part import affordable, gaps_of, strip
from splatom.plugin.interpolate_trust import Checked, verdict
from splatom.plugin.polar import _towards
from splatom.plugin.session import session_of

pytestmark = pytest.mark.gui

LONG = 400_000  # ms; torch loads with the first prediction
SIDE, PIXEL = 32, 0.5
ANGLES = (-30.0, -24.0, -18.0, -12.0, 0.0, 6.0, 12.0, 18.0, 24.0)  # 6° apart, and one hole of 12°


def ball(angles=ANGLES, *centres, radius=3.0) -> TiltSeries:
    """Return balls (one off the axis by default), projected analytically."""
    geometry = ViewGeometry.single_axis(np.array(angles))
    y, x = np.mgrid[:SIDE, :SIDE]
    images = np.zeros((len(angles), SIDE, SIDE), np.float32)
    for centre in centres or ((2.0, -1.0, 4.0),):
        at = geometry.project(np.array([centre]), PIXEL, (SIDE, SIDE))[:, 0]
        far = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
        images += 2 * PIXEL * np.sqrt(np.clip((radius / PIXEL) ** 2 - far, 0, None))
    return TiltSeries(images, geometry, PIXEL)


@pytest.fixture
def dock(window, qtbot):
    session_of(window).add(ball(), "tilts")
    return opened(window, qtbot)


def opened(window, qtbot):
    dock = InterpolateDock(window)
    qtbot.addWidget(dock)
    dock.resize(440, 900)
    dock.panel.combo.setCurrentText("linear")
    dock.show()
    return dock


def click(qtbot, button):
    qtbot.waitUntil(button.isEnabled, timeout=LONG)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def planned(dock, qtbot):
    qtbot.waitUntil(lambda: not (dock._soon.isActive() or dock.gaps.busy), timeout=LONG)
    return dock.gaps.gaps


def settled(dock, qtbot):
    planned(dock, qtbot)
    page = dock.preview
    idle = lambda: not (page._soon.isActive() or page.asking.busy or page._stepping.busy)  # noqa: E731
    qtbot.waitUntil(idle, timeout=LONG)
    return page.pictures.shown


def put(dock, **fields):
    form = dock.panel.form
    form.set_value(type(form.value())(**fields))


def run(dock, qtbot):
    planned(dock, qtbot)
    click(qtbot, dock.panel.run_button)
    run = dock.panel.run
    qtbot.waitUntil(lambda: not run.active, timeout=LONG)
    assert run.outcome.error is None, run.outcome.error
    return run


# ---------------------------------------------------------------- gaps
def test_gaps_wider_than_the_step_are_marked_with_what_comes_into_them(dock, qtbot):
    put(dock, step=6.0)
    gaps = planned(dock, qtbot)
    assert gaps.new.tolist() == [-6.0]
    assert gaps.wide.tolist() == [[-12.0, 0.0]]
    assert "at most 12° (−12° to 0°)" in dock.gaps.words.text()
    put(dock, step=2.0)
    gaps = planned(dock, qtbot)
    assert len(gaps.new) == 7 * 2 + 5
    assert len(gaps.wide) == 8
    assert "<b>19 tilts</b> in 8 gaps" in dock.gaps.words.text()


def test_the_step_that_is_decided_is_shown_and_is_where_the_user_starts(dock, qtbot):
    assert planned(dock, qtbot).step == 3.0
    field = dock.panel.form.widget("step")
    assert field.inner.value() == 3.0
    field.tick.setChecked(False)
    assert dock.panel.form.value().step == 3.0


def test_with_nothing_to_put_in_there_is_nothing_to_run(dock, qtbot):
    put(dock, step=12.0)
    assert len(planned(dock, qtbot).new) == 0
    assert not dock.panel.run_button.isEnabled()
    assert "nothing to put in" in dock.gaps.words.text()
    put(dock, step=6.0)
    planned(dock, qtbot)
    assert dock.panel.run_button.isEnabled()


@pytest.mark.parametrize(
    ("angles", "fields", "line"),
    [
        ((0.0, 0.0), {}, "Two different tilt angles are needed"),
        (ANGLES, {"angles": (60.0,)}, "60° lies outside the measured range"),
        (ANGLES, {"step": 0.01}, "take a larger one"),
    ],
)
def test_what_cannot_be_filled_is_told_in_one_line(window, qtbot, angles, fields, line):
    session_of(window).add(ball(angles), "tilts")
    dock = opened(window, qtbot)
    put(dock, **fields)
    assert planned(dock, qtbot) is None
    assert line in dock.gaps.words.text()
    assert not dock.panel.run_button.isEnabled()


def test_with_no_series_the_window_says_what_to_do(window, qtbot):
    dock = opened(window, qtbot)
    assert "open a tilt series" in dock.gaps.words.text().lower()
    for button in (dock.panel.run_button, dock.preview.button, dock.check.button, dock.steps.undo):
        assert not button.isEnabled()
    session_of(window).add(ball(), "tilts")
    assert planned(dock, qtbot) is not None
    assert dock.panel.run_button.isEnabled()


def test_order_and_repeats_do_not_matter_for_the_gaps():
    p = type("P", (), {"step": 2.0, "angles": (), "extrapolate": False})
    mixed = np.random.default_rng(0).permutation([*ANGLES, 0.0, -30.0])
    assert np.allclose(gaps_of(ball(mixed), p).new, gaps_of(ball(), p).new)


def test_a_click_on_a_beam_to_come_looks_at_its_tilt(dock, qtbot):
    planned(dock, qtbot)
    polar = dock.gaps.polar
    centre, radius = polar._frame()
    at = _towards(centre, 0.9 * radius, 15.0)
    qtbot.mouseClick(polar, Qt.MouseButton.LeftButton, pos=QPointF(at).toPoint())
    assert dock.preview.angle == 15.0
    assert settled(dock, qtbot).here.angle == 15.0


# ---------------------------------------------------------------- one tilt
def test_a_predicted_tilt_stands_beside_its_measured_neighbours(dock, window, qtbot):
    window.dims.set_point(0, 5)
    shown = settled(dock, qtbot)
    series = session_of(window).series
    assert [f.angle for f in (shown.below, shown.here, shown.above)] == pytest.approx([6.0, 9.0, 12.0])
    assert [f.synthetic for f in (shown.below, shown.here, shown.above)] == [False, True, False]
    assert np.array_equal(shown.below.image, series.projections[5])
    assert np.array_equal(shown.above.image, series.projections[6])
    assert np.allclose(shown.here.image, series.projections[5:7].mean(axis=0), atol=1e-5)
    assert shown.beyond is None  # linear is nothing beyond linear
    assert "Predicted 9°" in dock.preview.pictures.here.title.text()
    window.dims.set_point(0, 0)
    assert settled(dock, qtbot).here.angle == -27.0


def test_a_preview_is_what_the_run_makes_of_it(dock, qtbot):
    planned(dock, qtbot)
    dock.preview.look_at(15.0)
    before = settled(dock, qtbot)
    result = run(dock, qtbot).result
    there = np.flatnonzero(np.isclose(result.angles, 15.0))[0]
    assert np.array_equal(result.projections[there], before.here.image)


def test_rows_are_cut_only_where_they_are_slices_of_their_own():
    series = ball()
    part, first = strip(series, 20.0, 8)
    assert (part.shape[1], first) == (8, 16)
    assert np.array_equal(part.projections, series.projections[:, 16:24])
    assert strip(series, 31.0, 8)[1] == SIDE - 8
    turned = series.with_(geometry=ViewGeometry.single_axis(series.angles, 20.0))
    assert strip(turned, 20.0, 8) == (turned, 0)
    assert affordable(0.001, 512) == 512
    assert 32 <= affordable(0.05, 512) < 512


# ---------------------------------------------------------------- runs
def test_a_run_gives_a_new_series_with_its_new_tilts_marked(dock, window, qtbot):
    found = run(dock, qtbot)
    session, old = session_of(window), ball()
    new = session.series
    assert new.synthetic.sum() == 7 + 3
    assert np.array_equal(new.projections[~new.synthetic], old.projections)
    assert dock.source.layer.name == "tilts"  # a second try starts from the measured tilts again
    assert "10 synthetic tilts" in dock.gaps.words.text()
    assert "10 synthetic" in dock.gaps.polar.summary
    window.dims.set_point(0, int(np.flatnonzero(new.synthetic)[4]))
    shown = settled(dock, qtbot)
    assert shown.here.synthetic
    assert np.array_equal(shown.here.image, found.result.projections[new.synthetic][4])
    assert "(synthetic)" in window.canvas.overlays.text.text
    window.dims.set_point(0, 0)
    shown = settled(dock, qtbot)
    assert (shown.here.synthetic, shown.above.synthetic) == (False, True)
    assert "(synthetic)" not in window.canvas.overlays.text.text


def test_arrows_go_from_one_new_tilt_to_the_next(dock, window, qtbot):
    result = run(dock, qtbot).result
    window.dims.set_point(0, 0)
    settled(dock, qtbot)
    seen = []
    for _ in range(3):
        click(qtbot, dock.preview.on)
        seen.append(settled(dock, qtbot).here.angle)
    assert seen == pytest.approx(result.angles[result.synthetic][:3].tolist())
    click(qtbot, dock.preview.back)
    assert settled(dock, qtbot).here.angle == pytest.approx(seen[1])


def test_before_after_and_undo_stay_at_the_angle(dock, window, qtbot):
    run(dock, qtbot)
    session = session_of(window)
    old, new = window.layers["tilts"], session.series_layer
    assert (old.visible, new.visible) == (False, True)
    window.dims.set_point(0, int(np.flatnonzero(np.isclose(session.series.angles, 12.0))[0]))
    click(qtbot, dock.steps.compare)
    assert (old.visible, new.visible) == (True, False)
    assert window.dims.point[0] == ANGLES.index(12.0)
    click(qtbot, dock.steps.compare)
    assert (old.visible, new.visible) == (False, True)
    click(qtbot, dock.steps.undo)
    assert session.series_layer.name == "tilts"
    assert (old.visible, new.visible) == (True, False)
    assert window.dims.point[0] == ANGLES.index(12.0)
    assert len(planned(dock, qtbot).new) == 10
    assert not dock.steps.undo.isEnabled()


def test_a_changed_step_leaves_the_result_and_plans_anew(dock, window, qtbot):
    run(dock, qtbot)
    put(dock, step=2.0)
    assert len(planned(dock, qtbot).new) == 19
    assert "To come" in dock.gaps.words.text()
    window.dims.set_point(0, int(np.flatnonzero(np.isclose(session_of(window).series.angles, 6.0))[0]))
    assert settled(dock, qtbot).below.angle == 6.0  # the view still shows the first result
    dock.gaps.polar.picked.emit(ANGLES.index(18.0))
    assert session_of(window).series.angles[int(window.dims.point[0])] == 18.0
    assert run(dock, qtbot).result.synthetic.sum() == 19  # not 19 and those of the first run


def test_parameters_are_remembered(dock, window, qtbot):
    put(dock, step=2.0, weight=0.5)
    run(dock, qtbot)
    found = opened(window, qtbot).panel.form.value()
    assert (found.step, found.weight) == (2.0, 0.5)


def test_tilts_that_are_not_aligned_are_told(window, qtbot):
    series = ball(radius=4.0)
    images = series.projections.copy()
    images[4] = np.roll(images[4], 9, axis=0)
    session_of(window).add(series.with_(projections=images), "jumpy")
    dock = opened(window, qtbot)
    run(dock, qtbot)
    assert "align the series first" in dock.message.text()


# ---------------------------------------------------------------- the check
def _check(dock, qtbot):
    planned(dock, qtbot)
    dock.tabs.setCurrentIndex(1)
    click(qtbot, dock.check.button)
    qtbot.waitUntil(lambda: not dock.check._progress.isActive(), timeout=LONG)
    return dock.check.found


def test_a_check_scores_tilts_that_were_measured(dock, qtbot):
    from splatom.evaluate import psnr

    found = _check(dock, qtbot)
    series = ball()
    assert found.held.angles.tolist() == [-24.0, -12.0, 6.0, 18.0]
    guess = series.projections[[0, 2]].mean(axis=0)
    assert np.allclose(found.predicted["linear"][0], guess, atol=1e-5)
    assert found.psnr("linear")[0] == pytest.approx(psnr(guess, series.projections[1]), abs=1e-3)
    assert "with" in dock.check.sentence.text()
    assert dock.check.table.rowCount() == 1


def test_a_method_that_knows_the_geometry_beats_linear_on_what_moves(window, qtbot):
    places = (4, -1, 3), (-3, 2, -5), (0, -4, -4), (5, 4, 2)
    session_of(window).add(ball(np.arange(-48.0, 49.0, 6.0), *places, radius=1.0), "tilts")
    dock = opened(window, qtbot)
    dock.panel.combo.setCurrentText("sinogram")
    found = _check(dock, qtbot)
    assert set(found.held.scores) == {"linear", "sinogram"}
    assert verdict(found)[1] == "good"
    assert "better than linear" in dock.check.sentence.text()
    best = dock.check.table.item(0, 0).text()
    assert best == "sinogram"
    assert dock.check.curves.names == ("sinogram", "linear")


def test_a_check_can_be_stopped(window, qtbot):
    session_of(window).add(ball(np.arange(-60.0, 61.0, 2.0)), "tilts")
    dock = opened(window, qtbot)
    dock.panel.combo.setCurrentText("sinogram")
    put(dock, passes=1000)
    planned(dock, qtbot)
    dock.tabs.setCurrentIndex(1)
    click(qtbot, dock.check.button)
    qtbot.waitUntil(lambda: dock.check.bar.maximum() > 0, timeout=LONG)  # it is under way
    click(qtbot, dock.check.stop)
    qtbot.waitUntil(lambda: not dock.check._progress.isActive(), timeout=LONG)
    assert dock.check.found is None
    assert "nothing to compare" in dock.check.message.text()
    assert dock.check.button.isEnabled()


def test_known_shifts_do_not_count_against_a_prediction(window, qtbot):
    """Images that moved by known shifts are predicted as well as images that did not."""
    still = ball(ANGLES, (0.0, 0.0, 0.0), radius=4.0)
    moves = np.array([[0, 3], [2, 0], [-1, 1], [4, -2], [0, 0], [-3, 2], [1, 1], [0, -4], [2, 2]])
    images = np.stack([np.roll(p, (dy, dx), (0, 1)) for p, (dx, dy) in zip(still.projections, moves, strict=True)])
    moved = still.with_(projections=images, geometry=still.geometry.with_shifts(moves.astype(float)))
    session_of(window).add(moved, "tilts")
    found = _check(opened(window, qtbot), qtbot)
    assert found.psnr("linear").min() > 30


def _scored(mine, other, method="tsgnet"):
    k = len(mine)
    nothing = np.zeros((k, 1))
    scores = {
        name: Scores(np.array(values, float), nothing[:, 0], nothing[:, 0], nothing)
        for name, values in (("linear", other), (method, mine))
    }
    held = HoldOut(np.arange(k), np.arange(k) * 4.0, 4.0, np.array([0.0, 0.5]), scores)
    return Checked(method, held, dict.fromkeys(scores, np.zeros((k, 2, 2), np.float32)))


@pytest.mark.parametrize(
    ("mine", "other", "kind", "words"),
    [
        ((31, 32, 33, 32), (29, 30, 31.5, 30), "good", "1.9 dB better than linear"),
        ((29, 30, 31.5, 30), (31, 32, 33, 32), "bad", "do not use it here"),
        ((31, 29, 33, 30.2), (30, 31, 31, 31), "even", "not better than linear"),
        ((36, 37, 39, 37, 33, 36), (36, 39, 47, 40, 27, 28), "even", "not clearly better"),
        ((35, 36), (30, 30), "even", "too few"),
    ],
)
def test_a_verdict_needs_a_difference_that_the_tilts_agree_on(mine, other, kind, words):
    text, found = verdict(_scored(mine, other))
    assert found == kind
    assert words in text


def test_the_best_of_all_methods_is_offered(dock, qtbot):
    planned(dock, qtbot)
    three = _scored((30, 31, 32, 31), (29, 30, 31, 30))
    best = _scored((33, 34, 35, 34), (29, 30, 31, 30), "sinogram")
    scores = {**three.held.scores, "sinogram": best.held.scores["sinogram"]}
    held = HoldOut(np.array([1, 3, 5, 7]), three.held.angles, 4.0, three.held.frequencies, scores)
    found = Checked("tsgnet", held, dict.fromkeys(scores, np.zeros((4, SIDE, SIDE), np.float32)))
    assert found.best == "sinogram"
    assert "sinogram does better still, by 3.0 dB" in verdict(found)[0]
    dock.tabs.setCurrentIndex(1)
    dock.check._of = ball()
    dock.check._show(found)
    assert dock.check.take.text() == "Use sinogram"
    click(qtbot, dock.check.take)
    assert dock.panel.method == "sinogram"
    assert not dock.check.take.isVisible()


# ---------------------------------------------------------------- what is done with them
def test_reconstructions_get_synthetic_tilts_only_where_they_help(dock, window, qtbot):
    run(dock, qtbot)
    other = ReconstructDock(window)
    qtbot.addWidget(other)
    other.show()
    full = session_of(window).series
    for method, used in (("sirt", True), ("tv", False), ("wbp", True), ("denza", False)):
        other.panel.combo.setCurrentText(method)
        assert other.synthetic.isVisible()
        assert other.synthetic.isChecked() == used, method
        data = other._data()
        assert len(data) == (len(full) if used else len(ANGLES))
        assert used or (data.provenance.steps[-1].method, data.synthetic.any()) == ("exclude", False)
    other.synthetic.setChecked(True)
    assert other._data() is full
    click(qtbot, dock.steps.undo)
    assert not other.synthetic.isVisible()
