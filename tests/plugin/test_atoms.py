"""The dock Atoms: what is found is looked at, filtered, relabelled, plotted, exported and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatom.data import Atoms, GaussianCloud, TiltSeries
from splatom.geometry import ViewGeometry
from splatom.io import read_atoms, write
from splatom.methods import find
from splatom.plugin.atoms_inspect import facts_of
from splatom.plugin.atoms_pictures import calibrated, patches, predict_points
from splatom.plugin.dock_atoms import AtomsDock, subset, takes_volume
from splatom.plugin.layers import info
from splatom.plugin.session import session_of
from splatom.simulate import project_atoms

pytestmark = pytest.mark.gui
PIXEL, SIDE = 0.05, 40


@pytest.fixture
def cube() -> Atoms:
    """27 atoms on a cubic lattice of 3 Å, 9 of them twice as bright."""
    places = 0.3 * (np.stack(np.meshgrid(*3 * [np.arange(3)], indexing="ij"), -1).reshape(-1, 3) - 1.0)
    bright = np.arange(27) % 3 == 0
    return Atoms(
        places, np.where(bright, "Pt", "Fe"), np.full((27, 3), 0.002), np.where(bright, 2.0, 1.0) + np.arange(27) / 1e3,
        np.full(27, 0.06), confidence=np.linspace(0.5, 1, 27),
    )  # fmt: skip


@pytest.fixture
def views(cube: Atoms) -> TiltSeries:
    """21 tilts of it."""
    geometry = ViewGeometry.single_axis(np.linspace(-70, 70, 21))
    images = project_atoms(cube, geometry, (SIDE, SIDE), PIXEL, tail_nm=0)
    return TiltSeries(images, geometry, pixel_size=PIXEL)


@pytest.fixture
def dock(window: Any, views: TiltSeries, qtbot: Any) -> Any:
    session_of(window).add(views, "views")
    made = AtomsDock(window)
    qtbot.addWidget(made)
    made.resize(420, 900)
    made.show()
    return made


@pytest.fixture
def found(dock: Any, window: Any, cube: Atoms) -> Any:
    """The layer of the true atoms."""
    return session_of(window).add(cube, "cube")


def test_without_atoms_every_tab_says_what_to_do(dock: Any) -> None:
    assert dock.hand.value is None
    for text in (dock.inspector.hint.text(), dock.plots.note.text(), dock.compare.result.text()):
        assert "run a method in the tab Find" in text
    assert not dock.export.isEnabled()


def test_atoms_are_traced_in_the_tilts_and_taken_in_hand(dock: Any, cube: Atoms, qtbot: Any) -> None:
    dock.panel.combo.setCurrentText("trace")
    assert takes_volume("trace")
    # So many passes that a preview of the volume is asked for, however busy the machine.
    dock.panel.set_params("trace", type(dock.panel.form.value())(threshold=0.5, passes=200))
    assert dock.source.layer.name == "views"
    dock.panel.run_button.click()
    run = dock.panel.run
    qtbot.waitUntil(lambda: not run.active, timeout=120_000)
    assert run.outcome.error is None, run.outcome.error
    qtbot.waitUntil(lambda: dock.hand.value is run.result, timeout=5_000)
    far = np.linalg.norm(run.result.positions_zyx[:, None] - cube.positions_zyx, axis=2).min(axis=0)
    assert np.median(far) < 0.03
    assert dock.choice.layer.name == "trace 1"
    assert [x.name for x in dock.viewer.layers if info(x).get("live")] == ["trace 1 volume (preview)"]
    assert dock.source.layer.name == "views"  # a preview is no input


@pytest.mark.slow
def test_a_running_fit_of_atoms_is_watched_and_edited(
    window: Any, views: TiltSeries, cube: Atoms, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a process, as users have it: PyTorch's optimisers load Triton, which a window on software OpenGL cannot bear.
    monkeypatch.setenv("SPLATOM_EXECUTOR", "process")
    session_of(window).add(views, "views")
    dock = AtomsDock(window)
    qtbot.addWidget(dock)
    dock.show()
    model = find()["atoms", "gaussian-atoms"].params
    dock.panel.set_params("gaussian-atoms", model(rounds=40, uncertainty=False))
    dock.panel.run_button.click()
    run = dock.panel.run
    qtbot.waitUntil(lambda: run.live.points is not None or not run.active, timeout=240_000)
    assert run.active, run.outcome.error
    dock.panel.pause_button.click()
    qtbot.wait(2000)
    layer = run.live.points
    gone = int(layer.features["id"][0])
    layer.selected_data = {0}
    layer.remove_selected()
    assert dock.panel.undo_button.isEnabled()
    dock.panel.pause_button.click()
    qtbot.waitUntil(lambda: run.snapshot.edits >= 1, timeout=120_000)
    assert gone not in run.live.cloud.ids
    dock.panel.stop_button.click()
    qtbot.waitUntil(lambda: not run.active, timeout=60_000)
    assert run.layers[0] is layer
    assert run.outcome.error is None, run.outcome.error
    assert run.outcome.status == "stopped"
    assert dock.hand.value is run.result
    far = np.linalg.norm(dock.hand.value.positions_zyx[:, None] - cube.positions_zyx, axis=2).min(axis=0)
    assert np.median(far) < 0.01


def test_a_picked_atom_is_told_in_physical_units(dock: Any, found: Any, cube: Atoms) -> None:
    dock.inspector.number.setValue(5)
    assert found.selected_data == {5}
    table = dock.inspector.table
    rows = {table.item(r, 0).text(): table.item(r, 1).text() for r in range(table.rowCount())}
    z, y, x = 10 * cube.positions_zyx[5]
    assert rows["x, y, z"] == f"{x:.3f} · {y:.3f} · {z:.3f} Å".replace("-", "−")
    assert rows["width σ"] == "60 pm"
    assert rows["species"] == "Fe"
    assert rows["σ in space"] == f"{np.sqrt(12):.4g} pm"
    assert dock.inspector.hint.isHidden()
    found.selected_data = {0, 1}
    assert dict(facts_of(cube, np.array([0, 1])))["distance"] == "3.000 Å"
    assert table.item(0, 1).text() == "2"


def test_the_patches_of_a_true_atom_leave_no_residual_and_those_of_a_dim_one_do(
    cube: Atoms, views: TiltSeries
) -> None:
    dim = cube.with_(amplitude=np.where(np.arange(27) == 4, 0.3, cube.amplitude))
    right, wrong = (patches(a, views, cube.positions_zyx[4], 10) for a in (cube, dim))
    assert [round(float(views.angles[p.index])) for p in right] == [-7, 0, 7]
    for good, bad in zip(right, wrong, strict=True):
        assert np.abs(good.difference).max() < 0.03 * good.measured.max()
        x, y = (round(c) for c in bad.centre)
        assert bad.difference[y, x] > 5 * np.abs(good.difference).max()


def test_patches_use_the_views_as_they_were_fitted(cube: Atoms, views: TiltSeries) -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(1)
    shifts, turns = rng.normal(0, 1.0, (21, 2)), rng.normal(0, 0.5, (21, 3))
    true = ViewGeometry(Rotation.from_rotvec(turns, degrees=True).as_matrix() @ views.geometry.rotations, shifts)
    seen = views.with_(projections=project_atoms(cube, true, (SIDE, SIDE), PIXEL, tail_nm=0))
    notes = {"calibration": {"shifts_pixels": shifts.tolist(), "turns_degrees": turns.tolist()}}
    as_given, as_fitted = (predict_points(cube, s, 8).r for s in (seen, calibrated(seen, notes)))
    assert as_fitted < 0.05 < 0.15 < as_given  # the rest: pixels that integrate
    assert calibrated(seen, {"calibration": {"shifts_pixels": [[0, 0]], "turns_degrees": [[0, 0, 0]]}}) is seen


def test_residual_patches_are_drawn_for_the_pick(dock: Any, found: Any, qtbot: Any) -> None:
    dock.tabs.setCurrentIndex(1)
    dock.inspector.number.setValue(13)
    qtbot.waitUntil(lambda: "Residual here" in dock.inspector.note.text(), timeout=20_000)
    assert dock.inspector.grid.angles[1].text() == "+0.0°"
    assert not dock.inspector.grid.images[0][0].pixmap().isNull()


def test_the_filter_hides_counts_and_leaves_the_atoms_alone(dock: Any, found: Any, cube: Atoms) -> None:
    assert dock.filter.combo.currentText() == "confidence"
    dock.filter.slider.setValue(100)
    assert dock.filter.count.text() == "14 of 27 shown: confidence ≥ 0.75"
    assert int(found.shown.sum()) == 14
    assert dock.hand.value is cube
    dock.filter.combo.setCurrentText("amplitude")
    assert int(found.shown.sum()) == 9
    dock.filter.slider.setValue(0)
    assert found.shown.all()


def test_relabelling_changes_value_colour_and_record_and_is_undone(dock: Any, found: Any, cube: Atoms) -> None:
    colours = np.array(found.face_color)
    found.selected_data = {1, 2}
    dock.inspector.species.setCurrentText("Pt")
    dock.inspector.relabel.click()
    value = info(found)["value"]
    assert list(value.species[:3]) == ["Pt", "Pt", "Pt"]
    assert value.provenance.loading["relabelled"] == {"1": "Pt", "2": "Pt"}
    assert list(found.features["species"][:3]) == ["Pt", "Pt", "Pt"]
    assert np.array_equal(found.face_color[1], colours[0])
    assert dock.hand.selected.tolist() == [1, 2]
    dock.inspector.undo.click()
    assert info(found)["value"] is cube
    assert np.array_equal(found.face_color, colours)
    assert not dock.inspector.undo.isEnabled()
    dock.inspector.species.setCurrentText("Unobtainium")
    dock.inspector.relabel.click()
    assert "no chemical symbol" in dock.inspector.message.text()


def test_a_reference_gives_recall_precision_and_marks_what_does_not_match(
    dock: Any, found: Any, window: Any, cube: Atoms, tmp_path: Path, qtbot: Any
) -> None:
    rng = np.random.default_rng(0)
    moved = cube.positions_zyx[2:] + rng.normal(0, 0.002, (25, 3))
    reference = Atoms(np.vstack([moved, [[1.0, 1.0, 1.0]]]), [*cube.species[2:], "Fe"])
    write(tmp_path / "truth.xyz", reference)
    dock.compare.compare(str(tmp_path / "truth.xyz"))
    qtbot.waitUntil(lambda: dock.compare.match is not None, timeout=20_000)
    table = dock.compare.table
    rows = {table.item(r, 0).text(): table.item(r, 1).text() for r in range(table.rowCount())}
    assert rows["recall"] == f"{25 / 26:.4f} (1 of 26 missed)"
    assert rows["precision"] == f"{25 / 27:.4f} (2 of 27 have no partner)"
    assert 2.5 < float(rows["RMSD"].split()[0]) < 4.5
    dock.compare.mark.setChecked(True)
    red = found.face_color[:, 0] - found.face_color[:, 1] > 0.5
    assert red.tolist() == [True, True, *25 * [False]]
    assert len(window.layers["missed of truth"].data) == 1
    dock.compare.mark.setChecked(False)
    assert "missed of truth" not in window.layers


def test_a_reference_that_is_none_is_one_line(dock: Any, found: Any, tmp_path: Path, qtbot: Any) -> None:
    (tmp_path / "bad.xyz").write_text("nonsense\n")
    dock.compare.compare(str(tmp_path / "bad.xyz"))
    qtbot.waitUntil(lambda: "bad.xyz" in dock.compare.result.text() and "…" not in dock.compare.result.text())
    assert "\n" not in dock.compare.result.text()
    assert dock.compare.match is None


def test_an_export_leaves_out_what_is_hidden_unless_asked(
    dock: Any, found: Any, tmp_path: Path, qtbot: Any
) -> None:
    dock.filter.combo.setCurrentText("amplitude")
    dock.filter.slider.setValue(100)
    dock.save(tmp_path / "bright.xyz")
    qtbot.waitUntil(lambda: dock.message.text().startswith("saved"), timeout=20_000)
    assert set(read_atoms(tmp_path / "bright.xyz").species) == {"Pt"}
    dock.all.setChecked(True)
    dock.save(tmp_path / "all.xyz")
    qtbot.waitUntil(lambda: "all.xyz" in dock.message.text() and "saved" in dock.message.text(), timeout=20_000)
    assert len(read_atoms(tmp_path / "all.xyz")) == 27


def test_colour_by_any_quantity_says_what_the_colours_mean(dock: Any, found: Any, qtbot: Any) -> None:
    row = dock.colour
    assert "Fe" in row.legend.text()
    row.combo.setCurrentIndex(row.combo.findData("amplitude"))
    assert "intensity · nm²" in row.legend.text()
    row.combo.setCurrentIndex(row.combo.findData("residual"))
    qtbot.waitUntil(lambda: row.legend.text().startswith("blue"), timeout=20_000)


def test_the_plots_show_the_lattice(dock: Any, found: Any, qtbot: Any) -> None:
    dock.tabs.setCurrentIndex(2)
    plots = dock.plots
    qtbot.waitUntil(lambda: "3.000 Å in the middle" in plots.note.text(), timeout=20_000)
    assert plots.lines.curves["atoms"][1].max() == 27
    plots.kind.setCurrentIndex(1)
    qtbot.waitUntil(lambda: plots.note.text().startswith("Highest at"), timeout=20_000)
    r, g = plots.lines.curves["all pairs"]
    assert 2.9 < r[int(np.argmax(g * (r < 3.5)))] < 3.1
    plots.kind.setCurrentIndex(2)
    qtbot.waitUntil(lambda: "Mean amplitude" in plots.note.text(), timeout=20_000)
    assert {k: int(v[1].sum() / 2) for k, v in plots.lines.curves.items()} == {"Fe": 18, "Pt": 9}
    dock.filter.combo.setCurrentText("amplitude")
    dock.filter.slider.setValue(100)
    qtbot.waitUntil(lambda: set(plots.lines.curves) == {"Pt"}, timeout=20_000)


def test_a_part_of_a_cloud_keeps_what_belongs_to_each() -> None:
    cloud = GaussianCloud(np.arange(9.0).reshape(3, 3), np.ones((3, 3)), [1.0, 2.0, 3.0], ids=[5, 6, 7])
    part = subset(cloud, np.array([True, False, True]))
    assert part.ids.tolist() == [5, 7]
    assert part.mass.tolist() == [1.0, 3.0]
    assert part.rotations.shape == (2, 4)
