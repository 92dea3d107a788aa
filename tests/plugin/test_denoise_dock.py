"""Denoising in the window: previews, runs, what was removed, calibrated noise, atom columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.io import read
from splatom.plugin.denoise_part import judged
from splatom.plugin.denoise_preview import REGION
from splatom.plugin.dock_denoise import DenoiseDock
from splatom.plugin.session import session_of

pytestmark = pytest.mark.gui

SIDE, SPACING, PIXEL = 128, 12.0, 0.02
LONG = 400_000  # ms; torch loads with the first preview


def columns(count: int = 1) -> np.ndarray:
    """Places (row, column) of a square lattice of columns, away from the border."""
    steps = np.arange(SPACING, SIDE - SPACING / 2, SPACING)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2) + 0.3


def lattice() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return sum(100 * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * 1.8**2)) for r, c in columns())


def noisy(tilts: int = 4, level: float = 12.0) -> TiltSeries:
    rng = np.random.default_rng(3)
    clean = lattice() * np.linspace(0.6, 1.2, tilts)[:, None, None]
    images = clean + level * rng.normal(size=clean.shape)
    return TiltSeries(images.astype(np.float32), ViewGeometry.single_axis(np.linspace(-30, 30, tilts)), PIXEL)


@pytest.fixture
def dock(window, qtbot):
    session_of(window).add(noisy(), "tilts")
    return opened(window, qtbot)


def opened(window, qtbot):
    dock = DenoiseDock(window)
    qtbot.addWidget(dock)
    dock.resize(440, 900)
    dock.panel.combo.setCurrentText("gaussian")
    dock.show()
    return dock


def click(qtbot, button):
    qtbot.waitUntil(button.isEnabled, timeout=LONG)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def put(dock, name, value):
    """Type a parameter."""
    field = dock.panel.form.widget(name)
    if hasattr(field, "tick"):
        field.tick.setChecked(False)
        field = field.inner
    field.setValue(value)


def settled(dock, qtbot):
    page = dock.preview
    idle = lambda: not (page._soon.isActive() or page._measuring.busy or page.asking.busy or page._comparing.busy)  # noqa: E731
    qtbot.waitUntil(idle, timeout=LONG)
    return page.triptych.shown


def run(dock, qtbot):
    click(qtbot, dock.panel.run_button)
    run = dock.panel.run
    qtbot.waitUntil(lambda: not run.active, timeout=LONG)
    assert run.outcome.error is None, run.outcome.error
    return run


def letting_through(path: Path, share: float = 0.5, **trained: tuple[float, float]) -> Path:
    """Write weights of a network without blocks that passes the image, and a share of it as the map of columns."""
    import torch

    from splatom.nets import Scgn
    from splatom.weights import Card, save

    shape = {"width": 2, "blocks": 0, "outputs": 2}
    net = Scgn(**shape)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.head.weight[0, 0, 1, 1] = 1.0
        net.tail.weight[0, 0, 1, 1] = 0.5  # the frame adds the head to what the blocks make of it
        net.tail.weight[1, 0, 1, 1] = share / 2
    save(path, net, Card("scgn", "small", shape, trained=dict(trained)))
    return path


def use_weights(dock, path, **fields):
    dock.panel.combo.setCurrentText("scgn")
    form = dock.panel.form
    form.set_value(type(form.value())(weights=path, **fields))


# ---------------------------------------------------------------- previews
def test_a_preview_shows_before_after_and_removed(dock, window, qtbot):
    from scipy.ndimage import gaussian_filter

    window.dims.set_point(0, 2)
    dock.preview.extent.setCurrentText("whole image")
    put(dock, "sigma", 1.5)
    shown = settled(dock, qtbot)
    image = session_of(window).series.projections[2]
    assert shown.index == 2
    assert np.array_equal(shown.before, image)
    assert np.allclose(shown.after, gaussian_filter(image, 1.5, mode="reflect"), atol=0.5)
    panes = dock.preview.triptych
    assert np.array_equal(panes.removed.image.image, shown.before - shown.after)
    low, high = panes.removed.image.levels
    assert low == -high
    assert np.array_equal(panes.before.image.levels, panes.after.image.levels)


def test_the_newest_parameters_win(dock, qtbot):
    for width in (0.5, 4.0, 2.0, 1.0, 3.0):
        put(dock, "sigma", width)
        dock.preview.ask()
    last = settled(dock, qtbot)
    put(dock, "sigma", 3.0)
    dock.preview.ask()
    again = settled(dock, qtbot)
    assert np.array_equal(last.after, again.after)
    assert last.after.std() < 0.6 * last.before.std()


def test_a_choice_too_strong_shows_structure_in_what_it_removes(dock, qtbot):
    dock.preview.extent.setCurrentText("whole image")
    put(dock, "sigma", 0.6)
    assert settled(dock, qtbot).structure < 0.02
    assert "looks like noise" in dock.preview.triptych.judgement.text()
    put(dock, "sigma", 5.0)
    assert settled(dock, qtbot).structure > 0.3
    assert "too strong" in dock.preview.triptych.judgement.text()


def test_noise_that_is_correlated_is_not_called_lost_structure():
    from splatom.plugin.denoise_views import verdict

    rng = np.random.default_rng(0)
    hum = 12 * np.sin(2 * np.pi * (np.arange(SIDE)[:, None] / 2.6 + np.arange(SIDE) / 2.9))
    for extra, word in ((hum, "correlated"), (0.0, "looks like noise")):
        image = lattice() + 12 * rng.normal(size=(SIDE, SIDE)) + extra
        assert word in verdict(*judged(image, lattice(), is_map=False))[0]


def test_a_rectangle_is_previewed_where_it_is_drawn(dock, window, qtbot):
    dock.preview.extent.setCurrentText("rectangle")
    settled(dock, qtbot)
    region, layer = window.layers[REGION], window.layers["tilts"]
    corners = np.array([[20, 30], [20, 89], [69, 89], [69, 30]]) * PIXEL + layer.translate[-2:]
    region.data = [corners]
    dock.preview.ask()
    assert settled(dock, qtbot).window == (20, 30, 50, 60)
    window.layers.remove(REGION)
    assert dock.preview.extent.currentText() == "part in view"


def test_a_preview_of_a_part_is_what_the_run_makes_of_it(dock, window, qtbot, tmp_path):
    """The map of a network depends on the scale of intensity, which is that of the whole series for a part too."""
    use_weights(dock, letting_through(tmp_path / "w.safetensors", 0.2), output="detect")
    dock.preview.extent.setCurrentText("rectangle")
    window.dims.set_point(0, 1)
    shown = settled(dock, qtbot)
    row, column, rows, wide = shown.window
    assert rows < SIDE
    result = run(dock, qtbot).result.projections[1]
    assert np.allclose(shown.after, result[row : row + rows, column : column + wide], atol=1e-4)
    assert 0.1 < shown.after.max() <= 1


# ---------------------------------------------------------------- runs
def test_a_run_gives_a_new_series_that_can_be_compared_and_undone(dock, window, qtbot):
    put(dock, "sigma", 1.0)
    found = run(dock, qtbot)
    session, old = session_of(window), window.layers["tilts"]
    new = session.series_layer
    assert (new.name, session.series.shape) == (found.name, (4, SIDE, SIDE))
    assert (old.visible, new.visible) == (False, True)
    assert dock.source.layer.name == "tilts"  # a second try starts from the noisy images again
    window.dims.set_point(0, 0)
    shown = settled(dock, qtbot)
    assert np.array_equal(shown.after, found.result.projections[0])
    window.dims.set_point(0, 3)
    assert np.array_equal(settled(dock, qtbot).after, found.result.projections[3])
    click(qtbot, dock.compare)
    assert (old.visible, new.visible) == (True, False)
    click(qtbot, dock.compare)
    assert (old.visible, new.visible) == (False, True)
    click(qtbot, dock.undo)
    assert session.series_layer.name == "tilts"  # old is a proxy of it
    assert (old.visible, new.visible) == (True, False)


def test_a_run_leaves_the_series_in_hand_alone_until_it_ends(dock, window, qtbot):
    put(dock, "sigma", 1.0)
    click(qtbot, dock.panel.run_button)
    run = dock.panel.run
    seen = set()

    def over():
        seen.add(session_of(window).series is run.data or not run.active)
        return not run.active

    qtbot.waitUntil(over, timeout=LONG)
    assert seen == {True}
    assert len(window.layers) == 2


def test_weights_that_are_missing_are_told_in_one_line(dock, qtbot, tmp_path):
    use_weights(dock, tmp_path / "none.safetensors")
    assert settled(dock, qtbot) is None
    why = dock.preview.triptych.figures.text()
    assert "none.safetensors: no such file" in why
    assert "\n" not in why
    dock.panel.combo.setCurrentText("gaussian")
    assert settled(dock, qtbot) is not None


def test_parameters_are_remembered(dock, window, qtbot):
    put(dock, "sigma", 2.5)
    run(dock, qtbot)
    assert opened(window, qtbot).panel.form.value().sigma == 2.5


def test_a_plain_image_can_be_denoised(window, qtbot):
    window.add_image(noisy(1).projections[0], name="photo")
    dock = opened(window, qtbot)
    assert "an image of 128 × 128" in dock.shape.text()
    put(dock, "sigma", 1.0)
    dock.preview.extent.setCurrentText("whole image")
    before = settled(dock, qtbot)
    found = run(dock, qtbot)
    assert np.array_equal(found.result.projections[0], before.after)
    assert [x.visible for x in window.layers] == [False, False, True]
    places = [x.extent.world[:, -2:] for x in window.layers[1:]]
    assert np.allclose(*places)


def test_a_colour_picture_is_refused_in_one_line(window, qtbot):
    window.add_image(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8), name="rainbow", rgb=True)
    dock = opened(window, qtbot)
    assert "colour picture" in dock.shape.text()
    assert not dock.panel.run_button.isEnabled()
    grey = np.repeat(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1) // 32, 3, axis=2).astype(np.uint8)
    dock.source.choose(window.add_image(grey, name="grey", rgb=True))
    assert dock.panel.run_button.isEnabled()


# ---------------------------------------------------------------- noise
def _calibrated(dock, qtbot):
    dock.tabs.setCurrentIndex(1)
    click(qtbot, dock.noise.button)
    qtbot.waitUntil(lambda: not dock.noise.asking.busy, timeout=LONG)
    return dock.noise.found


def test_noise_is_calibrated_and_plotted(dock, qtbot):
    found = _calibrated(dock, qtbot)
    assert found.point == pytest.approx(12, rel=0.1)
    signal, variance = dock.noise.plots["point"].points
    assert len(signal) == len(variance) > 2
    assert np.median(variance) == pytest.approx(144, rel=0.25)
    labels = {dock.noise.figures.itemAt(i, role).widget().text() for i in range(dock.noise.figures.rowCount())
              for role in (dock.noise.figures.ItemRole.FieldRole,)}  # fmt: skip
    assert any(text.startswith("SD 1") for text in labels)


def test_noise_that_a_network_was_not_trained_on_is_told(dock, qtbot, tmp_path):
    _calibrated(dock, qtbot)
    use_weights(dock, letting_through(tmp_path / "narrow.safetensors", noise_to_contrast=(3.0, 9.0)))
    qtbot.waitUntil(lambda: "outside the training" in dock.noise.warning.text(), timeout=LONG)
    wide = dict.fromkeys(("noise_to_contrast", "line_to_contrast"), (0.0, 9.0))
    use_weights(dock, letting_through(tmp_path / "wide.safetensors", **wide))
    qtbot.waitUntil(lambda: "was trained on such noise" in dock.noise.warning.text(), timeout=LONG)


def test_images_without_noise_to_measure_are_refused(window, qtbot):
    flat = noisy(1)
    session_of(window).add(flat.with_(projections=np.full((1, 80, 80), 3.0, np.float32)), "flat")
    dock = opened(window, qtbot)
    assert _calibrated(dock, qtbot) is None
    assert "constant" in dock.noise.message.text()


# ---------------------------------------------------------------- columns
def test_columns_become_points_in_nm(dock, window, qtbot, tmp_path):
    use_weights(dock, letting_through(tmp_path / "w.safetensors", 0.2))
    dock.tabs.setCurrentIndex(2)
    window.dims.set_point(0, 3)
    dock.columns.threshold.setValue(0.45)
    click(qtbot, dock.columns.button)
    qtbot.waitUntil(lambda: dock.columns.layer is not None, timeout=LONG)
    layer, image = dock.columns.layer, window.layers["tilts"]
    assert len(layer.data) == len(columns())
    assert f"<b>{len(columns())}</b> columns in tilt 4" in dock.columns.result.text()
    assert set(layer.data[:, 0]) == {3}
    pixels = (layer.data[:, -2:] - image.translate[-2:]) / PIXEL
    off = np.linalg.norm(pixels[:, None] - columns()[None], axis=2).min(axis=1)
    assert np.sqrt((off**2).mean()) < 0.5
    assert [str(u) for u in layer.units] == [str(u) for u in image.units]
    dock.columns.threshold.setValue(0.99)
    qtbot.waitUntil(lambda: len(layer.data) < len(columns()), timeout=LONG)


def test_columns_of_all_tilts_lie_in_their_tilts(dock, window, qtbot, tmp_path):
    use_weights(dock, letting_through(tmp_path / "w.safetensors", 0.2))
    dock.tabs.setCurrentIndex(2)
    dock.columns.which.setCurrentText("all tilts")
    dock.columns.threshold.setValue(0.45)
    click(qtbot, dock.columns.button)
    qtbot.waitUntil(lambda: dock.columns.layer is not None, timeout=LONG)
    assert set(dock.columns.layer.data[:, 0]) == {0, 1, 2, 3}


# ---------------------------------------------------------------- a real image
@pytest.mark.real
def test_a_real_image_is_denoised_and_its_columns_are_found(window, qtbot, shared_data):
    from splatom.weights import shipped

    path = shared_data / "stem_images" / "test_ADF_cropped.hdf5"
    window.open(str(path), plugin="splatom")
    dock = opened(window, qtbot)
    dock.preview.extent.setCurrentText("whole image")
    put(dock, "sigma", 0.7)
    settled(dock, qtbot)
    assert "correlated" in dock.preview.triptych.judgement.text()  # it was interpolated after the recording
    put(dock, "sigma", 6.0)
    settled(dock, qtbot)
    assert "too strong" in dock.preview.triptych.judgement.text()
    found = _calibrated(dock, qtbot)
    assert 0.02 < found.noise_to_contrast < 1
    if not shipped("sfin"):
        pytest.skip("the weights of sfin are not in the package")
    dock.tabs.setCurrentIndex(0)
    dock.panel.combo.setCurrentText("sfin")
    result = run(dock, qtbot).result
    assert result.projections.mean() == pytest.approx(read(path).projections.mean(), rel=0.01)
    dock.tabs.setCurrentIndex(2)
    click(qtbot, dock.columns.button)
    qtbot.waitUntil(lambda: dock.columns.layer is not None, timeout=LONG)
    assert len(dock.columns.layer.data) > 50
