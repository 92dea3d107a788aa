"""Cells: membranes stay closed on any grid, and hold the same matter on all of them."""

import numpy as np
import pytest
from scipy.ndimage import label

from splatom.simulate.cells import Canvas, _mitochondrion, _vesicle, cell, cell_density

GRIDS = [((64, 64, 64), (4.0, 4.0, 4.0)), ((32, 32, 32), (8.0, 8.0, 8.0)), ((22, 64, 52), (12.0, 4.0, 5.0))]


def painted(draw, grid, radius, seed):
    canvas = Canvas(*grid)
    draw(canvas, np.zeros(3), radius, np.random.default_rng(seed))
    return canvas.density


@pytest.mark.parametrize("grid", GRIDS, ids=["fine", "coarse", "not cubic"])
def test_a_vesicle_s_membrane_is_closed(grid):
    for seed in range(4):
        density = painted(_vesicle, grid, 70.0, seed)
        middle = tuple(n // 2 for n in density.shape)
        membrane = density > density[middle] + 0.05
        spaces = label(~membrane)[0]
        assert not membrane[middle] and spaces[middle] != spaces[0, 0, 0]


@pytest.mark.parametrize("grid", GRIDS[:1])
def test_a_mitochondrion_has_two_membranes_and_cristae_inside(grid):
    for seed in range(4):
        density = painted(_mitochondrion, grid, 100.0, seed)
        spaces, count = label(density < 0.55)
        sizes = np.sort(np.bincount(spaces.ravel())[1:])[::-1]
        # Outside, between the membranes, the matrix, and the sacs.
        assert count >= 4 and sizes[2] > 100
        ring = density.sum(axis=0)
        assert ring[:, 0].max() == 0 and density.max() > 0.95


def test_the_same_cell_has_the_same_matter_on_every_grid():
    parts = {"cytoplasm": False, "filaments": 0}
    masses = [cell_density(shape, voxel, 4, **parts).sum() * np.prod(voxel) for shape, voxel in GRIDS[:2]]
    assert masses[1] == pytest.approx(masses[0], rel=0.02)
    anisotropic = cell_density((32, 64, 16), (8.0, 4.0, 16.0), 4, **parts).sum() * 8 * 4 * 16
    assert anisotropic == pytest.approx(masses[0], rel=0.05)


def test_a_thin_membrane_on_coarse_voxels_dims_but_does_not_tear():
    fine, coarse = (painted(_vesicle, ((n, n, n), (v,) * 3), 90.0, 1) for n, v in ((80, 3.0), (20, 12.0)))
    assert fine.max() == pytest.approx(1, abs=0.02)
    assert 0.3 < coarse.max() < 0.75
    assert coarse.sum() * 12**3 == pytest.approx(fine.sum() * 3**3, rel=0.02)


def test_a_cell_is_a_volume_that_comes_again_by_its_seed():
    one, same, other = (cell((48, 40, 32), 8.0, seed) for seed in (3, 3, 4))
    assert one.shape == (48, 40, 32) and one.voxel_size == 8.0
    np.testing.assert_array_equal(one.data, same.data)
    assert (one.data != other.data).any()
    assert one.data.min() >= 0 and one.data.max() <= 8.0 * 1.001


def test_organelles_lie_in_the_cell():
    for seed in range(6):
        parts = {"vesicles": 0, "filaments": 0, "granules": 0}
        bare = cell_density((64, 64, 64), (8.0, 8.0, 8.0), seed, mitochondria=0, **parts)
        whole = cell_density((64, 64, 64), (8.0, 8.0, 8.0), seed, mitochondria=3, **parts)
        assert (whole != bare).any()
        assert not (whole != bare)[bare == 0].any()
