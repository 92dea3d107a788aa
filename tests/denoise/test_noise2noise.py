"""What a network learns from noisy images alone: it never sees what it is scored on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _series import error, lattice, noisy

from splatom.data import TiltSeries
from splatom.jobs import Job, JobError, Task, perform
from splatom.methods import execute, get, run
from splatom.methods.denoise._pairs import Material, line_share, repeats_of
from splatom.methods.denoise._scale import Scale

QUICK = {"steps": 6, "patch": 32, "batch": 1}


def material(series: TiltSeries, blind: str = "pixel", radius: int = 0, side: int = 40) -> Material:
    plain = Scale(0.0, 1.0)
    return Material(series.projections, series.mask, np.arange(len(series)), plain, False, blind, radius, [], side)


def marked() -> TiltSeries:
    """Every pixel has a value of its own, so that one can see where it went."""
    series = noisy(2)
    return series.with_(projections=1 + np.arange(np.prod(series.shape), dtype=np.float32).reshape(series.shape))


# ---------------------------------------------------------------- what it is shown
@pytest.mark.parametrize("radius", [0, 1])
@pytest.mark.parametrize("held", [False, True])
def test_a_hidden_pixel_is_nowhere_near_its_place(radius: int, held: bool) -> None:
    shown, wanted, weight = material(marked(), "pixel", radius).batch(np.random.default_rng(0), 4, held)
    assert weight.sum() > 50
    for patch, truth, targets in zip(shown[:, 0], wanted[:, 0], weight[:, 0] > 0, strict=True):
        for r, c in zip(*np.nonzero(targets), strict=True):
            around = patch[max(r - radius, 0) : r + radius + 1, max(c - radius, 0) : c + radius + 1]
            assert truth[r, c] not in around


@pytest.mark.parametrize("radius", [0, 1])
def test_of_a_hidden_line_no_pixel_is_in_its_place(radius: int) -> None:
    shown, wanted, weight = material(marked(), "lines", radius).batch(np.random.default_rng(0), 4)
    assert weight.sum() > 500
    for patch, truth, targets in zip(shown[:, 0], wanted[:, 0], weight[:, 0] > 0, strict=True):
        rows = np.flatnonzero(targets.any(axis=1))
        assert 0.05 < len(rows) / len(truth) < 0.3
        for r in rows:
            assert not np.isin(truth[r], patch[r]).any()


def test_pixels_held_out_and_pixels_not_measured_are_no_targets() -> None:
    series = marked()
    mask = np.ones(series.shape, bool)
    mask[:, 30:40] = False
    subject = material(series.with_(mask=mask))
    rng = np.random.default_rng(0)
    learnt, held = (np.concatenate(subject.batch(rng, 40, h)[1:], axis=1) for h in (False, True))
    learnt, held = (set(part[:, 0][part[:, 1] > 0].astype(int).tolist()) for part in (learnt, held))
    assert learnt and held
    assert not learnt & held
    unseen = set(series.projections[~mask].astype(int).tolist())
    assert not (learnt | held) & unseen


def test_repeats_are_brought_onto_each_other() -> None:
    """A frame's target is its repeat, moved back to a fraction of a pixel."""
    from scipy.ndimage import shift

    clean = lattice(120, 110)
    moved = shift(clean, (3.4, -5.7), order=3, mode="nearest")
    series = noisy(2, angles=np.zeros(2)).with_(projections=np.stack([clean, moved]))
    noise = np.random.default_rng(0).normal(0, 0.02, series.shape).astype(np.float32)
    series = series.with_(projections=series.projections + noise)
    found, unlike = repeats_of(series, np.arange(2), lambda: None)
    assert np.allclose(found[0].shifts, [[0, 0], [3.4, -5.7]], atol=0.15)
    assert unlike > 0
    subject = Material(
        series.projections, None, np.arange(2), Scale(0.0, 1.0), False, "pixel", 0, found, 60
    )
    shown, wanted, _ = subject.batch(np.random.default_rng(1), 6)
    inner = np.s_[:, :, 8:-8, 8:-8]
    rest = (shown - wanted)[inner]
    assert rest.std() < 0.2 * shown[inner].std()
    assert not np.array_equal(shown, wanted)


# ---------------------------------------------------------------- what it decides
def test_lines_in_the_noise_are_recognised_by_their_direction() -> None:
    images = list(noisy(2, sigma=0.2, line=0.15).projections)
    rows, columns = line_share(images)
    share = 0.15**2 / (0.15**2 + 0.2**2)
    assert rows == pytest.approx(share, abs=0.1)
    assert abs(columns) < 0.03
    assert max(map(abs, line_share(list(noisy(2, sigma=0.2).projections)))) < 0.03


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (noisy(1), "pixels"),
        (noisy(1, line=0.2), "rows"),
        (noisy(2, angles=np.zeros(2)), "repeats"),
        (noisy(3, angles=np.array([0.0, 1.0, 2.0])), "pixels"),  # neighbouring tilts are no pairs
    ],
    ids=["single", "lines", "repeats", "neighbours"],
)
def test_what_to_learn_from_is_decided_from_the_data(series: TiltSeries, kind: str) -> None:
    job = Job(get("denoise", "noise2noise").params(**{**QUICK, "steps": 1}))
    out = execute("denoise", "noise2noise", series, job)
    assert job.notes["learnt_from"] == kind
    assert np.isfinite(out.projections).all()


def test_repeats_that_show_something_else_are_left_aside() -> None:
    series = noisy(2, angles=np.zeros(2), sigma=0.02)
    other = np.stack([series.projections[0], np.rot90(lattice(80, 96)) * 3])
    job = Job(get("denoise", "noise2noise").params(**{**QUICK, "steps": 1}))
    execute("denoise", "noise2noise", series.with_(projections=other), job)
    assert "specimen changed" in job.notes["repeats"]


def test_held_out_and_synthetic_tilts_are_not_learnt_from() -> None:
    with pytest.raises(JobError, match="nothing to learn from"):
        run("denoise", "noise2noise", noisy(2).with_(held_out=[True, False], synthetic=[False, True]), **QUICK)
    # However the held-out tilt looks, the others come out the same.
    series = noisy(3).with_(held_out=[False, False, True])
    one = run("denoise", "noise2noise", series, **QUICK).projections[0]
    other = series.projections.copy()
    other[2] = other[2][::-1]  # the same scale
    assert np.array_equal(run("denoise", "noise2noise", series.with_(projections=other), **QUICK).projections[0], one)


def test_no_repeats_are_told_where_they_are_asked_for() -> None:
    with pytest.raises(JobError, match="no angle was taken more than once"):
        run("denoise", "noise2noise", noisy(2), learn_from="repeats", **QUICK)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (3, 50), (20, 20)])
def test_small_and_constant_images_come_out_whole(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(5, 1, (1, *shape)).astype(np.float32)
    out = run("denoise", "noise2noise", noisy(1).with_(projections=image), **QUICK).projections
    assert out.shape == image.shape
    assert out.mean() == pytest.approx(image.mean(), rel=1e-4)


# ---------------------------------------------------------------- how it runs
def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    series = noisy(2)
    first, again, other = (run("denoise", "noise2noise", series, seed=s, **QUICK).projections for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_stop_keeps_what_was_learnt_and_applies_it_to_all_tilts() -> None:
    series = noisy(2)
    job = Job(get("denoise", "noise2noise").params(**{**QUICK, "steps": 10_000}), stop_at=7)
    out = execute("denoise", "noise2noise", series, job)
    assert job.stopped_at == 7
    assert job.notes["steps_done"] == 7
    assert all(not np.array_equal(a, b) for a, b in zip(out.projections, series.projections, strict=True))
    again = Job(get("denoise", "noise2noise").params(**{**QUICK, "steps": 10_000}), stop_at=7)
    assert np.array_equal(execute("denoise", "noise2noise", series, again).projections, out.projections)


def test_the_end_of_the_time_ends_it_after_a_validation() -> None:
    job = Job(get("denoise", "noise2noise").params(**{**QUICK, "steps": 10_000}, minutes=1e-6))
    execute("denoise", "noise2noise", noisy(1), job)
    assert job.notes["steps_done"] == 50
    assert "minutes" in job.notes["ended"]
    assert job.notes["validation_rmse"] > 0
    assert job.curves["validation_rmse"][0][0] == 50


def test_a_run_that_goes_on_from_a_checkpoint_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    series, params = noisy(1), get("denoise", "noise2noise").params(**{**QUICK, "steps": 8})
    words = {"checkpoint": str(tmp_path), "checkpoint_every": 0.0}
    first = Task("denoise", "noise2noise", params, series, stop_at=5, **words)
    assert perform(first, first.job()).status == "stopped"
    second = Task("denoise", "noise2noise", params, series, resume=True, **words)
    outcome = perform(second, second.job())
    assert outcome.error is None
    assert np.array_equal(outcome.result.projections, run("denoise", "noise2noise", series, **params.model_dump(
        exclude={"method"})).projections)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("series", "share"),
    [
        (noisy(1, sigma=0.2), 0.4),
        (noisy(4, sigma=0.1, line=0.2), 0.5),  # so many lines that their offsets are not learnt by heart
        (noisy(2, sigma=0.2, angles=np.zeros(2)), 0.4),
    ],
    ids=["pixels", "lines", "repeats"],
)
def test_noise_goes_without_any_clean_image(series: TiltSeries, share: float) -> None:
    out = run("denoise", "noise2noise", series, steps=300, minutes=60)
    assert error(out) < share * error(series)


@pytest.mark.parametrize("contrast", ["adf", "bf", "phase"])
def test_a_shipped_network_may_be_the_start(contrast: str) -> None:
    series = noisy(1).with_(contrast=contrast)
    job = Job(get("denoise", "noise2noise").params(start="shipped", **{**QUICK, "steps": 1}))
    out = execute("denoise", "noise2noise", series, job)
    assert ("scgn" if contrast == "phase" else "sfin") in job.notes["network"]
    assert np.isfinite(out.projections).all()
    assert out.projections.mean() == pytest.approx(series.projections.mean(), rel=1e-4)
