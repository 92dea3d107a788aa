"""Signs and centres: the conventions that every room keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatom.geometry import ViewGeometry

ANGLE = st.floats(-89, 89, allow_nan=False)


def test_a_tilt_moves_a_point_by_x_cos_minus_z_sin() -> None:
    theta = np.deg2rad([-50.0, 0.0, 30.0])
    z, y, x = 3.0, 2.0, 5.0
    seen = ViewGeometry.single_axis(np.rad2deg(theta)).project([[z, y, x]], 0.5, (11, 21))[:, 0]
    np.testing.assert_allclose(seen[:, 0], (x * np.cos(theta) - z * np.sin(theta)) / 0.5 + 10)
    np.testing.assert_allclose(seen[:, 1], y / 0.5 + 5)


def test_euler_angles_project_by_the_transposed_matrix() -> None:
    phi, theta, psi = np.deg2rad([20.0, -35.0, 12.0])
    c, s = np.cos, np.sin
    rz = np.array([[c(phi), -s(phi), 0], [s(phi), c(phi), 0], [0, 0, 1]])
    ry = np.array([[c(theta), 0, s(theta)], [0, 1, 0], [-s(theta), 0, c(theta)]])
    rx = np.array([[1, 0, 0], [0, c(psi), -s(psi)], [0, s(psi), c(psi)]])
    point = np.array([1.0, -2.0, 4.0])
    expected = ((rz @ ry @ rx).T @ point)[:2]
    geometry = ViewGeometry.from_euler(np.rad2deg([[phi, theta, psi]]))
    np.testing.assert_allclose(geometry.project(point[None, ::-1], 1.0, (1, 1))[0, 0], expected, atol=1e-12)


def test_theta_alone_is_a_single_axis_tilt() -> None:
    angles = np.array([-60.0, 0.0, 45.0])
    euler = np.stack([np.zeros(3), angles, np.zeros(3)], axis=1)
    np.testing.assert_allclose(
        ViewGeometry.from_euler(euler).rotations, ViewGeometry.single_axis(angles).rotations, atol=1e-12
    )


@given(st.lists(st.tuples(ANGLE, ANGLE, ANGLE), min_size=1, max_size=5))
def test_euler_angles_survive_the_matrix(triples: list[tuple[float, float, float]]) -> None:
    np.testing.assert_allclose(ViewGeometry.from_euler(triples).euler_degrees, triples, atol=1e-6)


@given(st.lists(ANGLE, min_size=2, max_size=6, unique=True), st.floats(-80, 80))
def test_angles_and_axis_survive_the_matrix(angles: list[float], axis: float) -> None:
    if np.ptp(angles) < 1:
        return
    geometry = ViewGeometry.single_axis(angles, axis_degrees=axis)
    assert geometry.axis_degrees == pytest.approx(axis, abs=1e-4)
    np.testing.assert_allclose(geometry.tilt_degrees, angles, atol=1e-4)


def test_turning_the_images_turns_the_axis_and_the_shifts() -> None:
    shifts = np.array([[3.0, 1.0], [0.0, -2.0]])
    geometry = ViewGeometry.single_axis([-40, 40], axis_degrees=-20, shifts=shifts).turned(20)
    assert geometry.is_single_axis or geometry.axis_degrees == pytest.approx(0, abs=1e-9)
    # A turned image of a point is the point turned, seen in the turned geometry.
    point, turn = np.array([[2.0, 3.0, 4.0]]), np.deg2rad(20)
    before = ViewGeometry.single_axis([-40, 40], axis_degrees=-20, shifts=shifts).project(point, 1.0, (1, 1))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = point.copy()
    turned[:, [2, 1]] = point[:, [2, 1]] @ matrix.T
    np.testing.assert_allclose(geometry.project(turned, 1.0, (1, 1)), before @ matrix.T, atol=1e-9)


def test_a_reflection_is_no_rotation() -> None:
    with pytest.raises(ValueError, match="proper rotation"):
        ViewGeometry(np.diag([1.0, 1.0, -1.0])[None])


def test_a_geometry_cannot_be_changed() -> None:
    geometry = ViewGeometry.single_axis([0, 1])
    with pytest.raises(ValueError, match="read-only"):
        geometry.shifts[0] = 1
