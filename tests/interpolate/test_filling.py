"""Which tilts come in, what becomes of the measured ones, and what is refused: the same for every interpolation."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from _balls import balls, noise, rms

from splatom.cli import main
from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.io import read
from splatom.jobs import Job, Stopped, Task, perform
from splatom.methods import execute, find, get, run

CLASSICAL = ["linear", "sinogram"]


def filled(name: str, series: TiltSeries, **params: object) -> TiltSeries:
    quick = {} if name == "linear" else {"passes": 40}
    return run("interpolate", name, series, device="cpu", **{**quick, **params})


def test_the_methods_of_the_contract_are_there() -> None:
    assert {n for g, n in find() if g == "interpolate"} >= {"linear", "sinogram", "tsgnet"}


# ---------------------------------------------------------------- which tilts
@pytest.mark.parametrize("step", [0.7, 1.0, 2.0, 3.0, 5.0, 40.0])
def test_a_gap_gets_as_many_tilts_as_the_step_asks_for_at_equal_distances(step: float) -> None:
    angles = np.array([-31.0, -30.0, -26.0, -20.0, 0.0, 2.1])
    out = filled("linear", noise(angles), step=step)
    for a, b in pairwise(angles.tolist()):
        inside = out.angles[(out.angles > a + 1e-6) & (out.angles < b - 1e-6)]
        assert len(inside) == int(np.ceil((b - a) / step - 1e-6)) - 1
        assert np.diff([a, *inside, b]) == pytest.approx((b - a) / (len(inside) + 1))
    assert (out.angles.min(), out.angles.max()) == (angles.min(), angles.max())


def test_without_a_step_every_regular_gap_is_halved_and_a_hole_is_filled() -> None:
    out = filled("linear", noise([-10.0, -6.0, -2.1, 2.0, 18.0]))
    new = out.angles[out.synthetic]
    assert new == pytest.approx([-8, -4.05, -0.05, *(2 + 16 * np.arange(1, 8) / 8)])


def test_angles_are_put_in_besides_or_instead_of_a_step() -> None:
    series = noise([0.0, 10.0, 20.0])
    out = filled("linear", series, angles=(3, 10, 17.5))
    assert out.angles[out.synthetic] == pytest.approx([3, 17.5])  # 10 degrees are there
    both = filled("linear", series, step=5, angles=(3, 5))
    assert both.angles[both.synthetic] == pytest.approx([3, 5, 15])


@pytest.mark.parametrize("name", CLASSICAL)
def test_nothing_comes_outside_the_measured_range_unless_asked(name: str) -> None:
    series = balls(np.arange(-40, 41, 20.0))
    with pytest.raises(ValueError, match="outside the measured range"):
        filled(name, series, angles=(10, 44))
    out = filled(name, series, angles=(10, 44), extrapolate=True)
    assert out.angles[-1] == pytest.approx(44)
    assert out.synthetic[-1]


# ---------------------------------------------------------------- what stays
@pytest.mark.parametrize("name", CLASSICAL)
def test_measured_tilts_stay_bit_for_bit_sorted_with_all_that_was_known_of_them(name: str) -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(9)  # as acquired: anything but sorted
    angles = np.linspace(-40, 40, 9)[order]
    series = balls(angles).with_(
        weights=rng.uniform(0.5, 2, 9).astype(np.float32), exposure=rng.uniform(1, 2, 9).astype(np.float32)
    )
    out = filled(name, series, step=5)
    kept = out[~out.synthetic]
    back = np.argsort(angles)
    assert (np.diff(out.angles) > 0).all()
    assert kept.projections.tobytes() == series.projections[back].tobytes()
    assert np.array_equal(kept.order, back)
    assert np.array_equal(kept.weights, series.weights[back])
    assert np.array_equal(kept.exposure, series.exposure[back])
    assert np.array_equal(kept.geometry.rotations, series.geometry.rotations[back])
    new = out[out.synthetic]
    assert len(new) == 8
    assert (new.exposure == 0).all()
    assert (new.order > 8).all()
    assert out.provenance.steps[-1].method == name


def test_new_tilts_weigh_a_share_of_their_neighbours() -> None:
    series = noise([0.0, 10.0, 20.0]).with_(weights=np.array([1.0, 2.0, 4.0], np.float32))
    assert filled("linear", series).weights == pytest.approx([1, 0.45, 2, 0.9, 4])
    assert filled("linear", series, weight=1.0).weights == pytest.approx([1, 1.5, 2, 3, 4])


def test_all_repeats_stay_and_all_of_them_predict() -> None:
    series = noise([0.0, 10.0, 0.0, 10.0, 10.0])
    out = filled("linear", series, step=5)
    assert out.angles == pytest.approx([0, 0, 5, 10, 10, 10])
    a, b = series.projections[[0, 2]].mean(0), series.projections[[1, 3, 4]].mean(0)
    assert out.projections[2] == pytest.approx((a + b) / 2, abs=1e-5)


def test_nothing_is_learnt_from_held_out_synthetic_or_weightless_tilts() -> None:
    angles = np.arange(0, 61, 10.0)
    series = noise(angles)
    flags = {"held_out": angles == 10, "synthetic": angles == 30, "weights": np.where(angles == 50, 0, 1)}
    out = filled("linear", series.with_(**flags), angles=(12.0, 32.0, 52.0))
    at = {a: series.projections[int(a // 10)] for a in angles}
    for angle, low, high in ((12, 0, 20), (32, 20, 40), (52, 40, 60)):
        t = (angle - low) / 20
        got = out.projections[np.abs(out.angles - angle).argmin()]
        assert got == pytest.approx((1 - t) * at[low] + t * at[high], abs=1e-5)
    assert len(out) == 10


def test_filling_again_adds_only_what_is_missing() -> None:
    series = noise([0.0, 10.0, 20.0])
    once = filled("linear", series, step=5)
    twice = filled("linear", once, step=2.5)
    assert np.array_equal(filled("linear", once, step=5).projections, once.projections)
    assert twice.angles == pytest.approx(np.arange(0, 20.1, 2.5))
    assert (~twice.synthetic).sum() == 3


# ---------------------------------------------------------------- where the specimen is
def test_linear_is_the_mean_by_nearness() -> None:
    series = noise([0.0, 10.0])
    out = filled("linear", series, angles=(2.5,))
    a, b = series.projections
    assert out.projections[1] == pytest.approx(0.75 * a + 0.25 * b, abs=1e-5)


def test_known_shifts_are_made_good_before_tilts_are_mixed() -> None:
    shifts = np.array([[-2.0, 1.0], [3.0, -1.0]])
    geometry = ViewGeometry.single_axis([-0.01, 0.01], shifts=shifts)  # hardly tilted: the same image but for the shift
    out = filled("linear", balls(geometry), angles=(0.0,))
    assert out.geometry.shifts[1] == pytest.approx([0.5, 0.0])
    truth = balls(ViewGeometry.single_axis([0.0], shifts=[[0.5, 0.0]])).projections[0]
    inner = np.s_[3:-3, 5:-5]
    contrast = truth[inner].std()
    assert rms(out.projections[1][inner], truth[inner]) < 0.06 * contrast
    plain = balls(geometry).projections.mean(axis=0)
    assert rms(plain[inner], truth[inner]) > 0.3 * contrast
    assert out.mask is not None
    assert not out.mask[1].all()
    assert out.mask[[0, 2]].all()


def test_euler_triples_are_interpolated_as_rotations() -> None:
    from scipy.spatial.transform import Rotation, Slerp

    euler = np.array([[20.0, -30.0, 5.0], [28.0, -18.0, 3.0], [33.0, -8.0, 4.0]])
    series = noise([0.0, 1.0, 2.0]).with_(geometry=ViewGeometry.from_euler(euler))
    out = filled("linear", series, step=7)
    assert out.synthetic.tolist() == [False, True, False, True, False]
    views = Rotation.from_matrix(series.geometry.rotations)
    halfway = Slerp([0, 1, 2], views)([0.5, 1.5]).as_matrix()
    assert out.geometry.rotations[[1, 3]] == pytest.approx(halfway, abs=1e-9)


def test_a_turn_in_the_image_plane_is_made_good() -> None:
    geometry = ViewGeometry.from_euler([[0.0, -0.01, 0.0], [12.0, 0.01, 0.0]])  # turned by 12 degrees, hardly tilted
    out = filled("linear", balls(geometry), angles=(0.0,))
    truth = balls(ViewGeometry(out.geometry.rotations[[1]])).projections[0]
    inner = np.s_[3:-3, 6:-6]
    assert rms(out.projections[1][inner], truth[inner]) < 0.5 * rms(
        balls(geometry).projections.mean(axis=0)[inner], truth[inner]
    )


def test_what_one_neighbour_did_not_see_is_taken_from_the_other() -> None:
    series = noise([0.0, 10.0])
    mask = np.ones(series.shape, bool)
    mask[0, :, :4] = mask[:, 0] = False
    spoiled = series.with_(projections=np.where(mask, series.projections, 1e6).astype(np.float32), mask=mask)
    out = filled("linear", spoiled, step=5)
    assert out.projections[1][1:, :4] == pytest.approx(series.projections[1][1:, :4])
    assert np.abs(out.projections[1]).max() < 20
    assert np.array_equal(out.mask[1], mask[1])


# ---------------------------------------------------------------- refused, or told
@pytest.mark.parametrize("angles", [[5.0], [5.0, 5.0, 5.0004]])
@pytest.mark.parametrize("name", ["linear", "sinogram"])
def test_fewer_than_two_different_angles_are_refused(name: str, angles: list, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "in.npz", projections=np.ones((len(angles), 9, 9)), angles=np.array(angles), pixel_size=1.0)
    status = main(["interpolate", name, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")])
    err = capsys.readouterr().err
    assert status == 1
    assert err.splitlines()[-1].startswith("splatom: error: two different tilt angles are needed")
    assert "Traceback" not in err
    assert not (tmp_path / "out.npz").exists()


def test_tilts_about_two_axes_are_refused() -> None:
    euler = np.array([[0.0, t, 0.0] for t in (-20, 0, 20)] + [[90.0, t, 0.0] for t in (-19, 1, 21)])
    series = noise(np.zeros(6)).with_(geometry=ViewGeometry.from_euler(euler))
    with pytest.raises(ValueError, match="several axes"):
        filled("linear", series, step=5)


def test_wildly_misaligned_neighbours_are_told_and_aligned_ones_are_not() -> None:
    angles = np.arange(-40, 41, 5.0)
    for jitter, told in ((0.0, False), (0.5, False), (5.0, True)):
        job = Job(get("interpolate", "linear").params())
        execute("interpolate", "linear", balls(angles, jitter=jitter, seed=3), job)
        assert ("misaligned" in job.notes) is told, jitter
    assert "align the series first" in job.notes["misaligned"]


def test_nothing_to_fill_is_told_and_gives_the_series_sorted() -> None:
    series = noise([10.0, 0.0, 20.0])
    job = Job(get("interpolate", "linear").params(step=30))
    out = execute("interpolate", "linear", series, job)
    assert out.angles == pytest.approx([0, 10, 20])
    assert "nothing_new" in job.notes


# ---------------------------------------------------------------- a stop
def test_a_stop_keeps_the_tilts_made_and_a_checkpoint_goes_on(tmp_path: Path) -> None:
    series = noise(np.arange(0, 50, 10.0))
    job = Job(get("interpolate", "linear").params(), stop_at=2)
    out = execute("interpolate", "linear", series, job)
    assert out.angles == pytest.approx([0, 5, 10, 15, 20, 30, 40])
    assert "2 of 4" in job.notes["stopped"]
    params = get("interpolate", "linear").params()
    words = {"checkpoint": str(tmp_path), "checkpoint_every": 0.0}
    first = Task("interpolate", "linear", params, series, stop_at=2, **words)
    assert perform(first, first.job()).status == "stopped"
    second = Task("interpolate", "linear", params, series, resume=True, **words)
    outcome = perform(second, second.job())
    assert np.array_equal(outcome.result.projections, filled("linear", series).projections)


def test_a_stop_before_the_first_tilt_keeps_nothing() -> None:
    job = Job(get("interpolate", "sinogram").params(passes=4), stop_at=2)
    with pytest.raises(Stopped):
        execute("interpolate", "sinogram", balls(np.arange(-40, 41, 20.0)), job)


# ---------------------------------------------------------------- as a command
def test_the_command_writes_synthetic_tilts_and_takes_angles_with_a_minus(tmp_path: Path, capsys) -> None:
    source, target, report = (tmp_path / n for n in ("in.npz", "out.npz", "r.json"))
    series = noise([20.0, -20.0, 0.0])
    counts = (1000 * series.projections).astype(np.int16)
    np.savez(source, projections=counts, angles=series.angles, pixel_size=0.5)
    words = ["--angles", "-10,-5", "--report", str(report), "--check"]
    assert main(["interpolate", "linear", str(source), str(target), *words]) == 0, capsys.readouterr().err
    with np.load(target) as answer:
        assert answer["angles"] == pytest.approx([-20, -10, -5, 0, 20])
        assert answer["synthetic"].tolist() == [False, True, True, False, False]
        assert np.array_equal(answer["projections"][[0, 3, 4]], counts[[1, 2, 0]].astype(np.float32))
    assert read(target).weights == pytest.approx([1, 0.3, 0.3, 1, 1])
    told = json.loads(report.read_text())
    assert told["decisions"]["new_tilts"] == 2
    assert told["check"]["n_tilts"] == 1
