"""What a method says and hands over beside its volume: a warning, a plan, a spread, what its prior decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splatom.data import TiltSeries, Volume
from splatom.io import write
from splatom.jobs import Extra
from splatom.methods.reconstruct.sirt import SirtParams
from splatom.methods.reconstruct.temdiff import TemdiffParams
from splatom.plugin.layers import from_layer, info
from splatom.plugin.overlays import overlays
from splatom.plugin.reader import read_layers
from splatom.plugin.session import session_of
from splatom.simulate import nanoparticle_on_support, tilt_series
from splatom.weights import Card, build, save

pytestmark = pytest.mark.gui

SIZE = 24


@pytest.fixture
def dock(window: Any, ball: TiltSeries) -> Any:
    session_of(window).add(ball, "ball")
    made = window.window.add_plugin_dock_widget("splatom", "Reconstruct")[1]
    made.device.setCurrentText("cpu")
    return made


def blocks() -> Volume:
    data = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    return Volume(data, 0.5, std=0.2 * data)


def doubting(group: str, name: str, data: Any, job: Any) -> Volume:
    """Plan, wait to be stopped, warn, and hand over a volume with a spread and a second volume."""
    job.note(plan="3 rounds: about 4 s")
    with job.keeping_partial():
        while True:
            job.check()
    job.note(warning="the prior may not fit the specimen")
    job.attach("decided by the prior", blocks().with_(data=0.3 * blocks().data, std=None), "who decided", highest=1.0)
    return blocks()


def start(dock: Any, runner: str = "doubting") -> Any:
    dock.panel.set_params("sirt", SirtParams(iterations=2))
    dock.panel.task = lambda: {"runner": f"{__name__}:{runner}"}
    dock.panel.run_button.click()
    return dock.panel.run


def stopped(dock: Any, qtbot: Any) -> Any:
    run = start(dock)
    run.handle.stop()
    qtbot.waitUntil(lambda: not run.active, timeout=20_000)
    return run


# ---------------------------------------------------------------- what it says
def test_a_plan_is_shown_before_the_first_step(dock: Any, qtbot: Any) -> None:
    run = start(dock)
    qtbot.waitUntil(lambda: dock.estimate.text() == "Takes 3 rounds: about 4 s", timeout=20_000)
    assert run.active
    assert run.snapshot.total == 0
    assert dock.panel.status.text() == "starting"
    run.handle.stop()
    qtbot.waitUntil(lambda: not run.active, timeout=20_000)
    dock._plan()  # what comes after a run, a while later: the method's own plan is better than an estimate
    assert dock.estimate.text() == "Takes 3 rounds: about 4 s"


def test_a_warning_stays_until_the_next_run(dock: Any, qtbot: Any) -> None:
    stopped(dock, qtbot)
    warning = dock.panel.warning
    assert warning.text() == "Warning: the prior may not fit the specimen."
    assert not warning.isHidden()
    dock.panel.form.widget("iterations").setValue(3)  # other messages go at this
    assert not warning.isHidden()
    dock.panel.task = dict
    dock.panel.run_button.click()
    assert warning.isHidden()
    qtbot.waitUntil(lambda: not dock.panel.run.active, timeout=60_000)
    assert warning.isHidden()


def warned(group: str, name: str, data: Any, job: Any) -> Volume:
    """Make steps until stopped; warn at the third."""
    with job.keeping_partial():
        for step in range(1, 100_000):
            if step == 3:
                job.note(warning="TV foresees unseen tilts better")
            job.tick(step, 100_000)
    return blocks()


def test_a_warning_is_shown_while_the_method_runs(dock: Any, qtbot: Any) -> None:
    run = start(dock, "warned")
    qtbot.waitUntil(lambda: "TV foresees" in dock.panel.warning.text(), timeout=20_000)
    assert run.active


# ---------------------------------------------------------------- what it hands over
def test_overlays_are_hidden_layers_that_say_what_they_show(window: Any, dock: Any, qtbot: Any) -> None:
    run = stopped(dock, qtbot)
    volume, spread, decided = run.layers
    ends = ("", " spread", " decided by the prior")
    assert [x.name for x in run.layers] == [f"sirt 1 (stopped){end}" for end in ends]
    assert (volume.visible, spread.visible, decided.visible) == (True, False, False)
    words = "Spread: about how far the result may be off, and not a standard error; orange from 0 to 0."
    assert info(spread)["means"].startswith(words)
    assert info(decided)["means"] == "Who decided; cyan from 0 to 1."
    assert tuple(decided.contrast_limits) == (0, 1)
    assert spread.contrast_limits[1] == pytest.approx(0.2, rel=0.02)
    assert tuple(spread.scale) == tuple(volume.scale)
    assert tuple(spread.translate) == tuple(volume.translate)
    np.testing.assert_array_equal(from_layer(spread).data, blocks().std)
    assert window.layers.selection.active.name == volume.name


def test_a_tick_in_the_dock_and_the_eye_of_the_layer_are_one(window: Any, dock: Any, qtbot: Any) -> None:
    assert dock.overlays.isHidden()
    spread = stopped(dock, qtbot).layers[1]
    assert list(dock.overlays.ticks) == ["spread", "decided by the prior"]
    dock.overlays.ticks["spread"].setChecked(True)
    assert spread.visible
    assert not dock.overlays.words["spread"].isHidden()
    spread.visible = False
    assert not dock.overlays.ticks["spread"].isChecked()
    assert dock.overlays.words["spread"].isHidden()
    window.layers.remove(spread)
    assert list(dock.overlays.ticks) == ["decided by the prior"]


def test_the_ticks_are_those_of_the_selected_result(window: Any, dock: Any, qtbot: Any) -> None:
    first, second = stopped(dock, qtbot), stopped(dock, qtbot)
    dock.overlays.ticks["spread"].setChecked(True)
    assert (first.layers[1].visible, second.layers[1].visible) == (False, True)
    window.layers.selection.active = first.layers[0]
    assert not dock.overlays.ticks["spread"].isChecked()
    dock.overlays.ticks["spread"].setChecked(True)
    assert first.layers[1].visible


def test_an_overlay_does_not_take_the_place_of_the_newest_volume(window: Any, dock: Any, qtbot: Any) -> None:
    views = window.window.add_plugin_dock_widget("splatom", "Views")[1]
    stopped(dock, qtbot)
    assert views.choice.currentText() == "sirt 1 (stopped)"
    assert views.choice.findText("sirt 1 (stopped) spread") >= 0


def test_a_volume_from_a_file_shows_its_spread(tmp_path: Path) -> None:
    write(tmp_path / "v.npz", blocks())
    (_, volume, _), (data, spread, _) = read_layers(str(tmp_path / "v.npz"))
    assert (volume["name"], spread["name"], spread["visible"]) == ("v", "v spread", False)
    np.testing.assert_array_equal(data, blocks().std)


def test_a_spread_of_nothing_can_be_shown() -> None:
    flat = blocks().with_(std=np.zeros((8, 8, 8), np.float32))
    ((_, look, _),) = overlays(flat, "v", {"no volume": Extra("text")})
    assert look["contrast_limits"] == (0.0, 1.0)


# ---------------------------------------------------------------- temdiff
@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as drawn at random, which have learnt from other tilts than these."""
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    torch.manual_seed(0)
    trained = {"half_range_degree": (30, 60)}
    save(path, build("temdiff", "small-materials"), Card("temdiff", "small-materials", trained=trained))
    return path


def test_temdiff_streams_takes_another_strength_and_shows_what_to_doubt(
    window: Any, dock: Any, qtbot: Any, weights: Path
) -> None:
    truth = nanoparticle_on_support((SIZE, SIZE, SIZE), 0.5, seed=3)
    session_of(window).add(tilt_series(truth, np.arange(-20, 21, 5.0), dose=400, seed=5), "narrow")
    params = TemdiffParams(weights=weights, steps=6, samples=2, align="off", safeguard=False, specimen="isolated")
    dock.panel.set_params("temdiff", params)
    dock.panel.run_button.click()
    run = dock.panel.run
    qtbot.waitUntil(lambda: bool(run.layers), timeout=120_000)
    assert run.layers[0].data.shape == (SIZE, SIZE, SIZE)
    dock.panel.form.widget("strength").setValue(0.2)
    qtbot.waitUntil(lambda: not run.active, timeout=120_000)
    assert run.outcome.status == "done", run.outcome.error
    assert "evaluations of 1 patch" in dock.estimate.text()
    assert "the prior has seen ±30° to ±60°" in dock.panel.warning.text()
    assert [x.name for x in run.layers] == ["temdiff 1", "temdiff 1 spread", "temdiff 1 decided by the prior"]
    assert [what for _, what in run.outcome.events] == [{"change": {"strength": 0.2}}]
    assert info(run.layers[2])["provenance"]["steps"][-1]["method"] == "temdiff"
