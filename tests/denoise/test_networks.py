"""What is around the trained networks: scale, direction of lines, tiles, stops, weights. Not how good they are.

The networks here are drawn at random, or do nothing: what holds for any weights is tested.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from _series import noisy

from splatom.cli import main
from splatom.data import TiltSeries
from splatom.jobs import Job, JobError, Stopped
from splatom.methods import execute, get, run
from splatom.nets import Scgn, Sfin
from splatom.weights import Card, save

CLASSES = {"scgn": Scgn, "sfin": Sfin}
NETWORKS = list(CLASSES)


def weights_of(folder: Path, network: str, *, idle: bool = False, seed: int = 0, **more: int) -> Path:
    """Save a tiny network drawn at random; an idle one adds nothing to its input and detects nothing."""
    path = folder / f"{network}{idle}{seed}.safetensors"
    arguments = {"width": 8, "blocks": 1, "outputs": 2, "residual": True, **more}
    torch.manual_seed(seed)
    net = CLASSES[network](**arguments)
    if idle:
        torch.nn.init.zeros_(net.tail.weight)
        torch.nn.init.zeros_(net.tail.bias)
    save(path, net, Card(network, "small", arguments))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> str:
    return request.param


def test_an_idle_network_gives_the_images_back_through_tiles_and_scale(folder: Path, network: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(40_000, 300, (2, 300, 700)).astype(np.float32)
    series = noisy(2).with_(projections=images)
    job = Job(get("denoise", network).params(weights=weights_of(folder, network, idle=True), flips=True))
    out = execute("denoise", network, series, job)
    assert job.total > 2  # more than one tile each
    assert np.abs(out.projections - images).max() < 0.05


@pytest.mark.parametrize(("pixel", "pool"), [(0.02, 1), (0.0092, 2), (0.005, 4), (None, 1)])
def test_pixels_finer_than_any_resolution_are_pooled_and_nothing_moves(
    folder: Path, network: str, pixel: float | None, pool: int
) -> None:
    r, c = np.mgrid[:301, :333]
    image = 50 + np.cos(2 * np.pi * r / 40) * np.cos(2 * np.pi * c / 44)
    series = noisy(1).with_(projections=image[None].astype(np.float32), pixel_size=pixel)
    job = Job(get("denoise", network).params(weights=weights_of(folder, network, idle=True)))
    out = execute("denoise", network, series, job).projections[0]
    assert ("pooled" in job.notes) == (pool > 1)
    assert str(job.notes.get("pooled", "1"))[0] == str(pool)
    assert np.abs(out - image)[8:-8, 8:-8].max() < 0.06


def test_scale_and_offset_of_the_images_are_those_of_the_result(folder: Path, network: str) -> None:
    series, weights = noisy(), weights_of(folder, network)
    out = run("denoise", network, series, weights=weights).projections
    other = run("denoise", network, series.with_(projections=70 * series.projections - 300), weights=weights)
    assert np.abs(other.projections - (70 * out - 300)).max() < 0.01 * 70 * out.std()


def test_the_negative_is_what_bright_field_is_shown(folder: Path) -> None:
    series, weights = noisy(), weights_of(folder, "sfin")
    out = run("denoise", "sfin", series, weights=weights).projections
    dark = series.with_(projections=5 - series.projections, contrast="bf")
    job = Job(get("denoise", "sfin").params(weights=weights))
    assert np.allclose(execute("denoise", "sfin", dark, job).projections, 5 - out, atol=1e-4)
    assert job.notes["mode"] == "bf"
    assert not np.allclose(run("denoise", "sfin", dark, weights=weights, mode="haadf").projections, 5 - out, atol=0.01)


def test_total_and_comparability_of_tilts_stay(folder: Path, network: str) -> None:
    series = noisy()
    bright = series.with_(projections=series.projections * np.array([1, 1, 6], np.float32)[:, None, None] + 1)
    out = run("denoise", network, bright, weights=weights_of(folder, network)).projections
    assert np.allclose(out.sum(axis=(1, 2), dtype=float), bright.projections.sum(axis=(1, 2), dtype=float), rtol=1e-4)


def test_the_map_of_columns_lies_in_0_to_1_and_is_no_bright_field_image(folder: Path, network: str) -> None:
    mask = np.ones(noisy().shape, bool)
    mask[:, :9] = False
    series = noisy().with_(contrast="bf", mask=mask)
    out = run("denoise", network, series, weights=weights_of(folder, network), output="detect")
    assert out.shape == series.shape
    assert 0 <= out.projections.min() < out.projections.max() <= 1
    assert (out.projections[:, :9] == 0).all()
    assert out.contrast == "adf"


def test_constant_images_stay(folder: Path, network: str) -> None:
    series = noisy().with_(projections=np.full(noisy().shape, 3.0, np.float32))
    weights = weights_of(folder, network)
    assert np.array_equal(run("denoise", network, series, weights=weights).projections, series.projections)
    assert not run("denoise", network, series, weights=weights, output="detect").projections.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 7), (9, 300)])
def test_images_smaller_than_a_tile_come_out_whole(folder: Path, network: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(5, 1, (1, *shape)).astype(np.float32)
    series = noisy(1).with_(projections=image)
    out = run("denoise", network, series, weights=weights_of(folder, network)).projections
    assert out.shape == image.shape
    assert np.isfinite(out).all()


# ---------------------------------------------------------------- lines
def turned(series: TiltSeries, angle: float) -> TiltSeries:
    return run("prepare", "rotate", series, angle=angle)


@pytest.mark.parametrize("scan", ["rows", "unknown"])
@pytest.mark.parametrize("angle", [90.0, -90.0, 180.0])
def test_lines_are_shown_as_trained_after_the_series_was_turned(
    folder: Path, network: str, angle: float, scan: str
) -> None:
    """Denoise and turn, or turn and denoise: the same but for a flip, of which the average over flips knows nothing."""
    series, weights = noisy(1).with_(scan=scan), weights_of(folder, network)
    straight = turned(run("denoise", network, series, weights=weights, flips=True), angle)
    other = run("denoise", network, turned(series, angle), weights=weights, flips=True)
    assert np.abs(other.projections - straight.projections).max() < 1e-4
    # The network itself does tell lines from columns.
    wrong = {"rows": "columns", "columns": "rows"}["rows" if network == "sfin" else "columns"]
    asked = run("denoise", network, series, weights=weights, flips=True, lines=wrong)
    assert np.abs(turned(asked, angle).projections - straight.projections).max() > 1e-3


def test_the_fast_scan_of_the_series_says_where_lines_run(folder: Path) -> None:
    series, weights = noisy(1), weights_of(folder, "sfin")
    flipped = series.with_(projections=series.projections.transpose(0, 2, 1), scan="columns")
    job = Job(get("denoise", "sfin").params(weights=weights))
    out = execute("denoise", "sfin", flipped, job)
    straight = run("denoise", "sfin", series, weights=weights)
    assert np.allclose(out.projections.transpose(0, 2, 1), straight.projections, atol=1e-5)
    assert job.notes["lines"] == "columns: the fast scan"


def test_an_odd_turn_is_told(folder: Path) -> None:
    job = Job(get("denoise", "sfin").params(weights=weights_of(folder, "sfin")))
    execute("denoise", "sfin", turned(noisy(1), 17.0), job)
    assert "17.0° askew" in job.notes["lines"]


# ---------------------------------------------------------------- a stop
def test_a_stop_is_felt_within_a_tile(folder: Path, network: str) -> None:
    """After the wish to stop no further layer is computed."""
    job = Job(get("denoise", network).params(weights=weights_of(folder, network, blocks=3)))
    layers: list[float] = []
    check = job.check

    def counting() -> None:
        check()
        layers.append(time.monotonic())
        if len(layers) == 10:
            job.stop()

    job.check = counting  # the network asks the job itself before every layer
    with pytest.raises(Stopped):
        execute("denoise", network, noisy(1), job)
    assert len(layers) == 10


# ---------------------------------------------------------------- weights
@pytest.mark.parametrize("fault", ["missing", "damaged", "another network's", "no file of weights", "no detect"])
def test_weights_that_do_not_do_end_in_one_line_that_names_the_file(
    tmp_path: Path, capsys, network: str, fault: str
) -> None:
    other = {"scgn": "sfin", "sfin": "scgn"}[network]
    path, more = tmp_path / "own.safetensors", []
    if fault == "damaged":
        path.write_bytes(weights_of(tmp_path, network).read_bytes()[:5000])
    elif fault == "another network's":
        path = weights_of(tmp_path, other)
    elif fault == "no file of weights":
        path.write_text("these are no weights")
    elif fault == "no detect":
        path, more = weights_of(tmp_path, network, outputs=1), ["--output", "detect"]
    np.savez(tmp_path / "in.npz", image=noisy(1).projections[0])
    words = ["denoise", network, str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "--weights", str(path), *more]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("splatom: error: ")
    assert err.count("\n") == 1
    assert "detect" in err if fault == "no detect" else path.name in err
    assert not (tmp_path / "out.npz").exists()


def test_a_fault_of_the_weights_is_a_job_error(tmp_path: Path, network: str) -> None:
    with pytest.raises(JobError, match="nowhere"):
        run("denoise", network, noisy(1), weights=tmp_path / "nowhere.safetensors")
