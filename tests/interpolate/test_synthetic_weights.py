"""Reconstructions heed the weight of a tilt, so that interpolated tilts count for less than measured ones."""

from __future__ import annotations

import numpy as np
import pytest

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.methods import run
from splatom.methods.reconstruct.wbp import angle_shares
from splatom.simulate import Ellipsoids, tilt_series

SIZE = 24
METHODS = {
    "wbp": {},
    "sirt": {"iterations": 8},
    "cgls": {"iterations": 4},
    "tv": {"iterations": 15},
    "denza": {"iterations": 8, "width": 0.7, "weight": 1.0, "refine": 0},
}
ALONE = {"specimen": "isolated"}


@pytest.fixture(scope="module")
def series() -> TiltSeries:
    balls = Ellipsoids([[0, 0, 0], [3, 2, -6]], [[6, 7, 5], [2, 2, 2]], [1.0, 2.0])
    return tilt_series(balls, np.arange(-60, 61, 10.0), detector_shape=(SIZE, SIZE), pixel_size=1.0, dose=200, seed=2)


def with_wrong_tilt(series: TiltSeries, weight: float) -> TiltSeries:
    """Put a tilt at 5° that has nothing to do with the specimen."""
    wrong = np.full((1, SIZE, SIZE), 3 * series.projections.max(), np.float32)
    return TiltSeries(
        np.concatenate([series.projections, wrong]),
        ViewGeometry.single_axis([*series.angles, 5.0]),
        series.pixel_size,
        weights=np.array([*series.weights, weight]),
        synthetic=np.arange(len(series) + 1) == len(series),
    )


def volume(name: str, series: TiltSeries) -> np.ndarray:
    return run("reconstruct", name, series, device="cpu", **METHODS[name], **ALONE).data


@pytest.mark.parametrize("name", METHODS)
def test_a_tilt_of_weight_zero_changes_nothing_and_a_light_one_little(name: str, series: TiltSeries) -> None:
    without = volume(name, series)
    none, light, full = (volume(name, with_wrong_tilt(series, w)) for w in (0.0, 0.02, 1.0))
    np.testing.assert_allclose(none, without, atol=2e-5 * without.max())
    change = [float(np.sqrt(np.mean((v - without) ** 2))) for v in (light, full)]
    assert 0 < change[0] < 0.35 * change[1]


def test_neighbours_share_the_way_between_them_by_their_weights() -> None:
    geometry = ViewGeometry.single_axis([-10.0, 0.0, 5.0, 10.0])
    shares = np.rad2deg(angle_shares(geometry, np.array([1.0, 1.0, 0.25, 1.0])))
    assert shares == pytest.approx([10, 9, 2, 8])
    assert np.rad2deg(angle_shares(geometry)) == pytest.approx([10, 7.5, 5, 5])
    # A tilt that weighs next to nothing is as good as not there.
    gone = np.rad2deg(angle_shares(geometry, np.array([1.0, 1.0, 1e-9, 1.0])))
    assert gone[[0, 1, 3]] == pytest.approx([10, 10, 10])


def test_repeats_share_their_range_by_their_weights() -> None:
    geometry = ViewGeometry.single_axis([0.0, 10.0, 10.0, 20.0])
    shares = np.rad2deg(angle_shares(geometry, np.array([4.0, 1.0, 3.0, 4.0])))
    assert shares == pytest.approx([10, 2.5, 7.5, 10])
