"""Pictures of a series and of what a volume predicts of it, against independent truths."""

from __future__ import annotations

import numpy as np
import pytest

from splatom.data import TiltSeries, Volume
from splatom.geometry import ViewGeometry
from splatom.plugin.pictures import aligned_mean, binned, held_out_of, predict, residual_angles, sinogram, slices_at


def _blob(shape, centre, width=2.0):
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    cz, cy, cx = centre
    return np.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2)).astype(np.float32)


def _blob_series(angles, shifts=None, size=48, centre=(6.0, 3.0, -8.0), width=2.0, pixel=0.5):
    """Projections of a Gaussian are Gaussians: written down, not projected."""
    geometry = ViewGeometry.single_axis(angles, 0.0, shifts)
    at = geometry.project([[c * pixel for c in centre]], pixel, (size, size))[:, 0]
    y, x = np.mgrid[:size, :size]
    images = np.exp(-((x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2) / (2 * width**2))
    return TiltSeries(images * width * np.sqrt(2 * np.pi), geometry, pixel)


@pytest.mark.parametrize("pixel", [0.5, None])
def test_a_volume_predicts_the_tilts_it_projects_to(pixel):
    series = _blob_series([-50.0, 0.0, 35.0], [[0, 0], [2.3, -1.2], [-4, 3]]).with_(pixel_size=pixel)
    volume = Volume(_blob((48, 48, 48), (6, 3, -8)), pixel)
    for i in range(3):
        assert predict(volume, series, i).r < 0.05  # the blur of one voxel


def test_a_preview_of_half_the_size_predicts_the_binned_tilts():
    series = _blob_series([-50.0, 20.0], [[0, 0], [3.0, -2.0]], size=49, centre=(6, 3, -8), width=4.0)
    whole = np.pad(_blob((49, 49, 49), (6, 3, -8), 4.0), ((0, 1),) * 3)  # the last block covers one voxel only
    guess = predict(Volume(binned(whole, 2), 1.0), series, 1)
    assert guess.factor == 2
    assert guess.measured.shape == (24, 24)
    assert guess.r < 0.05


def test_the_wrong_volume_is_seen_in_the_difference():
    series = _blob_series([0.0, 30.0])
    assert predict(Volume(_blob((48, 48, 48), (6, 3, 8)), 0.5), series, 0).r > 1


def test_a_sinogram_with_its_shifts_undone_is_that_of_the_aligned_series():
    angles = np.arange(-60.0, 61.0, 20.0)
    shifts = np.random.default_rng(0).normal(scale=3, size=(len(angles), 2))
    straight, shifted = _blob_series(angles), _blob_series(angles, shifts)
    row = 27
    assert np.allclose(sinogram(shifted, row), sinogram(straight, row), atol=0.15 * sinogram(straight, row).max())
    assert np.abs(sinogram(shifted, row, shifted=False) - sinogram(straight, row)).max() > 0.5


def test_a_sinogram_is_sorted_by_angle():
    series = _blob_series([30.0, -30.0, 0.0])
    assert np.array_equal(sinogram(series, 20, shifted=False), series.projections[[1, 2, 0], 20])


def test_the_mean_of_aligned_tilts_lies_on_the_axis():
    """A blob on the tilt axis stays at its place in every aligned tilt, whatever the shifts."""
    shifts = np.array([[4.0, 0.0], [-6.0, 2.0], [1.0, -3.0]])
    series = _blob_series([-40.0, 0.0, 40.0], shifts, centre=(0, 0, 0))
    mean = aligned_mean(series)
    assert np.unravel_index(mean.argmax(), mean.shape) in {(23, 23), (23, 24), (24, 23), (24, 24)}
    assert aligned_mean(series, "maximum").max() >= mean.max()


def test_residuals_belong_to_the_tilts_that_were_fitted():
    series = _blob_series(np.arange(-50.0, 51.0, 10.0))
    held = held_out_of(series, None, {"held_out": [3, 7]})
    assert list(np.flatnonzero(held)) == [3, 7]
    assert list(residual_angles(series, held, 9)) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert list(residual_angles(series, held, 11)) == list(range(11))


def test_the_three_planes_meet_in_the_voxel():
    data = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    xy, xz, yz = slices_at(data, (1, 2, 3))
    assert xy[2, 3] == xz[1, 3] == yz[2, 1] == data[1, 2, 3]
    assert (xy.shape, xz.shape, yz.shape) == ((5, 6), (4, 6), (5, 4))
