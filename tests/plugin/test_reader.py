"""Files in and out of napari: values whole, faults in one line, no angle guessed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatom.data import TiltSeries, Volume
from splatom.plugin.layers import info, to_layer
from splatom.plugin.reader import get_reader, read_layers
from splatom.plugin.session import session_of
from splatom.plugin.writer import write_layer

pytestmark = pytest.mark.gui


def stack_without_angles(folder: Path) -> Path:
    import mrcfile

    path = folder / "needle.st"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(0).random((7, 10, 12), dtype=np.float32))
        mrc.voxel_size = 4.0
    return path


def test_a_path_that_is_not_ours_is_left_to_others() -> None:
    assert get_reader("holiday.docx") is None
    assert get_reader(["a.mrc", "b.docx"]) is None
    assert get_reader("a.mrc") is read_layers


def test_a_series_written_from_its_layer_is_the_same_when_read(window: Any, ball: TiltSeries, tmp_path: Path) -> None:
    path = tmp_path / "ball.npz"
    session_of(window).add(ball, "ball")
    assert window.layers["ball"].save(str(path), plugin="splatom")
    (layer,) = window.open(str(path), plugin="splatom")
    again = info(layer)["value"]
    assert np.array_equal(again.projections, ball.projections)
    assert np.allclose(again.angles, ball.angles)
    assert again.pixel_size == ball.pixel_size


def test_a_volume_of_another_plugin_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "v.mrc"
    attributes = {"name": "v", "scale": (0.5,) * 3, "units": ("nanometer",) * 3, "metadata": {}}
    assert write_layer(str(path), np.ones((3, 4, 5), np.float32), attributes) == [str(path)]
    (data, read, _), = read_layers(str(path))
    assert data.shape == (3, 4, 5)
    assert np.allclose(read["scale"], 0.5)


def test_a_format_that_cannot_hold_it_is_one_line_and_no_file(window: Any, tmp_path: Path) -> None:
    from napari.utils.notifications import notification_manager

    data, attributes, _ = to_layer(Volume(np.ones((2, 2, 2), np.float32)))
    assert write_layer(str(tmp_path / "v.xyz"), data, attributes) == []
    assert "v.xyz" in notification_manager.records[-1].message
    assert not list(tmp_path.glob("*.xyz"))


@pytest.mark.parametrize("content", [b"", b"this is a text, not an image\n" * 50])
def test_a_bad_file_is_one_line_and_no_layer(window: Any, tmp_path: Path, content: bytes) -> None:
    from napari.utils.notifications import notification_manager

    path = tmp_path / "bad.mrc"
    path.write_bytes(content)
    window.open(str(path), plugin="splatom")
    record = notification_manager.records[-1]
    assert len(window.layers) == 0
    assert "bad.mrc" in record.message
    assert "\n" not in record.message
    assert record.severity.value == "error"


def test_a_stack_without_angles_is_shown_but_nothing_can_run_on_it(window: Any, tmp_path: Path) -> None:
    session = session_of(window)
    (layer,) = window.open(str(stack_without_angles(tmp_path)), plugin="splatom")
    assert layer.data.shape == (7, 1, 10, 12)
    assert info(layer)["angles_missing"]
    assert session.series_layer is not None
    assert session.series is None


def test_the_readers_load_neither_torch_nor_napari() -> None:
    code = (
        "import sys, splatom.plugin.reader as r, splatom.plugin.writer, splatom.plugin.sample\n"
        "r.get_reader('a.mrc')\n"
        "assert not {'torch', 'napari', 'qtpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_samples_open_with_their_angles(window: Any) -> None:
    window.open_sample("splatom", "nanoparticle")
    series = session_of(window).series
    assert series.shape == (47, 128, 128)
    assert series.angles.max() == 69
