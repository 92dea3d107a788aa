"""The projector sums along rays, its adjoint is exact, and all backends agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatom.geometry import ViewGeometry
from splatom.operators import VoxelProjector

RNG = np.random.default_rng(7)

GEOMETRIES = {
    "single axis": ViewGeometry.single_axis(np.linspace(-70, 70, 11)),
    "axis-parallel and 45°": ViewGeometry.single_axis([-90, -45, 0, 45, 90, 180]),
    "shifted": ViewGeometry.single_axis(np.linspace(-60, 60, 7), shifts=RNG.normal(0, 2, (7, 2))),
    "shifted by whole pixels": ViewGeometry.single_axis([-30, 0, 30], shifts=[[1, 2], [-3, 0], [0, -1]]),
    "tilted axis": ViewGeometry.single_axis(np.linspace(-60, 60, 7), axis_degrees=-4.3),
    "horizontal axis": ViewGeometry.single_axis([-50, 0, 50], axis_degrees=90),
    "Euler angles": ViewGeometry.from_euler(RNG.uniform(-80, 80, (6, 3)), shifts=RNG.normal(0, 1, (6, 2))),
}
SHAPES = [((20, 16, 20), (16, 20)), ((9, 17, 24), (14, 21))]


@pytest.fixture(params=GEOMETRIES, scope="module")
def geometry(request: pytest.FixtureRequest) -> ViewGeometry:
    return GEOMETRIES[request.param]


@pytest.mark.parametrize("shapes", SHAPES, ids=["cubic", "odd"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_adjoint_is_exact(geometry, shapes, backend, dtype) -> None:
    a = VoxelProjector(geometry, *shapes, backend=backend)
    x = torch.from_numpy(RNG.random(a.domain_shape)).to(dtype)
    y = torch.from_numpy(RNG.random(a.range_shape)).to(dtype)
    left, right = (a(x).double() * y).sum(), (x * a.T(y).double()).sum()
    assert abs(left - right) <= (1e-5 if dtype is torch.float32 else 1e-12) * abs(left)


@pytest.mark.parametrize("shapes", SHAPES, ids=["cubic", "odd"])
def test_the_cpu_kernels_sum_the_same_numbers_as_the_reference(geometry, shapes) -> None:
    fast, plain = (VoxelProjector(geometry, *shapes, backend=b) for b in ("cpu", "reference"))
    x = torch.from_numpy(RNG.random(fast.domain_shape))
    y = torch.from_numpy(RNG.random(fast.range_shape))
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fast.T(y), plain.T(y), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fast(x.float()).double(), plain(x), rtol=1e-4, atol=1e-4)


def test_the_gradient_is_the_derivative(geometry) -> None:
    a = VoxelProjector(geometry, (5, 4, 6), (4, 6), backend="cpu")
    x = torch.from_numpy(RNG.random(a.domain_shape)).requires_grad_()
    assert torch.autograd.gradcheck(a, (x,), fast_mode=True)


def test_a_volume_of_ones_projects_to_its_thickness() -> None:
    a = VoxelProjector(ViewGeometry.single_axis([0, 60]), (10, 8, 64), (8, 16))
    p = a(torch.ones(a.domain_shape))
    torch.testing.assert_close(p[0], torch.full((8, 16), 10.0))
    torch.testing.assert_close(p[1], torch.full((8, 16), 20.0), rtol=0.06, atol=0)  # a slab: 1/cos 60°


def test_a_point_lands_where_the_geometry_says(geometry) -> None:
    shape, detector = (31, 31, 31), (41, 41)
    point = np.array([5, -4, 7])  # z, y, x in voxels from the centre
    x = torch.zeros(shape, dtype=torch.float64)
    x[tuple(point + 15)] = 1
    images = VoxelProjector(geometry, shape, detector)(x).numpy()
    rows, columns = np.mgrid[: detector[0], : detector[1]]
    for image, (column, row) in zip(images, geometry.project(point[None], 1.0, detector)[:, 0], strict=True):
        assert image.sum() > 0.2
        assert (image * columns).sum() / image.sum() == pytest.approx(column, abs=0.51)
        assert (image * rows).sum() / image.sum() == pytest.approx(row, abs=0.51)


def test_what_a_tick_raises_ends_the_pass(geometry) -> None:
    class Enough(Exception):
        pass

    def tick() -> None:
        raise Enough

    a = VoxelProjector(geometry, *SHAPES[0])
    with pytest.raises(Enough):
        a.forward(torch.zeros(a.domain_shape), tick)
    with pytest.raises(Enough):
        a.adjoint(torch.zeros(a.range_shape), tick)


def test_a_wrong_shape_is_refused() -> None:
    a = VoxelProjector(ViewGeometry.single_axis([0]), (4, 4, 4), (4, 4))
    with pytest.raises(ValueError, match="takes"):
        a.forward(torch.zeros(4, 4, 5))
