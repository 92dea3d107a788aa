"""The mix of predictions with the least error on held-out tilts."""

from __future__ import annotations

import numpy as np
import pytest
from _balls import balls, rms

from splatom.methods import run
from splatom.methods.interpolate._trust import least_mix


def test_errors_that_have_nothing_in_common_are_mixed_by_their_inverse_variances() -> None:
    error, mix = least_mix(np.diag([1.0, 2.0, 4.0]))
    assert mix == pytest.approx(np.array([4, 2, 1]) / 7)
    assert error == pytest.approx(4 / 7)


def test_what_only_makes_errors_worse_gets_nothing() -> None:
    error, mix = least_mix(np.array([[4.0, 1.0, 5.0], [1.0, 1.0, 1.0], [5.0, 1.0, 9.0]]))
    assert mix == pytest.approx((0, 1, 0))
    assert error == pytest.approx(1)


def test_no_mix_on_a_fine_grid_is_better() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        errors = rng.normal(size=(3, 5)) + 0.7 * rng.normal(size=5)
        products = errors @ errors.T
        error, mix = least_mix(products)
        assert sum(mix) == pytest.approx(1)
        assert min(mix) >= 0
        grid = np.array([(a, b, 1 - a - b) for a in np.linspace(0, 1, 51) for b in np.linspace(0, 1 - a, 51)])
        assert error <= np.einsum("ni,ij,nj->n", grid, products, grid).min() + 1e-9


def test_alike_predictions_do_no_harm() -> None:
    error, mix = least_mix(np.full((3, 3), 2.0))
    assert error == pytest.approx(2)
    assert sum(mix) == pytest.approx(1)


def test_narrow_gaps_are_left_to_linear() -> None:
    """Predicted across twice the gap, a smooth ball is better reprojected; across the gap itself linear is better."""
    fine = np.arange(-60, 61, 1.0)
    series = balls(fine)
    sparse, asked = series[::2], tuple(fine[1::2].tolist())
    found = {
        name: run("interpolate", name, sparse, angles=asked, **more).projections[1::2]
        for name, more in (("linear", {}), ("sinogram", {"passes": 60}))
    }
    truth = series.projections[1::2]
    assert rms(found["sinogram"], truth) < 1.02 * rms(found["linear"], truth)
