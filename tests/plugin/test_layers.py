"""Values become layers in nm about the origin, and come back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splatom.data import Atoms, GaussianCloud, TiltSeries, Volume
from splatom.plugin.layers import angle_text, from_layer, info, to_layer, update_layer

pytestmark = pytest.mark.gui


def added(viewer: Any, value: Any, **extra: Any) -> Any:
    data, attributes, kind = to_layer(value, "it", **extra)
    return getattr(viewer, f"add_{kind}")(data, **attributes)


def test_series_and_volume_share_a_viewer_in_nm(window: Any, ball: TiltSeries) -> None:
    added(window, ball)
    added(window, Volume(np.zeros((32, 32, 32), np.float32), 0.5))
    assert [str(u) for u in window.dims.units] == ["dimensionless", "nanometer", "nanometer", "nanometer"]
    assert window.dims.axis_labels == ("tilt", "z", "y", "x")


def test_the_centre_of_every_field_is_the_origin(window: Any, ball: TiltSeries) -> None:
    series = added(window, ball)
    assert np.allclose(series.data_to_world((0, 0, 15.5, 15.5)), 0)
    volume = added(window, Volume(np.zeros((5, 8, 9), np.float32), 0.25, origin_zyx=(1.0, 0, 0)))
    assert np.allclose(volume.data_to_world((2, 3.5, 4)), (1, 0, 0))


def test_a_series_without_pixel_size_is_in_pixels(window: Any, ball: TiltSeries) -> None:
    assert str(added(window, ball.with_(pixel_size=None)).units[-1]) == "pixel"


def test_pixels_are_shown_without_a_copy(ball: TiltSeries) -> None:
    assert np.shares_memory(to_layer(ball)[0], ball.projections)


def test_every_value_comes_back_from_its_layer(window: Any, ball: TiltSeries) -> None:
    cloud = GaussianCloud(np.zeros((3, 3)), np.ones((3, 3)), np.ones(3))
    for value in (ball, Volume(np.ones((2, 3, 4), np.float32), 1.0), cloud, Atoms(np.zeros((2, 3)), ["Au", "Pt"])):
        assert from_layer(added(window, value)) is value


def test_an_image_of_another_plugin_is_a_volume_and_a_photograph_is_nothing(window: Any) -> None:
    volume = from_layer(window.add_image(np.ones((2, 3, 4)), scale=(2, 2, 2), units=("nm",) * 3))
    assert volume.voxel_size == 2
    with pytest.raises(ValueError, match="no tilt series"):
        from_layer(window.add_image(np.ones((3, 4))))


def test_more_gaussians_than_shown_are_a_stable_subsample_and_the_name_says_so() -> None:
    rng = np.random.default_rng(0)
    cloud = GaussianCloud(rng.normal(size=(500, 3)), np.ones((500, 3)), np.ones(500))
    data, attributes, _ = to_layer(cloud, "cloud", max_points=100)
    assert data.shape == (100, 3)
    assert attributes["name"] == "cloud (showing 100 of 500)"
    moved = cloud.with_(centres_zyx=cloud.centres_zyx + 1)
    assert np.allclose(to_layer(moved, max_points=100)[0], data + 1)


def test_a_volume_is_updated_in_its_layer_and_keeps_its_contrast(window: Any) -> None:
    layer = added(window, Volume(np.random.default_rng(0).random((8, 8, 8)).astype(np.float32), 1.0))
    limits = tuple(layer.contrast_limits)
    newer = Volume(np.full((8, 8, 8), 5, np.float32), 1.0)
    update_layer(layer, newer)
    assert np.shares_memory(layer.data, newer.data)  # the window copies nothing
    assert tuple(layer.contrast_limits) == limits
    update_layer(layer, Volume(np.ones((16, 16, 16), np.float32), 0.5))
    assert np.allclose(layer.data_to_world((7.5,) * 3), 0)
    assert window.dims.nsteps[-1] == 16


def test_gaussians_are_updated_in_one_call_when_their_number_changes(window: Any) -> None:
    def cloud(n: int) -> GaussianCloud:
        return GaussianCloud(np.full((n, 3), n), np.full((n, 3), 0.5), np.ones(n))

    layer = added(window, cloud(4))
    update_layer(layer, cloud(9))
    assert layer.data.shape == (9, 3)
    assert np.allclose(layer.size, 1.0)
    assert layer.face_color.shape == (9, 4)


def test_the_angle_of_the_tilt_in_view_is_told(ball: TiltSeries) -> None:
    held = np.arange(16) == 2
    layer = SimpleNamespace(metadata=to_layer(ball.with_(held_out=held))[1]["metadata"])
    assert angle_text(layer, (2.0, 0, 0, 0)) == "tilt 3 of 16: −44.0° (held out)"
    assert angle_text(layer, (0, 0, 0)) == ""
    assert info(None) == {}


def test_the_viewer_shows_the_angle_of_the_slider(window: Any, ball: TiltSeries) -> None:
    from splatom.plugin.session import session_of

    session_of(window).add(ball, "ball")
    window.dims.set_point(0, 15)
    assert window.canvas.overlays.text.text == "tilt 16 of 16: +60.0°"
