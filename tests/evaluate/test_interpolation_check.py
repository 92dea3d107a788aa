"""The hold-out check: what is left out, what is predicted, and how it is scored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from splatom.data import TiltSeries
from splatom.evaluate import band_errors, hold_out, psnr
from splatom.evaluate.interpolation import every_second
from splatom.geometry import ViewGeometry
from splatom.methods import run


def series_of(angles: object) -> TiltSeries:
    """Images that change in a straight line from angle to angle: linear interpolation is exact."""
    angles = np.asarray(angles, float)
    rng = np.random.default_rng(0)
    first, change = rng.normal(size=(2, 32, 40))
    images = first + angles[:, None, None] / 40 * change
    return TiltSeries(images.astype(np.float32), ViewGeometry.single_axis(angles))


def linear(sparse: TiltSeries, angles: tuple[float, ...]) -> TiltSeries:
    out: TiltSeries = run("interpolate", "linear", sparse, angles=angles)
    return out


def blurred(sparse: TiltSeries, angles: tuple[float, ...]) -> TiltSeries:
    from scipy.ndimage import gaussian_filter

    out = linear(sparse, angles)
    return out.with_(projections=gaussian_filter(out.projections, (0, 1, 1)))


def test_every_second_angle_goes_with_all_its_repeats_and_never_the_outermost() -> None:
    series = series_of([20.0, 0.0, 10.0, 10.0, -10.0, -20.0, 30.0])
    held, kept = every_second(series)
    assert series.angles[held].tolist() == [-10, 10]
    assert series.angles[kept].tolist() == [-20, 0, 20, 30]
    with pytest.raises(ValueError, match="three different"):
        every_second(series_of([0.0, 5.0, 5.0]))


def test_tilts_that_were_not_measured_are_no_truth() -> None:
    series = series_of(np.arange(0, 60, 10.0)).with_(synthetic=np.arange(6) == 1, weights=np.array([1, 1, 0, 1, 1, 1]))
    held, kept = every_second(series)
    assert series.angles[held].tolist() == [30]
    assert series.angles[kept].tolist() == [0, 40, 50]


def test_an_exact_prediction_scores_without_bound_and_a_blur_by_its_loss() -> None:
    found = hold_out(series_of(np.arange(-20, 21, 5.0)), {"linear": linear, "blurred": blurred})
    assert found.gap == pytest.approx(10)
    assert len(found.tilts) == 4
    exact, soft = found.scores["linear"], found.scores["blurred"]
    assert exact.psnr.min() > 100
    assert exact.ssim == pytest.approx(1, abs=1e-6)
    assert exact.bands.max() < 1e-8
    assert (soft.mse > 0.1).all()
    assert found.gain("blurred") < -50
    # A blur takes away what is fine and leaves what is coarse.
    means = soft.bands.mean(axis=0)
    assert means[0] < 0.1
    assert means[-1] > 0.9
    assert (np.diff(means) > -0.02).all()
    told = json.loads(json.dumps(found.to_dict()))
    assert told["methods"]["blurred"]["mse"] == pytest.approx(float(soft.mse.mean()))


def test_figures_are_those_of_the_usual_definitions() -> None:
    series = series_of([-10.0, 0.0, 10.0])
    found = hold_out(series, {"blurred": blurred})
    image = blurred(series[[0, 2]], (0.0,)).projections[1]
    assert found.scores["blurred"].psnr == pytest.approx([psnr(image, series.projections[1])])
    assert found.scores["blurred"].mse == pytest.approx([((image - series.projections[1]) ** 2).mean()], rel=1e-4)


def test_no_image_is_all_error_and_twice_the_image_is_as_much() -> None:
    image = np.random.default_rng(1).normal(size=(40, 30))
    assert band_errors(np.zeros_like(image), image) == pytest.approx(1)
    assert band_errors(2 * image, image) == pytest.approx(1)
    assert band_errors(image + 5, image) == pytest.approx(0, abs=1e-12)  # a mean is no structure


def test_pixels_that_were_not_measured_do_not_count() -> None:
    series = series_of([-10.0, 0.0, 10.0])
    mask = np.ones(series.shape, bool)
    mask[1, :5] = False
    spoiled = series.projections.copy()
    spoiled[1, :5] = 50
    found = hold_out(series.with_(projections=spoiled, mask=mask), {"linear": linear})
    assert found.scores["linear"].mse[0] < 1e-8


def test_a_constant_tilt_and_a_missing_prediction_are_told() -> None:
    series = series_of([-10.0, 0.0, 10.0])
    images = series.projections.copy()
    images[1] = 3
    with pytest.raises(ValueError, match="at 0° is constant"):
        hold_out(series.with_(projections=images), {"linear": linear})
    with pytest.raises(ValueError, match="lazy predicted no tilt"):
        hold_out(series, {"lazy": lambda sparse, angles: sparse})
