"""Structure in what a denoiser removed is seen; noise of any usual kind is not taken for structure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from splatom.evaluate import foreseen

SIDE = 192


def lattice(spacing: float = 8.0) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] * (2 * np.pi / spacing)
    return (np.cos(x + 0.2 * y) + np.cos(y - 0.1 * x)) / 2


def white(level: float = 1.0, seed: int = 0) -> np.ndarray:
    return level * np.random.default_rng(seed).normal(size=(SIDE, SIDE))


def along_rows(clean: np.ndarray) -> np.ndarray:
    return white() + 0.5 * np.random.default_rng(1).normal(size=(SIDE, 1))


@pytest.mark.parametrize(
    "noise",
    [
        lambda clean: white(),
        lambda clean: np.sqrt(clean + 1.1) * white(),
        along_rows,
        lambda clean: gaussian_filter(white(3.0), 0.8),
    ],
    ids=["white", "of the signal", "along rows", "of a blurring detector"],
)
def test_noise_cannot_be_foreseen(noise):
    clean = lattice()
    assert foreseen(clean + noise(clean), clean) < 0.02


@pytest.mark.parametrize("level", [0.3, 1.0])
@pytest.mark.parametrize("blur", [2.0, 5.0])
def test_a_lattice_in_the_removed_part_is_measured(level, blur):
    clean = lattice()
    noisy = clean + white(level)
    after = gaussian_filter(noisy, blur)
    true = np.var(clean - gaussian_filter(clean, blur)) / np.var(noisy - after)
    assert 0.5 * true - 0.01 < foreseen(noisy, after) < 1.1 * true


def test_disorder_is_seen_too():
    rng = np.random.default_rng(2)
    clean = gaussian_filter(40.0 * (rng.random((SIDE, SIDE)) < 0.01), 2.5)
    noisy = clean + white(0.3)
    figures = [foreseen(noisy, gaussian_filter(noisy, blur)) for blur in (0.5, 3.0, 6.0)]
    assert figures[0] < 0.02 < figures[1] < figures[2]


def test_a_background_taken_away_is_no_structure():
    clean = lattice()
    noisy = clean + white(0.5) + gaussian_filter(white(100.0, seed=5), 40)
    assert foreseen(noisy, clean) < 0.02


def test_what_changes_nothing_removes_nothing():
    assert foreseen(lattice(), lattice()) == 0.0


def test_too_small_to_say():
    assert foreseen(np.zeros((20, 200)), np.ones((20, 200))) is None
