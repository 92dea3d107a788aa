"""What the predicted tilts look like: mass, tracks of points, noise, units, a wrong axis."""

from __future__ import annotations

import numpy as np
import pytest
from _balls import balls, rms

from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.jobs import Job
from splatom.methods import execute, get, run
from splatom.simulate import Ellipsoids, tilt_series

SPARSE = np.arange(-60, 61, 12.0)
BETWEEN = tuple((SPARSE[:-1] + 6).tolist())


def predicted(name: str, series: TiltSeries, **params: object) -> np.ndarray:
    quick = {} if name == "linear" else {"passes": 60}
    out = run("interpolate", name, series, device="cpu", **{"angles": BETWEEN, **quick, **params})
    return out.projections[out.synthetic]


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return balls(BETWEEN).projections


@pytest.fixture(scope="module")
def clean() -> TiltSeries:
    return balls(SPARSE)


@pytest.mark.parametrize("name", ["linear", "sinogram"])
def test_mass_is_conserved(name: str, clean: TiltSeries, truth: np.ndarray) -> None:
    """Every view of an isolated specimen has the same total, and so has every predicted one."""
    totals = predicted(name, clean).sum(axis=(1, 2), dtype=np.float64)
    assert totals == pytest.approx(truth.sum(axis=(1, 2), dtype=np.float64), rel=5e-3)


@pytest.mark.parametrize("name", ["linear", "sinogram"])
def test_the_total_of_an_uneven_series_lies_between_the_neighbours(name: str, clean: TiltSeries) -> None:
    gains = np.linspace(1, 2, len(clean)).astype(np.float32)[:, None, None]
    totals = predicted(name, clean.with_(projections=clean.projections * gains)).sum(axis=(1, 2), dtype=np.float64)
    middle = (gains[1:, 0, 0] + gains[:-1, 0, 0]) / 2 * clean.projections[0].sum()
    assert totals == pytest.approx(middle, rel=0.01)


def test_sinogram_knows_how_tilts_turn_and_linear_does_not(clean: TiltSeries, truth: np.ndarray) -> None:
    linear, sinogram = (rms(predicted(n, clean), truth) for n in ("linear", "sinogram"))
    assert sinogram < 0.5 * linear


def test_a_rotating_point_is_followed_on_its_track() -> None:
    """A small ball off the axis is seen once, where x cos θ − z sin θ is, not twice where its neighbours have it."""
    ball = Ellipsoids([[15.0, 0, 5]], [[1.5, 1.5, 1.5]], [1.0])
    series = tilt_series(ball, SPARSE, detector_shape=(16, 48), pixel_size=1.0)
    theta = np.deg2rad(BETWEEN)
    track = 5 * np.cos(theta) - 15 * np.sin(theta)
    x = np.arange(48) - 23.5
    spread = {}
    for name in ("linear", "sinogram"):
        profile = predicted(name, series).sum(axis=1).clip(min=0).astype(np.float64)
        near = np.abs(x - track[:, None]) < 5
        assert (profile * near).sum() > 0.9 * profile.sum()
        weight = profile * near / (profile * near).sum(axis=1, keepdims=True)
        spread[name] = float(np.sqrt((weight * (x - track[:, None]) ** 2).sum(axis=1)).mean())
    assert spread["sinogram"] < 0.75 * spread["linear"]


def test_noise_of_the_measured_tilts_is_not_handed_on() -> None:
    """Linear halves the variance of the noise; a reconstruction from all tilts takes out more."""
    near = np.arange(-60, 61, 4.0)
    angles = tuple((near[:-1] + 2).tolist())
    truth = balls(angles).projections
    noisy = balls(near, dose=60, seed=4)
    linear, sinogram = (rms(predicted(n, noisy, angles=angles), truth) for n in ("linear", "sinogram"))
    assert sinogram < 0.75 * linear


def test_unit_and_offset_of_the_images_are_those_of_the_result(clean: TiltSeries) -> None:
    out = predicted("sinogram", clean)
    counts = predicted("sinogram", clean.with_(projections=1000 + 40 * clean.projections))
    assert rms((counts - 1000) / 40, out) < 0.02 * out.std()


def test_bright_field_is_predicted_as_it_is_seen() -> None:
    angles = np.arange(-60, 61, 12.0)

    def dark(at: object) -> TiltSeries:
        images = balls(at)
        return images.with_(projections=(5000 * np.exp(-0.05 * images.projections)).astype(np.float32), contrast="bf")

    truth = dark(BETWEEN).projections
    linear, sinogram = (rms(predicted(n, dark(angles)), truth) for n in ("linear", "sinogram"))
    assert sinogram < 0.75 * linear


def test_with_a_wrong_axis_it_is_no_worse_than_linear_and_says_so() -> None:
    """The needle's axis may lie along the columns: what the reconstruction says is then nonsense."""
    near = np.arange(-60, 61, 6.0)
    angles = tuple((near[:-1] + 3).tolist())

    def wrong(at: object) -> TiltSeries:
        return balls(ViewGeometry.single_axis(at, axis_degrees=90)).with_(geometry=ViewGeometry.single_axis(at))

    truth = wrong(np.array(angles)).projections
    job = Job(get("interpolate", "sinogram").params(angles=angles, passes=60))
    out = execute("interpolate", "sinogram", wrong(near), job)
    linear = predicted("linear", wrong(near), angles=angles)
    assert rms(out.projections[out.synthetic], truth) < 1.05 * rms(linear, truth)
    assert job.notes["share"] < 0.3


def test_the_share_may_be_given(clean: TiltSeries) -> None:
    whole = predicted("sinogram", clean, share=1.0, passes=10)
    half = predicted("sinogram", clean, share=0.5, passes=10)
    linear = predicted("linear", clean)
    assert half == pytest.approx((whole + linear) / 2, abs=1e-4)
    assert np.array_equal(predicted("sinogram", clean, share=0.0, passes=1), linear)


def test_the_smoothing_is_the_one_by_which_held_out_tilts_are_best_predicted() -> None:
    series = balls(np.arange(-60, 61, 6.0), dose=60, seed=1)
    job = Job(get("interpolate", "sinogram").params(passes=60))
    execute("interpolate", "sinogram", series, job)
    sparse, held_out = series[::2], tuple(series.angles[1::2].tolist())
    truth = series.projections[1::2]
    linear = predicted("linear", sparse, angles=held_out)
    error = {}
    for smoothing in (1.5, 4.0, 10.0):
        whole = predicted("sinogram", sparse, angles=held_out, smoothing=smoothing, share=1.0)
        error[smoothing] = min(rms(linear + s * (whole - linear), truth) for s in np.linspace(0, 1, 101))
    assert job.notes["smoothing"] == min(error, key=error.get)


def test_views_with_shifts_and_a_tilted_axis_are_reprojected_where_they_are() -> None:
    rng = np.random.default_rng(0)
    n = len(SPARSE)
    euler = np.stack([rng.normal(0, 1, n), SPARSE, rng.normal(0, 1, n)], axis=1)
    geometry = ViewGeometry.from_euler(euler, shifts=rng.normal(0, 1, (n, 2)))
    job = Job(get("interpolate", "sinogram").params(share=1.0, smoothing=1.5, passes=60))
    out = execute("interpolate", "sinogram", balls(geometry), job)
    new = out.synthetic
    truth = balls(out.geometry[new]).projections
    linear = run("interpolate", "linear", balls(geometry)).projections[new]
    inner = np.s_[:, 2:-2, 3:-3]
    assert rms(out.projections[new][inner], truth[inner]) < 0.6 * rms(linear[inner], truth[inner])


def test_two_tilts_are_enough() -> None:
    series = balls([-5.0, 5.0])
    for name in ("linear", "sinogram"):
        assert np.isfinite(predicted(name, series, angles=(0.0,))).all()
