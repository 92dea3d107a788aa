"""The value types check what they are given and never change."""

from __future__ import annotations

import numpy as np
import pytest

from splatom.data import Atoms, GaussianCloud, MethodParams, Provenance, Step, TiltSeries, Volume, live_fields
from splatom.geometry import ViewGeometry


def series(n: int = 5, **more) -> TiltSeries:
    angles = np.linspace(-60, 60, n)
    return TiltSeries(np.ones((n, 4, 6), np.float32), ViewGeometry.single_axis(angles), 0.5, **more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projections": np.ones((4, 4, 6))}, "4 projections but 5 tilt angles"),
        ({"projections": np.full((5, 4, 6), np.nan)}, "120 values that are not finite"),
        ({"projections": np.ones((5, 4, 6), complex)}, "complex"),
        ({"projections": np.ones((5, 0, 6))}, "empty"),
        ({"pixel_size": -1.0}, "positive"),
        ({"weights": np.ones(3)}, "weights has shape"),
        ({"weights": -np.ones(5)}, "negative"),
    ],
)
def test_a_series_says_what_is_wrong_with_it(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        series().with_(**change)


def test_a_series_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        series().projections[0] = 0


def test_a_part_of_a_series_keeps_its_order_and_flags() -> None:
    part = series(synthetic=np.array([0, 1, 0, 1, 0], bool))[[3, 1]]
    assert part.order.tolist() == [3, 1]
    assert part.synthetic.all()
    assert part.sorted().order.tolist() == [1, 3]


def test_all_repeats_of_an_angle_are_held_out_together_and_never_the_ends() -> None:
    angles = np.repeat(np.linspace(-60, 60, 11), 3)
    repeated = TiltSeries(np.ones((33, 2, 2), np.float32), ViewGeometry.single_axis(angles))
    for seed in range(5):
        held = repeated.holding_out(0.3, seed).held_out.reshape(11, 3)
        assert (held.all(1) == held.any(1)).all()
        assert held.all(1).sum() == 3
        assert not held[0].any()
        assert not held[-1].any()


def test_synthetic_tilts_are_never_held_out() -> None:
    held = series(9, synthetic=np.arange(9) % 2 == 1).holding_out(0.5).held_out
    assert held.any()
    assert not held[1::2].any()


def test_atoms_survive_ase() -> None:
    rng = np.random.default_rng(0)
    atoms = Atoms(rng.normal(size=(4, 3)), np.array(["Au", "Pt", "Au", "Co"]), rng.random((4, 3)), rng.random(4))
    back = Atoms.from_ase(atoms.to_ase())
    np.testing.assert_allclose(back.positions_zyx, atoms.positions_zyx)
    np.testing.assert_allclose(back.sigma_zyx, atoms.sigma_zyx)
    np.testing.assert_allclose(back.amplitude, atoms.amplitude)
    assert back.species.tolist() == atoms.species.tolist()


def test_denza_is_mass_over_the_gaussian_volume() -> None:
    cloud = GaussianCloud(np.zeros((1, 3)), np.full((1, 3), 2.0), np.array([5.0]))
    assert cloud.denza[0] == pytest.approx(5 / ((2 * np.pi) ** 1.5 * 8))


def test_provenance_survives_json() -> None:
    step = Step("reconstruct", "sirt", {"iterations": 3}, ((2, {"change": {"iterations": 4}}),), {}, 1, 3)
    made = Provenance("a.mrc", (step,), {"angles": "a.tlt"}, "1")
    assert Provenance.from_dict(made.to_dict()) == made


def test_a_volume_needs_three_axes() -> None:
    with pytest.raises(ValueError, match="expected"):
        Volume(np.zeros((3, 3)))


def test_params_take_no_unknown_field_and_no_infinity() -> None:
    from splatom.methods import get

    sirt = get("reconstruct", "sirt").params
    assert issubclass(sirt, MethodParams)
    assert "iterations" in live_fields(sirt)
    assert "momentum" not in live_fields(sirt)
    for bad in ({"iteration": 3}, {"relaxation": float("inf")}):
        with pytest.raises(ValueError):
            sirt(**bad)
