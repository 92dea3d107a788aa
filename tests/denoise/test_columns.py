"""Dots of a detection map are found where they are, each once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from splatom.evaluate import find_columns


def dots(places: np.ndarray, shape: tuple[int, int] = (90, 110), sigma: float = 1.5) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    out = np.zeros(shape)
    for r, c in places:
        out = np.maximum(out, np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * sigma**2)))
    return out


@pytest.fixture
def places() -> np.ndarray:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(8, 84, 9.0), np.arange(8, 104, 9.0), indexing="ij"), axis=-1).reshape(-1, 2)
    return grid + rng.uniform(-0.5, 0.5, grid.shape)


def distances(found: np.ndarray, places: np.ndarray) -> np.ndarray:
    assert len(found) == len(places)
    return cKDTree(places).query(found)[0]


def test_every_dot_is_found_once_to_a_hundredth_of_a_pixel(places: np.ndarray) -> None:
    assert distances(find_columns(dots(places)), places).max() < 0.01


def test_noise_below_the_threshold_makes_no_dot(places: np.ndarray) -> None:
    noisy = dots(places) + np.random.default_rng(1).normal(0, 0.05, (90, 110))
    assert distances(find_columns(noisy, threshold=0.4), places).max() < 0.3
    assert len(find_columns(noisy, threshold=2.0)) == 0
    assert find_columns(np.zeros((9, 9))).shape == (0, 2)


def test_a_dot_that_was_clipped_is_one_dot_in_its_middle() -> None:
    found = find_columns(np.minimum(dots(np.array([[40.5, 50.0]]), sigma=3), 0.8))
    assert np.allclose(found, [[40.5, 50.0]], atol=0.1)


def test_of_two_that_are_too_near_the_higher_stays() -> None:
    image = dots(np.array([[40.0, 50.0]])) + 0.6 * dots(np.array([[40.0, 57.0]]))
    assert len(find_columns(image, min_distance=3)) == 2
    found = find_columns(image, min_distance=8)
    assert np.allclose(found, [[40, 50]], atol=0.05)


@pytest.mark.parametrize("bad", [np.zeros((3, 4, 4)), np.array([[np.nan, 1.0]]), np.zeros((0, 4))])
def test_what_is_no_image_is_refused_in_one_line(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"columns are found|not finite") as fault:
        find_columns(bad)
    assert "\n" not in str(fault.value)
