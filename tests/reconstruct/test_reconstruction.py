"""Reconstructions against exact line integrals of ellipsoids, and against other programs on the same data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import splatom
from splatom.data import TiltSeries, Volume
from splatom.evaluate import directional_fsc, half_sets, psnr
from splatom.geometry import ViewGeometry
from splatom.jobs import Job, JobError
from splatom.methods import execute, get
from splatom.operators import VoxelProjector
from splatom.simulate import Ellipsoids, shepp_logan, simulate, tilt_series

SIZE = 48
AS_IS = {"specimen": "isolated", "subtract_background": False}


@pytest.fixture(scope="module")
def phantom() -> Ellipsoids:
    return shepp_logan(float(SIZE))


@pytest.fixture(scope="module")
def truth(phantom) -> Volume:
    return phantom.volume((SIZE, SIZE, SIZE), 1.0)


@pytest.fixture(scope="module")
def noisy(phantom) -> TiltSeries:
    return tilt_series(phantom, np.arange(-69, 70, 3.0), detector_shape=(SIZE, SIZE), pixel_size=1.0, dose=100, seed=1)


def run(name: str, series: TiltSeries, **params) -> tuple[Volume, Job]:
    job = Job(get("reconstruct", name).params(**params))
    return execute("reconstruct", name, series, job), job


def quality(volume: Volume, truth: Volume) -> float:
    return psnr(volume.data, truth.data)


@pytest.mark.parametrize("name", ["wbp", "sirt", "cgls", "tv"])
def test_a_volume_has_the_contracts_shape_and_the_pixels_size(name, noisy) -> None:
    part = noisy.with_(projections=noisy.projections[:, :12])
    volume, job = run(name, part)
    assert volume.shape == (SIZE, 12, SIZE)
    assert volume.voxel_size == part.pixel_size
    assert volume.origin_zyx == (0, 0, 0)
    assert 0 < job.figures["r"] < 0.5
    assert len(job.figures["r_per_tilt"]) == len(part)
    assert volume.provenance.steps[-1].method == name


def test_tv_beats_sirt_beats_back_projection_on_noisy_piecewise_constant_matter() -> None:
    series, truth = simulate("nanoparticle", size=SIZE, dose=200, seed=3)
    runs = (("wbp", {}), ("sirt", {"iterations": 40}), ("tv", {}))
    got = {n: quality(run(n, series, **p)[0], truth) for n, p in runs}
    assert got["tv"] > got["sirt"] + 1
    assert got["sirt"] > got["wbp"] + 1


def test_momentum_reaches_in_30_passes_what_plain_sirt_reaches_in_90(noisy) -> None:
    plain = run("sirt", noisy, iterations=90)[1].figures["r"]
    assert run("sirt", noisy, iterations=30, momentum=True)[1].figures["r"] < plain * 1.01


@pytest.mark.parametrize("name", ["sirt", "cgls", "tv"])
def test_iterations_means_exactly_so_many_passes(name, noisy) -> None:
    assert run(name, noisy, iterations=7)[1].step == 7


def test_sirt_is_sirt(noisy) -> None:
    """Written out with dense matrices on a tiny case: x ← x + C Aᵀ R (y − A x), clipped."""
    rng = np.random.default_rng(0)
    geometry = ViewGeometry.single_axis([-40.0, 0, 25])
    a = VoxelProjector(geometry, (6, 1, 6), (1, 6), backend="reference")
    basis = torch.eye(36, dtype=torch.float32).reshape(36, 6, 1, 6)
    matrix = torch.stack([a(e).flatten() for e in basis], dim=1).double().numpy()
    y = rng.random((3, 1, 6)).astype(np.float32)
    rows, columns = matrix.sum(1), matrix.sum(0)
    x = np.zeros(36)
    for _ in range(12):
        x = x + (matrix.T @ ((y.ravel() - matrix @ x) / rows)) / columns
        x = np.maximum(x, 0)
    volume, _ = run("sirt", TiltSeries(y, geometry), iterations=12, **AS_IS)
    np.testing.assert_allclose(volume.data.ravel(), x, rtol=1e-4, atol=1e-5)


def test_cgls_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(1)
    geometry = ViewGeometry.single_axis(np.linspace(-80, 80, 15))
    a = VoxelProjector(geometry, (5, 1, 5), (1, 7), backend="reference")
    basis = torch.eye(25, dtype=torch.float32).reshape(25, 5, 1, 5)
    matrix = torch.stack([a(e).flatten() for e in basis], dim=1).double().numpy()
    y = rng.random((15, 1, 7)).astype(np.float32)
    expected = np.linalg.lstsq(matrix, y.ravel(), rcond=None)[0]
    series = TiltSeries(y, geometry)
    volume, _ = run("cgls", series, iterations=60, depth=5, **AS_IS)
    # the volume is 5 x 1 x 7 here: compare what both predict
    wide = VoxelProjector(geometry, volume.shape, (1, 7), backend="reference")
    mine = wide(torch.from_numpy(np.array(volume.data))).numpy().ravel()
    assert np.linalg.norm(mine - y.ravel()) <= np.linalg.norm(matrix @ expected - y.ravel()) * 1.001


def test_back_projection_agrees_with_scikit_images() -> None:
    from skimage.transform import iradon

    angles = np.arange(-90.0, 90.0, 2.0)
    size = 65  # odd: scikit-image turns about pixel n // 2
    phantom = shepp_logan(float(size))
    series = tilt_series(phantom, angles, detector_shape=(1, size), pixel_size=1.0, dose=0, background=0)
    ours, _ = run("wbp", series, filter="ramp", specimen="isolated")
    # scikit-image's x runs along −ours under a turn by −angle: its image is ours with z flipped.
    theirs = iradon(series.projections[:, 0].T.astype(float), theta=angles, filter_name="ramp", circle=True)
    inside = np.hypot(*np.meshgrid(*[np.arange(size) - size // 2] * 2)) < size // 2 - 2
    candidates = {"z up": theirs, "z down": theirs[::-1]}
    errors = {k: np.sqrt(np.mean((ours.data[:, 0] - v)[inside] ** 2)) for k, v in candidates.items()}
    assert min(errors.values()) < 0.02 * np.ptp(theirs[inside])


def test_sirt_agrees_with_astras() -> None:
    astra = pytest.importorskip("astra", reason="ASTRA is not installed (make bench installs it)")
    angles, size = np.linspace(-60.0, 60.0, 25), 64
    series = tilt_series(shepp_logan(float(size)), angles, detector_shape=(1, size), pixel_size=1.0, dose=200, seed=2)
    ours, _ = run("sirt", series, iterations=50, **AS_IS)
    geometry = astra.create_proj_geom("parallel", 1.0, size, np.deg2rad(angles))
    grid = astra.create_vol_geom(size, size)
    sino = astra.data2d.create("-sino", geometry, np.ascontiguousarray(series.projections[:, 0]))
    volume = astra.data2d.create("-vol", grid)
    config = astra.astra_dict("SIRT")
    config.update(ProjectorId=astra.create_projector("linear", geometry, grid))
    config.update(ProjectionDataId=sino, ReconstructionDataId=volume, option={"MinConstraint": 0.0})
    astra.algorithm.run(astra.algorithm.create(config), 50)
    np.testing.assert_allclose(ours.data[:, 0], astra.data2d.get(volume), atol=2e-3 * ours.data.max())


def test_half_sets_agree_up_to_a_resolution_that_is_worse_along_the_beam(noisy) -> None:
    halves = half_sets(noisy)
    assert sum(len(h) for h in halves) == len(noisy)
    a, b = (run("sirt", h, iterations=30)[0] for h in halves)
    curves = directional_fsc(a.data, b.data, 1.0)
    low = {name: curve.correlation[1:12].mean() for name, curve in curves.items()}
    assert low["x"] > 0.8
    assert low["z"] < low["x"]


def test_held_out_tilts_are_not_fitted_and_score_the_result(noisy) -> None:
    _, job = run("cgls", noisy, iterations=20, hold_out=0.2)
    held = job.notes["held_out"]
    assert 0 < len(held) < len(noisy)
    assert len(job.figures["r_per_tilt"]) == len(noisy) - len(held)
    assert job.figures["r_free"] > job.figures["r"]
    # What a held-out tilt shows has no influence.
    projections = np.array(noisy.projections)
    flagged = np.isin(np.arange(len(noisy)), held)
    projections[flagged] = projections[flagged][:, ::-1]
    other = noisy.with_(projections=projections)
    a, b = (run("sirt", s.with_(held_out=flagged), iterations=5)[0] for s in (noisy, other))
    np.testing.assert_array_equal(a.data, b.data)


def test_a_run_stops_by_itself_when_r_free_rises(noisy) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3 * noisy.projections.std(), noisy.shape).astype(np.float32)
    rough = noisy.with_(projections=noisy.projections + noise)
    _, job = run("cgls", rough, iterations=60, hold_out=0.2, stop_when="r-free-rises")
    assert job.step < 60
    assert job.notes["stopped_because"] == "r-free-rises"
    with pytest.raises(ValueError, match="held-out"):
        run("cgls", rough, stop_when="r-free-rises")


def test_a_tilt_of_weight_zero_and_a_masked_pixel_have_no_influence(noisy) -> None:
    bad = np.array(noisy.projections)
    bad[3] = 1e3
    bad[5, 10:20, 10:20] = -1e3
    mask = np.ones(noisy.shape, bool)
    mask[5, 10:20, 10:20] = False
    weights = np.ones(len(noisy))
    weights[3] = 0
    args = {"weights": weights, "mask": mask}
    for name in ("sirt", "cgls", "tv", "wbp"):
        params = {} if name == "wbp" else {"iterations": 5}
        one, two = (
            run(name, noisy.with_(projections=p, **args), specimen="isolated", **params)[0]
            for p in (noisy.projections, np.where(mask, bad, bad[5, 10:20, 10:20].mean()))
        )
        np.testing.assert_allclose(one.data, two.data, atol=1e-5 * one.data.max(), err_msg=name)


def test_a_film_wider_than_the_field_is_solved_in_a_wider_box(phantom) -> None:
    rng = np.random.default_rng(5)
    centres = rng.uniform([-6, -40, -150], [6, 40, 150], (900, 3))
    film = Ellipsoids(centres, np.full((900, 3), 2.5), np.ones(900))
    series = tilt_series(film, np.arange(-60, 61, 6.0), detector_shape=(24, 48), pixel_size=1.0, dose=0, background=0)
    truth = film.volume((48, 24, 48), 1.0)
    wide, job = run("sirt", series, iterations=60)
    narrow, _ = run("sirt", series, iterations=60, specimen="isolated")
    assert job.notes["specimen"] == "film"
    assert job.notes["box_voxels"][2] > 2 * 48
    assert wide.shape == (48, 24, 48)
    assert quality(wide, truth) > quality(narrow, truth) + 1


def test_bright_field_gives_a_positive_volume_of_the_same_shape(phantom, truth) -> None:
    shape = {"detector_shape": (SIZE, SIZE), "pixel_size": 1.0}
    clean = tilt_series(phantom, np.arange(-60, 61, 4.0), dose=0, background=0, **shape)
    dark = np.exp(-0.02 * clean.projections) * 1000
    volume, job = run("sirt", clean.with_(projections=dark, contrast="bf"), iterations=40)
    assert "bright_field" in job.notes
    assert np.corrcoef(volume.data.ravel(), truth.data.ravel())[0, 1] > 0.85


def test_a_detectors_offset_is_not_reconstructed_as_matter(noisy) -> None:
    plain, _ = run("sirt", noisy, iterations=5)
    raw = noisy.with_(projections=noisy.projections - 30_000)
    offset, job = run("sirt", raw, iterations=5)
    assert job.notes["background_subtracted"] == pytest.approx(-30_000, rel=1e-3)
    assert np.corrcoef(plain.data.ravel(), offset.data.ravel())[0, 1] > 0.98


def test_pixels_that_were_not_measured_make_no_film_of_a_particle(noisy) -> None:
    mask = np.ones(noisy.shape, bool)
    mask[:, :, :4] = False
    raw = np.where(mask, noisy.projections - 30_000, 0)
    _, job = run("sirt", noisy.with_(projections=raw, mask=mask), iterations=2)
    assert job.notes["specimen"] == "isolated"
    assert job.notes["background_subtracted"] == pytest.approx(-30_000, rel=1e-3)


def test_slabs_give_what_the_whole_gives(noisy, monkeypatch) -> None:
    from splatom.methods.reconstruct import _memory

    whole, _ = run("sirt", noisy, iterations=6, specimen="isolated")
    per_row = SIZE * SIZE * 20 + len(noisy) * SIZE * 16
    monkeypatch.setattr(_memory, "free_memory", lambda device: int((SIZE**3 * 4 + per_row * 17) / 0.7))
    sliced, job = run("sirt", noisy, iterations=6, specimen="isolated")
    assert job.notes["slabs"] == 3
    np.testing.assert_allclose(sliced.data, whole.data, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(_memory, "free_memory", lambda device: 1_000)
    with pytest.raises(MemoryError, match=r"GiB of memory and .* free"):
        run("sirt", noisy)


def test_an_estimate_says_time_and_memory(noisy) -> None:
    from splatom.methods.reconstruct._memory import estimate

    plan = estimate(noisy, "sirt", get("reconstruct", "sirt").params())
    assert plan.seconds > 0
    assert plan.bytes > 20 * SIZE**3
    assert "memory" in plan.text


def test_the_tilted_axis_is_reconstructed_where_it_is(phantom, truth) -> None:
    """The specimen frame is that of the zero-tilt image, however the axis lies in it."""
    geometry = ViewGeometry.single_axis(np.arange(-66, 67, 6.0), axis_degrees=35)
    series = TiltSeries(phantom.project(geometry, (SIZE, SIZE), 1.0), geometry, 1.0)
    for name in ("sirt", "wbp"):
        volume, _ = run(name, series, specimen="isolated")
        assert np.corrcoef(volume.data.ravel(), truth.data.ravel())[0, 1] > 0.75, name


def test_the_public_call_names_unknown_methods_and_parameters(noisy) -> None:
    with pytest.raises(JobError, match="sirt"):
        splatom.run("reconstruct", "sort", noisy)
    with pytest.raises(ValueError, match="iteration"):
        splatom.run("reconstruct", "sirt", noisy, iteration=3)
