"""Order that a denoiser removed comes back; noise does not."""

from __future__ import annotations

import numpy as np

from splatom.methods.denoise._order import order_kept

SHAPE = (200, 160)


def waves() -> np.ndarray:
    r, c = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (np.cos(2 * np.pi * (r / 7.3 + c / 11)) + np.cos(2 * np.pi * (r / 9 - c / 6.1))).astype(np.float32)


def test_a_lattice_that_was_weakened_comes_back_and_the_noise_does_not() -> None:
    noise = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    out = order_kept(waves() + noise, 0.3 * waves())
    assert np.sqrt(np.mean((out - waves()) ** 2)) < 0.35 * waves().std()


def test_hum_that_the_image_does_not_show_stays_removed() -> None:
    noise = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    hum = np.sin(2 * np.pi * (0.31 * np.arange(SHAPE[0])[:, None] + 0.27 * np.arange(SHAPE[1])))
    out = order_kept((waves() + noise + hum).astype(np.float32), waves())
    assert np.sqrt(np.mean((out - waves()) ** 2)) < 0.05


def test_noise_of_pixels_and_of_lines_stays_removed() -> None:
    rng = np.random.default_rng(1)
    for lines in ((SHAPE[0], 1), (1, SHAPE[1])):
        noise = rng.normal(0, 1, SHAPE) + rng.normal(0, 2, lines)
        out = order_kept((waves() + noise).astype(np.float32), waves())
        assert np.sqrt(np.mean((out - waves()) ** 2)) < 0.1


def test_what_removed_nothing_is_changed_in_nothing() -> None:
    assert np.array_equal(order_kept(waves(), waves()), waves())
