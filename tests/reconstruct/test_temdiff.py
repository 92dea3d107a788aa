"""TEMDiff: the pull of the data, patches, alignment, spread; a run with its stops, checkpoints, files and faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from splatom.data import TiltSeries, Volume
from splatom.evaluate import psnr
from splatom.geometry import ViewGeometry
from splatom.io import read
from splatom.jobs import Job, JobError
from splatom.jobs.checkpoint import CheckpointStore
from splatom.methods import execute, get
from splatom.methods.reconstruct._problem import Box, Problem, make_problem
from splatom.methods.reconstruct._temdiff_align import realigned
from splatom.methods.reconstruct._temdiff_data import Evidence, pulled, scattered, undecided
from splatom.methods.reconstruct._temdiff_patches import count, in_patches
from splatom.methods.reconstruct._temdiff_prior import schedule
from splatom.methods.reconstruct._temdiff_trust import SMOOTHINGS, best_smoothing, trust
from splatom.methods.reconstruct._temdiff_walk import classical
from splatom.simulate import nanoparticle_on_support, tilt_series
from splatom.weights import Card, build, save

SIZE = 24
QUICK = {"specimen": "isolated", "steps": 3, "samples": 2, "safeguard": False, "align": "off"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights as drawn at random: such a network gives a blend of what it is shown."""
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    torch.manual_seed(0)
    net = build("temdiff", "small-materials")
    with torch.no_grad():  # the last layer begins at zero, and then the network's inside would not matter
        net.tail.weight.normal_(0, 0.02)
    save(path, net, Card("temdiff", "small-materials"))
    return path


@pytest.fixture(scope="module")
def truth() -> Volume:
    return nanoparticle_on_support((SIZE, SIZE, SIZE), 0.5, seed=3)


@pytest.fixture(scope="module")
def series(truth) -> TiltSeries:
    return tilt_series(truth, np.arange(-20, 21, 4.0), dose=400, seed=5)


def job_of(weights: Path, **params) -> Job:
    return Job(get("reconstruct", "temdiff").params(**{**QUICK, "weights": weights, **params}))


def run(series: TiltSeries, weights: Path, **params) -> tuple[Volume, Job]:
    job = job_of(weights, **params)
    return execute("reconstruct", "temdiff", series, job), job


def problem_of(series: TiltSeries, non_negative: bool = False) -> Problem:
    _, rows, columns = series.shape
    shape = (columns, rows, columns)
    return make_problem(series, Box(shape, shape), non_negative, Job(get("reconstruct", "temdiff").params()))


# ------------------------------------------------------------------------------------------------ the data's pull
def test_the_pull_solves_the_stated_normal_equations() -> None:
    rng = np.random.default_rng(0)
    shape, angles = (6, 3, 6), np.array([-30.0, 0.0, 20.0])
    images = rng.random((3, 3, 6)).astype(np.float32)
    problem = problem_of(TiltSeries(images, ViewGeometry.single_axis(angles)))
    columns = [problem.forward(torch.eye(108)[k].reshape(shape)).flatten() for k in range(108)]
    a = torch.stack(columns, dim=1).double()
    w, x0 = torch.from_numpy(rng.uniform(0.2, 2, (3, 3, 6))), torch.from_numpy(rng.random(shape))
    y = torch.from_numpy(images).double().flatten()
    left = a.T @ (w.flatten()[:, None] * a) + 0.3 * torch.eye(108, dtype=torch.float64)
    exact = torch.linalg.solve(left, a.T @ (w.flatten() * y) + 0.3 * x0.flatten())
    found, rest = pulled(problem, problem.data, w.float(), x0.float(), 0.3, 60)
    torch.testing.assert_close(found.flatten().double(), exact, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rest, problem.data - problem.forward(found), rtol=1e-3, atol=1e-4)


def test_without_a_weight_the_data_are_met_and_with_a_large_one_the_estimate_stays(truth) -> None:
    problem = problem_of(tilt_series(truth, np.arange(-20, 21, 4.0)))  # without noise: the data can be met
    g = torch.Generator().manual_seed(0)
    start, other = torch.rand((2, *problem.projector.domain_shape), generator=g)
    residual = problem.data - problem.forward(start)
    ones = torch.ones_like(residual)
    free, rest = pulled(problem, problem.data, ones, start, 0.0, 100)
    assert float(rest.norm()) < 0.002 * float(residual.norm())
    held, _ = pulled(problem, problem.data, ones, start, 1e9, 100)
    torch.testing.assert_close(held, start, atol=1e-4, rtol=0)
    # What no ray meets stays as the estimate had it, with a weight or without.
    blind = other - pulled(problem, problem.forward(other), ones, torch.zeros_like(other), 0.0, 100)[0]
    assert float(blind.norm()) > 0.3 * float(other.norm())
    assert abs(float(((free - start) * blind).sum())) < 0.01 * float((free - start).norm() * blind.norm())


def test_where_nothing_is_negative_the_pull_meets_the_conditions_of_an_optimum(series) -> None:
    problem = problem_of(series, non_negative=True)
    start = 0.2 * torch.randn(problem.projector.domain_shape, generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(problem.data)
    x, rest = pulled(problem, problem.data, ones, start, 5.0, 10, rounds=12)
    torch.testing.assert_close(rest, problem.data - problem.forward(x), rtol=1e-4, atol=1e-4)
    slope = problem.adjoint(rest) - 5.0 * (x - start)  # zero where x is positive, not above zero where it is clipped
    size = float(problem.adjoint(problem.data).abs().max())
    assert float(x.min()) == 0
    assert float(slope[x > 0].abs().max()) < 2e-3 * size
    assert float(slope[x == 0].max()) < 2e-3 * size


def test_a_tilt_and_a_pixel_that_nothing_explains_lose_their_say(series) -> None:
    evidence = Evidence.of(problem_of(series), 1.0)
    noise = evidence.noise.sqrt() * torch.randn(evidence.data.shape, generator=torch.Generator().manual_seed(0))
    bad = noise.clone()
    bad[4] *= 5
    bad[2, 3, 3] = 40 * evidence.noise[2, 3, 3].sqrt()
    learned = evidence
    for _ in range(8):
        learned = learned.learned(bad)
    factors = learned.factors.flatten()
    assert float(factors[4]) == pytest.approx(25, rel=0.3)
    assert float(factors[torch.arange(len(factors)) != 4].max()) < 1.5
    w = learned.precision(bad)
    assert float(w[2, 3, 3] / learned.precision()[2, 3, 3]) < 0.01
    usual = w[0] / learned.precision()[0]
    assert float(usual.median()) > 0.85


# ------------------------------------------------------------------------------------------------ patches
@pytest.mark.parametrize("shape", [(40, 24, 56), (70, 8, 33)])
def test_blended_patches_give_what_the_whole_gives(shape) -> None:
    g = torch.Generator().manual_seed(0)
    volumes = torch.rand((2, *shape), generator=g)

    def local(part: torch.Tensor) -> torch.Tensor:
        smooth = torch.nn.functional.avg_pool3d(part[None, :1], 3, 1, 1, count_include_pad=False)
        return smooth[0, 0] * part[1]

    calls: list[int] = []
    found = in_patches(local, volumes, 16, 8, lambda: calls.append(1))
    assert len(calls) == count(shape, 16, 8) > 1
    whole = local(volumes)
    # At the borders of patches the mean lacks a neighbour, where the patch has next to no weight.
    assert float((found - whole).abs().max()) < 0.02
    same = in_patches(lambda part: part[0], volumes, 16, 8, lambda: None)
    torch.testing.assert_close(same, volumes[0], rtol=1e-5, atol=1e-6)


def test_the_result_does_not_depend_on_the_patches(series, weights) -> None:
    whole, _ = run(series, weights, samples=1)
    parts, _ = run(series, weights, samples=1, patch=16, overlap=8)
    assert psnr(parts.data, whole.data) > 30


# ------------------------------------------------------------------------------------------------ views
def test_shifts_of_the_tilts_are_found(truth) -> None:
    rng = np.random.default_rng(0)
    geometry = ViewGeometry.single_axis(np.arange(-30, 31, 5.0))
    shifts = rng.normal(scale=0.6, size=(len(geometry), 2))
    images = tilt_series(truth, geometry.with_shifts(shifts)).projections
    problem = problem_of(TiltSeries(images, geometry))
    volume = torch.from_numpy(np.array(truth.data))
    for _ in range(6):
        problem = realigned(problem, problem.data, torch.ones_like(problem.data), volume, False)
    a = np.deg2rad(geometry.tilt_degrees)
    orbit = np.stack([np.cos(a), np.sin(a)], axis=1)
    off = problem.projector.geometry.shifts - shifts
    off[:, 0] -= orbit @ np.linalg.lstsq(orbit, off[:, 0], rcond=None)[0]
    off[:, 1] -= off[:, 1].mean()
    assert np.abs(off).max() < 0.05


def test_errors_of_the_angles_are_found_but_for_a_stretch(truth) -> None:
    rng = np.random.default_rng(1)
    angles = np.arange(-40, 41, 5.0)
    error = rng.normal(scale=0.6, size=len(angles))
    line = np.stack([np.ones_like(angles), angles], axis=1)
    error -= line @ np.linalg.lstsq(line, error, rcond=None)[0]
    images = tilt_series(truth, ViewGeometry.single_axis(angles + error)).projections
    problem = problem_of(TiltSeries(images, ViewGeometry.single_axis(angles)))
    volume = torch.from_numpy(np.array(truth.data))
    for _ in range(10):
        problem = realigned(problem, problem.data, 1e4 * torch.ones_like(problem.data), volume, True)
    left = problem.projector.geometry.tilt_degrees - angles - error
    assert np.std(left) < 0.4 * np.std(error)


# ------------------------------------------------------------------------------------------------ spread and shares
def test_the_spread_is_what_the_error_of_the_mean_has() -> None:
    g = torch.Generator().manual_seed(0)
    sd = torch.linspace(0.5, 2.0, 20)[:, None, None].expand(20, 20, 20)
    truth, draws = sd * torch.randn((20, 20, 20), generator=g), sd * torch.randn((4, 20, 20, 20), generator=g)
    mean = draws.mean(0)
    found = scattered((draws - mean).square().sum(0), 4).sqrt()
    within = ((mean - truth).abs() < 2 * found).float().mean()
    assert 0.92 < float(within) < 0.98


def test_the_prior_decides_what_the_tilts_do_not_show(truth) -> None:
    shares = []
    for half in (10, 60):
        problem = problem_of(tilt_series(truth, np.arange(-half, half + 1, 2.0)))
        x = torch.from_numpy(np.array(truth.data))
        precision = torch.full_like(problem.data, float(0.03 * problem.data.max()) ** -2)
        _, share, overall = undecided(problem, precision, x)
        assert float(share.min()) >= 0
        assert float(share.max()) <= 1
        shares.append(overall)
    assert shares[0] > 1.5 * shares[1]


def test_noise_levels_fall_from_the_first_to_the_last() -> None:
    levels = schedule(20, 3.0, 0.02)
    assert len(levels) == 20
    assert levels[0] == pytest.approx(3.0)
    assert levels[-1] == pytest.approx(0.02)
    assert (np.diff(levels) < 0).all()
    assert schedule(1, 3.0, 0.02) == [3.0]


# ------------------------------------------------------------------------------------------------ runs
def test_a_seed_gives_one_result_and_another_seed_another(series, weights) -> None:
    first, job = run(series, weights)
    again, _ = run(series, weights)
    np.testing.assert_array_equal(first.data, again.data)
    np.testing.assert_array_equal(first.std, again.std)
    other = Job(job.params, seed=1)
    assert np.abs(execute("reconstruct", "temdiff", series, other).data - first.data).max() > 0
    assert first.std.shape == first.shape == (SIZE, SIZE, SIZE)
    assert first.data.min() >= 0  # ADF
    assert 0 < job.figures["prior_share"] < 1
    assert "9 evaluations of 1 patch" in job.notes["plan"]


def test_a_weaker_prior_leaves_less_of_the_data_unexplained(series, weights) -> None:
    r = [run(series, weights, strength=s, samples=1, pulls=15)[1].figures["r"] for s in (0.0, 1.0, 100.0)]
    assert r[0] < r[1] < r[2]


def test_a_stop_keeps_the_current_estimate(series, weights) -> None:
    seen = []
    job = job_of(weights, samples=4)
    tick = job.tick

    def stopping(step, total, snapshot, **more):
        seen.append(snapshot().data)
        if step == 2:
            job.stop()
        return tick(step, total, snapshot, **more)

    job.tick = stopping
    volume = execute("reconstruct", "temdiff", series, job)
    assert job.stopped_at == 2
    np.testing.assert_array_equal(volume.data, seen[-1])
    assert volume.std is None


def test_a_stop_is_heard_inside_the_network(series, weights) -> None:
    job = job_of(weights, samples=4)
    layers = []
    check = job.check

    def checking() -> None:
        layers.append(job.step)
        if job.step == 1 and layers.count(1) == 5:
            job.stop()
        check()

    job.check = checking
    volume = execute("reconstruct", "temdiff", series, job)
    assert job.stopped_at == 1
    assert layers.count(1) <= 6  # of some twenty layers; the end asks once more
    assert np.isfinite(volume.data).all()


def test_strength_acts_while_it_runs(series, weights) -> None:
    plain, _ = run(series, weights, samples=1)
    job = job_of(weights, samples=1)
    tick = job.tick

    def changing(step, *args, **more):
        if step == 1:
            job.change(strength=50.0)
        return tick(step, *args, **more)

    job.tick = changing
    volume = execute("reconstruct", "temdiff", series, job)
    assert job.events == [(1, {"change": {"strength": 50.0}})]
    assert np.abs(volume.data - plain.data).max() > 0


@pytest.mark.parametrize(("align", "safeguard"), [("off", False), ("shifts", True)])
def test_a_resumed_run_ends_as_an_uninterrupted_one(series, weights, tmp_path, align, safeguard) -> None:
    params = job_of(weights, align=align, safeguard=safeguard).params
    whole = execute("reconstruct", "temdiff", series, Job(params))
    store = CheckpointStore(tmp_path, {})
    broken = Job(params, checkpoints=store, checkpoint_every=0, stop_at=4)
    execute("reconstruct", "temdiff", series, broken)
    again = Job(params, checkpoints=store, checkpoint_every=1e9)
    volume = execute("reconstruct", "temdiff", series, again)
    np.testing.assert_array_equal(volume.data, whole.data)
    np.testing.assert_array_equal(volume.std, whole.std)


def test_spread_and_shares_are_written(series, weights, tmp_path) -> None:
    files = {"std": tmp_path / "spread.npz", "decided": tmp_path / "decided.npz"}
    volume, _ = run(series, weights, **files)
    np.testing.assert_array_equal(read(files["std"]).data, volume.std)
    shares = read(files["decided"]).data
    assert shares.min() >= 0
    assert 0 < shares.max() <= 1
    with pytest.raises(ValueError, match="does not exist"):
        run(series, weights, std=tmp_path / "nowhere" / "spread.npz")


# ------------------------------------------------------------------------------------------------ doubts
def test_a_prior_that_foresees_worse_than_tv_gets_little_and_says_so(series, tmp_path) -> None:
    torch.manual_seed(1)
    net = build("temdiff", "small-materials")
    with torch.no_grad():
        net.tail.weight.normal_(0, 1.0)  # a prior that knows nothing but its own ideas
    path = tmp_path / "wild.safetensors"
    save(path, net, Card("temdiff", "small-materials"))
    wild, _ = run(series, path, samples=1)
    steadied, job = run(series, path, samples=1, safeguard=True)
    tv = execute("reconstruct", "tv", series, Job(get("reconstruct", "tv").params(specimen="isolated")))
    assert job.notes["trust"] < 0.2
    assert "TV foresees" in job.notes["warning"]
    assert psnr(steadied.data, tv.data) > psnr(wild.data, tv.data) + 10


def test_the_share_is_the_one_that_foresees_the_outermost_tilts_best(series, truth) -> None:
    exact = torch.from_numpy(np.array(truth.data))
    assert trust(problem_of(series, non_negative=True), 0.5, lambda within, start: exact) > 0.9
    wide = problem_of(tilt_series(truth, np.arange(-60, 61, 4.0), dose=400, seed=5), non_negative=True)
    assert trust(wide, 0.5, lambda within, start: exact.flip(0) + 0.2) < 0.2
    half = trust(wide, 0.5, lambda within, start: 2 * exact - start)
    assert half == pytest.approx(0.5, abs=0.1)


def test_what_no_tilt_that_was_kept_aside_can_tell_is_the_priors(truth) -> None:
    shares = []
    for half in (5, 20, 60):
        problem = problem_of(tilt_series(truth, np.linspace(-half, half, 11), dose=400, seed=5), non_negative=True)
        moved = torch.roll(classical(problem, 0.5), 1, dims=0)  # along the beam: narrow ranges hardly see it
        shares.append(trust(problem, 0.5, lambda within, start, moved=moved: moved))
    assert shares[0] > shares[1] > shares[2]
    few = problem_of(tilt_series(truth, np.array([-10.0, 0, 10])), non_negative=True)
    assert trust(few, 0.5, lambda within, start: 0 * start) == 1.0  # none can be spared


def test_the_smoothing_is_chosen_by_the_data(truth) -> None:
    chosen = []
    for dose in (30, 3000):
        problem = problem_of(tilt_series(truth, np.arange(-60, 61, 4.0), dose=dose, seed=5), non_negative=True)
        chosen.append(best_smoothing(problem))
        exact = torch.from_numpy(np.array(truth.data))
        errors = {w: float((classical(problem, w) - exact).norm()) for w in SMOOTHINGS}
        assert errors[chosen[-1]] < 1.15 * min(errors.values())


def test_what_is_unlike_all_training_is_said(series, weights, tmp_path) -> None:
    path = tmp_path / "narrow.safetensors"
    trained = {"half_range_degree": (30, 60), "deviation": (5.0, 9.0)}
    save(path, build("temdiff", "small-materials"), Card("temdiff", "small-materials", trained=trained))
    _, job = run(series, path, samples=1)
    assert "±20°, the prior has seen ±30° to ±60°" in job.notes["warning"]
    assert "contrast" in job.notes["warning"]
    _, job = run(series[6:], weights, samples=1)  # 4 to 20 degrees
    assert "about 12°" in job.notes["warning"]
    _, job = run(series, weights, samples=1)
    assert "warning" not in job.notes


def test_pixels_that_were_not_measured_have_no_say(series, weights) -> None:
    mask = np.ones(series.shape, bool)
    mask[:, 4:7, 10:13] = False
    empty = series.with_(projections=np.where(mask, series.projections, 0), mask=mask)
    spoilt = series.with_(projections=np.where(mask, series.projections, 40), mask=mask)
    params = {"samples": 1, "subtract_background": False}
    first, second = run(empty, weights, **params)[0], run(spoilt, weights, **params)[0]
    # The noise is judged by all pixels, so that it is not quite the same.
    assert psnr(second.data, first.data) > 30
    there = psnr(first.data[:, 4:7], run(series, weights, **params)[0].data[:, 4:7])
    assert there > 20


# ------------------------------------------------------------------------------------------------ faults
def test_missing_weights_say_how_to_make_them(series, tmp_path) -> None:
    with pytest.raises(JobError, match="splatom train temdiff"):
        run(series, tmp_path / "none.safetensors")


def test_too_little_memory_says_how_much_is_needed(series, weights, monkeypatch) -> None:
    from splatom.methods.reconstruct import _memory

    monkeypatch.setattr(_memory, "free_memory", lambda device: 1_000)
    with pytest.raises(MemoryError, match=r"GiB of memory and .* free"):
        run(series, weights)


def test_a_series_without_signal_is_refused(series, weights) -> None:
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        run(series.with_(projections=0 * series.projections), weights)
