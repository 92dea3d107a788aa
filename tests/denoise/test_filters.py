"""Every denoiser keeps intensities, treats all tilts alike, and takes or refuses bad images in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from _series import error, lattice, noisy
from PIL import Image

from splatom.cli import main
from splatom.data import TiltSeries
from splatom.geometry import ViewGeometry
from splatom.io import read
from splatom.jobs import Job, Stopped
from splatom.methods import execute, find, get, run

FILTERS = ["gaussian", "median", "nlm", "tv", "wavelet"]


def one(image: np.ndarray) -> TiltSeries:
    return TiltSeries(np.asarray(image, np.float32)[None], ViewGeometry.single_axis([0.0]))


def test_the_methods_of_the_contract_are_there() -> None:
    assert {n for g, n in find() if g == "denoise"} >= {*FILTERS, "scgn", "sfin", "noise2noise"}


@pytest.mark.parametrize("name", FILTERS)
def test_by_default_noise_goes_and_structure_stays(name: str) -> None:
    """At least half of the noise goes, although no parameter was given, whatever the unit of the images."""
    series = noisy(sigma=0.2)
    assert error(run("denoise", name, series)) < 0.5 * error(series)
    counts = run("denoise", name, series.with_(projections=30_000 + 5_000 * series.projections))
    assert error(counts.with_(projections=(counts.projections - 30_000) / 5_000)) < 0.5 * error(series)


@pytest.mark.parametrize("name", FILTERS)
def test_scale_and_offset_of_the_images_are_those_of_the_result(name: str) -> None:
    series = noisy()
    out = run("denoise", name, series).projections
    other = run("denoise", name, series.with_(projections=-40 * series.projections + 900)).projections
    assert np.abs(other - (900 - 40 * out)).max() < (0.5 if name == "tv" else 0.05)  # of 40; tv ends by a tolerance


@pytest.mark.parametrize("name", FILTERS)
def test_the_total_of_every_tilt_stays(name: str) -> None:
    series = noisy()
    bright = series.with_(projections=np.abs(series.projections) * np.array([1, 3, 9], np.float32)[:, None, None])
    out = run("denoise", name, bright)
    totals = bright.projections.sum(axis=(1, 2), dtype=np.float64)
    assert np.allclose(out.projections.sum(axis=(1, 2), dtype=np.float64), totals, rtol=1e-4)


@pytest.mark.parametrize("name", FILTERS)
def test_one_strength_for_all_tilts(name: str) -> None:
    """Equal images come out equal, wherever they stand in the series."""
    series = noisy()
    twice = series.with_(projections=series.projections[[0, 1, 0]])
    out = run("denoise", name, twice).projections
    assert np.array_equal(out[0], out[2])
    assert not np.array_equal(out[0], out[1])


@pytest.mark.parametrize("name", FILTERS)
def test_pixels_that_were_not_measured_disturb_no_neighbour_and_stay(name: str) -> None:
    series = noisy()
    mask = np.ones(series.shape, bool)
    mask[:, :20] = False
    mask[:, 50:53, 40:43] = False
    spoiled = np.where(mask, series.projections, -500).astype(np.float32)
    out = run("denoise", name, series.with_(projections=spoiled, mask=mask))
    assert (out.projections[~mask] == -500).all()
    assert np.sqrt(np.mean((out.projections[0] - lattice())[mask[0]] ** 2)) < 0.6 * error(series)


def test_a_lone_spike_sets_no_scale() -> None:
    from splatom.methods.denoise._scale import Scale

    series = noisy()
    spoiled = series.projections.copy()
    spoiled[1, 30, 40] = 60_000
    scale, hurt = Scale.of(series), Scale.of(series.with_(projections=spoiled))
    assert hurt.spikes == 1
    assert (hurt.mean, hurt.sd) == (pytest.approx(scale.mean, rel=1e-3), pytest.approx(scale.sd, rel=1e-3))
    assert np.abs(hurt.forward(spoiled[1])).max() < 10
    # A particle of a few bright pixels in a wide empty field is no spike.
    field = np.zeros((300, 300), np.float32)
    field[150:154, 150:154] = 1
    assert Scale.of(one(field)).spikes == 0


# ---------------------------------------------------------------- bad images
BAD = {
    "constant": np.full((40, 50), 7.0),
    "constant zero": np.zeros((40, 50)),
    "one pixel": np.array([[3.0]]),
    "one row": np.random.default_rng(0).normal(size=(1, 60)),
    "one column": np.random.default_rng(0).normal(size=(60, 1)),
    "smaller than a tile": np.random.default_rng(0).normal(5, 1, (5, 3)),
    "saturated": np.minimum(lattice() * 3 + np.random.default_rng(0).normal(0, 0.1, (96, 80)), 1),
    "16 bits": np.random.default_rng(0).integers(0, 65_536, (40, 50)),
    "noise-free": lattice(),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", FILTERS)
def test_odd_images_come_out_whole(name: str, case: str) -> None:
    image = np.asarray(BAD[case], np.float32)
    out = run("denoise", name, one(image)).projections[0]
    assert out.shape == image.shape
    assert np.isfinite(out).all()
    assert out.mean(dtype=float) == pytest.approx(image.mean(dtype=float), rel=1e-4, abs=1e-6)
    if case.startswith("constant"):
        assert np.array_equal(out, image)
    if case == "noise-free":
        assert np.abs(out - image).max() < 0.1


def test_many_saturated_pixels_are_told() -> None:
    job = Job(get("denoise", "gaussian").params())
    execute("denoise", "gaussian", one(BAD["saturated"]), job)
    assert "lower bound" in job.notes["saturated"]
    execute("denoise", "gaussian", one(BAD["16 bits"]), job := Job(get("denoise", "gaussian").params()))
    assert "saturated" not in job.notes


# ---------------------------------------------------------------- single images as files
def call(capsys, *words: object) -> tuple[int, str]:
    capsys.readouterr()
    status = main([str(w) for w in words])
    return status, capsys.readouterr().err


@pytest.mark.parametrize("kind", ["npz", "png", "grey screenshot", "tif", "mrc"])
def test_a_single_image_is_denoised_on_its_own_scale(tmp_path: Path, capsys, kind: str) -> None:
    import mrcfile
    import tifffile

    counts = np.clip(2_000 + 9_000 * noisy(1).projections[0], 0, None).astype(np.uint16)
    source, target = tmp_path / f"in.{kind.split()[-1]}", tmp_path / "out.npz"
    if kind == "npz":
        np.savez(source, image=counts, pixel_size=0.02)
    elif kind == "png":
        Image.fromarray(counts).save(source)
    elif kind == "grey screenshot":
        source, counts = tmp_path / "in.png", (counts // 50).astype(np.uint8)
        Image.fromarray(counts).convert("RGBA").save(source)
    elif kind == "tif":
        tifffile.imwrite(source, counts)
    else:
        with mrcfile.new(source, counts):
            pass
    status, err = call(capsys, "denoise", "gaussian", source, target, "--report", tmp_path / "r.json")
    assert status == 0, err
    with np.load(target) as answer:
        assert set(answer) == ({"image", "pixel_size"} if kind == "npz" else {"image"})
        image = answer["image"]
    assert image.shape == counts.shape
    assert image.dtype == np.float32
    assert image.sum(dtype=float) == pytest.approx(counts.sum(dtype=float), rel=1e-4)
    assert image.std() < counts.std()
    assert json.loads((tmp_path / "r.json").read_text())["decisions"]["sigma_px"] > 0


@pytest.mark.parametrize("contrast", ["adf", "bf"])
def test_the_keys_of_an_image_are_those_of_the_answer(tmp_path: Path, capsys, contrast: str) -> None:
    np.savez(tmp_path / "in.npz", image=noisy(1).projections[0], pixel_size=0.02, contrast=contrast)
    assert call(capsys, "denoise", "median", tmp_path / "in.npz", tmp_path / "out.npz")[0] == 0
    with np.load(tmp_path / "out.npz") as answer:
        assert set(answer) == {"image", "pixel_size", "contrast"} and str(answer["contrast"]) == contrast


@pytest.mark.parametrize("suffix", ["tif", "mrc"])
def test_an_image_may_be_written_as_one(tmp_path: Path, capsys, suffix: str) -> None:
    np.savez(tmp_path / "in.npz", image=noisy(1).projections[0], pixel_size=0.02)
    assert call(capsys, "denoise", "tv", tmp_path / "in.npz", tmp_path / f"out.{suffix}")[0] == 0
    back = read(tmp_path / f"out.{suffix}")
    assert back.provenance.loading["image"]
    assert back.pixel_size == pytest.approx(0.02)


@pytest.mark.parametrize("fault", ["colour picture", "colour TIFF", "NaN", "even size", "volume"])
def test_what_cannot_be_denoised_is_refused_in_one_line(tmp_path: Path, capsys, fault: str) -> None:
    import tifffile

    colours = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    source, words = tmp_path / "in.png", ("denoise", "median")
    if fault == "colour picture":
        Image.fromarray(colours).save(source)
    elif fault == "colour TIFF":
        tifffile.imwrite(source := tmp_path / "in.tif", colours, photometric="rgb")
    elif fault == "volume":
        np.savez(source := tmp_path / "in.npz", volume=np.ones((9, 9, 9), np.float32), voxel_size=0.1)
    else:
        image = np.where(np.arange(40) == 3, np.nan if fault == "NaN" else 0, np.ones((30, 40)))
        np.savez(source := tmp_path / "in.npz", image=image)
    more = ("--size", 4) if fault == "even size" else ()
    status, err = call(capsys, *words, source, tmp_path / "out.npz", *more)
    assert status == 1
    assert err.count("\n") == 1
    assert err.startswith("splatom: error: ") and "Error:" not in err
    assert not (tmp_path / "out.npz").exists()


# ---------------------------------------------------------------- a stop
def test_a_stop_ends_it_before_the_next_tile_and_keeps_the_tilts_done() -> None:
    series = noisy(5)
    job = Job(get("denoise", "gaussian").params(sigma=1.0), stop_at=2)
    out = execute("denoise", "gaussian", series, job)
    whole = run("denoise", "gaussian", series, sigma=1.0)
    assert job.stopped_at == 2
    assert np.array_equal(out.projections[:2], whole.projections[:2])
    assert np.array_equal(out.projections[2:], series.projections[2:])
    assert "2 of 5" in job.notes["stopped"]


def test_a_stop_within_the_first_tilt_keeps_nothing() -> None:
    wide = one(np.random.default_rng(0).normal(size=(700, 500)))
    job = Job(get("denoise", "median").params(size=3), stop_at=1)
    with pytest.raises(Stopped):
        execute("denoise", "median", wide, job)
    assert job.total > 1


def test_a_checkpoint_goes_on_where_it_was(tmp_path: Path) -> None:
    from splatom.jobs import Task, perform

    series = noisy(4)
    params = get("denoise", "nlm").params()
    words = {"checkpoint": str(tmp_path), "checkpoint_every": 0.0}
    first = Task("denoise", "nlm", params, series, stop_at=2, **words)
    assert perform(first, first.job()).status == "stopped"
    second = Task("denoise", "nlm", params, series, resume=True, **words)
    job = second.job()
    outcome = perform(second, job)
    assert [step for step, _ in job.curves.get("r", [])] == []
    assert np.array_equal(outcome.result.projections, run("denoise", "nlm", series).projections)


def test_the_preview_is_the_last_tilt_done() -> None:
    series, shown = noisy(3), []
    job = Job(get("denoise", "gaussian").params(sigma=1.0))
    tick = job.tick

    def watching(*args, **kwargs):
        job.mailbox.take()
        out = tick(*args, **kwargs)
        shown.append(job.mailbox.take())
        return out

    job.tick = watching
    out = execute("denoise", "gaussian", series, job)
    assert [s.step for s in shown] == [1, 2, 3]
    for i, snapshot in enumerate(shown):
        assert np.array_equal(snapshot.preview.projections[0], out.projections[i])
        assert snapshot.preview.angles[0] == pytest.approx(series.angles[i])
