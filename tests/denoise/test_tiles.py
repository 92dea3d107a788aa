"""Tiles cover an image, blend without a seam, and take what is smaller than a tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from splatom.methods.denoise._tiles import Tiling

SIDES = st.integers(1, 90)


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, st.integers(8, 40), st.integers(0, 4), st.sampled_from([1, 4, 16]), st.integers(0, 8))
def test_what_changes_nothing_gives_the_image_back(
    rows: int, columns: int, size: int, overlap: int, multiple: int, margin: int
) -> None:
    image = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    tiling, shapes, counts = Tiling(size, overlap, multiple, margin), set(), []

    def function(tile: np.ndarray) -> np.ndarray:
        shapes.add(tile.shape)
        return tile

    out = tiling.run(function, image, counts.append)
    assert np.allclose(out, image, atol=1e-5)
    assert len(shapes) == 1  # one length for the FFT, one shape for a compiled kernel
    assert all(side % multiple == 0 for side in shapes.pop())
    assert counts == list(range(1, tiling.count(image.shape) + 1))


def test_a_filter_within_the_overlap_leaves_no_seam() -> None:
    image = np.random.default_rng(1).normal(size=(150, 170)).astype(np.float32)

    def blur(tile: np.ndarray) -> np.ndarray:
        return gaussian_filter(tile, 1.0, truncate=4)

    tiled = Tiling(48, 2 * 9).run(blur, image)
    # A tile's last pixels see its border; there the neighbour has the weight.
    assert np.abs(tiled - blur(image)).max() < 0.02 * blur(image).std()


def test_tiles_that_disagree_go_over_into_each_other_smoothly() -> None:
    """Each tile answers with a constant of its own: the result has no step larger than the blending's."""
    numbers = iter(range(100))

    def constant(tile: np.ndarray) -> np.ndarray:
        return np.full_like(tile, next(numbers) % 2)

    out = Tiling(32, 16).run(constant, np.zeros((40, 100), np.float32))
    assert np.ptp(out) == pytest.approx(1)
    assert max(np.abs(np.diff(out, axis=0)).max(), np.abs(np.diff(out, axis=1)).max()) < 1.5 * np.pi / 2 / 16
