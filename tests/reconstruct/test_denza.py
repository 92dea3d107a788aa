"""DenZa-Gaussian: masses on a lattice, their noise, their gains; a run with its edits, stops and checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatom.data import GaussianCloud, TiltSeries, Volume
from splatom.evaluate import psnr
from splatom.geometry import ViewGeometry
from splatom.io import read
from splatom.jobs import Job, JobError
from splatom.jobs.checkpoint import CheckpointStore
from splatom.methods import execute, get
from splatom.methods.reconstruct._denza_kernels import Blur, add_divergence, dual_step
from splatom.methods.reconstruct._denza_noise import amplitude_target, closed_form_gains, noise_model
from splatom.methods.reconstruct.denza import fit
from splatom.operators import VoxelProjector
from splatom.operators.gaussian import GaussianProjector
from splatom.simulate import simulate, tilt_series

SIZE = 32
QUICK = {"specimen": "isolated", "iterations": 20, "width": 0.5, "weight": 1.0}


@pytest.fixture(scope="module")
def scene() -> tuple[TiltSeries, Volume]:
    return simulate("nanoparticle", size=SIZE, dose=200, seed=5)


def job_of(**params) -> Job:
    return Job(get("reconstruct", "denza").params(**{**QUICK, **params}))


def run(series: TiltSeries, **params) -> tuple[Volume, Job]:
    job = job_of(**params)
    return execute("reconstruct", "denza", series, job), job


# ------------------------------------------------------------------------------------------------ parts
@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.5])
def test_a_mass_keeps_its_weight_and_becomes_as_wide_as_it_is_told(sigma) -> None:
    masses = torch.zeros(21, 21, 21)
    masses[10, 10, 10] = 3.0
    density = Blur(sigma)(masses)
    assert float(density.sum()) == pytest.approx(3.0, rel=1e-3)
    assert float(density.max()) == pytest.approx(3.0 * math.erf(0.5 / sigma / math.sqrt(2)) ** 3, rel=2e-3)
    at = torch.arange(21.0) - 10
    variance = float((density.sum((0, 1)) * at**2).sum()) / 3.0
    if sigma > 0.5:  # the voxel's own extent adds 1/12
        assert variance == pytest.approx(sigma**2 + 1 / 12, rel=0.03)


def test_the_blur_is_its_own_adjoint_and_the_divergence_that_of_the_gradient() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand((2, 7, 9, 11), generator=g)
    blur = Blur(0.8)
    assert float((blur(a) * b).sum()) == pytest.approx(float((a * blur(b)).sum()), rel=1e-5)
    q = torch.zeros(3, 7, 9, 11)
    dual_step(q, a, torch.ones_like(a), torch.full_like(a, 1e9))  # no limit: q is the gradient of a
    minus = torch.zeros_like(a)
    p = torch.zeros_like(q)
    dual_step(p, b, torch.ones_like(a), torch.full_like(a, 1e9))
    add_divergence(minus, p)
    assert float((q * p).sum()) == pytest.approx(float((a * minus).sum()), rel=1e-4)


def test_no_dual_vector_is_longer_than_its_voxel_allows() -> None:
    g = torch.Generator().manual_seed(1)
    a, limit = torch.rand(6, 6, 6, generator=g), 0.05 + 0.2 * torch.rand(6, 6, 6, generator=g)
    q = torch.zeros(3, 6, 6, 6)
    dual_step(q, a, torch.ones_like(a), limit)
    length = q.square().sum(0).sqrt()
    assert bool((length <= limit * (1 + 1e-5)).all())
    assert bool((length > limit * 0.99).any())


def test_the_noise_of_counted_electrons_is_found() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96] / 96
    clean = np.stack([5 * np.exp(-((x - 0.5) ** 2 + (y - c) ** 2) / 0.05) for c in np.linspace(0.3, 0.7, 10)])
    counts = rng.poisson((clean + 0.5) * 20) / 20 - 0.5  # variance (S + 0.5) / 20
    a, b = noise_model(torch.from_numpy(counts.astype(np.float32)))
    assert a == pytest.approx(0.025, rel=0.25)
    assert b == pytest.approx(0.05, rel=0.15)


def test_gains_are_found_and_keep_the_scale() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((6, 20, 20)).astype(np.float32))
    true = torch.from_numpy(np.exp(rng.normal(0, 0.1, 6)).astype(np.float32))[:, None, None]
    found = closed_form_gains(images, images * true, torch.ones(()))
    torch.testing.assert_close(found, true / true.log().mean().exp(), rtol=1e-5, atol=0)


def test_the_fourier_target_has_the_amplitudes_of_the_data_and_the_phases_of_the_prediction() -> None:
    rng = np.random.default_rng(0)
    data, predicted = (torch.from_numpy(rng.random((2, 16, 16)).astype(np.float32)) for _ in range(2))
    ones = torch.ones_like(data)
    target = amplitude_target(predicted, data, ones, 0 * ones)
    seen, wanted = torch.fft.rfft2(target), torch.fft.rfft2(data)
    torch.testing.assert_close(seen.abs(), wanted.abs(), rtol=1e-3, atol=1e-3)
    turned = seen * torch.fft.rfft2(predicted).conj()
    assert float((turned.imag / turned.abs()).abs().median()) < 1e-3
    # the tangent majorant is the term itself where it touches
    term = (torch.fft.fft2(predicted).abs() - torch.fft.fft2(data).abs()).square().sum() / 256
    assert float((predicted - target).square().sum()) == pytest.approx(float(term), rel=1e-4)


# ------------------------------------------------------------------------------------------------ runs
def test_the_volume_is_the_voxelised_cloud_and_both_project_alike(scene) -> None:
    series, _ = scene
    volume, cloud = fit(series, job_of(width=0.8))
    assert volume.shape == (SIZE, SIZE, SIZE)
    assert cloud.mass.sum() / series.pixel_nm**2 == pytest.approx(volume.data.sum(), rel=0.01)
    widths = np.sqrt(cloud.scales[:, 0] ** 2 + series.pixel_nm**2 / 12)  # seen by pixels, not at points
    seen = GaussianProjector(series.geometry, series.shape[1:], series.pixel_nm)(
        *(torch.from_numpy(np.array(a)) for a in (cloud.centres_zyx, widths, cloud.mass))
    )
    summed = VoxelProjector(series.geometry, volume.shape, series.shape[1:])(torch.from_numpy(np.array(volume.data)))
    assert float((seen - summed).norm() / summed.norm()) < 0.02
    assert (cloud.mass > 0).all()


def test_it_beats_tv_and_sirt_on_counted_electrons() -> None:
    series, truth = simulate("nanoparticle", size=48, dose=200, seed=3)
    few = series.with_(**{
        k: getattr(series, k)[1::3] for k in ("projections", "geometry", "weights", "synthetic", "held_out")
    }, order=None)  # fmt: skip
    ours = psnr(run(few, width=None, weight=None, iterations=60)[0].data, truth.data)
    of = {n: execute("reconstruct", n, few, Job(get("reconstruct", n).params())) for n in ("tv", "sirt")}
    assert ours > psnr(of["tv"].data, truth.data)
    assert ours > psnr(of["sirt"].data, truth.data) + 3


def test_gains_that_drift_are_found(scene) -> None:
    _, truth = scene
    rng = np.random.default_rng(0)
    series = tilt_series(truth, np.arange(-66, 67, 6.0), dose=1000, seed=1)
    drift = rng.normal(0, 0.1, len(series))
    true = np.exp(drift - drift.mean())
    drifting = series.with_(projections=series.projections * true[:, None, None].astype(np.float32))
    _, job = run(drifting)
    _, without = run(drifting, gain=False)
    found = np.array(job.notes["gains"])
    assert np.abs(found / true - 1).max() < 0.02
    assert np.log(found).mean() == pytest.approx(0, abs=1e-3)
    assert job.figures["r"] < 0.9 * without.figures["r"]


def test_iterations_means_exactly_so_many_passes(scene) -> None:
    assert run(scene[0], iterations=7)[1].step == 7


def test_a_strength_that_is_not_learnt_stays_sirts(scene) -> None:
    series, truth = scene
    fixed, job = run(series, denza=False)
    learnt, _ = run(series)
    assert job.step == QUICK["iterations"]
    assert psnr(learnt.data, truth.data) > psnr(fixed.data, truth.data) + 1


def test_width_and_smoothing_are_chosen_by_tilts_held_out(scene) -> None:
    _, job = run(scene[0], width=None, weight=None, iterations=2)
    trials = job.notes["held_out_misfit"]
    best = f"width {job.notes['width_pixels']:g}, weight {job.notes['smoothing']:g}"
    assert trials[best] <= min(trials.values()) * 1.001


def test_a_stop_keeps_what_there_is(scene) -> None:
    job = job_of(iterations=1000)
    tick = job.tick

    def stopping(step, *args, **kwargs):
        if step == 5:
            job.stop()
        return tick(step, *args, **kwargs)

    job.tick = stopping
    volume = execute("reconstruct", "denza", scene[0], job)
    assert job.stopped_at == 5
    assert volume.data.max() > 0


def test_a_resumed_run_ends_as_an_uninterrupted_one(scene, tmp_path) -> None:
    series, _ = scene
    whole, _ = run(series, fourier=0.3, iterations=24)
    params = get("reconstruct", "denza").params(**{**QUICK, "fourier": 0.3, "iterations": 24})
    first = Job(params, checkpoints=CheckpointStore(tmp_path, {}), checkpoint_every=0, stop_at=13)
    execute("reconstruct", "denza", series, first)
    second = Job(params, checkpoints=CheckpointStore(tmp_path, {}))
    resumed = execute("reconstruct", "denza", series, second)
    assert second.step == 24
    np.testing.assert_array_equal(resumed.data, whole.data)


def test_edits_by_id_act_on_the_running_fit_and_are_undone(scene) -> None:
    series, _ = scene
    before: dict[str, GaussianCloud] = {}

    def after(edits: dict[int, dict]) -> GaussianCloud:
        job = Job(get("reconstruct", "denza").params(**QUICK), replay=tuple((s, {"edit": e}) for s, e in edits.items()))
        return fit(series, job)[1]

    before["plain"] = plain = after({})
    heaviest = int(plain.ids[plain.mass.argmax()])
    place = plain.centres_zyx[plain.mass.argmax()]
    assert heaviest not in after({10: {"delete": [heaviest]}}).ids
    same = after({10: {"delete": [heaviest]}, 11: {"undo": True}})
    assert heaviest in same.ids
    far = place + np.float32([0, 2 * series.pixel_nm, 0])
    moved = after({19: {"move": {str(heaviest): [float(c) for c in far]}}})
    target = np.abs(moved.centres_zyx - far).sum(1).argmin()
    assert heaviest not in moved.ids
    assert moved.mass[target] > plain.mass[np.abs(plain.centres_zyx - far).sum(1).argmin()] * 1.3
    outside = [0.0, -15 * series.pixel_nm, 0.0]
    added = after({20: {"add": [outside]}})
    assert np.abs(added.centres_zyx - np.float32(outside)).sum(1).min() < 1.6 * series.pixel_nm


def test_gaussians_that_stretch_and_turn_fit_edges_better_than_round_ones_of_that_width(scene) -> None:
    series, truth = scene
    round_ones, _ = run(series, width=0.9)
    job = job_of(width=0.9, refine=25)
    stretched, cloud = fit(series, job)
    assert job.step == QUICK["iterations"] + 25
    assert psnr(stretched.data, truth.data) > psnr(round_ones.data, truth.data) + 0.5
    assert np.median(cloud.scales.max(1) / cloud.scales.min(1)) > 1.05
    assert len(np.unique(cloud.ids)) == len(cloud)  # some were split: new ids
    assert cloud.mass.sum() / series.pixel_nm**2 == pytest.approx(stretched.data.sum(), rel=0.02)


def test_a_refinement_is_resumed_as_it_was_left(scene, tmp_path) -> None:
    series, _ = scene
    params = get("reconstruct", "denza").params(**{**QUICK, "iterations": 4, "refine": 6})
    whole = execute("reconstruct", "denza", series, Job(params))
    first = Job(params, checkpoints=CheckpointStore(tmp_path, {}), checkpoint_every=0, stop_at=7)
    execute("reconstruct", "denza", series, first)
    second = Job(params, checkpoints=CheckpointStore(tmp_path, {}))
    resumed = execute("reconstruct", "denza", series, second)
    assert second.step == 10
    np.testing.assert_allclose(resumed.data, whole.data, atol=1e-5 * whole.data.max())


def test_edits_of_free_gaussians_by_id_are_undone(scene) -> None:
    series, _ = scene

    def after(edits: dict[int, dict]) -> GaussianCloud:
        params = get("reconstruct", "denza").params(**{**QUICK, "iterations": 5, "refine": 3})
        return fit(series, Job(params, replay=tuple((s, {"edit": e}) for s, e in edits.items())))[1]

    plain = after({})
    one, place = int(plain.ids[0]), [float(c) for c in plain.centres_zyx[0] + np.float32([5, 0, 0])]
    assert one not in after({6: {"delete": [one]}}).ids
    assert one in after({6: {"delete": [one]}, 7: {"undo": True}}).ids
    moved = after({8: {"move": {str(one): place}}})
    np.testing.assert_allclose(moved.centres_zyx[moved.ids == one][0], place, atol=1e-3)
    added = after({7: {"add": [place]}})
    assert len(added) == len(plain) + 1
    assert added.ids[-1] not in plain.ids


def test_snapshots_hold_a_small_cloud_and_a_volume(scene) -> None:
    job = job_of(iterations=3)
    execute("reconstruct", "denza", scene[0], job)
    shown = job.mailbox.take().preview
    assert isinstance(shown["cloud"], GaussianCloud)
    assert 0 < len(shown["cloud"]) <= 20_000
    assert shown["volume"].shape == (SIZE, SIZE, SIZE)
    assert {"loss", "r", "n_gaussians"} <= set(job.figures)


def test_the_cloud_is_written_beside_the_volume(scene, tmp_path) -> None:
    file = tmp_path / "cloud.npz"
    volume, job = run(scene[0], cloud=file)
    cloud = read(file)
    assert isinstance(cloud, GaussianCloud)
    assert len(cloud) == job.figures["n_gaussians"]
    assert cloud.mass.sum() / scene[0].pixel_nm ** 2 == pytest.approx(volume.data.sum(), rel=0.01)


def test_a_film_is_fitted_in_a_wider_box_and_depth_is_kept(scene) -> None:
    series, _ = scene
    volume, job = run(series, specimen="film", thickness=12 * series.pixel_nm, depth=20, iterations=3)
    assert volume.shape == (20, SIZE, SIZE)
    assert job.notes["box_voxels"][2] > SIZE


def test_held_out_tilts_are_scored_not_fitted(scene) -> None:
    _, job = run(scene[0], hold_out=0.2)
    assert 0 < job.figures["r_free"] < 0.3
    assert len(job.figures["r_per_tilt"]) + len(job.notes["held_out"]) == len(scene[0])


# ------------------------------------------------------------------------------------------------ bad input
def test_bad_input_is_told_in_words(scene, tmp_path) -> None:
    series, _ = scene
    two = TiltSeries(series.projections[:2], series.geometry[:2], 1.0)
    with pytest.raises(ValueError, match="at least 3"):
        run(two)
    with pytest.raises(ValueError, match="all projections are zero"):
        run(series.with_(projections=0 * series.projections))
    with pytest.raises(ValueError, match="does not exist"):
        run(series, cloud=tmp_path / "nowhere" / "cloud.npz")
    with pytest.raises(JobError, match="cannot change"):
        job_of().change(width=1.0)


def test_angles_that_do_not_fit_the_data_are_doubted(scene) -> None:
    series, _ = scene
    _, right = run(series, hold_out=0.2)
    mixed = np.random.default_rng(0).permutation(series.angles)
    wrong_series = series.with_(geometry=ViewGeometry.single_axis(mixed))
    _, wrong = run(wrong_series, hold_out=0.2)
    assert "warning" not in right.notes
    assert "angles" in wrong.notes["warning"]
